import Replication
import Testing

/// Replicas that restart without some of their entries.
@Suite struct HoleTests {
    // MARK: Filling

    @Test func aHoleIsFilledByAnyPeerWithoutALeader() {
        let cluster = Cluster.settled()
        cluster.crash(1)
        cluster.restart(2, withHolesAt: 3, 4)
        #expect(cluster[2].replica.leader == nil)
        cluster.settle()
        #expect(cluster.leaders.isEmpty)
        #expect(cluster[2].disk.holes.isEmpty && cluster[2].isWhole)
        #expect(cluster[2].filled == [3, 4])
        #expect(cluster[2].replica.log.entry(at: 4).payload == payload(3))
    }

    @Test(arguments: [[2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 3, 6], [5, 6]] as [[LogIndex]])
    func entriesWithoutAHeaderAreFoundByTheOnesAfterThem(_ holes: [LogIndex]) {
        let cluster = Cluster.settled()
        cluster.crash(2)
        for index in holes { cluster[2].disk.rot(index, isHeaderKnown: false) }
        cluster.crash(1)
        cluster.restart(2)
        cluster.settle()
        #expect(cluster[2].disk.holes.isEmpty && cluster[2].isWhole)
        #expect(cluster[2].replica.log.lastHash == cluster[3].replica.log.lastHash)
    }

    @Test func anAnswerThatStaysAwayIsNotWaitedForAndOneThatComesLateIsTaken() {
        let cluster = Cluster.settled()
        cluster.restart(2, withHolesAt: 4)
        let first = cluster.take { !$0.wanted.isEmpty }
        #expect(first.count == 1)
        cluster.settle()
        #expect(!cluster[2].isWhole)
        cluster.advance(.seconds(1))
        let second = cluster.take { !$0.wanted.isEmpty }
        #expect(second.count == 1 && second[0].to != first[0].to, "in turn")
        for message in first { cluster.receive(message) }
        cluster.settle()
        #expect(cluster[2].isWhole)
    }

    @Test func onlyTheVeryEntryIsTaken() {
        let cluster = Cluster.settled()
        cluster.restart(2, withHolesAt: 4)
        cluster.drop()
        let log = cluster[1].replica.log
        let right = log.entry(at: 4)
        let wrong = Entry(
            group: testGroup, index: 4, term: right.term, time: right.time, kind: .commands, payload: payload(77),
            previousHash: right.previousHash, key: testKey)
        func give(_ entry: Entry) {
            cluster.receive(
                Message(
                    group: testGroup, from: member(3), to: member(2), term: 1, body: .entries([.entry(entry)])))
        }
        give(wrong)
        give(log.entry(at: 3))
        #expect(cluster[2].filled.isEmpty)
        give(right)
        #expect(cluster[2].filled == [4])
    }

    /// What a leader sends anyway fills holes.
    @Test func aLeadersAppendsFillHoles() {
        let cluster = Cluster.settled()
        cluster.crash(2)
        cluster.rot(2, 3)
        cluster.rot(2, 4, 5, isHeaderKnown: false)
        cluster.restart(2)
        cluster.drop()
        let log = cluster[1].replica.log
        let append = Message.Append(
            previousIndex: 2, previousTerm: 1, entries: (3...6).map { log.entry(at: $0) }, commit: 6, round: 0)
        cluster.receive(Message(group: testGroup, from: member(1), to: member(2), term: 1, body: .append(append)))
        #expect(cluster[2].filled == [3, 4, 5])
        #expect(cluster[2].replica.commitIndex == 6)
        #expect(cluster.take { $0.from == member(2) && ($0.matched ?? 0) > 2 }.isEmpty, "not durable yet")
        cluster.persist(2)
        #expect(cluster.take { $0.from == member(2) && $0.matched == 6 }.count == 1)
    }

    // MARK: Acknowledgements

    /// The leader goes on, and counts nothing until the hole is closed, durably.
    @Test func nothingBeyondAHoleIsAcknowledged() {
        let cluster = Cluster.settled()
        cluster.crash(3)
        cluster.restart(2, withHolesAt: 4)
        let wanted = cluster.take { !$0.wanted.isEmpty }
        cluster.settle()
        for value: UInt8 in 10...14 { cluster.propose(1, value) }
        cluster.settle()
        #expect(cluster[2].disk.lastIndex == 11, "its disk has them")
        #expect(cluster[1].replica.commitIndex == 6)
        #expect(cluster[1].replica.matchIndex(of: member(2)) <= 3)
        #expect(cluster[1].isIncomplete(2))
        #expect(cluster[2].replica.commitIndex <= 3, "applied up to the hole")
        for message in wanted { cluster.receive(message) }
        cluster.deliver(to: 2)
        #expect(cluster[2].filled == [4])
        #expect(cluster[2].replica.commitIndex == 6)
        #expect(cluster.take { $0.from == member(2) && ($0.matched ?? 0) > 3 }.isEmpty, "not durable yet")
        cluster.settle()
        #expect(cluster[1].replica.matchIndex(of: member(2)) == 11, "told without being asked")
        #expect(cluster[1].replica.commitIndex == 11)
        #expect(!cluster[1].isIncomplete(2))
    }

    /// 2 is back in another run: what the leader knows of its log was the run before's.
    @Test func aLeaderForgetsWhatAnEarlierRunAcknowledged() {
        let cluster = Cluster.settled()
        #expect(cluster[1].replica.matchIndex(of: member(2)) == 6)
        cluster.crash(2)
        // What it had acknowledged is not there, and the disk does not even know.
        cluster[2].disk.entries.removeLast(3)
        cluster.restart(2)
        #expect(cluster[1].replica.matchIndex(of: member(2)) == 0)
        cluster.settle()
        #expect(cluster[2].disk.lastIndex == 6, "a leader with a stale match ignores that the log ends before it")
        #expect(cluster[1].replica.matchIndex(of: member(2)) == 6)
    }

    // MARK: Conflicts

    /// A log of entries of other terms than the rest has, of which some are lost, is replaced as any is.
    @Test(arguments: [[7], [8], [7, 8], [9], [7, 8, 9]] as [[LogIndex]], [true, false])
    func aTailThatWasNeverAgreedGoesHolesAndAll(_ holes: [LogIndex], _ isHeaderKnown: Bool) {
        let cluster = Cluster.settled()
        for value: UInt8 in 90...92 { cluster.propose(1, value) }
        cluster.drop()
        cluster.persist(1)
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        let leader = cluster.leaders[0]
        for value: UInt8 in 20...25 { cluster.propose(leader, value) }
        cluster.settle()
        for index in holes { cluster[1].disk.rot(index, isHeaderKnown: isHeaderKnown) }
        cluster.restart(1)
        cluster.settle()
        #expect(cluster[1].isWhole)
        #expect(cluster[1].replica.log.lastHash == cluster[leader].replica.log.lastHash)
        #expect(cluster[1].replica.commitIndex == cluster[leader].replica.commitIndex)
    }

    /// Holes of which nothing is known, in a log that may be another's, are neither taken for the leader's entries nor cut:
    /// see `Replica.receiveAppendOverHoles`.
    @Test func anUnknownEntryIsNeitherTakenNorCut() {
        let cluster = Cluster.settled()
        cluster.crash(2)
        cluster.rot(2, 3, 4, isHeaderKnown: false)
        cluster.restart(2)
        cluster.drop()
        let log = cluster[1].replica.log
        func append(_ entries: ClosedRange<LogIndex>) {
            let append = Message.Append(
                previousIndex: entries.lowerBound - 1, previousTerm: 1, entries: entries.map { log.entry(at: $0) },
                commit: 6, round: 0)
            cluster.receive(Message(group: testGroup, from: member(1), to: member(2), term: 1, body: .append(append)))
        }
        // 4 is known by 5's word; 3 is not.
        append(3...3)
        #expect(cluster[2].filled.isEmpty && cluster[2].replica.lastIndex == 6)
        #expect(cluster.take { $0.received == 3 }.count == 1, "the leader goes on")
        append(4...4)
        #expect(cluster[2].filled == [4])
        #expect(cluster[2].replica.commitIndex == 2 && cluster[2].replica.lastIndex == 6)
        append(3...3)
        #expect(cluster[2].filled == [4, 3], "by 4's word")
        #expect(cluster[2].replica.commitIndex == 4 && cluster[2].replica.lastIndex == 6)
        append(5...6)
        #expect(cluster[2].replica.commitIndex == 6)
    }

    /// Beyond its first hole nothing is committed here, but it is known how far the group is. None of that is replaced.
    @Test func whatIsKnownToBeCommittedIsNeverReplaced() {
        let cluster = Cluster.settled()
        cluster.restart(2, withHolesAt: 3)
        cluster.drop()
        func append(_ previous: LogIndex, _ term: Term, _ entries: [Entry]) {
            let append = Message.Append(
                previousIndex: previous, previousTerm: 1, entries: entries, commit: 6, round: 0)
            cluster.receive(
                Message(group: testGroup, from: member(1), to: member(2), term: term, body: .append(append)))
        }
        append(6, 1, [])
        #expect(cluster[2].replica.commitIndex == 2)
        let other = Entry(
            group: testGroup, index: 5, term: 5, time: WallTime(nanoseconds: 9), kind: .commands, payload: payload(77),
            previousHash: cluster[1].replica.log.entry(at: 4).hash, key: testKey)
        append(4, 5, [other])
        #expect(cluster[2].divergences == [5])
        #expect(cluster[2].replica.lastIndex == 6 && cluster[2].replica.lastTerm == 1)
    }

    /// An entry of the right index and term, of another log: what stands before the hole tells.
    @Test func anEntryThatDoesNotContinueTheLogIsNotTaken() {
        let cluster = Cluster.settled()
        cluster.crash(2)
        cluster.rot(2, 6, isHeaderKnown: false)
        cluster.restart(2)
        cluster.drop()
        let right = cluster[1].replica.log.entry(at: 6)
        let wrong = Entry(
            group: testGroup, index: 6, term: 1, time: right.time, kind: right.kind, payload: right.payload,
            previousHash: Hash128(low: 1, high: 2), key: testKey)
        for entry in [wrong, right] {
            #expect(cluster[2].filled.isEmpty)
            cluster.receive(
                Message(
                    group: testGroup, from: member(3), to: member(2), term: 1, body: .entries([.entry(entry)])))
        }
        #expect(cluster[2].filled == [6])
    }

    // MARK: Snapshots

    /// 2 comes back with a hole that 1 and 3 have in their snapshots only.
    private func compacted() -> Cluster {
        let cluster = Cluster.settled()
        cluster.crash(2)
        for value: UInt8 in 20...21 { cluster.propose(1, value) }
        cluster.settle()
        cluster.checkpoint(1)
        cluster.checkpoint(3)
        cluster.rot(2, 3)
        cluster.restart(2)
        return cluster
    }

    @Test func aSnapshotClosesHolesOnceItsMarkIsDurable() {
        let cluster = self.compacted()
        cluster.settle()
        #expect(cluster[2].disk.lastIndex == 6, "the leader would send a snapshot anyway: its log begins after 8")
        #expect(cluster[2].snapshotWantedAt == 3)
        let mark = cluster[1].disk.snapshot!
        cluster.install(mark, at: 2, from: 1)
        #expect(cluster[2].replica.commitIndex == 8)
        #expect(cluster.take { $0.from == member(2) && ($0.matched ?? 0) > 2 }.isEmpty)
        cluster.settle()
        #expect(cluster[2].isWhole && cluster[1].replica.matchIndex(of: member(2)) == 8)
    }

    /// Two have it. One goes away, or does not give it: the other is asked.
    @Test func aSnapshotIsAskedOfWhoeverIsThere() throws {
        let cluster = self.compacted()
        for _ in 0..<6 {
            cluster.settle()
            cluster.advance(.milliseconds(150))
        }
        cluster.settle()
        let first = try #require(cluster[2].snapshotWanted?.from)
        cluster[2].replica.snapshotAsked(of: first)
        let second = try #require(cluster[2].snapshotWanted?.from)
        #expect(second != first)
        cluster.crash(second.node.rawValue)
        cluster.settle()
        #expect(cluster[2].snapshotWanted?.from == first)
    }

    /// The mark is within the log, and the log goes on after it.
    @Test func aSnapshotBelowTheLogsEndKeepsTheTail() {
        let cluster = Cluster.settled()
        let mark = cluster[1].mark(at: 4)
        cluster.restart(2, withHolesAt: 3, 6)
        cluster.drop()
        cluster.install(mark, at: 2, from: 1)
        #expect(cluster[2].replica.log.holes.map(\.index) == [6])
        #expect(cluster[2].replica.lastIndex == 6 && cluster[2].replica.commitIndex >= 4)
        #expect(cluster[2].durableIndex < 3)
        cluster.persist(2)
        #expect(cluster[2].durableIndex == 5)
        cluster.reconnect(1, 2)
        cluster.settle()
        #expect(cluster[2].isWhole && cluster[2].replica.commitIndex == 6)
    }
}
