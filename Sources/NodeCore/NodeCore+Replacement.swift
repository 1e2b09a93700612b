import Catalog
import Formats
package import Replication

/// A node that lost its disk comes back with a new incarnation, and takes the place of the old one in every group, by
/// steps that each leader drives from what its log says: so it goes on where another leader left off.
///
/// | the membership says | then |
/// |---|---|
/// | node N votes with another incarnation than is connected | the connected one becomes a learner |
/// | it is a learner, and has the log | it votes, and the old one leaves, in one joint change |
/// | node N follows without a vote, with another incarnation than is connected | the connected one follows in its place |
/// | the change is joint | it ends by itself once committed (`Replica+Membership`) |
///
/// The old incarnation counts until the change is committed: a majority of the others has all that it acknowledged.
extension NodeCore {
    /// So many entries may a learner be behind when it is made a voter.
    private static let promotionLag: LogIndex = 100
    /// For so long it has been connected: two processes under one number take the connection from each other.
    private static let settledAfter = Nanoseconds.milliseconds(500)

    func considerReplacements(in group: Group) {
        guard group.isLeader, group.replica.hasCommittedInTerm, !group.replica.isMembershipChanging,
            !group.replica.isTransferring, !self.isStopping
        else { return }
        let membership = group.replica.membership
        for peer in self.peers where self.mayJoin(peer) {
            let member = peer.member
            let old = membership.voters.first { $0.node == member.node }
            guard old != member, old != nil || membership.learners.contains(where: { $0.node == member.node })
            else { continue }
            if !membership.learners.contains(member) {
                let learners = membership.learners.filter { $0.node != member.node } + [member]
                self.change(group, voters: membership.voters, learners: learners, .learnerAdded(group.id, member))
                return
            }
            // Whose vote was taken gets none by losing its disk.
            guard let old else { continue }
            let match = group.replica.matchIndex(of: member)
            // With the entry that made it a learner it has acknowledged something as one.
            guard match >= group.replica.membershipIndex, match + Self.promotionLag >= group.replica.lastIndex,
                !group.replica.isIncomplete(member)
            else { continue }
            self.change(
                group, voters: membership.voters.filter { $0 != old } + [member],
                learners: membership.learners.filter { $0 != member }, .promoted(group.id, member, old: old))
            return
        }
    }

    /// Has a member of a group that this node leads vote, or follow without a vote: one change at a time.
    ///
    /// - Returns: whether the change is under way. Not so where another is, where the member has not all but the last 100
    ///   entries, where an earlier disk of its node votes (whose place it takes by itself), and where nobody would be left
    ///   to vote.
    package func setVoting(_ member: MemberID, _ votes: Bool, in id: GroupID) -> Bool {
        guard let group = self.group(id), group.isLeader, group.replica.hasCommittedInTerm,
            !group.replica.isMembershipChanging, !group.replica.isTransferring, !self.isStopping
        else { return false }
        let membership = group.replica.membership
        guard membership.voters.contains(member) != votes, membership.learners.contains(member) == votes,
            !votes || group.replica.matchIndex(of: member) + Self.promotionLag >= group.replica.lastIndex,
            votes || membership.voters.count > 1,
            !membership.voters.contains(where: { $0.node == member.node && $0 != member })
        else { return false }
        return self.change(
            group, voters: votes ? membership.voters + [member] : membership.voters.filter { $0 != member },
            learners: votes ? membership.learners.filter { $0 != member } : membership.learners + [member],
            .votingChanged(group.id, member, votes: votes))
    }

    private func mayJoin(_ peer: Peer) -> Bool {
        peer.isConnected && !peer.isSuspected && !peer.isStale && self.now - peer.connectedAt >= Self.settledAfter
            && !self.memory.runs.isRetired(peer.member)
    }

    @discardableResult
    private func change(
        _ group: Group, voters: [MemberID], learners: [MemberID], _ event: NodeEvent
    ) -> Bool {
        let result = group.replica.changeMembership(
            voters: voters, learners: learners, wall: self.wall, now: self.now, into: &group.effects)
        guard case .accepted = result else { return false }
        self.effects.events.append(event)
        self.effects.wantsTurn = true
        return true
    }

    /// Whether some group still counts an earlier disk of the member's node.
    private func isDisplacing(_ member: MemberID) -> Bool {
        self.groups.contains { group in
            let committed = group.replica.committedMembership
            return committed.all.contains { $0.node == member.node && $0 != member }
        }
    }

    /// Whether every group counts this incarnation as a voter, for good.
    func isVoterEverywhere(_ member: MemberID) -> Bool {
        self.groups.allSatisfy { group in
            let committed = group.replica.committedMembership
            return committed.voters.contains(member) && committed.outgoing.isEmpty
        }
    }

    /// The leader of the system group books each node whose disk is not the one that the groups count.
    func bookLostDisks() {
        guard let system = self.group(.system), system.isLeader, system.replica.hasCommittedInTerm else { return }
        for peer in self.peers where peer.isConnected && (peer.isStale || self.isDisplacing(peer.member)) {
            // The last run of the disk that is gone.
            var run: Run = 0
            for known in self.memory.runs.members where known.member.node == peer.member.node {
                if peer.isStale || known.member != peer.member { run = max(run, known.marks.last?.run ?? 0) }
            }
            self.incidents.diskLost(
                peer.member.node, run: run, lastGood: peer.goodBefore, now: self.now, wall: self.wall)
        }
        self.adoptLostDisks(system)
    }

    /// Incidents whose teller may be gone: this leader follows them to their end. Not one that this run has told of
    /// itself, as the word of its end may be under way.
    private func adoptLostDisks(_ system: Group) {
        guard self.now - self.ledgerCheckedAt >= .seconds(1), case .catalog(let catalog) = system.machine else {
            return
        }
        self.ledgerCheckedAt = self.now
        let me = self.configuration.me.node
        for incident in catalog.incidents.suffix(64) where incident.cause == .diskLost && incident.closed == nil {
            let isOwn = incident.accounts.contains { $0.observer == me && $0.episode >> 20 == self.configuration.run }
            guard !isOwn else { continue }
            self.incidents.diskLost(
                incident.node, run: incident.run, lastGood: Instant(nanoseconds: 0), now: self.now, wall: self.wall)
        }
    }
}
