import Cache
import Linearizability
import Replication
import Testing

@Suite struct CacheSpecificationTests {
    private let specification = CacheSpecification()

    /// The specification and the cache itself, command by command.
    @Test func theSpecificationIsTheCache() {
        for seed in UInt64(0)..<200 {
            var random = Random(seed: seed)
            let machine = CacheMachine(shardCount: 4, hashKey: HashKey(low: 1, high: 2))
            var state = self.specification.initialState
            for index in 1...60 {
                let command = Self.command(&random)
                guard let words = Self.words(command) else { continue }
                let reply = Self.run(words, on: machine, index: LogIndex(index))
                let next = self.specification.apply(command, reply: reply, to: state)
                guard let next else {
                    Issue.record("seed \(seed): \(command) is answered with \(reply) in \(state)")
                    break
                }
                state = next
            }
        }
    }

    private static func command(_ random: inout Random) -> CacheCommand {
        let values = ["0", "7", "-3", "x", "", "007", "-0", "+1", "9223372036854775807", "-9223372036854775808", " 1"]
        let value = bytes(values[Int(random.below(UInt64(values.count)))])
        switch random.below(9) {
        case 0: return .get
        case 1: return .set(value)
        case 2: return .setExpiring(value)
        case 3: return .setIfAbsent(value)
        case 4: return .getSet(value)
        case 5: return .getDelete
        case 6: return .increment([1, -1, 5, .max, .min][Int(random.below(5))])
        case 7: return .append(value)
        default: return .delete
        }
    }

    /// The cache's own numbers of commands; nil for what it has no command of its own for.
    private static func words(_ command: CacheCommand) -> (String, [[UInt8]])? {
        switch command {
        case .get: ("get", [])
        case .set(let value): ("set", [value])
        case .setExpiring(let value): ("set", [value, bytes("px"), bytes("100000")])
        case .setIfAbsent(let value): ("setnx", [value])
        case .getSet(let value): ("getset", [value])
        case .getDelete: ("getdel", [])
        case .increment(let step): ("incrby", [bytes("\(step)")])
        case .append(let value): ("append", [value])
        case .delete: ("del", [])
        case .compareAndSet: nil
        }
    }

    private static func run(_ words: (String, [[UInt8]]), on machine: CacheMachine, index: LogIndex) -> CacheReply {
        let id = bytes(words.0).withUnsafeBytes { CommandTable.spec(named: $0)!.id }
        var reply = ReplyBuffer()
        let command = CommandCoding.encode(id, [bytes("k")] + words.1)
        command.withUnsafeBytes { command in
            if words.0 == "get" {
                _ = machine.read(command, random: 0, clock: machine.time, reply: &reply)
            } else {
                machine.apply(command, index: index, reply: &reply)
            }
        }
        let body = reply.bytes.dropFirst().dropLast(2)
        switch reply.bytes.first {
        case UInt8(ascii: "+"): return .done
        case UInt8(ascii: ":"): return .number(Int64(String(decoding: body, as: UTF8.self))!)
        case UInt8(ascii: "$"): return .value(Array(body[(body.firstIndex(of: 0x0a)! + 1)...]))
        case UInt8(ascii: "_"): return .value(nil)
        default: return .failed
        }
    }

    @Test func comparedAndSet() {
        var story = Story()
        story.add(.compareAndSet(expected: bytes("1"), new: bytes("2")), 1, 2, .number(0))
        story.add(.set("1"), 3, 4, .done)
        story.add(.compareAndSet(expected: bytes("1"), new: bytes("2")), 5, 8, .number(1))
        story.add(.compareAndSet(expected: bytes("1"), new: bytes("3")), 6, 7, .number(0))
        story.add(.get, 9, 10, .text("2"))
        #expect(story.judgement() == .yes)
        story.operations[3].completion!.reply = .number(1)
        #expect(story.judgement() == .no)
    }

    @Test func aValueThatHasExpiredStaysGone() {
        var story = Story()
        story.add(.setExpiring(bytes("1")), 1, 2, .done)
        story.add(.get, 3, 4, .text("1"))
        story.add(.get, 5, 6, .none)
        #expect(story.judgement() == .yes)
        story.add(.get, 7, 8, .text("1"))
        #expect(story.judgement() == .no)
    }

    /// A command of unknown outcome on a value that may be gone: it may have done one of two things.
    @Test func aCounterThatMayHaveExpired() {
        for (seen, verdict) in [("6", Verdict.yes), ("1", .yes), ("5", .yes), ("7", .no)] {
            var story = Story()
            story.add(.setExpiring(bytes("5")), 1, 2, .done)
            story.add(.increment, 3)
            story.add(.get, 4, 5, .text(seen))
            #expect(story.judgement() == verdict, "\(seen)")
        }
        // The expiry stays with a value that is changed.
        var story = Story()
        story.add(.setExpiring(bytes("5")), 1, 2, .done)
        story.add(.increment, 3, 4, .number(6))
        story.add(.get, 5, 6, .none)
        #expect(story.judgement() == .yes)
        story.operations[1].completion!.reply = .number(1)
        #expect(story.judgement() == .no)
    }
}
