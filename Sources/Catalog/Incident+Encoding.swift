package import Replication

/// Little-endian, fields in the order below; an absent duration or sample is all ones. For ever: it is in logs.
///
/// Version 1 is of incidents without repaired bytes and actions, and is written for those: nodes that know only it go on
/// reading what they can have meant. Version 2 adds to each account u64 bytes repaired, u32 actions, each u32 length, UTF-8.
extension Incident {
    private var version: UInt8 {
        self.accounts.contains { $0.bytesRepaired > 0 || !$0.actions.isEmpty } ? 2 : 1
    }

    package func encoded() -> [UInt8] {
        var out: [UInt8] = []
        func put<T: FixedWidthInteger>(_ value: T) {
            withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) }
        }
        let version = self.version
        put(version)
        put(self.kind.rawValue)
        put(self.cause.rawValue)
        put(UInt8(self.isPlanned ? 1 : 0))
        put(self.node.rawValue)
        put(self.run)
        put(self.count)
        put(UInt32(self.accounts.count))
        for account in self.accounts {
            put(account.observer.rawValue)
            put(account.episode)
            put(UInt8(account.ledSystem ? 1 : 0))
            put(account.detected.nanoseconds)
            put(account.window)
            put(UInt32(account.affected.count))
            for group in account.affected { put(group.rawValue) }
            put(UInt32(account.changes.count))
            for change in account.changes {
                put(change.group.rawValue)
                put(change.from.rawValue)
                put(change.to.rawValue)
                put(change.term)
            }
            put(account.repair ?? .max)
            put(account.closed ?? .max)
            put(account.delay ?? .max)
            for sample in account.samples {
                put(sample?.serving ?? .max)
                put(sample?.all ?? .max)
            }
            guard version > 1 else { continue }
            put(account.bytesRepaired)
            put(UInt32(account.actions.count))
            for action in account.actions {
                put(UInt32(action.utf8.count))
                out.append(contentsOf: action.utf8)
            }
        }
        return out
    }

    /// Nil where the bytes are not one; `offset` moves past it.
    package init?(_ bytes: UnsafeRawBufferPointer, at offset: inout Int) {
        var reader = Reader(bytes: bytes, offset: offset)
        let version = reader.take(UInt8.self)
        guard version == 1 || version == 2, let kind = Kind(rawValue: reader.take(UInt8.self)),
            let cause = Cause(rawValue: reader.take(UInt8.self))
        else { return nil }
        let isPlanned = reader.take(UInt8.self) != 0
        let node = NodeID(reader.take(UInt32.self))
        let run = reader.take(UInt64.self)
        let count = reader.take(UInt32.self)
        let accounts = reader.take(UInt32.self)
        guard (1...UInt32(Self.maxAccounts)).contains(accounts) else { return nil }
        var all: [Account] = []
        for _ in 0..<accounts where !reader.isShort { all.append(Self.account(&reader, version)) }
        guard !reader.isShort else { return nil }
        offset = reader.offset
        self.init(kind: kind, cause: cause, node: node, run: run, isPlanned: isPlanned, count: count, accounts: all)
    }

    private static func account(_ reader: inout Reader, _ version: UInt8) -> Account {
        let observer = NodeID(reader.take(UInt32.self))
        let episode = reader.take(UInt64.self)
        let ledSystem = reader.take(UInt8.self) != 0
        let detected = WallTime(nanoseconds: reader.take(UInt64.self))
        var account = Account(
            observer: observer, episode: episode, detected: detected, window: reader.take(UInt64.self))
        account.ledSystem = ledSystem
        let affected = reader.take(UInt32.self)
        for _ in 0..<affected {
            if reader.isShort { break }
            account.affected.append(GroupID(rawValue: reader.take(UInt64.self)))
        }
        let changes = reader.take(UInt32.self)
        for _ in 0..<changes {
            if reader.isShort { break }
            let group = GroupID(rawValue: reader.take(UInt64.self))
            let from = NodeID(reader.take(UInt32.self))
            let to = NodeID(reader.take(UInt32.self))
            account.changes.append(GroupChange(group: group, from: from, to: to, term: reader.take(UInt64.self)))
        }
        func duration(_ value: UInt64) -> Nanoseconds? { value == .max ? nil : value }
        account.repair = duration(reader.take(UInt64.self))
        account.closed = duration(reader.take(UInt64.self))
        account.delay = duration(reader.take(UInt64.self))
        for at in account.samples.indices {
            let serving = reader.take(UInt32.self)
            let all = reader.take(UInt32.self)
            account.samples[at] = all == .max ? nil : Sample(serving: serving, all: all)
        }
        guard version > 1 else { return account }
        account.bytesRepaired = reader.take(UInt64.self)
        let actions = reader.take(UInt32.self)
        for _ in 0..<actions {
            if reader.isShort { break }
            account.note(action: reader.text())
        }
        return account
    }

    /// Past the end it gives zeros and says so.
    private struct Reader {
        let bytes: UnsafeRawBufferPointer
        var offset: Int
        var isShort = false

        init(bytes: UnsafeRawBufferPointer, offset: Int) {
            self.bytes = bytes
            self.offset = offset
        }

        mutating func text() -> String {
            let count = Int(self.take(UInt32.self))
            guard self.bytes.count - self.offset >= count else {
                self.isShort = true
                return ""
            }
            defer { self.offset += count }
            return String(decoding: self.bytes[self.offset..<self.offset + count], as: UTF8.self)
        }

        mutating func take<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T {
            guard self.bytes.count - self.offset >= MemoryLayout<T>.size else {
                self.isShort = true
                return 0
            }
            defer { self.offset += MemoryLayout<T>.size }
            return T(littleEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset, as: T.self))
        }
    }
}
