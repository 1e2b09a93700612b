public import Replication

/// A group as its journal remembers it.
public struct RecoveredGroup: Sendable, Equatable {
    public var group: GroupID
    public var hardState: HardState = .initial
    public var snapshot: SnapshotMark?
    /// Of the snapshot.
    public var standing = SnapshotStanding.confirmed
    /// The good ones above the snapshot, by index. With the holes contiguous, from the snapshot to the log's end.
    public var entries: [Entry] = []
    /// Entries above the snapshot which the journal shows to have been there, and whose bytes are bad; by index.
    public var holes: [Hole] = []
    /// Something unreadable may have held entries of this group, and nothing later names its end. The disk is lost.
    public var isEndUncertain = false
    /// Something unreadable may have held its term and vote, and nothing later tells that they are the newest. The disk is
    /// lost.
    public var isVoteUncertain = false

    public init(group: GroupID) { self.group = group }

    /// All that was ever acknowledged is here.
    public var isWhole: Bool { self.holes.isEmpty && !self.isEndUncertain && !self.isVoteUncertain }

    /// The last entry, hole, or entry in the snapshot; of a hole the term may not be known, and is 0 then.
    package var end: LogEnd {
        if let hole = self.holes.last, hole.index > self.entries.last?.index ?? 0 {
            return LogEnd(hole.index, hole.term ?? 0)
        }
        if let entry = self.entries.last { return LogEnd(entry.index, entry.term) }
        return self.snapshot.map { LogEnd($0.index, $0.term) } ?? LogEnd(0, 0)
    }
}

/// A block that is not what was written, in one sentence.
public struct JournalDamage: Sendable, Equatable, CustomStringConvertible {
    public var file: UInt32
    /// 0 where it is not known.
    public var batch: UInt64
    public var block: Int
    /// What it held, where that is known.
    public var group: GroupID?
    public var index: LogIndex?
    public var text: String
    /// It may have held something acknowledged that a snapshot does not cover.
    public var isHole: Bool

    public var description: String { "segment \(self.file), block \(self.block), batch \(self.batch): \(self.text)" }
}
