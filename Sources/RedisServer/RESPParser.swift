import Cache
import Glibc

/// Reads requests: arrays of bulk strings, and inline commands. Knows nothing of what they mean.
///
/// The arguments of one command are ranges of the input, in an array that is used again: no allocation per command.
package struct RESPParser {
    package enum Outcome: Equatable {
        /// `arguments` holds a command; it ends at this offset.
        case command(end: Int)
        /// Nothing was asked (an empty line); go on at this offset.
        case nothing(end: Int)
        /// The input ends within a command.
        case incomplete
        /// The stream can not be followed any more: the text of the error, without `-ERR `.
        case failed([UInt8])

        static func failed(_ text: String) -> Self { .failed(Array(text.utf8)) }
    }

    /// Of the command found last.
    package private(set) var arguments: [Range<Int>] = []
    /// Inline commands are cut here where quotes were taken off them.
    package private(set) var unquoted: [UInt8] = []
    /// Whether `arguments` are ranges of `unquoted`, not of the input.
    package private(set) var isUnquoted = false

    private static let maxInline = 64 << 10
    package static let maxArguments = 1 << 20
    /// Of one argument, and of one command.
    package static let maxBulk = 512 << 20
    package static let maxCommandBytes = 16 << 20

    // How far the command that is not whole yet was read, so that each byte is looked at once.
    private var next = 0
    private var expected = -1
    private var pending = -1

    package init() {}

    /// Reads one command from `offset` on. Called again with more input and the same offset after `.incomplete`.
    ///
    /// Like Redis it takes a line to end one byte after its first carriage return, and does not look at what follows an
    /// argument's bytes. `isTrusted` is false for a client that has yet to authenticate: it gets narrow limits.
    package mutating func parse(
        _ input: UnsafeRawBufferPointer, from offset: Int, isTrusted: Bool = true
    ) -> Outcome {
        if self.expected < 0 {
            self.arguments.removeAll(keepingCapacity: true)
            self.isUnquoted = false
            guard offset < input.count else { return .incomplete }
            guard input[offset] == 0x2a else { return self.inline(input, from: offset) }
            guard let end = Self.line(input, from: offset) else {
                return input.count - offset > Self.maxInline
                    ? .failed("Protocol error: too big mbulk count string") : .incomplete
            }
            guard let count = Self.number(input, offset + 1, end), count <= Self.maxArguments else {
                return .failed("Protocol error: invalid multibulk length")
            }
            guard isTrusted || count <= 10 else { return .failed("Protocol error: unauthenticated multibulk length") }
            guard count > 0 else { return .nothing(end: end + 2) }
            self.expected = count
            self.next = end + 2 - offset
            self.pending = -1
        }
        while self.arguments.count < self.expected {
            let at = offset + self.next
            if self.pending < 0 {
                guard at < input.count else { return .incomplete }
                guard let end = Self.line(input, from: at) else {
                    return input.count - at > Self.maxInline
                        ? .failed("Protocol error: too big bulk count string") : .incomplete
                }
                guard input[at] == 0x24 else {
                    // Redis formats it with `%c`: a zero byte ends the text.
                    let text = Array("Protocol error: expected '$', got '".utf8)
                    return .failed(input[at] == 0 ? text : text + [input[at], 0x27])
                }
                guard let length = Self.number(input, at + 1, end), length >= 0, length <= Self.maxBulk else {
                    return .failed("Protocol error: invalid bulk length")
                }
                guard isTrusted || length <= 16384 else {
                    return .failed("Protocol error: unauthenticated bulk length")
                }
                guard self.next + length <= Self.maxCommandBytes else {
                    return .failed("Protocol error: a command of more than \(Self.maxCommandBytes) bytes is not taken")
                }
                self.pending = length
                self.next = end + 2 - offset
                continue
            }
            guard input.count - at >= self.pending + 2 else { return .incomplete }
            self.arguments.append(at..<at + self.pending)
            self.next += self.pending + 2
            self.pending = -1
        }
        self.expected = -1
        return .command(end: offset + self.next)
    }

    /// The input moved towards its start by this many bytes: nothing here refers to absolute places, but the arguments
    /// of a command that is not whole.
    package mutating func moved(by count: Int) {
        guard self.expected >= 0 else { return }
        for at in self.arguments.indices {
            self.arguments[at] = self.arguments[at].lowerBound - count..<self.arguments[at].upperBound - count
        }
    }

    /// Where the line's carriage return is; nil where it or the byte after it is still to come. A zero byte hides what
    /// follows, as it does from `strchr`.
    private static func line(_ input: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var at = start
        while at < input.count - 1, input[at] != 0 {
            if input[at] == 0x0d { return at }
            at += 1
        }
        return nil
    }

    private static func number(_ input: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> Int? {
        // Nearly always a digit or two.
        if end - start == 1, input[start] >= 0x30, input[start] <= 0x39 { return Int(input[start] - 0x30) }
        guard start < end else { return nil }
        return integer(UnsafeRawBufferPointer(rebasing: input[start..<end])).map { Int($0) }
    }

    // MARK: Inline

    private mutating func inline(_ input: UnsafeRawBufferPointer, from start: Int) -> Outcome {
        // A zero byte hides the line's end from `strchr`.
        guard let found = memchr(input.baseAddress! + start, 0x0a, input.count - start),
            memchr(input.baseAddress! + start, 0, UnsafeRawPointer(found) - input.baseAddress! - start) == nil
        else {
            return input.count - start > Self.maxInline
                ? .failed("Protocol error: too big inline request") : .incomplete
        }
        var end = UnsafeRawPointer(found) - input.baseAddress!
        let after = end + 1
        if end > start, input[end - 1] == 0x0d { end -= 1 }
        guard self.split(UnsafeRawBufferPointer(rebasing: input[start..<end])) else {
            return .failed("Protocol error: unbalanced quotes in request")
        }
        return self.arguments.isEmpty ? .nothing(end: after) : .command(end: after)
    }

    /// Words as redis-cli writes them: blanks part them, `"…"` with escapes and `'…'` hold them together.
    private mutating func split(_ line: UnsafeRawBufferPointer) -> Bool {
        self.unquoted.removeAll(keepingCapacity: true)
        self.isUnquoted = true
        func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0d) }
        var at = 0
        while true {
            while at < line.count, isBlank(line[at]) { at += 1 }
            guard at < line.count else { return true }
            let start = self.unquoted.count
            word: while at < line.count, !isBlank(line[at]) {
                let quote = line[at]
                guard quote == 0x22 || quote == 0x27 else {
                    self.unquoted.append(quote)
                    at += 1
                    continue
                }
                at += 1
                while true {
                    guard at < line.count else { return false }
                    if line[at] == quote {
                        at += 1
                        // A quote has to end its word.
                        guard at == line.count || isBlank(line[at]) else { return false }
                        break word
                    }
                    at += self.escaped(line, at, quote)
                }
            }
            self.arguments.append(start..<self.unquoted.count)
        }
    }

    /// Takes one byte within quotes, escaped or not; how many bytes of the line it took.
    private mutating func escaped(_ line: UnsafeRawBufferPointer, _ at: Int, _ quote: UInt8) -> Int {
        guard line[at] == 0x5c, at + 1 < line.count else {
            self.unquoted.append(line[at])
            return 1
        }
        if quote == 0x27 {
            guard line[at + 1] == 0x27 else {
                self.unquoted.append(0x5c)
                return 1
            }
            self.unquoted.append(0x27)
            return 2
        }
        if line[at + 1] == 0x78, at + 3 < line.count, let high = Self.hexadecimal(line[at + 2]),
            let low = Self.hexadecimal(line[at + 3])
        {
            self.unquoted.append(high << 4 | low)
            return 4
        }
        switch line[at + 1] {
        case 0x6e: self.unquoted.append(0x0a)
        case 0x72: self.unquoted.append(0x0d)
        case 0x74: self.unquoted.append(0x09)
        case 0x62: self.unquoted.append(0x08)
        case 0x61: self.unquoted.append(0x07)
        default: self.unquoted.append(line[at + 1])
        }
        return 2
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }
}
