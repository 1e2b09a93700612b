/// Changes of membership by joint consensus (dissertation, section 4.3). A membership counts from the moment its entry
/// is in the log, committed or not. While one is joint every decision needs both majorities; when it is committed, the
/// leader proposes the end of the change by itself.
extension Replica {
    /// Proposes new voters and learners. One change at a time, and only once this leader has committed in its term.
    public mutating func changeMembership(
        voters: [MemberID], learners: [MemberID], wall: WallTime, now: Instant, into effects: inout Effects
    ) -> ProposeResult {
        defer { self.checkInvariants() }
        guard self.role == .leader, self.transfer == nil else { return .notLeader }
        guard !self.isRecovering else { return .recovering }
        guard self.hasCommittedInTerm else { return .notLeader }
        let current = self.memberships[self.memberships.count - 1]
        guard current.membership.outgoing.isEmpty, current.index <= self.commitIndex, !voters.isEmpty else {
            return .full
        }
        var next = Membership(voters: voters, learners: learners.filter { !voters.contains($0) })
        if next.voters != current.membership.voters { next.outgoing = current.membership.voters }
        return .accepted(self.appendOwn(.membership, payload: next.encoded(), wall: wall, into: &effects))
    }

    func isMember(_ member: MemberID) -> Bool {
        self.votes(member) || self.membership.learners.contains(member)
    }

    /// Whether a member is held for lost: its node is suspected, or answers with another disk than the member had.
    func isLost(_ member: MemberID) -> Bool {
        self.suspected.contains(member.node)
            || self.connectedMembers.contains { $0.node == member.node && $0 != member }
    }

    /// Whether enough for a decision are not held for lost.
    var hasQuorum: Bool { Quorum.decides(self.membership) { !self.isLost($0) } }

    /// A membership is under way whose entry is not known to be committed, or that is joint.
    public var isMembershipChanging: Bool {
        let current = self.memberships[self.memberships.count - 1]
        return current.index > self.commitIndex || !current.membership.outgoing.isEmpty
    }

    /// Index of the entry that the membership came with.
    public var membershipIndex: LogIndex { self.memberships[self.memberships.count - 1].index }

    /// The newest membership that is known to be committed.
    public var committedMembership: Membership { self.membership(at: self.commitIndex) }

    func makePeers() -> [Progress] {
        var members = Set<MemberID>()
        members.formUnion(self.membership.voters)
        members.formUnion(self.membership.outgoing)
        members.formUnion(self.membership.learners)
        members.remove(self.configuration.me)
        return members.sorted().map { member in
            self.peers.first { $0.member == member }
                ?? Progress(
                    member: member, next: self.log.lastIndex + 1,
                    isConnected: self.connectedMembers.contains(member))
        }
    }

    mutating func membershipChanged() {
        self.peers = self.makePeers()
        self.owesQuorumCheck = true
        if self.role == .follower || self.role == .learner { self.role = self.isVoter ? .follower : .learner }
    }

    /// What a commit brings about for a leader: the end of a joint change, or its own end where it votes no more.
    mutating func membershipCommitted() {
        let current = self.memberships[self.memberships.count - 1]
        guard self.role == .leader, current.index > 0, current.index <= self.commitIndex else { return }
        self.owesMembership = !current.membership.outgoing.isEmpty || !self.isVoter
    }

    /// Pays what `membershipCommitted` noted, where effects are at hand.
    mutating func settleMembership(now: Instant, into effects: inout Effects) {
        guard self.owesMembership, self.role == .leader else { return }
        self.owesMembership = false
        let current = self.membership
        if !current.outgoing.isEmpty {
            let final = Membership(voters: current.voters, learners: current.learners)
            self.appendOwn(.membership, payload: final.encoded(), wall: self.log.lastTime, into: &effects)
        } else if !self.isVoter {
            // The others hear that it is committed, and the one with the most of the log is asked to stand.
            for at in self.peers.indices { self.sendAppends(to: at, now: now, into: &effects) }
            if let successor = self.successor(nil, leavesAnyway: true) {
                effects.sendNow.append(self.message(to: successor, .timeoutNow))
            }
            self.becomeFollower(of: nil, term: self.term, now: now, into: &effects)
        }
    }
}

extension Membership {
    /// `u32 voters, u32 outgoing, u32 learners`, then for each `u32 node, u64 high, u64 low` of its incarnation;
    /// little-endian.
    public func encoded() -> [UInt8] {
        var out: [UInt8] = []
        func put<T: FixedWidthInteger>(_ value: T) {
            withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) }
        }
        put(UInt32(self.voters.count))
        put(UInt32(self.outgoing.count))
        put(UInt32(self.learners.count))
        for member in self.voters + self.outgoing + self.learners {
            put(member.node.rawValue)
            put(member.incarnation.high)
            put(member.incarnation.low)
        }
        return out
    }

    /// Nil where the bytes are not such an encoding.
    public init?(encoded bytes: [UInt8]) {
        func number<T: FixedWidthInteger>(_ type: T.Type, at offset: Int) -> T {
            bytes.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: T.self)) }
        }
        guard bytes.count >= 12 else { return nil }
        let counts = (0..<3).map { Int(number(UInt32.self, at: 4 * $0)) }
        let total = counts.reduce(0, +)
        guard counts.allSatisfy({ $0 <= 1024 }), bytes.count == 12 + 20 * total else { return nil }
        let members = (0..<total).map { position in
            let offset = 12 + 20 * position
            return MemberID(
                node: NodeID(number(UInt32.self, at: offset)),
                incarnation: Incarnation(
                    high: number(UInt64.self, at: offset + 4), low: number(UInt64.self, at: offset + 12)))
        }
        self.init(
            voters: Array(members[..<counts[0]]), outgoing: Array(members[counts[0]..<counts[0] + counts[1]]),
            learners: Array(members[(counts[0] + counts[1])...]))
    }
}
