import Cache
import Catalog
import Formats
import NodeCore
import Replication

/// States that go wrong in memory: a bit of a value, or a command that nobody wrote. The replica serves what is wrong until
/// the next checkpoint shows it, so the clients of its node count as told nothing meanwhile; that it differs is no news
/// either. Then it is judged as any other.
///
/// The atlas: the replicas that are wrong, the disks that are lost and the rotten snapshots are on a minority of the nodes.
extension World {
    func injectStateFlip(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        let kind = draw.below(5)
        let bit = draw.next()
        guard node.isRunning, !node.isPaused, self.mayFlip(node) else { return }
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
        node.flips.insert(group)
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

    private func mayFlip(_ node: SimulatedNode) -> Bool {
        let wrong = self.nodes.reduce(0) {
            let isWrong = $1.isDamaged || !$1.flips.isEmpty || self.hasRot($1) || self.isDemoted($1)
            return $0 + ($1 === node || isWrong ? 1 : 0)
        }
        return wrong * 2 < self.nodes.count
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
