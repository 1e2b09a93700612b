public import Replication

/// Everything that travels on the data connection between two nodes.
public enum PeerMessage: Sendable, Equatable {
    case replica(Message)
    case forward(Forward)
    case snapshot(SnapshotPiece)
    case snapshotReply(SnapshotReply)
    /// Asks the group's leader for a time entry: a reader's clock is past a key's expiry, the state's time is not.
    case advanceTime(group: GroupID)
    /// Asks how many other nodes hold an entry durably, and answers (the Redis command WAIT).
    case copies(group: GroupID, index: LogIndex, ticket: UInt64)
    case copiesReply(ticket: UInt64, count: UInt32)
    /// Asks the group's leader to hand over; 0 leaves the choice to it.
    case transfer(group: GroupID, to: NodeID)
    /// What the sender remembers of everyone's runs, durably: the receiver's own among them.
    case runs(PeerRuns)
    /// Asks for bytes of the file of the snapshot at this index, to rebuild one's own, and answers; without bytes where
    /// there is no such file, or it ends before.
    case snapshotBlocksWanted(group: GroupID, index: LogIndex, offset: UInt64)
    case snapshotBlocks(group: GroupID, index: LogIndex, offset: UInt64, bytes: [UInt8])
    /// Asks the group's leader for a snapshot at or after this index: the sender has lost its state.
    case snapshotWanted(group: GroupID, atLeast: LogIndex)
    /// Asks the group's leader for a new checkpoint: the sender's newest snapshot is bad, and nobody has another copy.
    case checkpointWanted(group: GroupID)
    /// The group's leader has no room for more log, and refuses clients' writes.
    case writesRefused(group: GroupID, term: Term)
    /// What the sender's state at a checkpoint is, for everyone to compare with theirs.
    case stateDigest(StateDigest)
}

/// A stretch of one origin run's stream into one group, on its way to the leader.
public struct Forward: Sendable, Equatable {
    public var group: GroupID
    public var block: OriginBlock

    public init(group: GroupID, block: OriginBlock) {
        self.group = group
        self.block = block
    }
}

/// Commands of one origin run with consecutive sequences: the unit in which commands are forwarded, put into an entry,
/// retried and applied exactly once.
public struct OriginBlock: Sendable, Equatable {
    public var origin: NodeID
    public var run: Run
    public var firstSequence: UInt64
    /// The origin has had the replies of all sequences below this one.
    public var lowestUnanswered: UInt64
    public var count: UInt32
    /// `count` times: u32 length, command.
    public var commands: [UInt8]

    public init(
        origin: NodeID, run: Run, firstSequence: UInt64, lowestUnanswered: UInt64, count: UInt32, commands: [UInt8]
    ) {
        self.origin = origin
        self.run = run
        self.firstSequence = firstSequence
        self.lowestUnanswered = lowestUnanswered
        self.count = count
        self.commands = commands
    }
}

/// A stretch of a snapshot file on its way to a replica that needs what the log no longer has.
public struct SnapshotPiece: Sendable, Equatable {
    public var group: GroupID
    /// The sending leader's term.
    public var term: Term
    public var mark: SnapshotMark
    /// At the sender.
    public var standing: SnapshotStanding
    /// Size of the whole file in bytes.
    public var size: UInt64
    public var offset: UInt64
    public var bytes: [UInt8]

    public init(
        group: GroupID, term: Term, mark: SnapshotMark, standing: SnapshotStanding, size: UInt64, offset: UInt64,
        bytes: [UInt8]
    ) {
        self.group = group
        self.term = term
        self.mark = mark
        self.standing = standing
        self.size = size
        self.offset = offset
        self.bytes = bytes
    }
}

public struct SnapshotReply: Sendable, Equatable {
    public enum Verdict: UInt8, Sendable {
        /// Go on at `nextOffset`.
        case more = 1
        /// The state is installed.
        case installed = 2
        /// The bytes did not add up: start again.
        case damaged = 3
    }

    public var group: GroupID
    public var index: LogIndex
    public var nextOffset: UInt64
    public var verdict: Verdict

    public init(group: GroupID, index: LogIndex, nextOffset: UInt64, verdict: Verdict) {
        self.group = group
        self.index = index
        self.nextOffset = nextOffset
        self.verdict = verdict
    }
}
