package import Replication

/// Turns records into a batch: what one fdatasync covers. Contiguous, on blocks of its own: headers and payloads, then
/// the same headers again in other blocks, so that it stays known *which* entry a rotten block held. The few payloads that
/// say who the members are stand there again too: nobody can vote without them.
package struct BatchEncoder {
    private var headers: [UInt8] = []
    private var groups: [UInt8] = []
    private var payloads: [UInt8] = []
    /// Payloads that stand in the second copy too.
    private var kept: [UInt8] = []
    private var copy: [UInt8] = []

    package init() {}

    /// Where a group's log ended before and after a batch, and which hard state it had after it.
    package struct GroupEnds: Sendable, Equatable {
        package var group: GroupID
        package var before: LogEnd
        package var after: LogEnd
        package var stamp: HardStateStamp

        package init(group: GroupID, before: LogEnd, after: LogEnd, stamp: HardStateStamp) {
            self.group = group
            self.before = before
            self.after = after
            self.stamp = stamp
        }
    }

    /// Blocks that a batch of these records takes, at most.
    package static func blockCount(records: [JournalRecord], groups: Int) -> Int {
        var payload = 0
        var kept = 0
        for record in records {
            let bytes = Self.payloadBytes(record)
            payload += bytes
            if Self.isKeptTwice(record) { kept += bytes }
        }
        let header =
            JournalFormat.batchHeaderBytes + groups * JournalFormat.batchGroupBytes
            + records.count * JournalFormat.recordHeaderBytes
        return JournalFormat.blocks(header + payload) + JournalFormat.blocks(header + kept)
    }

    /// The payload says who the members are.
    private static func isKeptTwice(_ record: JournalRecord) -> Bool {
        switch record {
        case .snapshot: true
        case .entry(let entry), .repair(let entry): entry.kind == .membership
        case .truncate, .hardState, .end, .hole: false
        }
    }

    package static func payloadBytes(_ record: JournalRecord) -> Int {
        switch record {
        case .entry(let entry), .repair(let entry): entry.payload.count
        case .snapshot(_, let mark, _):
            12 + 20 * (mark.membership.voters.count + mark.membership.outgoing.count + mark.membership.learners.count)
        case .truncate, .hardState, .end, .hole: 0
        }
    }

    /// Appends the batch's blocks to `out`. O(bytes).
    /// - Parameters:
    ///   - segmentBlocks: the segment's size, so that a file cut short is known as such; 0 leaves it unsaid.
    ///   - groups: how many the journal has, named or not.
    package mutating func encode(
        _ records: [JournalRecord], ends: [GroupEnds], identity: JournalIdentity, generation: UInt64, sequence: UInt64,
        firstBlock: Int, segmentBlocks: Int = 0, groups: Int = 0, into out: inout [UInt8]
    ) {
        let seed = identity.seed(generation: generation)
        self.headers.removeAll(keepingCapacity: true)
        self.payloads.removeAll(keepingCapacity: true)
        self.kept.removeAll(keepingCapacity: true)
        let recordStart = JournalFormat.batchHeaderBytes + ends.count * JournalFormat.batchGroupBytes
        for record in records { self.append(record, seed: seed) }
        let headerBytes = recordStart + self.headers.count
        let primary = JournalFormat.blocks(headerBytes + self.payloads.count)
        let copies = JournalFormat.blocks(headerBytes + self.kept.count)

        var area: [UInt8] = []
        area.reserveCapacity(headerBytes)
        area.append(littleEndian: UInt32(0))  // checksum, below
        area.append(littleEndian: JournalFormat.batchMagic)
        area.append(littleEndian: generation)
        area.append(littleEndian: sequence)
        area.append(littleEndian: UInt32(records.count))
        area.append(littleEndian: UInt32(ends.count))
        area.append(littleEndian: UInt32(headerBytes))
        area.append(littleEndian: UInt32(self.payloads.count))
        area.append(littleEndian: UInt32(primary))
        area.append(littleEndian: UInt32(copies))
        area.append(littleEndian: UInt32(segmentBlocks))
        area.append(littleEndian: UInt32(self.kept.count))
        area.append(littleEndian: UInt32(groups))
        area.append(contentsOf: repeatElement(0, count: JournalFormat.batchHeaderBytes - area.count))
        for end in ends {
            area.append(littleEndian: end.group.rawValue)
            area.append(littleEndian: end.before.index)
            area.append(littleEndian: end.before.term)
            area.append(littleEndian: end.after.index)
            area.append(littleEndian: end.after.term)
            area.append(littleEndian: end.stamp.rawValue)
        }
        area.replace(at: 0, littleEndian: CRC32C.of(area[4...], seed: seed))
        area.append(contentsOf: self.headers)

        self.copy = area
        self.copy.append(contentsOf: self.kept)
        area.append(contentsOf: self.payloads)
        Self.frame(
            area, isCopy: false, seed: seed, generation: generation, sequence: sequence, firstBlock: firstBlock,
            into: &out)
        Self.frame(
            self.copy, isCopy: true, seed: seed, generation: generation, sequence: sequence,
            firstBlock: firstBlock + primary, into: &out)
    }

    private static func frame(
        _ stream: [UInt8], isCopy: Bool, seed: UInt32, generation: UInt64, sequence: UInt64, firstBlock: Int,
        into out: inout [UInt8]
    ) {
        var offset = 0
        var ordinal: UInt32 = 0
        while offset < stream.count {
            let count = min(JournalFormat.blockPayload, stream.count - offset)
            var position = ordinal
            if isCopy { position |= JournalFormat.copyBit }
            if isCopy, offset + count == stream.count { position |= JournalFormat.lastBit }
            let frame = BlockFrame(
                generation: generation, block: UInt32(firstBlock) + ordinal, position: position, sequence: sequence
            ).encoded(seed: seed)
            out.append(contentsOf: frame)
            out.append(contentsOf: stream[offset..<offset + count])
            if count < JournalFormat.blockPayload {
                out.append(contentsOf: [UInt8](repeating: 0, count: JournalFormat.blockPayload - count))
            }
            out.append(contentsOf: frame)
            offset += count
            ordinal += 1
        }
    }

    /// To `headers` and `payloads`.
    private mutating func append(_ record: JournalRecord, seed: UInt32) {
        let start = self.headers.count
        func begin(_ kind: JournalFormat.Kind, _ entryKind: UInt8, _ group: GroupID, flags: UInt8 = 0) {
            self.headers.append(littleEndian: UInt32(0))  // checksum, below
            self.headers.append(JournalFormat.version)
            self.headers.append(kind.rawValue)
            self.headers.append(entryKind)
            self.headers.append(flags)
            self.headers.append(littleEndian: group.rawValue)
        }
        func body(index: LogIndex, term: Term, time: UInt64, payload: [UInt8], hash: Hash128, previous: Hash128) {
            self.headers.append(littleEndian: index)
            self.headers.append(littleEndian: term)
            self.headers.append(littleEndian: time)
            self.headers.append(littleEndian: UInt32(payload.count))
            self.headers.append(littleEndian: CRC32C.of(payload[...], seed: seed))
            self.headers.append(hash)
            self.headers.append(previous)
            self.payloads.append(contentsOf: payload)
            if Self.isKeptTwice(record) { self.kept.append(contentsOf: payload) }
        }
        switch record {
        case .entry(let entry), .repair(let entry):
            begin(record.isRepair ? .repair : .entry, entry.kind.rawValue, entry.group)
            body(
                index: entry.index, term: entry.term, time: entry.time.nanoseconds, payload: entry.payload,
                hash: entry.payloadHash, previous: entry.previousHash)
        case .hole(let group, let hole):
            var flags: UInt8 = 0
            if hole.term != nil { flags |= JournalFormat.HoleFlags.term }
            if hole.hash != nil { flags |= JournalFormat.HoleFlags.hash }
            if hole.previousHash != nil { flags |= JournalFormat.HoleFlags.previousHash }
            if hole.time != nil { flags |= JournalFormat.HoleFlags.time }
            begin(.hole, hole.kind?.rawValue ?? 0, group, flags: flags)
            body(
                index: hole.index, term: hole.term ?? 0, time: hole.time?.nanoseconds ?? 0, payload: [],
                hash: hole.hash ?? .zero, previous: hole.previousHash ?? .zero)
        case .truncate(let group, let after):
            begin(.truncate, 0, group)
            body(index: after, term: 0, time: 0, payload: [], hash: .zero, previous: .zero)
        case .hardState(let group, let state):
            begin(.hardState, 0, group, flags: state.votedFor == nil ? 0 : 1)
            body(index: 0, term: state.term, time: 0, payload: [], hash: .zero, previous: .zero)
            self.headers.append(
                state.votedFor ?? MemberID(node: NodeID(0), incarnation: Incarnation(high: 0, low: 0)))
        case .snapshot(let group, let mark, let standing):
            begin(.snapshot, 0, group, flags: standing.rawValue)
            body(
                index: mark.index, term: mark.term, time: mark.time.nanoseconds, payload: mark.membership.encoded(),
                hash: mark.hash, previous: .zero)
        case .end(let group, let index, let term):
            begin(.end, 0, group)
            body(index: index, term: term, time: 0, payload: [], hash: .zero, previous: .zero)
        }
        self.headers.append(
            contentsOf: repeatElement(0, count: JournalFormat.recordHeaderBytes - (self.headers.count - start)))
        self.headers.replace(at: start, littleEndian: CRC32C.of(self.headers[(start + 4)...], seed: seed))
    }
}
