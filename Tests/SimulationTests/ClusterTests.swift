import Replication
import Simulation
import Testing

/// Whole clusters under faults. A failure prints its seed and the trace before it; `SimulationOptions(seed:)` with the
/// same number of nodes runs the very same again.
@Suite struct ClusterTests {
    @Test func aWriteIsAcknowledged() throws {
        var options = SimulationOptions(seed: 1)
        options.faults = .none
        options.connectionsPerNode = 1
        let report = try World.run(options)
        #expect(report.acknowledged > 50)
        #expect(report.open == 0)
        #expect(report.refused == 0)
        #expect(report.leaders == 2, "one for each group")
        #expect(report.incidents == 0)
    }

    /// 50 seeds each.
    @Test(arguments: 0..<8) func threeNodesUnderFaults(chunk: Int) throws {
        var restarts = 0
        var snapshots = 0
        for seed in UInt64(chunk) * 50..<UInt64(chunk + 1) * 50 {
            let report = try World.run(SimulationOptions(seed: seed))
            restarts += report.restarts
            snapshots += report.snapshotsInstalled
        }
        #expect(restarts > 50, "the faults are there")
        #expect(snapshots > 10, "snapshots are sent or read back")
    }

    @Test(arguments: UInt64(0)..<12) func fiveNodesUnderFaults(seed: UInt64) throws {
        var options = SimulationOptions(seed: seed)
        options.nodes = 5
        _ = try World.run(options)
    }

    @Test(arguments: [1, 2, 4]) func otherSizesUnderFaults(nodes: Int) throws {
        for seed in UInt64(0)..<6 {
            var options = SimulationOptions(seed: seed)
            options.nodes = nodes
            _ = try World.run(options)
        }
    }

    /// Runs that found a bug once, and how it showed. As the simulator grows a seed comes to mean another run; then it
    /// is one more seed.
    @Test(
        arguments: [
            (7648, "journal: a file held the only durable copy of a batch and was written over at the next start"),
            (361, "snapshots: the file that the journal named was removed when a second newer one was finished"),
            (1965, "snapshots: the same, by a power cut"),
            (6011, "snapshots: the same, by the leader's snapshot after an own checkpoint"),
            (2771, "links: a half-open connection to a machine that came back hid its new run"),
        ] as [(UInt64, String)]) func seedsOfOldBugs(seed: UInt64, bug: String) throws
    {
        _ = try World.run(SimulationOptions(seed: seed))
    }

    @Test func equalSeedsGiveEqualRuns() throws {
        for seed in UInt64(100)..<103 {
            let first = try World.run(SimulationOptions(seed: seed))
            let second = try World.run(SimulationOptions(seed: seed))
            #expect(first.traceHash == second.traceHash, "seed \(seed)")
            #expect(first.events == second.events, "seed \(seed)")
        }
        let other = try World.run(SimulationOptions(seed: 103))
        let last = try World.run(SimulationOptions(seed: 102))
        #expect(other.traceHash != last.traceHash)
    }

    // MARK: The checks find what they are there for

    /// Each bug is planted in the shell around correct cores.
    @Test(arguments: PlantedBug.allCases) func aPlantedBugIsFound(bug: PlantedBug) throws {
        let expected: [SimulationInvariant] =
            switch bug {
            case .completesBeforeSync:
                // Also a snapshot whose mark was not durable when the file before it went.
                [.leaderCompleteness, .committedEntriesStay, .noAcknowledgedWriteLost, .logMatching, .snapshotReadable]
            case .losesHardState: [.oneLeaderATerm, .logMatching, .committedEntriesStay, .leaderCompleteness]
            case .repliesTwice: [.repliesInOrder]
            case .ignoresSync: [.journalReadable, .durableStateSurvives]
            case .repeatsRun: [.runsGrow]
            case .readsLocally: [.linearizability, .sessionOrder]
            }
        var found: SimulationFailure?
        for seed in UInt64(0)..<200 where found == nil {
            var options = SimulationOptions(seed: seed)
            options.bug = bug
            if bug == .losesHardState { options.faults = .elections }
            do {
                _ = try World.run(options)
            } catch {
                found = error
            }
        }
        let failure = try #require(found, "not found within 200 seeds")
        #expect(expected.contains(failure.invariant), "\(failure)")
        // The failure names the run, and the run gives it again.
        var options = SimulationOptions(seed: failure.seed)
        options.bug = bug
        if bug == .losesHardState { options.faults = .elections }
        let again = #expect(throws: SimulationFailure.self) { try World.run(options) }
        #expect(again?.step == failure.step)
        #expect(again?.detail == failure.detail)
        #expect(failure.trace.isEmpty == false)
    }
}
