package import Catalog
package import Replication

/// Follows the faults of this node's own disk, for the ledger: one at a time, as the node itself is their only observer.
package struct DiskAccount: Sendable {
    private struct Open {
        var cause: Incident.Cause
        var account: Incident.Account
        let detectedAt: Instant
        /// Groups that this node led when the disk failed, and that nobody else is known to lead yet.
        var leaderless: [(group: GroupID, term: Term)]
        var isDirty = true
        /// The file of open incidents does not have it.
        var isUnsaved = true
    }

    private static let ages: [Nanoseconds] = [.seconds(1), .seconds(5), .seconds(30)]
    private let me: NodeID
    private let run: Run
    private var open: Open?
    private var lastEpisode: UInt64

    package init(me: NodeID, run: Run) {
        self.me = me
        self.run = run
        // Beside those of `IncidentTracker`, which begin at the run's first.
        self.lastEpisode = run << 20 | 1 << 19
    }

    /// The disk failed, or fails in another way than before: that is one fault.
    mutating func failed(
        _ fault: DiskHealth.Fault, lastGood: Instant, led: [(group: GroupID, term: Term)], now: Instant, wall: WallTime
    ) {
        guard self.open == nil else { return }
        self.lastEpisode += 1
        let cause: Incident.Cause =
            switch fault {
            case .full: .diskFull
            case .readOnly: .diskReadOnly
            case .inputOutput: .diskError
            case .stuck: .diskStuck
            }
        var account = Incident.Account(
            observer: self.me, episode: self.lastEpisode, detected: wall, window: now - min(lastGood, now))
        account.affected = led.map(\.group)
        self.open = Open(cause: cause, account: account, detectedAt: now, leaderless: led)
    }

    /// Another node leads the group in this term.
    mutating func ledElsewhere(_ group: GroupID, by leader: NodeID, term: Term, now: Instant) {
        guard let at = self.open?.leaderless.firstIndex(where: { $0.group == group && $0.term < term }) else { return }
        self.open!.leaderless.remove(at: at)
        self.open!.account.changes.append(
            Incident.GroupChange(group: group, from: self.me, to: leader, term: term))
        self.open!.account.repair = now - self.open!.detectedAt
        self.open!.isDirty = true
    }

    mutating func acknowledgedWrite(now: Instant) {
        guard let open = self.open, open.account.delay == nil else { return }
        self.open!.account.delay = now - open.detectedAt + open.account.window
        self.open!.isDirty = true
    }

    /// - Parameters:
    ///   - isWell: the disk takes writes again.
    ///   - isBack: the node is in full service: what waited is durable, it follows or leads.
    ///   - serving: nodes in full service, of `all`.
    mutating func tick(isWell: Bool, isBack: Bool, serving: Int, all: Int, now: Instant) {
        guard let open = self.open, open.account.closed == nil else { return }
        let age = now - open.detectedAt
        let sample = Incident.Sample(serving: UInt32(max(0, serving)), all: UInt32(all))
        func setSample(_ slot: Int) {
            guard self.open!.account.samples[slot] == nil else { return }
            self.open!.account.samples[slot] = sample
            self.open!.isDirty = true
        }
        for (slot, limit) in Self.ages.enumerated() where age >= limit { setSample(slot) }
        guard isWell, isBack else { return }
        // What it led and nobody took over it leads itself again.
        if open.account.repair == nil { self.open!.account.repair = age }
        guard serving == all else { return }
        self.open!.account.closed = age
        // A sample after closing repeats the closing value.
        for slot in 0..<4 { setSample(slot) }
        self.open!.isDirty = true
    }

    package var hasReport: Bool { self.open?.isDirty ?? false }

    /// What is new since the last call, for the catalog. What is over is let go.
    package mutating func takeReport() -> (incident: Incident, detectedAt: Instant)? {
        guard let open = self.open, open.isDirty else { return nil }
        self.open!.isDirty = false
        self.open!.isUnsaved = true
        if open.account.closed != nil { self.open = nil }
        return (self.incident(open), open.detectedAt)
    }

    private func incident(_ open: Open) -> Incident {
        Incident(
            kind: .data, cause: open.cause, node: self.me, run: self.run, isPlanned: false, accounts: [open.account])
    }

    var hasUnsaved: Bool { self.open?.isUnsaved ?? false }

    /// What the file of open incidents is to hold of it.
    mutating func save() -> OpenIncidents.Item? {
        guard let open = self.open else { return nil }
        self.open!.isUnsaved = false
        return OpenIncidents.Item(
            report: self.incident(open), detectedAt: open.detectedAt, ageBefore: 0, leaderless: [])
    }
}
