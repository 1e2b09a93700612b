package import NIOCore

/// Replies are RESP3 inside. For a RESP2 client: nulls are null bulk strings, sets are arrays, maps are flat arrays.
/// For a RESP3 client: the null array, which only RESP2 has, is a null.
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

    /// One element's head, and its bytes where it is a bulk string. An aggregate's elements follow as lines of their
    /// own.
    private static func line(
        _ reply: UnsafeRawBufferPointer, _ offset: inout Int, version: Int, to out: inout ByteBuffer
    ) {
        let start = offset
        var end = offset
        while end + 1 < reply.count, !(reply[end] == 0x0d && reply[end + 1] == 0x0a) { end += 1 }
        offset = end + 2
        switch reply[start] {
        case 0x5f where version == 2:
            out.writeStaticString("$-1\r\n")
        case 0x2a where version == 3 && end - start == 3 && reply[start + 1] == 0x2d:
            out.writeStaticString("_\r\n")
        case 0x3d:
            let length = Self.number(reply, start + 1, end)
            let content = UnsafeRawBufferPointer(rebasing: reply[offset..<min(reply.count, offset + length + 2)])
            offset = min(reply.count, offset + length + 2)
            if version == 2 {
                // Without its `txt:`.
                out.writeString("$\(length - 4)\r\n")
                out.writeBytes(UnsafeRawBufferPointer(rebasing: content.dropFirst(4)))
            } else {
                out.writeBytes(UnsafeRawBufferPointer(rebasing: reply[start..<offset]))
            }
        case 0x7e where version == 2:
            out.writeStaticString("*")
            out.writeBytes(UnsafeRawBufferPointer(rebasing: reply[start + 1..<min(offset, reply.count)]))
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

    /// Where the element that begins at `start` ends, with all that is in it. O(bytes).
    static func end(of reply: UnsafeRawBufferPointer, from start: Int) -> Int {
        var offset = start
        var open = 1
        while open > 0, offset < reply.count {
            var end = offset
            while end + 1 < reply.count, !(reply[end] == 0x0d && reply[end + 1] == 0x0a) { end += 1 }
            let kind = reply[offset]
            let isNull = end > offset + 1 && reply[offset + 1] == 0x2d
            let line = offset
            offset = end + 2
            open -= 1
            guard !isNull else { continue }
            switch kind {
            case 0x24, 0x3d: offset += Self.number(reply, line + 1, end) + 2
            case 0x2a, 0x7e: open += Self.number(reply, line + 1, end)
            case 0x25: open += 2 * Self.number(reply, line + 1, end)
            default: break
            }
        }
        return min(offset, reply.count)
    }

    /// A length: of a head line of ours, so it does not overflow.
    private static func number(_ reply: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> Int {
        var value = 0
        for at in start..<end where reply[at] >= 0x30 && reply[at] <= 0x39 {
            value = value * 10 + Int(reply[at] - 0x30)
        }
        return value
    }
}
