import FoundationEssentials
import Simulation

/// What a campaign came to, as text and as JSON.
struct CampaignResult {
    struct Shortest {
        var options: SimulationOptions
        var result: RunResult
        /// Runs that the search took.
        var attempts: Int
    }

    /// The run reported, else the first one.
    var options: SimulationOptions
    var runs: Int
    /// Nanoseconds, over all runs.
    var simulated: UInt64 = 0
    /// Seconds.
    var wall: Double
    var failures: [(options: SimulationOptions, result: RunResult)] = []
    var shortest: Shortest?
    /// Of all runs, in the order of their seeds.
    var traceHash: UInt64 = 0
    let commit = BuildIdentity.commit

    init(options: SimulationOptions, runs: Int, wall: Double) {
        self.options = options
        self.runs = runs
        self.wall = wall
    }

    /// The first that broke; where none did, the first of which nobody knows.
    var reported: (options: SimulationOptions, result: RunResult)? {
        self.failures.first { $0.result.verdict.isFailure } ?? self.failures.first
    }

    var verdict: Verdict { self.reported?.result.verdict ?? .held }

    // MARK: Text

    var text: String {
        let seconds = Double(self.simulated) / 1e9
        let pace = Int(seconds / max(0.001, self.wall))
        let what =
            "\(self.runs) \(self.runs == 1 ? "run" : "runs"), \(Int(seconds)) s simulated in \(Self.rounded(self.wall)) s "
            + "(\(pace) x), commit \(self.commit)"
        guard let failure = self.reported else { return "\(what): all held, first seed \(self.options.token)" }
        var lines = [self.describe(failure.options, failure.result)]
        if let shortest { lines += self.describe(shortest, of: failure.options) }
        if let account = (self.shortest?.result ?? failure.result).account {
            lines += ["", self.shortest == nil ? "What happened:" : "What happened in the shortest run:", account]
        }
        lines += [""]
        if self.failures.count > 1 {
            lines += self.failures.map {
                "failed: \($0.options.token)  \($0.result.verdict.rawValue)  \($0.result.invariant ?? "-")"
            }
        }
        lines += ["\(what): \(self.failures.count) did not hold"]
        return lines.joined(separator: "\n")
    }

    private func describe(_ options: SimulationOptions, _ result: RunResult) -> String {
        let what = [result.verdict.rawValue, result.invariant].compactMap(\.self).joined(separator: ", ")
        let when =
            result.verdict == .crash ? "" : " at \(result.simulatedNanoseconds / 1_000_000) ms, event \(result.events)"
        return """
            seed \(options.token) fails\(when): \(what)
              \(result.detail ?? "")
            again:    kintsugi simulate --seed \(options.token)
            """
    }

    private func describe(_ shortest: Shortest, of options: SimulationOptions) -> [String] {
        let faults = shortest.options.scheduledFaults
        var lines = [
            "shortest: kintsugi simulate --seed \(shortest.options.token)",
            "",
            "The shortest run found, after \(shortest.attempts) runs, has \(faults.count) of "
                + "\(options.scheduledFaults.count) faults and \(shortest.options.ticks) of \(options.ticks) ticks:",
        ]
        lines += faults.map { "    \($0.time / 1_000_000) ms  \($0.kind.rawValue)  (fault \($0.number))" }
        return lines
    }

    private static func rounded(_ seconds: Double) -> Double { (seconds * 1000).rounded() / 1000 }

    // MARK: JSON

    /// A seed without options is a number; with options, the word that gives the run again.
    private enum Seed: Encodable {
        case number(UInt64)
        case token(String)

        init(_ options: SimulationOptions) {
            let token = options.token
            self = UInt64(token).map { .number($0) } ?? .token(token)
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .number(let number): try container.encode(number)
            case .token(let token): try container.encode(token)
            }
        }
    }

    private struct Fault: Encodable {
        var number: Int
        var at_ms: UInt64
        var kind: String
    }

    private struct Schedule: Encodable {
        var seed: Seed
        var ticks: UInt64
        var faults: [Fault]
    }

    private struct Failure: Encodable {
        var seed: Seed
        var verdict: Verdict
        var invariant: String?
    }

    private struct Body: Encodable {
        var seed: Seed
        var commit: String
        var runs: Int
        var ticks: UInt64
        var simulated_s: Double
        var wall_s: Double
        var verdict: Verdict
        var invariant: String?
        var detail: String?
        var schedule: Schedule?
        var trace_hash: String
        var failures: [Failure]

        private enum CodingKeys: String, CodingKey {
            case seed, commit, runs, ticks, simulated_s, wall_s, verdict, invariant, detail, schedule, trace_hash,
                failures
        }

        /// All keys are there, whatever the verdict.
        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.seed, forKey: .seed)
            try container.encode(self.commit, forKey: .commit)
            try container.encode(self.runs, forKey: .runs)
            try container.encode(self.ticks, forKey: .ticks)
            try container.encode(self.simulated_s, forKey: .simulated_s)
            try container.encode(self.wall_s, forKey: .wall_s)
            try container.encode(self.verdict, forKey: .verdict)
            try container.encode(self.invariant, forKey: .invariant)
            try container.encode(self.detail, forKey: .detail)
            try container.encode(self.schedule, forKey: .schedule)
            try container.encode(self.trace_hash, forKey: .trace_hash)
            try container.encode(self.failures, forKey: .failures)
        }
    }

    var json: some Encodable {
        let shortest = self.failures.isEmpty ? nil : self.shortest?.options ?? self.options
        let result = self.reported?.result
        return Body(
            seed: Seed(self.options), commit: self.commit, runs: self.runs,
            ticks: self.simulated / SimulationOptions.tickNanoseconds,
            simulated_s: Self.rounded(Double(self.simulated) / 1e9), wall_s: Self.rounded(self.wall),
            verdict: self.verdict, invariant: result?.invariant, detail: result?.detail,
            schedule: shortest.map { options in
                Schedule(
                    seed: Seed(options), ticks: options.ticks,
                    faults: options.scheduledFaults.map {
                        Fault(number: $0.number, at_ms: $0.time / 1_000_000, kind: $0.kind.rawValue)
                    })
            },
            trace_hash: String(self.traceHash, radix: 16),
            failures: self.failures.map {
                Failure(seed: Seed($0.options), verdict: $0.result.verdict, invariant: $0.result.invariant)
            })
    }
}
