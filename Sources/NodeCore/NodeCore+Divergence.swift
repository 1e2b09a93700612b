import Catalog
import Formats
package import Replication

/// A replica's state is not what the others' is at a checkpoint, or may not be. It serves nothing meanwhile.
struct Divergence {
    enum Stage: Equatable {
        /// They differ, and no majority is known yet. The state is as it was, and nothing is done with it.
        case waiting
        /// The state was dropped. The last snapshot that was confirmed is read back, and the log applied on from there
        /// as far as the checkpoint.
        case replaying
        /// That is done, and what came of it waits for a verdict.
        case reproduced
        /// A snapshot of the leader's takes the state's place.
        case fetching
    }

    var index: LogIndex
    var stage: Stage
    /// Of the state that the others hold for wrong, or that is in doubt.
    var doubted: Hash128
    /// What a majority has there, once that is known.
    var expected: Hash128?
    var began: Instant
    /// When this replica last asked another to lead. Where that one has no state either, leadership does not go to and
    /// fro with every tick.
    var handedOverAt: Instant?
    var isBooked = false
    /// The state is to be dropped when the reading that is under way is over.
    var isDropDue = false
    /// It was said that a person is needed.
    var isStuck = false
}

/// Comparison of states (docs/decisions/0015-states-compared-at-checkpoints.md).
///
/// Each replica tells all others the digest of the snapshot that it took at a checkpoint. A snapshot counts, that is, the
/// journal names it, log goes for it, it is lent to others and read back at a start, only when a majority of the voters
/// came to the same. Until then there are the one before, which was confirmed, and the log since: so a replica whose state
/// went wrong makes it anew from what it has, and a wrong state goes nowhere.
///
/// | at the checkpoint | then |
/// |---|---|
/// | a majority has what I have | my snapshot counts |
/// | a majority has something else | I am the odd one: I drop my state, apply the log again, and am back when I come to what they have; the second time I take the leader's snapshot |
/// | some differ, no majority yet | I serve nothing; after a moment I apply the log again: who comes to the same twice is right, unless another does too |
extension NodeCore {
    /// So long the slower voters have for their word, before a replica whose state is in doubt applies the log again.
    private static let patience = Nanoseconds.seconds(2)
    /// The same where a voter is connected that has said nothing of the checkpoint or a later one: its disk is slow.
    private static let patienceForVoter = Nanoseconds.seconds(8)
    /// Snapshots that are durable here and wait for the others' word: the newest.
    private static let maxPending = 2
    /// So long they wait. Then the newest counts all the same: the log cannot be kept for ever for replicas that say nothing.
    private static let patienceForConfirmation = Nanoseconds.seconds(60)
    private static let pauseBeforeTelling = Nanoseconds.seconds(5)

    // MARK: Digests

    private func verdict(at index: LogIndex, in group: Group) -> DigestTable.Verdict {
        let me = self.configuration.me
        guard let own = group.digests[me, index] else { return .open }
        return group.digests.verdict(on: own, of: me, group.replica.membership)
    }

    /// This replica's state at a checkpoint is known.
    private func noteOwn(_ digest: Hash128, _ mark: SnapshotMark, _ standing: StateDigest.Standing, in group: Group) {
        let me = self.configuration.me
        var said = StateDigest(
            group: group.id, index: mark.index, entryHash: mark.hash, standing: standing, digest: digest)
        if let before = group.digests[me, mark.index], before.digest == digest, before.entryHash == mark.hash {
            said.standing = max(standing, before.standing)
        }
        group.digests.note(said, of: me)
        for peer in self.peers where peer.isConnected {
            self.effects.messages.append((peer.member.node, .stateDigest(said)))
        }
    }

    /// To a peer that has just connected: it may have been away when it was said.
    func tellDigests(to node: NodeID) {
        for group in self.groups {
            for said in group.digests.all(of: self.configuration.me) {
                self.effects.messages.append((node, .stateDigest(said)))
            }
        }
    }

    /// As long as snapshots wait for a word it is asked for, by saying ours again.
    private func tellAgain(_ group: Group) {
        guard !group.checkpoint.pending.isEmpty, self.now - group.toldDigestsAt >= Self.pauseBeforeTelling else {
            return
        }
        group.toldDigestsAt = self.now
        for said in group.digests.all(of: self.configuration.me) where said.standing != .confirmed {
            for peer in self.peers where peer.isConnected {
                self.effects.messages.append((peer.member.node, .stateDigest(said)))
            }
        }
    }

    func receiveStateDigest(_ said: StateDigest, from member: MemberID) {
        guard let group = self.group(said.group) else { return }
        group.digests.note(said, of: member)
        if said.standing != .confirmed, let own = group.digests[self.configuration.me, said.index],
            own.standing == .confirmed
        {
            self.effects.messages.append((member.node, .stateDigest(own)))
        }
        self.judge(group)
    }

    // MARK: Snapshots that count

    /// A snapshot of our own is durable. It counts from the time that it is confirmed.
    func noteSnapshot(_ pending: PendingSnapshot, digest: Hash128, of group: Group) {
        let isAgain = group.divergence.map { $0.stage == .replaying && $0.index == pending.mark.index } ?? false
        let isSame = group.divergence?.doubted == digest
        if group.checkpoint.pending.isEmpty { group.checkpoint.waitsSince = pending.began }
        group.checkpoint.pending.append(pending)
        let isCopy = group.checkpoint.standing == .lent
        group.toldDigestsAt = self.now
        self.noteOwn(
            digest, pending.mark, isCopy ? .copied : isAgain && isSame ? .reproduced : .computed, in: group)
        if isAgain {
            group.divergence!.stage = .reproduced
            group.divergence!.doubted = digest
        }
        self.judge(group)
        let waiting = group.checkpoint.pending
        guard waiting.count > Self.maxPending, group.divergence == nil else { return }
        if self.now - group.checkpoint.waitsSince >= Self.patienceForConfirmation {
            self.adoptUnconfirmed(pending, of: group)
        } else {
            group.checkpoint.pending.removeFirst()
            self.effects.snapshots.append(.drop(group.id, index: waiting[0].mark.index))
        }
    }

    /// It counts all the same.
    func adoptUnconfirmed(_ pending: PendingSnapshot, of group: Group) {
        self.effects.events.append(.snapshotUnconfirmed(group.id, pending.mark.index))
        self.adoptPending(pending, group.checkpoint.standing == .lent ? .lent : .own, of: group)
    }

    private func adoptPending(_ pending: PendingSnapshot, _ standing: SnapshotStanding, of group: Group) {
        group.checkpoint.pending.removeAll { $0.mark.index <= pending.mark.index }
        group.checkpoint.durableSize = pending.size
        self.adopt(pending.mark, standing, of: group)
        self.healedByCheckpoint(group, at: pending.mark.index)
        self.effects.events.append(.checkpointDone(group.id, pending.mark.index))
    }

    /// Bytes for a file that a peer rebuilds: also of one that is bad in other places.
    func mayLendBlocks(_ index: LogIndex, of group: Group) -> Bool {
        guard let durable = group.checkpoint.durable, index <= durable.index else { return false }
        if let divergence = group.divergence, index >= divergence.index { return false }
        switch self.verdict(at: index, in: group) {
        case .open, .confirmed: return true
        case .odd, .disputed: return false
        }
    }

    /// A state was read back from a file. Of what a majority holds for wrong nothing is taken in from others.
    func isRefuted(_ digest: Hash128, _ mark: SnapshotMark, in group: Group) -> Bool {
        let said = StateDigest(
            group: group.id, index: mark.index, entryHash: mark.hash, standing: .copied, digest: digest)
        if case .odd = group.digests.verdict(on: said, of: self.configuration.me, group.replica.membership) {
            return true
        }
        return false
    }

    /// A state was taken in: at a start, in place of one that was dropped, or because the log did not reach so far.
    func restored(_ group: Group, _ mark: SnapshotMark, digest: Hash128) {
        self.noteOwn(digest, mark, .copied, in: group)
        if let divergence = group.divergence {
            if mark.index >= divergence.index {
                self.endDivergence(of: group, "state of \(group.id) replaced by a snapshot at \(mark.index)")
            } else {
                group.divergence!.stage = .replaying
                group.divergence!.isDropDue = false
            }
        }
        self.judge(group)
    }

    /// Whether the newest snapshot may go to others: nobody is known to have come to another state there.
    func mayLend(_ index: LogIndex, of group: Group) -> Bool {
        !(group.healing?.isOfRot ?? false) && self.mayLendBlocks(index, of: group)
    }

    // MARK: Judgement

    /// Something new is known of the states at a checkpoint.
    private func judge(_ group: Group) {
        // What a majority came to may count.
        let confirmed = group.checkpoint.pending.last { self.verdict(at: $0.mark.index, in: group) == .confirmed }
        if let confirmed {
            let me = self.configuration.me
            if var said = group.digests[me, confirmed.mark.index] {
                said.standing = .confirmed
                group.digests.note(said, of: me)
            }
            group.confirmedAt = confirmed.began
            self.adoptPending(confirmed, .confirmed, of: group)
            if confirmed.mark.index > group.settledIndex { group.rebuilds = 0 }
        }
        if group.divergence != nil { return self.judgeDivergence(of: group) }
        guard group.incoming?.machine == nil, !(group.healing?.lacksState ?? false) else { return }
        // The newest word decides: of what differed before and is equal since nothing is left.
        for own in group.digests.all(of: self.configuration.me).reversed() where own.index > group.settledIndex {
            let verdict = self.verdict(at: own.index, in: group)
            switch verdict {
            case .open: continue
            case .confirmed: return
            case .odd, .disputed:
                group.divergence = Divergence(
                    index: own.index, stage: .waiting, doubted: own.digest, began: self.now)
                return self.judgeDivergence(of: group)
            }
        }
    }

    private func judgeDivergence(of group: Group) {
        guard let divergence = group.divergence, divergence.stage == .waiting || divergence.stage == .reproduced else {
            return
        }
        switch self.verdict(at: divergence.index, in: group) {
        case .confirmed:
            self.endDivergence(of: group, "state of \(group.id) made anew from the log, as a majority has it")
        case .odd(let digest):
            group.divergence!.expected = digest
            self.dropState(of: group)
        case .disputed, .open:
            let me = self.configuration.me
            guard let own = group.digests[me, divergence.index] else { return }
            guard divergence.stage == .reproduced else {
                // Who differed may have come to the same since, or be away with what it said. Then the log tells, where
                // it reaches back so far.
                let isOpen = self.verdict(at: divergence.index, in: group) == .open
                let isAgreed = group.digests.isSharedByOther(own, of: me, group.replica.membership)
                if isOpen, isAgreed || !self.canReplay(group) {
                    self.endDivergence(of: group, "nobody differs any more in \(group.id)")
                }
                return
            }
            if let expected = divergence.expected {
                // The majority that said so may be away by now.
                guard own.digest != expected else {
                    return self.endDivergence(of: group, "state of \(group.id) made anew from the log")
                }
                return self.dropState(of: group)
            }
            let isOpen = self.verdict(at: divergence.index, in: group) == .open
            guard isOpen || own.standing >= .reproduced,
                !group.digests.isContradictedByProof(own, of: me, group.replica.membership)
            else { return self.becomeStuck(group) }
            self.endDivergence(of: group, "log of \(group.id) applied again, with the same state")
        }
    }

    /// No majority, and applying the log again did not decide.
    private func becomeStuck(_ group: Group) {
        guard let divergence = group.divergence, !divergence.isStuck else { return }
        group.divergence!.isStuck = true
        self.book(group)
        self.effects.events.append(.divergenceStuck(group.id, divergence.index))
    }

    // MARK: Making a state anew

    private func book(_ group: Group) {
        guard let divergence = group.divergence, !divergence.isBooked else { return }
        group.divergence!.isBooked = true
        self.effects.events.append(.stateDiverged(group.id, divergence.index))
        self.incidents.damaged(
            .diverged, run: self.configuration.run, window: self.now - group.confirmedAt, now: self.now,
            wall: self.wall)
        self.incidents.repaired(
            .diverged, bytes: 0, action: "state of \(group.id) differs at \(divergence.index): put aside")
    }

    /// The state goes. From the last snapshot that counts the log is applied again; where that was done already, or there
    /// is no good snapshot before the checkpoint, the leader's takes its place.
    private func dropState(of group: Group) {
        guard let divergence = group.divergence else { return }
        // What a snapshot of the leader's brings may end it too. And where one is being read, no other is.
        guard group.incoming?.machine == nil else {
            group.divergence!.isDropDue = true
            return
        }
        group.divergence!.isDropDue = false
        group.divergence!.isStuck = false
        self.book(group)
        self.abandonCheckpoint(of: group)
        // Nobody is served from it any more, and memory is not to hold two of them.
        group.machine = self.emptyMachine(group.id)
        group.isMidEntry = false
        group.replica.isReluctant = true
        group.rebuilds += 1
        let durable = group.checkpoint.durable
        let hadFile = group.checkpoint.pending.contains { $0.mark.index == divergence.index }
        if hadFile || durable?.index == divergence.index {
            self.effects.snapshots.append(.setAside(group.id, index: divergence.index))
        }
        group.checkpoint.pending.removeAll()
        let isGood = self.canReplay(group)
        group.digests.forget(
            self.configuration.me, after: min(durable?.index ?? 0, divergence.index - 1))
        guard isGood, group.rebuilds % 2 == 1 else { return self.fetchState(of: group) }
        group.divergence!.stage = .replaying
        if let durable {
            group.incoming = IncomingSnapshot(
                mark: durable, from: self.configuration.me, term: 0, size: 0, lastHeard: self.now,
                standing: group.checkpoint.standing)
            self.load(group)
        } else {
            // From the beginning: no log is gone yet.
            invariant(group.replica.log.baseIndex == 0, "\(group.id): log gone without a snapshot")
            group.sessions = SessionTable()
            group.appliedIndex = 0
            group.appliedTime = WallTime(nanoseconds: 0)
        }
        self.effects.wantsTurn = true
    }

    /// Whether there is a good snapshot from before the checkpoint, and so the log since. It is one that a majority came to:
    /// else what is made of it may be wrong again, and be held for a proof.
    private func canReplay(_ group: Group) -> Bool {
        guard let divergence = group.divergence, group.healing == nil, group.checkpoint.standing == .confirmed else {
            return false
        }
        return (group.checkpoint.durable?.index ?? 0) < divergence.index
    }

    private func fetchState(of group: Group) {
        guard let divergence = group.divergence else { return }
        group.divergence!.stage = .fetching
        if group.healing != nil {
            group.healing!.lacksState = true
            return
        }
        let mark = self.mark(at: divergence.index, in: group) ?? group.checkpoint.durable
        guard let mark else { return }
        self.beginReplacing(group, mark)
    }

    /// Of the log's entry at an index; nil where that is gone.
    private func mark(at index: LogIndex, in group: Group) -> SnapshotMark? {
        guard index >= group.replica.log.firstIndex, index <= group.replica.lastIndex else { return nil }
        let entry = group.replica.log.entry(at: index)
        return SnapshotMark(
            index: index, term: entry.term, hash: entry.hash, time: entry.time,
            membership: group.replica.membership(at: index))
    }

    private func endDivergence(of group: Group, _ action: String) {
        guard let divergence = group.divergence else { return }
        group.divergence = nil
        group.settledIndex = max(group.settledIndex, divergence.index)
        group.replica.isReluctant = group.healing?.lacksState ?? false
        self.effects.wantsTurn = true
        guard divergence.isBooked else { return }
        self.incidents.repaired(.diverged, bytes: 0, action: action)
        if !self.groups.contains(where: { $0.divergence?.isBooked ?? false }) {
            self.incidents.repairedAll(.diverged, now: self.now)
        }
        self.effects.events.append(.divergenceEnded(group.id, divergence.index))
    }

    // MARK: Time

    /// Whether a voter that is connected may still say what it has there: then there is a majority, and nothing need be
    /// applied again.
    private func awaitsWord(of group: Group) -> Bool {
        guard let divergence = group.divergence else { return false }
        let membership = group.replica.membership
        return self.peers.contains { peer in
            peer.isConnected && membership.voters.contains(peer.member)
                && !group.digests.all(of: peer.member).contains { $0.index >= divergence.index }
        }
    }

    func superviseDivergence(of group: Group) {
        self.tellAgain(group)
        guard let divergence = group.divergence else { return }
        if divergence.stage != .waiting, group.isLeader, self.configuration.founders.count > 1,
            !group.replica.isTransferring,
            divergence.handedOverAt.map({ self.now - $0 >= Self.patience }) ?? true
        {
            if group.replica.transfer(to: nil, now: self.now, into: &group.effects) {
                group.divergence!.handedOverAt = self.now
            }
        }
        if divergence.stage == .replaying, group.incoming?.machine == nil, group.checkpoint.running == nil,
            group.appliedIndex == divergence.index, self.now - divergence.began >= Self.patience
        {
            // The disk did not take the file.
            group.divergence!.began = self.now
            return self.beginCheckpoint(group, at: group.replica.log.entry(at: divergence.index))
        }
        if divergence.isDropDue, group.incoming?.machine == nil { return self.dropState(of: group) }
        guard divergence.stage == .waiting,
            self.now - divergence.began >= (self.awaitsWord(of: group) ? Self.patienceForVoter : Self.patience)
        else { return }
        if self.canReplay(group) { return self.dropState(of: group) }
        // The log does not reach back: who has reproduced another state is right.
        let me = self.configuration.me
        guard let own = group.digests[me, divergence.index] else { return }
        if group.digests.isContradictedByProof(own, of: me, group.replica.membership) {
            self.dropState(of: group)
        } else {
            self.becomeStuck(group)
        }
    }
}
