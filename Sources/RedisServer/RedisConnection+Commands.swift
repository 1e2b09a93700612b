import Cache
import NIOCore

/// What each request does. Texts as in Redis 7.0.15.
extension RedisConnection {
    func run(_ arguments: RedisArguments) {
        self.lastCommandAt = .now()
        guard let spec = CommandTable.spec(named: arguments[0]) else { return self.unknown(arguments) }
        var fullName = spec.name
        var isAccepted = spec.accepts(argumentCount: arguments.count - 1)
        if arguments.count > 1, CommandTable.hasSubcommands(spec.id) {
            guard let subcommand = CommandTable.subcommand(of: spec.id, named: arguments[1]) else {
                return self.unknownSubcommand(of: spec, arguments)
            }
            fullName = subcommand.fullName
            isAccepted = subcommand.accepts(argumentCount: arguments.count - 1)
        }
        self.lastCommand = fullName
        guard isAccepted else {
            let text = "wrong number of arguments for '\(fullName)' command"
            return spec.id == CommandTable.exec ? self.abort(text) : self.fail("ERR \(text)")
        }
        if !self.isAuthenticated, ![82, 83, 85, 86].contains(spec.id) {
            let text = "NOAUTH Authentication required."
            return spec.id == CommandTable.exec ? self.abort(text) : self.fail(text)
        }
        if self.transaction != nil, ![CommandTable.exec, CommandTable.watch, 61, 63, 85, 86].contains(spec.id) {
            return self.queue(spec, arguments)
        }
        switch spec.kind {
        case .read where spec.id == CommandTable.watch: self.watch(spec, arguments)
        case .write where spec.id == CommandTable.exec: self.exec()
        case .read, .write: self.submit(spec, arguments)
        case .local: self.local(spec, arguments)
        }
    }

    func local(_ spec: CommandSpec, _ arguments: RedisArguments) {
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

    /// EXEC can not be run: its transaction is lost.
    func abort(_ reason: String) {
        self.endTransaction()
        self.answer { $0.error("EXECABORT Transaction discarded because of: \(reason)") }
    }

    /// An error; within MULTI it also breaks the transaction.
    func fail(_ text: String) {
        self.transaction?.isBroken = true
        self.answer { $0.error(text) }
    }

    /// As Redis composes it: all arguments together give at most 128 bytes and their quotes.
    private func unknown(_ arguments: RedisArguments) {
        var quoted: [UInt8] = []
        var at = 1
        while at < arguments.count, quoted.count < 128 {
            let limit = 128 - quoted.count
            quoted.append(0x27)
            quoted += arguments.word(at).prefix(limit)
            quoted += "' ".utf8
            at += 1
        }
        let text =
            Array("ERR unknown command '".utf8) + Array(arguments.word(0).prefix(128))
            + Array("', with args beginning with: ".utf8) + quoted
        self.transaction?.isBroken = true
        self.answer { $0.error(text) }
    }

    private func unknownSubcommand(of spec: CommandSpec, _ arguments: RedisArguments) {
        self.transaction?.isBroken = true
        self.answer {
            $0.error(
                Array("ERR unknown subcommand '".utf8) + Array(arguments.word(1).prefix(128))
                    + Array("'. Try \("\(spec.name)".uppercased()) HELP.".utf8))
        }
    }

    /// An error that ends with a word of the request.
    func fail(_ before: StaticString, _ word: UnsafeRawBufferPointer, _ after: StaticString = "") {
        self.transaction?.isBroken = true
        self.answer { $0.error(before, word, after) }
    }

    /// A word as an integer; nil, with Redis's error, where it is none or out of `range`.
    func number(
        _ word: UnsafeRawBufferPointer, in range: ClosedRange<Int64> = Int64.min...Int64.max,
        _ text: StaticString = "ERR value is not an integer or out of range", outOfRange: StaticString? = nil
    ) -> Int64? {
        guard let value = integer(word) else {
            self.fail("\(text)")
            return nil
        }
        guard range.contains(value) else {
            self.fail(
                outOfRange.map { "\($0)" }
                    ?? "ERR value is out of range, value must between \(range.lowerBound) and \(range.upperBound)")
            return nil
        }
        return value
    }

    // MARK: Transactions

    private func multi() {
        guard self.transaction == nil else { return self.answer { $0.error("ERR MULTI calls can not be nested") } }
        self.transaction = Transaction()
        self.answer { $0.ok() }
    }

    private func queue(_ spec: CommandSpec, _ arguments: RedisArguments) {
        // It can only be discarded: nothing more is kept.
        if self.transaction!.isBroken {
            if spec.id == 93 { return self.fail("ERR '\(spec.name)' is not supported within a transaction") }
            return self.answer { $0.simple("QUEUED") }
        }
        let size: Int
        // A transaction is of one space.
        if spec.id == 84 { return self.fail("ERR SELECT is not allowed in transactions") }
        if spec.kind == .local {
            guard spec.id != 93 else { return self.fail("ERR '\(spec.name)' is not supported within a transaction") }
            let words = (0..<arguments.count).map { Array(arguments[$0]) }
            size = words.reduce(64) { $0 + $1.count + 32 }
            self.transaction!.commands.append(.local(spec, words))
        } else {
            var command: [UInt8] = []
            arguments.encode(spec.id, into: &command)
            size = command.count + 4
            self.transaction!.commands.append(.operation(command))
        }
        self.transaction!.bytes += size
        guard self.transaction!.bytes <= Self.maxTransactionBytes else {
            self.transaction!.commands = []
            return self.fail("ERR the transaction is larger than \(Self.maxTransactionBytes) bytes")
        }
        self.answer { $0.simple("QUEUED") }
    }

    private func exec() {
        guard let transaction = self.transaction else { return self.answer { $0.error("ERR EXEC without MULTI") } }
        self.transaction = nil
        if transaction.isBroken {
            self.watched.removeAll()
            return self.answer { $0.error("EXECABORT Transaction discarded because of previous errors.") }
        }
        self.execute(transaction)
    }

    func endTransaction() {
        self.transaction = nil
        self.watched.removeAll()
    }

    private func discard() {
        guard self.transaction != nil else { return self.answer { $0.error("ERR DISCARD without MULTI") } }
        self.endTransaction()
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
    private func authenticate(_ user: UnsafeRawBufferPointer?, _ password: UnsafeRawBufferPointer) -> Bool {
        if let user, !user.elementsEqual("default".utf8) { return false }
        guard let expected = self.server.options.password else { return true }
        let bytes = Array(expected.utf8)
        // In a time that does not tell where they differ.
        var difference: UInt8 = bytes.count == password.count ? 0 : 1
        for at in 0..<min(bytes.count, password.count) { difference |= bytes[at] ^ password[at] }
        return difference == 0
    }

    private static let wrongPassword = "WRONGPASS invalid username-password pair or user is disabled."

    private func auth(_ arguments: RedisArguments) {
        guard arguments.count <= 3 else { return self.fail("ERR syntax error") }
        if arguments.count == 2, self.server.options.password == nil {
            return self.fail(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
            )
        }
        guard self.authenticate(arguments.count == 3 ? arguments[1] : nil, arguments[arguments.count - 1]) else {
            return self.fail(Self.wrongPassword)
        }
        self.isAuthenticated = true
        self.answer { $0.ok() }
    }

    private func hello(_ arguments: RedisArguments) {
        var version = self.version
        if arguments.count > 1 {
            guard
                let given = self.number(
                    arguments[1], in: 2...3, "ERR Protocol version is not an integer or out of range",
                    outOfRange: "NOPROTO unsupported protocol version")
            else { return }
            version = Int(given)
        }
        // In their order, as Redis does it: what came before a wrong one holds.
        var at = 2
        while at < arguments.count {
            if arguments.isWord(at, "auth"), at + 2 < arguments.count {
                guard self.authenticate(arguments[at + 1], arguments[at + 2]) else {
                    return self.fail(Self.wrongPassword)
                }
                self.isAuthenticated = true
                at += 3
            } else if arguments.isWord(at, "setname"), at + 1 < arguments.count {
                let name = Array(arguments[at + 1])
                guard Self.isName(name) else { return self.fail(Self.badName) }
                self.name = name
                at += 2
            } else {
                return self.fail("ERR Syntax error in HELLO option '", arguments[at], "'")
            }
        }
        guard self.isAuthenticated else {
            return self.fail(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
            )
        }
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
        guard let index = self.number(arguments[1], in: Int64(Int32.min)...Int64(Int32.max)) else { return }
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
        guard let replicas = self.number(arguments[1]),
            let timeout = self.number(
                arguments[2], in: 0...Int64.max, "ERR timeout is not an integer or out of range",
                outOfRange: "ERR timeout is negative")
        else { return }
        // Within a transaction it does not wait: its reply is part of one that is whole.
        guard self.executing == nil else {
            let node = self.server.backend?.describe()
            let copies =
                node.map { node in node.peers.count { $0.matchIndex >= node.commitIndex && $0.matchIndex > 0 } } ?? 0
            return self.answer { $0.integer(Int64(copies)) }
        }
        self.wait(replicas: Int(max(0, replicas)), timeoutMilliseconds: UInt64(timeout))
    }

    static let badName = "ERR Client names cannot contain spaces, newlines or special characters."

    static func isName(_ bytes: [UInt8]) -> Bool { bytes.allSatisfy { $0 >= 0x21 && $0 <= 0x7e } }
}
