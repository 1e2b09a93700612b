import Formats
import Replication
import Testing

/// Rebuilding a snapshot's file from what is good in it and from peers' files.
@Suite struct SnapshotRepairTests {
    private static func mark(_ index: LogIndex) -> SnapshotMark {
        SnapshotMark(
            index: index, term: 3, hash: Hash128(low: index, high: 5), time: WallTime(nanoseconds: 77),
            membership: Membership(voters: [MemberID(node: NodeID(1), incarnation: Incarnation(high: 1, low: 2))]))
    }

    private static func file(_ index: LogIndex, sizes: [Int] = [9, 120, 64, 1, 33]) -> [UInt8] {
        let header = SnapshotFormat.header(Self.mark(index))
        var framing = SnapshotFraming(header: header)
        var out = header
        for (at, size) in sizes.enumerated() {
            out += framing.frame((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ at &+ Int(index)) })
        }
        return out + framing.footer
    }

    private struct Stuck: Error {}

    /// Rebuilds `bad` with what `peers` have, `stretch` bytes at a time; each is asked in turn for a frame.
    private func rebuild(
        _ bad: [UInt8], of index: LogIndex, from peers: [[UInt8]], stretch: Int = 50, usesOld: Bool = true
    ) throws -> (file: [UInt8], repaired: Int) {
        var repair = SnapshotRepair(Self.mark(index), usesOld: usesOld)
        var out: [UInt8] = []
        var (peer, stuckAt) = (0, UInt64.max)
        var asked = UInt64.max
        func slice(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> [UInt8] {
            offset < bytes.count ? Array(bytes[offset..<min(bytes.count, offset + count)]) : []
        }
        for _ in 0..<10_000 {
            switch repair.next(old: { slice(bad, $0, $1) }) {
            case .append(let bytes):
                out += bytes
                #expect(repair.offset == out.count)
            case .need(let frame, var offset):
                if frame != stuckAt { (peer, stuckAt, asked) = (0, frame, .max) }
                if asked != .max, offset <= asked || slice(peers[peer], Int(offset), stretch).isEmpty {
                    peer += 1
                    offset = frame
                }
                guard peer < peers.count else { throw Stuck() }
                asked = offset
                repair.add(slice(peers[peer], Int(offset), stretch), at: offset)
            case .whole:
                return (out, repair.repaired)
            }
        }
        throw Stuck()
    }

    @Test func aGoodFileNeedsNothing() throws {
        let good = Self.file(7)
        let rebuilt = try self.rebuild(good, of: 7, from: [])
        #expect(rebuilt.file == good && rebuilt.repaired == 0)
        #expect(try SnapshotFormat.read(good).mark == Self.mark(7))
    }

    @Test func anyFlippedByteIsFoundAndHealed() throws {
        let good = Self.file(7)
        for at in good.indices {
            var bad = good
            bad[at] ^= 1 << UInt8(at % 8)
            #expect(throws: (any Error).self) { try SnapshotFormat.read(bad) }
            let rebuilt = try self.rebuild(bad, of: 7, from: [good])
            #expect(rebuilt.file == good, "byte \(at)")
            #expect(rebuilt.repaired > 0 && rebuilt.repaired < good.count, "byte \(at)")
        }
    }

    @Test func anyCutIsHealed() throws {
        let good = Self.file(7)
        for count in 0..<good.count {
            #expect(throws: (any Error).self) { try SnapshotFormat.read(Array(good[..<count])) }
            #expect(try self.rebuild(Array(good[..<count]), of: 7, from: [good]).file == good, "\(count) bytes left")
        }
    }

    @Test func bytesAfterTheEndAreLeftOut() throws {
        let good = Self.file(7)
        #expect(throws: (any Error).self) { try SnapshotFormat.read(good + [0]) }
        #expect(try self.rebuild(good + [0, 1, 2], of: 7, from: []).file == good)
    }

    /// Frames of another snapshot, or of another place in this one, check nowhere but where they belong.
    @Test func misplacedBytesAreHealed() throws {
        let (good, older) = (Self.file(7), Self.file(6))
        #expect(good.count == older.count)
        #expect(try self.rebuild(older, of: 7, from: [good]).file == good, "a whole stale file")
        let header = SnapshotFormat.header(Self.mark(7)).count
        #expect(try self.rebuild(Array(good[..<header] + older[header...]), of: 7, from: [good]).file == good)
        for start in stride(from: 0, to: good.count - 64, by: 16) {
            var bad = good
            bad.replaceSubrange(start..<start + 64, with: older[start..<start + 64])
            #expect(try self.rebuild(bad, of: 7, from: [good]).file == good, "stale at \(start)")
        }
        let even = Self.file(8, sizes: [40, 40, 40])
        let first = SnapshotFormat.header(Self.mark(8)).count
        var swapped = even
        for at in 0..<48 { swapped.swapAt(first + at, first + 48 + at) }
        #expect(throws: (any Error).self) { try SnapshotFormat.read(swapped) }
        #expect(try self.rebuild(swapped, of: 8, from: [even]).file == even)
    }

    /// Damage of disjoint frames on all nodes: each has what the others lack.
    @Test func peersThatAreBadElsewhereHelp() throws {
        let good = Self.file(7, sizes: [100, 100, 100, 100])
        let first = SnapshotFormat.header(Self.mark(7)).count
        func bad(_ frames: Int...) -> [UInt8] {
            var bytes = good
            for frame in frames { bytes[first + frame * 108 + 50] ^= 4 }
            return bytes
        }
        #expect(try self.rebuild(bad(0, 1), of: 7, from: [bad(1, 2), bad(2, 0)]).file == good)
        #expect(throws: Stuck.self) { try self.rebuild(bad(0), of: 7, from: [bad(0), bad(0, 1)]) }
        #expect(throws: Stuck.self) { try self.rebuild(bad(2), of: 7, from: [Self.file(6), []]) }
    }

    /// Whatever bytes come, there is an end, and what is called whole is the file.
    @Test func hostileBytes() throws {
        var random = Random(seed: 5)
        let good = Self.file(7)
        for _ in 0..<300 {
            let peer = (0..<Int(random.below(400))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            var old = good
            for _ in 0..<random.below(4) { old[Int(random.below(UInt64(old.count)))] = UInt8(random.below(256)) }
            if let rebuilt = try? self.rebuild(old, of: 7, from: [peer]) { #expect(rebuilt.file == good) }
            #expect(try self.rebuild(old, of: 7, from: [peer, good]).file == good)
        }
    }

    @Test func filesOfVersionOneAreRead() throws {
        var header = SnapshotFormat.header(Self.mark(7))
        header[4] = 1
        header.removeLast(4)
        header.append(littleEndian: CRC32C.of(header[...]))
        var framing = SnapshotFraming(header: header, version: 1)
        let bytes = header + framing.frame([1, 2, 3]) + framing.footer
        #expect(try SnapshotFormat.read(bytes).blocks == [[1, 2, 3]])
    }
}
