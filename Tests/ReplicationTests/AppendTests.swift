import Replication
import Testing

@Suite struct AppendTests {
    /// Figure 8 of the Raft paper (Ongaro and Ousterhout, 2014): an older term's entry on a majority is not committed.
    ///
    /// 1. 1 leads term 1 and puts entry 2 on 1 and 2 only.
    /// 2. 5 leads term 2 with votes of 3 and 4, and puts another entry 2 on itself only.
    /// 3. 1 leads term 3 and puts its entry 2 on 3 as well: on three of five, and still not committed.
    /// 4. 5 leads term 4 and replaces it everywhere.
    @Test(arguments: [false, true]) func anOlderTermsEntryIsNotCommittedByCounting(anEntryOfTheNewTermFollows: Bool) {
        let cluster = Cluster(voters: [1, 2, 3, 4, 5])
        cluster.elect(1)
        // 1.
        cluster.cuts = [(1, 3), (1, 4), (1, 5)]
        cluster.propose(1, 1)
        cluster.settle()
        let entry = cluster[1].replica.log.entry(at: 2)
        #expect(cluster[2].replica.log.lastHash == entry.hash)
        #expect(cluster[1].replica.commitIndex == 1)
        // 2.
        cluster.crash(1)
        cluster.cuts = [(2, 3), (2, 4), (2, 5)]
        cluster.suspect(1, by: 3, 4, 5)
        cluster.repeat(until: { !cluster.leaders.isEmpty }) {
            cluster.deliver()
            cluster.persistAll()
        }
        #expect(cluster.leaders == [5])
        cluster.persist(5)
        cluster.crash(5)
        #expect(cluster[5].disk.entries.last?.term == 2)
        #expect(cluster[3].replica.lastIndex == 1)
        // 3.
        cluster.restart(1)
        cluster.cuts = [(1, 4), (2, 4), (3, 4)]
        cluster.repeat(until: { !cluster.leaders.isEmpty }) {
            if cluster.deliver() == 0 { cluster.timeOut(1) }
            cluster.persistAll()
        }
        #expect(cluster.leaders == [1])
        #expect(cluster[1].replica.term == 3)
        for _ in 0..<10 {
            for message in cluster.take({ $0.append != nil }) {
                var message = message
                if !anEntryOfTheNewTermFollows, case .append(var append) = message.body {
                    append.entries.removeAll { $0.term == 3 }
                    message.body = .append(append)
                }
                cluster.receive(message)
            }
            cluster.persistAll()
            cluster.deliver(to: 1)
        }
        #expect(cluster[2].disk.holds(2, entry.hash))
        #expect(cluster[3].disk.holds(2, entry.hash))
        let reached: LogIndex = anEntryOfTheNewTermFollows ? 3 : 2
        #expect(cluster[1].replica.matchIndex(of: member(3)) == reached)
        guard !anEntryOfTheNewTermFollows else {
            #expect(cluster[1].replica.commitIndex == 3)
            return
        }
        #expect(cluster[1].replica.commitIndex == 0)
        // 4.
        cluster.crash(1)
        cluster.crash(2)
        cluster.cuts = []
        cluster.suspect(1, by: 3, 4)
        cluster.drop()
        cluster.restart(5)
        cluster.repeat(until: { !cluster.leaders.isEmpty }) {
            if cluster.deliver() == 0 { cluster.timeOut(5) }
            cluster.persistAll()
        }
        cluster.settle()
        #expect(cluster.leaders == [5])
        #expect(cluster[3].replica.log.entry(at: 2).term == 2)
        #expect(cluster[3].replica.commitIndex == cluster[5].replica.lastIndex)
    }

    /// 3 has a long tail of an older term that nobody else has: the leader finds where the logs meet in a step a term,
    /// not in one an entry.
    @Test func backOffAfterAConflictTakesAStepATerm() {
        let cluster = Cluster()
        cluster.elect(3)
        cluster.cuts = [(3, 1), (3, 2)]
        for value in 0..<50 { cluster.propose(3, UInt8(value)) }
        cluster.settle()
        #expect(cluster[3].disk.lastIndex == 51)
        cluster.crash(3)
        cluster.suspect(3, by: 1, 2)
        cluster.settle()
        let leader = cluster.leaders[0]
        for value in 0..<50 { cluster.propose(leader, UInt8(value)) }
        cluster.settle()
        cluster.cuts = []
        cluster.restart(3)
        var rejections = 0
        cluster.repeat(until: { cluster[3].replica.log.lastHash == cluster[leader].replica.log.lastHash }) {
            rejections += cluster.take { $0.isRejection }.map { cluster.receive($0) }.count
            cluster.persistAll()
            cluster.deliver()
        }
        #expect(rejections >= 1)
        #expect(rejections <= 3)
    }

    /// A peer that a new leader knows nothing of is asked at the end of the log, not sent all of it.
    @Test func anOldLeaderThatComesBackIsSentOnlyWhatItLacks() {
        let cluster = Cluster()
        cluster.elect(1)
        for value in 0..<20 { cluster.propose(1, UInt8(value)) }
        cluster.settle()
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        let leader = cluster.leaders[0]
        cluster.checkpoint(leader)
        #expect(cluster[leader].replica.log.firstIndex > 21)
        cluster.propose(leader)
        cluster.settle()
        cluster.restart(1)
        var count = 0
        for _ in 0..<20 {
            count += cluster.take { $0.to == member(1) }.map { message in
                cluster.receive(message)
                return message.append?.entries.count ?? 0
            }.reduce(0, +)
            cluster.persistAll()
            cluster.deliver()
        }
        // The new leader's empty entry is in the snapshot, so here a snapshot is the right answer.
        #expect(cluster[leader].snapshotsNeeded == [member(1)])
        #expect(count == 0)
    }

    @Test func aReconnectedPeerOfANewLeaderIsNotSentASnapshotItDoesNotNeed() {
        let cluster = Cluster()
        cluster.elect(1)
        for value in 0..<20 { cluster.propose(1, UInt8(value)) }
        cluster.settle()
        for number: UInt32 in 2...3 { cluster.checkpoint(number) }
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        let leader = cluster.leaders[0]
        cluster.restart(1)
        cluster.settle()
        #expect(cluster[leader].snapshotsNeeded.isEmpty)
        #expect(cluster[1].replica.lastIndex == cluster[leader].replica.lastIndex)
    }

    /// 1. The answer to a probe is lost, the connection stays.
    /// 2. After `resendAfter` the probe is repeated; it must not look like a repetition, which nobody answers.
    @Test func aLostAnswerToAProbeIsAskedForAgain() {
        let cluster = Cluster()
        cluster.timeOut(1)
        cluster.repeat(until: { !cluster.leaders.isEmpty }) {
            cluster.persistAll()
            cluster.deliver()
        }
        for _ in 0..<6 {
            cluster.persistAll()
            cluster.deliver(from: 1)
            cluster.drop(to: 1)
        }
        #expect(cluster[1].replica.commitIndex == 0)
        cluster.run(.seconds(2))
        #expect(cluster[1].replica.commitIndex == 1)
        #expect(cluster[3].replica.lastIndex == 1)
    }

    @Test func aLostAnswerToAReconnectsProbeIsAskedForAgain() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 3)]
        cluster.reconnect(1, 2)
        cluster.deliver(to: 2)
        cluster.drop(to: 1)
        cluster.reconnect(1, 2)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == 2)
    }

    @Test func aLostAppendIsSentAgain() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.drop()
        cluster.run(.milliseconds(990))
        #expect(cluster[1].replica.commitIndex == 1)
        cluster.run(.milliseconds(50))
        #expect(cluster[1].replica.commitIndex == 2)
    }

    @Test func appendsOutOfOrderTwiceOrLateAreHarmless() {
        let cluster = Cluster()
        cluster.elect(1)
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        let appends = cluster.take { $0.to == member(2) && $0.append != nil }
        #expect(appends.count == 5)
        for message in appends.reversed() + appends + [appends[0]] { cluster.receive(message) }
        cluster.settle()
        #expect(cluster[2].replica.lastIndex == 6)
        #expect(cluster[2].replica.log.lastHash == cluster[1].replica.log.lastHash)
        #expect(cluster[1].replica.commitIndex == 6)
        for message in appends { cluster.receive(message) }
        #expect(cluster[2].replica.lastIndex == 6)
        #expect(cluster[2].divergences.isEmpty)
    }

    @Test func anAppendOfAnOlderTermTeachesItsSenderTheTerm() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 2), (1, 3)]
        cluster.propose(1)
        cluster.settle()
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        #expect(cluster.leaders.count == 2)
        cluster.cuts = []
        cluster.propose(1)
        cluster.deliver(from: 1)
        cluster.deliver(to: 1)
        #expect(cluster.leaders.count == 1)
        #expect(cluster[1].replica.term == 2)
        cluster.run(.seconds(2))
        #expect(cluster[1].replica.log.lastHash == cluster[cluster.leaders[0]].replica.log.lastHash)
    }

    @Test func inFlightAppendsHaveALimitInNumber() {
        let cluster = Cluster {
            $0.maxInflightAppends = 4
            $0.maxAppendBytes = 1
        }
        cluster.elect(1)
        cluster.cuts = [(1, 3)]
        for value: UInt8 in 1...10 { cluster.propose(1, value) }
        let first = cluster.take { $0.to == member(2) && $0.append?.entries.isEmpty == false }
        #expect(first.count == 4)
        cluster.receive(first[0])
        cluster.persist(2)
        cluster.deliver(to: 1)
        #expect(cluster.take { $0.to == member(2) && $0.append?.entries.isEmpty == false }.count == 1, "one for one")
    }

    @Test func inFlightAppendsHaveALimitInBytesAndEachHasOne() {
        let cluster = Cluster {
            $0.maxInflightBytes = 4000
            $0.maxAppendBytes = 1500
        }
        cluster.elect(1)
        cluster.cuts = [(1, 3)]
        let before = cluster[1].replica.lastIndex
        cluster.input(1) { replica, now, effects in
            for value: UInt8 in 1...20 {
                _ = replica.propose(
                    .commands, payload: payload(value, count: 872), wall: WallTime(nanoseconds: 0), now: now,
                    into: &effects)
            }
        }
        let appends = cluster.take { $0.to == member(2) && $0.append?.entries.isEmpty == false }
        // 872 bytes and 128 of header each: two an append, and no third append... but the window is checked before.
        #expect(appends.map { $0.append!.entries.count } == [2, 2])
        #expect(appends.last!.append!.entries.last!.index == before + 4)
    }

    @Test func tooMuchUncommittedIsRefusedAndAcceptedAgainAfterTheCommit() {
        let cluster = Cluster { $0.maxUncommittedBytes = 400 }
        cluster.elect(1)
        #expect(cluster.propose(1, count: 60) == .accepted(2))
        #expect(cluster.propose(1, count: 60) == .accepted(3))
        #expect(cluster[1].replica.uncommittedBytes == 2 * (60 + 256))
        #expect(cluster.propose(1, count: 1) == .full)
        cluster.settle()
        #expect(cluster[1].replica.uncommittedBytes == 0)
        #expect(cluster.propose(1, count: 1) == .accepted(4))
    }

    /// What a new leader took over uncommitted counts: it fills the same memory.
    @Test func anInheritedTailCountsAsUncommitted() {
        let cluster = Cluster { $0.maxUncommittedBytes = 400 }
        cluster.elect(1)
        cluster.propose(1, count: 90)
        cluster.deliver(to: 2)
        cluster.deliver(to: 3)
        cluster.persist(2)
        cluster.persist(3)
        cluster.crash(1)
        cluster.suspect(1, by: 3, 2)
        cluster.cuts = [(2, 3)]
        cluster.cuts = []
        cluster.repeat(until: { !cluster.leaders.isEmpty }) {
            cluster.deliver()
            cluster.persistAll()
        }
        let leader = cluster.leaders[0]
        #expect(cluster[leader].replica.uncommittedBytes == 90 + 2 * 256, "that, and the first entry of the term")
        cluster.settle()
        #expect(cluster[leader].replica.uncommittedBytes == 0)
    }

    @Test func entriesNeverGoBackInTime() {
        let cluster = Cluster(voters: [1])
        cluster.elect(1)
        func propose(_ wall: UInt64) {
            cluster.input(1) {
                _ = $0.propose(.time, payload: [], wall: WallTime(nanoseconds: wall), now: $1, into: &$2)
            }
        }
        propose(500)
        propose(400)
        propose(600)
        let log = cluster[1].replica.log
        #expect((2...4).map { log.entry(at: $0).time.nanoseconds } == [500, 500, 600])
    }

    @Test func aReplicaWithHolesRefusesProposalsMembersAndReads() {
        let cluster = Cluster(voters: [1])
        cluster.elect(1)
        cluster.propose(1)
        cluster.settle()
        cluster.restart(1, withHolesAt: 2)
        cluster.`repeat`(until: { cluster.leaders == [1] }) {
            cluster.timeOut(1)
            cluster.settle()
        }
        #expect(cluster.leaders == [1], "it votes, and may win")
        #expect(cluster.propose(1) == .recovering)
        #expect(cluster.change(1, voters: [1], learners: [2]) == .recovering)
        cluster.read(1, ticket: 1)
        cluster.settle()
        #expect(cluster[1].reads.isEmpty)
    }

    @Test func onlyALeaderTakesProposals() {
        let cluster = Cluster()
        #expect(cluster.propose(1) == .notLeader)
        cluster.elect(1)
        #expect(cluster.propose(2) == .notLeader)
        #expect(cluster.propose(1) == .accepted(2))
    }

    /// Another entry where this log has one of the same term: damage, told and not taken.
    @Test func aDifferentEntryOfTheSameTermIsADivergence() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1, 1)
        cluster.settle()
        let other = Entry(
            group: testGroup, index: 2, term: 1, time: WallTime(nanoseconds: 1), kind: .commands, payload: payload(2),
            previousHash: cluster[1].replica.log.hash(at: 1)!, key: testKey)
        let hash = cluster[2].replica.log.lastHash
        let append = Message.Append(previousIndex: 1, previousTerm: 1, entries: [other], commit: 1, round: 0)
        cluster.receive(Message(group: testGroup, from: member(1), to: member(2), term: 1, body: .append(append)))
        #expect(cluster[2].divergences == [2])
        #expect(cluster[2].replica.log.lastHash == hash)
        #expect(cluster.take { $0.matched != nil }.isEmpty)
    }
}
