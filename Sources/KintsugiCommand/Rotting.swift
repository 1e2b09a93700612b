import Formats
import FoundationEssentials
import Glibc
import Journal
import Replication

/// Damage that a drill does to a stopped node's files, drawn from a seed.
struct Rotting: Sendable {
    enum Mode: String, Sendable {
        /// One bit of one byte.
        case bits
        /// Bits, zeroed sectors, swapped sectors, files cut short.
        case sectors
    }

    enum Kind: String, Sendable {
        case bit = "bit flipped"
        case zeroed = "sector zeroed"
        case swapped = "sectors swapped"
        case cut = "file cut"
    }

    struct Place: Sendable {
        /// Within the node's directory.
        var file: String
        var kind: Kind
        var offset: Int
    }

    private static let sector = 512
    private var random: Random
    private let mode: Mode

    init(seed: UInt64, mode: Mode) {
        self.random = Random(seed: seed)
        self.mode = mode
    }

    mutating func below(_ bound: Int) -> Int { Int(self.random.below(UInt64(bound))) }

    /// Any file of the directory but the lock and what was set aside as lost; nil where there is none.
    ///
    /// Three of four places in a segment of the journal are among what was written: most of a segment is empty, and nobody
    /// would miss it.
    mutating func damage(_ directory: String) throws -> Place? {
        var files: [String] = []
        for name in Files.list(directory) where name != "LOCK" && !name.hasPrefix("lost-") {
            let inner = Files.list(directory + "/" + name)
            files += inner.isEmpty ? [name] : inner.map { name + "/" + $0 }
        }
        files = files.filter { (try? Files.read(directory + "/" + $0))?.isEmpty == false }
        guard !files.isEmpty else { return nil }
        let file = files[self.below(files.count)]
        let path = directory + "/" + file
        var bytes = try Files.read(path)
        var range = 0..<bytes.count
        if self.below(4) > 0, let used = Self.used(file, directory), used.upperBound <= bytes.count, !used.isEmpty {
            range = used
        }
        let offset = range.lowerBound + self.below(range.count)
        let kinds: [Kind] = self.mode == .bits ? [.bit] : [.bit, .zeroed, .swapped, .cut]
        var kind = kinds[self.below(kinds.count)]
        let sector = offset / Self.sector * Self.sector..<min(bytes.count, (offset / Self.sector + 1) * Self.sector)
        let other = self.below(max(1, bytes.count / Self.sector)) * Self.sector
        if kind == .swapped, other + Self.sector > bytes.count || sector.count < Self.sector { kind = .zeroed }
        switch kind {
        case .bit: bytes[offset] ^= 1 << UInt8(self.below(8))
        case .zeroed: for at in sector { bytes[at] = 0 }
        case .swapped: for at in sector { bytes.swapAt(at, other + at - sector.lowerBound) }
        case .cut: bytes.removeSubrange(offset...)
        }
        // In place, as rot comes: not by a new file of that name.
        let fd = try Files.open(path, O_WRONLY)
        defer { close(fd) }
        try Files.write(fd, bytes, at: 0, path: path)
        if kind == .cut { ftruncate(fd, off_t(bytes.count)) }
        try Files.sync(fd, path: path)
        return Place(file: file, kind: kind, offset: offset)
    }

    /// Flips a bit in the bytes of an entry that no snapshot covers, so that the node's log has a hole; false where there
    /// is no such entry.
    mutating func flipEntry(_ directory: String) throws -> Bool {
        guard let report = try? JournalReport.inspect(directory: directory) else { return false }
        var places: [(file: UInt32, offset: Int)] = []
        for segment in report.segments {
            for batch in segment.batches where batch.row == .taken {
                // Right behind the headers, of which there are two copies.
                let headers =
                    JournalFormat.batchHeaderBytes + JournalFormat.batchGroupBytes * batch.shares.count
                    + JournalFormat.recordHeaderBytes * batch.records
                guard headers + 8 < JournalFormat.blockPayload,
                    batch.shares.contains(where: { $0.group == .default && !$0.entries.isEmpty })
                else { continue }
                places.append(
                    (segment.file, batch.block * JournalFormat.blockBytes + JournalFormat.frameBytes + headers + 8))
            }
        }
        // The newest are above the snapshot; the last one is written again at the start.
        var tries = 0
        for (file, offset) in places.dropLast().suffix(40).shuffled(using: &self.random) where tries < 10 {
            tries += 1
            let path = directory + "/journal/" + JournalReport.name(of: file)
            try Self.flip(path, at: offset)
            let changed = try? JournalReport.inspect(directory: directory)
            let holes = changed?.groups.first { $0.group == .default }?.holes ?? []
            if !holes.isEmpty, changed?.starts ?? false { return true }
            try Self.flip(path, at: offset)
        }
        return false
    }

    private static func flip(_ path: String, at offset: Int) throws {
        let fd = try Files.open(path, O_RDWR)
        defer { close(fd) }
        var bytes = try Files.read(fd, at: offset, count: 1, path: path)
        guard bytes.count == 1 else { return }
        bytes[0] ^= 1
        try Files.write(fd, bytes, at: offset, path: path)
        try Files.sync(fd, path: path)
    }

    /// What was written of a segment of the journal.
    private static func used(_ file: String, _ directory: String) -> Range<Int>? {
        guard file.hasPrefix("journal/"), let report = try? JournalReport.inspect(directory: directory) else {
            return nil
        }
        for segment in report.segments where file == "journal/" + JournalReport.name(of: segment.file) {
            let last = segment.batches.map { $0.block + $0.blocks }.max() ?? 0
            return 0..<last * JournalFormat.blockBytes
        }
        return nil
    }
}
