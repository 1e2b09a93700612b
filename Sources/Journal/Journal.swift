import CKintsugi
public import Formats
import Glibc
import Replication
public import Synchronization

public enum JournalCompletion: Sendable {
    /// All batches up to this ticket are durable. `bytes`: what the disk got since this was last said.
    case durable(ticket: UInt64, bytes: Int)
    /// The disk refuses: of what was submitted up to this ticket the hard states are durable, the rest is not.
    case promised(ticket: UInt64)
    /// The disk refused even after a new segment was tried. What was submitted and is not confirmed is kept and tried
    /// again; `canPromise`: hard states are still written.
    case failed(JournalFault, canPromise: Bool, text: String)
    /// What waited is being written again.
    case recovered
}

/// What was promised on this disk is not known any more: the node must not go on under its name.
public struct JournalLost: Error, Sendable {
    /// Half a sentence.
    public var reason: String
    public var damage: [JournalDamage]
}

/// A node's journal: one for all its groups. One thread of its own writes; what is submitted during a sync is the next
/// batch, so that one fdatasync serves everything that waited.
public final class Journal: Sendable {
    private struct State {
        var waiting: [(records: [JournalRecord], ticket: UInt64, beginsSegment: Bool)] = []
        var isClosing = false
    }

    package let directory: String
    private let state = Mutex(State())
    private let layout = Mutex<[SegmentExtent]>([])
    private let signal = Signal()
    private let thread: JoinableThread
    /// A segment file that is made before it is needed: 16 MiB take the disk some 50 ms, which no write should wait for.
    private let ahead = Mutex(Ahead.none)

    private enum Ahead {
        case none
        case making(JoinableThread)
        case made(JoinableThread, UInt32)
        /// The disk refused. The journal finds out by itself when it needs the file.
        case failed(JoinableThread)
    }

    /// When the oldest write that is not yet durable began (CLOCK_BOOTTIME nanoseconds); 0 where there is none.
    public let oldestUnfinishedSync = Atomic<UInt64>(0)

    /// Reads the journal in `directory`, writes again what no later batch proves durable, and starts the thread.
    ///
    /// - Parameter completion: called on the journal's thread.
    /// - Throws: `FileError`; `JournalLost`, with nothing changed, where what was promised here is not known any more.
    public static func open(
        directory: String, identity: JournalIdentity, segmentBytes: Int,
        completion: @escaping @Sendable (JournalCompletion) -> Void
    ) throws -> (Journal, RecoveredJournal) {
        try Files.makeDirectory(directory)
        var (recovered, blank) = try Self.recover(directory: directory, identity: identity)
        if let reason = recovered.lost { throw JournalLost(reason: reason, damage: recovered.damage) }
        // A file whose making was cut short has not yet its name: nothing is in it.
        for name in try Files.names(in: directory) where name.hasSuffix(SegmentFiles.unfinished) {
            unlink(directory + "/" + name)
        }
        var writer = JournalWriter(identity: identity, segmentBytes: segmentBytes, recovered: recovered)
        for file in blank { writer.addFree(file) }
        let files = SegmentFiles(directory: directory, identity: identity, segmentBytes: segmentBytes)
        // What is read is not thereby durable: a process killed between write and sync finds its bytes in the page
        // cache. Before anything is promised on them they are written again, in a fresh segment, and synced.
        if !recovered.unproved.isEmpty || recovered.segments.isEmpty {
            try files.perform(writer.plan(recovered.unproved))
            for file in writer.takeSurplus(keeping: 2) { unlink(directory + "/" + SegmentFiles.name(of: file)) }
        }
        recovered.unproved = []
        let journal = Journal(directory: directory)
        let disk = files
        // The batch that was just planned is durable.
        journal.layout.withLock { $0 = writer.extents(isWriting: false) }
        let start = JournalPipeline(
            writer: writer, maxBatchBytes: min(JournalFormat.maxBatchBytes, segmentBytes / 4),
            hasReserve: files.ensureReserve())
        journal.thread.start(name: "journal") { [journal] in
            var pipeline = start
            journal.run(&pipeline, disk, completion)
        }
        return (journal, recovered)
    }

    /// Reads a journal without changing anything. Also gives the files that hold nothing of it.
    package static func recover(
        directory: String, identity: JournalIdentity
    ) throws(FileError) -> (RecoveredJournal, blank: [UInt32]) {
        let recovered = RecoveredJournal(
            try Self.scan(directory: directory, identity: identity).map { ($0.file, $0.scan) })
        return (recovered, recovered.blankFiles)
    }

    /// Each segment file with what it holds. One at a time in memory.
    static func scan(
        directory: String, identity: JournalIdentity
    ) throws(FileError) -> [(file: UInt32, size: Int, scan: SegmentScan)] {
        var scans: [(file: UInt32, size: Int, scan: SegmentScan)] = []
        for name in try Files.names(in: directory) {
            guard let file = SegmentFiles.number(of: name) else { continue }
            let bytes = try Files.readAround(directory + "/" + name)
            let scan = bytes.withUnsafeBytes { SegmentScan($0, identity: identity) }
            scans.append((file, bytes.count, scan))
        }
        return scans
    }

    private init(directory: String) {
        self.directory = directory
        self.thread = JoinableThread()
    }

    /// The live segments as far as they are durable, for whoever reads them beside the journal's thread (`Scrubber`).
    ///
    /// 1. The thread says that segment 7 is of generation 40, and durable up to block 96.
    /// 2. A reader reads those blocks. Meanwhile more is appended, behind them.
    /// 3. A snapshot makes the segment superfluous: the thread takes it off the list, and only in a later step writes to
    ///    the file again, in generation 55.
    /// 4. The reader looks at the list again. The segment is there, with the generation that it had: nothing that was
    ///    read was written over. It is not: what was read counts for nothing.
    package var extents: [SegmentExtent] { self.layout.withLock { $0 } }

    /// Takes records for the next batch. `ticket` grows from call to call. Never blocks for the disk.
    ///
    /// - Parameter beginsSegment: they begin a segment, whose table repeats what every group needs to be known by.
    public func submit(
        _ records: consuming [JournalRecord], ticket: UInt64, beginsSegment: Bool = false
    ) {
        let submission = (records: records, ticket: ticket, beginsSegment: beginsSegment)
        let wasIdle = self.state.withLock { state in
            state.waiting.append(submission)
            return state.waiting.count == 1
        }
        if wasIdle { self.signal.raise() }
    }

    /// Writes what was submitted, where the disk takes it, then ends the thread.
    ///
    /// - Returns: false where the disk does not answer: the thread is left to its call, and ends with the process.
    @discardableResult
    public func close() -> Bool {
        self.state.withLock { $0.isClosing = true }
        self.signal.raise()
        return self.thread.join(within: .seconds(2))
    }

    // MARK: On the thread

    private func run(
        _ pipeline: inout JournalPipeline, _ disk: SegmentFiles, _ completion: (JournalCompletion) -> Void
    ) {
        var retryAt: UInt64 = 0
        while true {
            if let pause = pipeline.retryPause {
                let now = bootTime()
                if retryAt == 0 { retryAt = now + pause }
                if retryAt > now { self.signal.wait(atMost: retryAt - now) }
                if bootTime() >= retryAt {
                    retryAt = 0
                    pipeline.retry()
                }
            } else {
                retryAt = 0
                self.signal.wait()
            }
            var isClosing = false
            var taken: [(records: [JournalRecord], ticket: UInt64, beginsSegment: Bool)] = []
            self.state.withLock { state in
                swap(&taken, &state.waiting)
                isClosing = state.isClosing
            }
            for submission in taken {
                pipeline.submit(
                    submission.records, ticket: submission.ticket, beginsSegment: submission.beginsSegment)
            }
            self.write(&pipeline, disk, completion)
            // Nothing waits just now, or it finds this thread again after one file.
            if disk.removeOneRetired() { self.signal.raise() }
            if isClosing, pipeline.isIdle || pipeline.isFailing { return self.joinAhead() }
            if !pipeline.isFailing { self.makeAhead(&pipeline, disk) }
        }
    }

    /// Carries out what there is to do.
    private func write(
        _ pipeline: inout JournalPipeline, _ disk: SegmentFiles, _ completion: (JournalCompletion) -> Void
    ) {
        var text = ""
        var hasMore = true
        while hasMore {
            let step = pipeline.next()
            hasMore = step != nil
            if let step {
                self.layout.withLock { $0 = pipeline.extents }
                _ = self.oldestUnfinishedSync.compareExchange(expected: 0, desired: bootTime(), ordering: .relaxed)
                do throws(FileError) {
                    try Self.perform(step, &pipeline, disk)
                } catch {
                    text = error.description
                    pipeline.failed(error.fault)
                }
                self.layout.withLock { $0 = pipeline.extents }
            }
            for event in pipeline.takeEvents() {
                switch event {
                case .durable(let ticket, let bytes): completion(.durable(ticket: ticket, bytes: bytes))
                case .promised(let ticket): completion(.promised(ticket: ticket))
                case .failed(let fault, let canPromise):
                    completion(.failed(fault, canPromise: canPromise, text: text))
                case .recovered: completion(.recovered)
                }
            }
        }
        // A call that came back with an error has come back: the fault is told by `failed`, not by its age.
        self.oldestUnfinishedSync.store(0, ordering: .relaxed)
    }

    private static func perform(
        _ step: JournalPipeline.Step, _ pipeline: inout JournalPipeline, _ disk: SegmentFiles
    ) throws(FileError) {
        switch step {
        case .write(let plan):
            if plan.offset == 0 { disk.removeAllRetired() }
            try disk.perform(plan)
            pipeline.completed()
            disk.retire(pipeline.takeSurplus())
        case .makeReserve:
            try disk.makeReserve()
            pipeline.reserveMade()
        case .takeReserve(let file):
            try disk.takeReserve(as: file)
            pipeline.reserveTaken()
        }
    }

    /// Sees to it that a free file is there when the next segment begins. Not before it is near: a start begins a segment,
    /// and an election may be next to it, whose votes would wait for the disk behind 16 MiB of blank blocks. Of two survivors
    /// each counts:
    ///
    /// 1. B is restarted, serves again, and makes the segment after its first one.
    /// 2. A, which leads, is killed. C asks B for its vote, and has it after 40 to 60 ms.
    private func makeAhead(_ pipeline: inout JournalPipeline, _ disk: SegmentFiles) {
        self.ahead.withLock { ahead in
            switch ahead {
            case .making:
                return
            case .made(let thread, let file):
                thread.join()
                pipeline.addFree(file)
                ahead = .none
            case .failed(let thread):
                thread.join()
                ahead = .none
            case .none:
                break
            }
            guard pipeline.writer.freeFiles == 0, pipeline.writer.isPastHalf else { return }
            let file = pipeline.reserveFile()
            let path = disk.path(of: file)
            let thread = JoinableThread()
            ahead = .making(thread)
            thread.start(name: "segment") { [self] in
                let isMade: Bool
                do throws(FileError) {
                    Glibc.close(try disk.make(path, isPaced: true))
                    isMade = true
                } catch {
                    isMade = false
                }
                self.ahead.withLock { $0 = isMade ? .made(thread, file) : .failed(thread) }
            }
        }
    }

    private func joinAhead() {
        let thread: JoinableThread? = self.ahead.withLock { ahead in
            switch ahead {
            case .making(let thread), .made(let thread, _), .failed(let thread): thread
            case .none: nil
            }
        }
        thread?.join()
    }
}

/// The segment files of a directory, opened as they are used.
final class SegmentFiles: @unchecked Sendable {
    // @unchecked: handed from the opener to the journal's thread once, and used by one at a time; `make`, which others call
    // too, touches nothing that changes.
    let directory: String
    let identity: JournalIdentity
    let segmentBytes: Int
    private var open: [(file: UInt32, fd: Int32)] = []
    private var retired: [UInt32] = []

    /// Ends the name of a file that is being made.
    static let unfinished = ".segment.new"

    init(directory: String, identity: JournalIdentity, segmentBytes: Int) {
        self.directory = directory
        self.identity = identity
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
        let fd = try self.descriptor(of: plan, path: path)
        try Files.write(fd, plan.bytes, at: plan.offset, path: path)
        try Files.sync(fd, path: path)
    }

    /// To be removed, in this order. One at a time between batches, as each takes the disk some milliseconds; all of them
    /// before another file is written over, which none of them may outlive (`JournalWriter.takeSurplus`).
    func retire(_ files: [UInt32]) { self.retired += files }

    /// - Returns: there are more.
    func removeOneRetired() -> Bool {
        guard !self.retired.isEmpty else { return false }
        self.remove(self.retired.removeFirst())
        return !self.retired.isEmpty
    }

    func removeAllRetired() {
        for file in self.retired { self.remove(file) }
        self.retired.removeAll()
    }

    /// What cannot be removed stays, and is found free at the next start.
    private func remove(_ file: UInt32) {
        if let at = self.open.firstIndex(where: { $0.file == file }) { close(self.open.remove(at: at).fd) }
        unlink(self.path(of: file))
    }

    private func descriptor(of plan: JournalWriter.Plan, path: String) throws(FileError) -> Int32 {
        let file = plan.file
        let bytes = max(self.segmentBytes, plan.fileBlocks * JournalFormat.blockBytes)
        if let at = self.open.firstIndex(where: { $0.file == file }) {
            guard plan.offset == 0, Files.size(self.open[at].fd) < bytes else { return self.open[at].fd }
            close(self.open.remove(at: at).fd)
        }
        var fd: Int32
        if plan.isNew {
            guard access(path, F_OK) != 0 else { throw FileError(call: "create", path: path, code: EEXIST) }
            fd = try self.make(path, bytes: bytes)
        } else {
            guard access(path, F_OK) == 0 else {
                // Its making failed, and so it was never written.
                let fd = try self.make(path, bytes: bytes)
                self.open.append((file, fd))
                return fd
            }
            fd = try Files.open(path, O_RDWR)
            if plan.offset == 0, Files.size(fd) < bytes {
                // Free, and made when segments were smaller, or for a smaller batch.
                Glibc.close(fd)
                fd = try self.make(path, bytes: bytes)
            }
        }
        self.open.append((file, fd))
        return fd
    }

    func path(of file: UInt32) -> String { self.directory + "/" + Self.name(of: file) }

    /// Really written, not only reserved: later appends then change no metadata, which halves a sync's cost. The file gets
    /// its name when all its blocks are durable, so that a segment is never seen half made.
    ///
    /// - Parameters:
    ///   - bytes: nil: as much as a segment has.
    ///   - isPaced: nobody waits for it: the disk gets it in stretches, so that others' syncs find room between.
    func make(_ path: String, bytes: Int? = nil, isPaced: Bool = false) throws(FileError) -> Int32 {
        let size = bytes ?? self.segmentBytes
        let temporary = path + ".new"
        let fd = try Files.open(temporary, O_RDWR | O_CREAT | O_TRUNC)
        do throws(FileError) {
            // A disk without room for all of it says so before any of it is written.
            let code = posix_fallocate(fd, 0, off_t(size))
            guard code == 0 || code == EOPNOTSUPP || code == EINVAL else {
                throw FileError(call: "fallocate", path: temporary, code: code)
            }
            let blocks = size / JournalFormat.blockBytes
            for first in stride(from: 0, to: blocks, by: 256) {
                try Files.write(
                    fd, JournalFormat.blank(blocks: first..<min(first + 256, blocks), identity: self.identity),
                    at: first * JournalFormat.blockBytes, path: temporary)
                guard isPaced else { continue }
                let stretch = 256 * JournalFormat.blockBytes
                kintsugi_write_back(fd, first * JournalFormat.blockBytes, stretch, stretch)
            }
            guard fsync(fd) == 0 else { throw FileError(call: "fsync", path: temporary, code: errno) }
            try Files.rename(temporary, path, directory: self.directory)
        } catch {
            Glibc.close(fd)
            unlink(temporary)
            throw error
        }
        return fd
    }
}
