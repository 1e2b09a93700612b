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

    /// The next start.
    ///
    /// - Parameter token: random, not 0: tells the starts of a disk and of its copies apart.
    package mutating func begin(token: UInt64) {
        self.run += 1
        self.history.begin(RunMark(run: self.run, token: token))
    }

    package var journal: JournalIdentity {
        JournalIdentity(cluster: self.cluster, node: self.node, incarnation: self.incarnation)
    }
    package var member: MemberID { MemberID(node: self.node, incarnation: self.incarnation) }
}

/// A file whose checksum is right and whose version this program does not know: a later program wrote it.
package struct UnknownVersion: Error, Sendable, Equatable, CustomStringConvertible {
    package var version: UInt32
    package var known: UInt32

    package init(_ version: UInt32, known: UInt32) {
        self.version = version
        self.known = known
    }

    package var description: String {
        "it has format version \(self.version), and this program knows version \(self.known): use the program that wrote it"
    }
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
    package static func decode(_ bytes: [UInt8]) throws(UnknownVersion) -> NodeIdentity? {
        // A typed error does not pass through `withUnsafeBytes` in this version of the compiler.
        let result = bytes.withUnsafeBytes { buffer -> Result<NodeIdentity?, UnknownVersion> in
            var reader = ByteReader(buffer)
            guard let checksum = try? reader.read(UInt32.self), let magic = try? reader.read(UInt32.self),
                let version = try? reader.read(UInt32.self), magic == Self.magic,
                CRC32C.of(bytes[4...]) == checksum
            else { return .success(nil) }
            guard version == Self.version else { return .failure(UnknownVersion(version, known: Self.version)) }
            guard let high = try? reader.read(UInt64.self), let low = try? reader.read(UInt64.self),
                let member = try? reader.member(), let run = try? reader.read(UInt64.self), run < PeerRuns.runLimit,
                let history = try? RunHistory(&reader), reader.remaining == 0
            else { return .success(nil) }
            var identity = NodeIdentity(
                cluster: ClusterID(high: high, low: low), node: member.node, incarnation: member.incarnation, run: run)
            identity.history = history
            return .success(identity)
        }
        return try result.get()
    }
}
