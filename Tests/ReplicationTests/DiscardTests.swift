import Replication
import Testing

/// What a recovering leader discards, and what it does not.
@Suite struct DiscardTests {
    @Test func whatNobodyElseHadIsDiscarded() {
        let cluster = Cluster.withAnUnsentEntry()
        cluster.rot(1, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        cluster.insist(1)
        #expect(cluster.leaders == [1])
        #expect(cluster[1].discarded == [7...7])
        #expect(!cluster[1].isRecovering && cluster[1].replica.commitIndex == 7)
        #expect(cluster[1].replica.log.entry(at: 7).kind == .empty)
        #expect(cluster[3].replica.log.lastHash == cluster[1].replica.log.lastHash)
    }

    /// Two of three must say so; one may not have heard of what the two others agreed on.
    @Test func oneWordOfThreeIsNotEnough() {
        let cluster = Cluster.withAnUnsentEntry()
        cluster.rot(1, 7)
        cluster.restart(1)
        cluster.restart(2)
        cluster.insist(1)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [1] && cluster[1].isRecovering && cluster[1].discarded.isEmpty)
        cluster.restart(3)
        cluster.run(.seconds(1))
        #expect(cluster.leaders == [1] && cluster[1].discarded == [7...7] && cluster[1].replica.commitIndex == 7)
    }

    @Test func ofFiveThreeMustSaySo() {
        let cluster = Cluster.withAnUnsentEntry([1, 2, 3, 4, 5])
        cluster.rot(1, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        cluster.insist(1)
        cluster.run(.seconds(3))
        #expect(cluster.leaders == [1] && cluster[1].isRecovering && cluster[1].discarded.isEmpty)
        cluster.restart(4)
        cluster.run(.seconds(1))
        #expect(cluster[1].discarded == [7...7] && cluster[1].replica.commitIndex == 7)
    }

    /// One that has a hole there itself may have been of the majority.
    @Test func whoeverLostItTooDoesNotSaySo() {
        let cluster = Cluster.settled()
        cluster.crash(3)
        cluster.propose(1, 9)
        cluster.settle()
        cluster.crash(1)
        cluster.crash(2)
        cluster.rot(1, 7)
        cluster.rot(2, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        cluster.insist(1)
        cluster.run(.seconds(5))
        #expect(cluster.leaders.count == 1)
        for number: UInt32 in 1...3 {
            #expect(cluster[number].discarded.isEmpty && cluster[number].replica.commitIndex < 7)
        }
        #expect(cluster[1].disk.lastIndex == 7 && cluster[2].disk.lastIndex == 7)
    }

    /// It may be the very entry that is asked for.
    @Test func whatIsNotKnownIsNotDenied() {
        let cluster = Cluster.settled()
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
        let cluster = Cluster.withAnUnsentEntry()
        cluster.rot(1, 7)
        cluster.restart(1)
        cluster.restart(2)
        cluster.insist(1)
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
        let cluster = Cluster.settled()
        for number: UInt32 in 1...3 { cluster.crash(number) }
        cluster.rot(1, 6)
        cluster.restart(1)
        cluster.restart(2)
        cluster.drop()
        // A leader of an earlier term tells 1 that all six are committed, and is gone.
        let append = Message.Append(previousIndex: 6, previousTerm: 1, entries: [], commit: 6, round: 1)
        cluster.receive(Message(group: testGroup, from: member(2), to: member(1), term: 1, body: .append(append)))
        cluster.suspect(2, by: 1)
        cluster.stand(1)
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
        let cluster = Cluster.withAnUnsentEntry()
        cluster.rot(1, 7)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        cluster.settle()
        cluster.cuts = [(1, 3)]
        cluster.insist(1)
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
}
