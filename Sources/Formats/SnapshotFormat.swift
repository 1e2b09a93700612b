package import Replication

/// The form of a snapshot file: a header, framed blocks, a footer. `Journal.SnapshotFile` reads it from a descriptor, block
/// by block; `read` here takes a whole file's bytes.
package enum SnapshotFormat {
    package static let magic: UInt32 = 0x504e_534b  // "KSNP"
    package static let version: UInt32 = 2
    /// Before it the checksums of blocks knew nothing of the snapshot they are of, nor of their place in it. Still read.
    package static let lowestVersion: UInt32 = 1
    package static let endMark: UInt32 = .max
    /// Before each block: its length and its checksum.
    package static let frameHeaderBytes = 8
    package static let footerBytes = 16
    /// Bounds what a forged length can ask for.
    package static let maxBlockBytes = 64 << 20

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

    /// The mark and the blocks of a file all of whose checksums are right.
    package static func read(_ bytes: [UInt8]) throws -> (mark: SnapshotMark, blocks: [[UInt8]]) {
        try bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            guard try reader.read(UInt32.self) == Self.magic else { throw MalformedBytes("not a snapshot") }
            let version = try reader.read(UInt32.self)
            guard (Self.lowestVersion...Self.version).contains(version) else {
                throw MalformedBytes("not a snapshot of a known version")
            }
            let length = Int(try reader.read(UInt32.self))
            var head = ByteReader(try reader.take(length))
            let mark = try head.mark()
            guard try reader.read(UInt32.self) == CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[..<(12 + length)]))
            else {
                throw MalformedBytes("its head is bad")
            }
            var framing = SnapshotFraming(header: Array(raw[..<(16 + length)]), version: version)
            var blocks: [[UInt8]] = []
            while true {
                let count = try reader.read(UInt32.self)
                let expected = try reader.read(UInt32.self)
                if count == Self.endMark {
                    guard expected == framing.checksum, try reader.read(UInt64.self) == framing.blocks else {
                        throw MalformedBytes("its end is bad")
                    }
                    guard reader.remaining == 0 else { throw MalformedBytes("it goes on after its end") }
                    return (mark, blocks)
                }
                let block = try reader.take(Int(count))
                guard framing.checksum(of: block) == expected else {
                    throw MalformedBytes("block \(blocks.count) is bad")
                }
                framing.take(count: block.count, checksum: expected)
                blocks.append(Array(block))
            }
        }
    }
}

/// The checksums of a file as it is written or read, block by block. Each block's is seeded with the header, and so with
/// the snapshot's mark, and with its own place: a block of an older file, or of another place, that a misplaced write left
/// here, is as bad as one with a flipped bit.
package struct SnapshotFraming: Sendable {
    private let headerChecksum: UInt32
    private let version: UInt32
    /// Where the next block begins in the file.
    package private(set) var offset: Int
    package private(set) var blocks: UInt64 = 0
    /// Of the checksums of all blocks so far.
    package private(set) var checksum: UInt32

    package init(header: [UInt8], version: UInt32 = SnapshotFormat.version) {
        self.version = version
        // Without its own checksum: with it the result would be the same for all headers.
        self.headerChecksum = version == 1 ? 0 : CRC32C.of(header.dropLast(4))
        self.checksum = self.headerChecksum
        self.offset = header.count
    }

    /// What the checksum of the next block must be, if these are its bytes.
    package func checksum(of block: UnsafeRawBufferPointer) -> UInt32 {
        guard self.version > 1 else { return CRC32C.of(block) }
        var place: [UInt8] = []
        place.append(littleEndian: UInt64(self.offset))
        return CRC32C.of(block, seed: CRC32C.of(place[...], seed: self.headerChecksum))
    }

    package func checksum(of block: ArraySlice<UInt8>) -> UInt32 { block.withUnsafeBytes { self.checksum(of: $0) } }

    /// The block was taken or written.
    package mutating func take(count: Int, checksum: UInt32) {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: checksum)
        self.checksum = CRC32C.of(bytes[...], seed: self.checksum)
        self.blocks += 1
        self.offset += SnapshotFormat.frameHeaderBytes + count
    }

    /// The next block with what goes before it.
    package mutating func frame(_ block: [UInt8]) -> [UInt8] {
        let own = self.checksum(of: block[...])
        var out: [UInt8] = []
        out.reserveCapacity(block.count + SnapshotFormat.frameHeaderBytes)
        out.append(littleEndian: UInt32(block.count))
        out.append(littleEndian: own)
        out.append(contentsOf: block)
        self.take(count: block.count, checksum: own)
        return out
    }

    package var footer: [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: SnapshotFormat.endMark)
        out.append(littleEndian: self.checksum)
        out.append(littleEndian: self.blocks)
        return out
    }
}
