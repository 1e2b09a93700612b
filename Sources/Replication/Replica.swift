/// Settings of a replica. Times are lengths; all limits are a replica's or a peer's own.
public struct ReplicaConfiguration: Sendable {
    public var group: GroupID
    public var me: MemberID
    public var hashKey: HashKey
    public var seed: UInt64
    /// While no trusted leader is known, a candidacy begins after a time drawn from [this, twice this).
    public var electionTimeout: Nanoseconds = .milliseconds(300)
    /// Appends without an answer for this long are sent again.
    public var resendAfter: Nanoseconds = .seconds(1)
    /// How long a candidate's request waits for this replica to come to suspect the leader too.
    public var heldVote: Nanoseconds = .milliseconds(100)
    public var maxInflightAppends = 256
    public var maxInflightBytes = 8 << 20
    public var maxAppendBytes = 1 << 20
    /// Proposals beyond this many bytes not yet committed are refused.
    public var maxUncommittedBytes = 64 << 20
    /// A replica on a sick disk takes in entries up to so many bytes. Its leader waits then.
    public var maxMemoryBytes = 64 << 20
    /// Bytes of log in memory (`Log.memoryBytes`) beyond which no more entries are taken in, but for a leader's few small
    /// ones that bring it to a snapshot.
    public var maxLogBytes = 1 << 30

    public init(group: GroupID, me: MemberID, hashKey: HashKey, seed: UInt64) {
        self.group = group
        self.me = me
        self.hashKey = hashKey
        self.seed = seed
    }
}

/// What a replica starts from.
public struct RestoredReplica: Sendable {
    public var hardState: HardState
    public var snapshot: SnapshotMark?
    /// By index, from the snapshot on; with the holes contiguous.
    public var entries: [Entry]
    /// Members where neither the snapshot nor an entry says otherwise.
    public var membership: Membership
    /// By index. The last entry's term is known, be it a hole.
    public var holes: [Hole]

    public init(
        hardState: HardState, snapshot: SnapshotMark?, entries: [Entry], membership: Membership, holes: [Hole] = []
    ) {
        self.hardState = hardState
        self.snapshot = snapshot
        self.entries = entries
        self.membership = membership
        self.holes = holes
    }
}

/// One member of a group: Raft (Ongaro, *Consensus: Bridging Theory and Practice*, Stanford 2014), pure.
///
/// Inputs are calls, each with the present time; what is to be done about them is added to an `Effects`. It knows no
/// clock, socket, disk or random source, and never waits. Bytes from peers never trap; a broken invariant does.
///
/// Beyond the dissertation: failure detection lies outside, per pair of nodes (`suspect`, `trust`), so that an idle
/// group sends nothing; and competing candidates are ordered by their logs, so that the survivors of a lost leader do
/// not split the vote.
public struct Replica: ~Copyable {
    public let configuration: ReplicaConfiguration
    public internal(set) var role: Role = .follower
    public internal(set) var hardState: HardState
    public internal(set) var leader: MemberID?
    public internal(set) var log: Log
    public internal(set) var commitIndex: LogIndex
    /// Last index of this log that is durable here.
    public internal(set) var persistedIndex: LogIndex
    /// A leader's: an entry of its own term is committed, so that its commit index is the group's.
    public internal(set) var hasCommittedInTerm = false
    /// Leads, and closes the holes of its log first: it proposes nothing, sends no entry and confirms no read.
    public internal(set) var isRecovering = false

    var random: Random
    var hardStateVersion: UInt64 = 0
    var persistedHardStateVersion: UInt64 = 0
    var truncations: UInt64 = 0
    var repairsWritten: UInt64 = 0
    /// Holes that are filled, and not yet durably, by the number of the write. Nearly always empty.
    var repairs: [(index: LogIndex, number: UInt64)] = []
    /// Holes: how far the leaders' commit index is known to reach beyond the first.
    var knownCommit: LogIndex = 0
    /// Holes of which nothing is known: up to here the leader of this term has shown entries that may be theirs.
    var assumed: (index: LogIndex, entryTerm: Term, leaderTerm: Term)?
    var filling = Filling()
    var isAbstaining = false
    /// What the disk can do.
    public internal(set) var fitness = Fitness.fit
    /// Taken in by a replica that is not fit: bytes, and how far its log equals that of the leader of the term.
    var memoryBytes = 0
    var receivedUpTo: (index: LogIndex, term: Term)?
    /// What was acknowledged last of that.
    var acknowledgedUpTo: LogIndex = 0
    /// Has nothing to serve from: others are to stand first. Stands all the same where nobody else came to lead within an
    /// election timeout, as its log may be the best there is.
    public var isReluctant = false
    var hasHeldBack = false
    /// Memberships by the index they came with, oldest first; the last one counts.
    var memberships: [(index: LogIndex, membership: Membership)]
    var newestSnapshot: SnapshotMark?

    // Election.
    var suspected: [NodeID] = []
    var electionDeadline: Instant?
    var granted: [MemberID] = []
    /// The hard state in which this candidate voted for itself.
    var candidacyVersion: UInt64 = 0
    var isTransferCandidate = false
    var held: [HeldRequest] = []

    /// Who has a data connection, members or not: one may become a member while it is connected. One a node: of two
    /// incarnations of it the one that connected last.
    var connectedMembers: [MemberID] = []
    /// The newest append that came while this replica abstains.
    var unanswered: Message?

    // Leading.
    var peers: [Progress] = []
    var round: UInt64 = 0
    var readsWaiting: [WaitingRead] = []
    var readsOfRound: [WaitingRead] = []
    var roundOfReads: UInt64 = 0
    var roundStarted = Instant(nanoseconds: 0)
    var quorumLostAt: Instant?
    var transfer: (to: MemberID, deadline: Instant, isSent: Bool)?
    /// Did not take over when it was last asked to.
    var lastFailedSuccessor: MemberID?
    var uncommitted: Int = 0
    /// A committed membership asks for something that needs effects.
    var owesMembership = false
    /// The membership changed since `flush` last looked whether a majority is there.
    var owesQuorumCheck = false

    // Following.
    var roundEchoed: UInt64 = 0
    /// What the leader knows of this replica's readiness, if it has heard all that was said.
    var toldReadiness: (leader: MemberID, term: Term, readiness: Readiness)?

    struct HeldRequest {
        var message: Message
        var until: Instant
    }

    struct WaitingRead {
        var ticket: UInt64
        /// Nil: asked here.
        var from: MemberID?
        var index: LogIndex
    }

    public init(_ configuration: ReplicaConfiguration, restored: RestoredReplica, now: Instant) {
        self.configuration = configuration
        self.hardState = restored.hardState
        self.log = Log(base: restored.snapshot, entries: restored.entries, holes: restored.holes)
        self.newestSnapshot = restored.snapshot
        self.commitIndex = restored.snapshot?.index ?? 0
        self.persistedIndex = self.log.lastIndex
        self.random = Random(seed: configuration.seed)
        self.memberships = [(restored.snapshot?.index ?? 0, restored.snapshot?.membership ?? restored.membership)]
        for entry in restored.entries where entry.kind == .membership {
            if let membership = Membership(encoded: entry.payload) {
                self.memberships.append((entry.index, membership))
            }
        }
        if self.log.lastTerm > self.hardState.term {
            self.hardState = HardState(term: self.log.lastTerm, votedFor: nil)
        }
        self.role = self.isVoter ? .follower : .learner
        self.peers = self.makePeers()
        self.armElection(now: now)
    }

    // MARK: Views

    public var term: Term { self.hardState.term }
    public var lastIndex: LogIndex { self.log.lastIndex }
    public var lastTerm: Term { self.log.lastTerm }
    /// The members that count: those of the newest membership in the log, committed or not.
    public var membership: Membership { self.memberships[self.memberships.count - 1].membership }

    /// The members in force at an index: what a snapshot there has to name, as a later membership may yet be replaced.
    /// - Parameter index: at or after the log's base.
    public func membership(at index: LogIndex) -> Membership {
        var found = self.memberships[0].membership
        for (at, membership) in self.memberships where at <= index { found = membership }
        return found
    }
    public var isTransferring: Bool { self.transfer != nil }
    public var uncommittedBytes: Int { self.uncommitted }

    /// Highest index known to be durable at a member: at the leader, of each; elsewhere only of itself.
    public func matchIndex(of member: MemberID) -> LogIndex {
        if member == self.configuration.me { return self.durableIndex }
        for peer in self.peers where peer.member == member { return self.role == .leader ? peer.match : 0 }
        return 0
    }

    /// The earliest instant at which time alone changes something; nil where nothing is waited for.
    public var deadline: Instant? {
        var earliest = self.role == .leader ? nil : self.electionDeadline
        func consider(_ instant: Instant) { earliest = min(earliest ?? instant, instant) }
        if !self.log.isWhole { consider(self.filling.deadline) }
        for request in self.held { consider(request.until) }
        if self.role == .leader {
            if let quorumLostAt { consider(quorumLostAt + self.configuration.electionTimeout) }
            if let transfer { consider(transfer.deadline) }
            if !self.readsOfRound.isEmpty { consider(self.roundStarted + self.configuration.resendAfter) }
            for peer in self.peers where peer.isConnected && (peer.isProbing || !peer.inflight.isEmpty) {
                consider(peer.lastProgress + self.configuration.resendAfter)
            }
        }
        return earliest
    }

    // MARK: Inputs

    public mutating func receive(_ message: Message, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        guard message.group == self.configuration.group, message.to == self.configuration.me,
            message.from != self.configuration.me, message.term < Message.numberLimit,
            self.isMember(message.from) || message.term >= self.term || message.isForAnyone
        else { return }
        switch message.body {
        case .preVote(let candidacy): self.receivePreVote(message, candidacy, now: now, into: &effects)
        case .preVoteReply(let granted): self.receivePreVoteReply(message, granted, now: now, into: &effects)
        case .vote(let candidacy): self.receiveVote(message, candidacy, now: now, into: &effects)
        case .voteReply(let granted): self.receiveVoteReply(message, granted, now: now, into: &effects)
        case .append(let append): self.receiveAppend(message, append, now: now, into: &effects)
        case .appendReply(let reply): self.receiveAppendReply(message, reply, now: now, into: &effects)
        case .timeoutNow: self.receiveTimeoutNow(message, now: now, into: &effects)
        case .readIndex(let ticket): self.receiveReadIndex(message, ticket, into: &effects)
        case .readIndexReply(let ticket, let index):
            if let index, message.term == self.term, message.from == self.leader {
                effects.reads.append((ticket, index))
            } else {
                effects.failedReads.append(ticket)
            }
        case .entriesWanted(let wanted): self.receiveEntriesWanted(message, wanted, into: &effects)
        case .entries(let answers): self.receiveEntries(message, answers, now: now, into: &effects)
        }
    }

    /// A write is durable. One that was overtaken confirms nothing:
    ///
    /// 1. Entry 7 of term 2 is on its way to the disk.
    /// 2. The leader of term 3 replaces it with its own entry 7.
    /// 3. The first write completes: what it made durable is not in the log any more.
    public mutating func persisted(_ ticket: WriteTicket, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        self.persistedHardStateVersion = max(self.persistedHardStateVersion, ticket.hardStateVersion)
        if ticket.truncations == self.truncations, ticket.lastIndex > self.persistedIndex {
            self.persistedIndex = min(ticket.lastIndex, self.log.lastIndex)
            if self.role == .leader { self.advanceCommit() }
            self.acknowledgeReceived(into: &effects)
        }
        if !self.repairs.isEmpty { self.repairsPersisted(through: ticket.repairs, into: &effects) }
        if self.role == .candidate { self.considerElected(now: now, into: &effects) }
    }

    /// Time has passed: to be called when `deadline` has come. Earlier or later does no harm.
    public mutating func wake(now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        self.releaseHeld(now: now, into: &effects)
        if self.role == .leader {
            self.superviseLeadership(now: now, into: &effects)
        } else if let deadline = self.electionDeadline, now >= deadline {
            self.beginCandidacy(now: now, into: &effects)
        }
    }

    /// Once a turn, after all inputs: appends, commit indexes and rounds go out together.
    public mutating func flush(now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        if !self.isAbstaining, let message = self.unanswered {
            self.unanswered = nil
            self.receive(message, now: now, into: &effects)
        }
        self.settleMembership(now: now, into: &effects)
        if self.role == .leader { self.flushLeader(now: now, into: &effects) }
        self.tellReadiness(into: &effects)
        // After the append that says who leads: what is said of missing entries counts in this term alone.
        if !self.log.isWhole { self.considerFilling(now: now, into: &effects) }
    }

    private mutating func flushLeader(now: Instant, into effects: inout Effects) {
        if self.owesQuorumCheck {
            self.owesQuorumCheck = false
            self.considerQuorum(now: now)
            self.considerRound(into: &effects)
        }
        self.startRound(now: now, into: &effects)
        for at in self.peers.indices { self.sendAppends(to: at, now: now, into: &effects) }
    }

    // MARK: Durable state

    mutating func write(hardState: HardState, into effects: inout Effects) {
        self.hardState = hardState
        self.hardStateVersion += 1
        effects.writes.append(.hardState(self.configuration.group, hardState))
        self.noteTicket(into: &effects)
    }

    mutating func append(_ entry: Entry, into effects: inout Effects) {
        self.log.append(entry)
        effects.writes.append(.append(entry))
        if self.fitness != .fit { self.memoryBytes += Log.memoryBytes(of: entry) }
        if entry.kind == .membership, let membership = Membership(encoded: entry.payload) {
            self.memberships.append((entry.index, membership))
            self.membershipChanged()
        }
        self.noteTicket(into: &effects)
    }

    mutating func truncate(after index: LogIndex, into effects: inout Effects) {
        invariant(index >= self.commitIndex, "committed entries cut: \(index) < \(self.commitIndex)")
        self.log.truncate(after: index)
        self.truncations += 1
        self.persistedIndex = min(self.persistedIndex, index)
        if !self.repairs.isEmpty { self.repairs.removeAll { $0.index > index } }
        effects.writes.append(.truncate(self.configuration.group, after: index))
        var isChanged = false
        while self.memberships.count > 1, self.memberships[self.memberships.count - 1].index > index {
            self.memberships.removeLast()
            isChanged = true
        }
        if isChanged { self.membershipChanged() }
        self.noteTicket(into: &effects)
    }

    func noteTicket(into effects: inout Effects) {
        effects.ticket = WriteTicket(
            lastIndex: self.log.lastIndex, hardStateVersion: self.hardStateVersion, truncations: self.truncations,
            repairs: self.repairsWritten)
    }

    func message(to member: MemberID, _ body: Message.Body, term: Term? = nil) -> Message {
        Message(
            group: self.configuration.group, from: self.configuration.me, to: member, term: term ?? self.term,
            body: body)
    }

    // MARK: Invariants

    func checkInvariants() {
        invariant(self.commitIndex <= self.log.lastIndex, "commit \(self.commitIndex) beyond \(self.log.lastIndex)")
        invariant(
            self.log.baseIndex <= self.commitIndex, "base \(self.log.baseIndex) beyond commit \(self.commitIndex)")
        invariant(
            self.persistedIndex <= self.log.lastIndex, "durable \(self.persistedIndex) beyond \(self.log.lastIndex)")
        invariant(self.log.lastTerm <= self.term, "last term \(self.log.lastTerm) beyond \(self.term)")
        if let hole = self.log.holes.first {
            invariant(self.commitIndex < hole.index, "commit \(self.commitIndex) beyond the hole at \(hole.index)")
            invariant(self.role != .leader || self.isRecovering, "leads with a hole at \(hole.index)")
        }
        if self.role == .leader {
            invariant(
                self.leader == self.configuration.me, "leads, and holds \(String(describing: self.leader)) for leader")
        } else {
            invariant(self.leader != self.configuration.me, "holds itself for leader as \(self.role)")
        }
    }
}
