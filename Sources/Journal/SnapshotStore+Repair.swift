import Formats
import Glibc
import Replication

/// Rebuilding of snapshot files that are bad in places, and bytes for peers that do so. On the store's thread.
extension SnapshotStore {
    /// Bytes of a file that are lent at once.
    private static let lentBytes = 1 << 20

    /// A file on its way to replace a bad one.
    struct Repairing {
        var group: GroupID
        var repair: SnapshotRepair
        var path: String
        var fd: Int32
        /// The bad file; -1 where there is none, or none that can be opened.
        var old: Int32

        var index: LogIndex { self.repair.mark.index }

        func close() {
            Glibc.close(self.fd)
            if self.old >= 0 { Glibc.close(self.old) }
        }
    }

    func beginRepair(_ group: GroupID, _ mark: SnapshotMark, usesOld: Bool, _ repairing: inout [Repairing]) {
        Self.dropRepair(group, &repairing)
        let old = self.path(group, mark.index)
        // Beside a checkpoint or a transfer of the same index, which write to a `.part` of their own.
        let path = old + ".repair.part"
        do {
            let fd = try Files.open(path, O_RDWR | O_CREAT | O_TRUNC)
            repairing.append(
                Repairing(
                    group: group, repair: SnapshotRepair(mark, usesOld: usesOld), path: path, fd: fd,
                    old: usesOld ? (try? Files.open(old, O_RDONLY)) ?? -1 : -1))
            self.advanceRepair(repairing.count - 1, &repairing)
        } catch {
            self.completion(.repairFailed(group, mark.index, "\(error)"))
        }
    }

    func continueRepair(
        _ group: GroupID, _ index: LogIndex, _ offset: UInt64, _ bytes: [UInt8], _ repairing: inout [Repairing]
    ) {
        guard let at = repairing.firstIndex(where: { $0.group == group && $0.index == index }) else { return }
        repairing[at].repair.add(bytes, at: offset)
        self.advanceRepair(at, &repairing)
    }

    private func advanceRepair(_ at: Int, _ repairing: inout [Repairing]) {
        let (group, index, path) = (repairing[at].group, repairing[at].index, repairing[at].path)
        let old = repairing[at].old
        do {
            while true {
                let offset = repairing[at].repair.offset
                let step = repairing[at].repair.next { offset, count in
                    // A place that the disk cannot read is as bad as one with wrong bytes.
                    old < 0 ? [] : (try? Files.read(old, at: offset, count: count, path: path)) ?? []
                }
                switch step {
                case .append(let bytes):
                    try Files.write(repairing[at].fd, bytes, at: offset, path: path)
                case .need(let frame, let offset):
                    return self.completion(.repairNeeds(group, index, frame: frame, offset: offset))
                case .whole:
                    let done = repairing.remove(at: at)
                    defer { done.close() }
                    try Files.sync(done.fd, path: path)
                    try Files.rename(path, self.path(group, index), directory: self.directory)
                    return self.completion(.repaired(group, index, bytes: done.repair.repaired))
                }
            }
        } catch {
            Self.dropRepair(group, &repairing)
            unlink(path)
            self.completion(.repairFailed(group, index, "\(error)"))
        }
    }

    static func dropRepair(_ group: GroupID, _ repairing: inout [Repairing]) {
        repairing.removeAll { file in
            guard file.group == group else { return false }
            file.close()
            unlink(file.path)
            return true
        }
    }

    /// What is lent is checked by whoever asked: its frames have checksums.
    func lend(_ group: GroupID, _ index: LogIndex, _ offset: UInt64, _ member: MemberID) {
        let path = self.path(group, index)
        var bytes: [UInt8]?
        if let fd = try? Files.open(path, O_RDONLY) {
            defer { Glibc.close(fd) }
            if offset < UInt64(Files.size(fd)) {
                bytes = try? Files.read(fd, at: Int(offset), count: Self.lentBytes, path: path)
            }
        }
        self.completion(.lent(group, index, offset: offset, bytes: bytes, for: member))
    }
}
