import Replication

/// The member of node `number`, with its first disk.
func member(_ number: UInt32) -> MemberID {
    MemberID(node: NodeID(number), incarnation: Incarnation(high: 0, low: UInt64(number)))
}

func members(_ numbers: UInt32...) -> [MemberID] { numbers.map(member) }

let testKey = HashKey(low: 0x0706_0504_0302_0100, high: 0x0f0e_0d0c_0b0a_0908)
let testGroup = GroupID(space: 1, shard: 0)

/// Commands of so many bytes.
func payload(_ value: UInt8, count: Int = 1) -> [UInt8] { [UInt8](repeating: value, count: count) }

/// A disk of a test: what a restart finds.
struct Disk {
    var hardState = HardState.initial
    var snapshot: SnapshotMark?
    /// Those after the snapshot, contiguous; also those whose bytes are bad, so that a test knows what they were.
    var entries: [Entry] = []
    /// What is still known of entries whose bytes are bad.
    private(set) var holes: [LogIndex: Hole] = [:]
    /// Those that truncations took, until somebody asks.
    var truncated: [Entry] = []

    enum Write {
        case log(LogWrite)
        case snapshot(SnapshotMark)
    }

    var baseIndex: LogIndex { self.snapshot?.index ?? 0 }
    var lastIndex: LogIndex { self.entries.last?.index ?? self.baseIndex }

    /// - Returns: what is wrong with the write; nil where it fits.
    mutating func apply(_ write: Write) -> String? {
        switch write {
        case .log(.hardState(_, let state)):
            let isLater =
                state.term > self.hardState.term
                || (state.term == self.hardState.term
                    && (self.hardState.votedFor == nil || self.hardState.votedFor == state.votedFor))
            defer { self.hardState = state }
            return isLater ? nil : "hard state \(state) after \(self.hardState)"
        case .log(.truncate(_, let after)):
            while let last = self.entries.last, last.index > after {
                self.entries.removeLast()
                self.holes[last.index] = nil
                self.truncated.append(last)
            }
        case .log(.append(let entry)):
            if entry.index <= self.baseIndex { return nil }
            guard entry.index == self.lastIndex + 1 else { return "entry \(entry.index) after \(self.lastIndex)" }
            self.entries.append(entry)
        case .log(.repair(let entry)):
            if entry.index <= self.baseIndex { return nil }
            guard entry.index <= self.lastIndex else { return "repair of \(entry.index) after \(self.lastIndex)" }
            guard self.holes[entry.index] != nil else { return "repair of \(entry.index), which is no hole" }
            self.entries[Int(entry.index - self.baseIndex - 1)] = entry
            self.holes[entry.index] = nil
        case .snapshot(let mark):
            guard mark.index > self.baseIndex else { return nil }
            self.snapshot = mark
            self.entries.removeAll { $0.index <= mark.index }
            for index in self.holes.keys where index <= mark.index { self.holes[index] = nil }
        }
        return nil
    }

    /// The entry's bytes rot.
    /// - Parameter isHeaderKnown: one of the two copies of its header is good. Else its index is all that it tells itself.
    mutating func rot(_ index: LogIndex, isHeaderKnown: Bool = true) {
        let entry = self.entries[Int(index - self.baseIndex - 1)]
        self.holes[index] =
            isHeaderKnown
            ? Hole(
                index: index, term: entry.term, hash: entry.hash, previousHash: entry.previousHash, time: entry.time,
                kind: entry.kind)
            : Hole(index: index)
    }

    /// What recovery reads.
    func restored(_ founders: Membership) -> RestoredReplica {
        var holes = self.holes.values.sorted { $0.index < $1.index }
        if let last = holes.last, last.index == self.lastIndex {
            // A batch names the log's end.
            holes[holes.count - 1].term = self.entries.last!.term
        }
        return RestoredReplica(
            hardState: self.hardState, snapshot: self.snapshot,
            entries: self.entries.filter { self.holes[$0.index] == nil },
            membership: founders, holes: holes)
    }

    /// Whether the entry, or a snapshot that covers it, is durable.
    func holds(_ index: LogIndex, _ hash: Hash128) -> Bool {
        if index <= self.baseIndex { return true }
        guard index <= self.lastIndex else { return false }
        return self.entries[Int(index - self.baseIndex - 1)].hash == hash
    }
}

/// A replica with a disk whose writes complete when a test says so.
final class TestMember {
    /// What one sync covers, and what it makes true.
    struct Batch {
        var writes: [Disk.Write] = []
        var tickets: [WriteTicket] = []
        var messages: [Message] = []
        /// A checkpoint of its own that becomes durable with it.
        var checkpoint: SnapshotMark?
        /// A snapshot from this leader that becomes durable with it.
        var installed: (from: MemberID, index: LogIndex)?
        var due = Instant(nanoseconds: 0)
    }

    let id: MemberID
    let founders: Membership
    let configuration: ReplicaConfiguration
    var replica: Replica
    var effects = Effects()
    var disk: Disk
    var batches: [Batch] = []
    /// Counts starts.
    var run: Run = 1
    var isAlive = true

    // What the replica has said.
    var reads: [(ticket: UInt64, index: LogIndex)] = []
    var failedReads: [UInt64] = []
    var snapshotsNeeded: [MemberID] = []
    var divergences: [LogIndex] = []
    var filled: [LogIndex] = []
    var discarded: [ClosedRange<LogIndex>] = []
    /// Entries given to the disk, since last asked.
    var appended: [Entry] = []
    /// Faults of what the replica asked of its disk.
    var diskFaults: [String] = []

    init(_ id: MemberID, founders: Membership, configuration: ReplicaConfiguration, disk: Disk = Disk(), now: Instant) {
        self.id = id
        self.founders = founders
        self.configuration = configuration
        self.disk = disk
        self.replica = Replica(configuration, restored: disk.restored(founders), now: now)
    }

    /// What is not durable is gone.
    func crash() {
        self.isAlive = false
        self.batches.removeAll()
        self.effects = Effects()
        self.reads.removeAll()
        self.failedReads.removeAll()
        self.snapshotsNeeded.removeAll()
        self.appended.removeAll()
    }

    func restart(seed: UInt64, now: Instant) {
        var configuration = self.configuration
        configuration.seed = seed
        self.replica = Replica(configuration, restored: self.disk.restored(self.founders), now: now)
        self.effects = Effects()
        self.run += 1
        self.isAlive = true
    }

    /// Ends a turn: effects become messages to send at once and a batch for the disk.
    /// - Parameter batch: what else goes into it.
    func endTurn(now: Instant, adding batch: Batch = Batch()) -> [Message] {
        self.replica.flush(now: now, into: &self.effects)
        return self.takeEffects(now: now, adding: batch)
    }

    func takeEffects(now: Instant, adding batch: Batch = Batch()) -> [Message] {
        var batch = batch
        let sent = self.effects.sendNow
        batch.messages += self.effects.sendAfterPersist
        for write in self.effects.writes {
            if case .append(let entry) = write { self.appended.append(entry) }
            batch.writes.append(.log(write))
        }
        if let ticket = self.effects.ticket { batch.tickets.append(ticket) }
        self.reads += self.effects.reads
        self.failedReads += self.effects.failedReads
        self.snapshotsNeeded += self.effects.snapshotsNeeded
        self.divergences += self.effects.divergences.map { $0.index }
        self.filled += self.effects.filled.map(\.index)
        self.discarded += self.effects.discarded
        self.effects = Effects()
        let isOwn = !batch.writes.isEmpty || batch.installed != nil
        if !isOwn, let last = self.batches.indices.last {
            // Follows the newest batch that is still being written.
            self.batches[last].messages += batch.messages
            self.batches[last].tickets += batch.tickets
        } else if isOwn || !batch.messages.isEmpty || !batch.tickets.isEmpty {
            self.batches.append(batch)
        }
        return sent
    }

    /// The oldest batch is durable. The caller ends the turn.
    /// - Returns: the batch, whose messages may go.
    func persistOne(now: Instant) -> Batch {
        let batch = self.batches.removeFirst()
        for write in batch.writes {
            if let fault = self.disk.apply(write) { self.diskFaults.append(fault) }
        }
        for ticket in batch.tickets { self.replica.persisted(ticket, now: now, into: &self.effects) }
        return batch
    }

    // `#expect` copies what it asks, and a replica cannot be copied.
    var isTransferring: Bool { self.replica.isTransferring }
    var hasCommittedInTerm: Bool { self.replica.hasCommittedInTerm }
    var isRecovering: Bool { self.replica.isRecovering }
    var isWhole: Bool { self.replica.isWhole }
    var isFillingFruitless: Bool { self.replica.isFillingFruitless }
    var mayStandForElection: Bool { self.replica.mayStandForElection }
    var durableIndex: LogIndex { self.replica.durableIndex }
    var snapshotWanted: (index: LogIndex, from: MemberID)? { self.replica.snapshotWanted }
    var snapshotWantedAt: LogIndex? { self.replica.snapshotWanted?.index }
    func isIncomplete(_ number: UInt32) -> Bool { self.replica.isIncomplete(member(number)) }
    var isInChange: Bool { !self.replica.membership.outgoing.isEmpty }

    /// What a snapshot of this member's state at an index is called.
    func mark(at index: LogIndex) -> SnapshotMark {
        let log = self.replica.log
        return SnapshotMark(
            index: index, term: log.term(at: index)!, hash: log.hash(at: index)!,
            time: index == log.baseIndex ? log.baseTime : log.entry(at: index).time,
            membership: self.replica.membership(at: index))
    }
}
