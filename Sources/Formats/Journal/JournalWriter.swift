import Replication

/// Decides where each batch goes. Pure: the shell only creates files, writes bytes at offsets and syncs.
///
/// Segments are files of equal size, written in full once and then recycled: an append to one changes no metadata. A batch
/// that is larger than that (of one large entry, where this node's segments are small; or written again at a start with a
/// smaller size than before) has a larger segment of its own. Each begins with what every group needs to be known by when
/// older segments are gone. A segment is free when all groups' snapshots cover it and all older ones are free.
package struct JournalWriter: Sendable {
    package let identity: JournalIdentity
    package let segmentBlocks: Int
    package private(set) var nextSequence: UInt64
    private var nextGeneration: UInt64
    private var nextFile: UInt32
    /// Oldest first; the last is the current one where `block` is set.
    package private(set) var segments: [JournalSegment]
    /// In the order in which they are written over, which is that in which they became free. A file of a batch that was torn,
    /// and written again in another, must not outlive that other one: alone it would look like damage.
    private var free: [UInt32]
    /// With a bad block, or cut short: not written again, and deleted where they would be.
    private let damaged: Set<UInt32>
    private var discarded: [UInt32] = []
    /// Files whose batches were replaced by the last batch that was read, perhaps from the page cache alone, or planned:
    /// not free before that one is durable.
    ///
    /// 1. Batch 17 is durable in segment 2. The process is killed.
    /// 2. The next start writes batch 17 again, in segment 3, and is killed before the sync.
    /// 3. The start after that reads it in segment 3, where no disk has it. Were segment 2 free now, this start would write
    ///    batch 17 over the only durable copy; and the power goes.
    private var spent: [UInt32]
    /// Next block in the current segment; nil: a new segment begins with the next batch.
    private var block: Int?
    /// Blocks of the current segment.
    private var currentBlocks = 0
    private var groups: [GroupState] = []
    /// Segments begun since some became free.
    private var begun = 0
    private var hasRecycled = false
    private var encoder = BatchEncoder()
    /// As it was before the batch planned last, which may come to nothing.
    private var undo: Undo?

    private struct Undo: Sendable {
        var nextSequence: UInt64
        var segments: [JournalSegment]
        var free: [UInt32]
        var discarded: [UInt32]
        var groups: [GroupState]
    }

    private struct GroupState: Sendable {
        var group: GroupID
        var end = LogEnd(0, 0)
        /// The log's terms, each with the first index it is known at; 0 from a hole on whose term is not known. Few: one a
        /// change of leader since the snapshot.
        var terms: [LogEnd] = []
        var hardState: HardState?
        var snapshot: SnapshotMark?
        var standing = SnapshotStanding.confirmed

        mutating func append(_ index: LogIndex, _ term: Term) {
            while let last = self.terms.last, last.index >= index { self.terms.removeLast() }
            if self.terms.last?.term != term { self.terms.append(LogEnd(index, term)) }
            self.end = LogEnd(index, term)
        }

        mutating func truncate(after index: LogIndex) {
            guard self.end.index > index else { return }
            while let last = self.terms.last, last.index > index { self.terms.removeLast() }
            let isBase = index == self.snapshot?.index ?? 0
            self.end = LogEnd(index, isBase ? self.snapshot?.term ?? 0 : self.terms.last?.term ?? 0)
        }

        mutating func cover(_ mark: SnapshotMark, _ standing: SnapshotStanding) {
            guard mark.index >= self.snapshot?.index ?? 0 else { return }
            self.snapshot = mark
            self.standing = standing
            if mark.index >= self.end.index { self.end = LogEnd(mark.index, mark.term) }
            while self.terms.count > 1, self.terms[1].index <= mark.index { self.terms.removeFirst() }
        }
    }

    /// What to write, in one sync.
    package struct Plan: Sendable {
        package var file: UInt32
        /// The file does not exist yet: create it in full before, of `JournalFormat.blank` blocks, and give it its name
        /// only when they are durable.
        package var isNew: Bool
        /// Blocks that the file must have. A free one that has fewer is made anew.
        package var fileBlocks: Int
        package var offset: Int
        package var bytes: [UInt8]
    }

    package init(identity: JournalIdentity, segmentBytes: Int, recovered: RecoveredJournal) {
        self.identity = identity
        self.segmentBlocks = segmentBytes / JournalFormat.blockBytes
        self.nextSequence = recovered.nextSequence
        self.nextGeneration = recovered.nextGeneration
        self.segments = recovered.segments
        self.nextFile = recovered.lastFile + 1
        self.free = []
        self.damaged = Set(recovered.damagedFiles)
        self.spent = recovered.spentFiles
        for group in recovered.groups {
            var state = GroupState(group: group.group)
            state.hardState = group.hardState == .initial ? nil : group.hardState
            state.snapshot = group.snapshot
            state.standing = group.standing
            var holes = group.holes[...]
            for entry in group.entries {
                while let hole = holes.first, hole.index < entry.index {
                    state.append(hole.index, hole.term ?? 0)
                    holes.removeFirst()
                }
                state.append(entry.index, entry.term)
            }
            for hole in holes { state.append(hole.index, hole.term ?? 0) }
            // The unproved batch comes again as the first: it begins where it began.
            state.end = recovered.unprovedEnds.first { $0.group == group.group }?.before ?? group.end
            self.groups.append(state)
        }
    }

    /// Files found at start that hold nothing, or nothing of this journal: to be used before new ones are made.
    package mutating func addFree(_ file: UInt32) {
        self.free.append(file)
        self.nextFile = max(self.nextFile, file + 1)
    }

    /// Free files that may be written over.
    private var sound: Int { self.free.reduce(0) { $0 + (self.damaged.contains($1) ? 0 : 1) } }

    /// Bad ones at the front are in nobody's way.
    private mutating func discardDamaged() {
        while let first = self.free.first, self.damaged.contains(first) {
            self.discarded.append(first)
            self.free.removeFirst()
        }
    }

    /// The number of a file that is to be made ahead of its use, and then to be given to `addFree`.
    package mutating func reserveFile() -> UInt32 {
        defer { self.nextFile += 1 }
        return self.nextFile
    }

    /// Once the first batch planned is durable: the spent files, of which `count` are kept for use and the rest are the
    /// caller's to delete. Each start leaves one; a loop of starts would fill the disk.
    package mutating func takeSurplus(keeping count: Int) -> [UInt32] {
        let sound = self.spent.filter { !self.damaged.contains($0) }
        let kept = sound.prefix(count)
        let surplus = self.spent.filter { !kept.contains($0) } + self.discarded
        self.spent = Array(kept)
        self.discarded.removeAll()
        return surplus
    }

    /// Whether a batch of these records begins a segment, and there is no free file for it. O(records).
    package func needsNewFile(_ records: [JournalRecord]) -> Bool {
        let needed = BatchEncoder.blockCount(records: records, groups: self.groupBound(records))
        if let block = self.block, block + needed <= self.currentBlocks { return false }
        return self.sound == 0 && (self.undo == nil || self.spent.allSatisfy { self.damaged.contains($0) })
    }

    /// Plans one batch. The caller writes and syncs it before it plans the next; where that fails it calls
    /// `abandonSegment` and plans the same records again. O(bytes).
    package mutating func plan(_ records: [JournalRecord]) -> Plan {
        if self.undo != nil, !self.spent.isEmpty {
            // The batch planned before is durable. They go first: nothing that makes them void is overwritten before
            // they are.
            self.free.insert(contentsOf: self.spent, at: 0)
            self.spent.removeAll()
        }
        self.undo = Undo(
            nextSequence: self.nextSequence, segments: self.segments, free: self.free, discarded: self.discarded,
            groups: self.groups)
        let groupBound = self.groupBound(records)
        let needed = BatchEncoder.blockCount(records: records, groups: groupBound)
        if let block = self.block, block + needed <= self.currentBlocks {
            return self.plan(records, in: self.segments[self.segments.count - 1].file, at: block, isNew: false)
        }
        // A new segment, whose first batch tells first what was known before.
        self.begun += 1
        self.discardDamaged()
        let isNew = self.free.isEmpty
        let file = isNew ? self.nextFile : self.free.removeFirst()
        if isNew { self.nextFile += 1 }
        self.segments.append(JournalSegment(file: file, generation: self.nextGeneration))
        self.nextGeneration += 1
        let table = self.table()
        let total = BatchEncoder.blockCount(records: table + records, groups: groupBound)
        self.currentBlocks = max(self.segmentBlocks, total)
        return self.plan(table + records, in: file, at: 0, isNew: isNew)
    }

    private mutating func plan(_ records: [JournalRecord], in file: UInt32, at block: Int, isNew: Bool) -> Plan {
        let segment = self.segments.count - 1
        let before = self.groups.map { ($0.group, $0.end) }
        for record in records { self.note(record, segment) }
        // Few groups are all named in each batch: then the next one after a lost batch settles where each stands.
        let namesAll = self.groups.count <= Self.groupsAlwaysNamed
        var ends: [BatchEncoder.GroupEnds] = []
        for group in self.groups where namesAll || records.contains(where: { $0.group == group.group }) {
            let old = before.first { $0.0 == group.group }?.1 ?? LogEnd(0, 0)
            ends.append(
                BatchEncoder.GroupEnds(
                    group: group.group, before: old, after: group.end,
                    stamp: HardStateStamp(group.hardState ?? .initial)))
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(
            BatchEncoder.blockCount(records: records, groups: ends.count) * JournalFormat.blockBytes)
        self.encoder.encode(
            records, ends: ends, identity: self.identity, generation: self.segments[segment].generation,
            sequence: self.nextSequence, firstBlock: block, segmentBlocks: self.currentBlocks,
            groups: self.groups.count, into: &bytes)
        self.nextSequence += 1
        self.block = block + bytes.count / JournalFormat.blockBytes
        self.segments[segment].endBlock = block + bytes.count / JournalFormat.blockBytes
        self.recycle()
        return Plan(
            file: file, isNew: isNew, fileBlocks: self.currentBlocks, offset: block * JournalFormat.blockBytes,
            bytes: bytes)
    }

    /// The next batch begins a segment, and so repeats what every group needs to be known by.
    package mutating func beginSegment() { self.block = nil }

    /// Live segments, oldest first, as far as they are durable.
    ///
    /// - Parameter isWriting: the batch planned last is not durable yet.
    package func extents(isWriting: Bool) -> [SegmentExtent] {
        self.segments.map { segment in
            let before = self.undo?.segments.first { $0 == segment }
            return SegmentExtent(
                file: segment.file, generation: segment.generation,
                durableBlocks: isWriting ? before?.endBlock ?? 0 : segment.endBlock,
                highest: segment.highest.map { JournalRot.Range(group: $0.group, first: 1, last: $0.index) })
        }
    }

    /// Groups that a batch of these records may name, at most.
    private func groupBound(_ records: [JournalRecord]) -> Int {
        var new: [GroupID] = []
        for record in records
        where !new.contains(record.group) && !self.groups.contains(where: { $0.group == record.group }) {
            new.append(record.group)
        }
        return self.groups.count + new.count
    }

    /// The batch planned last did not become durable: nothing more goes into its segment, and the batch that is planned
    /// next takes its place, under the same sequence. What it made free is not free yet.
    package mutating func abandonSegment() {
        self.block = nil
        guard let undo = self.undo else { return }
        self.undo = nil
        let file = self.segments.last!.file
        let wasBegunByIt = undo.segments.last?.file != file
        self.nextSequence = undo.nextSequence
        self.groups = undo.groups
        self.segments = undo.segments
        self.free = undo.free.filter { $0 != file }
        self.discarded = undo.discarded
        // Void as soon as the batch stands elsewhere, and to be overwritten before that place is: found alone, when the
        // segments after it are free again, its one batch would look as if those after it were lost.
        if wasBegunByIt { self.spent.append(file) }
    }

    private mutating func note(_ record: JournalRecord, _ segment: Int) {
        var at = self.groups.firstIndex { $0.group == record.group } ?? -1
        if at < 0 {
            self.groups.append(GroupState(group: record.group))
            at = self.groups.count - 1
        }
        switch record {
        case .entry(let entry):
            self.groups[at].append(entry.index, entry.term)
            self.segments[segment].note(entry.group, entry.index)
        case .truncate(_, let after):
            self.groups[at].truncate(after: after)
        case .hardState(_, let state):
            self.groups[at].hardState = state
        case .snapshot(_, let mark, let standing):
            self.groups[at].cover(mark, standing)
        case .repair(let entry):
            self.segments[segment].note(entry.group, entry.index)
        case .hole(let group, let hole):
            self.segments[segment].note(group, hole.index)
            if hole.index > self.groups[at].end.index { self.groups[at].append(hole.index, hole.term ?? 0) }
        case .end:
            break
        }
    }

    private func table() -> [JournalRecord] {
        var records: [JournalRecord] = []
        for group in self.groups {
            if let state = group.hardState { records.append(.hardState(group.group, state)) }
            if let mark = group.snapshot { records.append(.snapshot(group.group, mark, group.standing)) }
            records.append(.end(group.group, index: group.end.index, term: group.end.term))
        }
        return records
    }

    private mutating func recycle() {
        while self.segments.count > 1 {
            let oldest = self.segments[0]
            let isNeeded = oldest.highest.contains { group, index in
                index > self.groups.first { $0.group == group }?.snapshot?.index ?? 0
            }
            guard !isNeeded else { return }
            self.free.append(oldest.file)
            self.segments.removeFirst()
            self.hasRecycled = true
        }
    }

    /// Free files beyond as many as were begun from one time that segments became free to the next: so a steady load makes
    /// no new ones, and what a burst took is given back. The caller removes them once the batch planned last is
    /// durable: it is what made them free.
    package mutating func takeSurplus() -> [UInt32] {
        if self.hasRecycled {
            self.hasRecycled = false
            let keep = max(Self.minFiles - self.segments.count, self.begun)
            self.begun = 0
            self.discardDamaged()
            for _ in 0..<max(0, self.sound - keep) {
                self.discarded.append(self.free.removeFirst())
                self.discardDamaged()
            }
        }
        defer { self.discarded.removeAll() }
        return self.discarded
    }

    /// Up to so many groups are named in every batch.
    private static let groupsAlwaysNamed = 16

    /// Kept at any rate, in use or free.
    private static let minFiles = 4

    /// Files that hold nothing needed, and are whole.
    package var freeFiles: Int { self.sound }

    /// Half of the current segment is used, or there is none: the next one is near.
    package var isPastHalf: Bool { self.block.map { $0 * 2 >= self.currentBlocks } ?? true }
}
