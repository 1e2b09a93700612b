import Formats
import Replication
import Testing

/// Records that are lost with both copies of their headers, and what stands for them from start to start.
@Suite struct GapTests {
    private struct Log {
        var journal = MemoryJournal(segmentBlocks: 64)
        var entries: [Entry] = []

        mutating func append(_ count: Int, term: Term = 1, bytes: Int = 1) -> [JournalRecord] {
            for _ in 0..<count {
                self.entries.append(
                    Entry(
                        group: .default, index: UInt64(self.entries.count) + 1, term: term,
                        time: WallTime(nanoseconds: 1), kind: .commands, payload: [UInt8](repeating: 7, count: bytes),
                        previousHash: self.entries.last?.hash ?? .zero, key: MemoryJournal.identity.hashKey))
            }
            return self.entries.suffix(count).map { .entry($0) }
        }

        /// Both copies of the headers of these records of the last batch are bad; the batch's own are good.
        mutating func rotHeaders(_ records: Range<Int>) {
            let plan = self.journal.lastPlan!
            let copy = self.journal.scan(plan.file).scan.batches.last!
            let blocks = plan.bytes.count / JournalFormat.blockBytes
            for record in records {
                let at =
                    JournalFormat.batchHeaderBytes + JournalFormat.batchGroupBytes
                    + record * JournalFormat.recordHeaderBytes
                let block = at / JournalFormat.blockPayload
                let offset = JournalFormat.frameBytes + at % JournalFormat.blockPayload
                for start in [0, blocks - Self.copyBlocks(copy)] {
                    self.journal.files[plan.file]![
                        plan.offset + (start + block) * JournalFormat.blockBytes + offset] ^= 0xff
                }
            }
        }

        private static func copyBlocks(_ batch: ScannedBatch) -> Int {
            guard case .records(let records, let ends) = batch.content else { return 0 }
            let bytes =
                JournalFormat.batchHeaderBytes + ends.count * JournalFormat.batchGroupBytes
                + records.count * JournalFormat.recordHeaderBytes
            return (bytes + JournalFormat.blockPayload - 1) / JournalFormat.blockPayload
        }
    }

    /// A start, and two more after it.
    private func restarted(_ log: inout Log) -> [RecoveredJournal] {
        (0..<3).map { _ in log.journal.reopen() }
    }

    @Test(arguments: [0..<1, 1..<2, 2..<3, 0..<2, 1..<3, 0..<3] as [Range<Int>])
    func whatIsLostFromTheLastBatchStaysAHole(_ lost: Range<Int>) throws {
        var log = Log()
        log.journal.write([.hardState(.default, HardState(term: 1, votedFor: nil))] + log.append(5))
        log.journal.write(log.append(3))
        log.rotHeaders(lost)
        let found = self.restarted(&log)
        #expect(found.allSatisfy { $0.lost == nil && $0.groups == found[0].groups })
        let group = try #require(found[0][.default])
        #expect(group.holes.map(\.index) == lost.map { UInt64($0) + 6 })
        #expect(group.end == LogEnd(8, 1))
        log.journal.write(log.entries[5...].map { .repair($0) })
        #expect(log.journal.recover()[.default]?.entries == log.entries && log.journal.recover().isWhole)
    }

    /// What it cut off is gone for good: the ends that the batch names tell it, and are told again.
    @Test func aTruncationThatIsLostFromTheLastBatchIsNotUndone() throws {
        var log = Log()
        log.journal.write([.hardState(.default, HardState(term: 1, votedFor: nil))] + log.append(8))
        log.entries.removeLast(3)
        log.journal.write([.truncate(.default, after: 5)])
        log.rotHeaders(0..<1)
        let found = self.restarted(&log)
        #expect(found.allSatisfy { $0.isWhole && $0.groups == found[0].groups })
        #expect(found[0][.default]?.entries == log.entries)
    }

    /// A batch is durable; the machine dies while it writes the next; then all of the first rots. What there is of the next
    /// tells that the first was acknowledged.
    @Test func aBatchThatIsLostBeforeATornOneIsMissed() throws {
        var log = Log()
        log.journal.write([.hardState(.default, HardState(term: 1, votedFor: nil))] + log.append(5))
        log.journal.write(log.append(1))
        let lost = log.journal.lastPlan!
        let sequence = log.journal.scan(lost.file).scan.batches.last!.sequence
        log.journal.write(log.append(1))
        let torn = log.journal.lastPlan!
        log.journal.overwrite(
            torn.file, at: torn.offset + JournalFormat.blockBytes, with: log.journal.under[JournalFormat.blockBytes...])
        let before = log.journal.recover()
        #expect(before.hasTornTail && before.isWhole && before[.default]?.end.index == 6)
        log.journal.overwrite(lost.file, at: lost.offset, with: [UInt8](repeating: 0, count: lost.bytes.count)[...])
        let after = log.journal.recover()
        #expect(after.isLost && after.damage.contains { $0.text == "before it batch \(sequence) is missing" })
    }

    /// However much is missing, it is one record that says so.
    @Test func aBatchWithManyHolesIsNoLargerThanItWas() throws {
        var log = Log()
        log.journal = MemoryJournal(segmentBlocks: 1024)
        log.journal.write([.hardState(.default, HardState(term: 1, votedFor: nil))] + log.append(5))
        log.journal.write(log.append(3000))
        log.rotHeaders(0..<3000)
        let recovered = log.journal.recover()
        #expect(recovered[.default]?.holes.count == 3000 && !recovered.isLost)
        #expect(recovered.unproved.count == 1)
        let found = self.restarted(&log)
        #expect(found.allSatisfy { $0.groups == recovered.groups })
        #expect(log.journal.lastPlan!.bytes.count == 2 * JournalFormat.blockBytes)
    }

    /// Repairs of a long gap, in any order. Where each took time that grows with the gap it would take minutes.
    @Test func aLongGapIsClosed() throws {
        var log = Log()
        log.journal = MemoryJournal(segmentBlocks: 16_384)
        log.journal.write([.hardState(.default, HardState(term: 1, votedFor: nil))] + log.append(5))
        log.journal.write(log.append(60_000))
        let plan = log.journal.lastPlan!
        log.journal.write(log.append(1))
        for block in 0..<plan.bytes.count / JournalFormat.blockBytes {
            let zeros = [UInt8](repeating: 0, count: JournalFormat.blockBytes)
            log.journal.overwrite(plan.file, at: plan.offset + block * JournalFormat.blockBytes, with: zeros[...])
        }
        #expect(log.journal.recover()[.default]?.holes.count == 60_000)
        var random = Random(seed: 1)
        let repairs = log.entries[5..<60_005].shuffled(using: &random)
        for at in stride(from: 0, to: repairs.count, by: 1000) {
            log.journal.write(repairs[at..<at + 1000].map { .repair($0) })
        }
        let recovered = log.journal.recover()
        #expect(recovered.isWhole && recovered[.default]?.entries == log.entries)
    }
}
