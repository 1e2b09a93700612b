/// The rows of the table at `RecoveredJournal`.
package enum BatchVerdict: String, Sendable, Equatable, CaseIterable {
    case taken = "A"
    case takenDamaged = "B"
    case torn = "C"
    case holes = "D"
    case holesUnwritten = "E"
    case headersLost = "F"
    case unreadable = "G"
    case unreadableTail = "H"

    package static func of(
        isSummaryGood: Bool, areHeadersGood: Bool, arePayloadsGood: Bool, isLast: Bool, hasUnwritten: Bool
    ) -> BatchVerdict {
        switch (isSummaryGood, areHeadersGood, arePayloadsGood, isLast, hasUnwritten) {
        case (_, _, _, true, true): .torn
        case (true, true, true, _, false): .taken
        case (true, true, true, false, true): .takenDamaged
        case (true, true, false, _, false): .holes
        case (true, true, false, false, true): .holesUnwritten
        case (true, false, _, _, _): .headersLost
        case (false, _, _, false, _): .unreadable
        case (false, _, _, true, false): .unreadableTail
        }
    }

    static func of(_ batch: ScannedBatch, isLast: Bool) -> BatchVerdict {
        guard case .records(let records, _) = batch.content else {
            return .of(
                isSummaryGood: false, areHeadersGood: false, arePayloadsGood: false, isLast: isLast,
                hasUnwritten: batch.hasUnwrittenBlock)
        }
        return .of(
            isSummaryGood: true,
            areHeadersGood: !records.contains { if case .damagedHeader = $0 { true } else { false } },
            arePayloadsGood: records.allSatisfy { if case .good = $0 { true } else { false } }, isLast: isLast,
            hasUnwritten: batch.hasUnwrittenBlock)
    }
}

/// What became of a batch.
package struct JudgedBatch: Sendable {
    package var file: UInt32
    package var batch: ScannedBatch
    /// Its row of the table; nil where a later batch took its place.
    package var row: BatchVerdict?
}
