import Formats
import Glibc

/// The reserve: a segment file that is made before it is needed and belongs to no segment. When the disk is full it takes
/// a segment's name, which needs no space, and what a node must be able to write even then goes into it.
extension SegmentFiles {
    private var reserve: String { self.directory + "/reserve" }

    /// Sees to it that there is a reserve. At a start, where nothing waits for it yet.
    /// - Returns: whether there is.
    func ensureReserve() -> Bool {
        if let fd = try? Files.open(self.reserve, O_RDONLY) {
            defer { Glibc.close(fd) }
            if Files.size(fd) == self.segmentBytes { return true }
        }
        do throws(FileError) {
            try self.makeReserve()
            return true
        } catch {
            return false
        }
    }

    func makeReserve() throws(FileError) { Glibc.close(try self.make(self.reserve)) }

    /// The reserve becomes the segment file of this number.
    func takeReserve(as file: UInt32) throws(FileError) {
        try Files.rename(self.reserve, self.path(of: file), directory: self.directory)
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
