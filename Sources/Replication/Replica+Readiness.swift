/// Whether a replica would lead.
public enum Readiness: UInt8, Sendable, Comparable, BitwiseCopyable {
    case ready = 1
    /// It has nothing to serve from, or holes in its log: better than none.
    case reluctant = 2
    /// Its disk is sick, or it does not know who the members are: it does not stand.
    case unable = 3

    public static func < (a: Readiness, b: Readiness) -> Bool { a.rawValue < b.rawValue }
}

/// A leader that wants to hand over has to know who would do better. So each replica tells the leader that it follows when it
/// becomes unready, and when it is ready again; of whom nothing is heard, in this term and over this connection, is ready.
/// Without this leadership went by the length of the log alone:
///
/// 1. A leads, and its disk is sick. B's is sick too; C lags by an entry.
/// 2. A waits for B, which never acknowledges, for two election timeouts; nobody proposes anything meanwhile.
///
/// 1. A leads. Its state is in doubt, and so is B's.
/// 2. A hands over to B, which has the most of the log, and B hands over to A, for as long as both are at it.
extension Replica {
    var readiness: Readiness {
        if self.fitness != .fit || self.isMembershipHidden { return .unable }
        return self.isReluctant || !self.isWhole ? .reluctant : .ready
    }

    /// Tells the leader what has changed since it was told. Sent at once, and not with what waits for the disk, so that it
    /// is never overtaken by what was true before.
    mutating func tellReadiness(into effects: inout Effects) {
        guard self.role != .leader, let leader = self.leader, !self.isAbstaining else { return }
        let readiness = self.readiness
        if self.toldReadiness?.leader != leader || self.toldReadiness?.term != self.term {
            self.toldReadiness = (leader, self.term, .ready)
        }
        guard self.toldReadiness?.readiness != readiness else { return }
        self.toldReadiness = (leader, self.term, readiness)
        self.answer(leader, .readiness(readiness), round: 0, into: &effects)
    }

    /// At the leader. A hand-over to one that is not ready any more is given up: others are looked at again.
    mutating func heard(_ readiness: Readiness, at: Int) {
        self.peers[at].readiness = readiness
        if readiness != .ready, self.transfer?.to == self.peers[at].member { self.transfer = nil }
    }

    /// The voter to hand over to: the one that is named, or, of those within reach that would do better, the one with the
    /// most of the log; where this leader goes in any case, of those that can lead at all. Nil: it goes on leading.
    func successor(_ node: NodeID?, leavesAnyway: Bool) -> MemberID? {
        let own = leavesAnyway ? .unable : max(self.readiness, .reluctant)
        var best: Progress?
        for peer in self.peers
        where peer.isConnected && self.membership.voters.contains(peer.member)
            && !self.suspected.contains(peer.member.node)
            && (node == nil ? peer.readiness < own : peer.member.node == node)
            && (best == nil || self.isBetterSuccessor(peer, than: best!))
        {
            best = peer
        }
        return best?.member
    }

    /// One that did not take over when it was asked may be sick without knowing it yet.
    private func isBetterSuccessor(_ peer: Progress, than other: Progress) -> Bool {
        if peer.member == self.lastFailedSuccessor { return false }
        if other.member == self.lastFailedSuccessor { return true }
        return peer.readiness == other.readiness ? peer.match >= other.match : peer.readiness < other.readiness
    }
}
