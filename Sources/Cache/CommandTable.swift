/// Where a command runs.
package enum CommandKind: UInt8, Sendable {
    /// Changes nothing; answered from applied state.
    case read
    /// Enters the log.
    case write
    /// Concerns the connection alone.
    case local
}

/// A command as the table has it. Names and arity as Redis 7.0 has them: an arity counts the name; a negative one is a
/// minimum.
package struct CommandSpec: Sendable {
    /// For ever: journals hold it.
    package let id: UInt16
    package let name: StaticString
    package let arity: Int
    package let kind: CommandKind
    /// May grow the state.
    package let mayGrow: Bool
    /// First and last key among the arguments, name included, and the step between keys; 0: none.
    package let keys: (first: Int, last: Int, step: Int)

    package func accepts(argumentCount: Int) -> Bool {
        self.arity >= 0 ? argumentCount + 1 == self.arity : argumentCount + 1 >= -self.arity
    }
}

package enum CommandTable {
    package static let exec: UInt16 = 60
    package static let watch: UInt16 = 62

    private static func spec(
        _ id: UInt16, _ name: StaticString, _ arity: Int, _ kind: CommandKind, grows: Bool = false,
        keys: (Int, Int, Int) = (0, 0, 0)
    ) -> CommandSpec {
        CommandSpec(id: id, name: name, arity: arity, kind: kind, mayGrow: grows, keys: keys)
    }

    package static let specs: [CommandSpec] = [
        spec(1, "get", 2, .read, keys: (1, 1, 1)),
        spec(2, "set", -3, .write, grows: true, keys: (1, 1, 1)),
        spec(3, "setnx", 3, .write, grows: true, keys: (1, 1, 1)),
        spec(4, "setex", 4, .write, grows: true, keys: (1, 1, 1)),
        spec(5, "psetex", 4, .write, grows: true, keys: (1, 1, 1)),
        spec(6, "getset", 3, .write, grows: true, keys: (1, 1, 1)),
        spec(7, "getdel", 2, .write, keys: (1, 1, 1)),
        spec(8, "getex", -2, .write, keys: (1, 1, 1)),
        spec(9, "mget", -2, .read, keys: (1, -1, 1)),
        spec(10, "mset", -3, .write, grows: true, keys: (1, -1, 2)),
        spec(11, "msetnx", -3, .write, grows: true, keys: (1, -1, 2)),
        spec(12, "incr", 2, .write, grows: true, keys: (1, 1, 1)),
        spec(13, "decr", 2, .write, grows: true, keys: (1, 1, 1)),
        spec(14, "incrby", 3, .write, grows: true, keys: (1, 1, 1)),
        spec(15, "decrby", 3, .write, grows: true, keys: (1, 1, 1)),
        spec(16, "incrbyfloat", 3, .write, grows: true, keys: (1, 1, 1)),
        spec(17, "append", 3, .write, grows: true, keys: (1, 1, 1)),
        spec(18, "strlen", 2, .read, keys: (1, 1, 1)),
        spec(19, "getrange", 4, .read, keys: (1, 1, 1)),
        spec(20, "substr", 4, .read, keys: (1, 1, 1)),
        spec(21, "setrange", 4, .write, grows: true, keys: (1, 1, 1)),
        spec(22, "lcs", -3, .read, keys: (1, 2, 1)),
        spec(23, "del", -2, .write, keys: (1, -1, 1)),
        spec(24, "unlink", -2, .write, keys: (1, -1, 1)),
        spec(25, "exists", -2, .read, keys: (1, -1, 1)),
        spec(26, "expire", -3, .write, keys: (1, 1, 1)),
        spec(27, "pexpire", -3, .write, keys: (1, 1, 1)),
        spec(28, "expireat", -3, .write, keys: (1, 1, 1)),
        spec(29, "pexpireat", -3, .write, keys: (1, 1, 1)),
        spec(30, "ttl", 2, .read, keys: (1, 1, 1)),
        spec(31, "pttl", 2, .read, keys: (1, 1, 1)),
        spec(32, "expiretime", 2, .read, keys: (1, 1, 1)),
        spec(33, "pexpiretime", 2, .read, keys: (1, 1, 1)),
        spec(34, "persist", 2, .write, keys: (1, 1, 1)),
        spec(35, "type", 2, .read, keys: (1, 1, 1)),
        spec(36, "keys", 2, .read),
        spec(37, "scan", -2, .read),
        spec(38, "rename", 3, .write, keys: (1, 2, 1)),
        spec(39, "renamenx", 3, .write, keys: (1, 2, 1)),
        spec(40, "copy", -3, .write, grows: true, keys: (1, 2, 1)),
        spec(41, "touch", -2, .read, keys: (1, -1, 1)),
        spec(42, "randomkey", 1, .read),
        spec(43, "object", -2, .read, keys: (2, 2, 1)),
        spec(44, "dbsize", 1, .read),
        spec(45, "flushdb", -1, .write),
        spec(46, "flushall", -1, .write),
        spec(exec, "exec", 1, .write, grows: true),
        spec(61, "multi", 1, .local),
        spec(watch, "watch", -2, .read, keys: (1, -1, 1)),
        spec(63, "discard", 1, .local),
        spec(64, "unwatch", 1, .local),
        spec(80, "ping", -1, .local),
        spec(81, "echo", 2, .local),
        spec(82, "hello", -1, .local),
        spec(83, "auth", -2, .local),
        spec(84, "select", 2, .local),
        spec(85, "reset", 1, .local),
        spec(86, "quit", -1, .local),
        spec(87, "info", -1, .local),
        spec(88, "role", 1, .local),
        spec(89, "wait", 3, .local),
        spec(90, "client", -2, .local),
        spec(91, "command", -1, .local),
        spec(92, "config", -2, .local),
        spec(93, "kintsugi", -2, .local),
    ]

    private static let byID: [CommandSpec?] = {
        var table = [CommandSpec?](repeating: nil, count: 128)
        for spec in specs { table[Int(spec.id)] = spec }
        return table
    }()

    package static func spec(_ id: UInt16) -> CommandSpec? { id < 128 ? self.byID[Int(id)] : nil }

    /// Names of up to 16 bytes as two words, lower case: compared and hashed without a String.
    private struct Name: Hashable {
        var low: UInt64 = 0
        var high: UInt64 = 0

        init?(_ bytes: UnsafeRawBufferPointer) {
            guard bytes.count > 0, bytes.count <= 16 else { return nil }
            for (at, byte) in bytes.enumerated() {
                guard byte != 0 else { return nil }
                let lower = UInt64(byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte)
                if at < 8 { self.low |= lower << UInt64(8 * at) } else { self.high |= lower << UInt64(8 * (at - 8)) }
            }
        }
    }

    private static let byName: [Name: CommandSpec] = {
        var table: [Name: CommandSpec] = [:]
        for spec in specs { spec.name.withUTF8Buffer { table[Name(UnsafeRawBufferPointer($0))!] = spec } }
        return table
    }()

    /// The command with this name, in whatever case. O(1).
    package static func spec(named bytes: UnsafeRawBufferPointer) -> CommandSpec? {
        guard let name = Name(bytes) else { return nil }
        return self.byName[name]
    }
}

extension CommandTable {
    /// A subcommand: both names count as arguments in its arity.
    package struct Subcommand: Sendable {
        package let container: UInt16
        package let name: StaticString
        package let fullName: StaticString
        package let arity: Int

        package func accepts(argumentCount: Int) -> Bool {
            self.arity >= 0 ? argumentCount + 1 == self.arity : argumentCount + 1 >= -self.arity
        }
    }

    private static func sub(
        _ container: UInt16, _ name: StaticString, _ fullName: StaticString, _ arity: Int
    ) -> Subcommand {
        Subcommand(container: container, name: name, fullName: fullName, arity: arity)
    }

    package static let subcommands: [Subcommand] = [
        sub(43, "encoding", "object|encoding", 3),
        sub(43, "freq", "object|freq", 3),
        sub(43, "idletime", "object|idletime", 3),
        sub(43, "refcount", "object|refcount", 3),
        sub(43, "help", "object|help", 2),
        sub(90, "id", "client|id", 2),
        sub(90, "info", "client|info", 2),
        sub(90, "list", "client|list", -2),
        sub(90, "kill", "client|kill", -3),
        sub(90, "getname", "client|getname", 2),
        sub(90, "setname", "client|setname", 3),
        sub(90, "setinfo", "client|setinfo", 4),
        sub(90, "reply", "client|reply", 3),
        sub(90, "no-evict", "client|no-evict", 3),
        sub(90, "help", "client|help", 2),
        sub(91, "count", "command|count", 2),
        sub(91, "info", "command|info", -2),
        sub(91, "list", "command|list", -2),
        sub(91, "docs", "command|docs", -2),
        sub(91, "getkeys", "command|getkeys", -4),
        sub(91, "help", "command|help", 2),
        sub(92, "get", "config|get", -3),
        sub(92, "set", "config|set", -4),
        sub(92, "resetstat", "config|resetstat", 2),
        sub(92, "help", "config|help", 2),
    ]

    /// Whether a command's second word names a subcommand.
    package static func hasSubcommands(_ id: UInt16) -> Bool { id == 43 || (90...92).contains(id) }

    /// The subcommand with this name, in whatever case. O(subcommands).
    package static func subcommand(of id: UInt16, named bytes: UnsafeRawBufferPointer) -> Subcommand? {
        self.subcommands.first {
            $0.container == id && bytes.count == $0.name.utf8CodeUnitCount && spells(bytes, $0.name)
        }
    }
}

/// A command in canonical form: u16 id, u16 zero, u32 count of arguments without the name, then each as u32 length,
/// bytes. Little-endian.
package enum CommandCoding {
    package static func begin(_ id: UInt16, argumentCount: Int, into out: inout [UInt8]) {
        Self.put(id, into: &out)
        Self.put(UInt16(0), into: &out)
        Self.put(UInt32(argumentCount), into: &out)
    }

    package static func append(_ argument: UnsafeRawBufferPointer, into out: inout [UInt8]) {
        Self.put(UInt32(argument.count), into: &out)
        out.append(contentsOf: argument)
    }

    /// For tests and tools.
    package static func encode(_ id: UInt16, _ arguments: [[UInt8]]) -> [UInt8] {
        var out: [UInt8] = []
        Self.begin(id, argumentCount: arguments.count, into: &out)
        for argument in arguments { argument.withUnsafeBytes { Self.append($0, into: &out) } }
        return out
    }

    static func put<T: FixedWidthInteger>(_ value: T, into out: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) }
    }
}

extension CommandTable {
    /// Whether a command in canonical form may grow the state: for a transaction, whether one of its commands may. O(1),
    /// for a transaction O(commands).
    package static func mayGrow(_ command: UnsafeRawBufferPointer) -> Bool {
        guard var reader = CommandReader(command), let spec = self.spec(reader.id) else { return false }
        guard spec.id == self.exec else { return spec.mayGrow }
        guard let head = reader.next(), head.count == 4 else { return false }
        for _ in 0..<UInt32(littleEndian: head.loadUnaligned(as: UInt32.self)) where reader.next() == nil {
            return false
        }
        while let inner = reader.next() {
            if let reader = CommandReader(inner), let spec = self.spec(reader.id), spec.mayGrow { return true }
        }
        return false
    }
}

extension CommandTable {
    /// Whether a command that enters the log answers with values, which may be large. O(arguments).
    package static func repliesWithValues(_ command: UnsafeRawBufferPointer) -> Bool {
        guard var reader = CommandReader(command) else { return false }
        switch reader.id {
        case 6, 7, 8, self.exec: return true
        case 2:
            _ = (reader.next(), reader.next())
            while let option = reader.next() { if spells(option, "get") { return true } }
            return false
        default: return false
        }
    }
}

/// Walks a command in canonical form without allocating. Bytes that are not one end early.
package struct CommandReader {
    package let id: UInt16
    private let bytes: UnsafeRawBufferPointer
    private var offset = 8
    private var remaining: UInt32

    /// How far a command was read: good for the same bytes, wherever they lie.
    struct Position {
        fileprivate var offset: Int
        fileprivate var remaining: UInt32
    }

    var position: Position {
        get { Position(offset: self.offset, remaining: self.remaining) }
        set {
            self.offset = newValue.offset
            self.remaining = newValue.remaining
        }
    }

    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 8 else { return nil }
        self.bytes = bytes
        self.id = UInt16(littleEndian: bytes.loadUnaligned(as: UInt16.self))
        self.remaining = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    }

    package mutating func next() -> UnsafeRawBufferPointer? {
        guard self.remaining > 0, self.bytes.count - self.offset >= 4 else { return nil }
        let length = Int(UInt32(littleEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset, as: UInt32.self)))
        guard self.bytes.count - self.offset - 4 >= length else { return nil }
        self.offset += 4
        defer {
            self.offset += length
            self.remaining -= 1
        }
        return UnsafeRawBufferPointer(rebasing: self.bytes[self.offset..<self.offset + length])
    }

    /// Every argument was read, and nothing is left.
    package var isComplete: Bool { self.remaining == 0 && self.offset == self.bytes.count }
}
