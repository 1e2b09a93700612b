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
        /// Both copies of the batch's own header are bad: what it held is not known.
        case unreadable

        var isDamaged: Bool {
            guard case .records(let records, _) = self else { return true }
            return records.contains { if case .good = $0 { false } else { true } }
        }
    }
    /// Generations of those of its blocks that show an older write, or none (0): as if never written. Each once.
    package var olderGenerations: [UInt64] = []
    /// Its blocks that are not what was written. A payload's are found by its record.
    package var badBlocks: [Int] = []
    /// Blocks between the batch before and this one hold nothing known: a batch stood there.
    package var isGapBefore = false
    /// Blocks that the segment has by this batch's header; 0 where that is not known.
    package var segmentBlocks = 0
    /// It names every group that the journal had.
    package var namesAllGroups = false

    /// A block of it was never written.
    package var hasUnwrittenBlock: Bool { !self.olderGenerations.isEmpty }
}

package enum ScannedRecord: Sendable {
    case good(JournalRecord)
    /// An entry, or the repair of one, whose header is good and whose payload is not. `block`: where that begins.
    case damagedEntry(GroupID, Hole, isRepair: Bool, block: Int)
    /// A snapshot's mark whose members are bad in both copies.
    case damagedMark(GroupID, index: LogIndex, term: Term, block: Int)
    /// Neither copy of the header is good.
    case damagedHeader
}

/// Reads a segment's bytes, whatever they are. O(bytes). Pure: the simulator and the disk use the same.
package struct SegmentScan: Sendable {
    /// 0: the segment holds nothing.
    package private(set) var generation: UInt64 = 0
    /// By place, which is by sequence.
    package private(set) var batches: [ScannedBatch] = []
    /// Whole blocks in the file.
    package private(set) var blockCount: Int
    /// Blocks of the segment's generation.
    package private(set) var writtenBlocks = 0
    /// The first block is one of them: it is written before any other.
    package private(set) var hasFirstBlock = false
    /// Blocks behind the last batch, from the first block on where there is no batch: so many in a row of one generation, or
    /// unreadable (nil).
    private var afterEnd: [(generation: UInt64?, count: Int)] = []
    /// The block after the last batch shows a write that stopped within it.
    package private(set) var isTornAfterEnd = false
    /// The block after the last batch is there and was not written since: batches stand without gaps, so none follows.
    package private(set) var isFreeAfterEnd = false
    /// Blocks that were written for another place.
    package private(set) var strays: [Stray] = []

    package struct Stray: Sendable {
        /// Where it stands.
        package var block: Int
        /// What it belongs to.
        package var generation: UInt64
        package var sequence: UInt64
    }
    /// Some block is not what was written, used or not.
    package private(set) var hasBadBlock = false
    /// Every block is as it was when the file was made; a single bad one between such is no matter.
    package private(set) var isBlank = false
    /// The first two blocks or more are unreadable: a first batch of a newer generation, which takes two at least, may have
    /// stood there. What stands behind them may name them as its own all the same.
    package private(set) var isHeadLost = false
    /// The highest generation that any block claims.
    package private(set) var highestGeneration: UInt64 = 0
    /// What the segment is if its generation turns out to be another's: one or two blocks that belong to a newer segment
    /// were written here.
    package private(set) var fallback: [SegmentScan] = []

    private enum Raw {
        case whole(BlockFrame)
        /// The two ends differ: the older generation of the two, or of the one that checks; and whether both check.
        case half(UInt64, newer: UInt64?)
        case damaged
        /// Written for another place of this file, or of another one.
        case misplaced(BlockFrame)
    }

    private enum Block {
        /// As if never written by this generation.
        case older(UInt64, isTorn: Bool)
        case current(BlockFrame)
        case damaged
    }

    package init(_ bytes: UnsafeRawBufferPointer, identity: JournalIdentity) {
        let count = bytes.count / JournalFormat.blockBytes
        var seeds: [(generation: UInt64, seed: UInt32)] = []
        func seed(_ generation: UInt64) -> UInt32 {
            // Blocks of few generations stand in one file; a rotten frame's generation is not worth keeping.
            for known in seeds where known.generation == generation { return known.seed }
            let seed = identity.seed(generation: generation)
            if seeds.count < 64 { seeds.append((generation, seed)) }
            return seed
        }
        var raw: [Raw] = []
        raw.reserveCapacity(count)
        for block in 0..<count { raw.append(Self.raw(bytes, block, seed)) }
        self.init(bytes, raw: raw, below: .max, identity: identity)
    }

    /// Blocks in one row right after the last batch that are not what stood there before: they cannot be read, or are of a
    /// generation that is at home in another file.
    func spoiledAfterEnd(isAtHomeElsewhere: (UInt64) -> Bool) -> Int {
        self.afterEnd.prefix { run in run.generation.map { $0 > 0 && isAtHomeElsewhere($0) } ?? true }
            .reduce(0) { $0 + $1.count }
    }

    private static func raw(_ bytes: UnsafeRawBufferPointer, _ block: Int, _ seed: (UInt64) -> UInt32) -> Raw {
        let start = block * JournalFormat.blockBytes
        let end = start + JournalFormat.blockBytes - JournalFormat.frameBytes
        let first = BlockFrame(bytes, at: start, block: block, seed: seed)
        let last = BlockFrame(bytes, at: end, block: block, seed: seed)
        switch (first, last) {
        case (nil, nil):
            let other = BlockFrame(bytes, at: start, block: nil, seed: seed)
            return other.map { .misplaced($0) } ?? .damaged
        case (let first?, let last?):
            if first == last { return .whole(first) }
            return .half(min(first.generation, last.generation), newer: max(first.generation, last.generation))
        case (let one?, nil), (nil, let one?): return .half(one.generation, newer: nil)
        }
    }

    /// - Parameter below: generations from here on are another segment's.
    private init(
        _ bytes: UnsafeRawBufferPointer, raw: [Raw], below limit: UInt64, identity: JournalIdentity
    ) {
        self.blockCount = raw.count
        for block in raw {
            switch block {
            case .whole(let frame): self.highestGeneration = max(self.highestGeneration, frame.generation)
            case .half(let generation, let newer):
                self.highestGeneration = max(self.highestGeneration, generation, newer ?? 0)
            case .damaged, .misplaced: break
            }
        }
        let chosen = Self.generation(of: raw, below: limit, bytes: bytes, identity: identity)
        self.generation = chosen
        var blocks: [Block] = []
        blocks.reserveCapacity(raw.count)
        for (at, block) in raw.enumerated() {
            switch block {
            case .whole(let frame):
                if frame.generation == chosen, chosen > 0 {
                    blocks.append(.current(frame))
                    self.writtenBlocks += 1
                } else if frame.generation < max(chosen, 1) {
                    blocks.append(.older(frame.generation, isTorn: false))
                } else {
                    blocks.append(.damaged)
                    self.strays.append(Stray(block: at, generation: frame.generation, sequence: frame.sequence))
                }
            case .half(let generation, let newer):
                // With one end of an older write, the newer one stopped within the block, or never came to it.
                blocks.append(
                    generation < chosen || (generation == 0 && chosen == 0)
                        ? .older(generation, isTorn: newer.map { $0 >= chosen } ?? false) : .damaged)
            case .damaged:
                blocks.append(.damaged)
            case .misplaced(let frame):
                blocks.append(.damaged)
                self.strays.append(Stray(block: at, generation: frame.generation, sequence: frame.sequence))
            }
        }
        if chosen == 0, !blocks.isEmpty {
            // What was written takes two blocks at least.
            let isUsed = blocks.indices.dropFirst().contains { at in
                if case .damaged = blocks[at], case .damaged = blocks[at - 1] { true } else { false }
            }
            self.isBlank = !isUsed && blocks.contains { if case .older = $0 { true } else { false } }
        }
        if case .current = blocks.first { self.hasFirstBlock = true }
        var expected = 0
        if chosen > 0 {
            if blocks.count > 1, case .damaged = blocks[0], case .damaged = blocks[1] { self.isHeadLost = true }
            let seed = identity.seed(generation: chosen)
            var at = 0
            while at < blocks.count {
                guard case .current(let frame) = blocks[at] else {
                    at += 1
                    continue
                }
                let batch = Self.batch(
                    frame.sequence, from: at, expected: expected, blocks: blocks, bytes: bytes, generation: chosen,
                    seed: seed, identity: identity)
                self.batches.append(batch)
                expected = batch.firstBlock + batch.blockCount
                at = max(at + 1, expected)
            }
        }
        for block in blocks[min(expected, blocks.count)...] {
            let generation: UInt64? = if case .older(let generation, _) = block { generation } else { nil }
            if self.afterEnd.last.map({ $0.generation == generation }) ?? false {
                self.afterEnd[self.afterEnd.count - 1].count += 1
            } else {
                self.afterEnd.append((generation, 1))
            }
        }
        if expected < blocks.count, case .older(_, let isTorn) = blocks[expected] {
            self.isTornAfterEnd = isTorn
            self.isFreeAfterEnd = !isTorn
        }
        self.hasBadBlock =
            blocks.contains { if case .damaged = $0 { true } else { false } }
            || self.batches.contains { !$0.badBlocks.isEmpty || $0.content.isDamaged }
        if chosen > 0, self.writtenBlocks <= 2 {
            self.fallback = [SegmentScan(bytes, raw: raw, below: chosen, identity: identity)]
        }
    }

    /// The segment's generation: the highest below `limit` that stands where a segment's blocks can stand, which is from
    /// the first block on. A block or two of a newer generation further on were written to the wrong file.
    private static func generation(
        of raw: [Raw], below limit: UInt64, bytes: UnsafeRawBufferPointer, identity: JournalIdentity
    ) -> UInt64 {
        // A first write that stopped within its first block leaves nothing else of its generation.
        var begun: UInt64 = 0
        var whole: UInt64 = 0
        for block in raw {
            switch block {
            case .half(let older, let newer?) where newer > older && newer < limit: begun = max(begun, newer)
            case .whole(let frame) where frame.generation < limit: whole = max(whole, frame.generation)
            case .whole, .half, .damaged, .misplaced: break
            }
        }
        if begun > whole { return begun }
        var found: [(generation: UInt64, count: Int, first: Int)] = []
        for (block, content) in raw.enumerated() {
            guard case .whole(let frame) = content, frame.generation > 0, frame.generation < limit else { continue }
            if let at = found.firstIndex(where: { $0.generation == frame.generation }) {
                found[at].count += 1
            } else {
                found.append((frame.generation, 1, block))
            }
        }
        found.sort { $0.generation > $1.generation }
        for candidate in found {
            if candidate.count > 2 { return candidate.generation }
            guard case .whole(let frame) = raw[candidate.first] else { continue }
            var start = frame.isCopy ? 0 : candidate.first - frame.ordinal
            if frame.isCopy, frame.ordinal == 0 {
                let offset = candidate.first * JournalFormat.blockBytes + JournalFormat.frameBytes
                let header = HeaderArea(
                    stream: { ordinal in
                        guard ordinal == 0 else { return nil }
                        return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + JournalFormat.blockPayload])
                    }, generation: frame.generation, sequence: frame.sequence,
                    seed: identity.seed(generation: frame.generation), maxBlocks: raw.count)
                if let header { start = candidate.first - header.primaryBlocks }
            }
            let isFootless =
                start > 0
                && raw[..<min(start, raw.count)].contains {
                    if case .whole(let other) = $0 { other.generation < candidate.generation } else { false }
                }
            if !isFootless { return candidate.generation }
        }
        return 0
    }

    // MARK: One batch

    /// - Parameter expected: where the batch before it ends.
    private static func batch(
        _ sequence: UInt64, from at: Int, expected: Int, blocks: [Block], bytes: UnsafeRawBufferPointer,
        generation: UInt64, seed: UInt32, identity: JournalIdentity
    ) -> ScannedBatch {
        // All blocks of the sequence stand together; where the batch begins follows from any block's position.
        var primaryStart: Int?
        var copyStart: Int?
        var end = at
        var isEndSeen = false
        for block in at..<blocks.count {
            guard case .current(let frame) = blocks[block] else { continue }
            guard frame.sequence == sequence else { break }
            end = block + 1
            isEndSeen = frame.isLast
            if frame.isCopy {
                copyStart = copyStart ?? block - frame.ordinal
            } else {
                primaryStart = primaryStart ?? block - frame.ordinal
            }
        }
        /// The content of a block, where it is the one at that place of the batch.
        func content(_ block: Int, _ ordinal: Int, isCopy: Bool) -> UnsafeRawBufferPointer? {
            guard block >= 0, block < blocks.count, case .current(let frame) = blocks[block],
                frame.sequence == sequence, frame.ordinal == ordinal, frame.isCopy == isCopy
            else { return nil }
            let offset = block * JournalFormat.blockBytes + JournalFormat.frameBytes
            return UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + JournalFormat.blockPayload])
        }
        func header(from start: Int?, isCopy: Bool) -> HeaderArea? {
            guard let start else { return nil }
            return HeaderArea(
                stream: { content(start + $0, $0, isCopy: isCopy) }, generation: generation, sequence: sequence,
                seed: seed, maxBlocks: blocks.count)
        }
        func older(_ range: Range<Int>) -> [UInt64] {
            var found: [UInt64] = []
            for block in range where block >= 0 && block < blocks.count {
                if case .older(let generation, _) = blocks[block], !found.contains(generation) {
                    found.append(generation)
                }
            }
            return found
        }
        func damaged(_ range: Range<Int>) -> [Int] {
            range.filter { block in
                guard block >= 0, block < blocks.count else { return false }
                if case .damaged = blocks[block] { return true } else { return false }
            }
        }
        let primary = header(from: primaryStart, isCopy: false)
        let copy = header(from: copyStart, isCopy: true)
        guard let found = primary ?? copy else {
            // Not even its extent is known: from the batch before it to its last block, or, where that is not there,
            // over what is unreadable behind the last one that is.
            let seen = end
            if !isEndSeen { while end < blocks.count, case .damaged = blocks[end] { end += 1 } }
            let first = min(expected, at)
            // An older block where it has to go on was never written; a bad one may have been its end.
            let open = isEndSeen || end > seen ? end : min(end + 1, blocks.count)
            return ScannedBatch(
                sequence: sequence, generation: generation, firstBlock: first, blockCount: end - first,
                content: .unreadable, olderGenerations: older(first..<open), badBlocks: Array(first..<end))
        }
        // Both starts follow from either, by the header.
        let first = max(0, primary != nil ? primaryStart! : copyStart! - found.primaryBlocks)
        let copyFirst = first + found.primaryBlocks
        let total = found.primaryBlocks + found.copyBlocks
        var bad = damaged(first..<first + total)
        let records = Self.records(
            primary: primary, copy: copy, found: found, first: first, copyFirst: copyFirst,
            payload: { content(first + $0, $0, isCopy: false) },
            keptPayload: { content(copyFirst + $0, $0, isCopy: true) }, seed: seed, identity: identity, bad: &bad)
        if primary == nil, let block = content(first, 0, isCopy: false), block.count > 0 { bad.append(first) }
        if copy == nil, let block = content(copyFirst, 0, isCopy: true), block.count > 0 { bad.append(copyFirst) }
        for (start, length, isCopy) in [
            (first, found.headerBytes + found.payloadBytes, false),
            (copyFirst, found.headerBytes + found.keptBytes, true),
        ] {
            // What lies behind the content of a copy's last block is zero.
            let last = (length - 1) / JournalFormat.blockPayload
            if let block = content(start + last, last, isCopy: isCopy),
                !Self.isZero(UnsafeRawBufferPointer(rebasing: block[(length - last * JournalFormat.blockPayload)...]))
            {
                bad.append(start + last)
            }
        }
        return ScannedBatch(
            sequence: sequence, generation: generation, firstBlock: first, blockCount: total,
            content: .records(records, ends: found.ends), olderGenerations: older(first..<first + total),
            badBlocks: Set(bad).sorted(), isGapBefore: first > expected, segmentBlocks: found.segmentBlocks,
            namesAllGroups: found.journalGroups == found.ends.count)
    }

    private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var offset = 0
        while offset + 8 <= bytes.count {
            if bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) != 0 { return false }
            offset += 8
        }
        return bytes[offset...].allSatisfy { $0 == 0 }
    }

    private static func records(
        primary: HeaderArea?, copy: HeaderArea?, found: HeaderArea, first: Int, copyFirst: Int,
        payload: (Int) -> UnsafeRawBufferPointer?, keptPayload: (Int) -> UnsafeRawBufferPointer?, seed: UInt32,
        identity: JournalIdentity, bad: inout [Int]
    ) -> [ScannedRecord] {
        var headers: [RecordHeader?] = []
        headers.reserveCapacity(found.recordCount)
        for position in 0..<found.recordCount {
            let one = primary?.record(position, seed: seed)
            let other = copy?.record(position, seed: seed)
            headers.append(one ?? other)
            let block = found.block(of: position)
            if one == nil, primary != nil { bad.append(first + block) }
            if other == nil, copy != nil { bad.append(copyFirst + block) }
        }
        let offsets = Self.offsets(headers, from: found.headerBytes, bytes: found.payloadBytes) { $0.payloadLength }
        let keptOffsets = Self.offsets(headers, from: found.headerBytes, bytes: found.keptBytes) { $0.keptLength }
        let end = found.headerBytes + found.payloadBytes
        let keptEnd = found.headerBytes + found.keptBytes
        func checked(
            _ header: RecordHeader, _ start: Int?, _ end: Int, _ blocks: (Int) -> UnsafeRawBufferPointer?
        ) -> [UInt8]? {
            guard let start, start >= found.headerBytes, start + header.payloadLength <= end,
                let bytes = Self.gather(start, header.payloadLength, blocks),
                CRC32C.of(bytes[...], seed: seed) == header.payloadChecksum
            else { return nil }
            return bytes
        }
        return headers.indices.map { position in
            guard let header = headers[position] else { return .damagedHeader }
            let block = first + (offsets[position] ?? found.headerBytes) / JournalFormat.blockPayload
            var payload = checked(header, offsets[position], end, payload)
            if header.isKeptTwice {
                let kept = checked(header, keptOffsets[position], keptEnd, keptPayload)
                if payload == nil, kept != nil { bad.append(block) }
                if kept == nil, payload != nil {
                    bad.append(copyFirst + (keptOffsets[position] ?? found.headerBytes) / JournalFormat.blockPayload)
                }
                payload = payload ?? kept
            }
            if let payload, let record = header.decode(payload: payload, identity: identity) { return .good(record) }
            return header.damaged(block: block, identity: identity)
        }
    }

    /// Where each payload begins: that follows from the lengths before it, and where one of those is lost, from the end.
    private static func offsets(
        _ headers: [RecordHeader?], from start: Int, bytes: Int, length: (RecordHeader) -> Int
    ) -> [Int?] {
        var offsets: [Int?] = Array(repeating: nil, count: headers.count)
        var offset = start
        for position in headers.indices {
            offsets[position] = offset
            guard let header = headers[position] else { break }
            offset += length(header)
        }
        offset = start + bytes
        for position in headers.indices.reversed() {
            guard let header = headers[position] else { break }
            offset -= length(header)
            offsets[position] = offsets[position] ?? offset
        }
        return offsets
    }

    /// `count` bytes of a copy's content from `offset` on; nil where one of their blocks is not readable.
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
