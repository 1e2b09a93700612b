import NodeCore
import Replication

/// The second phase: everything is healed, and progress demanded.
extension World {
    func heal() {
        self.note(.healed, nil)
        self.phase = .recovering
        self.era += 1
        self.healedAt = self.now
        for heal in FaultKind.healings { heal(self)() }
        for node in self.nodes where !node.isRunning {
            self.after(self.random.below(50_000_000), .start(node.index, life: node.life))
        }
        self.after(.milliseconds(20), .poll)
    }

    /// Looks how far the recovery is, and moves on to the next phase.
    func poll() throws {
        self.after(.milliseconds(20), .poll)
        self.restoreVotes()
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
            guard self.isSettled, self.hasAllVoters, self.isLedgerComplete,
                self.nodes.allSatisfy({ !self.isWrong($0) && $0.core!.isReady }), self.isClean
            else { break }
            self.recoveredAt = self.now
            self.enter(.done)
        case .faults, .done:
            break
        }
        guard self.now - self.healedAt < self.options.recoveryBound else {
            if self.phase == .settling, self.isSettled, !self.isClean {
                throw Violation(.nothingRotten, self.stateOfAffairs)
            }
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
            text += "; incidents followed \(core.followedIncidents), lacking \(self.lackingIncidents(of: node))"
            if !node.wrongStates.isEmpty { text += "; wrong \(node.wrongStates.keys.map { "\($0)" }.sorted())" }
            if !node.wrongFiles.isEmpty { text += "; wrong on disk \(node.wrongFiles.keys.map { "\($0)" }.sorted())" }
            text += "; incarnation \(node.member.incarnation), open lost disks \(core.lostDisksOpen)"
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
