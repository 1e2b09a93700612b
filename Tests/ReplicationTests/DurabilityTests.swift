import Replication
import Testing

/// Nothing is said that a power cut could make untrue.
@Suite struct DurabilityTests {
    /// 1. 2 votes for 1 in term 1; its disk has not finished.
    /// 2. Power is cut. Had the vote been sent, 2 could now vote for 3 in the same term.
    @Test func aVoteIsSentOnlyOnceItIsDurable() {
        let cluster = Cluster()
        cluster.timeOut(1)
        cluster.deliver()
        cluster.deliver()
        #expect(cluster[1].replica.role == .candidate)
        cluster.deliver(to: 2)
        #expect(cluster[2].replica.hardState.votedFor == member(1))
        #expect(cluster.take { $0.isGrantedVote }.isEmpty)
        cluster.persistOne(2)
        #expect(cluster.take { $0.isGrantedVote }.count == 1)
        #expect(cluster[2].disk.hardState == HardState(term: 1, votedFor: member(1)))
    }

    @Test func aVoteThatTheDiskNeverHadIsForgottenAndWasNeverSent() {
        let cluster = Cluster()
        let candidacy = Message.Candidacy(lastIndex: 0, lastTerm: 0, transfer: false)
        func ask(_ from: UInt32) {
            cluster.receive(
                Message(group: testGroup, from: member(from), to: member(2), term: 1, body: .vote(candidacy)))
        }
        ask(1)
        cluster.crash(2)
        cluster.restart(2)
        #expect(cluster[2].replica.hardState == .initial)
        ask(3)
        cluster.persist(2)
        #expect(cluster.take { $0.isGrantedVote }.map { $0.to } == [member(3)])
    }

    @Test func aCandidatesOwnVoteCountsOnlyOnceItIsDurable() {
        let cluster = Cluster()
        cluster.timeOut(1)
        cluster.deliver()
        cluster.deliver()
        cluster.deliver()
        cluster.persist(2)
        cluster.persist(3)
        cluster.deliver(to: 1)
        #expect(cluster[1].replica.role == .candidate, "two votes of others, its own not durable")
        cluster.persistOne(1)
        #expect(cluster[1].replica.role == .leader)
    }

    @Test func anEntryIsAcknowledgedOnlyOnceItIsDurable() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.deliver(to: 2)
        #expect(cluster.take { $0.matched == 2 }.isEmpty)
        cluster.persistOne(2)
        #expect(cluster.take { $0.matched == 2 }.count == 1)
    }

    /// A snapshot's file is durable before the journal names it: see `Replica.compact`.
    @Test func aSnapshotMakesNothingDurableThatTheJournalHasNot() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.deliver(to: 2)
        cluster.deliver(to: 3)
        cluster.persist(3)
        cluster.deliver(to: 1)
        cluster.persist(1)
        cluster.deliver(to: 2)
        #expect(cluster[2].replica.commitIndex == 2)
        #expect(cluster[2].replica.persistedIndex == 1)
        let mark = cluster[2].mark(at: 2)
        cluster.input(2) { replica, _, _ in replica.compact(through: 2, mark: mark) }
        #expect(cluster[2].replica.persistedIndex == 1)
        cluster.propose(1)
        cluster.deliver(to: 2)
        #expect(cluster.take { $0.from == member(2) && $0.matched ?? 0 >= 2 }.isEmpty)
        cluster.persist(2)
        #expect(cluster.take { $0.from == member(2) && $0.matched == 3 }.count == 1)
    }

    /// The leader's own disk may be the slow one: the others are a majority without it.
    @Test func aMajorityCommitsWithoutTheLeadersOwnDisk() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1)
        cluster.deliver()
        cluster.persist(2)
        cluster.deliver()
        #expect(cluster[1].replica.commitIndex == 1, "one of three")
        cluster.persist(3)
        cluster.deliver()
        #expect(cluster[1].replica.commitIndex == 2)
        #expect(cluster[1].replica.persistedIndex == 1)
    }

    /// 1. 3 has entry 2 of term 1 on its way to the disk; nobody else has it.
    /// 2. 2 leads term 2 and replaces it with its own entry 2, whose write 3 begins too.
    /// 3. The first write completes. What it made durable is not in the log any more: entry 2 is not acknowledged.
    /// 4. The second write completes: now it is.
    @Test func anOvertakenWriteTicketConfirmsNothing() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 2)]
        cluster.propose(1)
        cluster.deliver(to: 3)
        #expect(cluster[3].replica.lastIndex == 2)
        #expect(cluster[3].replica.persistedIndex == 1)
        cluster.crash(1)
        // 3's log is the longer one, but it is 2 that was elected by those that 3 does not reach: said by its append.
        let empty = Entry(
            group: testGroup, index: 2, term: 2, time: WallTime(nanoseconds: 0), kind: .empty, payload: [],
            previousHash: cluster[2].replica.log.lastHash, key: testKey)
        let append = Message.Append(previousIndex: 1, previousTerm: 1, entries: [empty], commit: 1, round: 1)
        cluster.receive(Message(group: testGroup, from: member(2), to: member(3), term: 2, body: .append(append)))
        #expect(cluster[3].replica.log.lastHash == empty.hash)
        cluster.drop()
        cluster.persistOne(3)
        #expect(cluster[3].replica.persistedIndex == 1)
        #expect(cluster.take { $0.to == member(2) }.isEmpty)
        cluster.persistOne(3)
        #expect(cluster[3].replica.persistedIndex == 2)
        #expect(cluster.take { $0.to == member(2) }.map { $0.matched } == [2])
        #expect(cluster[3].disk.holds(2, empty.hash))
    }

    @Test func aTicketConfirmsAllWritesBeforeIt() {
        let cluster = Cluster(voters: [1])
        cluster.elect(1)
        for value: UInt8 in 1...3 { cluster.propose(1, value) }
        let tickets = cluster[1].batches.flatMap { $0.tickets }
        #expect(tickets.count == 3)
        cluster.input(1) { $0.persisted(tickets[2], now: $1, into: &$2) }
        #expect(cluster[1].replica.commitIndex == 4)
        cluster.input(1) { $0.persisted(tickets[0], now: $1, into: &$2) }
        #expect(cluster[1].replica.persistedIndex == 4)
    }

    @Test func aRestartFindsTermVoteAndLogAndForgetsTheCommitIndex() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.propose(1, 7)
        cluster.settle()
        let last = cluster[1].replica.log.lastHash
        cluster.crash(1)
        cluster.restart(1)
        #expect(cluster[1].replica.hardState == HardState(term: 1, votedFor: member(1)))
        #expect(cluster[1].replica.log.lastHash == last)
        #expect(cluster[1].replica.commitIndex == 0)
        #expect(cluster[1].replica.role == .follower)
    }
}
