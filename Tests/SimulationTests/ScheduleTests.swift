import Replication
import Simulation
import Testing

/// What goes wrong in a run follows from its seed and its words alone.
@Suite struct ScheduleTests {
    @Test func aLongerRunBeginsAsAShorterOne() {
        for seed in UInt64(0)..<50 {
            var short = SimulationOptions(seed: seed)
            short.ticks = 100
            var long = short
            long.ticks = 400
            let (few, many) = (short.scheduledFaults, long.scheduledFaults)
            #expect(few.count <= many.count)
            #expect(few == Array(many.prefix(few.count)))
        }
    }

    @Test func aFaultLeftOutLeavesTheOthersAsTheyAre() {
        var options = SimulationOptions(seed: 5)
        let all = options.scheduledFaults
        options.keptFaults = Set(all.indices.filter { $0 % 3 == 0 })
        #expect(options.scheduledFaults == all.filter { $0.number % 3 == 0 })
    }

    @Test func runsDifferInTheKindsTheyHave() {
        var left: [FaultKind: Int] = [:]
        for seed in UInt64(0)..<200 {
            var options = SimulationOptions(seed: seed)
            options.ticks = 2000
            let kinds = Set(options.scheduledFaults.map(\.kind))
            for kind in FaultKind.allCases where !kind.isStanding && !kinds.contains(kind) {
                left[kind, default: 0] += 1
            }
        }
        // It comes only where it is named.
        for kind in FaultKind.allCases where !kind.isStanding && kind != .snapshotErrors {
            #expect((20..<140).contains(left[kind] ?? 0), "\(kind): left out of \(left[kind] ?? 0) of 200 runs")
        }
    }

    @Test func aWordGivesTheRunAgain() throws {
        var options = SimulationOptions(seed: 12)
        #expect(options.token == "12", "a run with the defaults is its number")
        options.nodes = 5
        options.ticks = 77
        options.workload = .hot
        options.bug = .losesHardState
        options.faults = .elections
        options.faults[.powerCut] = 9
        options.faults[.transfer] = 0
        options.faults.meanInterval = .milliseconds(40)
        options.faults.isSwarm = true
        options.keptFaults = [3, 1, 20]
        options.noise = 2
        let again = try SimulationOptions(token: options.token)
        #expect(again.token == options.token)
        #expect(again.faults == options.faults)
        #expect(again.keptFaults == options.keptFaults)
        #expect(again.scheduledFaults == options.scheduledFaults)
        #expect(again.nodes == 5 && again.ticks == 77 && again.workload == .hot && again.noise == 2)
        #expect(again.bug == .losesHardState)
    }

    @Test(arguments: [
        ("default", FaultModel()), ("none", .none), ("elections", .elections), ("no-pause,no-pause", without(.pause)),
        ("default,no-pause", without(.pause)),
    ]) func faultsInWords(words: String, model: FaultModel) throws {
        #expect(try FaultModel(parsing: words) == model)
        #expect(try FaultModel(parsing: model.description) == model)
    }

    static func without(_ kind: FaultKind) -> FaultModel {
        var model = FaultModel()
        model[kind] = 0
        return model
    }

    @Test(arguments: FaultKind.allCases) func everyKindIsCalledByItsName(kind: FaultKind) throws {
        let model = try FaultModel(parsing: kind.rawValue)
        #expect(model[kind] > 0)
        for other in FaultKind.allCases where other != kind { #expect(model[other] == 0) }
        #expect(!kind.explanation.isEmpty)
    }

    @Test(arguments: [
        "", "x", "-1", "1.5", "18446744073709551616", "1+", "1+nodes", "1+nodes=0", "1+nodes=8", "1+ticks=0",
        "1+ticks=99999999999999999999", "1+workload=all", "1+planted=nothing", "1+faults=rain", "1+faults=pause=x",
        "1+faults=pause=99999999", "1+keep=a", "1+keep=-1", "1+noise=", "1+colour=red", "1+nodes=3=4",
    ]) func wordsThatMeanNothing(token: String) {
        #expect(throws: UnreadableOption.self) { try SimulationOptions(token: token) }
    }
}

@Suite struct VerdictTests {
    @Test func everyVerdictHasItsCode() {
        #expect(Verdict.allCases.map(\.exitCode) == [0, 10, 11, 12, 13])
        #expect(SimulationInvariant.historyUndecided.verdict == .unknown)
        #expect(SimulationInvariant.requestsAnswered.verdict == .liveness)
        #expect(SimulationInvariant.oneLeaderATerm.verdict == .safety)
        #expect(!Verdict.unknown.isFailure, "a campaign goes on after it")
    }
}
