import NodeCore
import Replication

/// Changes of who votes. A group's leader takes the vote of one of its members, itself perhaps; later, or at the latest once
/// all is healed, whoever leads then gives it back.
///
/// Bound: where a lost disk counts, a member without a vote counts too. It may lose its disk as well, but not before.
extension World {
    func injectMembershipChange(_ draw: inout Random) {
        let group = Self.groups[Int(draw.below(2))]
        let node = self.anyNode(&draw)
        if self.demoted.contains(where: { $0.group == group }) { return self.restoreVotes(in: group) }
        guard self.isMinorityDamaged(with: node), !node.isDamaged, !self.hasRot(node),
            let leader = self.leader(of: group)
        else {
            return
        }
        guard self.change(leader, node, votes: false, in: group) else { return }
        self.demoted.append((group, node.index))
    }

    func isDemoted(_ node: SimulatedNode) -> Bool { self.demoted.contains { $0.node == node.index } }

    /// Asks each group's leader, as often as it takes.
    func restoreVotes() {
        for group in Self.groups { self.restoreVotes(in: group) }
    }

    /// One whose change came to nothing never lost its vote: seen by a leader that has committed in its term.
    private func restoreVotes(in group: GroupID) {
        guard let leader = self.leader(of: group), let view = leader.core!.inspect(group) else { return }
        self.demoted.removeAll { $0.group == group && view.voters.contains(self.nodes[$0.node].member) }
        for (at, index) in self.demoted where at == group {
            _ = self.change(leader, self.nodes[index], votes: true, in: group)
        }
    }

    private func change(_ leader: SimulatedNode, _ node: SimulatedNode, votes: Bool, in group: GroupID) -> Bool {
        self.begin(leader)
        defer { self.scheduleTurn(leader) }
        return leader.core!.setVoting(node.member, votes, in: group)
    }

    /// Of the highest term, where several believe that they lead; nil while it does not know what is committed.
    private func leader(of group: GroupID) -> SimulatedNode? {
        let leaders = self.nodes.filter { $0.isRunning && !$0.isPaused && $0.core?.inspect(group)?.role == .leader }
        let newest = leaders.max { $0.core!.inspect(group)!.term < $1.core!.inspect(group)!.term }
        guard let newest, newest.core!.inspect(group)!.hasCommittedInTerm else { return nil }
        return newest
    }
}
