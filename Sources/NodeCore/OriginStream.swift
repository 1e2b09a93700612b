import DequeModule
package import Formats
package import Replication

/// This run's stream of commands into one group: gives each its sequence, keeps it until its outcome is known, and sends
/// it again, in order and unchanged, to whoever leads next.
///
/// A sequence that has left this node never changes its content and is never skipped, also where its client was told
/// that the outcome is unknown: a gap would stop the stream for ever.
struct OriginStream {
    enum State {
        /// The group does not know this run yet.
        case closed
        /// It was asked to.
        case opening
        case open
    }

    private struct Block {
        var firstSequence: UInt64
        var count: UInt32
        var commands: [UInt8]
        var created: Instant
        var isSent = false
        /// Leaders that went with it under way.
        var leadersLost = 0
        var answeredUnknown = false
        /// What its commands' replies are expected to have, where they may be large.
        var replyBytes = 0
    }

    let node: NodeID
    let run: Run
    var state = State.closed
    var openAsked = Instant(nanoseconds: 0)
    /// The block that commands go into; it ends with the turn.
    private var building: [UInt8] = []
    private var buildingCount: UInt32 = 0
    private var buildingReplyBytes = 0
    /// Not yet applied here. Contiguous in sequence; the first may be applied in part.
    private var blocks: Deque<Block> = []
    /// Position in `blocks` of the first that the present leader was not sent.
    private var unsent = 0
    /// Of the blocks before.
    private var sentReplyBytes = 0
    /// Whose command each sequence is, from `firstUnapplied` on; 0 where nobody waits any longer.
    private var waiting: Deque<ClientID> = []
    private(set) var firstUnapplied: UInt64 = 1
    private(set) var outstandingBytes = 0
    private var lastProgress = Instant(nanoseconds: 0)

    init(node: NodeID, run: Run) {
        self.node = node
        self.run = run
    }

    var outstandingCommands: Int { self.waiting.count }
    var hasUnsent: Bool { self.buildingCount > 0 || self.unsent < self.blocks.count }
    var isEmpty: Bool { self.waiting.isEmpty }
    private var nextSequence: UInt64 { self.firstUnapplied + UInt64(self.waiting.count) }

    /// Bytes of commands in a block, beyond which another begins; a larger command has one to itself. Whatever many
    /// connections send in one turn: a block is never larger than an entry, a batch of the journal and a frame can hold.
    static let maxBlockBytes = 1 << 20

    /// Bytes of large replies that commands under way may bring; those that would bring more wait here, and what follows
    /// them. Every replica keeps the replies until this node has said that it has had them.
    static let maxReplyBytes = 16 << 20
    private static let maxBlockReplyBytes = 4 << 20

    /// Takes a command. O(bytes), no allocation of its own in steady state.
    /// - Parameter replyBytes: what its reply is expected to have, where that may be much.
    mutating func append(
        _ command: UnsafeRawBufferPointer, for client: ClientID, replyBytes: Int = 0, now: Instant
    ) {
        if self.building.count + command.count + 4 > Self.maxBlockBytes
            || replyBytes > 0 && self.buildingReplyBytes + replyBytes > Self.maxBlockReplyBytes
        {
            self.seal(now: now)
        }
        self.buildingReplyBytes += replyBytes
        self.building.append(littleEndian: UInt32(command.count))
        self.building.append(contentsOf: command)
        self.buildingCount += 1
        self.waiting.append(client)
        self.outstandingBytes += command.count + 4
    }

    /// Ends the block that is being built.
    mutating func seal(now: Instant) {
        guard self.buildingCount > 0 else { return }
        if self.blocks.isEmpty { self.lastProgress = now }
        let first = self.nextSequence - UInt64(self.buildingCount)
        self.blocks.append(
            Block(
                firstSequence: first, count: self.buildingCount, commands: self.building, created: now,
                replyBytes: self.buildingReplyBytes))
        self.buildingReplyBytes = 0
        self.building = []
        self.building.reserveCapacity(min(self.blocks[self.blocks.count - 1].commands.count, 1 << 16))
        self.buildingCount = 0
    }

    /// The blocks that the present leader was not sent, oldest first.
    mutating func takeUnsent(_ body: (OriginBlock) -> Bool) {
        while self.unsent < self.blocks.count {
            let block = self.blocks[self.unsent]
            guard
                block.replyBytes == 0 || self.sentReplyBytes == 0
                    || self.sentReplyBytes + block.replyBytes <= Self.maxReplyBytes
            else { return }
            let message = OriginBlock(
                origin: self.node, run: self.run, firstSequence: block.firstSequence,
                lowestUnanswered: self.firstUnapplied, count: block.count, commands: block.commands)
            guard body(message) else { return }
            self.blocks[self.unsent].isSent = true
            self.sentReplyBytes += block.replyBytes
            self.unsent += 1
        }
    }

    /// Everything not yet applied goes out again, from the oldest on: the leader changed, or went silent on us.
    mutating func resend(toNewLeader isNew: Bool, now: Instant) {
        for at in self.blocks.indices where isNew && self.blocks[at].isSent { self.blocks[at].leadersLost += 1 }
        self.unsent = 0
        self.sentReplyBytes = 0
        self.lastProgress = now
    }

    /// Whether what was sent has made no progress for `limit`.
    func isStalled(now: Instant, limit: Nanoseconds) -> Bool {
        self.unsent > 0 && now - self.lastProgress > limit
    }

    /// The command with the lowest unapplied sequence was applied: whose was it?
    mutating func applied(_ sequence: UInt64, now: Instant) -> ClientID {
        invariant(sequence == self.firstUnapplied, "own sequence \(sequence) applied, \(self.firstUnapplied) expected")
        guard let client = self.waiting.popFirst() else {
            fatalError("own sequence \(sequence) applied, none outstanding")
        }
        self.firstUnapplied += 1
        self.lastProgress = now
        if let block = self.blocks.first, block.firstSequence + UInt64(block.count) <= self.firstUnapplied {
            self.outstandingBytes -= block.commands.count
            self.blocks.removeFirst()
            if self.unsent > 0 {
                self.unsent -= 1
                self.sentReplyBytes -= block.replyBytes
            }
        }
        return client
    }

    /// Gives up waiting for what is older than `limit`, or was sent across more than two changes of leader.
    ///
    /// Calls `body` with each client and whether its command may still take effect. What was never sent entered no log:
    /// it is taken out, and the sequences after it, never seen by anyone, are given anew.
    mutating func expire(now: Instant, limit: Nanoseconds, _ body: (ClientID, _ mayTakeEffect: Bool) -> Void) {
        var position = 0
        while position < self.blocks.count {
            let block = self.blocks[position]
            let isOld = now - block.created >= limit
            if !block.isSent {
                guard isOld else { return }
                let start = Int(block.firstSequence - self.firstUnapplied)
                for at in start..<start + Int(block.count) where self.waiting[at] != 0 { body(self.waiting[at], false) }
                self.waiting.removeSubrange(start..<start + Int(block.count))
                self.outstandingBytes -= block.commands.count
                self.blocks.remove(at: position)
                for later in position..<self.blocks.count { self.blocks[later].firstSequence -= UInt64(block.count) }
                continue
            }
            if isOld || block.leadersLost > 2, !block.answeredUnknown {
                self.blocks[position].answeredUnknown = true
                for sequence in max(block.firstSequence, self.firstUnapplied)..<block.firstSequence
                    + UInt64(block.count)
                {
                    let at = Int(sequence - self.firstUnapplied)
                    if self.waiting[at] != 0 { body(self.waiting[at], true) }
                    self.waiting[at] = 0
                }
            }
            position += 1
        }
    }

    /// Nobody waits for this client's replies any longer; its commands still take effect.
    mutating func forget(_ client: ClientID) {
        for at in self.waiting.indices where self.waiting[at] == client { self.waiting[at] = 0 }
    }
}
