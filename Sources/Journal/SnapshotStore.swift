import CKintsugi
package import Formats
import Glibc
package import Replication
import Synchronization

/// Snapshot files of a node's groups, written and read by a thread of their own.
///
/// A file is `KSNP`, u32 version, u32 length of the mark, the mark, u32 checksum of all that; then for each block u32 length,
/// u32 CRC32C seeded with that of the header and of the block's own place, its bytes; then u32 0xffffffff, u32 checksum of
/// the header's and the blocks' checksums, u64 count of blocks. Nothing in it is a node's own: equal states give equal files,
/// so that a bad block may come from a peer.
package final class SnapshotStore: Sendable {
    package enum Done: Sendable {
        case blockWritten(GroupID)
        /// `digest`: of the state in the file.
        case durable(GroupID, LogIndex, digest: Hash128)
        case failed(GroupID, LogIndex, String)
        /// `bytes` nil: the file is gone or bad.
        case read(GroupID, LogIndex, offset: UInt64, size: UInt64, bytes: [UInt8]?, for: MemberID)
        case staged(GroupID, LogIndex, nextOffset: UInt64, isWhole: Bool, isDamaged: Bool)
        /// This disk did not take the piece: nothing is said of the bytes.
        case notStaged(GroupID, LogIndex, String)
        /// Blocks come in order; after the last an empty one with `isLast` and the digest of them all. `failure`: the file
        /// is bad from here.
        case loaded(GroupID, LogIndex, number: UInt64, block: [UInt8], isLast: Bool, digest: Hash128?, failure: String?)
        /// A file's rebuilding needs a peer's bytes from `offset` on, for the frame that begins at `frame`.
        case repairNeeds(GroupID, LogIndex, frame: UInt64, offset: UInt64)
        /// The file is rebuilt and durable; `bytes` of it are new.
        case repaired(GroupID, LogIndex, bytes: Int)
        /// The disk refused the new file.
        case repairFailed(GroupID, LogIndex, String)
        /// Bytes for a peer that rebuilds its file; nil: the file is gone, cannot be read or ends before.
        case lent(GroupID, LogIndex, offset: UInt64, bytes: [UInt8]?, for: MemberID)
    }

    private enum Work: Sendable {
        case begin(GroupID, SnapshotMark)
        case block(GroupID, [UInt8])
        case finish(GroupID)
        case abandon(GroupID)
        case read(GroupID, LogIndex, offset: UInt64, MemberID)
        case stage(SnapshotPiece)
        case load(GroupID, SnapshotMark, number: UInt64)
        case loadMore(GroupID, number: UInt64)
        case repair(GroupID, SnapshotMark, usesOld: Bool)
        case lent(GroupID, LogIndex, offset: UInt64, [UInt8])
        case lend(GroupID, LogIndex, offset: UInt64, MemberID)
        case abandonRepair(GroupID)
        case setAside(GroupID, LogIndex)
        case drop(GroupID, LogIndex)
        case remove(GroupID, below: LogIndex, keeping: [LogIndex])
        case other(@Sendable () throws -> Void)
        case close
    }

    let directory: String
    /// Of the cluster's hashes: seeds the digests.
    private let hashKey: HashKey
    private let work = Mutex<[Work]>([])
    private let signal = Signal()
    private let thread = JoinableThread()
    let completion: @Sendable (Done) -> Void

    /// - Parameter completion: called on the store's thread.
    package init(
        directory: String, hashKey: HashKey, completion: @escaping @Sendable (Done) -> Void
    ) throws(FileError) {
        self.directory = directory
        self.hashKey = hashKey
        self.completion = completion
        try Files.makeDirectory(directory)
        for name in Files.list(directory) where name.hasSuffix(".part") { unlink(directory + "/" + name) }
        self.thread.start(name: "snapshots") { [self] in self.run() }
    }

    package func begin(_ group: GroupID, _ mark: SnapshotMark) { self.add(.begin(group, mark)) }
    package func block(_ group: GroupID, _ bytes: [UInt8]) { self.add(.block(group, bytes)) }
    package func finish(_ group: GroupID) { self.add(.finish(group)) }
    package func abandon(_ group: GroupID) { self.add(.abandon(group)) }
    package func read(_ group: GroupID, index: LogIndex, offset: UInt64, for member: MemberID) {
        self.add(.read(group, index, offset: offset, member))
    }
    package func stage(_ piece: SnapshotPiece) { self.add(.stage(piece)) }
    /// Reads back the file of this very snapshot. `number` tells one load from another of the same file. After a few blocks
    /// more come as `loadMore` asks for them.
    package func load(_ group: GroupID, _ mark: SnapshotMark, number: UInt64) {
        self.add(.load(group, mark, number: number))
    }
    /// A block that was loaded has been taken in: the next may come.
    package func loadMore(_ group: GroupID, number: UInt64) { self.add(.loadMore(group, number: number)) }
    /// Begins to rebuild a snapshot's file (`SnapshotRepair`). One of a group at a time: an earlier one is dropped.
    package func repair(_ group: GroupID, _ mark: SnapshotMark, usesOld: Bool) {
        self.add(.repair(group, mark, usesOld: usesOld))
    }
    /// Goes on with a rebuilding, with bytes of a peer's file.
    package func lent(_ group: GroupID, index: LogIndex, offset: UInt64, _ bytes: [UInt8]) {
        self.add(.lent(group, index, offset: offset, bytes))
    }
    /// Reads bytes for a peer's rebuilding.
    package func lend(_ group: GroupID, index: LogIndex, offset: UInt64, for member: MemberID) {
        self.add(.lend(group, index, offset: offset, member))
    }
    package func abandonRepair(_ group: GroupID) { self.add(.abandonRepair(group)) }
    /// Takes a file out of use and keeps it for a person to look at, as `GROUP-INDEX.diverged`: one of a group.
    package func setAside(_ group: GroupID, index: LogIndex) { self.add(.setAside(group, index)) }
    /// Removes one file.
    package func drop(_ group: GroupID, index: LogIndex) { self.add(.drop(group, index)) }
    /// Files of snapshots before `index`, but for those that are named, are not needed any more: the journal durably names a
    /// newer one.
    package func remove(_ group: GroupID, below index: LogIndex, keeping kept: [LogIndex] = []) {
        self.add(.remove(group, below: index, keeping: kept))
    }
    /// Other small file work that must not hold up the core loop.
    package func perform(_ work: @escaping @Sendable () throws -> Void) { self.add(.other(work)) }
    /// Does not wait long for a disk that does not answer: what is cut short here is made anew after the next start.
    package func close() {
        self.add(.close)
        _ = self.thread.join(within: .seconds(1))
    }

    private func add(_ item: Work) {
        self.work.withLock { $0.append(item) }
        self.signal.raise()
    }

    // MARK: On the thread

    /// Bytes that are handed to the disk together. A journal's sync waits behind what is in the disk's queue, so it is little.
    private static let stretch = 256 << 10

    /// The file of a snapshot that is not needed any more, kept for the next one to be written over it. To make a large file,
    /// and to remove one, are changes of the file system that other files' syncs wait for, the journal's among them: some 50 ms
    /// for 140 MB where the disk is told what is free. Where checkpoints come seldom it goes all the same, after a while.
    private static let spare = "spare.part"
    private static let spareFor = Nanoseconds.seconds(30)
    /// Smaller ones are not worth it.
    private static let minSpareBytes = 4 << 20

    private var sparePath: String { self.directory + "/" + Self.spare }

    private struct Writing {
        var group: GroupID
        var mark: SnapshotMark
        var path: String
        var fd: Int32
        var framing: SnapshotFraming
        var digest: SnapshotDigest
        /// As far as the system was told to write back.
        var flushed = 0
        var failure: String?
    }

    private struct Staging {
        var group: GroupID
        var index: LogIndex
        var path: String
        var fd: Int32
    }

    private func run() {
        var writing: [Writing] = []
        var staging: [Staging] = []
        var repairing: [Repairing] = []
        var readings: [Reading] = []
        var hasSpare = false
        while true {
            if hasSpare, !self.signal.wait(atMost: Self.spareFor) {
                unlink(self.sparePath)
                hasSpare = false
            } else if !hasSpare {
                self.signal.wait()
            }
            let items = self.work.withLock { items in
                defer { items.removeAll() }
                return items
            }
            for item in items {
                switch item {
                case .begin(let group, let mark): self.begin(group, mark, &writing, &hasSpare)
                case .block(let group, let bytes): self.block(group, bytes, &writing)
                case .finish(let group): self.finish(group, &writing)
                case .abandon(let group): Self.drop(group, &writing)
                case .read(let group, let index, let offset, let member): self.read(group, index, offset, member)
                case .stage(let piece):
                    if hasSpare { unlink(self.sparePath) }
                    hasSpare = false
                    self.stage(piece, &staging)
                case .load(let group, let mark, let number): self.beginReading(group, mark, number, &readings)
                case .loadMore(let group, let number): self.readOn(group, number, &readings)
                case .repair(let group, let mark, let usesOld):
                    self.beginRepair(group, mark, usesOld: usesOld, &repairing)
                case .lent(let group, let index, let offset, let bytes):
                    self.continueRepair(group, index, offset, bytes, &repairing)
                case .lend(let group, let index, let offset, let member): self.lend(group, index, offset, member)
                case .abandonRepair(let group): Self.dropRepair(group, &repairing)
                case .setAside(let group, let index): self.setAside(group, index)
                case .drop(let group, let index): self.retire(self.path(group, index), of: group, &hasSpare)
                case .remove(let group, let index, let kept):
                    self.removeOlder(group, than: index, keeping: kept, &hasSpare)
                case .other(let work): try? work()
                case .close:
                    for file in writing { Glibc.close(file.fd) }
                    for file in staging { Glibc.close(file.fd) }
                    for file in repairing { file.close() }
                    for file in readings { Glibc.close(file.fd) }
                    return
                }
            }
        }
    }

    package func path(of group: GroupID, _ index: LogIndex) -> String { self.path(group, index) }

    package func pathSetAside(of group: GroupID, _ index: LogIndex) -> String {
        self.path(group, index).dropLast(".snapshot".count) + ".diverged"
    }

    func path(_ group: GroupID, _ index: LogIndex) -> String {
        self.directory + "/" + Self.name(group, index)
    }

    static func name(_ group: GroupID, _ index: LogIndex) -> String {
        "\(group.rawValue)-\(index).snapshot"
    }

    /// What a finished file's name says; nil where it is no such name.
    static func parse(_ name: String) -> (GroupID, LogIndex)? {
        guard name.hasSuffix(".snapshot") else { return nil }
        let parts = name.dropLast(".snapshot".count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let group = UInt64(parts[0]), let index = LogIndex(parts[1]) else { return nil }
        return (GroupID(rawValue: group), index)
    }

    private func begin(
        _ group: GroupID, _ mark: SnapshotMark, _ writing: inout [Writing], _ hasSpare: inout Bool
    ) {
        Self.drop(group, &writing)
        let path = self.path(group, mark.index) + ".part"
        let header = SnapshotFormat.header(mark)
        var file = Writing(
            group: group, mark: mark, path: path, fd: -1, framing: SnapshotFraming(header: header),
            digest: SnapshotDigest(key: self.hashKey))
        // The default group's, whose state is the large one: another's would be cut down to its own size.
        let isReused = hasSpare && group == .default && Glibc.rename(self.sparePath, path) == 0
        if isReused { hasSpare = false }
        do {
            file.fd = try Files.open(path, O_RDWR | O_CREAT | (isReused ? 0 : O_TRUNC))
            try Files.write(file.fd, header, at: 0, path: path)
        } catch {
            file.failure = "\(error)"
        }
        writing.append(file)
    }

    private func block(_ group: GroupID, _ bytes: [UInt8], _ writing: inout [Writing]) {
        defer { self.completion(.blockWritten(group)) }
        guard let at = writing.firstIndex(where: { $0.group == group }), writing[at].failure == nil else { return }
        let offset = writing[at].framing.offset
        let framed = writing[at].framing.frame(bytes)
        writing[at].digest.add(bytes)
        do {
            try Files.write(writing[at].fd, framed, at: offset, path: writing[at].path)
            while writing[at].framing.offset - writing[at].flushed >= Self.stretch {
                kintsugi_write_back(writing[at].fd, writing[at].flushed, Self.stretch, Self.stretch)
                writing[at].flushed += Self.stretch
            }
        } catch {
            writing[at].failure = "\(error)"
        }
    }

    private func finish(_ group: GroupID, _ writing: inout [Writing]) {
        guard let at = writing.firstIndex(where: { $0.group == group }) else { return }
        let file = writing.remove(at: at)
        defer { if file.fd >= 0 { Glibc.close(file.fd) } }
        do {
            if let failure = file.failure { throw DirectoryRefused(failure) }
            try Files.write(file.fd, file.framing.footer, at: file.framing.offset, path: file.path)
            let size = file.framing.offset + file.framing.footer.count
            if Files.size(file.fd) > size, ftruncate(file.fd, off_t(size)) != 0 {
                throw FileError(call: "ftruncate", path: file.path, code: errno)
            }
            try Files.sync(file.fd, path: file.path)
            try Files.rename(file.path, self.path(group, file.mark.index), directory: self.directory)
            self.completion(.durable(group, file.mark.index, digest: file.digest.value))
        } catch {
            unlink(file.path)
            self.completion(.failed(group, file.mark.index, "\(error)"))
        }
    }

    private static func drop(_ group: GroupID, _ writing: inout [Writing]) {
        writing.removeAll { file in
            guard file.group == group else { return false }
            if file.fd >= 0 { Glibc.close(file.fd) }
            unlink(file.path)
            return true
        }
    }

    private func removeOlder(
        _ group: GroupID, than index: LogIndex, keeping kept: [LogIndex], _ hasSpare: inout Bool
    ) {
        let prefix = "\(group.rawValue)-"
        for name in Files.list(self.directory) where name.hasPrefix(prefix) && name.hasSuffix(".snapshot") {
            if let other = LogIndex(name.dropFirst(prefix.count).dropLast(".snapshot".count)), other < index,
                !kept.contains(other)
            {
                self.retire(self.directory + "/" + name, of: group, &hasSpare)
            }
        }
    }

    private func retire(_ path: String, of group: GroupID, _ hasSpare: inout Bool) {
        if !hasSpare, group == .default, Self.size(path) >= Self.minSpareBytes,
            Glibc.rename(path, self.sparePath) == 0
        {
            hasSpare = true
        } else {
            unlink(path)
        }
    }

    private static func size(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }

    private func setAside(_ group: GroupID, _ index: LogIndex) {
        let prefix = "\(group.rawValue)-"
        for name in Files.list(self.directory) where name.hasPrefix(prefix) && name.hasSuffix(".diverged") {
            unlink(self.directory + "/" + name)
        }
        try? Files.rename(
            self.path(group, index), self.pathSetAside(of: group, index), directory: self.directory)
    }

    private func read(_ group: GroupID, _ index: LogIndex, _ offset: UInt64, _ member: MemberID) {
        let path = self.path(group, index)
        var bytes: [UInt8]?
        var size = 0
        do throws(FileError) {
            let fd = try Files.open(path, O_RDONLY)
            defer { Glibc.close(fd) }
            size = Files.size(fd)
            if offset < UInt64(size) { bytes = try Files.read(fd, at: Int(offset), count: 1 << 20, path: path) }
        } catch {
            // Not now: nothing is said of the file. The core asks again in a while, or gives the transfer up.
            guard error.isOfFile else { return }
        }
        self.completion(.read(group, index, offset: offset, size: UInt64(size), bytes: bytes, for: member))
    }

    private func stage(_ piece: SnapshotPiece, _ staging: inout [Staging]) {
        let index = piece.mark.index
        let path = self.path(piece.group, index) + ".part"
        do {
            if piece.offset == 0 {
                staging.removeAll { file in
                    guard file.group == piece.group else { return false }
                    Glibc.close(file.fd)
                    if file.index != index { unlink(file.path) }
                    return true
                }
                let fd = try Files.open(path, O_RDWR | O_CREAT | O_TRUNC)
                staging.append(Staging(group: piece.group, index: index, path: path, fd: fd))
            }
            guard let at = staging.firstIndex(where: { $0.group == piece.group && $0.index == index }) else {
                throw DirectoryRefused("a piece of no known snapshot")
            }
            let fd = staging[at].fd
            try Files.write(fd, piece.bytes, at: Int(piece.offset), path: path)
            let next = piece.offset + UInt64(piece.bytes.count)
            guard next >= piece.size else {
                return self.completion(
                    .staged(piece.group, index, nextOffset: next, isWhole: false, isDamaged: false))
            }
            try Files.sync(fd, path: path)
            Glibc.close(fd)
            staging.remove(at: at)
            guard try SnapshotFile.verify(path) == piece.mark else { throw DirectoryRefused("its blocks do not check") }
            try Files.rename(path, self.path(piece.group, index), directory: self.directory)
            self.completion(.staged(piece.group, index, nextOffset: next, isWhole: true, isDamaged: false))
        } catch {
            unlink(path)
            if let error = error as? FileError {
                return self.completion(.notStaged(piece.group, index, error.description))
            }
            self.completion(.staged(piece.group, index, nextOffset: 0, isWhole: false, isDamaged: true))
        }
    }

    // MARK: Reading back

    /// A file that is being read back. Blocks that the core has not taken in yet are few: it reads no faster than they are
    /// applied.
    private struct Reading {
        var group: GroupID
        var mark: SnapshotMark
        var number: UInt64
        var fd: Int32
        var file: SnapshotFile.Reading
        var digest: SnapshotDigest
    }

    private static let readingWindow = 8

    private func beginReading(
        _ group: GroupID, _ mark: SnapshotMark, _ number: UInt64, _ readings: inout [Reading]
    ) {
        Self.dropReading(group, &readings)
        let path = self.path(group, mark.index)
        do {
            let fd = try Files.open(path, O_RDONLY)
            do {
                let file = try SnapshotFile.Reading(path) { try Files.read(fd, at: $0, count: $1, path: path) }
                guard file.mark == mark else { throw MalformedBytes("\(path) is another snapshot's file") }
                readings.append(
                    Reading(
                        group: group, mark: mark, number: number, fd: fd, file: file,
                        digest: SnapshotDigest(key: self.hashKey)))
            } catch {
                Glibc.close(fd)
                throw error
            }
        } catch {
            return self.completion(
                .loaded(
                    group, mark.index, number: number, block: [], isLast: true, digest: nil, failure: "\(error)"))
        }
        for _ in 0..<Self.readingWindow { self.readOn(group, number, &readings) }
    }

    /// One block more.
    private func readOn(_ group: GroupID, _ number: UInt64, _ readings: inout [Reading]) {
        guard let at = readings.firstIndex(where: { $0.group == group && $0.number == number }) else { return }
        let (index, fd, path) = (readings[at].mark.index, readings[at].fd, readings[at].file.path)
        var digest: Hash128?
        var failure: String?
        do {
            let block = try readings[at].file.next(
                size: { Files.size(fd) }, bytes: { try Files.read(fd, at: $0, count: $1, path: path) })
            if let block {
                readings[at].digest.add(block)
                return self.completion(
                    .loaded(
                        group, index, number: number, block: block, isLast: false, digest: nil, failure: nil))
            }
            digest = readings[at].digest.value
        } catch {
            failure = "\(error)"
        }
        Self.dropReading(group, &readings)
        self.completion(
            .loaded(group, index, number: number, block: [], isLast: true, digest: digest, failure: failure))
    }

    private static func dropReading(_ group: GroupID, _ readings: inout [Reading]) {
        readings.removeAll { reading in
            guard reading.group == group else { return false }
            Glibc.close(reading.fd)
            return true
        }
    }
}

/// Reads snapshot files (`SnapshotFormat`) without holding one in memory.
package enum SnapshotFile {
    /// The mark of a file all of whose blocks check.
    package static func verify(_ path: String) throws -> SnapshotMark { try Self.read(path) { _ in } }

    /// Gives each block in turn, checked. Throws at the first that is bad.
    @discardableResult
    package static func read(_ path: String, _ body: ([UInt8]) throws -> Void) throws -> SnapshotMark {
        let fd = try Files.open(path, O_RDONLY)
        defer { Glibc.close(fd) }
        return try Self.read(
            path, size: { Files.size(fd) }, bytes: { try Files.read(fd, at: $0, count: $1, path: path) }, body)
    }

    /// The same from whatever gives bytes, from an offset on, fewer than asked for where the file ends.
    @discardableResult
    static func read(
        _ path: String, size: () -> Int, bytes: (_ offset: Int, _ count: Int) throws -> [UInt8],
        _ body: ([UInt8]) throws -> Void
    ) throws -> SnapshotMark {
        var reading = try Reading(path, bytes: bytes)
        while let block = try reading.next(size: size, bytes: bytes) { try body(block) }
        return reading.mark
    }

    /// A file that is read block by block.
    struct Reading {
        let path: String
        let mark: SnapshotMark
        private var offset = 0
        private var framing: SnapshotFraming

        /// Reads its head.
        init(_ path: String, bytes: (_ offset: Int, _ count: Int) throws -> [UInt8]) throws {
            var offset = 0
            func take(_ count: Int) throws -> [UInt8] { try SnapshotFile.take(count, at: &offset, path, bytes) }
            var header = try take(12)
            let (magic, version) = SnapshotFile.words(header)
            guard magic == SnapshotFormat.magic,
                (SnapshotFormat.lowestVersion...SnapshotFormat.version).contains(version)
            else { throw MalformedBytes("\(path) is not a snapshot of a known version") }
            let length = Int(header[8]) | Int(header[9]) << 8 | Int(header[10]) << 16
            header += try take(length)
            let own = try take(4)
            guard SnapshotFile.words(own + [0, 0, 0, 0]).0 == CRC32C.of(header[...]) else {
                throw MalformedBytes("\(path): its head is bad")
            }
            self.mark = try header[12...].withUnsafeBytes { bytes in
                var reader = ByteReader(bytes)
                return try reader.mark()
            }
            self.path = path
            self.framing = SnapshotFraming(header: header + own, version: version)
            self.offset = offset
        }

        /// The next block, checked; nil after the last one, where the file ends as it should.
        mutating func next(
            size: () -> Int, bytes: (_ offset: Int, _ count: Int) throws -> [UInt8]
        ) throws -> [UInt8]? {
            let (path, blocks) = (self.path, self.framing.blocks)
            let (count, expected) = SnapshotFile.words(try SnapshotFile.take(8, at: &self.offset, path, bytes))
            if count == SnapshotFormat.endMark {
                let (low, high) = SnapshotFile.words(try SnapshotFile.take(8, at: &self.offset, path, bytes))
                guard expected == self.framing.checksum, UInt64(low) | UInt64(high) << 32 == blocks else {
                    throw MalformedBytes("\(path): its end is bad")
                }
                guard self.offset == size() else { throw MalformedBytes("\(path) goes on after its end") }
                return nil
            }
            guard Int(count) <= SnapshotFormat.maxBlockBytes else {
                throw MalformedBytes("\(path): block \(blocks) is bad")
            }
            let block = try SnapshotFile.take(Int(count), at: &self.offset, path, bytes)
            guard self.framing.checksum(of: block[...]) == expected else {
                throw MalformedBytes("\(path): block \(blocks) is bad")
            }
            self.framing.take(count: block.count, checksum: expected)
            return block
        }
    }

    private static func take(
        _ count: Int, at offset: inout Int, _ path: String, _ bytes: (_ offset: Int, _ count: Int) throws -> [UInt8]
    ) throws -> [UInt8] {
        let found = try bytes(offset, count)
        guard found.count == count else { throw MalformedBytes("\(path) ends early") }
        offset += count
        return found
    }

    private static func words(_ bytes: [UInt8]) -> (UInt32, UInt32) {
        bytes.withUnsafeBytes {
            (
                UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 0, as: UInt32.self)),
                UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            )
        }
    }
}
