import Replication

/// A kind of fault. To add one: a case here, a row in `definition`, and the function that the row names, in a file of its
/// own; where it lasts, what ends it in `healings`.
package enum FaultKind: String, Sendable, CaseIterable {
    case processCrash = "process-crash"
    case powerCut = "power-cut"
    case totalPowerCut = "total-power-cut"
    case gracefulStop = "graceful-stop"
    case pause
    case partition
    case partialPartition = "partial-partition"
    case oneWayCut = "one-way-cut"
    case flappingLink = "flapping-link"
    case connectionDrop = "connection-drop"
    case slowLink = "slow-link"
    case slowDisk = "slow-disk"
    case failedSync = "failed-sync"
    case fullDisk = "full-disk"
    case readOnlyDisk = "read-only-disk"
    case writeErrors = "write-errors"
    case syncErrors = "sync-errors"
    case stuckDisk = "stuck-disk"
    case clientDisconnect = "client-disconnect"
    case transfer
    case membershipChange = "membership-change"
    case wipe
    case oldCopy = "old-copy"
    case deathAtElection = "death-at-election"
    case deathAtStart = "death-at-start"
    case heartbeatLoss = "heartbeat-loss"
    case packetLoss = "packet-loss"
    case clockJump = "clock-jump"
    case clockDrift = "clock-drift"
    case tornSector = "torn-sector"
    /// Within the bounds of `World+SnapshotRot`.
    case snapshotRot = "snapshot-rot"
    /// Within the bounds of `World+StateFlips`.
    case stateFlip = "state-flip"
    /// Within the bounds of `World+JournalRot`.
    case journalRot = "journal-rot"
    case snapshotErrors = "snapshot-errors"
    /// Within the bounds of `World+FileRot`.
    case fileRot = "file-rot"
    /// Within the bounds of rot.
    case readErrors = "read-errors"
}

/// How a kind of fault comes into a run.
struct FaultDefinition {
    /// Does it to a world. Whatever it draws, it draws from the given source, so that a fault stays the same when others
    /// are left out of the run.
    typealias Injection = (World) -> (inout Random) throws -> Void

    /// Of an injected kind: how often it comes, relative to the others. Of a standing one: how many of a thousand
    /// occasions.
    var weight: UInt64
    var explanation: String
    /// Nil for a standing kind: the world asks at each occasion whether it happens.
    var inject: Injection?
    /// Comes only where it is named.
    var isOptional = false

    /// A fault that comes at an instant of the schedule.
    static func injected(_ weight: UInt64, _ explanation: String, _ inject: @escaping Injection) -> Self {
        Self(weight: weight, explanation: explanation, inject: inject)
    }

    /// A fault that hits some part of the occasions for it.
    static func standing(_ perThousand: UInt64, _ explanation: String, isOptional: Bool = false) -> Self {
        Self(weight: perThousand, explanation: explanation, inject: nil, isOptional: isOptional)
    }
}

extension FaultKind {
    /// The table of faults: how often, what it is, and what does it.
    var definition: FaultDefinition {
        switch self {
        case .processCrash:
            .injected(5, "a process is killed, at any write; its page cache survives", World.injectProcessCrash)
        case .powerCut:
            .injected(
                5, "a machine loses power: of what was not synced each sector is old or new", World.injectPowerCut)
        case .totalPowerCut:
            .injected(1, "all machines lose power at once", World.injectTotalPowerCut)
        case .gracefulStop:
            .injected(2, "a node is asked to stop, and is started again", World.injectGracefulStop)
        case .pause:
            .injected(4, "a process stands still, and goes on", World.injectPause)
        case .partition:
            .injected(4, "one side of the cluster against the other, both ways", World.injectPartition)
        case .partialPartition:
            .injected(3, "some pairs cannot talk to each other, both ways; others can", World.injectPartialPartition)
        case .flappingLink:
            .injected(2, "a pair is cut and whole again, many times over", World.injectFlappingLink)
        case .clockJump:
            .injected(2, "a wall clock jumps, ahead or back, up to an hour", World.injectClockJump)
        case .oneWayCut:
            .injected(4, "what one node says to another does not arrive; the other way is open", World.injectOneWayCut)
        case .connectionDrop:
            .injected(5, "a connection is reset", World.injectConnectionDrop)
        case .slowLink:
            .injected(3, "messages from one node to another take longer", World.injectSlowLink)
        case .slowDisk:
            .injected(3, "a disk takes longer, up to two seconds a sync", World.injectSlowDisk)
        case .failedSync:
            .injected(
                2, "one or two syncs fail; their pages count as clean and go with the power", World.injectFailedSync)
        case .fullDisk:
            .injected(2, "a disk has no room for new files, for a while", World.injectFullDisk)
        case .readOnlyDisk:
            .injected(1, "a disk takes no write, for a while", World.injectReadOnlyDisk)
        case .writeErrors:
            .injected(1, "writes fail half-way, for a while", World.injectWriteErrors)
        case .syncErrors:
            .injected(1, "every sync fails and loses its pages, for a while", World.injectSyncErrors)
        case .stuckDisk:
            .injected(1, "nothing asked of a disk returns, for a while", World.injectStuckDisk)
        case .clientDisconnect:
            .injected(2, "a client goes away with requests under way", World.injectClientDisconnect)
        case .transfer:
            .injected(2, "a leader is asked to hand over", World.injectTransfer)
        case .membershipChange:
            .injected(2, "a voter of a group loses its vote, or has it again", World.injectMembershipChange)
        case .wipe:
            .injected(1, "a disk is emptied while its node is down", World.injectWipe)
        case .oldCopy:
            .injected(2, "a copy of a disk is made; or put back, while its node is down", World.injectOldCopy)
        case .snapshotRot:
            .injected(3, "a snapshot's file at rest rots", World.injectSnapshotRot)
        case .stateFlip:
            .injected(
                3, "a replica's state goes wrong in memory: a bit of it, or a command too many", World.injectStateFlip)
        case .journalRot:
            .injected(3, "a segment of a journal at rest rots", World.injectJournalRot)
        case .snapshotErrors:
            FaultDefinition(
                weight: 6, explanation: "a disk takes no snapshots, for a while; all else it takes",
                inject: World.injectSnapshotErrors, isOptional: true)
        case .fileRot:
            .injected(
                3, "a small file at rest rots: identity, others' runs, incidents, seed, reserve", World.injectFileRot)
        case .readErrors:
            .injected(2, "a sector cannot be read, for a while or until it is written again", World.injectReadErrors)
        case .deathAtElection:
            .standing(150, "during a candidacy some node is killed and comes back at once")
        case .deathAtStart:
            .standing(80, "a start ends before the journal's tail is synced again")
        case .heartbeatLoss:
            .standing(20, "a heartbeat is lost")
        case .packetLoss:
            .standing(3, "a packet is lost: it and all behind it on its connection come 200 ms later or more")
        case .clockDrift:
            .standing(500, "a machine's clocks run faster or slower than the others', by up to 1 %")
        case .tornSector:
            .standing(
                1000, "the power cuts a write within a block of 4 KiB: sectors of 512 bytes are old or new, each",
                isOptional: true)
        }
    }

    /// What ends the faults that are still under way, before progress is demanded; in this order.
    static var healings: [(World) -> () -> Void] {
        [World.healPauses, World.healNetwork, World.healDisks, World.healSickDisks, World.healSnapshotErrors]
    }

    /// What it does, in half a sentence.
    package var explanation: String { self.definition.explanation }

    package var isStanding: Bool { self.definition.inject == nil }

    var place: Int { Self.places[self]! }
    private static let places = Dictionary(uniqueKeysWithValues: zip(Self.allCases, 0...))
}
