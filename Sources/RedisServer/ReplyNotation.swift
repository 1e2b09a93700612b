import Cache

/// A constant reply written down compactly: `[…]` an array, `{…}` a set, `(…)` a map, `"…"` a bulk string, a number an
/// integer, any other word a simple string; blanks part them. The tables of COMMAND INFO and DOCS are written so.
indirect enum ReplyNotation {
    case array([ReplyNotation])
    case set([ReplyNotation])
    case map([ReplyNotation])
    case bulk([UInt8])
    case simple([UInt8])
    case integer(Int64)

    /// - Precondition: the text is well-formed; it is one of our own tables.
    init(_ text: StaticString) {
        self = text.withUTF8Buffer { buffer in
            var reader = Reader(bytes: UnsafeRawBufferPointer(buffer))
            return reader.element()
        }
    }

    func write(to reply: inout ReplyBuffer) {
        switch self {
        case .array(let elements):
            reply.array(elements.count)
            for element in elements { element.write(to: &reply) }
        case .set(let elements):
            reply.set(elements.count)
            for element in elements { element.write(to: &reply) }
        case .map(let elements):
            reply.map(elements.count / 2)
            for element in elements { element.write(to: &reply) }
        case .bulk(let bytes): reply.bulk(bytes)
        case .simple(let bytes): reply.simple(bytes)
        case .integer(let value): reply.integer(value)
        }
    }

    /// Of an aggregate.
    var elements: [ReplyNotation] {
        switch self {
        case .array(let elements), .set(let elements), .map(let elements): elements
        case .bulk, .simple, .integer: []
        }
    }

    /// Of a string.
    var bytes: [UInt8] {
        switch self {
        case .bulk(let bytes), .simple(let bytes): bytes
        case .array, .set, .map, .integer: []
        }
    }

    private struct Reader {
        let bytes: UnsafeRawBufferPointer
        var at = 0

        private mutating func skipBlanks() {
            while self.at < self.bytes.count, self.bytes[self.at] == 0x20 || self.bytes[self.at] == 0x0a {
                self.at += 1
            }
        }

        private mutating func elements(until end: UInt8) -> [ReplyNotation] {
            var elements: [ReplyNotation] = []
            self.at += 1
            while true {
                self.skipBlanks()
                if self.bytes[self.at] == end { break }
                elements.append(self.element())
            }
            self.at += 1
            return elements
        }

        mutating func element() -> ReplyNotation {
            self.skipBlanks()
            switch self.bytes[self.at] {
            case 0x5b: return .array(self.elements(until: 0x5d))
            case 0x7b: return .set(self.elements(until: 0x7d))
            case 0x28: return .map(self.elements(until: 0x29))
            case 0x22:
                let start = self.at + 1
                self.at = start
                while self.bytes[self.at] != 0x22 { self.at += 1 }
                self.at += 1
                return .bulk(Array(self.bytes[start..<self.at - 1]))
            default:
                let start = self.at
                while self.at < self.bytes.count, !" \n]})".utf8.contains(self.bytes[self.at]) { self.at += 1 }
                let word = UnsafeRawBufferPointer(rebasing: self.bytes[start..<self.at])
                return Cache.integer(word).map { .integer($0) } ?? .simple(Array(word))
            }
        }
    }
}
