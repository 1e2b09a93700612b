import Formats
import NodeCore
import Replication

/// A node's snapshot files on a simulated disk: what `SnapshotStore` does on its thread, one piece of work at a time.
struct SimulatedSnapshots {
    enum Done {
        case blockWritten(GroupID)
        case durable(GroupID, LogIndex, digest: Hash128)
        case failed(GroupID, LogIndex)
        case notStaged(GroupID, LogIndex)
        case read(GroupID, LogIndex, offset: UInt64, size: UInt64, bytes: [UInt8]?, for: MemberID)
        case staged(GroupID, LogIndex, nextOffset: UInt64, isWhole: Bool, isDamaged: Bool)
        /// All blocks in order; nil where the file is gone or bad.
        case loaded(GroupID, LogIndex, number: UInt64, blocks: [[UInt8]]?, digest: Hash128)
        case peerRunsReplaced(UInt64, isDurable: Bool)
        case openIncidentsReplaced(UInt64, isDurable: Bool)
        case rewritten(NodeFile, bytes: Int?)
        case repairNeeds(GroupID, LogIndex, frame: UInt64, offset: UInt64)
        case repaired(GroupID, LogIndex, bytes: Int)
        case repairFailed(GroupID, LogIndex)
        case lent(GroupID, LogIndex, offset: UInt64, bytes: [UInt8]?, for: MemberID)
    }

    enum Work {
        case action(SnapshotAction)
        /// The journal durably names the snapshot at the index: older ones go.
        case removeOlder(GroupID, than: LogIndex, keeping: [LogIndex])
        /// Both copies of `peer.runs` are replaced by what has this number, one after the other.
        case peerRuns([UInt8], version: UInt64)
        case secondPeerRuns([UInt8], version: UInt64)
        /// The older copy of the open incidents is written over, then synced.
        case openIncidents([UInt8], number: UInt64)
        case syncIncidents(SimulatedDisk.File, number: UInt64)
        /// A small file that rotted is replaced.
        case rewrite(NodeFile, [UInt8])
    }

    private struct Writing {
        var group: GroupID
        var mark: SnapshotMark
        var name: String
        var file: SimulatedDisk.File
        var framing: SnapshotFraming
        var digest: SnapshotDigest
        var hasFailed: Bool
    }

    /// Bytes of a file sent at once. Small, so that transfers take several steps.
    static let stretchBytes = 6 << 10

    let disk: SimulatedDisk
    let hashKey: HashKey
    var repairing: [Repairing] = []
    private var work: [Work] = []
    private var writing: [Writing] = []
    private var staging: [(group: GroupID, index: LogIndex, name: String, file: SimulatedDisk.File)] = []

    init(disk: SimulatedDisk, hashKey: HashKey) {
        self.disk = disk
        self.hashKey = hashKey
        for name in disk.list("snapshots/") where name.hasSuffix(".part") { disk.remove(name) }
    }

    mutating func add(_ work: Work) { self.work.append(work) }
    var hasWork: Bool { !self.work.isEmpty }

    static func name(_ group: GroupID, _ index: LogIndex) -> String { "snapshots/\(group.rawValue)-\(index).snapshot" }

    /// Does the oldest piece of work.
    mutating func perform() -> Done? {
        guard !self.work.isEmpty else { return nil }
        switch self.work.removeFirst() {
        case .peerRuns(let bytes, let version):
            guard self.replace(NodeFile.peerRunsA.rawValue, bytes) else {
                return .peerRunsReplaced(version, isDurable: false)
            }
            self.work.insert(.secondPeerRuns(bytes, version: version), at: 0)
            return nil
        case .secondPeerRuns(let bytes, let version):
            return .peerRunsReplaced(version, isDurable: self.replace(NodeFile.peerRunsB.rawValue, bytes))
        case .openIncidents(let bytes, let number):
            let name = NodeFile.incidents(number).rawValue
            guard self.disk.condition == .well, let file = self.disk.file(name) else {
                return .openIncidentsReplaced(number, isDurable: self.replace(name, bytes))
            }
            self.disk.write(file, bytes, at: 0)
            self.work.insert(.syncIncidents(file, number: number), at: 0)
            return nil
        case .syncIncidents(let file, let number):
            guard self.disk.condition == .well else { return .openIncidentsReplaced(number, isDurable: false) }
            self.disk.syncUnfailing(file)
            return .openIncidentsReplaced(number, isDurable: true)
        case .rewrite(let file, let bytes):
            return .rewritten(file, bytes: self.replace(file.rawValue, bytes) ? bytes.count : nil)
        case .removeOlder(let group, let index, let kept):
            self.removeOlder(group, than: index, keeping: kept)
            return nil
        case .action(let action):
            return self.perform(action)
        }
    }

    private func replace(_ name: String, _ bytes: [UInt8]) -> Bool {
        guard self.disk.condition == .well else { return false }
        self.disk.replace(name, with: bytes)
        return true
    }

    private mutating func perform(_ action: SnapshotAction) -> Done? {
        switch action {
        case .begin(let group, let mark):
            self.drop(group)
            let name = Self.name(group, mark.index) + ".part"
            let file = self.disk.create(name)
            let header = SnapshotFormat.header(mark)
            self.disk.write(file, header, at: 0)
            self.writing.append(
                Writing(
                    group: group, mark: mark, name: name, file: file, framing: SnapshotFraming(header: header),
                    digest: SnapshotDigest(key: self.hashKey),
                    hasFailed: !self.disk.takesSnapshots))
            return nil
        case .block(let group, let bytes):
            if let at = self.writing.firstIndex(where: { $0.group == group }) {
                if !self.disk.takesSnapshots { self.writing[at].hasFailed = true }
                let framed = self.writing[at].framing.frame(bytes)
                self.writing[at].digest.add(bytes)
                self.disk.write(self.writing[at].file, framed, at: self.writing[at].file.bytes.count)
            }
            return .blockWritten(group)
        case .finish(let group):
            return self.finish(group)
        case .abandon(let group):
            self.drop(group)
            return nil
        case .read(let group, let index, let offset, let member):
            guard let file = self.disk.file(Self.name(group, index)), offset < UInt64(file.bytes.count) else {
                return .read(group, index, offset: offset, size: 0, bytes: nil, for: member)
            }
            let end = min(file.bytes.count, Int(offset) + Self.stretchBytes)
            return .read(
                group, index, offset: offset, size: UInt64(file.bytes.count),
                bytes: Array(file.bytes[Int(offset)..<end]),
                for: member)
        case .stage(let piece, _):
            return self.stage(piece)
        case .load(let group, let mark, let number):
            guard let file = self.disk.file(Self.name(group, mark.index)),
                let found = try? SnapshotFormat.read(file.bytes), found.mark == mark
            else {
                return .loaded(group, mark.index, number: number, blocks: nil, digest: .zero)
            }
            var digest = SnapshotDigest(key: self.hashKey)
            for block in found.blocks { digest.add(block) }
            return .loaded(group, mark.index, number: number, blocks: found.blocks, digest: digest.value)
        case .setAside(let group, let index), .drop(let group, let index):
            self.disk.remove(Self.name(group, index))
            self.disk.syncDirectory()
            return nil
        case .repair, .lent, .abandonRepair, .lend:
            return self.performRepair(action)
        }
    }

    private mutating func finish(_ group: GroupID) -> Done? {
        guard let at = self.writing.firstIndex(where: { $0.group == group }) else { return nil }
        let done = self.writing.remove(at: at)
        guard !done.hasFailed, self.disk.takesSnapshots else {
            self.disk.remove(done.name)
            return .failed(group, done.mark.index)
        }
        self.disk.write(done.file, done.framing.footer, at: done.file.bytes.count)
        self.publish(done.file, done.name, group, done.mark.index)
        return .durable(group, done.mark.index, digest: done.digest.value)
    }

    func publish(_ file: SimulatedDisk.File, _ part: String, _ group: GroupID, _ index: LogIndex) {
        self.disk.syncUnfailing(file)
        self.disk.rename(part, Self.name(group, index))
        self.disk.syncDirectory()
    }

    private func removeOlder(_ group: GroupID, than index: LogIndex, keeping kept: [LogIndex]) {
        let prefix = "snapshots/\(group.rawValue)-"
        for name in self.disk.list(prefix) where name.hasSuffix(".snapshot") {
            if let other = LogIndex(name.dropFirst(prefix.count).dropLast(".snapshot".count)), other < index,
                !kept.contains(other)
            {
                self.disk.remove(name)
            }
        }
    }

    private mutating func drop(_ group: GroupID) {
        for file in self.writing where file.group == group { self.disk.remove(file.name) }
        self.writing.removeAll { $0.group == group }
    }

    private mutating func stage(_ piece: SnapshotPiece) -> Done {
        let index = piece.mark.index
        let part = Self.name(piece.group, index) + ".part"
        guard self.disk.takesSnapshots else {
            self.staging.removeAll { $0.group == piece.group }
            return .notStaged(piece.group, index)
        }
        if piece.offset == 0 {
            for file in self.staging where file.group == piece.group && file.index != index {
                self.disk.remove(file.name)
            }
            self.staging.removeAll { $0.group == piece.group }
            self.staging.append((piece.group, index, part, self.disk.create(part)))
        }
        guard let at = self.staging.firstIndex(where: { $0.group == piece.group && $0.index == index }) else {
            return .staged(piece.group, index, nextOffset: 0, isWhole: false, isDamaged: true)
        }
        let file = self.staging[at].file
        self.disk.write(file, piece.bytes, at: Int(piece.offset))
        let next = piece.offset + UInt64(piece.bytes.count)
        guard next >= piece.size else {
            return .staged(piece.group, index, nextOffset: next, isWhole: false, isDamaged: false)
        }
        self.staging.remove(at: at)
        guard let found = try? SnapshotFormat.read(file.bytes), found.mark == piece.mark else {
            self.disk.remove(part)
            return .staged(piece.group, index, nextOffset: 0, isWhole: false, isDamaged: true)
        }
        self.publish(file, part, piece.group, index)
        return .staged(piece.group, index, nextOffset: next, isWhole: true, isDamaged: false)
    }
}
