import ArgumentParser
import Dispatch
import FoundationEssentials
import Glibc
import LocalCluster

struct DrillCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill",
        abstract: "Do damage to real nodes under load, and count what was lost.",
        discussion: """
            kintsugi drill rot
              kintsugi drill rot --rounds 50 --mode sectors --seed 7
            """,
        subcommands: [Rot.self])

    struct Rot: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let files of a stopped node rot, start it under load, and look whether it heals.",
            discussion: """
                Each round stops one of three nodes, every third time the leader, damages a place of any of its files, drawn \
                from the seed, and starts it again while clients go on writing. Exits 1 if a node did not heal, an \
                acknowledged write is missing, a write was applied twice, a read was wrong, or a client of another node saw \
                an error.
                  kintsugi drill rot --rounds 50
                  kintsugi drill rot --rounds 50 --mode sectors --json
                """)

        @Option(help: "How often.") var rounds = 50
        @Option(help: "What is drawn follows from this number. Default: drawn, and printed.") var seed: UInt64?
        @Option(help: "bits: one bit each; sectors: also zeroed and swapped sectors, and files cut short.")
        var mode = "bits"
        @Option(help: "How many clients write.") var clients = 3
        @Flag(help: "Leave the nodes' directories and logs.") var keep = false
        @Flag(help: "Print the summary as one JSON object.") var json = false

        func run() throws {
            guard (1...10_000).contains(self.rounds) else { throw CommandFailure.usage("--rounds is 1 to 10000.") }
            guard (1...100).contains(self.clients) else { throw CommandFailure.usage("--clients is 1 to 100.") }
            guard let mode = Rotting.Mode(rawValue: self.mode) else {
                throw CommandFailure.usage("--mode is bits or sectors.")
            }
            let directory = try DemoCommand.temporaryDirectory()
            let drill = RotDrill(
                directory: directory,
                options: RotDrill.Options(
                    rounds: self.rounds, seed: self.seed ?? UInt64.random(in: 0...0xffff_ffff), mode: mode,
                    clients: self.clients, asJSON: self.json))
            let interruption = DemoCommand.cleanUpWhenInterrupted(directory)
            defer { interruption.forEach { $0.cancel() } }
            do {
                let kept = try drill.run()
                if kept && !self.keep { DemoCommand.remove(directory) } else { Self.leave(directory) }
                if !kept { throw ExitCode(1) }
            } catch {
                if !(error is ExitCode) { Self.leave(directory) }
                throw error
            }
        }

        private static func leave(_ directory: String) {
            try? LocalCluster.load(directory).stop()
            note("The nodes' directories and logs are in \(directory).")
        }
    }
}
