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

    package init(cluster: ClusterID, node: NodeID, incarnation: Incarnation, run: Run) {
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
        self.run = run
    }

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
    /// - Parameter lockTries: how often the lock is tried for, 50 ms apart: 5 s, for a process that is just ending to let
    ///   go of it.
    package init(path: String, node: NodeID, seed: ClusterSeed?, lockTries: Int = 100) throws(DirectoryRefused) {
        self.path = path
        if mkdir(path, 0o700) != 0, errno != EEXIST {
            throw DirectoryRefused("The data directory \(path) cannot be made: \(String(cString: strerror(errno))).")
        }
        let fd = Glibc.open(path + "/LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard fd >= 0 else {
            throw DirectoryRefused(
                "The data directory \(path) is not writable (\(String(cString: strerror(errno)))): give this user the right to write there, or choose another with --dir."
            )
        }
        var tries = 0
        while kintsugi_try_lock(fd) != 0 {
            tries += 1
            guard tries < lockTries else {
                close(fd)
                throw DirectoryRefused(
                    "The data directory \(path) is in use by another process: stop that node first, or choose another with --dir."
                )
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
            guard let bytes = try? Files.read(copy), let identity = try IdentityFile.decode(bytes) else { continue }
            if let found,
                (found.cluster, found.member.node) != (identity.cluster, identity.member.node)
                    || found.incarnation != identity.incarnation
            {
                throw DirectoryRefused(
                    "The two copies of node.identity in \(path) are of two nodes: files were copied here from another data directory. Take away the one that is not of this node."
                )
            }
            if identity.run > found?.run ?? 0 { found = identity }
        }
        if var identity = found {
            guard identity.node == node else {
                throw DirectoryRefused(
                    "The data directory \(path) belongs to node \(identity.node), not to node \(node): start it with --node \(identity.node), or give node \(node) a directory of its own."
                )
            }
            if let seed, seed.cluster != identity.cluster {
                throw DirectoryRefused(
                    "The data directory \(path) belongs to cluster \(identity.cluster), the seed is of cluster \(seed.cluster): use the seed it was formatted with, or another directory."
                )
            }
            // A snapshot is made of entries that the journal had.
            let hasSegments = Files.list(path + "/journal").contains { SegmentFiles.number(of: $0) != nil }
            if !hasSegments, Files.list(path + "/snapshots").contains(where: { $0.hasSuffix(".snapshot") }) {
                throw DirectoryRefused(
                    "The data directory \(path) has snapshots and no journal: what this node promised is lost. Restore journal/ from where it went, or move the directory away and let the node join anew."
                )
            }
            let kept = try Self.keptSeed(path: path, identity: identity, given: seed)
            identity.run += 1
            // One after the other, so that a torn write of one leaves the other; both, so that rot of one does not take
            // the node back to a run that its peers have seen already.
            for copy in copies { try Files.replace(copy, with: IdentityFile.encode(identity), directory: path) }
            return (identity, kept)
        }
        if exists {
            throw DirectoryRefused(
                "Neither copy of node.identity in \(path) can be read: this disk counts as lost. Move the directory away; the node has to join anew."
            )
        }
        // A format that was cut short leaves these.
        let early = ["LOCK", "cluster.seed", "cluster.seed.new", "node.identity.a.new"]
        guard try Files.names(in: path).allSatisfy(early.contains) else {
            throw DirectoryRefused(
                "The directory \(path) holds files that are not a node's: choose an empty one with --dir.")
        }
        guard let seed else {
            throw DirectoryRefused(
                "The data directory \(path) is empty: give the cluster's seed with --seed FILE (made once by `kintsugi init`)."
            )
        }
        guard let own = seed.peers.first(where: { $0.node == node }) else {
            throw DirectoryRefused(
                "The cluster seed names no node \(node): it has \(seed.peers.map { "\($0.node)" }.joined(separator: ", "))."
            )
        }
        let identity = NodeIdentity(cluster: seed.cluster, node: node, incarnation: own.member.incarnation, run: 1)
        try Files.replace(path + "/cluster.seed", with: Array(seed.text.utf8), directory: path)
        for copy in copies { try Files.replace(copy, with: IdentityFile.encode(identity), directory: path) }
        return (identity, seed)
    }

    /// The copy of the cluster's seed that was made at the format; where it is bad, the one given takes its place.
    private static func keptSeed(path: String, identity: NodeIdentity, given: ClusterSeed?) throws -> ClusterSeed {
        do {
            let kept = try ClusterSeed(text: String(decoding: Files.read(path + "/cluster.seed"), as: UTF8.self))
            if kept.cluster == identity.cluster { return kept }
        } catch {}
        guard let given else {
            throw DirectoryRefused(
                "The copy of the cluster's seed in \(path) cannot be read: start the node once with --seed FILE, which writes it anew."
            )
        }
        try Files.replace(path + "/cluster.seed", with: Array(given.text.utf8), directory: path)
        return given
    }

    // MARK: Looking only

    /// Locks a stopped node's directory without waiting and says whose it is. Changes nothing in it; the lock goes with
    /// the descriptor that is given.
    static func look(at path: String) throws -> (identity: NodeIdentity?, badCopies: [String], lock: Int32) {
        let names = ["a", "b"].map { "node.identity." + $0 }
        guard names.contains(where: { access(path + "/" + $0, F_OK) == 0 }) else {
            throw DirectoryRefused("\(path) is not a node's data directory: it has no node.identity.")
        }
        // Read-only, for a directory that may be on a medium that is so.
        let fd = Glibc.open(path + "/LOCK", O_RDONLY | O_CLOEXEC)
        guard fd >= 0 || errno == ENOENT else {
            throw DirectoryRefused("\(path)/LOCK cannot be opened: \(String(cString: strerror(errno))).")
        }
        if fd >= 0, kintsugi_try_lock(fd) != 0 {
            close(fd)
            throw DirectoryRefused("The data directory \(path) is in use by another process: stop that node first.")
        }
        var found: NodeIdentity?
        var bad: [String] = []
        do {
            for name in names {
                guard let bytes = try? Files.read(path + "/" + name), let identity = try IdentityFile.decode(bytes)
                else {
                    bad.append(name)
                    continue
                }
                if identity.run > found?.run ?? 0 { found = identity }
            }
        } catch {
            if fd >= 0 { close(fd) }
            throw error
        }
        return (found, bad, fd)
    }

    package var journalPath: String { self.path + "/journal" }
    package var snapshotsPath: String { self.path + "/snapshots" }
}

/// `node.identity.*`: u32 checksum, "KIDN", u32 version, cluster, node, incarnation, u64 run. 56 bytes, little-endian.
package enum IdentityFile {
    static let magic: UInt32 = 0x4e44_494b
    static let version: UInt32 = 1

    package static func encode(_ identity: NodeIdentity) -> [UInt8] {
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
    package static func decode(_ bytes: [UInt8]) throws -> NodeIdentity? {
        try bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer)
            guard let checksum = try? reader.read(UInt32.self), let magic = try? reader.read(UInt32.self),
                let version = try? reader.read(UInt32.self), magic == Self.magic,
                CRC32C.of(bytes[4...]) == checksum
            else { return nil }
            guard version == Self.version else {
                throw DirectoryRefused(
                    "The data directory has format version \(version); this program knows version \(Self.version). Use the program that wrote it."
                )
            }
            guard let high = try? reader.read(UInt64.self), let low = try? reader.read(UInt64.self),
                let member = try? reader.member(), let run = try? reader.read(UInt64.self)
            else { return nil }
            return NodeIdentity(
                cluster: ClusterID(high: high, low: low), node: member.node, incarnation: member.incarnation, run: run)
        }
    }
}
