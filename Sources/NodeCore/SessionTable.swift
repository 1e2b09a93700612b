import Cache
import DequeModule
import Formats
package import Replication

/// One origin run's stream into a group, as every replica of the group remembers it (Ongaro's dissertation, section
/// 6.3; rules in docs/fault-model.md): what was applied, and every reply that the origin may not have had.
package struct Session: Sendable {
    package let node: NodeID
    package var run: Run
    /// Highest sequence applied. Sequences begin at 1 and have no gaps.
    package var lastSequence: UInt64 = 0
    /// The first sequence whose reply is kept.
    package var firstKept: UInt64 = 1
    private var lengths: Deque<UInt32> = []
    private var bytes: [UInt8] = []
    private var start = 0
    /// Bytes of the replies that are kept.
    var keptBytes: Int { self.bytes.count - self.start }

    /// Bytes of replies beyond which no command is applied whose reply may be large. The origin keeps far below: it waits
    /// with what may bring large replies (`OriginStream.maxReplyBytes`).
    static let maxKeptBytes = 32 << 20

    /// Whether there is room for a command's reply. The same on every replica, as what is kept is.
    func mayKeep(_ command: UnsafeRawBufferPointer) -> Bool {
        self.keptBytes < Self.maxKeptBytes || !CommandTable.repliesWithValues(command)
    }

    init(node: NodeID, run: Run) {
        self.node = node
        self.run = run
    }

    /// Amortised O(reply).
    mutating func remember(_ reply: UnsafeRawBufferPointer) {
        self.lastSequence += 1
        self.lengths.append(UInt32(reply.count))
        self.bytes.append(contentsOf: reply)
    }

    /// Forgets the replies below `sequence`: the origin has had them. Amortised O(1) each.
    mutating func forget(below sequence: UInt64) {
        while self.firstKept < sequence, let length = self.lengths.popFirst() {
            self.start += Int(length)
            self.firstKept += 1
        }
        if self.lengths.isEmpty {
            self.bytes.removeAll(keepingCapacity: self.bytes.capacity <= 1 << 16)
            self.start = 0
        } else if self.start > 1 << 16, self.start * 2 > self.bytes.count {
            self.bytes.removeSubrange(..<self.start)
            self.start = 0
        }
    }

    /// Calls `body` with each kept reply from `sequence` on, in order. O(kept).
    func replies(from sequence: UInt64, _ body: (UInt64, UnsafeRawBufferPointer) -> Void) {
        self.bytes.withUnsafeBytes { all in
            var offset = self.start
            var current = self.firstKept
            for length in self.lengths {
                if current >= sequence {
                    body(current, UnsafeRawBufferPointer(rebasing: all[offset..<offset + Int(length)]))
                }
                offset += Int(length)
                current += 1
            }
        }
    }

    func encode(into out: inout [UInt8]) {
        out.append(littleEndian: self.node.rawValue)
        out.append(littleEndian: self.run)
        out.append(littleEndian: self.lastSequence)
        out.append(littleEndian: self.firstKept)
        out.append(littleEndian: UInt32(self.lengths.count))
        for length in self.lengths { out.append(littleEndian: length) }
        out.append(contentsOf: self.bytes[self.start...])
    }

    init?(_ reader: inout ByteCursor) {
        guard let node = reader.u32(), let run = reader.u64(), let last = reader.u64(), let first = reader.u64(),
            let count = reader.u32(), last &+ 1 &- first == UInt64(count)
        else { return nil }
        self.init(node: NodeID(node), run: run)
        self.lastSequence = last
        self.firstKept = first
        var total = 0
        for _ in 0..<count {
            guard let length = reader.u32() else { return nil }
            self.lengths.append(length)
            total += Int(length)
        }
        guard let bytes = reader.bytes(total) else { return nil }
        self.bytes.append(contentsOf: bytes)
    }
}

/// The sessions of a group, by node. Part of the replicated state: in every snapshot and its digest.
package struct SessionTable: Sendable {
    /// Sorted by node.
    package private(set) var sessions: [Session] = []

    /// Opens the session of a run and retires earlier runs of its node for ever. False where a later run is known.
    mutating func open(_ node: NodeID, _ run: Run) -> Bool {
        guard let at = self.sessions.firstIndex(where: { $0.node >= node }) else {
            self.sessions.append(Session(node: node, run: run))
            return true
        }
        if self.sessions[at].node != node {
            self.sessions.insert(Session(node: node, run: run), at: at)
        } else if self.sessions[at].run < run {
            self.sessions[at] = Session(node: node, run: run)
        }
        return self.sessions[at].run == run
    }

    /// The run of the node's session; 0 where it has none. O(nodes).
    func run(of node: NodeID) -> Run { self.sessions.first { $0.node == node }?.run ?? 0 }

    /// Position of the session of exactly this run. O(nodes).
    func index(of node: NodeID, run: Run) -> Int? {
        self.sessions.firstIndex { $0.node == node && $0.run == run }
    }

    subscript(index: Int) -> Session {
        get { self.sessions[index] }
        _modify { yield &self.sessions[index] }
    }

    func encode(into out: inout [UInt8]) {
        out.append(littleEndian: UInt32(self.sessions.count))
        for session in self.sessions { session.encode(into: &out) }
    }

    /// As blocks of a snapshot. Mostly one, with what `encode` gives; where that is long, the first begins with u32
    /// 0xffffffff and u64 its length, and the rest is in those that follow.
    func encodedBlocks() -> [[UInt8]] {
        var bytes: [UInt8] = []
        self.encode(into: &bytes)
        guard bytes.count > Self.blockBytes else { return [bytes] }
        var head: [UInt8] = []
        head.append(littleEndian: UInt32.max)
        head.append(littleEndian: UInt64(bytes.count))
        bytes.insert(contentsOf: head, at: 0)
        return stride(from: 0, to: bytes.count, by: Self.blockBytes).map {
            Array(bytes[$0..<min($0 + Self.blockBytes, bytes.count)])
        }
    }

    private static let blockBytes = 1 << 20

    /// What the first blocks of a snapshot give.
    enum Decoded {
        case whole(SessionTable)
        /// More blocks of it follow.
        case begun
        case malformed
    }

    static func decode(_ blocks: UnsafeRawBufferPointer) -> Decoded {
        var cursor = ByteCursor(blocks)
        if blocks.count >= 12, cursor.u32() == .max {
            guard let length = cursor.u64() else { return .malformed }
            let found = UInt64(blocks.count - 12)
            guard found >= length else { return .begun }
            guard found == length else { return .malformed }
        } else {
            cursor = ByteCursor(blocks)
        }
        guard let table = SessionTable(&cursor), cursor.isAtEnd else { return .malformed }
        return .whole(table)
    }

    init() {}

    init?(_ reader: inout ByteCursor) {
        guard let count = reader.u32() else { return nil }
        for _ in 0..<count {
            guard let session = Session(&reader) else { return nil }
            if let previous = self.sessions.last, previous.node >= session.node { return nil }
            self.sessions.append(session)
        }
    }
}
