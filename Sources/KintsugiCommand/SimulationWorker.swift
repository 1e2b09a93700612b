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
    /// The run under way. A trap of the code that is run happens on the one thread there is, between two statements of it.
    private nonisolated(unsafe) static var world: World?

    static func serve() {
        Self.tellAtDeath()
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
            let world = World(options)
            Self.world = world
            defer { Self.world = nil }
            let report = try world.run()
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

    /// A broken invariant traps: then what happened up to there goes out before the process dies.
    private static func tellAtDeath() {
        var action = sigaction()
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
        action.__sigaction_handler.sa_handler = { number in
            if let world = SimulationWorker.world { note(world.account) }
            raise(number)
        }
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT] { sigaction(number, &action, nil) }
    }
}
