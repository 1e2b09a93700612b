import Formats
import Glibc
package import Replication

/// A disk that counts as lost: it is empty, an older copy of itself, or damaged so that what the node promised on it is
/// not known any more. The node does not go on under its name. It becomes another member of the same number, on a clean
/// journal (whose checksums are seeded with the incarnation), and joins.
///
/// Nothing is deleted. Each step can be done again, and the first one says what is to be done:
///
/// | step | then |
/// |---|---|
/// | 1 | `node.identity.next`, the new incarnation, is durable: every start from here on goes on with step 2 |
/// | 2 | all but the lock, the seed, that file and what was set aside before moves to `lost-<old incarnation>-<date>` |
/// | 3 | both copies of `node.identity` are the new one |
/// | 4 | `node.identity.next` goes |
///
/// Where that file is there and cannot be read, these are done again, with another incarnation.
extension DataDirectory {
    static let next = "node.identity.next"

    /// Begins a new incarnation in this directory, under the same lock, and its first run.
    ///
    /// - Parameter run: the latest run that is known of this node, of any incarnation: runs go on after it.
    package func begunAnew(after run: Run) throws(DirectoryRefused) -> DataDirectory {
        try self.changed { identity in
            let aside = try Self.setAside(
                path: self.path, node: identity.node, seed: self.seed, before: identity, after: max(run, identity.run))
            identity = try Self.contents(path: self.path).identity() ?? identity
            return aside
        }
    }

    /// The same disk in a later run: for one that has promised nothing yet, and whose number is one that its predecessor's
    /// runs had.
    package func continued(after run: Run) throws(DirectoryRefused) -> DataDirectory {
        try self.changed { identity in
            identity.run = max(run, identity.run)
            return nil
        }
    }

    private func changed(_ change: (inout NodeIdentity) throws -> String?) throws(DirectoryRefused) -> DataDirectory {
        var identity = self.identity
        let aside: String?
        do {
            aside = try change(&identity)
            identity.begin(token: UInt64.random(in: 1...UInt64.max))
            try Self.write(identity, path: self.path)
        } catch {
            throw DirectoryRefused(
                "The data directory \(self.path) counts as lost, and cannot be begun anew: \(error). Mend that, then start the node again."
            )
        }
        return DataDirectory(
            path: self.path, identity: identity, seed: self.seed, setAside: aside, lock: self.lock)
    }

    // MARK: Steps

    /// - Parameter before: whose disk it was, where that is known.
    /// - Returns: the name of the directory that what was here has moved to.
    static func setAside(
        path: String, node: NodeID, seed: ClusterSeed, before: NodeIdentity?, after run: Run
    ) throws -> String {
        let incarnation = Incarnation(
            high: UInt64.random(in: 0...UInt64.max), low: UInt64.random(in: 0...UInt64.max))
        let identity = NodeIdentity(cluster: seed.cluster, node: node, incarnation: incarnation, run: run)
        // Without the history, which is of starts: its first one comes.
        try Files.replace(path + "/" + Self.next, with: IdentityFile.encode(identity), directory: path)
        return try Self.goOnPuttingAside(path: path, for: identity, before: before) ?? ""
    }

    /// What is here of that which says whose the directory is.
    static func contents(path: String) -> DirectoryContents {
        func bytes(_ file: String) -> [UInt8]? {
            guard access(file, F_OK) == 0 else { return nil }
            return (try? Files.read(file)) ?? []
        }
        let copies = Self.copies(path)
        return DirectoryContents(
            identityA: bytes(copies[0]), identityB: bytes(copies[1]), next: bytes(path + "/" + Self.next),
            hasSegments: Files.list(path + "/journal").contains { SegmentFiles.number(of: $0) != nil },
            hasSnapshots: Files.list(path + "/snapshots").contains { $0.hasSuffix(".snapshot") })
    }

    /// Steps 2 to 4, from wherever they were left.
    ///
    /// - Parameter before: whose disk it was, where the directory does not say so itself.
    /// - Returns: the name of the directory that what was here has moved to; nil where there was nothing left to move.
    static func goOnPuttingAside(
        path: String, for plan: NodeIdentity, before: NodeIdentity? = nil
    ) throws -> String? {
        var kept = ["LOCK", Self.next] + Self.seeds
        for copy in Self.copies(path) {
            // The third step was begun.
            guard let bytes = try? Files.read(copy), try DirectoryContents.isOf(plan, bytes) else { continue }
            kept.append(String(copy.dropFirst(path.count + 1)))
        }
        let names = try Files.names(in: path).filter { !kept.contains($0) && !Self.isSetAside($0) }
        var name: String?
        if !names.isEmpty {
            let old = try before ?? Self.contents(path: path).identity()
            name = Self.asidePrefix + (old.map { "\($0.incarnation)" } ?? "unknown") + "-" + Self.date()
            let aside = path + "/" + name!
            try Files.makeDirectory(aside)
            // The identity last: until it is gone, a start that goes on knows whose disk it was.
            let isIdentity = { (file: String) in file.hasPrefix("node.identity.") }
            for file in names.filter({ !isIdentity($0) }) + names.filter(isIdentity) {
                guard rename(path + "/" + file, aside + "/" + file) == 0 else {
                    throw FileError(call: "rename", path: path + "/" + file, code: errno)
                }
            }
            try Files.syncDirectory(aside)
            try Files.syncDirectory(path)
        }
        try Self.write(plan, path: path)
        unlink(path + "/" + Self.next)
        try Files.syncDirectory(path)
        return name
    }

    private static let asidePrefix = "lost-"

    static func isSetAside(_ name: String) -> Bool { name.hasPrefix(Self.asidePrefix) }

    /// UTC, to the second, as a file name may have it.
    private static func date() -> String {
        var now = time(nil)
        var parts = tm()
        gmtime_r(&now, &parts)
        var text = [CChar](repeating: 0, count: 32)
        let count = strftime(&text, text.count, "%Y%m%dT%H%M%SZ", &parts)
        return String(decoding: text[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
