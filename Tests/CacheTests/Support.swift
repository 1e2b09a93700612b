import Cache
import Replication

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension CacheMachine {
    static func small(shards: Int = 16) -> CacheMachine {
        CacheMachine(shardCount: shards, hashKey: HashKey(low: 0x1234, high: 0x5678))
    }

    /// Applies a command given by name.
    @discardableResult
    func write(_ words: [[UInt8]], index: LogIndex) -> [UInt8] {
        let id = words[0].withUnsafeBytes { CommandTable.spec(named: $0)!.id }
        var reply = ReplyBuffer()
        let command = CommandCoding.encode(id, Array(words.dropFirst()))
        command.withUnsafeBytes { self.apply($0, index: index, reply: &reply) }
        return reply.bytes
    }

    @discardableResult
    func write(_ words: String..., index: LogIndex) -> String {
        String(decoding: self.write(words.map(bytes), index: index), as: UTF8.self)
    }

    /// The reply; nil where the state's time has to move on first.
    func ask(_ words: [[UInt8]], clock: WallTime? = nil, random: UInt64 = 0) -> [UInt8]? {
        let id = words[0].withUnsafeBytes { CommandTable.spec(named: $0)!.id }
        var reply = ReplyBuffer()
        let command = CommandCoding.encode(id, Array(words.dropFirst()))
        let outcome = command.withUnsafeBytes {
            self.read($0, random: random, clock: clock ?? self.time, reply: &reply)
        }
        return outcome == .needsTime ? nil : reply.bytes
    }

    func ask(_ words: String...) -> String { String(decoding: self.ask(words.map(bytes)) ?? [], as: UTF8.self) }

    /// The rest of the checkpoint under way.
    func checkpointBytes(blockBytes: Int = 1 << 16) -> [UInt8] {
        var all: [UInt8] = []
        var isMore = true
        while isMore {
            var block: [UInt8] = []
            isMore = self.nextCheckpointBlock(into: &block, maxBytes: blockBytes)
            all += block
        }
        return all
    }

    /// The state as it is.
    func wholeCheckpoint() -> [UInt8] {
        self.beginCheckpoint()
        return self.checkpointBytes()
    }

    static func restored(_ stream: [UInt8], shards: Int = 16, blockBytes: Int = 1 << 16) throws -> CacheMachine {
        let machine = CacheMachine.small(shards: shards)
        machine.beginRestore()
        var at = 0
        while at < stream.count {
            let end = min(stream.count, at + blockBytes)
            try stream[at..<end].withUnsafeBytes { try machine.restore(block: $0) }
            at = end
        }
        try machine.endRestore()
        return machine
    }
}

/// The elements of an array of bulk strings.
func bulks(_ reply: [UInt8]) -> [[UInt8]] {
    var out: [[UInt8]] = []
    var at = 0
    while at < reply.count {
        var end = at
        while reply[end] != 0x0d { end += 1 }
        let number = Int(String(decoding: reply[at + 1..<end], as: UTF8.self))!
        if reply[at] == 0x24 {
            out.append(Array(reply[end + 2..<end + 2 + number]))
            at = end + 4 + number
        } else {
            at = end + 2
        }
    }
    return out
}
