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
    /// A mistake made on purpose in the simulated shell, to see that the checks find it.
    package var bug: PlantedBug?
    /// Events of the trace that a failure carries, the last ones.
    package var traceTail = 120
    /// Events beyond which a run counts as one that does not end.
    package var maxEvents = 20_000_000

    package init(seed: UInt64) { self.seed = seed }
}

/// Which faults a run may contain. What is not here does not happen: no bit rots, no disk is swapped or copied back, a
/// sector is written whole or not at all, and clocks run at the same speed (with offsets of their own).
package struct FaultModel: Sendable {
    /// Mean time between two injected faults.
    package var meanInterval: Nanoseconds = .milliseconds(250)
    /// Relative frequencies; 0 leaves a fault out.
    package var processCrash: UInt64 = 5
    package var powerCut: UInt64 = 5
    /// All nodes lose power at once.
    package var totalPowerCut: UInt64 = 1
    package var gracefulStop: UInt64 = 2
    package var pause: UInt64 = 4
    /// One side of the cluster against the other, both ways.
    package var partition: UInt64 = 4
    /// What one node says to another does not arrive; the other way is open.
    package var oneWayCut: UInt64 = 4
    package var connectionDrop: UInt64 = 5
    package var slowLink: UInt64 = 3
    package var slowDisk: UInt64 = 3
    /// One sync fails; its pages count as clean and are lost with the power.
    package var failedSync: UInt64 = 2
    package var clientDisconnect: UInt64 = 2
    package var transfer: UInt64 = 2
    /// Candidacies, in a hundred, that some node does not live to see the end of: it is killed and comes back at once.
    package var deathAtElection: UInt64 = 15
    /// Heartbeats lost, in a thousand.
    package var heartbeatLoss: UInt64 = 20
    /// Each run leaves out some of the faults and draws the pace of the rest, so that runs differ in kind (Groce et
    /// al., *Swarm testing*, ISSTA 2012).
    package var isDrawn = true

    package init() {}

    /// The model of one run.
    func drawn(_ random: inout Random) -> FaultModel {
        guard self.isDrawn else { return self }
        var model = self
        for weight in [
            \FaultModel.processCrash, \.powerCut, \.totalPowerCut, \.gracefulStop, \.pause, \.partition, \.oneWayCut,
            \.connectionDrop, \.slowLink, \.slowDisk, \.failedSync, \.clientDisconnect, \.transfer,
        ] as [WritableKeyPath<FaultModel, UInt64>] where random.chance(1, in: 4) {
            model[keyPath: weight] = 0
        }
        model.meanInterval = model.meanInterval / 3 + random.below(model.meanInterval * 3 / 2)
        return model
    }

    /// Elections without end, in each of which some voter dies and comes back: for promises that are kept for a moment.
    package static var elections: FaultModel {
        var model = FaultModel.none
        model.meanInterval = .milliseconds(60)
        model.pause = 2
        model.connectionDrop = 1
        model.slowLink = 6
        model.transfer = 6
        model.deathAtElection = 100
        return model
    }

    /// Nothing goes wrong.
    package static var none: FaultModel {
        var model = FaultModel()
        model.processCrash = 0
        model.powerCut = 0
        model.totalPowerCut = 0
        model.gracefulStop = 0
        model.pause = 0
        model.partition = 0
        model.oneWayCut = 0
        model.connectionDrop = 0
        model.slowLink = 0
        model.slowDisk = 0
        model.failedSync = 0
        model.clientDisconnect = 0
        model.transfer = 0
        model.deathAtElection = 0
        model.heartbeatLoss = 0
        model.isDrawn = false
        return model
    }
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
