package import Catalog
package import Replication

/// Follows the faults that this node sees, and says when there is something new to report. Each is timed by this node's
/// own monotonic clock, with one wall-clock anchor.
///
/// An incident is kept in a file (`OpenIncidents`) until the ledger has the word of its end, and is told to the ledger only
/// once it is there: so whatever the ledger knows is followed to its end, by a later run if need be.
///
/// 1. B comes to suspect C, tells the ledger, and dies. Without the file the ledger has an incident that nobody ends.
/// 2. B comes to suspect A, the only one to do so, and dies before it has told anyone. With the file its next run tells.
package struct IncidentTracker {
    private struct Open {
        let kind: Incident.Kind
        let node: NodeID
        let run: Run
        let cause: Incident.Cause
        let isPlanned: Bool
        var account: Incident.Account
        let detectedAt: Instant
        /// Its age then: of one that an earlier run came to see, where the machine's clock began anew since.
        var ageBefore: Nanoseconds = 0
        /// Groups that the node led when it was suspected, and that nobody is known to lead in a later term.
        var leaderless: [(group: GroupID, term: Term)]
        /// There is something that the ledger was not told.
        var isDirty = true
        /// There is something that was not handed to the file.
        var isUnsaved = true
        /// The file durably has it, at least as it was.
        var isNoted = false
        /// An earlier run came to see it.
        var isRestored = false
        /// When it was last told, and how many of this node's words the ledger had taken in by then; nil: not since it had
        /// this one as it is here.
        var told: (at: Instant, after: UInt64)?
        /// So often the ledger took in something of this node's since, and not this.
        var vain = 0

        /// Nothing will be added. A stop is over for the node that stops when it has handed over what it led; how long it
        /// was away, its next run finds out.
        var isOver: Bool {
            self.account.closed != nil || (self.isPlanned && !self.isRestored && self.leaderless.isEmpty)
        }

        func age(_ now: Instant) -> Nanoseconds { self.ageBefore + (now - min(self.detectedAt, now)) }

        mutating func changed() {
            self.isDirty = true
            self.isUnsaved = true
        }

        var report: Incident {
            Incident(
                kind: self.kind, cause: self.cause, node: self.node, run: self.run, isPlanned: self.isPlanned,
                accounts: [self.account])
        }
    }

    /// Incidents followed at once; the oldest is let go beyond that.
    private static let maxOpen = 64
    private static let ages: [Nanoseconds] = [.seconds(1), .seconds(5), .seconds(30)]
    /// Told so often in vain, the ledger has no place for it.
    private static let maxVain = 8
    private let me: NodeID
    private var open: [Open] = []
    private var lastEpisode: UInt64
    /// One was let go that the file still has.
    private var hasLetGo = false
    /// What the writing under way holds.
    private var beingSaved: Set<UInt64> = []

    /// - Parameter file: what an earlier run left.
    package init(
        me: NodeID, run: Run, file: OpenIncidents = OpenIncidents(), boot: UInt64 = 0,
        now: Instant = Instant(nanoseconds: 0), wall: WallTime = WallTime(nanoseconds: 0)
    ) {
        self.me = me
        // A run has room for a million; a later run's are beyond them all.
        self.lastEpisode = run << 20
        for item in file.items {
            let account = item.report.accounts[0]
            guard account.observer == me, self.open.count < Self.maxOpen else { continue }
            // The machine's clock goes on from one run to the next, and begins anew with the machine. Then only the wall
            // clock is left, this node's own.
            let isSameClock = boot != 0 && boot == file.boot && item.detectedAt <= now
            let elapsed = wall.nanoseconds - min(account.detected.nanoseconds, wall.nanoseconds)
            var open = Open(
                kind: item.report.kind, node: item.report.node, run: item.report.run, cause: item.report.cause,
                isPlanned: item.report.isPlanned, account: account, detectedAt: isSameClock ? item.detectedAt : now,
                ageBefore: isSameClock ? item.ageBefore : elapsed,
                // Who leads what it led is nothing that a stop of this node has still to see to.
                leaderless: item.report.isPlanned ? [] : item.leaderless.map { ($0.group, $0.term) })
            open.isUnsaved = !isSameClock
            open.isNoted = true
            open.isRestored = true
            // Where the ledger has it already, `confirm` finds out.
            open.isDirty = false
            self.open.append(open)
        }
    }

    /// A peer is held for lost. `led`: the groups it leads, as far as known, with their terms.
    package mutating func suspected(
        _ node: NodeID, run: Run, cause: Incident.Cause, lastGood: Instant, led: [(group: GroupID, term: Term)],
        now: Instant, wall: WallTime
    ) {
        guard
            !self.open.contains(where: {
                $0.kind == .node && $0.node == node && $0.run == run && $0.cause != .diskLost
                    && $0.account.closed == nil
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
        if let at = self.ownDamage(cause) {
            // An earlier run's is found to be there still: this one says when it is not.
            self.open[at].isRestored = false
            return
        }
        self.add(
            self.me, run: run, cause, kind: .data, isPlanned: false, window: window, led: [], now: now, wall: wall)
    }

    /// Some of it was put right.
    package mutating func repaired(_ cause: Incident.Cause, bytes: Int, action: String) {
        guard let at = self.ownDamage(cause) else { return }
        self.open[at].account.bytesRepaired += UInt64(bytes)
        self.open[at].account.note(action: action)
        self.open[at].changed()
    }

    /// Nothing of this cause is left.
    package mutating func repairedAll(_ cause: Incident.Cause, now: Instant) {
        guard let at = self.ownDamage(cause) else { return }
        self.open[at].account.repair = self.open[at].age(now)
        self.open[at].changed()
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
        self.open[at].account.repair = self.open[at].age(now)
        self.open[at].changed()
    }

    package mutating func acknowledgedWrite(now: Instant) {
        for at in self.open.indices
        where self.open[at].account.delay == nil && !self.open[at].isPlanned && !self.open[at].isRestored
            && !self.open[at].isOver
        {
            self.open[at].account.delay = now - self.open[at].detectedAt + self.open[at].account.window
            self.open[at].changed()
        }
    }

    /// Called regularly. `serving`: nodes in full service, of `all`. `isLeading`: a node leads a group in this very term.
    /// `leadsSystem`: this node accounts for what took no leadership.
    package mutating func tick(
        serving: Int, all: Int, isBack: (NodeID) -> Bool,
        isLeading: (NodeID, GroupID, Term) -> Bool = { _, _, _ in false },
        leadsSystem: Bool, now: Instant
    ) {
        let sample = Incident.Sample(serving: UInt32(serving), all: UInt32(all))
        for at in self.open.indices
        where !self.open[at].isOver && (!self.open[at].isPlanned || self.open[at].isRestored) {
            let age = self.open[at].age(now)
            let node = self.open[at].node
            func setSample(_ slot: Int) {
                guard self.open[at].account.samples[slot] == nil else { return }
                self.open[at].account.samples[slot] = sample
                self.open[at].changed()
            }
            // What an earlier run did not see, this one does not say.
            if !self.open[at].isRestored {
                for (slot, limit) in Self.ages.enumerated() where age >= limit { setSample(slot) }
            }
            if leadsSystem, !self.open[at].account.ledSystem {
                self.open[at].account.ledSystem = true
                self.open[at].changed()
            }
            if self.open[at].kind == .data, !self.open[at].isRestored {
                guard self.open[at].account.repair != nil else { continue }
            } else {
                guard isBack(node) else { continue }
            }
            // It leads on, or again, without an election in between.
            self.open[at].leaderless.removeAll { isLeading(node, $0.group, $0.term) }
            if self.open[at].account.affected.isEmpty || self.open[at].kind == .data,
                self.open[at].account.repair == nil
            {
                self.open[at].account.repair = age
                self.open[at].changed()
            }
            if self.open[at].leaderless.isEmpty, serving == all {
                self.open[at].account.closed = age
                // A sample after closing repeats the closing value.
                for slot in 0..<4 where slot == 3 || Self.ages[slot] > age { setSample(slot) }
                self.open[at].changed()
            }
        }
    }

    // MARK: The ledger

    /// What is new since the last call, as commands for the catalog.
    ///
    /// - Parameters:
    ///   - taken: words of this node that the ledger has taken in.
    ///   - evenIfNotNoted: the file can not be written: better told and perhaps never ended than not told.
    package mutating func takeReports(now: Instant, taken: UInt64, evenIfNotNoted: Bool) -> [[UInt8]] {
        var reports: [[UInt8]] = []
        for at in self.open.indices where self.mayTell(self.open[at], evenIfNotNoted) {
            self.open[at].isDirty = false
            self.open[at].told = (now, taken)
            reports.append(CatalogCommand.report(self.open[at].report).encoded())
        }
        return reports
    }

    /// A node that stops tells of it at once: it is gone in a moment.
    private func mayTell(_ open: Open, _ evenIfNotNoted: Bool) -> Bool {
        open.isDirty && (open.isNoted || open.isPlanned || evenIfNotNoted)
    }

    package func hasReports(evenIfNotNoted: Bool) -> Bool { self.open.contains { self.mayTell($0, evenIfNotNoted) } }

    /// Nothing that was told is under way. What the ledger does not have of it was lost on the way, as where nobody leads for
    /// long, and is told again; what is over and in the ledger is let go.
    package mutating func confirm(now: Instant, taken: UInt64, isInLedger: (Incident) -> Bool) {
        for at in self.open.indices.reversed() where !self.open[at].isDirty {
            if self.open[at].vain >= Self.maxVain || isInLedger(self.open[at].report) {
                self.open[at].told = nil
                self.open[at].vain = 0
                // Of its own stop a node's next run goes on to tell.
                guard self.open[at].account.closed != nil else { continue }
                self.open.remove(at: at)
                self.hasLetGo = true
            } else if let told = self.open[at].told, taken > told.after {
                self.open[at].vain += 1
                self.open[at].isDirty = true
            } else if self.open[at].told.map({ now - $0.at >= .seconds(1) }) ?? true {
                self.open[at].isDirty = true
            }
        }
    }

    /// Whether the ledger may lack something.
    package var awaitsLedger: Bool { self.open.contains { $0.isOver || $0.told != nil || $0.isRestored } }

    /// One whose end was just told by someone else, who has let it go: kept until the ledger has it.
    package mutating func keep(_ report: Incident, detectedAt: Instant, now: Instant, taken: UInt64) {
        if self.open.count >= Self.maxOpen { self.open.removeFirst() }
        var open = Open(
            kind: report.kind, node: report.node, run: report.run, cause: report.cause, isPlanned: report.isPlanned,
            account: report.accounts[0], detectedAt: detectedAt, leaderless: [])
        open.isDirty = false
        open.told = (now, taken)
        self.open.append(open)
    }

    // MARK: The file

    /// The file is not as it should be.
    package var hasUnsaved: Bool { self.hasLetGo || self.open.contains(where: \.isUnsaved) }

    /// What the file is to hold, from now on taken for handed to it.
    mutating func save() -> [OpenIncidents.Item] {
        self.hasLetGo = false
        self.beingSaved = Set(self.open.map(\.account.episode))
        for at in self.open.indices { self.open[at].isUnsaved = false }
        return self.open.map { open in
            OpenIncidents.Item(
                report: open.report, detectedAt: open.detectedAt, ageBefore: open.ageBefore,
                leaderless: open.leaderless.map { OpenIncidents.Leaderless(group: $0.group, term: $0.term) })
        }
    }

    mutating func saved() {
        for at in self.open.indices where self.beingSaved.contains(self.open[at].account.episode) {
            self.open[at].isNoted = true
        }
        self.beingSaved.removeAll()
    }

    mutating func notSaved() {
        self.beingSaved.removeAll()
        self.hasLetGo = true
    }

    /// Of some fault it is not known yet who leads what the node led.
    var awaitsLeader: Bool { self.open.contains { !$0.leaderless.isEmpty && !$0.isRestored } }

    package var count: Int { self.open.count }

    /// This node stops, and has not seen yet who leads what it led: right after it stepped down nobody is known to.
    package var awaitsHandOver: Bool { self.open.contains { $0.isPlanned && !$0.leaderless.isEmpty } }
}
