import Formats
import Replication

/// Sectors that cannot be read (EIO). A reader takes such a place for bytes that check as nothing (`DirectReader`; a small
/// file, which is read at once, for one that cannot be read): so it is rot that passes, or that ends with the next write
/// there. What was concluded from it meanwhile has to be right all the same.
///
/// Bound: that of the rot of what is hit.
extension World {
    /// A sector that cannot be read, and what stands there.
    private struct Unreadable {
        let node: SimulatedNode
        let file: SimulatedDisk.File
        let start: Int
        let good: ArraySlice<UInt8>
        let shown: ArraySlice<UInt8>
    }

    func injectReadErrors(_ draw: inout Random) {
        let isLasting = draw.chance(1, in: 3)
        let length = Self.length(&draw)
        let before = self.nodes.map { node in
            // Of a page whose sync failed what the medium has is what is read later.
            node.disk.files.map { (file: $0.file, cached: $0.file.bytes, good: node.disk.readAround($0.file)) }
        }
        let rotten = self.nodes.map { ($0.rottenFiles, $0.rottenBlocks) }
        switch draw.below(3) {
        case 0: self.rotJournal(&draw, .zeroedSector)
        case 1: self.rotSnapshot(&draw, 1)
        default: self.rotFile(&draw, 1)
        }
        var unreadable: [Unreadable] = []
        for (node, files) in zip(self.nodes, before) {
            for (file, cached, good) in files where file.bytes != cached {
                for start in stride(from: 0, to: good.count, by: SimulatedDisk.sectorBytes) {
                    let range = start..<min(start + SimulatedDisk.sectorBytes, good.count)
                    guard file.bytes[range] != cached[range] else { continue }
                    node.disk.hide(file, sector: start / SimulatedDisk.sectorBytes)
                    unreadable.append(
                        Unreadable(
                            node: node, file: file, start: start, good: good[range], shown: file.bytes[range]))
                }
            }
        }
        guard let node = unreadable.first?.node else { return }
        self.counts.readErrors += 1
        self.note(.readError, node, isLasting ? 1 : 0, length)
        guard !isLasting else { return }
        self.after(length) { world in
            world.reveal(unreadable, node)
            // What was rotten then is so again, where it is what it was.
            node.rottenFiles += rotten[node.index].0
            node.rottenBlocks += rotten[node.index].1
            if world.mayBeDamaged(node) { node.hasJournalRot = true }
        }
    }

    /// What was not written again meanwhile, and did not rot.
    private func reveal(_ unreadable: [Unreadable], _ node: SimulatedNode) {
        self.note(.readable, node)
        for place in unreadable {
            let range = place.start..<place.start + place.good.count
            guard place.node.disk.reveal(place.file, sector: place.start / SimulatedDisk.sectorBytes),
                place.file.bytes.count >= range.upperBound, place.file.bytes[range] == place.shown
            else { continue }
            place.node.disk.rot(place.file) { bytes in bytes.replaceSubrange(range, with: place.good) }
        }
    }
}
