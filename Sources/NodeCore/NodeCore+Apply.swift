import Cache
import Catalog
import DequeModule
import Formats
package import Replication

extension NodeCore {
    /// Applies what is committed, in slices: a long stretch (a restart, a catch-up), and a long command, leave room for other
    /// work between.
    func apply(_ group: Group) {
        guard let limit = group.applyLimit else { return }
        let commit = min(group.replica.commitIndex, limit)
        var budget = 1 << 20
        if case .cache(let cache) = group.machine {
            // A long read goes on first.
            guard !cache.isPaused || group.isMidEntry else { return }
            cache.budget = self.configuration.maxTurnWork
        }
        while group.appliedIndex < commit {
            guard budget > 0, self.mayApply(group) else {
                self.effects.wantsTurn = true
                break
            }
            let entry = group.replica.log.entry(at: group.appliedIndex + 1)
            guard self.apply(entry, to: group) else {
                self.effects.wantsTurn = true
                break
            }
            budget -= entry.payload.count + 512
            group.checkpoint.bytesSince += entry.payload.count + 256
        }
        // Replies may have let held requests in.
        if group.servedBy != nil {
            if group.origin.state == .open, group.origin.hasUnsent { self.effects.wantsTurn = true }
            if group.reads.unasked != nil, group.reads.asked < 2 { self.effects.wantsTurn = true }
        }
    }

    private func mayApply(_ group: Group) -> Bool {
        guard case .cache(let cache) = group.machine else { return true }
        return cache.budget > 0
    }

    /// False where it is to be gone on with in the next turn: what is done is not done again, as with any retry.
    private func apply(_ entry: Entry, to group: Group) -> Bool {
        invariant(entry.index == group.appliedIndex + 1, "\(group.id): \(entry.index) after \(group.appliedIndex)")
        invariant(entry.time >= group.appliedTime, "\(group.id): time goes back at \(entry.index)")
        group.appliedTime = entry.time
        switch group.machine {
        case .cache(let cache): cache.time = entry.time
        case .catalog(let catalog): catalog.time = entry.time
        }
        switch entry.kind {
        case .empty, .membership, .time:
            break
        case .commands:
            group.isMidEntry = !self.applyCommands(entry, to: group)
            if group.isMidEntry { return false }
            group.lastEffectiveIndex = entry.index
        case .session:
            self.applySession(entry, to: group)
            group.lastEffectiveIndex = entry.index
        case .checkpoint:
            break
        }
        group.appliedIndex = entry.index
        if case .cache(let cache) = group.machine { cache.expire() }
        if entry.kind == .checkpoint { self.beginCheckpoint(group, at: entry) }
        return true
    }

    private func applySession(_ entry: Entry, to group: Group) {
        guard let (node, run) = SessionPayload.decode(entry.payload) else { return }
        let isOpen = group.sessions.open(node, run)
        guard node == self.configuration.me.node, run == self.configuration.run else { return }
        if isOpen {
            if group.origin.state != .open {
                group.origin.state = .open
                group.origin.resend(toNewLeader: false, now: self.now)
                self.effects.wantsTurn = true
            }
        } else {
            self.effects.events.append(.sessionRefused(group.id, node, run))
            self.foundLaterSession(group.sessions.run(of: node))
        }
    }

    /// The group's log has a session of a later run of this node.
    private func foundLaterSession(_ run: Run) {
        guard !self.isDiskLost else { return }
        if self.configuration.founders.contains(self.configuration.me) {
            var runs = PeerRuns()
            runs.add(self.configuration.me, RunMark(run: run, token: 0))
            self.loseDisk(seenBy: self.configuration.me.node, runs)
        } else {
            // The former disk's.
            self.isDiskLost = true
            self.effects.events.append(.runBehind(run))
        }
    }

    private func applyCommands(_ entry: Entry, to group: Group) -> Bool {
        entry.payload.withUnsafeBytes { bytes in
            var cursor = ByteCursor(bytes)
            while !cursor.isAtEnd, let block = CommandsPayload.next(&cursor) {
                guard self.applyBlock(block, at: entry.index, to: group) else { return false }
            }
            return true
        }
    }

    /// Applies each command of a block exactly once (docs/fault-model.md, "Exactly once").
    ///
    /// 1. A run that was retired, or never opened, is refused as a whole.
    /// 2. A sequence at or below the last applied is a retry: it took effect, and its reply is kept or was had.
    /// 3. A sequence beyond the next means that blocks were lost on the way to the leader: nothing of it takes effect,
    ///    and the origin, when it applies this entry itself, sends again from the first that is missing.
    /// - Returns: false where the turn's work is done before the block is.
    private func applyBlock(_ block: CommandsPayload.Block, at index: LogIndex, to group: Group) -> Bool {
        let isOwn = block.origin == self.configuration.me.node && block.run == self.configuration.run
        guard let at = group.sessions.index(of: block.origin, run: block.run) else {
            self.effects.events.append(.sessionRefused(group.id, block.origin, block.run))
            return true
        }
        let expected = group.sessions[at].lastSequence + 1
        if block.firstSequence > expected {
            self.effects.events.append(.sequenceGap(group.id, expected: expected, found: block.firstSequence))
            if isOwn { group.origin.resend(toNewLeader: false, now: self.now) }
            return true
        }
        group.sessions[at].forget(below: min(block.lowestUnanswered, expected))
        var commands = ByteCursor(block.commands)
        var sequence = block.firstSequence
        var announcer = Announcer(block, group.machine)
        for _ in 0..<block.count {
            if sequence > group.sessions[at].lastSequence { announcer.step() } else { announcer.skip() }
            guard let length = commands.u32(), let command = commands.bytes(Int(length)) else { return true }
            if sequence == group.sessions[at].lastSequence + 1 {
                self.reply.removeAll()
                switch group.machine {
                case .cache(let cache):
                    guard cache.budget > 0 else { return false }
                    if cache.isPaused || group.sessions[at].mayKeep(command) {
                        guard cache.apply(command, index: index, reply: &self.reply) else { return false }
                    } else {
                        self.reply.error(
                            "BUSY nothing was written: too many replies wait for their clients; try again")
                    }
                    cache.budget -= self.reply.bytes.count
                case .catalog(let catalog): catalog.apply(command, index: index)
                }
                self.reply.bytes.withUnsafeBytes { reply in
                    group.sessions[at].remember(reply)
                    // Below that its client had the reply, and the state went back since, to a snapshot.
                    if isOwn, sequence >= group.origin.firstUnapplied {
                        let client = group.origin.applied(sequence, now: self.now)
                        self.deliver(reply, to: client, of: .write, index: index)
                    }
                }
            }
            sequence += 1
        }
        if isOwn, group.id == .default {
            self.incidents.acknowledgedWrite(now: self.now)
            self.diskAccount.acknowledgedWrite(now: self.now)
        }
        return true
    }

    /// After a snapshot took the place of entries that this node never applied: the replies to its own commands among
    /// them are in the session.
    func answerFromSession(of group: Group) {
        guard let at = group.sessions.index(of: self.configuration.me.node, run: self.configuration.run) else {
            group.origin.state = .closed
            return
        }
        group.origin.state = .open
        group.sessions[at].replies(from: group.origin.firstUnapplied) { sequence, reply in
            let client = group.origin.applied(sequence, now: self.now)
            self.deliver(reply, to: client, of: .write, index: group.appliedIndex)
        }
        group.origin.resend(toNewLeader: false, now: self.now)
    }
}

/// Runs ahead of the commands of a block that are being applied, and has the memory fetched that they will touch. Each step
/// needs what the one before has fetched: a command's key is hashed and its shard asked for, `pace` commands later the slot
/// in the shard's table, as many later the record; and as many after that the command is applied.
private struct Announcer {
    private static let distance = 16
    private static let pace = 5
    private let cache: CacheMachine?
    private var ahead: ByteCursor
    /// Hashes of the commands announced last, in a ring; 0 where there is none.
    private var hashes: InlineArray<16, UInt64> = .init(repeating: 0)
    private var position = 0

    init(_ block: CommandsPayload.Block, _ machine: StateMachine) {
        self.ahead = ByteCursor(block.commands)
        if case .cache(let cache) = machine, block.count >= UInt32(Self.distance / 2) {
            self.cache = cache
        } else {
            self.cache = nil
        }
        for _ in 0..<Self.distance { self.step() }
    }

    /// Past a command that is applied already.
    mutating func skip() {
        if self.cache != nil, let length = self.ahead.u32() { _ = self.ahead.bytes(Int(length)) }
    }

    mutating func step() {
        guard let cache else { return }
        let record = self.hash(announced: 2 * Self.pace)
        if record != 0 { cache.announceRecord(record) }
        let slot = self.hash(announced: Self.pace)
        if slot != 0 { cache.announceSlot(slot) }
        var hash: UInt64 = 0
        if let length = self.ahead.u32(), let command = self.ahead.bytes(Int(length)) { hash = cache.announce(command) }
        self.hashes[self.position & (Self.distance - 1)] = hash
        self.position += 1
    }

    private func hash(announced stepsAgo: Int) -> UInt64 {
        self.hashes[(self.position - stepsAgo) & (Self.distance - 1)]
    }
}
