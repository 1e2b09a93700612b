import Replication

/// What a seed lets happen. Each seed leaves whole kinds of fault out, as a fault that is always there hides what only
/// shows without it.
struct Faults {
    /// Of 1,000 messages.
    var lost: UInt64 = 0
    var doubled: UInt64 = 0
    var held: UInt64 = 0
    /// Longest ordinary way of a message, and of one that is held.
    var delay: Nanoseconds
    var longDelay: Nanoseconds = .milliseconds(200)
    /// Longest write.
    var sync: Nanoseconds
    // Of 1,000 turns.
    var crash: UInt64 = 0
    var partition: UInt64 = 0
    var wrongSuspicion: UInt64 = 0
    var transfer: UInt64 = 0
    var membership: UInt64 = 0
    var checkpoint: UInt64 = 0
    var reconnect: UInt64 = 0
    var abstain: UInt64 = 0
    var restart: UInt64 = 30
    /// All at once.
    var blackout: UInt64 = 0
    /// Of 1,000 restarts.
    var rot: UInt64 = 0
    var propose: UInt64
    var read: UInt64

    /// - Parameter isMoving: members change all the time, and the links with them.
    /// - Parameter isRotting: restarts find entries of their logs unreadable, and there are many.
    init(_ random: inout Random, isMoving: Bool, isRotting: Bool) {
        func weight(_ most: UInt64) -> UInt64 { random.chance(1, in: 3) ? 0 : 1 + random.below(most) }
        self.lost = weight(150)
        self.doubled = weight(100)
        self.held = weight(60)
        self.delay = .milliseconds(1 + random.below(8))
        self.sync = .milliseconds(1 + random.below(random.chance(1, in: 3) ? 60 : 8))
        self.crash = weight(20)
        self.partition = weight(15)
        self.wrongSuspicion = weight(30)
        self.transfer = weight(15)
        self.membership = weight(25)
        self.checkpoint = weight(30)
        self.reconnect = weight(10)
        self.abstain = weight(8)
        self.propose = 100 + random.below(500)
        self.read = 50 + random.below(200)
        if isMoving {
            self.membership = 60 + random.below(60)
            self.partition = 10 + random.below(30)
            self.transfer = 10
            self.held = 30 + random.below(60)
        }
        if isRotting {
            self.rot = 300 + random.below(700)
            self.crash = 5 + random.below(15)
            self.blackout = 5 + random.below(10)
            self.restart = 10 + random.below(30)
            self.partition = weight(30)
            if !isMoving { self.membership = 0 }
        }
    }
}

/// A cluster that a seed drives: messages lost, doubled, late and out of order; writes that complete late or are lost
/// in a crash; suspicions right and wrong. `Checker` looks at every turn of every member.
final class RandomCluster {
    private struct Transit {
        var due: Instant
        var message: Message
    }

    private struct SnapshotTransit {
        var due: Instant
        var from: TestMember
        var to: TestMember
        var term: Term
        var mark: SnapshotMark
        /// Asked for to cover holes, in the name of no leader.
        var isLent = false
    }

    /// What one member's failure detector holds of another, as the node's core does.
    private struct Suspicion {
        var run: Run
        var term: Term
        /// Wrong until then.
        var isWrongUntil: Instant?
    }

    let seed: UInt64
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private(set) var members: [TestMember] = []
    private var random: Random
    private let faults: Faults
    private var checker = Checker()
    private var transits: [Transit] = []
    private var snapshots: [SnapshotTransit] = []
    private var suspicions: [[Suspicion?]]
    private var downSince: [Instant]
    private var isCut: [[Bool]]
    private var lastTicket: UInt64 = 0
    private var isCalm = false
    private let isTight: Bool
    /// The turns as text, where a failed seed is told again.
    private let isTold: Bool
    private var story: [String] = []
    /// What happened, so that a suite can demand that enough did.
    private(set) var tally = Tally()

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

    private func tell(_ text: @autoclosure () -> String) {
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

    private func report(_ failure: String) -> String {
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

    private func turn() {
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

    private func end(_ member: TestMember, adding batch: TestMember.Batch = TestMember.Batch()) {
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

    private func send(_ message: Message, from member: TestMember) {
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

    private static func short(_ body: Message.Body) -> String {
        guard case .append(let append) = body else { return "\(body)" }
        return "append \(append.previousIndex)/\(append.previousTerm) "
            + "+\(append.entries.map { "\($0.index)/\($0.term)" }) commit \(append.commit) round \(append.round)"
    }

    private func moveMessages() {
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

    private func moveDisks() {
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

    // MARK: Snapshots

    private func beginSnapshot(from leader: TestMember, to target: MemberID) {
        guard let to = self.members.first(where: { $0.id == target }) else { return }
        guard let mark = leader.disk.snapshot, !self.snapshots.contains(where: { $0.from === leader && $0.to === to })
        else { return }
        let length = Nanoseconds.milliseconds(2) + self.random.below(self.isCalm ? 5_000_000 : 40_000_000)
        self.snapshots.append(
            SnapshotTransit(due: self.now + length, from: leader, to: to, term: leader.replica.term, mark: mark))
    }

    private func moveSnapshots() {
        let due = self.snapshots.filter { $0.due <= self.now }
        self.snapshots.removeAll { $0.due <= self.now }
        for snapshot in due {
            let isLost = !self.isCalm && self.random.chance(1, in: 5)
            let member = snapshot.to
            var isTaken = false
            if snapshot.isLent {
                let hole = member.replica.log.holes.first?.index ?? .max
                guard member.isAlive, !isLost, hole <= snapshot.mark.index, member.replica.holds(snapshot.mark) else {
                    continue
                }
                self.tell("  \(member.id) borrows \(snapshot.mark.index)")
                self.checker.installs(snapshot.mark, at: member)
                self.tally.lent += 1
                member.replica.install(snapshot.mark, now: self.now, into: &member.effects)
                self.end(member, adding: TestMember.Batch(writes: [.snapshot(snapshot.mark)]))
                continue
            }
            if member.isAlive, !isLost {
                isTaken = member.replica.acceptSnapshot(
                    from: snapshot.from.id, term: snapshot.term, now: self.now, into: &member.effects)
                if isTaken {
                    var batch = TestMember.Batch(installed: (snapshot.from.id, snapshot.mark.index))
                    if snapshot.mark.index > member.replica.commitIndex {
                        self.tell("  \(member.id) installs \(snapshot.mark.index)")
                        self.checker.installs(snapshot.mark, at: member)
                        batch.writes.append(.snapshot(snapshot.mark))
                        self.tally.snapshots += 1
                    }
                    member.replica.install(snapshot.mark, now: self.now, into: &member.effects)
                    self.end(member, adding: batch)
                } else {
                    self.end(member)
                }
            }
            if !isTaken, snapshot.from.isAlive {
                snapshot.from.replica.snapshotFailed(to: member.id, now: self.now, into: &snapshot.from.effects)
                self.end(snapshot.from)
            }
        }
    }

    /// What others have in their snapshots alone, they send.
    private func borrowSnapshots() {
        for to in self.members where to.isAlive {
            guard let (index, member) = to.snapshotWanted, self.random.chance(1, in: 20),
                let from = self.members.first(where: { $0.id == member }), from.isAlive,
                let mark = from.disk.snapshot, mark.index >= index
            else { continue }
            if from.replica.role == .leader {
                self.beginSnapshot(from: from, to: to.id)
            } else {
                self.snapshots.append(
                    SnapshotTransit(
                        due: self.now + self.random.below(20_000_000), from: from, to: to, term: 0, mark: mark,
                        isLent: true))
            }
        }
    }

    // MARK: Failure detection

    /// The detectors of all members. A crash shows at once or after a while, a cut link after a while; a leader that
    /// came back in a later run stays suspected until another leads, or it does again.
    private func detect() {
        for (i, observer) in self.members.enumerated() where observer.isAlive {
            for (j, other) in self.members.enumerated() where i != j {
                let isDown = !other.isAlive || self.isCut[i][j]
                let node = other.id.node
                if isDown {
                    let patience = other.isAlive ? Nanoseconds.milliseconds(30) : .milliseconds(5)
                    guard self.now - self.downSince[j] > patience else { continue }
                    if self.suspicions[i][j] == nil {
                        self.suspicions[i][j] = Suspicion(run: other.run, term: observer.replica.term)
                    }
                    self.suspicions[i][j]?.isWrongUntil = nil
                    observer.replica.suspect(node, now: self.now, into: &observer.effects)
                } else if let suspicion = self.suspicions[i][j] {
                    if let until = suspicion.isWrongUntil, self.now < until { continue }
                    let isBackAsFollower =
                        suspicion.run != other.run && observer.replica.leader == other.id
                        && observer.replica.term == suspicion.term
                    if isBackAsFollower { continue }
                    self.suspicions[i][j] = nil
                    observer.replica.trust(node, now: self.now, into: &observer.effects)
                } else {
                    continue
                }
                self.end(observer)
            }
        }
    }

    private func suspect(_ j: Int, by i: Int, isWrongUntil: Instant?) {
        let observer = self.members[i]
        guard observer.isAlive, self.suspicions[i][j] == nil else { return }
        self.suspicions[i][j] = Suspicion(
            run: self.members[j].run, term: observer.replica.term, isWrongUntil: isWrongUntil)
        self.tell("  \(observer.id) suspects \(self.members[j].id)")
        observer.replica.suspect(self.members[j].id.node, now: self.now, into: &observer.effects)
        self.end(observer)
    }

    // MARK: What happens

    private func pick() -> Int { Int(self.random.below(UInt64(self.members.count))) }

    private func misbehave() {
        let faults = self.faults
        if self.random.chance(faults.propose, in: 1000) { self.propose() }
        if self.random.chance(faults.read, in: 1000) { self.read(at: self.members[self.pick()]) }
        if self.random.chance(faults.crash, in: 1000) { self.crash(self.pick()) }
        if faults.blackout > 0, self.random.chance(faults.blackout, in: 1000) { self.blackOut() }
        for at in self.members.indices where !self.members[at].isAlive && self.random.chance(faults.restart, in: 1000) {
            self.restart(at)
        }
        if self.random.chance(faults.partition, in: 1000) { self.cut() }
        if self.random.chance(faults.wrongSuspicion, in: 1000) {
            let i = self.pick()
            let j = self.pick()
            if i != j { self.suspect(j, by: i, isWrongUntil: self.now + self.random.below(.milliseconds(150))) }
        }
        if self.random.chance(faults.transfer, in: 1000) { self.transfer() }
        if self.random.chance(faults.membership, in: 1000) { self.changeMembership() }
        if !self.isTight, self.random.chance(faults.checkpoint, in: 1000) { self.checkpoint(self.members[self.pick()]) }
        if self.random.chance(faults.reconnect, in: 1000) {
            let i = self.pick()
            let j = self.pick()
            if i != j { self.reconnect(i, j) }
        }
        if self.random.chance(faults.abstain, in: 1000) {
            let member = self.members[self.pick()]
            if member.isAlive {
                member.replica.abstain(self.random.chance(1, in: 2))
                self.end(member)
            }
        }
    }

    private func propose() {
        // Whoever thinks that it leads: a deposed leader is asked as well.
        let leading = self.members.filter { $0.isAlive && $0.replica.role == .leader }
        guard !leading.isEmpty else { return }
        let member = leading[Int(self.random.below(UInt64(leading.count)))]
        let bytes = payload(UInt8(truncatingIfNeeded: self.random.next()), count: Int(1 + self.random.below(60)))
        _ = member.replica.propose(
            .commands, payload: bytes, wall: WallTime(nanoseconds: self.now.nanoseconds), now: self.now,
            into: &member.effects)
        self.end(member)
    }

    private func read(at member: TestMember) {
        guard member.isAlive else { return }
        self.lastTicket += 1
        self.checker.asked(self.lastTicket)
        member.replica.read(ticket: self.lastTicket, now: self.now, into: &member.effects)
        self.end(member)
    }

    private func crash(_ at: Int) {
        guard self.members[at].isAlive else { return }
        self.tell("  \(self.members[at].id) crashes")
        self.tally.crashes += 1
        self.members[at].crash()
        self.checker.crashed(self.members[at])
        self.downSince[at] = self.now
        let id = self.members[at].id
        for other in self.members.indices { self.suspicions[at][other] = nil }
        var random = self.random
        self.transits.removeAll { ($0.message.from == id || $0.message.to == id) && random.chance(1, in: 2) }
        self.random = random
        self.snapshots.removeAll { $0.from.id == id }
        for other in self.members where other.isAlive {
            other.replica.disconnected(id.node, now: self.now, into: &other.effects)
            self.end(other)
        }
    }

    /// All are gone at once; who leads has something on its disk, now and then, that nobody else ever had.
    private func blackOut() {
        if self.random.chance(1, in: 2),
            let leader = self.members.first(where: { $0.isAlive && $0.replica.role == .leader })
        {
            self.propose()
            self.transits.removeAll { $0.message.from == leader.id }
            while !leader.batches.isEmpty { _ = leader.persistOne(now: self.now) }
            leader.effects = Effects()
        }
        for at in self.members.indices { self.crash(at) }
    }

    private func restart(_ at: Int) {
        let member = self.members[at]
        if self.faults.rot > 0 {
            // Of the run before nothing arrives any more: its connections are gone.
            self.transits.removeAll { $0.message.from == member.id || $0.message.to == member.id }
            if !self.isCalm, self.random.chance(self.faults.rot, in: 1000) { self.rot(member) }
        }
        self.tell("  \(member.id) restarts without \(member.disk.holes.keys.sorted())")
        member.restart(seed: self.random.next(), now: self.now)
        self.checker.restarted(member)
        for other in self.members.indices where other != at && self.members[other].isAlive {
            // One that is back before it was missed answers in a later run.
            if !self.random.chance(1, in: 4) || self.isCalm || self.faults.rot > 0 {
                self.suspect(at, by: other, isWrongUntil: nil)
            }
            self.members[other].replica.restarted(member.id)
            self.reconnect(at, other)
        }
        self.end(member)
    }

    /// Entries of a dead member rot, within bounds: what is committed is whole somewhere. What may yet be found never to have
    /// been, as its holders truncate it, is missing at so few that the others can say so.
    private func rot(_ member: TestMember) {
        let entries = member.disk.entries
        guard let first = entries.first?.index else { return }
        var index = first + self.random.below(UInt64(entries.count))
        for _ in 0...self.random.below(6) {
            switch self.random.below(7) {
            case 0: index = first + self.random.below(UInt64(entries.count))
            case 1...3: index = member.disk.lastIndex - min(self.random.below(3), member.disk.lastIndex - first)
            default: index += 1
            }
            guard index <= member.disk.lastIndex else { continue }
            let entry = entries[Int(index - first)]
            let others = self.members.filter { $0 !== member }
            let isCommitted = self.checker.isCommitted(entry)
            let whole = others.count {
                $0.disk.holds(index, entry.hash) && $0.disk.holes[index] == nil
                    && (isCommitted || $0.disk.lastIndex >= index)
            }
            let missing = others.count { $0.disk.holes[index] != nil && $0.disk.holds(index, entry.hash) }
            let voters = self.members.count { $0.founders.voters.contains($0.id) }
            guard isCommitted ? whole > 0 : missing + 1 < voters / 2 + 1 else { continue }
            guard isCommitted || self.faults.membership == 0 else { continue }
            self.tally.holes += 1
            // Where nobody else is known to have it for good, its header is known: who does not know who votes does not
            // stand, and its vote may be needed.
            member.disk.rot(index, isHeaderKnown: !isCommitted || self.random.chance(1, in: 2))
        }
    }

    private func reconnect(_ i: Int, _ j: Int) {
        guard self.members[i].isAlive, self.members[j].isAlive, !self.isCut[i][j] else { return }
        for (a, b) in [(i, j), (j, i)] {
            let member = self.members[a]
            member.replica.disconnected(self.members[b].id.node, now: self.now, into: &member.effects)
            member.replica.connected(self.members[b].id, now: self.now, into: &member.effects)
            self.end(member)
        }
    }

    /// Cuts the cluster in two, cuts one way only, or mends it.
    private func cut() {
        let count = self.members.count
        let isMended = self.random.chance(1, in: 2)
        let isOneWay = self.random.chance(1, in: 4)
        var side: [Bool] = []
        for _ in 0..<count { side.append(self.random.chance(1, in: 2)) }
        for i in 0..<count {
            for j in 0..<count where i != j {
                self.isCut[i][j] = isMended ? false : isOneWay ? side[i] && !side[j] : side[i] != side[j]
            }
        }
        for at in 0..<count where self.members[at].isAlive { self.downSince[at] = self.now }
        self.tell("  cut: \(isMended ? "mended" : "\(side)")")
    }

    private func transfer() {
        let to = self.random.chance(1, in: 2) ? nil : self.members[self.pick()].id.node
        for member in self.members where member.isAlive && member.replica.role == .leader {
            if member.replica.transfer(to: to, now: self.now, into: &member.effects) { self.tally.transfers += 1 }
            self.end(member)
        }
    }

    private func changeMembership() {
        var voters: [MemberID] = []
        var learners: [MemberID] = []
        for member in self.members {
            switch self.random.below(4) {
            case 0: break
            case 1: learners.append(member.id)
            default: voters.append(member.id)
            }
        }
        guard !voters.isEmpty else { return }
        for member in self.members where member.isAlive && member.replica.role == .leader {
            let result = member.replica.changeMembership(
                voters: voters, learners: learners, wall: WallTime(nanoseconds: 0), now: self.now, into: &member.effects
            )
            if case .accepted = result { self.tally.changes += 1 }
            self.tell("  \(member.id) changes members to \(voters) and \(learners): \(result)")
            self.end(member)
        }
    }

    private func checkpoint(_ member: TestMember) {
        guard member.isAlive, member.replica.commitIndex > member.replica.log.baseIndex,
            !member.batches.contains(where: { $0.checkpoint != nil })
        else { return }
        let mark = member.mark(at: member.replica.commitIndex)
        self.tally.checkpoints += 1
        self.end(member, adding: TestMember.Batch(writes: [.snapshot(mark)], checkpoint: mark))
    }

    /// As the node's core does, in time.
    private func shortenLogs() {
        for member in self.members where member.isAlive && member.replica.isLogFull {
            self.tally.full += 1
            if self.random.chance(1, in: self.isCalm ? 20 : 100) { self.checkpoint(member) }
        }
    }

    // MARK: Healing

    /// All faults end, but for one member that stays dead where every membership can do without it: then somebody
    /// leads, what is proposed is committed everywhere, and reads are answered, all within two seconds, which is 33
    /// election timeouts.
    private func heal() -> String? {
        self.isCalm = true
        for i in self.members.indices { for j in self.members.indices { self.isCut[i][j] = false } }
        var dead: Int?
        // One that is whole may be the only one that has what others miss.
        if self.random.chance(1, in: 2), self.members.allSatisfy({ $0.disk.holes.isEmpty }),
            self.members.allSatisfy({
                let membership = $0.replica.membership
                return membership.voters.count >= 3 && (membership.outgoing.isEmpty || membership.outgoing.count >= 3)
            })
        {
            let at = self.members.firstIndex { $0.isAlive && $0.replica.role == .leader } ?? self.pick()
            self.crash(at)
            dead = at
        }
        for at in self.members.indices where at != dead {
            if !self.members[at].isAlive { self.restart(at) }
            self.members[at].replica.abstain(false)
            for other in self.members.indices where other != at { self.suspicions[at][other]?.isWrongUntil = nil }
        }
        for i in self.members.indices { for j in 0..<i { self.reconnect(i, j) } }

        let end = self.now + .seconds(self.faults.rot > 0 ? 4 : 2)
        var proposed: (index: LogIndex, term: Term)?
        var asked: UInt64?
        while self.now < end {
            self.turn()
            if let violation = self.checker.violation { return violation }
            let leaders = self.members.filter { $0.isAlive && $0.replica.role == .leader }
            guard let leader = leaders.max(by: { $0.replica.term < $1.replica.term }) else { continue }
            if proposed?.term != leader.replica.term {
                proposed = nil
                asked = nil
                if !leader.replica.isTransferring, leader.replica.uncommittedBytes == 0,
                    case .accepted(let index) = leader.replica.propose(
                        .commands, payload: payload(1), wall: WallTime(nanoseconds: 0), now: self.now,
                        into: &leader.effects)
                {
                    proposed = (index, leader.replica.term)
                }
                self.end(leader)
            }
            guard let proposed else { continue }
            let membership = leader.replica.membership
            let following = self.members.filter {
                $0.isAlive && (membership.voters.contains($0.id) || membership.learners.contains($0.id))
            }
            guard membership.outgoing.isEmpty, following.allSatisfy({ $0.replica.commitIndex >= proposed.index }) else {
                continue
            }
            if asked == nil {
                asked = self.lastTicket + 1
                for member in following { self.read(at: member) }
            }
            let tickets = asked!..<asked! + UInt64(following.count)
            if tickets.allSatisfy({ self.checker.isAnswered($0) }) { return nil }
        }
        return "nobody leads, or nothing is committed or read, two seconds after all faults ended"
    }
}
