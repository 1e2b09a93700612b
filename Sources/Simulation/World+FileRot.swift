import Formats
import NodeCore
import Replication

/// A small file as rot left it.
struct RottenFile {
    let name: String
    let content: [UInt8]
}

/// Rot of the small files of a data directory, and of the journal's reserve: flipped bits, zeroed sectors, sectors that
/// changed places, files cut short.
///
/// Bound: one copy of the identity and one of the memory of others' runs stay good at a node; or a minority of the nodes is
/// damaged (`World+DamageBound`). The seed is given to every start, of incidents that nobody was told of none need be left,
/// and the reserve is made good before it is used.
extension World {
    private static let rotSector = 512

    private static let rottingFiles =
        identityFiles + peerRunsFiles + incidentsFiles + seedFiles + [next, SimulatedJournal.reserve]

    func injectFileRot(_ draw: inout Random) {
        let kind = draw.below(4)
        self.rotFile(&draw, kind)
    }

    /// - Parameter kind: 0: a bit; 1: a sector zeroed; 2: cut short; 3: two sectors change places.
    func rotFile(_ draw: inout Random, _ kind: UInt64) {
        var node = self.anyNode(&draw)
        let (pick, place, second) = (draw.next(), draw.next(), draw.next())
        // A disk that is being put aside says so in one file alone, and not for long.
        if pick & 1 == 0, let other = self.nodes.first(where: { $0.disk.file(Self.next) != nil }) { node = other }
        let names = Self.rottingFiles.filter { !(node.disk.file($0)?.bytes.isEmpty ?? true) }
        guard !names.isEmpty else { return }
        let name = pick & 1 == 0 && names.contains(Self.next) ? Self.next : names[Int(pick >> 1) % names.count]
        let other = names[Int(second >> 32) % names.count]
        let hits = Self.hits(node.disk, name, other, kind, place, second)
        guard !hits.isEmpty, self.mayRot(node, hits) else { return }
        self.counts.fileRots += 1
        for hit in hits {
            self.note(.fileRot, node, UInt64(Self.rottingFiles.firstIndex(of: hit.name)!), kind)
            node.disk.rot(node.disk.file(hit.name)!) { $0 = hit.content }
            node.rottenFiles.removeAll { $0.name == hit.name }
            node.rottenFiles.append(hit)
        }
    }

    static func rottingFile(_ number: UInt64) -> String { self.rottingFiles[Int(number)] }

    /// What becomes of which files; empty where nothing would change.
    private static func hits(
        _ disk: SimulatedDisk, _ name: String, _ other: String, _ kind: UInt64, _ place: UInt64, _ second: UInt64
    ) -> [RottenFile] {
        let bytes = disk.file(name)!.bytes
        func sector(_ bytes: [UInt8], _ place: UInt64) -> Range<Int> {
            let sectors = (bytes.count + Self.rotSector - 1) / Self.rotSector
            let first = Int(place % UInt64(sectors)) * Self.rotSector
            return first..<min(first + Self.rotSector, bytes.count)
        }
        var changed = [name: bytes]
        let range = sector(bytes, place)
        let byte = Int(second % UInt64(bytes.count))
        switch kind {
        case 0: changed[name]![byte] ^= 1 << UInt8(place & 7)
        case 1: for at in range { changed[name]![at] = 0 }
        case 2: changed[name]!.removeSubrange((place & 8 == 0 ? byte : range.lowerBound)...)
        default:
            let from = disk.file(other)!.bytes
            let there = sector(from, second)
            // Of a file that ends within its sector nobody reads what is behind.
            func put(_ source: ArraySlice<UInt8>, _ range: Range<Int>, _ name: String) {
                var target = changed[name] ?? disk.file(name)!.bytes
                for (at, to) in range.enumerated() {
                    target[to] = at < source.count ? source[source.startIndex + at] : 0
                }
                changed[name] = target
            }
            put(from[there], range, name)
            put(bytes[range], there, other)
        }
        return changed.filter { disk.file($0.key)!.bytes != $0.value }.sorted { $0.key < $1.key }.map {
            RottenFile(name: $0.key, content: $0.value)
        }
    }

    private func mayRot(_ node: SimulatedNode, _ hits: [RottenFile]) -> Bool {
        func isSpared(_ pair: [String]) -> Bool {
            let isHit = pair.map { name in hits.contains { $0.name == name } }
            return !isHit.contains(true) || pair.indices.contains { !isHit[$0] && self.isReadable(pair[$0], of: node) }
        }
        let isHarmless =
            isSpared(Self.identityFiles) && isSpared(Self.peerRunsFiles) && !hits.contains { $0.name == Self.next }
        return isHarmless || self.isMinorityDamaged(with: node)
    }

    // MARK: What is damaged

    private func isReadable(_ name: String, of node: SimulatedNode) -> Bool {
        guard let bytes = node.disk.file(name)?.bytes else { return false }
        return Self.identityFiles.contains(name) || name == Self.next
            ? (try? IdentityFile.decode(bytes)) != nil : (try? PeerRuns(file: bytes)) != nil
    }

    /// Whether a file is what rot made of it, or would be after a power cut.
    func isRotten(_ name: String, of node: SimulatedNode) -> Bool {
        self.forgetOldFileRot(node)
        return node.rottenFiles.contains { $0.name == name }
    }

    func hasRottenFile(_ node: SimulatedNode) -> Bool {
        self.forgetOldFileRot(node)
        return !node.rottenFiles.isEmpty
    }

    private func forgetOldFileRot(_ node: SimulatedNode) {
        node.rottenFiles.removeAll { rotten in
            node.disk.file(rotten.name)?.bytes != rotten.content
                && node.disk.durableBytes(rotten.name) != rotten.content
        }
    }

    /// A start would find that it does not know whose disk this is, or what was to become of it.
    func hasLostIdentity(_ node: SimulatedNode) -> Bool {
        guard self.hasRottenFile(node) else { return false }
        if node.disk.file(Self.next) != nil, !self.isReadable(Self.next, of: node) { return true }
        return !Self.identityFiles.contains { self.isReadable($0, of: node) }
            && Self.identityFiles.contains { self.isRotten($0, of: node) }
    }

    /// The node does not know, or would not after a start, which runs of others it has noted.
    func hasLostRuns(_ node: SimulatedNode) -> Bool {
        if node.hasForgottenRuns, self.durableRuns(of: node)?.isComplete ?? false { node.hasForgottenRuns = false }
        if node.hasForgottenRuns { return true }
        return Self.peerRunsFiles.contains { self.isRotten($0, of: node) }
            && !Self.peerRunsFiles.contains { self.isReadable($0, of: node) }
    }

    /// A start has read what it remembers of others' runs.
    func noteForgottenRuns(_ node: SimulatedNode) { if self.hasLostRuns(node) { node.hasForgottenRuns = true } }
}
