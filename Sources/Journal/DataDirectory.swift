import CKintsugi
package import Formats
import Glibc
package import Replication

/// Who a data directory belongs to.
package struct NodeIdentity: Sendable, Equatable {
    package var cluster: ClusterID
    package var node: NodeID
    package var incarnation: Incarnation
    /// Number of this start.
    package var run: Run

    package var journal: JournalIdentity {
        JournalIdentity(cluster: self.cluster, node: self.node, incarnation: self.incarnation)
    }
    package var member: MemberID { MemberID(node: self.node, incarnation: self.incarnation) }
}

/// Why a directory is not taken, in one sentence that says what to do.
package struct DirectoryRefused: Error, Sendable, CustomStringConvertible {
    package var description: String
    init(_ description: String) { self.description = description }
}

/// A node's data directory: `LOCK`, `node.identity.a` and `.b`, `cluster.seed`, `peer.runs`, `journal/`, `snapshots/`.
package final class DataDirectory: Sendable {
    package let path: String
    package let identity: NodeIdentity
    package let seed: ClusterSeed
    private let lock: Int32

    /// Locks the directory, formats it where it is empty and `seed` is given, and begins a new run.
    ///
    /// Waits up to 5 s for a process that is just ending to let go of the lock.
    package init(path: String, node: NodeID, seed: ClusterSeed?) throws(DirectoryRefused) {
        self.path = path
        if mkdir(path, 0o700) != 0, errno != EEXIST {
            throw DirectoryRefused("The data directory \(path) cannot be made: \(String(cString: strerror(errno))).")
        }
        let fd = Glibc.open(path + "/LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard fd >= 0 else {
            throw DirectoryRefused(
                "The data directory \(path) is not writable (\(String(cString: strerror(errno)))): give this user the right to write there, or choose another with --dir.")
        }
        var tries = 0
        while kintsugi_try_lock(fd) != 0 {
            tries += 1
            guard tries < 100 else {
                close(fd)
                throw DirectoryRefused(
                    "The data directory \(path) is in use by another process: stop that node first, or choose another with --dir.")
            }
            usleep(50_000)
        }
        self.lock = fd
        do {
            (self.identity, self.seed) = try Self.begin(path: path, node: node, seed: seed)
        } catch let refused as DirectoryRefused {
            close(fd)
            throw refused
        } catch {
            close(fd)
            throw DirectoryRefused("The data directory \(path) cannot be used: \(error).")
        }
    }

    deinit { close(self.lock) }

    private static func begin(path: String, node: NodeID, seed: ClusterSeed?) throws -> (NodeIdentity, ClusterSeed) {
        let copies = ["a", "b"].map { path + "/node.identity." + $0 }
        let exists = copies.contains { access($0, F_OK) == 0 }
        var found: NodeIdentity?
        for copy in copies {
            guard let bytes = try? Files.read(copy) else { continue }
            if let identity = try IdentityFile.decode(bytes), identity.run > found?.run ?? 0 { found = identity }
        }
        if var identity = found {
            guard identity.node == node else {
                throw DirectoryRefused(
                    "The data directory \(path) belongs to node \(identity.node), not to node \(node): start it with --node \(identity.node), or give node \(node) a directory of its own.")
            }
            if let seed, seed.cluster != identity.cluster {
                throw DirectoryRefused(
                    "The data directory \(path) belongs to cluster \(identity.cluster), the seed is of cluster \(seed.cluster): use the seed it was formatted with, or another directory.")
            }
            let kept = try ClusterSeed(text: String(decoding: Files.read(path + "/cluster.seed"), as: UTF8.self))
            identity.run += 1
            // The two files take turns, so that a torn write of one leaves the other.
            try Files.replace(copies[Int(identity.run % 2)], with: IdentityFile.encode(identity), directory: path)
            return (identity, kept)
        }
        if exists {
            throw DirectoryRefused(
                "Neither copy of node.identity in \(path) can be read: this disk counts as lost. Move the directory away; the node has to join anew.")
        }
        guard Files.list(path).allSatisfy({ $0 == "LOCK" }) else {
            throw DirectoryRefused(
                "The directory \(path) holds files that are not a node's: choose an empty one with --dir.")
        }
        guard let seed else {
            throw DirectoryRefused(
                "The data directory \(path) is empty: give the cluster's seed with --seed FILE (made once by `kintsugi init`).")
        }
        guard let own = seed.peers.first(where: { $0.node == node }) else {
            throw DirectoryRefused(
                "The cluster seed names no node \(node): it has \(seed.peers.map { "\($0.node)" }.joined(separator: ", ")).")
        }
        let identity = NodeIdentity(cluster: seed.cluster, node: node, incarnation: own.member.incarnation, run: 1)
        try Files.replace(path + "/cluster.seed", with: Array(seed.text.utf8), directory: path)
        try Files.replace(copies[1], with: IdentityFile.encode(identity), directory: path)
        return (identity, seed)
    }

    package var journalPath: String { self.path + "/journal" }
    package var snapshotsPath: String { self.path + "/snapshots" }
}

/// `node.identity.*`: u32 checksum, "KIDN", u32 version, cluster, node, incarnation, u64 run. 60 bytes, little-endian.
enum IdentityFile {
    static let magic: UInt32 = 0x4e44_494b
    static let version: UInt32 = 1

    static func encode(_ identity: NodeIdentity) -> [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: UInt32(0))
        out.append(littleEndian: Self.magic)
        out.append(littleEndian: Self.version)
        out.append(littleEndian: identity.cluster.high)
        out.append(littleEndian: identity.cluster.low)
        out.append(identity.member)
        out.append(littleEndian: identity.run)
        out.replace(at: 0, littleEndian: CRC32C.of(out[4...]))
        return out
    }

    /// Nil where the bytes do not check; throws where they do, and are of a version that this program does not know.
    static func decode(_ bytes: [UInt8]) throws -> NodeIdentity? {
        try bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer)
            guard let checksum = try? reader.read(UInt32.self), let magic = try? reader.read(UInt32.self),
                let version = try? reader.read(UInt32.self), magic == Self.magic,
                CRC32C.of(bytes[4...]) == checksum
            else { return nil }
            guard version == Self.version else {
                throw DirectoryRefused(
                    "The data directory has format version \(version); this program knows version \(Self.version). Use the program that wrote it.")
            }
            guard let high = try? reader.read(UInt64.self), let low = try? reader.read(UInt64.self),
                let member = try? reader.member(), let run = try? reader.read(UInt64.self)
            else { return nil }
            return NodeIdentity(
                cluster: ClusterID(high: high, low: low), node: member.node, incarnation: member.incarnation, run: run)
        }
    }
}
