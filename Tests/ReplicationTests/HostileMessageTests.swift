import Replication
import Testing

/// A peer's messages never trap, whatever they say.
@Suite struct HostileMessageTests {
    @Test func aTermAtTheEndOfCountingIsIgnored() {
        let cluster = Cluster()
        cluster.elect(1)
        let candidacy = Message.Candidacy(lastIndex: .max, lastTerm: .max, transfer: true)
        for term in [Message.numberLimit, Term.max] {
            cluster.receive(
                Message(group: testGroup, from: member(3), to: member(2), term: term, body: .vote(candidacy)))
            #expect(cluster[2].replica.term == 1)
        }
        cluster.receive(
            Message(
                group: testGroup, from: member(3), to: member(2), term: Message.numberLimit - 1, body: .vote(candidacy))
        )
        #expect(cluster[2].replica.term == Message.numberLimit - 1)
    }

    @Test func messagesOfAnotherGroupForAnotherOrFromOneselfAreIgnored() {
        let cluster = Cluster()
        let candidacy = Message.Candidacy(lastIndex: 9, lastTerm: 9, transfer: true)
        for (group, from, to) in [
            (GroupID.system, member(1), member(2)), (testGroup, member(1), member(3)),
            (testGroup, member(2), member(2)),
            (testGroup, member(1), MemberID(node: NodeID(2), incarnation: Incarnation(high: 9, low: 9))),
        ] {
            let message = Message(group: group, from: from, to: to, term: 5, body: .vote(candidacy))
            cluster.input(2) { $0.receive(message, now: $1, into: &$2) }
            #expect(cluster[2].replica.term == 0)
        }
        #expect(cluster.take().isEmpty)
    }

    @Test func aVoteOfAnotherIncarnationDoesNotCount() {
        let cluster = Cluster()
        cluster.timeOut(1)
        cluster.deliver()
        cluster.deliver(to: 1)
        cluster.persist(1)
        #expect(cluster[1].replica.role == .candidate)
        let reborn = MemberID(node: NodeID(2), incarnation: Incarnation(high: 9, low: 9))
        cluster.receive(
            Message(group: testGroup, from: reborn, to: member(1), term: 1, body: .voteReply(granted: true)))
        #expect(cluster[1].replica.role == .candidate)
        cluster.receive(
            Message(group: testGroup, from: member(2), to: member(1), term: 1, body: .voteReply(granted: true)))
        #expect(cluster[1].replica.role == .leader)
    }

    @Test(arguments: 1...60 as ClosedRange<UInt64>) func anyMessagesAreSurvived(seed: UInt64) {
        var random = Random(seed: seed)
        let cluster = Cluster(learners: [4])
        cluster.elect(1)
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        cluster.settle()
        if random.chance(1, in: 2) { for number: UInt32 in 1...3 { cluster.checkpoint(number) } }

        func number() -> UInt64 {
            switch random.below(4) {
            case 0: random.below(10)
            case 1: UInt64.max - random.below(3)
            case 2: Message.numberLimit - random.below(3)
            default: random.below(3)
            }
        }
        func entries(after index: UInt64, term: Term) -> [Entry] {
            var previous = random.chance(1, in: 2) ? cluster[1].replica.log.lastHash : Hash128.zero
            return (0..<random.below(4)).map { offset in
                let isForged = random.chance(1, in: 8)
                let entry = Entry(
                    group: testGroup, index: isForged ? number() : index &+ offset &+ 1,
                    term: isForged ? number() : term,
                    time: WallTime(nanoseconds: number()), kind: EntryKind.allCases[Int(random.below(6))],
                    payload: payload(UInt8(random.below(3)), count: Int(random.below(20))), previousHash: previous,
                    key: testKey)
                previous = entry.hash
                return entry
            }
        }
        for _ in 0..<200 {
            let term = random.chance(2, in: 3) ? random.below(4) : number()
            let candidacy = Message.Candidacy(
                lastIndex: number(), lastTerm: number(), transfer: random.chance(1, in: 2))
            let index = number()
            let body: Message.Body
            switch random.below(9) {
            case 0: body = .preVote(candidacy)
            case 1: body = .preVoteReply(granted: random.chance(1, in: 2))
            case 2: body = .vote(candidacy)
            case 3: body = .voteReply(granted: false)
            case 4, 5:
                body = .append(
                    Message.Append(
                        previousIndex: index, previousTerm: number(), entries: entries(after: index, term: term),
                        commit: random.below(2), round: number()))
            case 6:
                // Not an acknowledgement beyond the log: that is a peer's word on its own disk, and is believed.
                let outcomes: [Message.AppendReply.Outcome] = [
                    .following, .matched(.max), .received(number()), .readiness(.unable),
                    .rejected(previousIndex: number(), hint: number(), hintTerm: number()),
                ]
                body = .appendReply(
                    Message.AppendReply(outcome: outcomes[Int(random.below(UInt64(outcomes.count)))], round: number()))
            case 7: body = .timeoutNow
            default:
                body = random.chance(1, in: 2) ? .readIndex(ticket: number()) : .readIndexReply(ticket: 1, index: nil)
            }
            let to = UInt32(1 + random.below(4))
            let message = Message(
                group: testGroup, from: member(UInt32(1 + random.below(5))), to: member(to), term: term, body: body)
            cluster.receive(message)
            if random.chance(1, in: 4) {
                cluster.drop()
                cluster.persistAll()
                cluster.advance(.milliseconds(100))
            }
        }
        cluster.drop()
        #expect(cluster.members.allSatisfy { $0.replica.term < Message.numberLimit }, "seed \(seed)")
    }
}
