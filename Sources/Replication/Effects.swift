/// What a replica wants done. The caller owns one, empties it after use and lends it again; a replica only ever adds.
public struct Effects: ~Copyable {
    /// To be sent at once.
    public var sendNow: [Message] = []
    /// To be sent when `writes`, and all writes before them, are durable: votes and acknowledgements.
    public var sendAfterPersist: [Message] = []
    /// To be made durable, in this order.
    public var writes: [LogWrite] = []
    /// To be handed back to `Replica.persisted` when `writes` are durable.
    public var ticket: WriteTicket?
    /// Reads that may be answered once the state has reached `index`.
    public var reads: [(ticket: UInt64, index: LogIndex)] = []
    /// Reads that no leader confirmed: to be asked again.
    public var failedReads: [UInt64] = []
    /// Peers whose next entry is gone from the log: to be sent a snapshot.
    public var snapshotsNeeded: [MemberID] = []
    /// A peer of the same term showed another entry where this log has one: one of the two is damaged.
    public var divergences: [(index: LogIndex, with: MemberID)] = []
    /// Holes that have their entry again, by the number of their payload's bytes. Durable with this turn's writes.
    public var filled: [(index: LogIndex, bytes: Int)] = []
    /// Entries of this leader's log that nobody can have acknowledged, and that are gone: from the first to the last.
    public var discarded: [ClosedRange<LogIndex>] = []

    public init() {}
}

/// A change of a group's durable log.
public enum LogWrite: Sendable, Equatable {
    /// Entries after this index go.
    case truncate(GroupID, after: LogIndex)
    case append(Entry)
    /// Takes the place of the entry or hole at its index, and leaves what stands after it.
    case repair(Entry)
    case hardState(GroupID, HardState)
}

/// Says what a finished disk write confirms. One that was overtaken (its entries were replaced since) confirms nothing.
public struct WriteTicket: Sendable, Equatable, BitwiseCopyable {
    public var lastIndex: LogIndex
    /// Counts hard states written.
    public var hardStateVersion: UInt64
    /// Counts truncations: entries written before one may be others than those of today at the same index.
    public var truncations: UInt64
    /// Counts repairs.
    public var repairs: UInt64
}

public enum ProposeResult: Sendable, Equatable {
    case accepted(LogIndex)
    case notLeader
    /// Too much waits to be committed, or the log is at its limit.
    case full
    /// The log has holes to close first.
    case recovering
}

public enum Role: UInt8, Sendable {
    case follower = 1
    /// Asks whether it would be voted for.
    case preCandidate = 2
    case candidate = 3
    case leader = 4
    /// Receives the log and does not vote.
    case learner = 5
}
