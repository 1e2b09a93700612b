package import Replication

/// What a run of the simulator is made from. Equal options give equal runs, event by event.
package struct SimulationOptions: Sendable {
    /// Seeds every random choice of the run.
    package var seed: UInt64
    /// Nodes of the cluster, all of them voters. 1 to 7.
    package var nodes = 3
    /// How long faults are injected, in simulated time. After it everything is healed, and progress is demanded.
    package var faultTime: Nanoseconds = .seconds(3)
    /// From the healing until all nodes serve, every request has its answer and all states are equal.
    package var recoveryBound: Nanoseconds = .seconds(20)
    /// Connections of clients to each node.
    package var connectionsPerNode = 2
    /// Requests of one connection under way at once, at most.
    package var maxPipeline = 4
    /// A connection's mean pause between two batches of requests.
    package var meanPause: Nanoseconds = .milliseconds(60)
    package var faults = FaultModel()
    /// Numbers of the faults that happen, of those that the seed gives; nil: all.
    package var keptFaults: Set<Int>?
    /// A mistake made on purpose in the simulated shell, to see that the checks find it.
    package var bug: PlantedBug?
    /// Events of the trace that a failure carries, the last ones.
    package var traceTail = 120
    /// Events beyond which a run counts as one that does not end.
    package var maxEvents = 20_000_000

    package init(seed: UInt64) { self.seed = seed }
}

/// Mistakes that a shell could make. Each breaks a promise that the core rests on.
package enum PlantedBug: String, Sendable, CaseIterable {
    /// The core is told that its records are durable when they have only been submitted.
    case completesBeforeSync
    /// Terms and votes are not written.
    case losesHardState
    /// A client gets each of its replies twice.
    case repliesTwice
    /// A sync reports success and makes nothing durable.
    case ignoresSync
    /// A restart goes on under the number of the run before.
    case repeatsRun
    /// Reads are answered from what is applied here, without asking anyone.
    case readsLocally
}
