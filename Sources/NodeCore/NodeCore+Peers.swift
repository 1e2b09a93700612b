package import Formats
package import Replication

/// Another node, as this one sees it.
struct Peer {
    /// Of its present or last connection; before the first as the membership has it.
    var member: MemberID
    /// Of its present or last connection; 0 before the first.
    var run: Run = 0
    var isConnected = false
    var connectedAt = Instant(nanoseconds: 0)
    /// What it showed of its disk's starts.
    var history = RunHistory()
    /// That is an older copy, or an empty disk under an old name: the peer will find out that it is lost.
    var isStale = false
    /// It has told us that it has noted this run of ours,
    var hasNoted = false
    /// that it remembers all that it ever noted,
    var remembersAll = false
    /// and what, which counts when our file has it.
    var heardVersion: UInt64 = 0
    /// It is to be told what we remember, when our file has this version.
    var owesVersion: UInt64?
    /// The connection ended and the re-dial was refused.
    var isRefused = false
    /// Its heartbeats stay away.
    var isSilent = false
    /// The last good sign of life.
    var lastGood = Instant(nanoseconds: 0)
    /// The last of the run before.
    var goodBefore = Instant(nanoseconds: 0)

    var isSuspected: Bool { self.isRefused || self.isSilent }

    init(member: MemberID) { self.member = member }
}

/// Peers: their messages, their connections, and whether they live.
extension NodeCore {
    // MARK: Messages

    package func receive(_ message: PeerMessage, from member: MemberID) {
        guard let at = self.peers.firstIndex(where: { $0.member == member }) else { return }
        self.peers[at].lastGood = self.now
        if case .runs(let runs) = message { return self.receiveRuns(runs, from: at) }
        // Of a disk in whose place another has come only that counts.
        guard !self.memory.runs.isRetired(member), !self.isDiskLost else { return }
        switch message {
        case .runs:
            break
        case .replica(let message):
            // A message is its sender's only if the connection says so too.
            guard message.from == member, message.to == self.configuration.me else { return }
            guard let group = self.group(message.group) else { return }
            group.replica.receive(message, now: self.now, into: &group.effects)
        case .forward(let forward):
            self.receiveForward(forward)
        case .advanceTime(let id):
            guard let group = self.group(id), group.isLeader else { return }
            group.wantsTime = true
        case .copies(let id, let index, let ticket):
            guard let group = self.group(id), group.isLeader else { return }
            let count = self.copies(of: index, in: group)
            self.effects.messages.append((member.node, .copiesReply(ticket: ticket, count: UInt32(count))))
        case .copiesReply(let ticket, let count):
            self.answerWait(ticket, copies: Int(count))
        case .transfer(let id, let to):
            guard let group = self.group(id), group.isLeader else { return }
            _ = group.replica.transfer(to: to.rawValue == 0 ? nil : to, now: self.now, into: &group.effects)
        case .snapshot(let piece):
            self.receiveSnapshot(piece, from: member)
        case .snapshotReply(let reply):
            self.receiveSnapshotReply(reply, from: member)
        case .snapshotBlocksWanted(let id, let index, let offset):
            self.receiveSnapshotBlocksWanted(id, index: index, offset: offset, from: member)
        case .snapshotBlocks(let id, let index, let offset, let bytes):
            self.receiveSnapshotBlocks(id, index: index, offset: offset, bytes: bytes, from: member)
        case .snapshotWanted(let id, let atLeast):
            self.receiveSnapshotWanted(id, atLeast: atLeast, from: member)
        case .checkpointWanted(let id):
            self.receiveCheckpointWanted(id)
        case .writesRefused(let id, let term):
            self.receiveWritesRefused(id, term: term, from: member)
        case .stateDigest(let said):
            self.receiveStateDigest(said, from: member)
        }
    }

    private func receiveForward(_ forward: Forward) {
        // Where we do not lead, the origin finds out by itself and sends again: nothing to say.
        guard let group = self.group(forward.group), group.isLeader, !group.replica.isRecovering else { return }
        let block = forward.block
        if block.count == 0 {
            guard group.sessionsAsked.count < 64 else { return }
            group.sessionsAsked.append((block.origin, block.run))
            return
        }
        guard group.queuedBytes < self.configuration.maxOutstandingBytes else { return }
        group.queue.append(block)
        group.queuedBytes += block.commands.count
    }

    // MARK: Connections

    /// Before any connection: who is behind the numbers, by this node's own log and not by the cluster's seed.
    func meet(_ membership: Membership) {
        for at in self.peers.indices {
            let node = self.peers[at].member.node
            if let member = membership.voters.first(where: { $0.node == node }) { self.peers[at].member = member }
        }
    }

    /// The data connection to a node is up, and this is who it is: any incarnation of a known node that has the
    /// cluster's key. What it says counts as far as the groups' logs name it.
    package func peerConnected(_ member: MemberID, history: RunHistory) {
        guard let at = self.peers.firstIndex(where: { $0.member.node == member.node }) else { return }
        let run = history.last.run
        let before = self.peers[at].run
        let isSame = member == self.peers[at].member && history.last == self.peers[at].history.last
        if before != 0, !isSame, !self.peers[at].isSuspected {
            self.suspect(member.node, run: before, .restarted)
        }
        if !isSame { self.peers[at].goodBefore = self.peers[at].lastGood }
        if member != self.peers[at].member {
            self.peers[at].member = member
            self.peers[at].hasNoted = false
        }
        self.peers[at].run = run
        self.peers[at].isConnected = true
        self.peers[at].connectedAt = self.now
        self.peers[at].isRefused = false
        self.peers[at].lastGood = self.now
        self.meet(at, with: history)
        for group in self.groups {
            if !isSame { group.replica.restarted(member) }
            group.replica.connected(member, now: self.now, into: &group.effects)
            self.resumeSending(group, to: member)
            // What another run said it may not have any more.
            if !isSame { group.digests.forget(member.node) }
        }
        self.tellDigests(to: member.node)
        self.reconsiderSuspicions()
    }

    package func peerDisconnected(_ node: NodeID) {
        guard let at = self.peers.firstIndex(where: { $0.member.node == node }) else { return }
        self.peers[at].isConnected = false
        for group in self.groups { group.replica.disconnected(node, now: self.now, into: &group.effects) }
    }

    /// The connection ended, and nobody listens where the peer did.
    package func peerRefused(_ node: NodeID) {
        guard let at = self.peers.firstIndex(where: { $0.member.node == node }), !self.peers[at].isRefused,
            self.peers[at].run != 0
        else { return }
        let wasSuspected = self.peers[at].isSuspected
        self.peers[at].isRefused = true
        if !wasSuspected { self.suspect(node, run: self.peers[at].run, .refused) }
    }

    // MARK: Heartbeats

    /// What the heartbeat thread has recorded of a peer since the last call.
    package func heard(_ node: NodeID, at instant: Instant, coreAge: Nanoseconds, syncAge: Nanoseconds) {
        guard let at = self.peers.firstIndex(where: { $0.member.node == node }) else { return }
        self.peers[at].lastGood = max(self.peers[at].lastGood, instant)
        self.detector.heard(node, at: instant, coreAge: coreAge, syncAge: syncAge)
    }

    /// Judges silence. The shell calls this only after it has handed over all that the heartbeat thread recorded.
    package func judgeSilence() {
        for (node, isSuspected) in self.detector.check(now: self.now) {
            guard let at = self.peers.firstIndex(where: { $0.member.node == node }), self.peers[at].run != 0 else {
                continue
            }
            let wasSuspected = self.peers[at].isSuspected
            self.peers[at].isSilent = isSuspected
            if isSuspected, !wasSuspected { self.suspect(node, run: self.peers[at].run, .silent) }
        }
        // Again, while it lasts: a late message of the leader, or one from a leader whose disk hangs, ends the suspicion.
        for peer in self.peers where peer.isSuspected {
            for group in self.groups where group.replica.leader?.node == peer.member.node {
                group.replica.suspect(peer.member.node, now: self.now, into: &group.effects)
            }
        }
        self.reconsiderSuspicions()
    }

    // MARK: Suspicion

    private func suspect(_ node: NodeID, run: Run, _ cause: SuspicionCause) {
        self.effects.events.append(.suspected(node, cause))
        for group in self.groups {
            if !group.suspected.contains(where: { $0.node == node }) {
                group.suspected.append((node, run, group.replica.term))
            }
            group.replica.suspect(node, now: self.now, into: &group.effects)
        }
        self.noteSuspicion(of: node, run: run, cause)
    }

    /// Takes suspicions back where the peer is there again.
    ///
    /// 1. A leads in its run 4, is killed and back within milliseconds as run 5.
    /// 2. Its heartbeats are there, so nothing is silent; but run 5 leads nothing, and a follower that trusted its
    ///    leader again would deny everyone's vote.
    /// 3. So a leader that came back in a later run stays suspected in its group until another leads, or it does again.
    private func reconsiderSuspicions() {
        for peer in self.peers where !peer.isSuspected {
            var wasTakenBack = false
            for group in self.groups {
                guard let at = group.suspected.firstIndex(where: { $0.node == peer.member.node }) else { continue }
                let suspicion = group.suspected[at]
                if peer.run != suspicion.run, group.replica.leader?.node == peer.member.node,
                    group.replica.term == suspicion.term
                {
                    continue
                }
                group.suspected.remove(at: at)
                group.replica.trust(peer.member.node, now: self.now, into: &group.effects)
                wasTakenBack = true
            }
            if wasTakenBack {
                self.effects.events.append(.trusted(peer.member.node))
            }
        }
    }
}
