/// Elections: pre-vote (dissertation, section 9.6), vote, and who stands back.
///
/// A follower with a leader that it trusts denies everyone. Suspicion of the leader, which comes from outside, relaxes
/// pre-vote and vote alike and ends with any message of that leader in its term. Whoever has not come to suspect it yet
/// holds a request for a moment instead of denying it. Of two candidates the one with the better (last term, last index,
/// node) goes on and the other grants and stands back: so two survivors elect one at the first attempt.
extension Replica {
    public mutating func suspect(_ node: NodeID, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        if !self.suspected.contains(node) { self.suspected.append(node) }
        if self.role == .leader { return self.considerQuorum(now: now) }
        guard self.leader?.node == node else { return }
        self.releaseHeld(now: now, into: &effects)
        // A held request may have been granted just now, and then the other one stands.
        if self.role == .follower, self.electionDeadline == nil || self.leader != nil {
            self.beginCandidacy(now: now, into: &effects)
        }
    }

    public mutating func trust(_ node: NodeID, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        self.suspected.removeAll { $0 == node }
        if self.role == .leader { return self.considerQuorum(now: now) }
        if self.leader?.node == node, self.role == .follower { self.electionDeadline = nil }
    }

    /// The disk can make nothing durable: no vote, no term adopted, no candidacy.
    public mutating func abstain(_ isAbstaining: Bool) { self.isAbstaining = isAbstaining }

    var isVoter: Bool {
        self.membership.voters.contains(self.configuration.me) || self.membership.outgoing.contains(self.configuration.me)
    }

    var hasTrustedLeader: Bool {
        guard let leader = self.leader else { return false }
        return !self.suspected.contains(leader.node)
    }

    mutating func armElection(now: Instant) {
        let base = self.configuration.electionTimeout
        self.electionDeadline = now + base + self.random.below(base)
    }

    mutating func becomeFollower(of leader: MemberID?, term: Term, now: Instant, into effects: inout Effects) {
        invariant(term >= self.term, "follows term \(term) from \(self.term)")
        let wasLeader = self.role == .leader
        if term > self.term { self.write(hardState: HardState(term: term, votedFor: nil), into: &effects) }
        self.role = self.isVoter ? .follower : .learner
        self.leader = leader
        self.granted.removeAll(keepingCapacity: true)
        self.isTransferCandidate = false
        self.roundEchoed = 0
        if leader == nil { self.armElection(now: now) } else { self.electionDeadline = nil }
        if wasLeader { self.ceaseLeading(into: &effects) }
    }

    // MARK: Standing

    mutating func beginCandidacy(now: Instant, into effects: inout Effects) {
        guard self.isVoter, !self.isAbstaining else { return self.armElection(now: now) }
        // Whether the old leader lives is for the others to say; its term's messages end this candidacy.
        self.role = .preCandidate
        self.granted = [self.configuration.me]
        self.armElection(now: now)
        self.askAll(.preVote(self.candidacy), term: self.term + 1, into: &effects)
        self.considerPreElected(now: now, into: &effects)
    }

    var candidacy: Message.Candidacy {
        Message.Candidacy(
            lastIndex: self.log.lastIndex, lastTerm: self.log.lastTerm, transfer: self.isTransferCandidate)
    }

    private func askAll(_ body: Message.Body, term: Term, into effects: inout Effects) {
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

    mutating func receivePreVote(
        _ message: Message, _ candidacy: Message.Candidacy, now: Instant, into effects: inout Effects
    ) {
        guard !self.isAbstaining, self.isVoter else { return }
        if self.role == .leader { return self.showLeadership(to: message.from, now: now) }
        if self.leader == message.from { self.loseLeader(now: now) }
        guard message.term > self.term else {
            return effects.sendNow.append(self.message(to: message.from, .preVoteReply(granted: false)))
        }
        if self.hasTrustedLeader, !candidacy.transfer { return self.hold(message, now: now) }
        let grants = self.isAtLeastAsGood(candidacy) && !self.standsBefore(candidacy, of: message.from)
        if grants { self.standBack(now: now) }
        effects.sendNow.append(
            self.message(to: message.from, .preVoteReply(granted: grants), term: grants ? message.term : self.term))
    }

    mutating func receiveVote(
        _ message: Message, _ candidacy: Message.Candidacy, now: Instant, into effects: inout Effects
    ) {
        guard !self.isAbstaining, self.isVoter else { return }
        if message.term < self.term {
            return effects.sendNow.append(self.message(to: message.from, .voteReply(granted: false)))
        }
        if self.role == .leader, message.term > self.term, !candidacy.transfer, self.quorumLostAt == nil {
            // A majority follows us: whoever asks did not see that yet.
            return self.showLeadership(to: message.from, now: now)
        }
        if self.leader == message.from { self.loseLeader(now: now) }
        if message.term > self.term, self.hasTrustedLeader, self.role != .leader, !candidacy.transfer {
            return self.hold(message, now: now)
        }
        if message.term > self.term { self.becomeFollower(of: nil, term: message.term, now: now, into: &effects) }
        let isFree = self.hardState.votedFor == nil || self.hardState.votedFor == message.from
        guard isFree, self.leader == nil, self.isAtLeastAsGood(candidacy) else {
            return effects.sendNow.append(self.message(to: message.from, .voteReply(granted: false)))
        }
        if self.hardState.votedFor == nil {
            self.write(hardState: HardState(term: self.term, votedFor: message.from), into: &effects)
        }
        self.standBack(now: now)
        effects.sendAfterPersist.append(self.message(to: message.from, .voteReply(granted: true)))
    }

    mutating func receivePreVoteReply(_ message: Message, _ granted: Bool, now: Instant, into effects: inout Effects) {
        if !granted {
            if message.term > self.term, !self.isAbstaining {
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
            if !self.isAbstaining { self.becomeFollower(of: nil, term: message.term, now: now, into: &effects) }
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
        if self.role == .preCandidate || self.role == .candidate { self.role = .follower }
        self.granted.removeAll(keepingCapacity: true)
        self.armElection(now: now)
    }

    /// Our leader asks for votes itself: it leads no more.
    private mutating func loseLeader(now: Instant) {
        self.leader = nil
        self.armElection(now: now)
    }

    /// The asker learns by an append who leads.
    private mutating func showLeadership(to member: MemberID, now: Instant) {
        for at in self.peers.indices where self.peers[at].member == member {
            self.peers[at].probe(from: self.peers[at].next)
        }
    }

    // MARK: Holding

    private mutating func hold(_ message: Message, now: Instant) {
        self.held.removeAll { $0.message.from == message.from }
        self.held.append(HeldRequest(message: message, until: now + self.configuration.heldVote))
    }

    /// Answers what was held, where the leader is suspected by now; denies it where its time is up.
    mutating func releaseHeld(now: Instant, into effects: inout Effects) {
        guard !self.held.isEmpty else { return }
        let held = self.held
        self.held.removeAll(keepingCapacity: true)
        for request in held {
            if !self.hasTrustedLeader {
                switch request.message.body {
                case .preVote(let candidacy): self.receivePreVote(request.message, candidacy, now: now, into: &effects)
                case .vote(let candidacy): self.receiveVote(request.message, candidacy, now: now, into: &effects)
                default: break
                }
            } else if now < request.until {
                self.held.append(request)
            } else if case .preVote = request.message.body {
                effects.sendNow.append(self.message(to: request.message.from, .preVoteReply(granted: false)))
            }
        }
    }
}
