import Formats
import Replication
import Testing

/// The rows of the table at `RecoveredJournal`, one by one.
@Suite struct DecisionTableTests {
    /// Three batches of one entry each; which block of which is what.
    private func table() -> (MemoryJournal, [JournalWriter.Plan], JournalModel) {
        var source = RecordSource(seed: 41, identity: MemoryJournal.identity)
        var journal = MemoryJournal(segmentBlocks: 32)
        var model = JournalModel()
        var plans: [JournalWriter.Plan] = []
        for _ in 0..<3 {
            let records = source.entries(1, bytes: 5000)
            journal.write(records)
            model.apply(records)
            plans.append(journal.lastPlan!)
        }
        #expect(plans.allSatisfy { $0.bytes.count == 3 * 4096 })
        return (journal, plans, model)
    }

    private func row(_ journal: MemoryJournal, _ batch: Int) -> BatchVerdict? {
        let recovered = journal.recover(isDetailed: true)
        return recovered.judged.first { $0.batch.sequence == UInt64(batch + 2) }?.row
    }

    private func unwrite(_ journal: inout MemoryJournal, _ plan: JournalWriter.Plan, _ block: Int) {
        let number = plan.offset / 4096 + block
        let blank = JournalFormat.blank(blocks: number..<number + 1, identity: journal.identity)
        journal.overwrite(plan.file, at: number * 4096, with: blank[...])
    }

    private func rot(_ journal: inout MemoryJournal, _ plan: JournalWriter.Plan, _ block: Int, at offset: Int) {
        journal.files[plan.file]![plan.offset + block * 4096 + offset] ^= 0xff
    }

    @Test func rowA() {
        let (journal, _, model) = self.table()
        for batch in 0..<3 { #expect(self.row(journal, batch) == .taken) }
        let recovered = journal.recover()
        #expect(model.difference(from: recovered) == nil && recovered.damage.isEmpty)
        #expect(recovered.unproved.count == 1, "the last is taken, and written again")
    }

    @Test func rowB() {
        var (journal, plans, model) = self.table()
        self.unwrite(&journal, plans[1], 2)
        #expect(self.row(journal, 1) == .takenDamaged)
        let recovered = journal.recover()
        #expect(model.difference(from: recovered) == nil && recovered.isWhole)
        #expect(recovered.damage.count == 1 && !recovered.damage[0].isHole)
    }

    @Test func rowC() {
        for block in 0..<3 {
            var (journal, plans, model) = self.table()
            self.unwrite(&journal, plans[2], block)
            #expect(self.row(journal, 2) == .torn)
            let recovered = journal.recover()
            #expect(recovered.hasTornTail && recovered.damage.isEmpty && recovered.isWhole)
            #expect(recovered[.system]?.entries.count == 2)
            #expect(model.wrongEntry(.system, recovered[.system]!) == nil)
        }
    }

    @Test(arguments: [1, 2]) func rowD(batch: Int) {
        var (journal, plans, _) = self.table()
        self.rot(&journal, plans[batch], 1, at: 100)
        #expect(self.row(journal, batch) == .holes)
        let recovered = journal.recover()
        #expect(recovered[.system]?.holes.map(\.index) == [UInt64(batch + 1)])
        #expect(recovered.damage.map(\.index) == [UInt64(batch + 1)] && recovered.damage[0].isHole)
        #expect(recovered.damage[0].group == .system && !recovered.hasTornTail)
    }

    @Test func rowE() {
        var (journal, plans, _) = self.table()
        self.unwrite(&journal, plans[1], 1)
        #expect(self.row(journal, 1) == .holesUnwritten)
        let recovered = journal.recover()
        #expect(recovered[.system]?.holes.map(\.index) == [2] && !recovered.hasTornTail)
        #expect(recovered.damage.contains { $0.index == 2 && $0.isHole })
    }

    /// A record's header in both copies: the ends that the batch names tell what is missing.
    @Test(arguments: [1, 2]) func rowF(batch: Int) {
        var (journal, plans, model) = self.table()
        for block in [0, 2] { self.rot(&journal, plans[batch], block, at: 250) }
        #expect(self.row(journal, batch) == .headersLost)
        let recovered = journal.reopen()
        #expect(!recovered.isLost && recovered[.system]?.holes.map(\.index) == [UInt64(batch + 1)])
        #expect(model.denied(.system, recovered[.system]!) == nil && !recovered.hasTornTail)
        #expect(recovered.damage.contains { $0.isHole })
        // The last batch is written again, and its hole with it.
        #expect(recovered.unproved.count == 1)
        let again = journal.recover()
        #expect(again.groups == recovered.groups && again.lost == nil)
    }

    @Test func rowG() {
        for hasUnwritten in [false, true] {
            var (journal, plans, model) = self.table()
            self.rot(&journal, plans[1], 0, at: 40)
            self.rot(&journal, plans[1], 2, at: 40)
            if hasUnwritten { self.unwrite(&journal, plans[1], 1) }
            #expect(self.row(journal, 1) == .unreadable)
            let recovered = journal.recover()
            // The third batch names the end, and that there was no vote: what is missing is known to be entry 2.
            let group = recovered[.system]!
            #expect(group.holes.map(\.index) == [2] && !recovered.isLost)
            #expect(model.denied(.system, group) == nil)
            #expect(group.holes[0].hash == group.entries[1].previousHash && group.holes[0].term == 1)
            #expect(!recovered.isWhole && recovered.damage.contains { $0.isHole })
        }
    }

    @Test func rowH() {
        // In both copies: the batch's own header; all that frames them.
        for offset in [40, 4] {
            var (journal, plans, _) = self.table()
            self.rot(&journal, plans[2], 0, at: offset)
            self.rot(&journal, plans[2], 2, at: offset)
            if offset == 4 {
                for block in [0, 2] { self.rot(&journal, plans[2], block, at: 4096 - 20) }
            }
            #expect(self.row(journal, 2) == .unreadableTail, "\(offset)")
            let recovered = journal.recover()
            #expect(recovered.isLost && recovered[.system]?.isEndUncertain == true && !recovered.hasTornTail)
            #expect(recovered.damage.contains { $0.isHole } && recovered.unproved.isEmpty)
            #expect(recovered.nextSequence == 5, "nothing may take its place")
        }
    }

    @Test func everyCaseHasOneRow() {
        var rows: Set<BatchVerdict> = []
        for bits in 0..<32 {
            rows.insert(
                .of(
                    isSummaryGood: bits & 16 == 0, areHeadersGood: bits & 1 == 0, arePayloadsGood: bits & 2 == 0,
                    isLast: bits & 4 == 0,
                    hasUnwritten: bits & 8 == 0))
        }
        #expect(rows == Set(BatchVerdict.allCases))
    }

    /// All blocks of the last batch rotten: a batch stood there, and is not taken for free space.
    @Test func lastBatchGoneAltogether() {
        var (journal, plans, _) = self.table()
        journal.overwrite(
            plans[2].file, at: plans[2].offset, with: [UInt8](repeating: 0, count: plans[2].bytes.count)[...])
        let recovered = journal.recover()
        #expect(recovered.isLost && recovered.damage.contains { $0.isHole } && !recovered.hasTornTail)
    }

    /// Damage below a snapshot is told, and stops nobody.
    @Test func damageBelowASnapshotIsNoHole() {
        var source = RecordSource(seed: 51, identity: MemoryJournal.identity)
        var journal = MemoryJournal(segmentBlocks: 32)
        var model = JournalModel()
        let entries = source.entries(1, bytes: 5000)
        journal.write(entries)
        let plan = journal.lastPlan!
        let rest = source.entries(2) + [source.mark(0, last: true)!] + source.entries(1)
        journal.write(rest)
        model.apply(entries + rest)
        self.rot(&journal, plan, 1, at: 100)
        let recovered = journal.recover()
        #expect(model.difference(from: recovered) == nil && recovered.isWhole)
        #expect(recovered.damage.count == 1 && !recovered.damage[0].isHole)
    }

    /// The members in a snapshot's mark stand in both copies. Bad in both, the mark is lost: the log before it is still
    /// there, or what stood there is a hole.
    @Test(arguments: [true, false]) func rottenMark(keepsLog: Bool) throws {
        var source = RecordSource(seed: 52, identity: MemoryJournal.identity)
        var journal = MemoryJournal(segmentBlocks: 32)
        var model = JournalModel()
        let entries = keepsLog ? source.entries(3) : []
        if keepsLog { journal.write(entries) }
        let mark = keepsLog ? [source.mark(0, last: true)!] : source.install(0)
        journal.write(mark)
        model.apply(entries + mark)
        let plan = journal.lastPlan!
        // The members stand right behind the headers, in both copies: there is no other payload.
        let offset =
            JournalFormat.frameBytes + JournalFormat.batchHeaderBytes + JournalFormat.batchGroupBytes
            + mark.count * JournalFormat.recordHeaderBytes
        for block in 0..<2 {
            var one = journal
            self.rot(&one, plan, block, at: offset + 5)
            let recovered = one.recover()
            #expect(model.difference(from: recovered) == nil && !recovered.damage.isEmpty, "block \(block)")
            #expect(recovered.damage.map(\.block) == [plan.offset / 4096 + block])
        }
        for block in 0..<2 { self.rot(&journal, plan, block, at: offset + 5) }
        let recovered = journal.reopen()
        #expect(recovered.damage.contains { $0.group == .system }, "\(keepsLog)")
        #expect(recovered.lost == nil && recovered[.system]?.snapshot == nil)
        #expect(recovered.isWhole == keepsLog, "the log from its begin on makes up for the mark")
        #expect(recovered[.system]?.entries.count == (keepsLog ? 3 : 0))
        #expect(model.denied(.system, try #require(recovered[.system])) == nil)
        #expect(journal.recover().groups == recovered.groups, "written again")
    }

    @Test func aLogThatDoesNotChainIsTold() {
        var source = RecordSource(seed: 53, identity: MemoryJournal.identity)
        var other = RecordSource(seed: 54, identity: MemoryJournal.identity)
        var journal = MemoryJournal(segmentBlocks: 32)
        journal.write(source.entries(3))
        _ = other.entries(3)
        journal.write(other.entries(1))
        let recovered = journal.recover()
        #expect(recovered[.system]?.entries.count == 3 && recovered.isLost)
        #expect(recovered.damage.contains { $0.index == 4 })
    }
}
