package import Formats
package import Replication

/// Reads little-endian fields from bytes that may end anywhere; nil past the end.
package struct ByteCursor {
    private let base: UnsafeRawBufferPointer
    package private(set) var offset = 0

    package init(_ base: UnsafeRawBufferPointer) { self.base = base }

    package var isAtEnd: Bool { self.offset == self.base.count }

    package mutating func u32() -> UInt32? { self.load(UInt32.self) }
    package mutating func u64() -> UInt64? { self.load(UInt64.self) }

    package mutating func bytes(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, count <= self.base.count - self.offset else { return nil }
        defer { self.offset += count }
        return UnsafeRawBufferPointer(rebasing: self.base[self.offset..<self.offset + count])
    }

    private mutating func load<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T? {
        guard self.base.count - self.offset >= MemoryLayout<T>.size else { return nil }
        defer { self.offset += MemoryLayout<T>.size }
        return T(littleEndian: self.base.loadUnaligned(fromByteOffset: self.offset, as: T.self))
    }
}

/// Payload of a `.commands` entry: blocks of origin runs, one after the other.
///
/// A block is `u32 origin, u64 run, u64 first sequence, u64 lowest unanswered, u32 count, u32 bytes`, then `count` times
/// `u32 length, command`. Little-endian.
enum CommandsPayload {
    static let blockHeaderBytes = 36

    static func append(_ block: OriginBlock, to out: inout [UInt8]) {
        out.append(littleEndian: block.origin.rawValue)
        out.append(littleEndian: block.run)
        out.append(littleEndian: block.firstSequence)
        out.append(littleEndian: block.lowestUnanswered)
        out.append(littleEndian: block.count)
        out.append(littleEndian: UInt32(block.commands.count))
        out.append(contentsOf: block.commands)
    }

    struct Block {
        var origin: NodeID
        var run: Run
        var firstSequence: UInt64
        var lowestUnanswered: UInt64
        var count: UInt32
        var commands: UnsafeRawBufferPointer
    }

    static func next(_ cursor: inout ByteCursor) -> Block? {
        guard let origin = cursor.u32(), let run = cursor.u64(), let first = cursor.u64(), let lowest = cursor.u64(),
            let count = cursor.u32(), let length = cursor.u32(), let commands = cursor.bytes(Int(length))
        else { return nil }
        return Block(
            origin: NodeID(origin), run: run, firstSequence: first, lowestUnanswered: lowest, count: count,
            commands: commands)
    }
}

/// Payload of a `.session` entry: `u32 node, u64 run`.
enum SessionPayload {
    static func encode(_ node: NodeID, _ run: Run) -> [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: node.rawValue)
        out.append(littleEndian: run)
        return out
    }

    static func decode(_ payload: [UInt8]) -> (NodeID, Run)? {
        payload.withUnsafeBytes { bytes in
            var cursor = ByteCursor(bytes)
            guard let node = cursor.u32(), let run = cursor.u64(), cursor.isAtEnd else { return nil }
            return (NodeID(node), run)
        }
    }
}
