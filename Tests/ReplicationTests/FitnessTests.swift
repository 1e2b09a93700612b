import Replication
import Testing

/// Replicas whose disk is sick.
@Suite struct FitnessTests {
    private func sicken(_ cluster: Cluster, _ number: UInt32, _ fitness: Fitness = .follows) {
        cluster.sickDisks.append(number)
        cluster.input(number) { $0.fit(fitness, now: $1, into: &$2) }
    }

    /// What waited becomes durable, then the journal says that it is well.
    private func cure(_ cluster: Cluster, _ number: UInt32) {
        cluster.sickDisks.removeAll { $0 == number }
        cluster.persist(number)
        cluster.input(number) { $0.fit(.fit, now: $1, into: &$2) }
        cluster.settle()
    }

    @Test func aLeaderHandsOverWithoutItsDiskAndFollowsInMemory() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.settle()
        self.sicken(cluster, 1)
        #expect(cluster.propose(1) == .notLeader)
        #expect(cluster.transfer(1, to: nil))
        cluster.settle()
        let leader = cluster.leaders[0]
        #expect(cluster.leaders.count == 1 && leader != 1)
        for value: UInt8 in 1...5 { cluster.propose(leader, value) }
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == cluster[leader].replica.commitIndex, "it serves reads")
        #expect(cluster[1].replica.leader == member(leader))
        #expect(cluster[1].disk.hardState.term == 1 && cluster[1].disk.lastIndex == 2)
        cluster.read(1, ticket: 7)
        cluster.settle()
        #expect(cluster[1].reads.map(\.index) == [cluster[leader].replica.commitIndex])
    }

    @Test func whatIsOnlyReceivedDoesNotCount() {
        let cluster = Cluster()
        cluster.elect(1)
        self.sicken(cluster, 3)
        cluster.crash(2)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[3].replica.lastIndex == 2)
        #expect(cluster[1].replica.commitIndex == 1)
        #expect(cluster[1].replica.matchIndex(of: member(3)) == 1)
        self.cure(cluster, 3)
        #expect(cluster[1].replica.matchIndex(of: member(3)) == 2, "told without being asked")
        #expect(cluster[1].replica.commitIndex == 2)
    }

    /// 1. 3 has entries of the leader in memory alone, and the leader knows how far.
    /// 2. 3 restarts without them.
    @Test func aRestartForgetsThemAndGetsThemAgain() {
        let cluster = Cluster()
        cluster.elect(1)
        self.sicken(cluster, 3)
        for value: UInt8 in 1...4 { cluster.propose(1, value) }
        cluster.settle()
        cluster.crash(3)
        cluster.sickDisks = []
        cluster.restart(3)
        cluster.settle()
        #expect(cluster[3].disk.lastIndex == 5)
        #expect(cluster[1].replica.matchIndex(of: member(3)) == 5)
    }

    @Test func withoutADiskThereIsNoVoteAndNoCandidacy() {
        let cluster = Cluster()
        cluster.elect(1)
        self.sicken(cluster, 3)
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.run(.seconds(3))
        #expect(cluster.leaders.isEmpty, "2 alone is no majority")
        #expect(cluster[3].replica.term == 1 && cluster[3].replica.role == .follower)
        self.cure(cluster, 3)
        cluster.run(.seconds(3))
        #expect(cluster.leaders.count == 1)
    }

    @Test func fromTheReserveAVoteIsGivenWhenItIsDurable() {
        let cluster = Cluster()
        cluster.elect(1)
        self.sicken(cluster, 3, .votes)
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        #expect(cluster[3].replica.role == .follower && cluster[3].replica.hardState.votedFor == member(2))
        #expect(cluster.leaders.isEmpty, "promised to nobody yet")
        let votes = cluster[3].batches.flatMap(\.messages).filter(\.isGrantedVote)
        #expect(votes.count == 1)
        for vote in votes { cluster.receive(vote) }
        cluster.settle()
        #expect(cluster.leaders == [2])
    }

    @Test func whatIsTakenInIsBounded() {
        let cluster = Cluster { $0.maxMemoryBytes = 4000 }
        cluster.elect(1)
        self.sicken(cluster, 3)
        for value: UInt8 in 1...50 {
            cluster.propose(1, value, count: 1000)
            cluster.settle()
        }
        #expect(cluster[1].replica.commitIndex == 51)
        #expect(cluster[3].replica.lastIndex < 10)
        cluster.run(.seconds(5))
        #expect(cluster[3].replica.lastIndex < 10)
        self.cure(cluster, 3)
        cluster.run(.seconds(3))
        #expect(cluster[3].disk.lastIndex == 51 && cluster[3].replica.commitIndex == 51)
    }

    /// 2 and 1 are sick: the one that did not take over is not asked for ever.
    @Test func aSuccessorThatIsSickTooIsPassedOver() {
        let cluster = Cluster(voters: [1, 2, 3, 4, 5])
        cluster.elect(1)
        self.sicken(cluster, 1)
        self.sicken(cluster, 5)
        cluster.`repeat`(until: { cluster.leaders.contains { $0 != 1 && $0 != 5 } }) {
            cluster.transfer(1, to: nil)
            cluster.run(.milliseconds(700))
        }
    }
}
