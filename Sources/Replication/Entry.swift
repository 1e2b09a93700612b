/// What an entry of a log holds.
public enum EntryKind: UInt8, Sendable, CaseIterable {
    /// A new leader's first entry: commits what stands before it.
    case empty = 1
    /// A run of commands for the group's state machine.
    case commands = 2
    /// The group's members from here on (`Membership`).
    case membership = 3
    /// Every replica takes a snapshot of its state at this index.
    case checkpoint = 4
    /// Carries nothing but a later time, so that a key whose time has come expires on every replica alike.
    case time = 5
    /// Opens an origin run and retires earlier runs of its node.
    case session = 6
}

/// One record of a group's log. Immutable once made: its hash covers all of it and, through `previousHash`, all before
/// it.
///
/// The payload's bytes are those that the journal writes and the peers get; nobody encodes them again.
public struct Entry: Sendable {
    public let group: GroupID
    public let index: LogIndex
    public let term: Term
    /// Time of the state after this entry: no earlier than the previous entry's.
    public let time: WallTime
    public let kind: EntryKind
    public let payload: [UInt8]
    public let payloadHash: Hash128
    /// `hash` of the entry at `index - 1`; zero for the first.
    public let previousHash: Hash128
    /// Hash of all the fields above (the payload by its own hash).
    public let hash: Hash128

    /// Makes an entry and its hashes. Complexity: O(payload).
    public init(
        group: GroupID, index: LogIndex, term: Term, time: WallTime, kind: EntryKind, payload: [UInt8],
        previousHash: Hash128, key: HashKey
    ) {
        var hasher = SipHasher128(key: key)
        payload.withUnsafeBytes { hasher.combine($0) }
        self.init(
            group: group, index: index, term: term, time: time, kind: kind, payload: payload,
            payloadHash: hasher.finalize(), previousHash: previousHash, key: key)
    }

    /// Makes an entry whose payload's hash is known: read from a frame or a journal whose checksum was right.
    public init(
        group: GroupID, index: LogIndex, term: Term, time: WallTime, kind: EntryKind, payload: [UInt8],
        payloadHash: Hash128, previousHash: Hash128, key: HashKey
    ) {
        self.group = group
        self.index = index
        self.term = term
        self.time = time
        self.kind = kind
        self.payload = payload
        self.payloadHash = payloadHash
        self.previousHash = previousHash
        self.hash = Self.hash(
            group: group, index: index, term: term, time: time, kind: kind, payloadBytes: payload.count,
            payloadHash: payloadHash, previousHash: previousHash, key: key)
    }

    /// An entry's hash from all but its payload: what a header tells of an entry whose bytes are gone.
    package static func hash(
        group: GroupID, index: LogIndex, term: Term, time: WallTime, kind: EntryKind, payloadBytes: Int,
        payloadHash: Hash128, previousHash: Hash128, key: HashKey
    ) -> Hash128 {
        var hasher = SipHasher128(key: key)
        hasher.combine(group.rawValue)
        hasher.combine(index)
        hasher.combine(term)
        hasher.combine(time.nanoseconds)
        hasher.combine(UInt64(kind.rawValue) << 32 | UInt64(UInt32(truncatingIfNeeded: payloadBytes)))
        hasher.combine(payloadHash.low)
        hasher.combine(payloadHash.high)
        hasher.combine(previousHash.low)
        hasher.combine(previousHash.high)
        return hasher.finalize()
    }
}

extension Entry: Equatable {
    public static func == (a: Entry, b: Entry) -> Bool { a.hash == b.hash }
}

/// What a replica must never forget: the highest term it knows and whom it voted for in it.
public struct HardState: Hashable, Sendable, BitwiseCopyable {
    public var term: Term
    public var votedFor: MemberID?

    public init(term: Term, votedFor: MemberID?) {
        self.term = term
        self.votedFor = votedFor
    }

    public static var initial: HardState { HardState(term: 0, votedFor: nil) }
}

/// Who votes in a group and who only follows.
///
/// While a change is under way (`outgoing` not empty) every decision needs a majority of `voters` and a majority of
/// `outgoing` (Ongaro, *Consensus: Bridging Theory and Practice*, 2014, section 4.3: joint consensus).
public struct Membership: Hashable, Sendable {
    /// Sorted, each once.
    public var voters: [MemberID]
    /// The voters before a change that is under way. Sorted; empty at rest.
    public var outgoing: [MemberID]
    /// Receive the log and do not count. Sorted.
    public var learners: [MemberID]

    public init(voters: [MemberID], outgoing: [MemberID] = [], learners: [MemberID] = []) {
        self.voters = Self.canonical(voters)
        self.outgoing = Self.canonical(outgoing)
        self.learners = Self.canonical(learners)
    }

    // A member that stood there twice would count twice.
    private static func canonical(_ members: [MemberID]) -> [MemberID] {
        var sorted: [MemberID] = []
        sorted.reserveCapacity(members.count)
        for member in members.sorted() where member != sorted.last { sorted.append(member) }
        return sorted
    }
}

/// Says which state a snapshot holds.
public struct SnapshotMark: Hashable, Sendable {
    /// Last entry in the state.
    public var index: LogIndex
    public var term: Term
    /// That entry's hash.
    public var hash: Hash128
    /// The state's time.
    public var time: WallTime
    public var membership: Membership

    public init(index: LogIndex, term: Term, hash: Hash128, time: WallTime, membership: Membership) {
        self.index = index
        self.term = term
        self.hash = hash
        self.time = time
        self.membership = membership
    }
}
