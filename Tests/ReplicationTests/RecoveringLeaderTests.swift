import Replication
import Testing

/// Replicas with holes that vote, stand and lead.
@Suite struct RecoveringLeaderTests {
    // MARK: Votes

    @Test func whatIsMissingIsNotDenied() {
        let cluster = Cluster.settled()
        cluster.crash(3)
        cluster.propose(1, 9)
        cluster.settle()
        cluster.crash(1)
        cluster.crash(2)
        cluster.rot(2, 7)
        cluster.restart(2)
        cluster.restart(3)
        cluster.suspect(1, by: 2, 3)
        // 3 lacks 7; 2 had it, and lets nobody win without it.
        for _ in 0..<3 {
            cluster.timeOut(3)
            cluster.settle()
            #expect(cluster.leaders != [3])
        }
    }

    @Test func whoeverHasHolesLetsOthersStandFirst() {
        let cluster = Cluster.settled()
        cluster.crash(1)
        cluster.crash(2)
        cluster.rot(2, 4)
        cluster.restart(2)
        cluster.drop()
        let began = cluster.now
        cluster.stand(2)
        #expect(cluster.now - began >= .milliseconds(600), "two election timeouts")
        #expect(cluster[2].replica.role == .preCandidate)
    }

    /// Who votes is in an entry that is missing: it answers, and does not stand.
    @Test(arguments: [true, false]) func withoutAMembershipNobodyStands(_ isHeaderKnown: Bool) {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.change(1, voters: [1, 2, 3, 4])
        cluster.settle()
        let changes = (1...cluster[2].disk.lastIndex).filter {
            cluster[2].disk.entries[Int($0) - 1].kind == .membership
        }
        #expect(changes.count == 2)
        for number: UInt32 in 1...4 { cluster.crash(number) }
        for index in changes { cluster.rot(2, index, isHeaderKnown: isHeaderKnown) }
        cluster.restart(2)
        for _ in 0..<5 { cluster.timeOut(2) }
        #expect(cluster[2].replica.role == .follower && cluster[2].replica.term == 1)
        #expect(cluster.take { $0.isPreVoteRequest }.isEmpty)
        cluster.restart(4)
        cluster.timeOut(4)
        cluster.deliver(to: 2)
        #expect(cluster.take { $0.isGrantedPreVote && $0.from == member(2) }.count == 1)
        cluster.settle()
        #expect(cluster[2].replica.membership == Membership(voters: members(1, 2, 3, 4)))
        #expect(cluster[2].mayStandForElection)
    }

    // MARK: A leader with holes

    @Test func aRecoveringLeaderServesNothingUntilItsHolesAreClosed() {
        let cluster = Cluster.settled()
        cluster.crash(3)
        cluster.propose(1, 9)
        cluster.settle()
        cluster.crash(1)
        cluster.crash(2)
        cluster.rot(2, 7)
        cluster.restart(2)
        cluster.restart(3)
        cluster.insist(2)
        #expect(cluster.leaders == [2], "its log is the best")
        #expect(cluster[2].isRecovering)
        #expect(cluster[3].replica.leader == member(2))
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [2] && cluster[2].isRecovering && cluster[2].isFillingFruitless)
        #expect(cluster[2].replica.lastIndex == 7 && cluster[3].replica.lastIndex == 6, "nothing is proposed or sent")
        #expect(cluster.propose(2) == .recovering)
        cluster.read(2, ticket: 1)
        cluster.read(3, ticket: 2)
        cluster.run(.seconds(3))
        #expect(cluster[2].reads.isEmpty && cluster[3].reads.isEmpty)
        #expect(cluster[2].replica.commitIndex == 0)

        cluster.restart(1)
        cluster.settle()
        #expect(!cluster[2].isRecovering && cluster.leaders == [2])
        #expect(cluster[2].replica.commitIndex == 8, "7, and the empty entry of its term")
        #expect(cluster.propose(2) == .accepted(9))
        cluster.read(3, ticket: 3)
        cluster.settle()
        #expect(cluster[3].reads.map(\.ticket) == [3])
    }

    /// 1. 2 leads with a hole at 7. It gets the entry, and its disk is slow.
    /// 2. Did it go on, it would commit by what only a crash away is a hole again.
    @Test func aRecoveringLeaderWaitsForItsDisk() {
        let cluster = Cluster.settled()
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.rot(2, 6)
        cluster.restart(2)
        cluster.restart(3)
        cluster.stand(2)
        var wanted: [Message] = []
        cluster.`repeat`(until: { cluster.leaders == [2] }) {
            wanted = cluster.take { !$0.wanted.isEmpty }
            cluster.persistAll()
            cluster.deliver()
        }
        wanted += cluster.take { !$0.wanted.isEmpty }
        #expect(cluster[2].isRecovering)
        cluster.sickDisks = [2]
        for message in wanted { cluster.receive(message) }
        cluster.settle()
        #expect(cluster[2].filled == [6] && cluster[2].isRecovering)
        cluster.sickDisks = []
        cluster.settle()
        #expect(!cluster[2].isRecovering && cluster[2].replica.commitIndex == 7)
    }

    /// One of two entries is durable again, the other is in memory.
    @Test func aRecoveringLeaderWaitsForAllOfIt() {
        let cluster = Cluster.settled()
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.rot(2, 5, 6)
        cluster.restart(2)
        cluster.restart(3)
        cluster.stand(2)
        cluster.`repeat`(until: { cluster.leaders == [2] }) {
            _ = cluster.take { !$0.wanted.isEmpty }
            cluster.persistAll()
            cluster.deliver()
        }
        cluster.drop()
        for index: LogIndex in 5...6 {
            let entry = cluster[3].replica.log.entry(at: index)
            cluster.receive(
                Message(
                    group: testGroup, from: member(3), to: member(2), term: cluster[2].replica.term,
                    body: .entries([.entry(entry)])))
        }
        #expect(cluster[2].filled == [5, 6])
        cluster.persistOne(2)
        #expect(cluster[2].isRecovering)
        cluster.persistOne(2)
        #expect(!cluster[2].isRecovering)
    }

    /// See `Replica.resign`.
    @Test func aRecoveringLeaderLetsWhoeverCanLead() {
        let cluster = Cluster.withAnUnsentEntry()
        cluster.restart(2)
        cluster.restart(3)
        cluster.elect(3)
        cluster.crash(3)
        cluster.crash(2)
        // What 3 appended never came to 2.
        cluster[2].disk.entries.removeLast()
        cluster.rot(1, 7)
        cluster.restart(1)
        cluster.restart(2)
        // 2 has voted in term 2, and says so.
        cluster.insist(1)
        cluster.stand(1)
        cluster.`repeat`(until: { cluster.leaders == [1] }) {
            _ = cluster.take { !$0.wanted.isEmpty }
            cluster.persistAll()
            cluster.deliver()
        }
        #expect(cluster[1].isRecovering)
        // It has not said what it never had.
        cluster.crash(2)
        cluster.restart(3)
        cluster.run(.seconds(5))
        #expect(cluster.leaders == [1] && cluster[1].isRecovering && cluster[1].isFillingFruitless)
        #expect(cluster[1].discarded.isEmpty, "3 alone denies it")
        cluster.input(1) { $0.resign(now: $1, into: &$2) }
        cluster.run(.seconds(2))
        #expect(cluster.leaders == [3] && cluster[1].isWhole)
        #expect(cluster[1].replica.log.lastHash == cluster[3].replica.log.lastHash)
        #expect(cluster[1].replica.commitIndex == 8)
    }

    /// Nobody else has a log as good.
    @Test func whereNobodyElseCanLeadItLeadsAgain() {
        let cluster = Cluster.withAnUnsentEntry()
        cluster.rot(1, 7)
        cluster.restart(1)
        cluster.restart(2)
        cluster.insist(1)
        let term = cluster[1].replica.term
        cluster.input(1) { $0.resign(now: $1, into: &$2) }
        #expect(cluster.leaders.isEmpty && cluster[1].replica.term == term)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [1] && cluster[1].isRecovering && cluster[1].replica.lastIndex == 7)
    }

    @Test func onlyARecoveringLeaderResigns() {
        let cluster = Cluster.settled()
        cluster.input(1) { $0.resign(now: $1, into: &$2) }
        cluster.input(2) { $0.resign(now: $1, into: &$2) }
        #expect(cluster.leaders == [1] && cluster.take { $0.isPreVoteRequest }.isEmpty)
    }

    @Test func holesThatAreNotTheSameOnAllCloseEachOther() {
        let cluster = Cluster.settled()
        let hash = cluster[1].replica.log.lastHash
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.rot(1, 1, 4)
        cluster.rot(2, 2, 5)
        cluster.rot(3, 3, 6)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        cluster.settle()
        for number: UInt32 in 1...3 {
            #expect(cluster[number].isWhole && cluster[number].replica.log.lastHash == hash)
        }
        cluster.run(.seconds(1))
        #expect(cluster.leaders.count == 1)
        #expect(cluster[cluster.leaders[0]].replica.commitIndex == 7)
    }
}
