import Replication
import Testing

/// Replicas that restart without some of their entries.
@Suite struct HoleTests {
    /// 1 leads three; entries 1 to 6 are everywhere and committed.
    private func settled(_ voters: [UInt32] = [1, 2, 3]) -> Cluster {
        let cluster = Cluster(voters: voters)
        cluster.elect(1)
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        cluster.settle()
        return cluster
    }

    /// A leader that nobody hears any more appends one entry, which its disk has. Then all are killed.
    private func withAnUnsentEntry(_ voters: [UInt32] = [1, 2, 3]) -> Cluster {
        let cluster = self.settled(voters)
        cluster.propose(1, 99)
        cluster.drop()
        cluster.persist(1)
        for number in voters { cluster.crash(number) }
        return cluster
    }

    /// Stands at once, though it would let others stand first.
    private func insist(_ cluster: Cluster, _ number: UInt32) {
        cluster.settle()
        self.stand(cluster, number)
        cluster.settle()
    }

    private func stand(_ cluster: Cluster, _ number: UInt32) {
        cluster.`repeat`(until: { cluster[number].replica.role != .follower }) { cluster.timeOut(number) }
    }

    // MARK: Filling

    @Test func aHoleIsFilledByAnyPeerWithoutALeader() {
        let cluster = self.settled()
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
        let cluster = self.settled()
        cluster.crash(2)
        for index in holes { cluster[2].disk.rot(index, isHeaderKnown: false) }
        cluster.crash(1)
        cluster.restart(2)
        cluster.settle()
        #expect(cluster[2].disk.holes.isEmpty && cluster[2].isWhole)
        #expect(cluster[2].replica.log.lastHash == cluster[3].replica.log.lastHash)
    }

    @Test func anAnswerThatStaysAwayIsNotWaitedForAndOneThatComesLateIsTaken() {
        let cluster = self.settled()
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
        let cluster = self.settled()
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
        let cluster = self.settled()
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
        let cluster = self.settled()
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
        let cluster = self.settled()
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

    // MARK: Votes

    @Test func whatIsMissingIsNotDenied() {
        let cluster = self.settled()
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
        let cluster = self.settled()
        cluster.crash(1)
        cluster.crash(2)
        cluster.rot(2, 4)
        cluster.restart(2)
        cluster.drop()
        let began = cluster.now
        self.stand(cluster, 2)
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
        let cluster = self.settled()
        cluster.crash(3)
        cluster.propose(1, 9)
        cluster.settle()
        cluster.crash(1)
        cluster.crash(2)
        cluster.rot(2, 7)
        cluster.restart(2)
        cluster.restart(3)
        self.insist(cluster, 2)
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
        let cluster = self.settled()
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.rot(2, 6)
        cluster.restart(2)
        cluster.restart(3)
        self.stand(cluster, 2)
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
        let cluster = self.settled()
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.rot(2, 5, 6)
        cluster.restart(2)
        cluster.restart(3)
        self.stand(cluster, 2)
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
        let cluster = self.withAnUnsentEntry()
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
        self.insist(cluster, 1)
        #expect(cluster.leaders == [1] && cluster[1].isRecovering)
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
        let cluster = self.withAnUnsentEntry()
        cluster.rot(1, 7)
        cluster.restart(1)
        cluster.restart(2)
        self.insist(cluster, 1)
        let term = cluster[1].replica.term
        cluster.input(1) { $0.resign(now: $1, into: &$2) }
        #expect(cluster.leaders.isEmpty && cluster[1].replica.term == term)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [1] && cluster[1].isRecovering && cluster[1].replica.lastIndex == 7)
    }

    @Test func onlyARecoveringLeaderResigns() {
        let cluster = self.settled()
        cluster.input(1) { $0.resign(now: $1, into: &$2) }
        cluster.input(2) { $0.resign(now: $1, into: &$2) }
        #expect(cluster.leaders == [1] && cluster.take { $0.isPreVoteRequest }.isEmpty)
    }

    @Test func holesThatAreNotTheSameOnAllCloseEachOther() {
        let cluster = self.settled()
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

    // MARK: Discarding

    @Test func whatNobodyElseHadIsDiscarded() {
        let cluster = self.withAnUnsentEntry()
        cluster.rot(1, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        self.insist(cluster, 1)
        #expect(cluster.leaders == [1])
        #expect(cluster[1].discarded == [7...7])
        #expect(!cluster[1].isRecovering && cluster[1].replica.commitIndex == 7)
        #expect(cluster[1].replica.log.entry(at: 7).kind == .empty)
        #expect(cluster[3].replica.log.lastHash == cluster[1].replica.log.lastHash)
    }

    /// Two of three must say so; one may not have heard of what the two others agreed on.
    @Test func oneWordOfThreeIsNotEnough() {
        let cluster = self.withAnUnsentEntry()
        cluster.rot(1, 7)
        cluster.restart(1)
        cluster.restart(2)
        self.insist(cluster, 1)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [1] && cluster[1].isRecovering && cluster[1].discarded.isEmpty)
        cluster.restart(3)
        cluster.run(.seconds(1))
        #expect(cluster.leaders == [1] && cluster[1].discarded == [7...7] && cluster[1].replica.commitIndex == 7)
    }

    @Test func ofFiveThreeMustSaySo() {
        let cluster = self.withAnUnsentEntry([1, 2, 3, 4, 5])
        cluster.rot(1, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        self.insist(cluster, 1)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [1] && cluster[1].isRecovering && cluster[1].discarded.isEmpty)
        cluster.restart(4)
        cluster.run(.seconds(1))
        #expect(cluster[1].discarded == [7...7] && cluster[1].replica.commitIndex == 7)
    }

    /// One that has a hole there itself may have been of the majority.
    @Test func whoeverLostItTooDoesNotSaySo() {
        let cluster = self.settled()
        cluster.crash(3)
        cluster.propose(1, 9)
        cluster.settle()
        cluster.crash(1)
        cluster.crash(2)
        cluster.rot(1, 7)
        cluster.rot(2, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        self.insist(cluster, 1)
        cluster.run(.seconds(5))
        #expect(cluster.leaders.count == 1)
        for number: UInt32 in 1...3 {
            #expect(cluster[number].discarded.isEmpty && cluster[number].replica.commitIndex < 7)
        }
        #expect(cluster[1].disk.lastIndex == 7 && cluster[2].disk.lastIndex == 7)
    }

    /// It may be the very entry that is asked for.
    @Test func whatIsNotKnownIsNotDenied() {
        let cluster = self.settled()
        cluster.crash(2)
        cluster.rot(2, 3, 4, isHeaderKnown: false)
        cluster.restart(2)
        cluster.drop()
        let wanted = Message.WantedEntry(index: 3, term: 9, hash: Hash128(low: 1, high: 2))
        cluster.receive(
            Message(group: testGroup, from: member(3), to: member(2), term: 1, body: .entriesWanted([wanted])))
        cluster.persist(2)
        #expect(cluster.take { $0.from == member(2) }.flatMap(\.answers) == [.damaged(3)])
    }

    /// See `Replica.considerDiscard`.
    @Test func aWordOfAnEarlierTermDoesNotCount() {
        let cluster = self.withAnUnsentEntry()
        cluster.rot(1, 7)
        cluster.restart(1)
        cluster.restart(2)
        self.insist(cluster, 1)
        let term = cluster[1].replica.term
        #expect(cluster.leaders == [1])
        func deny(_ from: UInt32, _ term: Term) {
            cluster.receive(
                Message(
                    group: testGroup, from: member(from), to: member(1), term: term, body: .entries([.absent(7)])))
        }
        deny(3, term - 1)
        deny(3, term + 1)
        #expect(cluster[1].isRecovering && cluster[1].discarded.isEmpty)
        deny(3, term)
        #expect(cluster[1].discarded == [7...7])
    }

    /// Two of three that say that they never had what a leader has shown to be committed broke their word. It stays.
    @Test func whatIsKnownToBeCommittedIsNeverDiscarded() {
        let cluster = self.settled()
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.rot(1, 6)
        cluster.restart(1)
        cluster.restart(2)
        cluster.drop()
        // A leader of an earlier term tells 1 that all six are committed, and is gone.
        let append = Message.Append(previousIndex: 6, previousTerm: 1, entries: [], commit: 6, round: 1)
        cluster.receive(Message(group: testGroup, from: member(2), to: member(1), term: 1, body: .append(append)))
        cluster.suspect(2, by: 1)
        self.stand(cluster, 1)
        cluster.`repeat`(until: { cluster.leaders == [1] }) {
            _ = cluster.take { !$0.wanted.isEmpty }
            cluster.persistAll()
            cluster.deliver()
        }
        cluster.drop()
        for from: UInt32 in 2...3 {
            cluster.receive(
                Message(
                    group: testGroup, from: member(from), to: member(1), term: cluster[1].replica.term,
                    body: .entries([.absent(6)])))
        }
        #expect(cluster[1].isRecovering && cluster[1].discarded.isEmpty && cluster[1].replica.lastIndex == 6)
    }

    /// What a member says it never had it says when it can no longer forget the term in which it says so.
    @Test func aMemberDeniesNothingBeforeItsTermIsDurable() {
        let cluster = self.withAnUnsentEntry()
        cluster.rot(1, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        cluster.settle()
        cluster.cuts = [(1, 3)]
        self.insist(cluster, 1)
        #expect(cluster.leaders == [1] && cluster[1].isRecovering)
        // 3 hears of the term, and has it in memory alone.
        cluster.cuts = []
        cluster.reconnect(1, 3)
        cluster.deliver(from: 1, to: 3)
        #expect(cluster[3].replica.term == cluster[1].replica.term && !cluster[3].batches.isEmpty)
        cluster.deliver(from: 3, to: 1)
        cluster.deliver(from: 1, to: 3)
        cluster.deliver(from: 3, to: 1)
        #expect(cluster[1].discarded.isEmpty)
        cluster.persist(3)
        cluster.deliver(from: 3, to: 1)
        #expect(cluster[1].discarded == [7...7])
    }

    @Test func inAJointChangeBothMajoritiesMustBeImpossible() {
        let joint = Membership(voters: members(3, 4, 5), outgoing: members(1, 2, 3))
        func isBlocked(_ numbers: UInt32...) -> Bool {
            Quorum.isBlocked(joint) { numbers.contains($0.node.rawValue) }
        }
        #expect(!isBlocked(1, 2))
        #expect(!isBlocked(4, 5))
        #expect(!isBlocked(2, 3))
        #expect(isBlocked(2, 3, 4))
        #expect(isBlocked(1, 2, 4, 5))
    }

    // MARK: Conflicts

    /// A log of entries of other terms than the rest has, of which some are lost, is replaced as any is.
    @Test(arguments: [[7], [8], [7, 8], [9], [7, 8, 9]] as [[LogIndex]], [true, false])
    func aTailThatWasNeverAgreedGoesHolesAndAll(_ holes: [LogIndex], _ isHeaderKnown: Bool) {
        let cluster = self.settled()
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
        let cluster = self.settled()
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

    // MARK: Snapshots

    /// 2 comes back with a hole that 1 and 3 have in their snapshots only.
    private func compacted() -> Cluster {
        let cluster = self.settled()
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
        let cluster = self.settled()
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
