package import Cache
package import Catalog
import DequeModule
import Formats
package import Replication

/// What a group's log drives.
enum StateMachine {
    case cache(CacheMachine)
    case catalog(CatalogMachine)
}

/// One node's member of a group: its replica, its state, and what waits on either.
final class Group {
    let id: GroupID
    var replica: Replica
    /// What the replica wants done, gathered over a turn.
    var effects = Effects()
    var machine: StateMachine { didSet { self.stateVersion += 1 } }
    /// Counts the states that took the place of one before.
    private(set) var stateVersion: UInt64 = 0
    var sessions = SessionTable()
    var appliedIndex: LogIndex = 0
    var appliedTime = WallTime(nanoseconds: 0)
    /// Some of the commands of the entry after `appliedIndex` are applied, or part of one: nobody looks at the state.
    var isMidEntry = false

    /// This node's own commands.
    var origin: OriginStream
    /// Blocks of all origins to go into the next entry, while this node leads.
    var queue: Deque<OriginBlock> = []
    var queuedBytes = 0
    /// Runs that asked for their session while this node leads.
    var sessionsAsked: [(NodeID, Run)] = []
    var reads = ReadQueue()

    /// (leader, term) that the stream's blocks were last sent to.
    var servedBy: (leader: NodeID, term: Term)?
    /// Role and leader as last told to the shell.
    var announced: (role: Role, term: Term, leader: NodeID?)?
    /// Last index that this leader proposed and whose own write is not yet durable.
    var proposedIndex: LogIndex = 0
    var persistedIndex: LogIndex = 0
    var wantsTime = false
    var lastTimeIndex: LogIndex = 0
    /// The last entry with a client's or a run's doing in it, to know whether a checkpoint has anything new.
    var lastEffectiveIndex: LogIndex = 0
    var checkpoint = Checkpoint()
    var bound = LogBound()
    /// Of the newest snapshot that the journal durably names; 0: none.
    var namedIndex: LogIndex = 0
    var incoming: IncomingSnapshot?
    /// Its snapshot file is bad, and something is done about it.
    var healing: SnapshotHealing?
    /// Entries of its log are missing, and something is done about it.
    var holes: HoleRepair?
    /// What is known of the states at the last checkpoints, here and elsewhere.
    var digests = DigestTable()
    /// Its state differs from the others'.
    var divergence: Divergence?
    /// When this replica last said what its state is at checkpoints that nobody confirmed.
    var toldDigestsAt = Instant(nanoseconds: 0)
    /// Checkpoints up to here are not judged any more.
    var settledIndex: LogIndex = 0
    /// How often the state was made anew since a checkpoint was confirmed.
    var rebuilds = 0
    /// When the state was last as a majority has it: the beginning of the last checkpoint that was confirmed.
    var confirmedAt = Instant(nanoseconds: 0)
    var outgoing: [OutgoingSnapshot] = []
    /// Files of snapshots before this one are obsolete; and those of them that are kept for peers that are being sent them.
    var obsoleteBelow: LogIndex = 0
    var keptSnapshots: [LogIndex] = []
    /// Peers that need a snapshot while there is none to send, and when to look again; the soonest first.
    var withheld: [(member: MemberID, until: Instant)] = []
    /// Suspicions told to the replica and not yet taken back: the run that was suspected, and the group's term then.
    var suspected: [(node: NodeID, run: Run, term: Term)] = []

    /// Those that committed memberships named and that are not retired; and the last one that was looked at.
    var namedMembers: Set<MemberID> = []
    var checkedMembership: Membership?

    init(id: GroupID, replica: consuming Replica, machine: StateMachine, origin: OriginStream) {
        self.id = id
        self.replica = replica
        self.machine = machine
        self.origin = origin
    }

    var isLeader: Bool { self.replica.role == .leader }
    /// There is an applied state to serve from: none is being read back, none is lost, and it is in no doubt.
    var hasState: Bool {
        self.incoming?.machine == nil && !(self.healing?.lacksState ?? false) && self.divergence == nil
    }
    /// How far the log may be applied; nil: not at all. A state that is made anew is not served from, so it goes no
    /// further than the checkpoint that tells whether it is right: what follows has replies that clients wait for.
    var applyLimit: LogIndex? {
        guard self.incoming?.machine == nil, !(self.healing?.lacksState ?? false) else { return nil }
        guard let divergence = self.divergence else { return .max }
        return divergence.stage == .replaying ? divergence.index : nil
    }
    /// A state, and a log without holes.
    var isSound: Bool { self.hasState && self.replica.isWhole }
}

struct PendingSnapshot {
    var mark: SnapshotMark
    var size: Int
    /// When the checkpoint began.
    var began: Instant
}

/// Snapshots of a group's state: the one being taken, and the newest that is durable.
struct Checkpoint {
    /// Being serialised or written.
    var running: SnapshotMark?
    var isSerialised = false
    /// At no checkpoint of the log: nobody else has one there, to say that it is right.
    var isForced = false
    var blocksInFlight = 0
    /// Durable here, oldest first, and not yet known to be what a majority has: they do not count so far.
    var pending: [PendingSnapshot] = []
    /// When the checkpoint of the first of them began, or of those before it that are gone.
    var waitsSince = Instant(nanoseconds: 0)
    /// The newest that counts: the journal names it.
    var durable: SnapshotMark? { didSet { self.durableVersion += 1 } }
    /// Of `durable`, and of what the log has made of it since. Before the first snapshot the state is made of nothing else.
    var standing = SnapshotStanding.confirmed
    /// Counts changes of `durable`.
    private(set) var durableVersion: UInt64 = 0
    /// Bytes of `running` so far, and of `durable`.
    var runningSize = 0
    var durableSize = 0
    /// Bytes of log applied since the last checkpoint entry, about as they lie in memory.
    var bytesSince = 0
    /// `NodeCore.journalBytes` then.
    var journalBytes = 0
    /// A follower asked the leader for one.
    var askedAt: Instant?
    var lastAt = Instant(nanoseconds: 0)
    var lastIndex: LogIndex = 0
    /// The leader has proposed one that is not applied yet.
    var isProposed = false
    /// Somebody needs one now: a peer that could not read the newest file, or whose journal is long.
    var isWanted = false
}

/// A snapshot on its way from the leader.
struct IncomingSnapshot {
    var mark: SnapshotMark
    var from: MemberID
    var term: Term
    var nextOffset: UInt64 = 0
    var size: UInt64
    /// A stretch is with the disk.
    var isStaging = false
    /// All bytes are here; the state is being read into `machine`.
    var machine: StateMachine?
    /// Tells this reading from another one, even of the same file.
    var loadNumber: UInt64 = 0
    var sessions: SessionTable?
    /// Of them, as far as they are read.
    var sessionBytes: [UInt8] = []
    /// Of blocks read into them.
    var loadedBytes = 0
    var lastHeard: Instant
    /// Where the state comes from, as its sender knows it.
    var standing: SnapshotStanding
}

/// A snapshot on its way to a peer.
struct OutgoingSnapshot {
    var to: MemberID
    var mark: SnapshotMark
    var standing: SnapshotStanding
    var lastProgress: Instant
    /// When a stretch was last read for it.
    var sentAt: Instant
    /// Where that begins.
    var offset: UInt64 = 0
    /// The peer found what it had received damaged.
    var wasDamaged = false
    /// Asked for to cover holes of the peer's log: sent by whoever has it, in the name of no leader.
    var isLent = false
}
