public import Replication

/// What a journal keeps, in the order it is written.
public enum JournalRecord: Sendable, Equatable {
    case entry(Entry)
    /// The group's entries after this index are gone.
    case truncate(GroupID, after: LogIndex)
    case hardState(GroupID, HardState)
    /// A snapshot is durable: the group's log up to it may go.
    case snapshot(GroupID, SnapshotMark)
    /// Where the group's log ends, written at the head of each segment.
    case end(GroupID, index: LogIndex, term: Term)

    public var group: GroupID {
        switch self {
        case .entry(let entry): entry.group
        case .truncate(let group, _), .hardState(let group, _), .snapshot(let group, _), .end(let group, _, _): group
        }
    }
}

/// Whose journal it is. Seeds all checksums, so that another's blocks never read as one's own.
public struct JournalIdentity: Sendable, Hashable {
    public var cluster: ClusterID
    public var node: NodeID
    public var incarnation: Incarnation

    public init(cluster: ClusterID, node: NodeID, incarnation: Incarnation) {
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
    }

    public var hashKey: HashKey { HashKey(self.cluster) }

    /// Seed of the checksums in a segment: a recycled segment's old records never check as new.
    func seed(generation: UInt64) -> UInt32 {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: self.cluster.high)
        bytes.append(littleEndian: self.cluster.low)
        bytes.append(MemberID(node: self.node, incarnation: self.incarnation))
        bytes.append(littleEndian: generation)
        return CRC32C.of(bytes[...])
    }
}

/// The numbers of the journal's format, version 1. docs/journal-format.md draws it.
package enum JournalFormat {
    package static let version: UInt8 = 1
    package static let blockBytes = 4096
    /// At a block's begin and again at its end: u64 generation, u32 own block number, u32 position, u64 batch sequence.
    package static let frameBytes = 24
    package static let blockPayload = blockBytes - 2 * frameBytes
    package static let batchHeaderBytes = 64
    package static let batchGroupBytes = 48
    package static let recordHeaderBytes = 128
    package static let batchMagic: UInt32 = 0x3142_4a4b  // "KJB1"
    /// In a block's position: it belongs to the copy of the headers.
    package static let copyBit: UInt32 = 1 << 31
    /// Records of one batch, beyond which the next begins; a single larger record has a batch of its own.
    package static let maxBatchBytes = 1 << 20

    enum Kind: UInt8 {
        case entry = 1
        case truncate = 2
        case hardState = 3
        case snapshot = 4
        /// Replaces one entry, cuts nothing. Reserved for repair.
        case repair = 5
        case end = 6
        /// Ends a segment before its time. Reserved.
        case seal = 7
    }
}
