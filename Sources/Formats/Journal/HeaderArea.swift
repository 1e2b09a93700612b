import Replication

/// The headers of a batch, from either copy.
struct HeaderArea {
    let recordCount: Int
    let headerBytes: Int
    let payloadBytes: Int
    let primaryBlocks: Int
    let copyBlocks: Int
    let segmentBlocks: Int
    /// Bytes of the payloads that stand in the second copy too.
    let keptBytes: Int
    /// Groups that the journal had, named here or not.
    let journalGroups: Int
    let ends: [BatchEncoder.GroupEnds]
    private let area: [UInt8]
    private let recordStart: Int

    /// Nil where the batch's own header does not check.
    ///
    /// - Parameter maxBlocks: blocks in the file, which bounds what a forged length can ask for.
    init?(
        stream: (Int) -> UnsafeRawBufferPointer?, generation: UInt64, sequence: UInt64, seed: UInt32, maxBlocks: Int
    ) {
        guard let first = stream(0) else { return nil }
        func u32(_ offset: Int) -> UInt32 {
            UInt32(littleEndian: first.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        func u64(_ offset: Int) -> UInt64 {
            UInt64(littleEndian: first.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        guard u32(4) == JournalFormat.batchMagic, u64(8) == generation, u64(16) == sequence else { return nil }
        self.recordCount = Int(u32(24))
        let groupCount = Int(u32(28))
        self.headerBytes = Int(u32(32))
        self.payloadBytes = Int(u32(36))
        self.primaryBlocks = Int(u32(40))
        self.copyBlocks = Int(u32(44))
        self.segmentBlocks = Int(u32(48))
        self.keptBytes = Int(u32(52))
        self.journalGroups = Int(u32(56))
        self.recordStart = JournalFormat.batchHeaderBytes + groupCount * JournalFormat.batchGroupBytes
        guard groupCount <= 1 << 20, self.recordCount <= 1 << 20,
            self.headerBytes == self.recordStart + self.recordCount * JournalFormat.recordHeaderBytes,
            self.primaryBlocks == JournalFormat.blocks(self.headerBytes + self.payloadBytes),
            self.keptBytes <= self.payloadBytes,
            self.copyBlocks == JournalFormat.blocks(self.headerBytes + self.keptBytes),
            self.headerBytes <= maxBlocks * JournalFormat.blockPayload
        else { return nil }
        var area: [UInt8] = []
        area.reserveCapacity(self.headerBytes)
        var ordinal = 0
        while area.count < self.headerBytes {
            let take = min(JournalFormat.blockPayload, self.headerBytes - area.count)
            if let block = stream(ordinal) {
                area.append(contentsOf: block[..<take])
            } else {
                area.append(contentsOf: repeatElement(0, count: take))
            }
            ordinal += 1
        }
        guard CRC32C.of(area[4..<self.recordStart], seed: seed) == u32(0) else { return nil }
        var ends: [BatchEncoder.GroupEnds] = []
        area.withUnsafeBytes { bytes in
            for position in 0..<groupCount {
                let start = JournalFormat.batchHeaderBytes + position * JournalFormat.batchGroupBytes
                func word(_ at: Int) -> UInt64 {
                    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 8 * at, as: UInt64.self))
                }
                ends.append(
                    BatchEncoder.GroupEnds(
                        group: GroupID(rawValue: word(0)), before: LogEnd(word(1), word(2)),
                        after: LogEnd(word(3), word(4)), stamp: HardStateStamp(rawValue: word(5))))
            }
        }
        self.ends = ends
        self.area = area
    }

    /// The block, counted from the copy's first, that holds the record's header (where it begins).
    func block(of position: Int) -> Int {
        (self.recordStart + position * JournalFormat.recordHeaderBytes) / JournalFormat.blockPayload
    }

    /// Nil where this copy of the record's header is bad.
    func record(_ position: Int, seed: UInt32) -> RecordHeader? {
        let start = self.recordStart + position * JournalFormat.recordHeaderBytes
        let bytes = self.area[start..<start + JournalFormat.recordHeaderBytes]
        return bytes.withUnsafeBytes { RecordHeader($0, seed: seed) }
    }
}
