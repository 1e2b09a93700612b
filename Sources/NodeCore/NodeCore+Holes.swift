import Catalog
import Formats
package import Replication

/// What a group does about entries of its log that are missing. The replica fills them (`Replica+Holes`); here are the
/// snapshots that cover what peers have compacted, and the account.
struct HoleRepair {
    let began: Instant
    /// The incident is booked: not at the start itself, which has no wall clock yet.
    var isBooked = false
    /// Filled, since it was last told.
    var filled = 0
    var bytes = 0
    var toldAt: Instant
    /// When a snapshot was asked for last, and how often.
    var snapshotAsked: Instant?
    var snapshotsAsked = 0
    /// It was said that nobody has them.
    var isHopeless = false
    /// Leads, and gets nothing: the first hole, and since when.
    var stalled: (at: LogIndex, since: Instant)?
    /// After so long it lets others lead.
    var endurance = shortestEndurance

    static let shortestEndurance = Nanoseconds.seconds(10)
    static let longestEndurance = Nanoseconds.seconds(300)
}

extension NodeCore {
    /// A peer's snapshot is asked for again after so long.
    private static let patience = Nanoseconds.seconds(1)
    /// After so long it is told that nobody has what is missing.
    private static let hope = Nanoseconds.seconds(10)

    /// At the start: what the journal does not have.
    func beginHoleRepair(of group: Group) {
        guard let holes = group.replica.log.holeSpan else { return }
        group.holes = HoleRepair(began: self.now, toldAt: self.now)
        self.effects.events.append(.holesFound(group.id, holes))
    }

    /// After each turn.
    func followHoleRepair(of group: Group) {
        if !group.holes!.isBooked {
            group.holes!.isBooked = true
            self.incidents.damaged(.rot, run: self.configuration.run, window: 0, now: self.now, wall: self.wall)
        }
        for (_, bytes) in group.effects.filled {
            group.holes!.filled += 1
            group.holes!.bytes += bytes
            group.holes!.isHopeless = false
            group.holes!.stalled = nil
            group.holes!.endurance = HoleRepair.shortestEndurance
        }
        group.effects.filled.removeAll(keepingCapacity: true)
        for range in group.effects.discarded {
            self.effects.events.append(
                .entriesDiscarded(group.id, first: range.lowerBound, last: range.upperBound))
            self.incidents.repaired(
                .rot, bytes: 0,
                action: "log of \(group.id): \(range.lowerBound) to \(range.upperBound) discarded, never acknowledged")
        }
        group.effects.discarded.removeAll(keepingCapacity: true)
        guard group.replica.isWhole else { return }
        self.tellFilled(group)
        group.holes = nil
        self.effects.events.append(.logWhole(group.id))
        self.settleRot()
        self.effects.wantsTurn = true
    }

    private func tellFilled(_ group: Group) {
        guard let repair = group.holes, repair.filled > 0 else { return }
        group.holes!.filled = 0
        group.holes!.bytes = 0
        group.holes!.toldAt = self.now
        self.effects.events.append(.holesFilled(group.id, count: repair.filled, bytes: repair.bytes))
        self.incidents.repaired(
            .rot, bytes: repair.bytes, action: "log of \(group.id): \(repair.filled) entries fetched")
    }

    func superviseHoles(of group: Group) {
        guard let repair = group.holes else { return }
        if self.now - repair.toldAt >= Self.hope { self.tellFilled(group) }
        if let wanted = group.replica.snapshotWanted, group.incoming == nil,
            self.now - (repair.snapshotAsked ?? Instant(nanoseconds: 0)) >= Self.patience
        {
            group.holes!.snapshotAsked = self.now
            group.holes!.snapshotsAsked += 1
            // The leader sends its own, whatever this log has. Who leads itself, or has no leader, or one that recovers too,
            // borrows one of this very log.
            var from = wanted.from
            if let leader = group.replica.leader, leader != self.configuration.me, repair.snapshotsAsked % 3 != 2 {
                from = leader
            }
            group.replica.snapshotAsked(of: from)
            self.effects.messages.append((from.node, .snapshotWanted(group: group.id, atLeast: wanted.index)))
        }
        self.considerResigning(of: group)
        guard !repair.isHopeless, self.now - repair.began >= Self.hope, group.replica.isFillingFruitless,
            group.incoming == nil, let holes = group.replica.log.holeSpan
        else { return }
        group.holes!.isHopeless = true
        self.effects.events.append(.holesUnrecoverable(group.id, holes))
    }

    /// See `Replica.resign`. Each time in vain it takes twice as long until the next: an election costs a term and some
    /// messages, and one that could lead may come within reach at any time.
    private func considerResigning(of group: Group) {
        guard group.replica.isRecovering, group.replica.isFillingFruitless, let holes = group.replica.log.holeSpan
        else {
            group.holes!.stalled = nil
            return
        }
        guard let stalled = group.holes!.stalled, stalled.at == holes.first else {
            group.holes!.stalled = (holes.first, self.now)
            return
        }
        guard self.now - stalled.since >= group.holes!.endurance, group.incoming == nil else { return }
        group.holes!.stalled = nil
        group.holes!.endurance = min(2 * group.holes!.endurance, HoleRepair.longestEndurance)
        self.effects.events.append(.recoveryGivenUp(group.id, holes))
        group.replica.resign(now: self.now, into: &group.effects)
    }

    /// Where this node does not lead: its newest snapshot, for a log that it belongs to by its hash.
    func lendSnapshot(of group: Group, atLeast: LogIndex, to member: MemberID) {
        guard let mark = group.checkpoint.durable, mark.index >= atLeast, self.mayLend(mark.index, of: group) else {
            return
        }
        group.outgoing.append(
            OutgoingSnapshot(
                to: member, mark: mark, standing: group.checkpoint.standing, lastProgress: self.now, sentAt: self.now,
                isLent: true))
        self.effects.snapshots.append(.read(group.id, index: mark.index, offset: 0, to: member))
    }
}
