package import Formats
package import Replication

/// What the core wants done. The shell owns one, empties it after each turn and lends it again.
package struct NodeEffects: ~Copyable {
    /// To be sent in this order.
    package var messages: [(to: NodeID, message: PeerMessage)] = []
    /// To be written as one batch or as part of one; completed by `NodeCore.journalCompleted(journalTicket)`.
    package var records: [JournalRecord] = []
    /// Ticket of `records`; 0 where there are none.
    package var journalTicket: UInt64 = 0
    /// `records`, of which there may be none then, begin a segment.
    package var beginsSegment = false
    /// All replies of the turn, one after the other.
    package var replyBytes: [UInt8] = []
    package var replies: [Reply] = []
    package var snapshots: [SnapshotAction] = []
    /// The journal durably names a newer snapshot of the group: files of older ones may go, and not before.
    ///
    /// 1. The journal names the snapshot at 50. The one at 100 is finished; its mark waits behind a slow sync.
    /// 2. The one at 150 is finished too. Were all but the newest two files removed now, 50 would be gone.
    /// 3. The power goes before the marks are durable: the journal names 50, and nobody can read it.
    ///
    /// `keeping`: they are on their way to peers.
    package var obsoleteSnapshots: [(group: GroupID, below: LogIndex, keeping: [LogIndex])] = []
    /// To take the place of the file `peer.runs`; answered by `NodeCore.peerRunsDurable(version)`, or `peerRunsFailed`.
    package var peerRuns: (bytes: [UInt8], version: UInt64)?
    /// Small files to be written anew from what the shell has in memory: each answered by `NodeCore.fileRewritten`.
    package var rewrites: [NodeFile] = []
    /// To take the place of the file of open incidents; answered by `NodeCore.openIncidentsDurable(number)`, or
    /// `openIncidentsFailed`. Nothing waits for it but the ledger.
    package var openIncidents: (bytes: [UInt8], number: UInt64)?
    package var events: [NodeEvent] = []
    /// There is more to do: run another turn at once.
    package var wantsTurn = false

    package init() {}

    package mutating func removeAll() {
        self.messages.removeAll(keepingCapacity: true)
        self.records.removeAll(keepingCapacity: true)
        self.journalTicket = 0
        self.beginsSegment = false
        self.rewrites.removeAll(keepingCapacity: true)
        self.replyBytes.removeAll(keepingCapacity: true)
        self.replies.removeAll(keepingCapacity: true)
        self.snapshots.removeAll(keepingCapacity: true)
        self.obsoleteSnapshots.removeAll(keepingCapacity: true)
        self.peerRuns = nil
        self.openIncidents = nil
        self.events.removeAll(keepingCapacity: true)
        self.wantsTurn = false
    }
}

/// One client's reply: a range of `NodeEffects.replyBytes`.
package struct Reply: Sendable, BitwiseCopyable {
    package var client: ClientID
    package var offset: Int
    package var count: Int
}

/// Work on snapshot files. Each is answered by the input of `NodeCore` that its comment names.
package enum SnapshotAction: Sendable {
    /// A file begins; blocks follow, then `finish`.
    case begin(GroupID, SnapshotMark)
    /// Answered by `snapshotBlockWritten`.
    case block(GroupID, [UInt8])
    /// Make it durable and the newest: answered by `snapshotDurable` or `snapshotFailed`.
    case finish(GroupID)
    /// What was begun is not wanted.
    case abandon(GroupID)
    /// Read a stretch of a finished file for a peer: answered by `snapshotRead`.
    case read(GroupID, index: LogIndex, offset: UInt64, to: MemberID)
    /// Append a received stretch to a file that is not yet whole: answered by `snapshotStaged`.
    case stage(SnapshotPiece, from: MemberID)
    /// Read all blocks of the finished file of this very snapshot: each answered by `snapshotLoaded`; `snapshotUnreadable`
    /// where it is bad. Both say the number again: a load that was given up may still be under way when the next begins.
    case load(GroupID, SnapshotMark, number: UInt64)
    /// Rebuild the file of this snapshot: answered by `snapshotRepairNeeds` for each frame that is bad, in the end by
    /// `snapshotRepaired` or `snapshotRepairFailed`.
    case repair(GroupID, SnapshotMark, usesOld: Bool)
    /// A peer's bytes for that: answered in the same way.
    case lent(GroupID, index: LogIndex, offset: UInt64, [UInt8])
    /// The rebuilding is not wanted any more.
    case abandonRepair(GroupID)
    /// Take a finished file out of use and keep it: its state is not what a majority has. No answer.
    case setAside(GroupID, index: LogIndex)
    /// Remove a finished file: it never came to count, and a newer one may. No answer.
    case drop(GroupID, index: LogIndex)
    /// Read bytes of a finished file for a peer that rebuilds its own: answered by `snapshotLent`.
    case lend(GroupID, index: LogIndex, offset: UInt64, to: MemberID)
}

/// What the shell writes to its log.
package enum NodeEvent: Sendable {
    case roleChanged(GroupID, Role, Term, leader: NodeID?)
    case suspected(NodeID, SuspicionCause)
    case trusted(NodeID)
    case checkpointBegun(GroupID, LogIndex)
    case checkpointDone(GroupID, LogIndex)
    case snapshotSent(GroupID, LogIndex, to: NodeID)
    case snapshotInstalled(GroupID, LogIndex)
    /// This disk is empty, or an older copy: a peer remembers a later run of it, or another disk in its place. The node
    /// ends, and begins anew with another incarnation and a run after the latest that is known of it.
    case diskLost(seenBy: NodeID, after: Run)
    /// A node that has promised nothing yet has a number of its run that was its former disk's: it begins anew after it.
    case runBehind(Run)
    /// After a while still not enough others have been heard from. `isNewborn`: all are waited for.
    case unproven(missing: [NodeID], isNewborn: Bool)
    /// A disk came back in whose place another has come: nothing that it says counts.
    case retiredPeer(MemberID)
    case learnerAdded(GroupID, MemberID)
    case promoted(GroupID, MemberID, old: MemberID)
    /// A member is to vote from now on, or to follow without a vote.
    case votingChanged(GroupID, MemberID, votes: Bool)
    case sessionRefused(GroupID, NodeID, Run)
    case sequenceGap(GroupID, expected: UInt64, found: UInt64)
    case handedOver(GroupID)
    case diverged(GroupID, LogIndex, NodeID)
    /// Our own disk.
    case diskFailed(DiskHealth.Fault)
    case diskRecovered
    /// A snapshot file of this node is bad.
    case snapshotDamaged(GroupID, LogIndex, String)
    /// It was rebuilt: so many bytes came from peers.
    case snapshotRepaired(GroupID, LogIndex, bytes: Int)
    /// Nobody within reach has that snapshot or another to take its place: the group stays without a state.
    case snapshotLost(GroupID, LogIndex)
    /// A small file is bad, and is written anew.
    case fileDamaged(NodeFile, String)
    /// A place of the journal is bad. All that stood there is in memory.
    case journalDamaged(file: UInt32, block: Int, String)
    /// All that a bad segment held is durable elsewhere.
    case journalRepaired(file: UInt32, bytes: Int)
    /// The group has a good state and a good snapshot again.
    case healed(GroupID)
    /// Entries of the log are missing.
    case holesFound(GroupID, HoleSpan)
    /// So many came from peers, with so many bytes.
    case holesFilled(GroupID, count: Int, bytes: Int)
    /// Nobody within reach has these. The group goes no further than the first.
    case holesUnrecoverable(GroupID, HoleSpan)
    /// This node leads, nobody within reach has these, and it lets others lead who can.
    case recoveryGivenUp(GroupID, HoleSpan)
    /// Entries that nobody can have acknowledged are gone from this leader's log.
    case entriesDiscarded(GroupID, first: LogIndex, last: LogIndex)
    /// The log is whole, and durable.
    case logWhole(GroupID)
    /// The state at a checkpoint is not what a majority has, or no majority is known: it is made anew.
    case stateDiverged(GroupID, LogIndex)
    /// It is as a majority has it, or was shown to be right.
    case divergenceEnded(GroupID, LogIndex)
    /// Replicas differ, no majority says which is right, and applying the log again did not tell.
    case divergenceStuck(GroupID, LogIndex)
    /// The log comes near its limit, as no snapshot can be written or none is confirmed: writes are refused. Or no more.
    case logClosed(GroupID, bytes: Int)
    case logOpened(GroupID, bytes: Int)
    /// A snapshot counts without a majority's word, as the log cannot wait longer.
    case snapshotUnconfirmed(GroupID, LogIndex)
}

package enum SuspicionCause: UInt8, Sendable {
    /// The connection ended and the re-dial was refused.
    case refused = 1
    /// No heartbeat within the link's timeout.
    case silent = 2
    /// A later run of the node answers: the one before is gone.
    case restarted = 3
}
