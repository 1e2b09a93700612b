import CKintsugi
import Glibc

/// A reply of a RESP2 server.
package indirect enum RedisReply: Sendable, Equatable {
    case simple(String)
    case error(String)
    case integer(Int)
    case bulk([UInt8])
    case null
    case array([RedisReply])

    package var text: String? {
        switch self {
        case .simple(let text): text
        case .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
        case .error, .integer, .null, .array: nil
        }
    }
}

package struct RedisClientError: Error, Sendable, CustomStringConvertible {
    package var description: String
}

/// A small blocking client, for administration and drills: one request at a time, each with a time limit.
package final class RedisClient {
    private let socket: Int32
    private var buffer: [UInt8] = []
    private var offset = 0

    /// - Throws: `RedisClientError` where nobody answers in time.
    package init(host: String, port: Int, timeoutMilliseconds: Int) throws(RedisClientError) {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(truncatingIfNeeded: port).bigEndian
        guard inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host, &address.sin_addr) == 1 else {
            throw RedisClientError(description: "'\(host)' is not an IPv4 address")
        }
        self.socket = Glibc.socket(
            AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(self.socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result != 0 {
            guard errno == EINPROGRESS else { throw self.failure("connect", errno) }
            var descriptor = pollfd(fd: self.socket, events: Int16(POLLOUT), revents: 0)
            guard poll(&descriptor, 1, Int32(timeoutMilliseconds)) == 1 else {
                throw self.failure("connect", ETIMEDOUT)
            }
            var code: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(self.socket, SOL_SOCKET, SO_ERROR, &code, &length)
            guard code == 0 else { throw self.failure("connect", code) }
        }
        var one: Int32 = 1
        setsockopt(self.socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        _ = fcntl(self.socket, F_SETFL, fcntl(self.socket, F_GETFL) & ~O_NONBLOCK)
        self.limit(timeoutMilliseconds)
    }

    deinit { close(self.socket) }

    /// For each send and receive from here on.
    package func limit(_ milliseconds: Int) {
        var time = timeval(tv_sec: milliseconds / 1000, tv_usec: (milliseconds % 1000) * 1000)
        setsockopt(self.socket, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(self.socket, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    }

    /// Sends one command and waits for its reply.
    package func command(_ words: String...) throws(RedisClientError) -> RedisReply { try self.command(words) }

    package func command(_ words: [String]) throws(RedisClientError) -> RedisReply {
        var request = "*\(words.count)\r\n"
        for word in words { request += "$\(word.utf8.count)\r\n\(word)\r\n" }
        let bytes = Array(request.utf8)
        // The reply to the last request is read whole: nothing is left.
        self.buffer.removeAll(keepingCapacity: true)
        self.offset = 0
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                send(self.socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw self.failure("send", errno) }
            sent += count
        }
        return try self.reply()
    }

    private func failure(_ what: String, _ code: Int32) -> RedisClientError {
        RedisClientError(description: "\(what): \(String(cString: strerror(code == EAGAIN ? ETIMEDOUT : code)))")
    }

    private func reply() throws(RedisClientError) -> RedisReply {
        let line = try self.line()
        guard let mark = line.first else { throw RedisClientError(description: "an empty reply") }
        let rest = String(line.dropFirst())
        switch mark {
        case "+": return .simple(rest)
        case "-": return .error(rest)
        case ":": return .integer(Int(rest) ?? 0)
        case "_": return .null
        case "$":
            guard let count = Int(rest), count >= 0 else { return .null }
            let bytes = try self.take(count + 2)
            return .bulk(Array(bytes.dropLast(2)))
        case "*":
            guard let count = Int(rest), count >= 0 else { return .null }
            var elements: [RedisReply] = []
            for _ in 0..<count { elements.append(try self.reply()) }
            return .array(elements)
        default: throw RedisClientError(description: "a reply that does not parse")
        }
    }

    private func line() throws(RedisClientError) -> String {
        var at = self.offset
        while true {
            while at + 1 < self.buffer.count {
                if self.buffer[at] == 0x0d, self.buffer[at + 1] == 0x0a {
                    defer { self.offset = at + 2 }
                    return String(decoding: self.buffer[self.offset..<at], as: UTF8.self)
                }
                at += 1
            }
            try self.receive()
        }
    }

    private func take(_ count: Int) throws(RedisClientError) -> ArraySlice<UInt8> {
        while self.buffer.count - self.offset < count { try self.receive() }
        defer { self.offset += count }
        return self.buffer[self.offset..<self.offset + count]
    }

    private func receive() throws(RedisClientError) {
        var chunk = [UInt8](repeating: 0, count: 16384)
        let count = recv(self.socket, &chunk, chunk.count, 0)
        guard count != 0 else { throw RedisClientError(description: "the connection was closed") }
        guard count > 0 else { throw self.failure("receive", errno) }
        self.buffer.append(contentsOf: chunk[..<count])
    }
}
