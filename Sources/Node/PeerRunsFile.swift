import Formats
import Glibc
import Journal
import Logging
import Synchronization

/// The file `peer.runs`, in two copies: what this node remembers of the others' runs. A thread of its own writes it, as a
/// node waits for it before its first vote, and no snapshot's work may stand before that.
final class PeerRunsFile: Sendable {
    private let directory: String
    private let work = Mutex<(write: (bytes: [UInt8], version: UInt64)?, isClosing: Bool)>((nil, false))
    private let signal = Signal()
    private let thread = JoinableThread()

    /// - Parameter completion: called on the file's thread, with what went wrong, if anything did.
    init(directory: String, completion: @escaping @Sendable (UInt64, FileError?) -> Void) {
        self.directory = directory
        self.thread.start(name: "peer.runs") { [self] in self.run(completion) }
    }

    private static func copies(_ directory: String) -> [String] { ["a", "b"].map { directory + "/peer.runs." + $0 } }

    /// What the copies hold, both where both can be read. A new node has none. Where neither can be read that is not taken
    /// for a new node: the memory is empty and known to be incomplete, so that nobody counts on it before this node has
    /// heard from enough others; and so it is where there is none and should be one.
    static func read(directory: String, logger: Logger) -> PeerRuns {
        let there = Self.copies(directory).filter { access($0, F_OK) == 0 }
        let (found, failures) = PeerRuns.read(copies: there.map { (try? Files.read($0)) ?? [] })
        for (copy, reason) in failures {
            logger.error(
                found == nil
                    ? "what this node knew of the others' runs cannot be read: it asks them anew before it votes"
                    : "a copy of what this node knows of the others' runs cannot be read: the other one counts",
                metadata: ["file": "\(there[copy])", "reason": "\(reason)"])
        }
        return found ?? PeerRuns()
    }

    /// Replaces both copies, durably, one after the other.
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
                    for path in Self.copies(self.directory) {
                        try Files.replace(path, with: write.bytes, directory: self.directory)
                    }
                    completion(write.version, nil)
                } catch {
                    completion(write.version, error)
                }
            }
            if isClosing { return }
        }
    }
}
