import Cache
import NIOCore

/// CLIENT, COMMAND, CONFIG and INFO.
extension RedisConnection {
    func client(_ arguments: RedisArguments) {
        func has(_ word: StaticString, _ count: ClosedRange<Int>) -> Bool? {
            guard arguments.isWord(1, word) else { return nil }
            if !count.contains(arguments.count) {
                self.fail("ERR wrong number of arguments for 'client|\(word)' command")
                return false
            }
            return true
        }
        if let fits = has("id", 2...2) {
            if fits { self.answer { $0.integer(Int64(self.id)) } }
        } else if let fits = has("getname", 2...2) {
            if fits { self.answer { if self.name.isEmpty { $0.null() } else { $0.bulk(self.name) } } }
        } else if let fits = has("setname", 3...3) {
            guard fits else { return }
            let name = Array(arguments[2])
            guard Self.isName(name) else { return self.fail(Self.badName) }
            self.name = name
            self.answer { $0.ok() }
        } else if let fits = has("setinfo", 4...4) {
            guard fits else { return }
            let value = Array(arguments[3])
            guard Self.isName(value) else {
                return self.fail("ERR \(arguments.text(2).lowercased()) cannot contain spaces, newlines or special characters.")
            }
            if arguments.isWord(2, "lib-name") {
                self.library.name = value
            } else if arguments.isWord(2, "lib-ver") {
                self.library.version = value
            } else {
                return self.fail("ERR Unrecognized option '\(arguments.text(2))'")
            }
            self.answer { $0.ok() }
        } else if let fits = has("info", 2...2) {
            if fits { self.answer { $0.bulk(Array((self.description + "\n").utf8)) } }
        } else if let fits = has("list", 2...Int.max) {
            if fits { self.clientList(arguments) }
        } else if let fits = has("kill", 3...Int.max) {
            if fits { self.clientKill(arguments) }
        } else if let fits = has("no-evict", 3...3) {
            guard fits else { return }
            guard arguments.isWord(2, "on") || arguments.isWord(2, "off") else { return self.fail("ERR syntax error") }
            self.noEvict = arguments.isWord(2, "on")
            self.answer { $0.ok() }
        } else if let fits = has("reply", 3...3) {
            guard fits else { return }
            if arguments.isWord(2, "on") {
                self.replyMode = .on
                self.answer { $0.ok() }
            } else if arguments.isWord(2, "off") {
                self.replyMode = .off
            } else if arguments.isWord(2, "skip") {
                if self.replyMode != .off { self.replyMode = .skipNext }
            } else {
                self.fail("ERR syntax error")
            }
        } else {
            self.fail("ERR unknown subcommand '\(String(decoding: arguments[1].prefix(128), as: UTF8.self))'. Try CLIENT HELP.")
        }
    }

    private var description: String {
        let now = NIODeadline.now()
        func seconds(_ since: NIODeadline) -> Int64 { (now - since).nanoseconds / 1_000_000_000 }
        let name = String(decoding: self.name, as: UTF8.self)
        let queued = self.transaction.map { "\($0.commands.count)" } ?? "-1"
        return "id=\(self.id) addr=\(self.remoteAddress) laddr=\(self.localAddress) fd=-1 name=\(name) "
            + "age=\(seconds(self.openedAt)) idle=\(seconds(self.lastCommandAt)) flags=\(self.transaction == nil ? "N" : "x") "
            + "db=0 sub=0 psub=0 ssub=0 multi=\(queued) cmd=\(self.lastCommand) user=default redir=-1 resp=\(self.version)"
    }

    private func clientList(_ arguments: RedisArguments) {
        var chosen = self.server.connections.values.sorted { $0.id < $1.id }
        if arguments.count > 2 {
            if arguments.isWord(2, "type"), arguments.count == 4 {
                guard ["normal", "master", "replica", "slave", "pubsub"].contains(arguments.text(3).lowercased()) else {
                    return self.fail("ERR Unknown client type '\(arguments.text(3))'")
                }
                if arguments.text(3).lowercased() != "normal" { chosen = [] }
            } else if arguments.isWord(2, "id"), arguments.count > 3 {
                var ids: [ConnectionID] = []
                for at in 3..<arguments.count {
                    guard let id = ConnectionID(arguments.text(at)) else { return self.fail("ERR Invalid client ID") }
                    ids.append(id)
                }
                chosen = chosen.filter { ids.contains($0.id) }
            } else {
                return self.fail("ERR syntax error")
            }
        }
        let text = chosen.map { $0.description + "\n" }.joined()
        self.answer { $0.bulk(Array(text.utf8)) }
    }

    private func clientKill(_ arguments: RedisArguments) {
        if arguments.count == 3 {
            let address = arguments.text(2)
            guard let found = self.server.connections.values.first(where: { $0.remoteAddress == address }) else {
                return self.fail("ERR No such client")
            }
            self.answer { $0.ok() }
            return found === self ? self.closeAfterReplies() : found.close()
        }
        var filters: [(RedisConnection) -> Bool] = []
        var skipsSelf = true
        var at = 2
        while at < arguments.count {
            guard at + 1 < arguments.count else { return self.fail("ERR syntax error") }
            let value = arguments.text(at + 1)
            if arguments.isWord(at, "id") {
                guard let id = ConnectionID(value), id > 0 else { return self.fail("ERR client-id should be greater than 0") }
                filters.append { $0.id == id }
            } else if arguments.isWord(at, "addr") {
                filters.append { $0.remoteAddress == value }
            } else if arguments.isWord(at, "laddr") {
                filters.append { $0.localAddress == value }
            } else if arguments.isWord(at, "user") {
                guard value == "default" else { return self.fail("ERR No such user '\(value)'") }
            } else if arguments.isWord(at, "type") {
                guard ["normal", "master", "replica", "slave", "pubsub"].contains(value.lowercased()) else {
                    return self.fail("ERR Unknown client type '\(value)'")
                }
                if value.lowercased() != "normal" { filters.append { _ in false } }
            } else if arguments.isWord(at, "skipme") {
                guard ["yes", "no"].contains(value.lowercased()) else { return self.fail("ERR syntax error") }
                skipsSelf = value.lowercased() == "yes"
            } else {
                return self.fail("ERR syntax error")
            }
            at += 2
        }
        let victims = self.server.connections.values.filter { connection in
            !(skipsSelf && connection === self) && filters.allSatisfy { $0(connection) }
        }
        self.answer { $0.integer(Int64(victims.count)) }
        for victim in victims { if victim === self { self.closeAfterReplies() } else { victim.close() } }
    }

    // MARK: COMMAND

    func commandTable(_ arguments: RedisArguments) {
        let specs = CommandTable.specs.filter { $0.id != 93 }
        if arguments.count == 1 {
            return self.answer { reply in
                reply.array(specs.count)
                for spec in specs { Self.describe(spec, &reply) }
            }
        }
        if arguments.isWord(1, "count") {
            self.answer { $0.integer(Int64(specs.count)) }
        } else if arguments.isWord(1, "list") {
            self.answer { reply in
                reply.array(specs.count)
                for spec in specs { reply.bulk(spec.name) }
            }
        } else if arguments.isWord(1, "info") {
            let chosen = arguments.count == 2 ? specs.map { Optional($0) } : (2..<arguments.count).map { CommandTable.spec(named: arguments[$0]) }
            self.answer { reply in
                reply.array(chosen.count)
                for spec in chosen { if let spec { Self.describe(spec, &reply) } else { reply.nullArray() } }
            }
        } else if arguments.isWord(1, "docs") {
            self.answer { $0.map(0) }
        } else if arguments.isWord(1, "getkeys"), arguments.count > 2 {
            self.getKeys(arguments)
        } else {
            self.fail("ERR unknown subcommand '\(String(decoding: arguments[1].prefix(128), as: UTF8.self))'. Try COMMAND HELP.")
        }
    }

    private static func describe(_ spec: CommandSpec, _ reply: inout ReplyBuffer) {
        reply.array(10)
        reply.bulk(spec.name)
        reply.integer(Int64(spec.arity))
        reply.array(spec.mayGrow ? 2 : 1)
        switch spec.kind {
        case .read: reply.simple("readonly")
        case .write: reply.simple("write")
        case .local: reply.simple("fast")
        }
        if spec.mayGrow { reply.simple("denyoom") }
        reply.integer(Int64(spec.keys.first))
        reply.integer(Int64(spec.keys.last))
        reply.integer(Int64(spec.keys.step))
        for _ in 0..<4 { reply.array(0) }
    }

    private func getKeys(_ arguments: RedisArguments) {
        guard let spec = CommandTable.spec(named: arguments[2]) else { return self.fail("ERR Invalid command specified") }
        let given = arguments.count - 2
        guard spec.accepts(argumentCount: given - 1) else {
            return self.fail("ERR Invalid number of arguments specified for command")
        }
        guard spec.keys.first > 0 else { return self.fail("ERR The command has no key arguments") }
        let last = spec.keys.last < 0 ? given + spec.keys.last : spec.keys.last
        let keys = Array(stride(from: spec.keys.first, through: last, by: spec.keys.step))
        self.answer { reply in
            reply.array(keys.count)
            for key in keys { reply.bulk(arguments[2 + key]) }
        }
    }

    // MARK: CONFIG

    func config(_ arguments: RedisArguments) {
        if arguments.isWord(1, "get"), arguments.count >= 3 {
            let values: [(String, String)] = [
                ("appendfsync", "always"), ("appendonly", "yes"), ("databases", "1"), ("maxclients", "\(self.server.options.maxClients)"),
                ("maxmemory", "\(self.server.options.maxMemory)"), ("maxmemory-policy", "noeviction"), ("port", "\(self.server.port)"),
                ("proto-max-bulk-len", "\(RESPParser.maxBulk)"), ("save", ""), ("timeout", "0"),
            ]
            let patterns = (2..<arguments.count).map { Array(arguments.text($0).lowercased().utf8) }
            let found = values.filter { value in
                patterns.contains { pattern in Array(value.0.utf8).withUnsafeBytes { name in pattern.withUnsafeBytes { globMatches($0, name) } } }
            }
            self.answer { reply in
                reply.map(found.count)
                for (name, value) in found {
                    reply.bulk(Array(name.utf8))
                    reply.bulk(Array(value.utf8))
                }
            }
        } else if arguments.isWord(1, "set"), arguments.count >= 4, arguments.count % 2 == 0 {
            self.fail("ERR CONFIG SET failed (possibly related to argument '\(arguments.text(2))') - can't set immutable config")
        } else if arguments.isWord(1, "resetstat"), arguments.count == 2 {
            self.server.totalCommands = 0
            self.server.totalConnections = 0
            self.answer { $0.ok() }
        } else {
            self.fail("ERR unknown subcommand or wrong number of arguments for '\(arguments.text(1))'. Try CONFIG HELP.")
        }
    }

    // MARK: INFO

    func info(_ arguments: RedisArguments) {
        guard let node = self.server.backend?.describe() else { return }
        let wanted = (1..<arguments.count).map { arguments.text($0).lowercased() }
        let isAll = wanted.isEmpty || wanted.contains { ["all", "default", "everything"].contains($0) }
        let uptime = (NIODeadline.now() - self.server.startedAt).nanoseconds / 1_000_000_000
        var text = ""
        func section(_ name: String, _ lines: [String]) {
            guard isAll || wanted.contains(name.lowercased()) else { return }
            if !text.isEmpty { text += "\r\n" }
            text += "# \(name)\r\n" + lines.map { $0 + "\r\n" }.joined()
        }
        section(
            "Server",
            [
                "redis_version:\(Self.redisVersion)", "redis_mode:standalone", "server_name:kintsugi", "arch_bits:64",
                "run_id:\(node.incarnation)\(node.run)", "tcp_port:\(self.server.port)", "uptime_in_seconds:\(uptime)",
                "uptime_in_days:\(uptime / 86400)",
            ])
        section("Clients", ["connected_clients:\(self.server.connections.count)", "maxclients:\(self.server.options.maxClients)", "blocked_clients:0"])
        section("Memory", ["used_memory:\(node.usedMemory)", "maxmemory:\(node.maxMemory)", "maxmemory_policy:noeviction"])
        section("Persistence", ["loading:0", "aof_enabled:1", "aof_last_write_status:ok"])
        section(
            "Stats",
            [
                "total_connections_received:\(self.server.totalConnections)",
                "total_commands_processed:\(self.server.totalCommands)",
            ])
        var replication = ["role:\(node.isLeader ? "master" : "slave")"]
        if node.isLeader {
            let peers = node.peers.filter(\.isUp)
            replication.append("connected_slaves:\(peers.count)")
            for (at, peer) in peers.enumerated() {
                replication.append("slave\(at):ip=\(peer.host),port=\(peer.port),state=online,offset=\(peer.matchIndex),lag=0")
            }
        } else {
            replication += [
                "master_host:\(node.leaderHost)", "master_port:\(node.leaderPort)",
                "master_link_status:\(node.leaderHost.isEmpty ? "down" : "up")",
            ]
        }
        replication += ["master_replid:\(node.cluster)", "master_repl_offset:\(node.appliedIndex)"]
        section("Replication", replication)
        section(
            "Kintsugi",
            [
                "cluster:\(node.cluster)", "node:\(node.node)", "run:\(node.run)", "term:\(node.term)",
                "commit_index:\(node.commitIndex)", "applied_index:\(node.appliedIndex)",
            ])
        section(
            "Keyspace", node.keyCount > 0 ? ["db0:keys=\(node.keyCount),expires=\(node.keysWithExpiry),avg_ttl=0"] : [])
        self.answer { $0.bulk(Array(text.utf8)) }
    }
}
