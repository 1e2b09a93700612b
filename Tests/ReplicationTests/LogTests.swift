import Replication
import Testing

@Suite struct LogTests {
    private static func chain(_ terms: [Term], after base: LogIndex = 0, hash: Hash128 = .zero, bytes: Int = 1)
        -> [Entry]
    {
        var previous = hash
        return terms.enumerated().map { offset, term in
            let entry = Entry(
                group: testGroup, index: base + UInt64(offset) + 1, term: term,
                time: WallTime(nanoseconds: UInt64(offset) + 10), kind: .commands, payload: payload(1, count: bytes),
                previousHash: previous, key: testKey)
            previous = entry.hash
            return entry
        }
    }

    private static let mark = SnapshotMark(
        index: 100, term: 7, hash: Hash128(low: 1, high: 2), time: WallTime(nanoseconds: 5),
        membership: Membership(voters: members(1)))

    @Test func anEmptyLogBeginsBeforeTheFirstIndex() {
        let log = Log(base: nil, entries: [])
        #expect(log.firstIndex == 1)
        #expect(log.lastIndex == 0)
        #expect(log.lastTerm == 0)
        #expect(log.lastHash == .zero)
        #expect(log.term(at: 0) == 0)
        #expect(log.hash(at: 0) == .zero)
        #expect(log.term(at: 1) == nil)
    }

    @Test func aLogAfterASnapshotBeginsWithItsMark() {
        let log = Log(base: Self.mark, entries: Self.chain([7, 8], after: 100, hash: Self.mark.hash))
        #expect(log.firstIndex == 101)
        #expect(log.lastIndex == 102)
        #expect(log.lastTerm == 8)
        #expect(log.term(at: 100) == 7)
        #expect(log.hash(at: 100) == Self.mark.hash)
        #expect(log.term(at: 99) == nil)
        #expect(log.hash(at: 103) == nil)
        #expect(log.term(at: .max) == nil)
    }

    @Test func truncationAndCompactionKeepTheByteCount() {
        let entries = Self.chain([1, 1, 2, 2, 3], bytes: 10)
        var log = Log(base: nil, entries: entries)
        #expect(log.byteCount == 50)
        log.truncate(after: 4)
        #expect(log.byteCount == 40)
        #expect(log.lastHash == entries[3].hash)
        log.truncate(after: 9)
        #expect(log.lastIndex == 4)
        log.compact(through: 2)
        #expect(log.byteCount == 20)
        #expect(log.firstIndex == 3)
        #expect(log.baseTerm == 1)
        #expect(log.baseHash == entries[1].hash)
        #expect(log.baseTime == entries[1].time)
        #expect(log.entry(at: 3) == entries[2])
        log.compact(through: 1)
        #expect(log.firstIndex == 3)
        log.compact(through: 4)
        #expect(log.byteCount == 0)
        #expect(log.lastIndex == 4)
        #expect(log.lastTerm == 2)
        #expect(log.lastHash == entries[3].hash)
        log.reset(to: Self.mark)
        #expect(log.lastIndex == 100)
        #expect(log.lastTime == Self.mark.time)
    }

    @Test func backOffFindsTheLastEntryOfATermAtMost() {
        let log = Log(base: nil, entries: Self.chain([1, 1, 3, 3, 5]))
        #expect(log.lastIndex(atOrBelow: 5, withTermAtMost: 5) == 5)
        #expect(log.lastIndex(atOrBelow: 9, withTermAtMost: 4) == 4)
        #expect(log.lastIndex(atOrBelow: 3, withTermAtMost: 9) == 3)
        #expect(log.lastIndex(atOrBelow: 5, withTermAtMost: 2) == 2)
        #expect(log.lastIndex(atOrBelow: 5, withTermAtMost: 0) == 0)
    }

    /// Against a log that is nothing but an array: all answers of both, after any run of operations.
    @Test(arguments: 1...20 as ClosedRange<UInt64>) func agreesWithAPlainArray(seed: UInt64) {
        var random = Random(seed: seed)
        var log = Log(base: nil, entries: [])
        var all: [Entry] = []
        var base: LogIndex = 0
        for _ in 0..<200 {
            switch random.below(4) {
            case 0, 1:
                let entry = Self.chain(
                    [(all.last?.term ?? 1) + random.below(2)], after: UInt64(all.count), hash: all.last?.hash ?? .zero,
                    bytes: Int(random.below(9)))[0]
                all.append(entry)
                log.append(entry)
            case 2:
                let index = base + random.below(UInt64(all.count) - base + 1)
                all.removeLast(all.count - Int(index))
                log.truncate(after: index)
            default:
                guard random.chance(1, in: 4) else { continue }
                base += random.below(UInt64(all.count) - base + 1)
                log.compact(through: base)
            }
            #expect(log.baseIndex == base, "seed \(seed)")
            #expect(log.lastIndex == UInt64(all.count), "seed \(seed)")
            #expect(log.lastHash == all.last?.hash ?? .zero, "seed \(seed)")
            #expect(log.byteCount == all[Int(base)...].reduce(0) { $0 + $1.payload.count }, "seed \(seed)")
            let index = random.below(UInt64(all.count) + 3)
            let expected = index >= base && index <= all.count ? (index == 0 ? .zero : all[Int(index) - 1].hash) : nil
            #expect(log.hash(at: index) == expected, "seed \(seed)")
        }
    }
}
