package import Catalog
package import Replication

/// Follows the faults that this node sees, and says when there is something new to report. Each is timed by this node's
/// own monotonic clock, with one wall-clock anchor.
package struct IncidentTracker {
    private struct Open {
        let kind: Incident.Kind
        let node: NodeID
        let run: Run
        let cause: Incident.Cause
        let isPlanned: Bool
        var account: Incident.Account
        let detectedAt: Instant
        /// Groups that the node led when it was suspected, and that nobody is known to lead in a later term.
        var leaderless: [(group: GroupID, term: Term)]
        var isDirty = true

        var report: Incident {
            Incident(
                kind: self.kind, cause: self.cause, node: self.node, run: self.run, isPlanned: self.isPlanned,
                accounts: [self.account])
        }
    }

    /// Incidents followed at once; the oldest is let go beyond that.
    private static let maxOpen = 64
    private static let ages: [Nanoseconds] = [.seconds(1), .seconds(5), .seconds(30)]
    private let me: NodeID
    private var open: [Open] = []
    private var lastEpisode: UInt64

    package init(me: NodeID, run: Run) {
        self.me = me
        // A run has room for a million; a later run's are beyond them all.
        self.lastEpisode = run << 20
    }

    /// A peer is held for lost. `led`: the groups it leads, as far as known, with their terms.
    package mutating func suspected(
        _ node: NodeID, run: Run, cause: Incident.Cause, lastGood: Instant, led: [(group: GroupID, term: Term)],
        now: Instant, wall: WallTime
    ) {
        guard
            !self.open.contains(where: {
                $0.kind == .node && $0.node == node && $0.run == run && $0.cause != .diskLost
            })
        else { return }
        let window = lastGood.nanoseconds == 0 ? 0 : now - lastGood
        self.add(node, run: run, cause, isPlanned: false, window: window, led: led, now: now, wall: wall)
    }

    /// A node came back with an empty disk, or an old one. `run`: the last that the disk before was known with.
    package mutating func diskLost(_ node: NodeID, run: Run, lastGood: Instant, now: Instant, wall: WallTime) {
        guard !self.open.contains(where: { $0.node == node && $0.cause == .diskLost }) else { return }
        let window = lastGood.nanoseconds == 0 || lastGood > now ? 0 : now - lastGood
        self.add(node, run: run, .diskLost, isPlanned: false, window: window, led: [], now: now, wall: wall)
    }

    /// This node is about to stop, and hands over the groups it leads.
    package mutating func plannedStop(run: Run, led: [(group: GroupID, term: Term)], now: Instant, wall: WallTime) {
        self.add(self.me, run: run, .stopped, isPlanned: true, window: 0, led: led, now: now, wall: wall)
    }

    // MARK: Data

    /// Something that this node has at rest is bad, or its state is. One fault until it is repaired, whatever is found
    /// besides. `window`: for how long it may have been so; 0 where that is not known.
    package mutating func damaged(
        _ cause: Incident.Cause, run: Run, window: Nanoseconds, now: Instant, wall: WallTime
    ) {
        guard self.ownDamage(cause) == nil else { return }
        self.add(
            self.me, run: run, cause, kind: .data, isPlanned: false, window: window, led: [], now: now, wall: wall)
    }

    /// Some of it was put right.
    package mutating func repaired(_ cause: Incident.Cause, bytes: Int, action: String) {
        guard let at = self.ownDamage(cause) else { return }
        self.open[at].account.bytesRepaired += UInt64(bytes)
        self.open[at].account.note(action: action)
        self.open[at].isDirty = true
    }

    /// Nothing of this cause is left.
    package mutating func repairedAll(_ cause: Incident.Cause, now: Instant) {
        guard let at = self.ownDamage(cause) else { return }
        self.open[at].account.repair = now - self.open[at].detectedAt
        self.open[at].isDirty = true
    }

    private func ownDamage(_ cause: Incident.Cause) -> Int? {
        self.open.firstIndex {
            $0.kind == .data && $0.node == self.me && $0.cause == cause && $0.account.repair == nil
        }
    }

    private mutating func add(
        _ node: NodeID, run: Run, _ cause: Incident.Cause, kind: Incident.Kind = .node, isPlanned: Bool,
        window: Nanoseconds,
        led: [(group: GroupID, term: Term)], now: Instant, wall: WallTime
    ) {
        self.lastEpisode += 1
        var account = Incident.Account(observer: self.me, episode: self.lastEpisode, detected: wall, window: window)
        account.affected = led.map(\.group)
        if self.open.count >= Self.maxOpen { self.open.removeFirst() }
        self.open.append(
            Open(
                kind: kind, node: node, run: run, cause: cause, isPlanned: isPlanned, account: account, detectedAt: now,
                leaderless: led))
    }

    /// This node leads the group and has committed in its term.
    package mutating func committed(in group: GroupID, term: Term, now: Instant) {
        for at in self.open.indices { self.changed(group, term: term, to: self.me, at, now: now) }
    }

    /// Another node leads the group in this term. It accounts for the change itself, except for the one that is asked to
    /// by this node: that does not know of the stop.
    package mutating func ledElsewhere(_ group: GroupID, by leader: NodeID, term: Term, now: Instant) {
        for at in self.open.indices {
            if self.open[at].isPlanned {
                self.changed(group, term: term, to: leader, at, now: now)
            } else {
                self.open[at].leaderless.removeAll { $0.group == group && $0.term < term }
            }
        }
    }

    private mutating func changed(_ group: GroupID, term: Term, to leader: NodeID, _ at: Int, now: Instant) {
        guard let found = self.open[at].leaderless.firstIndex(where: { $0.group == group && $0.term < term }) else {
            return
        }
        self.open[at].leaderless.remove(at: found)
        self.open[at].account.changes.append(
            Incident.GroupChange(group: group, from: self.open[at].node, to: leader, term: term))
        self.open[at].account.repair = now - self.open[at].detectedAt
        self.open[at].isDirty = true
    }

    package mutating func acknowledgedWrite(now: Instant) {
        for at in self.open.indices where self.open[at].account.delay == nil && !self.open[at].isPlanned {
            self.open[at].account.delay = now - self.open[at].detectedAt + self.open[at].account.window
            self.open[at].isDirty = true
        }
    }

    /// Called regularly. `serving`: nodes in full service, of `all`. `leadsSystem`: this node accounts for what took no
    /// leadership.
    package mutating func tick(serving: Int, all: Int, isBack: (NodeID) -> Bool, leadsSystem: Bool, now: Instant) {
        let sample = Incident.Sample(serving: UInt32(serving), all: UInt32(all))
        for at in self.open.indices where !self.open[at].isPlanned {
            let age = now - self.open[at].detectedAt
            func setSample(_ slot: Int) {
                guard self.open[at].account.samples[slot] == nil else { return }
                self.open[at].account.samples[slot] = sample
                self.open[at].isDirty = true
            }
            for (slot, limit) in Self.ages.enumerated() where age >= limit { setSample(slot) }
            if leadsSystem, !self.open[at].account.ledSystem {
                self.open[at].account.ledSystem = true
                self.open[at].isDirty = true
            }
            if self.open[at].kind == .data {
                guard self.open[at].account.repair != nil else { continue }
            } else {
                guard isBack(self.open[at].node) else { continue }
            }
            if self.open[at].account.affected.isEmpty, self.open[at].account.repair == nil {
                self.open[at].account.repair = age
                self.open[at].isDirty = true
            }
            if self.open[at].leaderless.isEmpty, serving == all {
                self.open[at].account.closed = age
                // A sample after closing repeats the closing value.
                for slot in 0..<4 { setSample(slot) }
                self.open[at].isDirty = true
            }
        }
    }

    /// What is new since the last call, as commands for the catalog. Incidents that are closed are let go.
    package mutating func takeReports() -> [[UInt8]] {
        var reports: [[UInt8]] = []
        for at in self.open.indices where self.open[at].isDirty {
            self.open[at].isDirty = false
            reports.append(CatalogCommand.report(self.open[at].report).encoded())
        }
        self.open.removeAll { $0.account.closed != nil || ($0.isPlanned && $0.leaderless.isEmpty) }
        return reports
    }

    /// This node stops, and has not seen yet who leads what it led: right after it stepped down nobody is known to.
    package var awaitsHandOver: Bool { self.open.contains { $0.isPlanned && !$0.leaderless.isEmpty } }

    package var hasReports: Bool { self.open.contains { $0.isDirty } }
}
