import FoundationEssentials
import Glibc
import Simulation

/// Many runs, one seed after the other, in child processes. At a failure: its seed, the shortest schedule, the trace.
final class Campaign {
    private let first: SimulationOptions
    private let runs: Int
    private let goesOn: Bool
    private let shrinks: Bool
    private let pool: WorkerPool
    private let began = secondsNow()
    private let isTerminal = isatty(2) != 0
    private var lastNote = secondsNow()

    /// SIGINT or SIGTERM came: what is under way is waited for, and counts.
    private nonisolated(unsafe) static var isInterrupted = false

    private var given = 0
    private var done = 0
    private var simulated: UInt64 = 0
    private var failed = 0
    /// By number of the run, from 0.
    private var results: [RunResult?]

    init(_ first: SimulationOptions, runs: Int, jobs: Int, goesOn: Bool, shrinks: Bool) throws {
        self.first = first
        self.runs = runs
        self.goesOn = goesOn
        self.shrinks = shrinks
        self.results = Array(repeating: nil, count: runs)
        self.pool = try WorkerPool(jobs: jobs)
    }

    func run() throws -> CampaignResult {
        for number in [SIGINT, SIGTERM] { signal(number) { _ in Campaign.isInterrupted = true } }
        try self.pool.run {
            // Seeds go out in order, and those under way are waited for: nothing below the first failure is left out.
            guard !Self.isInterrupted, self.given < self.runs, self.goesOn || self.failed == 0 else { return nil }
            defer { self.given += 1 }
            return self.options(self.given)
        } took: { options, result in
            self.done += 1
            self.simulated += result.simulatedNanoseconds
            self.results[Int(options.seed &- self.first.seed)] = result
            if result.verdict.isFailure { self.failed += 1 }
        } idle: {
            self.tell(
                "\(self.done) of \(self.runs) runs\(self.failed > 0 ? ", \(self.failed) failed" : ""), \(self.pace)")
        }
        let wall = secondsNow() - self.began
        // What was under way beside the first failure and above it depends on chance: it does not count.
        var count = self.given
        if !self.goesOn, let at = self.results.firstIndex(where: { $0?.verdict.isFailure ?? false }) { count = at + 1 }
        var result = CampaignResult(options: self.first, runs: count, wall: wall)
        for (number, run) in self.results[..<count].enumerated() {
            guard let run else { continue }
            result.simulated += run.simulatedNanoseconds
            result.traceHash = (result.traceHash &* 31) ^ run.traceHash
            if run.verdict != .held { result.failures.append((self.options(number), run)) }
        }
        if let failure = result.reported {
            result.options = failure.options
            result.shortest = try self.shorten(failure.options, failure.result)
        }
        if self.isTerminal { self.line("\r\u{1b}[K") }
        return result
    }

    /// Of the run with this number, from 0.
    private func options(_ number: Int) -> SimulationOptions {
        var options = self.first
        options.seed &+= UInt64(number)
        return options
    }

    /// The shortest run that fails alike, and what it came to.
    private func shorten(_ options: SimulationOptions, _ result: RunResult) throws -> CampaignResult.Shortest? {
        guard self.shrinks, result.verdict.isFailure else { return nil }
        var shrinking = Shrinking(options, failedAt: result.simulatedNanoseconds)
        var found = result
        var count = 0
        try shrinking.run { candidate in
            guard !Self.isInterrupted else { return nil }
            var answer: RunResult?
            var asked: SimulationOptions? = candidate
            try self.pool.run {
                defer { asked = nil }
                return asked
            } took: {
                answer = $1
            } idle: {
                self.tell("seed \(options.token) fails; \(count) runs in search of a shorter schedule")
            }
            count += 1
            guard let answer, answer.verdict == result.verdict, answer.invariant == result.invariant else { return nil }
            found = answer
            return answer.simulatedNanoseconds
        }
        return CampaignResult.Shortest(options: shrinking.options, result: found, attempts: shrinking.attempts)
    }

    // MARK: Progress

    private var pace: String {
        let seconds = Double(self.simulated) / 1e9
        return "\(Int(seconds)) s simulated, \(Int(seconds / max(0.001, secondsNow() - self.began))) x"
    }

    /// Long work shows that it goes on: on a terminal in place, elsewhere a line now and then.
    private func tell(_ text: String) {
        guard secondsNow() - self.lastNote > (self.isTerminal ? 0.5 : 10) else { return }
        self.lastNote = secondsNow()
        self.line(self.isTerminal ? "\r\u{1b}[K\(text)" : text + "\n")
    }

    private func line(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(2, $0.baseAddress!, $0.count) }
    }
}
