import Formats
import NodeCore
import Replication

/// A machine and the process on it, when there is one.
final class SimulatedNode {
    enum Power {
        /// The process runs, or is paused.
        case up
        /// The machine runs, the process does not: dials are refused.
        case down
        /// Nothing answers.
        case off
    }

    struct Peer {
        var link: SimulatedConnection?
        /// The peer's, as it said when the connection was made.
        var linkRun = RunMark.none
        var linkMember: MemberID?
        var linkedAt: Nanoseconds = 0
        var outbox: [UInt8] = []
        var delay: Nanoseconds = 0
        var isDialling = false
        /// The outcome of the next dial tells whether the peer is gone.
        var isTesting = false
        /// Heartbeats under way to this node or in its socket: when each arrives, and what it says.
        var beats: [Beat] = []
        var latest: Beat?
    }

    struct Beat {
        var at: Nanoseconds
        var run: RunMark
        var coreAge: Nanoseconds
        var syncAge: Nanoseconds
    }

    let index: Int
    /// As the disk has it since the last start.
    var member: MemberID
    /// What an empty disk is formatted with.
    let founder: MemberID
    var disk: SimulatedDisk
    /// Counts starts and ends of processes: an event of an earlier life is void.
    var life = 0
    var power = Power.down
    var isPaused = false
    /// Events that wait for a paused process.
    var deferred: [World.Event] = []
    /// What the journal may hold at the next start.
    var expected = [DurableState()]
    var lastRun: Run = 0
    /// The last run whose number may be on the disk: a start may have died between the two copies of it.
    var begunRun: Run = 0

    // The clocks: what is added to the simulated time.
    var bootOffset: Nanoseconds = 0
    var wallOffset: Nanoseconds = 0
    /// How much faster its clocks run, in parts of a million.
    var drift: Int64 = 0

    // The process.
    var core: NodeCore?
    var run = RunMark.none
    var identity: NodeIdentity
    var journal: SimulatedJournal?
    var snapshots: SimulatedSnapshots?
    var peers: [Peer] = []
    var isTurnScheduled = false
    var hasBegun = false
    var wakeAt: Instant?
    var lastTurn: Nanoseconds = 0
    var isSnapshotBusy = false
    var isStopping = false
    /// The core has found that it has to begin anew, after this run; on another disk, where it is lost.
    var beginsAnew: (after: Run, isLost: Bool)?
    /// Up to this index of each group commits were checked in this life.
    var checkedCommit: [LogIndex] = [0, 0]
    var wasLeader = [false, false]
    var checkedApplied: [LogIndex] = [0, 0]

    // Faults under way.
    /// An earlier image of the disk, and what its journal may hold.
    var image: DiskImage?
    /// The disk was wiped or put back: under whose name it must not go on. Nil once another disk is a voter in its place.
    var lostMember: MemberID?
    var isDamaged: Bool { self.lostMember != nil }
    /// All incidents that its disk has held in the file of them: none of them may be missing in the end.
    var notedIncidents: [UInt64: OpenIncidents.Word] = [:]
    /// What the file of them held after the last write of it.
    var lastIncidents: [OpenIncidents.Word] = []
    /// Groups whose state here went wrong, as nobody has found out yet or set right.
    var wrongStates: [GroupID: WrongState] = [:]
    /// Snapshots of such a state that came to count, as nobody said what it is to be: the next start reads them back.
    var wrongFiles: [GroupID: WrongFile] = [:]
    /// Its journal has been hit by rot, and may still be damaged.
    var hasJournalRot = false
    /// Blocks of its journal that are what rot made of them, until they are written again. They may lie where nothing
    /// reads them yet.
    var rottenBlocks: [RottenBlock] = []
    /// Snapshots that the journal may name and whose files are gone: older marks name them again, since rot took the newest
    /// mark; or they were put aside, as a majority has another state there.
    var goneSnapshots: [GroupID: LogIndex] = [:]
    /// Its journal was hit by one bad sector alone, since its journal was last without damage.
    var wasHitBySingleRot = false
    /// Small files that are what rot made of them, until they are written again.
    var rottenFiles: [RottenFile] = []
    /// It has forgotten others' runs by rot, and has not heard of them again.
    var hasForgottenRuns = false
    var diskExtra: Nanoseconds = 0
    /// Counts the disk's sicknesses: the end of an earlier one ends no later one.
    var sicknesses = 0
    var isRetryArmed = false
    var lastJournalEvent: Nanoseconds = 0

    init(index: Int, cluster: ClusterID, member: MemberID, disk: SimulatedDisk) {
        self.index = index
        self.member = member
        self.founder = member
        self.identity = NodeIdentity(
            cluster: cluster, node: member.node, incarnation: member.incarnation, run: 0)
        self.disk = disk
    }

    var number: UInt32 { self.member.node.rawValue }
    var isRunning: Bool { self.power == .up }

    func instant(at time: Nanoseconds) -> Instant { Instant(nanoseconds: self.elapsed(time) + self.bootOffset) }
    func wall(at time: Nanoseconds) -> WallTime { WallTime(nanoseconds: self.elapsed(time) + self.wallOffset) }

    /// The time since the run began, as this machine counts it.
    private func elapsed(_ time: Nanoseconds) -> Nanoseconds {
        Nanoseconds(Int64(time) + Int64(time / 1000) * self.drift / 1000)
    }
}
