import Formats
import Glibc
import Journal
import Logging
import Synchronization

/// The file `peer.runs`: what this node remembers of the others' runs. A thread of its own writes it, as a node waits for
/// it before its first vote, and no snapshot's work may stand before that.
final class PeerRunsFile: Sendable {
    private let path: String
    private let directory: String
    private let work = Mutex<(write: (bytes: [UInt8], version: UInt64)?, isClosing: Bool)>((nil, false))
    private let signal = Signal()
    private let thread = JoinableThread()

    /// - Parameter completion: called on the file's thread, with what went wrong, if anything did.
    init(directory: String, completion: @escaping @Sendable (UInt64, FileError?) -> Void) {
        self.directory = directory
        self.path = directory + "/peer.runs"
        self.thread.start(name: "peer.runs") { [self] in self.run(completion) }
    }

    /// What the file of the directory holds. A new node has none. One that cannot be read is not taken for that: the
    /// memory is empty and known to be incomplete, so that the others do not count on it before this node has heard from
    /// enough of them.
    static func read(directory: String, logger: Logger) -> PeerRuns {
        let path = directory + "/peer.runs"
        do {
            return try PeerRuns(file: Files.read(path))
        } catch let error as FileError where error.code == ENOENT {
            return PeerRuns()
        } catch {
            logger.error(
                "what this node knew of the others' runs cannot be read: it asks them anew before it votes",
                metadata: ["file": "\(path)", "reason": "\(error)"])
            return PeerRuns()
        }
    }

    /// Replaces the file, durably. One at a time.
    func replace(with bytes: [UInt8], version: UInt64) {
        self.work.withLock { $0.write = (bytes, version) }
        self.signal.raise()
    }

    func close() {
        self.work.withLock { $0.isClosing = true }
        self.signal.raise()
        self.thread.join()
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
                    try Files.replace(self.path, with: write.bytes, directory: self.directory)
                    completion(write.version, nil)
                } catch {
                    completion(write.version, error)
                }
            }
            if isClosing { return }
        }
    }
}
