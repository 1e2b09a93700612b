import Formats
import Replication
import Testing

/// One thing goes wrong on the disk at a time, everywhere it can: nothing wrong is taken, nothing acknowledged is cut in
/// silence.
@Suite struct JournalDamageTests {
    private struct Case {
        var journal: MemoryJournal
        var model: JournalModel
        /// The state without the last batch.
        var before: JournalModel
        var scans: [(file: UInt32, scan: SegmentScan)]

        init(seed: UInt64) {
            var source = RecordSource(seed: seed, identity: MemoryJournal.identity)
            self.journal = MemoryJournal(segmentBlocks: 16)
            self.model = JournalModel()
            self.before = self.model
            for step in 0..<18 {
                var records = source.batch() + source.entries(1, group: step % 2)
                if step % 5 == 4, let mark = source.mark(step % 2) { records.append(mark) }
                self.before = self.model
                self.journal.write(records)
                self.model.apply(records)
            }
            self.scans = self.journal.scans()
        }

        func recover(_ changed: [UInt32], _ journal: MemoryJournal) -> RecoveredJournal {
            RecoveredJournal(self.scans.map { changed.contains($0.file) ? journal.scan($0.file) : $0 })
        }

        /// What must hold whatever happened to the disk; nil where it does.
        func problem(_ recovered: RecoveredJournal) -> String? {
            guard !recovered.isLost else {
                return recovered.damage.contains { $0.isHole } ? nil : "lost, and no damage told"
            }
            for id in Set(self.model.groups.keys).union(recovered.groups.map(\.group)).sorted() {
                let group = recovered[id] ?? RecoveredGroup(group: id)
                if let denied = self.model.denied(id, group) { return denied }
                for hole in group.holes.map(\.index)
                where !recovered.damage.contains(where: {
                    $0.isHole && $0.group ?? id == id && $0.index ?? 0 <= hole
                }) {
                    return "hole \(hole) of \(id) is not told: \(recovered.damage)"
                }
            }
            // A mark that is lost leaves the one before it, and the log since: nothing is denied, and damage is told.
            let isMarkLost =
                !recovered.damage.isEmpty
                && self.model.groups.contains { $1.snapshot?.index ?? 0 > recovered[$0]?.snapshot?.index ?? 0 }
            if recovered.isWhole, !isMarkLost {
                if let difference = self.model.difference(from: recovered) { return "silent: \(difference)" }
            } else if !recovered.isWhole, !recovered.damage.contains(where: { $0.isHole }) {
                return "not whole, and no damage told"
            }
            return nil
        }

        /// Blocks that hold a batch, by file.
        var used: [(file: UInt32, block: Int)] {
            self.scans.flatMap { file, scan in
                scan.batches.flatMap { batch in
                    (batch.firstBlock..<batch.firstBlock + batch.blockCount).map { (file, $0) }
                }
            }
        }
    }

    @Test(arguments: 1...6) func everySectorFlippedAndZeroed(seed: UInt64) {
        let whole = Case(seed: seed)
        #expect(whole.problem(whole.recover([], whole.journal)) == nil && whole.journal.files.count > 1)
        var random = Random(seed: seed)
        var holes = 0
        var journal = whole.journal
        for (file, bytes) in whole.journal.files.sorted(by: { $0.key < $1.key }) {
            for sector in 0..<bytes.count / 512 {
                let range = sector * 512..<(sector + 1) * 512
                let isUsed = whole.used.contains { $0 == (file, sector / 8) }
                for kind in 0..<3 {
                    var new = Array(bytes[range])
                    switch kind {
                    case 0: new[Int(random.below(512))] ^= 1 << UInt8(random.below(8))
                    case 1: new = [UInt8](repeating: 0, count: 512)
                    default: new = new.map { _ in UInt8(truncatingIfNeeded: random.next()) }
                    }
                    journal.overwrite(file, at: range.lowerBound, with: new[...])
                    let recovered = whole.recover([file], journal)
                    let name = "seed \(seed), file \(file), sector \(sector), kind \(kind)"
                    #expect(whole.problem(recovered) == nil, "\(name)")
                    for (id, group) in whole.model.groups {
                        #expect(recovered[id]?.hardState == group.hardState, "one copy of two is bad: \(name)")
                    }
                    if isUsed, new != Array(bytes[range]) { #expect(!recovered.damage.isEmpty, "\(name)") }
                    #expect(!recovered.isLost, "one bad sector: \(name): \(recovered.lost ?? "")")
                    if !recovered.isWhole { holes += 1 }
                    journal.overwrite(file, at: range.lowerBound, with: bytes[range])
                }
            }
        }
        #expect(holes > 0, "some of it must hit payloads")
    }

    @Test(arguments: 1...3) func everyBlockZeroedOrSwapped(seed: UInt64) {
        let whole = Case(seed: seed)
        var random = Random(seed: seed)
        var journal = whole.journal
        let files = whole.journal.files.keys.sorted()
        func block(_ file: UInt32, _ at: Int) -> ArraySlice<UInt8> {
            whole.journal.files[file]![at * 4096..<(at + 1) * 4096]
        }
        for file in files {
            for at in 0..<16 {
                journal.overwrite(file, at: at * 4096, with: [UInt8](repeating: 0, count: 4096)[...])
                let zeroed = whole.recover([file], journal)
                #expect(!zeroed.isLost, "one bad block: seed \(seed), file \(file), block \(at): \(zeroed.lost ?? "")")
                #expect(whole.problem(zeroed) == nil, "seed \(seed), file \(file), block \(at) zeroed")
                journal.overwrite(file, at: at * 4096, with: block(file, at))

                // With any block of its own file, the same one of another, and any of another.
                let other = files[Int(random.below(UInt64(files.count)))]
                for (with, place) in [(file, Int(random.below(16))), (other, at), (other, Int(random.below(16)))] {
                    journal.overwrite(file, at: at * 4096, with: block(with, place))
                    journal.overwrite(with, at: place * 4096, with: block(file, at))
                    let swapped = whole.recover([file, with], journal)
                    #expect(
                        whole.problem(swapped) == nil,
                        "seed \(seed), file \(file), block \(at), swapped with \(with), \(place)")
                    journal.overwrite(file, at: at * 4096, with: block(file, at))
                    journal.overwrite(with, at: place * 4096, with: block(with, place))

                    // Written to the wrong place, where something else stood.
                    journal.overwrite(with, at: place * 4096, with: block(file, at))
                    let misdirected = whole.recover([with], journal)
                    #expect(
                        whole.problem(misdirected) == nil,
                        "seed \(seed), file \(file), block \(at), written to \(with), \(place)")
                    journal.overwrite(with, at: place * 4096, with: block(with, place))
                }
            }
        }
    }

    @Test(arguments: 1...4) func filesLostCutShortAndForeign(seed: UInt64) {
        let whole = Case(seed: seed)
        let live = whole.scans.filter { $0.scan.generation > 0 }.sorted { $0.scan.generation < $1.scan.generation }
        for (at, (file, _)) in live.enumerated() {
            // The whole file unreadable, in several ways.
            for filler in [[UInt8](repeating: 0, count: 65536), [UInt8](repeating: 0xa5, count: 65536), []] {
                var journal = whole.journal
                journal.files[file] = filler
                #expect(whole.problem(journal.recover()) == nil, "seed \(seed), file \(file)")
            }
            // Another journal's file in its place.
            var foreign = MemoryJournal(
                segmentBlocks: 16,
                identity: JournalIdentity(
                    cluster: ClusterID(high: 9, low: 9), node: NodeID(2), incarnation: Incarnation(high: 3, low: 4)))
            foreign.write([.truncate(.system, after: 0)])
            var journal = whole.journal
            journal.files[file] = foreign.files.values.first!
            #expect(whole.problem(journal.recover()) == nil, "seed \(seed), file \(file)")
            // Away: known wherever a later segment tells.
            if at + 1 < live.count {
                journal = whole.journal
                journal.files[file] = nil
                #expect(whole.problem(journal.recover()) == nil, "seed \(seed), file \(file)")
            }
            // Cut short at each block.
            for blocks in 1..<16 {
                journal = whole.journal
                journal.files[file] = Array(whole.journal.files[file]!.prefix(blocks * 4096))
                let recovered = journal.recover()
                #expect(whole.problem(recovered) == nil, "seed \(seed), file \(file), \(blocks) blocks")
                #expect(!recovered.damage.isEmpty, "seed \(seed), file \(file), \(blocks) blocks")
            }
            // A second copy of the file under another number.
            journal = whole.journal
            journal.files[77] = whole.journal.files[file]
            #expect(whole.problem(journal.recover()) == nil, "seed \(seed), file \(file) twice")
        }
    }

    /// Both copies of a hard state rotten: its term is uncertain, and not an old one, until something repeats it.
    @Test func hardStateCopies() throws {
        var source = RecordSource(seed: 31, identity: MemoryJournal.identity)
        var journal = MemoryJournal(segmentBlocks: 16)
        var model = JournalModel()
        func add(_ records: [JournalRecord]) -> JournalWriter.Plan {
            journal.write(records)
            model.apply(records)
            return journal.lastPlan!
        }
        _ = add(source.entries(1, bytes: 10) + [source.hardState(0)])
        let vote = add([source.hardState(0)])
        _ = add(source.entries(1, bytes: 10))
        // One group in the journal: the record's header stands after the batch's and one group's.
        let record =
            vote.offset + JournalFormat.frameBytes + JournalFormat.batchHeaderBytes + JournalFormat.batchGroupBytes
        for byte in 0..<JournalFormat.recordHeaderBytes {
            for copies in [[0], [1], [0, 1]] {
                var rotten = journal
                for copy in copies { rotten.files[vote.file]![record + copy * 4096 + byte] ^= 0x10 }
                let recovered = rotten.recover()
                if copies.count == 1 {
                    #expect(model.difference(from: recovered) == nil && recovered.isWhole, "byte \(byte)")
                    #expect(recovered.damage.map(\.block) == [vote.offset / 4096 + copies[0]], "byte \(byte)")
                    #expect(!recovered.damage.contains { $0.isHole })
                } else {
                    // The batch after it names the state's term and that it has a vote, and they are not those of the one before.
                    let group = try #require(recovered[.system])
                    #expect(group.isVoteUncertain && !group.isEndUncertain && recovered.isLost, "byte \(byte)")
                    #expect(recovered.damage.contains { $0.isHole })
                }
            }
        }
        // The next segment's table repeats it.
        while journal.lastPlan!.offset > 0 { _ = add(source.entries(1, bytes: 3000)) }
        for copy in 0..<2 { journal.files[vote.file]![record + copy * 4096] ^= 0x10 }
        let recovered = journal.recover()
        #expect(model.difference(from: recovered) == nil && recovered.isWhole)
        #expect(!recovered.damage.isEmpty)
    }

    // MARK: The decision table

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

    // MARK: Fuzz

    @Test(arguments: 0..<60) func anyBytesAreReadWithoutATrap(seed: UInt64) {
        var random = Random(seed: seed)
        var journal = Case(seed: 1).journal
        let files = journal.files.keys.sorted()
        for _ in 0..<1 + random.below(60) {
            let file = files[Int(random.below(UInt64(files.count)))]
            let at = Int(random.below(65536 - 8))
            let bytes = (0..<1 + random.below(8)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            journal.overwrite(file, at: at, with: bytes[...])
        }
        let recovered = journal.recover(isDetailed: true)
        _ = JournalWriter(identity: journal.identity, segmentBytes: journal.segmentBytes, recovered: recovered)
        var noise = RecordSource(seed: seed, identity: journal.identity)
        journal.files[1] = noise.bytes(Int(random.below(70_000)))
        _ = journal.recover()
    }

    /// Records that check, and say what no writer says.
    @Test(arguments: 0..<60) func forgedRecordsAreReadWithoutATrap(seed: UInt64) {
        var random = Random(seed: seed)
        var encoder = BatchEncoder()
        var bytes: [UInt8] = []
        func number() -> UInt64 {
            [0, 1, 2, 3, UInt64.max, UInt64.max - 1, 1 << 63, random.next()][Int(random.below(8))]
        }
        for sequence in [number(), number(), number()] {
            let group = GroupID(rawValue: random.below(2))
            var records: [JournalRecord] = []
            for _ in 0..<random.below(6) {
                func entry() -> Entry {
                    Entry(
                        group: group, index: number(), term: number(), time: WallTime(nanoseconds: number()),
                        kind: .empty, payload: [], previousHash: .zero, key: MemoryJournal.identity.hashKey)
                }
                switch random.below(7) {
                case 4: records.append(.repair(entry()))
                case 5: records.append(.hole(group, Hole(index: number(), term: number())))
                case 0: records.append(.truncate(group, after: number()))
                case 1: records.append(.hardState(group, HardState(term: number(), votedFor: nil)))
                case 2:
                    records.append(
                        .snapshot(
                            group,
                            SnapshotMark(
                                index: number(), term: number(), hash: .zero, time: WallTime(nanoseconds: number()),
                                membership: Membership(voters: []))))
                case 3: records.append(.end(group, index: number(), term: number()))
                default:
                    records.append(.entry(entry()))
                }
            }
            encoder.encode(
                records,
                ends: [
                    .init(
                        group: group, before: LogEnd(number(), number()), after: LogEnd(number(), number()),
                        stamp: HardStateStamp(rawValue: number()))
                ],
                identity: MemoryJournal.identity, generation: [1, UInt64.max][Int(random.below(2))], sequence: sequence,
                firstBlock: bytes.count / 4096, segmentBlocks: Int(random.below(1 << 20)), into: &bytes)
        }
        let scan = bytes.withUnsafeBytes { SegmentScan($0, identity: MemoryJournal.identity) }
        _ = RecoveredJournal([(1, scan)], isDetailed: true)
    }

    /// Up to four things go wrong at once, whatever they are: what was acknowledged is there, or is a hole with what is known
    /// of it, or the disk is lost. What a start writes after that keeps it so, and repairs make it whole.
    @Test(arguments: 1...60) func anyDamage(seed: UInt64) throws {
        var random = Random(seed: seed &* 77)
        let whole = Case(seed: seed)
        let before = whole.recover([], whole.journal)
        let files = whole.journal.files.keys.sorted()
        let used = whole.used
        var outcomes = (lost: 0, holes: 0, healed: 0)
        for trial in 0..<60 {
            var journal = whole.journal
            var looksUnwritten = false
            var isOne = true
            var story: [String] = []
            for count in 0...random.below(random.chance(1, in: 2) ? 1 : 4) {
                isOne = isOne && count == 0
                var (file, block) = used[Int(random.below(UInt64(used.count)))]
                if random.chance(1, in: 4) {
                    (file, block) = (files[Int(random.below(UInt64(files.count)))], Int(random.below(16)))
                }
                let other = (
                    file: files[Int(random.below(UInt64(files.count)))],
                    block: random.chance(1, in: 2) ? block : Int(random.below(16))
                )
                func content(_ file: UInt32, _ block: Int) -> [UInt8] {
                    let bytes = journal.files[file]!
                    return (block + 1) * 4096 <= bytes.count ? Array(bytes[block * 4096..<(block + 1) * 4096]) : []
                }
                func put(_ bytes: [UInt8], _ file: UInt32, _ block: Int) {
                    guard (block + 1) * 4096 <= journal.files[file]!.count else { return }
                    journal.overwrite(file, at: block * 4096, with: bytes[...])
                }
                let kind = random.below(8)
                story.append("\(kind) at \(file).\(block), \(other.file).\(other.block)")
                switch kind {
                case 0:
                    let byte = block * 4096 + Int(random.below(4096))
                    if byte < journal.files[file]!.count { journal.files[file]![byte] ^= 1 << UInt8(random.below(8)) }
                case 1:
                    var bytes = content(file, block)
                    let sector = Int(random.below(8)) * 512
                    if !bytes.isEmpty { for at in sector..<sector + 512 { bytes[at] = 0 } }
                    put(bytes, file, block)
                case 2: put([UInt8](repeating: 0, count: 4096), file, block)
                case 3:
                    let (one, two) = (content(file, block), content(other.file, other.block))
                    put(two, file, block)
                    put(one, other.file, other.block)
                    isOne = false
                    looksUnwritten = true
                case 4:
                    put(content(other.file, other.block), file, block)
                    looksUnwritten = true
                case 5:
                    put(JournalFormat.blank(blocks: block..<block + 1, identity: journal.identity), file, block)
                    looksUnwritten = true
                case 6:
                    journal.files[file]!.removeSubrange(min(block * 4096, journal.files[file]!.count)...)
                    isOne = false
                default:
                    for at in block..<min(16, block + 3) { put([UInt8](repeating: 0xff, count: 4096), file, at) }
                    isOne = false
                }
            }
            let recovered = journal.recover()
            let name = "seed \(seed), trial \(trial): \(story.joined(separator: "; "))"
            // A write that its disk lost cannot be told from one that was never made.
            if looksUnwritten, recovered.hasTornTail || recovered.nextSequence < before.nextSequence { continue }
            #expect(whole.problem(recovered) == nil, "\(name)")
            guard !recovered.isLost else {
                outcomes.lost += 1
                #expect(!isOne, "one bad block: \(name)")
                continue
            }
            outcomes.holes += recovered.isWhole ? 0 : 1
            journal.reopen()
            let second = journal.recover()
            #expect(whole.problem(second) == nil && second.groups == recovered.groups, "\(name), at the next start")
            var repairs: [JournalRecord] = []
            var isKnown = true
            for group in second.groups {
                for hole in group.holes {
                    // What an installed snapshot covered the model does not have.
                    if let entry = whole.model.groups[group.group]?.entries[hole.index],
                        hole.matches(entry) || hole.hash == nil
                    {
                        repairs.append(.repair(entry))
                    } else {
                        isKnown = false
                    }
                }
            }
            guard isKnown, !repairs.isEmpty else { continue }
            journal.write(repairs)
            let third = journal.reopen()
            // A segment whose begin is unreadable, and of which nothing is needed any more, may have held a newer batch.
            guard !third.isLost else { continue }
            #expect(third.groups.allSatisfy { $0.holes.isEmpty }, "\(name), repaired: \(third.damage)")
            for group in third.groups { #expect(whole.model.denied(group.group, group) == nil, "\(name), repaired") }
            outcomes.healed += 1
        }
        #expect(outcomes.lost + outcomes.healed > 0, "the damages are there, seed \(seed): \(outcomes)")
    }
}
