import CKintsugi
import Glibc

/// Reads a file from its disk rather than from the page cache, a stretch at a time: with O_DIRECT where the file system has
/// that, else with what the cache holds let go of first. A place that the disk cannot read (EIO) comes out as bytes that
/// check as nothing.
final class DirectReader {
    /// Bytes read at once.
    static let stretch = 256 << 10
    private static let alignment = 4096

    private let descriptor: Int32
    private let isDirect: Bool
    private let buffer: UnsafeMutableRawPointer
    private var start = 0
    private var filled = 0
    /// Called with the bytes of each stretch that was read; what it throws ends the reading.
    private let pace: (Int) throws -> Void
    let path: String

    init(_ path: String, pace: @escaping (Int) throws -> Void) throws {
        var isDirect: Int32 = 0
        self.descriptor = kintsugi_open_direct(path, &isDirect)
        guard self.descriptor >= 0 else { throw FileError(call: "open", path: path, code: errno) }
        self.isDirect = isDirect != 0
        self.buffer = UnsafeMutableRawPointer.allocate(byteCount: Self.stretch, alignment: Self.alignment)
        self.pace = pace
        self.path = path
    }

    deinit {
        close(self.descriptor)
        self.buffer.deallocate()
    }

    var size: Int { Files.size(self.descriptor) }

    /// Tells one file from another that took its name.
    var inode: UInt64 {
        var status = stat()
        return fstat(self.descriptor, &status) == 0 ? UInt64(status.st_ino) : 0
    }

    /// Up to `count` bytes; fewer where the file ends.
    func read(at offset: Int, count: Int) throws -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(count)
        while out.count < count {
            let at = offset + out.count
            if at < self.start || at >= self.start + self.filled {
                try self.fill(at)
                guard at < self.start + self.filled else { break }
            }
            let first = at - self.start
            let take = min(count - out.count, self.filled - first)
            out.append(contentsOf: UnsafeRawBufferPointer(start: self.buffer + first, count: take))
        }
        return out
    }

    private func fill(_ offset: Int) throws {
        self.start = offset / Self.alignment * Self.alignment
        self.filled = 0
        if !self.isDirect { kintsugi_forget_pages(self.descriptor, off_t(self.start), off_t(Self.stretch)) }
        var got = pread(self.descriptor, self.buffer, Self.stretch, off_t(self.start))
        while got < 0, errno == EINTR { got = pread(self.descriptor, self.buffer, Self.stretch, off_t(self.start)) }
        if got < 0 {
            guard errno == EIO else { throw FileError(call: "read", path: self.path, code: errno) }
            got = self.fillAround()
        }
        self.filled = got
        try self.pace(got)
    }

    /// Block by block.
    private func fillAround() -> Int {
        let size = self.size
        var done = 0
        while done < Self.stretch, self.start + done < size {
            let got = pread(self.descriptor, self.buffer + done, Self.alignment, off_t(self.start + done))
            if got <= 0 { memset(self.buffer + done, 0xee, Self.alignment) }
            done += got > 0 ? got : min(Self.alignment, size - self.start - done)
        }
        return done
    }
}
