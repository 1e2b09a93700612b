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
    public mutating func fit(_ fitness: Fitness, now: Instant) {
        defer { self.checkInvariants() }
        guard fitness != self.fitness else { return }
        self.fitness = fitness
        if fitness != .fit, self.role == .candidate || self.role == .preCandidate {
            self.role = self.restingRole
            self.isTransferCandidate = false
            self.granted.removeAll(keepingCapacity: true)
            self.armElection(now: now)
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
