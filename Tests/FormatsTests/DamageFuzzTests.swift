import Formats
import Replication
import Testing

/// Anything goes wrong on the disk.
@Suite struct DamageFuzzTests {
    @Test(arguments: 0..<60) func anyBytesAreReadWithoutATrap(seed: UInt64) {
        var random = Random(seed: seed)
        var journal = DamageCase(seed: 1).journal
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
                                membership: Membership(voters: [])), .own))
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
        let whole = DamageCase(seed: seed)
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
