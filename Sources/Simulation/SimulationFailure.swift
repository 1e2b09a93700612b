package import Replication

/// What must hold in every run.
package enum SimulationInvariant: String, Sendable, CaseIterable {
    /// At most one leader a term and group.
    case oneLeaderATerm
    /// A new leader has every entry that was committed in an earlier term.
    case leaderCompleteness
    /// An entry once committed on a node stands at its index for ever, on every node.
    case committedEntriesStay
    /// Logs that have an entry of one index and term have the same entry there, and the same before it.
    case logMatching
    /// A log in memory keeps within its limit.
    case logBounded
    /// No replica finds its log contradicted by a leader's.
    case noDivergence
    /// Equal applied indexes, equal states.
    case equalStates
    /// After a start a journal has all that was durable, and nothing that was not written.
    case durableStateSurvives
    /// A journal reports no damage where none was done.
    case journalReadable
    /// A snapshot that the journal names can be read.
    case snapshotReadable
    /// No run of a node is forgotten by its disk.
    case runsGrow
    /// A connection gets one reply a request, in the order asked, of the form that belongs to the command.
    case repliesInOrder
    /// A command takes effect at most once.
    case exactlyOnce
    /// What was acknowledged is there in the end.
    case noAcknowledgedWriteLost
    /// What was refused never takes effect.
    case refusedNeverApplied
    /// Every read and write of a key takes effect at one instant between its request and its reply.
    case linearizability
    /// Requests of one connection take effect in the order sent.
    case sessionOrder
    /// The checker of linearizability came to a verdict within its steps. Where it did not, no promise is known to be
    /// broken.
    case historyUndecided
    /// Once healed, every group has a leader, every node serves, and states become equal, within a bound.
    case liveness
    /// What rotted while its node ran is found and put right.
    case nothingRotten
    /// Every request has an answer within its time.
    case requestsAnswered
    /// The ledger of incidents is the same on all nodes.
    case equalLedgers
    /// Messages between nodes survive their own encoding.
    case wireRoundTrip
    /// The run comes to an end.
    case terminates
}

/// A run in which something did not hold. Running the same options again ends at the same event.
package struct SimulationFailure: Error, Sendable, CustomStringConvertible {
    /// The run in one word: `SimulationOptions(token:)` runs it again.
    package var token: String
    package var seed: UInt64
    /// Simulated time since the run began.
    package var time: Nanoseconds
    /// Number of the event, from 1.
    package var step: Int
    package var invariant: SimulationInvariant
    package var detail: String
    /// What happened to nodes, roles and links, and the faults, oldest first.
    package var story: [TraceEvent]
    /// Every event just before it, oldest first.
    package var trace: [TraceEvent]

    package var description: String {
        "seed \(self.token), \(self.time / 1_000_000) ms, step \(self.step): \(self.invariant.rawValue): "
            + "\(self.detail)\n\(self.account)"
    }

    /// The story up to the last events, and those in full.
    package var account: String { TraceEvent.account(story: self.story, tail: self.trace) }
}

/// What a check found, before the world adds where and when.
package struct Violation: Error {
    package var invariant: SimulationInvariant
    package var detail: String

    init(_ invariant: SimulationInvariant, _ detail: String) {
        self.invariant = invariant
        self.detail = detail
    }
}

/// What a run that held came to.
package struct SimulationReport: Sendable {
    package var seed: UInt64
    /// Of every event of the run.
    package var traceHash: UInt64
    package var events: Int
    /// Simulated time.
    package var duration: Nanoseconds
    package var operations: Int
    package var acknowledged: Int
    /// Operations whose outcome stayed open to their client.
    package var open: Int
    package var refused: Int
    package var faults: Int
    /// Changes of leader seen, over all groups.
    package var leaders: Int
    package var restarts: Int
    package var snapshotsInstalled: Int
    package var checkpoints: Int
    package var incidents: Int
    /// Times that a disk became sick, and that hard states were written to a full one.
    package var sickDisks: Int
    package var promises: Int
    /// Disks found to be lost, and memberships that brought a node back as a voter of a group.
    package var disksLost: Int
    package var promotions: Int
    package var votingChanges: Int
    /// Files of snapshots that were damaged, rebuilt, and groups that have had a bad one and are well again.
    package var journalsRotten: Int
    package var filesRotten: Int
    package var readErrors: Int
    package var holesFound: Int
    package var snapshotsRotten: Int
    package var snapshotsRebuilt: Int
    package var statesHealed: Int
    /// States that went wrong in memory, states found to be wrong or in doubt, and snapshots that counted without a
    /// majority's word.
    package var statesFlipped: Int
    package var statesDiverged: Int
    package var snapshotsUnconfirmed: Int
    /// Times that a log came near its limit.
    package var logsClosed: Int
    /// From the healing to full service with equal states.
    package var recovery: Nanoseconds
}
