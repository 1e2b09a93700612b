import Formats
import Journal
import Replication

/// The latest run that this node has seen of each peer, kept in `peer.runs`: by it a peer learns that its disk is an older
/// copy. u32 checksum, then for each u32 node, u64 run, u64 token.
final class PeerRuns {
    private let path: String
    private let directory: String
    private var marks: [(node: NodeID, mark: RunMark)] = []

    /// An unreadable file counts as empty: it only ever refuses others.
    init(directory: String) {
        self.directory = directory
        self.path = directory + "/peer.runs"
        guard let bytes = try? Files.read(self.path) else { return }
        bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            guard let checksum = try? reader.read(UInt32.self), CRC32C.of(bytes[4...]) == checksum else { return }
            while let node = try? reader.read(UInt32.self), let run = try? reader.read(UInt64.self),
                let token = try? reader.read(UInt64.self)
            {
                self.marks.append((NodeID(node), RunMark(run: run, token: token)))
            }
        }
    }

    func seen(of node: NodeID) -> RunMark { self.marks.first { $0.node == node }?.mark ?? .none }

    /// Notes a run that is newer than any before; gives what is to be written, by a thread that may block.
    func record(_ mark: RunMark, of node: NodeID) -> (@Sendable () throws -> Void)? {
        guard mark.run > self.seen(of: node).run else { return nil }
        self.marks.removeAll { $0.node == node }
        self.marks.append((node, mark))
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(0))
        for (node, mark) in self.marks {
            bytes.append(littleEndian: node.rawValue)
            bytes.append(littleEndian: mark.run)
            bytes.append(littleEndian: mark.token)
        }
        bytes.replace(at: 0, littleEndian: CRC32C.of(bytes[4...]))
        let (path, directory, out) = (self.path, self.directory, bytes)
        return { try Files.replace(path, with: out, directory: directory) }
    }
}
