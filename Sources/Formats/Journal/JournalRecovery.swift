public import Replication

/// What a journal held at start.
///
/// How a batch is judged. *Summary*: the batch's own header and its table of groups, in one copy or the other. *Last* means
/// that no batch with a higher sequence is found in any segment; *unwritten block* that a block of it still carries an older
/// generation, at either of its ends.
///
/// | | summary | headers | payloads | last | unwritten block | then |
/// |---|---|---|---|---|---|---|
/// | A | good | good | good | any | no | taken |
/// | B | good | good | good | no | yes | taken (the block is one of which the other copy is good), damage reported |
/// | C | any | any | any | yes | yes | torn: was never acknowledged, cut |
/// | D | good | good | bad | any | no | the entries named are holes |
/// | E | good | good | bad | no | yes | the entries named are holes |
/// | F | good | bad | any | any | no, or not last | what is missing up to the ends that it names are holes |
/// | G | bad | - | - | no | any | unreadable: ends and hard states are uncertain until a later batch names them |
/// | H | bad | - | - | yes | no | unreadable, and nothing after it: the disk counts as lost |
///
/// Before that, batches are put in order. A batch that was cut, was written again at a start, or whose sync failed is
/// followed by one with the same sequence in a newer segment, which takes its place; a torn one takes nobody's place.
/// So sequences have no gaps, and a gap is damage, right before a torn batch too.
///
/// What is missing is settled by what a later batch says: where each group's log ended before and after it, and which hard
/// state the group had (`RecoveredLog.settle`, `HardStateStamp`). What nothing settles makes the disk a lost one: the node
/// does not know what it promised, and must not go on under its name.
public struct RecoveredJournal: Sendable {
    /// By id.
    public var groups: [RecoveredGroup] = []
    public var damage: [JournalDamage] = []
    public var hasTornTail = false
    /// Why the disk counts as lost, in half a sentence; nil where it does not. What else stands here is for reports then.
    public var lost: String?
    public var isLost: Bool { self.lost != nil }
    /// What the last batch says, which no later one proves durable, its holes included: to be written again, as the first
    /// batch, before anything is promised.
    package var unproved: [JournalRecord] = []
    /// Where the groups stood before and after it.
    package var unprovedEnds: [BatchEncoder.GroupEnds] = []
    /// Where there is an unproved batch or a torn one, its own: the next batch takes its place.
    package var nextSequence: UInt64 = 1
    package var nextGeneration: UInt64 = 1
    /// By generation.
    package var segments: [JournalSegment] = []
    /// Files whose batches were all replaced by later ones: free.
    package var spentFiles: [UInt32] = []
    /// Files that hold nothing: free.
    package var blankFiles: [UInt32] = []
    /// Files with a bad block, or cut short: what they hold is used, but they are not written again.
    package var damagedFiles: [UInt32] = []
    /// Highest number of a file, whatever it holds.
    package var lastFile: UInt32 = 0
    /// Each batch found, in order, where it was asked for.
    package var judged: [JudgedBatch] = []
    /// Of the last batch that counts.
    private var lastRow: BatchVerdict?

    public subscript(group: GroupID) -> RecoveredGroup? { self.groups.first { $0.group == group } }

    /// Nothing acknowledged is missing.
    public var isWhole: Bool { !self.isLost && self.groups.allSatisfy(\.isWhole) }
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

extension RecoveredJournal {
    /// Puts the segments together. Pure; O(batches).
    ///
    /// - Parameter isDetailed: also fill `judged`.
    package init(_ scans: [(file: UInt32, scan: SegmentScan)], isDetailed: Bool = false) {
        var state = JournalReplay()
        let ordered = self.sort(scans, &state)
        let generations = ordered.map(\.scan.generation)
        // Where a file counts as an older segment in the end, there are more than its scan took for such.
        let strays = (scans + ordered).flatMap { file, scan in scan.strays.map { (file: file, block: $0) } }
        // An older generation that is at home in another file was not written here before: it came by mistake, later.
        func content(_ batch: ScannedBatch) -> ScannedBatch {
            guard batch.hasUnwrittenBlock else { return batch }
            var batch = batch
            // A block of it stands elsewhere: it was written, to the wrong place.
            if strays.contains(where: { _, block in
                block.generation == batch.generation && block.sequence == batch.sequence
            }) {
                batch.olderGenerations = []
            }
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
        /// Segments whose first blocks are unreadable.
        var headless: [(at: Int, segment: JournalSegment)] = []
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
                    state.batchIsMissing()
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
                    "the file ends here, and should have \(blocks) blocks", isHole: !scan.isFreeAfterEnd)
                if !scan.isFreeAfterEnd { state.batchIsMissing() }
                if !self.damagedFiles.contains(file) { self.damagedFiles.append(file) }
            }
            if scan.isHeadLost { headless.append((at, segment)) }
        }
        if let at = torn.last, (previous ?? 0) &+ 1 < lastSequence {
            // A batch is written when the sync of the one before it has returned. So the torn one tells what was durable, though
            // nothing else is left of it.
            self.report(
                ordered[at].file, batch: lastSequence, block: ordered[at].scan.batches.last?.firstBlock ?? 0,
                "before it \(Self.missing(previous, lastSequence))", isHole: true)
            state.batchIsMissing()
        }
        if let (file, newest) = strays.max(by: { $0.block.sequence < $1.block.sequence }),
            newest.sequence > lastSequence
        {
            // It was written, and nothing of it is left in its own place.
            self.report(
                file, batch: newest.sequence, block: newest.block,
                "a block of it stands here, where it does not belong, and nothing of it where it does", isHole: true)
            state.newestMayBeMissing("of the newest batch nothing is left but a block in another place")
        }
        if torn.isEmpty, let home, let last = ordered[home].scan.batches.last {
            // A batch takes two blocks at least; one bad block after the end is free space that rotted.
            let spoiled = ordered[home].scan.spoiledAfterEnd { generations.contains($0) }
            if spoiled > 1 {
                self.report(
                    ordered[home].file, batch: last.sequence &+ 1, block: last.firstBlock + last.blockCount,
                    "the \(spoiled) blocks after the last batch are not what was written: a batch may have stood there",
                    isHole: true)
                state.batchIsMissing()
            }
        }
        if home.map({ ordered[$0].scan.isTornAfterEnd }) ?? false || ordered.last?.scan.isTornAfterEnd ?? false {
            self.hasTornTail = true
        }
        for (at, segment) in headless where at != home {
            // Free files alone are written over, from their begin on: one that is still needed was not.
            let isNeeded = segment.highest.contains { group, index in
                state.states.contains { $0.group == group && index > $0.log.snapshot?.index ?? 0 }
            }
            self.report(
                segment.file, batch: 0, block: 0,
                isNeeded
                    ? "its first blocks are unreadable"
                    : "its first blocks are unreadable: the newest batch may have stood there", isHole: !isNeeded)
            if !isNeeded { state.newestMayBeMissing("the newest batch may be unreadable") }
        }
        let isReplaced: Bool
        switch self.lastRow {
        case .taken, .holes, .headersLost: isReplaced = true
        case .takenDamaged, .torn, .holesUnwritten, .unreadable, .unreadableTail, nil: isReplaced = !torn.isEmpty
        }
        self.nextSequence = isReplaced ? max(lastSequence, 1) : lastSequence &+ 1
        let lastFile = ordered.last?.file ?? 0
        var late: [JournalDamage] = []
        (self.groups, self.lost) = state.finished { group, index, text in
            late.append(
                JournalDamage(
                    file: lastFile, batch: 0, block: 0, group: group, index: index, text: "group \(group): \(text)",
                    isHole: true))
        }
        self.damage += late
        self.reportRuns(lastFile)
        self.writeEndsAgain()
        self.judgeDamage()
        if self.isWhole {
            // A gap between segments is no damage then, nor is a torn batch right before it. Free files hold old batches, which
            // nobody needs, and are written over oldest first, but not without exception:
            // 1. The oldest free file is to take a batch, and the sync fails.
            // 2. The next free file takes it, durably.
            // 3. The power goes: the first file is what it was, and what followed it is written over.
            for at in stale.reversed() { self.damage.remove(at: at) }
        }
    }

    /// Holes that no damaged place names.
    private mutating func reportRuns(_ file: UInt32) {
        for group in self.groups {
            let told = Set(self.damage.lazy.filter { $0.group == group.group }.compactMap(\.index))
            var run: ClosedRange<LogIndex>?
            func text(_ run: ClosedRange<LogIndex>) -> String {
                run.count == 1
                    ? "entry \(run.lowerBound) of group \(group.group) is missing"
                    : "entries \(run.lowerBound) to \(run.upperBound) of group \(group.group) are missing"
            }
            for hole in group.holes where !told.contains(hole.index) {
                if let known = run, known.upperBound + 1 == hole.index {
                    run = known.lowerBound...hole.index
                    continue
                }
                if let run {
                    self.report(
                        file, batch: 0, block: 0, group: group.group, index: run.lowerBound, text(run), isHole: true)
                }
                run = hole.index...hole.index
            }
            if let run {
                self.report(
                    file, batch: 0, block: 0, group: group.group, index: run.lowerBound, text(run), isHole: true)
            }
        }
    }

    /// Where records of the last batch are lost, what is written again may not come to the end that the batch names: it is
    /// told where that is. What stands in between, and of which nothing is known, is a gap again at the next start, as it was
    /// at this one. So the batch does not grow, however much is missing.
    private mutating func writeEndsAgain() {
        guard !self.isLost else { return }
        for end in self.unprovedEnds {
            guard let group = self[end.group] else { continue }
            let last = group.end
            var reached = end.before
            for record in self.unproved where record.group == end.group { reached.follow(record) }
            // (Of a truncation the term is not known, and does not matter: nothing behind it is lost then.)
            guard reached.index != last.index || (reached.term != last.term && reached.term != 0) else { continue }
            let hole = group.holes.last.flatMap { $0.index == last.index ? $0 : nil }
            let kept = hole == nil ? last.index : last.index - 1
            if reached.index > kept { self.unproved.append(.truncate(end.group, after: kept)) }
            if let hole { self.unproved.append(.hole(end.group, hole)) }
        }
    }

    /// Damage that a snapshot or another record makes good is no hole.
    private mutating func judgeDamage() {
        guard !self.isLost else { return }
        let isWhole = self.isWhole
        for at in self.damage.indices where self.damage[at].isHole {
            guard !isWhole else {
                self.damage[at].isHole = false
                continue
            }
            if let group = self.damage[at].group, let index = self.damage[at].index {
                self.damage[at].isHole = self[group]?.holes.contains { $0.index == index } ?? false
            }
        }
    }

    /// Segments by generation; those that are no segment of this journal are set aside.
    private mutating func sort(
        _ scans: [(file: UInt32, scan: SegmentScan)], _ state: inout JournalReplay
    ) -> [(file: UInt32, scan: SegmentScan)] {
        var scans = scans.sorted { $0.file < $1.file }
        self.damagedFiles = scans.filter(\.scan.hasBadBlock).map(\.file)
        self.lastFile = scans.last?.file ?? 0
        self.nextGeneration = (scans.map(\.scan.highestGeneration).max() ?? 0) &+ 1
        // A generation belongs to one file: where two show it, the one with fewer blocks of it got them by mistake.
        var isSettled = false
        while !isSettled {
            isSettled = true
            for at in scans.indices where scans[at].scan.generation > 0 {
                let twin = scans.indices.first { $0 != at && Self.holds(scans[$0].scan, whatIs: scans[at].scan) }
                guard let twin else { continue }
                isSettled = false
                let isGuessed = Self.isOpen(scans[twin].scan, scans[at].scan)
                self.report(
                    scans[at].file, batch: 0, block: 0,
                    isGuessed
                        ? "it and segment \(scans[twin].file) hold equally many blocks of one generation, and which is the segment is not known"
                        : "it holds blocks that belong to segment \(scans[twin].file)", isHole: isGuessed)
                if isGuessed {
                    state.newestMayBeMissing("two files of the journal hold equally many blocks of one segment")
                }
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
                state.newestMayBeMissing(
                    "a file of the journal is unreadable, and the newest batches may have stood there")
            }
        }
        return scans.filter { $0.scan.generation > 0 }.sorted { $0.scan.generation < $1.scan.generation }
    }

    /// Whether `b`'s generation is `a`'s: shown by both; or by `b` in a block or two, and by more of them in `a` beneath a
    /// block or two of a newer one. Those of `a` came from elsewhere then, perhaps from `b`, by an exchange: else what stands
    /// beneath them counted as free.
    private static func holds(_ a: SegmentScan, whatIs b: SegmentScan) -> Bool {
        if a.generation == b.generation { return Self.isHome(a, rather: b) ?? true }
        guard let beneath = a.fallback.first, !b.fallback.isEmpty else { return false }
        return beneath.generation == b.generation && beneath.writtenBlocks > b.writtenBlocks
    }

    /// Of two files that show a generation, whether it is the first one's; nil where nothing tells.
    ///
    /// A block or two each: what was newer before is what is still needed, so it is the one to go back. Where the same stands
    /// beneath, one of the two has it from the other, by the same exchange:
    ///
    /// 1. File 2 is new and blank but for one batch, of two blocks. File 1 is an older segment, and full.
    /// 2. Their second blocks change places. Each shows one block of the newer generation, and beneath it the older one.
    /// 3. Of the older one file 2 has a block, and file 1 all the others. Were file 1 taken for the newer segment, nothing
    ///    would tell of what else it holds.
    private static func isHome(_ a: SegmentScan, rather b: SegmentScan) -> Bool? {
        if a.writtenBlocks != b.writtenBlocks { return a.writtenBlocks > b.writtenBlocks }
        let (below, other) = (a.fallback.first, b.fallback.first)
        if below?.generation != other?.generation { return below?.generation ?? 0 < other?.generation ?? 0 }
        if below?.writtenBlocks != other?.writtenBlocks {
            return below?.writtenBlocks ?? 0 < other?.writtenBlocks ?? 0
        }
        return a.hasFirstBlock == b.hasFirstBlock ? nil : a.hasFirstBlock
    }

    /// Each has so many blocks of a generation that what it held before is not told, and nothing tells whose they are.
    private static func isOpen(_ a: SegmentScan, _ b: SegmentScan) -> Bool {
        a.generation == b.generation && a.fallback.isEmpty && b.fallback.isEmpty
            && Self.isHome(a, rather: b) == nil
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
        state: inout JournalReplay
    ) {
        self.lastRow = row
        invariant(row != .torn, "a torn batch is cut before it is taken")
        guard case .records(let records, let ends) = batch.content else {
            self.report(
                file, batch: batch.sequence, block: batch.firstBlock,
                "unreadable in both copies of its headers: what it held is not known", isHole: true)
            state.batchIsMissing()
            return
        }
        state.begin(records, ends, namesAllGroups: batch.namesAllGroups)
        var isHeaderLost = false
        var isMarkLost = false
        var areNamed = 0
        for record in records {
            switch record {
            case .good(let record):
                switch record {
                case .entry(let entry), .repair(let entry): segment.note(entry.group, entry.index)
                case .hole(let group, let hole): segment.note(group, hole.index)
                case .truncate, .hardState, .snapshot, .end: break
                }
                if !state.apply(record, isAfterUnknown: isHeaderLost), case .repair(let entry) = record {
                    self.report(
                        file, batch: batch.sequence, block: batch.firstBlock, group: entry.group, index: entry.index,
                        "the repair of entry \(entry.index) of group \(entry.group) does not fit and is not taken",
                        isHole: true)
                }
            case .damagedEntry(let group, let hole, let isRepair, let block):
                areNamed += 1
                segment.note(group, hole.index)
                let isThere = state.damagedEntry(group, hole, isRepair: isRepair, isAfterUnknown: isHeaderLost)
                self.report(
                    file, batch: batch.sequence, block: block, group: group, index: hole.index,
                    "the bytes of entry \(hole.index) (term \(hole.term ?? 0)) of group \(group) are bad",
                    isHole: !isThere)
            case .damagedMark(let group, let index, _, let block):
                areNamed += 1
                isMarkLost = true
                self.report(
                    file, batch: batch.sequence, block: block, group: group, index: index,
                    "the members in the mark of group \(group)'s snapshot at \(index) are bad in both copies",
                    isHole: true)
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
        if !isHeaderLost, !isMarkLost {
            for (group, named, found) in state.disagreements(ends, \.after) {
                self.report(
                    file, batch: batch.sequence, block: batch.firstBlock, group: group, index: named.index,
                    "the log of group \(group) ends at \(named.index) (term \(named.term)) by this batch, and at \(found.index) (term \(found.term)) by what is there",
                    isHole: true)
            }
        }
        state.finish(ends)
        if isLast {
            self.unproved = Self.condensed(records)
            self.unprovedEnds = ends
        }
    }

    /// The records of a batch to be written again: all entries, holes and truncations, and of each group the last hard state
    /// and mark. The head of the segment repeats the rest, and would make the batch longer at each start.
    private static func condensed(_ records: [ScannedRecord]) -> [JournalRecord] {
        var kept: [JournalRecord] = []
        for found in records {
            let record: JournalRecord
            switch found {
            case .good(let good): record = good
            case .damagedEntry(let group, let hole, isRepair: false, _): record = .hole(group, hole)
            // The hole that it was to fill stands where it is.
            case .damagedEntry, .damagedMark, .damagedHeader: continue
            }
            switch record {
            case .entry, .truncate, .repair, .hole: break
            case .end: continue
            case .hardState(let group, _):
                kept.removeAll { if case .hardState(group, _) = $0 { true } else { false } }
            case .snapshot(let group, _, _):
                kept.removeAll { if case .snapshot(group, _, _) = $0 { true } else { false } }
            }
            kept.append(record)
        }
        return kept
    }
}
