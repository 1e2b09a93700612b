import Glibc
import Synchronization

/// A RESP server in a few lines, with a thread for each connection: it keeps numbers and strings in a dictionary and
/// does the odd things a test asks for.
final class ScriptedServer: Sendable {
    struct Behaviour: Sendable {
        /// Replies leave in pieces of this many bytes; 0: as they are.
        var pieces = 0
        /// Every nth write is answered with an error.
        var errorEvery = 0
        /// A connection is closed, without a reply, at its nth command.
        var closeAt = 0
        /// An error reply comes right before that end.
        var errorBeforeClose = false
        /// Sent instead of every reply.
        var replaceReply: String?
        /// What WAIT replies.
        var replicas = 0
        var password: String?
    }

    private struct State {
        var values: [String: String] = [:]
        var commands: [String: Int] = [:]
        var connections = 0
        var sockets: Set<Int32> = []
        var isClosed = false
    }

    let port: UInt16
    private let listener: Int32
    private let behaviour: Behaviour
    private let state = Mutex(State())

    var address: String { "127.0.0.1:\(self.port)" }
    var values: [String: String] { self.state.withLock { $0.values } }
    var connections: Int { self.state.withLock { $0.connections } }
    func count(of command: String) -> Int { self.state.withLock { $0.commands[command] ?? 0 } }

    init(_ behaviour: Behaviour = Behaviour()) {
        self.behaviour = behaviour
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                guard bind(listener, generic, length) == 0, listen(listener, 128) == 0,
                    getsockname(listener, generic, &length) == 0
                else { fatalError("no port: \(String(cString: strerror(errno)))") }
            }
            return UInt16(bigEndian: pointer.pointee.sin_port)
        }
        self.listener = listener
        self.port = port
        Self.thread { [self] in
            while true {
                let socket = accept(self.listener, nil, nil)
                guard socket >= 0 else { break }
                let isOpen = self.state.withLock { state in
                    guard !state.isClosed else { return false }
                    state.connections += 1
                    state.sockets.insert(socket)
                    return true
                }
                guard isOpen else {
                    close(socket)
                    break
                }
                Self.thread { [self] in self.serve(socket) }
            }
            close(self.listener)
        }
    }

    /// Ends like a killed process: the port refuses, connections end.
    func kill() {
        shutdown(self.listener, Int32(SHUT_RDWR))
        self.state.withLock { state in
            state.isClosed = true
            for socket in state.sockets { shutdown(socket, Int32(SHUT_RDWR)) }
        }
    }

    private static func thread(_ body: @escaping @Sendable () -> Void) {
        final class Body: Sendable {
            let run: @Sendable () -> Void
            init(_ run: @escaping @Sendable () -> Void) { self.run = run }
        }
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(Body(body)).toOpaque())
        precondition(code == 0)
        pthread_detach(thread)
    }

    private func serve(_ socket: Int32) {
        var one: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        var input: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        var commands = 0
        var isKnown = self.behaviour.password == nil
        connection: while true {
            let count = recv(socket, &chunk, chunk.count, 0)
            guard count > 0 else { break }
            input += chunk[..<count]
            var output = ""
            while let arguments = Self.takeCommand(&input) {
                commands += 1
                if commands == self.behaviour.closeAt {
                    if self.behaviour.errorBeforeClose { output += "-ERR going\r\n" }
                    self.send(socket, output)
                    break connection
                }
                output += self.behaviour.replaceReply ?? self.reply(arguments, &isKnown)
            }
            guard self.send(socket, output) else { break }
        }
        self.state.withLock { state in
            state.sockets.remove(socket)
            close(socket)
        }
    }

    @discardableResult
    private func send(_ socket: Int32, _ text: String) -> Bool {
        let bytes = Array(text.utf8)
        let size = self.behaviour.pieces > 0 ? self.behaviour.pieces : max(bytes.count, 1)
        var start = 0
        while start < bytes.count {
            let piece = bytes[start..<min(start + size, bytes.count)]
            let sent = piece.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard sent > 0 else { return false }
            start += sent
        }
        return true
    }

    private func reply(_ arguments: [String], _ isKnown: inout Bool) -> String {
        let name = arguments[0]
        if name == "AUTH" {
            isKnown = arguments.last == self.behaviour.password
            return isKnown ? "+OK\r\n" : "-WRONGPASS invalid username-password pair\r\n"
        }
        guard isKnown else { return "-NOAUTH Authentication required.\r\n" }
        return self.state.withLock { state in
            state.commands[name, default: 0] += 1
            switch name {
            case "SET":
                if self.behaviour.errorEvery > 0, state.commands[name, default: 0] % self.behaviour.errorEvery == 0 {
                    return "-ERR on purpose\r\n"
                }
                state.values[arguments[1]] = arguments[2]
                return "+OK\r\n"
            case "GET":
                guard let value = state.values[arguments[1]] else { return "$-1\r\n" }
                return "$\(value.utf8.count)\r\n\(value)\r\n"
            case "INCR":
                let value = (Int(state.values[arguments[1]] ?? "0") ?? 0) + 1
                state.values[arguments[1]] = String(value)
                return ":\(value)\r\n"
            case "WAIT": return ":\(self.behaviour.replicas)\r\n"
            default: return "-ERR unknown command '\(name)'\r\n"
            }
        }
    }

    /// The first whole command, taken off the input.
    private static func takeCommand(_ input: inout [UInt8]) -> [String]? {
        var place = 0
        func line() -> String? {
            guard let end = input[place...].firstIndex(of: UInt8(ascii: "\n")) else { return nil }
            defer { place = end + 1 }
            return String(decoding: input[place..<(end - 1)], as: UTF8.self)
        }
        guard let header = line(), let count = Int(header.dropFirst()) else { return nil }
        var arguments: [String] = []
        for _ in 0..<count {
            guard let size = line().flatMap({ Int($0.dropFirst()) }), input.count >= place + size + 2 else {
                return nil
            }
            arguments.append(String(decoding: input[place..<(place + size)], as: UTF8.self))
            place += size + 2
        }
        input.removeFirst(place)
        return arguments
    }
}
