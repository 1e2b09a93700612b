/// Commands whose work has no small bound (many keys, a whole keyspace, a transaction) pause when the budget is spent, and go
/// on where they were with the next call of `apply` or `read`. Nothing else is applied or read meanwhile, so nobody sees
/// half of one; and where they pause changes nothing of what they do or answer.
struct LongCommand {
    /// Of what is under way. Of a transaction: of the command in it.
    var step = 0
    var count: Int64 = 0
    var phase = 0
    /// Where its reply begins.
    var start = 0
    /// Of LCS.
    var table: [UInt32] = []
    /// It has begun.
    var isBegun = false
    /// Of a transaction: its next command, or the one under way.
    var transaction: CommandReader.Position?

    // What the machine had when it paused.
    var isRead = false
    var reply: [UInt8] = []
    var readClock: UInt64 = 0
    var randomBits: UInt64 = 0

    /// Nothing of a command that is done is left.
    var isFresh: Bool {
        self.step == 0 && self.count == 0 && self.phase == 0 && !self.isBegun && self.transaction == nil
    }

    /// The command in the transaction is done.
    mutating func beginNext() {
        self.step = 0
        self.count = 0
        self.phase = 0
        self.table = []
        self.isBegun = false
    }
}

/// What work costs, in bytes that are copied and hashed: about a nanosecond each.
enum Work {
    /// To find a key among many: a few waits for memory.
    static let key = 256
    /// To look at a record when walking over all.
    static let visit = 256
}

extension CacheMachine {
    /// Bytes of one reply, beyond which the command is refused.
    package static let maxReplyBytes = 64 << 20
    /// Bytes of a transaction's replies, beyond which those of its commands are left out. They are in the state until their
    /// client has had them.
    package static let maxTransactionReplyBytes = 16 << 20

    /// How large the reply of a command that enters the log may be, as far as the state of now tells; 0 where it is small.
    /// O(keys), or O(1) for a transaction of many commands.
    package func expectedReplyBytes(_ command: UnsafeRawBufferPointer) -> Int {
        guard CommandTable.repliesWithValues(command), var reader = CommandReader(command) else { return 0 }
        guard reader.id == CommandTable.exec else {
            return reader.next().map { self.valueLength($0) } ?? 0
        }
        guard let head = reader.next(), head.count == 4 else { return 0 }
        for _ in 0..<UInt32(littleEndian: head.loadUnaligned(as: UInt32.self)) where reader.next() == nil { return 0 }
        var bytes = 0
        var looked = 0
        while let inner = reader.next(), var words = CommandReader(inner) {
            switch words.id {
            case 1, 2, 6...9, 19, 20:
                while looked < 256, let word = words.next() {
                    bytes += self.valueLength(word)
                    looked += 1
                }
            case 36, 37: bytes = Self.maxTransactionReplyBytes
            default: looked += 1
            }
            guard looked < 256, bytes < Self.maxTransactionReplyBytes else { return Self.maxTransactionReplyBytes }
        }
        return bytes
    }

    private func valueLength(_ key: UnsafeRawBufferPointer) -> Int {
        let hash = self.hash(key)
        let shard = self.shardIndex(hash)
        return self.shards[shard].find(key, hash: hash).map { self.shards[shard].record(at: $0)!.valueLength } ?? 0
    }

    /// Whether a command goes on at once.
    @inline(__always)
    var mayGoOn: Bool { self.budget > 0 }

    /// In place of a reply that is too large.
    func refuseReply(_ reply: inout ReplyBuffer) {
        reply.bytes.removeSubrange(self.long.start...)
        reply.error("ERR the reply would have more than 64 MiB: ask for less at once")
    }

    /// Walks over the arguments; false where it pauses.
    private func forEachArgument(from first: Int = 0, by stride: Int = 1, _ body: (Int) -> Bool) -> Bool {
        while self.long.step < self.arguments.count {
            guard self.mayGoOn else { return false }
            guard body(self.long.step) else { return true }
            self.long.step += stride
        }
        return true
    }

    func del(_ reply: inout ReplyBuffer) -> Bool {
        let isDone = self.forEachArgument { at in
            if self.remove(self.arguments[at]) { self.long.count += 1 }
            return true
        }
        if isDone { reply.integer(self.long.count) }
        return isDone
    }

    /// EXISTS, and TOUCH, which counts as a use.
    func exists(touches: Bool, _ reply: inout ReplyBuffer) -> Bool {
        let isDone = self.forEachArgument { at in
            if self.lookup(self.arguments[at], touches: touches) != nil { self.long.count += 1 }
            return true
        }
        if isDone { reply.integer(self.long.count) }
        return isDone
    }

    func mget(_ reply: inout ReplyBuffer) -> Bool {
        if self.long.phase == 0 {
            self.long.phase = 1
            reply.array(self.arguments.count)
        }
        var isTooLarge = false
        let isDone = self.forEachArgument { at in
            if let record = self.lookup(self.arguments[at]) {
                reply.bulk(record.value)
                self.budget -= record.valueLength
            } else {
                reply.null()
            }
            isTooLarge = reply.bytes.count - self.long.start > Self.maxReplyBytes
            return !isTooLarge
        }
        if isTooLarge { self.refuseReply(&reply) }
        return isDone
    }

    func mset(onlyIfNone: Bool, _ reply: inout ReplyBuffer) -> Bool {
        guard self.arguments.count % 2 == 0 else {
            reply.error("ERR wrong number of arguments for '\(onlyIfNone ? "msetnx" : "mset")' command")
            return true
        }
        if onlyIfNone, self.long.phase == 0 {
            var isTaken = false
            let isDone = self.forEachArgument(by: 2) { at in
                isTaken = self.lookup(self.arguments[at]) != nil
                return !isTaken
            }
            guard isDone else { return false }
            if isTaken {
                reply.integer(0)
                return true
            }
            self.long.phase = 1
            self.long.step = 0
        }
        let isDone = self.forEachArgument(by: 2) { at in
            self.set(self.arguments[at], self.arguments[at + 1], expiry: nil)
            return true
        }
        guard isDone else { return false }
        if onlyIfNone { reply.integer(1) } else { reply.ok() }
        return true
    }

    /// O(keys).
    func keys(_ reply: inout ReplyBuffer) -> Bool {
        let pattern = self.arguments[0]
        while self.long.step < self.shards.count {
            guard self.mayGoOn else { return false }
            self.forEachAlive(in: self.long.step) { record in
                guard globMatches(pattern, record.key) else { return }
                self.long.count += 1
                self.budget -= record.keyLength
                if reply.bytes.count - self.long.start <= Self.maxReplyBytes { reply.bulk(record.key) }
            }
            self.long.step += 1
            guard reply.bytes.count - self.long.start <= Self.maxReplyBytes else {
                self.refuseReply(&reply)
                return true
            }
        }
        reply.array(Int(self.long.count), before: self.long.start)
        return true
    }

    /// Everything goes. O(keys).
    func flush(_ reply: inout ReplyBuffer) -> Bool {
        if self.arguments.count > 1 {
            reply.error(Text.syntax)
            return true
        }
        if let mode = self.arguments.first, !spells(mode, "async"), !spells(mode, "sync") {
            reply.error(Text.syntax)
            return true
        }
        while self.long.step < self.shards.count {
            guard self.mayGoOn else { return false }
            self.flush(shard: self.long.step)
            self.long.step += 1
        }
        self.endFlush()
        reply.ok()
        return true
    }
}
