import NodeCore
import Replication

/// The ledger: what an observer has durably written down is in it in the end, and has come to its end.
extension World {
    func noteIncidents(of node: SimulatedNode) {
        guard let file = node.disk.file("incidents"), let found = OpenIncidents(file: file.bytes) else { return }
        for word in found.words { node.notedIncidents[word.episode] = word }
    }

    /// Of what this node had written down, in its own copy of the ledger.
    func lackingIncidents(of node: SimulatedNode) -> [String] {
        guard let core = node.core else { return [] }
        return node.notedIncidents.keys.sorted().compactMap { core.lackOfLedger(node.notedIncidents[$0]!) }
    }

    var isLedgerComplete: Bool {
        self.nodes.allSatisfy { $0.core?.followedIncidents == 0 && self.lackingIncidents(of: $0).isEmpty }
    }
}
