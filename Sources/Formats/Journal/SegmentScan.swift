package import Replication

/// One batch as found in a segment.
package struct ScannedBatch: Sendable {
    package var sequence: UInt64
    package var generation: UInt64
    package var firstBlock: Int
    package var blockCount: Int
    package var content: Content

    package enum Content: Sendable {
        /// Each record, or what is known of one whose bytes are bad.
        case records([ScannedRecord], ends: [BatchEncoder.GroupEnds])
        /// Both copies of the headers are bad: what it held is not known.
        case unreadable
    }
    /// One of its blocks still carries an older generation: it was never written.
    package var hasUnwrittenBlock: Bool
}

package enum ScannedRecord: Sendable {
    case good(JournalRecord)
    /// The header is good, the payload is not.
    case damagedPayload(GroupID, index: LogIndex, term: Term, kind: UInt8)
    /// Neither copy of the header is good.
    case damagedHeader
}

/// Reads a segment's bytes, whatever they are. O(bytes). Pure: the simulator and the disk use the same.
package struct SegmentScan: Sendable {
    /// 0: the segment holds nothing.
    package private(set) var generation: UInt64 = 0
    /// By sequence.
    package private(set) var batches: [ScannedBatch] = []

    private enum Block {
        case older
        case current(sequence: UInt64, position: UInt32)
        case damaged
    }

    package init(_ bytes: UnsafeRawBufferPointer, identity: JournalIdentity) {
        let count = bytes.count / JournalFormat.blockBytes
        var frames: [Frame?] = []
        frames.reserveCapacity(count)
        for block in 0..<count {
            let frame = Frame(bytes, block: block)
            frames.append(frame)
            if let frame { self.generation = max(self.generation, frame.generation) }
        }
        guard self.generation > 0 else { return }
        let seed = identity.seed(generation: self.generation)
        // A foreign or forged generation would hide all real ones: it has to show one batch that checks.
        var blocks: [Block] = []
        blocks.reserveCapacity(count)
        for block in 0..<count {
            if let frame = frames[block] {
                blocks.append(
                    frame.generation == self.generation
                        ? .current(sequence: frame.sequence, position: frame.position) : .older)
            } else {
                blocks.append(Self.isBlank(bytes, block: block) ? .older : .damaged)
            }
        }
        var at = 0
        while at < count {
            guard case .current(let sequence, _) = blocks[at] else {
                at += 1
                continue
            }
            let batch = Self.batch(sequence, from: at, blocks: blocks, bytes: bytes, generation: self.generation, seed: seed, identity: identity)
            self.batches.append(batch)
            at = max(at + 1, batch.firstBlock + batch.blockCount)
        }
    }

    private struct Frame: Equatable {
        var generation: UInt64
        var position: UInt32
        var sequence: UInt64

        /// Nil where the two frames of the block differ, or it is another block's.
        init?(_ bytes: UnsafeRawBufferPointer, block: Int) {
            let start = block * JournalFormat.blockBytes
            let end = start + JournalFormat.blockBytes - JournalFormat.frameBytes
            for offset in stride(from: 0, to: JournalFormat.frameBytes, by: 8) {
                guard
                    bytes.loadUnaligned(fromByteOffset: start + offset, as: UInt64.self)
                        == bytes.loadUnaligned(fromByteOffset: end + offset, as: UInt64.self)
                else { return nil }
            }
            guard UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 8, as: UInt32.self)) == UInt32(block)
            else { return nil }
            self.generation = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self))
            self.position = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 12, as: UInt32.self))
            self.sequence = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 16, as: UInt64.self))
        }
    }

    /// A stamped, never used block: generation 0 at both ends.
    private static func isBlank(_ bytes: UnsafeRawBufferPointer, block: Int) -> Bool {
        let start = block * JournalFormat.blockBytes
        return bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self) == 0
            && bytes.loadUnaligned(fromByteOffset: start + JournalFormat.blockBytes - 8, as: UInt64.self) == 0
    }

    // MARK: One batch

    private static func batch(
        _ sequence: UInt64, from at: Int, blocks: [Block], bytes: UnsafeRawBufferPointer, generation: UInt64,
        seed: UInt32, identity: JournalIdentity
    ) -> ScannedBatch {
        // All blocks of the sequence stand together; where the batch begins follows from any block's position.
        var primaryStart: Int?
        var copyStart: Int?
        var end = at
        for block in at..<blocks.count {
            if case .current(let other, let position) = blocks[block] {
                guard other == sequence else { break }
                end = block + 1
                let ordinal = Int(position & ~JournalFormat.copyBit)
                if position & JournalFormat.copyBit == 0 {
                    if block - ordinal >= 0 { primaryStart = primaryStart ?? block - ordinal }
                } else if block - ordinal >= 0 {
                    copyStart = copyStart ?? block - ordinal
                }
            }
        }
        func isOf(_ block: Int, _ position: UInt32) -> Bool {
            guard block >= 0, block < blocks.count, case .current(let other, let found) = blocks[block] else { return false }
            return other == sequence && found == position
        }
        func header(from start: Int?, copy: Bool) -> HeaderArea? {
            guard let start else { return nil }
            return HeaderArea(
                stream: { ordinal in
                    let block = start + ordinal
                    guard isOf(block, UInt32(ordinal) | (copy ? JournalFormat.copyBit : 0)) else { return nil }
                    let offset = block * JournalFormat.blockBytes + JournalFormat.frameBytes
                    return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + JournalFormat.blockPayload])
                }, generation: generation, sequence: sequence, seed: seed)
        }
        let primary = header(from: primaryStart, copy: false)
        let copy = header(from: copyStart, copy: true)
        guard let found = primary ?? copy else {
            let first = min(primaryStart ?? at, at)
            let unwritten = (first..<end).contains { if case .older = blocks[$0] { true } else { false } }
            // Where even its extent is not known, what follows it in this generation tells; an older block right after
            // the last known one may be its end that was never written.
            let isCutShort = end < blocks.count && { if case .older = blocks[end] { true } else { false } }()
            return ScannedBatch(
                sequence: sequence, generation: generation, firstBlock: first, blockCount: end - first,
                content: .unreadable, hasUnwrittenBlock: unwritten || isCutShort)
        }
        let first = primaryStart ?? (copyStart! - found.primaryBlocks)
        let total = found.primaryBlocks + found.copyBlocks
        var hasUnwritten = first < 0 || first + total > blocks.count
        for block in max(0, first)..<max(0, min(blocks.count, first + total)) {
            if case .older = blocks[block] { hasUnwritten = true }
        }
        let records = Self.records(
            primary: primary, copy: copy, found: found,
            payload: { ordinal in
                guard isOf(first + ordinal, UInt32(ordinal)) else { return nil }
                let offset = (first + ordinal) * JournalFormat.blockBytes + JournalFormat.frameBytes
                return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + JournalFormat.blockPayload])
            }, seed: seed, identity: identity)
        return ScannedBatch(
            sequence: sequence, generation: generation, firstBlock: max(0, first), blockCount: total,
            content: .records(records, ends: found.ends), hasUnwrittenBlock: hasUnwritten)
    }

    private static func records(
        primary: HeaderArea?, copy: HeaderArea?, found: HeaderArea, payload: (Int) -> UnsafeRawBufferPointer?,
        seed: UInt32, identity: JournalIdentity
    ) -> [ScannedRecord] {
        var records: [ScannedRecord] = []
        records.reserveCapacity(found.recordCount)
        var offset = found.headerBytes
        for position in 0..<found.recordCount {
            guard
                let header = primary?.record(position, seed: seed) ?? copy?.record(position, seed: seed)
            else {
                // Its length is unknown, and so is where the payloads after it begin.
                records.append(.damagedHeader)
                for _ in position + 1..<max(position + 1, found.recordCount) { records.append(.damagedHeader) }
                break
            }
            let bytes = Self.gather(offset, header.payloadLength, payload)
            offset += header.payloadLength
            if let bytes, CRC32C.of(bytes[...], seed: seed) == header.payloadChecksum,
                let record = header.decode(payload: bytes, identity: identity)
            {
                records.append(.good(record))
            } else {
                records.append(
                    .damagedPayload(header.group, index: header.index, term: header.term, kind: header.kind))
            }
        }
        return records
    }

    /// `count` bytes of the primary stream from `offset` on; nil where one of their blocks is not readable.
    private static func gather(
        _ offset: Int, _ count: Int, _ payload: (Int) -> UnsafeRawBufferPointer?
    ) -> [UInt8]? {
        var out: [UInt8] = []
        out.reserveCapacity(count)
        var position = offset
        while out.count < count {
            guard let block = payload(position / JournalFormat.blockPayload) else { return nil }
            let within = position % JournalFormat.blockPayload
            let take = min(count - out.count, JournalFormat.blockPayload - within)
            out.append(contentsOf: block[within..<within + take])
            position += take
        }
        return out
    }
}

/// The headers of a batch, from either copy.
struct HeaderArea {
    let recordCount: Int
    let headerBytes: Int
    let payloadBytes: Int
    let primaryBlocks: Int
    let copyBlocks: Int
    let ends: [BatchEncoder.GroupEnds]
    private let area: [UInt8]
    private let recordStart: Int

    /// Nil where the batch's own header does not check.
    init?(stream: (Int) -> UnsafeRawBufferPointer?, generation: UInt64, sequence: UInt64, seed: UInt32) {
        guard let first = stream(0) else { return nil }
        func u32(_ offset: Int) -> UInt32 { UInt32(littleEndian: first.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
        func u64(_ offset: Int) -> UInt64 { UInt64(littleEndian: first.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
        guard u32(4) == JournalFormat.batchMagic, u64(8) == generation, u64(16) == sequence else { return nil }
        self.recordCount = Int(u32(24))
        let groupCount = Int(u32(28))
        self.headerBytes = Int(u32(32))
        self.payloadBytes = Int(u32(36))
        self.primaryBlocks = Int(u32(40))
        self.copyBlocks = Int(u32(44))
        self.recordStart = JournalFormat.batchHeaderBytes + groupCount * JournalFormat.batchGroupBytes
        guard groupCount <= 1 << 20, self.recordCount <= 1 << 20,
            self.headerBytes == self.recordStart + self.recordCount * JournalFormat.recordHeaderBytes
        else { return nil }
        var area: [UInt8] = []
        area.reserveCapacity(self.headerBytes)
        var ordinal = 0
        while area.count < self.headerBytes {
            let take = min(JournalFormat.blockPayload, self.headerBytes - area.count)
            if let block = stream(ordinal) {
                area.append(contentsOf: block[..<take])
            } else {
                area.append(contentsOf: repeatElement(0, count: take))
            }
            ordinal += 1
        }
        guard CRC32C.of(area[4..<self.recordStart], seed: seed) == u32(0) else { return nil }
        var ends: [BatchEncoder.GroupEnds] = []
        area.withUnsafeBytes { bytes in
            for position in 0..<groupCount {
                let start = JournalFormat.batchHeaderBytes + position * JournalFormat.batchGroupBytes
                func word(_ at: Int) -> UInt64 {
                    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 8 * at, as: UInt64.self))
                }
                ends.append(
                    BatchEncoder.GroupEnds(
                        group: GroupID(rawValue: word(0)), before: (word(1), word(2)), after: (word(3), word(4))))
            }
        }
        self.ends = ends
        self.area = area
    }

    /// Nil where this copy of the record's header is bad.
    func record(_ position: Int, seed: UInt32) -> RecordHeader? {
        let start = self.recordStart + position * JournalFormat.recordHeaderBytes
        let bytes = self.area[start..<start + JournalFormat.recordHeaderBytes]
        return bytes.withUnsafeBytes { RecordHeader($0, seed: seed) }
    }
}

struct RecordHeader {
    let kind: UInt8
    let entryKind: UInt8
    let flags: UInt8
    let group: GroupID
    let index: LogIndex
    let term: Term
    let time: UInt64
    let payloadLength: Int
    let payloadChecksum: UInt32
    let payloadHash: Hash128
    let previousHash: Hash128
    let votedFor: MemberID

    init?(_ bytes: UnsafeRawBufferPointer, seed: UInt32) {
        var reader = ByteReader(bytes)
        do {
            let checksum = try reader.read(UInt32.self)
            guard CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[4...]), seed: seed) == checksum else { return nil }
            guard try reader.read(UInt8.self) == JournalFormat.version else { return nil }
            self.kind = try reader.read(UInt8.self)
            self.entryKind = try reader.read(UInt8.self)
            self.flags = try reader.read(UInt8.self)
            self.group = GroupID(rawValue: try reader.read(UInt64.self))
            self.index = try reader.read(UInt64.self)
            self.term = try reader.read(UInt64.self)
            self.time = try reader.read(UInt64.self)
            self.payloadLength = Int(try reader.read(UInt32.self))
            self.payloadChecksum = try reader.read(UInt32.self)
            self.payloadHash = try reader.hash()
            self.previousHash = try reader.hash()
            self.votedFor = try reader.member()
        } catch {
            return nil
        }
    }

    func decode(payload: [UInt8], identity: JournalIdentity) -> JournalRecord? {
        switch JournalFormat.Kind(rawValue: self.kind) {
        case .entry:
            guard let kind = EntryKind(rawValue: self.entryKind) else { return nil }
            return .entry(
                Entry(
                    group: self.group, index: self.index, term: self.term, time: WallTime(nanoseconds: self.time),
                    kind: kind, payload: payload, payloadHash: self.payloadHash, previousHash: self.previousHash,
                    key: identity.hashKey))
        case .truncate:
            return .truncate(self.group, after: self.index)
        case .hardState:
            return .hardState(
                self.group, HardState(term: self.term, votedFor: self.flags & 1 == 1 ? self.votedFor : nil))
        case .snapshot:
            guard let membership = Membership(encoded: payload) else { return nil }
            return .snapshot(
                self.group,
                SnapshotMark(
                    index: self.index, term: self.term, hash: self.payloadHash, time: WallTime(nanoseconds: self.time),
                    membership: membership))
        case .end:
            return .end(self.group, index: self.index, term: self.term)
        case .repair, .seal, nil:
            return nil
        }
    }
}
