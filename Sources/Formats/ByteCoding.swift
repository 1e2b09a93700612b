internal import CKintsugi
package import Replication

extension [UInt8] {
    /// Little-endian.
    @inlinable @inline(__always)
    package mutating func append<T: FixedWidthInteger>(littleEndian value: T) {
        Swift.withUnsafeBytes(of: value.littleEndian) { self.append(contentsOf: $0) }
    }

    package mutating func append(_ hash: Hash128) {
        self.append(littleEndian: hash.low)
        self.append(littleEndian: hash.high)
    }

    package mutating func append(_ member: MemberID) {
        self.append(littleEndian: member.node.rawValue)
        self.append(littleEndian: member.incarnation.high)
        self.append(littleEndian: member.incarnation.low)
    }

    package mutating func append(_ mark: SnapshotMark) {
        self.append(littleEndian: mark.index)
        self.append(littleEndian: mark.term)
        self.append(mark.hash)
        self.append(littleEndian: mark.time.nanoseconds)
        let membership = mark.membership.encoded()
        self.append(littleEndian: UInt32(membership.count))
        self.append(contentsOf: membership)
    }

    /// Overwrites 4 bytes at `offset`.
    package mutating func replace(at offset: Int, littleEndian value: UInt32) {
        Swift.withUnsafeBytes(of: value.littleEndian) { source in
            for (position, byte) in source.enumerated() { self[offset + position] = byte }
        }
    }
}

/// Bytes from outside ended early or hold what they may not.
public struct MalformedBytes: Error, Equatable, CustomStringConvertible {
    public var what: String
    public init(_ what: String) { self.what = what }
    public var description: String { self.what }
}

/// Reads little-endian fields from bytes that may end anywhere and hold anything.
package struct ByteReader {
    package let bytes: UnsafeRawBufferPointer
    package private(set) var offset = 0

    package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    package var remaining: Int { self.bytes.count - self.offset }

    package mutating func read<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) throws(MalformedBytes) -> T {
        guard self.remaining >= MemoryLayout<T>.size else { throw MalformedBytes("ends early") }
        defer { self.offset += MemoryLayout<T>.size }
        return T(littleEndian: self.bytes.loadUnaligned(fromByteOffset: self.offset, as: T.self))
    }

    package mutating func take(_ count: Int) throws(MalformedBytes) -> UnsafeRawBufferPointer {
        guard count >= 0, self.remaining >= count else { throw MalformedBytes("ends early") }
        defer { self.offset += count }
        return UnsafeRawBufferPointer(rebasing: self.bytes[self.offset..<self.offset + count])
    }

    package mutating func hash() throws(MalformedBytes) -> Hash128 {
        let low = try self.read(UInt64.self)
        return Hash128(low: low, high: try self.read(UInt64.self))
    }

    package mutating func member() throws(MalformedBytes) -> MemberID {
        let node = NodeID(try self.read(UInt32.self))
        let high = try self.read(UInt64.self)
        return MemberID(node: node, incarnation: Incarnation(high: high, low: try self.read(UInt64.self)))
    }

    package mutating func mark() throws(MalformedBytes) -> SnapshotMark {
        let index = try self.read(UInt64.self)
        let term = try self.read(UInt64.self)
        let hash = try self.hash()
        let time = WallTime(nanoseconds: try self.read(UInt64.self))
        let bytes = try self.take(Int(try self.read(UInt32.self)))
        guard let membership = Membership(encoded: Array(bytes)) else {
            throw MalformedBytes("a membership does not parse")
        }
        return SnapshotMark(index: index, term: term, hash: hash, time: time, membership: membership)
    }
}

/// CRC32C, for damage on a disk or a wire. Equality between nodes is decided by `Hash128`.
package enum CRC32C {
    package static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        kintsugi_crc32c(seed, bytes.baseAddress, bytes.count)
    }

    package static func of(_ bytes: ArraySlice<UInt8>, seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { Self.of($0, seed: seed) }
    }
}
