import Formats
import NodeCore
import Replication

/// Disks that refuse for a while: full, read-only, failing, stuck. Each ends by itself.
extension World {
    func injectFullDisk(_ draw: inout Random) { self.sicken(.full(isCopyOnWrite: draw.chance(1, in: 4)), &draw) }
    func injectReadOnlyDisk(_ draw: inout Random) { self.sicken(.readOnly, &draw) }
    func injectWriteErrors(_ draw: inout Random) { self.sicken(.failsWrites, &draw) }
    func injectSyncErrors(_ draw: inout Random) { self.sicken(.failsSyncs, &draw) }
    func injectStuckDisk(_ draw: inout Random) { self.sicken(.stuck, &draw) }

    private func sicken(_ condition: DiskCondition, _ draw: inout Random) {
        let node = self.anyNode(&draw)
        node.disk.condition = condition
        node.sicknesses += 1
        let sickness = node.sicknesses
        self.counts.sickDisks += 1
        let length = Self.length(&draw) * 2
        let code: UInt64 =
            switch condition {
            case .well: 0
            case .full: 1
            case .readOnly: 2
            case .failsWrites, .failsSyncs: 3
            case .stuck: 4
            }
        self.note(.diskSick, node, code, length)
        self.after(length) { if node.sicknesses == sickness { $0.cure(node) } }
    }

    private func cure(_ node: SimulatedNode) {
        guard node.disk.condition != .well else { return }
        node.disk.condition = .well
        self.note(.diskWell, node)
    }

    func healSickDisks() { for node in self.nodes { self.cure(node) } }

    /// How often something that waits for a stuck disk looks again.
    static let stuckPoll = Nanoseconds.milliseconds(5)

    // MARK: The journal

    /// Begins what the journal has to do, if it is not busy.
    func writeOn(_ node: SimulatedNode) {
        if let step = node.journal!.begin(now: node.instant(at: self.now)) {
            self.after(self.syncLatency(node, isNewFile: step.isNewFile), .journal(node.index, life: node.life))
        }
        self.deliverJournalEvents(node)
        self.armJournalRetry(node)
    }

    func journalWritten(_ node: SimulatedNode) {
        guard node.disk.condition != .stuck else {
            return self.after(Self.stuckPoll, .journal(node.index, life: node.life))
        }
        if let fault = node.journal!.complete() { self.note(.syncFailed, node, UInt64(fault.rawValue)) }
        self.writeOn(node)
    }

    private func armJournalRetry(_ node: SimulatedNode) {
        guard let pause = node.journal!.retryPause, !node.isRetryArmed else { return }
        node.isRetryArmed = true
        let life = node.life
        self.after(pause) { world in
            guard node.life == life else { return }
            node.isRetryArmed = false
            node.journal!.retry()
            world.writeOn(node)
        }
    }

    /// The journal's thread tells the core's loop, in order.
    private func deliverJournalEvents(_ node: SimulatedNode) {
        for event in node.journal!.takeEvents() {
            if case .durable(let ticket, _) = event {
                self.note(.journalWritten, node, ticket)
                if self.options.bug == .completesBeforeSync { continue }
            }
            let at = max(self.now + 20_000 + self.random.below(60_000), node.lastJournalEvent + 1)
            node.lastJournalEvent = at
            self.queue.add(.journalTold(node.index, life: node.life, event), at: at)
        }
    }

    func journalTold(_ node: SimulatedNode, _ event: JournalPipeline.Event) {
        self.begin(node)
        switch event {
        case .durable(let ticket, let bytes): node.core!.journalCompleted(ticket, bytes: bytes)
        case .promised(let ticket):
            self.counts.promises += 1
            node.core!.journalPromised(ticket)
        case .failed(let fault, let canPromise): node.core!.journalFailed(fault, canPromise: canPromise)
        case .recovered: node.core!.journalRecovered()
        }
        self.scheduleTurn(node)
    }
}
