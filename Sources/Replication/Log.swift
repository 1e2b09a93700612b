public import DequeModule

/// A replica's log in memory: the entries after its base, contiguous. The base is what compaction left: the index, term
/// and hash of the last entry that went.
///
/// A *hole* is a slot whose entry was here and is lost. The slot stays, with what is known of it; what is asked of it and
/// not known is nil, and its entry cannot be had (`entry(at:)` traps). The last slot's term is always known.
public struct Log: Sendable {
    /// Last index that is gone from memory; 0 while nothing is.
    public private(set) var baseIndex: LogIndex
    public private(set) var baseTerm: Term
    public private(set) var baseHash: Hash128
    public private(set) var baseTime: WallTime
    /// At a hole a placeholder without a payload.
    @usableFromInline var entries: Deque<Entry>
    /// By index; nearly always empty, and then nothing here costs more than looking at that.
    public private(set) var holes: Deque<Hole> = []
    /// Bytes of all payloads held.
    public private(set) var byteCount: Int
    /// What an entry takes beside its payload, about.
    static let entryOverhead = 256

    static func memoryBytes(of entry: Entry) -> Int { entry.payload.count + Self.entryOverhead }

    /// - Parameters:
    ///   - entries: by index; where one is missing there is a hole.
    ///   - holes: by index.
    package init(base: SnapshotMark?, entries: [Entry], holes: [Hole] = []) {
        self.baseIndex = base?.index ?? 0
        self.baseTerm = base?.term ?? 0
        self.baseHash = base?.hash ?? .zero
        self.baseTime = base?.time ?? WallTime(nanoseconds: 0)
        self.entries = []
        self.byteCount = 0
        var next = 0
        func addHoles(below index: LogIndex) {
            while next < holes.count, holes[next].index < index {
                invariant(
                    holes[next].index == self.lastIndex + 1, "hole \(holes[next].index) after \(self.lastIndex)")
                self.entries.append(Entry(placeholderFor: holes[next]))
                self.holes.append(holes[next])
                next += 1
            }
        }
        for entry in entries {
            addHoles(below: entry.index)
            invariant(entry.index == self.lastIndex + 1, "restored \(entry.index) after \(self.lastIndex)")
            self.append(entry)
        }
        addHoles(below: .max)
        if let last = self.holes.last, last.index == self.lastIndex {
            invariant(last.term != nil, "the log ends at \(last.index) in an unknown term")
        }
        for hole in self.holes {
            if let hash = hole.previousHash { self.learn(hash, at: hole.index - 1) }
        }
    }

    /// What the log takes, about. O(1).
    public var memoryBytes: Int { self.byteCount + self.entries.count * Self.entryOverhead }

    /// Of that, what the entries after `index` take. O(those entries).
    func memoryBytes(after index: LogIndex) -> Int {
        self.entries[Int(max(index, self.baseIndex) - self.baseIndex)...].reduce(0) { $0 + Self.memoryBytes(of: $1) }
    }

    /// The first index that can be read.
    public var firstIndex: LogIndex { self.baseIndex + 1 }
    public var lastIndex: LogIndex { self.baseIndex + UInt64(self.entries.count) }
    public var lastTerm: Term { self.entries.last?.term ?? self.baseTerm }
    /// Of a log that does not end in a hole.
    public var lastHash: Hash128 { self.entries.last?.hash ?? self.baseHash }
    public var lastTime: WallTime { self.entries.last?.time ?? self.baseTime }

    /// - Precondition: `index` is in `firstIndex...lastIndex`, and no hole. O(1); O(log holes) where there are any.
    public func entry(at index: LogIndex) -> Entry {
        invariant(
            index > self.baseIndex && index <= self.lastIndex,
            "no entry \(index) in \(self.firstIndex)...\(self.lastIndex)")
        invariant(self.holes.isEmpty || self.hole(at: index) == nil, "entry \(index) is a hole")
        return self.entries[Int(index - self.baseIndex - 1)]
    }

    /// Nil where the index is before the base or after the end, or in a hole whose term is not known.
    public func term(at index: LogIndex) -> Term? {
        if index == self.baseIndex { return self.baseTerm }
        guard index > self.baseIndex, index <= self.lastIndex else { return nil }
        if !self.holes.isEmpty, let hole = self.hole(at: index) { return hole.term }
        return self.entries[Int(index - self.baseIndex - 1)].term
    }

    public func hash(at index: LogIndex) -> Hash128? {
        if index == self.baseIndex { return self.baseHash }
        guard index > self.baseIndex, index <= self.lastIndex else { return nil }
        if !self.holes.isEmpty, let hole = self.hole(at: index) { return hole.hash }
        return self.entries[Int(index - self.baseIndex - 1)].hash
    }

    /// The greatest index at or below `index` whose term is known and at most `term`; the base where none is.
    package func lastIndex(atOrBelow index: LogIndex, withTermAtMost term: Term) -> LogIndex {
        var candidate = min(index, self.lastIndex)
        // A placeholder of unknown term has the highest.
        while candidate > self.baseIndex, self.entries[Int(candidate - self.baseIndex - 1)].term > term {
            candidate -= 1
        }
        return candidate
    }

    package mutating func append(_ entry: Entry) {
        if !self.holes.isEmpty { self.learn(entry.previousHash, at: self.lastIndex) }
        self.byteCount += entry.payload.count
        self.entries.append(entry)
    }

    package mutating func truncate(after index: LogIndex) {
        invariant(index >= self.baseIndex, "truncation to \(index), below the base \(self.baseIndex)")
        while self.lastIndex > index { self.byteCount -= self.entries.removeLast().payload.count }
        while let last = self.holes.last, last.index > index { self.holes.removeLast() }
        invariant(self.lastTerm != Entry.unknownTerm, "the log is cut after \(index), whose term is not known")
    }

    /// Entries up to `index`, which is before the first hole, go. O(entries that go).
    package mutating func compact(through index: LogIndex) {
        guard index > self.baseIndex else { return }
        let last = self.entry(at: index)
        self.drop(through: index)
        self.baseIndex = last.index
        self.baseTerm = last.term
        self.baseHash = last.hash
        self.baseTime = last.time
    }

    /// Slots up to the mark's, holes among them, go; what follows stays.
    package mutating func compact(to mark: SnapshotMark) {
        self.drop(through: mark.index)
        self.rebase(on: mark)
    }

    /// Begins anew after a snapshot.
    package mutating func reset(to mark: SnapshotMark) {
        self.entries.removeAll()
        self.holes.removeAll()
        self.byteCount = 0
        self.rebase(on: mark)
    }

    private mutating func drop(through index: LogIndex) {
        for _ in self.baseIndex..<index { self.byteCount -= self.entries.removeFirst().payload.count }
        if !self.holes.isEmpty { self.holes.removeAll { $0.index <= index } }
    }

    private mutating func rebase(on mark: SnapshotMark) {
        self.baseIndex = mark.index
        self.baseTerm = mark.term
        self.baseHash = mark.hash
        self.baseTime = mark.time
    }
}

// MARK: Holes

extension Log {
    public var isWhole: Bool { self.holes.isEmpty }

    /// Nil where there are no holes.
    public var holeSpan: HoleSpan? {
        guard let first = self.holes.first, let last = self.holes.last else { return nil }
        return HoleSpan(first: first.index, last: last.index, count: self.holes.count)
    }

    /// Position in `holes` of the first one at or after `index`. O(log holes).
    func firstHole(from index: LogIndex) -> Int {
        var low = 0
        var high = self.holes.count
        while low < high {
            let middle = (low + high) / 2
            if self.holes[middle].index < index { low = middle + 1 } else { high = middle }
        }
        return low
    }

    package func hole(at index: LogIndex) -> Hole? {
        let at = self.firstHole(from: index)
        return at < self.holes.count && self.holes[at].index == index ? self.holes[at] : nil
    }

    /// What an entry's own `previousHash` tells of the one before.
    private mutating func learn(_ hash: Hash128, at index: LogIndex) {
        let at = self.firstHole(from: index)
        if at < self.holes.count, self.holes[at].index == index, self.holes[at].hash == nil {
            self.holes[at].hash = hash
        }
    }

    /// The entry is the one that was here. O(log holes) near the first hole or the last.
    package mutating func fill(_ entry: Entry) {
        let at = self.firstHole(from: entry.index)
        invariant(at < self.holes.count && self.holes[at].index == entry.index, "\(entry.index) is no hole")
        self.holes.remove(at: at)
        self.entries[Int(entry.index - self.baseIndex - 1)] = entry
        self.byteCount += entry.payload.count
        self.learn(entry.previousHash, at: entry.index - 1)
    }

    /// From now on the hole is of this entry, whatever was there.
    package mutating func adopt(_ term: Term, _ hash: Hash128, at index: LogIndex) {
        let at = self.firstHole(from: index)
        invariant(at < self.holes.count && self.holes[at].index == index, "\(index) is no hole")
        self.holes[at].term = term
        self.holes[at].hash = hash
        self.entries[Int(index - self.baseIndex - 1)] = Entry(placeholderFor: self.holes[at])
    }

    package enum Likeness: Sendable {
        case same
        case other
        /// That cannot be told.
        case unknown
    }

    /// Whether what stands at `index` is the entry of this term and hash. (index, term) names an entry (log matching); so
    /// does its hash, where the term is not known. Where neither is, terms that only rise may yet tell.
    /// - Parameters:
    ///   - hash: nil where it is not known.
    ///   - bound: a term that stands somewhere above in this log.
    package func compare(_ index: LogIndex, _ term: Term, _ hash: Hash128?, bound: Term = .max) -> Likeness {
        if index == self.baseIndex { return self.baseTerm == term ? .same : .other }
        guard index > self.baseIndex, index <= self.lastIndex else { return .other }
        guard let hole = self.hole(at: index) else {
            return self.entries[Int(index - self.baseIndex - 1)].term == term ? .same : .other
        }
        if let known = hole.term { return known == term ? .same : .other }
        if let known = hole.hash, let hash { return known == hash ? .same : .other }
        return term > bound ? .other : .unknown
    }

    /// The lowest known term at or above `index`, which is in the log. O(unknown holes there).
    package func termBound(at index: LogIndex) -> Term {
        var term = Entry.unknownTerm
        for slot in self.entries[Int(index - self.baseIndex - 1)...] where term == Entry.unknownTerm {
            term = slot.term
        }
        return term
    }
}

extension Entry {
    /// Stands for the term of a hole where it is not known: above all others.
    static var unknownTerm: Term { .max }

    /// Never leaves the log.
    init(placeholderFor hole: Hole) {
        self.group = .system
        self.index = hole.index
        self.term = hole.term ?? Self.unknownTerm
        self.time = hole.time ?? WallTime(nanoseconds: 0)
        self.kind = hole.kind ?? .empty
        self.payload = []
        self.payloadHash = .zero
        self.previousHash = hole.previousHash ?? .zero
        self.hash = hole.hash ?? .zero
    }
}
