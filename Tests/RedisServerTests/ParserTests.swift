import Replication
import Testing

@testable import RedisServer

@Suite struct ParserTests {
    /// All commands in the input, parsed as it arrives in parts; nil after a protocol error.
    private static func commands(_ input: [UInt8], parts: [Int]) -> [[[UInt8]]]? {
        var parser = RESPParser()
        var commands: [[[UInt8]]] = []
        var consumed = 0
        for end in parts + [input.count] {
            let seen = Array(input[..<end])
            var isFailed = false
            seen.withUnsafeBytes { bytes in
                loop: while true {
                    switch parser.parse(bytes, from: consumed) {
                    case .command(let end):
                        consumed = end
                        let source = parser.isUnquoted ? parser.unquoted : seen
                        commands.append(parser.arguments.map { Array(source[$0]) })
                    case .nothing(let end): consumed = end
                    case .incomplete: break loop
                    case .failed:
                        isFailed = true
                        break loop
                    }
                }
            }
            if isFailed { return nil }
        }
        return commands
    }

    private static func words(_ texts: String...) -> [[UInt8]] { texts.map { Array($0.utf8) } }

    @Test func everySplitGivesTheSame() {
        let input =
            encode(Self.words("SET", "key", "value\r\n$*")) + Array("*0\r\n*-1\r\n".utf8)
            + encode(Self.words("GET", ""))
            + Array("PING\r\n\r\n  set  \"a b\\x00\\n\" 'it\\'s'\n".utf8)
            + encode(Self.words(String(repeating: "x", count: 300)))
        let expected = [
            Self.words("SET", "key", "value\r\n$*"), Self.words("GET", ""), Self.words("PING"),
            Self.words("set", "a b\u{0}\n", "it's"),
            Self.words(String(repeating: "x", count: 300)),
        ]
        #expect(Self.commands(input, parts: []) == expected)
        for at in 0...input.count { #expect(Self.commands(input, parts: [at]) == expected, "split at \(at)") }
        #expect(Self.commands(input, parts: Array(0..<input.count)) == expected)
    }

    @Test func movingTheInputKeepsAnIncompleteCommand() {
        let first = encode(Self.words("PING"))
        let second = encode(Self.words("SET", "key", "value"))
        var parser = RESPParser()
        let seen = first + second.dropLast(4)
        let offset = seen.withUnsafeBytes { bytes -> Int in
            guard case .command(let end) = parser.parse(bytes, from: 0) else { return -1 }
            #expect(parser.parse(bytes, from: end) == .incomplete)
            return end
        }
        #expect(offset == first.count)
        parser.moved(by: offset)
        second.withUnsafeBytes { bytes in
            #expect(parser.parse(bytes, from: 0) == .command(end: second.count))
            #expect(parser.arguments.map { Array(second[$0]) } == Self.words("SET", "key", "value"))
        }
    }

    /// Whatever the bytes: no trap, no endless loop, and parts make no difference.
    @Test func noiseIsParsedAlikeInWhateverParts() {
        var random = Random(seed: 5)
        let alphabet = Array("*$\r\n0123-+ \"'\\x\u{0}aPING".utf8) + [0xff]
        for turn in 0..<4000 {
            var input = (0..<random.below(60)).map { _ in alphabet[Int(random.below(UInt64(alphabet.count)))] }
            if turn % 3 == 0 {
                input = encode([Array("SET".utf8), Array("k".utf8), input]) + encode([Array("PING".utf8)])
                for _ in 0..<random.below(4) {
                    input[Int(random.below(UInt64(input.count)))] = alphabet[Int(random.below(UInt64(alphabet.count)))]
                }
            }
            let parts = (0..<random.below(5)).map { _ in Int(random.below(UInt64(input.count + 1))) }.sorted()
            #expect(
                Self.commands(input, parts: []) == Self.commands(input, parts: parts), "turn \(turn) \(input) \(parts)")
        }
    }

    @Test func strangersGetNarrowLimits() {
        var parser = RESPParser()
        func outcome(_ text: String) -> RESPParser.Outcome {
            var parser = RESPParser()
            return Array(text.utf8).withUnsafeBytes { parser.parse($0, from: 0, isTrusted: false) }
        }
        #expect(outcome("*11\r\n") == .failed("Protocol error: unauthenticated multibulk length"))
        #expect(outcome("*10\r\n") == .incomplete)
        #expect(outcome("*1\r\n$16385\r\n") == .failed("Protocol error: unauthenticated bulk length"))
        #expect(outcome("*1\r\n$16384\r\n") == .incomplete)
        Array("*11\r\n".utf8).withUnsafeBytes { #expect(parser.parse($0, from: 0) == .incomplete) }
    }
}
