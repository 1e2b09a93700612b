import Formats
import Replication

/// A node's journal on a simulated disk: the real writer, format and recovery, with the file layer and the thread of
/// `Journal` played by events. What is submitted during a sync is the next batch.
struct SimulatedJournal {
    /// Small, so that segments are recycled within a short run.
    static let segmentBytes = 128 << 10
    private static let maxBatchBytes = segmentBytes / 4
    /// Ends the name of a file that is being made.
    private static let unfinished = ".new"

    private struct Submission {
        var records: [JournalRecord]
        var ticket: UInt64
    }

    /// A batch on its way to the disk.
    private struct Writing {
        var plan: JournalWriter.Plan
        var records: [JournalRecord]
        /// Of the submission that ends with it, where one does.
        var ticket: UInt64?
        var isRetry: Bool
    }

    private let disk: SimulatedDisk
    /// The planted bug: a sync reports success and makes nothing durable.
    private let ignoresSync: Bool
    private var writer: JournalWriter
    private var waiting: [Submission] = []
    /// Records of the first submission that are in batches already.
    private var taken = 0
    private var writing: Writing?
    /// What the disk has for certain.
    private(set) var durable: DurableState
    /// When the batch under way was begun, on the node's clock.
    private(set) var oldestUnfinishedSync: Instant?

    static func name(of file: UInt32) -> String {
        let digits = String(file)
        return "journal/" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    /// Reads the journal without changing it.
    static func recover(_ disk: SimulatedDisk, identity: JournalIdentity) -> RecoveredJournal {
        var scans: [(file: UInt32, scan: SegmentScan)] = []
        for name in disk.list("journal/") {
            guard let number = UInt32(name.dropFirst("journal/".count)), let file = disk.file(name) else { continue }
            scans.append((number, file.bytes.withUnsafeBytes { SegmentScan($0, identity: identity) }))
        }
        return RecoveredJournal(scans)
    }

    /// What a start found, checked against what must be there.
    ///
    /// - Parameters:
    ///   - expected: possible states of the disk; the recovered one is one of them.
    ///   - isCutShort: nothing more than the write of the rewritten tail happens, and no sync: the process dies there.
    /// - Returns: nil for the journal where the process did not live to see it open: it died, or the disk refused.
    static func open(
        _ disk: SimulatedDisk, identity: JournalIdentity, expected: [DurableState], isCutShort: Bool,
        ignoresSync: Bool
    ) throws -> (SimulatedJournal?, RecoveredJournal) {
        var recovered = Self.recover(disk, identity: identity)
        if let damage = recovered.damage.first { throw Violation(.journalReadable, "\(damage)") }
        for group in recovered.groups where !group.isWhole || group.isVoteUncertain {
            throw Violation(
                .journalReadable,
                "group \(group.group) has holes at \(group.holes), end uncertain: \(group.isEndUncertain), "
                    + "vote uncertain: \(group.isVoteUncertain)"
            )
        }
        for name in disk.list("journal/") where name.hasSuffix(Self.unfinished) { disk.remove(name) }
        guard let durable = expected.first(where: { $0.difference(from: recovered) == nil }) else {
            throw Violation(
                .durableStateSurvives,
                expected.compactMap { $0.difference(from: recovered) }.joined(
                    separator: "; or, with the batch under way: "))
        }
        var journal = SimulatedJournal(
            disk: disk, ignoresSync: ignoresSync,
            writer: JournalWriter(identity: identity, segmentBytes: Self.segmentBytes, recovered: recovered),
            durable: durable)
        journal.durable.forgetBelowSnapshots()
        for file in recovered.blankFiles { journal.writer.addFree(file) }
        if !recovered.unproved.isEmpty || recovered.segments.isEmpty {
            let plan = journal.writer.plan(recovered.unproved)
            let file = journal.segment(plan)
            disk.write(file, plan.bytes, at: plan.offset)
            guard !isCutShort else { return (nil, recovered) }
            do { try disk.sync(file) } catch { return (nil, recovered) }
        }
        recovered.unproved = []
        return (isCutShort ? nil : journal, recovered)
    }

    private init(disk: SimulatedDisk, ignoresSync: Bool, writer: JournalWriter, durable: DurableState) {
        self.disk = disk
        self.ignoresSync = ignoresSync
        self.writer = writer
        self.durable = durable
    }

    // MARK: Writing

    mutating func submit(_ records: [JournalRecord], ticket: UInt64) {
        self.waiting.append(Submission(records: records, ticket: ticket))
    }

    var isIdle: Bool { self.writing == nil }
    var hasWaiting: Bool { !self.waiting.isEmpty }

    /// Begins the next batch, where one waits and none is under way. Whether it needs a new file.
    mutating func begin(now: Instant) -> (isNewFile: Bool, records: Int)? {
        guard self.writing == nil, !self.waiting.isEmpty else { return nil }
        var records: [JournalRecord] = []
        var bytes = 0
        var ticket: UInt64?
        while let submission = self.waiting.first, bytes < Self.maxBatchBytes {
            while self.taken < submission.records.count, bytes < Self.maxBatchBytes {
                let record = submission.records[self.taken]
                let size = BatchEncoder.payloadBytes(record) + 2 * JournalFormat.recordHeaderBytes
                if !records.isEmpty, bytes + size > Self.maxBatchBytes {
                    bytes = Self.maxBatchBytes
                    break
                }
                records.append(record)
                bytes += size
                self.taken += 1
            }
            guard self.taken == submission.records.count else { break }
            ticket = submission.ticket
            self.waiting.removeFirst()
            self.taken = 0
        }
        let plan = self.writer.plan(records)
        self.writing = Writing(plan: plan, records: records, ticket: ticket, isRetry: false)
        if self.oldestUnfinishedSync == nil { self.oldestUnfinishedSync = now }
        return (plan.isNew, records.count)
    }

    enum Outcome {
        case durable(ticket: UInt64?, records: Int)
        /// The sync failed: the batch goes into another segment.
        case again
        case failed
    }

    /// The time of the batch under way is over: it is written and synced.
    mutating func complete() -> Outcome? {
        guard let writing = self.writing else { return nil }
        let file = self.segment(writing.plan)
        self.disk.write(file, writing.plan.bytes, at: writing.plan.offset)
        do {
            if !self.ignoresSync { try self.disk.sync(file) }
        } catch {
            guard !writing.isRetry else { return .failed }
            self.writer.abandonSegment()
            self.writing?.plan = self.writer.plan(writing.records)
            self.writing?.isRetry = true
            return .again
        }
        self.durable.apply(writing.records)
        self.writing = nil
        if self.waiting.isEmpty { self.oldestUnfinishedSync = nil }
        return .durable(ticket: writing.ticket, records: writing.records.count)
    }

    /// The file of a plan; made first where there is none.
    private func segment(_ plan: JournalWriter.Plan) -> SimulatedDisk.File {
        let name = Self.name(of: plan.file)
        if let file = self.disk.file(name) { return file }
        let file = self.disk.create(name + Self.unfinished)
        self.disk.write(
            file,
            JournalFormat.blank(
                blocks: 0..<Self.segmentBytes / JournalFormat.blockBytes, identity: self.writer.identity),
            at: 0)
        self.disk.syncUnfailing(file)
        self.disk.rename(name + Self.unfinished, name)
        self.disk.syncDirectory()
        return file
    }

    /// The process dies where it stands: of the batch under way some first part has reached the page cache. What the
    /// disk may hold at the next start.
    mutating func die(_ random: inout Random) -> [DurableState] {
        guard let writing = self.writing else { return [self.durable] }
        self.writing = nil
        var next = self.durable
        next.apply(writing.records)
        // Of a first attempt whose sync failed all is in the page cache.
        let without = writing.isRetry ? [self.durable, next] : [self.durable]
        let name = Self.name(of: writing.plan.file)
        if self.disk.file(name) == nil {
            switch random.below(4) {
            case 0:
                return without
            case 1:
                // Killed while it fills the new file.
                let file = self.disk.create(name + Self.unfinished)
                let blocks = Int(random.below(UInt64(Self.segmentBytes / JournalFormat.blockBytes) + 1))
                self.disk.write(file, JournalFormat.blank(blocks: 0..<blocks, identity: self.writer.identity), at: 0)
                return without
            case 2:
                _ = self.segment(writing.plan)
                return without
            default:
                break
            }
        }
        let file = self.segment(writing.plan)
        let page = SimulatedDisk.sectorBytes
        let pages = writing.plan.bytes.count / page
        let written = random.chance(1, in: 2) ? pages : Int(random.below(UInt64(pages) + 1))
        self.disk.write(file, writing.plan.bytes[..<(written * page)], at: writing.plan.offset)
        return [self.durable, next]
    }
}
