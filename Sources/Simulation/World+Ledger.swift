import Formats
import NodeCore
import Replication

/// The ledger: what an observer has durably written down is in it in the end, and has come to its end.
extension World {
    func noteIncidents(of node: SimulatedNode) {
        node.lastIncidents = self.openIncidents(of: node).words
        for word in node.lastIncidents { node.notedIncidents[word.episode] = word }
    }

    /// A start has read the file of them: what rot took of it, and nobody was told before, nobody can tell any more.
    func forgetLostWords(of node: SimulatedNode, found: OpenIncidents) {
        guard Self.incidentsFiles.contains(where: { self.isRotten($0, of: node) }) else { return }
        let known = Set(found.words.map(\.episode))
        for word in node.lastIncidents where !known.contains(word.episode) { node.notedIncidents[word.episode] = nil }
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
