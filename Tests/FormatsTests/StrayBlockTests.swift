import Formats
import Replication
import Testing

/// Blocks of the newest batch that stand in another file: they tell that it was written.
@Suite struct StrayBlockTests {
    private var source = RecordSource(seed: 51, identity: MemoryJournal.identity)
    private var journal = MemoryJournal(segmentBlocks: 16)
    private var model = JournalModel()

    private mutating func write(_ records: [JournalRecord]) {
        self.journal.write(records)
        self.model.apply(records)
    }

    private mutating func swap(_ block: Int, of one: UInt32, with other: UInt32) {
        let range = block * JournalFormat.blockBytes..<(block + 1) * JournalFormat.blockBytes
        let bytes = self.journal.files[one]![range]
        self.journal.overwrite(one, at: range.lowerBound, with: self.journal.files[other]![range])
        self.journal.overwrite(other, at: range.lowerBound, with: bytes)
    }

    private mutating func unwrite(_ block: Int, of file: UInt32) {
        let blank = JournalFormat.blank(blocks: block..<block + 1, identity: self.journal.identity)
        self.journal.overwrite(file, at: block * JournalFormat.blockBytes, with: blank[...])
    }

    /// Two segments, one batch each: an empty one, and all there is.
    private mutating func twoSegments() -> (old: UInt32, new: UInt32) {
        let old = self.journal.lastPlan!.file
        self.journal.beginSegment()
        self.write([self.source.hardState(0)] + self.source.entries(2, bytes: 100))
        return (old, self.journal.lastPlan!.file)
    }

    /// A stale block, and two that changed places: each of the two files shows one block of the newer generation.
    ///
    /// Found by the simulator: the newest batch counted as torn, and the journal as empty, and whole.
    @Test func aBatchWhoseOtherBlockStandsInAnOlderSegmentIsNotTorn() throws {
        var tests = self
        let (old, new) = tests.twoSegments()
        tests.unwrite(1, of: old)
        #expect(tests.model.difference(from: tests.journal.recover()) == nil)
        tests.swap(1, of: old, with: new)
        let recovered = tests.journal.recover()
        #expect(!recovered.hasTornTail && !recovered.isLost && !recovered.damage.isEmpty)
        #expect(tests.model.difference(from: recovered) == nil)
    }

    /// All blocks of the newest batch changed places with older ones: its own place looks as if it had never been written.
    @Test func aBatchOfWhichNothingIsAtHomeIsMissed() throws {
        var tests = self
        let (old, new) = tests.twoSegments()
        let sequence = tests.journal.writer.nextSequence
        tests.write(tests.source.entries(1, bytes: 100))
        let plan = try #require(tests.journal.lastPlan)
        #expect(plan.file == new && plan.offset > 0)
        let first = plan.offset / JournalFormat.blockBytes
        for block in first..<first + plan.bytes.count / JournalFormat.blockBytes {
            tests.swap(block, of: old, with: new)
        }
        let recovered = tests.journal.recover()
        #expect(recovered.isLost)
        let told = recovered.damage.filter { $0.batch == sequence }
        #expect(told.map(\.file) == [old] && told.map(\.block) == [first], "where it stands, not where it is missing")
        #expect(told.first?.isHole == true)
    }

    /// The newest segment was cut short after its first block, and that one changed places with an older segment's: both look
    /// like segments that hold little, and nothing tells of the batch that was cut off.
    ///
    /// Found by the simulator (1560, rot): the log ended before an entry that was durable.
    @Test func aSegmentCutShortThatChangedItsFirstBlockIsMissed() {
        var tests = self
        for _ in 0..<3 { tests.write([tests.source.hardState(0)]) }
        let (old, new) = tests.twoSegments()
        tests.write(tests.source.entries(1, bytes: 100))
        tests.journal.files[new]!.removeSubrange(JournalFormat.blockBytes...)
        #expect(tests.journal.recover().isLost)
        tests.swap(0, of: old, with: new)
        let recovered = tests.journal.recover()
        #expect(recovered.isLost && recovered.damage.contains { $0.isHole })
    }

    /// The newest batch was zeroed, and one of its blocks changed places with an older segment's: that looks like free space
    /// with one bad block, as what is free holds older generations. But that one is at home elsewhere.
    ///
    /// Found by the simulator (2324, any-file): the log ended before an entry that was durable.
    @Test(arguments: [0, 1]) func aZeroedBatchWithAnOlderSegmentsBlockInItIsMissed(swapped: Int) throws {
        var tests = self
        for _ in 0..<3 { tests.write([tests.source.hardState(0)]) }
        let (old, new) = tests.twoSegments()
        tests.write(tests.source.entries(1, bytes: 100))
        let plan = try #require(tests.journal.lastPlan)
        let blocks = plan.bytes.count / JournalFormat.blockBytes
        #expect(plan.file == new && blocks == 2)
        let zeros = [UInt8](repeating: 0, count: plan.bytes.count)
        tests.journal.overwrite(new, at: plan.offset, with: zeros[...])
        #expect(!tests.journal.recover().isWhole)
        tests.swap(plan.offset / JournalFormat.blockBytes + swapped, of: old, with: new)
        let recovered = tests.journal.recover()
        #expect(!recovered.isWhole && recovered.damage.contains { $0.isHole })
    }

    /// 1. A batch is torn in file 1, and written again in file 2.
    /// 2. The next one is torn in file 2, such that its payload is lost: the file is one with bad blocks, and is written
    ///    again no more.
    /// 3. Both become free. Were file 2 deleted at once, the torn batch in file 1 would look like damage.
    ///
    /// Found by the simulator (6705, any-file).
    @Test func aDamagedFileDoesNotGoBeforeTheFilesThatItMakesVoid() throws {
        var tests = self
        func tear(_ block: Int) throws {
            let plan = try #require(tests.journal.lastPlan)
            let range = block * JournalFormat.blockBytes..<(block + 1) * JournalFormat.blockBytes
            tests.journal.overwrite(plan.file, at: plan.offset + range.lowerBound, with: tests.journal.under[range])
        }
        func reopen(_ blocks: Int) throws {
            let torn = tests.source.entries(1, bytes: 100)
            tests.write(torn)
            #expect(try #require(tests.journal.lastPlan).bytes.count == 2 * JournalFormat.blockBytes)
            try tear(blocks)
            #expect(tests.journal.reopen().hasTornTail)
            tests.write(torn)
        }
        tests.write(tests.source.entries(1, bytes: 100))
        let first = try #require(tests.journal.lastPlan).file
        try reopen(1)
        let second = try #require(tests.journal.lastPlan).file
        try reopen(0)
        #expect(tests.journal.recover().damagedFiles == [second] && first != second)
        let mark = tests.source.mark(0, last: true)
        tests.write([try #require(mark)])
        for _ in 0..<60 {
            let recovered = tests.journal.recover()
            #expect(recovered.damage.isEmpty && tests.model.difference(from: recovered) == nil)
            tests.write([tests.source.hardState(0)])
        }
        #expect(tests.journal.files[second] == nil)
    }

    /// A write stopped half-way, and what is there in place of its other block came from another file: whether it was torn,
    /// or hit later, nobody can tell. So it counts as written. (Simulator, 9671: the batch had been cut at the start before.)
    @Test func aTornBatchOverABlockOfAnotherFileCountsAsWritten() throws {
        var tests = self
        tests.write([tests.source.hardState(0)])
        let place = try #require(tests.journal.lastPlan)
        let (old, new) = tests.twoSegments()
        let before = tests.model
        tests.write([tests.source.hardState(0)])
        #expect(tests.journal.lastPlan?.offset == place.offset && place.file == old)
        let first = place.offset / JournalFormat.blockBytes
        tests.unwrite(first, of: new)
        let torn = tests.journal.recover()
        #expect(torn.hasTornTail && before.difference(from: torn) == nil)
        tests.swap(first, of: old, with: new)
        let recovered = tests.journal.recover()
        #expect(!recovered.hasTornTail && !recovered.damage.isEmpty)
        #expect(tests.model.difference(from: recovered) == nil)
    }

    // MARK: Equally many blocks of a generation in two files

    /// The older file by number, or the newer.
    private mutating func renumber(_ file: UInt32, last: Bool) -> UInt32 {
        guard last else { return file }
        self.journal.files[90] = self.journal.files.removeValue(forKey: file)
        return 90
    }

    /// One block each, and the same beneath: the one that has more of that is where it belongs.
    @Test(arguments: [false, true]) func ofTwoThatShowOneBlockTheOlderSegmentIsTheOneWithMoreBeneath(_ last: Bool) {
        var tests = self
        for _ in 0..<3 { tests.write([tests.source.hardState(0)] + tests.source.entries(2, bytes: 100)) }
        let (old, new) = tests.twoSegments()
        tests.swap(1, of: old, with: new)
        let moved = tests.renumber(old, last: last)
        let recovered = tests.journal.recover()
        #expect(!recovered.isLost && recovered.isWhole)
        #expect(recovered.segments.map(\.file) == [moved, new])
        #expect(tests.model.difference(from: recovered) == nil)
    }

    /// Three blocks of the newest segment's only batch stand in another file, and three others alone in its own.
    private mutating func halves(kept: [Int], last: Bool) -> (old: UInt32, new: UInt32) {
        for _ in 0..<3 { self.write([self.source.hardState(0)] + self.source.entries(2, bytes: 100)) }
        let old = self.journal.lastPlan!.file
        self.journal.beginSegment()
        self.write([self.source.hardState(0)] + self.source.entries(6, bytes: 5000))
        let blocks = self.journal.lastPlan!.bytes.count / JournalFormat.blockBytes
        #expect(blocks > 6)
        let new = self.journal.lastPlan!.file
        for block in 3..<6 { self.swap(block, of: old, with: new) }
        let zeros = [UInt8](repeating: 0, count: JournalFormat.blockBytes)
        for block in 0..<blocks where !(3..<6).contains(block) && !kept.contains(block) {
            self.journal.overwrite(new, at: block * JournalFormat.blockBytes, with: zeros[...])
        }
        return (self.renumber(old, last: last), new)
    }

    /// Which is the segment its first block tells.
    @Test(arguments: [false, true]) func ofTwoThatShowManyBlocksTheSegmentHasTheFirst(_ last: Bool) {
        var tests = self
        let (old, new) = tests.halves(kept: [0, 1, 2], last: last)
        let recovered = tests.journal.recover()
        #expect(!recovered.isWhole, "what the other one held is missed")
        let told = recovered.damage.first { $0.text.contains("belong to segment") }
        #expect(told?.file == old && told?.text.hasSuffix("segment \(new)") == true)
    }

    /// Without the first block nobody knows: whatever was promised there counts as lost.
    @Test(arguments: [false, true]) func whereNothingTellsTheDiskIsLost(_ last: Bool) {
        var tests = self
        _ = tests.halves(kept: [1, 2, 6], last: last)
        let recovered = tests.journal.recover()
        #expect(recovered.isLost)
        #expect(recovered.damage.contains { $0.isHole && $0.text.contains("equally many") })
    }
}
