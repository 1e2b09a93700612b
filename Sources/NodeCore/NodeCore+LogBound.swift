import Formats
import Replication

/// What a group does about a log that grows because nothing can go from it: no snapshot can be written, or none is confirmed
/// (docs/decisions/0016-bounded-log.md).
struct LogBound {
    /// Since when clients' writes are refused, and since when no entry is taken in.
    var closedAt: Instant?
    var fullAt: Instant?
    /// Snapshots in a row that the disk did not take, and when it last refused one, or one was begun.
    var failures = 0
    var triedAt: Instant?
    /// When the peers were last told that this leader refuses writes.
    var toldAt: Instant?
    /// The leader said so: until then it is believed.
    var refusedUntil: Instant?
    /// When leadership was last given up because of it, and how often.
    var handedOverAt: Instant?
    var handOvers = 0
}

/// | log in memory | what happens |
/// |---|---|
/// | three quarters of the limit | a checkpoint is wanted, and one that no majority has confirmed counts after a moment; a leader whose disk takes no snapshots hands over |
/// | seven eighths | writes are refused: here, and, where this node leads, everywhere |
/// | the limit | nothing is taken in; after a moment a snapshot is taken of what is applied, at no checkpoint |
///
/// What is between the last two is for writes that were under way. All of it ends by itself as soon as a snapshot is durable.
extension NodeCore {
    /// So long a log that is closed, or full, waits for what the others may still say or send.
    private static let patience = Nanoseconds.seconds(2)
    /// How often a leader that refuses writes says so, and how long it is believed.
    private static let announcement = Nanoseconds.milliseconds(500)

    func maxLogBytes(of group: Group) -> Int { group.replica.configuration.maxLogBytes }

    /// Whether a write would find no room: here, or at the leader.
    func refusesWrites(_ group: Group) -> Bool {
        group.bound.closedAt != nil || group.bound.refusedUntil.map { self.now < $0 } ?? false
    }

    func superviseLog(of group: Group) {
        let bytes = group.replica.log.memoryBytes
        let limit = self.maxLogBytes(of: group)
        let isClosed = bytes >= limit - limit / 8
        if isClosed != (group.bound.closedAt != nil) {
            group.bound.closedAt = isClosed ? self.now : nil
            self.effects.events.append(
                isClosed ? .logClosed(group.id, bytes: bytes) : .logOpened(group.id, bytes: bytes))
        }
        if group.replica.isLogFull != (group.bound.fullAt != nil) {
            group.bound.fullAt = group.replica.isLogFull ? self.now : nil
        }
        guard bytes >= limit - limit / 4 else {
            group.bound.handOvers = 0
            self.considerTryingAgain(group)
            return
        }
        // What counts is usually what a majority came to. A log that is about to be full cannot wait for that.
        if let pending = group.checkpoint.pending.last, self.now - pending.began >= Self.patience,
            group.divergence == nil
        {
            self.adoptUnconfirmed(pending, of: group)
        }
        self.askForSnapshot(of: group)
        if group.bound.closedAt != nil { self.announceRefusal(of: group) }
        if let full = group.bound.fullAt, self.now - full >= Self.patience { self.snapshotAnywhere(group) }
        self.considerGivingUp(group)
    }

    /// A disk did not take a snapshot, and there is room yet. The next checkpoint comes only with news: without this a quiet
    /// group's log, and the segments of the journal that hold it, would stay for an hour. All replicas take one then; where
    /// one disk never takes any they do so once a checkpoint's interval, as if somebody wrote. A disk that is known to be
    /// sick is waited for.
    private func considerTryingAgain(_ group: Group) {
        guard group.bound.failures > 0, self.disk.isWell else { return }
        self.askForSnapshot(of: group)
    }

    /// The pause between two attempts doubles with each that fails, up to the interval of checkpoints.
    private func snapshotPause(of group: Group) -> Nanoseconds {
        let longest = self.configuration.checkpointInterval
        return min(longest, max(longest / 60, 1) << UInt64(min(group.bound.failures, 6)))
    }

    private func mayTry(_ group: Group) -> Bool {
        guard group.checkpoint.running == nil, group.hasState else { return false }
        let last = max(group.checkpoint.lastAt, group.bound.triedAt ?? group.checkpoint.lastAt)
        return self.now - last >= self.snapshotPause(of: group)
    }

    private func askForSnapshot(of group: Group) {
        guard self.mayTry(group), let leader = group.replica.leader else { return }
        if group.isLeader {
            group.checkpoint.isWanted = true
        } else if self.now - (group.checkpoint.askedAt ?? self.startedAt) >= self.snapshotPause(of: group) {
            group.checkpoint.askedAt = self.now
            self.effects.messages.append((leader.node, .checkpointWanted(group: group.id)))
        }
    }

    /// The disk did not take a snapshot, or did.
    func snapshotTried(_ group: Group, isDurable: Bool) {
        group.bound.triedAt = self.now
        group.bound.failures = isDurable ? 0 : group.bound.failures + 1
    }

    /// Of what is applied, as the log has no room for a checkpoint.
    private func snapshotAnywhere(_ group: Group) {
        guard group.divergence == nil, group.checkpoint.pending.isEmpty, self.mayTry(group),
            group.appliedIndex > group.replica.log.baseIndex
        else { return }
        group.bound.triedAt = self.now
        self.beginCheckpoint(group, at: group.replica.log.entry(at: group.appliedIndex))
        group.checkpoint.isForced = true
    }

    // MARK: Leading

    private func announceRefusal(of group: Group) {
        guard group.isLeader, self.now - (group.bound.toldAt ?? self.startedAt) >= Self.announcement else { return }
        group.bound.toldAt = self.now
        for peer in self.peers where peer.isConnected {
            self.effects.messages.append(
                (peer.member.node, .writesRefused(group: group.id, term: group.replica.term)))
        }
    }

    func receiveWritesRefused(_ id: GroupID, term: Term, from member: MemberID) {
        guard let group = self.group(id), let served = group.servedBy, served.leader == member.node,
            served.term == term
        else { return }
        group.bound.refusedUntil = self.now + 3 * Self.announcement
    }

    /// Another's disk may take snapshots.
    private func considerGivingUp(_ group: Group) {
        let isHopeless =
            group.bound.failures >= 2 || group.bound.closedAt.map({ self.now - $0 >= 2 * Self.patience }) ?? false
        guard group.isLeader, self.configuration.founders.count > 1, !group.replica.isTransferring, isHopeless
        else { return }
        let pause = Nanoseconds.seconds(10) << UInt64(min(group.bound.handOvers, 6))
        if let last = group.bound.handedOverAt, group.bound.handOvers > 0, self.now - last < pause { return }
        guard group.replica.transfer(to: nil, now: self.now, into: &group.effects) else { return }
        group.bound.handedOverAt = self.now
        group.bound.handOvers += 1
    }
}
