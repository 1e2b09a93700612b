package import Replication

/// The form of a snapshot file: a header, framed blocks, a footer. `Journal.SnapshotFile` reads it from a descriptor, block
/// by block; `read` here takes a whole file's bytes.
package enum SnapshotFormat {
    package static let magic: UInt32 = 0x504e_534b  // "KSNP"
    package static let version: UInt32 = 1
    package static let endMark: UInt32 = .max

    package static func header(_ mark: SnapshotMark) -> [UInt8] {
        var body: [UInt8] = []
        body.append(mark)
        var out: [UInt8] = []
        out.append(littleEndian: Self.magic)
        out.append(littleEndian: Self.version)
        out.append(littleEndian: UInt32(body.count))
        out.append(contentsOf: body)
        out.append(littleEndian: CRC32C.of(out[...]))
        return out
    }

    package static func frame(_ block: [UInt8], chain checksum: inout UInt32) -> [UInt8] {
        let own = CRC32C.of(block[...])
        var out: [UInt8] = []
        out.reserveCapacity(block.count + 8)
        out.append(littleEndian: UInt32(block.count))
        out.append(littleEndian: own)
        out.append(contentsOf: block)
        checksum = Self.chain(checksum, own)
        return out
    }

    package static func footer(blocks: UInt64, checksum: UInt32) -> [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: Self.endMark)
        out.append(littleEndian: checksum)
        out.append(littleEndian: blocks)
        return out
    }

    package static func chain(_ checksum: UInt32, _ block: UInt32) -> UInt32 {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: block)
        return CRC32C.of(bytes[...], seed: checksum)
    }

    /// The mark and the blocks of a file all of whose checksums are right.
    package static func read(_ bytes: [UInt8]) throws -> (mark: SnapshotMark, blocks: [[UInt8]]) {
        try bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            guard try reader.read(UInt32.self) == Self.magic, try reader.read(UInt32.self) == Self.version else {
                throw MalformedBytes("not a snapshot of this version")
            }
            let length = Int(try reader.read(UInt32.self))
            var head = ByteReader(try reader.take(length))
            let mark = try head.mark()
            guard try reader.read(UInt32.self) == CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[..<(12 + length)]))
            else {
                throw MalformedBytes("its head is bad")
            }
            var checksum: UInt32 = 0
            var blocks: [[UInt8]] = []
            while true {
                let count = try reader.read(UInt32.self)
                let expected = try reader.read(UInt32.self)
                if count == Self.endMark {
                    guard expected == checksum, try reader.read(UInt64.self) == UInt64(blocks.count) else {
                        throw MalformedBytes("its end is bad")
                    }
                    return (mark, blocks)
                }
                let block = try reader.take(Int(count))
                guard CRC32C.of(block) == expected else { throw MalformedBytes("block \(blocks.count) is bad") }
                checksum = Self.chain(checksum, expected)
                blocks.append(Array(block))
            }
        }
    }
}
