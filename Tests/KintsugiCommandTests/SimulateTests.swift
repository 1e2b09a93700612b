import Foundation
import Testing

/// `kintsugi simulate` as scripts see it.
@Suite struct SimulateTests {
    private func simulate(_ arguments: String..., environment: [String: String] = [:]) throws -> Outcome {
        try Program.run(
            Program.kintsugi, ["simulate"] + arguments + ["--json"], environment: environment, seconds: 120)
    }

    /// The last line of standard output.
    private func object(_ outcome: Outcome) throws -> [String: Any] {
        let line = try #require(outcome.output.split(separator: "\n").last, "no output: \(outcome.errors)")
        return try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }

    @Test func runsThatHold() throws {
        let outcome = try self.simulate("--seed", "40", "--runs", "6")
        #expect(outcome.code == 0, "\(outcome.errors)")
        let object = try self.object(outcome)
        #expect(object["seed"] as? Int == 40)
        #expect(object["runs"] as? Int == 6)
        #expect(object["verdict"] as? String == "held")
        #expect(object["invariant"] is NSNull)
        #expect(object["schedule"] is NSNull)
        #expect((object["simulated_s"] as? Double ?? 0) > 6 * 3)
        #expect((object["ticks"] as? Int ?? 0) > 6 * 150)
        #expect((object["wall_s"] as? Double ?? 0) > 0)
        #expect(object["commit"] is String)
    }

    /// The order in which a process's hash tables are walked must not show.
    @Test func equalSeedsGiveEqualTracesInEveryProcess() throws {
        var hashes: Set<String> = []
        for environment in [[:], [:], ["SWIFT_DETERMINISTIC_HASHING": "1"]] {
            for jobs in ["1", "2"] {
                let outcome = try self.simulate(
                    "--seed", "900", "--runs", "5", "--jobs", jobs, environment: environment)
                hashes.insert(try #require(try self.object(outcome)["trace_hash"] as? String))
            }
        }
        #expect(hashes.count == 1)
    }

    @Test(arguments: [
        ("reads-locally", 10, "safety"), ("never-resends", 11, "liveness"), ("breaks-invariant", 12, "crash"),
    ]) func aFailureHasItsCodeAndItsRun(planted: String, code: Int32, verdict: String) throws {
        let outcome = try self.simulate("--seed", "0", "--runs", "200", "--planted", planted)
        #expect(outcome.code == code, "\(outcome.errors)")
        let object = try self.object(outcome)
        #expect(object["verdict"] as? String == verdict)
        let seed = try #require(object["seed"] as? String)
        let schedule = try #require(object["schedule"] as? [String: Any])
        let shortest = try #require(schedule["seed"] as? String)
        #expect(schedule["faults"] is [[String: Any]])
        #expect(outcome.errors.contains("kintsugi simulate --seed \(seed)\n"))
        #expect(outcome.errors.contains("starts as run 1"), "what happened is told, also by a process that died")

        // Either word alone gives a failure of the same kind.
        for word in [seed, shortest] {
            let again = try self.simulate("--seed", word, "--no-shrink")
            #expect(again.code == code, "\(word): \(again.errors)")
            let said = try self.object(again)
            #expect(said["seed"] as? String == word)
            #expect(said["invariant"] as? String == object["invariant"] as? String)
            #expect(said["runs"] as? Int == 1)
        }
    }

    @Test func failuresAreCountedWhereAsked() throws {
        let outcome = try self.simulate(
            "--seed", "0", "--runs", "6", "--planted", "breaks-invariant", "--keep-going", "--no-shrink")
        #expect(outcome.code == 12)
        let object = try self.object(outcome)
        #expect(object["runs"] as? Int == 6)
        #expect((object["failures"] as? [[String: Any]])?.isEmpty == false)
    }

    @Test(arguments: [
        ["--seed", "x"], ["--nodes", "9"], ["--ticks", "0"], ["--faults", "rain"], ["--workload", "all"],
        ["--planted", "nothing"], ["--runs", "0"], ["--jobs", "0"], ["--colour", "red"],
    ]) func usage(arguments: [String]) throws {
        #expect(try Program.run(Program.kintsugi, ["simulate"] + arguments).code == 64)
    }

    @Test func lists() throws {
        for (option, name) in [("--planted", "ignores-sync"), ("--faults", "power-cut"), ("--workload", "mixed")] {
            let outcome = try Program.kintsugi("simulate", option, "list")
            #expect(outcome.code == 0)
            #expect(outcome.output.contains(name))
        }
    }
}
