import DequeModule

/// What a leader knows of one peer's log.
struct Progress {
    enum State: Equatable {
        /// Where the logs meet is not known: one append at a time.
        case probe
        /// Appends follow each other without waiting.
        case replicate
        /// The peer's next entry is gone from our log: nothing is sent until a snapshot has arrived.
        case snapshot
    }

    let member: MemberID
    var state = State.probe
    /// Highest index known to be durable there and equal.
    var match: LogIndex = 0
    /// Highest index that it said to have received, in memory alone or beyond a hole.
    var received: LogIndex = 0
    var next: LogIndex
    var isConnected: Bool
    /// As it said in this term, over this connection.
    var readiness = Readiness.ready
    /// The probe under way has no answer yet.
    var isProbing = false
    /// Highest round it confirmed, and that it was sent.
    var round: UInt64 = 0
    var roundSent: UInt64 = 0
    /// Highest commit index that it was sent and could take.
    var commitSent: LogIndex = 0
    /// Last indexes and bytes of the appends under way, oldest first.
    var inflight: Deque<(last: LogIndex, bytes: Int)> = []
    var inflightBytes = 0
    /// The last sign of movement, or when the first append under way left.
    var lastProgress = Instant(nanoseconds: 0)

    init(member: MemberID, next: LogIndex, isConnected: Bool) {
        self.member = member
        self.next = next
        self.isConnected = isConnected
    }

    var awaitsSnapshot: Bool { self.state == .snapshot }

    mutating func probe(from next: LogIndex) {
        self.state = .probe
        self.next = max(next, self.match + 1)
        self.isProbing = false
        self.inflight.removeAll(keepingCapacity: true)
        self.inflightBytes = 0
    }

    mutating func sent(through last: LogIndex, bytes: Int, now: Instant) {
        if self.inflight.isEmpty { self.lastProgress = now }
        self.inflight.append((last, bytes))
        self.inflightBytes += bytes
    }

    mutating func acknowledged(through index: LogIndex) {
        while let first = self.inflight.first, first.last <= index {
            self.inflightBytes -= first.bytes
            self.inflight.removeFirst()
        }
    }
}
