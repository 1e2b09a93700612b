/// A log has a limit in memory. It is there for the time in which no snapshot can be written, so that nothing can go from
/// the log (docs/decisions/0016-bounded-log.md). Whoever is at the limit says nothing of what it does not take: its leader
/// goes on with the others, and finds out where the logs meet when there is room again.
///
/// A follower takes nothing at all beyond: it learns the commit index all the same, so that it applies what it has and can
/// take a snapshot of that. A leader refuses what clients want. It still proposes what brings a snapshot (a checkpoint),
/// and what it cannot lead without (its term's first entry, a change of members); all of them are small, and rare.
///
/// The limit is twice as high for a follower that does not know its log to be committed, as after a start:
///
/// 1. All logs are full when the power goes. At the start nobody knows that they are committed, and nothing is applied.
/// 2. A leads. Its first entry would commit all before it; the others have no room for it, and nothing to make room with.
extension Replica {
    /// The log is at its limit: what is committed of it has to go first.
    public var isLogFull: Bool { self.log.memoryBytes >= self.logLimit }

    private var logLimit: Int {
        let limit = self.configuration.maxLogBytes
        guard self.log.memoryBytes >= limit else { return limit }
        return self.log.memoryBytes(after: self.commitIndex) > limit / 2 ? 2 * limit : limit
    }

    func hasRoom(for kind: EntryKind) -> Bool {
        switch kind {
        case .checkpoint, .membership, .empty: true
        case .commands, .time, .session: self.log.memoryBytes < self.configuration.maxLogBytes
        }
    }

    /// Leaves the entries away for which there is no room. Those whose places are in the log need none. O(entries).
    func cut(_ append: inout Message.Append) {
        guard let last = append.entries.last, last.index > self.log.lastIndex else { return }
        let limit = self.logLimit
        var bytes = self.log.memoryBytes
        for (at, entry) in append.entries.enumerated() where entry.index > self.log.lastIndex {
            guard bytes < limit else {
                append.entries.removeSubrange(at...)
                return
            }
            bytes += Log.memoryBytes(of: entry)
        }
    }
}
