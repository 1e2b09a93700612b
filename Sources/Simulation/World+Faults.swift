import NodeCore
import Replication

/// Faults, as the fault model draws them, and their healing.
extension World {
    private enum Fault: CaseIterable {
        case processCrash, powerCut, totalPowerCut, gracefulStop, pause, partition, oneWayCut, connectionDrop, slowLink,
            slowDisk, failedSync, clientDisconnect, transfer
    }

    private func weight(_ fault: Fault) -> UInt64 {
        let model = self.options.faults
        return switch fault {
        case .processCrash: model.processCrash
        case .powerCut: model.powerCut
        case .totalPowerCut: model.totalPowerCut
        case .gracefulStop: model.gracefulStop
        case .pause: model.pause
        case .partition: model.partition
        case .oneWayCut: model.oneWayCut
        case .connectionDrop: model.connectionDrop
        case .slowLink: model.slowLink
        case .slowDisk: model.slowDisk
        case .failedSync: model.failedSync
        case .clientDisconnect: model.clientDisconnect
        case .transfer: model.transfer
        }
    }

    func injectFault() {
        guard self.phase == .faults else { return }
        let interval = self.options.faults.meanInterval
        self.after(interval / 5 + self.random.below(interval * 8 / 5), .fault)
        let total = Fault.allCases.reduce(0) { $0 + self.weight($1) }
        guard total > 0 else { return }
        var draw = self.random.below(total)
        for fault in Fault.allCases {
            if draw < self.weight(fault) { return self.inject(fault) }
            draw -= self.weight(fault)
        }
    }

    private func inject(_ fault: Fault) {
        self.counts.faults += 1
        let node = self.nodes[Int(self.random.below(UInt64(self.nodes.count)))]
        let other = self.other(than: node)
        switch fault {
        case .processCrash:
            self.kill(node)
            self.restart(node)
        case .powerCut:
            self.losePower(node)
            self.restart(node)
        case .totalPowerCut:
            for node in self.nodes { self.losePower(node) }
            for node in self.nodes { self.restart(node) }
        case .gracefulStop:
            guard node.isRunning, !node.isPaused, !node.isStopping else { return }
            self.note(.stopping, node)
            node.isStopping = true
            self.begin(node)
            node.core!.stop()
            self.scheduleTurn(node)
        case .pause:
            self.pause(node, for: self.length())
        case .partition:
            self.partition()
        case .oneWayCut:
            guard let other else { return }
            self.cut(node, other, for: self.length())
        case .connectionDrop:
            guard let other else { return }
            self.dropConnection(node, other)
        case .slowLink:
            guard let other else { return }
            let extra = 5_000_000 + self.random.below(250_000_000)
            self.note(.slowLink, node, UInt64(other.number), extra)
            self.network.slow(node.index, other.index, by: extra)
            self.after(self.length(), .mendSlow(node.index, other.index))
        case .slowDisk:
            node.diskExtra = 10_000_000 + self.random.below(self.random.chance(1, in: 4) ? 2_000_000_000 : 200_000_000)
            self.note(.slowDisk, node, node.diskExtra)
            self.after(self.length(), .mendDisk(node.index))
        case .failedSync:
            guard node.isRunning else { return }
            node.disk.failingSyncs = self.random.chance(1, in: 4) ? 2 : 1
        case .clientDisconnect:
            self.disconnectClient(Int(self.random.below(UInt64(self.clients.slots.count))))
        case .transfer:
            guard node.isRunning, !node.isPaused else { return }
            let group = Self.groups[Int(self.random.below(2))]
            self.note(.transfer, node, group.rawValue)
            self.begin(node)
            _ = node.core!.transfer(group, to: nil)
            self.scheduleTurn(node)
        }
    }

    /// A vote is promised and its voter dies: the moments in which a promise that is not kept shows.
    func considerDeathAtElection() {
        guard self.phase == .faults, self.options.faults.deathAtElection > 0,
            self.random.chance(self.options.faults.deathAtElection, in: 100)
        else { return }
        let node = self.nodes[Int(self.random.below(UInt64(self.nodes.count)))]
        self.after(self.random.below(4_000_000), .kill(node.index, life: node.life))
    }

    func killAtElection(_ node: SimulatedNode) {
        guard self.phase == .faults else { return }
        self.counts.faults += 1
        self.kill(node)
        self.after(self.random.below(3_000_000), .start(node.index, life: node.life))
    }

    /// Mostly short, now and then long against the timeouts.
    private func length() -> Nanoseconds {
        self.random.chance(1, in: 3) ? self.random.below(2_000_000_000) : 10_000_000 + self.random.below(400_000_000)
    }

    private func other(than node: SimulatedNode) -> SimulatedNode? {
        guard self.nodes.count > 1 else { return nil }
        let at = Int(self.random.below(UInt64(self.nodes.count - 1)))
        return self.nodes[at < node.index ? at : at + 1]
    }

    private func restart(_ node: SimulatedNode) {
        // Sometimes at once: a supervisor is quick.
        let pause = self.random.chance(1, in: 4) ? self.random.below(15_000_000) : self.length()
        self.after(pause, .start(node.index, life: node.life))
    }

    private func cut(_ from: SimulatedNode, _ to: SimulatedNode, for length: Nanoseconds) {
        self.note(.cut, from, UInt64(to.number), length)
        self.network.cut(from.index, to.index)
        self.after(length, .mend(from.index, to.index, era: self.era))
    }

    private func partition() {
        let length = self.length()
        var side: [Bool] = []
        for _ in self.nodes { side.append(self.random.chance(1, in: 2)) }
        for from in self.nodes {
            for to in self.nodes where side[from.index] != side[to.index] { self.cut(from, to, for: length) }
        }
    }

    private func dropConnection(_ node: SimulatedNode, _ other: SimulatedNode) {
        guard let link = node.peers.isEmpty || !node.isRunning ? nil : node.peers[other.index].link else { return }
        self.note(.dropped, node, UInt64(other.number))
        for end in 0..<2 { self.after(self.random.below(5_000_000), .reset(link, end: end)) }
    }

    // MARK: Healing

    func heal() {
        self.note(.healed, nil)
        self.phase = .recovering
        self.era += 1
        self.healedAt = self.now
        self.network.healAll()
        for node in self.nodes {
            node.diskExtra = 0
            node.disk.failingSyncs = 0
            if node.isPaused { self.resume(node) }
            if !node.isRunning { self.after(self.random.below(50_000_000), .start(node.index, life: node.life)) }
        }
        for from in self.nodes {
            for to in self.nodes where from !== to { self.releaseStalled(from: from.index, to: to.index) }
        }
        self.after(.milliseconds(20), .poll)
    }

    /// Looks how far the recovery is, and moves on to the next phase.
    func poll() throws {
        self.after(.milliseconds(20), .poll)
        switch self.phase {
        case .recovering:
            guard self.nodes.allSatisfy({ $0.isRunning && $0.core!.isReady }), self.isLed else { break }
            self.enter(.demanding)
        case .demanding:
            guard self.clients.slots.allSatisfy({ $0.satisfied == Self.demandedOfEach && $0.owed.isEmpty }) else {
                break
            }
            self.enter(.settling)
        case .settling:
            guard self.isSettled else { break }
            self.recoveredAt = self.now
            self.enter(.done)
        case .faults, .done:
            break
        }
        guard self.now - self.healedAt < self.options.recoveryBound else {
            throw Violation(self.phase == .demanding ? .requestsAnswered : .liveness, self.stateOfAffairs)
        }
    }

    private func enter(_ phase: Phase) {
        self.phase = phase
        self.note(.phase, nil, phase == .demanding ? 2 : phase == .settling ? 3 : 4)
    }

    /// Every group has one leader, known to all.
    private var isLed: Bool {
        Self.groups.allSatisfy { group in
            let leaders = self.nodes.filter { $0.core?.inspect(group)?.role == .leader }
            return leaders.count == 1
        }
    }

    private var isSettled: Bool {
        Self.groups.allSatisfy { group in
            let views = self.nodes.map { $0.core?.inspect(group) }
            guard let first = views.first ?? nil else { return false }
            return views.allSatisfy {
                guard let view = $0 else { return false }
                return view.last == first.last && view.commit == first.last && view.applied == first.last
                    && view.term == first.term
            }
        }
    }

    /// For a failure of progress: who is where.
    private var stateOfAffairs: String {
        var text = "\((self.now - self.healedAt) / 1_000_000) ms after the healing, phase \(self.phase):"
        for node in self.nodes {
            text += "\n  node \(node.number) \(node.power)\(node.isPaused ? ", paused" : "")"
            guard let core = node.core else { continue }
            text += ", ready \(core.isReady)"
            for group in core.groupStatus {
                text +=
                    "; \(group.id) \(group.role) term \(group.term) leader \(group.leader.map { "\($0)" } ?? "none") "
                text += "last \(group.last) commit \(group.commit) applied \(group.applied)"
            }
            let links = self.nodes.filter { node.peers[$0.index].link != nil }.map { "\($0.number)" }
            text += "; connected to \(links.joined(separator: ", "))"
        }
        for (at, slot) in self.clients.slots.enumerated()
        where !slot.owed.isEmpty || slot.satisfied < Self.demandedOfEach {
            text += "\n  client \(at) of node \(slot.node + 1): \(slot.owed) unanswered, \(slot.satisfied) satisfied"
        }
        return text
    }
}
