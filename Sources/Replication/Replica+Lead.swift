/// Taking leadership, keeping it, giving it up.
extension Replica {
    mutating func lead(now: Instant, into effects: inout Effects) {
        invariant(self.hardState.votedFor == self.configuration.me, "leads term \(self.term) without its own vote")
        self.role = .leader
        self.leader = self.configuration.me
        self.electionDeadline = nil
        self.hasCommittedInTerm = false
        self.isTransferCandidate = false
        self.granted.removeAll(keepingCapacity: true)
        self.held.removeAll(keepingCapacity: true)
        self.quorumLostAt = nil
        self.owesMembership = false
        self.round = 0
        for at in self.peers.indices {
            var peer = Progress(
                member: self.peers[at].member, next: self.log.lastIndex + 1, isConnected: self.peers[at].isConnected)
            peer.lastProgress = now
            self.peers[at] = peer
        }
        if self.isWhole { self.beginTerm(into: &effects) } else { self.beginRecovery(now: now) }
        self.considerQuorum(now: now)
    }

    mutating func beginTerm(into effects: inout Effects) {
        self.uncommitted = 0
        for index in self.commitIndex..<self.log.lastIndex {
            self.uncommitted += Log.memoryBytes(of: self.log.entry(at: index + 1))
        }
        // Commits what stands before it, which may not be counted otherwise (dissertation, section 3.6.2).
        self.appendOwn(.empty, payload: [], wall: self.log.lastTime, into: &effects)
    }

    /// Adds an entry to the leader's own log. Peers get it with the next `flush`, while our disk still writes it.
    @discardableResult
    mutating func appendOwn(
        _ kind: EntryKind, payload: [UInt8], wall: WallTime, into effects: inout Effects
    ) -> LogIndex {
        let entry = Entry(
            group: self.configuration.group, index: self.log.lastIndex + 1, term: self.term,
            time: max(self.log.lastTime, wall), kind: kind, payload: payload, previousHash: self.log.lastHash,
            key: self.configuration.hashKey)
        self.uncommitted += Log.memoryBytes(of: entry)
        self.append(entry, into: &effects)
        return entry.index
    }

    /// Proposes an entry. Accepted is not committed: its fate is known when `commitIndex` reaches it in this term, or
    /// another entry stands in its place.
    public mutating func propose(
        _ kind: EntryKind, payload: [UInt8], wall: WallTime, now: Instant, into effects: inout Effects
    ) -> ProposeResult {
        defer { self.checkInvariants() }
        guard self.role == .leader, self.transfer == nil, self.fitness == .fit else { return .notLeader }
        guard !self.isRecovering else { return .recovering }
        guard self.uncommitted < self.configuration.maxUncommittedBytes, self.hasRoom(for: kind) else { return .full }
        return .accepted(self.appendOwn(kind, payload: payload, wall: wall, into: &effects))
    }

    mutating func ceaseLeading(into effects: inout Effects) {
        for read in self.readsWaiting + self.readsOfRound { self.fail(read, into: &effects) }
        self.readsWaiting.removeAll(keepingCapacity: true)
        self.readsOfRound.removeAll(keepingCapacity: true)
        self.transfer = nil
        self.lastFailedSuccessor = nil
        self.quorumLostAt = nil
        self.owesMembership = false
        self.hasCommittedInTerm = false
        self.isRecovering = false
        self.uncommitted = 0
    }

    /// Check-quorum: where the detector holds so many for lost that no majority is left, the leader gives up after an
    /// election timeout, unless a round was confirmed since.
    mutating func considerQuorum(now: Instant) {
        if self.hasQuorum { self.quorumLostAt = nil } else if self.quorumLostAt == nil { self.quorumLostAt = now }
    }

    mutating func superviseLeadership(now: Instant, into effects: inout Effects) {
        if let lost = self.quorumLostAt, now >= lost + self.configuration.electionTimeout {
            self.becomeFollower(of: nil, term: self.term, now: now, into: &effects)
            return
        }
        if let transfer = self.transfer, now >= transfer.deadline {
            // It may be as sick as we are: next time another one is asked, where there is one.
            self.lastFailedSuccessor = transfer.to
            self.transfer = nil
        }
        let resendAfter = self.configuration.resendAfter
        for at in self.peers.indices where self.peers[at].isConnected {
            let waits = self.peers[at].isProbing || !self.peers[at].inflight.isEmpty
            guard waits, now >= self.peers[at].lastProgress + resendAfter else { continue }
            self.probeAnew(at)
            self.peers[at].lastProgress = now
        }
        if !self.readsOfRound.isEmpty, now >= self.roundStarted + resendAfter {
            // A later round confirms the one of the reads too, and unlike that one it is answered again.
            self.roundStarted = now
            self.round += 1
        }
    }

    /// What was under way to the peer is lost: find out where the logs meet. Where nothing is known of a peer its log
    /// is taken to be as long as ours, and its answer says better. From the beginning it would get the whole log, or a
    /// snapshot, at each fail-over.
    mutating func probeAnew(_ at: Int) {
        let match = self.peers[at].match
        self.peers[at].probe(from: match > 0 ? match + 1 : self.log.lastIndex + 1)
    }

    // MARK: Connections

    /// The member answers in a later run than before, or for the first time: what it acknowledged may be gone, where its
    /// disk is damaged. To be called before `connected`.
    ///
    /// 1. B acknowledges 143 and restarts with less, or with a hole at 100.
    /// 2. Its leader, sure that B has 143, ignores each "my log ends at 71", and never sends B what it lacks.
    public mutating func restarted(_ member: MemberID) {
        for at in self.peers.indices where self.peers[at].member == member {
            self.peers[at].match = 0
            self.peers[at].received = 0
        }
    }

    /// A data connection is up: what was under way to its node is lost. It leads to one incarnation of the node; what
    /// another was sent arrives nowhere.
    public mutating func connected(_ member: MemberID, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        if self.connectedMembers.contains(where: { $0.node == member.node && $0 != member }) {
            self.disconnected(member.node, now: now, into: &effects)
            self.owesQuorumCheck = true
        }
        if let leader = self.leader, leader.node == member.node, leader != member, self.role == self.restingRole {
            // The leader's disk is gone, and the leader with it: nobody else would say so.
            self.armElection(now: now)
        }
        if !self.connectedMembers.contains(member) { self.connectedMembers.append(member) }
        if self.toldReadiness?.leader == member { self.toldReadiness = nil }
        if !self.log.isWhole { self.filling.connected(member, now: now) }
        for at in self.peers.indices where self.peers[at].member == member {
            self.peers[at].isConnected = true
            self.peers[at].commitSent = 0
            self.peers[at].roundSent = 0
            self.peers[at].readiness = .ready
            self.peers[at].lastProgress = now
            if case .snapshot = self.peers[at].state { continue }
            self.probeAnew(at)
        }
        // A candidate's request may have gone into the void.
        if self.role == .preCandidate { self.beginCandidacy(now: now, into: &effects) }
    }

    public mutating func disconnected(_ node: NodeID, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        self.connectedMembers.removeAll { $0.node == node }
        if self.filling.asked?.member.node == node { self.filling.asked = nil }
        for at in self.peers.indices where self.peers[at].member.node == node {
            self.peers[at].isConnected = false
            if case .snapshot = self.peers[at].state { continue }
            self.probeAnew(at)
        }
    }

    // MARK: Hand-over (dissertation, section 3.10)

    /// Hands leadership to a voter, the one that would do best where none is named: proposals are refused, it is caught up,
    /// told to stand, and wins with a log as good as ours. Given up after two election timeouts.
    /// - Parameter leavesAnyway: it will not lead on, whoever takes over.
    /// - Returns: whether there is anyone to hand over to.
    public mutating func transfer(
        to node: NodeID?, leavesAnyway: Bool = false, now: Instant, into effects: inout Effects
    ) -> Bool {
        defer { self.checkInvariants() }
        guard self.role == .leader, let successor = self.successor(node, leavesAnyway: leavesAnyway) else {
            return false
        }
        self.transfer = (successor, now + 2 * self.configuration.electionTimeout, false)
        if self.isRecovering {
            // There is nothing to catch it up with, and nobody to wait for: it wins if its log is no worse than ours.
            self.transfer?.isSent = true
            effects.sendNow.append(self.message(to: successor, .timeoutNow))
        }
        self.considerTransfer(into: &effects)
        return true
    }

    mutating func considerTransfer(into effects: inout Effects) {
        guard let transfer = self.transfer, !transfer.isSent else { return }
        for peer in self.peers where peer.member == transfer.to && peer.match == self.log.lastIndex {
            self.transfer?.isSent = true
            effects.sendNow.append(self.message(to: peer.member, .timeoutNow))
        }
    }

    mutating func receiveTimeoutNow(_ message: Message, now: Instant, into effects: inout Effects) {
        guard message.term == self.term, message.from == self.leader, self.isVoter, !self.isAbstaining,
            self.fitness == .fit, !self.isMembershipHidden
        else { return }
        self.isTransferCandidate = true
        self.stand(now: now, into: &effects)
    }
}
