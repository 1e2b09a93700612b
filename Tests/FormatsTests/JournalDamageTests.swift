import Formats
import Replication
import Testing

/// One thing goes wrong on the disk at a time, everywhere it can: nothing wrong is taken, nothing acknowledged is cut in
/// silence.
@Suite struct JournalDamageTests {
    @Test(arguments: 1...6) func everySectorFlippedAndZeroed(seed: UInt64) {
        let whole = DamageCase(seed: seed)
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
        let whole = DamageCase(seed: seed)
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
        let whole = DamageCase(seed: seed)
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
}
