/// 128 bits that stand for some bytes: equal on two nodes only if the bytes are.
@frozen
public struct Hash128: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var low: UInt64
    public var high: UInt64

    @inlinable
    public init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    public static var zero: Hash128 { Hash128(low: 0, high: 0) }

    public var description: String { hexadecimal(self.high) + hexadecimal(self.low) }
}

/// Secret of a cluster's hashes (its id), so that a client cannot make two values collide.
@frozen
public struct HashKey: Hashable, Sendable, BitwiseCopyable {
    public var low: UInt64
    public var high: UInt64

    @inlinable
    public init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    @inlinable
    public init(_ cluster: ClusterID) {
        self.low = cluster.low
        self.high = cluster.high
    }
}

/// SipHash-1-3 with 128 bits of output (Aumasson and Bernstein, *SipHash: a fast short-input PRF*, INDOCRYPT 2012, and
/// the authors' reference code for the 128-bit variant).
///
/// Feed it whole words or byte ranges; a range counts as its bytes followed by its length, so that two ranges never
/// hash like one. Complexity: O(bytes).
@frozen
public struct SipHasher128 {
    @usableFromInline var v0: UInt64
    @usableFromInline var v1: UInt64
    @usableFromInline var v2: UInt64
    @usableFromInline var v3: UInt64
    @usableFromInline var count: UInt64 = 0

    @inlinable
    public init(key: HashKey) {
        self.v0 = key.low ^ 0x736f_6d65_7073_6575
        self.v1 = key.high ^ 0x646f_7261_6e64_6f6d ^ 0xee
        self.v2 = key.low ^ 0x6c79_6765_6e65_7261
        self.v3 = key.high ^ 0x7465_6462_7974_6573
    }

    @inlinable @inline(__always)
    mutating func round() {
        self.v0 &+= self.v1
        self.v1 = (self.v1 << 13 | self.v1 >> 51) ^ self.v0
        self.v0 = self.v0 << 32 | self.v0 >> 32
        self.v2 &+= self.v3
        self.v3 = (self.v3 << 16 | self.v3 >> 48) ^ self.v2
        self.v0 &+= self.v3
        self.v3 = (self.v3 << 21 | self.v3 >> 43) ^ self.v0
        self.v2 &+= self.v1
        self.v1 = (self.v1 << 17 | self.v1 >> 47) ^ self.v2
        self.v2 = self.v2 << 32 | self.v2 >> 32
    }

    @inlinable @inline(__always)
    public mutating func combine(_ word: UInt64) {
        self.v3 ^= word
        self.round()
        self.v0 ^= word
        self.count &+= 8
    }

    @inlinable
    public mutating func combine(_ bytes: UnsafeRawBufferPointer) {
        var offset = 0
        while offset &+ 8 <= bytes.count {
            self.combine(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
            offset &+= 8
        }
        var tail: UInt64 = 0
        var shift: UInt64 = 0
        while offset < bytes.count {
            tail |= UInt64(bytes[offset]) << shift
            shift &+= 8
            offset &+= 1
        }
        if shift > 0 { self.combine(tail) }
        self.combine(UInt64(bytes.count))
    }

    @inlinable
    public consuming func finalize() -> Hash128 {
        let last = self.count << 56
        self.v3 ^= last
        self.round()
        self.v0 ^= last
        self.v2 ^= 0xee
        self.round()
        self.round()
        self.round()
        let low = self.v0 ^ self.v1 ^ self.v2 ^ self.v3
        self.v1 ^= 0xdd
        self.round()
        self.round()
        self.round()
        return Hash128(low: low, high: self.v0 ^ self.v1 ^ self.v2 ^ self.v3)
    }
}
