package import Replication

/// Why a disk does not take what the journal writes.
public enum JournalFault: UInt8, Sendable {
    /// There is no space.
    case full = 1
    case readOnly = 2
    /// An input/output error, or a sync that failed for whatever reason.
    case inputOutput = 3
}

/// What waits to be journalled, in order, and what is done when the disk refuses. Pure: the shell carries out one step at a
/// time and says how it went, so that the simulator runs the same decisions as a node.
///
/// A batch that fails is written once more, in another segment: never again to the same pages, which a failed sync may
/// have left clean and lost. If that fails too the journal is *failing*. Then
///
/// - nothing is confirmed; what waits is kept, in order, and tried again from time to time, each time in a segment that no
///   failed write has touched;
/// - where the disk is full, terms and votes still become durable (are *promised*), ahead of the entries before them:
///   the reserve, a segment file that was made for this, takes its place in the journal for them;
/// - before the first entry is tried again the reserve is made again: a disk that is full once more finds it there.
///
/// A hard state may overtake entries, as it says nothing about them; it is then taken out of what waits, or a later
/// batch would bring an older vote back after it.
package struct JournalPipeline: Sendable {
    package enum Step: Sendable {
        /// Write these bytes and sync them: answered by `completed`.
        case write(JournalWriter.Plan)
        /// Make the reserve, durably: answered by `reserveMade`.
        case makeReserve
        /// Give the reserve the name of this segment file: answered by `reserveTaken`.
        case takeReserve(UInt32)
    }

    package enum Event: Sendable, Equatable {
        /// Everything up to the ticket is durable. `bytes`: what the disk got since this was last said, headers, padding and
        /// promises included.
        case durable(ticket: UInt64, bytes: Int)
        /// Of everything up to the ticket the hard states are durable.
        case promised(ticket: UInt64)
        /// The journal fails from here on, or in another way than before. `canPromise`: hard states are still written.
        case failed(JournalFault, canPromise: Bool)
        /// What waited is being written again.
        case recovered
    }

    private struct Submission: Sendable {
        var records: [JournalRecord]
        var ticket: UInt64
        var beginsSegment: Bool
    }

    /// The step that the shell carries out.
    private enum Underway: Sendable {
        /// Holds the rest of the first `count` submissions, and `taken` records of the next.
        case batch(records: [JournalRecord], count: Int, taken: Int)
        case promise(records: [JournalRecord])
        case makingReserve
        case takingReserve(UInt32)
    }

    private struct Failure: Sendable {
        var fault: JournalFault
        var canPromise: Bool
        var pause: Nanoseconds
    }

    private static let firstPause = Nanoseconds.seconds(1)
    private static let longestPause = Nanoseconds.seconds(8)

    package private(set) var writer: JournalWriter
    /// The reserve is there.
    package private(set) var hasReserve: Bool
    private let maxBatchBytes: Int
    /// Oldest first; what has no sync behind it stays here.
    private var waiting: [Submission] = []
    /// Records of the first submission that are durable.
    private var taken = 0
    /// The first submissions, whose hard states are durable and taken out.
    private var promised = 0
    private var underway: Underway?
    /// Of the write under way, and of those that are durable and not told yet.
    private var bytesUnderway = 0
    private var bytesWritten = 0
    /// The batch under way, or to be planned next, has failed once.
    private var isSecondAttempt = false
    private var failure: Failure?
    private var isRetryDue = false
    private var events: [Event] = []

    /// - Parameter maxBatchBytes: a larger batch would leave much of a small segment unused.
    package init(writer: JournalWriter, maxBatchBytes: Int, hasReserve: Bool) {
        self.writer = writer
        self.maxBatchBytes = maxBatchBytes
        self.hasReserve = hasReserve
    }

    // MARK: Views

    /// Nothing waits and nothing is under way.
    package var isIdle: Bool { self.waiting.isEmpty && self.underway == nil }
    package var isFailing: Bool { self.failure != nil }
    /// While it fails: how long after the last attempt `retry` is to be called.
    package var retryPause: Nanoseconds? { self.failure?.pause }
    /// Live segments as far as they are durable.
    package var extents: [SegmentExtent] {
        let isWriting =
            switch self.underway {
            case .batch, .promise: true
            case .makingReserve, .takingReserve, nil: false
            }
        return self.writer.extents(isWriting: isWriting)
    }
    /// Records of the step under way.
    package var recordsUnderway: [JournalRecord] {
        switch self.underway {
        case .batch(let records, _, _), .promise(let records): records
        case .makingReserve, .takingReserve, nil: []
        }
    }

    // MARK: Inputs

    /// - Parameter beginsSegment: they are to stand in a segment that begins with them, also where there are none: its
    ///   table repeats what every group needs to be known by.
    package mutating func submit(
        _ records: consuming [JournalRecord], ticket: UInt64, beginsSegment: Bool = false
    ) {
        self.waiting.append(Submission(records: records, ticket: ticket, beginsSegment: beginsSegment))
    }

    /// Time to see whether the disk is well again.
    package mutating func retry() { self.isRetryDue = self.failure != nil }

    package mutating func addFree(_ file: UInt32) { self.writer.addFree(file) }
    package mutating func reserveFile() -> UInt32 { self.writer.reserveFile() }

    /// What to do next, where there is something to do and nothing under way.
    package mutating func next() -> Step? {
        guard self.underway == nil else { return nil }
        guard let failure = self.failure else { return self.waiting.isEmpty ? nil : self.beginBatch() }
        if self.isRetryDue {
            guard self.hasReserve else {
                self.underway = .makingReserve
                return .makeReserve
            }
            self.isRetryDue = false
            return self.beginBatch()
        }
        return failure.canPromise ? self.beginPromise() : nil
    }

    /// The step under way, a write, is durable.
    package mutating func completed() {
        switch self.underway {
        case .batch(_, let count, let taken):
            self.underway = nil
            self.bytesWritten += self.bytesUnderway
            self.confirm(count, taken: taken)
        case .promise:
            self.underway = nil
            self.bytesWritten += self.bytesUnderway
            self.strip()
        case .makingReserve, .takingReserve, nil:
            invariant(false, "no write is under way")
        }
    }

    package mutating func reserveMade() {
        self.underway = nil
        self.hasReserve = true
    }

    package mutating func reserveTaken() {
        guard case .takingReserve(let file) = self.underway else { return }
        self.underway = nil
        self.hasReserve = false
        self.writer.addFree(file)
    }

    /// The step under way failed. Whatever it wrote counts as not written.
    package mutating func failed(_ fault: JournalFault) {
        switch self.underway {
        case .batch:
            self.writer.abandonSegment()
            if self.failure == nil, !self.isSecondAttempt {
                self.isSecondAttempt = true
            } else {
                // One that could not promise any more can again when the reserve has been made again, not before.
                let canPromise = self.hasReserve || (self.failure?.canPromise ?? true && self.writer.freeFiles > 0)
                self.fail(fault, canPromise: fault == .full && canPromise)
            }
        case .promise:
            self.writer.abandonSegment()
            self.fail(fault, canPromise: false)
        case .takingReserve:
            self.hasReserve = false
            self.fail(fault, canPromise: false)
        case .makingReserve:
            self.isRetryDue = false
            self.fail(fault, canPromise: fault == .full && self.failure?.canPromise ?? false)
        case nil:
            break
        }
        self.underway = nil
    }

    // MARK: Outputs

    package mutating func takeEvents() -> [Event] {
        defer { self.events.removeAll(keepingCapacity: true) }
        return self.events
    }

    /// Free files beyond what is used. To be asked for after a write that is durable; the caller deletes them.
    package mutating func takeSurplus() -> [UInt32] { self.writer.takeSurplus() }

    // MARK: Batches

    /// A batch ends at its limit even within a submission, which may be larger than a segment: a first part of its records
    /// is a state that a crash between two submissions could leave too, and nothing is confirmed before all.
    private mutating func beginBatch() -> Step? {
        var records: [JournalRecord] = []
        var bytes = 0
        var at = 0
        var next = self.taken
        let beginsSegment = self.taken == 0 && self.waiting.first?.beginsSegment ?? false
        while at < self.waiting.count, bytes < self.maxBatchBytes {
            if at > 0, self.waiting[at].beginsSegment { break }
            let submission = self.waiting[at].records
            while next < submission.count, bytes < self.maxBatchBytes {
                let size = BatchEncoder.payloadBytes(submission[next]) + 2 * JournalFormat.recordHeaderBytes
                if !records.isEmpty, bytes + size > self.maxBatchBytes {
                    bytes = self.maxBatchBytes
                    break
                }
                records.append(submission[next])
                bytes += size
                next += 1
            }
            guard next == submission.count else { break }
            at += 1
            next = 0
        }
        if beginsSegment { self.writer.beginSegment() }
        if records.isEmpty, !beginsSegment {
            // All that waited was promised.
            self.confirm(at, taken: next)
            return nil
        }
        let plan = self.writer.plan(records)
        self.bytesUnderway = plan.bytes.count
        self.underway = .batch(records: records, count: at, taken: next)
        return .write(plan)
    }

    private mutating func confirm(_ count: Int, taken: Int) {
        if count > 0 {
            self.events.append(.durable(ticket: self.waiting[count - 1].ticket, bytes: self.bytesWritten))
            self.bytesWritten = 0
        }
        self.waiting.removeFirst(count)
        self.taken = taken
        self.promised = max(0, self.promised - count)
        self.isSecondAttempt = false
        if self.failure != nil {
            self.failure = nil
            self.isRetryDue = false
            self.events.append(.recovered)
        }
    }

    private mutating func fail(_ fault: JournalFault, canPromise: Bool) {
        let before = self.failure
        let pause =
            fault == .full ? Self.firstPause : before.map { min($0.pause * 2, Self.longestPause) } ?? Self.firstPause
        self.failure = Failure(fault: fault, canPromise: canPromise, pause: pause)
        if before?.fault != fault || before?.canPromise != canPromise {
            self.events.append(.failed(fault, canPromise: canPromise))
        }
    }

    // MARK: Promises

    /// The newest hard state of each group among those that wait, in one batch.
    private mutating func beginPromise() -> Step? {
        var records: [JournalRecord] = []
        for at in self.promised..<self.waiting.count {
            for record in self.waiting[at].records[(at == 0 ? self.taken : 0)...] {
                guard case .hardState(let group, _) = record else { continue }
                records.removeAll { $0.group == group }
                records.append(record)
            }
        }
        guard !records.isEmpty else {
            self.promised = self.waiting.count
            return nil
        }
        if self.writer.needsNewFile(records) {
            guard self.hasReserve else {
                self.fail(.full, canPromise: false)
                return nil
            }
            let file = self.writer.reserveFile()
            self.underway = .takingReserve(file)
            return .takeReserve(file)
        }
        let plan = self.writer.plan(records)
        self.bytesUnderway = plan.bytes.count
        self.promiseEnd = self.waiting.count
        self.underway = .promise(records: records)
        return .write(plan)
    }

    /// Submissions that the promise under way covers: more may come while it is written.
    private var promiseEnd = 0

    private mutating func strip() {
        for at in self.promised..<self.promiseEnd {
            let first = at == 0 ? self.taken : 0
            let done = self.waiting[at].records[..<first]
            let rest = self.waiting[at].records[first...].filter { record in
                if case .hardState = record { false } else { true }
            }
            self.waiting[at].records = done + rest
        }
        self.promised = self.promiseEnd
        self.events.append(.promised(ticket: self.waiting[self.promiseEnd - 1].ticket))
    }
}
