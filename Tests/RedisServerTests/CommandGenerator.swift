import Replication

/// Random requests, the same for the same seed: sensible ones mostly, with keys few enough to meet again, and every
/// kind of nonsense between them.
struct CommandGenerator {
    struct Request {
        var words: [[UInt8]]
        /// Written as a line, not as an array of bulk strings.
        var isInline = false
        /// CLIENT REPLY takes its reply away.
        var isSilent = false
    }

    private var random: Random
    /// Times in the future that no other request has: two servers' clocks differ by more than nothing, so comparisons
    /// of times must not be close.
    private var moments: Int64 = 0
    /// Whether the connection is within MULTI, as far as we know.
    var isQueueing = false

    init(seed: UInt64) { self.random = Random(seed: seed) }

    mutating func below(_ bound: Int) -> Int { Int(self.random.below(UInt64(bound))) }
    private mutating func chance(_ percent: Int) -> Bool { self.below(100) < percent }
    private mutating func pick<T>(_ choices: [T]) -> T { choices[self.below(choices.count)] }

    // MARK: Words

    static let keys: [[UInt8]] =
        (0..<24).map { Array("key:\($0)".utf8) } + (0..<6).map { Array("other\($0)".utf8) }
        + [
            [], [0], [0xff, 0xfe, 0x80], Array("with space".utf8), Array("line\r\nbreak".utf8), Array("[a-c]*?\\".utf8),
            Array(String(repeating: "long", count: 100).utf8), Array("\u{e4}\u{2603}".utf8), [0x61, 0, 0x62],
        ]

    private static let numbers = [
        "0", "1", "-1", "2", "5", "10", "-5", "42", "100", "999", "9999", "10000", "123456789", "9223372036854775807",
        "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "99999999999999999999999",
        "9223372036854775806",
        "4611686018427387904", "2147483647", "2147483648", "-2147483649", "4294967296", "18446744073709551615",
        "18446744073709551616", "536870912", "536870911999", "+5", " 5", "5 ", "05", "-0", "00", "abc", "", "-", "+",
        "1e3",
        "0x10", "1.5", "1_000", "9223372036854775", "-9223372036854775",
    ]

    private static let floats = [
        "0", "1", "-1", "0.1", "0.2", "3.14159", "-2.5", "1e5", "1e-5", "1.5e10", "5.0e3", "nan", "-nan", "NaN", "inf",
        "-inf",
        "+inf", "infinity", "Infinity", "1e308", "1e309", "1e4932", "1e4940", "-1e4932", "1e-4951", "1e-5000", "0x1p3",
        "0x1.8p1",
        " 1", "1 ", "1.", ".5", "-.5", "-0", "-0.0", "+3", "1e", "e5", "--1", "1,5", "abc", "", "9223372036854775807.5",
        "0.00000000000000001", "0.000000000000000001", "123456789012345678901234567890", "3.0000000000000000000000",
        "1e17",
        "1e20", "99999999999999999.9", "-1e-17", "1e100",
    ]

    private mutating func key() -> [UInt8] { self.chance(70) ? Self.keys[self.below(10)] : self.pick(Self.keys) }

    private mutating func number() -> [UInt8] {
        self.chance(60) ? Array("\(self.below(2000) - 1000)".utf8) : Array(self.pick(Self.numbers).utf8)
    }

    private mutating func blob(_ length: Int) -> [UInt8] {
        (0..<length).map { _ in UInt8(truncatingIfNeeded: self.random.next()) }
    }

    private mutating func value() -> [UInt8] {
        switch self.below(12) {
        case 0...3: return self.number()
        case 4: return Array(self.pick(Self.floats).utf8)
        case 5: return self.blob(self.below(30))
        case 6: return self.blob(44 + self.below(2))
        case 7: return self.blob(self.below(2000))
        case 8: return []
        case 9: return Array(String(repeating: self.pick(["a", "b", "xy"]), count: self.below(40)).utf8)
        default:
            let letters = Array("abcde".utf8)
            return (0..<self.below(24)).map { _ in letters[self.below(5)] }
        }
    }

    private mutating func pattern() -> [UInt8] {
        if self.chance(5) {
            return self.pick([
                [0x5b, 0x61, 0x2d, 0xff, 0x5d, 0x2a], [0x2a, 0x5b, 0x80, 0x2d, 0x7f, 0x5d], [0xff, 0x2a],
            ])
        }
        if self.chance(40) {
            return Array(
                self.pick([
                    "*", "key:*", "*1*", "key:?", "key:[0-5]", "key:[^0-5]*", "key:1[2-0]", "other[", "[", "[^",
                    "key:\\1", "\\", "",
                    "**", "*e*:*1", "[a-", "[z-a]*", "?*?", "*\\*", "[\\]]", "[]a]*", "[^]k]*", "key:[1", "key:[1-",
                    "key:[^1-3",
                    "key:[]", "k[e-]y*", "k[-e]y*", "*[",
                ]).utf8)
        }
        let letters = Array("key:012*?[]-^\\ao".utf8)
        return (0..<self.below(8)).map { _ in letters[self.below(letters.count)] }
    }

    private mutating func nonsense() -> [UInt8] {
        switch self.below(5) {
        case 0: return self.number()
        case 1: return self.blob(self.below(12))
        case 2:
            return Array(
                self.pick(["NX", "XX", "GET", "EX", "COUNT", "foo", "KEEPTTL", "\r\n", "a\r\nb", "DB", "*"]).utf8)
        case 3: return Array(String(repeating: "z", count: 100 + self.below(60)).utf8)
        default: return self.key()
        }
    }

    // MARK: Requests

    /// One request, with what has to follow it.
    mutating func next() -> [Request] {
        if self.chance(2), !self.isQueueing { return self.silenced() }
        var words = self.command()
        let name = String(decoding: words[0], as: UTF8.self).uppercased()
        // Nobody but the author is to be killed.
        let isWhole = name == "CLIENT" && words.count > 1 && words[1] == Array("KILL".utf8) || name == "CONFIG"
        if !isWhole {
            if self.chance(4) {
                if self.chance(50), words.count > 1 { words.removeLast() } else { words.append(self.nonsense()) }
            }
            if self.chance(3), words.count > 1 { words[1 + self.below(words.count - 1)] = self.nonsense() }
        }
        self.defuse(name, &words)
        if self.chance(30) { words[0] = words[0].map { self.chance(50) ? Self.flipped($0) : $0 } }
        var requests = [Request(words: words, isInline: self.chance(3))]
        self.track(name, words)
        // Redis counts a key as there until it is looked at, or found in passing, when its time is over from the start.
        if name == "SET" || name == "GETEX", words.count > 3 {
            requests.append(Request(words: [Array("EXISTS".utf8), words[1]]))
        }
        return requests
    }

    private static func flipped(_ byte: UInt8) -> UInt8 {
        (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x61 && byte <= 0x7a) ? byte ^ 0x20 : byte
    }

    private mutating func track(_ name: String, _ words: [[UInt8]]) {
        switch name {
        case "MULTI": if words.count == 1 { self.isQueueing = true }
        case "EXEC": self.isQueueing = false
        case "DISCARD", "RESET": if words.count == 1 { self.isQueueing = false }
        default: break
        }
    }

    /// Takes out what would make the two servers differ by their clocks, wait for ever, or kill the other connections.
    private mutating func defuse(_ name: String, _ words: inout [[UInt8]]) {
        switch name {
        case "SET": for at in words.indices.dropFirst(3) { self.postpone(&words[at]) }
        case "GETEX", "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT":
            for at in words.indices.dropFirst(2) { self.postpone(&words[at]) }
        case "SETEX", "PSETEX": if words.count > 2 { self.postpone(&words[2]) }
        case "WAIT":
            if words.count > 2, let replicas = Int64(String(decoding: words[1], as: UTF8.self)), replicas > 0,
                let timeout = Int64(String(decoding: words[2], as: UTF8.self)), timeout >= 0
            {
                words[2] = Array("1".utf8)
            }
        default: break
        }
    }

    /// A time that would come during the test becomes one of its own, far away.
    private mutating func postpone(_ word: inout [UInt8]) {
        guard let number = Int64(String(decoding: word, as: UTF8.self)), number > 0, number < 4_000_000_000_000 else {
            return
        }
        self.moments += 1
        word = Array("\(5_000_000_000_000 + self.moments * 1_000_000)".utf8)
    }

    private mutating func silenced() -> [Request] {
        func request(_ text: String, silent: Bool = false) -> Request {
            Request(words: text.split(separator: " ").map { Array($0.utf8) }, isSilent: silent)
        }
        let key = "key:\(self.below(8))"
        return switch self.below(4) {
        case 0:
            [
                request("CLIENT REPLY OFF", silent: true), request("INCR \(key)", silent: true),
                request("FOO", silent: true),
                request("PING", silent: true), request("CLIENT REPLY SKIP", silent: true), request("CLIENT REPLY ON"),
            ]
        case 1:
            [
                request("CLIENT REPLY SKIP", silent: true), request("APPEND \(key) x", silent: true),
                request("GET \(key)"),
            ]
        case 2: [request("CLIENT REPLY SKIP", silent: true), request("FOO", silent: true), request("CLIENT REPLY bad")]
        default:
            [
                request("CLIENT REPLY OFF", silent: true), request("WATCH \(key)", silent: true),
                request("CLIENT REPLY ON"),
                request("MULTI"), request("GET \(key)"), request("EXEC"),
            ]
        }
    }

    private mutating func options(_ flags: [String], _ valued: [String], odds: Int = 60) -> [[UInt8]] {
        var words: [[UInt8]] = []
        while self.chance(odds), words.count < 7 {
            let at = self.below(flags.count + valued.count)
            let word = at < flags.count ? flags[at] : valued[at - flags.count]
            words.append(Array((self.chance(30) ? word.lowercased() : word).utf8))
            if at >= flags.count { words.append(self.number()) }
        }
        return words
    }

    private mutating func command() -> [[UInt8]] {
        func word(_ text: String) -> [UInt8] { Array(text.utf8) }
        switch self.below(200) {
        case 0..<10: return [word("GET"), self.key()]
        case 10..<16: return [word("SET"), self.key(), self.value()]
        case 16..<28:
            return [word("SET"), self.key(), self.value()]
                + self.options(["NX", "XX", "GET", "KEEPTTL"], ["EX", "PX", "EXAT", "PXAT"])
        case 28..<30: return [word("SETNX"), self.key(), self.value()]
        case 30..<33: return [word(self.pick(["SETEX", "PSETEX"])), self.key(), self.number(), self.value()]
        case 33..<35: return [word("GETSET"), self.key(), self.value()]
        case 35..<37: return [word("GETDEL"), self.key()]
        case 37..<42: return [word("GETEX"), self.key()] + self.options(["PERSIST"], ["EX", "PX", "EXAT", "PXAT"])
        case 42..<46: return [word("MGET")] + (0..<1 + self.below(4)).map { _ in self.key() }
        case 46..<51:
            return [word(self.pick(["MSET", "MSETNX"]))]
                + (0..<1 + self.below(3)).flatMap { _ in [self.key(), self.value()] }
        case 51..<57: return [word(self.pick(["INCR", "DECR"])), self.key()]
        case 57..<64: return [word(self.pick(["INCRBY", "DECRBY"])), self.key(), self.number()]
        case 64..<70: return [word("INCRBYFLOAT"), self.key(), word(self.pick(Self.floats))]
        case 70..<75: return [word("APPEND"), self.key(), self.value()]
        case 75..<77: return [word("STRLEN"), self.key()]
        case 77..<81: return [word(self.pick(["GETRANGE", "SUBSTR"])), self.key(), self.number(), self.number()]
        case 81..<85:
            let offset =
                self.chance(80)
                ? word("\(self.below(3000) - 20)")
                : word(self.pick(["-1", "536870912", "9223372036854775807", "x", "-9223372036854775808", "536870905"]))
            // The whole of 512 MiB is refused only where the value reaches beyond it.
            return [
                word("SETRANGE"), self.key(), offset,
                offset == word("536870905") ? word("beyond 512 MiB") : self.value(),
            ]
        case 85..<90:
            return [word("LCS"), self.key(), self.key()]
                + self.options(["LEN", "IDX", "WITHMATCHLEN", "IDX", "foo"], ["MINMATCHLEN"])
        case 90..<96: return [word(self.pick(["DEL", "UNLINK"]))] + (0..<1 + self.below(3)).map { _ in self.key() }
        case 96..<101: return [word(self.pick(["EXISTS", "TOUCH"]))] + (0..<1 + self.below(3)).map { _ in self.key() }
        case 101..<112:
            return [word(self.pick(["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"])), self.key(), self.number()]
                + self.options(["NX", "XX", "GT", "LT", "foo"], [], odds: 35)
        case 112..<120: return [word(self.pick(["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"])), self.key()]
        case 120..<123: return [word("PERSIST"), self.key()]
        case 123..<125: return [word("TYPE"), self.key()]
        case 125..<128: return [word("KEYS"), self.pattern()]
        case 128..<133:
            var words = [
                word("SCAN"),
                self.chance(80)
                    ? word("0")
                    : word(self.pick(["", "-1", "x", "+0", "1 ", " 1", "99", "18446744073709551616", "0x1"])),
            ]
            for _ in 0..<self.below(3) {
                switch self.below(4) {
                case 0: words += [word("MATCH"), self.pattern()]
                case 1: words += [word("COUNT"), self.number()]
                case 2: words += [word("TYPE"), word(self.pick(["string", "STRING", "list", "foo", "hash"]))]
                default: words += [word("COUNT"), word("100000")]
                }
            }
            return words
        case 133..<138: return [word(self.pick(["RENAME", "RENAMENX"])), self.key(), self.key()]
        case 138..<143:
            var words = [word("COPY"), self.key(), self.key()]
            for _ in 0..<self.below(3) {
                words += self.pick([
                    [word("REPLACE")], [word("DB"), word("0")], [word("DB"), self.number()], [word("foo")],
                    [word("DB")],
                ])
            }
            return words
        case 143..<144: return [word("RANDOMKEY")]
        case 144..<149:
            return [
                word("OBJECT"),
                word(self.pick(["ENCODING", "ENCODING", "REFCOUNT", "IDLETIME", "FREQ", "HELP", "foo"])), self.key(),
            ]
        case 149..<150: return [word("OBJECT"), word(self.pick(["HELP", "foo", "", "encodin\u{0}g"]))]
        case 150..<152: return [word("DBSIZE")]
        case 152..<153:
            guard self.chance(20) else { return [word("DBSIZE")] }
            return [word(self.pick(["FLUSHDB", "FLUSHALL"]))]
                + self.pick([[], [word("SYNC")], [word("foo")], [word("ASYNC")]])
        case 153..<160: return [word("MULTI")]
        case 160..<168: return [word("EXEC")]
        case 168..<169: return [word("DISCARD")]
        case 169..<174: return [word("WATCH")] + (0..<1 + self.below(3)).map { _ in self.key() }
        case 174..<176: return [word("UNWATCH")]
        case 176..<179: return [word("PING")] + (self.chance(50) ? [self.value()] : [])
        case 179..<181: return [word("ECHO"), self.value()]
        case 181..<183:
            return [word("HELLO")]
                + self.pick([
                    [], [word("2")], [word("3")], [word("3")], [word("4")], [word("x")],
                    [word("3"), word("SETNAME"), word("me")],
                    [word("2"), word("AUTH"), word("default"), word("any")],
                    [word("3"), word("AUTH"), word("foo"), word("any")],
                    [word("3"), word("foo")], [word("3"), word("SETNAME"), word("a b")],
                    [word("3"), word("AUTH"), word("x")],
                    [word("3"), word("SETNAME"), word("n"), word("AUTH"), word("bad"), word("any")],
                ])
        case 183..<184:
            return [word("AUTH")]
                + self.pick([
                    [word("x")], [word("default"), word("x")], [word("foo"), word("x")],
                    [word("a"), word("b"), word("c")],
                ])
        case 184..<186:
            // Within a transaction it is an error here, and none in Redis.
            if self.isQueueing { return [word("PING")] }
            return [
                word("SELECT"),
                self.pick([word("0"), word("1"), word("-1"), word("x"), word("99999999999"), word("2147483648")]),
            ]
        case 186..<187: return [word("RESET")]
        case 187..<188: return [word("INFO")] + self.pick([[], [word("server")], [word("nosuch")], [word("all")]])
        case 188..<189: return [word("ROLE")]
        case 189..<190: return [word("WAIT"), self.number(), self.number()]
        case 190..<195: return self.clientCommand()
        case 195..<197: return self.tableCommand()
        case 197..<198:
            return [word("CONFIG")]
                + self.pick([
                    [word("GET"), word("nosuch")], [word("SET"), word("nosuch"), word("x")], [word("RESETSTAT")],
                    [word("foo")],
                    [word("SET"), word("maxmemory")], [word("SET"), word("a\nb"), word("x")],
                    [word("SET"), word("a"), word("b"), word("c")],
                    [],
                ])
        case 198..<199:
            return [self.chance(50) ? self.blob(self.below(20)) : word("FOO")]
                + (0..<self.below(6)).map { _ in self.nonsense() }
        default:
            return [
                word(
                    self.pick([
                        "FOO", "", "GETT", "get\u{0}", "nosuchcommand" + String(repeating: "x", count: 150), "a\r\nb",
                    ]))
            ]
                + (0..<self.below(5)).map { _ in self.nonsense() }
        }
    }

    private mutating func clientCommand() -> [[UInt8]] {
        func words(_ text: String) -> [[UInt8]] { text.split(separator: " ").map { Array($0.utf8) } }
        switch self.below(10) {
        case 0: return words("CLIENT ID")
        case 1: return words("CLIENT INFO")
        case 2: return words("CLIENT GETNAME")
        case 3:
            return words("CLIENT SETNAME") + [
                self.pick([Array("name".utf8), [], Array("a b".utf8), [0xe4], Array("x\n".utf8)])
            ]
        case 4:
            return words(
                "CLIENT KILL "
                    + self.pick([
                        "ID 999999999", "ID 0", "ID x", "ID -1", "ADDR 1.2.3.4:5", "1.2.3.4:5", "foo", "foo bar",
                        "USER nosuch", "TYPE foo",
                        "TYPE master SKIPME yes", "SKIPME foo ID 1", "LADDR 1.2.3.4:5 ADDR 1.2.3.4:6", "TYPE pubsub",
                        "ID 1 SKIPME",
                        "USER default ID 999999999", "TYPE normal ID 999999999", "TYPE slave",
                    ]))
        case 5: return words("CLIENT NO-EVICT " + self.pick(["ON", "OFF", "foo"]))
        case 6:
            return words(
                "CLIENT LIST "
                    + self.pick([
                        "ID x", "ID 999999999", "TYPE foo", "TYPE master", "TYPE replica", "ID", "foo", "TYPE",
                    ]))
        case 7: return words("CLIENT REPLY " + self.pick(["foo", "ON"]))
        case 8: return words("CLIENT " + self.pick(["foo", "getnam", "ID x"]))
        default: return words("CLIENT") + [self.nonsense()].filter { !$0.isEmpty }
        }
    }

    private mutating func tableCommand() -> [[UInt8]] {
        func words(_ text: String) -> [[UInt8]] { text.split(separator: " ").map { Array($0.utf8) } }
        let names = [
            "get", "SET", "mget", "client|id", "object", "config", "nosuch", "client|nosuch", "lcs", "exec", "copy",
            "wait",
        ]
        switch self.below(5) {
        case 0:
            return words("COMMAND INFO \(self.pick(names)) \(self.pick(names))").filter {
                $0 != words("object")[0] && $0 != words("config")[0]
            }
        case 1:
            return words("COMMAND DOCS \(self.pick(names))").filter {
                $0 != words("object")[0] && $0 != words("config")[0]
            } + words("get")
        case 2:
            return words("COMMAND GETKEYS ")
                + self.pick([
                    words("GET x"), words("MSET a b c d"), words("MSET a b c"), words("PING x"), words("LCS a b LEN"),
                    words("OBJECT ENCODING k"),
                    words("OBJECT HELP x"), words("nosuch x"), words("GET"), words("GET a b"), words("DEL a b c"),
                    words("COPY a b"),
                    words("RENAME a"), words("WATCH a b"), words("CLIENT LIST"), words("EXEC x"), words("SCAN 0"),
                    words("OBJECT nosuch x"),
                ])
        case 3:
            return words("COMMAND LIST ")
                + self.pick([
                    words("FILTERBY"), words("FILTERBY foo x"), words("x"), words("FILTERBY MODULE x"),
                    words("FILTERBY PATTERN get"), words("FILTERBY PATTERN nosuch"),
                ])
        default: return words("COMMAND ") + self.pick([words("foo"), words("GETKEYS"), words("COUNT x")])
        }
    }
}
