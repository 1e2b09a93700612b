import ArgumentParser
import Glibc
import Simulation

struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Run whole clusters under drawn faults in one thread, from a seed, and check what they promise.",
        discussion: """
            Real cores, on simulated disks, links and clocks. A run that breaks a promise names its seed, looks for the \
            shortest schedule of faults that still breaks it, and prints what happened. The seed it prints gives the \
            run again, with all its options.
              kintsugi simulate                                       100 runs from a seed of its own choice
              kintsugi simulate --runs 5000 --nodes 5
              kintsugi simulate --seed 104                            one run, again and again the same
              kintsugi simulate --seed 104+ticks=40+keep=3,6          the shortest run, as it was printed
              kintsugi simulate --ticks 180000                        an hour of faults in each run
              kintsugi simulate --faults power-cut,pause,every=100    these alone, ten a second
              kintsugi simulate --faults default,no-slow-disk
              kintsugi simulate --planted reads-locally --runs 200    a mistake made on purpose is found
              kintsugi simulate --faults list                         also: --workload list, --planted list

            Exit codes: 0 all held; 10 safety broke; 11 no progress after healing; 12 a run crashed; 13 a checker ran out \
            of steps; 64 usage.
            """)

    @Option(
        help: ArgumentHelp(
            "The first run's seed: a number, or the word that a failing run printed. Default: drawn.", valueName: "seed"
        ))
    var seed: String?
    @Option(help: ArgumentHelp("How many runs, each with the next seed. Default: 100; 1 with --seed.", valueName: "n"))
    var runs: Int?
    @Option(
        help: ArgumentHelp("Ticks of 20 ms for which faults come, in simulated time. Default: 150.", valueName: "n"))
    var ticks: String?
    @Option(help: ArgumentHelp("Nodes of the cluster: 3 or 5, and any from 1 to 7. Default: 3.", valueName: "n"))
    var nodes: String?
    @Option(
        help: ArgumentHelp(
            "Which faults: default, elections or none, then KIND, KIND=WEIGHT, no-KIND, every=MS. 'list' shows them.",
            valueName: "words"))
    var faults: String?
    @Option(help: ArgumentHelp("What clients ask. 'list' shows the choice. Default: mixed.", valueName: "name"))
    var workload: String?
    @Option(
        help: ArgumentHelp(
            "Make this mistake, to see it found; only simulated nodes can. 'list' shows them.", valueName: "name"))
    var planted: String?
    @Option(help: ArgumentHelp("Processes that run at once. Default: one a processor.", valueName: "n")) var jobs: Int?
    @Flag(help: "Go on after a failure, and count.") var keepGoing = false
    @Flag(help: "Do not look for a shorter schedule.") var noShrink = false
    @Flag(help: "Print one JSON object, on one line.") var json = false
    /// Runs what standard input asks for, one word a line; answers each with one line. For the campaign's own processes.
    @Flag(help: .private) var worker = false

    func run() throws {
        if self.worker { return SimulationWorker.serve() }
        if self.showLists() { return }
        let options = try self.options()
        let runs = self.runs ?? (self.seed == nil ? 100 : 1)
        guard runs > 0 else { throw CommandFailure.usage("--runs \(runs): at least one.") }
        let jobs = self.jobs ?? max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        guard (1...256).contains(jobs) else { throw CommandFailure.usage("--jobs \(jobs): 1 to 256.") }
        let campaign = try Campaign(
            options, runs: runs, jobs: min(jobs, runs), goesOn: self.keepGoing, shrinks: !self.noShrink)
        let result = try campaign.run()
        if self.json {
            note(result.text)
            print(encoded(result.json))
        } else {
            print(result.text)
        }
        if result.verdict != .held { throw ExitCode(result.verdict.exitCode) }
    }

    private func options() throws -> SimulationOptions {
        do {
            var options = SimulationOptions(seed: UInt64.random(in: 0..<1 << 40))
            if let seed { options = try SimulationOptions(token: seed) }
            if let nodes { try options.setNodes(nodes) }
            if let ticks { try options.setTicks(ticks) }
            if let workload { try options.setWorkload(workload) }
            if let planted { try options.setBug(planted) }
            if let faults { options.faults = try FaultModel(parsing: faults) }
            return options
        } catch {
            throw CommandFailure.usage("\(error)")
        }
    }

    // MARK: Lists

    private func showLists() -> Bool {
        if self.planted == "list" {
            self.show(PlantedBug.allCases.map { ($0.rawValue, $0.explanation) })
        } else if self.workload == "list" {
            self.show(Workload.allCases.map { ($0.rawValue, $0.explanation) })
        } else if self.faults == "list" {
            self.show(FaultKind.allCases.map { ($0.rawValue, $0.explanation) })
        } else {
            return false
        }
        return true
    }

    private func show(_ rows: [(name: String, explanation: String)]) {
        if self.json { return print(encoded(Dictionary(uniqueKeysWithValues: rows.map { ($0.name, $0.explanation) }))) }
        let width = rows.map(\.name.count).max() ?? 0
        for row in rows {
            print(row.name + String(repeating: " ", count: width + 2 - row.name.count) + row.explanation)
        }
    }
}
