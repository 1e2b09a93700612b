package import Glibc

/// A system call that failed, and on what.
package struct FileError: Error, Sendable, CustomStringConvertible {
    package var call: String
    package var path: String
    package var code: Int32

    /// The file is bad or gone. Else the system could not look: descriptors or memory are short, or it may not.
    package var isOfFile: Bool { [EIO, ENOENT, EBADMSG, EUCLEAN].contains(self.code) }

    package var description: String { "\(self.call) \(self.path): \(String(cString: strerror(self.code)))" }
}

/// The few file operations that the journal and the snapshots stand on. Blocking: never called on the core loop once a
/// node serves.
package enum Files {
    package static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(FileError) -> Int32 {
        let fd = Glibc.open(path, flags | O_CLOEXEC, mode)
        guard fd >= 0 else { throw FileError(call: "open", path: path, code: errno) }
        return fd
    }

    /// All of `bytes`, at `offset`.
    package static func write(_ fd: Int32, _ bytes: [UInt8], at offset: Int, path: String) throws(FileError) {
        let code = bytes.withUnsafeBytes { buffer -> Int32 in
            var done = 0
            while done < buffer.count {
                let count = pwrite(fd, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
                if count >= 0 { done += count } else if errno != EINTR { return errno }
            }
            return 0
        }
        guard code == 0 else { throw FileError(call: "write", path: path, code: code) }
    }

    package static func sync(_ fd: Int32, path: String) throws(FileError) {
        guard fdatasync(fd) == 0 else { throw FileError(call: "fdatasync", path: path, code: errno) }
    }

    /// All of a file, of at most a few hundred MiB.
    package static func read(_ path: String) throws(FileError) -> [UInt8] {
        let fd = try Self.open(path, O_RDONLY)
        defer { close(fd) }
        var status = stat()
        guard fstat(fd, &status) == 0 else { throw FileError(call: "fstat", path: path, code: errno) }
        return try Self.read(fd, at: 0, count: Int(status.st_size), path: path)
    }

    /// The first bytes of a file that does not tell its size.
    package static func read(_ path: String, limit: Int) throws(FileError) -> [UInt8] {
        let fd = try Self.open(path, O_RDONLY)
        defer { close(fd) }
        return try Self.read(fd, at: 0, count: limit, path: path)
    }

    /// Up to `count` bytes; fewer where the file ends.
    package static func read(_ fd: Int32, at offset: Int, count: Int, path: String) throws(FileError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            while filled < count {
                let got = pread(fd, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
                if got < 0, errno == EINTR { continue }
                if got < 0 { failure = errno }
                if got <= 0 { break }
                filled += got
            }
        }
        guard failure == 0 else { throw FileError(call: "read", path: path, code: failure) }
        return bytes
    }

    /// All of a file, from its disk where that can be had (`DirectReader`): what stands in the page cache alone is not to be
    /// taken for written. Places that the disk cannot read come out as bytes that check as nothing.
    package static func readAround(_ path: String) throws(FileError) -> [UInt8] {
        do {
            let reader = try DirectReader(path) { _ in }
            return try reader.read(at: 0, count: reader.size)
        } catch {
            guard let error = error as? FileError else { fatalError("reading \(path): \(error)") }
            throw error
        }
    }

    package static func size(_ fd: Int32) -> Int {
        var status = stat()
        return fstat(fd, &status) == 0 ? Int(status.st_size) : 0
    }

    /// Creates or replaces a small file, durably: written beside it, synced, renamed, the directory synced.
    package static func replace(_ path: String, with bytes: [UInt8], directory: String) throws(FileError) {
        let temporary = path + ".new"
        let fd = try Self.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
        defer { close(fd) }
        try Self.write(fd, bytes, at: 0, path: temporary)
        try Self.sync(fd, path: temporary)
        try Self.rename(temporary, path, directory: directory)
    }

    package static func rename(_ from: String, _ to: String, directory: String) throws(FileError) {
        guard Glibc.rename(from, to) == 0 else { throw FileError(call: "rename", path: to, code: errno) }
        try Self.syncDirectory(directory)
    }

    package static func syncDirectory(_ path: String) throws(FileError) {
        let fd = try Self.open(path, O_RDONLY | O_DIRECTORY)
        defer { close(fd) }
        guard fsync(fd) == 0 else { throw FileError(call: "fsync", path: path, code: errno) }
    }

    package static func makeDirectory(_ path: String) throws(FileError) {
        if mkdir(path, 0o700) != 0, errno != EEXIST { throw FileError(call: "mkdir", path: path, code: errno) }
    }

    /// Names in a directory, sorted; empty where it cannot be read.
    package static func list(_ path: String) -> [String] { (try? Self.names(in: path)) ?? [] }

    /// Names in a directory, sorted.
    package static func names(in path: String) throws(FileError) -> [String] {
        guard let directory = opendir(path) else { throw FileError(call: "opendir", path: path, code: errno) }
        defer { closedir(directory) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else { break }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw FileError(call: "readdir", path: path, code: errno) }
        return names.sorted()
    }
}

/// CLOCK_BOOTTIME, in nanoseconds.
func bootTime() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
