import Replication

/// EXEC: one command that holds a transaction. Its arguments are, first, the watched keys as u64 index, key bytes each,
/// preceded by an argument of u32 their number; then each queued command in canonical form.
extension CacheMachine {
    /// False where it has paused.
    func execute(_ reader: CommandReader, reply: inout ReplyBuffer) -> Bool {
        var walker = reader
        if let position = self.long.transaction {
            walker.position = position
        } else {
            guard let count = self.beginTransaction(&walker, reply: &reply) else { return true }
            reply.array(count)
            self.long.isBegun = false
        }
        while true {
            self.long.transaction = walker.position
            guard let command = walker.next() else { return true }
            if !self.long.isBegun { self.long.start = reply.bytes.count }
            if var inner = CommandReader(command), let spec = CommandTable.spec(inner.id),
                self.load(&inner, spec, reply: &reply)
            {
                guard self.dispatch(spec, reply: &reply) else { return false }
            }
            if reply.bytes.count > Self.maxTransactionReplyBytes {
                reply.bytes.removeSubrange(self.long.start...)
                reply.error("ERR done; its reply is left out")
            }
            self.long.beginNext()
            self.long.start = reply.bytes.count
            self.long.transaction = walker.position
            guard self.mayGoOn else { return false }
        }
    }

    /// Whether a transaction is to be run, and how many commands it has. `walker` goes to the first.
    private func beginTransaction(_ walker: inout CommandReader, reply: inout ReplyBuffer) -> Int? {
        guard let head = walker.next(), head.count == 4 else {
            reply.error("ERR malformed command")
            return nil
        }
        let watched = Int(UInt32(littleEndian: head.loadUnaligned(as: UInt32.self)))
        for _ in 0..<watched {
            guard let watch = walker.next(), watch.count >= 8 else {
                reply.error("ERR malformed command")
                return nil
            }
            let index = UInt64(littleEndian: watch.loadUnaligned(as: UInt64.self))
            if self.isChanged(UnsafeRawBufferPointer(rebasing: watch[8...]), since: index) {
                reply.nullArray()
                return nil
            }
        }
        // Once to see that all of it parses, once to run it: a transaction takes effect as a whole or not at all.
        var check = walker
        var count = 0
        while let command = check.next() {
            guard let inner = CommandReader(command), let spec = CommandTable.spec(inner.id), spec.kind != .local,
                spec.id != CommandTable.exec, spec.id != CommandTable.watch
            else {
                reply.error("ERR malformed command")
                return nil
            }
            count += 1
        }
        guard check.isComplete else {
            reply.error("ERR malformed command")
            return nil
        }
        return count
    }

    /// Whether a key was changed after `index`. For an absent key its shard's last removal stands in: a false yes is
    /// allowed, a missed one never.
    private func isChanged(_ key: UnsafeRawBufferPointer, since index: LogIndex) -> Bool {
        if let record = self.lookup(key) { return record.modified > index }
        return self.shards[self.shardIndex(self.hash(key))].lastRemoval > index
    }
}
