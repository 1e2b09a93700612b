import Formats
import Replication
import Testing

/// What a scrubber sees of a segment while the journal goes on.
@Suite struct SegmentCheckTests {
    private func journal(_ seed: UInt64) -> MemoryJournal {
        var source = RecordSource(seed: seed, identity: MemoryJournal.identity)
        var journal = MemoryJournal(segmentBlocks: 24)
        for step in 0..<18 {
            var records = source.batch() + source.entries(1, group: step % 2)
            if step % 5 == 4, let mark = source.mark(step % 2) { records.append(mark) }
            if step % 7 == 6 {
                journal.writeAfterFailure(records, reaching: step * 1000)
            } else {
                journal.write(records)
            }
        }
        return journal
    }

    private func rot(_ journal: MemoryJournal, _ extent: SegmentExtent) -> [JournalRot] {
        journal.files[extent.file]!.withUnsafeBytes {
            SegmentCheck(
                $0, identity: journal.identity, generation: extent.generation, durableBlocks: extent.durableBlocks
            ).rot
        }
    }

    @Test(arguments: 1...6) func nothingIsFoundWhereNothingIsBad(seed: UInt64) {
        var journal = self.journal(seed)
        #expect(!journal.writer.extents(isWriting: false).isEmpty)
        for extent in journal.writer.extents(isWriting: false) {
            #expect(self.rot(journal, extent).isEmpty, "\(extent)")
        }
        // After a start too, torn or not, and again and again.
        for _ in 0..<3 {
            journal.reopen()
            for extent in journal.writer.extents(isWriting: false) {
                #expect(self.rot(journal, extent).isEmpty, "\(extent)")
            }
        }
    }

    /// What is being written counts for nothing yet, and what is behind it may be anything.
    @Test func onlyWhatIsDurableIsLookedAt() {
        var journal = self.journal(3)
        let before = journal.writer.extents(isWriting: false)
        var source = RecordSource(seed: 4, identity: MemoryJournal.identity)
        journal.write(source.batch())
        let writing = journal.writer.extents(isWriting: true)
        for extent in writing {
            let known = before.first { $0.file == extent.file && $0.generation == extent.generation }
            #expect(extent.durableBlocks == known?.durableBlocks ?? 0)
            #expect(self.rot(journal, extent).isEmpty)
        }
    }

    @Test(arguments: 1...4) func everySectorFlippedZeroedOrCutIsFound(seed: UInt64) {
        let whole = self.journal(seed)
        var random = Random(seed: seed)
        var named = 0
        for extent in whole.writer.extents(isWriting: false) {
            let bytes = whole.files[extent.file]!
            for sector in 0..<extent.durableBlocks * 8 {
                let range = sector * 512..<(sector + 1) * 512
                for kind in 0..<2 {
                    var journal = whole
                    var new = Array(bytes[range])
                    if kind == 0 { new[Int(random.below(512))] ^= 1 << UInt8(random.below(8)) }
                    if kind == 1 { new = [UInt8](repeating: 0, count: 512) }
                    journal.overwrite(extent.file, at: range.lowerBound, with: new[...])
                    let found = self.rot(journal, extent)
                    #expect(
                        found.isEmpty == (new == Array(bytes[range])),
                        "seed \(seed), file \(extent.file), sector \(sector), kind \(kind)")
                    if found.contains(where: { !($0.ranges ?? []).isEmpty }) { named += 1 }
                }
                guard sector % 8 == 0 else { continue }
                var journal = whole
                journal.files[extent.file]!.removeSubrange(range.lowerBound...)
                #expect(!self.rot(journal, extent).isEmpty, "cut at \(range.lowerBound)")
            }
        }
        #expect(named > 0)
    }

    /// A file that was used again in the meantime is another segment: nothing of it is the one that was listed.
    @Test func anotherGenerationIsFound() {
        let journal = self.journal(2)
        var extent = journal.writer.extents(isWriting: false)[0]
        extent.generation += 100
        #expect(!self.rot(journal, extent).isEmpty)
    }
}
