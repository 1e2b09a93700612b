import Cache
import Replication
import Testing

/// Commands that pause do and answer what they would have at once.
@Suite struct LongCommandTests {
    /// A machine, and one that does the same in the smallest of steps.
    private final class Pair {
        let whole = CacheMachine.small()
        let parted = CacheMachine.small()
        var random: Random
        var index: LogIndex = 0
        var pauses = 0

        init(seed: UInt64) { self.random = Random(seed: seed) }

        private func id(_ name: String) -> UInt16 {
            Array(name.utf8).withUnsafeBytes { CommandTable.spec(named: $0)!.id }
        }

        func command(_ words: [[UInt8]]) -> [UInt8] {
            CommandCoding.encode(self.id(String(decoding: words[0], as: UTF8.self)), Array(words.dropFirst()))
        }

        func write(_ command: [UInt8]) {
            self.index += 1
            var reply = ReplyBuffer()
            command.withUnsafeBytes { #expect(self.whole.apply($0, index: self.index, reply: &reply)) }
            // Each time elsewhere in memory, as between two turns.
            var other = ReplyBuffer()
            while true {
                self.parted.budget = 1 + Int(self.random.below(3000))
                let copy = Array(command)
                let isDone = copy.withUnsafeBytes { self.parted.apply($0, index: self.index, reply: &other) }
                #expect(self.parted.isPaused == !isDone)
                if isDone { break }
                #expect(other.bytes.isEmpty, "nothing of a reply before it is whole")
                self.pauses += 1
            }
            #expect(reply.bytes == other.bytes, "\(String(decoding: command.prefix(100), as: UTF8.self))")
            #expect(self.whole.digest == self.parted.digest && self.whole.count == self.parted.count)
        }

        func read(_ command: [UInt8]) {
            let chance = self.random.next()
            var reply = ReplyBuffer()
            var other = ReplyBuffer()
            _ = command.withUnsafeBytes {
                self.whole.read($0, random: chance, clock: self.whole.time, reply: &reply)
            }
            var abandoned = 0
            while true {
                self.parted.budget = 1 + Int(self.random.below(3000))
                let outcome = Array(command).withUnsafeBytes {
                    self.parted.read($0, random: chance, clock: self.parted.time, reply: &other)
                }
                guard outcome == .paused else { break }
                self.pauses += 1
                if abandoned < 2, self.random.chance(1, in: 10) {
                    self.parted.abandonRead()
                    abandoned += 1
                }
            }
            // Where a key stands in its table is a machine's own.
            let (a, b) = (Self.sorted(reply.bytes), Self.sorted(other.bytes))
            #expect(a == b, "\(String(decoding: command.prefix(100), as: UTF8.self))")
        }

        private static func sorted(_ reply: [UInt8]) -> [ArraySlice<UInt8>] {
            reply.split(separator: 0x0a).sorted { $0.lexicographicallyPrecedes($1) }
        }

        private func key() -> [UInt8] { bytes("k\(self.random.below(300))") }
        private func value() -> [UInt8] { [UInt8](repeating: 0x61, count: Int(self.random.below(400))) }

        func drawn(isInner: Bool) -> [[UInt8]] {
            let many = 1 + Int(self.random.below(40))
            switch self.random.below(isInner ? 12 : 11) {
            case 0: return [bytes("mset")] + (0..<many).flatMap { _ in [self.key(), self.value()] }
            case 1: return [bytes("msetnx")] + (0..<many / 8 + 1).flatMap { _ in [self.key(), self.value()] }
            case 2: return [bytes("msetnx"), self.key()]
            case 3: return [bytes("del")] + (0..<many).map { _ in self.key() }
            case 4: return [bytes("set"), self.key(), self.value()]
            case 5: return [bytes("append"), self.key(), self.value()]
            case 6: return [bytes("getdel"), self.key()]
            case 7: return self.random.chance(1, in: 20) ? [bytes("flushall")] : [bytes("incr"), bytes("n")]
            case 8: return [bytes("flushdb"), bytes("sync"), bytes("sync")]
            case 9: return [bytes("unlink")] + (0..<many).map { _ in self.key() }
            case 10: return [bytes("set"), self.key(), self.value(), bytes("get")]
            default: return self.drawnRead()
            }
        }

        func drawnRead() -> [[UInt8]] {
            let many = 1 + Int(self.random.below(60))
            switch self.random.below(8) {
            case 0: return [bytes("keys"), bytes("k*1*")]
            case 1: return [bytes("keys"), bytes("*")]
            case 2: return [bytes("mget")] + (0..<many).map { _ in self.key() }
            case 3: return [bytes("exists")] + (0..<many).map { _ in self.key() }
            case 4: return [bytes("touch")] + (0..<many).map { _ in self.key() }
            case 5: return [bytes("lcs"), self.key(), self.key(), bytes("idx")]
            case 6: return [bytes("lcs"), self.key(), self.key()]
            default: return [bytes("randomkey")]
            }
        }

        func transaction() -> [UInt8] {
            var arguments: [[UInt8]] = [[0, 0, 0, 0]]
            for _ in 0..<1 + self.random.below(12) { arguments.append(self.command(self.drawn(isInner: true))) }
            return CommandCoding.encode(CommandTable.exec, arguments)
        }
    }

    @Test(arguments: UInt64(0)..<24) func aPauseChangesNothing(seed: UInt64) throws {
        let pair = Pair(seed: seed)
        for step in 0..<150 {
            switch pair.random.below(10) {
            case 0...4: pair.write(pair.command(pair.drawn(isInner: false)))
            case 5...7: pair.write(pair.transaction())
            default: pair.read(pair.command(pair.drawnRead()))
            }
            // Checkpoints go on between the parts, and are of the state before.
            if step % 40 == 20 {
                #expect(pair.whole.wholeCheckpoint() == pair.parted.wholeCheckpoint())
            }
        }
        #expect(pair.pauses > 500, "\(pair.pauses)")
    }

    /// A checkpoint that begins before a long command is of the state before it, wherever it pauses.
    @Test func aCheckpointGoesOnBetweenTheParts() {
        let machine = CacheMachine.small()
        for number in 0..<500 { machine.write("set", "k\(number)", "value \(number)", index: 1) }
        let before = machine.wholeCheckpoint()
        machine.beginCheckpoint()
        var stream: [UInt8] = []
        var reply = ReplyBuffer()
        let command = CommandCoding.encode(46, [])
        var isDone = false
        while !isDone {
            machine.budget = 1
            isDone = command.withUnsafeBytes { machine.apply($0, index: 2, reply: &reply) }
            var block: [UInt8] = []
            _ = machine.nextCheckpointBlock(into: &block, maxBytes: 500)
            stream += block
        }
        #expect(machine.count == 0 && machine.usedMemory >= 0)
        stream += machine.checkpointBytes()
        #expect(stream == before)
        machine.budget = .max
        #expect(machine.write("set", "a", "b", index: 3) == "+OK\r\n" && machine.ask("get", "a") == "$1\r\nb\r\n")
    }

    // MARK: Large replies

    private func filled() -> CacheMachine {
        let machine = CacheMachine.small()
        for number in 0..<4 {
            machine.write(
                [bytes("set"), bytes("large\(number)"), [UInt8](repeating: 0x78, count: 3 << 20)], index: 1)
        }
        return machine
    }

    @Test func aReplyHasALimit() {
        let machine = self.filled()
        let few = machine.ask([bytes("mget")] + (0..<20).map { bytes("large\($0 % 4)") })!
        #expect(few.count > 60 << 20)
        let many = machine.ask([bytes("mget")] + (0..<23).map { bytes("large\($0 % 4)") })!
        #expect(String(decoding: many, as: UTF8.self).hasPrefix("-ERR the reply would have more than 64 MiB"))
        #expect(machine.ask("get", "none") == "_\r\n")
    }

    /// All of a transaction takes effect; the replies that would be too much are left out, on every replica alike.
    @Test func aTransactionsRepliesHaveALimit() {
        let machine = self.filled()
        var arguments: [[UInt8]] = [[0, 0, 0, 0]]
        for number in 0..<8 { arguments.append(CommandCoding.encode(1, [bytes("large\(number % 4)")])) }
        arguments.append(CommandCoding.encode(7, [bytes("large0")]))
        arguments.append(CommandCoding.encode(2, [bytes("small"), bytes("1")]))
        var reply = ReplyBuffer()
        CommandCoding.encode(CommandTable.exec, arguments).withUnsafeBytes {
            #expect(machine.apply($0, index: 2, reply: &reply))
        }
        #expect(reply.bytes.count < CacheMachine.maxTransactionReplyBytes + 1000)
        let tail = String(decoding: reply.bytes.suffix(170), as: UTF8.self)
        #expect(tail.hasSuffix("-ERR done; its reply is left out\r\n-ERR done; its reply is left out\r\n+OK\r\n"))
        #expect(machine.ask("exists", "large0") == ":0\r\n" && machine.ask("get", "small") == "$1\r\n1\r\n")
    }

    @Test func whatAReplyMayHaveIsKnownBefore() {
        let machine = self.filled()
        func expected(_ id: UInt16, _ words: [[UInt8]]) -> Int {
            CommandCoding.encode(id, words).withUnsafeBytes { machine.expectedReplyBytes($0) }
        }
        #expect(expected(2, [bytes("large0"), bytes("v")]) == 0)
        #expect(expected(2, [bytes("large0"), bytes("v"), bytes("GET")]) == 3 << 20)
        for id: UInt16 in [6, 7, 8] { #expect(expected(id, [bytes("large1"), bytes("x")]) == 3 << 20) }
        #expect(expected(8, [bytes("none")]) == 0)
        let get = CommandCoding.encode(1, [bytes("large1")])
        #expect(expected(CommandTable.exec, [[0, 0, 0, 0], get, get]) == 6 << 20)
        #expect(
            expected(CommandTable.exec, [[0, 0, 0, 0]] + Array(repeating: get, count: 50))
                == CacheMachine.maxTransactionReplyBytes)
    }
}
