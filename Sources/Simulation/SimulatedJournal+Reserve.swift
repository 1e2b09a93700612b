import Formats
import Replication

/// Where a process dies at its start, if it does.
enum StartDeath: CaseIterable {
    /// Between the two copies of its identity.
    case betweenIdentities
    /// What no later batch proves durable is written again, and not synced.
    case inTail
    /// While a reserve is made, where there is none or it is bad.
    case makingReserve
    /// While a bad copy of the open incidents is written anew.
    case inIncidents
}

/// The reserve, as `SegmentFiles` keeps it, step by step: a process may die between any two.
extension SimulatedJournal {
    static let reserve = "journal/reserve"
    private static let blocks = segmentBytes / JournalFormat.blockBytes

    /// At a start: there is a reserve, and a good one, by what its disk has.
    /// - Returns: false where the process dies on the way.
    static func ensureReserve(_ disk: SimulatedDisk, _ identity: JournalIdentity, _ death: StartDeath?) -> Bool {
        let isGood = disk.file(Self.reserve).map {
            JournalFormat.isBlank(disk.readAround($0), blocks: 0..<Self.blocks, identity: identity)
        }
        if isGood == true { return death != .makingReserve }
        guard death != .makingReserve else {
            Self.fill(Self.reserve, Self.blocks / 2, disk, identity)
            return false
        }
        Self.make(Self.reserve, disk, identity)
        return true
    }

    /// What there is to do to take the reserve, in this order.
    enum TakingStep: Int, CaseIterable, Comparable {
        case mend, sync, rename, syncDirectory

        static func < (a: TakingStep, b: TakingStep) -> Bool { a.rawValue < b.rawValue }
    }

    /// The reserve becomes the segment of this number. Blocks of it that rotted are made blank again first.
    ///
    /// - Parameter last: what is done at most; the process dies then.
    mutating func takeReserve(
        as file: UInt32, through last: TakingStep = .syncDirectory
    ) throws(SimulatedDisk.Refused) {
        // To open it for writing is refused where to rename it is.
        try self.disk.checkRenaming()
        guard let reserve = self.disk.file(Self.reserve) else { throw SimulatedDisk.Refused(fault: .inputOutput) }
        let found = self.disk.readAround(reserve)
        guard found.count == Self.segmentBytes else { throw SimulatedDisk.Refused(fault: .inputOutput) }
        let blank = JournalFormat.blank(blocks: 0..<Self.blocks, identity: self.pipeline.writer.identity)
        if found != blank { try self.disk.tryWrite(reserve, blank, at: 0, hasBlocks: true) }
        guard last > .mend else { return }
        do throws(SimulatedDisk.SyncFailed) { try self.disk.sync(reserve) } catch {
            throw SimulatedDisk.Refused(fault: .inputOutput)
        }
        guard last > .sync else { return }
        self.disk.rename(Self.reserve, Self.name(of: file))
        self.reserved = file
        guard last > .rename else { return }
        self.disk.syncDirectory()
    }

    /// The first few of the steps are done.
    func dieMakingReserve(_ random: inout Random) {
        let blocks = Int(random.below(UInt64(Self.blocks) + 1))
        guard self.disk.condition.allowsWriting else { return }
        switch random.below(3) {
        case 0: return
        case 1: Self.fill(Self.reserve, blocks, self.disk, self.pipeline.writer.identity)
        default:
            // Killed before it heard that the directory was synced; or before it was.
            let file = Self.fill(Self.reserve, Self.blocks, self.disk, self.pipeline.writer.identity)
            self.disk.syncUnfailing(file)
            self.disk.rename(Self.reserve + Self.unfinished, Self.reserve)
        }
    }

    mutating func dieTakingReserve(as file: UInt32, _ random: inout Random) {
        let steps = Int(random.below(UInt64(TakingStep.allCases.count) + 1))
        // Whether the disk refused makes no difference any more.
        if steps > 0 { try? self.takeReserve(as: file, through: TakingStep.allCases[steps - 1]) }
    }
}
