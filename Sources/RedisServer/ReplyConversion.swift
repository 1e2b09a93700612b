package import NIOCore

/// Replies are RESP3 inside. For a RESP2 client: nulls are null bulk strings, maps are flat arrays. For a RESP3 client: the
/// null array, which only RESP2 has, is a null.
package enum ReplyConversion {
    /// Appends the reply for a client that speaks `version`. O(bytes); most replies are copied as they are.
    package static func append(_ reply: UnsafeRawBufferPointer, version: Int, to out: inout ByteBuffer) {
        guard let first = reply.first else { return }
        switch first {
        case 0x2b, 0x2d, 0x3a, 0x24:
            out.writeBytes(reply)
        default:
            var offset = 0
            while offset < reply.count { Self.line(reply, &offset, version: version, to: &out) }
        }
    }

    /// One element's head, and its bytes where it is a bulk string. An aggregate's elements follow as lines of their own.
    private static func line(_ reply: UnsafeRawBufferPointer, _ offset: inout Int, version: Int, to out: inout ByteBuffer) {
        let start = offset
        var end = offset
        while end + 1 < reply.count, !(reply[end] == 0x0d && reply[end + 1] == 0x0a) { end += 1 }
        offset = end + 2
        switch reply[start] {
        case 0x5f where version == 2:
            out.writeStaticString("$-1\r\n")
        case 0x2a where version == 3 && end - start == 3 && reply[start + 1] == 0x2d:
            out.writeStaticString("_\r\n")
        case 0x25 where version == 2:
            out.writeStaticString("*")
            out.writeString(String(2 * Self.number(reply, start + 1, end)))
            out.writeStaticString("\r\n")
        case 0x24:
            let length = Self.number(reply, start + 1, end)
            offset = min(reply.count, offset + length + 2)
            out.writeBytes(UnsafeRawBufferPointer(rebasing: reply[start..<offset]))
        default:
            out.writeBytes(UnsafeRawBufferPointer(rebasing: reply[start..<min(offset, reply.count)]))
        }
    }

    private static func number(_ reply: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> Int {
        var value = 0
        for at in start..<end where reply[at] >= 0x30 && reply[at] <= 0x39 { value = value * 10 + Int(reply[at] - 0x30) }
        return value
    }
}
