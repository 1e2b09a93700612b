import ArgumentParser
import Journal

struct JournalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "journal",
        abstract: "Look into the journal of a stopped node, and check it.",
        discussion: """
            kintsugi journal inspect /var/lib/kintsugi
              kintsugi journal verify /var/lib/kintsugi
            """,
        subcommands: [Inspect.self, Verify.self])

    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print segments, batches, entries and snapshots.",
            discussion: "  kintsugi journal inspect /var/lib/kintsugi")
        @Argument(help: "A stopped node's data directory.") var dir: String
        @Flag(help: "Print one JSON object.") var json = false

        func run() throws { try JournalCommand.show(self.dir, .inspect, asJSON: self.json) }
    }

    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check every block; say what is damaged and what will happen at the next start.",
            discussion: """
                Exits 0 where nothing is damaged (a torn tail, which was never acknowledged, is no damage), 1 where something \
                is, 73 where the directory is not a node's or is in use.
                  kintsugi journal verify /var/lib/kintsugi
                """)
        @Argument(help: "A stopped node's data directory.") var dir: String
        @Flag(help: "Print one JSON object.") var json = false

        func run() throws { try JournalCommand.show(self.dir, .verify, asJSON: self.json) }
    }

    private static func show(_ directory: String, _ view: JournalReport.View, asJSON: Bool) throws {
        let report: JournalReport
        do {
            report = try JournalReport.inspect(directory: directory)
        } catch {
            throw CommandFailure(code: error.code, message: error.description)
        }
        print(asJSON ? report.json(view) : report.text(view))
        if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    }
}
