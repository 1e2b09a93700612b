import CKintsugi
package import Formats
import Glibc
package import Replication

/// Why a directory is not taken, in one sentence that says what to do.
package struct DirectoryRefused: Error, Sendable, CustomStringConvertible {
    package var description: String
    init(_ description: String) { self.description = description }
}

/// A node's data directory: `LOCK`, `node.identity.a` and `.b`, `cluster.seed.*`, `peer.runs.*`, `journal/`, `snapshots/`; and
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
        var setAside: String?
        while true {
            switch try Self.contents(path: path).judge() {
            case .beingPutAside(let plan):
                // What a start before this one began.
                setAside = try Self.goOnPuttingAside(path: path, for: plan) ?? setAside
            case .ofTwo:
                throw DirectoryRefused(
                    "The two copies of node.identity in \(path) are of two nodes: files were copied here from another data directory. Take away the one that is not of this node."
                )
            case .lost(let identity, let reason):
                if let identity { try Self.check(identity, path: path, node: node, seed: seed) }
                let kept = try Self.keptSeed(path: path, cluster: identity?.cluster ?? seed?.cluster, given: seed)
                guard kept.peers.count > 1, kept.peers.contains(where: { $0.node == node }) else {
                    throw Self.refusal(of: reason, path: path)
                }
                setAside = try Self.setAside(
                    path: path, node: node, seed: kept, before: identity, after: identity?.run ?? 0)
            case .whole(var identity):
                try Self.check(identity, path: path, node: node, seed: seed)
                let kept = try Self.keptSeed(path: path, cluster: identity.cluster, given: seed)
                try Self.begin(&identity, path: path)
                return (identity, kept, setAside)
            case .none:
                let (identity, seed) = try Self.format(path: path, node: node, seed: seed)
                return (identity, seed, setAside)
            }
        }
    }

    private static func check(_ identity: NodeIdentity, path: String, node: NodeID, seed: ClusterSeed?) throws {
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
    }

    /// Where no other node has what was here.
    private static func refusal(of reason: DirectoryContents.Reason, path: String) -> DirectoryRefused {
        switch reason {
        case .identityUnreadable:
            DirectoryRefused(
                "Neither copy of node.identity in \(path) can be read, and no other node has what was here: restore one of them from a copy."
            )
        case .journalGone:
            DirectoryRefused(
                "The data directory \(path) has snapshots and no journal: what this node promised is lost, and no other node has it. Restore journal/ from where it went."
            )
        case .planUnreadable:
            DirectoryRefused(
                "The data directory \(path) has a node.identity.next that cannot be read, and no other node has what was here: restore it from a copy, with journal/ and snapshots/."
            )
        }
    }

    private static func begin(_ identity: inout NodeIdentity, path: String) throws {
        identity.begin(token: UInt64.random(in: 1...UInt64.max))
        try Self.write(identity, path: path)
    }

    private static func format(
        path: String, node: NodeID, seed: ClusterSeed?
    ) throws -> (NodeIdentity, ClusterSeed) {
        // A format that was cut short leaves these.
        guard try Files.names(in: path).allSatisfy({ Self.isOfFormat($0) || Self.isSetAside($0) }) else {
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
        try Self.write(seed, path: path)
        try Self.begin(&identity, path: path)
        return (identity, seed)
    }

    // MARK: The seed

    static let seeds = [NodeFile.seedA.rawValue, NodeFile.seedB.rawValue]

    /// What a format that was cut short may have left.
    static func isOfFormat(_ name: String) -> Bool {
        ["LOCK", "node.identity.a.new"].contains(name) || Self.seeds.contains { name == $0 || name == $0 + ".new" }
    }

    private static func write(_ seed: ClusterSeed, path: String) throws {
        for name in Self.seeds {
            try Files.replace(path + "/" + name, with: Array(seed.text.utf8), directory: path)
        }
    }

    /// The seed that a directory was formatted from, of the copy that can be read.
    ///
    /// - Returns: nil where neither can.
    package static func seed(path: String, cluster: ClusterID? = nil) -> (seed: ClusterSeed, badCopies: [String])? {
        let copies = Self.seeds.map { name in
            (try? Files.read(path + "/" + name)).flatMap {
                try? ClusterSeed(text: String(decoding: $0, as: UTF8.self))
            }.flatMap { $0.cluster == cluster ?? $0.cluster ? $0 : nil }
        }
        guard let good = copies.compactMap({ $0 }).first else { return nil }
        return (good, zip(Self.seeds, copies).filter { $0.1 != good }.map(\.0))
    }

    /// The seed that was kept at the format; where it is bad, the one given takes its place. A bad copy is written anew.
    private static func keptSeed(path: String, cluster: ClusterID?, given: ClusterSeed?) throws -> ClusterSeed {
        if let (kept, bad) = Self.seed(path: path, cluster: cluster) {
            if !bad.isEmpty { try Self.write(kept, path: path) }
            return kept
        }
        guard let given else {
            throw DirectoryRefused(
                "Neither copy of the cluster's seed in \(path) can be read: start the node once with --seed FILE, which writes them anew."
            )
        }
        try Self.write(given, path: path)
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
    /// - Returns: its bytes. The peers' runs and the open incidents are not this object's: nothing is written of them.
    package func rewrite(_ file: NodeFile) throws -> Int {
        let bytes: [UInt8]
        switch file {
        case .identityA, .identityB: bytes = IdentityFile.encode(self.identity)
        case .seedA, .seedB: bytes = Array(self.seed.text.utf8)
        case .peerRunsA, .peerRunsB, .incidentsA, .incidentsB: return 0
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
