import Replication

/// A group's log as records are read in order: entries, holes, and places of which nothing is known.
///
/// What a missing record may have been is bounded by *log matching*: two logs that have the same term at the same index are
/// the same up to there. So where a batch that can be read names an end (index, term) that this log has, all before it is
/// what it was; where the end is further on and in the same term, entries were appended and none was replaced. Only where
/// the term is another one too may entries that are read here have been replaced by what is missing: `Link.unknown`.
struct RecoveredLog {
    enum Slot {
        case entry(Entry)
        case hole(Hole)

        var index: LogIndex {
            switch self {
            case .entry(let entry): entry.index
            case .hole(let hole): hole.index
            }
        }
        var term: Term? {
            switch self {
            case .entry(let entry): entry.term
            case .hole(let hole): hole.term
            }
        }
        var hash: Hash128? {
            switch self {
            case .entry(let entry): entry.hash
            case .hole(let hole): hole.hash
            }
        }
        var previousHash: Hash128? {
            switch self {
            case .entry(let entry): entry.previousHash
            case .hole(let hole): hole.previousHash
            }
        }
    }

    /// How it is known that a slot continues the one before it.
    private enum Link {
        /// It was appended right there, by a record that was read.
        case appended
        /// Something between the two is not known.
        case unknown
    }

    /// By index; with gaps, of which nothing is known but that entries stood there.
    private var slots: [(slot: Slot, link: Link)] = []
    /// What came to stand in gaps since, and how it continues is not known: put among the others all at once (`merge`), as
    /// each alone would move all that stand behind it.
    private var late: [LogIndex: Slot] = [:]
    private(set) var snapshot: SnapshotMark?
    private(set) var standing = SnapshotStanding.confirmed

    /// The last entry, hole, or entry in the snapshot.
    var end: LogEnd {
        let base = self.base
        guard let last = self.slots.last?.slot, last.index > base.index else { return base }
        return LogEnd(last.index, last.term ?? 0)
    }

    private var base: LogEnd { self.snapshot.map { LogEnd($0.index, $0.term) } ?? LogEnd(0, 0) }

    // MARK: Records

    mutating func note(_ mark: SnapshotMark, _ standing: SnapshotStanding) {
        guard mark.index >= self.snapshot?.index ?? 0 else { return }
        self.merge()
        self.snapshot = mark
        self.standing = standing
        self.dropReplaced()
    }

    /// What stands after a snapshot's mark in an earlier term is of a log that the snapshot took the place of: a log that
    /// goes on after the mark's entry has its term or later ones.
    ///
    /// 1. Entries 25 to 30 of term 4 are here. A leader's snapshot at 24, of term 7, is installed; its entries up to 34
    ///    follow. The batches with all that are lost.
    /// 2. The next segment names the mark and the end, 34. Of 25 to 34 nothing is known.
    /// 3. Did 25 to 30 stay, they would not continue the mark's entry, and the log would be taken to end there.
    private mutating func dropReplaced() {
        let base = self.base
        self.slots.removeAll { $0.slot.index > base.index && $0.slot.term ?? .max < base.term }
    }

    mutating func truncate(after index: LogIndex) {
        let hadMore = self.end.index > index
        self.cut(after: index)
        // In a gap: the entry there is as unknown as those around it.
        if hadMore, self.end.index < index { self.slots.append((.hole(Hole(index: index)), .unknown)) }
    }

    private mutating func cut(after index: LogIndex) {
        self.merge()
        while let last = self.slots.last?.slot, last.index > index { self.slots.removeLast() }
    }

    /// An entry, or one whose bytes are gone, at the log's end. What stands there or after it goes, unless it is the same.
    ///
    /// - Parameter isAfterUnknown: a record that was read before it may be missing.
    /// - Returns: false where the entry stands here already, and its bytes with it.
    @discardableResult
    mutating func append(_ slot: Slot, isAfterUnknown: Bool) -> Bool {
        guard slot.index > 0 else { return true }
        if let known = self.slot(at: slot.index), let hash = slot.hash, known.hash == hash {
            if case .entry = known { return false }
            self.put(slot)
            return true
        }
        let end = self.end.index
        if slot.index > end {
            let isNext = slot.index == end &+ 1 && !isAfterUnknown
            self.slots.append((slot, isNext ? .appended : .unknown))
            return true
        }
        self.cut(after: slot.index &- 1)
        self.slots.append((slot, isAfterUnknown ? .unknown : .appended))
        return true
    }

    /// A hole that is written again: it cuts nothing where the log has gone on.
    mutating func keep(_ hole: Hole, isAfterUnknown: Bool) {
        guard hole.index > 0, hole.index <= self.end.index else {
            self.append(.hole(hole), isAfterUnknown: isAfterUnknown)
            return
        }
        switch self.slot(at: hole.index) {
        case .entry(let entry):
            if !hole.matches(entry) { self.append(.hole(hole), isAfterUnknown: isAfterUnknown) }
        case .hole(let known):
            if known.hash == nil { self.put(.hole(hole)) }
        case nil:
            self.put(.hole(hole))
        }
    }

    /// The entry takes the place of a hole, or of a gap; where it stands already nothing happens.
    ///
    /// - Returns: false where it does not fit what stands around it, and is not taken.
    mutating func repair(_ entry: Entry) -> Bool {
        guard entry.index > self.base.index else { return true }
        guard entry.index <= self.end.index else { return false }
        switch self.slot(at: entry.index) {
        case .entry(let known):
            return known.hash == entry.hash
        case .hole(let hole):
            guard hole.hash.map({ $0 == entry.hash }) ?? true, hole.term.map({ $0 == entry.term }) ?? true else {
                return false
            }
        case nil:
            break
        }
        self.put(.entry(entry))
        return true
    }

    /// A repair whose bytes are gone: what its header says of the entry is kept.
    ///
    /// - Returns: whether the entry is there all the same.
    mutating func lostRepair(_ hole: Hole) -> Bool {
        guard hole.index > self.base.index, hole.index <= self.end.index else { return hole.index <= self.base.index }
        switch self.slot(at: hole.index) {
        case .entry: return true
        case .hole(let known): if known.hash == nil { self.put(.hole(hole)) }
        case nil: self.put(.hole(hole))
        }
        return false
    }

    /// The log ended there at some instant, by a batch that says so.
    ///
    /// | here | then |
    /// |---|---|
    /// | the same end | nothing was missed |
    /// | an end before it | what was appended is missing |
    /// | an end after it, and that term at that index | a truncation was missed |
    /// | another term at that index | what replaced the entries here is missing |
    mutating func settle(_ named: LogEnd) {
        guard named.index > self.base.index else { return self.cut(after: self.base.index) }
        let end = self.end
        if named.index == end.index, named.term == 0 || named.term == end.term { return }
        self.merge()
        if named.index <= end.index, let place = self.place(named.index) {
            let term = self.slots[place].slot.term
            if named.term == 0 || term == named.term { return self.cut(after: named.index) }
            if term == nil, case .hole(var hole) = self.slots[place].slot {
                hole.term = named.term
                self.slots[place].slot = .hole(hole)
                return self.cut(after: named.index)
            }
        }
        self.cut(after: named.index &- 1)
        let hole = Hole(index: named.index, term: named.term == 0 ? nil : named.term)
        self.slots.append((.hole(hole), .unknown))
    }

    // MARK: Places

    /// Nil in a gap. O(log slots).
    private func slot(at index: LogIndex) -> Slot? { self.late[index] ?? self.place(index).map { self.slots[$0].slot } }

    /// In the place of what stands there, or in a gap.
    private mutating func put(_ slot: Slot) {
        if self.late[slot.index] == nil, let place = self.place(slot.index) {
            self.slots[place].slot = slot
        } else {
            self.late[slot.index] = slot
        }
    }

    /// O(slots).
    private mutating func merge() {
        guard !self.late.isEmpty else { return }
        var late = self.late.values.sorted { $0.index < $1.index }[...]
        self.late.removeAll()
        let slots = self.slots
        self.slots.removeAll(keepingCapacity: true)
        self.slots.reserveCapacity(slots.count + late.count)
        for (slot, link) in slots {
            while let first = late.first, first.index < slot.index {
                self.slots.append((first, .unknown))
                late.removeFirst()
            }
            self.slots.append((slot, link))
        }
        // Below the snapshot, where nothing else stands.
        for slot in late { self.slots.append((slot, .unknown)) }
    }

    /// Binary search: there may be gaps.
    private func place(_ index: LogIndex) -> Int? {
        if let last = self.slots.last?.slot, last.index < index { return nil }
        var (low, high) = (0, self.slots.count)
        while low < high {
            let middle = (low + high) / 2
            if self.slots[middle].slot.index < index { low = middle + 1 } else { high = middle }
        }
        return low < self.slots.count && self.slots[low].slot.index == index ? low : nil
    }

    // MARK: What it comes to

    enum Problem {
        /// More entries are missing than can be named.
        case tooManyHoles
        /// Whether the entries before this index are the last that stood there is not known.
        case mayBeReplaced(LogIndex)
        /// The entry at this index does not continue the one before it.
        case doesNotContinue(LogIndex)
    }

    /// Entries and holes above the snapshot, by index, together without gaps. O(entries).
    ///
    /// - Parameter maxHoles: bounds what a forged index can ask for.
    func finished(maxHoles: Int) -> (entries: [Entry], holes: [Hole], problem: Problem?) {
        guard self.late.isEmpty else {
            var merged = self
            merged.merge()
            return merged.finished(maxHoles: maxHoles)
        }
        let base = self.base
        var entries: [Entry] = []
        var holes: [Hole] = []
        entries.reserveCapacity(self.slots.count)
        var last = (index: base.index, term: Optional(base.term), hash: Optional(self.snapshot?.hash ?? .zero))
        var problem: Problem?
        for (slot, link) in self.slots where slot.index > base.index && slot.term ?? .max >= base.term {
            let isNext = slot.index == last.index &+ 1
            let isFirst = last.index == base.index
            var continues = link == .appended && isNext
            if isNext, let previous = slot.previousHash, let hash = last.hash {
                guard previous == hash else { return (entries, holes, problem ?? .doesNotContinue(slot.index)) }
                continues = true
            }
            let isSameTerm = last.term == slot.term && slot.term != nil
            if !continues, !isFirst, !isSameTerm { problem = problem ?? .mayBeReplaced(slot.index) }
            if isNext {
                self.name(slot.previousHash, &holes, before: slot.index)
            } else {
                guard slot.index - last.index - 1 <= UInt64(maxHoles - holes.count) else {
                    return (entries, holes, .tooManyHoles)
                }
                for index in last.index + 1..<slot.index {
                    holes.append(Hole(index: index, term: isSameTerm ? slot.term : nil))
                }
                self.name(slot.previousHash, &holes, before: slot.index)
            }
            switch slot {
            case .entry(let entry): entries.append(entry)
            case .hole(let hole):
                guard holes.count < maxHoles else { return (entries, holes, .tooManyHoles) }
                holes.append(hole)
            }
            last = (slot.index, slot.term, slot.hash)
        }
        return (entries, holes, problem)
    }

    /// An entry tells the hash of the one before it.
    private func name(_ hash: Hash128?, _ holes: inout [Hole], before index: LogIndex) {
        guard let hash, let hole = holes.last, hole.index &+ 1 == index, hole.hash == nil else { return }
        holes[holes.count - 1].hash = hash
    }
}
