import Formats
import NodeCore
import Replication

/// Rebuilding of files that are bad in places: what `SnapshotStore` does, on a simulated disk.
extension SimulatedSnapshots {
    struct Repairing {
        var group: GroupID
        var repair: SnapshotRepair
        var name: String
        var file: SimulatedDisk.File
    }

    mutating func performRepair(_ action: SnapshotAction) -> Done? {
        switch action {
        case .repair(let group, let mark, let usesOld):
            self.dropRepair(group)
            let name = Self.name(group, mark.index) + ".repair.part"
            self.repairing.append(
                Repairing(
                    group: group, repair: SnapshotRepair(mark, usesOld: usesOld), name: name,
                    file: self.disk.create(name)))
            return self.advanceRepair(self.repairing.count - 1)
        case .lent(let group, let index, let offset, let bytes):
            guard
                let at = self.repairing.firstIndex(where: { $0.group == group && $0.repair.mark.index == index })
            else { return nil }
            self.repairing[at].repair.add(bytes, at: offset)
            return self.advanceRepair(at)
        case .abandonRepair(let group):
            self.dropRepair(group)
            return nil
        case .lend(let group, let index, let offset, let member):
            guard let file = self.disk.file(Self.name(group, index)), offset < UInt64(file.bytes.count) else {
                return .lent(group, index, offset: offset, bytes: nil, for: member)
            }
            let end = min(file.bytes.count, Int(offset) + Self.stretchBytes)
            return .lent(group, index, offset: offset, bytes: Array(file.bytes[Int(offset)..<end]), for: member)
        case .begin, .block, .finish, .abandon, .read, .stage, .load, .setAside, .drop:
            fatalError("no work of a repair")
        }
    }

    private mutating func advanceRepair(_ at: Int) -> Done? {
        guard self.disk.condition == .well else {
            let failed = self.repairing[at]
            self.dropRepair(failed.group)
            return .repairFailed(failed.group, failed.repair.mark.index)
        }
        let (group, mark, file) = (
            self.repairing[at].group, self.repairing[at].repair.mark, self.repairing[at].file
        )
        let old = self.disk.file(Self.name(group, mark.index))?.bytes ?? []
        while true {
            let step = self.repairing[at].repair.next { offset, count in
                offset < old.count ? Array(old[offset..<min(old.count, offset + count)]) : []
            }
            switch step {
            case .append(let bytes):
                self.disk.write(file, bytes, at: file.bytes.count)
            case .need(let frame, let offset):
                return .repairNeeds(group, mark.index, frame: frame, offset: offset)
            case .whole:
                let done = self.repairing.remove(at: at)
                self.publish(done.file, done.name, group, mark.index)
                return .repaired(group, mark.index, bytes: done.repair.repaired)
            }
        }
    }

    private mutating func dropRepair(_ group: GroupID) {
        for file in self.repairing where file.group == group { self.disk.remove(file.name) }
        self.repairing.removeAll { $0.group == group }
    }
}
