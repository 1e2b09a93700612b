import Formats
import Glibc

/// The reserve: a segment file that is made before it is needed and belongs to no segment. When the disk is full it takes
/// a segment's name, which needs no space, and what a node must be able to write even then goes into it.
extension SegmentFiles {
    private var reserve: String { self.directory + "/reserve" }

    /// Sees to it that there is a reserve, and a good one: as a segment with bad blocks it would look as if something were
    /// missing there. At a start, where nothing waits for it yet.
    /// - Returns: whether there is.
    func ensureReserve() -> Bool {
        if self.isReserveGood { return true }
        do throws(FileError) {
            try self.makeReserve()
            return true
        } catch {
            return false
        }
    }

    private var isReserveGood: Bool {
        guard let reader = try? DirectReader(self.reserve, pace: { _ in }), reader.size == self.segmentBytes else {
            return false
        }
        let stretch = 256 * JournalFormat.blockBytes
        return stride(from: 0, to: self.segmentBytes, by: stretch).allSatisfy { offset in
            let count = min(stretch, self.segmentBytes - offset)
            guard let bytes = try? reader.read(at: offset, count: count), bytes.count == count else { return false }
            let first = offset / JournalFormat.blockBytes
            let blocks = first..<first + count / JournalFormat.blockBytes
            return JournalFormat.isBlank(bytes, blocks: blocks, identity: self.identity)
        }
    }

    func makeReserve() throws(FileError) { Glibc.close(try self.make(self.reserve)) }

    /// The reserve becomes the segment file of this number.
    ///
    /// Blocks that rotted since it was made are made blank again first. Behind the votes that are written into it they would
    /// look, to the next start, like a batch that is lost. They are synced also where all are blank: they may be so by a
    /// process that died before its sync.
    func takeReserve(as file: UInt32) throws(FileError) {
        try self.mendReserve()
        try Files.rename(self.reserve, self.path(of: file), directory: self.directory)
    }

    private func mendReserve() throws(FileError) {
        let found = try Files.readAround(self.reserve)
        guard found.count == self.segmentBytes else {
            throw FileError(call: "read", path: self.reserve, code: EIO)
        }
        let fd = try Files.open(self.reserve, O_RDWR)
        defer { Glibc.close(fd) }
        for first in stride(from: 0, to: self.segmentBytes / JournalFormat.blockBytes, by: 256) {
            let blocks = first..<min(first + 256, self.segmentBytes / JournalFormat.blockBytes)
            let offset = first * JournalFormat.blockBytes
            let blank = JournalFormat.blank(blocks: blocks, identity: self.identity)
            guard !found[offset..<offset + blank.count].elementsEqual(blank) else { continue }
            try Files.write(fd, blank, at: offset, path: self.reserve)
        }
        try Files.sync(fd, path: self.reserve)
    }
}

extension FileError {
    /// What this says of the disk.
    var fault: JournalFault {
        switch self.code {
        case ENOSPC, EDQUOT: .full
        case EROFS: .readOnly
        default: .inputOutput
        }
    }
}
