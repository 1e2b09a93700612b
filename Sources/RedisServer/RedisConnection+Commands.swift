import Cache
import NIOCore

/// What each request does. Texts as in Redis 7.0.15.
extension RedisConnection {
    func run(_ arguments: RedisArguments) {
        self.lastCommandAt = .now()
        guard let spec = CommandTable.spec(named: arguments[0]) else { return self.unknown(arguments) }
        self.lastCommand = spec.name
        guard spec.accepts(argumentCount: arguments.count - 1) else {
            return self.fail("ERR wrong number of arguments for '\(spec.name)' command")
        }
        if !self.isAuthenticated, spec.id != 83, spec.id != 82, spec.id != 86, spec.id != 85 {
            return self.fail("NOAUTH Authentication required.")
        }
        if self.transaction != nil, spec.kind != .local || [80, 81, 87, 88, 90, 91, 92].contains(spec.id),
            spec.id != CommandTable.exec, spec.id != CommandTable.watch
        {
            return self.queue(spec, arguments)
        }
        switch spec.kind {
        case .read where spec.id == CommandTable.watch: self.watch(spec, arguments)
        case .write where spec.id == CommandTable.exec: self.exec()
        case .read, .write: self.submit(spec, arguments)
        case .local: self.local(spec, arguments)
        }
    }

    private func local(_ spec: CommandSpec, _ arguments: RedisArguments) {
        switch spec.id {
        case 61: self.multi()
        case 63: self.discard()
        case 64: self.unwatch()
        case 80: self.ping(arguments)
        case 81: self.answer { $0.bulk(arguments[1]) }
        case 82: self.hello(arguments)
        case 83: self.auth(arguments)
        case 84: self.select(arguments)
        case 85:
            self.reset()
            self.answer { $0.simple("RESET") }
        case 86:
            self.answer { $0.ok() }
            self.closeAfterReplies()
        case 87: self.info(arguments)
        case 88: self.role()
        case 89: self.waitFor(arguments)
        case 90: self.client(arguments)
        case 91: self.commandTable(arguments)
        case 92: self.config(arguments)
        case 93: self.administer((1..<arguments.count).map { Array(arguments[$0]) })
        default: self.unknown(arguments)
        }
    }

    /// An error; within MULTI it also breaks the transaction.
    func fail(_ text: String) {
        self.transaction?.isBroken = true
        self.answer { $0.error(text) }
    }

    private func unknown(_ arguments: RedisArguments) {
        var text = "ERR unknown command '\(String(decoding: arguments[0].prefix(128), as: UTF8.self))', with args beginning with: "
        var at = 1
        while at < arguments.count, text.utf8.count < 128 + 60 {
            text += "'\(String(decoding: arguments[at].prefix(128), as: UTF8.self))' "
            at += 1
        }
        self.fail(text)
    }

    // MARK: Transactions

    private func multi() {
        guard self.transaction == nil else { return self.answer { $0.error("ERR MULTI calls can not be nested") } }
        self.transaction = Transaction()
        self.answer { $0.ok() }
    }

    private func queue(_ spec: CommandSpec, _ arguments: RedisArguments) {
        guard spec.kind != .local else {
            return self.fail("ERR '\(spec.name)' is not supported within a transaction")
        }
        var command: [UInt8] = []
        arguments.encode(spec.id, into: &command)
        guard self.transaction!.bytes + command.count <= RESPParser.maxCommandBytes else {
            return self.fail("ERR the transaction is larger than \(RESPParser.maxCommandBytes) bytes")
        }
        self.transaction!.bytes += command.count
        self.transaction!.commands.append(command)
        self.answer { $0.simple("QUEUED") }
    }

    private func exec() {
        guard let transaction = self.transaction else { return self.answer { $0.error("ERR EXEC without MULTI") } }
        self.transaction = nil
        if transaction.isBroken {
            self.watched.removeAll()
            return self.answer { $0.error("EXECABORT Transaction discarded because of previous errors.") }
        }
        if transaction.commands.isEmpty, self.watched.isEmpty { return self.answer { $0.array(0) } }
        self.execute(transaction)
    }

    private func discard() {
        guard self.transaction != nil else { return self.answer { $0.error("ERR DISCARD without MULTI") } }
        self.transaction = nil
        self.watched.removeAll()
        self.answer { $0.ok() }
    }

    private func watch(_ spec: CommandSpec, _ arguments: RedisArguments) {
        guard self.transaction == nil else { return self.answer { $0.error("ERR WATCH inside MULTI is not allowed") } }
        self.watch((1..<arguments.count).map { Array(arguments[$0]) }, spec, arguments)
    }

    private func unwatch() {
        self.watched.removeAll()
        self.answer { $0.ok() }
    }

    // MARK: Connection

    private func ping(_ arguments: RedisArguments) {
        guard arguments.count <= 2 else { return self.fail("ERR wrong number of arguments for 'ping' command") }
        if arguments.count == 2 { self.answer { $0.bulk(arguments[1]) } } else { self.answer { $0.simple("PONG") } }
    }

    /// Whether the credentials are the default user's.
    private func authenticate(_ user: String, _ password: UnsafeRawBufferPointer) -> Bool {
        guard user == "default", let expected = self.server.options.password else { return user == "default" }
        let bytes = Array(expected.utf8)
        // In a time that does not tell where they differ.
        var difference = UInt8(truncatingIfNeeded: bytes.count ^ password.count)
        if bytes.count != password.count { difference |= 1 }
        for at in 0..<min(bytes.count, password.count) { difference |= bytes[at] ^ password[at] }
        return difference == 0
    }

    private static let wrongPassword = "WRONGPASS invalid username-password pair or user is disabled."

    private func auth(_ arguments: RedisArguments) {
        guard arguments.count <= 3 else { return self.fail("ERR syntax error") }
        if arguments.count == 2, self.server.options.password == nil {
            return self.fail(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
        }
        let user = arguments.count == 3 ? arguments.text(1) : "default"
        guard self.authenticate(user, arguments[arguments.count - 1]) else { return self.fail(Self.wrongPassword) }
        self.isAuthenticated = true
        self.answer { $0.ok() }
    }

    private func hello(_ arguments: RedisArguments) {
        var version = self.version
        var at = 1
        if arguments.count > 1 {
            guard let given = Int(arguments.text(1)) else {
                return self.fail("ERR Protocol version is not an integer or out of range")
            }
            guard given == 2 || given == 3 else { return self.fail("NOPROTO unsupported protocol version") }
            version = given
            at = 2
        }
        var name: [UInt8]?
        var isAuthenticated = self.isAuthenticated
        while at < arguments.count {
            if arguments.isWord(at, "auth"), at + 2 < arguments.count {
                guard self.authenticate(arguments.text(at + 1), arguments[at + 2]) else { return self.fail(Self.wrongPassword) }
                isAuthenticated = true
                at += 3
            } else if arguments.isWord(at, "setname"), at + 1 < arguments.count {
                name = Array(arguments[at + 1])
                guard Self.isName(name!) else { return self.fail(Self.badName) }
                at += 2
            } else {
                return self.fail("ERR Syntax error in HELLO option '\(arguments.text(at))'")
            }
        }
        guard isAuthenticated else {
            return self.fail(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
        }
        self.isAuthenticated = true
        if let name { self.name = name }
        self.version = version
        let isLeader = self.server.backend?.describe().isLeader ?? false
        self.answer { reply in
            reply.map(7)
            reply.bulk("server")
            reply.bulk("redis")
            reply.bulk("version")
            reply.bulk(Self.redisVersion)
            reply.bulk("proto")
            reply.integer(Int64(version))
            reply.bulk("id")
            reply.integer(Int64(self.id))
            reply.bulk("mode")
            reply.bulk("standalone")
            reply.bulk("role")
            if isLeader { reply.bulk("master") } else { reply.bulk("replica") }
            reply.bulk("modules")
            reply.array(0)
        }
    }

    /// What clients are told they talk to: the version whose behaviour the commands have.
    static let redisVersion: StaticString = "7.0.15"

    private func select(_ arguments: RedisArguments) {
        guard let index = Int(arguments.text(1)) else { return self.fail("ERR invalid DB index") }
        guard index == 0 else { return self.fail("ERR DB index is out of range") }
        self.answer { $0.ok() }
    }

    private func role() {
        guard let node = self.server.backend?.describe() else { return }
        self.answer { reply in
            if node.isLeader {
                reply.array(3)
                reply.bulk("master")
                reply.integer(Int64(node.appliedIndex))
                let peers = node.peers.filter(\.isUp)
                reply.array(peers.count)
                for peer in peers {
                    reply.array(3)
                    reply.bulk(Array(peer.host.utf8))
                    reply.bulk(Int64(peer.port))
                    reply.bulk(Int64(peer.matchIndex))
                }
            } else {
                reply.array(5)
                reply.bulk("slave")
                reply.bulk(Array(node.leaderHost.utf8))
                reply.integer(Int64(node.leaderPort))
                if node.leaderHost.isEmpty { reply.bulk("connect") } else { reply.bulk("connected") }
                reply.integer(Int64(node.appliedIndex))
            }
        }
    }

    private func waitFor(_ arguments: RedisArguments) {
        guard let replicas = Int(arguments.text(1)) else { return self.fail("ERR value is not an integer or out of range") }
        guard let timeout = Int(arguments.text(2)) else { return self.fail("ERR timeout is not an integer or out of range") }
        guard timeout >= 0 else { return self.fail("ERR timeout is negative") }
        self.wait(replicas: max(0, replicas), timeoutMilliseconds: UInt64(timeout))
    }

    static let badName = "ERR Client names cannot contain spaces, newlines or special characters."

    static func isName(_ bytes: [UInt8]) -> Bool { bytes.allSatisfy { $0 >= 0x21 && $0 <= 0x7e } }
}
