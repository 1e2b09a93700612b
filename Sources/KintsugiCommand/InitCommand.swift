import ArgumentParser
import Formats
import Replication

struct InitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Make a cluster's seed: its id, its first nodes, and the key by which they know each other.",
        discussion: """
            Run it once, keep the output secret, and give a copy to every node:
              kintsugi init --peers 1=10.0.0.1:7101,2=10.0.0.2:7102,3=10.0.0.3:7103 > cluster.seed
              kintsugi serve --dir /var/lib/kintsugi --node 1 --seed cluster.seed
            """)

    @Option(help: ArgumentHelp("The nodes: N=HOST:PORT, separated by commas.", valueName: "list"))
    var peers: String

    func run() throws {
        print(try Self.seed(for: self.peers.split(separator: ",").map(String.init)).text, terminator: "")
    }

    /// - Parameter peers: `N=HOST:PORT` each.
    static func seed(for peers: [String]) throws(CommandFailure) -> ClusterSeed {
        var nodes: [(node: NodeID, host: String, port: Int)] = []
        for peer in peers {
            let parts = peer.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, let number = UInt32(parts[0]), (1...65535).contains(number),
                let address = HostPort(parts[1]),
                address.port > 0
            else { throw .usage("'\(peer)' is not N=HOST:PORT, as in 1=10.0.0.1:7101.") }
            guard !nodes.contains(where: { $0.node.rawValue == number }) else {
                throw .usage("Node \(number) is named twice.")
            }
            nodes.append((NodeID(number), address.host, address.port))
        }
        guard (1...9).contains(nodes.count) else { throw .usage("A cluster begins with 1 to 9 nodes.") }
        var generator = SystemRandomNumberGenerator()
        return ClusterSeed(nodes: nodes) { generator.next() }
    }
}
