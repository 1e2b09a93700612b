/// Mistakes made on purpose, to see that the checks find them. Each breaks a promise that the core rests on. They exist in
/// the simulated shell alone: no real node can be told to make them.
package enum PlantedBug: String, Sendable, CaseIterable {
    case completesBeforeSync = "completes-before-sync"
    case losesHardState = "loses-hard-state"
    case repliesTwice = "replies-twice"
    case ignoresSync = "ignores-sync"
    case repeatsRun = "repeats-run"
    case readsLocally = "reads-locally"
    case retriesFailedSync = "retries-failed-sync"
    case acknowledgesFailedBatch = "acknowledges-failed-batch"
    case neverResends = "never-resends"
    case emptyDiskVotes = "empty-disk-votes"
    case forgetsIncidents = "forgets-incidents"
    case takesTheLeadersWord = "takes-the-leaders-word"
    case cutsAtBadChecksum = "cuts-at-bad-checksum"
    case deniesHoles = "denies-holes"
    case keepsAllOfTheLog = "keeps-all-of-the-log"
    case needsBothCopies = "needs-both-copies"
    case blindScrubber = "blind-scrubber"
    case breaksInvariant = "breaks-invariant"

    package var explanation: String {
        switch self {
        case .completesBeforeSync: "The core is told that records are durable when they have only been submitted."
        case .losesHardState: "Terms and votes are not written: after a restart a node may vote twice in a term."
        case .repliesTwice: "A client gets each of its replies twice."
        case .ignoresSync: "A sync reports success and makes nothing durable."
        case .repeatsRun: "A restarted node goes on under the number of the run before."
        case .readsLocally: "Reads are answered from what is applied here, without asking anyone."
        case .retriesFailedSync: "A sync that failed is asked for again, and its success believed."
        case .acknowledgesFailedBatch: "A batch that the disk refused counts as durable."
        case .neverResends: "What waited for a link that was cut never arrives, also when the link is whole again."
        case .emptyDiskVotes: "An empty disk goes on under its old name: what the others know of it is not heard."
        case .forgetsIncidents: "What a node had written down of open incidents is not given to its next run."
        case .takesTheLeadersWord:
            "The leader's state is taken for what a majority has: its snapshots are lent whoever differs."
        case .cutsAtBadChecksum: "A log is cut at the first entry in the journal that does not check."
        case .deniesHoles:
            "A replica with a hole in its log votes and stands as if it had never had more than what is before it."
        case .keepsAllOfTheLog: "The core is not told of the limit of the log in memory."
        case .needsBothCopies: "A disk counts as lost where one of the two copies of its identity cannot be read."
        case .blindScrubber: "The scrubber reads everything and sees nothing: what rots stays so until it is needed."
        case .breaksInvariant: "After a restart an invariant of the code itself breaks: the process dies of it."
        }
    }

    /// The faults under which it shows: those of a run that names none.
    package var faults: FaultModel {
        switch self {
        case .losesHardState: .elections
        case .emptyDiskVotes: .wipes
        case .takesTheLeadersWord: .states
        case .cutsAtBadChecksum, .needsBothCopies, .blindScrubber: .rot
        case .deniesHoles: .anyFile
        case .keepsAllOfTheLog: .fullLogs
        default: FaultModel()
        }
    }
}
