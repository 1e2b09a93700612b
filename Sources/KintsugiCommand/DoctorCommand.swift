import ArgumentParser
import Journal

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract:
            "Say what is in a stopped node's directory, what is wrong with it, and what the next start makes of it.",
        discussion: """
            Reads everything and changes nothing. Exits 0 where all is well or the next start mends it by itself, 1 where \
            somebody has to do something, 73 where a start would refuse the directory, or a running node has it.
              kintsugi doctor /var/lib/kintsugi
              kintsugi doctor /tmp/k/2 --json
            """)

    @Argument(help: "A stopped node's data directory.") var dir: String
    @Flag(help: "Print one JSON object.") var json = false

    func run() throws {
        let report = DirectoryReport(directory: self.dir)
        print(self.json ? report.json : report.text)
        if report.exitCode != 0 { throw ExitCode(report.exitCode) }
    }
}
