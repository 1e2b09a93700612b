import Formats
import NodeCore
import Replication

/// The shell around a core: what `Runtime` does with an event loop, threads, sockets and files is done here by events,
/// in the same order.
extension World {
    // MARK: Start

    func start(_ node: SimulatedNode) throws {
        guard node.disk.condition == .well else {
            // It cannot make the number of its run durable, and says so; its supervisor tries again.
            return self.after(100_000_000 + self.random.below(200_000_000), .start(node.index, life: node.life))
        }
        let isFirst = node.life == 0
        if !isFirst { self.counts.restarts += 1 }
        invariant(isFirst || self.options.bug != .breaksInvariant, "planted, at \(self.now) ns")
        let wasOff = node.power == .off
        guard var identity = try self.identity(of: node) else { return }
        node.life += 1
        node.power = .up
        node.isPaused = false
        node.deferred.removeAll()

        // The number of the run is durable before anything else happens.
        if self.options.bug == .repeatsRun, node.lastRun > 0 { identity.run = node.lastRun - 1 }
        identity.begin(token: self.random.next() | 1)
        let run = identity.run
        node.member = identity.member
        guard self.options.bug == .repeatsRun || (run > node.lastRun && run <= node.begunRun + 1) else {
            throw Violation(.runsGrow, "node \(node.number) starts as run \(run) after run \(node.lastRun)")
        }
        let death = !isFirst && self.happens(.deathAtStart) ? self.drawDeath() : nil
        self.note(.started, node, run, death == nil ? 0 : 1)
        node.begunRun = max(node.begunRun, run)
        self.keepSeed(node)
        guard self.write(identity, node, isCutShort: death == .betweenIdentities) else {
            return self.diesAtStart(node)
        }
        node.lastRun = run
        node.run = identity.history.last
        node.identity = identity
        let (opened, found) = try SimulatedJournal.open(
            node.disk, identity: identity.journal, expected: node.expected, isDamaged: self.mayBeDamaged(node),
            death: death, bug: self.options.bug)
        if let reason = found.lost { return try self.journalIsLost(node, reason) }
        guard let journal = opened else { return self.diesAtStart(node) }
        self.noteGoneSnapshots(node, found, expected: journal.durable)
        node.expected = [journal.durable]
        node.journal = journal
        node.snapshots = SimulatedSnapshots(disk: node.disk, hashKey: HashKey(self.cluster))
        node.isRetryArmed = false
        node.isSnapshotBusy = false
        node.isStopping = false
        node.isTurnScheduled = false
        node.hasBegun = false
        node.wakeAt = nil
        node.lastTurn = self.now
        node.checkedCommit = [0, 0]
        node.checkedApplied = [0, 0]
        node.wasLeader = [false, false]
        node.peers = self.nodes.map { _ in SimulatedNode.Peer() }
        node.beginsAnew = nil

        var configuration = NodeConfiguration(
            cluster: self.cluster, me: node.member, history: identity.history, founders: self.nodes.map(\.founder),
            seed: self.random.next())
        configuration.peerRuns = self.peerRuns(of: node) ?? PeerRuns()
        self.noteForgottenRuns(node)
        let incidents = self.openIncidents(of: node)
        self.forgetLostWords(of: node, found: incidents)
        guard self.mendIncidents(incidents, node, isCutShort: death == .inIncidents) else {
            node.expected = node.journal!.die(&self.random)
            return self.diesAtStart(node)
        }
        if self.options.bug != .forgetsIncidents { configuration.openIncidents = incidents }
        configuration.boot = node.bootOffset
        configuration.wall = node.wall(at: self.now)
        configuration.requestTimeout = self.requestTimeout
        configuration.checkpointBytes = self.checkpointBytes
        if self.options.bug != .keepsAllOfTheLog { configuration.maxLogBytes = self.maxLogBytes }
        // In part of the runs so little work in a turn that entries are applied in parts.
        if self.checkpointBytes % 3 == 0 { configuration.maxTurnWork = 1 + self.checkpointBytes % 1500 }
        configuration.journalBytes = max(0, found.segments.count - 1) * SimulatedJournal.segmentBytes
        configuration.checkpointInterval = .milliseconds(1500)
        configuration.comparisonInterval = .seconds(4)
        configuration.snapshotBlockBytes = 1 << 10
        configuration.cacheShards = 16
        var detector = FailureDetector.Options()
        detector.sickAfter = self.sickAfter
        let groups = Dictionary(uniqueKeysWithValues: found.groups.map { ($0.group, $0) })
        node.core = NodeCore(
            configuration, recovered: groups, detector: FailureDetector(detector),
            now: node.instant(at: self.now))

        self.begin(node)
        for (group, mark, number) in node.core!.snapshotsToLoad {
            self.add(.action(.load(group, mark, number: number)), to: node)
        }
        self.startTransport(node)
        self.after(self.random.below(Self.tickInterval), .tick(node.index, life: node.life))
        self.after(self.random.below(Self.heartbeatInterval), .beat(node.index, life: node.life))
        self.scheduleScrub(node)
        self.scheduleTurn(node)
        if wasOff {
            // What the peers' kernels kept repeating arrives, and is told that nobody knows it.
            for peer in self.nodes where peer !== node { self.releaseStalled(from: peer.index, to: node.index) }
        }
    }

    private func drawDeath() -> StartDeath {
        switch self.random.below(8) {
        case 0, 1: .betweenIdentities
        case 2, 3, 4: .inTail
        case 5, 6: .makingReserve
        default: .inIncidents
        }
    }

    /// The process ends before it has promised anything in its run; so does its machine, perhaps.
    private func diesAtStart(_ node: SimulatedNode) {
        node.power = .down
        node.life += 1
        if self.random.chance(1, in: 2) {
            var draw = Random(seed: self.random.next())
            self.losePower(node, &draw)
        }
        self.after(self.random.below(400_000_000), .start(node.index, life: node.life))
    }

    // MARK: End

    /// The process is killed; its machine goes on.
    func kill(_ node: SimulatedNode, _ draw: inout Random) {
        guard node.isRunning else { return }
        self.note(.crashed, node)
        node.expected = node.journal!.die(&draw)
        self.leave(node, isTold: true)
    }

    /// The machine loses its power; a process on it goes with it.
    func losePower(_ node: SimulatedNode, _ draw: inout Random) {
        self.note(.lostPower, node)
        if node.isRunning {
            node.expected = node.journal!.die(&draw)
            self.leave(node, isTold: false)
        }
        node.power = .off
        node.disk.losePower(&draw, tearsSectors: self.happens(.tornSector))
        node.bootOffset = 1_000_000_000 + draw.below(1 << 42)
    }

    func leave(_ node: SimulatedNode, isTold: Bool) {
        self.closeConnections(of: node, isTold: isTold)
        self.clients.nodeEnded(node.index)
        node.life += 1
        node.power = .down
        node.isPaused = false
        node.deferred.removeAll()
        node.core = nil
        node.wrongStates = [:]
    }

    /// The process ends by itself, in good order: what was submitted to its journal is written.
    private func end(_ node: SimulatedNode, _ kind: TraceEvent.Kind) throws {
        self.note(kind, node)
        if kind == .stopped {
            while !node.journal!.isIdle, !node.journal!.isFailing, node.disk.condition != .stuck {
                _ = node.journal!.begin(now: node.instant(at: self.now))
                _ = node.journal!.complete()
            }
        }
        node.expected = node.journal!.die(&self.random)
        self.leave(node, isTold: true)
        let pause = self.phase == .faults ? self.random.below(800_000_000) : 1_000_000
        self.after(pause, .start(node.index, life: node.life))
    }

    func pause(_ node: SimulatedNode, for length: Nanoseconds) {
        guard node.isRunning, !node.isPaused else { return }
        self.note(.paused, node)
        node.isPaused = true
        self.after(length, .resume(node.index, life: node.life))
    }

    func resume(_ node: SimulatedNode) {
        guard node.isRunning, node.isPaused else { return }
        self.note(.resumed, node)
        node.isPaused = false
        for peer in node.peers.indices {
            // What came while it stood waits in its socket, and counts from when it is read.
            for at in node.peers[peer].beats.indices where node.peers[peer].beats[at].at < self.now {
                node.peers[peer].beats[at].at = self.now
            }
        }
        var deferred: [Event] = []
        swap(&deferred, &node.deferred)
        for event in deferred { self.queue.add(event, at: self.now) }
    }

    // MARK: Turns

    /// To be called before any input of the core.
    func begin(_ node: SimulatedNode) {
        guard !node.hasBegun else { return }
        node.hasBegun = true
        node.core!.begin(now: node.instant(at: self.now), wall: node.wall(at: self.now))
    }

    /// Some input is in: a turn runs when this pass of the loop has read all there is.
    func scheduleTurn(_ node: SimulatedNode) {
        guard !node.isTurnScheduled else { return }
        node.isTurnScheduled = true
        self.after(10_000 + self.random.below(60_000), .turn(node.index, life: node.life))
    }

    func turn(_ node: SimulatedNode) throws {
        node.isTurnScheduled = false
        self.begin(node)
        node.core!.endTurn()
        node.hasBegun = false
        try self.carryOut(node)
        node.lastTurn = self.now
        try self.checkInvariants(node)
        self.armDeadline(node)
        if let anew = node.beginsAnew { return try self.beginAnew(node, after: anew.after, isLost: anew.isLost) }
        if node.core!.isStopped { try self.end(node, .stopped) }
    }

    private func armDeadline(_ node: SimulatedNode) {
        guard let deadline = node.core!.deadline else { return }
        let now = node.instant(at: self.now)
        guard deadline < now + (Self.tickInterval - 2_000_000) else { return }
        if let wakeAt = node.wakeAt, wakeAt <= deadline, wakeAt > now { return }
        node.wakeAt = deadline
        self.after(max(deadline - now, 100_000), .wake(node.index, life: node.life))
    }

    func wake(_ node: SimulatedNode) {
        node.wakeAt = nil
        self.begin(node)
        node.core!.tick()
        self.scheduleTurn(node)
    }

    func tick(_ node: SimulatedNode) {
        self.begin(node)
        self.readHeartbeats(node)
        node.core!.tick()
        self.scheduleTurn(node)
        self.after(Self.tickInterval, .tick(node.index, life: node.life))
    }

    // MARK: Effects

    private func carryOut(_ node: SimulatedNode) throws {
        let core = node.core!
        if core.effects.journalTicket > 0 || !core.effects.messages.isEmpty || !core.effects.replies.isEmpty {
            self.note(
                .turn, node, UInt64(core.effects.records.count) << 32 | UInt64(core.effects.messages.count),
                UInt64(core.effects.replies.count))
        }
        try self.invariants.note(records: core.effects.records, node: node)
        if core.effects.journalTicket > 0 {
            var records: [JournalRecord] = []
            swap(&records, &core.effects.records)
            switch self.options.bug {
            case .losesHardState: records.removeAll { if case .hardState = $0 { true } else { false } }
            default: break
            }
            node.journal!.submit(
                records, ticket: core.effects.journalTicket, beginsSegment: core.effects.beginsSegment)
            if self.options.bug == .completesBeforeSync {
                self.after(
                    1_000,
                    .journalTold(node.index, life: node.life, .durable(ticket: core.effects.journalTicket, bytes: 0)))
            }
            self.writeOn(node)
        }
        for (to, message) in core.effects.messages { self.post(message, from: node, to: to) }
        self.flush(node)
        for reply in core.effects.replies {
            let bytes = core.effects.replyBytes[reply.offset..<reply.offset + reply.count]
            try self.clientAnswered(reply.client, bytes)
            if self.options.bug == .repliesTwice { try self.clientAnswered(reply.client, bytes) }
        }
        for action in core.effects.snapshots {
            if case .setAside(let group, let index) = action { self.noteSetAside(node, group, index) }
            self.add(.action(action), to: node)
        }
        if let (bytes, version) = core.effects.peerRuns { self.add(.peerRuns(bytes, version: version), to: node) }
        if let (bytes, number) = core.effects.openIncidents {
            self.add(.openIncidents(bytes, number: number), to: node)
        }
        for (group, index, kept) in core.effects.obsoleteSnapshots {
            self.add(.removeOlder(group, than: index, keeping: kept), to: node)
        }
        for file in core.effects.rewrites { self.add(.rewrite(file, self.content(of: file, node)), to: node) }
        for event in core.effects.events { try self.took(event, node) }
        self.forgetStatesMadeAnew(of: node)
        let wantsTurn = core.effects.wantsTurn
        core.effects.removeAll()
        if wantsTurn { self.scheduleTurn(node) }
    }

    private func took(_ event: NodeEvent, _ node: SimulatedNode) throws {
        func raw(_ group: GroupID) -> UInt64 { group.rawValue }
        switch event {
        case .roleChanged(let group, let role, let term, let leader):
            self.note(
                .role, node, UInt64(role.rawValue) << 8 | (group == .system ? 0 : 1),
                UInt64(leader?.rawValue ?? 0) << 32 | (term & 0xffff_ffff))
            if role == .candidate { self.considerDeathAtElection() }
        case .suspected(let peer, let cause): self.note(.suspected, node, UInt64(peer.rawValue), UInt64(cause.rawValue))
        case .trusted(let peer): self.note(.trusted, node, UInt64(peer.rawValue))
        case .checkpointDone(let group, let index):
            self.counts.checkpoints += 1
            self.noteCheckpoint(node, group, index)
            self.note(.checkpoint, node, raw(group), index)
        case .snapshotInstalled(let group, let index):
            self.counts.installed += 1
            self.noteInstalled(node, group, index)
            self.note(.installed, node, raw(group), index)
        case .diskLost(let peer, let run):
            guard node.isDamaged else {
                throw Violation(
                    .runsGrow,
                    "node \(peer) has seen run \(run) of node \(node.number), which is in run \(node.run.run)")
            }
            node.beginsAnew = (run, true)
            self.counts.disksLost += 1
        case .runBehind(let run):
            node.beginsAnew = (run, false)
        case .learnerAdded(let group, let member): self.note(.learner, node, raw(group), UInt64(member.node.rawValue))
        case .promoted(let group, let member, _):
            self.counts.promotions += 1
            self.note(.promoted, node, raw(group), UInt64(member.node.rawValue))
        case .votingChanged(let group, let member, let votes):
            self.counts.votingChanges += 1
            self.note(.votingChanged, node, raw(group), UInt64(member.node.rawValue) << 1 | (votes ? 1 : 0))
        case .retiredPeer, .unproven: break
        case .sessionRefused(_, let origin, let run): self.note(.sessionRefused, node, UInt64(origin.rawValue), run)
        case .sequenceGap(_, let expected, let found): self.note(.gap, node, expected, found)
        case .diverged(let group, let index, let peer):
            throw Violation(.noDivergence, "node \(node.number) against node \(peer) in group \(group) at \(index)")
        case .diskFailed(let fault): self.note(.diskFailed, node, UInt64(fault.rawValue))
        case .diskRecovered: self.note(.diskRecovered, node)
        case .snapshotDamaged(let group, let index, _): self.note(.snapshotDamaged, node, raw(group), index)
        case .snapshotRepaired(let group, let index, _):
            self.counts.rebuilt += 1
            self.note(.snapshotRepaired, node, raw(group), index)
        case .healed(let group):
            self.counts.healed += 1
            self.note(.stateHealed, node, raw(group))
        case .holesFound(let group, let holes):
            self.counts.holesFound += holes.count
            self.note(.holesFound, node, raw(group), UInt64(holes.count) << 48 | holes.first)
        case .holesFilled(let group, let count, _): self.note(.holesFilled, node, raw(group), UInt64(count))
        case .holesUnrecoverable(let group, let holes): self.note(.holesUnrecoverable, node, raw(group), holes.first)
        case .recoveryGivenUp(let group, let holes): self.note(.recoveryGivenUp, node, raw(group), holes.first)
        case .entriesDiscarded(let group, let first, _): self.note(.entriesDiscarded, node, raw(group), first)
        case .logWhole(let group): self.note(.logWhole, node, raw(group))
        case .stateDiverged(let group, let index):
            self.counts.diverged += 1
            // What is applied anew is compared anew.
            node.checkedApplied[group == .system ? 0 : 1] = 0
            self.note(.stateDiverged, node, raw(group), index)
        case .divergenceEnded(let group, let index):
            self.note(.divergenceEnded, node, raw(group), index)
        case .divergenceStuck(let group, let index): self.note(.divergenceStuck, node, raw(group), index)
        case .logClosed(let group, let bytes):
            self.counts.logsClosed += 1
            self.note(.logClosed, node, raw(group), UInt64(bytes))
        case .logOpened(let group, let bytes): self.note(.logOpened, node, raw(group), UInt64(bytes))
        case .snapshotUnconfirmed(let group, let index):
            self.counts.unconfirmed += 1
            self.note(.unconfirmed, node, raw(group), index)
        case .checkpointBegun, .snapshotSent, .handedOver, .snapshotLost, .fileDamaged, .journalDamaged,
            .journalRepaired:
            break
        }
    }

    // MARK: Journal

    func syncLatency(_ node: SimulatedNode, isNewFile: Bool) -> Nanoseconds {
        var latency = 100_000 + self.random.below(600_000)
        if self.random.chance(1, in: 50) { latency += self.random.below(12_000_000) }
        if node.diskExtra > 0 { latency += self.random.below(node.diskExtra) }
        return isNewFile ? latency * 4 : latency
    }

    // MARK: Snapshots

    func add(_ work: SimulatedSnapshots.Work, to node: SimulatedNode) {
        node.snapshots!.add(work)
        if !node.isSnapshotBusy {
            node.isSnapshotBusy = true
            self.after(self.workLatency(node), .snapshots(node.index, life: node.life))
        }
    }

    private func workLatency(_ node: SimulatedNode) -> Nanoseconds {
        100_000 + self.random.below(1_500_000) + (node.diskExtra > 0 ? self.random.below(node.diskExtra) / 4 : 0)
    }

    func snapshotWorked(_ node: SimulatedNode) throws {
        guard node.disk.condition != .stuck else {
            return self.after(Self.stuckPoll, .snapshots(node.index, life: node.life))
        }
        let done = node.snapshots!.perform()
        node.isSnapshotBusy = node.snapshots!.hasWork
        if node.isSnapshotBusy { self.after(self.workLatency(node), .snapshots(node.index, life: node.life)) }
        guard let done else { return }
        self.begin(node)
        let core = node.core!
        switch done {
        case .peerRunsReplaced(let version, let isDurable):
            if isDurable { core.peerRunsDurable(version) } else { core.peerRunsFailed(version) }
        case .openIncidentsReplaced(let number, let isDurable):
            if isDurable {
                self.noteIncidents(of: node)
                core.openIncidentsDurable(number)
            } else {
                core.openIncidentsFailed(number)
            }
        case .rewritten(let file, let bytes):
            core.fileRewritten(file, bytes: bytes)
        case .blockWritten(let group):
            core.snapshotBlockWritten(group)
        case .durable(let group, let index, let digest):
            self.note(.snapshotDone, node, group.rawValue, index)
            core.snapshotDurable(group, index: index, digest: digest)
        case .failed(let group, let index): core.snapshotFailed(group, index: index)
        case .notStaged(let group, let index): core.snapshotNotStaged(group, index: index)
        case .read(let group, let index, let offset, let size, let bytes, let member):
            core.snapshotRead(group, index: index, offset: offset, size: size, bytes: bytes, for: member)
        case .staged(let group, let index, let next, let isWhole, let isDamaged):
            core.snapshotStaged(group, index: index, nextOffset: next, isWhole: isWhole, isDamaged: isDamaged)
        case .loaded(let group, let index, let number, let blocks, let digest):
            guard let blocks else {
                try self.checkUnreadable(node, group, index)
                core.snapshotUnreadable(group, number: number, reason: "it is gone or bad")
                break
            }
            do {
                for block in blocks {
                    try block.withUnsafeBytes {
                        try core.snapshotLoaded(group, number: number, block: $0, isLast: false, digest: nil)
                    }
                }
                try core.snapshotLoaded(
                    group, number: number, block: UnsafeRawBufferPointer(start: nil, count: 0), isLast: true,
                    digest: digest)
            } catch {
                throw Violation(.snapshotReadable, "node \(node.number): \(error)")
            }
        case .repairNeeds(let group, let index, let frame, let offset):
            core.snapshotRepairNeeds(group, index: index, frame: frame, offset: offset)
        case .repaired(let group, let index, let bytes):
            core.snapshotRepaired(group, index: index, bytes: bytes)
        case .repairFailed(let group, let index):
            core.snapshotRepairFailed(group, index: index)
        case .lent(let group, let index, let offset, let bytes, let member):
            core.snapshotLent(group, index: index, offset: offset, bytes: bytes, for: member)
        }
        self.scheduleTurn(node)
    }
}
