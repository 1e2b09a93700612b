package import Catalog
package import Replication

/// Follows the faults that this node sees, and says when there is something new to report. Each is timed by this node's
/// own monotonic clock, with one wall-clock anchor.
package struct IncidentTracker {
    private struct Open {
        var incident: Incident
        var detectedAt: Instant
        /// Groups that the node led when it was suspected, and that have had no commit in a later term.
        var affected: [(group: GroupID, term: Term)]
        var isDirty = true
    }

    /// Incidents followed at once; the oldest is let go beyond that.
    private static let maxOpen = 64
    private static let ages: [Nanoseconds] = [.seconds(1), .seconds(5), .seconds(30)]
    private let me: NodeID
    private var open: [Open] = []

    package init(me: NodeID) { self.me = me }

    /// A peer is held for lost. `led`: the groups it leads, as far as known, with their terms.
    package mutating func suspected(
        _ node: NodeID, run: Run, cause: Incident.Cause, lastGood: Instant, led: [(group: GroupID, term: Term)],
        now: Instant, wall: WallTime
    ) {
        guard !self.open.contains(where: { $0.incident.node == node && $0.incident.run == run }) else { return }
        let window = lastGood.nanoseconds == 0 ? 0 : now - lastGood
        let incident = Incident(
            kind: .node, cause: cause, node: node, run: run, isPlanned: false, observer: self.me, isAuthoritative: false,
            detected: wall, window: window)
        if self.open.count >= Self.maxOpen { self.open.removeFirst() }
        self.open.append(Open(incident: incident, detectedAt: now, affected: led))
    }

    /// This node is about to stop.
    package mutating func plannedStop(run: Run, now: Instant, wall: WallTime) {
        let incident = Incident(
            kind: .node, cause: .stopped, node: self.me, run: run, isPlanned: true, observer: self.me,
            isAuthoritative: false, detected: wall, window: 0)
        self.open.append(Open(incident: incident, detectedAt: now, affected: []))
    }

    /// This node leads the group and has committed in its term.
    package mutating func committed(in group: GroupID, term: Term, now: Instant) {
        for at in self.open.indices {
            guard let affected = self.open[at].affected.firstIndex(where: { $0.group == group && $0.term < term }) else { continue }
            self.open[at].affected.remove(at: affected)
            self.open[at].incident.isAuthoritative = true
            self.open[at].incident.groups.append(
                Incident.GroupChange(group: group, from: self.open[at].incident.node, to: self.me, term: term))
            if self.open[at].affected.isEmpty { self.open[at].incident.repair = now - self.open[at].detectedAt }
            self.open[at].isDirty = true
        }
    }

    /// Another node leads the group in this term: it accounts for the change.
    package mutating func ledElsewhere(_ group: GroupID, term: Term) {
        for at in self.open.indices { self.open[at].affected.removeAll { $0.group == group && $0.term < term } }
    }

    package mutating func acknowledgedWrite(now: Instant) {
        for at in self.open.indices where self.open[at].incident.delays.isEmpty && self.open[at].incident.node != self.me {
            self.open[at].incident.delays.append(
                (self.me, now - self.open[at].detectedAt + self.open[at].incident.window))
            self.open[at].isDirty = true
        }
    }

    /// Called regularly. `serving`: nodes in full service, of `all`. `leadsSystem`: this node accounts for what has no
    /// change of leader.
    package mutating func tick(serving: Int, all: Int, isBack: (NodeID) -> Bool, leadsSystem: Bool, now: Instant) {
        let sample = Incident.Sample(serving: UInt32(serving), all: UInt32(all))
        for at in self.open.indices.reversed() where self.open[at].incident.node != self.me {
            let age = now - self.open[at].detectedAt
            for (slot, limit) in Self.ages.enumerated() where age >= limit && self.open[at].incident.samples[slot] == nil {
                self.open[at].incident.samples[slot] = sample
                self.open[at].isDirty = true
            }
            if leadsSystem, self.open[at].incident.groups.isEmpty { self.open[at].incident.isAuthoritative = true }
            if self.open[at].incident.repair == nil, self.open[at].affected.isEmpty, isBack(self.open[at].incident.node) {
                self.open[at].incident.repair = age
                self.open[at].isDirty = true
            }
            if self.open[at].incident.repair != nil, serving == all, self.open[at].incident.closed == nil {
                self.open[at].incident.closed = age
                for slot in 0..<4 where self.open[at].incident.samples[slot] == nil {
                    self.open[at].incident.samples[slot] = sample
                }
                self.open[at].isDirty = true
            }
        }
    }

    /// What is new since the last call, as commands for the catalog. Incidents that are closed are let go.
    package mutating func takeReports() -> [[UInt8]] {
        var reports: [[UInt8]] = []
        for at in self.open.indices where self.open[at].isDirty {
            self.open[at].isDirty = false
            reports.append(CatalogCommand.report(self.open[at].incident).encoded())
        }
        self.open.removeAll { $0.incident.closed != nil || ($0.incident.node == self.me) }
        return reports
    }

    package var hasReports: Bool { self.open.contains { $0.isDirty } }
}
