import Replication

/// A cluster that a seed drives: messages lost, doubled, late and out of order; writes that complete late or are lost
/// in a crash; suspicions right and wrong. `Checker` looks at every turn of every member.
final class RandomCluster {
    struct Transit {
        var due: Instant
        var message: Message
    }

    struct SnapshotTransit {
        var due: Instant
        var from: TestMember
        var to: TestMember
        var term: Term
        var mark: SnapshotMark
        /// Asked for to cover holes, in the name of no leader.
        var isLent = false
    }

    /// What one member's failure detector holds of another, as the node's core does.
    struct Suspicion {
        var run: Run
        var term: Term
        /// Wrong until then.
        var isWrongUntil: Instant?
    }

    let seed: UInt64
    var now = Instant(nanoseconds: 1_000_000_000)
    var members: [TestMember] = []
    var random: Random
    let faults: Faults
    var checker = Checker()
    var transits: [Transit] = []
    var snapshots: [SnapshotTransit] = []
    var suspicions: [[Suspicion?]]
    var downSince: [Instant]
    var isCut: [[Bool]]
    var lastTicket: UInt64 = 0
    var isCalm = false
    let isTight: Bool
    /// The turns as text, where a failed seed is told again.
    let isTold: Bool
    var story: [String] = []
    /// What happened, so that a suite can demand that enough did.
    var tally = Tally()

    struct Tally {
        var elections = 0
        var commits = 0
        var reads = 0
        var crashes = 0
        var transfers = 0
        var changes = 0
        var checkpoints = 0
        var snapshots = 0
        var holes = 0
        var filled = 0
        var discarded = 0
        var recovered = 0
        var lent = 0
        /// Turns in which a log was full.
        var full = 0

        static func + (a: Tally, b: Tally) -> Tally {
            Tally(
                elections: a.elections + b.elections, commits: a.commits + b.commits, reads: a.reads + b.reads,
                crashes: a.crashes + b.crashes, transfers: a.transfers + b.transfers, changes: a.changes + b.changes,
                checkpoints: a.checkpoints + b.checkpoints, snapshots: a.snapshots + b.snapshots,
                holes: a.holes + b.holes, filled: a.filled + b.filled, discarded: a.discarded + b.discarded,
                recovered: a.recovered + b.recovered, lent: a.lent + b.lent, full: a.full + b.full)
        }
    }

    /// - Parameters:
    ///   - voters: number of founders.
    ///   - spares: nodes that are there and may become members.
    ///   - isMoving: members change all the time.
    ///   - isRotting: restarts find entries of their logs unreadable.
    ///   - isTight: logs have little room, and nothing goes from one before it is full.
    init(
        seed: UInt64, voters: Int, spares: Int, isMoving: Bool = false, isRotting: Bool = false, isTight: Bool = false,
        isTold: Bool = false
    ) {
        self.seed = seed
        self.isTight = isTight
        self.isTold = isTold
        self.random = Random(seed: seed)
        self.faults = Faults(&self.random, isMoving: isMoving, isRotting: isRotting)
        let count = voters + spares
        self.suspicions = Array(repeating: Array(repeating: nil, count: count), count: count)
        self.isCut = Array(repeating: Array(repeating: false, count: count), count: count)
        self.downSince = Array(repeating: Instant(nanoseconds: 0), count: count)
        let founders = Membership(voters: (1...UInt32(voters)).map(member))
        for number in 1...UInt32(count) {
            var configuration = ReplicaConfiguration(
                group: testGroup, me: member(number), hashKey: testKey, seed: self.random.next())
            // Small, so that every limit is met often.
            configuration.electionTimeout = .milliseconds(60)
            configuration.resendAfter = .milliseconds(50)
            configuration.heldVote = .milliseconds(15)
            configuration.maxInflightAppends = 3
            configuration.maxInflightBytes = 1200
            configuration.maxAppendBytes = 400
            configuration.maxUncommittedBytes = 1900
            if isTight { configuration.maxLogBytes = 30 * 256 }
            self.members.append(
                TestMember(member(number), founders: founders, configuration: configuration, now: self.now))
        }
        for a in self.members {
            for b in self.members where a !== b { a.replica.connected(b.id, now: self.now, into: &a.effects) }
        }
    }

    func tell(_ text: @autoclosure () -> String) {
        if self.isTold { self.story.append("\(self.now.nanoseconds / 10_000 % 1_000_000) \(text())") }
    }

    /// - Returns: what went wrong; nil where nothing did.
    func run(turns: Int) -> String? {
        for _ in 0..<turns {
            self.turn()
            if let violation = self.checker.violation { return self.report(violation) }
        }
        if let failure = self.heal() { return self.report(failure) }
        return nil
    }

    func report(_ failure: String) -> String {
        var text = "seed \(self.seed): \(failure)"
        for member in self.members {
            let replica = member.replica.role
            text += """

                \(member.id) \(member.isAlive ? "\(replica)" : "dead") term \(member.replica.term) \
                leader \(member.replica.leader.map { "\($0)" } ?? "-") log \(member.replica.log.firstIndex)...\
                \(member.replica.lastIndex) durable \(member.replica.persistedIndex) \
                commit \(member.replica.commitIndex) \
                holes \(member.replica.log.holes.map { "\($0.index)/\($0.term ?? 0)" }) voters \(member.replica.membership.voters) outgoing \(member.replica.membership.outgoing)
                """
        }
        if self.isTold { text += "\n" + self.story.suffix(80).joined(separator: "\n") }
        return text
    }

    // MARK: A turn

    func turn() {
        self.now = self.now + Nanoseconds(500_000 + self.random.below(3_000_000))
        self.moveMessages()
        self.moveSnapshots()
        self.borrowSnapshots()
        self.moveDisks()
        self.detect()
        if !self.isCalm { self.misbehave() }
        if self.isTight { self.shortenLogs() }
        for member in self.members where member.isAlive {
            if let deadline = member.replica.deadline, deadline <= self.now {
                member.replica.wake(now: self.now, into: &member.effects)
                self.end(member)
            }
        }
    }

    func end(_ member: TestMember, adding batch: TestMember.Batch = TestMember.Batch()) {
        let pending = member.batches.count
        let sent = member.endTurn(now: self.now, adding: batch)
        for at in pending..<max(pending, member.batches.count) {
            let previous = at > 0 ? member.batches[at - 1].due : self.now
            member.batches[at].due = max(
                previous, self.now + self.random.below(self.isCalm ? 2_000_000 : self.faults.sync))
        }
        self.tally.filled += member.filled.count
        self.tally.discarded += member.discarded.count
        for range in member.discarded { self.tell("  \(member.id) discards \(range)") }
        member.filled.removeAll()
        member.discarded.removeAll()
        self.checker.looked(at: member, in: self.members, tally: &self.tally)
        for message in sent { self.send(message, from: member) }
        for target in member.snapshotsNeeded { self.beginSnapshot(from: member, to: target) }
        member.snapshotsNeeded.removeAll()
    }

    func send(_ message: Message, from member: TestMember) {
        self.tell("\(message.from)->\(message.to) t\(message.term) \(Self.short(message.body))")
        self.checker.sent(message, by: member)
        guard let to = self.members.firstIndex(where: { $0.id == message.to }),
            let from = self.members.firstIndex(where: { $0 === member }), !self.isCut[from][to]
        else { return }
        var copies = 1
        var longest = self.faults.delay
        if self.isCalm {
            longest = .milliseconds(2)
        } else {
            if self.random.chance(self.faults.lost, in: 1000) { copies = 0 }
            if self.random.chance(self.faults.doubled, in: 1000) { copies += 1 }
        }
        for _ in 0..<copies {
            let isHeld = !self.isCalm && self.random.chance(self.faults.held, in: 1000)
            let due = self.now + self.random.below(isHeld ? self.faults.longDelay : longest)
            self.transits.append(Transit(due: due, message: message))
        }
    }

    static func short(_ body: Message.Body) -> String {
        guard case .append(let append) = body else { return "\(body)" }
        return "append \(append.previousIndex)/\(append.previousTerm) "
            + "+\(append.entries.map { "\($0.index)/\($0.term)" }) commit \(append.commit) round \(append.round)"
    }

    func moveMessages() {
        let due = self.transits.filter { $0.due <= self.now }
        self.transits.removeAll { $0.due <= self.now }
        for transit in due {
            guard let member = self.members.first(where: { $0.id == transit.message.to }), member.isAlive else {
                continue
            }
            let message = transit.message
            self.tell("  \(message.to) gets \(message.from)'s t\(message.term) \(Self.short(message.body))")
            member.replica.receive(transit.message, now: self.now, into: &member.effects)
            self.end(member)
        }
    }

    func moveDisks() {
        for member in self.members where member.isAlive {
            while let first = member.batches.first, first.due <= self.now {
                let batch = member.persistOne(now: self.now)
                self.tell("  \(member.id) durable: \(batch.tickets)")
                if let mark = batch.checkpoint, mark.index > member.replica.log.baseIndex {
                    // Some entries below the mark are kept, for peers that are a little behind.
                    let keep = min(self.random.below(4), mark.index - member.replica.log.baseIndex)
                    member.replica.compact(through: mark.index - keep, mark: mark)
                }
                self.end(member)
                for message in batch.messages { self.send(message, from: member) }
                if let (from, index) = batch.installed, let leader = self.members.first(where: { $0.id == from }),
                    leader.isAlive
                {
                    leader.replica.snapshotDelivered(to: member.id, index: index, now: self.now, into: &leader.effects)
                    self.end(leader)
                }
            }
        }
    }

}
