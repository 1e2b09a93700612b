package import Replication

/// A disk with a page cache. A process that is killed leaves the cache as it is; when the power goes, of each sector
/// that no sync covered either the old content survives or the new, in any combination, and of the changes of names
/// that no sync of the directory covered the first few.
///
/// A sector is written whole or not at all, unless a run asks for worse. A sync that fails leaves its pages clean, and lost with the power.
package final class SimulatedDisk {
    package static let sectorBytes = 4096
    /// What a device may write whole or not at all where it does so with no more.
    private static let partBytes = 512

    /// A file's content, by whatever names.
    package final class File {
        package fileprivate(set) var bytes: [UInt8] = []
        /// What is on the medium where it differs from `bytes`, by sector.
        fileprivate var medium: [Int: Old] = [:]
        fileprivate var durableCount = 0
        /// Sectors that cannot be read for now: a write there ends it.
        fileprivate(set) var unreadable: Set<Int> = []

        fileprivate struct Old {
            var bytes: [UInt8]
            /// A failed sync left the page clean: no later sync writes it.
            var isLost: Bool
        }
    }

    /// One atomic change of names: each to a file, or to none.
    private typealias Renaming = [(name: String, file: File?)]

    private var names: [(name: String, file: File)] = []
    private var durableNames: [(name: String, file: File)] = []
    private var pending: [Renaming] = []
    /// So many of the next syncs fail.
    package var failingSyncs = 0
    var condition = DiskCondition.well
    /// Files of snapshots cannot be written.
    var refusesSnapshots = false
    var takesSnapshots: Bool { self.condition == .well && !self.refusesSnapshots }

    package init() {}
    package struct SyncFailed: Error {}

    /// What a reader of all files would take along: the page cache's content, all of it durable on the copy. O(bytes).
    func copy() -> SimulatedDisk {
        let copy = SimulatedDisk()
        for (name, file) in self.names {
            let other = File()
            other.bytes = file.bytes
            other.durableCount = file.bytes.count
            copy.names.append((name, other))
        }
        copy.durableNames = copy.names
        return copy
    }

    /// The same disk once more, with what is under way on it. O(bytes).
    func twin() -> SimulatedDisk {
        let twin = self.copy()
        for (name, file) in self.names {
            let other = twin.file(name)!
            other.medium = file.medium
            other.durableCount = file.durableCount
        }
        return twin
    }

    /// What is on the medium for certain: a power cut may leave more. O(bytes).
    func durableCopy() -> SimulatedDisk {
        let copy = SimulatedDisk()
        for (name, file) in self.durableNames {
            let other = File()
            other.bytes = Self.durableBytes(of: file)
            other.durableCount = other.bytes.count
            copy.names.append((name, other))
        }
        copy.durableNames = copy.names
        return copy
    }

    /// Of one file; nil where no name of it is durable. O(bytes of it).
    func durableBytes(_ name: String) -> [UInt8]? {
        self.durableNames.first { $0.name == name }.map { Self.durableBytes(of: $0.file) }
    }

    private static func durableBytes(of file: File) -> [UInt8] {
        var bytes = file.bytes
        for (sector, old) in file.medium { Self.put(old, sector, &bytes) }
        bytes.removeSubrange(min(file.durableCount, bytes.count)...)
        return bytes
    }

    // MARK: Names

    package func file(_ name: String) -> File? { self.names.first { $0.name == name }?.file }

    /// What a power cut would leave under this name, where all its bytes are durable.
    func durableFile(_ name: String) -> File? {
        self.durableNames.first { $0.name == name && $0.file.medium.isEmpty }?.file
    }

    /// All there is, by name.
    var files: [(name: String, file: File)] { self.names }

    /// Names that begin so, sorted.
    package func list(_ prefix: String) -> [String] { self.names.map(\.name).filter { $0.hasPrefix(prefix) }.sorted() }

    /// A new, empty file under this name, in place of what was there.
    package func create(_ name: String) -> File {
        let file = File()
        self.change([(name, file)])
        return file
    }

    package func remove(_ name: String) {
        if self.file(name) != nil { self.change([(name, nil)]) }
    }

    package func rename(_ from: String, _ to: String) {
        guard let file = self.file(from) else { return }
        self.change([(from, nil), (to, file)])
    }

    package func syncDirectory() {
        self.durableNames = self.names
        self.pending.removeAll()
    }

    private func change(_ renaming: Renaming) {
        Self.apply(renaming, to: &self.names)
        self.pending.append(renaming)
    }

    private static func apply(_ renaming: Renaming, to names: inout [(name: String, file: File)]) {
        for (name, file) in renaming {
            names.removeAll { $0.name == name }
            if let file { names.append((name, file)) }
        }
    }

    // MARK: Contents

    func write(_ file: File, _ bytes: ArraySlice<UInt8>, at offset: Int) {
        guard !bytes.isEmpty else { return }
        let end = offset + bytes.count
        for sector in offset / Self.sectorBytes...(end - 1) / Self.sectorBytes {
            file.unreadable.remove(sector)
            guard file.medium[sector] == nil else {
                // Dirty again.
                file.medium[sector]?.isLost = false
                continue
            }
            let start = sector * Self.sectorBytes
            let known = max(0, min(file.bytes.count, start + Self.sectorBytes) - start)
            file.medium[sector] = File.Old(
                bytes: known > 0 ? Array(file.bytes[start..<start + known]) : [], isLost: false)
        }
        if offset == file.bytes.count { return file.bytes.append(contentsOf: bytes) }
        if end > file.bytes.count {
            file.bytes.append(contentsOf: [UInt8](repeating: 0, count: end - file.bytes.count))
        }
        file.bytes.withUnsafeMutableBytes { target in
            bytes.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(rebasing: target[offset..<end]).copyMemory(from: source)
            }
        }
    }

    package func write(_ file: File, _ bytes: [UInt8], at offset: Int) { self.write(file, bytes[...], at: offset) }

    /// What a reader gets that goes around the page cache: what was written and is not synced is written out first; a page
    /// whose sync failed counts as clean, and the medium has what stood there before.
    package func readAround(_ file: File) -> [UInt8] {
        guard file.medium.contains(where: { $0.value.isLost }) else { return file.bytes }
        var bytes = file.bytes
        for (sector, old) in file.medium where old.isLost { Self.put(old, sector, &bytes) }
        return bytes
    }

    private static func put(_ old: File.Old, _ sector: Int, _ bytes: inout [UInt8]) {
        let start = sector * Self.sectorBytes
        for at in start..<min(start + Self.sectorBytes, bytes.count) {
            bytes[at] = at - start < old.bytes.count ? old.bytes[at - start] : 0
        }
    }

    /// What is on the medium rots: no write, and nothing that a sync would notice. What is read afterwards is what the medium
    /// has: the page that hid it is gone from the cache, as it goes some time. So of what was changed nothing is under way
    /// any more, and no power cut brings back what stood there before:
    ///
    /// - a page that no sync covered yet had been written out, then the medium rotted;
    /// - a page whose sync failed was not, and never is: what rots is what stood there before.
    package func rot(_ file: File, _ body: (inout [UInt8]) -> Void) {
        let cached = file.bytes
        let before = self.readAround(file)
        file.bytes = before
        body(&file.bytes)
        file.durableCount = min(file.durableCount, file.bytes.count)
        for (sector, old) in file.medium {
            let start = sector * Self.sectorBytes
            let range = min(start, before.count)..<min(start + Self.sectorBytes, before.count)
            let isSpared = range.upperBound <= file.bytes.count && file.bytes[range] == before[range]
            guard isSpared else {
                file.medium[sector] = nil
                continue
            }
            // Elsewhere the cache still hides the medium.
            if old.isLost { file.bytes.replaceSubrange(range, with: cached[range]) }
        }
    }

    /// A sector shows something else than what is there, until it is written or `reveal`ed.
    func hide(_ file: File, sector: Int) { file.unreadable.insert(sector) }

    /// - Returns: whether it was still hidden.
    func reveal(_ file: File, sector: Int) -> Bool { file.unreadable.remove(sector) != nil }

    package func sync(_ file: File) throws(SyncFailed) {
        if self.failingSyncs > 0 || self.condition == .failsSyncs {
            self.failingSyncs = max(0, self.failingSyncs - 1)
            for sector in file.medium.keys.sorted() { file.medium[sector]?.isLost = true }
            throw SyncFailed()
        }
        file.medium = file.medium.filter { $0.value.isLost }
        file.durableCount = file.bytes.count
    }

    /// A sync that no drawn failure hits: those are the journal's batches' alone.
    func syncUnfailing(_ file: File) {
        let (failing, condition) = (self.failingSyncs, self.condition)
        self.failingSyncs = 0
        self.condition = .well
        try? self.sync(file)
        self.failingSyncs = failing
        self.condition = condition
    }

    /// Creates or replaces a small file as a careful program does: beside it, synced, renamed, the directory synced.
    func replace(_ name: String, with bytes: [UInt8]) {
        self.beginReplacing(name, with: bytes, isRenamed: true)
        self.syncDirectory()
    }

    /// The same, by a process that dies on the way: before its sync, or after the file has its name.
    func beginReplacing(_ name: String, with bytes: [UInt8], isRenamed: Bool) {
        let temporary = name + ".new"
        let file = self.create(temporary)
        self.write(file, bytes, at: 0)
        guard isRenamed else { return }
        self.syncUnfailing(file)
        self.rename(temporary, name)
    }

    // MARK: Power

    /// The power goes, and comes back: what was not synced survives in part.
    ///
    /// - Parameter tearsSectors: of each sector that was under way its parts of 512 bytes are old or new, each.
    package func losePower(_ random: inout Random, tearsSectors: Bool = false) {
        let kept = self.pending.isEmpty ? 0 : Int(random.below(UInt64(self.pending.count) + 1))
        for renaming in self.pending.prefix(kept) { Self.apply(renaming, to: &self.durableNames) }
        self.pending.removeAll()
        self.names = self.durableNames
        for (_, file) in self.names.sorted(by: { $0.name < $1.name }) { self.losePower(file, &random, tearsSectors) }
        self.durableNames = self.names
        self.failingSyncs = 0
    }

    private func losePower(_ file: File, _ random: inout Random, _ tearsSectors: Bool) {
        // Often all or nothing went out; else each sector for itself.
        let mode = random.below(4)
        for sector in file.medium.keys.sorted() {
            guard let old = file.medium[sector] else { continue }
            let survives = mode == 0 ? true : mode == 1 ? false : random.chance(1, in: 2)
            let kept: UInt64 = old.isLost ? 0 : tearsSectors && mode > 1 ? random.below(256) : survives ? 255 : 0
            let start = sector * Self.sectorBytes
            for at in start..<min(start + Self.sectorBytes, file.bytes.count)
            where kept & 1 << UInt64((at - start) / Self.partBytes) == 0 {
                file.bytes[at] = at - start < old.bytes.count ? old.bytes[at - start] : 0
            }
        }
        file.medium.removeAll()
        if file.bytes.count > file.durableCount, random.chance(1, in: 2) {
            file.bytes.removeSubrange(file.durableCount...)
        }
        file.durableCount = file.bytes.count
    }
}
