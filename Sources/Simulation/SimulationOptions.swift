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
    /// What clients ask, and how often.
    package var workload = Workload.mixed
    /// Connections of clients to each node.
    package var connectionsPerNode = 2
    package var faults = FaultModel()
    /// Numbers of the faults that happen, of those that the seed gives; nil: all.
    package var keptFaults: Set<Int>?
    /// Another draw of all that is no fault (delays, latencies, requests) around the same faults.
    package var noise: UInt64 = 0
    /// A mistake made on purpose in the simulated shell, to see that the checks find it.
    package var bug: PlantedBug?
    /// Events of the trace that a failure carries, the last ones.
    package var traceTail = 120
    /// Events beyond which a run counts as one that does not end, for each second of simulated time.
    package var maxEventsPerSecond = 1_000_000

    package init(seed: UInt64) { self.seed = seed }

    /// A core's tick, in simulated time.
    package static let tickNanoseconds = World.tickInterval

    /// How long faults are injected, in ticks.
    package var ticks: UInt64 {
        get { self.faultTime / Self.tickNanoseconds }
        set { self.faultTime = newValue * Self.tickNanoseconds }
    }

    /// The faults that the run has, in order.
    package var scheduledFaults: [ScheduledFault] { FaultSchedule(self).faults }
}
