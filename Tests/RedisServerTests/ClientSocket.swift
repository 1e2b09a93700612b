import Glibc

struct SocketError: Error, CustomStringConvertible {
    var description: String
}

/// A client of a RESP server: a TCP connection that writes and reads at the same time, so that a long pipeline can not
/// block itself.
final class ClientSocket {
    private(set) var descriptor: Int32
    /// Bytes that were read and not yet taken.
    private(set) var received: [UInt8] = []
    private(set) var isEnded = false

    init(port: Int) throws {
        self.descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard self.descriptor >= 0 else { throw SocketError(description: "no socket: errno \(errno)") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(self.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            let code = errno
            Glibc.close(self.descriptor)
            self.descriptor = -1
            throw SocketError(description: "port \(port) does not answer: errno \(code)")
        }
        _ = fcntl(self.descriptor, F_SETFL, O_NONBLOCK)
        var one: Int32 = 1
        setsockopt(self.descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit { self.close() }

    func close() {
        guard self.descriptor >= 0 else { return }
        Glibc.close(self.descriptor)
        self.descriptor = -1
    }

    func endOutput() { shutdown(self.descriptor, Int32(SHUT_WR)) }

    /// Writes all of `bytes` and reads until `isEnough` says so of what has come, or the server closes. Fails where
    /// nothing moves for 20 s.
    func exchange(_ bytes: [UInt8], until isEnough: ([UInt8]) -> Bool) throws {
        var sent = 0
        var isWritten = bytes.isEmpty
        while !self.isEnded, !isWritten || !isEnough(self.received) {
            var poller = pollfd(fd: self.descriptor, events: Int16(POLLIN | (isWritten ? 0 : POLLOUT)), revents: 0)
            let ready = poll(&poller, 1, 20_000)
            if ready < 0, errno == EINTR { continue }
            guard ready > 0 else {
                throw SocketError(
                    description:
                        "nothing came for 20 s; so far \(String(decoding: self.received.suffix(300), as: UTF8.self))")
            }
            if poller.revents & Int16(POLLOUT) != 0, !isWritten {
                let count = bytes.withUnsafeBytes {
                    send(self.descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL))
                }
                if count > 0 {
                    sent += count
                    isWritten = sent == bytes.count
                } else if errno != EAGAIN, errno != EINTR {
                    isWritten = true
                }
            }
            if poller.revents & Int16(POLLIN | POLLHUP | POLLERR) != 0 { self.read() }
        }
    }

    private func read() {
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 1) { buffer in
            let count = recv(self.descriptor, buffer.baseAddress!, buffer.count, 0)
            if count > 0 {
                self.received.append(contentsOf: buffer[..<count])
            } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
                self.isEnded = true
            }
        }
    }

    /// Sends what the socket takes at once, reads nothing. Bytes taken; nil where the connection is gone.
    func push(_ bytes: [UInt8]) -> Int? {
        let count = bytes.withUnsafeBytes { send(self.descriptor, $0.baseAddress!, $0.count, Int32(MSG_NOSIGNAL)) }
        if count >= 0 { return count }
        return errno == EAGAIN || errno == EINTR ? 0 : nil
    }

    /// Sends a pipeline and takes `count` replies, each as its bytes; fewer where the server closes.
    func replies(to bytes: [UInt8], count: Int) throws -> [[UInt8]] {
        var ends: [Int] = []
        try self.exchange(bytes) { received in
            received.withUnsafeBytes { all in
                while ends.count < count, let end = replyEnd(all, from: ends.last ?? 0) { ends.append(end) }
            }
            return ends.count == count
        }
        self.received.withUnsafeBytes { all in
            while ends.count < count, let end = replyEnd(all, from: ends.last ?? 0) { ends.append(end) }
        }
        var start = 0
        let replies = ends.map { end in
            defer { start = end }
            return Array(self.received[start..<end])
        }
        self.received.removeSubrange(..<start)
        return replies
    }

    /// One command, one reply, as text.
    func ask(_ words: String...) throws -> String {
        let reply = try self.replies(to: encode(words.map { Array($0.utf8) }), count: 1)
        return reply.first.map { String(decoding: $0, as: UTF8.self) } ?? "closed"
    }

    /// Everything until the server closes.
    func rest(after bytes: [UInt8]) throws -> [UInt8] {
        try self.exchange(bytes) { _ in false }
        return self.received
    }
}

/// A command as an array of bulk strings.
func encode(_ words: [[UInt8]]) -> [UInt8] {
    var out = Array("*\(words.count)\r\n".utf8)
    for word in words {
        out += Array("$\(word.count)\r\n".utf8)
        out += word
        out += [0x0d, 0x0a]
    }
    return out
}

/// Where the reply that begins at `start` ends; nil where it is not whole.
func replyEnd(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
    var offset = start
    var open = 1
    while open > 0 {
        guard offset < bytes.count,
            let found = memchr(bytes.baseAddress! + offset, 0x0a, bytes.count - offset)
        else { return nil }
        let end = UnsafeRawPointer(found) - bytes.baseAddress! - 1
        let kind = bytes[offset]
        var count = 0
        let isNull = bytes[offset + 1] == 0x2d
        for at in offset + 1..<max(offset + 1, end) where bytes[at] >= 0x30 && bytes[at] <= 0x39 {
            count = count &* 10 &+ Int(bytes[at] - 0x30)
        }
        offset = end + 2
        open -= 1
        switch kind {
        case 0x24, 0x3d:
            if !isNull { offset += count + 2 }
        case 0x2a, 0x7e: if !isNull { open += count }
        case 0x25: open += 2 * count
        default: break
        }
        if offset > bytes.count { return nil }
    }
    return offset
}

/// A reply taken apart.
indirect enum Reply: Equatable {
    case simple([UInt8])
    case error([UInt8])
    case integer(Int64)
    case bulk([UInt8])
    case null
    case array([Reply])
    case map([Reply])
    case set([Reply])

    /// - Precondition: the bytes are one whole reply.
    init(_ bytes: [UInt8]) {
        var offset = 0
        self = bytes.withUnsafeBytes { Self.parse($0, &offset) }
    }

    private static func parse(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) -> Reply {
        let start = offset + 1
        let kind = bytes[offset]
        var end = start
        while bytes[end] != 0x0d { end += 1 }
        let line = Array(bytes[start..<end])
        offset = end + 2
        let number = Int64(String(decoding: line, as: UTF8.self)) ?? 0
        func elements(_ count: Int64, _ offset: inout Int) -> [Reply] {
            (0..<count).map { _ in self.parse(bytes, &offset) }
        }
        switch kind {
        case 0x2b: return .simple(line)
        case 0x2d: return .error(line)
        case 0x3a: return .integer(number)
        case 0x24, 0x3d:
            guard number >= 0 else { return .null }
            defer { offset += Int(number) + 2 }
            return .bulk(Array(bytes[offset..<offset + Int(number)]))
        case 0x2a: return number < 0 ? .null : .array(elements(number, &offset))
        case 0x7e: return .set(elements(number, &offset))
        case 0x25: return .map(elements(2 * number, &offset))
        default: return .null
        }
    }

    var elements: [Reply] {
        switch self {
        case .array(let elements), .map(let elements), .set(let elements): elements
        case .simple, .error, .integer, .bulk, .null: []
        }
    }

    var bytes: [UInt8] {
        switch self {
        case .simple(let bytes), .error(let bytes), .bulk(let bytes): bytes
        case .integer, .null, .array, .map, .set: []
        }
    }
}
