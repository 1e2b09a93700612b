import Formats
import Replication

/// What a journal must give back, kept in the plainest way.
struct JournalModel: Equatable {
    struct Group: Equatable {
        var hardState = HardState.initial
        var snapshot: SnapshotMark?
        var standing = SnapshotStanding.confirmed
        /// By index, from 1 on; those below the snapshot may be another log's.
        var entries: [LogIndex: Entry] = [:]
        var last: LogIndex = 0
    }

    private(set) var groups: [GroupID: Group] = [:]

    mutating func apply(_ records: [JournalRecord]) {
        for record in records {
            var group = self.groups[record.group] ?? Group()
            switch record {
            case .entry(let entry):
                group.entries[entry.index] = entry
                group.last = entry.index
            case .truncate(_, let after):
                group.last = min(group.last, after)
            case .hardState(_, let state):
                group.hardState = state
            case .snapshot(_, let mark, let standing):
                group.snapshot = mark
                group.standing = standing
                group.last = max(group.last, mark.index)
            case .repair(let entry):
                group.entries[entry.index] = entry
            case .hole, .end:
                break
            }
            self.groups[record.group] = group
        }
    }

    /// In what the recovered differs; nil where it does not.
    func difference(from recovered: RecoveredJournal) -> String? {
        let ids = Set(self.groups.keys).union(recovered.groups.map(\.group))
        for id in ids.sorted() {
            if let difference = self.difference(id, recovered[id] ?? RecoveredGroup(group: id)) { return difference }
        }
        return nil
    }

    func difference(_ id: GroupID, _ found: RecoveredGroup) -> String? {
        let model = self.groups[id] ?? Group()
        if found.hardState != model.hardState { return "\(id): hard state \(found.hardState), was \(model.hardState)" }
        if found.snapshot != model.snapshot {
            return "\(id): snapshot \(found.snapshot?.index ?? 0), was \(model.snapshot?.index ?? 0)"
        }
        if found.standing != model.standing {
            return "\(id): snapshot \(found.standing), was \(model.standing)"
        }
        let base = model.snapshot?.index ?? 0
        if !found.holes.isEmpty { return "\(id): holes at \(found.holes.map(\.index))" }
        if let wrong = self.wrongEntry(id, found) { return wrong }
        let last = found.entries.last?.index ?? base
        return last == model.last ? nil : "\(id): ends at \(last), was \(model.last)"
    }

    /// What is denied, or wrong, in a group whose journal is damaged: every entry that was written is there, or a hole that
    /// is known to be one.
    func denied(_ id: GroupID, _ found: RecoveredGroup) -> String? {
        let model = self.groups[id] ?? Group()
        if found.hardState != model.hardState { return "\(id): hard state \(found.hardState), was \(model.hardState)" }
        if found.snapshot?.index ?? 0 > model.snapshot?.index ?? 0 { return "\(id): a snapshot that was never made" }
        if let wrong = self.wrongEntry(id, found) { return wrong }
        let end = found.end
        if end.index != model.last { return "\(id): ends at \(end.index), was \(model.last)" }
        let term = model.entries[end.index]?.term
        if let term, end.term != 0, end.index > model.snapshot?.index ?? 0, end.term != term {
            return "\(id): ends in term \(end.term), was \(term)"
        }
        return nil
    }

    /// An entry that is not the one that was written, or not in its place; a hole that says what was not.
    func wrongEntry(_ id: GroupID, _ found: RecoveredGroup) -> String? {
        let model = self.groups[id] ?? Group()
        var next = (found.snapshot?.index ?? 0) + 1
        var holes = found.holes[...]
        func wrongHole() -> String? {
            while let hole = holes.first, hole.index == next {
                holes.removeFirst()
                next += 1
                // Of what an installed snapshot covers the model does not know.
                guard let written = model.entries[hole.index], hole.index > model.snapshot?.index ?? 0 else { continue }
                let isRight =
                    hole.hash ?? written.hash == written.hash && hole.term ?? written.term == written.term
                    && hole.previousHash ?? written.previousHash == written.previousHash
                    && hole.time ?? written.time == written.time && hole.kind ?? written.kind == written.kind
                if !isRight { return "\(id): \(hole) was \(written)" }
            }
            return nil
        }
        for entry in found.entries {
            if let wrong = wrongHole() { return wrong }
            let written = model.entries[entry.index]
            if entry.index != next { return "\(id): \(entry.index) at the place of \(next)" }
            if entry.index > model.last || written?.hash != entry.hash || written?.payload != entry.payload {
                return "\(id): another entry \(entry.index) than was written"
            }
            next += 1
        }
        if let wrong = wrongHole() { return wrong }
        return holes.isEmpty ? nil : "\(id): a hole at \(holes.first!.index) at the place of \(next)"
    }
}

/// Records as a node would write them, drawn from a seed.
struct RecordSource {
    private struct Group {
        var id: GroupID
        var term: Term = 1
        var log: [Entry] = []
        var base: LogIndex = 0
        var baseHash = Hash128.zero

        var last: LogIndex { self.base + UInt64(self.log.count) }
        var lastHash: Hash128 { self.log.last?.hash ?? self.baseHash }
    }

    var random: Random
    var maxPayload: UInt64 = 3000
    private var groups: [Group]
    private let identity: JournalIdentity

    init(seed: UInt64, identity: JournalIdentity, groups: [GroupID] = [.system, .default]) {
        self.random = Random(seed: seed)
        self.identity = identity
        self.groups = groups.map { Group(id: $0) }
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(count + 8)
        while out.count < count { withUnsafeBytes(of: self.random.next()) { out.append(contentsOf: $0) } }
        out.removeLast(out.count - count)
        return out
    }

    /// Records of one batch: one or more of what a turn may write.
    mutating func batch() -> [JournalRecord] {
        var records: [JournalRecord] = []
        for _ in 0...self.random.below(3) {
            let at = Int(self.random.below(UInt64(self.groups.count)))
            switch self.random.below(12) {
            case 0: records.append(self.hardState(at))
            case 1: records += self.truncate(at)
            case 2: if let mark = self.mark(at) { records.append(mark) }
            case 3 where self.random.chance(1, in: 4): records += self.install(at)
            default: for _ in 0...self.random.below(3) { records.append(self.entry(at)) }
            }
        }
        return records
    }

    mutating func entries(_ count: Int, group at: Int = 0, bytes: Int? = nil) -> [JournalRecord] {
        (0..<count).map { _ in self.entry(at, bytes: bytes) }
    }

    mutating func entry(_ at: Int, bytes: Int? = nil) -> JournalRecord {
        let count = bytes ?? (self.random.chance(1, in: 12) ? 0 : Int(self.random.below(self.maxPayload)))
        let payload = self.bytes(count)
        var kind = EntryKind.allCases[Int(self.random.below(UInt64(EntryKind.allCases.count)))]
        // Of a given size in blocks: a membership would stand there twice.
        if bytes != nil, kind == .membership { kind = .commands }
        let entry = Entry(
            group: self.groups[at].id, index: self.groups[at].last + 1, term: self.groups[at].term,
            time: WallTime(nanoseconds: self.random.next() >> 1), kind: kind, payload: payload,
            previousHash: self.groups[at].lastHash, key: self.identity.hashKey)
        self.groups[at].log.append(entry)
        return .entry(entry)
    }

    mutating func hardState(_ at: Int) -> JournalRecord {
        self.groups[at].term += 1 + self.random.below(3)
        let vote = MemberID(
            node: NodeID(UInt32(1 + self.random.below(3))), incarnation: Incarnation(high: 7, low: self.random.next()))
        return .hardState(
            self.groups[at].id,
            HardState(term: self.groups[at].term, votedFor: self.random.chance(1, in: 3) ? nil : vote))
    }

    mutating func truncate(_ at: Int) -> [JournalRecord] {
        guard !self.groups[at].log.isEmpty else { return [] }
        let keep = Int(self.random.below(UInt64(self.groups[at].log.count)))
        self.groups[at].log.removeLast(self.groups[at].log.count - keep)
        self.groups[at].term += 1
        return [
            .hardState(self.groups[at].id, HardState(term: self.groups[at].term, votedFor: nil)),
            .truncate(self.groups[at].id, after: self.groups[at].last),
        ]
    }

    private mutating func membership() -> Membership {
        Membership(
            voters: (1...3).map { MemberID(node: NodeID($0), incarnation: Incarnation(high: 1, low: UInt64($0))) },
            learners: self.random.chance(1, in: 2)
                ? [] : [MemberID(node: NodeID(9), incarnation: Incarnation(high: 1, low: 9))])
    }

    /// The group's own checkpoint, somewhere in its log.
    mutating func mark(_ at: Int, last: Bool = false) -> JournalRecord? {
        guard !self.groups[at].log.isEmpty else { return nil }
        let count = last ? self.groups[at].log.count : 1 + Int(self.random.below(UInt64(self.groups[at].log.count)))
        let entry = self.groups[at].log[count - 1]
        self.groups[at].log.removeFirst(count)
        self.groups[at].base = entry.index
        self.groups[at].baseHash = entry.hash
        return .snapshot(
            self.groups[at].id,
            SnapshotMark(
                index: entry.index, term: entry.term, hash: entry.hash, time: entry.time, membership: self.membership()),
            SnapshotStanding(rawValue: UInt8(entry.index % 3))!)
    }

    /// A leader's snapshot takes the place of the log.
    mutating func install(_ at: Int) -> [JournalRecord] {
        let index = self.groups[at].base + 1 + self.random.below(UInt64(self.groups[at].log.count) + 5)
        let hash = Hash128(low: self.random.next(), high: self.random.next())
        self.groups[at].term += 1
        self.groups[at].log = []
        self.groups[at].base = index
        self.groups[at].baseHash = hash
        return [
            .hardState(self.groups[at].id, HardState(term: self.groups[at].term, votedFor: nil)),
            .snapshot(
                self.groups[at].id,
                SnapshotMark(
                    index: index, term: self.groups[at].term, hash: hash, time: WallTime(nanoseconds: 5),
                    membership: self.membership()), SnapshotStanding(rawValue: UInt8(index % 3))!),
            .truncate(self.groups[at].id, after: index),
        ]
    }
}

/// Segment files in memory, written by the real writer as the journal's thread does it.
struct MemoryJournal {
    static let identity = JournalIdentity(
        cluster: ClusterID(high: 0x1111, low: 0x2222), node: NodeID(2), incarnation: Incarnation(high: 3, low: 4))

    let identity: JournalIdentity
    let segmentBytes: Int
    var files: [UInt32: [UInt8]] = [:]
    private(set) var writer: JournalWriter
    private(set) var lastPlan: JournalWriter.Plan?
    /// The bytes that stood where the last batch went.
    private(set) var under: [UInt8] = []

    init(segmentBlocks: Int, identity: JournalIdentity = Self.identity) {
        self.identity = identity
        self.segmentBytes = segmentBlocks * JournalFormat.blockBytes
        self.writer = JournalWriter(
            identity: identity, segmentBytes: self.segmentBytes, recovered: RecoveredJournal([]))
        self.write([])
    }

    mutating func write(_ records: [JournalRecord]) {
        self.put(self.writer.plan(records))
        // As after a sync.
        for file in self.writer.takeSurplus() { self.files[file] = nil }
    }

    mutating func beginSegment() { self.writer.beginSegment() }

    /// Plans without writing; the disk refuses; the batch goes elsewhere.
    mutating func writeAfterFailure(_ records: [JournalRecord], reaching bytes: Int) {
        let plan = self.writer.plan(records)
        if bytes > 0 { self.put(plan, prefix: bytes) }
        self.writer.abandonSegment()
        self.write(records)
    }

    mutating func put(_ plan: JournalWriter.Plan, prefix: Int? = nil) {
        // A free file that is too short is made anew, as `SegmentFiles` does.
        if plan.isNew
            || self.files[plan.file].map({ $0.count < plan.fileBlocks * JournalFormat.blockBytes }) ?? true
        {
            self.files[plan.file] = JournalFormat.blank(blocks: 0..<plan.fileBlocks, identity: self.identity)
        }
        let count = min(prefix ?? plan.bytes.count, plan.bytes.count)
        self.lastPlan = plan
        self.under = Array(self.files[plan.file]![plan.offset..<plan.offset + plan.bytes.count])
        self.overwrite(plan.file, at: plan.offset, with: plan.bytes[..<count])
    }

    mutating func overwrite(_ file: UInt32, at offset: Int, with bytes: ArraySlice<UInt8>) {
        self.files[file]!.withUnsafeMutableBytes { target in
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: target[offset...]).copyMemory(from: $0) }
        }
    }

    func scan(_ file: UInt32) -> (file: UInt32, scan: SegmentScan) {
        (file, self.files[file]!.withUnsafeBytes { SegmentScan($0, identity: self.identity) })
    }

    func scans() -> [(file: UInt32, scan: SegmentScan)] { self.files.keys.sorted().map { self.scan($0) } }

    func recover(isDetailed: Bool = false) -> RecoveredJournal {
        RecoveredJournal(self.scans(), isDetailed: isDetailed)
    }

    /// A start that dies while it writes the unproved batch again: of each block either the old content is there or the new.
    mutating func reopenTorn(_ random: inout Random) {
        let recovered = self.recover()
        guard !recovered.unproved.isEmpty else { return }
        self.writer = JournalWriter(identity: self.identity, segmentBytes: self.segmentBytes, recovered: recovered)
        for file in recovered.blankFiles { self.writer.addFree(file) }
        self.put(self.writer.plan(recovered.unproved))
        let plan = self.lastPlan!
        for block in 0..<plan.bytes.count / JournalFormat.blockBytes where random.chance(1, in: 2) {
            let range = block * JournalFormat.blockBytes..<(block + 1) * JournalFormat.blockBytes
            self.overwrite(plan.file, at: plan.offset + range.lowerBound, with: self.under[range])
        }
    }

    /// As a start does. `rewrites` false: the process dies before it has written the unproved batch again.
    @discardableResult
    mutating func reopen(rewrites: Bool = true) -> RecoveredJournal {
        let recovered = self.recover()
        self.writer = JournalWriter(identity: self.identity, segmentBytes: self.segmentBytes, recovered: recovered)
        for file in recovered.blankFiles { self.writer.addFree(file) }
        if rewrites, !recovered.unproved.isEmpty || recovered.segments.isEmpty {
            self.write(recovered.unproved)
            for file in self.writer.takeSurplus(keeping: 1) { self.files[file] = nil }
        }
        return recovered
    }
}
