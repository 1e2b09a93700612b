import Replication
import Testing

@Suite struct ElectionTests {
    @Test func theFirstToTimeOutIsElectedInTermOne() {
        let cluster = Cluster()
        cluster.elect(2)
        #expect(cluster[2].replica.term == 1)
        for number: UInt32 in 1...3 {
            #expect(cluster[number].replica.leader == member(2))
            #expect(cluster[number].replica.commitIndex == 1)
            #expect(cluster[number].disk.hardState.term == 1)
        }
        // An idle group has nothing to wait for and sends nothing.
        #expect(cluster[1].replica.deadline == nil)
        #expect(cluster[2].replica.deadline == nil)
    }

    @Test func aGroupOfOneElectsItselfOnceItsVoteIsDurable() {
        let cluster = Cluster(voters: [1])
        cluster.timeOut(1)
        #expect(cluster[1].replica.role == .candidate)
        cluster.persistOne(1)
        #expect(cluster[1].replica.role == .leader)
        #expect(cluster[1].replica.commitIndex == 0)
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == 1)
    }

    /// 1. 3 is cut off and comes to suspect the leader, wrongly.
    /// 2. Its pre-votes reach nobody, however often it asks: its term stays.
    /// 3. It is back: the leader and the term are as before, and 3 follows again.
    @Test func preVoteDoesNotDisturbALiveLeader() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(3, 1), (3, 2)]
        cluster.suspect(1, by: 3)
        cluster.run(.seconds(3))
        #expect(cluster[3].replica.role == .preCandidate)
        #expect(cluster[3].replica.term == 1)
        cluster.cuts = []
        cluster.timeOut(3)
        cluster.settle()
        #expect(cluster.leaders == [1])
        #expect(cluster[1].replica.term == 1)
        #expect(cluster[3].replica.role == .follower)
        #expect(cluster[3].replica.leader == member(1))
        #expect(cluster[3].replica.deadline == nil)
    }

    @Test func aFollowerWithATrustedLeaderHoldsAPreVoteAndThenDeniesIt() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(3, 1)]
        cluster.suspect(1, by: 3)
        cluster.deliver(to: 2)
        #expect(cluster.take { $0.from == member(2) }.isEmpty)
        cluster.advance(.milliseconds(99))
        #expect(cluster.take { $0.from == member(2) }.isEmpty)
        cluster.advance(.milliseconds(1))
        let sent = cluster.take { $0.from == member(2) }
        #expect(sent.map(\.to) == members(3, 1))
        #expect(sent[0].body == .preVoteReply(granted: false))
        #expect(sent[1].isPreVoteRequest, "its leader is asked whether it still leads")
        cluster.receive(sent[1])
        cluster.settle()
        #expect(cluster[2].replica.leader == member(1) && cluster.leaders == [1])
        #expect(cluster[2].replica.term == 1)
    }

    /// 1. 1 dies. 2 notices and asks 3, which trusts 1 still and denies it in the end.
    /// 2. 3 notices late, and asks 2, which comes before it and denies it; and asks 3 again.
    /// 3. One of them leads without an election timeout having passed.
    @Test func whoWasDeniedAsksAgainWhenTheOtherStandsToo() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(1)
        cluster.suspect(1, by: 3)
        cluster.settle()
        cluster.advance(.milliseconds(100))
        cluster.settle()
        #expect(cluster[3].replica.role == .preCandidate)
        let deadline = cluster[3].replica.deadline
        cluster.suspect(1, by: 2)
        cluster.settle()
        #expect(cluster.leaders == [3])
        #expect(cluster[2].replica.leader == member(3))
        #expect(deadline.map { cluster.now < $0 } == true)
    }

    /// The held request is what makes the first attempt succeed where two notice a death at different moments.
    ///
    /// 1. 1 dies. 2 notices and asks 3, which does not know yet and holds the request.
    /// 2. 3 notices: it grants what it held and does not stand itself.
    /// 3. 2 leads without any time having passed.
    @Test func aSuspectedLeaderIsReplacedAtOnce() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(1)
        let before = cluster.now
        cluster.suspect(1, by: 2)
        cluster.deliver()
        #expect(cluster[2].replica.role == .preCandidate)
        cluster.suspect(1, by: 3)
        #expect(cluster[3].replica.role == .follower, "granted, and yet a candidate itself")
        cluster.settle()
        #expect(cluster.leaders == [2])
        #expect(cluster[2].replica.term == 2)
        #expect(cluster.now == before)
    }

    /// Both survivors notice at once and ask each other; the order of candidates decides, without a split vote.
    @Test(arguments: [false, true]) func theBestLogWins(lowerNodeIsBetter: Bool) {
        let cluster = Cluster()
        cluster.elect(1)
        if lowerNodeIsBetter {
            cluster.cuts = [(1, 3)]
            cluster.propose(1)
            cluster.settle()
        }
        cluster.cuts = []
        cluster.crash(1)
        let before = cluster.now
        cluster.suspect(1, by: 2, 3)
        cluster.settle()
        #expect(cluster.leaders == [lowerNodeIsBetter ? 2 : 3])
        #expect(cluster[2].replica.term == 2)
        #expect(cluster[2].replica.log.lastHash == cluster[3].replica.log.lastHash)
        #expect(cluster.now == before)
    }

    @Test func aCandidateWithAWorseLogGetsNoVote() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 3)]
        cluster.propose(1)
        cluster.settle()
        cluster.cuts = []
        cluster.crash(1)
        // 2 suspects too, and stands back from nobody: 3 lacks the entry.
        cluster.suspect(1, by: 3)
        cluster.suspect(1, by: 2)
        for message in cluster.take({ $0.from == member(3) && $0.isPreVoteRequest }) { cluster.receive(message) }
        #expect(cluster.take { $0.from == member(2) && $0.to == member(3) && $0.isGrantedPreVote }.isEmpty)
        // Even a vote in a later term is refused, though the term is adopted.
        let candidacy = Message.Candidacy(lastIndex: 1, lastTerm: 1, transfer: false)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(2), term: 9, body: .vote(candidacy)))
        #expect(cluster[2].replica.term == 9)
        cluster.persist(2)
        #expect(cluster.take { $0.isGrantedVote }.isEmpty)
    }

    @Test func onlyOneVoteATermAlsoAfterARestart() {
        let cluster = Cluster()
        func ask(_ from: UInt32) {
            let candidacy = Message.Candidacy(lastIndex: 5, lastTerm: 1, transfer: false)
            cluster.receive(
                Message(group: testGroup, from: member(from), to: member(1), term: 4, body: .vote(candidacy)))
            cluster.persist(1)
        }
        ask(2)
        #expect(cluster.take { $0.isGrantedVote }.map { $0.to } == [member(2)])
        ask(3)
        #expect(cluster.take { $0.isGrantedVote }.isEmpty)
        cluster.crash(1)
        cluster.restart(1)
        ask(3)
        #expect(cluster.take { $0.isGrantedVote }.isEmpty)
        // The same candidate asks again, as its answer may have been lost.
        ask(2)
        #expect(cluster.take { $0.isGrantedVote }.map { $0.to } == [member(2)])
    }

    /// 1. 1 leads term 1; the detector at 1 loses both others, though they live.
    /// 2. After an election timeout without a majority it leads no more, in the same term.
    @Test func aLeaderStepsDownByCheckQuorum() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 2), (1, 3)]
        cluster.suspect(2, by: 1)
        cluster.advance(.milliseconds(1000))
        #expect(cluster.leaders == [1], "one of three is not a majority lost")
        cluster.suspect(3, by: 1)
        cluster.advance(.milliseconds(299))
        #expect(cluster.leaders == [1])
        cluster.advance(.milliseconds(1))
        #expect(cluster.leaders == [])
        #expect(cluster[1].replica.term == 1)
        #expect(cluster[1].replica.leader == nil)
        #expect(cluster.propose(1) == .notLeader)
    }

    @Test func aMajorityThatIsBackInTimeKeepsTheLeader() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.suspect(2, by: 1)
        cluster.suspect(3, by: 1)
        cluster.advance(.milliseconds(200))
        cluster.trust(3, by: 1)
        cluster.run(.seconds(1))
        #expect(cluster.leaders == [1])
    }

    /// The detector may be wrong for long: a round that a majority confirms says that it is.
    @Test func aConfirmedRoundPutsOffCheckQuorum() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.suspect(2, by: 1)
        cluster.suspect(3, by: 1)
        cluster.advance(.milliseconds(200))
        cluster.read(1, ticket: 1)
        cluster.settle()
        #expect(cluster[1].reads.map { $0.ticket } == [1])
        cluster.advance(.milliseconds(299))
        #expect(cluster.leaders == [1])
        cluster.advance(.milliseconds(1))
        #expect(cluster.leaders == [])
    }

    /// A leader that stepped down asks for votes itself; whoever still held it for leader does not deny it.
    @Test func aLeaderThatGaveUpIsElectedAgain() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.suspect(2, by: 1)
        cluster.suspect(3, by: 1)
        cluster.advance(.milliseconds(300))
        #expect(cluster.leaders == [])
        cluster.timeOut(1)
        cluster.settle()
        #expect(cluster.leaders == [1])
        #expect(cluster[1].replica.term == 2)
    }

    /// 1. 1 asks for votes in term 1 and wins; a copy of its request to 2 is late.
    /// 2. The copy arrives while 2 follows 1: it is no sign that 1 gave up.
    @Test func aLateRequestOfTheElectedLeaderChangesNothing() {
        let cluster = Cluster()
        cluster.timeOut(1)
        let preVotes = cluster.take { $0.isPreVoteRequest && $0.to == member(2) }
        for message in preVotes { cluster.receive(message) }
        cluster.deliver()
        let votes = cluster.take { $0.isVoteRequest && $0.to == member(2) }
        for message in votes { cluster.receive(message) }
        cluster.settle()
        #expect(cluster.leaders == [1])
        for message in preVotes + votes { cluster.receive(message) }
        #expect(cluster[2].replica.leader == member(1))
        #expect(cluster[2].replica.deadline == nil)
    }

    @Test func suspicionEndsWithAnyMessageOfTheLeaderAndMayBeRepeated() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(2, 3)]
        cluster.suspect(1, by: 2)
        #expect(cluster[2].replica.role == .preCandidate)
        cluster.drop()
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[2].replica.role == .follower)
        #expect(cluster[2].replica.deadline == nil)
        cluster.suspect(1, by: 2)
        #expect(cluster[2].replica.role == .preCandidate, "a suspicion that was ended here can be raised again")
        cluster.drop()
        let deadline = cluster[2].replica.deadline
        cluster.suspect(1, by: 2)
        #expect(cluster.take().isEmpty, "one that stands is not raised twice")
        #expect(cluster[2].replica.deadline == deadline)
    }

    @Test func trustEndsACandidacyThatHasNotBegun() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(1)
        cluster.suspect(1, by: 2)
        cluster.deliver()
        cluster.suspect(1, by: 3)
        // 3 has granted 2's pre-vote and waits whether 2 succeeds.
        #expect(cluster[3].replica.deadline != nil)
        cluster.trust(1, by: 3)
        #expect(cluster[3].replica.deadline == nil)
    }

    /// A leader that sees a candidate of a later term keeps its term while a majority follows it, and shows itself.
    @Test func aLeaderWithItsMajorityIsNotDeposedByAVoteRequest() {
        let cluster = Cluster()
        cluster.elect(1)
        let candidacy = Message.Candidacy(lastIndex: 9, lastTerm: 1, transfer: false)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(1), term: 2, body: .vote(candidacy)))
        #expect(cluster.leaders == [1])
        #expect(cluster[1].replica.term == 1)
        #expect(cluster.take { $0.to == member(3) && $0.append != nil }.count == 1)
    }

    /// 3 is in a later term than the leader, after an election that came to nothing: the leader learns it from the
    /// answer to its append, and an election in a yet later term unites them.
    @Test func aFollowerInALaterTermIsTakenIn() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.cuts = [(1, 3)]
        let candidacy = Message.Candidacy(lastIndex: 9, lastTerm: 1, transfer: true)
        cluster.receive(Message(group: testGroup, from: member(2), to: member(3), term: 7, body: .vote(candidacy)))
        cluster.persist(3)
        cluster.drop(from: 3)
        #expect(cluster[3].replica.term == 7)
        cluster.cuts = []
        cluster.propose(1)
        cluster.run(.seconds(2))
        #expect(cluster.leaders.count == 1)
        #expect(cluster[cluster.leaders[0]].replica.term > 7)
        for number: UInt32 in 1...3 { #expect(cluster[number].replica.commitIndex >= 3) }
    }

    /// The schedule in the comment on `askLeader`: a live node that does not lead any more is not trusted for ever.
    @Test func aLeaderThatLivesInALaterTermIsNotTrustedForEver() {
        let cluster = Cluster(voters: [1, 2, 3], others: [4])
        cluster.elect(1)
        let candidacy = Message.Candidacy(lastIndex: 9, lastTerm: 9, transfer: true)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(1), term: 4, body: .vote(candidacy)))
        #expect(cluster[1].replica.term == 4)
        cluster.drop()
        #expect(cluster[2].replica.leader == member(1))
        let asked = Message.Candidacy(lastIndex: 9, lastTerm: 9, transfer: false)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(2), term: 5, body: .preVote(asked)))
        cluster.advance(.milliseconds(100))
        cluster.deliver(from: 2, to: 1)
        cluster.deliver(from: 1, to: 2)
        #expect(cluster[2].replica.leader == nil)
        #expect(cluster[2].replica.term == 4)
    }

    /// The same question to one that does lead brings an append, and changes nothing.
    @Test func aLeaderThatLeadsAnswersTheQuestion() {
        let cluster = Cluster()
        cluster.elect(1)
        let asked = Message.Candidacy(lastIndex: 9, lastTerm: 9, transfer: false)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(2), term: 9, body: .preVote(asked)))
        cluster.advance(.milliseconds(100))
        cluster.deliver(from: 2, to: 1)
        #expect(cluster.take { $0.to == member(2) && $0.append != nil }.count == 1)
        #expect(cluster.leaders == [1])
        #expect(cluster[1].replica.term == 1)
        #expect(cluster[2].replica.leader == member(1))
    }
}

@Suite struct AbstentionTests {
    @Test func oneThatAbstainsDoesNotVoteAdoptATermStandOrAcknowledge() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster[2].replica.abstain(true)
        let candidacy = Message.Candidacy(lastIndex: 9, lastTerm: 9, transfer: true)
        for body: Message.Body in [.preVote(candidacy), .vote(candidacy), .voteReply(granted: false)] {
            cluster.receive(Message(group: testGroup, from: member(3), to: member(2), term: 9, body: body))
        }
        let append = Message.Append(previousIndex: 1, previousTerm: 1, entries: [], commit: 1, round: 99)
        cluster.receive(Message(group: testGroup, from: member(3), to: member(2), term: 9, body: .append(append)))
        cluster.suspect(1, by: 2)
        cluster.advance(.seconds(1))
        #expect(cluster.take { $0.from == member(2) }.isEmpty)
        #expect(cluster[2].batches.isEmpty)
        #expect(cluster[2].replica.term == 1)
        #expect(cluster[2].replica.role == .follower)
    }

    /// An acknowledgement is held back while a node does not know that its disk is not an old copy, and is given when
    /// it does, without the leader asking again.
    @Test func theNewestAppendIsAnsweredWhenTheAbstentionEnds() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(2)
        cluster.crash(3)
        cluster.propose(1)
        cluster.restart(2)
        cluster[2].replica.abstain(true)
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == 1)
        cluster[2].replica.abstain(false)
        cluster.input(2) { _, _, _ in }
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == 2)
        #expect(cluster[2].disk.lastIndex == 2)
    }

    /// A leader that cannot adopt the later term that it hears of still stops leading.
    @Test func aLeaderThatAbstainsStopsLeadingWhenItHearsOfALaterTerm() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster[1].replica.abstain(true)
        let reply = Message.AppendReply(outcome: .following, round: 0)
        cluster.receive(Message(group: testGroup, from: member(2), to: member(1), term: 5, body: .appendReply(reply)))
        #expect(cluster.leaders == [])
        #expect(cluster[1].replica.term == 1)
        #expect(cluster[1].batches.isEmpty)
    }
}
