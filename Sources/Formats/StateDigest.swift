public import Replication

/// What a replica says of its state at a checkpoint: 128 bits that are equal on two replicas only if the states are.
public struct StateDigest: Sendable, Equatable {
    /// What stands behind a digest. The higher, the more.
    public enum Standing: UInt8, Sendable, Comparable {
        /// Of a state that came in a file, from a peer or from the own disk, or was made of one that a peer lent
        /// unconfirmed: it says what the file's writer said.
        case copied = 1
        /// Of a state that the replica came to by applying the log itself.
        case computed = 2
        /// The same, twice: the log was applied again from an earlier snapshot, and gave the same state.
        case reproduced = 3
        /// A majority of the voters came to it.
        case confirmed = 4

        public static func < (a: Standing, b: Standing) -> Bool { a.rawValue < b.rawValue }
    }

    /// The form of the bytes that are digested. Digests of different forms say nothing of each other: another version of
    /// the program may write a state in another way.
    public static let form: UInt8 = 1

    public var group: GroupID
    public var index: LogIndex
    /// Of the entry at the index, and so of the log up to it: states are compared where the logs are equal.
    public var entryHash: Hash128
    public var form: UInt8
    public var standing: Standing
    public var digest: Hash128

    public init(
        group: GroupID, index: LogIndex, entryHash: Hash128, form: UInt8 = Self.form, standing: Standing,
        digest: Hash128
    ) {
        self.group = group
        self.index = index
        self.entryHash = entryHash
        self.form = form
        self.standing = standing
        self.digest = digest
    }
}

/// Where the state of a snapshot that counts comes from, as far as this replica knows.
public enum SnapshotStanding: UInt8, Sendable {
    /// A majority of the voters came to it.
    case confirmed = 0
    /// The replica came to it by applying the log. No majority has said that it is right.
    case own = 1
    /// It, or what it was made from, was taken in from a replica to which nobody had confirmed it. What is made of it says
    /// again what that replica said.
    case lent = 2
}

/// Digests a state as a snapshot file has it: the hash of its blocks' hashes. It is made of the bytes that are written, so
/// it covers all that the state is made of, sessions included, and shows a state that went wrong in memory, however it
/// did.
package struct SnapshotDigest: Sendable {
    private let key: HashKey
    private var blocks: SipHasher128

    /// - Parameter key: of the cluster.
    package init(key: HashKey) {
        self.key = key
        self.blocks = SipHasher128(key: key)
    }

    /// Takes the next block. O(bytes).
    package mutating func add(_ block: UnsafeRawBufferPointer) {
        var hasher = SipHasher128(key: self.key)
        hasher.combine(block)
        let hash = hasher.finalize()
        self.blocks.combine(hash.low)
        self.blocks.combine(hash.high)
    }

    package mutating func add(_ block: [UInt8]) { block.withUnsafeBytes { self.add($0) } }

    /// Of the blocks so far.
    package var value: Hash128 {
        let hasher = self.blocks
        return hasher.finalize()
    }
}
