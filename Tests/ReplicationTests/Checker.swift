import Replication

/// What must hold in every schedule, checked from outside with knowledge that no member has.
///
/// - Election safety: one leader a term.
/// - One vote a term, and none before it is durable.
/// - Log matching: an index and a term name one entry everywhere (its hash covers all before it).
/// - Leader completeness: who leads has all that was committed in earlier terms.
/// - State machine safety: what anyone applied at an index is what everyone applies there, for ever; so all applied
///   sequences are prefixes of each other.
/// - A committed entry is durable on a majority of its committer's voters, of both sets while a change is under way.
/// - The commit index of a run never goes back, nor does a term.
/// - What a member holds for durable, or acknowledges, is on its disk, and readable there.
/// - No disk cuts what is committed.
/// - A read's index is at or above what anyone had committed when it was asked, and is committed.
struct Checker {
    private(set) var violation: String?
    /// From index 1 on: the entry's hash, and the term in which it was committed.
    private var committed: [(hash: Hash128, term: Term)] = []
    private var leaders: [Term: MemberID] = [:]
    private var votes: [Ballot: MemberID] = [:]
    private var entries: [Position: Hash128] = [:]
    private var asked: [UInt64: LogIndex] = [:]
    private var answered: Set<UInt64> = []
    private var runs: [MemberID: RunState] = [:]

    private struct Ballot: Hashable {
        var voter: MemberID
        var term: Term
    }

    private struct Position: Hashable {
        var index: LogIndex
        var term: Term
    }

    /// What is known of a member since its start.
    private struct RunState {
        var applied: LogIndex = 0
        var term: Term = 0
        var ledTerm: Term = 0
    }

    private mutating func fail(_ text: String) {
        if self.violation == nil { self.violation = text }
    }

    // MARK: Life

    mutating func crashed(_ member: TestMember) { self.runs[member.id] = nil }

    mutating func restarted(_ member: TestMember) {
        self.runs[member.id] = RunState(applied: member.disk.baseIndex, term: member.disk.hardState.term)
    }

    /// A snapshot takes the place of what would have been applied.
    mutating func installs(_ mark: SnapshotMark, at member: TestMember) {
        guard Int(mark.index) <= self.committed.count, self.committed[Int(mark.index) - 1].hash == mark.hash else {
            return self.fail("\(member.id) installs a snapshot of what is not committed at \(mark.index)")
        }
        self.runs[member.id, default: RunState()].applied = mark.index
    }

    // MARK: A turn's end

    mutating func looked(at member: TestMember, in members: [TestMember], tally: inout RandomCluster.Tally) {
        for entry in member.appended {
            let position = Position(index: entry.index, term: entry.term)
            if let known = self.entries[position] {
                if known != entry.hash {
                    self.fail("two entries at \(entry.index) in term \(entry.term), one of them at \(member.id)")
                }
            } else {
                self.entries[position] = entry.hash
            }
        }
        member.appended.removeAll(keepingCapacity: true)
        for entry in member.disk.truncated where self.isCommitted(entry) {
            self.fail("\(member.id) cuts \(entry.index), which is committed")
        }
        member.disk.truncated.removeAll()
        if let fault = member.diskFaults.first { self.fail("\(member.id): \(fault)") }
        if let index = member.divergences.first { self.fail("\(member.id) sees a divergence at \(index)") }

        // Twice the limit after a start; one entry more, and a leader's small ones.
        let log = member.replica.log.memoryBytes
        if log / 2 > member.configuration.maxLogBytes + 20 * 256 { self.fail("\(member.id) has \(log) bytes of log") }
        let whole = member.replica.durableIndex
        if let hole = member.disk.holes.keys.min(), hole <= whole {
            self.fail("\(member.id) holds \(whole) for durable, and its disk has a hole at \(hole)")
        }
        let durable = member.replica.persistedIndex
        if durable > member.replica.log.baseIndex, let hash = member.replica.log.hash(at: durable),
            !member.disk.holds(durable, hash)
        {
            self.fail("\(member.id) holds \(durable) for durable, and its disk has another entry or none there")
        }

        var run = self.runs[member.id] ?? RunState()
        let term = member.replica.term
        if term < run.term { self.fail("\(member.id) goes back from term \(run.term) to \(term)") }
        run.term = term
        if member.replica.role == .leader, run.ledTerm != term {
            run.ledTerm = term
            tally.elections += 1
            if member.isRecovering { tally.recovered += 1 }
            self.leads(member)
        }
        let commit = member.replica.commitIndex
        if commit < run.applied {
            self.fail("\(member.id) takes its commit index back from \(run.applied) to \(commit)")
        } else if commit > run.applied {
            self.applies(run.applied + 1...commit, at: member, in: members, tally: &tally)
            run.applied = commit
        }
        self.runs[member.id] = run

        for (ticket, index) in member.reads {
            tally.reads += 1
            self.answered.insert(ticket)
            guard let least = self.asked[ticket] else {
                self.fail("\(member.id) answers a read that nobody asked")
                continue
            }
            if index < least {
                self.fail("stale read at \(member.id): \(index), and \(least) was committed when it was asked")
            }
            if index > self.committed.count { self.fail("\(member.id) reads at \(index), which is not committed") }
        }
        member.reads.removeAll(keepingCapacity: true)
        member.failedReads.removeAll(keepingCapacity: true)
    }

    private mutating func leads(_ member: TestMember) {
        let term = member.replica.term
        if let other = self.leaders[term], other != member.id {
            self.fail("two leaders in term \(term): \(other) and \(member.id)")
        }
        self.leaders[term] = member.id
        self.votes(member.id, for: member.id, in: term, disk: member.disk)
        var index = self.committed.count
        while index > 0, self.committed[index - 1].term >= term { index -= 1 }
        guard index > 0, LogIndex(index) >= member.replica.log.baseIndex else { return }
        if member.replica.log.hash(at: LogIndex(index)) != self.committed[index - 1].hash {
            self.fail(
                "\(member.id) leads term \(term) without \(index), committed in term \(self.committed[index - 1].term)")
        }
    }

    private mutating func applies(
        _ indexes: ClosedRange<LogIndex>, at member: TestMember, in members: [TestMember],
        tally: inout RandomCluster.Tally
    ) {
        for index in indexes where index > member.replica.log.baseIndex {
            guard let hash = member.replica.log.hash(at: index), member.replica.log.hole(at: index) == nil else {
                return self.fail("\(member.id) commits \(index), which it does not have")
            }
            if index <= self.committed.count {
                if self.committed[Int(index) - 1].hash != hash {
                    return self.fail("\(member.id) commits another entry at \(index) than was committed before")
                }
                continue
            }
            guard index == self.committed.count + 1 else {
                return self.fail("\(member.id) leaves a gap before \(index)")
            }
            self.committed.append((hash, member.replica.term))
            tally.commits += 1
        }
        // Who is the first to commit proves it by the disks. The last index is enough: hashes are chained.
        guard member.replica.role == .leader, let hash = member.replica.log.hash(at: indexes.upperBound) else { return }
        let index = indexes.upperBound
        func isDurable(_ voters: [MemberID]) -> Bool {
            let count = members.count { voters.contains($0.id) && $0.disk.holds(index, hash) }
            return count * 2 > voters.count
        }
        // The membership by which it was counted is one of those in the log.
        let now = member.replica.membership
        if !isDurable(now.voters) || (!now.outgoing.isEmpty && !isDurable(now.outgoing)) {
            self.fail("\(member.id) commits \(index), which is not durable on a majority of \(now)")
        }
    }

    // MARK: Messages

    private mutating func votes(_ voter: MemberID, for candidate: MemberID, in term: Term, disk: Disk) {
        let ballot = Ballot(voter: voter, term: term)
        if let other = self.votes[ballot], other != candidate {
            self.fail("\(voter) votes twice in term \(term): for \(other) and \(candidate)")
        }
        self.votes[ballot] = candidate
        let isDurable =
            disk.hardState.term > term || (disk.hardState.term == term && disk.hardState.votedFor == candidate)
        if !isDurable { self.fail("\(voter)'s vote in term \(term) counts before it is durable") }
    }

    mutating func sent(_ message: Message, by member: TestMember) {
        switch message.body {
        case .voteReply(granted: true):
            self.votes(message.from, for: message.to, in: message.term, disk: member.disk)
        case .appendReply(let reply):
            guard case .matched(let index) = reply.outcome else { break }
            if index > member.disk.lastIndex {
                self.fail("\(member.id) acknowledges \(index), and its disk ends at \(member.disk.lastIndex)")
            }
            if let hole = member.disk.holes.keys.min(), hole <= index {
                self.fail("\(member.id) acknowledges \(index), and its disk has a hole at \(hole)")
            }
        default: break
        }
    }

    func isCommitted(_ entry: Entry) -> Bool {
        entry.index <= self.committed.count && self.committed[Int(entry.index) - 1].hash == entry.hash
    }

    // MARK: Reads

    mutating func asked(_ ticket: UInt64) { self.asked[ticket] = LogIndex(self.committed.count) }

    func isAnswered(_ ticket: UInt64) -> Bool { self.answered.contains(ticket) }
}
