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

/// What goes wrong, and what is asked.
extension RandomCluster {
    func pick() -> Int { Int(self.random.below(UInt64(self.members.count))) }

    func misbehave() {
        let faults = self.faults
        if self.random.chance(faults.propose, in: 1000) { self.propose() }
        if self.random.chance(faults.read, in: 1000) { self.read(at: self.members[self.pick()]) }
        if self.random.chance(faults.crash, in: 1000) { self.crash(self.pick()) }
        if self.random.chance(faults.blackout, in: 1000) { self.blackOut() }
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

    func propose() {
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

    func read(at member: TestMember) {
        guard member.isAlive else { return }
        self.lastTicket += 1
        self.checker.asked(self.lastTicket)
        member.replica.read(ticket: self.lastTicket, now: self.now, into: &member.effects)
        self.end(member)
    }

    func crash(_ at: Int) {
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
    func blackOut() {
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

    func restart(_ at: Int) {
        let member = self.members[at]
        // Of the run before nothing arrives any more: its connections are gone.
        self.transits.removeAll { $0.message.from == member.id || $0.message.to == member.id }
        if !self.isCalm, self.random.chance(self.faults.rot, in: 1000) { self.rot(member) }
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
    func rot(_ member: TestMember) {
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

    func reconnect(_ i: Int, _ j: Int) {
        guard self.members[i].isAlive, self.members[j].isAlive, !self.isCut[i][j] else { return }
        for (a, b) in [(i, j), (j, i)] {
            let member = self.members[a]
            member.replica.disconnected(self.members[b].id.node, now: self.now, into: &member.effects)
            member.replica.connected(self.members[b].id, now: self.now, into: &member.effects)
            self.end(member)
        }
    }

    /// Cuts the cluster in two, cuts one way only, or mends it.
    func cut() {
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

    func transfer() {
        let to = self.random.chance(1, in: 2) ? nil : self.members[self.pick()].id.node
        for member in self.members where member.isAlive && member.replica.role == .leader {
            if member.replica.transfer(to: to, now: self.now, into: &member.effects) { self.tally.transfers += 1 }
            self.end(member)
        }
    }

    func changeMembership() {
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

    func checkpoint(_ member: TestMember) {
        guard member.isAlive, member.replica.commitIndex > member.replica.log.baseIndex,
            !member.batches.contains(where: { $0.checkpoint != nil })
        else { return }
        let mark = member.mark(at: member.replica.commitIndex)
        self.tally.checkpoints += 1
        self.end(member, adding: TestMember.Batch(writes: [.snapshot(mark)], checkpoint: mark))
    }

    /// As the node's core does, in time.
    func shortenLogs() {
        for member in self.members where member.isAlive && member.replica.isLogFull {
            self.tally.full += 1
            if self.random.chance(1, in: self.isCalm ? 20 : 100) { self.checkpoint(member) }
        }
    }
}
