package import Formats
package import Replication

/// What a node's core needs to know of itself before its first event. Immutable for the life of a run.
package struct NodeConfiguration: Sendable {
    package var cluster: ClusterID
    package var me: MemberID
    package var run: Run { self.history.last.run }
    /// The starts of this disk; the last is this one.
    package var history: RunHistory
    /// The members of every group at the cluster's birth; where a group's log or snapshot says otherwise, that counts.
    package var founders: [MemberID]
    /// What the file of that name held; not complete where there was none, or it could not be read.
    package var peerRuns = PeerRuns()
    /// What the file of open incidents held; empty where there was none, or it could not be read.
    package var openIncidents = OpenIncidents()
    /// Names the time since the machine started, as long as its clock goes on; 0: not known.
    package var boot: UInt64 = 0
    /// The wall clock at the start.
    package var wall = WallTime(nanoseconds: 0)
    /// Seeds every random choice of the core (election timeouts).
    package var seed: UInt64
    /// How long a client's request is held before it is answered with an error.
    package var requestTimeout: Nanoseconds = .seconds(5)
    /// Bytes of log, in memory or in the journal, after which the leader proposes a checkpoint; more where the state is
    /// large.
    package var checkpointBytes = 64 << 20
    /// Bytes of log in memory, of the cache's group, beyond which no entry is taken in.
    package var maxLogBytes = 1 << 30
    /// The same of the system group, whose entries are few.
    package var maxSystemLogBytes: Int { min(self.maxLogBytes, 64 << 20) }
    /// What the journal holds at the start.
    package var journalBytes = 0
    /// Time after which it does, where there is anything new.
    package var checkpointInterval: Nanoseconds = .seconds(60)
    /// Bytes of state past which growing writes are refused.
    package var maxMemory = Int.max
    /// Commands and bytes of this node's stream that may wait for their outcome.
    package var maxOutstandingCommands = 131_072
    package var maxOutstandingBytes = 64 << 20
    /// Bytes of a command that enters the log. At worst it has an entry, and a frame between nodes, to itself: a frame has to
    /// hold it, and a segment of the usual size too.
    package var maxCommandBytes = 14 << 20
    /// Reads that may wait for an index.
    package var maxWaitingReads = 131_072
    /// Work of the state machine (`Cache.Work`: about a nanosecond each) in one turn, but for the step that exceeds it.
    /// Much less than from one tick to the next: a loop whose turns take as long never looks at its sockets.
    package var maxTurnWork = 2 << 20
    /// Blocks of a snapshot handed to the disk and not yet written.
    package var maxSnapshotBlocksInFlight = 8
    /// Serialised in one turn: half a millisecond, which others wait for.
    package var snapshotBlockBytes = 64 << 10
    package var cacheShards = 4096

    /// So often states are compared also where nothing is written: memory rots all the same.
    package var comparisonInterval: Nanoseconds = .seconds(3600)

    package init(cluster: ClusterID, me: MemberID, history: RunHistory, founders: [MemberID], seed: UInt64) {
        self.cluster = cluster
        self.me = me
        self.history = history
        self.founders = founders
        self.seed = seed
    }
}

/// Names a client's connection for as long as the process lives. 0 is the node itself.
package typealias ClientID = UInt64

package enum RequestKind: UInt8, Sendable {
    /// Changes nothing; answered from an applied state no older than the request.
    case read = 1
    /// Enters the log.
    case write = 2
    /// Answered when other nodes hold the client's earlier writes (WAIT). Nothing of the client goes on meanwhile.
    case wait = 3
}

/// What became of a request at the door.
package enum Admission: Sendable {
    case accepted
    /// The window is full: nothing was taken.
    case busy
    /// The log is near its limit, as no snapshot can be written: nothing was taken.
    case logFull
    /// Past `maxMemory`, and the command may grow the state: nothing was taken.
    case outOfMemory
    /// It is larger than `maxCommandBytes`: nothing was taken.
    case tooLarge
    /// The group's replicas differ, and nobody can tell which is right: nothing was taken.
    case diverged
}
