import FoundationEssentials
import Glibc
import Simulation

/// What one run came to, as its process tells it.
struct RunResult: Codable {
    var verdict = Verdict.held
    var invariant: String?
    var detail: String?
    var account: String?
    /// Simulated time of the failure, or of the whole run.
    var simulatedNanoseconds: UInt64 = 0
    /// Events up to there.
    var events = 0
    var traceHash: UInt64 = 0
    var faults = 0
    var acknowledged = 0
    /// From the healing to full service.
    var recoveryNanoseconds: UInt64 = 0
}

/// A process that runs simulations: one word a line on standard input, one line of JSON each on standard output. Where a
/// run breaks an invariant of the code the process dies, and whoever asked knows which run it was.
enum SimulationWorker {
    static func serve() {
        while let token = readLine() {
            var result = RunResult()
            do {
                result = Self.run(try SimulationOptions(token: token))
            } catch {
                result.verdict = .unknown
                result.detail = "\(error)"
            }
            print(encoded(result))
            fflush(nil)
        }
    }

    private static func run(_ options: SimulationOptions) -> RunResult {
        var result = RunResult()
        do {
            let report = try World.run(options)
            result.simulatedNanoseconds = report.duration
            result.events = report.events
            result.traceHash = report.traceHash
            result.faults = report.faults
            result.acknowledged = report.acknowledged
            result.recoveryNanoseconds = report.recovery
        } catch {
            result.verdict = error.invariant.verdict
            result.invariant = error.invariant.rawValue
            result.detail = error.detail
            result.account = error.account
            result.simulatedNanoseconds = error.time
            result.events = error.step
        }
        return result
    }
}
