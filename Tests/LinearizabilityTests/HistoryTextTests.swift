import Linearizability
import Replication
import Testing

@Suite struct HistoryTextTests {
    private static let example = """
        kintsugi-history 1
        # request reply connection key command = outcome

        1 2 3 "a b" SET "17" = OK
        3 4 3 "a b" GET = "17"
        5 6 3 "\\x00\\"\\\\" GET = NIL
        5 - 4 "c" INCRBY -1 = UNKNOWN
        6 9 4 "c" INCRBY 1 = UNKNOWN
        7 8 5 "c" INCRBY 1 = 9223372036854775807
        7 8 5 "c" INCRBY 1 = ERROR
        7 8 5 "c" APPEND "x" = REFUSED
        7 - 5 "c" APPEND "x" = REFUSED
        9 9 6 "d" CAS "1" "2" = 1
        9 10 6 "" DEL = 0

        """

    @Test func anExampleIsRead() throws {
        let history = try HistoryText.parse(bytes(Self.example))
        #expect(history.entries.count == 9, "what was refused is no operation")
        #expect(history.entries[0].key == bytes("a b"))
        #expect(history.entries[0].operation.command == .set("17"))
        #expect(history.entries[0].operation.completion?.reply == .done)
        #expect(history.entries[2].key == [0, UInt8(ascii: "\""), UInt8(ascii: "\\")])
        #expect(history.entries[4].operation.completion == nil, "the instant of an unknown outcome does not matter")
        #expect(history.entries[7].operation.command == .compareAndSet(expected: bytes("1"), new: bytes("2")))
        #expect(history.entries[8].key == [])
        // Without the last line's end too.
        #expect(try HistoryText.parse(bytes(Self.example).dropLast()).entries.count == 9)
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        for seed in UInt64(0)..<100 {
            var random = Random(seed: seed)
            var generated = GeneratedHistory(commands: .everything)
            generated.operations = 30
            var history = CacheHistory()
            for operation in generated.run(&random) {
                let key = (0..<random.below(5)).map { _ in UInt8(random.below(256)) }
                history.entries.append(
                    CacheHistory.Entry(number: history.entries.count, key: key, operation: operation))
            }
            let text = HistoryText.text(history)
            #expect(text.utf8.allSatisfy { $0 == 0x0a || $0 >= 0x20 && $0 <= 0x7e })
            let read = try HistoryText.parse(bytes(text))
            #expect(HistoryText.text(read) == text)
            #expect(read.entries.map(\.key) == history.entries.map(\.key))
            #expect(read.entries.map(\.operation.command) == history.entries.map(\.operation.command))
            #expect(
                read.entries.map(\.operation.completion?.reply) == history.entries.map(\.operation.completion?.reply))
        }
    }

    @Test(
        arguments: [
            ("", 1, "a history begins with 'kintsugi-history 1'"),
            ("kintsugi-history 2\n", 1, "a history begins with 'kintsugi-history 1'"),
            ("1 2 3", 2, "the key stands in quotation marks"),
            ("1 x 3 \"k\" GET = NIL", 2, "the instant of the reply is no number of 64 bits"),
            ("18446744073709551616 2 3 \"k\" GET = NIL", 2, "the instant of the request is no number of 64 bits"),
            ("-1 2 3 \"k\" GET = NIL", 2, "the instant of the request is no number of 64 bits"),
            ("3 2 3 \"k\" GET = NIL", 2, "the reply comes before the request"),
            ("1 - 3 \"k\" GET = NIL", 2, "a reply needs its instant"),
            ("1 2 3 \"k GET = NIL", 2, "the key has no end"),
            ("1 2 3 \"k\"GET = NIL", 2, "a blank belongs behind the key"),
            ("1 2 3 \"\\x0\" GET = NIL", 2, "the key has '\\x' without two hexadecimal digits"),
            ("1 2 3 \"\\n\" GET = NIL", 2, "the key has a backslash before what needs none"),
            ("1 2 3 \"\u{e4}\" GET = NIL", 2, "the key has a byte that is not printable and not escaped"),
            ("# fine\n1 2 3 \"k\" MGET = NIL", 3, "no such command: 'MGET'"),
            ("1 2 3 \"k\" GET NIL", 2, "'=' belongs behind the command"),
            ("1 2 3 \"k\" GET =", 2, "an outcome is missing"),
            ("1 2 3 \"k\" GET = 01", 2, "no such outcome: '01'"),
            ("1 2 3 \"k\" GET = NIL ", 2, nil),
            ("1 2 3 \"k\" GET = NIL x", 2, "there is more than an outcome behind '='"),
        ] as [(String, Int, String?)])
    func whatIsNoHistoryIsRefused(line: String, number: Int, reason: String?) {
        let isWhole = line.isEmpty || line.hasPrefix("kintsugi")
        let text = isWhole ? line : "kintsugi-history 1\n" + line
        do {
            _ = try HistoryText.parse(bytes(text))
            #expect(reason == nil)
        } catch {
            #expect(error.reason == reason)
            #expect(error.line == number)
        }
    }

    @Test func aLineThatIsTooLongIsRefused() {
        let value = String(repeating: "x", count: HistoryText.maxLineBytes)
        #expect(throws: HistoryText.ParseError.self) {
            try HistoryText.parse(bytes("kintsugi-history 1\n1 2 3 \"k\" SET \"\(value)\" = OK\n"))
        }
    }

    /// Any bytes give a history or an error, and any history a judgement.
    @Test func bytesFromOutsideNeverTrap() {
        var refused = 0
        var limits = SearchLimits()
        limits.steps = 1000
        for seed in UInt64(0)..<3000 {
            var random = Random(seed: seed)
            var text = bytes(Self.example)
            for _ in 0...random.below(4) {
                let at = Int(random.below(UInt64(text.count)))
                switch random.below(4) {
                case 0: text[at] = UInt8(random.below(256))
                case 1: text.remove(at: at)
                case 2: text.insert(text[Int(random.below(UInt64(text.count)))], at: at)
                default: text.removeSubrange(at..<min(text.count, at + Int(random.below(20))))
                }
            }
            do {
                _ = try HistoryText.parse(text).check(limits: limits)
            } catch {
                refused += 1
            }
        }
        #expect(refused > 500)
        #expect(refused < 2900)
    }
}
