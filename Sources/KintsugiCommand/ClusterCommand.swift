import ArgumentParser
import Catalog
import Formats
import Glibc
import LocalCluster
import Replication

struct ClusterCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "Run a cluster of real processes on this machine.",
        discussion: """
            kintsugi cluster start --nodes 3 --dir /tmp/k
              kintsugi cluster kill --node 2 --dir /tmp/k
              kintsugi cluster restart --node 2 --dir /tmp/k
              kintsugi cluster stop --dir /tmp/k
            """,
        subcommands: [Start.self, Stop.self, Kill.self, Restart.self])

    struct Directory: ParsableArguments {
        @Option(help: "The cluster's directory.") var dir: String
        @Flag(help: "Print one JSON object.") var json = false
    }

    struct Start: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Start nodes in the background; start a stopped cluster again.",
            discussion: """
                Returns when a read through every node has succeeded. Settings for the nodes come from the environment, \
                as in KINTSUGI_MAX_MEMORY=1gb.
                  kintsugi cluster start --nodes 3 --dir /tmp/k
                """)

        @Option(help: "How many nodes. Default: 3.") var nodes: Int?
        @Option(
            help: ArgumentHelp("Node N serves Redis on this port + N, its peers on this + 100 + N.", valueName: "port"))
        var basePort: Int?
        @OptionGroup var directory: Directory

        func run() throws {
            guard (1...9).contains(self.nodes ?? 3) else { throw CommandFailure.usage("--nodes is 1 to 9.") }
            if let basePort, !(1...32000).contains(basePort) {
                throw CommandFailure.usage("--base-port is 1 to 32000.")
            }
            let cluster = try started(self.directory.dir, nodes: self.nodes ?? 3, basePort: self.basePort) { note($0) }
            if let nodes, cluster.nodes.count != nodes {
                note("This cluster was made with \(cluster.nodes.count) nodes; --nodes \(nodes) changes nothing.")
            }
            show(cluster, asJSON: self.directory.json)
        }
    }

    struct Stop: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "End all nodes gracefully; data stay.")
        @OptionGroup var directory: Directory

        func run() throws {
            guard access(self.directory.dir + "/cluster.json", F_OK) == 0 else { return }
            try withLocalCluster { try LocalCluster.load(self.directory.dir).stop() }
        }
    }

    struct Kill: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a node a signal: KILL, STOP, CONT or TERM.",
            discussion: "  kintsugi cluster kill --node 2 --signal STOP --dir /tmp/k")

        @Option(help: "The node's number.") var node: Int
        @Option(help: "KILL, STOP, CONT or TERM.") var signal = "KILL"
        @OptionGroup var directory: Directory

        private struct Sent: Encodable {
            var node: Int
            var pid: Int32
            var signal: String
            var at: String
        }

        func run() throws {
            let numbers = ["KILL": SIGKILL, "STOP": SIGSTOP, "CONT": SIGCONT, "TERM": SIGTERM]
            let name = self.signal.uppercased()
            guard let number = numbers[name] else {
                throw CommandFailure.usage("--signal is KILL, STOP, CONT or TERM.")
            }
            var cluster = try withLocalCluster { try LocalCluster.load(self.directory.dir) }
            let node = try withLocalCluster { try cluster.signal(self.node, number) }
            print(encoded(Sent(node: node.id, pid: node.pid, signal: name, at: timeNow())))
        }
    }

    struct Restart: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Start a node again, ending it first where it runs.")
        @Option(help: "The node's number.") var node: Int
        @OptionGroup var directory: Directory

        func run() throws {
            let cluster = try withLocalCluster {
                var cluster = try LocalCluster.load(self.directory.dir)
                try cluster.restart(self.node, directory: self.directory.dir, program: program(), options: []) {
                    note($0)
                }
                return cluster
            }
            show(cluster, asJSON: self.directory.json)
        }
    }
}

/// Starts a local cluster of this program's nodes.
func started(
    _ directory: String, nodes: Int, basePort: Int?, progress: (String) -> Void
) throws(CommandFailure) -> LocalCluster {
    do {
        return try LocalCluster.start(
            directory: directory, count: nodes, basePort: basePort, program: program(), options: [],
            makeSeed: { peers in
                do { return try InitCommand.seed(for: peers).text } catch {
                    fatalError("own addresses refused: \(error)")
                }
            }, progress: progress)
    } catch {
        throw CommandFailure(code: error.code, message: error.message)
    }
}

func withLocalCluster<Result>(_ body: () throws -> Result) throws -> Result {
    do { return try body() } catch let error as LocalClusterError {
        throw CommandFailure(code: error.code, message: error.message)
    }
}

/// This program's file.
func program() -> String {
    var path = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &path, path.count - 1)
    return count > 0
        ? String(decoding: path[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : CommandLine.arguments[0]
}

private func show(_ cluster: LocalCluster, asJSON: Bool) {
    if asJSON {
        print(encoded(cluster))
        return
    }
    for node in cluster.nodes {
        print("node \(node.id)  redis \(node.redis)  peer \(node.peer)  process \(node.pid)  \(node.dir)")
    }
}

/// Now, ISO 8601 with milliseconds.
func timeNow() -> String {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return timestamp(WallTime(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)))
}
