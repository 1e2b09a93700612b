import Cache
import Testing

@testable import RedisServer

/// COMMAND and the HELP texts beside redis-server's, and that its other commands are unknown here.
@Suite struct CommandTableTests {
    private static let names = CommandTable.specs.map { "\($0.name)" }.filter { $0 != "kintsugi" }

    private static func ask(_ socket: ClientSocket, _ words: [String]) throws -> [UInt8] {
        try socket.replies(to: encode(words.map { Array($0.utf8) }), count: 1)[0]
    }

    @Test(arguments: ["2", "3"])
    func descriptionsAreRedisBytes(version: String) throws {
        let reference = try ReferenceServer()
        let server = try TestServer()
        defer { try? server.stop() }
        let (theirs, ours) = (try reference.connect(), try server.connect())
        for socket in [theirs, ours] { _ = try socket.ask("HELLO", version) }
        let containers = ["client", "command", "config", "object"]
        for name in Self.names where !containers.contains(name) {
            for about in ["INFO", "DOCS"] {
                #expect(
                    try Self.ask(ours, ["COMMAND", about, name]) == Self.ask(theirs, ["COMMAND", about, name]),
                    "\(about) \(name)")
            }
        }
        for name in containers {
            let (expected, given) = (
                Reply(try Self.ask(theirs, ["COMMAND", "INFO", name])).elements[0],
                Reply(try Self.ask(ours, ["COMMAND", "INFO", name])).elements[0]
            )
            #expect(expected.elements.count == 10 && given.elements.count == 10)
            for field in 0..<9 { #expect(expected.elements[field] == given.elements[field], "\(name) \(field)") }
            let there = Set(expected.elements[9].elements.map { $0.elements[0].bytes })
            #expect(given.elements[9].elements.allSatisfy { there.contains($0.elements[0].bytes) }, "\(name)")
        }
        // SETINFO came after 7.0.
        for subcommand in CommandTable.subcommands where "\(subcommand.fullName)" != "client|setinfo" {
            for about in ["INFO", "DOCS"] {
                let words = ["COMMAND", about, "\(subcommand.fullName)"]
                #expect(try Self.ask(ours, words) == Self.ask(theirs, words), "\(words)")
            }
        }
    }

    @Test func theTableIsThatOfCommandInfo() throws {
        let reference = try ReferenceServer()
        let socket = try reference.connect()
        for spec in CommandTable.specs where "\(spec.name)" != "kintsugi" {
            let info = Reply(try Self.ask(socket, ["COMMAND", "INFO", "\(spec.name)"])).elements[0].elements
            #expect(info[1] == .integer(Int64(spec.arity)), "\(spec.name)")
            let flags = Set(info[2].elements.map { String(decoding: $0.bytes, as: UTF8.self) })
            if ![CommandTable.exec, CommandTable.watch].contains(spec.id) {
                #expect(flags.contains("denyoom") == spec.mayGrow, "\(spec.name)")
                #expect(flags.contains("write") == (spec.kind == .write), "\(spec.name)")
                // OBJECT's are those of its subcommands.
                if "\(spec.name)" != "object" {
                    #expect(flags.contains("readonly") == (spec.kind == .read), "\(spec.name)")
                }
            }
            if spec.keys.first > 0, "\(spec.name)" != "object" {
                #expect(info[3] == .integer(Int64(spec.keys.first)), "\(spec.name)")
                #expect(info[4] == .integer(Int64(spec.keys.last)), "\(spec.name)")
                #expect(info[5] == .integer(Int64(spec.keys.step)), "\(spec.name)")
            }
        }
    }

    @Test func listsHaveEveryCommandOnce() throws {
        let server = try TestServer()
        defer { try? server.stop() }
        let socket = try server.connect()
        #expect(try socket.ask("COMMAND", "COUNT") == ":\(Self.names.count)\r\n")
        for words in [["COMMAND"], ["COMMAND", "INFO"]] {
            #expect(
                Reply(try Self.ask(socket, words)).elements.map { $0.elements[0].bytes }.sorted {
                    $0.lexicographicallyPrecedes($1)
                } == Self.names.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) })
        }
        let list = Reply(try Self.ask(socket, ["COMMAND", "LIST"])).elements.map {
            String(decoding: $0.bytes, as: UTF8.self)
        }
        #expect(Set(list).isSuperset(of: Self.names) && Set(list).count == list.count && list.contains("client|kill"))
        #expect(Reply(try Self.ask(socket, ["COMMAND", "DOCS"])).elements.count == 2 * Self.names.count)
        #expect(Reply(try Self.ask(socket, ["COMMAND", "LIST", "FILTERBY", "PATTERN", "GET*"])).elements.count == 5)
        let strings = Reply(try Self.ask(socket, ["COMMAND", "LIST", "FILTERBY", "ACLCAT", "string"])).elements
        #expect(strings.contains(.bulk(Array("get".utf8))) && !strings.contains(.bulk(Array("del".utf8))))
    }

    /// HELP gives Redis's lines for what there is.
    @Test func helpIsRedisTextForWhatThereIs() throws {
        let reference = try ReferenceServer()
        let server = try TestServer()
        defer { try? server.stop() }
        let (theirs, ours) = (try reference.connect(), try server.connect())
        #expect(try Self.ask(theirs, ["OBJECT", "HELP"]) == Self.ask(ours, ["OBJECT", "HELP"]))
        for name in ["CLIENT", "COMMAND", "CONFIG"] {
            let expected = Reply(try Self.ask(theirs, [name, "HELP"])).elements
            let given = Reply(try Self.ask(ours, [name, "HELP"])).elements
            // A subsequence of theirs, with the same first and last line.
            var at = 0
            for line in given {
                while at < expected.count, expected[at] != line { at += 1 }
                #expect(at < expected.count, "\(name): \(String(decoding: line.bytes, as: UTF8.self))")
                at += 1
            }
            #expect(given.first == expected.first && given.last == expected.last && given.count > 6)
        }
    }

    /// What Redis has and we have not is unknown, in Redis's words for what it does not know.
    @Test func otherCommandsAreUnknown() throws {
        let reference = try ReferenceServer()
        let server = try TestServer()
        defer { try? server.stop() }
        let (theirs, ours) = (try reference.connect(), try server.connect())
        let all = Reply(try Self.ask(theirs, ["COMMAND", "LIST"])).elements.map {
            String(decoding: $0.bytes, as: UTF8.self)
        }
        let others = all.filter { !$0.contains("|") && !Self.names.contains($0) }
        #expect(others.count > 150)
        for name in others {
            #expect(
                try ours.ask(name, "a", "b") == "-ERR unknown command '\(name)', with args beginning with: 'a' 'b' \r\n"
            )
        }
        let here = Set(CommandTable.subcommands.map { "\($0.fullName)" })
        for name in all where name.contains("|") && !here.contains(name) {
            let parts = name.split(separator: "|").map(String.init)
            guard Self.names.contains(parts[0]) else { continue }
            #expect(
                try ours.ask(parts[0], parts[1])
                    == "-ERR unknown subcommand '\(parts[1])'. Try \(parts[0].uppercased()) HELP.\r\n")
        }
    }
}
