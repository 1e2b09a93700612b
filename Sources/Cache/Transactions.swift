import Replication

/// EXEC: one command that holds a transaction. Its arguments are, first, the watched keys as u64 index, key bytes each,
/// preceded by an argument of u32 their number; then each queued command in canonical form.
extension CacheMachine {
    func execute(_ reader: CommandReader, reply: inout ReplyBuffer) {
        var walker = reader
        guard let head = walker.next(), head.count == 4 else { return reply.error("ERR malformed command") }
        let watched = Int(UInt32(littleEndian: head.loadUnaligned(as: UInt32.self)))
        for _ in 0..<watched {
            guard let watch = walker.next(), watch.count >= 8 else { return reply.error("ERR malformed command") }
            let index = UInt64(littleEndian: watch.loadUnaligned(as: UInt64.self))
            if self.isChanged(UnsafeRawBufferPointer(rebasing: watch[8...]), since: index) { return reply.nullArray() }
        }
        // Once to see that all of it parses, once to run it: a transaction takes effect as a whole or not at all.
        var check = walker
        var count = 0
        while let command = check.next() {
            guard let inner = CommandReader(command), let spec = CommandTable.spec(inner.id), spec.kind != .local,
                spec.id != CommandTable.exec, spec.id != CommandTable.watch
            else { return reply.error("ERR malformed command") }
            count += 1
        }
        guard check.isComplete else { return reply.error("ERR malformed command") }
        reply.array(count)
        while let command = walker.next() {
            guard var inner = CommandReader(command), let spec = CommandTable.spec(inner.id),
                self.load(&inner, spec, reply: &reply)
            else { continue }
            self.dispatch(spec, reply: &reply)
        }
    }

    /// Whether a key was changed after `index`. For an absent key its shard's last removal stands in: a false yes is
    /// allowed, a missed one never.
    private func isChanged(_ key: UnsafeRawBufferPointer, since index: LogIndex) -> Bool {
        if let record = self.lookup(key) { return record.modified > index }
        return self.shards[self.shardIndex(self.hash(key))].lastRemoval > index
    }
}
