/// Elections: pre-vote (dissertation, section 9.6), vote, and who stands back.
///
/// A follower with a leader that it trusts denies everyone. Suspicion of the leader, which comes from outside, relaxes
/// pre-vote and vote alike and ends with any message of that leader in its term. Whoever has not come to suspect it yet
/// holds a request for a moment instead of denying it. Of two candidates the one with the better (last term, last
/// index, node) goes on and the other grants and stands back: so two survivors elect one at the first attempt.
///
/// Whoever is asked answers, a voter by its own log or not; whose answers count is for the candidate's log to say
/// (dissertation, section 4.2.1):
///
/// 1. A, B, C are to become C, D, E. The joint membership is on A and C; A dies for good.
/// 2. C alone can win, as its log is the best: with B of the old voters, and D or E of the new.
/// 3. D's log does not say yet that D votes. If D kept silent, nobody would ever lead again.
extension Replica {
    /// The node is held for lost. Where it is suspected already, nothing happens: so a caller may repeat a suspicion
    /// that still stands, as a late message of the leader may have ended it here.
    public mutating func suspect(_ node: NodeID, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        guard !self.suspected.contains(node) else { return }
        self.suspected.append(node)
        if self.role == .leader { return self.considerQuorum(now: now) }
        guard self.leader?.node == node else { return }
        // A held request may be granted just now, and then the other one stands.
        let hasGranted = self.releaseHeld(now: now, into: &effects)
        if !hasGranted, self.role == .follower || (self.role == .learner && self.mayStand) {
            self.beginCandidacy(now: now, into: &effects)
        }
    }

    public mutating func trust(_ node: NodeID, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        self.suspected.removeAll { $0 == node }
        if self.role == .leader { return self.considerQuorum(now: now) }
        if self.leader?.node == node, self.role == self.restingRole { self.awaitLeader(now: now) }
    }

    /// The disk may be an old copy: no vote, no term adopted, no candidacy, nothing acknowledged, nobody followed.
    public mutating func abstain(_ isAbstaining: Bool) { self.isAbstaining = isAbstaining }

    var isVoter: Bool {
        self.membership.voters.contains(self.configuration.me)
            || self.membership.outgoing.contains(self.configuration.me)
    }

    /// Whether this replica may ask for votes. Also one that the newest membership leaves out, while that is not known
    /// to be committed; its own vote does not count then (dissertation, section 4.2.2):
    ///
    /// 1. A and B are to become B alone. The joint membership is committed; the final one is on A only.
    /// 2. A restarts. B, by its log, needs A's vote as well, and A denies it: A's log is the better one.
    /// 3. If A, no voter by its own log, did not stand, nobody would ever lead again.
    var mayStand: Bool {
        if self.isMembershipHidden { return false }
        if self.isVoter { return true }
        let last = self.memberships.count - 1
        guard last > 0, self.memberships[last].index > self.commitIndex else { return false }
        let before = self.memberships[last - 1].membership
        return before.voters.contains(self.configuration.me) || before.outgoing.contains(self.configuration.me)
    }

    /// What this replica is while it neither leads nor stands.
    var restingRole: Role { self.isVoter ? .follower : .learner }

    var hasTrustedLeader: Bool {
        guard let leader = self.leader else { return false }
        return !self.isLost(leader) && self.votes(leader)
    }

    mutating func armElection(now: Instant) {
        let base = self.configuration.electionTimeout
        self.electionDeadline = now + base + self.random.below(base)
    }

    mutating func becomeFollower(of leader: MemberID?, term: Term, now: Instant, into effects: inout Effects) {
        invariant(term >= self.term, "follows term \(term) from \(self.term)")
        let wasLeader = self.role == .leader
        if term > self.term { self.write(hardState: HardState(term: term, votedFor: nil), into: &effects) }
        self.role = self.restingRole
        self.leader = leader
        if leader != nil { self.hasHeldBack = false }
        self.granted.removeAll(keepingCapacity: true)
        self.isTransferCandidate = false
        self.roundEchoed = 0
        if leader == nil { self.armElection(now: now) } else { self.awaitLeader(now: now) }
        if wasLeader { self.ceaseLeading(into: &effects) }
    }

    // MARK: Standing

    mutating func beginCandidacy(now: Instant, into effects: inout Effects) {
        guard self.mayStand, !self.isAbstaining, self.fitness == .fit else { return self.armElection(now: now) }
        if self.isReluctant || !self.isWhole, !self.hasHeldBack {
            self.hasHeldBack = true
            return self.armElection(now: now)
        }
        self.hasHeldBack = false
        // Whether the old leader lives is for the others to say; its term's messages end this candidacy.
        self.role = .preCandidate
        self.isTransferCandidate = false
        self.granted = [self.configuration.me]
        self.armElection(now: now)
        self.askAll(.preVote(self.candidacy), term: self.term + 1, into: &effects)
        self.considerPreElected(now: now, into: &effects)
    }

    /// Who stands itself has given up the leader that it denied us for. Whoever of two comes first is granted at once, and
    /// asks nobody again in turn.
    ///
    /// 1. B suspects A at once, and asks C, which trusts A still: C holds the request, and denies it when its time is up.
    /// 2. C comes to suspect A by its silence, and asks B, which is the better one.
    /// 3. If B did not ask again, both would wait for an election timeout.
    private func askAgain(_ member: MemberID, into effects: inout Effects) {
        effects.sendNow.append(self.message(to: member, .preVote(self.candidacy), term: self.term + 1))
    }

    var candidacy: Message.Candidacy {
        Message.Candidacy(
            lastIndex: self.log.lastIndex, lastTerm: self.log.lastTerm, transfer: self.isTransferCandidate)
    }

    func askAll(_ body: Message.Body, term: Term, into effects: inout Effects) {
        for peer in self.peers where self.votes(peer.member) {
            effects.sendNow.append(self.message(to: peer.member, body, term: term))
        }
    }

    func votes(_ member: MemberID) -> Bool {
        self.membership.voters.contains(member) || self.membership.outgoing.contains(member)
    }

    private mutating func considerPreElected(now: Instant, into effects: inout Effects) {
        let granted = self.granted
        guard self.role == .preCandidate, Quorum.decides(self.membership, { granted.contains($0) }) else { return }
        self.stand(now: now, into: &effects)
    }

    mutating func stand(now: Instant, into effects: inout Effects) {
        self.role = .candidate
        self.leader = nil
        self.granted.removeAll(keepingCapacity: true)
        self.write(hardState: HardState(term: self.term + 1, votedFor: self.configuration.me), into: &effects)
        self.candidacyVersion = self.hardStateVersion
        self.armElection(now: now)
        self.askAll(.vote(self.candidacy), term: self.term, into: &effects)
    }

    /// A candidate's own vote counts only once it is durable, like everyone's.
    mutating func considerElected(now: Instant, into effects: inout Effects) {
        let granted = self.granted
        let me = self.configuration.me
        let own = self.persistedHardStateVersion >= self.candidacyVersion
        guard Quorum.decides(self.membership, { granted.contains($0) || ($0 == me && own) }), own else { return }
        self.lead(now: now, into: &effects)
    }

    // MARK: Requests

    /// - Returns: whether it was granted.
    @discardableResult
    mutating func receivePreVote(
        _ message: Message, _ candidacy: Message.Candidacy, now: Instant, into effects: inout Effects
    ) -> Bool {
        guard !self.abstains else { return false }
        if self.role == .leader {
            self.showLeadership(to: message.from)
            return false
        }
        guard message.term > self.term else {
            effects.sendNow.append(self.message(to: message.from, .preVoteReply(granted: false)))
            return false
        }
        if self.leader == message.from { self.loseLeader(now: now) }
        if self.hasTrustedLeader, !candidacy.transfer {
            self.hold(message, now: now)
            return false
        }
        let grants = self.isAtLeastAsGood(candidacy) && !self.standsBefore(candidacy, of: message.from)
        if grants { self.standBack(now: now) }
        effects.sendNow.append(
            self.message(to: message.from, .preVoteReply(granted: grants), term: grants ? message.term : self.term))
        if !grants, self.role == .preCandidate { self.askAgain(message.from, into: &effects) }
        return grants
    }

    /// - Returns: whether it was granted.
    @discardableResult
    mutating func receiveVote(
        _ message: Message, _ candidacy: Message.Candidacy, now: Instant, into effects: inout Effects
    ) -> Bool {
        guard !self.abstains else { return false }
        if message.term < self.term {
            effects.sendNow.append(self.message(to: message.from, .voteReply(granted: false)))
            return false
        }
        if self.role == .leader, message.term > self.term, !candidacy.transfer, self.quorumLostAt == nil {
            // A majority follows us: whoever asks did not see that yet.
            self.showLeadership(to: message.from)
            return false
        }
        // Only by a new term: a late request of the election that it won says nothing.
        if message.term > self.term, self.leader == message.from { self.loseLeader(now: now) }
        if message.term > self.term, self.hasTrustedLeader, self.role != .leader, !candidacy.transfer {
            self.hold(message, now: now)
            return false
        }
        if message.term > self.term { self.becomeFollower(of: nil, term: message.term, now: now, into: &effects) }
        let isFree = self.hardState.votedFor == nil || self.hardState.votedFor == message.from
        guard isFree, self.leader == nil, self.isAtLeastAsGood(candidacy) else {
            effects.sendNow.append(self.message(to: message.from, .voteReply(granted: false)))
            return false
        }
        if self.hardState.votedFor == nil {
            self.write(hardState: HardState(term: self.term, votedFor: message.from), into: &effects)
        }
        self.standBack(now: now)
        effects.sendAfterPersist.append(self.message(to: message.from, .voteReply(granted: true)))
        return true
    }

    mutating func receivePreVoteReply(_ message: Message, _ granted: Bool, now: Instant, into effects: inout Effects) {
        // Who leads answers otherwise (`showLeadership`).
        let isOfOurTerm = message.term == self.term + (granted ? 1 : 0)
        if isOfOurTerm, message.from == self.leader, self.role == self.restingRole { self.loseLeader(now: now) }
        if !granted {
            if message.term > self.term, !self.abstains {
                self.becomeFollower(of: nil, term: message.term, now: now, into: &effects)
            }
            return
        }
        guard self.role == .preCandidate, message.term == self.term + 1 else { return }
        if !self.granted.contains(message.from) { self.granted.append(message.from) }
        self.considerPreElected(now: now, into: &effects)
    }

    mutating func receiveVoteReply(_ message: Message, _ granted: Bool, now: Instant, into effects: inout Effects) {
        if message.term > self.term {
            if !self.abstains { self.becomeFollower(of: nil, term: message.term, now: now, into: &effects) }
            return
        }
        guard granted, self.role == .candidate, message.term == self.term else { return }
        if !self.granted.contains(message.from) { self.granted.append(message.from) }
        self.considerElected(now: now, into: &effects)
    }

    // MARK: Who is better

    private func isAtLeastAsGood(_ other: Message.Candidacy) -> Bool {
        (other.lastTerm, other.lastIndex) >= (self.log.lastTerm, self.log.lastIndex)
    }

    /// Whether this replica, a candidate itself, comes before the other in the order of candidates.
    private func standsBefore(_ other: Message.Candidacy, of member: MemberID) -> Bool {
        guard self.role == .preCandidate || self.role == .candidate else { return false }
        return (self.log.lastTerm, self.log.lastIndex, self.configuration.me.node)
            > (other.lastTerm, other.lastIndex, member.node)
    }

    private mutating func standBack(now: Instant) {
        if self.role == .preCandidate || self.role == .candidate { self.role = self.restingRole }
        self.granted.removeAll(keepingCapacity: true)
        self.armElection(now: now)
    }

    /// Our leader asks for votes itself: it leads no more.
    private mutating func loseLeader(now: Instant) {
        self.leader = nil
        self.armElection(now: now)
    }

    /// The asker learns by an append who leads.
    private mutating func showLeadership(to member: MemberID) {
        for at in self.peers.indices where self.peers[at].member == member {
            if self.peers[at].awaitsSnapshot || self.isRecovering {
                // The snapshot goes on, and who recovers sends no entries; a new round says who leads.
                self.round += 1
            } else {
                self.peers[at].probe(from: self.peers[at].next)
            }
        }
    }

    // MARK: Holding

    private mutating func hold(_ message: Message, now: Instant) {
        self.held.removeAll { $0.message.from == message.from }
        self.held.append(HeldRequest(message: message, until: now + self.configuration.heldVote))
    }

    /// Somebody wants to lead, and we deny it for our leader's sake. The leader is asked whether it still is: one that leads
    /// shows itself, one that does not answers (`receivePreVoteReply`), and nobody's term is changed by the question.
    ///
    /// 1. D leads term 3; B follows it. D is deposed in term 4, which B does not hear of, and is no voter any more.
    /// 2. C, of term 4, needs B's vote. B trusts D, which lives, and denies C.
    /// 3. D neither leads nor stands: if B did not ask, it would deny C for ever.
    ///
    /// So it is where D was in no later term: it led itself out of the membership and stopped, and B was down when that came.
    private func askLeader(into effects: inout Effects) {
        guard let leader = self.leader else { return }
        effects.sendNow.append(self.message(to: leader, .preVote(self.candidacy), term: self.term + 1))
    }

    /// Answers what was held, where the leader is suspected by now; denies it where its time is up.
    /// - Returns: whether one was granted.
    @discardableResult
    mutating func releaseHeld(now: Instant, into effects: inout Effects) -> Bool {
        guard !self.held.isEmpty else { return false }
        var hasGranted = false
        let held = self.held
        self.held.removeAll(keepingCapacity: true)
        for request in held {
            if !self.hasTrustedLeader {
                switch request.message.body {
                case .preVote(let candidacy):
                    if self.receivePreVote(request.message, candidacy, now: now, into: &effects) { hasGranted = true }
                case .vote(let candidacy):
                    if self.receiveVote(request.message, candidacy, now: now, into: &effects) { hasGranted = true }
                default: break
                }
            } else if now < request.until {
                self.held.append(request)
            } else if case .preVote = request.message.body {
                effects.sendNow.append(self.message(to: request.message.from, .preVoteReply(granted: false)))
                self.askLeader(into: &effects)
            } else {
                self.askLeader(into: &effects)
            }
        }
        return hasGranted
    }
}
