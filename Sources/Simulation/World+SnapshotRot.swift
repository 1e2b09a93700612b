import Formats
import NodeCore
import Replication

/// A file of a snapshot that is bad by a fault, until another takes its place.
struct SnapshotRot {
    let node: Int
    let group: GroupID
    let index: LogIndex
    /// The content that rotted; nil where the file is gone.
    let file: SimulatedDisk.File?
    /// Frames that are touched, counted from 0 after the header; the end counts as one.
    let frames: Set<Int>
    /// Where the frames lay in the file while it was good: in a bad one they cannot be told any more.
    let spans: [Range<Int>]
}

/// Rot of snapshot files at rest: flipped bits, zeroed, swapped and misplaced sectors, cut files, missing ones.
///
/// Bound (`World+DamageBound`): a minority of the nodes is damaged; or nothing but snapshots is, the bad files of a group are
/// of one snapshot, and no frame is bad in two of them. No copy is made of a disk that has rot.
extension World {
    private static let rotSector = 512

    func injectSnapshotRot(_ draw: inout Random) {
        let kind = draw.below(6)
        self.rotSnapshot(&draw, kind)
    }

    /// - Parameter kind: 0: a bit; 1: a sector zeroed; 2: two sectors change places; 3: a sector of elsewhere; 4: cut short;
    ///   5: gone.
    func rotSnapshot(_ draw: inout Random, _ kind: UInt64) {
        let node = self.anyNode(&draw)
        let group = Self.groups[Int(draw.below(2))]
        let place = draw.next()
        let second = draw.next()
        guard let (index, file) = self.newestSnapshot(of: group, on: node), file.bytes.count > 64 else { return }
        self.forgetOldRot()
        let spans = self.snapshotRot.first { $0.file === file }?.spans ?? Self.frames(of: file.bytes)
        let whole = Set(0..<max(spans.count, 1))
        let size = file.bytes.count
        let sectors = (size + Self.rotSector - 1) / Self.rotSector
        func sector(_ number: UInt64) -> Range<Int> {
            let first = Int(number % UInt64(sectors)) * Self.rotSector
            return first..<min(first + Self.rotSector, size)
        }
        func frames(in range: Range<Int>) -> Set<Int> {
            spans.isEmpty ? whole : Set(spans.indices.filter { spans[$0].overlaps(range) })
        }
        let (a, b) = (sector(place), sector(second))
        let byte = Int(second % UInt64(size))
        var touched = frames(in: a)
        switch kind {
        case 0: touched = frames(in: byte..<byte + 1)
        case 2 where a.count == b.count: touched.formUnion(frames(in: b))
        case 4: touched = frames(in: a.lowerBound..<size)
        case 5: touched = whole
        default: break
        }
        guard self.mayRot(node, group, index, touched) else { return }
        self.counts.rots += 1
        self.note(.snapshotRot, node, group.rawValue, index)
        var isGone = false
        switch kind {
        case 1:
            node.disk.rot(file) { bytes in for at in a { bytes[at] = 0 } }
        case 2 where a.count == b.count:
            node.disk.rot(file) { bytes in for (at, other) in zip(a, b) { bytes.swapAt(at, other) } }
        case 3:
            // A sector of another file, or of another place in this one.
            let other = self.newestSnapshot(of: group == .system ? .default : .system, on: node)?.file.bytes ?? []
            node.disk.rot(file) { bytes in
                for at in a { bytes[at] = at < other.count ? other[at] : bytes[(at + Self.rotSector) % size] }
            }
        case 4:
            node.disk.rot(file) { $0.removeSubrange(a.lowerBound...) }
        case 5:
            node.disk.remove(SimulatedSnapshots.name(group, index))
            node.disk.syncDirectory()
            isGone = true
        default:
            node.disk.rot(file) { bytes in bytes[byte] ^= 1 << UInt8(place & 7) }
        }
        self.snapshotRot.append(
            SnapshotRot(
                node: node.index, group: group, index: index, file: isGone ? nil : file, frames: touched,
                spans: spans))
    }

    /// A file that could not be read must be one that rotted.
    func checkUnreadable(_ node: SimulatedNode, _ group: GroupID, _ index: LogIndex) throws {
        self.forgetOldRot()
        guard node.goneSnapshots[group] != index else { return }
        guard self.snapshotRot.contains(where: { $0.node == node.index && $0.group == group && $0.index == index })
        else {
            throw Violation(
                .snapshotReadable, "node \(node.number), group \(group): the snapshot at \(index) is gone or bad")
        }
    }

    private func mayRot(_ node: SimulatedNode, _ group: GroupID, _ index: LogIndex, _ frames: Set<Int>) -> Bool {
        if self.isMinorityDamaged(with: node) { return true }
        let rotten = self.snapshotRot.filter { $0.group == group }
        return self.isOnlyDamaged(.snapshot) && self.nodes.allSatisfy(\.goneSnapshots.isEmpty)
            && rotten.allSatisfy { $0.index == index && ($0.node == node.index || $0.frames.isDisjoint(with: frames)) }
            && rotten.allSatisfy { $0.file != nil } && !frames.isEmpty
    }

    /// Another disk took the place of a node's.
    func forgetRot(of node: SimulatedNode) {
        self.snapshotRot.removeAll { $0.node == node.index }
        node.hasJournalRot = false
        node.rottenBlocks = []
        node.goneSnapshots = [:]
        node.wrongFiles = [:]
        node.wasHitBySingleRot = false
    }

    func hasRot(_ node: SimulatedNode) -> Bool { self.hasSnapshotRot(node) || self.hasJournalRot(node) }

    func hasSnapshotRot(_ node: SimulatedNode) -> Bool {
        self.forgetOldRot()
        self.forgetGoneSnapshots(of: node)
        return !node.goneSnapshots.isEmpty || self.snapshotRot.contains { $0.node == node.index }
    }

    /// Files that took a bad one's place are good, and one that nobody names any more is no matter.
    private func forgetOldRot() {
        self.snapshotRot.removeAll { rot in
            let disk = self.nodes[rot.node].disk
            let file = disk.file(SimulatedSnapshots.name(rot.group, rot.index))
            if rot.file == nil { return file != nil || self.namedSnapshot(of: rot.group, on: rot.node) > rot.index }
            return file !== rot.file
        }
    }

    /// The newest that a node's journal names for certain.
    func namedSnapshot(of group: GroupID, on node: Int) -> LogIndex {
        let node = self.nodes[node]
        let states = node.isRunning ? node.journal.map { [$0.durable] } ?? [] : node.expected
        return states.map { state in state.groups.first { $0.id == group }?.state.snapshot ?? 0 }.min() ?? 0
    }

    private func newestSnapshot(
        of group: GroupID, on node: SimulatedNode
    ) -> (index: LogIndex, file: SimulatedDisk.File)? {
        let prefix = "snapshots/\(group.rawValue)-"
        let indexes = node.disk.list(prefix).filter { $0.hasSuffix(".snapshot") }.compactMap {
            LogIndex($0.dropFirst(prefix.count).dropLast(".snapshot".count))
        }
        guard let index = indexes.max(), let file = node.disk.file(SimulatedSnapshots.name(group, index)) else {
            return nil
        }
        return (index, file)
    }

    /// Where the frames of a good file lie, the end last; the header is nobody's: it is made anew. Empty for a bad one.
    private static func frames(of bytes: [UInt8]) -> [Range<Int>] {
        guard let found = try? SnapshotFormat.read(bytes) else { return [] }
        var offset = SnapshotFormat.header(found.mark).count
        var spans: [Range<Int>] = []
        for block in found.blocks {
            spans.append(offset..<offset + SnapshotFormat.frameHeaderBytes + block.count)
            offset += SnapshotFormat.frameHeaderBytes + block.count
        }
        spans.append(offset..<bytes.count)
        return spans
    }
}
