import Cache
import Replication
import Testing

@Suite struct KeyspaceTests {
    /// A key that is there throughout is found, whatever comes and goes meanwhile.
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func scanFindsWhatStays(seed: UInt64) {
        var random = Random(seed: seed)
        let machine = CacheMachine.small(shards: 32)
        let stays = (0..<200).map { bytes("stays\($0)") }
        for key in stays { machine.write([bytes("set"), key, bytes("v")], index: 1) }
        let grows = seed % 2 == 0
        if !grows { for at in 0..<4000 { machine.write("set", "other\(at)", "v", index: 1) } }
        var found: [[UInt8]: Int] = [:]
        var cursor = "0"
        var index: LogIndex = 2
        repeat {
            let reply = bulks(
                machine.ask(["scan", cursor, "match", "stays*", "count", "\(1 + random.below(60))"].map(bytes))!)
            cursor = String(decoding: reply[0], as: UTF8.self)
            for key in reply.dropFirst() { found[key, default: 0] += 1 }
            for _ in 0..<200 {
                index += 1
                machine.write(
                    [bytes(grows ? "set" : "del"), bytes("other\(random.below(4000))")] + (grows ? [bytes("v")] : []),
                    index: index)
            }
        } while cursor != "0"
        #expect(Set(found.keys) == Set(stays), "seed \(seed)")
        #expect(found.values.allSatisfy { $0 == 1 }, "seed \(seed)")
    }

    /// A cursor means the same on a replica with the same content and another past.
    @Test func cursorsSurviveAChangeOfReplica() throws {
        let machine = CacheMachine.small()
        for at in 0..<300 { machine.write("set", "key\(at)", "v", index: 1) }
        let restored = try CacheMachine.restored(machine.wholeCheckpoint())
        var found: Set<[UInt8]> = []
        var cursor = "0"
        var turn = 0
        repeat {
            let reply = bulks([machine, restored][turn % 2].ask(["scan", cursor].map(bytes))!)
            cursor = String(decoding: reply[0], as: UTF8.self)
            found.formUnion(reply.dropFirst())
            turn += 1
        } while cursor != "0"
        #expect(found.count == 300)
    }

    @Test func memoryIsCountedAndGivenBack() {
        let machine = CacheMachine.small()
        let empty = machine.usedMemory
        for at in 0..<2000 { machine.write("set", "key\(at)", String(repeating: "v", count: 100), index: 1) }
        let full = machine.usedMemory
        // Key, value and header at least; not twice as much.
        #expect(full - empty > 2000 * 124 && full - empty < 2000 * 250)
        for at in 0..<2000 { machine.write("set", "key\(at)", String(repeating: "w", count: 100), index: 2) }
        #expect(machine.usedMemory == full)
        machine.write("set", "large", String(repeating: "x", count: 1 << 20), index: 3)
        #expect(machine.usedMemory - full >= 1 << 20)
        machine.write("del", "large", index: 4)
        for at in 0..<1999 { machine.write("del", "key\(at)", index: 4) }
        #expect(machine.usedMemory < empty + 4096)
        machine.write("set", "large", String(repeating: "x", count: 1 << 20), index: 5)
        machine.write("flushall", index: 6)
        #expect(machine.usedMemory == empty && machine.count == 0)
        machine.write("set", "a", "b", index: 7)
        #expect(machine.ask("get", "a") == "$1\r\nb\r\n")
    }

    /// What the gateway refuses past `max-memory` is told by the table.
    @Test func growingCommandsAreMarked() {
        let growing = Set(CommandTable.specs.filter(\.mayGrow).map { "\($0.name)" })
        #expect(growing.isSuperset(of: ["set", "append", "incr", "setrange", "mset", "copy", "exec"]))
        #expect(growing.isDisjoint(with: ["get", "del", "expire", "flushall", "getdel", "persist", "rename"]))
    }

    /// A reader's clock past an expiry asks for time; the state's time alone decides.
    @Test func expiryFollowsTheStatesTime() {
        let machine = CacheMachine.small()
        machine.time = WallTime(nanoseconds: 1_000_000_000_000)
        machine.write("set", "a", "1", "px", "100", index: 1)
        #expect(
            machine.ask([bytes("get"), bytes("a")], clock: WallTime(nanoseconds: 1_000_100_000_000))
                == bytes("$1\r\n1\r\n"))
        #expect(machine.ask([bytes("get"), bytes("a")], clock: WallTime(nanoseconds: 1_000_101_000_000)) == nil)
        #expect(machine.ask("dbsize") == ":1\r\n")
        machine.time = WallTime(nanoseconds: 1_000_101_000_000)
        #expect(machine.ask("get", "a") == "_\r\n")
        for _ in 0..<16 {
            machine.time = WallTime(nanoseconds: machine.time.nanoseconds + 1_000_000)
            machine.expire()
        }
        #expect(machine.count == 0 && machine.digest == .zero)
    }

    @Test func watchSeesChangesAndRemovals() {
        let machine = CacheMachine.small()
        func exec(_ key: String, since index: UInt64, at applied: LogIndex) -> String {
            let count = withUnsafeBytes(of: UInt32(1).littleEndian) { Array($0) }
            let watch = withUnsafeBytes(of: index.littleEndian) { Array($0) } + bytes(key)
            let command = CommandCoding.encode(
                CommandTable.exec, [count, watch, CommandCoding.encode(13, [bytes("n")])])
            var reply = ReplyBuffer()
            command.withUnsafeBytes { machine.apply($0, index: applied, reply: &reply) }
            return String(decoding: reply.bytes, as: UTF8.self)
        }
        machine.write("set", "a", "1", index: 10)
        #expect(exec("a", since: 10, at: 11) == "*1\r\n:-1\r\n")
        machine.write("set", "a", "2", index: 12)
        #expect(exec("a", since: 11, at: 13) == "*-1\r\n")
        #expect(exec("absent", since: 13, at: 14) == "*1\r\n:-2\r\n")
        machine.write("set", "absent", "1", index: 15)
        machine.write("del", "absent", index: 16)
        #expect(exec("absent", since: 14, at: 17) == "*-1\r\n")
        #expect(exec("absent", since: 16, at: 18) == "*1\r\n:-3\r\n")
        // A value whose time was over when it came is a change too.
        machine.time = WallTime(nanoseconds: 1_000_000_000_000)
        machine.write("set", "absent", "1", "pxat", "1", index: 19)
        #expect(exec("absent", since: 18, at: 20) == "*-1\r\n")
    }

    @Test func timesAtTheEndOfAllTimeDoNotTrap() {
        let machine = CacheMachine.small()
        machine.time = WallTime(nanoseconds: 1_700_000_000_000_000_000)
        machine.write("set", "a", "1", "pxat", "9223372036854775807", index: 1)
        for command in ["ttl", "pttl", "expiretime", "pexpiretime"] {
            #expect(machine.ask(command, "a").hasPrefix(":"))
        }
        #expect(machine.ask("expiretime", "a") == ":9223372036854776\r\n")
        #expect(machine.ask("pexpiretime", "a") == ":9223372036854775807\r\n")
        #expect(machine.write("pexpire", "a", "9223372036854775807", index: 2).hasPrefix("-ERR invalid expire time"))
    }

    @Test(arguments: [
        ("*", "", true), ("**", "", false), ("", "", true), ("a*c", "abbbc", true), ("a*c", "abbbd", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false), ("\\*", "*", true), ("\\*", "a", false), ("?", "", false), ("[", "[", false),
        ("[a", "a", true),
        ("a**b*", "ab", true), ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
    ])
    func glob(pattern: String, text: String, isMatch: Bool) {
        let result = bytes(pattern).withUnsafeBytes { pattern in
            bytes(text).withUnsafeBytes { globMatches(pattern, $0) }
        }
        #expect(result == isMatch, "\(pattern) \(text)")
    }
}
