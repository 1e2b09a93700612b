import Replication

extension RandomCluster {
    /// All faults end, but for one member that stays dead where every membership can do without it: then somebody
    /// leads, what is proposed is committed everywhere, and reads are answered, all within two seconds, which is 33
    /// election timeouts.
    func heal() -> String? {
        self.isCalm = true
        for i in self.members.indices { for j in self.members.indices { self.isCut[i][j] = false } }
        var dead: Int?
        // One that is whole may be the only one that has what others miss.
        if self.random.chance(1, in: 2), self.members.allSatisfy({ $0.disk.holes.isEmpty }),
            self.members.allSatisfy({
                let membership = $0.replica.membership
                return membership.voters.count >= 3 && (membership.outgoing.isEmpty || membership.outgoing.count >= 3)
            })
        {
            let at = self.members.firstIndex { $0.isAlive && $0.replica.role == .leader } ?? self.pick()
            self.crash(at)
            dead = at
        }
        for at in self.members.indices where at != dead {
            if !self.members[at].isAlive { self.restart(at) }
            self.members[at].replica.abstain(false)
            for other in self.members.indices where other != at { self.suspicions[at][other]?.isWrongUntil = nil }
        }
        for i in self.members.indices { for j in 0..<i { self.reconnect(i, j) } }

        let end = self.now + .seconds(self.faults.rot > 0 ? 4 : 2)
        var proposed: (index: LogIndex, term: Term)?
        var asked: UInt64?
        while self.now < end {
            self.turn()
            if let violation = self.checker.violation { return violation }
            let leaders = self.members.filter { $0.isAlive && $0.replica.role == .leader }
            guard let leader = leaders.max(by: { $0.replica.term < $1.replica.term }) else { continue }
            if proposed?.term != leader.replica.term {
                proposed = nil
                asked = nil
                if !leader.replica.isTransferring, leader.replica.uncommittedBytes == 0,
                    case .accepted(let index) = leader.replica.propose(
                        .commands, payload: payload(1), wall: WallTime(nanoseconds: 0), now: self.now,
                        into: &leader.effects)
                {
                    proposed = (index, leader.replica.term)
                }
                self.end(leader)
            }
            guard let proposed else { continue }
            let membership = leader.replica.membership
            let following = self.members.filter {
                $0.isAlive && (membership.voters.contains($0.id) || membership.learners.contains($0.id))
            }
            guard membership.outgoing.isEmpty, following.allSatisfy({ $0.replica.commitIndex >= proposed.index }) else {
                continue
            }
            if asked == nil {
                asked = self.lastTicket + 1
                for member in following { self.read(at: member) }
            }
            let tickets = asked!..<asked! + UInt64(following.count)
            if tickets.allSatisfy({ self.checker.isAnswered($0) }) { return nil }
        }
        return "nobody leads, or nothing is committed or read, two seconds after all faults ended"
    }
}
