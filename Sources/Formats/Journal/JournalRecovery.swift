public import Replication

/// A group as its journal remembers it.
public struct RecoveredGroup: Sendable, Equatable {
    public var group: GroupID
    public var hardState: HardState = .initial
    public var snapshot: SnapshotMark?
    /// Contiguous, from the snapshot on; up to the first hole.
    public var entries: [Entry] = []
    /// Entries above the snapshot whose bytes are bad, and which the journal shows to have been there.
    public var holes: [Hole] = []
    /// Something unreadable may have held entries of this group, and nothing later names its end; or its term and vote,
    /// and nothing later repeats them. It must neither vote nor deny anything.
    public var isEndUncertain = false
    /// The second of the two: the hard state may be an old one.
    public var isVoteUncertain = false

    public init(group: GroupID) { self.group = group }

    /// All that was ever acknowledged is here.
    public var isWhole: Bool { self.holes.isEmpty && !self.isEndUncertain }
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

/// What a journal held at start.
///
/// How a batch is judged. *Last* means that no batch with a higher sequence is found in any segment; *unwritten block*
/// that a block of it still carries an older generation, at either of its ends.
///
/// | | headers | payloads | last | unwritten block | then |
/// |---|---|---|---|---|---|
/// | A | good | good | any | no | taken |
/// | B | good | good | no | yes | taken (the block belongs to the second copy of the headers), damage reported |
/// | C | any | any | yes | yes | torn: was never acknowledged, cut |
/// | D | good | bad | any | no | the entries named are holes |
/// | E | good | bad | no | yes | the entries named are holes |
/// | F | bad | - | yes | no | unreadable: every group's end is uncertain |
/// | G | bad | - | no | any | unreadable: the ends of groups that no later batch names are uncertain |
///
/// Before that, batches are put in order. A batch that was cut, was written again at a start, or whose sync failed is
/// followed by one with the same sequence in a newer segment, which takes its place; a torn one takes nobody's place.
/// So sequences have no gaps, and a gap is damage.
public struct RecoveredJournal: Sendable {
    /// By id.
    public var groups: [RecoveredGroup] = []
    public var damage: [JournalDamage] = []
    public var hasTornTail = false
    /// What the last batch says, which no later one proves durable: to be written again, as the first batch, before
    /// anything is promised.
    package var unproved: [JournalRecord] = []
    /// Where there is an unproved batch or a torn one, its own: the next batch takes its place.
    package var nextSequence: UInt64 = 1
    package var nextGeneration: UInt64 = 1
    /// By generation.
    package var segments: [JournalSegment] = []
    /// Files whose batches were all replaced by later ones: free.
    package var spentFiles: [UInt32] = []
    /// Files that hold nothing: free.
    package var blankFiles: [UInt32] = []
    /// Highest number of a file, whatever it holds.
    package var lastFile: UInt32 = 0
    /// Each batch found, in order, where it was asked for.
    package var judged: [JudgedBatch] = []
    /// Of the last batch that counts.
    private var lastRow: BatchVerdict?

    public subscript(group: GroupID) -> RecoveredGroup? { self.groups.first { $0.group == group } }

    /// Nothing acknowledged is missing: the node may start.
    public var isWhole: Bool { self.groups.allSatisfy(\.isWhole) }
}

/// What became of a batch.
package struct JudgedBatch: Sendable {
    package var file: UInt32
    package var batch: ScannedBatch
    /// Its row of the table; nil where a later batch took its place.
    package var row: BatchVerdict?
}

/// A segment file and what it is still needed for.
package struct JournalSegment: Sendable, Equatable {
    package var file: UInt32
    package var generation: UInt64
    /// Highest index of each group in it, by group.
    package var highest: [(group: GroupID, index: LogIndex)] = []
    /// Where its last batch ends, the one that is being written included.
    package var endBlock = 0

    package init(file: UInt32, generation: UInt64) {
        self.file = file
        self.generation = generation
    }

    package static func == (a: JournalSegment, b: JournalSegment) -> Bool {
        a.file == b.file && a.generation == b.generation
    }

    mutating func note(_ group: GroupID, _ index: LogIndex) {
        for at in self.highest.indices where self.highest[at].group == group {
            self.highest[at].index = max(self.highest[at].index, index)
            return
        }
        self.highest.append((group, index))
    }
}

/// The rows of the table at `RecoveredJournal`.
package enum BatchVerdict: String, Sendable, Equatable, CaseIterable {
    case taken = "A"
    case takenDamaged = "B"
    case torn = "C"
    case holes = "D"
    case holesUnwritten = "E"
    case unreadableTail = "F"
    case unreadable = "G"

    package static func of(
        areHeadersGood: Bool, arePayloadsGood: Bool, isLast: Bool, hasUnwritten: Bool
    ) -> BatchVerdict {
        switch (areHeadersGood, arePayloadsGood, isLast, hasUnwritten) {
        case (true, true, _, false): .taken
        case (true, true, false, true): .takenDamaged
        case (_, _, true, true): .torn
        case (true, false, _, false): .holes
        case (true, false, false, true): .holesUnwritten
        case (false, _, true, false): .unreadableTail
        case (false, _, false, _): .unreadable
        }
    }

    static func of(_ batch: ScannedBatch, isLast: Bool) -> BatchVerdict {
        guard case .records(let records, _) = batch.content else {
            return .of(
                areHeadersGood: false, arePayloadsGood: false, isLast: isLast, hasUnwritten: batch.hasUnwrittenBlock)
        }
        return .of(
            areHeadersGood: !records.contains { if case .damagedHeader = $0 { true } else { false } },
            arePayloadsGood: records.allSatisfy { if case .good = $0 { true } else { false } }, isLast: isLast,
            hasUnwritten: batch.hasUnwrittenBlock)
    }
}

extension RecoveredJournal {
    /// Puts the segments together. Pure; O(batches).
    ///
    /// - Parameter isDetailed: also fill `judged`.
    package init(_ scans: [(file: UInt32, scan: SegmentScan)], isDetailed: Bool = false) {
        var state = Replay()
        let ordered = self.sort(scans, &state)
        let generations = ordered.map(\.scan.generation)
        // An older generation that is at home in another file was not written here before: it came by mistake, later.
        func content(_ batch: ScannedBatch) -> ScannedBatch {
            guard batch.hasUnwrittenBlock else { return batch }
            var batch = batch
            batch.olderGenerations.removeAll { generations.contains($0) }
            return batch
        }

        // The end: of the batches with the highest sequence those that are torn were never acknowledged.
        let lastSequence = ordered.compactMap { $0.scan.batches.map(\.sequence).max() }.max() ?? 0
        var end = ordered.count
        var torn: [Int] = []
        while let at = ordered[..<end].lastIndex(where: { $0.scan.batches.last?.sequence == lastSequence }),
            let batch = ordered[at].scan.batches.last,
            BatchVerdict.of(content(batch), isLast: true) == .torn
        {
            torn.append(at)
            end = at
        }
        self.hasTornTail = !torn.isEmpty
        // From which sequence on the newer segments take a segment's place.
        var bounds = Array(repeating: UInt64.max, count: ordered.count)
        var bound = UInt64.max
        for at in ordered.indices.reversed() {
            bounds[at] = bound
            let batches = ordered[at].scan.batches.dropLast(torn.contains(at) ? 1 : 0)
            bound = min(bound, batches.first?.sequence ?? .max)
        }

        var previous: UInt64?
        var home: Int?
        // What is reported of gaps between segments, and of torn ends right before them.
        var stale: [Int] = []
        var tornEnd = 0..<0
        for (at, (file, scan)) in ordered.enumerated() {
            var segment = JournalSegment(file: file, generation: scan.generation)
            var isSpent = true
            for (position, found) in scan.batches.enumerated() {
                let batch = content(found)
                let isTorn = position == scan.batches.count - 1 && torn.contains(at)
                if isTorn || batch.sequence >= bounds[at] {
                    if isDetailed {
                        self.judged.append(JudgedBatch(file: file, batch: batch, row: isTorn ? .torn : nil))
                    }
                    continue
                }
                isSpent = false
                home = at
                segment.endBlock = batch.firstBlock + batch.blockCount
                if batch.isGapBefore || previous.map({ $0 &+ 1 != batch.sequence }) ?? false {
                    if position == 0, batch.firstBlock == 0 { stale += Array(tornEnd) + [self.damage.count] }
                    self.report(
                        file, batch: batch.sequence, block: batch.firstBlock,
                        "before it \(Self.missing(previous, batch.sequence))", isHole: true)
                    state.makeAllUncertain()
                }
                previous = batch.sequence
                let isLast = batch.sequence == lastSequence
                let row = BatchVerdict.of(batch, isLast: isLast)
                if isDetailed { self.judged.append(JudgedBatch(file: file, batch: batch, row: row)) }
                let reported = self.damage.count
                self.take(batch, row, isLast: isLast, file: file, segment: &segment, state: &state)
                let isTornEnd = position == scan.batches.count - 1 && batch.hasUnwrittenBlock
                tornEnd = isTornEnd ? reported..<self.damage.count : 0..<0
            }
            if isSpent, !scan.isHeadLost, !torn.contains(at) || scan.batches.count == 1 {
                self.spentFiles.append(file)
            } else {
                self.segments.append(segment)
            }
            if let blocks = scan.batches.map(\.segmentBlocks).max(), blocks > scan.blockCount {
                self.report(
                    file, batch: 0, block: scan.blockCount,
                    "the file ends here, and should have \(blocks) blocks", isHole: true)
                state.makeAllUncertain()
            }
            if scan.isHeadLost {
                self.report(
                    file, batch: 0, block: 0, "its first blocks are unreadable: the newest batch may have stood there",
                    isHole: true)
                state.makeUncertainForGood()
            }
        }
        if torn.isEmpty, let home, ordered[home].scan.damagedAfterEnd > 1, let last = ordered[home].scan.batches.last {
            // A batch takes two blocks at least; one bad block after the end is free space that rotted.
            self.report(
                ordered[home].file, batch: last.sequence &+ 1, block: last.firstBlock + last.blockCount,
                "the \(ordered[home].scan.damagedAfterEnd) blocks after the last batch are unreadable: a batch may have stood there",
                isHole: true)
            state.makeAllUncertain()
        }
        if home.map({ ordered[$0].scan.isTornAfterEnd }) ?? false || ordered.last?.scan.isTornAfterEnd ?? false {
            self.hasTornTail = true
        }
        let isReplaced = !torn.isEmpty || self.lastRow == .taken
        self.nextSequence = isReplaced ? max(lastSequence, 1) : lastSequence &+ 1
        self.groups = state.finish { group, index, place, text in
            self.report(
                place?.file ?? ordered.last?.file ?? 0, batch: place?.batch ?? 0, block: place?.block ?? 0,
                group: group,
                index: index, "group \(group): \(text)", isHole: true)
        }
        // Damage below a snapshot is no hole: the state has what it held.
        if self.isWhole {
            for at in self.damage.indices { self.damage[at].isHole = false }
            // Nor is a gap between segments damage then, or a torn batch right before it. Free files hold old batches, which
            // nobody needs, and are written over oldest first, but not without exception:
            // 1. The oldest free file is to take a batch, and the sync fails.
            // 2. The next free file takes it, durably.
            // 3. The power goes: the first file is what it was, and what followed it is written over.
            for at in stale.reversed() { self.damage.remove(at: at) }
        }
    }

    /// Segments by generation; those that are no segment of this journal are set aside.
    private mutating func sort(
        _ scans: [(file: UInt32, scan: SegmentScan)], _ state: inout Replay
    ) -> [(file: UInt32, scan: SegmentScan)] {
        var scans = scans.sorted { $0.file < $1.file }
        self.lastFile = scans.last?.file ?? 0
        self.nextGeneration = (scans.map(\.scan.highestGeneration).max() ?? 0) &+ 1
        // A generation belongs to one file: where two show it, the one with fewer blocks of it got them by mistake.
        var isSettled = false
        while !isSettled {
            isSettled = true
            for at in scans.indices where scans[at].scan.generation > 0 {
                let twin = scans.indices.first {
                    $0 != at && scans[$0].scan.generation == scans[at].scan.generation
                        && Self.isHome(scans[$0].scan, rather: scans[at].scan)
                }
                guard let twin else { continue }
                isSettled = false
                self.report(
                    scans[at].file, batch: 0, block: 0,
                    "it holds blocks that belong to segment \(scans[twin].file)", isHole: false)
                guard let fallback = scans[at].scan.fallback.first else {
                    scans.remove(at: at)
                    break
                }
                scans[at].scan = fallback
            }
        }
        for (file, scan) in scans where scan.generation == 0 {
            if scan.isBlank {
                self.blankFiles.append(file)
            } else {
                self.report(
                    file, batch: 0, block: 0, "nothing in it can be read: the newest batches may have stood there",
                    isHole: true)
                state.makeUncertainForGood()
            }
        }
        return scans.filter { $0.scan.generation > 0 }.sorted { $0.scan.generation < $1.scan.generation }
    }

    private static func isHome(_ a: SegmentScan, rather b: SegmentScan) -> Bool {
        if a.writtenBlocks != b.writtenBlocks { return a.writtenBlocks > b.writtenBlocks }
        // One block each: what was newer before is what is still needed, so it is the one to go back.
        let (below, other) = (a.fallback.first?.generation ?? 0, b.fallback.first?.generation ?? 0)
        return below <= other
    }

    private static func missing(_ previous: UInt64?, _ next: UInt64) -> String {
        guard let previous, previous < next, next - previous > 1 else { return "a batch is missing" }
        return previous + 2 == next
            ? "batch \(previous + 1) is missing" : "batches \(previous + 1) to \(next - 1) are missing"
    }

    private mutating func report(
        _ file: UInt32, batch: UInt64, block: Int, group: GroupID? = nil, index: LogIndex? = nil, _ text: String,
        isHole: Bool
    ) {
        self.damage.append(
            JournalDamage(
                file: file, batch: batch, block: block, group: group, index: index, text: text, isHole: isHole))
    }

    private mutating func take(
        _ batch: ScannedBatch, _ row: BatchVerdict, isLast: Bool, file: UInt32, segment: inout JournalSegment,
        state: inout Replay
    ) {
        self.lastRow = row
        var records: [ScannedRecord] = []
        var ends: [BatchEncoder.GroupEnds]?
        if case .records(let found, let named) = batch.content { (records, ends) = (found, named) }
        switch row {
        case .unreadable where ends == nil, .unreadableTail where ends == nil:
            self.report(
                file, batch: batch.sequence, block: batch.firstBlock,
                "unreadable in both copies of its headers: what it held is not known", isHole: true)
            state.makeAllUncertain()
            return
        case .torn:
            invariant(false, "a torn batch is cut before it is taken")
        case .taken, .takenDamaged, .holes, .holesUnwritten, .unreadable, .unreadableTail:
            break
        }
        var isHeaderLost = false
        var areNamed = 0
        for record in records {
            switch record {
            case .good(let record):
                if case .entry(let entry) = record { segment.note(entry.group, entry.index) }
                state.apply(record)
            case .damagedPayload(let group, let index, let term, let kind, let block):
                areNamed += 1
                if kind == JournalFormat.Kind.snapshot.rawValue {
                    self.report(
                        file, batch: batch.sequence, block: block, group: group, index: index,
                        "the members in the mark of group \(group)'s snapshot at \(index) are bad", isHole: true)
                    state.lostMark(group, index)
                } else {
                    segment.note(group, index)
                    let isElsewhere = state.has(group, index, term)
                    self.report(
                        file, batch: batch.sequence, block: block, group: group, index: index,
                        "the bytes of entry \(index) (term \(term)) of group \(group) are bad", isHole: !isElsewhere)
                    if !isElsewhere { state.hole(group, index) }
                }
            case .damagedHeader:
                areNamed += 1
                isHeaderLost = true
                self.report(
                    file, batch: batch.sequence, block: batch.firstBlock, "a record's header is bad in both copies",
                    isHole: true)
            }
        }
        for block in batch.badBlocks where areNamed == 0 {
            self.report(
                file, batch: batch.sequence, block: block, "it is bad, and what it held is there in the other copy",
                isHole: false)
        }
        if row == .takenDamaged {
            self.report(
                file, batch: batch.sequence, block: batch.firstBlock,
                "a block of it was not written, and what it held is there in the other copy", isHole: false)
        }
        for end in ends ?? [] {
            if isHeaderLost { state.makeUncertain(end.group) }
            state.settle(end, Replay.Place(file: file, batch: batch.sequence, block: batch.firstBlock))
        }
        if isHeaderLost { return }
        if batch.firstBlock == 0, row == .taken || row == .takenDamaged { state.headOfSegment(records) }
        if isLast, row == .taken { self.unproved = Self.condensed(records) }
    }

    /// The records of a batch to be written again: all entries and truncations, and of each group the last hard state
    /// and mark. The head of the segment repeats the rest, and would make the batch longer at each start.
    private static func condensed(_ records: [ScannedRecord]) -> [JournalRecord] {
        var kept: [JournalRecord] = []
        for case .good(let record) in records {
            switch record {
            case .entry, .truncate, .repair, .hole: break
            case .end: continue
            case .hardState(let group, _):
                kept.removeAll { if case .hardState(group, _) = $0 { true } else { false } }
            case .snapshot(let group, _):
                kept.removeAll { if case .snapshot(group, _) = $0 { true } else { false } }
            }
            kept.append(record)
        }
        return kept
    }
}

/// The groups as records are read in order.
private struct Replay {
    private struct State {
        var group: RecoveredGroup
        var isEndUncertain = false
        var isVoteUncertain = false
        /// The last batch that names its end names another one than what was read.
        /// A snapshot that a record named which is not readable any more.
        var lostMark: LogIndex?
        var disagreement: (end: LogIndex, place: Place)?
    }

    struct Place {
        var file: UInt32
        var batch: UInt64
        var block: Int
    }

    /// Bounds what forged indexes can ask for.
    private static let maxHolesNamed: UInt64 = 100_000

    private var states: [State] = []
    /// Something is lost that may have held a group of which nothing else is left.
    private var isAnyUncertain = false
    private var isUncertainForGood = false

    private mutating func at(_ id: GroupID) -> Int {
        if let at = self.states.firstIndex(where: { $0.group.group == id }) { return at }
        self.states.append(State(group: RecoveredGroup(group: id)))
        return self.states.count - 1
    }

    mutating func apply(_ record: JournalRecord) {
        let at = self.at(record.group)
        switch record {
        case .entry(let entry):
            self.append(entry, at)
        case .truncate(_, let after):
            while let last = self.states[at].group.entries.last, last.index > after {
                self.states[at].group.entries.removeLast()
            }
            self.states[at].group.holes.removeAll { $0.index > after }
        case .hardState(_, let state):
            if state.term >= self.states[at].group.hardState.term { self.states[at].group.hardState = state }
            self.states[at].isVoteUncertain = false
        case .snapshot(_, let mark):
            if mark.index >= self.states[at].group.snapshot?.index ?? 0 { self.states[at].group.snapshot = mark }
            if let lost = self.states[at].lostMark, mark.index >= lost { self.states[at].lostMark = nil }
        case .repair(let entry):
            self.states[at].group.holes.removeAll { $0.index == entry.index }
            if let place = self.place(entry.index, at) {
                self.states[at].group.entries[place] = entry
            } else {
                let next = self.states[at].group.entries.firstIndex { $0.index > entry.index }
                self.states[at].group.entries.insert(entry, at: next ?? self.states[at].group.entries.count)
            }
        case .hole(let group, let hole):
            self.hole(group, hole.index)
        case .end:
            break
        }
    }

    private mutating func append(_ entry: Entry, _ at: Int) {
        if let last = self.states[at].group.entries.last, last.index >= entry.index {
            // The same entry again: a tail that was rewritten at a start.
            if let place = self.place(entry.index, at), self.states[at].group.entries[place].hash == entry.hash {
                return
            }
            while let last = self.states[at].group.entries.last, last.index >= entry.index {
                self.states[at].group.entries.removeLast()
            }
        }
        self.states[at].group.holes.removeAll { $0.index >= entry.index }
        self.states[at].group.entries.append(entry)
    }

    /// Binary search: there may be gaps.
    private func place(_ index: LogIndex, _ at: Int) -> Int? {
        let entries = self.states[at].group.entries
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].index < index { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].index == index ? low : nil
    }

    func has(_ group: GroupID, _ index: LogIndex, _ term: Term) -> Bool {
        guard let at = self.states.firstIndex(where: { $0.group.group == group }), let place = self.place(index, at)
        else { return false }
        return self.states[at].group.entries[place].term == term
    }

    mutating func hole(_ group: GroupID, _ index: LogIndex) {
        let at = self.at(group)
        if !self.states[at].group.holes.contains(where: { $0.index == index }) {
            self.states[at].group.holes.append(Hole(index: index))
        }
    }

    /// The log may begin after a mark that is gone, and the snapshot before it may be gone too. That what there is ends
    /// where a later batch says does not tell; only that mark again, or a later one, does.
    mutating func lostMark(_ group: GroupID, _ index: LogIndex) {
        let at = self.at(group)
        self.states[at].lostMark = max(self.states[at].lostMark ?? 0, index)
    }

    mutating func makeUncertain(_ group: GroupID) {
        let at = self.at(group)
        self.states[at].isEndUncertain = true
        self.states[at].isVoteUncertain = true
    }

    mutating func makeAllUncertain() {
        self.isAnyUncertain = true
        for at in self.states.indices {
            self.states[at].isEndUncertain = true
            self.states[at].isVoteUncertain = true
        }
    }

    /// What is lost may be newer than all that is read.
    mutating func makeUncertainForGood() { self.isUncertainForGood = true }

    /// Last index known of a group: of an entry, a hole or the snapshot.
    func end(of group: GroupID) -> LogIndex {
        guard let state = self.states.first(where: { $0.group.group == group }) else { return 0 }
        return max(
            state.group.entries.last?.index ?? 0, state.group.holes.map(\.index).max() ?? 0,
            state.group.snapshot?.index ?? 0)
    }

    /// A batch names where its groups' logs end: certain again, if what stands here agrees. If not, what is missing may
    /// have been below a snapshot that comes later, whose segments went.
    mutating func settle(_ end: BatchEncoder.GroupEnds, _ place: Place) {
        let at = self.at(end.group)
        let agrees = self.end(of: end.group) == end.after.index
        self.states[at].isEndUncertain = !agrees
        self.states[at].disagreement = agrees ? nil : (end.after.index, place)
    }

    /// The head of a segment names all groups there are, and the hard states of all that have one.
    mutating func headOfSegment(_ records: [ScannedRecord]) {
        self.isAnyUncertain = false
        for case .good(.end(let group, _, _)) in records { self.states[self.at(group)].isVoteUncertain = false }
    }

    /// - Parameter report: of damage that shows only now.
    mutating func finish(_ report: (GroupID, LogIndex, Place?, String) -> Void) -> [RecoveredGroup] {
        if self.isAnyUncertain || self.isUncertainForGood { _ = self.at(.system) }
        var groups: [RecoveredGroup] = []
        for state in self.states {
            var group = state.group
            let base = group.snapshot?.index ?? 0
            group.holes = group.holes.filter { $0.index > base }
            var contiguous: [Entry] = []
            var next = base &+ 1
            var hash = group.snapshot?.hash ?? .zero
            for entry in group.entries where entry.index > base {
                if entry.index > next {
                    // The entries between were in a batch that is unreadable, or are holes already.
                    let last = min(entry.index, next &+ Self.maxHolesNamed)
                    let known = Set(group.holes.map(\.index))
                    var first: LogIndex?
                    for missing in next..<max(next, last) where !known.contains(missing) {
                        group.holes.append(Hole(index: missing))
                        first = first ?? missing
                    }
                    if let first {
                        report(
                            group.group, first, nil,
                            "entries are missing from \(first) on; the next one there is is \(entry.index)")
                    }
                    if last < entry.index { group.isEndUncertain = true }
                    break
                }
                guard entry.previousHash == hash else {
                    // Right after a mark: an installed snapshot took the place of the log that this was part of, and the
                    // truncation that says so did not make it to the disk.
                    if next > base &+ 1 {
                        report(
                            group.group, entry.index, nil, "entry \(entry.index) does not continue the entry before it")
                        group.isEndUncertain = true
                    }
                    break
                }
                contiguous.append(entry)
                next &+= 1
                hash = entry.hash
            }
            group.entries = contiguous
            group.holes.sort { $0.index < $1.index }
            if let (end, place) = state.disagreement {
                report(
                    group.group, end, place,
                    "the log ends at \(end) by the last batch that names it, and at \(self.end(of: group.group)) by what is there"
                )
            }
            group.isVoteUncertain = state.isVoteUncertain || self.isUncertainForGood
            // A log from its first entry on makes up for any mark.
            let needsLostMark = state.lostMark != nil && group.snapshot != nil
            if state.isEndUncertain || needsLostMark || group.isVoteUncertain { group.isEndUncertain = true }
            if self.isAnyUncertain, group.group == .system { group.isEndUncertain = true }
            groups.append(group)
        }
        return groups.sorted { $0.group < $1.group }
    }
}
