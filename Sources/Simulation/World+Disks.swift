import Formats
import NodeCore
import Replication

/// An earlier state of a node's disk.
struct DiskImage {
    let disk: SimulatedDisk
    let member: MemberID
    /// Of the last run that wrote to it, and of the last that began to.
    let run: Run
    let begunRun: Run
    /// What its journal may hold.
    let expected: [DurableState]
}

/// Disks that are lost: emptied while the node is down, or replaced by an older copy of themselves; and what the shell
/// does about it. Nothing is typed: a node whose disk is lost begins anew by itself.
///
/// Bounds: those of `World+DamageBound`; and an older copy is put back only where every other disk knows of a later run
/// (docs/fault-model.md).
extension World {
    // MARK: Faults

    func injectWipe(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        guard self.isMinorityDamaged(with: node) else { return }
        self.takeDown(node, &draw)
        self.note(.wiped, node)
        node.disk = SimulatedDisk()
        node.notedIncidents.removeAll()
        self.forgetRot(of: node)
        node.member = node.founder
        node.expected = [DurableState()]
        node.lostMember = node.member
        if self.options.bug == .emptyDiskVotes {
            self.write(self.founding(node, after: node.lastRun), node)
        } else {
            node.lastRun = 0
        }
        node.begunRun = node.lastRun
        self.startLater(node, &draw)
    }

    /// Puts an earlier image back; makes one where there is none.
    func injectOldCopy(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        if let image = node.image {
            guard self.isMinorityDamaged(with: node), self.isKnownToBeOld(image, to: self.nodes.filter { $0 !== node })
            else {
                return
            }
            self.takeDown(node, &draw)
            self.note(.oldCopy, node, image.run)
            node.disk = image.disk
            node.notedIncidents.removeAll()
            self.forgetRot(of: node)
            node.member = image.member
            node.lastRun = image.run
            node.begunRun = image.begunRun
            node.expected = image.expected
            node.lostMember = node.member
            node.image = nil
        } else {
            guard !node.isDamaged, !self.hasRot(node), !self.hasRottenFile(node), !self.isWrong(node), node.lastRun > 0
            else { return }
            self.takeDown(node, &draw)
            node.image = DiskImage(
                disk: node.disk.copy(), member: node.member, run: node.lastRun, begunRun: node.begunRun,
                expected: node.expected)
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

    private func isKnownToBeOld(_ image: DiskImage, to others: [SimulatedNode]) -> Bool {
        others.allSatisfy { other in
            // Either copy may rot.
            Self.peerRunsFiles.allSatisfy { name in
                guard let file = other.disk.durableFile(name),
                    let known = (try? PeerRuns(file: file.bytes))?[image.member]
                else { return false }
                return known.isRetired || (known.marks.last?.run ?? 0) > image.run
            }
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
