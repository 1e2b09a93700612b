import Replication
import Testing

@Suite struct MembershipChangeTests {
    private func voters(_ cluster: Cluster, _ number: UInt32) -> [MemberID] {
        cluster[number].replica.membership.voters
    }

    @Test func aVoterIsAddedByAJointChangeThatEndsByItself() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        #expect(cluster.change(1, voters: [1, 2, 3, 4]) == .accepted(2))
        #expect(cluster[1].replica.membership.outgoing == members(1, 2, 3))
        cluster.settle()
        for number: UInt32 in 1...4 {
            #expect(cluster[number].replica.membership == Membership(voters: members(1, 2, 3, 4)))
            #expect(cluster[number].replica.commitIndex == 3)
        }
        #expect(cluster[4].replica.role == .follower)
    }

    @Test func aVoterIsRemovedAndCountsNoMore() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.change(1, voters: [1, 2])
        cluster.settle()
        #expect(self.voters(cluster, 1) == members(1, 2))
        cluster.crash(2)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == 3, "3 votes no more, 2 is gone")
        // 3 may not disturb those that are left.
        cluster.restart(2)
        cluster.suspect(1, by: 3)
        cluster.run(.seconds(2))
        #expect(cluster.leaders == [1])
        #expect(cluster[1].replica.term == 1)
    }

    @Test func aWholeSetIsReplaced() {
        let cluster = Cluster(others: [4, 5, 6])
        cluster.elect(1)
        cluster.propose(1)
        cluster.settle()
        cluster.change(1, voters: [4, 5, 6])
        cluster.run(.seconds(2))
        #expect(cluster.leaders.count == 1)
        #expect(cluster.leaders[0] >= 4)
        for number: UInt32 in 4...6 { #expect(self.voters(cluster, number) == members(4, 5, 6)) }
        #expect(cluster[1].replica.role != .leader)
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.propose(cluster.leaders[0])
        cluster.settle()
        let leader = cluster[cluster.leaders[0]]
        #expect(leader.replica.commitIndex == leader.replica.lastIndex)
    }

    /// While a change is under way a majority of one set is not enough, whichever it is.
    @Test(arguments: [[2, 3], [4, 5]] as [[UInt32]]) func aJointChangeNeedsBothMajorities(silent: [UInt32]) {
        let cluster = Cluster(voters: [1, 2, 3], others: [4, 5])
        cluster.elect(1)
        cluster.cuts = silent.map { (1, $0) }
        cluster.change(1, voters: [1, 4, 5])
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == 1)
        #expect(cluster[1].isInChange)
        cluster.cuts = []
        cluster.run(.seconds(2))
        #expect(cluster[1].replica.membership == Membership(voters: members(1, 4, 5)))
        #expect(cluster[1].replica.commitIndex == cluster[1].replica.lastIndex)
    }

    /// 1. The leader is not among the new voters. It leads, without counting itself, until that is committed.
    /// 2. Then it steps down, having asked the best of the others to stand.
    @Test func aLeaderOutsideTheNewMembershipStepsDownOnceItIsCommitted() {
        let cluster = Cluster()
        cluster.elect(1)
        let before = cluster.now
        cluster.change(1, voters: [2, 3])
        #expect(cluster.leaders == [1])
        cluster.settle()
        #expect(cluster[1].replica.role == .learner)
        #expect(cluster.leaders.count == 1)
        #expect(cluster[2].replica.membership == Membership(voters: members(2, 3)))
        #expect(cluster.now == before)
    }

    /// 1. As above, and what the leader said last is lost: nobody was asked to stand.
    /// 2. It lives, so nobody suspects it, and 2 and 3 hold it for their leader.
    /// 3. As it has no vote any more they do not wait for it without end.
    @Test func aRemovedLeaderThatIsStillAliveIsNotWaitedFor() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.change(1, voters: [2, 3])
        cluster.repeat(until: { cluster.leaders.isEmpty }) {
            cluster.deliver()
            cluster.persistAll()
        }
        cluster.drop(from: 1)
        cluster.cuts = [(1, 2), (1, 3)]
        cluster.run(.seconds(2))
        #expect(cluster.leaders.count == 1)
        #expect(cluster.leaders != [1])
    }

    /// The schedule in the comment on `Replica+Election.swift`: D's own log does not say that it votes.
    @Test func oneWhoseLogDoesNotYetSayThatItVotesAnswersACandidate() {
        let cluster = Cluster(voters: [1, 2, 3], others: [4, 5])
        cluster.elect(1)
        cluster.cuts = [(1, 2), (1, 4), (1, 5)]
        cluster.change(1, voters: [3, 4, 5])
        cluster.settle()
        #expect(cluster[3].replica.lastIndex == 2)
        #expect(cluster[4].replica.lastIndex == 0)
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.run(.seconds(2))
        #expect(cluster.leaders.count == 1)
        #expect(cluster[4].replica.membership == Membership(voters: members(3, 4, 5)))
    }

    /// The schedule in the comment on `mayStand`.
    @Test func oneThatTheUncommittedMembershipLeavesOutStands() {
        let cluster = Cluster(voters: [1, 2])
        cluster.elect(1)
        cluster.change(1, voters: [2])
        cluster.repeat(until: { cluster[1].replica.membership.outgoing.isEmpty }) {
            cluster.deliver()
            cluster.persistAll()
        }
        cluster.persist(1)
        #expect(cluster[1].disk.lastIndex == 3)
        cluster.crash(1)
        #expect(cluster[2].replica.lastIndex == 2)
        cluster.restart(1)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [2])
        #expect(cluster[2].replica.membership == Membership(voters: members(2)))
        #expect(cluster[1].replica.role == .learner)
    }

    @Test func oneChangeAtATimeAndOnlyAfterACommitInTheTerm() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.change(1, voters: [1, 2, 3], learners: [4])
        #expect(cluster.change(1, voters: [1, 2]) == .full)
        cluster.settle()
        #expect(cluster.change(1, voters: []) == .full)
        #expect(cluster.change(2, voters: [1, 2]) == .notLeader)
        #expect(cluster.change(1, voters: [1, 2, 2, 1], learners: [1, 4, 4]) == .accepted(3))
        #expect(cluster[1].replica.membership.voters == members(1, 2))
        #expect(cluster[1].replica.membership.learners == members(4))
    }

    @Test func aMembershipThatIsOverwrittenIsTakenBack() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.cuts = [(1, 2), (1, 3), (1, 4)]
        cluster.change(1, voters: [1, 4])
        #expect(cluster[1].replica.membership.outgoing == members(1, 2, 3))
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        cluster.cuts = []
        cluster.propose(cluster.leaders.first { $0 != 1 }!)
        cluster.run(.seconds(2))
        #expect(cluster[1].replica.membership == Membership(voters: members(1, 2, 3)))
        #expect(cluster[1].replica.log.lastHash == cluster[2].replica.log.lastHash)
    }

    /// 1. 1 leads term 1 and commits a joint membership: the final one is to follow at the end of the turn.
    /// 2. In the same turn it is deposed.
    /// 3. It leads again: nothing of that turn is left. The final membership follows once an entry of the new term is
    ///    committed, and not before.
    @Test func whatADeposedLeaderStillOwedIsForgotten() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.change(1, voters: [1, 2, 3, 4])
        cluster.repeat(until: { cluster[1].replica.matchIndex(of: member(2)) == 2 }) {
            cluster.persist(1)
            cluster.deliver(to: 2)
            cluster.persist(2)
            cluster.deliver(from: 2, to: 1)
        }
        cluster.drop()
        #expect(cluster[1].replica.commitIndex == 1)
        func reply(_ from: UInt32, term: Term) -> Message {
            let reply = Message.AppendReply(outcome: .matched(2), round: 0)
            return Message(group: testGroup, from: member(from), to: member(1), term: term, body: .appendReply(reply))
        }
        cluster.input(1) {
            $0.receive(reply(3, term: 1), now: $1, into: &$2)
            $0.receive(reply(2, term: 5), now: $1, into: &$2)
        }
        #expect(cluster[1].replica.commitIndex == 2)
        #expect(cluster.leaders == [])
        cluster.drop()
        cluster.timeOut(1)
        cluster.repeat(until: { !cluster.leaders.isEmpty }) {
            cluster.persistAll()
            cluster.deliver()
        }
        #expect(cluster.leaders == [1])
        #expect(cluster[1].replica.lastIndex == 3)
        #expect(cluster[1].isInChange)
        cluster.settle()
        #expect(!cluster[1].isInChange)
        #expect(cluster[1].replica.lastIndex == 4)
    }

    /// One change takes the old disk of a node out and the new one in. What the leader would send to the old one goes
    /// nowhere, though its node is connected: by the new one.
    @Test func anotherDiskOfANodeTakesItsPlace() {
        let cluster = Cluster(voters: [1, 2, 3], others: [4])
        cluster.elect(1)
        cluster.crash(3)
        let old = MemberID(node: NodeID(3), incarnation: Incarnation(high: 0, low: 99))
        cluster.input(1) { $0.connected(old, now: $1, into: &$2) }
        cluster.propose(1)
        #expect(cluster.take { $0.to == member(3) }.isEmpty)
        #expect(cluster.change(1, voters: [1, 2, 4], learners: []) == .accepted(3))
        #expect(cluster.take { $0.to == member(3) }.isEmpty)
        cluster.settle()
        #expect(cluster[1].replica.committedMembership.voters == members(1, 2, 4))
        #expect(!cluster[1].isInChange)
    }

    /// 1. 1 leads; its disk is lost, and its node is back with another one, alive and no voter.
    /// 2. A late append of its former life reaches 2: any message of a leader ends the suspicion of it.
    /// 3. Nobody suspects the node, which lives. Were its old disk waited for, nobody would ever lead again.
    @Test func aLeaderWhoseNodeIsBackWithAnotherDiskIsNotWaitedFor() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(1)
        let new = MemberID(node: NodeID(1), incarnation: Incarnation(high: 0, low: 99))
        for number: UInt32 in [2, 3] { cluster.input(number) { $0.connected(new, now: $1, into: &$2) } }
        let append = Message.Append(previousIndex: 1, previousTerm: 1, entries: [], commit: 1, round: 9)
        for number: UInt32 in [2, 3] {
            cluster.receive(
                Message(group: testGroup, from: member(1), to: member(number), term: 1, body: .append(append)))
        }
        cluster.run(.seconds(3))
        #expect(cluster.leaders.count == 1 && cluster.leaders != [1])
    }

    /// A new leader that finds a change under way ends it.
    @Test func aNewLeaderFinishesAChangeThatItFindsUnderWay() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.change(1, voters: [2, 3, 4])
        cluster.deliver()
        cluster.persist(2)
        cluster.persist(3)
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.run(.seconds(2))
        #expect(cluster.leaders.count == 1)
        for number: UInt32 in 2...4 {
            #expect(cluster[number].replica.membership == Membership(voters: members(2, 3, 4)))
        }
    }
}

@Suite struct LearnerTests {
    /// Learners get the log; they are not asked, their votes and acknowledgements do not count, and they do not stand.
    @Test func learnersNeverStandVoteOrCount() {
        let cluster = Cluster(voters: [1, 2], learners: [3, 4])
        #expect(cluster[3].replica.role == .learner)
        cluster.advance(.seconds(1))
        #expect(cluster.take { $0.from == member(3) || $0.from == member(4) }.isEmpty)
        #expect(cluster.take { $0.to == member(3) || $0.to == member(4) }.isEmpty)
        cluster.settle()
        cluster.run(.seconds(1))
        let leader = cluster.leaders[0]
        let other = 3 - leader
        cluster.crash(other)
        cluster.propose(leader)
        cluster.settle()
        #expect(cluster[3].replica.lastIndex == 2)
        #expect(cluster[4].disk.lastIndex == 2)
        #expect(cluster[leader].replica.matchIndex(of: member(3)) == 2)
        #expect(cluster[leader].replica.commitIndex == 1, "three of four have it, but one of two voters")
        cluster.suspect(leader, by: 3, 4)
        cluster.advance(.seconds(2))
        #expect(cluster.take { $0.isPreVoteRequest || $0.isVoteRequest }.isEmpty)
    }

    @Test func aLearnersVoteDoesNotElect() {
        let cluster = Cluster(voters: [1, 2], learners: [3])
        cluster.timeOut(1)
        cluster.deliver(to: 2)
        cluster.deliver(to: 1)
        cluster.persist(1)
        #expect(cluster[1].replica.role == .candidate)
        cluster.receive(
            Message(group: testGroup, from: member(3), to: member(1), term: 1, body: .voteReply(granted: true)))
        #expect(cluster[1].replica.role == .candidate)
    }

    @Test func aLearnersConfirmationDoesNotCountForReads() {
        let cluster = Cluster(voters: [1, 2], learners: [3])
        cluster.elect(1)
        cluster.crash(2)
        cluster.read(1, ticket: 1)
        cluster.settle()
        #expect(cluster[1].reads.isEmpty)
    }

    /// It was connected before it became a member, and does not connect again.
    @Test func aNewMemberThatIsAlreadyConnectedIsSentTheLog() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[4].replica.lastIndex == 0)
        cluster.change(1, voters: [1, 2, 3], learners: [4])
        cluster.settle()
        #expect(cluster[4].replica.commitIndex == 3)
        #expect(cluster[4].replica.role == .learner)
    }

    /// 1 leads itself out of the membership, and stops. 3 did not hear of that: by its log 1 votes, and 1 lives.
    @Test func whoeverStillTrustsALeaderThatStoppedAsksIt() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.change(1, voters: [2, 3, 4])
        cluster.`repeat`(until: { cluster[3].isInChange }) {
            cluster.deliver()
            cluster.persistAll()
        }
        cluster.cuts = [(1, 3)]
        cluster.`repeat`(until: { cluster[1].replica.role == .learner }) {
            cluster.persistAll()
            cluster.deliver()
        }
        // Whom it asked to stand does not hear it either.
        cluster.drop()
        #expect(cluster.leaders.isEmpty && cluster[1].replica.role == .learner, "it is out, and that is committed")
        #expect(cluster[3].replica.leader == member(1) && cluster[3].isInChange)
        cluster.cuts = []
        cluster.crash(2)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [4], "with 3's vote")
    }

    /// By its own log it is a member, and who it asks leads no more.
    @Test func aPreVoteOfAnEarlierTermIsDeniedToAnyone() {
        let cluster = Cluster(voters: [1, 2], others: [3])
        cluster.elect(1)
        cluster.transfer(1, to: 2)
        cluster.settle()
        #expect(cluster.leaders == [2] && cluster[1].replica.term == 2)
        cluster.receive(
            Message(
                group: testGroup, from: member(3), to: member(1), term: 1,
                body: .preVote(Message.Candidacy(lastIndex: 1, lastTerm: 1, transfer: false))))
        let answers = cluster.take { $0.from == member(1) && $0.to == member(3) }
        #expect(answers.map(\.body) == [.preVoteReply(granted: false)] && answers.map(\.term) == [2])
    }
}
