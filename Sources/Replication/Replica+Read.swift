/// Linearizable reads by read index (dissertation, section 6.4): the leader notes its commit index, asks all whether
/// they still follow it, and may answer from that index on once a majority says so. One round serves all reads that
/// wait; those that come meanwhile share the next.
extension Replica {
    /// Asks for an index. The answer is in `effects.reads` or `effects.failedReads`, now or later; where the leader is
    /// lost on the way there may be none, and the caller asks again.
    public mutating func read(ticket: UInt64, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        if self.role == .leader {
            // Who recovers says nothing: the caller asks again in a while, and nothing piles up here.
            guard !self.isRecovering else { return }
            self.readsWaiting.append(WaitingRead(ticket: ticket, from: nil, index: 0))
        } else if let leader = self.leader {
            effects.sendNow.append(self.message(to: leader, .readIndex(ticket: ticket)))
        } else {
            effects.failedReads.append(ticket)
        }
    }

    mutating func receiveReadIndex(_ message: Message, _ ticket: UInt64, into effects: inout Effects) {
        guard self.role == .leader, self.readsWaiting.count < 4096 else {
            return effects.sendNow.append(self.message(to: message.from, .readIndexReply(ticket: ticket, index: nil)))
        }
        guard !self.isRecovering else { return }
        self.readsWaiting.append(WaitingRead(ticket: ticket, from: message.from, index: 0))
    }

    /// Starts a round for the reads that wait, where none is under way and the commit index is the group's own: a new
    /// leader does not know what is committed before an entry of its term is.
    mutating func startRound(now: Instant, into effects: inout Effects) {
        guard !self.readsWaiting.isEmpty, self.readsOfRound.isEmpty, self.hasCommittedInTerm else { return }
        swap(&self.readsWaiting, &self.readsOfRound)
        for at in self.readsOfRound.indices { self.readsOfRound[at].index = self.commitIndex }
        self.round += 1
        self.roundStarted = now
        self.roundOfReads = self.round
        self.considerRound(into: &effects)
    }

    mutating func considerRound(into effects: inout Effects) {
        guard !self.readsOfRound.isEmpty else { return }
        let me = self.configuration.me
        let peers = self.peers
        let round = self.roundOfReads
        let isConfirmed = Quorum.decides(self.membership) { member in
            member == me || peers.contains { $0.member == member && $0.round >= round }
        }
        guard isConfirmed else { return }
        if self.quorumLostAt != nil { self.quorumLostAt = self.roundStarted }
        for read in self.readsOfRound {
            if let from = read.from {
                effects.sendNow.append(
                    self.message(to: from, .readIndexReply(ticket: read.ticket, index: read.index)))
            } else {
                effects.reads.append((read.ticket, read.index))
            }
        }
        self.readsOfRound.removeAll(keepingCapacity: true)
    }

    func fail(_ read: WaitingRead, into effects: inout Effects) {
        if let from = read.from {
            effects.sendNow.append(self.message(to: from, .readIndexReply(ticket: read.ticket, index: nil)))
        } else {
            effects.failedReads.append(read.ticket)
        }
    }
}
