/// Histories as text, one operation a line, so that a run of real processes can save what its clients saw and have it
/// checked elsewhere. docs/history-format.md describes it.
///
///     kintsugi-history 1
///     # request reply connection key command = outcome
///     10 25 3 "register:0" SET "17" = OK
///     12 40 4 "counter:0" INCRBY 1 = UNKNOWN
///     30 - 3 "register:0" GET = UNKNOWN
package enum HistoryText {
    /// Bytes of a line, without its end. Longer ones are refused.
    package static let maxLineBytes = 1 << 20

    static let header = "kintsugi-history 1"

    // MARK: Writing

    /// What is known of one request. One that was refused is written too: for the reader, it did not take effect.
    package enum Outcome: Equatable, Sendable {
        case replied(CacheReply)
        case unknown
        case refused
    }

    /// The first line of a history, with its end.
    package static var firstLine: String { Self.header + "\n" }

    /// One operation as a line, with its end.
    /// - Parameter returned: nil where nothing came back; then the outcome is unknown.
    package static func line(
        key: [UInt8], command: CacheCommand, connection: UInt64, invoked: UInt64, returned: UInt64?, outcome: Outcome
    ) -> String {
        let outcome =
            switch outcome {
            case .replied(let reply): self.text(reply)
            case .unknown: "UNKNOWN"
            case .refused: "REFUSED"
            }
        return
            "\(invoked) \(returned.map { "\($0)" } ?? "-") \(connection) \(self.quoted(key)) \(self.text(command)) = "
            + outcome + "\n"
    }

    /// A history as text; reading it gives it again.
    package static func text(_ history: CacheHistory) -> String {
        history.entries.reduce(into: self.firstLine) { text, entry in
            let operation = entry.operation
            text += self.line(
                key: entry.key, command: operation.command, connection: operation.connection,
                invoked: operation.invoked,
                returned: operation.completion?.returned,
                outcome: operation.completion.map { .replied($0.reply) } ?? .unknown)
        }
    }

    static func text(_ command: CacheCommand, limit: Int = .max) -> String {
        func quoted(_ bytes: [UInt8]) -> String { self.quoted(bytes, limit: limit) }
        return switch command {
        case .get: "GET"
        case .set(let value): "SET \(quoted(value))"
        case .setExpiring(let value): "SETEX \(quoted(value))"
        case .setIfAbsent(let value): "SETNX \(quoted(value))"
        case .getSet(let value): "GETSET \(quoted(value))"
        case .getDelete: "GETDEL"
        case .increment(let step): "INCRBY \(step)"
        case .append(let value): "APPEND \(quoted(value))"
        case .delete: "DEL"
        case .compareAndSet(let expected, let new): "CAS \(quoted(expected)) \(quoted(new))"
        }
    }

    static func text(_ reply: CacheReply, limit: Int = .max) -> String {
        switch reply {
        case .done: "OK"
        case .value(let bytes): bytes.map { self.quoted($0, limit: limit) } ?? "NIL"
        case .number(let number): "\(number)"
        case .failed: "ERROR"
        }
    }

    /// Printable ASCII as it is, the rest as `\xHH`.
    /// - Parameter limit: bytes beyond which it is cut, which no reader of histories takes.
    static func quoted(_ bytes: [UInt8], limit: Int = .max) -> String {
        var text = "\""
        for byte in bytes.prefix(limit) {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += "\\" + String(UnicodeScalar(byte))
            case 0x20...0x7e: text.unicodeScalars.append(UnicodeScalar(byte))
            default: text += "\\x" + String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
            }
        }
        return text + "\"" + (bytes.count > limit ? "... (\(bytes.count) bytes)" : "")
    }

    // MARK: Reading

    /// Why a text is no history.
    package struct ParseError: Error, Equatable, CustomStringConvertible {
        /// From 1.
        package var line: Int
        package var reason: String

        package var description: String { "line \(self.line): \(self.reason)" }
    }

    /// Reads a history. Any bytes give a history or an error.
    package static func parse(_ bytes: [UInt8]) throws(ParseError) -> CacheHistory {
        var history = CacheHistory()
        var hasHeader = false
        var number = 0
        var rest = bytes[...]
        while !rest.isEmpty {
            number += 1
            let end = rest.firstIndex(of: 0x0a) ?? rest.endIndex
            let line = rest[..<end]
            rest = end < rest.endIndex ? rest[(end + 1)...] : []
            guard line.count <= self.maxLineBytes else {
                throw ParseError(line: number, reason: "longer than \(self.maxLineBytes) bytes")
            }
            guard hasHeader else {
                guard line.elementsEqual(self.header.utf8) else {
                    throw ParseError(line: number, reason: "a history begins with '\(self.header)'")
                }
                hasHeader = true
                continue
            }
            if line.isEmpty || line.first == UInt8(ascii: "#") { continue }
            var reader = LineReader(number: number, rest: line)
            do {
                if let entry = try reader.entry() { history.entries.append(entry) }
            } catch {
                throw ParseError(line: number, reason: error.reason)
            }
        }
        guard hasHeader else { throw ParseError(line: 1, reason: "a history begins with '\(self.header)'") }
        return history
    }
}

/// Takes one line apart.
private struct LineReader {
    struct Refusal: Error {
        var reason: String
    }

    let number: Int
    var rest: ArraySlice<UInt8>

    /// Nil for an operation that did not take effect.
    mutating func entry() throws(Refusal) -> CacheHistory.Entry? {
        let invoked = try self.unsigned("the instant of the request")
        let returned = try self.returned()
        let connection = try self.unsigned("the connection")
        let key = try self.bytes("the key")
        let command = try self.command()
        guard try self.word("'='").elementsEqual("=".utf8) else {
            throw Refusal(reason: "'=' belongs behind the command")
        }
        let outcome = try self.outcome()
        guard self.rest.isEmpty else { throw Refusal(reason: "there is more than an outcome behind '='") }

        var completion: (returned: UInt64, reply: CacheReply)?
        switch outcome {
        case .refused: return nil
        case .unknown: break
        case .replied(let reply):
            guard let returned else { throw Refusal(reason: "a reply needs its instant") }
            guard returned >= invoked else { throw Refusal(reason: "the reply comes before the request") }
            completion = (returned, reply)
        }
        return CacheHistory.Entry(
            number: self.number, key: key,
            operation: TimedOperation(
                command: command, connection: connection, invoked: invoked, completion: completion))
    }

    private mutating func returned() throws(Refusal) -> UInt64? {
        if self.rest.starts(with: "- ".utf8) {
            self.rest.removeFirst(2)
            return nil
        }
        return try self.unsigned("the instant of the reply")
    }

    private mutating func command() throws(Refusal) -> CacheCommand {
        let name = try self.word("a command")
        switch String(decoding: name, as: UTF8.self) {
        case "GET": return .get
        case "SET": return .set(try self.bytes("a value"))
        case "SETEX": return .setExpiring(try self.bytes("a value"))
        case "SETNX": return .setIfAbsent(try self.bytes("a value"))
        case "GETSET": return .getSet(try self.bytes("a value"))
        case "GETDEL": return .getDelete
        case "INCRBY": return .increment(try self.signed("an increment"))
        case "APPEND": return .append(try self.bytes("a value"))
        case "DEL": return .delete
        case "CAS":
            let expected = try self.bytes("the value expected")
            return .compareAndSet(expected: expected, new: try self.bytes("the new value"))
        default: throw Refusal(reason: "no such command: '\(String(decoding: name.prefix(40), as: UTF8.self))'")
        }
    }

    private mutating func outcome() throws(Refusal) -> HistoryText.Outcome {
        if self.rest.first == UInt8(ascii: "\"") { return .replied(.value(try self.bytes("a value"))) }
        let word = try self.word("an outcome")
        switch String(decoding: word, as: UTF8.self) {
        case "OK": return .replied(.done)
        case "NIL": return .replied(.value(nil))
        case "ERROR": return .replied(.failed)
        case "UNKNOWN": return .unknown
        case "REFUSED": return .refused
        default:
            guard let number = CacheSpecification.integer(Array(word)) else {
                throw Refusal(reason: "no such outcome: '\(String(decoding: word.prefix(40), as: UTF8.self))'")
            }
            return .replied(.number(number))
        }
    }

    // MARK: Fields

    /// Up to the next blank, which is taken too.
    private mutating func word(_ what: String) throws(Refusal) -> ArraySlice<UInt8> {
        let end = self.rest.firstIndex(of: 0x20) ?? self.rest.endIndex
        let word = self.rest[..<end]
        guard !word.isEmpty else { throw Refusal(reason: "\(what) is missing") }
        self.rest = end < self.rest.endIndex ? self.rest[(end + 1)...] : []
        return word
    }

    private mutating func unsigned(_ what: String) throws(Refusal) -> UInt64 {
        let word = try self.word(what)
        guard word.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let value = UInt64(String(decoding: word, as: UTF8.self))
        else { throw Refusal(reason: "\(what) is no number of 64 bits") }
        return value
    }

    private mutating func signed(_ what: String) throws(Refusal) -> Int64 {
        guard let value = CacheSpecification.integer(Array(try self.word(what))) else {
            throw Refusal(reason: "\(what) is no number of 64 bits with a sign")
        }
        return value
    }

    /// In quotation marks, with the blank behind them.
    private mutating func bytes(_ what: String) throws(Refusal) -> [UInt8] {
        guard self.rest.popFirst() == UInt8(ascii: "\"") else {
            throw Refusal(reason: "\(what) stands in quotation marks")
        }
        var bytes: [UInt8] = []
        while let byte = self.rest.popFirst() {
            switch byte {
            case UInt8(ascii: "\""):
                guard self.rest.isEmpty || self.rest.popFirst() == 0x20 else {
                    throw Refusal(reason: "a blank belongs behind \(what)")
                }
                return bytes
            case UInt8(ascii: "\\"):
                bytes.append(try self.escaped(what))
            case 0x20...0x7e:
                bytes.append(byte)
            default:
                throw Refusal(reason: "\(what) has a byte that is not printable and not escaped")
            }
        }
        throw Refusal(reason: "\(what) has no end")
    }

    private mutating func escaped(_ what: String) throws(Refusal) -> UInt8 {
        switch self.rest.popFirst() {
        case UInt8(ascii: "\""): return UInt8(ascii: "\"")
        case UInt8(ascii: "\\"): return UInt8(ascii: "\\")
        case UInt8(ascii: "x"):
            let digits = self.rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Self.isHexadecimal($0) }),
                let byte = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { throw Refusal(reason: "\(what) has '\\x' without two hexadecimal digits") }
            self.rest.removeFirst(2)
            return byte
        default: throw Refusal(reason: "\(what) has a backslash before what needs none")
        }
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x46, 0x61...0x66: true
        default: false
        }
    }
}
