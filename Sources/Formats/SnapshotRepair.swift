package import Replication

/// Rebuilds a snapshot file that is bad in places, into a new file: frame by frame, each from the old file where its
/// checksum is right, else from a peer's file of the same snapshot, which has the same bytes.
///
/// The header is made anew from the mark, which the journal keeps; it seeds all other checksums, so that a frame that
/// checks is one of this snapshot and of this place in it. A frame that is lost with its length does not take what follows
/// with it: once a peer has told it, the old file goes on behind.
///
/// Pure: who owns the files reads the old one for `next` and writes the new one. O(bytes) in all.
package struct SnapshotRepair: Sendable {
    package enum Step: Sendable, Equatable {
        /// To be appended to the new file.
        case append([UInt8])
        /// Neither the old file nor what peers lent has the frame that begins at `frame`: bytes of a peer's file from
        /// `offset` on are needed, which is beyond `frame` where the first part of it was lent already.
        case need(frame: UInt64, offset: UInt64)
        /// The new file is complete.
        case whole
    }

    package let mark: SnapshotMark
    /// Nothing of the old file is taken: all of its frames checked, and they did not belong together.
    package let usesOld: Bool
    private let header: [UInt8]
    private var framing: SnapshotFraming
    private var hasHeader = false
    /// Of them, those that the old file did not have.
    package private(set) var repaired = 0
    private var isWhole = false
    /// Of a peer's file, from `lentOffset` on.
    private var lent: [UInt8] = []
    private var lentOffset = 0

    private enum Frame {
        case block(bytes: [UInt8], checksum: UInt32)
        case end([UInt8])
        /// The bytes end before it does.
        case cutShort
        case bad
    }

    package init(_ mark: SnapshotMark, usesOld: Bool) {
        self.mark = mark
        self.usesOld = usesOld
        self.header = SnapshotFormat.header(mark)
        self.framing = SnapshotFraming(header: self.header)
    }

    /// Bytes of the new file so far.
    package var offset: Int {
        !self.hasHeader ? 0 : self.framing.offset + (self.isWhole ? SnapshotFormat.footerBytes : 0)
    }

    /// Takes bytes of a peer's file. What is not asked for is left alone.
    package mutating func add(_ bytes: [UInt8], at offset: UInt64) {
        if offset == UInt64(self.offset) {
            self.lent = bytes
            self.lentOffset = self.offset
        } else if offset == UInt64(self.lentOffset + self.lent.count), self.lentOffset <= self.offset {
            self.lent += bytes
        }
    }

    /// - Parameter old: bytes of the old file at an offset; fewer than asked for where it ends or cannot be read.
    package mutating func next(old: (_ offset: Int, _ count: Int) -> [UInt8]) -> Step {
        if self.isWhole { return .whole }
        if !self.hasHeader {
            self.hasHeader = true
            if old(0, self.header.count) != self.header { self.repaired += self.header.count }
            return .append(self.header)
        }
        if self.usesOld, let taken = self.take(self.frame(at: self.offset, in: old)) { return .append(taken) }
        let (lent, start) = (self.lent, self.lentOffset)
        let frame = self.frame(at: self.offset) { offset, count in
            let from = offset - start
            guard from >= 0, from < lent.count else { return [] }
            return Array(lent[from..<min(from + count, lent.count)])
        }
        if let taken = self.take(frame) {
            self.repaired += taken.count
            return .append(taken)
        }
        let end = start + lent.count
        if case .cutShort = frame, end > self.offset {
            return .need(frame: UInt64(self.offset), offset: UInt64(end))
        }
        self.lent = []
        self.lentOffset = self.offset
        return .need(frame: UInt64(self.offset), offset: UInt64(self.offset))
    }

    private mutating func take(_ frame: Frame) -> [UInt8]? {
        switch frame {
        case .block(let bytes, let checksum):
            self.framing.take(count: bytes.count - SnapshotFormat.frameHeaderBytes, checksum: checksum)
            return bytes
        case .end(let bytes):
            guard bytes == self.framing.footer else { return nil }
            self.isWhole = true
            return bytes
        case .cutShort, .bad:
            return nil
        }
    }

    private func frame(at offset: Int, in read: (Int, Int) -> [UInt8]) -> Frame {
        let head = read(offset, SnapshotFormat.frameHeaderBytes)
        guard head.count == SnapshotFormat.frameHeaderBytes else { return .cutShort }
        let (count, checksum) = head.withUnsafeBytes {
            (
                UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 0, as: UInt32.self)),
                UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
            )
        }
        if count == SnapshotFormat.endMark {
            let bytes = read(offset, SnapshotFormat.footerBytes)
            return bytes.count == SnapshotFormat.footerBytes ? .end(bytes) : .cutShort
        }
        guard Int(count) <= SnapshotFormat.maxBlockBytes else { return .bad }
        let bytes = read(offset, SnapshotFormat.frameHeaderBytes + Int(count))
        guard bytes.count == SnapshotFormat.frameHeaderBytes + Int(count) else { return .cutShort }
        guard self.framing.checksum(of: bytes[SnapshotFormat.frameHeaderBytes...]) == checksum else { return .bad }
        return .block(bytes: bytes, checksum: checksum)
    }
}
