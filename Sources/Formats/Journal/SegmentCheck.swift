package import Replication

/// A place of the journal that is not what was written, found while the node runs.
package struct JournalRot: Sendable, Equatable {
    /// Entries of a group that were there.
    package struct Range: Sendable, Equatable {
        package var group: GroupID
        package var first: LogIndex
        package var last: LogIndex

        package init(group: GroupID, first: LogIndex, last: LogIndex) {
            self.group = group
            self.first = first
            self.last = last
        }
    }

    /// In the segment.
    package var block: Int
    /// Of the batch; 0 where it is not known.
    package var sequence: UInt64
    /// What the batch held of the groups' logs; nil where neither copy of its headers tells.
    package var ranges: [Range]?
    package var text: String

    package init(block: Int, sequence: UInt64, ranges: [Range]?, text: String) {
        self.block = block
        self.sequence = sequence
        self.ranges = ranges
        self.text = text
    }
}

/// A segment's durable part checked while the node runs: every batch there must be whole, in both copies of its headers,
/// and follow the one before it, from the first block to the durable end. Nothing there is torn or superfluous: what is
/// judged at a start, by what else is found, is known here.
package struct SegmentCheck: Sendable {
    package private(set) var rot: [JournalRot] = []

    /// - Parameters:
    ///   - bytes: of the file from its beginning to the end of what is durable; shorter where the file is.
    ///   - generation: what the segment is by the journal's own knowledge.
    ///   - durableBlocks: where the last durable batch ends.
    package init(
        _ bytes: UnsafeRawBufferPointer, identity: JournalIdentity, generation: UInt64, durableBlocks: Int
    ) {
        let end = durableBlocks * JournalFormat.blockBytes
        let scan = SegmentScan(
            UnsafeRawBufferPointer(rebasing: bytes[..<min(end, bytes.count)]), identity: identity)
        guard scan.generation == generation else {
            if durableBlocks > 0 {
                self.report(0, 0, nil, "none of its blocks are the segment's")
            }
            return
        }
        if bytes.count < end {
            self.report(bytes.count / JournalFormat.blockBytes, 0, nil, "the file ends here")
        }
        var expected = 0
        var previous: UInt64?
        for batch in scan.batches {
            let isNext = previous.map { $0 &+ 1 == batch.sequence } ?? true
            if batch.firstBlock != expected || !isNext || batch.isGapBefore {
                self.report(
                    min(expected, batch.firstBlock), 0, nil, "a batch is missing before batch \(batch.sequence)")
            }
            self.check(batch)
            expected = batch.firstBlock + batch.blockCount
            previous = batch.sequence
        }
        if expected < durableBlocks {
            self.report(expected, 0, nil, "the blocks up to \(durableBlocks) hold nothing that can be read")
        }
    }

    private mutating func check(_ batch: ScannedBatch) {
        guard case .records(let records, _) = batch.content else {
            return self.report(
                batch.firstBlock, batch.sequence, nil,
                "batch \(batch.sequence) is unreadable in both copies of its headers")
        }
        let bad = records.filter { if case .good = $0 { false } else { true } }
        guard !bad.isEmpty || !batch.badBlocks.isEmpty || batch.hasUnwrittenBlock else { return }
        var ranges: [JournalRot.Range] = []
        func note(_ group: GroupID, _ index: LogIndex) {
            guard let at = ranges.firstIndex(where: { $0.group == group }) else {
                return ranges.append(JournalRot.Range(group: group, first: index, last: index))
            }
            ranges[at].first = min(ranges[at].first, index)
            ranges[at].last = max(ranges[at].last, index)
        }
        var isHeaderLost = false
        for record in records {
            switch record {
            case .good(let record):
                if let index = record.entryIndex { note(record.group, index) }
            case .damagedEntry(let group, let hole, _, _): note(group, hole.index)
            case .damagedMark(let group, let index, _, _): note(group, index)
            case .damagedHeader: isHeaderLost = true
            }
        }
        if isHeaderLost {
            // A truncation may be what is lost: then what it held began before the log's end.
            return self.report(batch.firstBlock, batch.sequence, nil, "a record's header is bad in both copies")
        }
        self.report(
            batch.badBlocks.first ?? batch.firstBlock, batch.sequence, ranges,
            bad.isEmpty
                ? "batch \(batch.sequence) has a bad block, and what it held is there in the other copy"
                : "batch \(batch.sequence) has \(bad.count) bad records")
    }

    private mutating func report(_ block: Int, _ sequence: UInt64, _ ranges: [JournalRot.Range]?, _ text: String) {
        self.rot.append(JournalRot(block: block, sequence: sequence, ranges: ranges, text: text))
    }
}

extension JournalRecord {
    /// Of the entry that the record holds, or says to have been there.
    fileprivate var entryIndex: LogIndex? {
        switch self {
        case .entry(let entry), .repair(let entry): entry.index
        case .hole(_, let hole): hole.index
        case .truncate, .hardState, .snapshot, .end: nil
        }
    }
}

/// A live segment as its journal knows it: what a scrubber may look at.
package struct SegmentExtent: Sendable, Equatable {
    package var file: UInt32
    /// No two uses of a file have the same.
    package var generation: UInt64
    /// Blocks from the first on that hold durable batches.
    package var durableBlocks: Int
    /// Highest index of each group that it holds.
    package var highest: [JournalRot.Range]
}
