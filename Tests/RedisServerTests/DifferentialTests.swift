import Replication
import Testing

/// The reference and ours, asked the same.
private struct Pair {
    let reference: ClientSocket
    let ours: ClientSocket
    var generator: CommandGenerator
    /// What MULTI has queued, as far as the replies told.
    var queued: [[[UInt8]]] = []
}

/// What must be equal in two replies to one request. Everything, byte for byte, unless the request asks for what two
/// servers can not have in common.
private struct Comparison {
    /// Milliseconds by which the two servers may have run a command at different times.
    static let clockTolerance: Int64 = 5000

    static func areEqual(_ request: [[UInt8]], _ reference: [UInt8], _ ours: [UInt8], queued: [[[UInt8]]]) -> Bool {
        if reference == ours { return true }
        guard let first = reference.first, first == ours.first, first != 0x2d, let name = request.first else {
            return false
        }
        return self.areEqual(
            String(decoding: name, as: UTF8.self).lowercased(), request, Reply(reference), Reply(ours), queued: queued)
    }

    static func areEqual(_ request: [[UInt8]], _ reference: Reply, _ ours: Reply) -> Bool {
        self.areEqual(String(decoding: request[0], as: UTF8.self).lowercased(), request, reference, ours, queued: [])
    }

    private static func areEqual(
        _ name: String, _ request: [[UInt8]], _ reference: Reply, _ ours: Reply, queued: [[[UInt8]]]
    ) -> Bool {
        if reference == ours, name != "exec" { return true }
        let second = request.count > 1 ? String(decoding: request[1], as: UTF8.self).lowercased() : ""
        switch (name, reference, ours) {
        case ("exec", .array(let reference), .array(let ours)):
            return reference.count == ours.count && reference.count == queued.count
                && zip(queued, zip(reference, ours)).allSatisfy { command, replies in
                    self.areEqual(
                        String(decoding: command[0], as: UTF8.self).lowercased(), command, replies.0, replies.1,
                        queued: [])
                }
        // Which key is chance; that there is one is not.
        case ("randomkey", .bulk, .bulk): return true
        // The order of a hash table is its own.
        case ("keys", .array(let reference), .array(let ours)):
            return self.sorted(reference) == self.sorted(ours)
        // So are the places where a walk over it stops. What a walk gives as a whole is compared after each chunk.
        case ("scan", .array(let reference), .array(let ours)):
            guard reference.count == 2, ours.count == 2, request.count > 1, request[1] == [0x30],
                reference[0] == .bulk([0x30]), ours[0] == .bulk([0x30])
            else { return reference.count == 2 && ours.count == 2 }
            return self.sorted(reference[1].elements) == self.sorted(ours[1].elements)
        case ("info", .bulk, .bulk): return true
        // What there is differs; that each entry is the same is tested by itself.
        case ("command", .array, .array), ("command", .map, .map):
            return request.count == 1 || request.count == 2 && ["list", "info", "docs"].contains(second)
        case ("command", .integer, .integer): return second == "count"
        case ("client", .integer, .integer): return second == "id"
        case ("client", .bulk(let reference), .bulk(let ours)):
            return second == "info" && self.fields(reference[...]) == self.fields(ours[...])
                || second == "list" && self.lines(reference) == self.lines(ours)
        // When a key was used last: Redis has one answer for all keys with the same small integer.
        case ("object", .integer(let reference), .integer(let ours)):
            return second == "idletime" && reference >= 0 && ours >= 0
                // Redis unshares a small integer that COPY copies, and counts what a transaction holds.
                || second == "refcount" && [1, 2].contains(reference) && [1, Int64(Int32.max)].contains(ours)
        case ("ttl", .integer(let reference), .integer(let ours)),
            ("expiretime", .integer(let reference), .integer(let ours)):
            return reference > 0 && ours > 0 && abs(reference - ours) <= self.clockTolerance / 1000
        case ("pttl", .integer(let reference), .integer(let ours)),
            ("pexpiretime", .integer(let reference), .integer(let ours)):
            return reference > 0 && ours > 0 && abs(reference - ours) <= self.clockTolerance
        // The connection's number is in it, at the same place.
        case ("hello", _, _):
            var (reference, ours) = (reference.elements, ours.elements)
            guard reference.count == 14, ours.count == 14, case .integer = ours[7] else { return false }
            reference[7] = ours[7]
            return reference == ours
        // The replication offset is in it.
        case ("role", .array(let reference), .array(let ours)):
            return reference.count == 3 && ours.count == 3 && reference[0] == ours[0] && reference[2] == ours[2]
        default: return false
        }
    }

    static func sorted(_ replies: [Reply]) -> [[UInt8]] {
        replies.map(\.bytes).sorted { $0.lexicographicallyPrecedes($1) }
    }

    private static func lines(_ list: [UInt8]) -> [[Substring]] {
        // How much others have queued, Redis counts until a watched key has changed.
        list.split(separator: 0x0a).map { line in self.fields(line).map { $0.hasPrefix("multi=") ? "multi" : $0 } }
            .sorted { $0.lexicographicallyPrecedes($1) }
    }

    /// A line of CLIENT INFO without the values that belong to the server or the moment; their names stay.
    static func fields(_ line: ArraySlice<UInt8>) -> [Substring] {
        let own: Set<Substring> = [
            "id", "txt:id", "addr", "laddr", "fd", "age", "idle", "qbuf", "qbuf-free", "argv-mem", "multi-mem", "rbs",
            "rbp", "tot-mem", "events",
            "obl", "oll", "omem",
        ]
        return String(decoding: line, as: UTF8.self).split(separator: " ").map { field in
            let name = field.prefix { $0 != "=" }
            // Flag `d`, that a watched key was changed, is known at EXEC only.
            return own.contains(name)
                ? name
                : name == "flags" && field == "flags=d"
                    ? "flags=N" : Substring(field.filter { name != "flags" || $0 != "d" })
        }
    }
}

/// Compares this server with redis-server 7.0.15, reply by reply.
@Suite struct DifferentialTests {
    private static let chunk = 80
    private static let connections = 4

    @Test(arguments: [(seed: 1, isDeferred: false), (seed: 2, isDeferred: true)])
    func repliesAreTheSameBytes(seed: UInt64, isDeferred: Bool) throws {
        let reference = try ReferenceServer()
        let server = try TestServer(isDeferred: isDeferred)
        defer { try? server.stop() }
        var pairs = try (0..<Self.connections).map { at in
            Pair(
                reference: try reference.connect(), ours: try server.connect(),
                generator: CommandGenerator(seed: seed &* 1000 &+ UInt64(at)))
        }
        // Half of them speak RESP3.
        for at in pairs.indices where at % 2 == 1 {
            _ = try pairs[at].reference.ask("HELLO", "3")
            _ = try pairs[at].ours.ask("HELLO", "3")
        }
        var random = Random(seed: seed)
        var sent = 0
        var differences: [String: [String]] = [:]
        while sent < 50_000 {
            let at = Int(random.below(UInt64(pairs.count)))
            sent += try Self.exchange(&pairs[at], seed: seed, at: sent, &differences)
            if random.below(20) == 0 { try Self.compareScans(&pairs[at], &random, &differences) }
            if differences.count > 40 { break }
        }
        for (name, difference) in differences.sorted(by: { $0.key < $1.key }) {
            Issue.record(
                "seed \(seed): \(difference.count) × \(name): \(difference.prefix(3).joined(separator: "\n    "))")
        }
        #expect(sent >= 50_000)
    }

    /// Sends one chunk of random requests to both; how many.
    private static func exchange(
        _ pair: inout Pair, seed: UInt64, at sent: Int, _ differences: inout [String: [String]]
    ) throws -> Int {
        var requests: [CommandGenerator.Request] = []
        while requests.count < Self.chunk { requests += pair.generator.next() }
        var bytes: [UInt8] = []
        for request in requests { bytes += request.isInline ? Self.line(request.words) : encode(request.words) }
        let answered = requests.filter {
            !$0.isSilent && !(($0.isInline || $0.words.isEmpty) && Self.line($0.words).count <= 2)
        }
        let expected = try pair.reference.replies(to: bytes, count: answered.count)
        let given = try pair.ours.replies(to: bytes, count: answered.count)
        guard expected.count == answered.count, given.count == answered.count else {
            throw SocketError(
                description:
                    "seed \(seed), after \(sent): \(answered.count) requests, \(expected.count) and \(given.count) replies"
            )
        }
        for (request, (expected, given)) in zip(answered, zip(expected, given)) {
            if !Comparison.areEqual(request.words, expected, given, queued: pair.queued) {
                var (expected, given) = (expected, given)
                var note = ""
                if case (.array(let all), .array(let own)) = (Reply(expected), Reply(given)), all.count == own.count,
                    all.count == pair.queued.count,
                    let at = all.indices.first(where: {
                        all[$0] != own[$0] && !Comparison.areEqual(pair.queued[$0], all[$0], own[$0])
                    })
                {
                    note = " of these \(at)"
                    note +=
                        " \(pair.queued[at].map { Self.text($0) }) \(Set(Comparison.fields(all[at].bytes[...])).symmetricDifference(Comparison.fields(own[at].bytes[...])).map { $0.prefix(60) })"
                    (expected, given) = (Array("\(all[at])".utf8), Array("\(own[at])".utf8))
                }
                if request.words.count == 2, case (.bulk(let all), .bulk(let own)) = (Reply(expected), Reply(given)) {
                    note += " \(Set(Comparison.fields(all[...])).symmetricDifference(Comparison.fields(own[...])))"
                }
                let common = zip(expected, given).prefix { $0.0 == $0.1 }.count
                differences[String(Self.text(request.words[0]).lowercased().prefix(20)), default: []].append(
                    "after \(sent) \(request.words.map { Self.text($0) })\(request.isInline ? " inline" : "") "
                        + "\(note.isEmpty ? "\(pair.queued.map { $0.map { Self.text($0) } })" : ""), \(note) from byte \(common) on Redis: "
                        + "\(Self.text(Array(expected.dropFirst(max(0, common - 8))))) ours: "
                        + "\(Self.text(Array(given.dropFirst(max(0, common - 8)))))")
            }
            if expected.elementsEqual("+QUEUED\r\n".utf8) {
                pair.queued.append(request.words)
            } else if ["exec", "discard", "reset"].contains(Self.text(request.words[0]).lowercased()) {
                pair.queued = []
            }
        }
        return requests.count
    }

    /// Walks both with SCAN: the same keys, each at least once.
    private static func compareScans(
        _ pair: inout Pair, _ random: inout Random, _ differences: inout [String: [String]]
    ) throws {
        for socket in [pair.reference, pair.ours] { _ = try socket.ask("DISCARD") }
        pair.generator.isQueueing = false
        pair.queued = []
        let count = "\(1 + random.below(20))"
        let pattern = ["*", "key:*", "key:?", "*[0-4]", "nosuch*"][Int(random.below(5))]
        var found: [Set<[UInt8]>] = []
        for socket in [pair.reference, pair.ours] {
            var keys: Set<[UInt8]> = []
            var cursor = "0"
            repeat {
                let words = ["SCAN", cursor, "MATCH", pattern, "COUNT", count].map { Array($0.utf8) }
                let reply = Reply(try socket.replies(to: encode(words), count: 1)[0])
                guard reply.elements.count == 2 else { throw SocketError(description: "not a reply of SCAN: \(reply)") }
                for key in reply.elements[1].elements { keys.insert(key.bytes) }
                cursor = String(decoding: reply.elements[0].bytes, as: UTF8.self)
            } while cursor != "0"
            found.append(keys)
        }
        if found[0] != found[1] {
            differences["scan walk", default: []].append(
                "\(pattern) \(found[0].symmetricDifference(found[1]).map { Self.text($0) }.sorted())")
        }
    }

    /// A request as a line: every word in quotes, so that any byte may be in it.
    private static func line(_ words: [[UInt8]]) -> [UInt8] {
        var out: [UInt8] = []
        for word in words {
            if !out.isEmpty { out.append(0x20) }
            out.append(0x22)
            for byte in word {
                if byte >= 0x23, byte < 0x7f, byte != 0x5c {
                    out.append(byte)
                } else {
                    out += "\\x".utf8
                    let digits = Array("0123456789abcdef".utf8)
                    out += [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                }
            }
            out.append(0x22)
        }
        return out + [0x0d, 0x0a]
    }

    static func text(_ bytes: [UInt8]) -> String {
        var text = ""
        for byte in bytes.prefix(120) {
            switch byte {
            case 0x0d: text += "\\r"
            case 0x0a: text += "\\n"
            case 0x20..<0x7f: text.unicodeScalars.append(UnicodeScalar(byte))
            default: text += "\\x" + String(byte, radix: 16)
            }
        }
        return bytes.count > 120 ? text + "… (\(bytes.count) bytes)" : text
    }
}
