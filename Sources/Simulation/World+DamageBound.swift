import NodeCore
import Replication

/// What of a node is damaged by faults, in ways that only the other nodes make good.
struct NodeDamage: OptionSet {
    let rawValue: UInt8

    /// Its disk is lost, or will be with the next start, until another is a voter of every group in its place.
    static let disk = NodeDamage(rawValue: 1 << 0)
    /// Its journal may be read back with damage.
    static let journal = NodeDamage(rawValue: 1 << 1)
    /// A snapshot of its is bad or gone.
    static let snapshot = NodeDamage(rawValue: 1 << 2)
    /// A state of its is wrong.
    static let state = NodeDamage(rawValue: 1 << 3)
    /// It has no vote in some group, or is about to lose it.
    static let vote = NodeDamage(rawValue: 1 << 4)
    /// Neither copy of what it knows of others' runs is good, and it has not heard of them again.
    static let runs = NodeDamage(rawValue: 1 << 5)
}

/// The bound of the fault model, kept in one place (docs/fault-model.md): at any time a minority of the nodes is damaged, in
/// whatever ways; or more of them are in one way alone, and what one lacks each of the others has. Faults that damage ask
/// here before they do.
extension World {
    /// What of the node is damaged now. Looks at its disk where something there rotted: O(bytes of it).
    func damage(of node: SimulatedNode) -> NodeDamage {
        if node.isDamaged, self.isVoterAgain(node) { node.lostMember = nil }
        var damage: NodeDamage = []
        if node.isDamaged || self.hasLostIdentity(node) { damage.insert(.disk) }
        if self.hasJournalRot(node) { damage.insert(.journal) }
        if self.hasSnapshotRot(node) { damage.insert(.snapshot) }
        if self.isWrong(node) { damage.insert(.state) }
        if self.isDemoted(node) { damage.insert(.vote) }
        if self.hasLostRuns(node) { damage.insert(.runs) }
        return damage
    }

    /// Whether a minority is damaged, also when this node is.
    func isMinorityDamaged(with node: SimulatedNode) -> Bool {
        let damaged = self.nodes.count { $0 === node || !self.damage(of: $0).isEmpty }
        return damaged * 2 < self.nodes.count
    }

    /// Whether no node is damaged in another way than this one. Not with a lone node: nobody has what it lacks.
    func isOnlyDamaged(_ way: NodeDamage) -> Bool {
        self.nodes.count > 1 && self.nodes.allSatisfy { self.damage(of: $0).isSubset(of: way) }
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
}
