import Replication
import Testing

@Suite struct ReadTests {
    @Test func aLeaderAnswersOnceAMajorityConfirmsThatItLeads() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.settle()
        cluster.read(1, ticket: 7)
        #expect(cluster[1].reads.isEmpty)
        cluster.deliver(to: 2)
        #expect(cluster[1].reads.isEmpty)
        cluster.deliver(to: 1)
        #expect(cluster[1].reads.map { [$0.ticket, $0.index] } == [[7, 2]])
    }

    @Test func aGroupOfOneAnswersAtOnce() {
        let cluster = Cluster(voters: [1])
        cluster.elect(1)
        cluster.read(1, ticket: 1)
        #expect(cluster[1].reads.map { $0.index } == [1])
    }

    @Test func aFollowerAsksTheLeader() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.read(3, ticket: 9)
        cluster.settle()
        #expect(cluster[3].reads.map { [$0.ticket, $0.index] } == [[9, 1]])
        #expect(cluster[1].reads.isEmpty)
    }

    @Test func withoutALeaderAReadFailsAtOnce() {
        let cluster = Cluster()
        cluster.read(2, ticket: 4)
        #expect(cluster[2].failedReads == [4])
    }

    @Test func oneThatDoesNotLeadRefusesAFollowersRead() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(2), term: 1, body: .readIndex(ticket: 4)))
        let replies = cluster.take()
        #expect(replies.map { $0.body } == [.readIndexReply(ticket: 4, index: nil)])
        replies.forEach { cluster.receive($0) }
        #expect(cluster[3].failedReads == [4])
    }

    /// 1. 1 commits entry 2 and dies before anyone hears that it is committed.
    /// 2. 2 or 3 leads: its commit index is still 1.
    /// 3. A read there waits until an entry of the new term is committed, and then sees entry 2.
    @Test func aNewLeadersReadWaitsForAnEntryOfItsTerm() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.deliver()
        cluster.persist(2)
        cluster.persist(3)
        cluster.deliver(to: 1)
        #expect(cluster[1].replica.commitIndex == 2)
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.repeat(until: { !cluster.leaders.isEmpty }) {
            cluster.deliver()
            cluster.persistAll()
        }
        let leader = cluster.leaders[0]
        #expect(cluster[leader].replica.commitIndex == 1)
        #expect(!cluster[leader].hasCommittedInTerm)
        cluster.read(leader, ticket: 1)
        cluster.persistAll()
        #expect(cluster[leader].reads.isEmpty)
        cluster.settle()
        #expect(cluster[leader].reads.map { $0.index } == [3])
    }

    /// Reads that come while a round is under way share the next: two rounds for any number of reads.
    @Test func readsAreBatchedInRounds() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 3)]
        cluster.read(1, ticket: 1)
        let first = cluster.take { $0.to == member(2) && $0.append != nil }
        #expect(first.count == 1)
        cluster.drop()
        for ticket: UInt64 in 2...50 { cluster.read(1, ticket: ticket) }
        #expect(cluster.take { $0.append != nil }.isEmpty, "no second round beside the first")
        cluster.receive(first[0])
        cluster.deliver(to: 1)
        #expect(cluster[1].reads.map { $0.ticket } == [1])
        let second = cluster.take { $0.to == member(2) && $0.append != nil }
        #expect(second.count == 1)
        cluster.receive(second[0])
        cluster.deliver(to: 1)
        #expect(cluster[1].reads.map { $0.ticket } == Array(1...50))
    }

    /// A round that was confirmed before a read was asked says nothing about it: the write in between must be seen.
    @Test func aReadIsNotAnsweredByAnEarlierRound() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.read(1, ticket: 1)
        let confirmation = { cluster.take { $0.to == member(1) } }
        cluster.deliver()
        let late = confirmation()
        #expect(late.count == 2)
        cluster.receive(late[0])
        #expect(cluster[1].reads.count == 1)
        cluster.read(1, ticket: 2)
        cluster.receive(late[1])
        #expect(cluster[1].reads.count == 1)
    }

    /// 1. 1 leads term 1 and is cut off. 2 is elected and commits a write.
    /// 2. 1 does not know and is asked to read: nobody confirms its round.
    /// 3. It learns of the later term: the reads fail, none is answered.
    @Test func aDeposedLeaderServesNoRead() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 2), (1, 3)]
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        let leader = cluster.leaders.first { $0 != 1 }!
        cluster.propose(leader)
        cluster.settle()
        #expect(cluster.leaders.contains(1))
        cluster.read(1, ticket: 1)
        cluster.run(.milliseconds(500))
        #expect(cluster[1].reads.isEmpty)
        cluster.read(1, ticket: 2)
        cluster.cuts = []
        cluster.run(.seconds(2))
        #expect(cluster[1].reads.isEmpty)
        #expect(cluster[1].failedReads.sorted() == [1, 2])
        #expect(cluster[1].replica.leader == member(leader))
    }

    /// An answer of a leader that is not the asker's any more is not taken.
    @Test func anAnswerOfAnEarlierTermIsNotTaken() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.read(3, ticket: 5)
        cluster.deliver(from: 3)
        cluster.deliver(to: 2)
        cluster.deliver(from: 2, to: 1)
        let answers = cluster.take { $0.body == .readIndexReply(ticket: 5, index: 1) }
        #expect(answers.count == 1)
        cluster.cuts = [(1, 2), (1, 3)]
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        #expect(cluster[3].replica.term == 2)
        cluster.receive(answers[0])
        #expect(cluster[3].reads.isEmpty)
        #expect(cluster[3].failedReads == [5])
    }

    @Test func aRoundWhoseAnswersWereLostIsAskedAgain() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.read(1, ticket: 1)
        cluster.deliver(from: 1)
        cluster.drop(to: 1)
        cluster.run(.seconds(2))
        #expect(cluster[1].reads.map { $0.ticket } == [1])
    }

    /// A replica that loads a snapshot follows meanwhile: its confirmations count.
    @Test func oneThatAwaitsASnapshotConfirmsRounds() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(3)
        cluster.propose(1)
        cluster.settle()
        cluster.checkpoint(1)
        cluster.restart(3)
        cluster.settle()
        #expect(cluster[1].snapshotsNeeded == [member(3)])
        cluster.crash(2)
        cluster.read(1, ticket: 1)
        cluster.settle()
        #expect(cluster[1].reads.map { $0.index } == [2])
    }
}
