import Formats
import Glibc
import Journal
import Replication
import Testing

@Suite struct JournalReportTests {
    /// A node's directory with a journal of some entries, and a snapshot where asked for.
    private func node(_ scratch: Scratch, hasSnapshot: Bool = false) throws -> String {
        let path = scratch.path + "/1"
        let directory = try DataDirectory(path: path, node: NodeID(1), seed: testSeed())
        let (journal, _) = try Journal.open(
            directory: directory.journalPath, identity: directory.identity.journal, segmentBytes: 256 << 10,
            completion: { _ in })
        var hash = Hash128.zero
        for index in 1...20 as ClosedRange<UInt64> {
            let entry = Entry(
                group: .default, index: index, term: index < 8 ? 1 : 2, time: WallTime(nanoseconds: 1), kind: .commands,
                payload: [UInt8](repeating: 1, count: 5000), previousHash: hash, key: directory.identity.journal.hashKey
            )
            hash = entry.hash
            journal.submit(
                [.hardState(.default, HardState(term: entry.term, votedFor: nil)), .entry(entry)], ticket: index)
            guard hasSnapshot, index == 10 else { continue }
            let mark = SnapshotMark(
                index: 10, term: 2, hash: hash, time: WallTime(nanoseconds: 1), membership: Membership(voters: []))
            let done = Collected<SnapshotStore.Done>()
            let store = try SnapshotStore(directory: directory.snapshotsPath, hashKey: HashKey(low: 1, high: 2)) {
                done.add($0)
            }
            store.begin(.default, mark)
            store.block(.default, [1, 2, 3])
            store.finish(.default)
            _ = done.wait(for: 2)
            store.close()
            journal.submit([.snapshot(.default, mark, .own)], ticket: 100)
        }
        journal.close()
        withExtendedLifetime(directory) {}
        return path
    }

    /// Place of the payload of the batch's first entry, in the first segment: any batch but the first.
    private func payload(_ report: JournalReport) throws -> Int {
        let batch = try #require(report.segments.first { $0.use == .live }?.batches.first { $0.sequence > 1 })
        return batch.block * 4096 + 4096 + 100
    }

    @Test func clean() throws {
        let scratch = Scratch()
        let path = try self.node(scratch, hasSnapshot: true)
        let before = try scratch.read("1/node.identity.a")
        let report = try JournalReport.inspect(directory: path)
        #expect(report.verdict == .clean && report.starts && report.exitCode == 0 && report.damage.isEmpty)
        #expect(report.identity?.run == 1 && report.identity?.node == NodeID(1))
        let group = try #require(report.groups.first { $0.group == .default })
        #expect(group.hardState.term == 2 && group.mark?.index == 10)
        #expect(group.entries == [.init(first: 11, last: 20, term: 2)])
        #expect(report.snapshots.count == 1 && report.snapshots[0].isNeeded && report.snapshots[0].failure == nil)
        let ranges = report.segments.flatMap(\.batches).flatMap(\.shares).flatMap(\.entries)
        #expect(ranges.first?.first == 1 && ranges.last?.last == 20)
        #expect(report.segments.allSatisfy { $0.bytes == 256 << 10 })
        #expect(report.text(.verify).contains("journal: clean"))
        #expect(
            report.text(.inspect).contains(
                "group default: term 2, no vote, snapshot at 10 (term 2, unconfirmed), entries 11 to 20"))
        #expect(
            report.json(.verify).contains("\"verdict\":\"clean\"") && !report.json(.verify).contains("\"segments\""))
        #expect(report.json(.inspect).contains("\"segments\":[{"))
        #expect(try scratch.read("1/node.identity.a") == before, "looking begins no run")
        // And it lets go of the lock.
        #expect(throws: Never.self) { try DataDirectory(path: path, node: NodeID(1), seed: nil, lockTries: 1) }
    }

    @Test func tornTail() throws {
        let scratch = Scratch()
        let path = try self.node(scratch)
        let report = try JournalReport.inspect(directory: path)
        let segment = try #require(report.segments.last { !$0.batches.isEmpty })
        let last = try #require(segment.batches.last)
        let block = last.block + last.blocks - 1
        let fd = try Files.open(path + "/journal/0000000\(segment.file).segment", O_RDWR)
        let blank = JournalFormat.blank(blocks: block..<block + 1, identity: report.identity!.journal)
        try Files.write(fd, blank, at: block * 4096, path: path)
        close(fd)
        let torn = try JournalReport.inspect(directory: path)
        #expect(torn.verdict == .tornTail && torn.exitCode == 0 && torn.starts)
        #expect(torn.text(.verify).contains("torn tail (will be cut at start)"))
        #expect(torn.segments.flatMap(\.batches).filter { $0.row == .torn }.count == 1)
    }

    @Test func damaged() throws {
        let scratch = Scratch()
        let path = try self.node(scratch)
        let report = try JournalReport.inspect(directory: path)
        let offset = try self.payload(report)
        try scratch.change("1/journal/00000001.segment") { $0[offset] ^= 1 }
        let damaged = try JournalReport.inspect(directory: path)
        #expect(damaged.verdict == .damaged && damaged.exitCode == 1 && damaged.starts)
        let place = try #require(damaged.damage.first)
        #expect(
            place.file == "journal/00000001.segment" && place.group == .default && place.index != nil && place.isHole)
        #expect(place.offset.map { $0 <= offset && offset < $0 + 8192 } == true)
        #expect(damaged.text(.verify).contains("starts with 1 hole") && damaged.lost == nil)
        #expect(damaged.groups.flatMap(\.holes).map(\.index) == [place.index!])
        #expect(damaged.json(.verify).contains("\"lost\":true"))
    }

    @Test func damagedWithoutLoss() throws {
        let scratch = Scratch()
        let path = try self.node(scratch)
        try scratch.change("1/node.identity.b") { $0[20] ^= 1 }
        let report = try JournalReport.inspect(directory: path)
        #expect(report.verdict == .damaged && report.starts && report.damage.map(\.file) == ["node.identity.b"])
        try scratch.change("1/node.identity.a") { $0[20] ^= 1 }
        let lost = try JournalReport.inspect(directory: path)
        #expect(lost.verdict == .damaged && !lost.starts && lost.identity == nil && lost.lost != nil)
        #expect(lost.json(.inspect).contains("\"identity\":null"))
    }

    @Test func snapshotDamagedOrGone() throws {
        let scratch = Scratch()
        let path = try self.node(scratch, hasSnapshot: true)
        let name = "snapshots/\(GroupID.default.rawValue)-10.snapshot"
        try scratch.change("1/" + name) { $0[$0.count - 18] ^= 1 }
        let bad = try JournalReport.inspect(directory: path)
        #expect(bad.verdict == .damaged && bad.starts && bad.damage.map(\.file) == [name])
        unlink(path + "/" + name)
        let gone = try JournalReport.inspect(directory: path)
        #expect(gone.damage.map(\.text) == ["it is not there, and the log before it is gone"] && gone.starts)
    }

    @Test func notToBeLookedAt() throws {
        let scratch = Scratch()
        for path in [scratch.path, scratch.path + "/none"] {
            #expect(throws: JournalReport.Unavailable.self) { try JournalReport.inspect(directory: path) }
        }
        let path = try self.node(scratch)
        let directory = try DataDirectory(path: path, node: NodeID(1), seed: nil)
        do {
            _ = try JournalReport.inspect(directory: path)
            Issue.record("a running node's directory was looked at")
        } catch {
            #expect(error.code == 73 && error.description.contains("in use"))
            #expect(error.json.hasPrefix("{\"error\":{\"code\":73,"))
        }
        withExtendedLifetime(directory) {}
    }

    @Test func jsonStrings() {
        #expect(quoted("a\"b\\c\n\u{1}é") == "\"a\\\"b\\\\c\\u000a\\u0001é\"")
    }
}
