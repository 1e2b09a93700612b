import Formats
import Replication
import Testing

/// A batch that held a truncation is bad in both copies of its headers.
@Suite struct LostTruncationTests {
    private var journal = MemoryJournal(segmentBlocks: 16)
    private var model = JournalModel()
    private var log: [Entry] = []

    private func entry(_ index: LogIndex, term: Term) -> Entry {
        Entry(
            group: .default, index: index, term: term, time: WallTime(nanoseconds: 1), kind: .commands,
            payload: [UInt8(index), UInt8(term)], previousHash: self.log.last?.hash ?? .zero,
            key: MemoryJournal.identity.hashKey)
    }

    private mutating func append(_ indexes: ClosedRange<LogIndex>, term: Term) -> [JournalRecord] {
        for index in indexes { self.log.append(self.entry(index, term: term)) }
        return self.log.suffix(indexes.count).map { .entry($0) }
    }

    private mutating func write(_ records: [JournalRecord]) {
        self.journal.write(records)
        self.model.apply(records)
    }

    private func mark(_ index: LogIndex) -> JournalRecord {
        let entry = self.log[Int(index) - 1]
        return .snapshot(
            .default,
            SnapshotMark(
                index: index, term: entry.term, hash: entry.hash, time: entry.time,
                membership: Membership(
                    voters: [MemberID(node: NodeID(1), incarnation: Incarnation(high: 1, low: 1))])),
            .confirmed)
    }

    /// Entries 1 to 8 of term 1; a leader of term 2 has 4 to `last` replaced, in a batch that rots; it goes on with one more.
    private mutating func rotten(last: LogIndex) {
        self.write([.hardState(.default, HardState(term: 1, votedFor: nil))] + self.append(1...8, term: 1))
        self.log.removeLast(5)
        self.write(
            [.hardState(.default, HardState(term: 2, votedFor: nil)), .truncate(.default, after: 3)]
                + self.append(4...last, term: 2))
        let bad = self.journal.lastPlan!
        self.write(self.append(last + 1...last + 1, term: 2))
        // As the scrubber has it done.
        self.journal.beginSegment()
        self.write([])
        for block in 0..<bad.bytes.count / JournalFormat.blockBytes {
            let zeros = [UInt8](repeating: 0, count: JournalFormat.blockBytes)
            self.journal.overwrite(bad.file, at: bad.offset + block * JournalFormat.blockBytes, with: zeros[...])
        }
    }

    /// What a start does not know to be gone it does not let go for a record that says what is there now.
    @Test(arguments: [5, 6, 8, 10] as [LogIndex]) func repairsDoNotMendIt(_ last: LogIndex) {
        var tests = self
        tests.rotten(last: last)
        #expect(tests.journal.recover().isLost)
        tests.write(tests.log[3...].map { .repair($0) })
        #expect(tests.journal.recover().isLost)
    }

    @Test(arguments: [5, 6, 8, 10] as [LogIndex]) func aSnapshotThatCoversItDoes(_ last: LogIndex) {
        var tests = self
        tests.rotten(last: last)
        tests.write([tests.mark(last)])
        let recovered = tests.journal.reopen()
        #expect(!recovered.isLost && tests.model.difference(from: recovered) == nil)
        #expect(tests.model.difference(from: tests.journal.recover()) == nil)
    }
}
