import Formats
import NodeCore
import Replication

/// The files of a data directory beside journal and snapshots: read, written and put aside as `DataDirectory`,
/// `PeerRunsFile` and `OpenIncidentsFile` do, in their formats, step by step, on a simulated disk.
extension World {
    static let identityFiles = [NodeFile.identityA.rawValue, NodeFile.identityB.rawValue]
    static let peerRunsFiles = [NodeFile.peerRunsA.rawValue, NodeFile.peerRunsB.rawValue]
    static let seedFiles = [NodeFile.seedA.rawValue, NodeFile.seedB.rawValue]
    static let next = "node.identity.next"

    static let incidentsFiles = [NodeFile.incidentsA.rawValue, NodeFile.incidentsB.rawValue]

    private func bytes(_ names: [String], of node: SimulatedNode) -> [[UInt8]] {
        names.compactMap { node.disk.file($0)?.bytes }
    }

    // MARK: What is there

    func contents(of node: SimulatedNode) -> DirectoryContents {
        var copies = Self.identityFiles.map { node.disk.file($0)?.bytes }
        if self.options.bug == .needsBothCopies {
            let isOneBad = copies.contains { $0.map { (try? IdentityFile.decode($0)) == nil } ?? false }
            if isOneBad { copies = [[], []] }
        }
        return DirectoryContents(
            identityA: copies[0], identityB: copies[1], next: node.disk.file(Self.next)?.bytes,
            hasSegments: node.disk.list("journal/").contains { UInt32($0.dropFirst("journal/".count)) != nil },
            hasSnapshots: node.disk.list("snapshots/").contains { $0.hasSuffix(".snapshot") })
    }

    func peerRuns(of node: SimulatedNode) -> PeerRuns? {
        PeerRuns.read(copies: self.bytes(Self.peerRunsFiles, of: node)).runs
    }

    func openIncidents(of node: SimulatedNode) -> OpenIncidents {
        OpenIncidents.latest(of: self.bytes(Self.incidentsFiles, of: node))
    }

    /// A copy that cannot be read is written anew: till its turn came there would be but one. A disk that refuses is found out
    /// about elsewhere.
    ///
    /// - Returns: false where the process dies, perhaps on the way.
    func mendIncidents(_ newest: OpenIncidents, _ node: SimulatedNode, isCutShort: Bool) -> Bool {
        guard node.disk.condition.allowsWriting else { return !isCutShort }
        for name in Self.incidentsFiles {
            guard let bytes = node.disk.file(name)?.bytes, OpenIncidents(file: bytes) == nil else { continue }
            guard !isCutShort else {
                node.disk.beginReplacing(name, with: newest.file, isRenamed: self.random.chance(1, in: 2))
                return false
            }
            node.disk.replace(name, with: newest.file)
        }
        return !isCutShort
    }

    /// What a power cut would leave.
    func durableRuns(of node: SimulatedNode) -> PeerRuns? {
        PeerRuns.read(copies: Self.peerRunsFiles.compactMap { node.disk.durableFile($0)?.bytes }).runs
    }

    /// As the seed of the cluster names it, on an empty disk.
    func founding(_ node: SimulatedNode, after run: Run) -> NodeIdentity {
        NodeIdentity(
            cluster: self.cluster, node: node.founder.node, incarnation: node.founder.incarnation, run: run)
    }

    // MARK: The identity

    /// What the next run goes on from. What was begun anew and cut short goes on; what counts as lost begins anew.
    ///
    /// - Returns: nil where the power went on the way; another start is under way then.
    func identity(of node: SimulatedNode) throws -> NodeIdentity? {
        while true {
            let finding: DirectoryContents.Finding
            do throws(UnknownVersion) { finding = try self.contents(of: node).judge() } catch {
                throw Violation(.runsGrow, "node \(node.number): the identity: \(error)")
            }
            switch finding {
            case .none: return self.founding(node, after: 0)
            case .whole(let identity): return identity
            case .beingPutAside(let plan):
                guard self.goOnPuttingAside(node, for: plan, mayBeCut: false) else { return nil }
            case .lost(let before, let reason):
                guard self.hasLostIdentity(node) else {
                    throw Violation(.runsGrow, "node \(node.number): the disk counts as lost: \(reason)")
                }
                if node.lostMember == nil { node.lostMember = node.member }
                self.counts.disksLost += 1
                self.note(.diskLost, node, before?.run ?? 0, 1)
                guard self.putAside(node, after: before?.run ?? 0) else { return nil }
            case .ofTwo:
                throw Violation(.runsGrow, "node \(node.number): the copies of its identity are of two disks")
            }
        }
    }

    /// One after the other; false where the process dies between them.
    @discardableResult
    func write(_ identity: NodeIdentity, _ node: SimulatedNode, isCutShort: Bool = false) -> Bool {
        let bytes = IdentityFile.encode(identity)
        node.disk.replace(Self.identityFiles[0], with: bytes)
        guard !isCutShort else { return false }
        node.disk.replace(Self.identityFiles[1], with: bytes)
        return true
    }

    /// The copies of the cluster's seed; a bad one is written anew, by the other or by the seed that every start is given.
    func keepSeed(_ node: SimulatedNode) {
        let text = Array(self.seed.text.utf8)
        for name in Self.seedFiles where node.disk.file(name)?.bytes != text { node.disk.replace(name, with: text) }
    }

    /// What a running node writes anew where it rotted. Its memory of others' runs and its open incidents are the core's to
    /// write.
    func content(of file: NodeFile, _ node: SimulatedNode) -> [UInt8] {
        switch file {
        case .identityA, .identityB: IdentityFile.encode(node.identity)
        case .seedA, .seedB: Array(self.seed.text.utf8)
        case .peerRunsA, .peerRunsB, .incidentsA, .incidentsB: fatalError("the core writes \(file.rawValue)")
        }
    }

    // MARK: A new incarnation

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
            guard self.putAside(node, after: run) else { return }
        } else {
            node.identity.run = run
            self.write(node.identity, node)
            node.lastRun = run
            node.begunRun = run
        }
        self.after(1_000_000 + self.random.below(20_000_000), .start(node.index, life: node.life))
    }

    /// The steps of a new incarnation, which the power may cut: false then, and the next start is under way.
    func putAside(_ node: SimulatedNode, after run: Run) -> Bool {
        let incarnation = Incarnation(high: self.random.next(), low: self.random.next())
        let plan = NodeIdentity(cluster: self.cluster, node: node.founder.node, incarnation: incarnation, run: run)
        node.disk.replace(Self.next, with: IdentityFile.encode(plan))
        return self.goOnPuttingAside(node, for: plan, mayBeCut: true)
    }

    /// What is there goes aside, the new identity comes in its place. False where the power went on the way.
    private func goOnPuttingAside(_ node: SimulatedNode, for plan: NodeIdentity, mayBeCut: Bool) -> Bool {
        let cutAfter = mayBeCut && self.random.chance(1, in: 4) ? self.random.below(16) : .max
        var steps: UInt64 = 0
        func isCut() -> Bool {
            steps += 1
            guard steps > cutAfter else { return false }
            self.losePower(node, &self.random)
            self.after(self.random.below(400_000_000), .start(node.index, life: node.life))
            return true
        }
        // A disk that was lost takes its words along: also those that it wrote while it did not know yet.
        node.notedIncidents.removeAll()
        let kept = node.disk.list("").filter { name in
            name == Self.next || Self.seedFiles.contains(name)
                || (Self.identityFiles.contains(name)
                    && (try? DirectoryContents.isOf(plan, node.disk.file(name)!.bytes)) ?? false)
        }
        let names = node.disk.list("").filter { !kept.contains($0) }
        for name in names.filter({ !Self.identityFiles.contains($0) }) + names.filter(Self.identityFiles.contains) {
            node.disk.remove(name)
            if isCut() { return false }
        }
        node.disk.syncDirectory()
        if isCut() { return false }
        for name in Self.identityFiles {
            node.disk.replace(name, with: IdentityFile.encode(plan))
            if isCut() { return false }
        }
        node.disk.remove(Self.next)
        node.disk.syncDirectory()
        node.member = plan.member
        node.lastRun = plan.run
        node.begunRun = plan.run
        node.expected = [DurableState()]
        self.forgetRot(of: node)
        return true
    }
}
