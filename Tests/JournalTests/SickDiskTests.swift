import Formats
import Glibc
import Journal
import Replication
import Synchronization
import Testing

/// The journal's thread on disks that refuse.
@Suite(.serialized) struct SickDiskTests {
    private static let segmentBytes = 256 << 10

    private func open(
        _ path: String, _ done: Collected<JournalCompletion> = Collected()
    ) throws -> (Journal, RecoveredJournal) {
        try Journal.open(
            directory: path + "/journal", identity: testIdentity, segmentBytes: Self.segmentBytes,
            completion: { done.add($0) })
    }

    private static let vote = HardState(
        term: 9, votedFor: MemberID(node: NodeID(2), incarnation: Incarnation(high: 1, low: 1)))

    /// Waits until an item satisfies the condition, and gives all before it and itself.
    private func wait(
        _ done: Collected<JournalCompletion>, _ isWanted: (JournalCompletion) -> Bool
    ) -> [JournalCompletion] {
        var count = 1
        while true {
            let items = done.wait(for: count)
            if let at = items.firstIndex(where: isWanted) { return Array(items[...at]) }
            count = items.count + 1
        }
    }

    private func isFailure(_ item: JournalCompletion) -> Bool { if case .failed = item { true } else { false } }
    private func isRecovery(_ item: JournalCompletion) -> Bool { if case .recovered = item { true } else { false } }

    private func lastDurable(_ items: [JournalCompletion]) -> UInt64 {
        items.reduce(0) { if case .durable(let ticket, _) = $1 { ticket } else { $0 } }
    }

    @Test func anErrorThatStaysIsToldAndGoesByItself() throws {
        let scratch = Scratch()
        let done = Collected<JournalCompletion>()
        let (journal, _) = try self.open(scratch.path, done)
        // No new segment can be made where the name that it is made under is a directory's.
        let obstacles = (2...40).map { number in
            scratch.path + "/journal/000000" + (number < 10 ? "0" : "") + "\(number).segment.new"
        }
        for path in obstacles { try Files.makeDirectory(path) }
        let written = entries(1...30, bytes: 30_000)
        for entry in written { journal.submit([.entry(entry)], ticket: entry.index) }
        let before = self.wait(done, self.isFailure)
        guard case .failed(.inputOutput, canPromise: false, let text)? = before.last else {
            Issue.record("the failure is not told: \(before)")
            return
        }
        #expect(text.contains("segment"))
        journal.submit([.hardState(.default, Self.vote)], ticket: 31)
        let (seen, _) = try Journal.recover(directory: scratch.path + "/journal", identity: testIdentity)
        #expect(
            seen[.default]?.entries.last?.index == self.lastDurable(before), "nothing is confirmed that is not there")
        for path in obstacles { rmdir(path) }
        let after = self.wait(done, self.isRecovery)
        #expect(self.lastDurable(after) > self.lastDurable(before))
        #expect(journal.close())
        #expect(self.lastDurable(done.wait(for: 1)) == 31)
        let (again, recovered) = try self.open(scratch.path)
        again.close()
        #expect(recovered[.default]?.entries == written && recovered[.default]?.hardState == Self.vote)
        #expect(recovered.damage.isEmpty && recovered.isWhole)
    }

    /// A file system of 3 MiB that is filled up: the vote goes into the reserve, the entries wait.
    @Test func aFullDiskStillTakesVotes() throws {
        let disk = Scratch()
        guard mount("tmpfs", disk.path, "tmpfs", 0, "size=3m") == 0 else {
            print("skipped: no file system can be mounted here (\(String(cString: strerror(errno))))")
            return
        }
        defer { umount2(disk.path, Int32(MNT_DETACH)) }
        let done = Collected<JournalCompletion>()
        let (journal, _) = try self.open(disk.path, done)
        #expect(Files.list(disk.path + "/journal").contains("reserve"))
        // Rot behind what is to be written into it would look like a batch that is lost.
        let fd = try Files.open(disk.path + "/journal/reserve", O_WRONLY)
        try Files.write(fd, [UInt8](repeating: 0xa5, count: 20 * 4096), at: 2 * 4096, path: "reserve")
        close(fd)
        try self.fill(disk.path)
        let written = entries(1...40, bytes: 30_000)
        for entry in written { journal.submit([.entry(entry)], ticket: entry.index) }
        let before = self.wait(done, self.isFailure)
        guard case .failed(.full, canPromise: true, _)? = before.last else {
            Issue.record("a full disk is not told: \(before)")
            return
        }
        journal.submit([.hardState(.default, Self.vote)], ticket: 41)
        let promised = self.wait(done) { if case .promised(41) = $0 { true } else { false } }
        #expect(self.lastDurable(promised) == self.lastDurable(before), "no entry is confirmed")
        #expect(!Files.list(disk.path + "/journal").contains("reserve"), "the reserve is a segment now")
        // A process that dies now finds its vote, and what was confirmed.
        let (seen, _) = try Journal.recover(directory: disk.path + "/journal", identity: testIdentity)
        #expect(seen[.default]?.hardState == Self.vote && seen.lost == nil && seen.damage.isEmpty)
        #expect(seen[.default]?.entries.last?.index == self.lastDurable(before))

        unlink(disk.path + "/ballast")
        _ = self.wait(done, self.isRecovery)
        #expect(journal.close())
        #expect(self.lastDurable(done.wait(for: 1)) == 41)
        #expect(Files.list(disk.path + "/journal").contains("reserve"), "made again")
        let (again, recovered) = try self.open(disk.path)
        again.close()
        #expect(recovered[.default]?.entries == written && recovered[.default]?.hardState == Self.vote)
        #expect(recovered.damage.isEmpty && recovered.isWhole)
    }

    private func fill(_ path: String) throws {
        let fd = try Files.open(path + "/ballast", O_WRONLY | O_CREAT)
        defer { close(fd) }
        let block = [UInt8](repeating: 1, count: 4096)
        while Glibc.write(fd, block, block.count) == block.count {}
    }

    /// The thread hangs in a write, as on a disk that does not answer.
    @Test func aDiskThatNeverAnswersDoesNotHoldUpTheEnd() throws {
        let gate = Gate()
        let thread = JoinableThread()
        thread.start(name: "stuck") { gate.wait() }
        #expect(!thread.join(within: .milliseconds(50)))
        gate.open()
        let other = JoinableThread()
        other.start(name: "quick") {}
        #expect(other.join(within: .seconds(10)))
    }

    private final class Gate: @unchecked Sendable {
        // @unchecked: a semaphore is made for use by several threads.
        private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
        init() { sem_init(self.semaphore, 0, 0) }
        func wait() { while sem_wait(self.semaphore) != 0 {} }
        func open() { sem_post(self.semaphore) }
    }
}
