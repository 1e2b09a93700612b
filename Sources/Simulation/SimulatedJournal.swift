import Formats
import Replication

/// A node's journal on a simulated disk: the real writer, format and recovery, with the file layer and the thread of
/// `Journal` played by events. What is submitted during a sync is the next batch.
struct SimulatedJournal {
    /// Small, so that segments are recycled within a short run.
    static let segmentBytes = 128 << 10
    /// Ends the name of a file that is being made.
    static let unfinished = ".new"

    let disk: SimulatedDisk
    private let bug: PlantedBug?
    var pipeline: JournalPipeline
    private var underway: JournalPipeline.Step?
    /// Batches that failed since the last write that became durable: of each the disk may have kept anything.
    private var attempts: [[JournalRecord]] = []
    /// What torn batches would have made that the start cut, until another takes their place.
    private var cut: [DurableState]
    /// What the disk has for certain.
    private(set) var durable: DurableState
    /// When the batch under way was begun, on the node's clock.
    private(set) var oldestUnfinishedSync: Instant?

    static func name(of file: UInt32) -> String {
        let digits = String(file)
        return "journal/" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    /// Reads the journal without changing it, around the page cache as `Journal.scan` does.
    static func recover(_ disk: SimulatedDisk, identity: JournalIdentity) -> RecoveredJournal {
        var scans: [(file: UInt32, scan: SegmentScan)] = []
        for name in disk.list("journal/") {
            guard let number = UInt32(name.dropFirst("journal/".count)), let file = disk.file(name) else { continue }
            scans.append((number, disk.readAround(file).withUnsafeBytes { SegmentScan($0, identity: identity) }))
        }
        return RecoveredJournal(scans)
    }

    /// What a start found, checked against what must be there.
    ///
    /// - Parameters:
    ///   - expected: possible states of the disk; the recovered one is one of them.
    ///   - isDamaged: it was hit by rot. Then what was durable is there, or is a hole that is known to be one, or the disk
    ///     is lost; else it is there.
    ///   - death: where the process dies on the way, if it does.
    /// - Returns: nil for the journal where the process did not live to see it open: it died, the disk refused, or is lost.
    static func open(
        _ disk: SimulatedDisk, identity: JournalIdentity, expected: [DurableState], isDamaged: Bool,
        death: StartDeath?, bug: PlantedBug?
    ) throws -> (SimulatedJournal?, RecoveredJournal) {
        var recovered = Self.recover(disk, identity: identity)
        if isDamaged {
            if recovered.isLost { return (nil, recovered) }
            if bug == .cutsAtBadChecksum { Self.cutAtHoles(&recovered) }
        } else {
            if let damage = recovered.damage.first { throw Violation(.journalReadable, "\(damage)") }
            if let lost = recovered.lost { throw Violation(.journalReadable, "the disk counts as lost: \(lost)") }
            for group in recovered.groups where !group.isWhole {
                throw Violation(
                    .journalReadable, "group \(group.group) has holes at \(group.holes.map(\.index))")
            }
        }
        for name in disk.list("journal/")
        where name.hasSuffix(Self.unfinished) && name != Self.reserve + Self.unfinished {
            disk.remove(name)
        }
        let possible = expected.filter { isDamaged || !$0.isCut }
        guard var durable = possible.first(where: { $0.difference(from: recovered, isDamaged: isDamaged) == nil })
        else {
            throw Violation(
                .durableStateSurvives,
                possible.compactMap { $0.difference(from: recovered, isDamaged: isDamaged) }.joined(
                    separator: "; or, with the batch under way: "))
        }
        durable.isCut = false
        var cut = recovered.hasTornTail || isDamaged ? expected.filter { $0 != durable } : []
        for at in cut.indices { cut[at].isCut = true }
        var writer = JournalWriter(identity: identity, segmentBytes: Self.segmentBytes, recovered: recovered)
        for file in recovered.blankFiles { writer.addFree(file) }
        if !recovered.unproved.isEmpty || recovered.segments.isEmpty {
            let plan = writer.plan(recovered.unproved)
            let file = Self.segment(plan, disk, identity)
            disk.write(file, plan.bytes, at: plan.offset)
            guard death != .inTail else { return (nil, recovered) }
            do { try disk.sync(file) } catch { return (nil, recovered) }
            cut = []
        }
        recovered.unproved = []
        if bug == .deniesHoles { Self.cutAtHoles(&recovered) }
        guard death != .inTail else { return (nil, recovered) }
        guard Self.ensureReserve(disk, identity, death) else { return (nil, recovered) }
        return (SimulatedJournal(disk: disk, bug: bug, writer: writer, durable: durable, cut: cut), recovered)
    }

    /// The planted bugs' way: what stands after the first bad entry is gone too, and nothing was ever there.
    private static func cutAtHoles(_ recovered: inout RecoveredJournal) {
        for at in recovered.groups.indices {
            guard let hole = recovered.groups[at].holes.first else { continue }
            recovered.groups[at].entries.removeAll { $0.index > hole.index }
            recovered.groups[at].holes = []
        }
    }

    private init(
        disk: SimulatedDisk, bug: PlantedBug?, writer: JournalWriter, durable: DurableState, cut: [DurableState]
    ) {
        self.disk = disk
        self.bug = bug
        self.pipeline = JournalPipeline(writer: writer, maxBatchBytes: Self.segmentBytes / 4, hasReserve: true)
        self.durable = durable
        self.cut = cut
        self.durable.forgetBelowSnapshots()
    }

    // MARK: Writing

    mutating func submit(_ records: [JournalRecord], ticket: UInt64, beginsSegment: Bool = false) {
        self.pipeline.submit(records, ticket: ticket, beginsSegment: beginsSegment)
    }

    var extents: [SegmentExtent] { self.pipeline.extents }

    var isIdle: Bool { self.underway == nil && self.pipeline.isIdle }
    var isFailing: Bool { self.pipeline.isFailing }
    var retryPause: Nanoseconds? { self.pipeline.retryPause }

    mutating func retry() { self.pipeline.retry() }
    mutating func takeEvents() -> [JournalPipeline.Event] { self.pipeline.takeEvents() }

    /// Begins the next step, where there is one and none is under way. Whether a file is made for it.
    mutating func begin(now: Instant) -> (isNewFile: Bool, records: Int)? {
        guard self.underway == nil else { return nil }
        guard let step = self.pipeline.next() else {
            self.oldestUnfinishedSync = nil
            return nil
        }
        self.underway = step
        if self.oldestUnfinishedSync == nil { self.oldestUnfinishedSync = now }
        switch step {
        case .write(let plan): return (plan.isNew, self.pipeline.recordsUnderway.count)
        case .makeReserve: return (true, 0)
        case .takeReserve: return (false, 0)
        }
    }

    /// The time of the step under way is over.
    /// - Returns: the fault, where the disk did not take it.
    mutating func complete() -> JournalFault? {
        guard let step = self.underway else { return nil }
        self.underway = nil
        let records = self.pipeline.recordsUnderway
        do throws(SimulatedDisk.Refused) {
            switch step {
            case .write(let plan):
                if plan.offset == 0 { self.removeRetired(self.retired.count) }
                try self.write(plan)
                self.durable.apply(records)
                self.attempts.removeAll()
                self.cut.removeAll()
                self.pipeline.completed()
                self.retired += self.pipeline.takeSurplus()
                self.removeRetired(1)
            case .makeReserve:
                try self.disk.checkCreation()
                Self.make(Self.reserve, self.disk, self.pipeline.writer.identity)
                self.pipeline.reserveMade()
            case .takeReserve(let file):
                try self.takeReserve(as: file)
                self.pipeline.reserveTaken()
            }
            return nil
        } catch {
            if !records.isEmpty { self.attempts.append(records) }
            if self.bug == .acknowledgesFailedBatch, case .write = step {
                self.durable.apply(records)
                self.pipeline.completed()
            } else {
                self.pipeline.failed(error.fault)
            }
            return error.fault
        }
    }

    /// Removed one at a time, as `SegmentFiles` does.
    private var retired: [UInt32] = []

    private mutating func removeRetired(_ count: Int) {
        for file in self.retired.prefix(count) { self.disk.remove(Self.name(of: file)) }
        self.retired.removeFirst(min(count, self.retired.count))
    }

    /// The segment that the reserve became: its blocks are there.
    var reserved: UInt32?

    private func write(_ plan: JournalWriter.Plan) throws(SimulatedDisk.Refused) {
        let there = self.disk.file(Self.name(of: plan.file))?.bytes.count ?? 0
        if plan.offset == 0, there < Self.segmentBytes { try self.disk.checkCreation() }
        let hasBlocks = plan.offset > 0 || plan.file == self.reserved
        let file = Self.segment(plan, self.disk, self.pipeline.writer.identity)
        try self.disk.tryWrite(file, plan.bytes, at: plan.offset, hasBlocks: hasBlocks)
        guard self.bug != .ignoresSync else { return }
        do throws(SimulatedDisk.SyncFailed) { try self.disk.sync(file) } catch {
            if self.bug == .retriesFailedSync, (try? self.disk.sync(file)) != nil { return }
            throw SimulatedDisk.Refused(fault: .inputOutput)
        }
    }

    /// The file of a plan; made first where there is none.
    private static func segment(
        _ plan: JournalWriter.Plan, _ disk: SimulatedDisk, _ identity: JournalIdentity
    ) -> SimulatedDisk.File {
        let name = Self.name(of: plan.file)
        invariant(
            plan.fileBlocks * JournalFormat.blockBytes <= Self.segmentBytes, "a batch of \(plan.bytes.count) bytes")
        // A free one that was cut short is made anew.
        if let file = disk.file(name), plan.offset > 0 || file.bytes.count >= Self.segmentBytes { return file }
        return Self.make(name, disk, identity)
    }

    @discardableResult
    static func make(_ name: String, _ disk: SimulatedDisk, _ identity: JournalIdentity) -> SimulatedDisk.File {
        let file = Self.fill(name, Self.segmentBytes / JournalFormat.blockBytes, disk, identity)
        disk.syncUnfailing(file)
        disk.rename(name + Self.unfinished, name)
        disk.syncDirectory()
        return file
    }

    /// A file that has not yet its name, with its first blocks.
    @discardableResult
    static func fill(
        _ name: String, _ blocks: Int, _ disk: SimulatedDisk, _ identity: JournalIdentity
    ) -> SimulatedDisk.File {
        let file = disk.create(name + Self.unfinished)
        disk.write(file, JournalFormat.blank(blocks: 0..<blocks, identity: identity), at: 0)
        return file
    }

    /// The process dies where it stands: of the write under way some first part has reached the page cache. What the
    /// disk may hold at the next start.
    mutating func die(_ random: inout Random) -> [DurableState] {
        var possible = [self.durable] + self.cut
        for records in self.attempts {
            var state = self.durable
            state.apply(records)
            possible.append(state)
        }
        let plan: JournalWriter.Plan
        switch self.underway {
        case .write(let write): plan = write
        case .makeReserve:
            self.dieMakingReserve(&random)
            return possible
        case .takeReserve(let file):
            self.dieTakingReserve(as: file, &random)
            return possible
        case nil: return possible
        }
        self.underway = nil
        guard self.disk.condition.allowsWriting else { return possible }
        let name = Self.name(of: plan.file)
        if self.disk.file(name) == nil {
            switch random.below(4) {
            case 0:
                return possible
            case 1:
                // Killed while it fills the new file.
                let blocks = Int(random.below(UInt64(Self.segmentBytes / JournalFormat.blockBytes) + 1))
                Self.fill(name, blocks, self.disk, self.pipeline.writer.identity)
                return possible
            case 2:
                _ = Self.segment(plan, self.disk, self.pipeline.writer.identity)
                return possible
            default:
                break
            }
        }
        let file = Self.segment(plan, self.disk, self.pipeline.writer.identity)
        let page = SimulatedDisk.sectorBytes
        let pages = plan.bytes.count / page
        let written = random.chance(1, in: 2) ? pages : Int(random.below(UInt64(pages) + 1))
        self.disk.write(file, plan.bytes[..<(written * page)], at: plan.offset)
        var next = self.durable
        next.apply(self.pipeline.recordsUnderway)
        return possible + [next]
    }
}
