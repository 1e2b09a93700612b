/// Replication of the log (dissertation, chapter 3), pipelined and batched.
extension Replica {
    // MARK: Leader

    /// What the peer lacks: entries as far as its window is open, else the commit index or the round if it has not
    /// heard of them.
    mutating func sendAppends(to at: Int, now: Instant, into effects: inout Effects) {
        guard self.peers[at].isConnected else { return }
        if self.isRecovering {
            // Says who leads, and nothing of its log.
            guard self.peers[at].roundSent < self.round else { return }
            return self.send(to: at, previous: 0, previousTerm: 0, entries: [], into: &effects)
        }
        if self.peers[at].next <= self.log.baseIndex, !self.peers[at].awaitsSnapshot {
            self.peers[at].state = .snapshot
            // No answer is waited for, or the snapshot would be asked for again when it does not come.
            self.peers[at].isProbing = false
            self.peers[at].inflight.removeAll(keepingCapacity: true)
            self.peers[at].inflightBytes = 0
            effects.snapshotsNeeded.append(self.peers[at].member)
        }
        switch self.peers[at].state {
        case .snapshot:
            // It follows, even while it is loading: rounds are asked with an append that matches everywhere.
            guard self.peers[at].roundSent < self.round else { return }
            self.send(to: at, previous: 0, previousTerm: 0, entries: [], into: &effects)
        case .probe:
            guard !self.peers[at].isProbing else {
                if self.peers[at].roundSent < self.round { self.sendEmpty(to: at, into: &effects) }
                return
            }
            // A probe asks for an answer by carrying a new round. New each time: had the answer to the last one been
            // lost, the same round again would look like a repetition, which nobody answers.
            self.peers[at].isProbing = true
            self.peers[at].lastProgress = now
            self.round += 1
            self.sendEmpty(to: at, into: &effects)
        case .replicate:
            while self.peers[at].next <= self.log.lastIndex,
                self.peers[at].inflight.count < self.configuration.maxInflightAppends,
                self.peers[at].inflightBytes < self.configuration.maxInflightBytes
            {
                self.sendEntries(to: at, now: now, into: &effects)
            }
            let commit = min(self.commitIndex, self.peers[at].next - 1)
            if self.peers[at].roundSent < self.round || self.peers[at].commitSent < commit {
                self.sendEmpty(to: at, into: &effects)
            }
        }
    }

    private mutating func sendEntries(to at: Int, now: Instant, into effects: inout Effects) {
        let first = self.peers[at].next
        var entries: [Entry] = []
        var bytes = 0
        var index = first
        while index <= self.log.lastIndex, entries.isEmpty || bytes < self.configuration.maxAppendBytes {
            let entry = self.log.entry(at: index)
            entries.append(entry)
            bytes += entry.payload.count + 128
            index += 1
        }
        self.peers[at].next = index
        self.peers[at].sent(through: index - 1, bytes: bytes, now: now)
        self.send(
            to: at, previous: first - 1, previousTerm: self.log.term(at: first - 1) ?? 0, entries: entries,
            into: &effects)
    }

    private mutating func sendEmpty(to at: Int, into effects: inout Effects) {
        let previous = self.peers[at].next - 1
        self.send(
            to: at, previous: previous, previousTerm: self.log.term(at: previous) ?? 0, entries: [], into: &effects)
    }

    private mutating func send(
        to at: Int, previous: LogIndex, previousTerm: Term, entries: [Entry], into effects: inout Effects
    ) {
        // The peer takes a commit index only as far as the append reaches.
        self.peers[at].commitSent = min(self.commitIndex, previous + UInt64(entries.count))
        self.peers[at].roundSent = self.round
        let append = Message.Append(
            previousIndex: previous, previousTerm: previousTerm, entries: entries, commit: self.commitIndex,
            round: self.round)
        effects.sendNow.append(self.message(to: self.peers[at].member, .append(append)))
    }

    mutating func receiveAppendReply(
        _ message: Message, _ reply: Message.AppendReply, now: Instant, into effects: inout Effects
    ) {
        if message.term > self.term {
            // One that abstains cannot adopt the term, but has learnt that it leads no more.
            guard !self.abstains || self.role == .leader else { return }
            let term = self.abstains ? self.term : message.term
            return self.becomeFollower(of: nil, term: term, now: now, into: &effects)
        }
        guard self.role == .leader, message.term == self.term,
            let at = self.peers.firstIndex(where: { $0.member == message.from })
        else { return }
        if reply.round > self.peers[at].round, reply.round <= self.round {
            self.peers[at].round = reply.round
            self.considerRound(into: &effects)
        }
        switch reply.outcome {
        case .following:
            break
        case .readiness(let readiness):
            self.heard(readiness, at: at)
        case .received(let index):
            guard index <= self.log.lastIndex else { return }
            self.received(index, at: at, now: now)
        case .matched(let index):
            guard index <= self.log.lastIndex else { return }
            self.matched(index, at: at, now: now, into: &effects)
        case .rejected(let previousIndex, let hint, let hintTerm):
            self.rejected(previousIndex, hint: hint, hintTerm: hintTerm, at: at)
        }
    }

    private mutating func matched(_ index: LogIndex, at: Int, now: Instant, into effects: inout Effects) {
        self.peers[at].lastProgress = now
        self.peers[at].acknowledged(through: index)
        self.peers[at].next = max(self.peers[at].next, index + 1)
        if case .probe = self.peers[at].state {
            self.peers[at].state = .replicate
            self.peers[at].isProbing = false
        }
        if index > self.peers[at].match {
            self.peers[at].match = index
            self.advanceCommit()
        }
        self.considerTransfer(into: &effects)
    }

    private mutating func rejected(_ previousIndex: LogIndex, hint: LogIndex, hintTerm: Term, at: Int) {
        guard previousIndex > self.peers[at].match, previousIndex < self.peers[at].next else {
            // Of an append that was overtaken: the peer has shown since that it matches further. The commit index that
            // the append carried was not taken.
            self.peers[at].commitSent = 0
            return
        }
        // The logs can meet at the last of our entries at or below the hint whose term is not above the hint's.
        let meeting = self.log.lastIndex(atOrBelow: min(hint, previousIndex - 1), withTermAtMost: hintTerm)
        self.peers[at].probe(from: meeting + 1)
    }

    /// Commits what a majority has, of this term only: an older term's entries commit with the first of this one
    /// (dissertation, section 3.6.2).
    mutating func advanceCommit() {
        let me = self.configuration.me
        let own = self.durableIndex
        let peers = self.peers
        let index = Quorum.committed(self.membership) { member in
            if member == me { return own }
            for peer in peers where peer.member == member { return peer.match }
            return 0
        }
        guard index > self.commitIndex, self.log.term(at: index) == self.term else { return }
        for committed in self.commitIndex + 1...index {
            self.uncommitted = max(0, self.uncommitted - Log.memoryBytes(of: self.log.entry(at: committed)))
        }
        self.commitIndex = index
        self.hasCommittedInTerm = true
        self.membershipCommitted()
    }

    // MARK: Follower

    mutating func receiveAppend(
        _ message: Message, _ sent: Message.Append, now: Instant, into effects: inout Effects
    ) {
        var append = sent
        if message.term < self.term {
            // The sender learns the term from the answer.
            let outcome = Message.AppendReply.Outcome.rejected(
                previousIndex: append.previousIndex, hint: self.log.lastIndex, hintTerm: self.log.lastTerm)
            return self.answer(message.from, outcome, round: 0, into: &effects)
        }
        guard self.isWellFormed(append, message) else { return }
        if self.isAbstaining {
            // An acknowledgement confirms a term too, as a vote does. Answered when the abstention ends.
            if message.term >= self.unanswered?.term ?? 0 { self.unanswered = message }
            return
        }
        guard self.follow(message.from, term: message.term, now: now, into: &effects) else { return }

        let isNewRound = append.round > self.roundEchoed
        self.roundEchoed = max(self.roundEchoed, append.round)
        self.cut(&append)
        guard self.log.isWhole else {
            return self.receiveAppendOverHoles(message, append, isNewRound: isNewRound, now: now, into: &effects)
        }
        // What is committed is equal everywhere: an append that begins before matches as far as that.
        let known = append.previousIndex < self.log.baseIndex
        if !known, self.log.term(at: append.previousIndex) != append.previousTerm {
            return self.reject(append, of: message.from, into: &effects)
        }
        guard self.hasRoomInMemory else {
            if isNewRound { self.answer(message.from, .following, round: append.round, into: &effects) }
            return
        }
        var hasAppended = false
        for entry in append.entries where entry.index > self.log.baseIndex {
            if let term = self.log.term(at: entry.index) {
                if term == entry.term {
                    guard self.log.hash(at: entry.index) == entry.hash else {
                        effects.divergences.append((entry.index, message.from))
                        return
                    }
                    continue
                }
                guard entry.index > self.commitIndex else {
                    effects.divergences.append((entry.index, message.from))
                    return
                }
                self.truncate(after: entry.index - 1, into: &effects)
            }
            guard entry.index == self.log.lastIndex + 1, entry.previousHash == self.log.lastHash else {
                effects.divergences.append((entry.index, message.from))
                return
            }
            self.append(entry, into: &effects)
            hasAppended = true
        }
        if hasAppended { self.awaitLeader(now: now) }
        let matched = max(append.previousIndex + UInt64(append.entries.count), self.log.baseIndex)
        let upTo = min(matched, self.log.lastIndex)
        if append.commit > self.commitIndex { self.commitIndex = max(self.commitIndex, min(append.commit, upTo)) }
        if !hasAppended, upTo <= self.durableIndex {
            // Nothing to wait for. A commit index alone asks for no answer.
            if append.entries.isEmpty, upTo == self.log.lastIndex, self.isLogFull {
                // "It matches" would ask for more.
                if isNewRound { self.answer(message.from, .following, round: append.round, into: &effects) }
            } else if isNewRound || !append.entries.isEmpty {
                self.answer(message.from, .matched(upTo), round: append.round, into: &effects)
            }
            return
        }
        if self.fitness != .fit || !self.isWhole {
            return self.answerFromMemory(message.from, upTo, round: append.round, into: &effects)
        }
        if isNewRound { self.answer(message.from, .following, round: append.round, into: &effects) }
        effects.sendAfterPersist.append(
            self.message(
                to: message.from, .appendReply(Message.AppendReply(outcome: .matched(upTo), round: append.round))))
    }

    /// The logs do not meet at the append's beginning, or that cannot be told.
    func reject(_ append: Message.Append, of leader: MemberID, into effects: inout Effects) {
        let hint = self.log.lastIndex(
            atOrBelow: min(append.previousIndex, self.log.lastIndex), withTermAtMost: append.previousTerm)
        let outcome = Message.AppendReply.Outcome.rejected(
            previousIndex: append.previousIndex, hint: hint, hintTerm: self.log.term(at: hint) ?? 0)
        self.answer(leader, outcome, round: append.round, into: &effects)
    }

    /// Follows the leader of this term; false where this is not one.
    mutating func follow(_ leader: MemberID, term: Term, now: Instant, into effects: inout Effects) -> Bool {
        if term > self.term {
            guard !self.isAbstaining else { return false }
            self.becomeFollower(of: leader, term: term, now: now, into: &effects)
        } else if self.leader != leader || self.role == .preCandidate || self.role == .candidate {
            guard self.role != .leader else { return false }
            self.becomeFollower(of: leader, term: term, now: now, into: &effects)
        }
        // Any message of this leader in this term ends the suspicion of it.
        if self.suspected.contains(leader.node) { self.suspected.removeAll { $0 == leader.node } }
        self.awaitLeader(now: now)
        return true
    }

    /// A leader is waited for without end, as failure detection watches it; not so one that the membership has without
    /// a vote: it goes as soon as that is committed, alive, so that nobody would ever come to suspect it. Nor one whose
    /// node is there with another disk.
    mutating func awaitLeader(now: Instant) {
        guard let leader = self.leader else { return }
        if self.votes(leader), !self.isLost(leader) { self.electionDeadline = nil } else { self.armElection(now: now) }
    }

    func isWellFormed(_ append: Message.Append, _ message: Message) -> Bool {
        var index = append.previousIndex
        var term = append.previousTerm
        guard index < Message.numberLimit, term <= message.term else { return false }
        for entry in append.entries {
            guard entry.group == self.configuration.group, entry.index == index + 1, entry.term >= term,
                entry.term <= message.term
            else { return false }
            index = entry.index
            term = entry.term
        }
        return true
    }

    func answer(
        _ leader: MemberID, _ outcome: Message.AppendReply.Outcome, round: UInt64, into effects: inout Effects
    ) {
        effects.sendNow.append(
            self.message(to: leader, .appendReply(Message.AppendReply(outcome: outcome, round: round))))
    }

    // MARK: Compaction and snapshots

    /// A snapshot at `mark` is durable here: entries up to `index`, which is not above the mark's, may go. They do not count
    /// as durable for that, as the journal does not name the snapshot yet:
    ///
    /// 1. B's disk is slow. B applies up to 143, which others made durable; its own journal has 71.
    /// 2. Its snapshot at 143 is in its file; the entries before it and the record that names it wait for the journal.
    /// 3. The leader's next append is acknowledged up to 143, and B is killed. It restarts with 71.
    public mutating func compact(through index: LogIndex, mark: SnapshotMark) {
        defer { self.checkInvariants() }
        invariant(
            index <= mark.index && mark.index <= self.commitIndex, "compacts \(index) by a snapshot at \(mark.index)")
        if mark.index > self.newestSnapshot?.index ?? 0 { self.newestSnapshot = mark }
        self.log.compact(through: index)
        // The membership in force at the base stays.
        while self.memberships.count > 1, self.memberships[1].index <= index { self.memberships.removeFirst() }
    }

    /// Whether a piece of a snapshot from this member is to be taken: it leads in a term that is not behind ours.
    public mutating func acceptSnapshot(
        from leader: MemberID, term: Term, now: Instant, into effects: inout Effects
    ) -> Bool {
        defer { self.checkInvariants() }
        guard term >= self.term, term < Message.numberLimit, !self.isAbstaining else { return false }
        return self.follow(leader, term: term, now: now, into: &effects)
    }

    /// A snapshot from the leader is in its file and its state loaded: the log begins anew after it. Where the log
    /// holds the very entry of the mark, what follows stays. The caller writes the mark with the effects' writes, and
    /// nothing counts as durable here before their ticket:
    ///
    /// 1. B installs a snapshot at 100; the record of it is on its way to the disk.
    /// 2. The leader's next append is acknowledged at once up to 100.
    /// 3. B is killed and restarts with its old log, which ends at 40.
    /// 4. The leader, sure that B has 100, ignores each "my log ends at 40": B is never caught up.
    public mutating func install(_ mark: SnapshotMark, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        guard mark.index > self.commitIndex, mark.index < Message.numberLimit else { return }
        self.newestSnapshot = mark
        if !self.isWhole { self.closeHoles(through: mark.index) }
        self.commitIndex = mark.index
        if self.continues(mark) {
            self.log.compact(to: mark)
        } else {
            self.repairs.removeAll()
            self.log.reset(to: mark)
            self.truncations += 1
            self.persistedIndex = 0
            effects.writes.append(.truncate(self.configuration.group, after: mark.index))
        }
        self.memberships.removeAll { $0.index <= mark.index || $0.index > self.log.lastIndex }
        self.memberships.insert((mark.index, mark.membership), at: 0)
        self.membershipChanged()
        self.settleCommit()
        self.noteTicket(into: &effects)
    }

    /// The peer has installed a snapshot: it is durable there up to `index`.
    public mutating func snapshotDelivered(
        to member: MemberID, index: LogIndex, now: Instant, into effects: inout Effects
    ) {
        defer { self.checkInvariants() }
        guard self.role == .leader, let at = self.peers.firstIndex(where: { $0.member == member }),
            index <= self.log.lastIndex
        else { return }
        self.peers[at].match = max(self.peers[at].match, index)
        self.peers[at].probe(from: self.peers[at].match + 1)
        self.advanceCommit()
        self.considerTransfer(into: &effects)
    }

    /// The transfer came to nothing: find out anew what the peer has.
    public mutating func snapshotFailed(to member: MemberID, now: Instant, into effects: inout Effects) {
        defer { self.checkInvariants() }
        guard self.role == .leader, let at = self.peers.firstIndex(where: { $0.member == member }),
            case .snapshot = self.peers[at].state
        else { return }
        self.peers[at].probe(from: self.log.lastIndex + 1)
    }
}
