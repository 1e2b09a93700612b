import Replication

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

    /// The second copy has the payload too.
    var isKeptTwice: Bool {
        switch JournalFormat.Kind(rawValue: self.kind) {
        case .snapshot: true
        case .entry, .repair: self.entryKind == EntryKind.membership.rawValue
        case .truncate, .hardState, .end, .seal, .hole, nil: false
        }
    }
    var keptLength: Int { self.isKeptTwice ? self.payloadLength : 0 }

    /// What is known of a record whose payload is bad.
    func damaged(block: Int, identity: JournalIdentity) -> ScannedRecord {
        switch JournalFormat.Kind(rawValue: self.kind) {
        case .entry, .repair:
            guard let kind = EntryKind(rawValue: self.entryKind) else { return .damagedHeader }
            let time = WallTime(nanoseconds: self.time)
            let hash = Entry.hash(
                group: self.group, index: self.index, term: self.term, time: time, kind: kind,
                payloadBytes: self.payloadLength, payloadHash: self.payloadHash, previousHash: self.previousHash,
                key: identity.hashKey)
            return .damagedEntry(
                self.group,
                Hole(
                    index: self.index, term: self.term, hash: hash, previousHash: self.previousHash, time: time,
                    kind: kind), isRepair: self.kind == JournalFormat.Kind.repair.rawValue, block: block)
        case .snapshot:
            return .damagedMark(self.group, index: self.index, term: self.term, block: block)
        case .truncate, .hardState, .end, .seal, .hole, nil:
            return .damagedHeader
        }
    }

    func decode(payload: [UInt8], identity: JournalIdentity) -> JournalRecord? {
        switch JournalFormat.Kind(rawValue: self.kind) {
        case .entry: return self.entry(payload, identity).map { .entry($0) }
        case .repair: return self.entry(payload, identity).map { .repair($0) }
        case .truncate:
            return .truncate(self.group, after: self.index)
        case .hardState:
            return .hardState(
                self.group, HardState(term: self.term, votedFor: self.flags & 1 == 1 ? self.votedFor : nil))
        case .snapshot:
            guard let membership = Membership(encoded: payload), let standing = SnapshotStanding(rawValue: self.flags)
            else { return nil }
            return .snapshot(
                self.group,
                SnapshotMark(
                    index: self.index, term: self.term, hash: self.payloadHash, time: WallTime(nanoseconds: self.time),
                    membership: membership), standing)
        case .end:
            return .end(self.group, index: self.index, term: self.term)
        case .hole:
            return .hole(self.group, self.hole)
        case .seal, nil:
            return nil
        }
    }

    private func entry(_ payload: [UInt8], _ identity: JournalIdentity) -> Entry? {
        guard let kind = EntryKind(rawValue: self.entryKind) else { return nil }
        return Entry(
            group: self.group, index: self.index, term: self.term, time: WallTime(nanoseconds: self.time), kind: kind,
            payload: payload, payloadHash: self.payloadHash, previousHash: self.previousHash, key: identity.hashKey)
    }

    private var hole: Hole {
        typealias Flags = JournalFormat.HoleFlags
        func has(_ flag: UInt8) -> Bool { self.flags & flag != 0 }
        return Hole(
            index: self.index, term: has(Flags.term) ? self.term : nil, hash: has(Flags.hash) ? self.payloadHash : nil,
            previousHash: has(Flags.previousHash) ? self.previousHash : nil,
            time: has(Flags.time) ? WallTime(nanoseconds: self.time) : nil, kind: EntryKind(rawValue: self.entryKind))
    }
}
