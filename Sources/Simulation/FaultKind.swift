package import Replication

/// A kind of fault. To add one: a case here, a row in `definition`, and the function that the row names, in a file of its
/// own; where it lasts, what ends it in `healings`.
package enum FaultKind: String, Sendable, CaseIterable {
    case processCrash = "process-crash"
    case powerCut = "power-cut"
    /// All nodes lose power at once.
    case totalPowerCut = "total-power-cut"
    case gracefulStop = "graceful-stop"
    case pause
    /// One side of the cluster against the other, both ways.
    case partition
    /// What one node says to another does not arrive; the other way is open.
    case oneWayCut = "one-way-cut"
    case connectionDrop = "connection-drop"
    case slowLink = "slow-link"
    case slowDisk = "slow-disk"
    /// One sync fails; its pages count as clean and are lost with the power.
    case failedSync = "failed-sync"
    case clientDisconnect = "client-disconnect"
    case transfer
    /// Some node does not live to see the end of a candidacy: it is killed and comes back at once.
    case deathAtElection = "death-at-election"
    /// A start that does not live to its end: killed after the journal's tail was rewritten, before it was synced.
    case deathAtStart = "death-at-start"
    case heartbeatLoss = "heartbeat-loss"
}

/// How a kind of fault comes into a run.
struct FaultDefinition {
    /// Does it to a world. Whatever it draws, it draws from the given source, so that a fault stays the same when others
    /// are left out of the run.
    typealias Injection = (World) -> (inout Random) throws -> Void

    /// Of an injected kind: how often it comes, relative to the others. Of a standing one: how many of a thousand
    /// occasions.
    var weight: UInt64
    /// Nil for a standing kind: the world asks at each occasion whether it happens.
    var inject: Injection?

    /// A fault that comes at an instant of the schedule.
    static func injected(_ weight: UInt64, _ inject: @escaping Injection) -> Self {
        Self(weight: weight, inject: inject)
    }

    /// A fault that hits some part of the occasions for it.
    static func standing(_ perThousand: UInt64) -> Self { Self(weight: perThousand, inject: nil) }
}

extension FaultKind {
    /// The table of faults: how often, and what does it.
    var definition: FaultDefinition {
        switch self {
        case .processCrash: .injected(5, World.injectProcessCrash)
        case .powerCut: .injected(5, World.injectPowerCut)
        case .totalPowerCut: .injected(1, World.injectTotalPowerCut)
        case .gracefulStop: .injected(2, World.injectGracefulStop)
        case .pause: .injected(4, World.injectPause)
        case .partition: .injected(4, World.injectPartition)
        case .oneWayCut: .injected(4, World.injectOneWayCut)
        case .connectionDrop: .injected(5, World.injectConnectionDrop)
        case .slowLink: .injected(3, World.injectSlowLink)
        case .slowDisk: .injected(3, World.injectSlowDisk)
        case .failedSync: .injected(2, World.injectFailedSync)
        case .clientDisconnect: .injected(2, World.injectClientDisconnect)
        case .transfer: .injected(2, World.injectTransfer)
        case .deathAtElection: .standing(150)
        case .deathAtStart: .standing(80)
        case .heartbeatLoss: .standing(20)
        }
    }

    /// What ends the faults that are still under way, before progress is demanded; in this order.
    static var healings: [(World) -> () -> Void] { [World.healPauses, World.healNetwork, World.healDisks] }

    package var isStanding: Bool { self.definition.inject == nil }

    fileprivate var place: Int { Self.places[self]! }
    private static let places = Dictionary(uniqueKeysWithValues: zip(Self.allCases, 0...))
}

/// Which faults a run may contain, and how many.
package struct FaultModel: Sendable {
    /// By kind, in the order of its cases; 0 leaves the kind out.
    private var weights: [UInt64]
    /// Mean time between two injected faults.
    package var meanInterval: Nanoseconds = .milliseconds(250)
    /// Each run leaves out some of the kinds and draws the pace of the rest, so that runs differ in kind (Groce et al.,
    /// *Swarm testing*, ISSTA 2012).
    package var isSwarm = true

    /// All kinds, with the weights of the table.
    package init() { self.weights = FaultKind.allCases.map(\.definition.weight) }

    package subscript(kind: FaultKind) -> UInt64 {
        get { self.weights[kind.place] }
        set { self.weights[kind.place] = newValue }
    }

    /// Nothing goes wrong.
    package static var none: FaultModel {
        var model = FaultModel()
        for kind in FaultKind.allCases { model[kind] = 0 }
        model.isSwarm = false
        return model
    }

    /// Elections without end, in each of which some voter dies and comes back: for promises that are kept for a moment.
    package static var elections: FaultModel {
        var model = FaultModel.none
        model.meanInterval = .milliseconds(60)
        model[.pause] = 2
        model[.connectionDrop] = 1
        model[.slowLink] = 6
        model[.transfer] = 6
        model[.deathAtElection] = 1000
        return model
    }

    /// The model of one run.
    func drawn(_ random: inout Random) -> FaultModel {
        guard self.isSwarm else { return self }
        var model = self
        for kind in FaultKind.allCases where random.chance(1, in: 4) { model[kind] = 0 }
        model.meanInterval = model.meanInterval / 3 + random.below(model.meanInterval * 3 / 2)
        return model
    }
}
