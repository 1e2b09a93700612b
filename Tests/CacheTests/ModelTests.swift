import Cache
import Replication
import Testing

/// What the cache does, written as plainly as can be: a dictionary.
private struct Model {
    var values: [[UInt8]: (value: [UInt8], expiry: UInt64?)] = [:]
    var now: UInt64 = 0

    func get(_ key: [UInt8]) -> [UInt8]? {
        guard let entry = self.values[key], entry.expiry.map({ self.now <= $0 }) ?? true else { return nil }
        return entry.value
    }

    var alive: [[UInt8]] { self.values.keys.filter { self.get($0) != nil } }

    static func bulk(_ value: [UInt8]?) -> [UInt8] {
        value.map { Array("$\($0.count)\r\n".utf8) + $0 + [0x0d, 0x0a] } ?? Array("_\r\n".utf8)
    }
}

@Suite struct ModelTests {
    private static func time(_ milliseconds: UInt64) -> WallTime { WallTime(nanoseconds: milliseconds * 1_000_000) }

    /// One random write on both; the replies are compared.
    private static func step(
        _ machine: CacheMachine, _ model: inout Model, _ random: inout Random, index: LogIndex, keys: UInt64,
        seed: UInt64
    ) {
        let key = bytes("k\(random.below(keys))")
        let value = [UInt8](
            repeating: UInt8(random.below(256)),
            count: Int(random.below(10) == 0 ? random.below(3000) : random.below(60)))
        var expected: [UInt8]
        let words: [[UInt8]]
        switch random.below(10) {
        case 0...2:
            words = [bytes("set"), key, value]
            model.values[key] = (value, nil)
            expected = bytes("+OK\r\n")
        case 3, 4:
            let expiry = 1 + random.below(400)
            words = [bytes("set"), key, value, bytes("px"), bytes("\(expiry)")]
            model.values[key] = (value, model.now + expiry)
            expected = bytes("+OK\r\n")
        case 5:
            words = [bytes("append"), key, value]
            let old = model.get(key)
            model.values[key] = ((old ?? []) + value, old == nil ? nil : model.values[key]!.expiry)
            expected = bytes(":\(model.values[key]!.value.count)\r\n")
        case 6:
            words = [bytes("del"), key]
            expected = bytes(model.get(key) == nil ? ":0\r\n" : ":1\r\n")
            model.values[key] = nil
        case 7:
            let expiry = 1 + random.below(300)
            words = [bytes("pexpire"), key, bytes("\(expiry)")]
            expected = bytes(model.get(key) == nil ? ":0\r\n" : ":1\r\n")
            if model.get(key) != nil { model.values[key]!.expiry = model.now + expiry }
        case 8:
            words = [bytes("persist"), key]
            let had = model.get(key) != nil && model.values[key]!.expiry != nil
            expected = bytes(had ? ":1\r\n" : ":0\r\n")
            if had { model.values[key]!.expiry = nil }
        default:
            let other = bytes("k\(random.below(keys))")
            words = [bytes("rename"), key, other]
            if let value = model.get(key) {
                let expiry = model.values[key]!.expiry
                if other != key {
                    model.values[key] = nil
                    model.values[other] = (value, expiry)
                }
                expected = bytes("+OK\r\n")
            } else {
                expected = bytes("-ERR no such key\r\n")
            }
        }
        let reply = machine.write(words, index: index)
        #expect(
            reply == expected,
            "seed \(seed) index \(index) \(words.map { String(decoding: $0.prefix(30), as: UTF8.self) })")
    }

    @Test(
        arguments: [(seed: 1, keys: 20), (seed: 2, keys: 300), (seed: 3, keys: 3000)] as [(seed: UInt64, keys: UInt64)])
    func commandsMatchADictionary(seed: UInt64, keys: UInt64) throws {
        var random = Random(seed: seed)
        let machine = CacheMachine.small()
        var model = Model(now: 1_700_000_000_000)
        machine.time = Self.time(model.now)
        for index in 1...6000 as ClosedRange<LogIndex> {
            if random.below(3) == 0 {
                model.now += random.below(20)
                machine.time = Self.time(model.now)
            }
            Self.step(machine, &model, &random, index: index, keys: keys, seed: seed)
            machine.expire()
            let probe = bytes("k\(random.below(keys))")
            #expect(machine.ask([bytes("get"), probe]) == Model.bulk(model.get(probe)), "seed \(seed) index \(index)")
            guard index % 1500 == 0 else { continue }
            let found = bulks(machine.ask([bytes("keys"), bytes("*")])!)
            #expect(Set(found) == Set(model.alive), "seed \(seed) index \(index)")
            #expect(found.count == model.alive.count, "seed \(seed) index \(index)")
            // Kept step by step, and made anew from the content: the same.
            let stream = machine.wholeCheckpoint()
            let restored = try CacheMachine.restored(stream, blockBytes: 1 + Int(random.below(5000)))
            #expect(restored.digest == machine.digest, "seed \(seed) index \(index)")
            #expect(
                restored.count == machine.count && restored.countWithExpiry == machine.countWithExpiry, "seed \(seed)")
            #expect(restored.appliedIndex == machine.appliedIndex && restored.time == machine.time, "seed \(seed)")
            #expect(restored.wholeCheckpoint() == stream, "seed \(seed) index \(index)")
        }
    }

    /// Many keys of one shard have the same 16 bits of hash. The order is part of the format.
    @Test func aShardsRecordsAreInOneOrder() {
        func machine(_ numbers: some Sequence<Int>) -> CacheMachine {
            let machine = CacheMachine.small(shards: 1)
            for number in numbers { machine.write("SET", "key \(number)", "value", index: 1) }
            return machine
        }
        let up = machine(0..<20_000).wholeCheckpoint()
        #expect(up == machine((0..<20_000).reversed()).wholeCheckpoint())
        let sum = up.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        #expect(sum == 12_900_066_861_764_871_487)
    }

    /// The order in which keys came and went leaves no trace.
    @Test func equalStatesHaveEqualBytes() {
        let (a, b) = (CacheMachine.small(), CacheMachine.small())
        for at in 0..<500 { b.write("set", "gone\(at)", "x", index: 1) }
        for at in 0..<500 { b.write("del", "gone\(at)", index: 2) }
        for at in 0..<300 { a.write("set", "key\(at)", "value\(at)", index: 5) }
        for at in (0..<300).reversed() { b.write("set", "key\(at)", "value\(at)", index: 5) }
        #expect(a.digest == b.digest)
        let (left, right) = (a.wholeCheckpoint(), b.wholeCheckpoint())
        // A shard remembers its last removal, which is told to those who watch absent keys.
        #expect(left.count == right.count)
        a.write("flushall", index: 6)
        b.write("flushall", index: 6)
        #expect(a.digest == b.digest && a.digest == .zero && a.count == 0)
    }

    /// What a transaction answers is the same on every replica, also on one that was restored.
    @Test func transactionsAnswerAlikeOnARestoredReplica() throws {
        let machine = CacheMachine.small()
        machine.time = Self.time(1_700_000_000_000)
        for at in 0..<400 { machine.write("set", "key\(at)", "v", "px", "\(1000 + at)", index: LogIndex(at)) }
        for at in 0..<200 { machine.write("del", "key\(at * 2)", index: 500) }
        let restored = try CacheMachine.restored(machine.wholeCheckpoint())
        // A read by this node's own clock leaves something behind that must not show.
        _ = machine.ask([bytes("get"), bytes("key1")], clock: Self.time(1_700_000_000_900), random: 77)
        let none = withUnsafeBytes(of: UInt32(0)) { Array($0) }
        let inner: [[UInt8]] = [
            ["keys", "*"], ["scan", "0", "count", "50"], ["randomkey"], ["randomkey"], ["pttl", "key1"],
            ["object", "idletime", "key3"],
        ]
        .map { words in
            let id = bytes(words[0]).withUnsafeBytes { CommandTable.spec(named: $0)!.id }
            return CommandCoding.encode(id, words.dropFirst().map(bytes))
        }
        let exec = CommandCoding.encode(CommandTable.exec, [none] + inner)
        let replies = [machine, restored].map { machine in
            machine.time = Self.time(1_700_000_000_500)
            var reply = ReplyBuffer()
            exec.withUnsafeBytes { machine.apply($0, index: 600, reply: &reply) }
            return reply.bytes
        }
        #expect(replies[0] == replies[1])
        #expect(replies[0].count > 1000)
    }

    /// A checkpoint shows the state at its start, whatever is written while it is taken.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func checkpointIsOfItsStart(seed: UInt64) {
        var random = Random(seed: seed)
        let machine = CacheMachine.small(shards: 64)
        var model = Model(now: 1_700_000_000_000)
        machine.time = Self.time(model.now)
        var index: LogIndex = 0
        func step() {
            index += 1
            if random.below(3) == 0 {
                model.now += random.below(30)
                machine.time = Self.time(model.now)
            }
            if random.below(400) == 0 {
                machine.write("flushall", index: index)
                model.values = [:]
            }
            Self.step(machine, &model, &random, index: index, keys: 500, seed: seed)
            machine.expire()
        }
        for _ in 0..<800 { step() }
        for _ in 0..<4 {
            let expected = machine.wholeCheckpoint()
            machine.beginCheckpoint()
            var taken: [UInt8] = []
            var isMore = true
            while isMore {
                var block: [UInt8] = []
                isMore = machine.nextCheckpointBlock(into: &block, maxBytes: 1 + Int(random.below(3000)))
                taken += block
                for _ in 0..<random.below(30) { step() }
            }
            #expect(taken == expected, "seed \(seed) index \(index)")
        }
        machine.beginCheckpoint()
        machine.cancelCheckpoint()
        step()
        #expect(machine.wholeCheckpoint() == machine.wholeCheckpoint())
    }

    /// Bytes that are no checkpoint are refused, or are one of another state: never a trap.
    @Test func malformedCheckpointsAreRefused() throws {
        let machine = CacheMachine.small()
        machine.time = Self.time(1_700_000_000_000)
        for at in 0..<60 { machine.write("set", "key\(at)", "value", "px", "\(5000 + at)", index: LogIndex(at)) }
        let stream = machine.wholeCheckpoint()
        for end in 0..<stream.count {
            #expect(throws: CheckpointMalformed.self) { try CacheMachine.restored(Array(stream[..<end])) }
        }
        #expect(throws: CheckpointMalformed.self) { try CacheMachine.restored(stream + [0]) }
        #expect(throws: CheckpointMalformed.self) { try CacheMachine.restored(stream, shards: 32) }
        var random = Random(seed: 9)
        var refused = 0
        for _ in 0..<3000 {
            var bad = stream
            for _ in 0...random.below(3) { bad[Int(random.below(UInt64(bad.count)))] = UInt8(random.below(256)) }
            if random.below(4) == 0 { bad.removeSubrange(Int(random.below(UInt64(bad.count)))..<bad.count) }
            do {
                let other = try CacheMachine.restored(bad)
                // It can be worked with.
                other.write("pexpire", "key1", "100", "gt", index: 1000)
                _ = other.ask("pexpiretime", "key1")
                _ = other.ask("ttl", "key2")
                other.expire()
            } catch is CheckpointMalformed {
                refused += 1
            }
        }
        #expect(refused > 500)
        for _ in 0..<500 {
            let noise = (0..<random.below(200)).map { _ in UInt8(random.below(256)) }
            #expect(throws: CheckpointMalformed.self) { try CacheMachine.restored(noise) }
        }
    }

    /// Whatever bytes are committed, there is one reply and no trap.
    @Test func applyIsTotal() {
        let machine = CacheMachine.small()
        machine.time = Self.time(1_700_000_000_000)
        var random = Random(seed: 11)
        let numbers = [
            "0", "-1", "9223372036854775807", "-9223372036854775808", "1e4932", "x", "", "k1", "k2", "nx", "gt", "px",
            "idx", "count", "replace",
        ]
        for index in 1...6000 as ClosedRange<LogIndex> {
            let id = UInt16(random.below(130))
            let words = (0..<random.below(7)).map { _ in bytes(numbers[Int(random.below(UInt64(numbers.count)))]) }
            var command = CommandCoding.encode(id, words)
            if random.below(3) == 0, command.count > 8 {
                command[Int(random.below(UInt64(command.count)))] = UInt8(random.below(256))
            }
            if random.below(10) == 0 { command.removeLast(Int(random.below(UInt64(command.count)))) }
            if random.below(5) == 0 {
                command = CommandCoding.encode(
                    CommandTable.exec, [withUnsafeBytes(of: UInt32(random.below(2))) { Array($0) }, command, command])
            }
            var reply = ReplyBuffer()
            command.withUnsafeBytes { machine.apply($0, index: index, reply: &reply) }
            #expect(!reply.bytes.isEmpty && reply.bytes.suffix(2) == [0x0d, 0x0a], "index \(index)")
            reply.removeAll()
            _ = command.withUnsafeBytes { machine.read($0, random: 1, clock: machine.time, reply: &reply) }
        }
    }
}
