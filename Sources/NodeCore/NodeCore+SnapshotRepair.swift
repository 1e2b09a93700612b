import Catalog
import Formats
package import Replication

/// What a group does about a snapshot file of its own that is bad.
struct SnapshotHealing {
    enum Stage {
        /// The file is made anew: what is bad in it comes from peers that have the same snapshot.
        case rebuilding
        /// Nobody has that snapshot: another one takes its place.
        case replacing
    }

    /// Of the bad file.
    var mark: SnapshotMark
    /// There is nothing to serve from until this is over. Else the state is in memory, and only its file is bad.
    var lacksState: Bool
    /// Else the file is none to be loaded, as its state is not what a majority has: `Divergence` tells of that.
    var isOfRot = true
    let began: Instant
    var stage: Stage
    /// Frames of the old file are taken where they check; not so once they checked and did not make a snapshot.
    var usesOld = true
    /// Where the frame begins that is wanted, and the next byte of it.
    var frame: UInt64 = 0
    var offset: UInt64 = 0
    /// Who was asked for it, and when; nil while the disk works on an answer, or nobody is there to be asked.
    var asked: (member: MemberID, at: Instant)?
    /// The disk has an answer to take in.
    var isWithDisk = false
    /// Do not have that frame.
    var refused: [MemberID] = []
    /// When the leader was asked for a replacement last, and when that stage began.
    var leaderAsked: Instant?
    var stageBegan: Instant
    /// The scrubber found it, and counts it.
    var isScrubbed = false
    /// It was said that nobody can help.
    var isHopeless = false
}

/// Healing of snapshots. No wrong byte is ever loaded: a file is read back only if all its checksums are right and its
/// mark is the one that the journal names. What is bad is first fetched from any peer with the same snapshot, as equal
/// states give equal files; where nobody has it, the whole is replaced by a newer one of the leader's.
///
/// A group without a state votes as ever, by its log, which is intact: who was promised what does not depend on what is
/// applied. It lets others stand first (`Replica.isReluctant`); where it wins all the same, as its log may be the best,
/// it commits what stands there, confirms reads for others, and hands over. So a state that is lost never stops an
/// election, and nobody is served from it.
extension NodeCore {
    /// An answer that stays away for so long is not waited for.
    private static let patience = Nanoseconds.seconds(1)
    /// After so long without a replacement the peers are asked for blocks again: one may be back that has them.
    private static let roundOfStage = Nanoseconds.seconds(5)

    // MARK: Beginnings

    /// A file could not be read back, whole or in part, by the reading with this number.
    package func snapshotUnreadable(_ id: GroupID, number: UInt64, reason: String) {
        guard let group = self.group(id), let incoming = group.incoming, incoming.loadNumber == number,
            incoming.machine != nil
        else { return }
        let index = incoming.mark.index
        group.incoming = nil
        if incoming.from != self.configuration.me {
            // Received and checked a moment ago. The leader sends it again.
            self.effects.events.append(.snapshotDamaged(id, index, reason))
            return self.reply(.damaged, to: incoming.from, group: id, index: index, nextOffset: 0)
        }
        if group.healing != nil {
            // Rebuilt, and still no state: its frames check, and are not what they should be.
            group.healing?.mark = incoming.mark
            return self.startAgain(group)
        }
        self.beginHealing(group, incoming.mark, lacksState: true, reason: reason)
    }

    /// The scrubber found a finished file bad.
    package func snapshotRotten(_ id: GroupID, index: LogIndex, reason: String) {
        guard let group = self.group(id), group.healing == nil, group.incoming == nil,
            let mark = group.checkpoint.durable, mark.index == index
        else { return }
        self.beginHealing(group, mark, lacksState: false, reason: reason)
    }

    func beginHealing(
        _ group: Group, _ mark: SnapshotMark, lacksState: Bool, reason: String
    ) {
        self.effects.events.append(.snapshotDamaged(group.id, mark.index, reason))
        self.incidents.damaged(
            .rot, run: self.configuration.run, window: 0, now: self.now, wall: self.wall)
        group.healing = SnapshotHealing(
            mark: mark, lacksState: lacksState, began: self.now, stage: .replacing, stageBegan: self.now)
        group.replica.isReluctant = lacksState
        self.beginStage(.rebuilding, of: group)
    }

    /// There is no state, and none on this disk to make it from.
    func beginReplacing(_ group: Group, _ mark: SnapshotMark) {
        group.healing = SnapshotHealing(
            mark: mark, lacksState: true, isOfRot: false, began: self.now, stage: .replacing, stageBegan: self.now)
        group.replica.isReluctant = true
        self.beginStage(.replacing, of: group)
    }

    private func beginStage(_ stage: SnapshotHealing.Stage, of group: Group) {
        guard group.healing != nil else { return }
        group.healing!.stage = stage
        group.healing!.stageBegan = self.now
        group.healing!.asked = nil
        group.healing!.refused = []
        group.healing!.leaderAsked = nil
        group.healing!.isWithDisk = stage == .rebuilding
        switch stage {
        case .rebuilding:
            group.healing!.frame = 0
            group.healing!.offset = 0
            self.effects.snapshots.append(
                .repair(group.id, group.healing!.mark, usesOld: group.healing!.usesOld))
        case .replacing:
            self.effects.snapshots.append(.abandonRepair(group.id))
            self.askForReplacement(of: group)
        }
    }

    /// Once more, without the old file's frames; where that was tried too, by a replacement.
    private func startAgain(_ group: Group) {
        guard let healing = group.healing else { return }
        group.healing!.usesOld = false
        self.beginStage(healing.usesOld ? .rebuilding : .replacing, of: group)
    }

    // MARK: Rebuilding

    /// The rebuilding of a file has come as far as `frame`, and needs a peer's bytes from `offset` on.
    package func snapshotRepairNeeds(_ id: GroupID, index: LogIndex, frame: UInt64, offset: UInt64) {
        guard let group = self.group(id), let healing = group.healing, healing.mark.index == index,
            healing.stage == .rebuilding
        else { return }
        group.healing!.isWithDisk = false
        if frame > healing.frame {
            group.healing!.refused = []
        } else if offset <= healing.offset, let asked = healing.asked {
            // What it gave does not check: its own file is bad there.
            group.healing!.refused.append(asked.member)
        }
        group.healing!.frame = frame
        group.healing!.offset = offset
        self.askForBlocks(of: group)
    }

    private func askForBlocks(of group: Group) {
        guard let healing = group.healing, healing.stage == .rebuilding, !healing.isWithDisk else { return }
        let candidates = self.peers.filter { $0.isConnected && !healing.refused.contains($0.member) }.map(\.member)
        guard let member = candidates.first(where: { $0 == healing.asked?.member }) ?? candidates.first else {
            group.healing!.asked = nil
            let hasAsked = self.peers.contains { healing.refused.contains($0.member) }
            guard hasAsked || self.peers.isEmpty else { return }
            // Nobody has it. Of the old file some frames may have checked that are of another snapshot.
            return hasAsked ? self.startAgain(group) : self.beginStage(.replacing, of: group)
        }
        if member != healing.asked?.member { group.healing!.offset = healing.frame }
        group.healing!.asked = (member, self.now)
        self.effects.messages.append(
            (
                member.node,
                .snapshotBlocksWanted(group: group.id, index: healing.mark.index, offset: group.healing!.offset)
            ))
    }

    func receiveSnapshotBlocks(
        _ id: GroupID, index: LogIndex, offset: UInt64, bytes: [UInt8], from member: MemberID
    ) {
        guard let group = self.group(id), let healing = group.healing, healing.stage == .rebuilding,
            !healing.isWithDisk, healing.mark.index == index, healing.asked?.member == member,
            healing.offset == offset
        else { return }
        guard !bytes.isEmpty else {
            group.healing!.refused.append(member)
            return self.askForBlocks(of: group)
        }
        group.healing!.isWithDisk = true
        self.effects.snapshots.append(.lent(id, index: index, offset: offset, bytes))
    }

    /// A peer wants bytes of a file: any replica may have it.
    func receiveSnapshotBlocksWanted(_ id: GroupID, index: LogIndex, offset: UInt64, from member: MemberID) {
        guard let group = self.group(id) else { return }
        guard self.mayLendBlocks(index, of: group) else {
            return self.snapshotLent(id, index: index, offset: offset, bytes: nil, for: member)
        }
        self.effects.snapshots.append(.lend(id, index: index, offset: offset, to: member))
    }

    package func snapshotLent(
        _ id: GroupID, index: LogIndex, offset: UInt64, bytes: [UInt8]?, for member: MemberID
    ) {
        self.effects.messages.append(
            (member.node, .snapshotBlocks(group: id, index: index, offset: offset, bytes: bytes ?? [])))
    }

    /// The file is whole and durable again.
    package func snapshotRepaired(_ id: GroupID, index: LogIndex, bytes: Int) {
        guard let group = self.group(id), let healing = group.healing, healing.mark.index == index,
            healing.stage == .rebuilding, group.incoming?.machine == nil
        else { return }
        self.incidents.repaired(
            healing.isOfRot ? .rot : .diverged, bytes: bytes,
            action: "snapshot of \(id) at \(index): \(bytes) bytes fetched")
        self.effects.events.append(.snapshotRepaired(id, index, bytes: bytes))
        guard healing.lacksState else { return self.finishHealing(of: group) }
        group.healing!.isWithDisk = true
        group.incoming = IncomingSnapshot(
            mark: healing.mark, from: self.configuration.me, term: 0, size: 0, lastHeard: self.now,
            standing: group.checkpoint.standing)
        self.load(group)
    }

    /// The disk refused the new file.
    package func snapshotRepairFailed(_ id: GroupID, index: LogIndex) {
        guard let group = self.group(id), let healing = group.healing, healing.mark.index == index,
            healing.stage == .rebuilding
        else { return }
        self.beginStage(.replacing, of: group)
    }

    // MARK: Replacing

    private func askForReplacement(of group: Group) {
        guard let healing = group.healing, healing.stage == .replacing else { return }
        group.healing!.leaderAsked = self.now
        if healing.lacksState {
            // A snapshot before the base of our log would leave a gap: what lies between is gone here.
            if let leader = group.replica.leader, leader != self.configuration.me {
                self.effects.messages.append(
                    (leader.node, .snapshotWanted(group: group.id, atLeast: group.replica.log.baseIndex)))
            }
        } else if group.isLeader {
            group.checkpoint.isWanted = true
        } else if let leader = group.replica.leader {
            self.effects.messages.append((leader.node, .checkpointWanted(group: group.id)))
        }
    }

    /// A replica has lost its state, or entries that nobody has in its log any more.
    func receiveSnapshotWanted(_ id: GroupID, atLeast: LogIndex, from member: MemberID) {
        guard let group = self.group(id), !group.outgoing.contains(where: { $0.to == member }) else { return }
        guard group.isLeader, !group.replica.isRecovering else {
            return self.lendSnapshot(of: group, atLeast: atLeast, to: member)
        }
        guard let mark = group.checkpoint.durable, mark.index >= atLeast, self.mayLend(mark.index, of: group) else {
            // Ours is older than what its log reaches back to, or bad itself: a new one, and it asks again.
            group.checkpoint.isWanted = true
            return
        }
        self.beginSending(group, to: member)
    }

    func receiveCheckpointWanted(_ id: GroupID) {
        guard let group = self.group(id), group.isLeader else { return }
        group.checkpoint.isWanted = true
    }

    // MARK: Time

    func superviseHealing(of group: Group) {
        guard let healing = group.healing else { return }
        if healing.lacksState, group.isLeader, self.configuration.founders.count > 1,
            !group.replica.isTransferring
        {
            _ = group.replica.transfer(to: nil, now: self.now, into: &group.effects)
        }
        if !healing.isHopeless, self.now - healing.began >= 2 * Self.roundOfStage || self.peers.isEmpty,
            healing.stage == .replacing, healing.lacksState, group.incoming == nil
        {
            group.healing!.isHopeless = true
            self.effects.events.append(.snapshotLost(group.id, healing.mark.index))
        }
        switch healing.stage {
        case .rebuilding:
            guard !healing.isWithDisk else { return }
            if let asked = healing.asked {
                guard self.now - asked.at >= Self.patience else { return }
                // Another, where there is one; else the same again.
                let others = self.peers.filter {
                    $0.isConnected && $0.member != asked.member && !healing.refused.contains($0.member)
                }
                if let other = others.first {
                    group.healing!.asked = (other.member, self.now)
                    group.healing!.offset = healing.frame
                }
            }
            self.askForBlocks(of: group)
        case .replacing:
            if let incoming = group.incoming, incoming.from != self.configuration.me { return }
            if self.now - healing.stageBegan >= Self.roundOfStage, !self.peers.isEmpty {
                group.healing!.usesOld = true
                return self.beginStage(.rebuilding, of: group)
            }
            if self.now - (healing.leaderAsked ?? healing.began) >= Self.patience {
                self.askForReplacement(of: group)
            }
        }
    }

    // MARK: The end

    /// A state was taken in: this one's, or the leader's in its place.
    func healed(_ group: Group, by mark: SnapshotMark) {
        guard let healing = group.healing else { return }
        if mark.index != healing.mark.index, healing.isOfRot {
            self.incidents.repaired(
                .rot, bytes: 0, action: "state of \(group.id) replaced by a snapshot at \(mark.index)")
        }
        self.finishHealing(of: group)
    }

    /// A newer snapshot of our own state is durable: the bad one is not needed any more.
    func healedByCheckpoint(_ group: Group, at index: LogIndex) {
        guard let healing = group.healing, !healing.lacksState, index > healing.mark.index else { return }
        self.incidents.repaired(
            .rot, bytes: 0,
            action: "snapshot of \(group.id) at \(healing.mark.index) replaced by one at \(index)")
        self.finishHealing(of: group)
    }

    private func finishHealing(of group: Group) {
        guard let healing = group.healing else { return }
        group.healing = nil
        if healing.isScrubbed { self.rot.repaired += 1 }
        group.replica.isReluctant = group.divergence != nil
        self.effects.snapshots.append(.abandonRepair(group.id))
        guard healing.isOfRot else { return }
        self.settleRot()
        self.effects.events.append(.healed(group.id))
        self.effects.wantsTurn = true
    }
}
