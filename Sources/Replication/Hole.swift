/// An entry that this log had, durably, and whose bytes are gone: its bad block is known, and what it held is not.
///
/// Where one copy of its header is readable, all fields are known, and the entry is as good as there for all that rests on
/// (index, term, hash): votes, log matching. Where both copies are bad its index is known from what stands around it; its
/// hash from the entry after it, its term where a later batch names it as the log's end.
///
/// After *Protocol-Aware Recovery for Consensus-Based Storage* (Alagappan et al., FAST 2018): what was there is not denied.
public struct Hole: Sendable, Hashable {
    public var index: LogIndex
    public var term: Term?
    /// Of the whole entry, as `Entry.hash`: decides whether a peer's entry is the one that was here.
    public var hash: Hash128?
    /// The next three are known where a header is.
    public var previousHash: Hash128?
    public var time: WallTime?
    public var kind: EntryKind?

    public init(
        index: LogIndex, term: Term? = nil, hash: Hash128? = nil, previousHash: Hash128? = nil, time: WallTime? = nil,
        kind: EntryKind? = nil
    ) {
        self.index = index
        self.term = term
        self.hash = hash
        self.previousHash = previousHash
        self.time = time
        self.kind = kind
    }

    /// Whether an entry is the one that was here, as far as that can be told. Within one group (index, term) names an entry
    /// too (log matching), where the hash is not known.
    public func matches(_ entry: Entry) -> Bool {
        guard entry.index == self.index else { return false }
        if let hash { return entry.hash == hash }
        return self.term == entry.term
    }
}

/// Where the holes of a log are.
public struct HoleSpan: Sendable, Hashable, CustomStringConvertible {
    public var first: LogIndex
    public var last: LogIndex
    /// Fewer than lie between the two where entries between them are here.
    public var count: Int

    public init(first: LogIndex, last: LogIndex, count: Int) {
        self.first = first
        self.last = last
        self.count = count
    }

    /// As in "7", "7 to 9", "3 of 7 to 12".
    public var description: String {
        if self.first == self.last { return "\(self.first)" }
        let span = "\(self.first) to \(self.last)"
        return UInt64(self.count) == self.last - self.first + 1 ? span : "\(self.count) of \(span)"
    }
}
