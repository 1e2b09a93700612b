/// What is around the open incidents in `incidents.a` and `incidents.b`, so that a file tells by itself whether it is whole:
/// `u32 checksum of the rest, "KINC", u32 version, u32 bytes, u64 number of the writing`, then the body.
///
/// A file may go on after that: a shorter one was written over a longer one. `bytes` counts all that matters, from the
/// checksum on.
package enum IncidentsEnvelope {
    private static let magic: UInt32 = 0x434e_494b
    private static let version: UInt32 = 1
    private static let headerBytes = 24

    package static func close(_ body: [UInt8], number: UInt64) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(Self.headerBytes + body.count)
        out.append(littleEndian: UInt32(0))
        out.append(littleEndian: Self.magic)
        out.append(littleEndian: Self.version)
        out.append(littleEndian: UInt32(Self.headerBytes + body.count))
        out.append(littleEndian: number)
        out.append(contentsOf: body)
        out.replace(at: 0, littleEndian: CRC32C.of(out[4...]))
        return out
    }

    /// Nil where the bytes are not such a file, whole.
    package static func open(_ bytes: [UInt8]) -> (number: UInt64, body: ArraySlice<UInt8>)? {
        bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            guard let checksum = try? reader.read(UInt32.self), let magic = try? reader.read(UInt32.self),
                let version = try? reader.read(UInt32.self), let length = try? reader.read(UInt32.self),
                let number = try? reader.read(UInt64.self), magic == Self.magic, version == Self.version,
                length >= Self.headerBytes, length <= bytes.count, CRC32C.of(bytes[4..<Int(length)]) == checksum
            else { return nil }
            return (number, bytes[Self.headerBytes..<Int(length)])
        }
    }
}
