public import Replication

/// What a journal keeps, in the order it is written.
public enum JournalRecord: Sendable, Equatable {
    case entry(Entry)
    /// The group's entries after this index are gone.
    case truncate(GroupID, after: LogIndex)
    case hardState(GroupID, HardState)
    /// A snapshot is durable: the group's log up to it may go.
    case snapshot(GroupID, SnapshotMark, SnapshotStanding)
    /// Where the group's log ends, written at the head of each segment.
    case end(GroupID, index: LogIndex, term: Term)
    /// Takes the place of the entry or hole at its index, and cuts nothing after it.
    case repair(Entry)
    /// There was an entry here, and its bytes are gone. Written where the batch that held it is written again: what is read
    /// is not thereby durable.
    case hole(GroupID, Hole)

    public var group: GroupID {
        switch self {
        case .entry(let entry), .repair(let entry): entry.group
        case .truncate(let group, _), .hardState(let group, _), .snapshot(let group, _, _), .end(let group, _, _),
            .hole(let group, _):
            group
        }
    }
}

extension JournalRecord {
    var isRepair: Bool { if case .repair = self { true } else { false } }
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

/// The last index of a log and the term there; 0 and 0 before the first entry. A term of 0 with an index is one that is not
/// known.
package struct LogEnd: Sendable, Hashable {
    package var index: LogIndex
    package var term: Term

    package init(_ index: LogIndex, _ term: Term) {
        self.index = index
        self.term = term
    }

    /// Where the log ends after a record; in term 0 where the record does not tell that.
    mutating func follow(_ record: JournalRecord) {
        switch record {
        case .entry(let entry): self = LogEnd(entry.index, entry.term)
        case .hole(_, let hole): if hole.index > self.index { self = LogEnd(hole.index, hole.term ?? 0) }
        case .truncate(_, let after): if after < self.index { self = LogEnd(after, 0) }
        case .snapshot(_, let mark, _): if mark.index >= self.index { self = LogEnd(mark.index, mark.term) }
        case .hardState, .repair, .end: break
        }
    }
}

/// What tells whether a hard state is the newest: its term, and whether it has a vote. Within a term the vote goes from none
/// to one member, once.
package struct HardStateStamp: Sendable, Hashable {
    package var rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package init(_ state: HardState) { self.rawValue = state.term << 1 | (state.votedFor == nil ? 0 : 1) }
}

/// The numbers of the journal's format, version 1. docs/journal-format.md draws it.
package enum JournalFormat {
    package static let version: UInt8 = 1
    package static let blockBytes = 4096
    /// At a block's begin and again at its end: `BlockFrame`.
    package static let frameBytes = 32
    package static let blockPayload = blockBytes - 2 * frameBytes
    package static let batchHeaderBytes = 64
    package static let batchGroupBytes = 48
    package static let recordHeaderBytes = 128
    package static let batchMagic: UInt32 = 0x3142_4a4b  // "KJB1"
    /// In a block's position: it belongs to the copy of the headers.
    package static let copyBit: UInt32 = 1 << 31
    /// In a block's position: it is the last of its batch.
    package static let lastBit: UInt32 = 1 << 30
    /// Records of one batch, beyond which the next begins; a single larger record has a batch of its own.
    package static let maxBatchBytes = 1 << 20

    /// Blocks of a segment that was never used. A new file is filled with them before it gets its name, so that a block
    /// of zeros is damage, and not one that was never written.
    package static func blank(blocks: Range<Int>, identity: JournalIdentity) -> [UInt8] {
        let seed = identity.seed(generation: 0)
        let zeros = [UInt8](repeating: 0, count: Self.blockPayload)
        var out: [UInt8] = []
        out.reserveCapacity(blocks.count * Self.blockBytes)
        for block in blocks {
            let frame = BlockFrame(generation: 0, block: UInt32(block), position: 0, sequence: 0).encoded(seed: seed)
            out.append(contentsOf: frame)
            out.append(contentsOf: zeros)
            out.append(contentsOf: frame)
        }
        return out
    }

    /// Whether bytes are as `blank` made them: no block was written, and none rotted.
    package static func isBlank(_ bytes: [UInt8], blocks: Range<Int>, identity: JournalIdentity) -> Bool {
        bytes == Self.blank(blocks: blocks, identity: identity)
    }

    /// Blocks that so many bytes of content take.
    static func blocks(_ bytes: Int) -> Int { (bytes + Self.blockPayload - 1) / Self.blockPayload }

    enum Kind: UInt8 {
        case entry = 1
        case truncate = 2
        case hardState = 3
        case snapshot = 4
        /// Replaces one entry, cuts nothing.
        case repair = 5
        case end = 6
        /// Ends a segment before its time. Reserved.
        case seal = 7
        /// An entry whose bytes are gone: the flags say what of its header is known.
        case hole = 8
    }

    /// In a hole's flags: what is known of it. Its kind is, where it is not 0.
    enum HoleFlags {
        static let term: UInt8 = 1
        static let hash: UInt8 = 2
        static let previousHash: UInt8 = 4
        static let time: UInt8 = 8
    }
}

/// What a block begins and ends with: u32 checksum, u32 own block number, u64 generation of its segment, u64 sequence of
/// its batch, u32 position in the batch, u32 zero.
///
/// It checks by itself, with the journal's seed: no rot makes a frame of this journal into another of it. Two different
/// frames at the ends of one block show a write that stopped between them.
struct BlockFrame: Equatable {
    /// 0: never used.
    var generation: UInt64
    var block: UInt32
    /// Ordinal among the blocks of its copy, and `copyBit`, `lastBit`.
    var position: UInt32
    var sequence: UInt64

    var isCopy: Bool { self.position & JournalFormat.copyBit != 0 }
    var isLast: Bool { self.position & JournalFormat.lastBit != 0 }
    var ordinal: Int { Int(self.position & ~(JournalFormat.copyBit | JournalFormat.lastBit)) }

    func encoded(seed: UInt32) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(JournalFormat.frameBytes)
        out.append(littleEndian: UInt32(0))
        out.append(littleEndian: self.block)
        out.append(littleEndian: self.generation)
        out.append(littleEndian: self.sequence)
        out.append(littleEndian: self.position)
        out.append(littleEndian: UInt32(0))
        out.replace(at: 0, littleEndian: CRC32C.of(out[4...], seed: seed))
        return out
    }

    init(generation: UInt64, block: UInt32, position: UInt32, sequence: UInt64) {
        self.generation = generation
        self.block = block
        self.position = position
        self.sequence = sequence
    }

    /// Nil where the bytes at `offset` are no frame of this journal, or another block's than this one's; nil: any block's.
    init?(_ bytes: UnsafeRawBufferPointer, at offset: Int, block: Int?, seed: (UInt64) -> UInt32) {
        func u32(_ at: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + at, as: UInt32.self))
        }
        func u64(_ at: Int) -> UInt64 {
            UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + at, as: UInt64.self))
        }
        guard block.map({ u32(4) == UInt32($0) }) ?? true, u32(28) == 0 else { return nil }
        let generation = u64(8)
        let checked = UnsafeRawBufferPointer(rebasing: bytes[offset + 4..<offset + JournalFormat.frameBytes])
        guard CRC32C.of(checked, seed: seed(generation)) == u32(0) else { return nil }
        self.init(generation: generation, block: u32(4), position: u32(24), sequence: u64(16))
    }
}
