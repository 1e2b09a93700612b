import ArgumentParser
import Bench
import Glibc
import LocalCluster

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Load any server that speaks Redis's protocol, and measure.",
        discussion: """
            Closed loop: each connection waits for the replies of a pipeline before it sends the next.
              kintsugi bench --connect 127.0.0.1:7001 --op set --connections 64
              kintsugi bench --connect 127.0.0.1:7001,127.0.0.1:7002 --op mixed --read-share 0.9 --pipeline 16
            With --failover: writers that go over to another address when their connection ends, and the longest time \
            without an acknowledgement. Kill the leader meanwhile:
              kintsugi bench --failover --connect 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --duration 30
            """)

    @Option(
        help: ArgumentHelp("Addresses, separated by commas; connections are spread over them.", valueName: "host:port"))
    var connect: String
    @Option(help: "set, get, incr, or mixed (see --read-share).") var op: BenchOptions.Operation = .set
    @Option(help: "How many connections. Default: 64; 8 with --failover.") var connections: Int?
    @Option(help: "Requests that a connection sends together.") var pipeline = 1
    @Option(help: ArgumentHelp("Size of a value.", valueName: "bytes")) var valueSize = 100
    @Option(help: "How many keys are used, of 16 bytes each.") var keys = 1_000_000
    @Option(help: ArgumentHelp("The part of GET in mixed.", valueName: "0...1")) var readShare = 0.9
    @Option(help: ArgumentHelp("How long to measure.", valueName: "seconds")) var duration = 10.0
    @Option(help: "How many operations to measure, instead of a time.") var requests: Int?
    @Option(help: ArgumentHelp("How long to run before measuring.", valueName: "seconds")) var warmUp = 1.0
    @Option(help: "Load so many keys before anything else.") var preload = 0
    @Option(help: ArgumentHelp("Follow each write by WAIT n.", valueName: "n")) var wait = 0
    @Option(help: "Threads of the generator.") var threads = 1
    @Option(help: "Seeds the choice of keys.") var seed: UInt64 = 1
    @Option(help: ArgumentHelp("A file that holds the password.", valueName: "file")) var passwordFile: String?
    @Flag(help: "Write through fail-overs, and look for the longest gap.") var failover = false
    @Option(
        help: ArgumentHelp("With --failover: where to list gaps, one a line; - is standard output.", valueName: "file"))
    var gaps: String?
    @Option(help: ArgumentHelp("With --failover: gaps shorter than this are not listed.", valueName: "ms"))
    var gapLimit = 5.0
    @Flag(help: "Print one JSON object.") var json = false

    func run() throws {
        var options = BenchOptions(addresses: self.connect.split(separator: ",").map(String.init))
        options.operation = self.op
        options.connections = self.connections ?? (self.failover ? 8 : 64)
        options.pipeline = self.pipeline
        options.valueSize = self.valueSize
        options.keys = self.keys
        options.readShare = self.readShare
        options.seconds = self.duration
        options.requests = self.requests
        options.warmUp = self.warmUp
        options.preload = self.preload
        options.wait = self.wait
        options.threads = self.threads
        options.seed = self.seed
        options.gapMilliseconds = self.gapLimit
        options.gapsPath = self.gaps
        options.stopsAtSignals = true
        if let passwordFile {
            guard let text = LocalCluster.read(passwordFile) else {
                throw CommandFailure.configuration("The password file \(passwordFile) cannot be read.")
            }
            options.password = text.split(whereSeparator: \.isNewline).first.map(String.init)
        }
        let isTerminal = isatty(2) != 0
        func progress(_ now: BenchProgress) {
            if isTerminal { fputs("\r\u{1b}[K\(now.text)") } else { note(now.text) }
        }
        do {
            if self.failover {
                let result = try Bench.failover(options, progress: progress)
                self.show(result.json, result.text, clear: isTerminal)
            } else {
                let result = try Bench.run(options, progress: progress)
                self.show(result.json, result.text, clear: isTerminal)
            }
        } catch {
            throw CommandFailure(code: error.exitCode, message: error.description)
        }
    }

    private func fputs(_ text: String) {
        var bytes = Array(text.utf8)
        _ = write(2, &bytes, bytes.count)
    }

    private func show(_ json: String, _ text: String, clear: Bool) {
        if clear { self.fputs("\r\u{1b}[K") }
        print(self.json ? json : text)
    }
}

extension BenchOptions.Operation: ExpressibleByArgument {}
