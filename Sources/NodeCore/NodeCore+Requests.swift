import Cache
import DequeModule
import Formats
package import Replication

/// A client's connection, as far as the order of its requests goes.
struct Client {
    /// In the stream and not yet applied.
    var writes = 0
    /// In the read queue and not yet answered.
    var reads = 0
    var isWaiting = false
    /// Entry of its last write, for WAIT.
    var lastWriteIndex: LogIndex = 0
    /// Waits for its earlier requests of the other kind.
    var held = HeldRequests()

    /// Whether a request of this kind may start beside those under way.
    func admits(_ kind: RequestKind) -> Bool {
        switch kind {
        case .read: !self.isWaiting && self.writes == 0
        case .write: !self.isWaiting && self.reads == 0
        case .wait: !self.isWaiting && self.writes == 0 && self.reads == 0
        }
    }
}

/// Requests of one client that may not go on yet. Oldest first.
struct HeldRequests {
    private var bytes: [UInt8] = []
    private var start = 0
    private var requests: Deque<(kind: RequestKind, count: Int)> = []

    var isEmpty: Bool { self.requests.isEmpty }
    var first: RequestKind? { self.requests.first?.kind }
    var count: Int { self.requests.count }
    var byteCount: Int { self.bytes.count - self.start }

    mutating func append(_ kind: RequestKind, _ command: UnsafeRawBufferPointer) {
        self.bytes.append(contentsOf: command)
        self.requests.append((kind, command.count))
    }

    mutating func removeFirst() -> (kind: RequestKind, command: [UInt8])? {
        guard let request = self.requests.popFirst() else { return nil }
        let command = Array(self.bytes[self.start..<self.start + request.count])
        self.start += request.count
        if self.requests.isEmpty {
            self.bytes.removeAll(keepingCapacity: self.bytes.capacity <= 1 << 16)
            self.start = 0
        } else if self.start > 1 << 16, self.start * 2 > self.bytes.count {
            self.bytes.removeSubrange(..<self.start)
            self.start = 0
        }
        return (request.kind, command)
    }
}

/// Requests of clients. Commands of one connection take effect in the order sent: a read waits until the connection's
/// earlier writes are applied, a write until its earlier reads are answered; a run of either kind goes at full speed.
/// So a read that has no answer may always be asked again.
extension NodeCore {
    /// Takes one command in canonical form. Its reply comes in `effects.replies`, for each client in the order of
    /// submission. O(bytes).
    package func submit(_ kind: RequestKind, command: UnsafeRawBufferPointer, from client: ClientID) -> Admission {
        let group = self.group(.default)!
        if group.divergence?.isStuck ?? false { return .diverged }
        switch kind {
        case .write:
            guard !self.refusesWrites(group) else { return .logFull }
            guard group.origin.outstandingCommands + self.held.count < self.configuration.maxOutstandingCommands,
                group.origin.outstandingBytes + self.held.bytes < self.configuration.maxOutstandingBytes
            else { return .busy }
            guard command.count <= self.configuration.maxCommandBytes else { return .tooLarge }
            if self.usedMemory > self.configuration.maxMemory, CommandTable.mayGrow(command) { return .outOfMemory }
        case .read, .wait:
            guard group.reads.count + self.held.count < self.configuration.maxWaitingReads,
                group.reads.byteCount + self.held.bytes < self.configuration.maxOutstandingBytes
            else { return .busy }
        }
        let slot = self.clients[client, default: Client()]
        if slot.held.isEmpty, slot.admits(kind) {
            self.start(kind, command, from: client, in: group)
        } else {
            self.clients[client, default: Client()].held.append(kind, command)
            self.held.count += 1
            self.held.bytes += command.count
        }
        return .accepted
    }

    /// The client is gone. What it sent still takes effect; nobody wants the replies.
    package func closed(_ client: ClientID) {
        guard let slot = self.clients.removeValue(forKey: client) else { return }
        self.held.count -= slot.held.count
        self.held.bytes -= slot.held.byteCount
        if slot.writes > 0 { self.group(.default)!.origin.forget(client) }
        self.waits.removeAll { $0.client == client }
    }

    private func start(
        _ kind: RequestKind, _ command: UnsafeRawBufferPointer, from client: ClientID, in group: Group
    ) {
        switch kind {
        case .write:
            self.clients[client, default: Client()].writes += 1
            var replyBytes = 0
            if case .cache(let cache) = group.machine { replyBytes = cache.expectedReplyBytes(command) }
            group.origin.append(command, for: client, replyBytes: replyBytes, now: self.now)
        case .read:
            self.clients[client, default: Client()].reads += 1
            group.reads.append(command, for: client, now: self.now)
        case .wait:
            self.clients[client, default: Client()].isWaiting = true
            self.startWait(command, from: client)
        }
    }

    /// Hands a reply over, and lets what waited for it go on.
    func deliver(_ bytes: UnsafeRawBufferPointer, to client: ClientID, of kind: RequestKind, index: LogIndex) {
        guard client != 0, let at = self.clients.index(forKey: client) else { return }
        let offset = self.effects.replyBytes.count
        self.effects.replyBytes.append(contentsOf: bytes)
        self.effects.replies.append(Reply(client: client, offset: offset, count: bytes.count))
        switch kind {
        case .write:
            self.clients.values[at].writes -= 1
            if index > 0 { self.clients.values[at].lastWriteIndex = index }
        case .read:
            self.clients.values[at].reads -= 1
        case .wait:
            self.clients.values[at].isWaiting = false
        }
        if !self.clients.values[at].held.isEmpty { self.release(client) }
    }

    private func release(_ client: ClientID) {
        let group = self.group(.default)!
        while let slot = self.clients[client], let kind = slot.held.first {
            guard slot.admits(kind) else { return }
            let request = self.clients[client]!.held.removeFirst()!
            self.held.count -= 1
            self.held.bytes -= request.command.count
            request.command.withUnsafeBytes { self.start(request.kind, $0, from: client, in: group) }
            self.effects.wantsTurn = true
        }
    }

    func deliverError(_ text: StaticString, to client: ClientID, of kind: RequestKind) {
        text.withUTF8Buffer { self.deliver(UnsafeRawBufferPointer($0), to: client, of: kind, index: 0) }
    }

    /// Answers what has been held for too long.
    func expireRequests(of group: Group) {
        var given: [(ClientID, Bool)] = []
        group.origin.expire(now: self.now, limit: self.configuration.requestTimeout) { given.append(($0, $1)) }
        for (client, mayTakeEffect) in given {
            self.deliverError(
                mayTakeEffect
                    ? "-UNKNOWN the write may or may not take effect: its outcome did not arrive in time\r\n"
                    : "-NOQUORUM nothing was written: no leader could be reached in time\r\n",
                to: client, of: .write)
        }
        if let batch = group.reads.batches.first, self.now - batch.created >= self.configuration.requestTimeout,
            case .cache(let cache) = group.machine
        {
            cache.abandonRead()
        }
        while let batch = group.reads.batches.first, self.now - batch.created >= self.configuration.requestTimeout {
            for item in batch.items[batch.next...] {
                group.reads.answered(1)
                self.deliverError(
                    "-NOQUORUM nothing was written: no majority of the nodes answered this read in time\r\n",
                    to: item.client, of: .read)
            }
            group.reads.removeFirst()
        }
        // What waits here to be proposed is not lost.
        if group.origin.isStalled(now: self.now, limit: .seconds(1)), group.queue.isEmpty {
            if group.origin.state == .opening { group.origin.state = .closed }
            group.origin.resend(toNewLeader: false, now: self.now)
        }
        for at in group.reads.batches.indices {
            let batch = group.reads.batches[at]
            if batch.ticket != 0, batch.index == nil, self.now - batch.asked > .milliseconds(500) {
                group.reads.batches[at].ticket = 0
            }
        }
    }

    // MARK: Writes on their way

    /// The blocks of this turn, and those that a new leader must be sent again.
    func sendOrQueue(_ group: Group) {
        group.origin.seal(now: self.now)
        // A run that is not noted could be begun a second time, and its session with it.
        guard let served = group.servedBy, self.isProven else { return }
        let me = self.configuration.me.node
        switch group.origin.state {
        case .closed:
            group.origin.state = .opening
            group.origin.openAsked = self.now
            if served.leader == me {
                group.sessionsAsked.append((me, self.configuration.run))
            } else {
                // A block without commands asks for the session.
                let block = OriginBlock(
                    origin: me, run: self.configuration.run, firstSequence: 0, lowestUnanswered: 0, count: 0,
                    commands: [])
                self.effects.messages.append((served.leader, .forward(Forward(group: group.id, block: block))))
            }
        case .opening:
            if self.now - group.origin.openAsked > .milliseconds(500) { group.origin.state = .closed }
        case .open:
            group.origin.takeUnsent { block in
                if served.leader == me {
                    guard group.queuedBytes < self.configuration.maxOutstandingBytes else { return false }
                    group.queue.append(block)
                    group.queuedBytes += block.commands.count
                } else {
                    self.effects.messages.append((served.leader, .forward(Forward(group: group.id, block: block))))
                }
                return true
            }
        }
    }

    /// Puts the blocks that wait into entries.
    ///
    /// While an entry of ours is neither durable here nor committed, more blocks gather for the next: on a busy node few
    /// large entries cost far less than many small ones, and an idle one waits for nothing.
    func proposeQueued(_ group: Group) {
        guard group.isLeader, !group.replica.isTransferring else { return }
        for (node, run) in group.sessionsAsked {
            _ = group.replica.propose(
                .session, payload: SessionPayload.encode(node, run), wall: self.wall, now: self.now,
                into: &group.effects)
        }
        group.sessionsAsked.removeAll(keepingCapacity: true)
        if group.wantsTime, group.lastTimeIndex <= group.replica.commitIndex {
            group.wantsTime = false
            if case .accepted(let index) = group.replica.propose(
                .time, payload: [], wall: self.wall, now: self.now, into: &group.effects)
            {
                group.lastTimeIndex = index
            }
        }
        while !group.queue.isEmpty {
            let isIdle =
                group.persistedIndex >= group.proposedIndex || group.replica.commitIndex >= group.proposedIndex
            guard isIdle || group.queuedBytes >= 256 << 10 else { return }
            var size = 0
            var count = 0
            for block in group.queue {
                let bytes = block.commands.count + CommandsPayload.blockHeaderBytes
                // A large one has an entry to itself.
                guard count == 0 || size + bytes <= OriginStream.maxBlockBytes else { break }
                size += bytes
                count += 1
                if size >= 512 << 10 { break }
            }
            var payload: [UInt8] = []
            payload.reserveCapacity(size)
            for at in 0..<count { CommandsPayload.append(group.queue[at], to: &payload) }
            guard
                case .accepted(let index) = group.replica.propose(
                    .commands, payload: payload, wall: self.wall, now: self.now, into: &group.effects)
            else { return }
            group.proposedIndex = index
            for _ in 0..<count { group.queuedBytes -= group.queue.removeFirst().commands.count }
        }
    }

    // MARK: Memory

    var usedMemory: Int {
        guard case .cache(let cache) = self.group(.default)!.machine else { return 0 }
        return cache.usedMemory
    }
}
