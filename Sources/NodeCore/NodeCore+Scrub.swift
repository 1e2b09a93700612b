import Catalog
package import Formats
package import Replication

/// Rot that the scrubber finds while the node runs, and what is done about it. All that is at rest is in memory too, or at
/// the peers: so nothing is lost by it now, and something would be with the next start.
///
/// - A snapshot is rebuilt (`snapshotRotten`).
/// - A small file is written anew.
/// - Of a segment of the journal nothing is written over: what it holds is made superfluous.
///   1. A new segment is begun. Its table repeats every group's term and vote, newest snapshot and end.
///   2. Entries above the snapshots that the bad batches held are written again, as repairs, a stretch at a time.
///   3. The groups' leaders are asked for a checkpoint: when it is done here the journal uses the segment's file again.
///   It counts as repaired when all that it held is durable elsewhere: by 1 and 2, or by 1 and 3, whichever is sooner.
///
/// Where both copies of a batch's headers are bad it is not known what the batch held. Then there is nothing to write again,
/// and 3 alone helps. Were the entries written again:
///
///   a. Entries 51 to 60 are of term 1. A leader of term 2 replaces 51 and 52: one batch has the truncation and both.
///   b. That batch rots. 51 and 52, as they are in memory, are written again as repairs.
///   c. A start reads 51 of term 1, and does not know that it went: the repair of 51 does not fit, 52 does not continue it,
///      and the disk counts as lost.
struct RotRepair {
    /// A segment with bad places, from when it was found until all it held is durable elsewhere.
    struct Segment {
        let file: UInt32
        let generation: UInt64
        /// Still to be written, or to be covered by a snapshot.
        var pending: [JournalRot.Range]
        /// What a bad batch may have held that does not say what: to be covered by a snapshot, and by nothing else.
        var hidden: [JournalRot.Range]
        /// Has something in this turn's batch of the journal; then the ticket of that.
        var isInBatch = false
        var ticket: UInt64?
        /// A later segment is durable that begins with a table.
        var isBegun = false
        var bytes = 0
        var entries = 0
        /// When the leaders were asked for checkpoints last, and how long they have from then.
        var asked: Instant
        var pause = Nanoseconds.seconds(5)
    }

    /// Known to be bad: what is found there again is no news. The journal will use the files again.
    var known: [(file: UInt32, generation: UInt64, block: Int)] = []
    var segments: [Segment] = []
    /// Being written anew.
    var files: [NodeFile] = []
    var peerRunsVersion: UInt64?
    /// Refused by the disk: tried again at this instant.
    var refused: [(file: NodeFile, again: Instant)] = []
    /// Found by the scrubber in this run, and put right again.
    var found = 0
    var repaired = 0
    static let maxKnown = 1024
}

extension NodeCore {
    /// Bytes of log that are written again in one turn.
    private static let stretch = 1 << 20
    private static let patience = Nanoseconds.seconds(5)
    /// Between two questions for checkpoints, where none comes that helps.
    private static let longestPause = Nanoseconds.seconds(60)

    /// What the scrubber has found and what came of it, since the start.
    package var rotCounts: (found: Int, repaired: Int, open: Int) {
        (self.rot.found, self.rot.repaired, self.rot.found - self.rot.repaired)
    }

    /// The snapshots that must be on the disk.
    package var namedSnapshots: [(group: GroupID, mark: SnapshotMark)] {
        self.groups.compactMap { group in group.checkpoint.durable.map { (group.id, $0) } }
    }

    /// Another one where `namedSnapshots` may be.
    package var namedSnapshotsVersion: UInt64 { self.groups.reduce(0) { $0 + $1.checkpoint.durableVersion } }

    /// The scrubber found something bad. `window`: since when it may have been so; 0 where that is not known.
    package func rotten(_ rot: Rot, window: Nanoseconds) {
        switch rot {
        case .snapshot(let id, let index, let reason):
            guard let group = self.group(id), group.healing == nil else { return }
            self.snapshotRotten(id, index: index, reason: reason)
            if group.healing != nil {
                group.healing?.isScrubbed = true
                self.rot.found += 1
            }
        case .file(let file, let reason): self.fileRotten(file, reason, window)
        case .journal(let segment): self.segmentRotten(segment, window)
        }
        self.effects.wantsTurn = true
    }

    // MARK: Small files

    private func fileRotten(_ file: NodeFile, _ reason: String, _ window: Nanoseconds) {
        guard !self.rot.files.contains(file) else { return }
        self.noteRot(window)
        self.rot.files.append(file)
        self.effects.events.append(.fileDamaged(file, reason))
        switch file {
        case .identityA, .identityB, .seedA, .seedB: self.effects.rewrites.append(file)
        case .peerRunsA, .peerRunsB:
            // Both are replaced, by what is known now.
            self.memory.changed()
            self.rot.peerRunsVersion = self.memory.version
        case .incidentsA, .incidentsB: break  // `saveIncidents` sees to it.
        }
    }

    /// A file of `effects.rewrites` is durable again; `bytes` nil: the disk refused.
    package func fileRewritten(_ file: NodeFile, bytes: Int?) {
        guard let at = self.rot.files.firstIndex(of: file) else { return }
        guard let bytes else {
            return self.rot.refused.append((file, self.now + Self.patience))
        }
        self.rot.files.remove(at: at)
        self.repairedRot(bytes: bytes, "\(file.rawValue) written anew")
    }

    private func settlePeerRuns() {
        guard let version = self.rot.peerRunsVersion, self.memory.durableVersion >= version else { return }
        self.rot.peerRunsVersion = nil
        let bytes = self.memory.durable.file.count
        for file in [NodeFile.peerRunsA, .peerRunsB] where self.rot.files.contains(file) {
            self.fileRewritten(file, bytes: bytes)
        }
    }

    // MARK: Segments

    private func segmentRotten(_ segment: RottenSegment, _ window: Nanoseconds) {
        let news = segment.places.filter { place in
            !self.rot.known.contains {
                $0.file == segment.file && $0.generation == segment.generation && $0.block == place.block
            }
        }
        guard !news.isEmpty else { return }
        for place in news.prefix(RotRepair.maxKnown) {
            if self.rot.known.count == RotRepair.maxKnown { self.rot.known.removeFirst() }
            self.rot.known.append((segment.file, segment.generation, place.block))
        }
        self.noteRot(window)
        for place in news.prefix(8) {
            self.effects.events.append(.journalDamaged(file: segment.file, block: place.block, place.text))
        }
        self.rot.segments.append(
            RotRepair.Segment(
                file: segment.file, generation: segment.generation, pending: news.flatMap { $0.ranges ?? [] },
                hidden: news.contains { $0.ranges == nil } ? segment.extent : [], asked: self.now))
        self.askForCheckpoints(of: self.groups)
    }

    /// The damaged segment goes when snapshots cover it. Who has no state takes none.
    private func askForCheckpoints(of groups: [Group]) {
        for group in groups where group.hasState {
            if group.isLeader {
                group.checkpoint.isWanted = true
            } else if let leader = group.replica.leader {
                self.effects.messages.append((leader.node, .checkpointWanted(group: group.id)))
            }
        }
    }

    /// Once a turn, behind what the groups write to the journal in it: what stands in memory is then what the journal says
    /// up to here, and an entry that is written again continues the one before it there too.
    func rewriteRot() {
        self.settlePeerRuns()
        guard !self.rot.segments.isEmpty else { return }
        for at in self.rot.segments.indices where self.rot.segments[at].ticket == nil {
            self.dropCovered(&self.rot.segments[at])
            if self.rot.segments[at].isBegun {
                self.rewriteStretch(of: &self.rot.segments[at])
            } else {
                self.rot.segments[at].isInBatch = true
                self.effects.beginsSegment = true
            }
        }
        func isDone(_ segment: RotRepair.Segment) -> Bool {
            segment.isBegun && segment.ticket == nil && !segment.isInBatch && segment.pending.isEmpty
                && segment.hidden.isEmpty
        }
        let done = self.rot.segments.filter(isDone)
        self.rot.segments.removeAll(where: isDone)
        for segment in done {
            self.repairedRot(
                bytes: segment.bytes,
                segment.entries > 0
                    ? "journal segment \(segment.file): \(segment.entries) entries written again"
                    : "journal segment \(segment.file): what it held is in newer segments and snapshots")
            self.effects.events.append(.journalRepaired(file: segment.file, bytes: segment.bytes))
        }
    }

    /// What a snapshot covers that the journal durably names is not needed any more, and of what was cut off since there is
    /// nothing to be kept: the record of the cut is in a later batch, or the ends that later batches name tell it.
    private func dropCovered(_ segment: inout RotRepair.Segment) {
        func drop(_ ranges: inout [JournalRot.Range]) {
            for at in ranges.indices {
                guard let group = self.group(ranges[at].group) else { continue }
                ranges[at].first = max(ranges[at].first, group.namedIndex + 1)
                ranges[at].last = min(ranges[at].last, group.replica.log.lastIndex)
            }
            ranges.removeAll { $0.first > $0.last }
        }
        drop(&segment.pending)
        drop(&segment.hidden)
    }

    /// As much as one batch takes. What is not in memory waits for a snapshot that covers it.
    private func rewriteStretch(of segment: inout RotRepair.Segment) {
        var bytes = 0
        for at in segment.pending.indices {
            guard let group = self.group(segment.pending[at].group), group.replica.log.isWhole else { continue }
            guard segment.pending[at].first >= group.replica.log.firstIndex else { continue }
            while segment.pending[at].first <= segment.pending[at].last, bytes < Self.stretch {
                let entry = group.replica.log.entry(at: segment.pending[at].first)
                self.effects.records.append(.repair(entry))
                bytes += entry.payload.count + 2 * JournalFormat.recordHeaderBytes
                segment.bytes += entry.payload.count
                segment.entries += 1
                segment.pending[at].first += 1
            }
        }
        segment.pending.removeAll { $0.first > $0.last }
        segment.isInBatch = bytes > 0
    }

    /// Called when this turn's batch has its ticket.
    func rotGathered(ticket: UInt64) {
        for at in self.rot.segments.indices where self.rot.segments[at].isInBatch {
            self.rot.segments[at].isInBatch = false
            self.rot.segments[at].ticket = ticket
        }
    }

    func rotJournalled(_ ticket: UInt64) {
        for at in self.rot.segments.indices {
            guard let own = self.rot.segments[at].ticket, own <= ticket else { continue }
            self.rot.segments[at].ticket = nil
            self.rot.segments[at].isBegun = true
            self.effects.wantsTurn = true
        }
    }

    func superviseRot() {
        for at in self.rot.segments.indices {
            let segment = self.rot.segments[at]
            let groups = self.groups.filter { group in
                group.hasState && (segment.pending + segment.hidden).contains { $0.group == group.id }
            }
            guard !groups.isEmpty, self.now - segment.asked >= segment.pause else { continue }
            self.rot.segments[at].asked = self.now
            self.rot.segments[at].pause = min(2 * segment.pause, Self.longestPause)
            self.askForCheckpoints(of: groups)
        }
        while let first = self.rot.refused.first, first.again <= self.now {
            self.rot.refused.removeFirst()
            self.effects.rewrites.append(first.file)
        }
    }

    // MARK: The account

    private func noteRot(_ window: Nanoseconds) {
        self.rot.found += 1
        self.incidents.damaged(
            .rot, run: self.configuration.run, window: window, now: self.now, wall: self.wall)
    }

    private func repairedRot(bytes: Int, _ action: String) {
        self.rot.repaired += 1
        self.incidents.repaired(.rot, bytes: bytes, action: action)
        self.settleRot()
    }

    /// Closes the incident where nothing that rotted is left.
    func settleRot() {
        guard !self.groups.contains(where: { $0.healing?.isOfRot ?? false || $0.holes != nil }), self.rot.files.isEmpty,
            self.rot.repaired == self.rot.found
        else { return }
        self.incidents.repairedAll(.rot, now: self.now)
    }
}
