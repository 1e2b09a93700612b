import Glibc
import NIOCore
import Replication
import Testing

@testable import RedisServer

@Suite struct ConnectionTests {
    private static func words(_ text: String) -> [[UInt8]] { text.split(separator: " ").map { Array($0.utf8) } }

    private static func pipeline(_ texts: [String]) -> [UInt8] { texts.flatMap { encode(Self.words($0)) } }

    /// AUTH and HELLO, with a password and without: Redis's replies.
    @Test(arguments: [nil, "secret"])
    func authenticationIsAsInRedis(password: String?) throws {
        let reference = try ReferenceServer(password.map { ["--requirepass", $0] } ?? [])
        let server = try TestServer(password: password)
        defer { try? server.stop() }
        let flows = [
            ["GET a", "PING", "AUTH wrong", "AUTH secret", "GET a", "PING"],
            ["AUTH default secret", "GET a"], ["AUTH default wrong", "GET a"], ["AUTH other secret", "GET a"],
            ["AUTH", "AUTH a b c"],
            ["HELLO", "HELLO 3", "GET a"], ["HELLO 3 AUTH default secret", "GET a"],
            ["HELLO 3 AUTH default wrong", "GET a"],
            ["HELLO 3 SETNAME me AUTH default secret", "CLIENT GETNAME"],
            ["HELLO 3 AUTH default secret SETNAME me", "CLIENT GETNAME"],
            ["HELLO 2 AUTH default", "GET a"], ["NOSUCH", "GET", "GET a b", "MULTI", "EXEC"], ["QUIT"],
            ["RESET", "GET a"],
            ["AUTH secret", "RESET", "GET a"], ["AUTH secret", "HELLO 3", "RESET", "AUTH secret", "GET a"],
            ["CLIENT ID", "COMMAND COUNT", "INFO"],
            ["HELLO 4 AUTH default secret", "HELLO x", "GET a"],
        ]
        for flow in flows {
            let bytes = Self.pipeline(flow)
            let expected = try reference.connect().replies(to: bytes, count: flow.count)
            let given = try server.connect().replies(to: bytes, count: flow.count)
            #expect(expected.count == given.count, "\(flow)")
            for (request, replies) in zip(flow, zip(expected, given)) {
                if request.hasPrefix("HELLO"), replies.0.first != 0x2d {
                    #expect(
                        Reply(replies.0).elements.count == 14 && Reply(replies.1).elements.count == 14,
                        "\(flow) \(request)")
                } else if ["CLIENT ID", "COMMAND COUNT", "INFO"].contains(request), replies.0.first != 0x2d {
                    #expect(replies.0.first == replies.1.first, "\(flow) \(request)")
                } else {
                    #expect(
                        replies.0 == replies.1,
                        "\(flow) \(request): Redis \(String(decoding: replies.0, as: UTF8.self)) ours \(String(decoding: replies.1, as: UTF8.self))"
                    )
                }
            }
        }
    }

    /// WATCH, MULTI and EXEC in one go: EXEC has the keys, though WATCH's answer was still on its way.
    @Test func aPipelinedWatchCounts() throws {
        let server = try TestServer(isDeferred: true)
        defer { try? server.stop() }
        let (a, b) = (try server.connect(), try server.connect())
        #expect(
            try a.replies(to: Self.pipeline(["WATCH k", "GET k", "MULTI", "SET k 1"]), count: 4).last
                == Array("+QUEUED\r\n".utf8))
        #expect(try b.ask("SET", "k", "2") == "+OK\r\n")
        #expect(try a.ask("EXEC") == "*-1\r\n")
        let replies = try a.replies(
            to: Self.pipeline(["WATCH k", "MULTI", "INCR k", "CLIENT SETNAME me", "GET k", "EXEC", "CLIENT GETNAME"]),
            count: 7)
        #expect(String(decoding: replies[5], as: UTF8.self) == "*3\r\n:3\r\n+OK\r\n$1\r\n3\r\n")
        #expect(String(decoding: replies[6], as: UTF8.self) == "$2\r\nme\r\n")
        // A local command of a transaction that does not take place has no effect.
        _ = try a.replies(to: Self.pipeline(["WATCH k"]), count: 1)
        _ = try b.ask("INCR", "k")
        let aborted = try a.replies(
            to: Self.pipeline(["MULTI", "CLIENT SETNAME other", "EXEC", "CLIENT GETNAME"]), count: 4)
        #expect(String(decoding: aborted[2] + aborted[3], as: UTF8.self) == "*-1\r\n$2\r\nme\r\n")
    }

    /// The protocol of a reply is the one that was spoken when it was asked for.
    @Test func helloDoesNotReachBack() throws {
        let server = try TestServer(isDeferred: true)
        defer { try? server.stop() }
        let socket = try server.connect()
        let replies = try socket.replies(to: Self.pipeline(["GET none", "HELLO 3", "GET none"]), count: 3)
        #expect(replies[0] == Array("$-1\r\n".utf8) && replies[2] == Array("_\r\n".utf8))
    }

    @Test func outOfMemoryIsTold() throws {
        let server = try TestServer(maxMemory: 100_000)
        defer { try? server.stop() }
        let socket = try server.connect()
        var refused = 0
        for at in 0..<200
        where try socket.ask("SET", "key\(at)", String(repeating: "v", count: 1000)).hasPrefix(
            "-OOM command not allowed when used memory > 'maxmemory'.")
        {
            refused += 1
        }
        #expect(refused > 80)
        #expect(try socket.ask("GET", "key0").hasPrefix("$1000"))
        // A transaction is refused where one of its commands may grow.
        let growing = try socket.replies(to: Self.pipeline(["MULTI", "GET key0", "SET a b", "EXEC"]), count: 4)
        #expect(
            String(decoding: growing[3], as: UTF8.self)
                == "-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.\r\n"
        )
        let shrinking = try socket.replies(to: Self.pipeline(["MULTI", "DEL key5", "EXISTS key5", "EXEC"]), count: 4)
        #expect(String(decoding: shrinking[3], as: UTF8.self) == "*2\r\n:1\r\n:0\r\n")
        #expect(try socket.ask("DEL", "key0", "key1", "key2") == ":3\r\n")
        #expect(try socket.ask("SET", "key0", "v") == "+OK\r\n")
    }

    /// A key whose time is over is gone for a reader, though nobody writes.
    @Test(arguments: [false, true])
    func expiredKeysAreGone(isDeferred: Bool) throws {
        let server = try TestServer(isDeferred: isDeferred)
        defer { try? server.stop() }
        let socket = try server.connect()
        #expect(try socket.ask("SET", "k", "v", "PX", "30") == "+OK\r\n")
        let limit = NIODeadline.now() + .seconds(10)
        while try socket.ask("GET", "k") == "$1\r\nv\r\n", NIODeadline.now() < limit {}
        #expect(try socket.ask("GET", "k") == "$-1\r\n")
        #expect(try socket.ask("TTL", "k") == ":-2\r\n")
        #expect(try socket.ask("SCAN", "0", "COUNT", "100000") == "*2\r\n$1\r\n0\r\n*0\r\n")
    }

    @Test func oneClientTooManyIsTold() throws {
        let server = try TestServer(maxClients: 3)
        defer { try? server.stop() }
        let first = try (0..<3).map { _ in try server.connect() }
        for socket in first { #expect(try socket.ask("PING") == "+PONG\r\n") }
        let last = try server.connect()
        #expect(String(decoding: try last.rest(after: []), as: UTF8.self) == "-ERR max number of clients reached\r\n")
        for socket in first { #expect(try socket.ask("PING") == "+PONG\r\n") }
        first[0].close()
        // There is room again as soon as the server has seen it.
        while try server.inspect({ server, _ in server.connections.count }) > 2 {}
        #expect(try server.connect().ask("PING") == "+PONG\r\n")
    }

    /// A client that ends its output still gets what it asked for.
    @Test(arguments: [false, true])
    func endOfInputIsNotTheEndOfReplies(isDeferred: Bool) throws {
        let server = try TestServer(isDeferred: isDeferred)
        defer { try? server.stop() }
        let socket = try server.connect()
        try socket.exchange(Self.pipeline((0..<500).map { "SET k\($0) v" } + ["DBSIZE"])) { _ in true }
        socket.endOutput()
        let rest = try socket.rest(after: [])
        #expect(rest.suffix(6) == Array(":500\r\n".utf8)[...] && rest.count == 5 * 500 + 6)
    }

    /// Asking without reading stops the asker, and nobody else; past the limit its connection ends.
    @Test(arguments: [false, true])
    func whoNeverReadsHurtsHimselfAlone(isDeferred: Bool) throws {
        let limit = 8 << 20
        let server = try TestServer(outputLimit: limit, isDeferred: isDeferred)
        defer { try? server.stop() }
        let (deaf, other) = (try server.connect(), try server.connect())
        #expect(
            try other.replies(
                to: encode([Array("SET".utf8), Array("large".utf8), [UInt8](repeating: 1, count: 1 << 20)]), count: 1
            ).count == 1)
        let requests = Self.pipeline((0..<100).map { _ in "GET large" })
        var pushed = 0
        var worst = 0
        for turn in 0..<3000 {
            guard let count = deaf.push(requests) else { break }
            pushed += count
            guard turn % 20 == 0 else { continue }
            #expect(try other.ask("GET", "none") == "$-1\r\n")
            let unsent = try server.inspect { server, _ in server.connections.values.map(\.unsentBytes).max() ?? 0 }
            worst = max(worst, unsent)
            if try server.inspect({ server, _ in server.connections.count }) == 1 { break }
        }
        // One turn's replies at most come on top of the limit.
        #expect(worst <= limit + (64 << 20), "\(worst) bytes held, \(pushed) asked")
        if isDeferred {
            // Replies that were under way when the client stopped to read went past the limit: it is cut off.
            #expect(try server.inspect { server, _ in server.connections.count } == 1)
        } else {
            // Stopped before that.
            #expect(worst <= limit)
        }
        #expect(try other.ask("PING") == "+PONG\r\n")
    }

    /// Requests that never become whole fill no more than what all clients together have: the largest go.
    @Test func whereAllHoldTooMuchTheLargestGo() throws {
        let limit = 8 << 20
        let server = try TestServer(clientsLimit: limit)
        defer { try? server.stop() }
        let sockets = try (1...6).map { _ in try server.connect() }
        let other = try server.connect()
        for (number, socket) in sockets.enumerated() {
            let head = Array("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10000000\r\n".utf8)
            var bytes = (head + [UInt8](repeating: 0x61, count: (number + 1) << 20))[...]
            while !bytes.isEmpty {
                bytes = bytes.dropFirst(try #require(socket.push(Array(bytes))))
                // The server reads meanwhile.
                _ = try server.inspect { _, _ in 0 }
            }
        }
        // 21 MiB together.
        while try server.inspect({ server, _ in server.clientBytes }) < 21 << 20 {}
        #expect(try server.inspect { server, _ in server.isCongested })
        try server.inspect { server, _ in server.supervise() }
        let left = try server.inspect { server, _ in server.connections.values.map(\.heldBytes).sorted() }
        #expect(left.reduce(0, +) <= limit)
        #expect(left.filter { $0 > 0 }.map { ($0 + 1000) >> 20 } == [1, 2, 3], "\(left)")
        #expect(try other.ask("PING") == "+PONG\r\n")
        for socket in sockets { socket.close() }
        while try server.inspect({ server, _ in server.connections.count }) > 1 {}
        #expect(try server.inspect { server, _ in server.clientBytes == 0 && !server.isCongested })
    }

    @Test func aTransactionIsOfOneSpace() throws {
        let server = try TestServer()
        defer { try? server.stop() }
        let socket = try server.connect()
        #expect(try socket.ask("SELECT", "0") == "+OK\r\n")
        #expect(try socket.ask("MULTI") == "+OK\r\n")
        #expect(try socket.ask("SELECT", "0") == "-ERR SELECT is not allowed in transactions\r\n")
        #expect(try socket.ask("EXEC").hasPrefix("-EXECABORT"))
    }

    @Test func aPipelineThatIsReadIsAnsweredWhole() throws {
        let server = try TestServer(isDeferred: true)
        defer { try? server.stop() }
        let socket = try server.connect()
        _ = try socket.replies(
            to: encode([Array("SET".utf8), Array("k".utf8), [UInt8](repeating: 1, count: 100_000)]), count: 1)
        let replies = try socket.replies(to: Self.pipeline((0..<600).map { _ in "GET k" }), count: 600)
        #expect(replies.count == 600 && replies.allSatisfy { $0.count == 100_011 })
        let many = try socket.replies(to: Self.pipeline((0..<20000).map { "INCR n\($0 % 3)" }), count: 20000)
        #expect(many.last == Array(":6667\r\n".utf8))
    }

    /// 10,000 clients that say nothing, or as many as the system allows this process.
    @Test func idleConnectionsCostLittle() throws {
        var limits = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits)
        limits.rlim_cur = limits.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limits)
        let count = min(10_000, (Int(limits.rlim_cur) - 600) / 2)
        let server = try TestServer()
        defer { try? server.stop() }
        var sockets: [ClientSocket] = []
        for _ in 0..<count { sockets.append(try server.connect()) }
        // Each is served. Where the listener's queue ran over, the system brings some in later: the reply says that it has.
        for socket in sockets { #expect(try socket.ask("PING") == "+PONG\r\n") }
        #expect(try sockets[count - 1].ask("SET", "a", "b") == "+OK\r\n")
        #expect(try server.inspect { server, _ in server.connections.count } == count)
        #expect(count > 100, "only \(count) descriptors are allowed")
    }

    @Test func clientsAreListedAndKilled() throws {
        let server = try TestServer()
        defer { try? server.stop() }
        let (a, b) = (try server.connect(), try server.connect())
        _ = try a.ask("CLIENT", "SETNAME", "first")
        _ = try b.ask("CLIENT", "SETNAME", "second")
        let list = try a.ask("CLIENT", "LIST")
        #expect(list.contains("name=first") && list.contains("name=second") && list.contains("cmd=client|list"))
        let id = Reply(Array(try b.ask("CLIENT", "ID").utf8))
        guard case .integer(let number) = id else { return #expect(Bool(false), "\(id)") }
        #expect(try a.ask("CLIENT", "KILL", "ID", "\(number)") == ":1\r\n")
        #expect(try b.rest(after: []).isEmpty && b.isEnded)
        #expect(try a.ask("CLIENT", "KILL", "TYPE", "normal") == ":0\r\n")
        #expect(try a.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no") == ":1\r\n")
        #expect(try a.rest(after: []).isEmpty && a.isEnded)
    }

    /// A transaction and what it watches have to fit into one command.
    @Test func transactionsAreBounded() throws {
        let server = try TestServer()
        defer { try? server.stop() }
        let socket = try server.connect()
        let large = [Array("SET".utf8), Array("k".utf8), [UInt8](repeating: 1, count: 5 << 20)]
        #expect(try socket.ask("MULTI") == "+OK\r\n")
        let replies = try (0..<4).map { _ in
            String(decoding: try socket.replies(to: encode(large), count: 1)[0], as: UTF8.self)
        }
        #expect(replies[0] == "+QUEUED\r\n" && replies[1] == "+QUEUED\r\n")
        #expect(replies[2] == "-ERR the transaction is larger than 14680064 bytes\r\n" && replies[3] == "+QUEUED\r\n")
        #expect(try socket.ask("EXEC") == "-EXECABORT Transaction discarded because of previous errors.\r\n")
        #expect(try socket.ask("EXISTS", "k") == ":0\r\n")
        let key = [UInt8](repeating: 2, count: 600_000)
        #expect(try socket.replies(to: encode([Array("WATCH".utf8), key]), count: 1)[0] == Array("+OK\r\n".utf8))
        let more = try socket.replies(to: encode([Array("WATCH".utf8), key + [3]]), count: 1)[0]
        #expect(String(decoding: more, as: UTF8.self) == "-ERR too many keys are watched\r\n")
        #expect(try socket.ask("UNWATCH") == "+OK\r\n")
        #expect(try socket.replies(to: encode([Array("WATCH".utf8), key + [3]]), count: 1)[0] == Array("+OK\r\n".utf8))
    }

    @Test func libraryNamesAreTaken() throws {
        let server = try TestServer()
        defer { try? server.stop() }
        let socket = try server.connect()
        #expect(try socket.ask("CLIENT", "SETINFO", "LIB-NAME", "redis-py") == "+OK\r\n")
        #expect(try socket.ask("CLIENT", "SETINFO", "lib-ver", "5.0") == "+OK\r\n")
        #expect(try socket.ask("CLIENT", "SETINFO", "foo", "x") == "-ERR Unrecognized option 'foo'\r\n")
        #expect(
            try socket.ask("CLIENT", "SETINFO", "lib-name", "a b")
                == "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n")
    }

    @Test func configurationIsShown() throws {
        let server = try TestServer(maxClients: 77, maxMemory: 123_456_789)
        defer { try? server.stop() }
        let socket = try server.connect()
        #expect(try socket.ask("CONFIG", "GET", "maxmemory") == "*2\r\n$9\r\nmaxmemory\r\n$9\r\n123456789\r\n")
        #expect(try socket.ask("CONFIG", "GET", "maxclients") == "*2\r\n$10\r\nmaxclients\r\n$2\r\n77\r\n")
        for (name, value) in [("save", ""), ("appendonly", "yes"), ("timeout", "0"), ("databases", "1")] {
            #expect(
                try socket.ask("CONFIG", "GET", name)
                    == "*2\r\n$\(name.count)\r\n\(name)\r\n$\(value.count)\r\n\(value)\r\n")
            #expect(try socket.ask("CONFIG", "SET", name, value) == "+OK\r\n")
        }
        #expect(Reply(Array(try socket.ask("CONFIG", "GET", "*").utf8)).elements.count >= 40)
        #expect(
            try socket.ask("CONFIG", "SET", "maxmemory", "1")
                == "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - can't set immutable config\r\n")
        #expect(try socket.ask("CONFIG", "RESETSTAT") == "+OK\r\n")
    }
}
