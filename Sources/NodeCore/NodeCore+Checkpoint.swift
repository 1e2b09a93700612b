import Cache
import Catalog
import Formats
package import Replication

/// Checkpoints. One is an entry of the log, so that every replica takes its snapshot of the same state; equal states give
/// equal files. The state is serialised in slices between other work, shard by shard, the first write to a shard not yet
/// done doing it first; the file is written by another thread.
extension NodeCore {
    /// The leader proposes one when enough has happened since the last.
    func considerCheckpoint(of group: Group) {
        guard group.isLeader, group.replica.hasCommittedInTerm, !group.checkpoint.isProposed,
            group.checkpoint.running == nil, group.incoming == nil, group.hasState
        else { return }
        let isDue =
            group.checkpoint.bytesSince >= self.logDistance(of: group)
            || self.now - group.checkpoint.lastAt >= self.configuration.checkpointInterval
        let hasNews = group.lastEffectiveIndex > group.checkpoint.lastIndex
        // A quiet group's few entries, whatever they are, keep every segment since from being used again, as all groups
        // share the journal.
        let holdsJournal =
            self.journalSince(group) >= self.journalDistance(of: group)
            && group.appliedIndex > group.checkpoint.lastIndex
        let isWanted =
            group.checkpoint.isWanted && self.now - group.checkpoint.lastAt >= self.pauseBeforeWanted(of: group)
        let isLong = self.now - group.checkpoint.lastAt >= self.configuration.comparisonInterval
        guard holdsJournal || (isDue && hasNews) || isWanted || isLong else { return }
        if case .accepted = group.replica.propose(
            .checkpoint, payload: [], wall: self.wall, now: self.now, into: &group.effects)
        {
            group.checkpoint.isProposed = true
        }
    }

    /// Who wants a checkpoint wants one that counts. Where the last waits for the others' word it has some time for that.
    private func pauseBeforeWanted(of group: Group) -> Nanoseconds {
        group.checkpoint.pending.isEmpty ? 0 : .seconds(5)
    }

    /// The leader goes by its own journal. A follower's may be longer: a disk that is faster takes the same log in more
    /// batches, each of which fills its last block, and what it held at its start counts too. Beyond twice what is due it
    /// asks.
    func considerAskingForCheckpoint(of group: Group) {
        guard !group.isLeader, let leader = group.replica.leader, group.hasState, group.checkpoint.running == nil,
            group.appliedIndex > group.checkpoint.lastIndex,
            self.journalSince(group) >= 2 * self.journalDistance(of: group),
            self.now - (group.checkpoint.askedAt ?? self.startedAt) >= .seconds(1)
        else { return }
        group.checkpoint.askedAt = self.now
        self.effects.messages.append((leader.node, .checkpointWanted(group: group.id)))
    }

    /// Bytes of log from one checkpoint to the next. A larger state is written again only after more log, so that
    /// checkpoints do not write several times what the log does; up to a limit, as the log is held in memory until then.
    private func logDistance(of group: Group) -> Int {
        let bytes = self.configuration.checkpointBytes
        return min(max(bytes, group.checkpoint.durableSize), bytes * 4, self.maxLogBytes(of: group) / 4)
    }

    /// Bytes of journal from one checkpoint to the next: small batches take several times their log's bytes. As much as the
    /// last snapshot: so a data directory stays within about twice its snapshot, and segments are used again rather than
    /// made, which others' syncs wait for.
    private func journalDistance(of group: Group) -> Int {
        max(self.configuration.checkpointBytes, group.checkpoint.durableSize)
    }

    private func journalSince(_ group: Group) -> Int { self.journalBytes - group.checkpoint.journalBytes }

    func beginCheckpoint(_ group: Group, at entry: Entry) {
        group.checkpoint.isProposed = false
        group.checkpoint.isWanted = false
        group.checkpoint.bytesSince = 0
        group.checkpoint.journalBytes = self.journalBytes
        group.checkpoint.lastAt = self.now
        group.checkpoint.lastIndex = entry.index
        // One at a time: where the disk is so slow that the last is not done, this one is left out.
        guard group.checkpoint.running == nil else { return }
        // A state that is made anew has to show itself at one checkpoint; no other is to be under way then.
        if let divergence = group.divergence, entry.index < divergence.index { return }
        let mark = SnapshotMark(
            index: entry.index, term: entry.term, hash: entry.hash, time: entry.time,
            membership: group.replica.membership(at: entry.index))
        group.checkpoint.running = mark
        group.checkpoint.isSerialised = false
        group.checkpoint.isForced = false
        group.checkpoint.runningSize = 0
        group.checkpoint.blocksInFlight = 0
        self.effects.events.append(.checkpointBegun(group.id, entry.index))
        self.effects.snapshots.append(.begin(group.id, mark))
        // First the sessions. They are small, as a rule, and they change with every entry.
        for block in group.sessions.encodedBlocks() { self.hand(block, of: group) }
        switch group.machine {
        case .cache(let cache): cache.beginCheckpoint()
        case .catalog(let catalog):
            self.hand(catalog.snapshot(), of: group)
            self.finishSerialising(group)
        }
    }

    /// Serialises on, as far as the disk keeps up and no faster than need be: a block a turn.
    func pumpCheckpoint(_ group: Group) {
        guard group.checkpoint.running != nil, !group.checkpoint.isSerialised, case .cache(let cache) = group.machine,
            group.checkpoint.blocksInFlight < self.configuration.maxSnapshotBlocksInFlight,
            group.checkpoint.runningSize < self.checkpointAllowance(of: group, stateBytes: cache.usedMemory)
        else { return }
        var block: [UInt8] = []
        let isMore = cache.nextCheckpointBlock(into: &block, maxBytes: self.configuration.snapshotBlockBytes)
        if !block.isEmpty { self.hand(block, of: group) }
        if isMore {
            if group.checkpoint.blocksInFlight < self.configuration.maxSnapshotBlocksInFlight,
                group.checkpoint.runningSize < self.checkpointAllowance(of: group, stateBytes: cache.usedMemory)
            {
                self.effects.wantsTurn = true
            }
        } else {
            self.finishSerialising(group)
        }
    }

    /// How much of the running checkpoint may be written by now. It shares disk and processor with the clients' writes, on
    /// all nodes at once: so it takes its time, a quarter of the interval, or half of the log until the next one is due,
    /// whichever comes first. Small states are written at once.
    private func checkpointAllowance(of group: Group, stateBytes: Int) -> Int {
        // Nothing is served before it is done, here or elsewhere: where others differ this one's word decides.
        guard group.divergence == nil,
            !(group.checkpoint.running.map { group.digests.isDisputed(at: $0.index) } ?? false)
        else { return .max }
        let byTime =
            Double(self.now - group.checkpoint.lastAt) / Double(max(1, self.configuration.checkpointInterval / 4))
        let byLog = Double(group.checkpoint.bytesSince) / Double(max(1, self.logDistance(of: group) / 2))
        let byJournal = Double(self.journalSince(group)) / Double(max(1, self.journalDistance(of: group) / 2))
        let share = max(byTime, byLog, byJournal)
        return (1 << 20) + (share >= 1 ? Int.max / 2 : Int(share * Double(stateBytes)))
    }

    private func hand(_ block: [UInt8], of group: Group) {
        group.checkpoint.blocksInFlight += 1
        group.checkpoint.runningSize += block.count
        self.effects.snapshots.append(.block(group.id, block))
    }

    private func finishSerialising(_ group: Group) {
        group.checkpoint.isSerialised = true
        self.effects.snapshots.append(.finish(group.id))
    }

    // MARK: Inputs from the snapshot files

    package func snapshotBlockWritten(_ id: GroupID) {
        guard let group = self.group(id) else { return }
        group.checkpoint.blocksInFlight -= 1
    }

    /// What is being serialised or written is of a state that goes.
    func abandonCheckpoint(of group: Group) {
        guard group.checkpoint.running != nil else { return }
        if !group.checkpoint.isSerialised {
            if case .cache(let cache) = group.machine { cache.cancelCheckpoint() }
            self.effects.snapshots.append(.abandon(group.id))
        }
        group.checkpoint.running = nil
        group.checkpoint.isSerialised = true
    }

    /// The file is durable: it counts when it is known to be what a majority has (`NodeCore+Divergence`).
    /// - Parameter digest: of the state in it.
    package func snapshotDurable(_ id: GroupID, index: LogIndex, digest: Hash128) {
        guard let group = self.group(id), let mark = group.checkpoint.running, mark.index == index else { return }
        group.checkpoint.running = nil
        self.snapshotTried(group, isDurable: true)
        let pending = PendingSnapshot(
            mark: mark, size: group.checkpoint.runningSize, began: group.checkpoint.lastAt)
        guard group.checkpoint.isForced else { return self.noteSnapshot(pending, digest: digest, of: group) }
        // Doubts have come up meanwhile: then the log since the snapshot before is what tells.
        if group.divergence == nil { self.adoptUnconfirmed(pending, of: group) }
    }

    /// The disk refused. The log stays as it is; the next checkpoint tries again, and one is asked for (`considerTryingAgain`).
    package func snapshotFailed(_ id: GroupID, index: LogIndex) {
        guard let group = self.group(id), let mark = group.checkpoint.running, mark.index == index else { return }
        if !group.checkpoint.isSerialised, case .cache(let cache) = group.machine { cache.cancelCheckpoint() }
        group.checkpoint.running = nil
        group.checkpoint.isSerialised = true
        self.snapshotTried(group, isDurable: false)
    }

    /// A snapshot is the newest that counts: the journal is told, and entries that nobody near needs go.
    func adopt(_ mark: SnapshotMark, _ standing: SnapshotStanding, of group: Group) {
        group.checkpoint.durable = mark
        group.checkpoint.standing = standing
        self.effects.records.append(.snapshot(group.id, mark, standing))
        self.newMarks.append((group.id, mark.index))
        group.replica.compact(through: self.compactionIndex(of: group, mark), mark: mark)
    }

    /// How far the log may go, with a snapshot at `mark`. A peer that lags a little is served from the log: cheaper than a
    /// snapshot for both. And one that is catching up finds what follows its snapshot, or under load it would need the
    /// next as soon as it had this one.
    private func compactionIndex(of group: Group, _ mark: SnapshotMark) -> LogIndex {
        var wanted = mark.index
        if group.isLeader {
            for peer in self.peers where peer.isConnected {
                let snapshot = group.outgoing.first { $0.to == peer.member }?.mark.index
                wanted = min(wanted, snapshot ?? group.replica.matchIndex(of: peer.member))
            }
        }
        let reach = min(self.configuration.checkpointBytes * 2, self.maxLogBytes(of: group) / 4)
        var index = mark.index
        var bytes = 0
        while index >= group.replica.log.firstIndex {
            bytes += group.replica.log.entry(at: index).payload.count + 256
            guard
                bytes < min(self.configuration.checkpointBytes / 16, reach) || (index > wanted && bytes < reach)
            else { break }
            index -= 1
        }
        return index
    }
}
