import Cache
import Catalog
package import Formats
package import Replication

/// Snapshots between nodes: the leader sends the newest file's bytes in pieces to a replica whose log ends before the
/// leader's begins; the replica stages them in a file, reads the state back block by block beside the old one, and
/// then swaps. The same way back serves a restart.
extension NodeCore {
    // MARK: Sending

    func beginSending(_ group: Group, to member: MemberID) {
        guard let mark = group.checkpoint.durable, self.mayLend(mark.index, of: group) else {
            // Our own file is bad, or in doubt. A new one comes sooner by a checkpoint than by waiting.
            if group.healing != nil, group.hasState { group.checkpoint.isWanted = true }
            return self.withhold(group, from: member)
        }
        group.outgoing.removeAll { $0.to == member }
        group.outgoing.append(
            OutgoingSnapshot(
                to: member, mark: mark, standing: group.checkpoint.standing, lastProgress: self.now, sentAt: self.now))
        self.effects.snapshots.append(.read(group.id, index: mark.index, offset: 0, to: member))
    }

    /// There is no good snapshot to send: in a second it is looked for again. Without the pause:
    ///
    /// 1. The peer is asked what it has, and says that it has nothing.
    /// 2. Its next entry is gone from the log: a snapshot is needed, and there is none.
    /// 3. The peer is asked what it has: as fast as messages travel, for as long as the file is bad.
    private func withhold(_ group: Group, from member: MemberID) {
        if group.isLeader { group.withheld.append((member, until: self.now + .seconds(1))) }
    }

    /// A stretch of a file was read for a peer; nil where that file is gone or damaged.
    package func snapshotRead(
        _ id: GroupID, index: LogIndex, offset: UInt64, size: UInt64, bytes: [UInt8]?, for member: MemberID
    ) {
        guard let group = self.group(id),
            let at = group.outgoing.firstIndex(where: { $0.to == member && $0.mark.index == index }),
            group.isLeader || group.outgoing[at].isLent
        else { return }
        guard let bytes else {
            self.snapshotRotten(id, index: index, reason: "its file cannot be read")
            group.outgoing.remove(at: at)
            return self.withhold(group, from: member)
        }
        let piece = SnapshotPiece(
            group: id, term: group.outgoing[at].isLent ? 0 : group.replica.term, mark: group.outgoing[at].mark,
            standing: group.outgoing[at].standing, size: size, offset: offset, bytes: bytes)
        self.effects.messages.append((member.node, .snapshot(piece)))
    }

    func receiveSnapshotReply(_ reply: SnapshotReply, from member: MemberID) {
        guard let group = self.group(reply.group),
            let at = group.outgoing.firstIndex(where: { $0.to == member && $0.mark.index == reply.index }),
            group.isLeader || group.outgoing[at].isLent
        else { return }
        group.outgoing[at].lastProgress = self.now
        switch reply.verdict {
        case .more:
            // Said twice, where the stretch before was sent twice: it is on its way.
            guard reply.nextOffset != group.outgoing[at].offset else { return }
            group.outgoing[at].offset = reply.nextOffset
            group.outgoing[at].sentAt = self.now
            self.effects.snapshots.append(
                .read(group.id, index: reply.index, offset: reply.nextOffset, to: member))
        case .damaged where !group.outgoing[at].wasDamaged:
            // On the way, perhaps.
            group.outgoing[at].wasDamaged = true
            group.outgoing[at].offset = 0
            self.effects.snapshots.append(.read(group.id, index: reply.index, offset: 0, to: member))
        case .damaged:
            // In our own file. The next checkpoint takes its place.
            group.outgoing.remove(at: at)
            self.withhold(group, from: member)
            group.checkpoint.isWanted = true
            self.snapshotRotten(group.id, index: reply.index, reason: "node \(member) found what it was sent damaged")
        case .installed:
            group.outgoing.remove(at: at)
            group.replica.snapshotDelivered(to: member, index: reply.index, now: self.now, into: &group.effects)
            self.effects.events.append(.snapshotSent(group.id, reply.index, to: member.node))
        }
    }

    /// The peer is connected anew: the stretch that was on its way, or the reply to it, is lost with the connection. It goes
    /// out again; a peer that has more, or has forgotten what it had, says where to go on.
    func resumeSending(_ group: Group, to member: MemberID) {
        guard let at = group.outgoing.firstIndex(where: { $0.to == member }),
            group.isLeader || group.outgoing[at].isLent
        else { return }
        group.outgoing[at].lastProgress = self.now
        self.sendAgain(group, at)
    }

    private func sendAgain(_ group: Group, _ at: Int) {
        group.outgoing[at].sentAt = self.now
        self.effects.snapshots.append(
            .read(
                group.id, index: group.outgoing[at].mark.index, offset: group.outgoing[at].offset,
                to: group.outgoing[at].to))
    }

    /// Transfers that make no progress are given up; the replica asks again when its peer is there. Before, a stretch that
    /// found the peer busy (it reads its own snapshot back) goes out again. Those that could not begin are due again.
    func superviseSnapshots(of group: Group) {
        for at in group.outgoing.indices
        where (group.isLeader || group.outgoing[at].isLent) && self.now - group.outgoing[at].sentAt > .seconds(1) {
            self.sendAgain(group, at)
        }
        for at in group.outgoing.indices.reversed()
        where !(group.isLeader || group.outgoing[at].isLent)
            || self.now - group.outgoing[at].lastProgress > .seconds(5)
        {
            let to = group.outgoing.remove(at: at).to
            if group.isLeader { group.replica.snapshotFailed(to: to, now: self.now, into: &group.effects) }
        }
        // One that gives a group its state back may be older than what the journal named last.
        if group.incoming == nil,
            group.keptSnapshots.contains(where: { kept in !group.outgoing.contains { $0.mark.index == kept } })
        {
            self.removeObsoleteSnapshots(of: group, below: group.obsoleteBelow)
        }
        let now = self.now
        while let first = group.withheld.first, first.until <= now || !group.isLeader {
            group.withheld.removeFirst()
            group.replica.snapshotFailed(to: first.member, now: now, into: &group.effects)
        }
        if let incoming = group.incoming, incoming.machine == nil, !incoming.isStaging,
            self.now - incoming.lastHeard > .seconds(10)
        {
            group.incoming = nil
        }
    }

    /// Files of snapshots before the one that the journal named last go, but for those that are on their way to a peer: a
    /// transfer that began anew with each checkpoint might never end. They go when their transfers have ended, one way or
    /// another. What came between such a one and the newest is nobody's.
    func removeObsoleteSnapshots(of group: Group, below index: LogIndex) {
        group.obsoleteBelow = index
        group.keptSnapshots = []
        for outgoing in group.outgoing
        where outgoing.mark.index < index && !group.keptSnapshots.contains(outgoing.mark.index) {
            group.keptSnapshots.append(outgoing.mark.index)
        }
        self.effects.obsoleteSnapshots.append((group.id, below: index, keeping: group.keptSnapshots))
    }

    // MARK: Receiving

    func receiveSnapshot(_ piece: SnapshotPiece, from member: MemberID) {
        // A sick disk takes no snapshot; the leader sends again.
        guard self.disk.isWell, let group = self.group(piece.group) else { return }
        let isTaken =
            piece.term == 0
            ? self.borrows(piece.mark, group)
            : group.replica.acceptSnapshot(from: member, term: piece.term, now: self.now, into: &group.effects)
        guard isTaken else { return }
        guard piece.mark.index > group.replica.commitIndex || self.restores(piece.mark, group) else {
            // Had already, by log or by an earlier transfer; where the disk has not all of it yet, it is asked again.
            guard group.replica.durableIndex >= piece.mark.index else { return }
            self.reply(.installed, to: member, group: group.id, index: piece.mark.index, nextOffset: piece.size)
            return
        }
        if let incoming = group.incoming, incoming.machine != nil { return }
        if group.incoming?.mark != piece.mark || group.incoming?.size != piece.size || piece.offset == 0 {
            guard piece.offset == 0 else {
                self.reply(.more, to: member, group: group.id, index: piece.mark.index, nextOffset: 0)
                return
            }
            if group.incoming?.isStaging == true { return }
            group.incoming = IncomingSnapshot(
                mark: piece.mark, from: member, term: piece.term, size: piece.size, lastHeard: self.now,
                standing: piece.standing == .confirmed ? .confirmed : .lent)
        }
        group.incoming?.lastHeard = self.now
        group.incoming?.from = member
        guard group.incoming?.isStaging == false else { return }
        guard piece.offset == group.incoming?.nextOffset else {
            self.reply(
                .more, to: member, group: group.id, index: piece.mark.index,
                nextOffset: group.incoming?.nextOffset ?? 0)
            return
        }
        group.incoming?.isStaging = true
        self.effects.snapshots.append(.stage(piece, from: member))
    }

    /// A piece is staged. `isWhole`: all bytes are there, checked and durable. `isDamaged`: they are there and wrong.
    package func snapshotStaged(_ id: GroupID, index: LogIndex, nextOffset: UInt64, isWhole: Bool, isDamaged: Bool) {
        guard let group = self.group(id), group.incoming?.mark.index == index, group.incoming?.isStaging == true,
            let from = group.incoming?.from
        else { return }
        group.incoming?.isStaging = false
        group.incoming?.nextOffset = nextOffset
        if isDamaged {
            group.incoming = nil
            self.reply(.damaged, to: from, group: id, index: index, nextOffset: 0)
        } else if isWhole {
            self.load(group)
        } else {
            self.reply(.more, to: from, group: id, index: index, nextOffset: nextOffset)
        }
    }

    /// Our own disk did not take a piece. The leader hears nothing, and tries again in a while: its file may be good.
    package func snapshotNotStaged(_ id: GroupID, index: LogIndex) {
        guard let group = self.group(id), group.incoming?.mark.index == index, group.incoming?.isStaging == true else {
            return
        }
        group.incoming = nil
    }

    /// Whether a snapshot that no leader sends is to be taken: it is of this very log, and covers holes of it.
    private func borrows(_ mark: SnapshotMark, _ group: Group) -> Bool {
        guard let hole = group.replica.log.holes.first, hole.index <= mark.index else { return false }
        return group.replica.holds(mark)
    }

    /// Whether a snapshot within our own log gives a group its state back: it is the one of the log's entry there.
    private func restores(_ mark: SnapshotMark, _ group: Group) -> Bool {
        guard group.healing?.lacksState ?? false, group.incoming?.machine == nil else { return false }
        return group.replica.log.hash(at: mark.index) == mark.hash
    }

    func reply(
        _ verdict: SnapshotReply.Verdict, to member: MemberID, group: GroupID, index: LogIndex, nextOffset: UInt64
    ) {
        self.effects.messages.append(
            (
                member.node,
                .snapshotReply(SnapshotReply(group: group, index: index, nextOffset: nextOffset, verdict: verdict))
            ))
    }

    // MARK: Reading back

    /// Makes room for what is read; `load` reads it.
    func beginRestore(of group: Group) {
        self.loads += 1
        group.incoming?.loadNumber = self.loads
        group.incoming?.machine = self.emptyMachine(group.id)
        group.incoming?.sessions = nil
        group.incoming?.sessionBytes = []
        if case .cache(let cache) = group.incoming?.machine { cache.beginRestore() }
    }

    /// Reads back the file of `group.incoming`.
    func load(_ group: Group) {
        self.beginRestore(of: group)
        guard let incoming = group.incoming else { return }
        self.effects.snapshots.append(.load(group.id, incoming.mark, number: incoming.loadNumber))
    }

    /// Groups whose snapshot is to be read before they can serve, after a start; with the number of the reading.
    package var snapshotsToLoad: [(GroupID, SnapshotMark, UInt64)] {
        self.groups.compactMap { group in
            guard let incoming = group.incoming, incoming.machine != nil else { return nil }
            return (group.id, incoming.mark, incoming.loadNumber)
        }
    }

    /// Why a snapshot's state could not be taken in.
    package struct SnapshotUnreadable: Error {
        package var group: GroupID
        package var index: LogIndex
        package var reason: String
    }

    /// One block of the file being read back, in order; with `isLast` after the last one.
    /// - Parameters:
    ///   - number: of the reading: what an earlier one still brings goes nowhere.
    ///   - digest: of all blocks, with the last.
    package func snapshotLoaded(
        _ id: GroupID, number: UInt64, block: UnsafeRawBufferPointer, isLast: Bool, digest: Hash128?
    ) throws(SnapshotUnreadable) {
        guard let group = self.group(id), let incoming = group.incoming, incoming.loadNumber == number,
            let machine = incoming.machine
        else { return }
        if block.count > 0 {
            group.incoming?.loadedBytes += block.count
            if incoming.sessions == nil {
                group.incoming!.sessionBytes.append(contentsOf: block)
                switch group.incoming!.sessionBytes.withUnsafeBytes({ SessionTable.decode($0) }) {
                case .begun: break
                case .whole(let sessions):
                    group.incoming!.sessions = sessions
                    group.incoming!.sessionBytes = []
                case .malformed:
                    throw SnapshotUnreadable(group: id, index: incoming.mark.index, reason: "its sessions do not parse")
                }
            } else {
                do {
                    switch machine {
                    case .cache(let cache): try cache.restore(block: block)
                    case .catalog(let catalog): try catalog.restore(block)
                    }
                } catch {
                    throw SnapshotUnreadable(group: id, index: incoming.mark.index, reason: "\(error)")
                }
            }
        }
        guard isLast else { return }
        guard let sessions = group.incoming?.sessions else {
            throw SnapshotUnreadable(group: id, index: incoming.mark.index, reason: "it is empty")
        }
        if case .cache(let cache) = machine {
            do { try cache.endRestore() } catch {
                throw SnapshotUnreadable(group: id, index: incoming.mark.index, reason: "\(error)")
            }
        }
        guard let digest else { return }
        if incoming.from != self.configuration.me || group.healing != nil,
            self.isRefuted(digest, incoming.mark, in: group)
        {
            return self.snapshotUnreadable(id, number: number, reason: "a majority has another state there")
        }
        self.install(incoming, machine: machine, sessions: sessions, digest: digest, in: group)
    }

    private func install(
        _ incoming: IncomingSnapshot, machine: StateMachine, sessions: SessionTable, digest: Hash128, in group: Group
    ) {
        self.abandonCheckpoint(of: group)
        group.machine = machine
        group.sessions = sessions
        group.appliedIndex = incoming.mark.index
        group.isMidEntry = false
        group.appliedTime = incoming.mark.time
        switch machine {
        case .cache(let cache): cache.time = incoming.mark.time
        case .catalog(let catalog): catalog.time = incoming.mark.time
        }
        group.checkpoint.lastIndex = incoming.mark.index
        group.checkpoint.bytesSince = 0
        group.checkpoint.durableSize = incoming.loadedBytes
        group.incoming = nil
        let isRestart = incoming.from == self.configuration.me
        // What the journal holds at a start is counted until the next checkpoint.
        if !isRestart { group.checkpoint.journalBytes = self.journalBytes }
        if !isRestart {
            if incoming.mark.index > group.replica.commitIndex {
                group.replica.install(incoming.mark, now: self.now, into: &group.effects)
            } else {
                // The log has it already, and goes on from there: only the state was lost.
                group.replica.compact(through: incoming.mark.index, mark: incoming.mark)
            }
            group.checkpoint.durable = incoming.mark
            group.checkpoint.standing = incoming.standing
            group.checkpoint.pending.removeAll { $0.mark.index <= incoming.mark.index }
            self.effects.records.append(.snapshot(group.id, incoming.mark, incoming.standing))
            self.newMarks.append((group.id, incoming.mark.index))
            // The leader counts this replica up to the mark: only once the journal knows of the file too.
            let reply = SnapshotReply(
                group: group.id, index: incoming.mark.index, nextOffset: incoming.size, verdict: .installed)
            self.afterJournal.append((incoming.from.node, .snapshotReply(reply)))
            self.answerFromSession(of: group)
        }
        self.healed(group, by: incoming.mark)
        self.restored(group, incoming.mark, digest: digest)
        self.effects.events.append(.snapshotInstalled(group.id, incoming.mark.index))
        self.effects.wantsTurn = true
    }
}
