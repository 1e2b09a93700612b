import Formats
import NodeCore
import Replication

/// An earlier state of a node's disk.
struct DiskImage {
    let disk: SimulatedDisk
    let member: MemberID
    /// Of the last run that wrote to it.
    let run: Run
    /// What its journal may hold.
    let expected: [DurableState]
}

/// Disks that are lost: emptied while the node is down, or replaced by an older copy of themselves; and what the shell
/// does about it. Nothing is typed: a node whose disk is lost begins anew by itself.
///
/// Bounds: a majority of the disks is intact, where one that was lost counts as intact again when its node is a voter of
/// every group. An older copy is put back only where every other disk knows of a later run (docs/fault-model.md).
extension World {
    // MARK: Faults

    func injectWipe(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        guard self.mayDamage(node) else { return }
        self.takeDown(node, &draw)
        self.note(.wiped, node)
        node.disk = SimulatedDisk()
        node.notedIncidents.removeAll()
        self.forgetRot(of: node)
        node.member = node.founder
        node.expected = [DurableState()]
        node.lostMember = node.member
        if self.options.bug == .emptyDiskVotes {
            node.disk.replace(
                "node.identity", with: Identity(node.founder.incarnation, after: node.lastRun).bytes)
        } else {
            node.lastRun = 0
        }
        self.startLater(node, &draw)
    }

    /// Puts an earlier image back; makes one where there is none.
    func injectOldCopy(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        if let image = node.image {
            guard self.mayDamage(node), self.isKnownToBeOld(image, to: self.nodes.filter { $0 !== node }) else {
                return
            }
            self.takeDown(node, &draw)
            self.note(.oldCopy, node, image.run)
            node.disk = image.disk
            node.notedIncidents.removeAll()
            self.forgetRot(of: node)
            node.member = image.member
            node.lastRun = image.run
            node.expected = image.expected
            node.lostMember = node.member
            node.image = nil
        } else {
            guard !node.isDamaged, !self.hasRot(node), !self.isWrong(node), node.lastRun > 0 else { return }
            self.takeDown(node, &draw)
            node.image = DiskImage(
                disk: node.disk.copy(), member: node.member, run: node.lastRun, expected: node.expected)
        }
        self.startLater(node, &draw)
    }

    private func takeDown(_ node: SimulatedNode, _ draw: inout Random) {
        if draw.chance(1, in: 2) { self.kill(node, &draw) } else { self.losePower(node, &draw) }
    }

    private func startLater(_ node: SimulatedNode, _ draw: inout Random) {
        let pause = draw.chance(1, in: 3) ? draw.below(15_000_000) : draw.below(1_000_000_000)
        self.after(pause, .start(node.index, life: node.life))
    }

    func mayDamage(_ node: SimulatedNode) -> Bool {
        for node in self.nodes where node.isDamaged && self.isVoterAgain(node) { node.lostMember = nil }
        // It could not come back under another incarnation: what the leaders replace are voters.
        guard !self.isDemoted(node) else { return false }
        // A snapshot that rots may be one of the copies that are left.
        let damaged = self.nodes.reduce(0) {
            let isWrong = $1.isDamaged || self.isWrong($1) || self.hasRot($1) || self.isDemoted($1)
            return $0 + ($1 === node || isWrong ? 1 : 0)
        }
        return damaged * 2 < self.nodes.count
    }

    /// As the leaders of all groups have it committed.
    private func isVoterAgain(_ node: SimulatedNode) -> Bool {
        node.member != node.lostMember
            && Self.groups.allSatisfy { group in
                self.nodes.contains {
                    guard let view = $0.core?.inspect(group), view.role == .leader else { return false }
                    return view.voters.contains(node.member)
                }
            }
    }

    private func isKnownToBeOld(_ image: DiskImage, to others: [SimulatedNode]) -> Bool {
        others.allSatisfy { other in
            guard let file = other.disk.durableFile("peer.runs"), let runs = try? PeerRuns(file: file.bytes),
                let known = runs[image.member]
            else { return false }
            return known.isRetired || (known.marks.last?.run ?? 0) > image.run
        }
    }

    /// Every group's voters are the nodes as they are, one each, nobody waits to become one, and the ledger says so.
    var hasAllVoters: Bool {
        let members = self.nodes.map(\.member)
        return self.nodes.allSatisfy { $0.core?.lostDisksOpen == 0 }
            && Self.groups.allSatisfy { group in
                self.nodes.allSatisfy { $0.core?.inspect(group)?.voters == members }
            }
    }

    // MARK: The shell's part

    private static let next = "node.identity.next"

    /// As in a data directory: `run` is the last that began, or after which the first is to begin.
    struct Identity {
        var incarnation: Incarnation
        var run: Run
        var history = RunHistory()

        init(_ incarnation: Incarnation, after run: Run) {
            self.incarnation = incarnation
            self.run = run
        }

        init?(_ bytes: [UInt8]) {
            let found: Identity? = bytes.withUnsafeBytes { raw in
                var reader = ByteReader(raw)
                guard let high = try? reader.read(UInt64.self), let low = try? reader.read(UInt64.self),
                    let run = try? reader.read(UInt64.self), let history = try? RunHistory(&reader)
                else { return nil }
                var identity = Identity(Incarnation(high: high, low: low), after: run)
                identity.history = history
                return identity
            }
            guard let found else { return nil }
            self = found
        }

        var bytes: [UInt8] {
            var bytes: [UInt8] = []
            bytes.append(littleEndian: self.incarnation.high)
            bytes.append(littleEndian: self.incarnation.low)
            bytes.append(littleEndian: self.run)
            self.history.encode(into: &bytes)
            return bytes
        }
    }

    /// As the disk has it; an empty one is formatted from the cluster's seed. What was begun anew and cut short goes on.
    func identity(of node: SimulatedNode) -> Identity {
        if node.disk.file(Self.next) != nil { _ = self.setAside(node, mayBeCut: false) }
        return node.disk.file("node.identity").flatMap { Identity($0.bytes) }
            ?? Identity(node.founder.incarnation, after: 0)
    }

    /// The process ends, and starts again with another incarnation on an empty disk; or, where it has promised nothing,
    /// with a later run.
    func beginAnew(_ node: SimulatedNode, after run: Run, isLost: Bool) throws {
        self.note(.diskLost, node, run, isLost ? 1 : 0)
        node.expected = node.journal!.die(&self.random)
        self.leave(node, isTold: true)
        guard node.disk.condition == .well else {
            // It says so and ends; at its next start it finds out again.
            return self.after(self.random.below(400_000_000), .start(node.index, life: node.life))
        }
        if isLost {
            let incarnation = Incarnation(high: self.random.next(), low: self.random.next())
            return self.putAside(node, incarnation, after: run)
        }
        var identity = self.identity(of: node)
        identity.run = run
        node.disk.replace("node.identity", with: identity.bytes)
        node.lastRun = run
        self.after(1_000_000 + self.random.below(20_000_000), .start(node.index, life: node.life))
    }

    /// The steps of a new incarnation, which the power may cut; then the next start.
    func putAside(_ node: SimulatedNode, _ incarnation: Incarnation, after run: Run) {
        node.disk.replace(Self.next, with: Identity(incarnation, after: run).bytes)
        guard self.setAside(node, mayBeCut: true) else {
            return self.after(self.random.below(400_000_000), .start(node.index, life: node.life))
        }
        self.after(1_000_000 + self.random.below(20_000_000), .start(node.index, life: node.life))
    }

    /// What is there goes aside, the new identity comes in its place. False where the power went on the way.
    private func setAside(_ node: SimulatedNode, mayBeCut: Bool) -> Bool {
        guard let bytes = node.disk.file(Self.next)?.bytes, let identity = Identity(bytes) else { return true }
        let cutAfter = mayBeCut && self.random.chance(1, in: 4) ? self.random.below(8) : .max
        var steps: UInt64 = 0
        func isCut() -> Bool {
            steps += 1
            if steps > cutAfter { self.losePower(node, &self.random) }
            return steps > cutAfter
        }
        // A disk that was lost takes its words along: also those that it wrote while it did not know yet.
        node.notedIncidents.removeAll()
        for name in node.disk.list("") where name != Self.next {
            node.disk.remove(name)
            if isCut() { return false }
        }
        node.disk.syncDirectory()
        if isCut() { return false }
        node.disk.replace("node.identity", with: bytes)
        if isCut() { return false }
        node.disk.remove(Self.next)
        node.disk.syncDirectory()
        node.member = MemberID(node: node.founder.node, incarnation: identity.incarnation)
        node.lastRun = identity.run
        node.expected = [DurableState()]
        self.forgetRot(of: node)
        return true
    }

    // MARK: The planted bug

    /// An empty disk that votes under its old name: the shell hides from it what the others remember.
    func asBugged(_ message: PeerMessage, from member: MemberID, for node: SimulatedNode) -> PeerMessage? {
        if case .stateDigest(let said) = message {
            return self.takingTheLeadersWord(said, from: member, at: node).map { .stateDigest($0) }
        }
        guard self.options.bug == .emptyDiskVotes, case .runs = message, node.member == node.lostMember
        else { return message }
        var runs = PeerRuns()
        runs.note(node.member, node.run)
        runs.isComplete = true
        return .runs(runs)
    }
}
