package import Formats
import Glibc
package import Replication

/// What stands in a stopped node's data directory, and what will become of it at the next start: the library behind
/// `kintsugi journal inspect DIR` and `kintsugi journal verify DIR`.
///
/// Made by the code that a start uses, and changes nothing. In a command:
///
///     let report: JournalReport
///     do { report = try JournalReport.inspect(directory: directory) } catch {
///         // `error.description` on standard error, or `error.json` on standard output
///         throw ExitCode(error.code)
///     }
///     print(json ? report.json(.verify) : report.text(.verify))
///     throw ExitCode(report.exitCode)
package struct JournalReport: Sendable {
    /// How the journal as a whole is.
    package enum Verdict: String, Sendable {
        case clean
        /// The last write before the node ended was not finished: it was never acknowledged, and is cut at start.
        case tornTail = "torn tail (will be cut at start)"
        /// Something is not what was written.
        case damaged
    }

    /// What is wanted of the report.
    package enum View: Sendable {
        /// All that is there.
        case inspect
        /// The verdict, each damaged place, and what happens at start.
        case verify
    }

    /// The directory cannot be looked at.
    package struct Unavailable: Error, Sendable, CustomStringConvertible {
        package var description: String
        /// For the process: not a data directory, or in use.
        package var code: Int32 { 73 }
        package var json: String { "{\"error\":{\"code\":\(self.code),\"message\":\(quoted(self.description))}}" }
    }

    /// Entries, hard states and marks of one group in one batch.
    package struct Share: Sendable, Equatable {
        package var group: GroupID
        package var entries: [EntryRange] = []
        /// Entries that were replaced by a peer's copy.
        package var repaired: [LogIndex] = []
        /// Entries that were there and could not be read any more.
        package var holes: [LogIndex] = []
        package var truncatedAfter: LogIndex?
        package var hardState: HardState?
        package var mark: LogIndex?
        /// By the batch's own word.
        package var end: LogIndex?
    }

    /// Consecutive entries of one term.
    package struct EntryRange: Sendable, Equatable {
        package var first: LogIndex
        package var last: LogIndex
        package var term: Term

        package init(first: LogIndex, last: LogIndex, term: Term) {
            self.first = first
            self.last = last
            self.term = term
        }
    }

    package struct Batch: Sendable {
        package var sequence: UInt64
        package var block: Int
        package var blocks: Int
        /// The row of the decision table of `RecoveredJournal`; nil where a later batch took this one's place.
        package var row: BatchVerdict?
        package var records: Int
        package var shares: [Share]
    }

    package struct Segment: Sendable {
        package enum Use: String, Sendable {
            case live
            /// Its batches all stand elsewhere too.
            case spent
            case blank
            case unreadable
        }

        package var file: UInt32
        /// 0: none.
        package var generation: UInt64
        package var bytes: Int
        package var use: Use
        package var batches: [Batch]
        /// Blocks after the last batch.
        package var freeBlocks: Int
    }

    package struct Group: Sendable {
        package var group: GroupID
        package var hardState: HardState
        package var mark: SnapshotMark?
        /// A majority of the voters came to the same state.
        package var isConfirmed: Bool
        package var entries: [EntryRange]
        package var holes: [Hole]
        package var isEndUncertain: Bool
        package var isVoteUncertain: Bool
    }

    package struct Snapshot: Sendable {
        package var name: String
        package var bytes: Int
        /// Nil where the file is bad or not there.
        package var mark: SnapshotMark?
        package var failure: String?
        /// The newest of its group by the journal: the state begins with it.
        package var isNeeded: Bool
    }

    /// A damaged place.
    package struct Damage: Sendable {
        /// File within the data directory.
        package var file: String
        /// In bytes; nil where it is the file as a whole.
        package var offset: Int?
        package var group: GroupID?
        package var index: LogIndex?
        package var text: String
        /// Something acknowledged may be missing for it here: other nodes have to give it.
        package var isHole: Bool
    }

    package var directory: String
    /// Nil where neither copy can be read: then nothing else can be, because its checksums begin with it.
    package var identity: NodeIdentity?
    package var verdict: Verdict
    package var segments: [Segment] = []
    package var groups: [Group] = []
    package var snapshots: [Snapshot] = []
    package var damage: [Damage] = []
    /// What the next start does, a sentence each.
    package var atStart: [String] = []
    /// The next start goes on with this disk.
    package var starts: Bool
    /// Why the disk counts as lost, in half a sentence.
    package var lost: String?

    /// 0 clean or torn, 1 damaged.
    package var exitCode: Int32 { self.verdict == .damaged ? 1 : 0 }

    /// Reads all of a stopped node's directory: identity, segments, snapshots. O(bytes).
    package static func inspect(directory: String) throws(Unavailable) -> JournalReport {
        do {
            let (identity, badCopies, lock) = try DataDirectory.look(at: directory)
            defer { if lock >= 0 { close(lock) } }
            return try JournalReport(directory, identity, badCopies)
        } catch {
            throw Unavailable(description: "\(error)")
        }
    }

    private init(_ directory: String, _ identity: NodeIdentity?, _ badCopies: [String]) throws {
        self.directory = directory
        self.identity = identity
        self.verdict = .clean
        self.starts = true
        for name in badCopies {
            self.damage.append(Damage(file: name, text: "it cannot be read", isHole: badCopies.count == 2))
        }
        guard let identity else {
            self.verdict = .damaged
            self.starts = false
            self.lost = "neither copy of node.identity can be read"
            self.atStart = [
                "The disk counts as lost: neither copy of node.identity can be read. What is here goes aside, nothing is deleted, and the node joins anew as another incarnation. In a cluster of one it is refused with 73: restore one of the copies."
            ]
            return
        }
        let path = directory + "/journal"
        let scans = access(path, F_OK) == 0 ? try Journal.scan(directory: path, identity: identity.journal) : []
        let recovered = RecoveredJournal(scans.map { ($0.file, $0.scan) }, isDetailed: true)
        for (file, size, scan) in scans { self.segments.append(Segment(file, size, scan, recovered)) }
        for group in recovered.groups { self.groups.append(Group(group)) }
        for damage in recovered.damage {
            self.damage.append(
                Damage(
                    file: "journal/" + SegmentFiles.name(of: damage.file),
                    offset: damage.block * JournalFormat.blockBytes,
                    group: damage.group, index: damage.index, text: damage.text, isHole: damage.isHole))
        }
        if scans.isEmpty { self.atStart.append("There is no journal yet: the node begins with an empty one.") }
        self.readSnapshots(directory + "/snapshots", recovered)
        self.judge(recovered)
    }

    private mutating func readSnapshots(_ path: String, _ recovered: RecoveredJournal) {
        var missing = recovered.groups.compactMap { group in group.snapshot.map { (group.group, $0) } }
        for name in Files.list(path) where name.hasSuffix(".snapshot") {
            var snapshot = Snapshot(name: name, bytes: 0, isNeeded: false)
            if let fd = try? Files.open(path + "/" + name, O_RDONLY) {
                snapshot.bytes = Files.size(fd)
                close(fd)
            }
            let needed = missing.firstIndex { SnapshotStore.name($0.0, $0.1.index) == name }
            do {
                let mark = try SnapshotFile.verify(path + "/" + name)
                snapshot.mark = mark
                if let needed, missing[needed].1 != mark {
                    snapshot.failure = "it is not the one that the journal names"
                }
            } catch {
                snapshot.failure = "\(error)"
            }
            if let needed {
                snapshot.isNeeded = true
                if let failure = snapshot.failure {
                    self.damage.append(
                        Damage(
                            file: "snapshots/" + name, group: missing[needed].0, index: missing[needed].1.index,
                            text: failure, isHole: true))
                }
                missing.remove(at: needed)
            } else if let failure = snapshot.failure {
                self.damage.append(
                    Damage(file: "snapshots/" + name, text: failure + " (an older one, not needed)", isHole: false))
            }
            self.snapshots.append(snapshot)
        }
        for (group, mark) in missing {
            let name = SnapshotStore.name(group, mark.index)
            self.snapshots.append(Snapshot(name: name, bytes: 0, failure: "it is not there", isNeeded: true))
            self.damage.append(
                Damage(
                    file: "snapshots/" + name, group: group, index: mark.index,
                    text: "it is not there, and the log before it is gone", isHole: true))
        }
    }

    private mutating func judge(_ recovered: RecoveredJournal) {
        if recovered.hasTornTail {
            self.verdict = .tornTail
            let torn = recovered.judged.filter { $0.row == .torn }
            for batch in torn {
                self.atStart.append(
                    "Batch \(batch.batch.sequence) in segment \(batch.file) is cut: its write was not finished, so nothing in it was acknowledged."
                )
            }
            if torn.isEmpty { self.atStart.append("A write that stopped within its first block is passed over.") }
        }
        if !recovered.unproved.isEmpty {
            self.atStart.append(
                "The last batch is written again, because nothing after it proves that it is durable.")
        }
        guard !self.damage.isEmpty else {
            self.atStart.append("The node starts.")
            return
        }
        self.verdict = .damaged
        if let reason = recovered.lost {
            self.lost = reason
            self.starts = false
            self.atStart.append(
                "The disk counts as lost: \(reason). What is here goes aside, nothing is deleted, and the node joins anew as another incarnation. In a cluster of one it is refused with 73: restore the directory from a copy."
            )
            return
        }
        let holes = recovered.groups.reduce(0) { $0 + $1.holes.count }
        if holes > 0 {
            self.atStart.append(
                "The node starts with \(holes) \(holes == 1 ? "hole" : "holes") in its logs: it knows that the entries were there, and gets them from the other nodes. In a cluster of one it is refused with 73: restore the directory from a copy."
            )
        } else if self.damage.contains(where: { $0.isHole }) {
            self.atStart.append(
                "The node starts: its journal is whole, and the snapshots that are bad are made again from other nodes' blocks."
            )
        } else {
            self.atStart.append("The node starts: nothing that was acknowledged is missing.")
        }
    }
}

extension JournalReport.Segment {
    fileprivate init(_ file: UInt32, _ size: Int, _ scan: SegmentScan, _ recovered: RecoveredJournal) {
        let judged = recovered.judged.filter { $0.file == file }
        let use: Use =
            if recovered.spentFiles.contains(file) { .spent } else if recovered.blankFiles.contains(file) {
                .blank
            } else {
                recovered.segments.contains { $0.file == file } ? .live : .unreadable
            }
        let end = judged.map { $0.batch.firstBlock + $0.batch.blockCount }.max() ?? 0
        self.init(
            file: file, generation: scan.generation, bytes: size, use: use,
            batches: judged.map { JournalReport.Batch($0) }, freeBlocks: max(0, scan.blockCount - end))
    }
}

extension JournalReport.Batch {
    fileprivate init(_ judged: JudgedBatch) {
        let batch = judged.batch
        self.init(
            sequence: batch.sequence, block: batch.firstBlock, blocks: batch.blockCount, row: judged.row, records: 0,
            shares: [])
        guard case .records(let records, let ends) = batch.content else { return }
        self.records = records.count
        for end in ends { self.shares.append(JournalReport.Share(group: end.group, end: end.after.index)) }
        func with(_ group: GroupID, _ body: (inout JournalReport.Share) -> Void) {
            if let at = self.shares.firstIndex(where: { $0.group == group }) { return body(&self.shares[at]) }
            var share = JournalReport.Share(group: group)
            body(&share)
            self.shares.append(share)
        }
        for case .good(let record) in records {
            with(record.group) { share in
                switch record {
                case .entry(let entry): share.entries.note(entry.index, entry.term)
                case .truncate(_, let after): share.truncatedAfter = after
                case .hardState(_, let state): share.hardState = state
                case .snapshot(_, let mark, _): share.mark = mark.index
                case .repair(let entry): share.repaired.append(entry.index)
                case .hole(_, let hole): share.holes.append(hole.index)
                case .end: break
                }
            }
        }
    }
}

extension JournalReport.Group {
    fileprivate init(_ recovered: RecoveredGroup) {
        self.init(
            group: recovered.group, hardState: recovered.hardState, mark: recovered.snapshot,
            isConfirmed: recovered.standing == .confirmed, entries: [],
            holes: recovered.holes, isEndUncertain: recovered.isEndUncertain, isVoteUncertain: recovered.isVoteUncertain
        )
        for entry in recovered.entries { self.entries.note(entry.index, entry.term) }
    }
}

extension [JournalReport.EntryRange] {
    fileprivate mutating func note(_ index: LogIndex, _ term: Term) {
        if let last = self.last, last.term == term, last.last &+ 1 == index {
            self[self.count - 1].last = index
        } else {
            self.append(JournalReport.EntryRange(first: index, last: index, term: term))
        }
    }
}

extension JournalReport {
    /// Of a segment's file, within the journal's directory.
    package static func name(of file: UInt32) -> String { SegmentFiles.name(of: file) }
}
