import Cache
import Catalog
import Formats
import NodeCore
import Replication

/// A state that went wrong in memory.
struct WrongState {
    /// `ReplicaInspection.stateVersion` of it: one that is made anew has another.
    let version: UInt64
    /// What was applied when it went wrong: the snapshot of a later checkpoint has it.
    let since: LogIndex
}

/// A snapshot of a wrong state.
struct WrongFile {
    let index: LogIndex
    let file: SimulatedDisk.File
}

/// States that go wrong in memory: a bit of a value, or a command that nobody wrote. The replica serves what is wrong until
/// the next checkpoint shows it, so the clients of its node count as told nothing meanwhile; that it differs is no news
/// either. Then it is judged as any other.
///
/// Bound: a minority of the nodes is damaged (`World+DamageBound`). A replica is wrong until another state took the place of the
/// one that went wrong, or a majority came to the same at a later checkpoint; and as long as its disk has a snapshot of a
/// wrong state that counts.
extension World {
    func injectStateFlip(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        let kind = draw.below(5)
        let bit = draw.next()
        guard node.isRunning, !node.isPaused, self.isMinorityDamaged(with: node) else { return }
        let group: GroupID = kind == 4 ? .system : .default
        let list = Clients.keys[Int(bit >> 32 & 1)].name
        self.begin(node)
        let core = node.core!
        func misapply(_ command: [UInt8]) -> Bool { command.withUnsafeBytes { core.misapply(group, $0) } }
        let isDone =
            switch kind {
            // Lists and counters: what is wrong in them stays so, whatever clients write after it.
            case 0: list.withUnsafeBytes { core.rotInMemory(key: $0, bit: bit) }
            case 1: misapply(CommandCoding.encode(17, [list, Array("0;".utf8)]))
            case 2: misapply(CommandCoding.encode(12, [Array("counter:0".utf8)]))
            case 3: misapply(CommandCoding.encode(2, [Array("nobody:0".utf8), Array("nothing".utf8)]))
            default: misapply(Self.madeUpIncident(bit))
            }
        guard isDone else { return }
        self.counts.flips += 1
        self.note(.stateFlip, node, group.rawValue, kind)
        let view = core.inspect(group)!
        node.wrongStates[group] = WrongState(version: view.stateVersion, since: view.applied)
    }

    private static func madeUpIncident(_ number: UInt64) -> [UInt8] {
        var account = Incident.Account(
            observer: NodeID(99), episode: number, detected: WallTime(nanoseconds: 1), window: 0)
        account.repair = 1
        account.closed = 1
        return CatalogCommand.report(
            Incident(kind: .node, cause: .silent, node: NodeID(99), run: number, isPlanned: false, accounts: [account])
        ).encoded()
    }

    // MARK: What is wrong

    /// A state in its memory is wrong, or a snapshot on its disk that counts.
    func isWrong(_ node: SimulatedNode) -> Bool {
        self.forgetWrongFiles(of: node)
        return !node.wrongStates.isEmpty || !node.wrongFiles.isEmpty
    }

    /// After each turn: a state that was made anew is right. One that went wrong after it was compared, and before the
    /// others' word came, is not.
    func forgetStatesMadeAnew(of node: SimulatedNode) {
        guard let core = node.core, !node.wrongStates.isEmpty else { return }
        node.wrongStates = node.wrongStates.filter { core.inspect($0.key)?.stateVersion == $0.value.version }
    }

    /// A snapshot counts. Where a majority has the same, what it is of is right.
    func noteCheckpoint(_ node: SimulatedNode, _ group: GroupID, _ index: LogIndex) {
        guard let wrong = node.wrongStates[group] else { return }
        if node.core?.ownDigest(group, at: index)?.standing == .confirmed {
            if wrong.since < index { node.wrongStates[group] = nil }
        } else if let file = node.disk.file(SimulatedSnapshots.name(group, index)) {
            node.wrongFiles[group] = WrongFile(index: index, file: file)
        }
    }

    /// A state was read back from a file, or received in one.
    func noteInstalled(_ node: SimulatedNode, _ group: GroupID, _ index: LogIndex) {
        self.forgetWrongFiles(of: node)
        guard node.wrongFiles[group]?.index == index, let view = node.core?.inspect(group) else { return }
        node.wrongStates[group] = WrongState(version: view.stateVersion, since: index)
    }

    /// Another file took the place of a wrong one, or nobody names it any more.
    private func forgetWrongFiles(of node: SimulatedNode) {
        guard !node.wrongFiles.isEmpty else { return }
        node.wrongFiles = node.wrongFiles.filter { group, wrong in
            node.disk.file(SimulatedSnapshots.name(group, wrong.index)) === wrong.file
                && self.namedSnapshot(of: group, on: node.index) <= wrong.index
                && node.core?.ownDigest(group, at: wrong.index)?.standing != .confirmed
        }
    }

    /// A wrong file that the journal names goes aside.
    func noteSetAside(_ node: SimulatedNode, _ group: GroupID, _ index: LogIndex) {
        guard self.namedSnapshot(of: group, on: node.index) <= index else { return }
        node.goneSnapshots[group] = index
    }

    // MARK: The planted bug

    /// What the leader says of a state is what a majority has: the others' word is not heard.
    func takingTheLeadersWord(_ said: StateDigest, from member: MemberID, at node: SimulatedNode) -> StateDigest? {
        guard self.options.bug == .takesTheLeadersWord, let core = node.core,
            let leader = core.groupStatus.first(where: { $0.id == said.group })?.leader
        else { return said }
        var said = said
        if leader == node.member.node {
            guard let own = core.ownDigest(said.group, at: said.index) else { return nil }
            said.digest = own.digest
            return said
        }
        guard leader == member.node else { return nil }
        said.standing = .confirmed
        return said
    }
}
