/// A reply under construction, in RESP3. The session turns it into RESP2 where its client speaks that.
package struct ReplyBuffer {
    package var bytes: [UInt8] = []

    package init() {}

    package mutating func removeAll() { self.bytes.removeAll(keepingCapacity: self.bytes.capacity <= 1 << 20) }

    package mutating func ok() { self.text("+OK\r\n") }
    package mutating func null() { self.text("_\r\n") }
    /// RESP2's null array; RESP3 clients get a null.
    package mutating func nullArray() { self.text("*-1\r\n") }
    package mutating func simple(_ text: StaticString) { self.line(0x2b, text) }
    package mutating func simple(_ text: some Sequence<UInt8>) {
        self.bytes.append(0x2b)
        self.bytes.append(contentsOf: text)
        self.end()
    }
    package mutating func error(_ text: StaticString) { self.line(0x2d, text) }

    /// Line breaks in `text` become blanks: they would end the reply.
    package mutating func error(_ text: String) { self.error(Array(text.utf8)) }

    package mutating func error(_ text: [UInt8]) {
        self.bytes.append(0x2d)
        let start = self.bytes.count
        self.bytes.append(contentsOf: text)
        self.endError(from: start)
    }

    /// An error that quotes bytes of the request as Redis does: up to their first zero byte, at most `limit` of them,
    /// line breaks as blanks; those at the end of the text go.
    package mutating func error(
        _ before: StaticString, _ quoted: UnsafeRawBufferPointer, limit: Int = .max, _ after: StaticString = ""
    ) {
        self.bytes.append(0x2d)
        let start = self.bytes.count
        self.text(before)
        for byte in quoted.prefix(limit) {
            if byte == 0 { break }
            self.bytes.append(byte)
        }
        self.text(after)
        self.endError(from: start)
    }

    package mutating func integer(_ value: Int64) { self.number(0x3a, value) }
    package mutating func array(_ count: Int) { self.number(0x2a, Int64(count)) }
    /// The head of an array whose elements begin at `offset`. O(their bytes).
    mutating func array(_ count: Int, before offset: Int) {
        var head = ReplyBuffer()
        head.array(count)
        self.bytes.insert(contentsOf: head.bytes, at: offset)
    }
    package mutating func map(_ count: Int) { self.number(0x25, Int64(count)) }
    /// RESP3's set; RESP2 clients get an array.
    package mutating func set(_ count: Int) { self.number(0x7e, Int64(count)) }

    package mutating func bulk(_ value: UnsafeRawBufferPointer) {
        self.number(0x24, Int64(value.count))
        self.bytes.append(contentsOf: value)
        self.end()
    }

    /// RESP3's verbatim string, plain text; RESP2 clients get a bulk string.
    package mutating func verbatim(_ value: [UInt8]) {
        self.number(0x3d, Int64(value.count + 4))
        self.text("txt:")
        self.bytes.append(contentsOf: value)
        self.end()
    }

    package mutating func bulk(_ value: [UInt8]) { value.withUnsafeBytes { self.bulk($0) } }
    package mutating func bulk(_ value: StaticString) { value.withUTF8Buffer { self.bulk(UnsafeRawBufferPointer($0)) } }

    package mutating func bulk(_ value: Int64) {
        var digits = DecimalText(value)
        digits.withBytes { self.bulk($0) }
    }

    private mutating func line(_ mark: UInt8, _ text: StaticString) {
        self.bytes.append(mark)
        self.text(text)
        self.end()
    }

    private mutating func text(_ text: StaticString) { text.withUTF8Buffer { self.bytes.append(contentsOf: $0) } }

    private mutating func number(_ mark: UInt8, _ value: Int64) {
        self.bytes.append(mark)
        if value >= 0, value < 10 {
            self.bytes.append(0x30 + UInt8(value))
        } else {
            var digits = DecimalText(value)
            digits.withBytes { self.bytes.append(contentsOf: $0) }
        }
        self.end()
    }

    private mutating func endError(from start: Int) {
        func isBreak(_ byte: UInt8) -> Bool { byte == 0x0a || byte == 0x0d }
        while self.bytes.count > start, isBreak(self.bytes[self.bytes.count - 1]) { self.bytes.removeLast() }
        for at in start..<self.bytes.count where isBreak(self.bytes[at]) { self.bytes[at] = 0x20 }
        self.end()
    }

    private mutating func end() {
        self.bytes.append(0x0d)
        self.bytes.append(0x0a)
    }
}

/// A number's decimal digits, without a String.
struct DecimalText {
    private var digits: InlineArray<20, UInt8> = .init(repeating: 0)
    private var start = 20

    init(_ value: Int64) {
        var rest = value.magnitude
        repeat {
            self.start -= 1
            self.digits[self.start] = 0x30 + UInt8(rest % 10)
            rest /= 10
        } while rest > 0
        if value < 0 {
            self.start -= 1
            self.digits[self.start] = 0x2d
        }
    }

    mutating func withBytes(_ body: (UnsafeRawBufferPointer) -> Void) {
        let start = self.start
        withUnsafeBytes(of: &self.digits) { body(UnsafeRawBufferPointer(rebasing: $0[start..<20])) }
    }
}

/// The integer that these bytes spell in full, as Redis reads one: no blanks, no plus sign, no leading zeros. O(bytes).
package func integer(_ bytes: UnsafeRawBufferPointer) -> Int64? {
    guard bytes.count > 0, bytes.count <= 20 else { return nil }
    if bytes.count == 1, bytes[0] == 0x30 { return 0 }
    let isNegative = bytes[0] == 0x2d
    var at = isNegative ? 1 : 0
    guard at < bytes.count, bytes[at] >= 0x31, bytes[at] <= 0x39 else { return nil }
    var value: UInt64 = 0
    while at < bytes.count {
        let digit = bytes[at] &- 0x30
        guard digit <= 9 else { return nil }
        let (product, overflow) = value.multipliedReportingOverflow(by: 10)
        let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
        guard !overflow, !carry else { return nil }
        value = sum
        at += 1
    }
    if isNegative { return value <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- value) : nil }
    return value <= UInt64(Int64.max) ? Int64(value) : nil
}
