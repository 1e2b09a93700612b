public import Formats
import CKintsugi
import Glibc
import Replication
public import Synchronization

public enum JournalCompletion: Sendable {
    /// All batches up to this ticket are durable.
    case durable(ticket: UInt64)
    /// The disk refused even after a new segment was tried: nothing submitted from this ticket on will become durable.
    case failed(ticket: UInt64, code: Int32, text: String)
}

/// A node's journal: one for all its groups. One thread of its own writes; what is submitted during a sync is the next
/// batch, so that one fdatasync serves everything that waited.
public final class Journal: Sendable {
    private struct Submission {
        var records: [JournalRecord]
        var ticket: UInt64
    }

    private struct State {
        var waiting: [Submission] = []
        var isClosing = false
    }

    private let directory: String
    private let segmentBytes: Int
    private let state = Mutex(State())
    private let signal = Signal()
    private let thread: JoinableThread
    /// When the oldest write that is not yet durable began (CLOCK_BOOTTIME nanoseconds); 0 where there is none.
    public let oldestUnfinishedSync = Atomic<UInt64>(0)

    /// Reads the journal in `directory`, writes again what no later batch proves durable, and starts the thread.
    ///
    /// - Parameter completion: called on the journal's thread.
    /// - Throws: `FileError`.
    public static func open(
        directory: String, identity: JournalIdentity, segmentBytes: Int,
        completion: @escaping @Sendable (JournalCompletion) -> Void
    ) throws -> (Journal, RecoveredJournal) {
        try Files.makeDirectory(directory)
        var (recovered, blank) = try Self.recover(directory: directory, identity: identity)
        var writer = JournalWriter(identity: identity, segmentBytes: segmentBytes, recovered: recovered)
        for file in blank { writer.addFree(file) }
        let files = SegmentFiles(directory: directory, segmentBytes: segmentBytes)
        // What is read is not thereby durable: a process killed between write and sync finds its bytes in the page
        // cache. Before anything is promised on them they are written again, in a fresh segment, and synced.
        if !recovered.unproved.isEmpty || recovered.segments.isEmpty {
            try files.perform(writer.plan(recovered.unproved))
        }
        recovered.unproved = []
        let journal = Journal(directory: directory, segmentBytes: segmentBytes)
        let disk = files
        let start = writer
        journal.thread.start(name: "journal") { [journal] in
            var writer = start
            journal.run(&writer, disk, completion)
        }
        return (journal, recovered)
    }

    /// Reads a journal without changing anything. Also gives the files that hold nothing of it.
    package static func recover(
        directory: String, identity: JournalIdentity
    ) throws(FileError) -> (RecoveredJournal, blank: [UInt32]) {
        var scans: [(file: UInt32, scan: SegmentScan)] = []
        var blank: [UInt32] = []
        for name in Files.list(directory) {
            guard let file = SegmentFiles.number(of: name) else { continue }
            let bytes = try Files.read(directory + "/" + name)
            let scan = bytes.withUnsafeBytes { SegmentScan($0, identity: identity) }
            if scan.generation == 0 { blank.append(file) } else { scans.append((file, scan)) }
        }
        return (RecoveredJournal(scans), blank)
    }

    private init(directory: String, segmentBytes: Int) {
        self.directory = directory
        self.segmentBytes = segmentBytes
        self.thread = JoinableThread()
    }

    /// Takes records for the next batch. `ticket` grows from call to call. Never blocks for the disk.
    public func submit(_ records: consuming [JournalRecord], ticket: UInt64) {
        let submission = Submission(records: records, ticket: ticket)
        let wasIdle = self.state.withLock { state in
            state.waiting.append(submission)
            return state.waiting.count == 1
        }
        if wasIdle { self.signal.raise() }
    }

    /// Writes what was submitted, then ends the thread.
    public func close() {
        self.state.withLock { $0.isClosing = true }
        self.signal.raise()
        self.thread.join()
    }

    // MARK: On the thread

    private func run(
        _ writer: inout JournalWriter, _ disk: SegmentFiles, _ completion: (JournalCompletion) -> Void
    ) {
        while true {
            self.signal.wait()
            var isClosing = false
            var taken: [Submission] = []
            self.state.withLock { state in
                swap(&taken, &state.waiting)
                isClosing = state.isClosing
            }
            if !taken.isEmpty {
                self.oldestUnfinishedSync.store(bootTime(), ordering: .relaxed)
                guard self.write(taken, &writer, disk, completion) else { return }
                self.oldestUnfinishedSync.store(0, ordering: .relaxed)
            } else if isClosing {
                return
            }
        }
    }

    /// False where the disk gave up.
    private func write(
        _ submissions: [Submission], _ writer: inout JournalWriter, _ disk: SegmentFiles,
        _ completion: (JournalCompletion) -> Void
    ) -> Bool {
        var at = 0
        while at < submissions.count {
            var records: [JournalRecord] = []
            var bytes = 0
            var ticket: UInt64 = 0
            repeat {
                records.append(contentsOf: submissions[at].records)
                for record in submissions[at].records { bytes += BatchEncoder.payloadBytes(record) + 256 }
                ticket = submissions[at].ticket
                at += 1
            } while at < submissions.count && bytes < JournalFormat.maxBatchBytes
            do throws(FileError) {
                try self.writeOnce(records, &writer, disk)
            } catch {
                let first = error
                // After a failed sync the pages may be clean and lost: nothing more goes into that segment, and what it
                // did not confirm is written again in another. Once; then the disk is sick.
                writer.abandonSegment()
                do throws(FileError) { try self.writeOnce(records, &writer, disk) } catch {
                    completion(.failed(ticket: ticket, code: first.code, text: first.description))
                    return false
                }
            }
            completion(.durable(ticket: ticket))
        }
        return true
    }

    private func writeOnce(
        _ records: [JournalRecord], _ writer: inout JournalWriter, _ disk: SegmentFiles
    ) throws(FileError) {
        try disk.perform(writer.plan(records))
    }
}

/// The segment files of a directory, opened as they are used.
final class SegmentFiles: @unchecked Sendable {
    // @unchecked: handed from the opener to the journal's thread once, and used by one at a time.
    let directory: String
    let segmentBytes: Int
    private var open: [(file: UInt32, fd: Int32)] = []

    init(directory: String, segmentBytes: Int) {
        self.directory = directory
        self.segmentBytes = segmentBytes
    }

    deinit { for (_, fd) in self.open { close(fd) } }

    static func name(of file: UInt32) -> String {
        let digits = String(file)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".segment"
    }

    static func number(of name: String) -> UInt32? {
        guard name.hasSuffix(".segment") else { return nil }
        return UInt32(name.dropLast(".segment".count))
    }

    /// Writes a batch and syncs it.
    func perform(_ plan: JournalWriter.Plan) throws(FileError) {
        let path = self.directory + "/" + Self.name(of: plan.file)
        let fd = try self.descriptor(of: plan.file, path: path, isNew: plan.isNew)
        try Files.write(fd, plan.bytes, at: plan.offset, path: path)
        try Files.sync(fd, path: path)
    }

    private func descriptor(of file: UInt32, path: String, isNew: Bool) throws(FileError) -> Int32 {
        for (number, fd) in self.open where number == file { return fd }
        let fd = try Files.open(path, O_RDWR | O_CREAT)
        if isNew || Files.size(fd) < self.segmentBytes {
            // Really written, not only reserved: later appends then change no metadata, which halves a sync's cost.
            // Zeros are generation 0: never written.
            do throws(FileError) {
                let zeros = [UInt8](repeating: 0, count: 1 << 20)
                var offset = 0
                while offset < self.segmentBytes {
                    let count = min(zeros.count, self.segmentBytes - offset)
                    try Files.write(fd, count == zeros.count ? zeros : Array(zeros[..<count]), at: offset, path: path)
                    offset += count
                }
                guard fsync(fd) == 0 else { throw FileError(call: "fsync", path: path, code: errno) }
                try Files.syncDirectory(self.directory)
            } catch {
                Glibc.close(fd)
                throw error
            }
        }
        self.open.append((file, fd))
        return fd
    }
}
