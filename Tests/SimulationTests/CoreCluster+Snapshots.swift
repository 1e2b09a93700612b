import Formats
import NodeCore
import Replication

/// Snapshot files that are written and read at once.
extension CoreCluster {
    struct File {
        var mark: SnapshotMark
        var blocks: [[UInt8]] = []
        var isWhole = false

        var digest: Hash128 {
            var digest = SnapshotDigest(key: CoreCluster.hashKey)
            for block in self.blocks { digest.add(block) }
            return digest.value
        }

        var bytes: [UInt8] {
            let header = SnapshotFormat.header(self.mark)
            var framing = SnapshotFraming(header: header)
            return header + self.blocks.flatMap { framing.frame($0) } + framing.footer
        }
    }

    static var hashKey: HashKey { HashKey(ClusterID(high: 1, low: 2)) }

    func perform(_ action: SnapshotAction, _ node: UInt32, _ core: NodeCore) {
        func at(_ group: GroupID, _ index: LogIndex) -> Int? {
            self.disks[node]!.files[group]?.lastIndex { $0.mark.index == index && $0.isWhole }
        }
        switch action {
        case .begin(let group, let mark):
            self.disks[node]!.files[group, default: []].removeAll { !$0.isWhole || $0.mark.index == mark.index }
            self.disks[node]!.files[group, default: []].append(File(mark: mark))
        case .block(let group, let bytes):
            let last = self.disks[node]!.files[group]!.count - 1
            self.disks[node]!.files[group]![last].blocks.append(bytes)
            core.snapshotBlockWritten(group)
        case .finish(let group):
            let last = self.disks[node]!.files[group]!.count - 1
            if self.failsSnapshots.contains(node) {
                let mark = self.disks[node]!.files[group]!.removeLast().mark
                return core.snapshotFailed(group, index: mark.index)
            }
            self.disks[node]!.files[group]![last].isWhole = true
            let file = self.disks[node]!.files[group]![last]
            core.snapshotDurable(group, index: file.mark.index, digest: file.digest)
        case .abandon(let group):
            self.disks[node]!.files[group]?.removeAll { !$0.isWhole }
        case .read(let group, let index, let offset, let member):
            let bytes = at(group, index).map { self.disks[node]!.files[group]![$0].bytes }
            core.snapshotRead(
                group, index: index, offset: offset, size: UInt64(bytes?.count ?? 0),
                bytes: bytes.map { Array($0[Int(offset)...]) }, for: member)
        case .stage(let piece, _):
            if self.failsSnapshots.contains(node) {
                return core.snapshotNotStaged(piece.group, index: piece.mark.index)
            }
            guard piece.bytes.count == Int(piece.size), let read = try? SnapshotFormat.read(piece.bytes) else {
                fatalError("a whole file in one piece")
            }
            let file = File(mark: piece.mark, blocks: read.blocks, isWhole: true)
            self.disks[node]!.files[piece.group, default: []].removeAll { $0.mark.index == piece.mark.index }
            self.disks[node]!.files[piece.group, default: []].append(file)
            core.snapshotStaged(
                piece.group, index: piece.mark.index, nextOffset: piece.size, isWhole: true, isDamaged: false)
        case .load(let group, let mark, let number):
            guard let at = at(group, mark.index) else {
                return core.snapshotUnreadable(group, number: number, reason: "it is gone")
            }
            let file = self.disks[node]!.files[group]![at]
            // What a reading that was given up still brings is none of this one's.
            for isLast in [false, true] {
                [1, 2, 3].withUnsafeBytes {
                    try! core.snapshotLoaded(group, number: number - 1, block: $0, isLast: isLast, digest: .zero)
                }
            }
            core.snapshotUnreadable(group, number: number - 1, reason: "an earlier reading")
            for block in file.blocks {
                block.withUnsafeBytes {
                    try! core.snapshotLoaded(group, number: number, block: $0, isLast: false, digest: nil)
                }
            }
            try! core.snapshotLoaded(
                group, number: number, block: UnsafeRawBufferPointer(start: nil, count: 0), isLast: true,
                digest: file.digest)
        case .setAside(let group, let index):
            self.disks[node]!.files[group]?.removeAll { $0.mark.index == index }
            self.disks[node]!.setAside.append(index)
        case .drop(let group, let index): self.disks[node]!.files[group]?.removeAll { $0.mark.index == index }
        case .lend(let group, let index, let offset, let member):
            core.snapshotLent(group, index: index, offset: offset, bytes: nil, for: member)
        case .repair(let group, let mark, _):
            core.snapshotRepairFailed(group, index: mark.index)
        case .lent, .abandonRepair: break
        }
    }
}
