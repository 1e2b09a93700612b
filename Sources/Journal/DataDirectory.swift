import CKintsugi
package import Formats
import Glibc
package import Replication

/// Who a data directory belongs to.
package struct NodeIdentity: Sendable, Equatable {
    package var cluster: ClusterID
    package var node: NodeID
    package var incarnation: Incarnation
    /// Number of this start; of a new incarnation, before its first one, the number that its runs go on from.
    package var run: Run
    /// The last starts of this disk, this one included.
    package var history = RunHistory()

    package init(cluster: ClusterID, node: NodeID, incarnation: Incarnation, run: Run) {
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
        self.run = run
    }

    mutating func begin() {
        self.run += 1
        self.history.begin(RunMark(run: self.run, token: UInt64.random(in: 1...UInt64.max)))
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

/// A node's data directory: `LOCK`, `node.identity.a` and `.b`, `cluster.seed`, `peer.runs.*`, `journal/`, `snapshots/`; and
/// `lost-*`, what was on a disk that counts as lost (`DataDirectory+NewIncarnation`).
package final class DataDirectory: Sendable {
    package let path: String
    package let identity: NodeIdentity
    package let seed: ClusterSeed
    /// Where this start put aside what it found, as it counts as lost.
    package let setAside: String?
    let lock: DirectoryLock

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
        self.lock = DirectoryLock(descriptor: fd)
        do {
            (self.identity, self.seed, self.setAside) = try Self.begin(path: path, node: node, seed: seed)
        } catch let refused as DirectoryRefused {
            throw refused
        } catch {
            throw DirectoryRefused("The data directory \(path) cannot be used: \(error).")
        }
    }

    /// The same directory under the same lock, as another incarnation or another run.
    init(path: String, identity: NodeIdentity, seed: ClusterSeed, setAside: String?, lock: DirectoryLock) {
        self.path = path
        self.identity = identity
        self.seed = seed
        self.setAside = setAside
        self.lock = lock
    }

    static func copies(_ path: String) -> [String] { ["a", "b"].map { path + "/node.identity." + $0 } }

    /// One after the other, so that a torn write of one leaves the other; both, so that rot of one does not take the node
    /// back to a run that its peers have seen already.
    static func write(_ identity: NodeIdentity, path: String) throws {
        for copy in Self.copies(path) { try Files.replace(copy, with: IdentityFile.encode(identity), directory: path) }
    }

    private static func begin(
        path: String, node: NodeID, seed: ClusterSeed?
    ) throws -> (NodeIdentity, ClusterSeed, setAside: String?) {
        // What a start before this one began.
        var setAside = try Self.finishNewIncarnation(path: path)
        let copies = Self.copies(path)
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
            if found == nil || identity.run > found!.run { found = identity }
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
                let kept = try Self.keptSeed(path: path, cluster: identity.cluster, given: seed)
                guard kept.peers.count > 1 else {
                    throw DirectoryRefused(
                        "The data directory \(path) has snapshots and no journal: what this node promised is lost, and no other node has it. Restore journal/ from where it went."
                    )
                }
                setAside = try Self.setAside(path: path, node: node, seed: kept, before: identity, after: identity.run)
                identity = try Self.identity(path: path)!
            }
            let kept = try Self.keptSeed(path: path, cluster: identity.cluster, given: seed)
            identity.begin()
            try Self.write(identity, path: path)
            return (identity, kept, setAside)
        }
        if exists {
            let kept = try Self.keptSeed(path: path, cluster: seed?.cluster, given: seed)
            guard kept.peers.count > 1, kept.peers.contains(where: { $0.node == node }) else {
                throw DirectoryRefused(
                    "Neither copy of node.identity in \(path) can be read, and no other node has what was here: restore one of them from a copy."
                )
            }
            setAside = try Self.setAside(path: path, node: node, seed: kept, before: nil, after: 0)
            var identity = try Self.identity(path: path)!
            identity.begin()
            try Self.write(identity, path: path)
            return (identity, kept, setAside)
        }
        // A format that was cut short leaves these.
        let early = ["LOCK", "cluster.seed", "cluster.seed.new", "node.identity.a.new"]
        guard try Files.names(in: path).allSatisfy({ early.contains($0) || Self.isSetAside($0) }) else {
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
        // Under the name that the seed gives. Where this is not the cluster's birth, the others know of an earlier start,
        // and this disk finds out that it is a new one in the place of one that is lost.
        var identity = NodeIdentity(cluster: seed.cluster, node: node, incarnation: own.member.incarnation, run: 0)
        identity.begin()
        try Files.replace(path + "/cluster.seed", with: Array(seed.text.utf8), directory: path)
        try Self.write(identity, path: path)
        return (identity, seed, setAside)
    }

    /// The copy of the cluster's seed that was made at the format; where it is bad, the one given takes its place.
    private static func keptSeed(path: String, cluster: ClusterID?, given: ClusterSeed?) throws -> ClusterSeed {
        do {
            let kept = try ClusterSeed(text: String(decoding: Files.read(path + "/cluster.seed"), as: UTF8.self))
            if kept.cluster == cluster ?? kept.cluster { return kept }
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
                if found == nil || identity.run > found!.run { found = identity }
            }
        } catch {
            if fd >= 0 { close(fd) }
            throw error
        }
        return (found, bad, fd)
    }

    /// Writes a small file anew from what is in memory, durably: one that rotted while the node runs.
    ///
    /// - Returns: its bytes. The peers' runs are not this object's: nothing is written of them.
    package func rewrite(_ file: NodeFile) throws -> Int {
        let bytes: [UInt8]
        switch file {
        case .identityA, .identityB: bytes = IdentityFile.encode(self.identity)
        case .seed: bytes = Array(self.seed.text.utf8)
        case .peerRunsA, .peerRunsB: return 0
        }
        try Files.replace(self.path + "/" + file.rawValue, with: bytes, directory: self.path)
        return bytes.count
    }

    package var journalPath: String { self.path + "/journal" }
    package var snapshotsPath: String { self.path + "/snapshots" }
}

/// Lets go with its last holder.
final class DirectoryLock: Sendable {
    private let descriptor: Int32
    init(descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(self.descriptor) }
}

/// `node.identity.*`: u32 checksum, "KIDN", u32 version, cluster, node, incarnation, u64 run, history (`RunHistory`);
/// little-endian.
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
        identity.history.encode(into: &out)
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
                let member = try? reader.member(), let run = try? reader.read(UInt64.self), run < PeerRuns.runLimit,
                let history = try? RunHistory(&reader), reader.remaining == 0
            else { return nil }
            var identity = NodeIdentity(
                cluster: ClusterID(high: high, low: low), node: member.node, incarnation: member.incarnation, run: run)
            identity.history = history
            return identity
        }
    }
}
