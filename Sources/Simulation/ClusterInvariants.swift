import Formats
import NodeCore
import Replication

/// What a whole cluster must keep to, as far as it has been seen: fed with every turn of every core.
struct ClusterInvariants {
    private struct Place: Hashable {
        var group: GroupID
        var index: LogIndex
        var term: Term
    }

    private struct Leadership: Hashable {
        var group: GroupID
        var term: Term
    }

    /// Who led a term: node and life of the process.
    private var leaders: [Leadership: (node: UInt32, life: Int)] = [:]
    /// The entry at an index of a term.
    private var entries: [Place: Hash128] = [:]
    /// By group, from index 1 on: the committed entry, and a term by which it was.
    private(set) var committed: [[(hash: Hash128, term: Term)]] = [[], []]
    private var digests: [Place: Hash128] = [:]

    var leaderCount: Int { self.leaders.count }

    /// Log matching, by what goes to the journal: every entry of a log passes here before it counts.
    mutating func note(records: [JournalRecord], node: SimulatedNode) throws {
        for record in records {
            let entry: Entry
            switch record {
            case .entry(let found), .repair(let found): entry = found
            case .truncate, .hardState, .snapshot, .end, .hole: continue
            }
            let place = Place(group: entry.group, index: entry.index, term: entry.term)
            if let known = self.entries.updateValue(entry.hash, forKey: place), known != entry.hash {
                throw Violation(
                    .logMatching,
                    "node \(node.number) has another entry at \(entry.index) of term \(entry.term) "
                        + "in group \(entry.group)"
                )
            }
        }
    }

    /// Looks at one core after its turn.
    mutating func check(_ core: NodeCore, of node: SimulatedNode, maxLogBytes: Int) throws {
        for (at, group) in World.groups.enumerated() {
            guard let view = core.inspect(group) else { continue }
            if view.role == .leader {
                if !node.wasLeader[at] { try self.checkLeader(core, view, at, group, node) }
                let leadership = Leadership(group: group, term: view.term)
                if let known = self.leaders[leadership] {
                    guard known == (node.number, node.life) else {
                        throw Violation(
                            .oneLeaderATerm,
                            "nodes \(known.node) and \(node.number) lead group \(group) in term \(view.term)")
                    }
                } else {
                    self.leaders[leadership] = (node.number, node.life)
                }
            }
            node.wasLeader[at] = view.role == .leader
            try self.checkLog(view, group, node, maxLogBytes)
            try self.checkCommitted(core, view, at, group, node)
            try self.checkState(core, view, at, group, node)
        }
    }

    /// Twice the limit, as after a start; beyond it there may be one entry, and those few that a leader cannot do without.
    private func checkLog(
        _ view: ReplicaInspection, _ group: GroupID, _ node: SimulatedNode, _ limit: Int
    ) throws {
        guard view.logBytes > 2 * limit + Self.logSlack else { return }
        throw Violation(
            .logBounded, "node \(node.number) has \(view.logBytes) bytes of log in group \(group), of at most \(limit)")
    }

    private static let logSlack = 8 << 10

    /// A new leader has all that was committed in earlier terms.
    private func checkLeader(
        _ core: NodeCore, _ view: ReplicaInspection, _ at: Int, _ group: GroupID, _ node: SimulatedNode
    ) throws {
        for index in stride(from: self.committed[at].count, to: Int(view.base), by: -1) {
            let entry = self.committed[at][index - 1]
            guard entry.term < view.term, entry.hash != .zero else { continue }
            // One that it had and whose bytes are gone it need not be able to name.
            let hash = core.entryHash(group, at: LogIndex(index))
            if hash == nil, core.isHole(group, at: LogIndex(index)) { continue }
            guard hash == entry.hash else {
                throw Violation(
                    .leaderCompleteness,
                    "node \(node.number) leads group \(group) in term \(view.term) without entry \(index), "
                        + "committed in term \(entry.term)"
                )
            }
        }
    }

    private mutating func checkCommitted(
        _ core: NodeCore, _ view: ReplicaInspection, _ at: Int, _ group: GroupID, _ node: SimulatedNode
    ) throws {
        guard view.commit > node.checkedCommit[at] else { return }
        let from = max(node.checkedCommit[at] + 1, max(view.base, 1))
        node.checkedCommit[at] = view.commit
        guard from <= view.commit else { return }
        for index in from...view.commit {
            guard let hash = core.entryHash(group, at: index) else { continue }
            while self.committed[at].count < Int(index) { self.committed[at].append((.zero, 0)) }
            let known = self.committed[at][Int(index) - 1]
            if known.hash == .zero {
                self.committed[at][Int(index) - 1] = (hash, view.term)
            } else if known.hash != hash {
                throw Violation(
                    .committedEntriesStay,
                    "node \(node.number) has another entry committed at \(index) in group \(group)")
            }
        }
    }

    /// The applied state after every turn that applied something.
    private mutating func checkState(
        _ core: NodeCore, _ view: ReplicaInspection, _ at: Int, _ group: GroupID, _ node: SimulatedNode
    ) throws {
        guard view.applied > node.checkedApplied[at] else { return }
        node.checkedApplied[at] = view.applied
        guard node.wrongStates[group] == nil, let digest = core.stateDigest(group) else { return }
        let place = Place(group: group, index: view.applied, term: 0)
        if let known = self.digests.updateValue(digest, forKey: place), known != digest {
            throw Violation(.equalStates, "node \(node.number) has another state at \(view.applied) of group \(group)")
        }
    }
}

extension World {
    func checkInvariants(_ node: SimulatedNode) throws {
        guard let core = node.core else { return }
        try self.invariants.check(core, of: node, maxLogBytes: self.maxLogBytes)
    }
}
