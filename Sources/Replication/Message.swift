/// What the replicas of a group say to each other.
public struct Message: Sendable, Equatable {
    public var group: GroupID
    public var from: MemberID
    public var to: MemberID
    /// The sender's term; for a pre-vote and the reply that grants it, the term that the candidate would stand in.
    public var term: Term
    public var body: Body

    public init(group: GroupID, from: MemberID, to: MemberID, term: Term, body: Body) {
        self.group = group
        self.from = from
        self.to = to
        self.term = term
        self.body = body
    }

    /// No term and no index reaches this: 2^62. A message that claims one is ignored, so that no peer's bytes can bring
    /// our own counting to its end.
    public static var numberLimit: UInt64 { 1 << 62 }

    public enum Body: Sendable, Equatable {
        /// Would you vote for me? Changes no term (dissertation, section 9.6).
        case preVote(Candidacy)
        case preVoteReply(granted: Bool)
        case vote(Candidacy)
        case voteReply(granted: Bool)
        case append(Append)
        case appendReply(AppendReply)
        /// Stand for election at once: your log has all of mine (dissertation, section 3.10).
        case timeoutNow
        /// A follower asks for an index from which it may answer reads, for all that wait under `ticket`.
        case readIndex(ticket: UInt64)
        /// The answer; `index` is nil where the asked one does not lead or could not confirm that it does.
        case readIndexReply(ticket: UInt64, index: LogIndex?)
        /// Asks any member for entries that the sender had and lost.
        case entriesWanted([WantedEntry])
        /// The answer, for each or for some.
        case entries([EntryAnswer])
    }

    /// No more are asked for, or answered, in one message.
    public static var maxWantedEntries: Int { 1024 }

    /// What is known of an entry that is wanted. One of which nothing is known follows the one after it, and is given only
    /// together with that.
    public struct WantedEntry: Sendable, Equatable, BitwiseCopyable {
        public var index: LogIndex
        public var term: Term?
        public var hash: Hash128?

        public init(index: LogIndex, term: Term?, hash: Hash128?) {
            self.index = index
            self.term = term
            self.hash = hash
        }
    }

    public enum EntryAnswer: Sendable, Equatable {
        case entry(Entry)
        /// The sender's log ends before, or has another entry there: it never had it, or saw it replaced. Holds from then
        /// on, for everyone in an earlier term than the message's (see `Replica.considerDiscard`).
        case absent(LogIndex)
        /// It had it, and its bytes are gone too; or it cannot tell.
        case damaged(LogIndex)
        /// It is in the sender's snapshot, and gone from its log.
        case compacted(LogIndex)
    }

    /// A candidate's log, by its last entry.
    public struct Candidacy: Sendable, Equatable, BitwiseCopyable {
        public var lastIndex: LogIndex
        public var lastTerm: Term
        /// The leader itself asked for this election, so that nobody denies it for having a leader.
        public var transfer: Bool

        public init(lastIndex: LogIndex, lastTerm: Term, transfer: Bool) {
            self.lastIndex = lastIndex
            self.lastTerm = lastTerm
            self.transfer = transfer
        }
    }

    public struct Append: Sendable, Equatable {
        public var previousIndex: LogIndex
        public var previousTerm: Term
        /// Contiguous from `previousIndex + 1`. Empty for a probe, a commit or a round alone.
        public var entries: [Entry]
        public var commit: LogIndex
        /// Highest round of the leader that asks "do you still follow me?" (read index, check-quorum); echoed.
        public var round: UInt64

        public init(previousIndex: LogIndex, previousTerm: Term, entries: [Entry], commit: LogIndex, round: UInt64) {
            self.previousIndex = previousIndex
            self.previousTerm = previousTerm
            self.entries = entries
            self.commit = commit
            self.round = round
        }
    }

    public struct AppendReply: Sendable, Equatable, BitwiseCopyable {
        public enum Outcome: Sendable, Equatable, BitwiseCopyable {
            /// The log matches the leader's up to here, and is durable.
            case matched(LogIndex)
            /// `previousIndex` does not match. The sender's log may match at or below `hint`, whose entry there has
            /// `hintTerm` (dissertation, section 5.3, and the follower's side of etcd's fast back-off).
            case rejected(previousIndex: LogIndex, hint: LogIndex, hintTerm: Term)
            /// Only the round is confirmed: nothing is said of the log. Sent at once, without waiting for the disk.
            case following
            /// Up to this index the log equals the leader's in memory, on a sick disk: go on, and count nothing.
            case received(LogIndex)
            /// Unasked: whether the sender would lead has changed. Says nothing else.
            case readiness(Readiness)
        }

        public var outcome: Outcome
        public var round: UInt64

        public init(outcome: Outcome, round: UInt64) {
            self.outcome = outcome
            self.round = round
        }
    }
}
