/// What a replica may do with the disk that it has.
public enum Fitness: UInt8, Sendable {
    case fit = 1
    /// Terms and votes can be made durable, entries cannot: it votes and follows; it neither stands nor proposes.
    case votes = 2
    /// Nothing can be made durable: it follows, and neither votes nor stands nor proposes.
    case follows = 3
}

/// A replica whose disk is sick goes on following, so that its node still serves reads and forwards writes: it takes the
/// leader's entries and applies what is committed, in memory. What rests on its disk waits, by the two outboxes: votes
/// and acknowledgements leave when the writes before them are durable, if they ever are.
///
/// Following a leader in a later term without having that term on disk breaks no promise:
///
/// 1. Who leads term 7 was elected: a majority has its vote for term 7 on disk, so nobody can win a term below 7 any
///    more, nor term 7 again, whatever this replica forgets.
/// 2. What it answers at once says less than a vote: that it follows term 7 now (read index), and how far the entries go
///    that it has on disk. An entry of term 7 on disk brings the term back at the next start.
/// 3. It would break one to adopt a term from a candidate, or from a denial: nobody may have been elected in it. So such
///    a term is adopted only by one that can write it down.
extension Replica {
    /// Tells what the disk can do. A candidate that is not fit gives up; a leader is to be told to hand over, which
    /// needs no write.
    public mutating func fit(_ fitness: Fitness, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        guard fitness != self.fitness else { return }
        self.fitness = fitness
        if fitness != .fit, self.role == .candidate || self.role == .preCandidate {
            self.role = self.restingRole
            self.isTransferCandidate = false
            self.granted.removeAll(keepingCapacity: true)
            self.armElection(now: now)
        }
        if fitness == .fit {
            self.memoryBytes = 0
            self.acknowledgeReceived(into: &effects)
        }
    }

    // MARK: Entries in memory

    var hasRoomInMemory: Bool { self.fitness == .fit || self.memoryBytes < self.configuration.maxMemoryBytes }

    /// The leader goes on, and counts nothing: its window is the peer's way to hold it up, and the disk must not be.
    mutating func answerFromMemory(
        _ leader: MemberID, _ upTo: LogIndex, round: UInt64, into effects: inout Effects
    ) {
        self.noteReceived(upTo)
        self.answer(leader, .received(upTo), round: round, into: &effects)
    }

    /// Up to here the log equals the leader's, and is to be acknowledged as it becomes durable.
    mutating func noteReceived(_ upTo: LogIndex) {
        if let received = self.receivedUpTo, received.term == self.term {
            self.receivedUpTo = (max(received.index, upTo), self.term)
        } else {
            self.receivedUpTo = (upTo, self.term)
            self.acknowledgedUpTo = 0
        }
    }

    /// The disk is well again: what was only received is acknowledged as it becomes durable. Nobody would ask, where the
    /// leader has nothing more to send.
    mutating func acknowledgeReceived(into effects: inout Effects) {
        guard self.fitness == .fit, let received = self.receivedUpTo else { return }
        guard received.term == self.term, let leader = self.leader, self.role != .leader else {
            self.receivedUpTo = nil
            return
        }
        let upTo = min(received.index, self.durableIndex)
        if upTo == received.index {
            self.receivedUpTo = nil
        } else if upTo <= self.acknowledgedUpTo {
            return
        }
        self.acknowledgedUpTo = upTo
        self.answer(leader, .matched(upTo), round: 0, into: &effects)
    }

    /// At the leader: the peer has the entries in memory. They leave the window; its disk is as it was.
    mutating func received(_ index: LogIndex, at: Int, now: Instant) {
        self.peers[at].lastProgress = now
        self.peers[at].received = max(self.peers[at].received, index)
        self.peers[at].acknowledged(through: index)
        self.peers[at].next = max(self.peers[at].next, index + 1)
        if case .probe = self.peers[at].state {
            self.peers[at].state = .replicate
            self.peers[at].isProbing = false
        }
    }

    /// Of a write the hard state is durable, and not yet the entries before it.
    public mutating func promised(_ ticket: WriteTicket, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        self.persistedHardStateVersion = max(self.persistedHardStateVersion, ticket.hardStateVersion)
        if self.role == .candidate { self.considerElected(now: now, into: &effects) }
    }

    /// Neither votes nor adopts a term that nobody is known to lead.
    var abstains: Bool { self.isAbstaining || self.fitness == .follows }
}
