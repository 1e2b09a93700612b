/// Finds the ends of RESP2 replies in a stream of bytes, which may be cut anywhere.
///
/// It keeps its place between calls and needs no earlier byte again, so a connection has no receive buffer of its own;
/// it never allocates. Contents are skipped, not copied.
struct ReplyScanner: BitwiseCopyable {
    /// A whole reply.
    struct Reply: BitwiseCopyable, Equatable {
        /// The first byte: `+ - : $ *`; 0 where the bytes are no RESP2.
        var kind: UInt8
        /// The integer of `:`, the length of `$` (-1: null) or of `*`.
        var number: Int

        static let malformed = Reply(kind: 0, number: 0)
    }

    private enum Phase: UInt8 {
        case kind
        case line
        case bulk
    }

    private var phase = Phase.kind
    private var itemKind: UInt8 = 0
    private var negative = false
    /// The first line of the reply has been read: `reply` holds its number.
    private var opened = false
    private var digits = 0
    private var bytesToSkip = 0
    /// Items of this reply that have not ended. An array adds its elements, so no stack is needed.
    private var itemsLeft = 0
    private var reply = Reply.malformed

    /// A reply has begun and not ended.
    var isInside: Bool { self.itemsLeft > 0 }
    /// An error's line has begun and not ended.
    var isInsideError: Bool { self.itemsLeft > 0 && self.itemKind == UInt8(ascii: "-") && self.phase == .line }

    /// Takes bytes from `cursor` up to the end of one reply; nil if `end` comes first, with everything taken.
    @inline(__always)
    mutating func next(_ cursor: inout UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>) -> Reply? {
        // Nearly every reply of a SET: "+OK\r\n", whole.
        if self.itemsLeft == 0, end - cursor >= 5, Self.isOK(cursor) {
            cursor += 5
            return Reply(kind: UInt8(ascii: "+"), number: 0)
        }
        return self.step(&cursor, end)
    }

    @inline(__always)
    private static func isOK(_ cursor: UnsafePointer<UInt8>) -> Bool {
        UnsafeRawPointer(cursor).loadUnaligned(as: UInt32.self) == UInt32(littleEndian: 0x0D4B_4F2B)
            && cursor[4] == 0x0A
    }

    private mutating func step(_ cursor: inout UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>) -> Reply? {
        while cursor < end {
            switch self.phase {
            case .kind:
                self.itemKind = cursor.pointee
                cursor += 1
                switch self.itemKind {
                case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "$"), UInt8(ascii: "*"):
                    break
                default: return .malformed
                }
                if self.itemsLeft == 0 {
                    self.itemsLeft = 1
                    self.opened = false
                    self.reply = Reply(kind: self.itemKind, number: 0)
                }
                self.digits = 0
                self.negative = false
                self.phase = .line
            case .line:
                guard let ended = self.line(&cursor, end) else { return .malformed }
                guard ended else { return nil }
                let number = self.negative ? 0 &- self.digits : self.digits
                if !self.opened {
                    self.opened = true
                    self.reply.number = number
                }
                self.phase = .kind
                self.itemsLeft -= 1
                if self.itemKind == UInt8(ascii: "$"), number >= 0 {
                    self.itemsLeft += 1
                    self.bytesToSkip = number + 2
                    self.phase = .bulk
                } else if self.itemKind == UInt8(ascii: "*"), number > 0 {
                    self.itemsLeft += number
                }
                if self.itemsLeft == 0 { return self.reply }
            case .bulk:
                let count = min(self.bytesToSkip, end - cursor)
                cursor += count
                self.bytesToSkip -= count
                if self.bytesToSkip == 0 {
                    self.phase = .kind
                    self.itemsLeft -= 1
                    if self.itemsLeft == 0 { return self.reply }
                }
            }
        }
        return nil
    }

    /// Reads on in a line: true at its end, false where the bytes ran out, nil where a number is none.
    private mutating func line(_ cursor: inout UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>) -> Bool? {
        let isText = self.itemKind == UInt8(ascii: "+") || self.itemKind == UInt8(ascii: "-")
        // The longest string or array a server may send; integers have all 63 bits.
        let limit = self.itemKind == UInt8(ascii: ":") ? Int.max / 10 : 1 << 40
        while cursor < end {
            let byte = cursor.pointee
            cursor += 1
            if byte == UInt8(ascii: "\n") { return true }
            if isText || byte == UInt8(ascii: "\r") { continue }
            if byte == UInt8(ascii: "-") {
                self.negative = true
            } else {
                let digit = byte &- UInt8(ascii: "0")
                guard digit < 10, self.digits <= limit else { return nil }
                self.digits = self.digits &* 10 &+ Int(digit)
            }
        }
        return false
    }
}
