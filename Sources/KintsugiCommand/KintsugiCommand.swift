public import ArgumentParser
import CKintsugi
import Glibc

/// `kintsugi`.
public struct KintsugiCommand: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "kintsugi",
        abstract:
            "A data system that mends itself: a cache on three or more nodes that stays in service when some of them fail.",
        discussion: """
            Try it:
              kintsugi demo                                  three nodes, faults, and an account of them
              kintsugi cluster start --nodes 3 --dir /tmp/k  three nodes in the background
              redis-cli -p 7001 set hello world
              kintsugi status --dir /tmp/k

            Exit codes: 0 done; 1 failed; 64 usage; 69 no node answers, or a port is taken; 73 data directory refused; \
            75 not ready in time; 78 bad configuration.
            """,
        version: "0.1.0",
        subcommands: [
            InitCommand.self, ServeCommand.self, ClusterCommand.self, DemoCommand.self, StatusCommand.self,
            IncidentsCommand.self, ScrubCommand.self, TransferCommand.self, JournalCommand.self,
            DoctorCommand.self, DrillCommand.self, BenchCommand.self,
            SimulateCommand.self,
            ConfigCommand.self,
        ])

    public init() {}

    /// Parses the command line and runs what it says; does not return.
    public static func start() async -> Never {
        let words = Array(CommandLine.arguments.dropFirst())
        let asJSON = words.contains("--json")
        signal(SIGPIPE, SIG_IGN)
        // A pipe gets whole lines too, so that progress is seen as it happens.
        kintsugi_buffer_lines()
        do {
            var command = try Self.parseAsRoot(words)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let failure as CommandFailure {
            failure.report(asJSON: asJSON)
        } catch {
            let code = Self.exitCode(for: error).rawValue
            if asJSON, code != 0, !(error is ExitCode) {
                CommandFailure(code: code, message: Self.message(for: error)).report(asJSON: true)
            }
            Self.exit(withError: error)
        }
        fflush(nil)
        Glibc.exit(0)
    }
}
