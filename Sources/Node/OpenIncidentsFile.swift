import Formats
import Glibc
import Journal
import NodeCore
import Replication
import Synchronization

/// The file of open incidents (`OpenIncidents`), in two copies that are written in turn: whatever becomes of a writing, the
/// one before it is there. Each is written over what it held, so that the sync of one does not become a change of the file
/// system, which the journal's syncs would wait for. A thread of its own writes it, as nothing else waits for it and it waits
/// for nothing else.
final class OpenIncidentsFile: Sendable {
    private let directory: String
    private let work = Mutex<(write: (bytes: [UInt8], number: UInt64)?, isClosing: Bool)>((nil, false))
    private let signal = Signal()
    private let thread = JoinableThread()

    /// - Parameter completion: called on the file's thread, with what went wrong, if anything did.
    init(directory: String, completion: @escaping @Sendable (UInt64, FileError?) -> Void) {
        self.directory = directory
        self.thread.start(name: "incidents") { [self] in self.run(completion) }
    }

    private static func path(_ directory: String, _ number: UInt64) -> String {
        directory + "/" + NodeFile.incidents(number).rawValue
    }

    /// The later of the copies that can be read; empty where none can: then what earlier runs had not told is lost. One that
    /// cannot is written anew, rather than when its turn comes: until then there would be but one.
    static func read(directory: String) -> OpenIncidents {
        var copies: [OpenIncidents] = []
        var bad: [String] = []
        for number: UInt64 in 0...1 {
            let path = Self.path(directory, number)
            guard access(path, F_OK) == 0 else { continue }
            if let copy = (try? Files.read(path)).flatMap({ OpenIncidents(file: $0) }) {
                copies.append(copy)
            } else {
                bad.append(path)
            }
        }
        let newest = copies.max { $0.number < $1.number } ?? OpenIncidents()
        // A disk that does not take it is found out about elsewhere.
        for path in bad { try? Files.replace(path, with: newest.file, directory: directory) }
        return newest
    }

    /// Writes over the older copy, durably.
    func replace(with bytes: [UInt8], number: UInt64) {
        self.work.withLock { $0.write = (bytes, number) }
        self.signal.raise()
    }

    /// Does not wait long for a disk that does not answer.
    func close() {
        self.work.withLock { $0.isClosing = true }
        self.signal.raise()
        _ = self.thread.join(within: .seconds(1))
    }

    private func write(_ bytes: [UInt8], to path: String) throws(FileError) {
        guard access(path, F_OK) == 0 else {
            return try Files.replace(path, with: bytes, directory: self.directory)
        }
        let fd = try Files.open(path, O_WRONLY)
        defer { Glibc.close(fd) }
        try Files.write(fd, bytes, at: 0, path: path)
        try Files.sync(fd, path: path)
    }

    private func run(_ completion: (UInt64, FileError?) -> Void) {
        while true {
            self.signal.wait()
            let (write, isClosing) = self.work.withLock { work in
                defer { work.write = nil }
                return work
            }
            if let write {
                do throws(FileError) {
                    try self.write(write.bytes, to: Self.path(self.directory, write.number))
                    completion(write.number, nil)
                } catch {
                    completion(write.number, error)
                }
            }
            if isClosing { return }
        }
    }
}
