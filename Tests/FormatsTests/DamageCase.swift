import Formats
import Replication

/// A journal over several segments, with all that a node writes, and what it must give back.
struct DamageCase {
    var journal: MemoryJournal
    var model: JournalModel
    /// The state without the last batch.
    var before: JournalModel
    var scans: [(file: UInt32, scan: SegmentScan)]

    init(seed: UInt64) {
        var source = RecordSource(seed: seed, identity: MemoryJournal.identity)
        self.journal = MemoryJournal(segmentBlocks: 16)
        self.model = JournalModel()
        self.before = self.model
        for step in 0..<18 {
            var records = source.batch() + source.entries(1, group: step % 2)
            if step % 5 == 4, let mark = source.mark(step % 2) { records.append(mark) }
            self.before = self.model
            self.journal.write(records)
            self.model.apply(records)
        }
        self.scans = self.journal.scans()
    }

    func recover(_ changed: [UInt32], _ journal: MemoryJournal) -> RecoveredJournal {
        RecoveredJournal(self.scans.map { changed.contains($0.file) ? journal.scan($0.file) : $0 })
    }

    /// What must hold whatever happened to the disk; nil where it does.
    func problem(_ recovered: RecoveredJournal) -> String? {
        guard !recovered.isLost else {
            return recovered.damage.contains { $0.isHole } ? nil : "lost, and no damage told"
        }
        for id in Set(self.model.groups.keys).union(recovered.groups.map(\.group)).sorted() {
            let group = recovered[id] ?? RecoveredGroup(group: id)
            if let denied = self.model.denied(id, group) { return denied }
            for hole in group.holes.map(\.index)
            where !recovered.damage.contains(where: {
                $0.isHole && $0.group ?? id == id && $0.index ?? 0 <= hole
            }) {
                return "hole \(hole) of \(id) is not told: \(recovered.damage)"
            }
        }
        // A mark that is lost leaves the one before it, and the log since: nothing is denied, and damage is told.
        let isMarkLost =
            !recovered.damage.isEmpty
            && self.model.groups.contains { $1.snapshot?.index ?? 0 > recovered[$0]?.snapshot?.index ?? 0 }
        if recovered.isWhole, !isMarkLost {
            if let difference = self.model.difference(from: recovered) { return "silent: \(difference)" }
        } else if !recovered.isWhole, !recovered.damage.contains(where: { $0.isHole }) {
            return "not whole, and no damage told"
        }
        return nil
    }

    /// Blocks that hold a batch, by file.
    var used: [(file: UInt32, block: Int)] {
        self.scans.flatMap { file, scan in
            scan.batches.flatMap { batch in
                (batch.firstBlock..<batch.firstBlock + batch.blockCount).map { (file, $0) }
            }
        }
    }
}
