import Formats
import NodeCore
import Replication

/// A block of a journal as rot left it; no content where the file was cut short before it.
struct RottenBlock {
    let file: UInt32
    let block: Int
    let content: ArraySlice<UInt8>?
}

/// Rot of journal segments at rest: flipped bits, zeroed, swapped, misplaced, stale sectors, files cut short.
///
/// Bound (`World+DamageBound`): a minority of the nodes is damaged; or nothing but journals is, by single sectors such that no
/// entry is missing at two nodes. A journal counts as damaged until it would be read back without damage after a power cut:
/// until what it lost is there again, and snapshots cover the damaged segments.
extension World {
    private static let rotSector = 512
    private static let block = JournalFormat.blockBytes

    enum JournalDamage: UInt64, CaseIterable {
        case flippedBit, zeroedSector, zeroedBlock, swappedBlocks, misplacedBlock, staleBlock, truncation, zeroedBlocks

        /// One sector, which no second one is bad beside.
        var isSingle: Bool {
            switch self {
            case .flippedBit, .zeroedSector: true
            case .zeroedBlock, .swappedBlocks, .misplacedBlock, .staleBlock, .truncation, .zeroedBlocks: false
            }
        }
        /// What it leaves may look like a write that was never made: no journal can tell.
        var looksUnwritten: Bool {
            switch self {
            case .misplacedBlock, .staleBlock: true
            case .flippedBit, .zeroedSector, .zeroedBlock, .swappedBlocks, .truncation, .zeroedBlocks: false
            }
        }
    }

    func injectJournalRot(_ draw: inout Random) {
        let isWidespread = draw.chance(1, in: 2)
        self.rotJournal(
            &draw, isWidespread ? JournalDamage(rawValue: draw.below(2))! : JournalDamage(rawValue: draw.below(8))!)
    }

    func rotJournal(_ draw: inout Random, _ kind: JournalDamage) {
        let node = self.anyNode(&draw)
        var places = Random(seed: draw.next())
        guard node.lastRun > 0, let target = self.segment(of: node, &places) else { return }
        let isAlone = self.isMinorityDamaged(with: node)
        guard isAlone || (kind.isSingle && self.isOnlyDamaged(.journal)) else { return }

        // First on a copy: what would it do? And where the power goes next: of what was written without a sync, which tells
        // that the batch before it is durable, nothing may be left.
        func outcome(_ copy: SimulatedDisk) -> (before: RecoveredJournal, after: RecoveredJournal) {
            let before = SimulatedJournal.recover(copy, identity: self.journalIdentity(of: node))
            var again = places
            self.rot(copy, target, kind, node, &again)
            return (before, SimulatedJournal.recover(copy, identity: self.journalIdentity(of: node)))
        }
        let (before, after) = outcome(node.disk.twin())
        func mayDeny(_ before: RecoveredJournal, _ after: RecoveredJournal) -> Bool {
            after.hasTornTail || after.nextSequence < before.nextSequence
        }
        if kind.looksUnwritten {
            let (durable, left) = outcome(node.disk.durableCopy())
            if mayDeny(before, after) || mayDeny(durable, left) { return }
        }
        if !isAlone {
            guard !after.isLost else { return }
            let holes = Self.holes(after)
            for other in self.nodes where other !== node && other.hasJournalRot {
                let found = SimulatedJournal.recover(other.disk, identity: self.journalIdentity(of: other))
                guard !found.isLost, Self.holes(found).isDisjoint(with: holes) else { return }
            }
        }
        let wasSound = before.damage.isEmpty && before.damagedFiles.isEmpty && self.rottenBlocks(of: node).isEmpty
        self.counts.journalRots += 1
        self.note(.journalRot, node, kind.rawValue, UInt64(target.file))
        let good = node.disk.copy()
        self.rot(node.disk, target, kind, node, &places)
        node.hasJournalRot = true
        for file in Set([target.file, target.other.file]).sorted() {
            let blocks = Self.blocks(of: file, node.disk)
            for (block, content) in Self.blocks(of: file, good).enumerated() {
                let rotten = block < blocks.count ? blocks[block] : nil
                guard rotten != content else { continue }
                node.rottenBlocks.removeAll { $0.file == file && $0.block == block }
                node.rottenBlocks.append(RottenBlock(file: file, block: block, content: rotten))
            }
        }
        node.wasHitBySingleRot = kind.isSingle && wasSound
    }

    private struct Target {
        var file: UInt32
        var block: Int
        /// Another place, of the same file or another.
        var other: (file: UInt32, block: Int)
    }

    /// Mostly where something is written.
    private func segment(of node: SimulatedNode, _ draw: inout Random) -> Target? {
        let files = node.disk.list("journal/").compactMap { UInt32($0.dropFirst("journal/".count)) }
        guard !files.isEmpty else { return nil }
        func place(_ draw: inout Random) -> (file: UInt32, block: Int)? {
            let file = files[Int(draw.below(UInt64(files.count)))]
            guard let bytes = node.disk.file(SimulatedJournal.name(of: file))?.bytes, bytes.count >= Self.block else {
                return nil
            }
            let any = Int(draw.below(UInt64(bytes.count / Self.block)))
            let scan = bytes.withUnsafeBytes { SegmentScan($0, identity: self.journalIdentity(of: node)) }
            let used = scan.batches.flatMap { $0.firstBlock..<$0.firstBlock + $0.blockCount }.filter {
                $0 < bytes.count / Self.block
            }
            guard !used.isEmpty, draw.chance(4, in: 5) else { return (file, any) }
            // The newest ones are what matters most.
            let newest = used.suffix(draw.chance(1, in: 2) ? 4 : used.count)
            return (file, newest[newest.startIndex + Int(draw.below(UInt64(newest.count)))])
        }
        guard let one = place(&draw), let other = place(&draw) else { return nil }
        return Target(file: one.file, block: one.block, other: draw.chance(1, in: 2) ? other : (other.file, one.block))
    }

    private func rot(
        _ disk: SimulatedDisk, _ target: Target, _ kind: JournalDamage, _ node: SimulatedNode, _ draw: inout Random
    ) {
        guard let file = disk.file(SimulatedJournal.name(of: target.file)) else { return }
        let start = target.block * Self.block
        func zero(_ range: Range<Int>) {
            disk.rot(file) { bytes in for at in range.clamped(to: 0..<bytes.count) { bytes[at] = 0 } }
        }
        func content(_ disk: SimulatedDisk, _ file: UInt32, _ block: Int) -> [UInt8]? {
            guard let bytes = disk.file(SimulatedJournal.name(of: file))?.bytes, (block + 1) * Self.block <= bytes.count
            else { return nil }
            return Array(bytes[block * Self.block..<(block + 1) * Self.block])
        }
        func put(_ content: [UInt8]?, _ file: UInt32, _ block: Int) {
            guard let content, let file = disk.file(SimulatedJournal.name(of: file)) else { return }
            disk.rot(file) { bytes in
                guard (block + 1) * Self.block <= bytes.count else { return }
                for at in 0..<Self.block { bytes[block * Self.block + at] = content[at] }
            }
        }
        switch kind {
        case .flippedBit:
            let byte = start + Int(draw.below(UInt64(Self.block)))
            let bit = UInt8(draw.below(8))
            disk.rot(file) { bytes in if byte < bytes.count { bytes[byte] ^= 1 << bit } }
        case .zeroedSector:
            let sector = start + Int(draw.below(UInt64(Self.block / Self.rotSector))) * Self.rotSector
            zero(sector..<sector + Self.rotSector)
        case .zeroedBlock:
            zero(start..<start + Self.block)
        case .swappedBlocks:
            let (one, other) = (
                content(disk, target.file, target.block), content(disk, target.other.file, target.other.block)
            )
            put(other, target.file, target.block)
            put(one, target.other.file, target.other.block)
        case .misplacedBlock:
            put(content(disk, target.other.file, target.other.block), target.file, target.block)
        case .staleBlock:
            put(
                JournalFormat.blank(blocks: target.block..<target.block + 1, identity: self.journalIdentity(of: node)),
                target.file, target.block)
        case .truncation:
            disk.rot(file) { bytes in bytes.removeSubrange(min(start, bytes.count)...) }
        case .zeroedBlocks:
            let count = 2 + Int(draw.below(5))
            zero(start..<start + count * Self.block)
        }
    }

    // MARK: What is damaged

    private static func holes(_ journal: RecoveredJournal) -> Set<JournalPlace> {
        var places: Set<JournalPlace> = []
        for group in journal.groups {
            for hole in group.holes { places.insert(JournalPlace(group: group.group, index: hole.index)) }
        }
        return places
    }

    private struct JournalPlace: Hashable {
        var group: GroupID
        var index: LogIndex
    }

    /// Of the run that began last.
    private func journalIdentity(of node: SimulatedNode) -> JournalIdentity {
        JournalIdentity(cluster: self.cluster, node: node.member.node, incarnation: node.member.incarnation)
    }

    /// Whether the node's journal still has damage that counts.
    func hasJournalRot(_ node: SimulatedNode) -> Bool {
        guard node.hasJournalRot else { return false }
        // As a kill would leave it, and as a power cut may.
        node.hasJournalRot = [node.disk, node.disk.durableCopy()].contains { disk in
            let found = SimulatedJournal.recover(disk, identity: self.journalIdentity(of: node))
            return !found.damage.isEmpty || !found.damagedFiles.isEmpty || !found.isWhole
        }
        // What could not be read for a while is missing in memory still.
        if node.core?.groupStatus.contains(where: \.isRecovering) ?? false { node.hasJournalRot = true }
        return node.hasJournalRot
    }

    /// Those that were not written again for certain. They are what a start or a scrubber may find bad: also a journal that
    /// is whole may have some, and a later batch makes them count.
    func rottenBlocks(of node: SimulatedNode) -> [RottenBlock] {
        guard !node.rottenBlocks.isEmpty else { return [] }
        let durable = node.disk.durableCopy()
        node.rottenBlocks.removeAll { rotten in
            ![node.disk, durable].contains { disk in
                guard disk.file(SimulatedJournal.name(of: rotten.file)) != nil else { return false }
                let blocks = Self.blocks(of: rotten.file, disk)
                guard rotten.block < blocks.count else { return rotten.content == nil }
                // A write behind the end of a file that was cut short leaves zeros before it.
                return rotten.content.map { $0 == blocks[rotten.block] } ?? blocks[rotten.block].allSatisfy { $0 == 0 }
            }
        }
        return node.rottenBlocks
    }

    private static func blocks(of file: UInt32, _ disk: SimulatedDisk) -> [ArraySlice<UInt8>] {
        guard let bytes = disk.file(SimulatedJournal.name(of: file))?.bytes else { return [] }
        return stride(from: 0, to: bytes.count, by: Self.block).map { bytes[$0..<min($0 + Self.block, bytes.count)] }
    }

    /// What rot of the journal may do to a start.
    func mayBeDamaged(_ node: SimulatedNode) -> Bool { node.hasJournalRot || !self.rottenBlocks(of: node).isEmpty }

    /// A start read a damaged journal: the marks that it found may be older than those that were durable.
    func noteGoneSnapshots(_ node: SimulatedNode, _ found: RecoveredJournal, expected: DurableState) {
        // What was put aside is still gone.
        node.goneSnapshots = node.goneSnapshots.filter {
            found[$0.key]?.snapshot?.index == $0.value
                && node.disk.file(SimulatedSnapshots.name($0.key, $0.value)) == nil
        }
        for (id, state) in expected.groups {
            guard let index = found[id]?.snapshot?.index, index < state.snapshot,
                node.disk.file(SimulatedSnapshots.name(id, index)) == nil
            else { continue }
            node.goneSnapshots[id] = index
        }
    }

    /// Another snapshot was made or received.
    func forgetGoneSnapshots(of node: SimulatedNode) {
        guard !node.goneSnapshots.isEmpty, let core = node.core else { return }
        node.goneSnapshots = node.goneSnapshots.filter { group, index in
            core.namedSnapshots.contains { $0.0 == group && $0.1.index == index }
                && node.disk.file(SimulatedSnapshots.name(group, index)) == nil
        }
    }

    /// A start found that its journal is lost. The disk begins anew; the process starts again.
    func journalIsLost(_ node: SimulatedNode, _ reason: String) throws {
        guard self.mayBeDamaged(node) else {
            throw Violation(.journalReadable, "node \(node.number): the disk counts as lost: \(reason)")
        }
        guard !node.wasHitBySingleRot else {
            throw Violation(
                .journalReadable, "node \(node.number): one bad sector, and the disk counts as lost: \(reason)")
        }
        self.note(.diskLost, node, node.lastRun, 1)
        self.counts.disksLost += 1
        node.lostMember = node.member
        node.power = .down
        node.life += 1
        guard self.putAside(node, after: node.lastRun) else { return }
        self.after(1_000_000 + self.random.below(20_000_000), .start(node.index, life: node.life))
    }
}
