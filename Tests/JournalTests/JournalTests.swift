import Formats
import Glibc
import Journal
import Replication
import Synchronization
import Testing

/// The journal's thread, with real files.
@Suite struct JournalTests {
    private static let segmentBytes = 256 << 10

    private func open(
        _ scratch: Scratch, _ done: Collected<JournalCompletion> = Collected()
    ) throws -> (Journal, RecoveredJournal) {
        try Journal.open(
            directory: scratch.path + "/journal", identity: testIdentity, segmentBytes: Self.segmentBytes,
            completion: { done.add($0) })
    }

    private func tickets(_ items: [JournalCompletion]) -> [UInt64] {
        items.map { if case .durable(let ticket, _) = $0 { ticket } else { 0 } }
    }

    @Test func givesBackWhatWasMadeDurable() throws {
        let scratch = Scratch()
        let done = Collected<JournalCompletion>()
        let (journal, empty) = try self.open(scratch, done)
        #expect(empty.groups.isEmpty && empty.damage.isEmpty)
        let written = entries(1...60, bytes: 9000)
        let state = HardState(term: 3, votedFor: MemberID(node: NodeID(2), incarnation: Incarnation(high: 1, low: 1)))
        journal.submit([.hardState(.default, state)], ticket: 1)
        for entry in written { journal.submit([.entry(entry)], ticket: entry.index + 1) }
        journal.close()
        var tickets: [UInt64] = []
        for item in done.wait(for: 1) { tickets += self.tickets([item]) }
        #expect(tickets == tickets.sorted() && tickets.last == 61, "in order, and all of them")
        #expect(journal.oldestUnfinishedSync.load(ordering: .relaxed) == 0)
        for start in 0..<3 {
            let (again, recovered) = try self.open(scratch)
            again.close()
            #expect(recovered[.default]?.entries == written, "start \(start)")
            #expect(recovered[.default]?.hardState == state)
            #expect(recovered.damage.isEmpty && recovered.isWhole)
        }
        #expect(Files.list(scratch.path + "/journal").count > 2, "several segments")
    }

    /// As a segment it would look as if something were missing there: one that is not as it was made is made again.
    @Test(arguments: [0, 20_000, 200_000]) func aRottenReserveIsMadeAgain(place: Int) throws {
        let scratch = Scratch()
        try self.open(scratch).0.close()
        let good = try scratch.read("journal/reserve")
        try scratch.change("journal/reserve") { $0[place] ^= 1 }
        try self.open(scratch).0.close()
        #expect(try scratch.read("journal/reserve") == good)
        try scratch.change("journal/reserve") { $0.removeSubrange(place...) }
        try self.open(scratch).0.close()
        #expect(try scratch.read("journal/reserve") == good)
    }

    @Test func aSubmissionLargerThanASegment() throws {
        let scratch = Scratch()
        let done = Collected<JournalCompletion>()
        let (journal, _) = try self.open(scratch, done)
        let written = entries(1...40, bytes: 20_000)
        journal.submit(written.map { .entry($0) }, ticket: 9)
        #expect(self.tickets(done.wait(for: 1)) == [9], "told once, when all of it is durable")
        journal.submit([.truncate(.default, after: 39)], ticket: 10)
        #expect(self.tickets(done.wait(for: 2)) == [9, 10])
        journal.close()
        let (again, recovered) = try self.open(scratch)
        again.close()
        #expect(recovered[.default]?.entries == Array(written.dropLast()))
    }

    /// A client's command may be as large as that: the batch has a segment of its own size.
    @Test func anEntryLargerThanASegment() throws {
        let scratch = Scratch()
        let done = Collected<JournalCompletion>()
        let (journal, _) = try self.open(scratch, done)
        let small = entries(1...2, bytes: 1000)
        let written = small + entries(3...5, after: small[1].hash, bytes: 600_000)
        // The files that were used before are too small.
        for (at, entry) in written.enumerated() { journal.submit([.entry(entry)], ticket: UInt64(at) + 1) }
        _ = done.wait(for: 1)
        journal.close()
        for start in 0..<3 {
            let (again, recovered) = try self.open(scratch)
            again.close()
            #expect(recovered[.default]?.entries == written && recovered.damage.isEmpty, "start \(start)")
        }
    }

    /// The setting is smaller at the next start: what is written again may not fit into a segment.
    @Test func theUnprovedBatchIsLargerThanASegment() throws {
        let scratch = Scratch()
        let written = entries(1...3, bytes: 300_000)
        let (journal, _) = try Journal.open(
            directory: scratch.path + "/journal", identity: testIdentity, segmentBytes: 4 << 20, completion: { _ in })
        journal.submit(written.map { .entry($0) }, ticket: 1)
        journal.close()
        for start in 0..<3 {
            let done = Collected<JournalCompletion>()
            let (again, recovered) = try self.open(scratch, done)
            #expect(recovered[.default]?.entries == written && recovered.damage.isEmpty, "start \(start)")
            again.close()
        }
        let (again, _) = try self.open(scratch)
        let rest = entries(4...40, after: written[2].hash, bytes: 20_000)
        again.submit(rest.map { .entry($0) }, ticket: 1)
        again.close()
        let (last, found) = try self.open(scratch)
        last.close()
        #expect(found[.default]?.entries == written + rest && found.damage.isEmpty)
    }

    /// The last batch is written again, in another segment, before anything else.
    @Test func theUnprovedBatchIsWrittenAgain() throws {
        let scratch = Scratch()
        let (journal, _) = try self.open(scratch)
        let written = entries(1...3)
        journal.submit(written.map { .entry($0) }, ticket: 1)
        journal.close()
        let path = scratch.path + "/journal"
        let (before, _) = try Journal.recover(directory: path, identity: testIdentity)
        #expect(before.unproved.count == 3)
        let (again, recovered) = try self.open(scratch)
        again.close()
        #expect(recovered.unproved.isEmpty, "done already")
        let (after, _) = try Journal.recover(directory: path, identity: testIdentity)
        #expect(after.nextGeneration == before.nextGeneration + 1 && after.nextSequence == before.nextSequence)
        // It stands without the segment that it was in first.
        unlink(path + "/00000001.segment")
        let (rest, _) = try Journal.recover(directory: path, identity: testIdentity)
        #expect(rest[.default]?.entries == written && rest.isWhole)
    }

    @Test func startsWithoutWritesTakeNoSpace() throws {
        let scratch = Scratch()
        let (journal, _) = try self.open(scratch)
        journal.submit(entries(1...3).map { .entry($0) }, ticket: 1)
        journal.close()
        for _ in 0..<12 { try self.open(scratch).0.close() }
        #expect(Files.list(scratch.path + "/journal").count <= 6, "the reserve among them")
    }

    @Test func whatIsHalfMadeIsNoSegment() throws {
        let scratch = Scratch()
        let (journal, _) = try self.open(scratch)
        let written = entries(1...2)
        journal.submit(written.map { .entry($0) }, ticket: 1)
        journal.close()
        try scratch.write("journal/00000009.segment.new", [1, 2, 3])
        let (again, recovered) = try self.open(scratch)
        again.close()
        #expect(recovered[.default]?.entries == written && recovered.damage.isEmpty)
        #expect(!Files.list(scratch.path + "/journal").contains("00000009.segment.new"))
    }

    @Test func aDirectoryThatCannotBeListedIsNoEmptyJournal() throws {
        let scratch = Scratch()
        try scratch.write("journal", [1])
        #expect(throws: FileError.self) { try self.open(scratch) }
    }
}
