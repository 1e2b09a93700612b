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
    @Test(arguments: 0..<10) func threeNodesUnderFaults(chunk: Int) throws {
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

    @Test(arguments: [9671, 401_237] as [UInt64]) func seedsInWhichAnyFileRots(seed: UInt64) throws {
        var options = SimulationOptions(seed: seed)
        options.faults = .anyFile
        _ = try World.run(options)
    }

    @Test(arguments: UInt64(0)..<12) func fiveNodesUnderFaults(seed: UInt64) throws {
        var options = SimulationOptions(seed: seed)
        options.nodes = 5
        _ = try World.run(options)
    }

    @Test(arguments: [3, 5]) func changesOfWhoVotes(nodes: Int) throws {
        var changes = 0
        for seed in UInt64(0)..<(nodes == 3 ? 40 : 10) {
            var options = SimulationOptions(seed: seed)
            options.nodes = nodes
            options.faults[.membershipChange] = 20
            changes += try World.run(options).votingChanges
        }
        #expect(changes > (nodes == 3 ? 20 : 5), "the faults are there")
    }

    /// 50 seeds each: what is at rest rots, on all nodes.
    @Test(arguments: 0..<6) func rotAtRest(chunk: Int) throws {
        var rots = 0
        var holes = 0
        var lost = 0
        var files = 0
        for seed in UInt64(chunk) * 50..<UInt64(chunk + 1) * 50 {
            var options = SimulationOptions(seed: seed)
            options.faults = .rot
            if seed % 10 == 9 { options.nodes = 5 }
            let report = try World.run(options)
            rots += report.journalsRotten
            holes += report.holesFound
            lost += report.disksLost
            files += min(report.filesRotten, report.readErrors)
        }
        #expect(rots > 50 && holes > 0 && lost > 0, "the faults are there: \(rots) rots, \(holes) holes, \(lost) lost")
        #expect(files > 20, "and \(files) of files")
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

    /// Each bug is planted in the shell around correct cores. The one that ends the process is a process test's.
    @Test(arguments: PlantedBug.allCases.filter { $0 != .breaksInvariant }) func aPlantedBugIsFound(
        bug: PlantedBug
    ) throws {
        var found: SimulationFailure?
        for seed in UInt64(0)..<200 where found == nil {
            // What it did may end in a standstill first: that says less, and the next seed says more.
            guard let failure = Self.failure(of: Self.options(bug, seed: seed)),
                Self.invariants(of: bug).contains(failure.invariant)
            else { continue }
            found = failure
        }
        let failure = try #require(found, "not found within 200 seeds")
        #expect(failure.trace.isEmpty == false)
        // The failure names the run, and the run gives it again.
        let options = try SimulationOptions(token: failure.token)
        let again = #expect(throws: SimulationFailure.self) { try World.run(options) }
        #expect(again?.step == failure.step)
        #expect(again?.detail == failure.detail)
    }

    private static func failure(of options: SimulationOptions) -> SimulationFailure? {
        do {
            _ = try World.run(options)
            return nil
        } catch {
            return error
        }
    }

    private static func options(_ bug: PlantedBug, seed: UInt64) -> SimulationOptions {
        var options = SimulationOptions(seed: seed)
        options.bug = bug
        options.faults = bug.faults
        return options
    }

    /// What may show it.
    private static func invariants(of bug: PlantedBug) -> [SimulationInvariant] {
        switch bug {
        case .completesBeforeSync:
            // Also a snapshot whose mark was not durable when the file before it went.
            // And a leader never sends again what it counted and its peer then lost: that one stays behind.
            [
                .leaderCompleteness, .committedEntriesStay, .noAcknowledgedWriteLost, .logMatching, .snapshotReadable,
                .liveness,
            ]
        case .losesHardState: [.oneLeaderATerm, .logMatching, .committedEntriesStay, .leaderCompleteness]
        case .repliesTwice: [.repliesInOrder]
        case .ignoresSync: [.journalReadable, .durableStateSurvives]
        case .retriesFailedSync, .acknowledgesFailedBatch: [.journalReadable, .durableStateSurvives]
        case .repeatsRun: [.runsGrow]
        case .readsLocally: [.linearizability, .sessionOrder]
        case .neverResends: [.liveness, .requestsAnswered]
        case .emptyDiskVotes:
            [
                .leaderCompleteness, .committedEntriesStay, .oneLeaderATerm, .logMatching, .noAcknowledgedWriteLost,
                .noDivergence, .equalStates, .linearizability,
                // A leader that remembers what the disk once had never sends it again.
                .liveness,
            ]
        case .forgetsIncidents: [.liveness]
        case .takesTheLeadersWord: [.equalStates, .noAcknowledgedWriteLost, .exactlyOnce, .linearizability]
        case .cutsAtBadChecksum: [.durableStateSurvives]
        case .deniesHoles:
            [
                .leaderCompleteness, .committedEntriesStay, .logMatching, .noAcknowledgedWriteLost, .noDivergence,
                .durableStateSurvives, .linearizability,
            ]
        case .keepsAllOfTheLog: [.logBounded]
        case .needsBothCopies: [.runsGrow]
        case .blindScrubber: [.nothingRotten]
        case .breaksInvariant: []
        }
    }

    /// Found once, each is told by a shorter run that fails alike.
    @Test(arguments: [PlantedBug.ignoresSync, .readsLocally, .neverResends]) func aScheduleIsShortened(
        bug: PlantedBug
    ) throws {
        for seed in UInt64(0)..<200 {
            let options = Self.options(bug, seed: seed)
            guard let first = Self.failure(of: options), options.scheduledFaults.count > 4 else { continue }

            var shrinking = Shrinking(options, failedAt: first.time, maxAttempts: 120)
            try shrinking.run { candidate in
                let failure = Self.failure(of: candidate)
                return failure?.invariant == first.invariant ? failure?.time : nil
            }
            #expect(shrinking.attempts <= 120)
            #expect(shrinking.options.scheduledFaults.count < options.scheduledFaults.count)
            let word = shrinking.options.token
            let again = #expect(throws: SimulationFailure.self) { try World.run(SimulationOptions(token: word)) }
            #expect(again?.invariant == first.invariant)
            return
        }
        Issue.record("not found within 200 seeds")
    }
}
