import Formats
import NodeCore
import Replication

/// Scrubbers: each node reads everything it has at rest now and then, as `Scrubber` does on a thread of its own, and says
/// to its core what is bad. In one step of the run, so that nothing is written meanwhile.
///
/// Nothing is found that did not rot; and in the end nothing that rotted is left.
extension World {
    private static let scrubInterval = Nanoseconds.milliseconds(400)

    func scheduleScrub(_ node: SimulatedNode) {
        let life = node.life
        // Not all at once, and without a draw: runs are as they were.
        let delay = Self.scrubInterval + Nanoseconds(node.index) * 37_000_000
        self.after(delay) { world in
            guard node.life == life, node.isRunning else { return }
            world.scheduleScrub(node)
            guard !node.isPaused, node.disk.condition == .well else { return }
            try world.scrub(node)
        }
    }

    private func scrub(_ node: SimulatedNode) throws {
        let found = self.rot(on: node)
        guard !found.isEmpty, self.options.bug != .blindScrubber else { return }
        for rot in found { try self.checkFound(rot, on: node) }
        self.begin(node)
        for rot in found { node.core!.rotten(rot, window: 0) }
        self.scheduleTurn(node)
    }

    /// All that is bad on a running node's disk, of what it needs.
    private func rot(on node: SimulatedNode) -> [Rot] {
        var found: [Rot] = []
        for (group, mark) in node.core!.namedSnapshots {
            let file = node.disk.file(SimulatedSnapshots.name(group, mark.index))
            guard file.flatMap({ try? SnapshotFormat.read($0.bytes) })?.mark != mark else { continue }
            found.append(.snapshot(group, index: mark.index, reason: "it is gone or bad"))
        }
        for file in NodeFile.allCases {
            guard let bytes = node.disk.file(file.rawValue)?.bytes else {
                if !file.comesLater { found.append(.file(file, reason: "it is gone")) }
                continue
            }
            let seed = Array(self.seed.text.utf8)
            if let reason = file.complaint(about: bytes, identity: node.identity, seed: seed) {
                found.append(.file(file, reason: reason))
            }
        }
        for extent in node.journal!.extents where extent.durableBlocks > 0 {
            let bytes = node.disk.file(SimulatedJournal.name(of: extent.file)).map { node.disk.readAround($0) } ?? []
            let places = bytes.withUnsafeBytes {
                SegmentCheck(
                    $0, identity: node.identity.journal, generation: extent.generation,
                    durableBlocks: extent.durableBlocks
                ).rot
            }
            guard !places.isEmpty else { continue }
            found.append(
                .journal(
                    RottenSegment(
                        file: extent.file, generation: extent.generation, extent: extent.highest, places: places)))
        }
        return found
    }

    /// Where nothing rotted nothing is found.
    private func checkFound(_ rot: Rot, on node: SimulatedNode) throws {
        switch rot {
        case .snapshot(let group, let index, _): try self.checkUnreadable(node, group, index)
        case .journal(let segment):
            guard !self.rottenBlocks(of: node).contains(where: { $0.file == segment.file }) else { return }
            throw Violation(
                .journalReadable,
                "node \(node.number) scrubs segment \(segment.file), generation \(segment.generation): "
                    + segment.places.map(\.text).joined(separator: "; "))
        case .file(.incidentsA, _), .file(.incidentsB, _):
            // Written over in place: a power cut tears it, and a start on a sick disk leaves it so.
            return
        case .file(let file, let reason):
            guard !self.isRotten(file.rawValue, of: node) else { return }
            throw Violation(.journalReadable, "node \(node.number) scrubs \(file.rawValue): \(reason)")
        }
    }

    /// What rotted on a running node is put right: all disks are clean.
    var isClean: Bool { self.nodes.allSatisfy { $0.isRunning && self.rot(on: $0).isEmpty } }
}
