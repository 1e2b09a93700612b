/// A log with holes (`Log`): after *Protocol-Aware Recovery for Consensus-Based Storage* (Alagappan et al., FAST 2018).
///
/// What was here is never denied: a replica stands and votes by its last (index, term), which is known, and a leader
/// finds its log matching where the terms match, be the entries there or not. What rests on the entries themselves waits:
/// it acknowledges nothing at or beyond its first hole, applies up to there, and does not lead with effect
/// (`isRecovering`). Holes are filled by any peer, with or without a leader (`Filling`), by the leader's appends, or
/// covered by a snapshot. What nobody can have acknowledged a recovering leader discards (`considerDiscard`).
extension Replica {
    /// Every entry is here, and durable where it was before.
    public var isWhole: Bool { self.log.isWhole && self.repairs.isEmpty }

    /// The first entry that is missing, or here and not yet durable again.
    var firstOpen: LogIndex? {
        var first = self.log.holes.first?.index
        for repair in self.repairs { first = min(first ?? repair.index, repair.index) }
        return first
    }

    /// Up to here the log is durable without a gap.
    public var durableIndex: LogIndex {
        guard !self.isWhole, let firstOpen else { return self.persistedIndex }
        return min(self.persistedIndex, firstOpen - 1)
    }

    /// One of the holes is a membership, or may be: this replica does not know who votes. It answers, and does not stand.
    var isMembershipHidden: Bool {
        !self.log.isWhole && self.log.holes.contains { $0.kind == nil || $0.kind == .membership }
    }

    /// It votes and knows who else does, as far as its log tells.
    public var mayStandForElection: Bool { self.mayStand }

    /// At a leader: whether the peer's log lacks something that it had received, in memory alone or beyond a hole.
    public func isIncomplete(_ member: MemberID) -> Bool {
        for peer in self.peers where peer.member == member { return peer.match < peer.received }
        return false
    }

    // MARK: Following

    /// An append to a log with holes.
    ///
    /// Where an entry of it is known to be the one that stands at its index, all before it are too: holes below take the
    /// leader's entries. Where one is known to be another, what stands there and after it goes, as with any conflict.
    ///
    /// Between the two may be holes of which nothing is known. Such a one must neither take the leader's entry nor go:
    ///
    /// 1. B's log is 1 2 _ _ 5 6; of 3 and 4 nothing is known but 4's hash, by 5. A leader of term 4 sends 3, of term 2.
    /// 2. Took B it for its own, and were B's 3 another (B's 3 to 6 were never committed): the next leader, which has B's
    ///    5 and 6, finds B's log equal at 6, and B applies a 3 that nobody else has.
    /// 3. Did B cut its log after 2, and were 3 to 6 committed, with B's word for it: B's log ends at 2 now, and a
    ///    candidate that has none of them wins with B's vote.
    ///
    /// So B only says that it has seen it (`assumed`). The leader goes on, and comes to an entry that decides: at the
    /// latest its own first, whose term is above all in B's log. Or the holes are filled from above, where each entry's
    /// `previousHash` tells the one before.
    mutating func receiveAppendOverHoles(
        _ message: Message, _ append: Message.Append, isNewRound: Bool, now: Instant, into effects: inout Effects
    ) {
        let base = self.log.baseIndex
        let previous = append.previousIndex
        var isProven = true
        if previous >= base {
            switch self.log.compare(previous, append.previousTerm, append.entries.first?.previousHash) {
            case .same: break
            case .other: return self.reject(append, of: message.from, into: &effects)
            case .unknown:
                guard let assumed, assumed == (previous, append.previousTerm, self.term) else {
                    return self.reject(append, of: message.from, into: &effects)
                }
                isProven = false
            }
        }
        guard self.hasRoomInMemory else {
            if isNewRound { self.answer(message.from, .following, round: append.round, into: &effects) }
            return
        }
        let start = max(previous, base)
        let end = max(previous + UInt64(append.entries.count), base)
        func entry(_ index: LogIndex) -> Entry { append.entries[Int(index - previous - 1)] }

        // From above, as what is known of one tells of those below.
        var same = isProven ? start : 0
        var other: LogIndex?
        let within = min(end, self.log.lastIndex)
        if within > start {
            var bound = self.log.termBound(at: within)
            var index = within
            search: while index > start {
                bound = min(bound, self.log.term(at: index) ?? .max)
                switch self.log.compare(index, entry(index).term, entry(index).hash, bound: bound) {
                case .same:
                    same = index
                    isProven = true
                    break search
                case .other: other = index
                case .unknown: break
                }
                index -= 1
            }
        }
        // Settled below: equal, by an entry above, though their own hash may yet show damage.
        if same > start {
            for index in start + 1...same {
                let entry = entry(index)
                let isEqual =
                    self.log.term(at: index) ?? entry.term == entry.term
                    && self.log.hash(at: index) ?? entry.hash == entry.hash
                guard isEqual else {
                    effects.divergences.append((index, message.from))
                    return
                }
                if self.log.hole(at: index) != nil { self.fill(entry, into: &effects) }
            }
        }
        var first = other
        if first == nil, end > self.log.lastIndex { first = self.log.lastIndex + 1 }
        var hasAppended = false
        if let first {
            guard first > max(self.commitIndex, self.knownCommit) else {
                effects.divergences.append((first, message.from))
                return
            }
            self.replace(append, from: first, after: max(same, start), into: &effects)
            for index in first...end {
                guard self.log.hash(at: index - 1) ?? entry(index).previousHash == entry(index).previousHash else {
                    effects.divergences.append((index, message.from))
                    return
                }
                self.append(entry(index), into: &effects)
            }
            hasAppended = true
            same = end
            isProven = true
        } else if same < end {
            let last = end > start ? entry(end).term : append.previousTerm
            self.assumed = (end, last, self.term)
        }
        if hasAppended { self.awaitLeader(now: now) }
        self.knownCommit = max(self.knownCommit, min(append.commit, same))
        self.settleCommit()

        if !hasAppended, same == end, end <= self.durableIndex {
            if isNewRound || !append.entries.isEmpty {
                self.answer(message.from, .matched(end), round: append.round, into: &effects)
            }
            return
        }
        if isProven { self.noteReceived(same) }
        self.answer(message.from, .received(end), round: append.round, into: &effects)
    }

    /// Makes room for the leader's entries from `first` on, in whose place others stand, or nothing. Of the holes below it
    /// down to `start`, of which nothing was known, the leader's entries are the ones from now on. They take their places
    /// before the rest goes, so that there is no moment at which the log ends before what it had.
    private mutating func replace(
        _ append: Message.Append, from first: LogIndex, after start: LogIndex, into effects: inout Effects
    ) {
        for index in stride(from: start + 1, to: first, by: 1) where self.log.hole(at: index) != nil {
            self.fill(append.entries[Int(index - append.previousIndex - 1)], into: &effects)
        }
        if first == append.previousIndex + 1, let hole = self.log.hole(at: append.previousIndex), hole.term == nil {
            self.log.adopt(append.previousTerm, append.entries[0].previousHash, at: hole.index)
        }
        if first <= self.log.lastIndex { self.truncate(after: first - 1, into: &effects) }
    }

    /// What the leaders have told of their commit index, as far as the entries are here.
    mutating func settleCommit() {
        let reach = min(self.knownCommit, (self.log.holes.first?.index ?? .max) - 1, self.log.lastIndex)
        self.commitIndex = max(self.commitIndex, reach)
    }

    // MARK: Filling

    /// The entry that was here is here again.
    mutating func fill(_ entry: Entry, into effects: inout Effects) {
        self.log.fill(entry)
        effects.writes.append(.repair(entry))
        effects.filled.append((entry.index, entry.payload.count))
        self.repairsWritten += 1
        self.repairs.append((entry.index, self.repairsWritten))
        if self.fitness != .fit { self.memoryBytes += Log.memoryBytes(of: entry) }
        if entry.kind == .membership, let membership = Membership(encoded: entry.payload) {
            let at = self.memberships.firstIndex { $0.index > entry.index } ?? self.memberships.count
            self.memberships.insert((entry.index, membership), at: at)
            self.membershipChanged()
        }
        self.noteTicket(into: &effects)
        self.settleCommit()
    }

    /// A snapshot covers the holes up to `index`, once its mark is durable, as this turn's ticket says.
    mutating func closeHoles(through index: LogIndex) {
        guard let firstOpen, firstOpen <= index else { return }
        self.repairsWritten += 1
        self.repairs.removeAll { $0.index <= index }
        self.repairs.append((firstOpen, self.repairsWritten))
    }

    /// Whether the log goes on after a snapshot that somebody else took: it has that entry, or, in a hole, cannot deny it.
    func continues(_ mark: SnapshotMark) -> Bool {
        if self.log.isWhole { return self.log.hash(at: mark.index) == mark.hash }
        guard mark.index <= self.log.lastIndex else { return false }
        return self.log.compare(mark.index, mark.term, mark.hash, bound: self.log.termBound(at: mark.index)) != .other
    }

    /// Whether a snapshot is of this very log, by whomever it was taken.
    public func holds(_ mark: SnapshotMark) -> Bool {
        if let hash = self.log.hash(at: mark.index) { return hash == mark.hash }
        return self.log.term(at: mark.index) == mark.term
    }

    mutating func repairsPersisted(through number: UInt64, into effects: inout Effects) {
        self.repairs.removeAll { $0.number <= number }
        if self.role == .leader {
            self.considerRecovered(into: &effects)
        } else {
            self.acknowledgeReceived(into: &effects)
        }
    }

    // MARK: Leading

    /// It was elected, as its log may be the best there is. It commits nothing by what it does not have.
    mutating func beginRecovery(now: Instant) {
        self.isRecovering = true
        self.round = 1
        self.filling.beginTerm(now: now)
    }

    /// A recovering leader that gets nothing gives up, so that whoever can lead does: one whose log was out of reach when
    /// this replica was elected, or that has the entries in a state that it cannot lend.
    ///
    /// 1. B's log ends with entry 7, of term 2; A's with a 7 of term 1, and that is a hole. C has neither.
    /// 2. B is away: C elects A. B comes back, and C goes.
    /// 3. B says that it never had A's 7, and one word of three discards nothing. If A stayed, nobody would ever serve.
    ///
    /// It asks for votes without standing, which says that it leads no more (`receivePreVote`). Its followers stand within
    /// two election timeouts, and need the vote of a majority as ever; it lets them go first, as it has holes. Where none
    /// comes to lead it stands again, and goes on recovering: nobody was served meanwhile that was served before.
    public mutating func resign(now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        guard self.role == .leader, self.isRecovering else { return }
        self.becomeFollower(of: nil, term: self.term, now: now, into: &effects)
        self.hasHeldBack = false
        self.askAll(.preVote(self.candidacy), term: self.term + 1, into: &effects)
    }

    mutating func considerRecovered(into effects: inout Effects) {
        guard self.isRecovering, self.isWhole else { return }
        self.isRecovering = false
        // What they matched so far is their base: where the logs meet is at the end, most likely.
        for at in self.peers.indices { self.peers[at].probe(from: self.log.lastIndex + 1) }
        self.beginTerm(into: &effects)
    }

    /// Discards the lowest entry that is missing here and that nobody can have acknowledged, and all after it; of those
    /// that a member has just said that it never had.
    ///
    /// An entry is committed where a majority has it. So it is not, and never will be, where so many voters never had it
    /// that the others are no majority. Each has said so in this leader's term, which it had durably adopted:
    ///
    /// 1. A leads term 5 and misses entry 7, of term 3. B, in term 4, says that it never had it.
    /// 2. D, which leads term 4 and has entry 7, is slow: it sends it to B now, which acknowledges. With D's and E's own
    ///    that is a majority of five: entry 7 is committed.
    /// 3. C says that it never had it either. Did B's word count, A would discard what is committed.
    ///
    /// A voter of term 5 acknowledges nothing of term 4 any more. And whoever leads later takes the entry from a log that
    /// still has it, or replaces it there, as with anything uncommitted: nothing rests on it. That this leader cuts its own
    /// log harms nobody, as it has added nothing to it in its term, and acknowledgements of this term do not reach there.
    mutating func considerDiscard(_ denied: [LogIndex], into effects: inout Effects) {
        guard self.isRecovering else { return }
        let filling = self.filling
        for index in denied.sorted() where index > self.knownCommit {
            guard self.log.hole(at: index) != nil, Quorum.isBlocked(self.membership, { filling.denies($0, index) })
            else { continue }
            effects.discarded.append(index...self.log.lastIndex)
            self.truncate(after: index - 1, into: &effects)
            for at in self.peers.indices {
                self.peers[at].match = min(self.peers[at].match, index - 1)
                self.peers[at].received = 0
            }
            return self.considerRecovered(into: &effects)
        }
    }
}
