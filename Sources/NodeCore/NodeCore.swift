package import Cache
package import Catalog
package import Formats
package import Replication

/// A node without its I/O: the replicas of all groups, the streams of clients' requests into them, exactly-once,
/// failure detection, checkpoints and the account of incidents.
///
/// The shell calls inputs in any number and order, each with the present time, then `endTurn`, which moves everything on
/// and fills `effects`; it carries those out and empties them. The core knows no clock, socket, file, thread or random
/// source; the same inputs give the same effects, which is what the simulator rests on.
///
/// Not Sendable: one owner, the core loop.
package final class NodeCore {
    package let configuration: NodeConfiguration
    package var effects = NodeEffects()

    /// Sorted by id; few.
    var groups: [Group] = []
    var peers: [Peer] = []
    var clients: [ClientID: Client] = [:]
    /// Requests of all clients that wait for earlier ones of the same client.
    var held = (count: 0, bytes: 0)
    var waits: [Wait] = []
    /// Clients have much to read: no more reads are answered for now.
    package var isOutputCongested = false
    var now = Instant(nanoseconds: 0)
    var wall = WallTime(nanoseconds: 0)
    var random: Random
    /// Reused for each command applied or read.
    var reply = ReplyBuffer()

    private var lastJournalTicket: UInt64 = 0
    /// Messages and write tickets that a journal batch makes true, by its ticket; oldest first.
    var awaitingJournal: [AwaitingJournal] = []
    /// To be sent once this turn's records are durable, beside what the replicas say.
    var afterJournal: [(to: NodeID, message: PeerMessage)] = []
    /// Marks of snapshots among this turn's records.
    var newMarks: [(group: GroupID, index: LogIndex)] = []
    /// What the journal held at the start, and what it has written since, for all groups.
    package private(set) var journalBytes: Int
    var lastReadTicket: UInt64 = 0
    var lastCopiesTicket: UInt64 = 0
    package private(set) var isStopping = false
    private var stopBegan = Instant(nanoseconds: 0)
    /// What to do about this node's own incidents.
    var incidents: IncidentTracker
    var incidentFile: IncidentFile
    var detector: FailureDetector
    package internal(set) var disk = DiskHealth()
    var diskAccount: DiskAccount
    /// When the journal last said that something is durable.
    var lastJournalled: Instant
    var memory: RunMemory
    /// Enough others have noted this run: it may vote, acknowledge and open sessions.
    var isProven = false
    /// Nothing that this node says counts any more: it has to begin anew.
    var isDiskLost = false
    /// Of the cluster's first nodes, and on an empty disk: at the cluster's birth, or where all was wiped.
    let isNewborn: Bool
    let startedAt: Instant
    var hasSaidUnproven = false
    var rot = RotRepair()
    /// Numbers the readings of snapshot files.
    var loads: UInt64 = 0
    var ledgerCheckedAt = Instant(nanoseconds: 0)

    /// Releases of a journal batch.
    struct AwaitingJournal {
        var ticket: UInt64
        var messages: [(to: NodeID, message: PeerMessage)]
        var tickets: [(GroupID, WriteTicket)]
        var marks: [(group: GroupID, index: LogIndex)] = []
    }

    /// - Parameter recovered: what the journal held, by group; groups it does not name begin empty.
    package init(
        _ configuration: NodeConfiguration, recovered: [GroupID: RecoveredGroup], detector: FailureDetector,
        now: Instant
    ) {
        self.configuration = configuration
        self.now = now
        self.random = Random(seed: configuration.seed)
        self.journalBytes = configuration.journalBytes
        self.incidents = IncidentTracker(
            me: configuration.me.node, run: configuration.run, file: configuration.openIncidents,
            boot: configuration.boot, now: now, wall: configuration.wall)
        self.incidentFile = IncidentFile(after: configuration.openIncidents.number)
        self.detector = detector
        self.diskAccount = DiskAccount(me: configuration.me.node, run: configuration.run)
        self.lastJournalled = now
        self.memory = RunMemory(configuration.peerRuns)
        self.startedAt = now
        let isEmpty = recovered.values.allSatisfy {
            $0.hardState == .initial && $0.snapshot == nil && $0.entries.isEmpty && $0.isWhole
        }
        self.isNewborn =
            isEmpty && !configuration.peerRuns.isComplete && configuration.founders.contains(configuration.me)
        self.peers = configuration.founders.filter { $0.node != configuration.me.node }.map { Peer(member: $0) }
        // So that a late answer to an earlier run's question is no answer to one of this run.
        self.lastReadTicket = self.random.next() >> 1
        let hashKey = HashKey(configuration.cluster)
        for id in [GroupID.system, GroupID.default] {
            let group = recovered[id]
            var replica = ReplicaConfiguration(
                group: id, me: configuration.me, hashKey: hashKey, seed: self.random.next())
            replica.maxLogBytes = id == .system ? configuration.maxSystemLogBytes : configuration.maxLogBytes
            replica.maxUncommittedBytes = min(replica.maxUncommittedBytes, replica.maxLogBytes / 4)
            replica.maxMemoryBytes = min(replica.maxMemoryBytes, replica.maxLogBytes / 4)
            let restored = RestoredReplica(
                hardState: group?.hardState ?? .initial, snapshot: group?.snapshot, entries: group?.entries ?? [],
                membership: Membership(voters: configuration.founders), holes: group?.holes ?? [])
            self.groups.append(
                Group(
                    id: id, replica: Replica(replica, restored: restored, now: now), machine: self.emptyMachine(id),
                    origin: OriginStream(node: configuration.me.node, run: configuration.run)))
            let made = self.groups[self.groups.count - 1]
            made.replica.abstain(true)
            made.namedMembers.formUnion(configuration.founders)
            made.namedMembers.formUnion(made.replica.membership(at: made.replica.log.baseIndex).all)
            if id == .system { self.meet(made.replica.membership) }
            made.persistedIndex = made.replica.lastIndex
            made.checkpoint.lastAt = now
            self.beginHoleRepair(of: made)
            made.confirmedAt = now
            if let mark = group?.snapshot, let standing = group?.standing {
                // The state at the mark comes block by block from its file: see `snapshotLoaded`.
                made.checkpoint.durable = mark
                made.checkpoint.standing = standing
                made.namedIndex = mark.index
                made.checkpoint.lastIndex = mark.index
                made.incoming = IncomingSnapshot(
                    mark: mark, from: configuration.me, term: 0, size: 0, lastHeard: now, standing: standing)
                self.beginRestore(of: made)
            }
        }
    }

    func emptyMachine(_ id: GroupID) -> StateMachine {
        let hashKey = HashKey(self.configuration.cluster)
        return id == .system
            ? .catalog(CatalogMachine(hashKey: hashKey))
            : .cache(CacheMachine(shardCount: self.configuration.cacheShards, hashKey: hashKey))
    }

    // MARK: Time

    /// Begins a turn: all inputs until `endTurn` happen at this time.
    package func begin(now: Instant, wall: WallTime) {
        self.now = max(self.now, now)
        self.wall = wall
    }

    /// The earliest instant at which there is something to do without further input.
    package var deadline: Instant? {
        var earliest: Instant?
        for group in self.groups {
            if let deadline = group.replica.deadline { earliest = min(earliest ?? deadline, deadline) }
        }
        return earliest
    }

    /// Something that takes time was waited for: called at least every 20 ms.
    package func tick() {
        for group in self.groups {
            if let deadline = group.replica.deadline, deadline <= self.now {
                group.replica.wake(now: self.now, into: &group.effects)
            }
            self.expireRequests(of: group)
            self.superviseLog(of: group)
            self.considerCheckpoint(of: group)
            self.considerAskingForCheckpoint(of: group)
            self.considerTime(of: group)
            self.superviseSnapshots(of: group)
            self.considerReplacements(in: group)
            self.superviseHealing(of: group)
            self.superviseHoles(of: group)
            self.superviseDivergence(of: group)
        }
        self.superviseDisk()
        self.superviseRot()
        self.considerPatience()
        self.considerRetirements()
        self.tickIncidents()
    }

    // MARK: Inputs from the journal

    /// Everything up to `ticket` is durable. `bytes`: what the disk got since the last call; small batches take several
    /// times what is in them.
    package func journalCompleted(_ ticket: UInt64, bytes: Int) {
        self.journalBytes += bytes
        self.lastJournalled = self.now
        defer { self.rotJournalled(ticket) }
        while let first = self.awaitingJournal.first, first.ticket <= ticket {
            self.awaitingJournal.removeFirst()
            for mark in first.marks {
                let named = self.group(mark.group)!
                named.namedIndex = max(named.namedIndex, mark.index)
                self.removeObsoleteSnapshots(of: named, below: mark.index)
            }
            self.effects.messages.append(contentsOf: first.messages)
            for (id, write) in first.tickets {
                let group = self.group(id)!
                group.persistedIndex = max(group.persistedIndex, write.lastIndex)
                group.replica.persisted(write, now: self.now, into: &group.effects)
            }
        }
    }

    // MARK: The turn

    /// Moves everything on that the inputs since `begin` made possible.
    package func endTurn() {
        for group in self.groups { self.advance(group) }
        self.considerWaits()
        self.settleRuns()
        self.gatherJournal()
        if self.isStopping { self.continueStop() }
    }

    private func advance(_ group: Group) {
        self.followLeadership(of: group)
        self.sendOrQueue(group)
        self.proposeQueued(group)
        self.askForReads(group)
        group.replica.flush(now: self.now, into: &group.effects)
        self.drain(group)
        self.apply(group)
        self.serveReads(group)
        self.pumpCheckpoint(group)
    }

    /// Carries over what the replica wants done.
    private func drain(_ group: Group) {
        for message in group.effects.sendNow { self.effects.messages.append((message.to.node, .replica(message))) }
        group.effects.sendNow.removeAll(keepingCapacity: true)
        for answer in group.effects.reads { group.reads.answer(answer.ticket, answer.index) }
        group.effects.reads.removeAll(keepingCapacity: true)
        for ticket in group.effects.failedReads { group.reads.fail(ticket) }
        group.effects.failedReads.removeAll(keepingCapacity: true)
        for (index, member) in group.effects.divergences {
            self.effects.events.append(.diverged(group.id, index, member.node))
        }
        group.effects.divergences.removeAll(keepingCapacity: true)
        if group.holes != nil { self.followHoleRepair(of: group) }
        for member in group.effects.snapshotsNeeded { self.beginSending(group, to: member) }
        group.effects.snapshotsNeeded.removeAll(keepingCapacity: true)
    }

    /// One journal batch for all groups' writes of the turn.
    private func gatherJournal() {
        var awaiting = AwaitingJournal(ticket: self.lastJournalTicket + 1, messages: [], tickets: [])
        for group in self.groups {
            for write in group.effects.writes {
                switch write {
                case .append(let entry): self.effects.records.append(.entry(entry))
                case .repair(let entry): self.effects.records.append(.repair(entry))
                case .truncate(let id, let after): self.effects.records.append(.truncate(id, after: after))
                case .hardState(let id, let state): self.effects.records.append(.hardState(id, state))
                }
            }
            group.effects.writes.removeAll(keepingCapacity: true)
            if let ticket = group.effects.ticket {
                awaiting.tickets.append((group.id, ticket))
                group.effects.ticket = nil
            }
            for message in group.effects.sendAfterPersist where self.isWorthKeeping(message) {
                awaiting.messages.append((message.to.node, .replica(message)))
            }
            group.effects.sendAfterPersist.removeAll(keepingCapacity: true)
        }
        swap(&awaiting.marks, &self.newMarks)
        awaiting.messages.append(contentsOf: self.afterJournal)
        self.afterJournal.removeAll(keepingCapacity: true)
        self.rewriteRot()
        let isBatch = !self.effects.records.isEmpty || self.effects.beginsSegment
        if !isBatch, self.awaitingJournal.isEmpty {
            // Nothing of this turn nor of an earlier one waits for the disk: what was to follow a write is true already.
            self.effects.messages.append(contentsOf: awaiting.messages)
            for (id, write) in awaiting.tickets {
                let group = self.group(id)!
                group.replica.persisted(write, now: self.now, into: &group.effects)
                self.effects.wantsTurn = true
            }
            return
        }
        if !isBatch, awaiting.messages.isEmpty, awaiting.tickets.isEmpty { return }
        if !isBatch {
            // Follows the newest batch that is still being written.
            let last = self.awaitingJournal.count - 1
            self.awaitingJournal[last].messages.append(contentsOf: awaiting.messages)
            self.awaitingJournal[last].tickets.append(contentsOf: awaiting.tickets)
            return
        }
        self.lastJournalTicket = awaiting.ticket
        self.effects.journalTicket = awaiting.ticket
        self.awaitingJournal.append(awaiting)
        self.rotGathered(ticket: awaiting.ticket)
    }

    func group(_ id: GroupID) -> Group? {
        for group in self.groups where group.id == id { return group }
        return nil
    }

    // MARK: Stopping

    private static let patienceForRequests = Nanoseconds.seconds(5)
    private static let patienceForAccount = Nanoseconds.milliseconds(500)

    /// Hands every leadership over, then stops; `isStopped` tells when.
    package func stop() {
        guard !self.isStopping else { return }
        self.isStopping = true
        self.stopBegan = self.now
        let led = self.groups.filter(\.isLeader).map { ($0.id, $0.replica.term) }
        self.incidents.plannedStop(
            run: self.configuration.run, led: self.configuration.founders.count > 1 ? led : [], now: self.now,
            wall: self.wall)
        self.tickIncidents()
        self.continueStop()
    }

    package private(set) var isStopped = false

    private func continueStop() {
        guard !self.isStopped else { return }
        var leads = false
        for group in self.groups where group.isLeader && self.configuration.founders.count > 1 {
            leads = true
            if !group.replica.isTransferring {
                _ = group.replica.transfer(
                    to: nil, leavesAnyway: true, now: self.now, into: &group.effects)
            }
        }
        if self.incidents.hasReports(evenIfNotNoted: false) || self.incidents.hasUnsaved { self.tickIncidents() }
        // The account of this stop is worth a moment, not more: where all nodes stop at once nobody is left to take it.
        let isAccountKept =
            (self.group(.system)!.origin.isEmpty && !self.incidents.awaitsHandOver)
            || self.now - self.stopBegan >= Self.patienceForAccount
        let isQuiet =
            self.groups.allSatisfy { $0.id == .system || $0.origin.isEmpty }
            && (self.awaitingJournal.isEmpty || !self.disk.isWell)
        if (!leads && isQuiet && isAccountKept) || self.now - self.stopBegan >= Self.patienceForRequests {
            self.isStopped = true
        }
    }
}
