import Replication
import Testing

@Suite struct TransferTests {
    @Test func leadershipGoesToTheOneNamedWithoutAnyTimePassing() {
        let cluster = Cluster()
        cluster.elect(1)
        let before = cluster.now
        #expect(cluster.transfer(1, to: 2))
        cluster.settle()
        #expect(cluster.leaders == [2])
        #expect(cluster[2].replica.term == 2)
        #expect(cluster[2].replica.commitIndex == 2)
        #expect(cluster.now == before)
    }

    @Test func withoutANameItGoesToTheOneWithTheMostOfTheLog() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 3)]
        cluster.propose(1)
        cluster.settle()
        cluster.cuts = []
        #expect(cluster.transfer(1, to: nil))
        cluster.settle()
        #expect(cluster.leaders == [2])
    }

    /// A member that lags is caught up first; proposals are refused meanwhile, or it would never be.
    @Test func aMemberThatLagsIsCaughtUpFirst() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(3)
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        cluster.settle()
        cluster.restart(3)
        #expect(cluster.transfer(1, to: 3))
        #expect(cluster[1].isTransferring)
        #expect(cluster.take { $0.body == .timeoutNow }.isEmpty)
        #expect(cluster.propose(1) == .notLeader)
        #expect(cluster.change(1, voters: [1, 2]) == .notLeader)
        cluster.settle()
        #expect(cluster.leaders == [3])
        #expect(cluster[3].replica.commitIndex == 7)
        #expect(cluster.propose(3) == .accepted(8))
    }

    @Test func aTransferThatComesToNothingIsGivenUp() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.cuts = [(1, 3)]
        cluster.settle()
        #expect(cluster.transfer(1, to: 3))
        cluster.settle()
        #expect(cluster.propose(1) == .notLeader)
        cluster.advance(.milliseconds(599))
        #expect(cluster[1].isTransferring)
        cluster.advance(.milliseconds(1))
        #expect(!cluster[1].isTransferring)
        #expect(cluster.leaders == [1])
        #expect(cluster.propose(1) == .accepted(3))
    }

    @Test func nobodyToHandOverTo() {
        let cluster = Cluster(voters: [1, 2], learners: [3])
        cluster.elect(1)
        #expect(!cluster.transfer(2, to: 1), "a follower hands nothing over")
        #expect(!cluster.transfer(1, to: 3), "a learner cannot lead")
        #expect(!cluster.transfer(1, to: 1))
        cluster.suspect(2, by: 1)
        #expect(!cluster.transfer(1, to: nil), "a suspected one is no use")
        cluster.trust(2, by: 1)
        cluster.crash(2)
        #expect(!cluster.transfer(1, to: 2))
        #expect(cluster.leaders == [1])
    }

    @Test func oneThatIsToldToStandByOneItDoesNotFollowDoesNot() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(2), term: 1, body: .timeoutNow))
        cluster.receive(Message(group: testGroup, from: member(1), to: member(2), term: 0, body: .timeoutNow))
        #expect(cluster[2].replica.role == .follower)
        #expect(cluster[2].replica.term == 1)
    }

    /// A member that installs a snapshot on the way has the whole log by it, without an append to follow.
    @Test func aMemberThatIsCaughtUpByASnapshotAloneTakesOver() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(3)
        cluster.propose(1)
        cluster.settle()
        cluster.checkpoint(1)
        cluster.restart(3)
        cluster.settle()
        #expect(cluster.transfer(1, to: 3))
        cluster.settle()
        #expect(cluster.leaders == [1])
        cluster.install(cluster[1].disk.snapshot!, at: 3, from: 1)
        cluster.settle()
        #expect(cluster.leaders == [3])
    }
}
