import Formats
import Replication

extension JournalReport {
    /// For a person.
    package func text(_ view: View) -> String {
        var lines: [String] = []
        if let identity = self.identity {
            lines.append(
                "node \(identity.node) of cluster \(identity.cluster), incarnation \(identity.incarnation), run \(identity.run)"
            )
        }
        if view == .inspect {
            for segment in self.segments { segment.describe(into: &lines) }
            for group in self.groups { group.describe(into: &lines) }
            for snapshot in self.snapshots { snapshot.describe(into: &lines) }
        }
        lines.append("journal: \(self.verdict.rawValue)")
        for damage in self.damage {
            let place = damage.offset.map { " at byte \($0)" } ?? ""
            lines.append(
                "damage: \(damage.file)\(place): \(damage.text)\(damage.isHole ? "" : " (nothing is lost by it)")")
        }
        for sentence in self.atStart { lines.append("at start: \(sentence)") }
        return lines.joined(separator: "\n")
    }

    /// One object, on one line.
    package func json(_ view: View) -> String {
        var fields = ["\"directory\":\(quoted(self.directory))"]
        if let identity = self.identity {
            fields.append(
                "\"identity\":{\"cluster\":\"\(identity.cluster)\",\"node\":\(identity.node),\"incarnation\":\"\(identity.incarnation)\",\"run\":\(identity.run)}"
            )
        } else {
            fields.append("\"identity\":null")
        }
        fields.append("\"verdict\":\(quoted(self.verdict.rawValue))")
        fields.append("\"starts\":\(self.starts)")
        fields.append("\"lost\":\(self.lost.map { quoted($0) } ?? "null")")
        fields.append("\"at_start\":\(list(self.atStart.map { quoted($0) }))")
        fields.append("\"damage\":\(list(self.damage.map(\.json)))")
        if view == .inspect {
            fields.append("\"segments\":\(list(self.segments.map(\.json)))")
            fields.append("\"groups\":\(list(self.groups.map(\.json)))")
            fields.append("\"snapshots\":\(list(self.snapshots.map(\.json)))")
        }
        return "{\(fields.joined(separator: ","))}"
    }
}

extension JournalReport.Segment {
    fileprivate func describe(into lines: inout [String]) {
        let free = self.freeBlocks * JournalFormat.blockBytes
        lines.append(
            "segment \(SegmentFiles.name(of: self.file)): \(self.use.rawValue), generation \(self.generation), \(self.bytes) bytes, \(self.batches.count) batches, \(free) bytes free at its end"
        )
        for batch in self.batches { batch.describe(into: &lines) }
    }

    fileprivate var json: String {
        """
        {"file":\(quoted(SegmentFiles.name(of: self.file))),"use":"\(self.use.rawValue)","generation":\(self.generation),\
        "bytes":\(self.bytes),"free_bytes":\(self.freeBlocks * JournalFormat.blockBytes),\
        "batches":\(list(self.batches.map(\.json)))}
        """
    }
}

extension JournalReport.Batch {
    fileprivate func describe(into lines: inout [String]) {
        let state = self.row.map { "row \($0.rawValue)" } ?? "replaced by a later one"
        lines.append(
            "  batch \(self.sequence): blocks \(self.block) to \(self.block + self.blocks - 1), \(self.records) records, \(state)"
        )
        for share in self.shares {
            var parts: [String] = []
            if let hardState = share.hardState { parts.append(sentence(hardState)) }
            if let mark = share.mark { parts.append("snapshot at \(mark)") }
            if let after = share.truncatedAfter { parts.append("cut after \(after)") }
            if !share.entries.isEmpty { parts.append("entries \(ranges(share.entries))") }
            if !share.repaired.isEmpty { parts.append("repaired \(indexes(share.repaired))") }
            if !share.holes.isEmpty { parts.append("holes at \(indexes(share.holes))") }
            if let end = share.end { parts.append("ends at \(end)") }
            lines.append("    group \(share.group): \(parts.joined(separator: ", "))")
        }
    }

    fileprivate var json: String {
        let shares = self.shares.map { share in
            """
            {"group":"\(share.group)","entries":\(list(share.entries.map(\.json))),\
            "repaired":\(list(share.repaired.map { "\($0)" })),"holes":\(list(share.holes.map { "\($0)" })),\
            "cut_after":\(share.truncatedAfter.map { "\($0)" } ?? "null"),\
            "hard_state":\(share.hardState.map(object) ?? "null"),"snapshot":\(share.mark.map { "\($0)" } ?? "null"),\
            "end":\(share.end.map { "\($0)" } ?? "null")}
            """
        }
        return """
            {"sequence":\(self.sequence),"offset":\(self.block * JournalFormat.blockBytes),"blocks":\(self.blocks),\
            "row":\(self.row.map { "\"\($0.rawValue)\"" } ?? "null"),"records":\(self.records),"groups":\(list(shares))}
            """
    }
}

extension JournalReport.Group {
    fileprivate func describe(into lines: inout [String]) {
        var parts = [sentence(self.hardState)]
        if let mark = self.mark {
            parts.append("snapshot at \(mark.index) (term \(mark.term)\(self.isConfirmed ? "" : ", unconfirmed"))")
        }
        parts.append(self.entries.isEmpty ? "no entries" : "entries \(ranges(self.entries))")
        if !self.holes.isEmpty { parts.append("holes at \(self.holes.map { "\($0.index)" }.joined(separator: ", "))") }
        if self.isEndUncertain { parts.append("its end is not certain") }
        if self.isVoteUncertain { parts.append("its term and vote are not certain") }
        lines.append("group \(self.group): \(parts.joined(separator: ", "))")
    }

    fileprivate var json: String {
        """
        {"group":"\(self.group)","hard_state":\(object(self.hardState)),\
        "snapshot":\(self.mark.map { "{\"index\":\($0.index),\"term\":\($0.term),\"confirmed\":\(self.isConfirmed)}" } ?? "null"),\
        "entries":\(list(self.entries.map(\.json))),"holes":\(list(self.holes.map { "\($0.index)" })),\
        "end_uncertain":\(self.isEndUncertain),"vote_uncertain":\(self.isVoteUncertain)}
        """
    }
}

extension JournalReport.Snapshot {
    fileprivate func describe(into lines: inout [String]) {
        let mark = self.mark.map { "index \($0.index), term \($0.term)" }
        lines.append(
            "snapshot \(self.name): \(self.bytes) bytes, \(self.failure ?? mark ?? "")\(self.isNeeded ? ", needed" : "")"
        )
    }

    fileprivate var json: String {
        """
        {"name":\(quoted(self.name)),"bytes":\(self.bytes),"index":\(self.mark.map { "\($0.index)" } ?? "null"),\
        "term":\(self.mark.map { "\($0.term)" } ?? "null"),"failure":\(self.failure.map { quoted($0) } ?? "null"),\
        "needed":\(self.isNeeded)}
        """
    }
}

extension JournalReport.Damage {
    fileprivate var json: String {
        """
        {"file":\(quoted(self.file)),"offset":\(self.offset.map { "\($0)" } ?? "null"),\
        "group":\(self.group.map { "\"\($0)\"" } ?? "null"),"index":\(self.index.map { "\($0)" } ?? "null"),\
        "text":\(quoted(self.text)),"lost":\(self.isHole)}
        """
    }
}

extension JournalReport.EntryRange {
    fileprivate var json: String { "{\"first\":\(self.first),\"last\":\(self.last),\"term\":\(self.term)}" }
}

private func ranges(_ ranges: [JournalReport.EntryRange]) -> String {
    ranges.map { range in
        range.first == range.last
            ? "\(range.first) (term \(range.term))" : "\(range.first) to \(range.last) (term \(range.term))"
    }.joined(separator: ", ")
}

private func indexes(_ indexes: [LogIndex]) -> String { indexes.map { "\($0)" }.joined(separator: ", ") }

private func sentence(_ state: HardState) -> String {
    "term \(state.term), \(state.votedFor.map { "voted for node \($0)" } ?? "no vote")"
}

private func object(_ state: HardState) -> String {
    "{\"term\":\(state.term),\"vote\":\(state.votedFor.map { "\($0)" } ?? "null")}"
}

private func list(_ items: [String]) -> String { "[\(items.joined(separator: ","))]" }

/// As a JSON string.
package func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case _ where scalar.value < 0x20:
            let digits = String(scalar.value, radix: 16)
            out += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}
