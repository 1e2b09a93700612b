import Cache
import NIOCore

/// CLIENT, COMMAND, CONFIG and INFO.
extension RedisConnection {
    func client(_ arguments: RedisArguments) {
        guard let subcommand = CommandTable.subcommand(of: 90, named: arguments[1]) else { return }
        switch "\(subcommand.name)" {
        case "id": self.answer { $0.integer(Int64(self.id)) }
        case "getname": self.answer { if self.name.isEmpty { $0.null() } else { $0.bulk(self.name) } }
        case "setname":
            let name = Array(arguments[2])
            guard Self.isName(name) else { return self.fail(Self.badName) }
            self.name = name
            self.answer { $0.ok() }
        case "setinfo": self.setInfo(arguments)
        case "info": self.answer { $0.verbatim(Array((self.description + "\n").utf8)) }
        case "list": self.clientList(arguments)
        case "kill": self.clientKill(arguments)
        case "no-evict":
            guard arguments.isWord(2, "on") || arguments.isWord(2, "off") else { return self.fail("ERR syntax error") }
            self.noEvict = arguments.isWord(2, "on")
            self.answer { $0.ok() }
        case "reply":
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
        default: self.help(Self.clientHelp)
        }
    }

    private func setInfo(_ arguments: RedisArguments) {
        let value = Array(arguments[3])
        let isName = arguments.isWord(2, "lib-name")
        guard isName || arguments.isWord(2, "lib-ver") else {
            return self.fail("ERR Unrecognized option '", arguments[2], "'")
        }
        guard Self.isName(value) else {
            return self.fail(
                "ERR \(isName ? "lib-name" : "lib-ver") cannot contain spaces, newlines or special characters.")
        }
        if isName { self.library.name = value } else { self.library.version = value }
        self.answer { $0.ok() }
    }

    /// A line of CLIENT LIST: Redis's fields in its order; what has no meaning here is 0.
    private var description: String {
        let now = NIODeadline.now()
        func seconds(_ since: NIODeadline) -> Int64 { (now - since).nanoseconds / 1_000_000_000 }
        let name = String(decoding: self.name, as: UTF8.self)
        let queued = self.transaction?.commands.count ?? self.executing
        let flags = (queued == nil ? "" : "x") + (self.noEvict ? "e" : "")
        let unsent = self.unsentBytes
        return "id=\(self.id) addr=\(self.remoteAddress) laddr=\(self.localAddress) fd=-1 name=\(name) "
            + "age=\(seconds(self.openedAt)) idle=\(seconds(self.lastCommandAt)) flags=\(flags.isEmpty ? "N" : flags) "
            + "db=0 sub=0 psub=0 ssub=0 multi=\(queued ?? -1) qbuf=0 qbuf-free=0 argv-mem=0 "
            + "multi-mem=\(self.transaction?.bytes ?? 0) rbs=0 rbp=0 obl=0 oll=0 omem=\(unsent) tot-mem=\(unsent) "
            + "events=r cmd=\(self.lastCommand) user=default redir=-1 resp=\(self.version)"
    }

    /// Whether a TYPE of CLIENT LIST or KILL stands for ordinary clients, as all here are; nil, with an error, for
    /// none.
    private func isNormalType(_ word: UnsafeRawBufferPointer) -> Bool? {
        if spells(word, "normal") { return true }
        let others: [StaticString] = ["master", "replica", "slave", "pubsub"]
        if others.contains(where: { spells(word, $0) }) { return false }
        self.fail("ERR Unknown client type '", word, "'")
        return nil
    }

    private func clientList(_ arguments: RedisArguments) {
        var chosen = self.server.connections.values.sorted { $0.id < $1.id }
        if arguments.count == 4, arguments.isWord(2, "type") {
            guard let isNormal = self.isNormalType(arguments[3]) else { return }
            if !isNormal { chosen = [] }
        } else if arguments.count > 3, arguments.isWord(2, "id") {
            var ids: [ConnectionID] = []
            for at in 3..<arguments.count {
                guard let id = integer(arguments[at]) else { return self.fail("ERR Invalid client ID") }
                if id > 0 { ids.append(ConnectionID(id)) }
            }
            chosen = ids.compactMap { self.server.connections[$0] }
        } else if arguments.count != 2 {
            return self.fail("ERR syntax error")
        }
        let text = chosen.map { $0.description + "\n" }.joined()
        self.answer { $0.verbatim(Array(text.utf8)) }
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
                let text: StaticString = "ERR client-id should be greater than 0"
                guard let id = self.number(arguments[at + 1], in: 1...Int64.max, text, outOfRange: text) else { return }
                filters.append { $0.id == ConnectionID(id) }
            } else if arguments.isWord(at, "addr") {
                filters.append { $0.remoteAddress == value }
            } else if arguments.isWord(at, "laddr") {
                filters.append { $0.localAddress == value }
            } else if arguments.isWord(at, "user") {
                guard arguments[at + 1].elementsEqual("default".utf8) else {
                    return self.fail("ERR No such user '", arguments[at + 1], "'")
                }
            } else if arguments.isWord(at, "type") {
                guard let isNormal = self.isNormalType(arguments[at + 1]) else { return }
                if !isNormal { filters.append { _ in false } }
            } else if arguments.isWord(at, "skipme") {
                guard arguments.isWord(at + 1, "yes") || arguments.isWord(at + 1, "no") else {
                    return self.fail("ERR syntax error")
                }
                skipsSelf = arguments.isWord(at + 1, "yes")
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

    private func help(_ lines: [StaticString]) {
        self.answer { reply in
            reply.array(lines.count)
            for line in lines { reply.simple(line) }
        }
    }

    // MARK: COMMAND

    /// By full name, subcommands too.
    private static let information: [[UInt8]: ReplyNotation] = {
        var table: [[UInt8]: ReplyNotation] = [:]
        for entry in CommandInformation.entries {
            let notation = ReplyNotation(entry.text)
            table[Array("\(entry.name)".utf8)] = notation
            for subcommand in notation.elements[9].elements { table[subcommand.elements[0].bytes] = subcommand }
        }
        return table
    }()

    private static let documentation: [[UInt8]: ReplyNotation] = {
        var table: [[UInt8]: ReplyNotation] = [:]
        for entry in CommandDocumentation.entries {
            let fields = ReplyNotation(entry.text)
            table[Array("\(entry.name)".utf8)] = fields
            guard let at = fields.elements.firstIndex(where: { $0.bytes == Array("subcommands".utf8) }) else {
                continue
            }
            let subcommands = fields.elements[at + 1].elements
            for at in stride(from: 0, to: subcommands.count, by: 2) {
                table[subcommands[at].bytes] = subcommands[at + 1]
            }
        }
        return table
    }()

    func commandTable(_ arguments: RedisArguments) {
        let names = CommandInformation.entries.map { Array("\($0.name)".utf8) }
        /// The names asked for, in lower case; all where there are none.
        func asked() -> [[UInt8]] {
            arguments.count == 2 ? names : (2..<arguments.count).map { Array(arguments.text($0).lowercased().utf8) }
        }
        let subcommand = arguments.count == 1 ? "info" : arguments.text(1).lowercased()
        switch subcommand {
        case "count": self.answer { $0.integer(Int64(names.count)) }
        case "info":
            let chosen = arguments.count == 1 ? names : asked()
            self.answer { reply in
                reply.array(chosen.count)
                for name in chosen {
                    if let found = Self.information[name] { found.write(to: &reply) } else { reply.null() }
                }
            }
        case "docs":
            let chosen = asked().filter { Self.documentation[$0] != nil }
            self.answer { reply in
                reply.map(chosen.count)
                for name in chosen {
                    reply.bulk(name)
                    Self.documentation[name]?.write(to: &reply)
                }
            }
        case "list": self.commandList(arguments)
        case "getkeys": self.getKeys(arguments)
        default: self.help(Self.commandHelp)
        }
    }

    private func commandList(_ arguments: RedisArguments) {
        var chosen = Array(Self.information.keys)
        if arguments.count > 2 {
            guard arguments.count == 5, arguments.isWord(2, "filterby") else { return self.fail("ERR syntax error") }
            if arguments.isWord(3, "module") {
                chosen = []
            } else if arguments.isWord(3, "aclcat") {
                let category = Array("@\(arguments.text(4).lowercased())".utf8)
                chosen = chosen.filter { Self.information[$0]!.elements[6].elements.contains { $0.bytes == category } }
            } else if arguments.isWord(3, "pattern") {
                let pattern = arguments[4]
                chosen = chosen.filter { name in name.withUnsafeBytes { globMatches(pattern, $0, ignoresCase: true) } }
            } else {
                return self.fail("ERR syntax error")
            }
        }
        chosen.sort { $0.lexicographicallyPrecedes($1) }
        self.answer { reply in
            reply.array(chosen.count)
            for name in chosen { reply.bulk(name) }
        }
    }

    private func getKeys(_ arguments: RedisArguments) {
        guard let spec = CommandTable.spec(named: arguments[2]), spec.id != 93 else {
            return self.fail("ERR Invalid command specified")
        }
        let given = arguments.count - 2
        var isAccepted = spec.accepts(argumentCount: given - 1)
        var hasKeys = spec.keys.first > 0
        if CommandTable.hasSubcommands(spec.id), given > 1 {
            guard let subcommand = CommandTable.subcommand(of: spec.id, named: arguments[3]) else {
                return self.fail("ERR Invalid command specified")
            }
            isAccepted = subcommand.accepts(argumentCount: given - 1)
            hasKeys = hasKeys && !spells(arguments[3], "help")
        }
        guard hasKeys else { return self.fail("ERR The command has no key arguments") }
        guard isAccepted else { return self.fail("ERR Invalid number of arguments specified for command") }
        let last = spec.keys.last < 0 ? given + spec.keys.last : spec.keys.last
        let keys = Array(stride(from: spec.keys.first, through: last, by: spec.keys.step))
        self.answer { reply in
            reply.array(keys.count)
            for key in keys { reply.bulk(arguments[2 + key]) }
        }
    }

    // MARK: CONFIG

    /// What CONFIG GET knows: Redis's names, with values that describe what holds here.
    private var configuration: [(name: StaticString, value: String)] {
        let options = self.server.options
        return [
            ("appendfsync", "always"), ("appendonly", "yes"), ("bind", options.host), ("cluster-enabled", "no"),
            ("databases", "1"), ("hz", "10"), ("io-threads", "1"), ("lfu-decay-time", "1"), ("lfu-log-factor", "10"),
            ("maxclients", "\(options.maxClients)"), ("maxmemory", "\(options.maxMemory)"), ("maxmemory-clients", "0"),
            ("maxmemory-policy", "noeviction"), ("maxmemory-samples", "5"), ("notify-keyspace-events", ""),
            ("port", "\(self.server.port)"), ("proto-max-bulk-len", "\(RESPParser.maxBulk)"), ("protected-mode", "no"),
            ("replica-read-only", "no"), ("requirepass", options.password ?? ""), ("save", ""),
            ("slave-read-only", "no"), ("tcp-backlog", "4096"), ("tcp-keepalive", "300"), ("timeout", "0"),
        ]
    }

    func config(_ arguments: RedisArguments) {
        if arguments.isWord(1, "get") {
            let found = self.configuration.filter { parameter in
                (2..<arguments.count).contains { at in
                    parameter.name.withUTF8Buffer {
                        globMatches(arguments[at], UnsafeRawBufferPointer($0), ignoresCase: true)
                    }
                }
            }
            self.answer { reply in
                reply.map(found.count)
                for parameter in found {
                    reply.bulk(parameter.name)
                    reply.bulk(Array(parameter.value.utf8))
                }
            }
        } else if arguments.isWord(1, "set") {
            self.configSet(arguments)
        } else if arguments.isWord(1, "resetstat") {
            self.server.totalCommands = 0
            self.server.totalConnections = 0
            self.answer { $0.ok() }
        } else {
            self.help(Self.configHelp)
        }
    }

    /// Nothing can be set while the node runs; to set what is already so is no error.
    private func configSet(_ arguments: RedisArguments) {
        guard arguments.count % 2 == 0 else { return self.fail("ERR syntax error") }
        let known = self.configuration
        func parameter(_ at: Int) -> (name: StaticString, value: String)? {
            known.first { spells(arguments[at], $0.name) }
        }
        for at in stride(from: 2, to: arguments.count, by: 2) where parameter(at) == nil {
            return self.fail("ERR Unknown option or number of arguments for CONFIG SET - '", arguments[at], "'")
        }
        for at in stride(from: 2, to: arguments.count, by: 2) {
            let parameter = parameter(at)!
            guard arguments[at + 1].elementsEqual(parameter.value.utf8) else {
                return self.fail(
                    "ERR CONFIG SET failed (possibly related to argument '\(parameter.name)') - can't set immutable config"
                )
            }
        }
        self.answer { $0.ok() }
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
        section(
            "Clients",
            [
                "connected_clients:\(self.server.connections.count)", "maxclients:\(self.server.options.maxClients)",
                "blocked_clients:0",
            ])
        section(
            "Memory", ["used_memory:\(node.usedMemory)", "maxmemory:\(node.maxMemory)", "maxmemory_policy:noeviction"])
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
                replication.append(
                    "slave\(at):ip=\(peer.host),port=\(peer.port),state=online,offset=\(peer.matchIndex),lag=0")
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
        section("Scrub", node.scrub)
        section(
            "Keyspace", node.keyCount > 0 ? ["db0:keys=\(node.keyCount),expires=\(node.keysWithExpiry),avg_ttl=0"] : [])
        self.answer { $0.verbatim(Array(text.utf8)) }
    }

    // MARK: HELP

    // Redis's lines for the subcommands that there are.

    private static let clientHelp: [StaticString] = [
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "HELP",
        "    Prints this help.",
    ]

    private static let commandHelp: [StaticString] = [
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "HELP",
        "    Prints this help.",
    ]

    private static let configHelp: [StaticString] = [
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "HELP",
        "    Prints this help.",
    ]
}
