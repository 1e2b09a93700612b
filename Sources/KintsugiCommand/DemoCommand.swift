import ArgumentParser
import Dispatch
import FoundationEssentials
import Glibc
import Journal
import LocalCluster
import Synchronization

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Three nodes, clients at all of them, faults, and the account: what was lost, and how long it took.",
        discussion: """
            Kills the leader ten times, pauses it once, restarts every node in turn, flips a byte in one node's journal, \
            and empties another's disk. Exits 1 if an acknowledged write is \
            missing, a write was applied twice, a client of a surviving node saw an error, or a node did not come back.
              kintsugi demo
              kintsugi demo --stay     leaves the cluster running afterwards
            """)

    @Flag(help: "Leave the cluster running, and say how to connect.") var stay = false
    @Option(help: "How often the leader is killed.") var kills = 10
    @Option(help: "How many clients write.") var clients = 9
    @Flag(help: "Print the summary as one JSON object.") var json = false

    func run() throws {
        guard (0...1000).contains(self.kills) else { throw CommandFailure.usage("--kills is 0 to 1000.") }
        guard (1...100).contains(self.clients) else { throw CommandFailure.usage("--clients is 1 to 100.") }
        let directory = try Self.temporaryDirectory()
        let demo = Demo(directory: directory, asJSON: self.json)
        let interruption = Self.cleanUpWhenInterrupted(directory)
        defer { interruption.forEach { $0.cancel() } }
        do {
            let kept = try demo.run(kills: self.kills, clients: self.clients)
            if self.stay { demo.explainHowToConnect() } else { Self.remove(directory) }
            if !kept { throw ExitCode(1) }
        } catch {
            if !self.stay, !(error is ExitCode) {
                note("The nodes' logs are in \(directory).")
                try? LocalCluster.load(directory).stop()
            }
            throw error
        }
    }

    static func temporaryDirectory() throws -> String {
        let base = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        var template = Array("\(base)/kintsugi-demo-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw CommandFailure(
                code: 73, message: "No directory can be made in \(base): \(String(cString: strerror(errno))).")
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func remove(_ directory: String) {
        try? LocalCluster.load(directory).stop()
        try? FileManager.default.removeItem(atPath: directory)
    }

    static func cleanUpWhenInterrupted(_ directory: String) -> [any DispatchSourceSignal] {
        [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                note("interrupted: ending the nodes")
                Self.remove(directory)
                Glibc.exit(128 + number)
            }
            source.resume()
            return source
        }
    }
}

func monotonicNow() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
