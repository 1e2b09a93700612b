import Formats
import Glibc
import Journal
import Replication
import Synchronization
import Testing

/// The scrubber's thread, with real files beside a journal that writes.
@Suite struct ScrubberTests {
    private final class Fixture {
        let scratch = Scratch()
        let directory: DataDirectory
        let journal: Journal
        let scrubber: Scrubber
        let done = Collected<JournalCompletion>()

        final class Box: Sendable {
            let found = Mutex<[Rot]>([])
        }
        let box = Box()

        init() throws {
            self.directory = try DataDirectory(path: self.scratch.path + "/1", node: NodeID(1), seed: testSeed())
            let (done, box) = (self.done, self.box)
            let (journal, _) = try Journal.open(
                directory: self.directory.journalPath, identity: self.directory.identity.journal,
                segmentBytes: 256 << 10, completion: { done.add($0) })
            self.journal = journal
            try Files.makeDirectory(self.directory.snapshotsPath)
            self.scrubber = Scrubber(
                directory: self.directory, interval: 0, pauseAfterFailure: .milliseconds(1),
                extents: { journal.extents },
                found: { rot in box.found.withLock { $0.append(rot) } })
        }

        deinit {
            self.scrubber.close()
            self.journal.close()
        }

        /// A whole pass; what it found.
        func pass() -> [Rot] {
            self.box.found.withLock { $0.removeAll() }
            let number = self.scrubber.begin()
            while (self.scrubber.progress.last?.number ?? 0) < number { usleep(1000) }
            return self.box.found.withLock { $0 }
        }

        var segments: [String] { Files.list(self.directory.journalPath).filter { $0.hasSuffix(".segment") } }
    }

    @Test func findsWhatIsBadAndNothingElse() throws {
        let fixture = try Fixture()
        for entry in entries(1...30, bytes: 9000) { fixture.journal.submit([.entry(entry)], ticket: entry.index) }
        while fixture.done.wait(for: 1).last.map({ if case .durable(30, _) = $0 { false } else { true } })! {
            usleep(1000)
        }
        #expect(fixture.pass().isEmpty)
        let progress = fixture.scrubber.progress
        #expect(progress.last!.totalBytes > 30 * 9000 && progress.last!.checkedBytes == progress.last!.totalBytes)
        #expect(progress.oldestUnverified! >= progress.last!.began)

        try fixture.scratch.change("1/journal/" + fixture.segments[0]) { $0[20_000] ^= 1 }
        try fixture.scratch.change("1/node.identity.b") { $0[40] ^= 1 }
        try fixture.scratch.change("1/cluster.seed.a") { $0.removeLast() }
        // Of the open incidents one copy is there, with the end of a longer writing behind it, and is bad.
        let incidents = IncidentsEnvelope.close([1, 2, 3], number: 7)
        let path = fixture.directory.path + "/incidents.b"
        try Files.replace(path, with: incidents + [9, 9], directory: fixture.directory.path)
        #expect(fixture.pass().count == 3)
        try fixture.scratch.change("1/incidents.b") { $0[25] ^= 1 }
        let found = fixture.pass()
        #expect(found.count == 4)
        guard case .file(.identityB, _) = found[0], case .file(.seedA, _) = found[1],
            case .file(.incidentsB, _) = found[2], case .journal(let segment) = found[3]
        else {
            Issue.record("\(found)")
            return
        }
        #expect(segment.places.count == 1 && segment.places[0].ranges?.first?.group == .default)

        #expect(try fixture.directory.rewrite(.identityB) > 0)
        #expect(try fixture.directory.rewrite(.seedA) > 0)
        try Files.replace(path, with: incidents, directory: fixture.directory.path)
        #expect(fixture.pass().count == 1, "the segment is left")
    }

    /// A segment that is written over during the reading is no rot: a journal that is never still, passes without end.
    @Test func aJournalThatRecyclesItsFilesIsNoRot() throws {
        let fixture = try Fixture()
        var index: LogIndex = 0
        var hash = Hash128.zero
        for round in 0..<40 {
            let new = entries(index + 1...index + 20, after: hash, bytes: 9000)
            (index, hash) = (new.last!.index, new.last!.hash)
            let mark = SnapshotMark(
                index: index, term: 1, hash: hash, time: WallTime(nanoseconds: 1),
                membership: Membership(voters: [fixture.directory.identity.member]))
            fixture.journal.submit(
                new.map { .entry($0) } + [.snapshot(.default, mark, .confirmed)], ticket: UInt64(round + 1))
            if round % 4 == 3 { #expect(fixture.pass().isEmpty, "round \(round)") }
        }
    }

    @Test func snapshots() throws {
        let fixture = try Fixture()
        let mark = SnapshotMark(
            index: 7, term: 1, hash: .zero, time: WallTime(nanoseconds: 1),
            membership: Membership(voters: [fixture.directory.identity.member]))
        let done = Collected<SnapshotStore.Done>()
        let store = try SnapshotStore(directory: fixture.directory.snapshotsPath, hashKey: HashKey(low: 1, high: 2)) {
            done.add($0)
        }
        defer { store.close() }
        store.begin(.default, mark)
        store.block(.default, [UInt8](repeating: 3, count: 700_000))
        store.finish(.default)
        _ = done.wait(for: 2)
        fixture.scrubber.expect([(.default, mark)])
        #expect(fixture.pass().isEmpty)
        let name = "1/snapshots/\(GroupID.default.rawValue)-7.snapshot"
        try fixture.scratch.change(name) { $0[300_000] ^= 1 }
        guard case .snapshot(.default, 7, let reason)? = fixture.pass().first else {
            Issue.record("not found")
            return
        }
        #expect(reason.contains("block 0 is bad"))
        unlink(fixture.scratch.path + "/" + name)
        guard case .snapshot(.default, 7, _)? = fixture.pass().first else {
            Issue.record("that it is gone is not found")
            return
        }
        // That a file could not be opened says nothing of it: the pass comes to no end, and begins again.
        symlink(name.split(separator: "/").last.map(String.init)!, fixture.scratch.path + "/" + name)
        fixture.box.found.withLock { $0.removeAll() }
        let number = fixture.scrubber.begin()
        while (fixture.scrubber.progress.running?.number ?? 0) < number + 2 { usleep(100) }
        #expect(fixture.box.found.withLock { $0.isEmpty })
        #expect(fixture.scrubber.progress.last!.number < number)
        store.read(.default, index: 7, offset: 0, for: fixture.directory.identity.member)
        store.read(.default, index: 8, offset: 0, for: fixture.directory.identity.member)
        guard case .read(.default, 8, _, _, nil, _) = done.wait(for: 3)[2] else {
            Issue.record("what could not be opened was said to be bad")
            return
        }
        unlink(fixture.scratch.path + "/" + name)
        // Nobody needs it any more.
        fixture.scrubber.expect([])
        #expect(fixture.pass().isEmpty)
    }
}
