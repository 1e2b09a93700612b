public import Replication

/// A group as its journal remembers it.
public struct RecoveredGroup: Sendable, Equatable {
    public var group: GroupID
    public var hardState: HardState = .initial
    public var snapshot: SnapshotMark?
    /// Contiguous, from the snapshot on; up to the first hole.
    public var entries: [Entry] = []
    /// Entries above the snapshot whose bytes are bad, and which the journal shows to have been there.
    public var holes: [LogIndex] = []
    /// A batch that may have held entries of this group is unreadable, and nothing later names its end.
    public var isEndUncertain = false
}

/// A block that is not what was written, in one sentence.
public struct JournalDamage: Sendable, Equatable, CustomStringConvertible {
    public var file: UInt32
    public var batch: UInt64
    public var block: Int
    public var text: String
    /// It may have held something acknowledged that a snapshot does not cover.
    public var isHole: Bool

    public var description: String { "segment \(self.file), block \(self.block), batch \(self.batch): \(self.text)" }
}

/// What a journal held at start.
///
/// How a batch is judged. *Last* means that no batch with a higher sequence is found in any segment; *unwritten block*
/// that a block of it still carries an older generation.
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
public struct RecoveredJournal: Sendable {
    /// By id.
    public var groups: [RecoveredGroup] = []
    public var damage: [JournalDamage] = []
    public var hasTornTail = false
    /// Records of the last batch, which no later one proves durable: to be written again before anything is promised.
    package var unproved: [JournalRecord] = []
    package var nextSequence: UInt64 = 1
    package var nextGeneration: UInt64 = 1
    package var segments: [JournalSegment] = []

    public subscript(group: GroupID) -> RecoveredGroup? { self.groups.first { $0.group == group } }
}

/// A segment file and what it is still needed for.
package struct JournalSegment: Sendable, Equatable {
    package var file: UInt32
    package var generation: UInt64
    /// Highest index of each group in it, by group.
    package var highest: [(group: GroupID, index: LogIndex)] = []

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
enum BatchVerdict: Equatable, CaseIterable {
    case taken, takenDamaged, torn, holes, unreadableTail, unreadable

    static func of(areHeadersGood: Bool, arePayloadsGood: Bool, isLast: Bool, hasUnwritten: Bool) -> BatchVerdict {
        switch (areHeadersGood, arePayloadsGood, isLast, hasUnwritten) {
        case (true, true, _, false): .taken
        case (true, true, false, true): .takenDamaged
        case (_, _, true, true): .torn
        case (true, false, _, false), (true, false, false, true): .holes
        case (false, _, true, false): .unreadableTail
        case (false, _, false, _): .unreadable
        }
    }
}

extension RecoveredJournal {
    /// Puts the segments together. Pure; O(batches).
    package init(_ scans: [(file: UInt32, scan: SegmentScan)]) {
        let ordered = scans.filter { $0.scan.generation > 0 }.sorted { $0.scan.generation < $1.scan.generation }
        let lastSequence = ordered.flatMap { $0.scan.batches }.map(\.sequence).max() ?? 0
        self.nextSequence = lastSequence + 1
        self.nextGeneration = (ordered.last?.scan.generation ?? 0) + 1
        var state = Replay()
        var previous: (generation: UInt64, sequence: UInt64)?
        for (file, scan) in ordered {
            var segment = JournalSegment(file: file, generation: scan.generation)
            for batch in scan.batches {
                if let previous, batch.sequence != previous.sequence + 1,
                    scan.generation <= previous.generation + 1
                {
                    self.damage.append(
                        JournalDamage(
                            file: file, batch: previous.sequence + 1, block: batch.firstBlock,
                            text: "batches \(previous.sequence + 1) to \(batch.sequence - 1) are missing before it",
                            isHole: true))
                    state.makeAllUncertain()
                }
                previous = (scan.generation, batch.sequence)
                self.take(batch, isLast: batch.sequence == lastSequence, file: file, segment: &segment, state: &state)
            }
            self.segments.append(segment)
        }
        self.groups = state.finish()
        // Damage below a snapshot is no hole: the state has what it held.
        for at in self.damage.indices where self.damage[at].isHole {
            let isOpen = self.groups.contains { !$0.holes.isEmpty || $0.isEndUncertain }
            if !isOpen { self.damage[at].isHole = false }
        }
    }

    private mutating func take(
        _ batch: ScannedBatch, isLast: Bool, file: UInt32, segment: inout JournalSegment, state: inout Replay
    ) {
        var areHeadersGood = false
        var arePayloadsGood = false
        if case .records(let records, _) = batch.content {
            areHeadersGood = !records.contains { if case .damagedHeader = $0 { true } else { false } }
            arePayloadsGood = records.allSatisfy { if case .good = $0 { true } else { false } }
        }
        let verdict = BatchVerdict.of(
            areHeadersGood: areHeadersGood, arePayloadsGood: arePayloadsGood, isLast: isLast,
            hasUnwritten: batch.hasUnwrittenBlock)
        func report(_ text: String, isHole: Bool) {
            self.damage.append(
                JournalDamage(file: file, batch: batch.sequence, block: batch.firstBlock, text: text, isHole: isHole))
        }
        switch verdict {
        case .torn:
            self.hasTornTail = true
            return
        case .unreadable, .unreadableTail:
            report("unreadable in both copies of its headers: what it held is not known", isHole: true)
            state.makeAllUncertain()
            if case .records(let records, _) = batch.content { self.replay(records, &segment, &state, report) }
            return
        case .takenDamaged:
            report("a block of its second copy of the headers is bad", isHole: false)
        case .taken, .holes:
            break
        }
        guard case .records(let records, let ends) = batch.content else { return }
        self.replay(records, &segment, &state, report)
        state.settle(ends)
        if isLast {
            self.unproved = records.compactMap { if case .good(let record) = $0 { record } else { nil } }
        }
    }

    private func replay(
        _ records: [ScannedRecord], _ segment: inout JournalSegment, _ state: inout Replay,
        _ report: (String, Bool) -> Void
    ) {
        for record in records {
            switch record {
            case .good(let record):
                if case .entry(let entry) = record { segment.note(entry.group, entry.index) }
                state.apply(record)
            case .damagedPayload(let group, let index, let term, _):
                segment.note(group, index)
                report("the bytes of entry \(index) (term \(term)) of group \(group) are bad", true)
                state.hole(group, index)
            case .damagedHeader:
                report("a record's header is bad in both copies", true)
                state.makeAllUncertain()
            }
        }
    }
}

/// The groups as records are read in order.
private struct Replay {
    private var groups: [RecoveredGroup] = []

    private mutating func at(_ id: GroupID) -> Int {
        if let at = self.groups.firstIndex(where: { $0.group == id }) { return at }
        self.groups.append(RecoveredGroup(group: id))
        return self.groups.count - 1
    }

    mutating func apply(_ record: JournalRecord) {
        let at = self.at(record.group)
        switch record {
        case .entry(let entry):
            self.cut(at, after: entry.index - 1, keeping: entry)
        case .truncate(_, let after):
            while let last = self.groups[at].entries.last, last.index > after { self.groups[at].entries.removeLast() }
            self.groups[at].holes.removeAll { $0 > after }
        case .hardState(_, let state):
            if state.term >= self.groups[at].hardState.term { self.groups[at].hardState = state }
        case .snapshot(_, let mark):
            if mark.index >= self.groups[at].snapshot?.index ?? 0 { self.groups[at].snapshot = mark }
        case .end:
            break
        }
    }

    private mutating func cut(_ at: Int, after index: LogIndex, keeping entry: Entry) {
        // The same entry again: a tail that was rewritten at a start.
        if let first = self.groups[at].entries.first, entry.index >= first.index,
            entry.index - first.index < UInt64(self.groups[at].entries.count),
            self.groups[at].entries[Int(entry.index - first.index)].hash == entry.hash
        {
            return
        }
        while let last = self.groups[at].entries.last, last.index > index { self.groups[at].entries.removeLast() }
        self.groups[at].holes.removeAll { $0 >= entry.index }
        self.groups[at].entries.append(entry)
    }

    mutating func hole(_ group: GroupID, _ index: LogIndex) {
        let at = self.at(group)
        if !self.groups[at].holes.contains(index) { self.groups[at].holes.append(index) }
    }

    mutating func makeAllUncertain() {
        for at in self.groups.indices { self.groups[at].isEndUncertain = true }
    }

    /// A batch names where its groups' logs end: certain again, if what stands here agrees.
    mutating func settle(_ ends: [BatchEncoder.GroupEnds]) {
        for end in ends {
            let at = self.at(end.group)
            let last = max(self.groups[at].entries.last?.index ?? 0, self.groups[at].holes.max() ?? 0)
            if last == end.after.index { self.groups[at].isEndUncertain = false }
        }
    }

    mutating func finish() -> [RecoveredGroup] {
        for at in self.groups.indices {
            let base = self.groups[at].snapshot?.index ?? 0
            self.groups[at].holes = self.groups[at].holes.filter { $0 > base }.sorted()
            var contiguous: [Entry] = []
            var next = base + 1
            for entry in self.groups[at].entries where entry.index > base {
                if entry.index > next {
                    // The entries between were in a batch that is unreadable, or are holes already.
                    for missing in next..<entry.index where !self.groups[at].holes.contains(missing) {
                        self.groups[at].holes.append(missing)
                    }
                    break
                }
                contiguous.append(entry)
                next += 1
            }
            self.groups[at].entries = contiguous
            self.groups[at].holes.sort()
        }
        return self.groups.sorted { $0.group < $1.group }
    }
}
