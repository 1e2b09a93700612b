import Testing

@testable import Bench

/// All replies of `text` fed in pieces of `size` bytes.
private func scan(_ text: String, pieces size: Int) -> [ReplyScanner.Reply] {
    var scanner = ReplyScanner()
    var replies: [ReplyScanner.Reply] = []
    let bytes = Array(text.utf8)
    var start = 0
    while start < bytes.count {
        // A copy of its own for each piece: the scanner must not look back.
        let piece = Array(bytes[start..<min(bytes.count, start + size)])
        piece.withUnsafeBufferPointer { buffer in
            guard var cursor = buffer.baseAddress else { return }
            let end = cursor + buffer.count
            while cursor < end, let reply = scanner.next(&cursor, end) {
                replies.append(reply)
                if reply == .malformed { return }
            }
        }
        if replies.last == .malformed { break }
        start += size
    }
    return replies
}

private func reply(_ kind: Character, _ number: Int = 0) -> ReplyScanner.Reply {
    ReplyScanner.Reply(kind: kind.asciiValue ?? 0, number: number)
}

@Suite struct ReplyScannerTests {
    static let stream =
        "+OK\r\n$5\r\nhel\r\n\r\n:-12\r\n-ERR no\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n*2\r\n:1\r\n$0\r\n\r\n+x\r\n"
        + "$0\r\n\r\n:9223372036854775807\r\n:-9223372036854775808\r\n+OK\r\n"
    static let expected = [
        reply("+"), reply("$", 5), reply(":", -12), reply("-"), reply("$", -1), reply("*", -1), reply("*", 0),
        reply("*", 2), reply("$", 0), reply(":", .max), reply(":", .min), reply("+"),
    ]

    @Test func findsEveryReplyHoweverTheStreamIsCut() {
        let wrong = (1...Self.stream.utf8.count).filter { scan(Self.stream, pieces: $0) != Self.expected }
        #expect(wrong.isEmpty, "pieces of so many bytes")
    }

    @Test(arguments: ["x\r\n", ":1x\r\n", "$99999999999999999999\r\n", ":99999999999999999999\r\n", "*2\r\n?"])
    func refusesWhatIsNoReply(_ text: String) {
        for size in 1...text.utf8.count {
            #expect(scan(text, pieces: size).last == .malformed, "pieces of \(size) bytes")
        }
    }

    @Test func saysWhetherItIsInsideAReply() {
        var scanner = ReplyScanner()
        let bytes = Array("-ERR\r\n".utf8)
        bytes.withUnsafeBufferPointer { buffer in
            guard var cursor = buffer.baseAddress else { return }
            #expect(scanner.next(&cursor, cursor + 3) == nil)
            #expect(scanner.isInside && scanner.isInsideError)
            #expect(scanner.next(&cursor, cursor + 3) == reply("-"))
            #expect(!scanner.isInside && !scanner.isInsideError)
        }
    }
}
