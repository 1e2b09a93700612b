public import DequeModule

/// A replica's log in memory: the entries after its base, contiguous. The base is what compaction left: the index, term
/// and hash of the last entry that went.
public struct Log: Sendable {
    /// Last index that is gone from memory; 0 while nothing is.
    public private(set) var baseIndex: LogIndex
    public private(set) var baseTerm: Term
    public private(set) var baseHash: Hash128
    public private(set) var baseTime: WallTime
    @usableFromInline var entries: Deque<Entry>
    /// Bytes of all payloads held.
    public private(set) var byteCount: Int

    package init(base: SnapshotMark?, entries: [Entry]) {
        self.baseIndex = base?.index ?? 0
        self.baseTerm = base?.term ?? 0
        self.baseHash = base?.hash ?? .zero
        self.baseTime = base?.time ?? WallTime(nanoseconds: 0)
        self.entries = []
        self.byteCount = 0
        for entry in entries {
            invariant(entry.index == self.lastIndex + 1, "restored \(entry.index) after \(self.lastIndex)")
            self.append(entry)
        }
    }

    /// The first index that can be read.
    public var firstIndex: LogIndex { self.baseIndex + 1 }
    public var lastIndex: LogIndex { self.baseIndex + UInt64(self.entries.count) }
    public var lastTerm: Term { self.entries.last?.term ?? self.baseTerm }
    public var lastHash: Hash128 { self.entries.last?.hash ?? self.baseHash }
    public var lastTime: WallTime { self.entries.last?.time ?? self.baseTime }

    /// - Precondition: `index` is in `firstIndex...lastIndex`. O(1).
    public func entry(at index: LogIndex) -> Entry {
        invariant(
            index > self.baseIndex && index <= self.lastIndex,
            "no entry \(index) in \(self.firstIndex)...\(self.lastIndex)")
        return self.entries[Int(index - self.baseIndex - 1)]
    }

    /// Nil where the index is before the base or after the end.
    public func term(at index: LogIndex) -> Term? {
        if index == self.baseIndex { return self.baseTerm }
        guard index > self.baseIndex, index <= self.lastIndex else { return nil }
        return self.entries[Int(index - self.baseIndex - 1)].term
    }

    public func hash(at index: LogIndex) -> Hash128? {
        if index == self.baseIndex { return self.baseHash }
        guard index > self.baseIndex, index <= self.lastIndex else { return nil }
        return self.entries[Int(index - self.baseIndex - 1)].hash
    }

    /// The greatest index at or below `index` whose term is at most `term`; the base where none is.
    package func lastIndex(atOrBelow index: LogIndex, withTermAtMost term: Term) -> LogIndex {
        var candidate = min(index, self.lastIndex)
        while candidate > self.baseIndex, self.entries[Int(candidate - self.baseIndex - 1)].term > term {
            candidate -= 1
        }
        return candidate
    }

    package mutating func append(_ entry: Entry) {
        self.byteCount += entry.payload.count
        self.entries.append(entry)
    }

    package mutating func truncate(after index: LogIndex) {
        invariant(index >= self.baseIndex, "truncation to \(index), below the base \(self.baseIndex)")
        while self.lastIndex > index { self.byteCount -= self.entries.removeLast().payload.count }
    }

    /// Entries up to `index` go. O(entries that go).
    package mutating func compact(through index: LogIndex) {
        guard index > self.baseIndex else { return }
        let last = self.entry(at: index)
        for _ in self.baseIndex..<index { self.byteCount -= self.entries.removeFirst().payload.count }
        self.baseIndex = last.index
        self.baseTerm = last.term
        self.baseHash = last.hash
        self.baseTime = last.time
    }

    /// Begins anew after a snapshot.
    package mutating func reset(to mark: SnapshotMark) {
        self.entries.removeAll()
        self.byteCount = 0
        self.baseIndex = mark.index
        self.baseTerm = mark.term
        self.baseHash = mark.hash
        self.baseTime = mark.time
    }
}
