import Formats
import Replication

/// How a disk is, for a while.
enum DiskCondition: Equatable {
    case well
    /// New files have no room, nor does the beginning of a segment; other blocks are written in place. `isCopyOnWrite`: they
    /// are not, and nothing can be written any more, as on a file system that keeps old blocks.
    case full(isCopyOnWrite: Bool)
    case readOnly
    /// A write fails after some first part of it.
    case failsWrites
    /// Writes reach the page cache and no sync succeeds: its pages are clean afterwards, and lost with the power.
    case failsSyncs
    /// Nothing that is asked of it returns.
    case stuck

    /// Some of what is written reaches at least the page cache.
    var allowsWriting: Bool {
        switch self {
        case .well, .failsSyncs, .stuck: true
        case .full, .readOnly, .failsWrites: false
        }
    }

    var allowsRemoval: Bool { self != .readOnly && self != .stuck }
}

extension SimulatedDisk {
    /// What the disk says instead of doing it.
    struct Refused: Error {
        var fault: JournalFault
    }

    /// A new file, written and synced.
    func checkCreation() throws(Refused) {
        switch self.condition {
        case .well: return
        case .full: throw Refused(fault: .full)
        case .readOnly: throw Refused(fault: .readOnly)
        case .failsWrites, .failsSyncs, .stuck: throw Refused(fault: .inputOutput)
        }
    }

    /// A new name for a file that is there: on a full disk it has room.
    func checkRenaming() throws(Refused) {
        if case .full = self.condition { return }
        try self.checkCreation()
    }

    /// - Parameter hasBlocks: the place was written since the disk became full, or is the reserve's.
    func tryWrite(_ file: File, _ bytes: [UInt8], at offset: Int, hasBlocks: Bool) throws(Refused) {
        switch self.condition {
        case .well, .failsSyncs, .stuck:
            self.write(file, bytes, at: offset)
        case .full(let isCopyOnWrite):
            guard !isCopyOnWrite, hasBlocks else { throw Refused(fault: .full) }
            self.write(file, bytes, at: offset)
        case .readOnly:
            throw Refused(fault: .readOnly)
        case .failsWrites:
            let part = bytes.count / Self.sectorBytes / 2 * Self.sectorBytes
            self.write(file, bytes[..<part], at: offset)
            throw Refused(fault: .inputOutput)
        }
    }
}
