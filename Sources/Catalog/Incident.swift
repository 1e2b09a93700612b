package import Replication

/// One fault and its repair, with the account that each observer gave of it.
///
/// All durations are of one observer's monotonic clock; those of two observers are never mixed in one figure.
package struct Incident: Sendable, Equatable {
    package enum Kind: UInt8, Sendable {
        case node = 1
        case network = 2
        case data = 3
    }

    package enum Cause: UInt8, Sendable {
        /// Its connections ended and the re-dial was refused.
        case killed = 1
        /// Its heartbeats stayed away.
        case silent = 2
        /// A later run of it answered.
        case restarted = 3
        /// It said that it stops.
        case stopped = 4
        /// Bytes at rest are not what was written.
        case rot = 10
        /// A replica's state was not what the others' was at a checkpoint.
        case diverged = 12
        /// It came back with an empty disk, or an older copy of its own.
        case diskLost = 16
        // Of its own disk, as it found by itself.
        case diskFull = 32
        case diskReadOnly = 33
        case diskError = 34
        case diskStuck = 35
    }

    package struct GroupChange: Sendable, Equatable, BitwiseCopyable {
        package var group: GroupID
        package var from: NodeID
        package var to: NodeID
        package var term: Term

        package init(group: GroupID, from: NodeID, to: NodeID, term: Term) {
            self.group = group
            self.from = from
            self.to = to
            self.term = term
        }
    }

    /// Nodes in full service, at an age of the incident.
    package struct Sample: Sendable, Equatable, BitwiseCopyable {
        package var serving: UInt32
        package var all: UInt32

        package init(serving: UInt32, all: UInt32) {
            self.serving = serving
            self.all = all
        }
    }

    /// What one observer knows of a fault.
    package struct Account: Sendable, Equatable {
        package var observer: NodeID
        /// The how-manieth fault this is to its observer, over all its runs: tells a second fault of the same run from
        /// another word about the first.
        package var episode: UInt64
        /// The observer led the system group: its account counts where no group changed its leader.
        package var ledSystem = false
        /// The one wall-clock anchor: when the observer came to suspect it. All else are durations of its clock.
        package var detected: WallTime
        /// From the last good sign of life to the suspicion: the fault lies somewhere in between.
        package var window: Nanoseconds
        /// Groups whose leadership the fault took, as far as the observer knew.
        package var affected: [GroupID] = []
        /// Groups that the observer came to lead in a next term, and has committed in; of a graceful stop: groups that
        /// were handed over.
        package var changes: [GroupChange] = []
        /// From the suspicion to the last of `changes`; where the fault took no leadership, to full service.
        package var repair: Nanoseconds?
        /// From the suspicion until all nodes were in full service.
        package var closed: Nanoseconds?
        /// From the last good sign of life to the observer's own first acknowledged write after the suspicion.
        package var delay: Nanoseconds?
        /// At 1, 5 and 30 s and at the close.
        package var samples: [Sample?] = [nil, nil, nil, nil]
        /// Of a fault of data: bytes that were written anew.
        package var bytesRepaired: UInt64 = 0
        /// What was done, in short sentences, in order.
        package private(set) var actions: [String] = []

        static let maxActions = 16
        static let maxActionBytes = 200

        /// Beyond the limits it is left out: the ledger is bounded.
        package mutating func note(action: String) {
            guard self.actions.count < Self.maxActions, action.utf8.count <= Self.maxActionBytes else { return }
            self.actions.append(action)
        }

        /// Takes in a later word of the same observer about the same fault; one that comes late takes nothing back. An
        /// observer that dies may begin again from what it had written down, which may be less than it had told.
        package mutating func take(_ word: Account) {
            let before = self
            self = word
            self.ledSystem = word.ledSystem || before.ledSystem
            if word.changes.count < before.changes.count {
                self.changes = before.changes
                self.repair = before.repair
            }
            self.repair = self.repair ?? before.repair
            self.closed = word.closed ?? before.closed
            self.delay = word.delay ?? before.delay
            for at in self.samples.indices { self.samples[at] = word.samples[at] ?? before.samples[at] }
            self.bytesRepaired = max(word.bytesRepaired, before.bytesRepaired)
            if word.actions.count < before.actions.count { self.actions = before.actions }
        }

        package init(observer: NodeID, episode: UInt64, detected: WallTime, window: Nanoseconds) {
            self.observer = observer
            self.episode = episode
            self.detected = detected
            self.window = window
        }
    }

    package let kind: Kind
    package private(set) var cause: Cause
    package let node: NodeID
    /// The run of the node that the fault hit.
    package let run: Run
    package private(set) var isPlanned: Bool
    /// How often in a row it was gone and back again, without a leadership lost.
    package private(set) var count: UInt32
    /// At least one.
    package private(set) var accounts: [Account]

    /// Accounts of one incident; more observers than a cluster may have nodes.
    static let maxAccounts = 64
    /// A fault that comes back sooner than this after its end is the same one once more.
    private static let flapping = Nanoseconds.seconds(5)

    package init(
        kind: Kind, cause: Cause, node: NodeID, run: Run, isPlanned: Bool, count: UInt32 = 1, accounts: [Account]
    ) {
        invariant(!accounts.isEmpty, "an incident nobody observed")
        self.kind = kind
        self.cause = cause
        self.node = node
        self.run = run
        self.isPlanned = isPlanned
        self.count = count
        self.accounts = accounts
    }

    // MARK: Several observers

    private func isAlike(_ report: Incident) -> Bool {
        self.kind == report.kind && self.node == report.node && self.run == report.run
            && (self.cause == .diskLost) == (report.cause == .diskLost)
            && (self.kind != .data || self.cause == report.cause)
    }

    /// Whether the report's observer has told of this very fault before.
    func continues(_ report: Incident) -> Bool {
        let account = report.accounts[0]
        return self.isAlike(report)
            && self.accounts.contains { $0.observer == account.observer && $0.episode == account.episode }
    }

    /// Takes in a report with one account, where it is of this fault; false where it is of another.
    ///
    /// Reports come in any order and more than once. The same observer and episode: the same fault, told anew. An observer
    /// not heard yet: this fault, unless it was over when the observer came to suspect the node.
    mutating func absorb(_ report: Incident) -> Bool {
        guard self.isAlike(report) else { return false }
        let account = report.accounts[0]
        if let at = self.accounts.firstIndex(where: { $0.observer == account.observer && $0.episode == account.episode }
        ) {
            self.accounts[at].take(account)
        } else if self.end.map({ account.detected.nanoseconds <= $0 }) ?? true,
            !self.accounts.contains(where: { $0.observer == account.observer }), self.accounts.count < Self.maxAccounts
        {
            self.accounts.append(account)
        } else if self.cause == .diskLost, self.end == nil,
            let at = self.accounts.firstIndex(where: { $0.observer == account.observer })
        {
            // Its observer was away meanwhile: what it says now is how it ends.
            self.accounts[at] = account
        } else if let end = self.end, account.detected.nanoseconds < saturating(end, Self.flapping),
            account.affected.isEmpty,
            self.cause == .silent, report.cause == .silent
        {
            self.count &+= 1
            self.accounts = [account]
        } else {
            return false
        }
        if report.isPlanned {
            self.isPlanned = true
            self.cause = .stopped
        }
        return true
    }

    /// When the first of its observers saw all nodes in full service, by wall clocks; nil: none has. Not the last: what is
    /// suspected after that is another fault, also where some observer is late to see the end of this one.
    private var end: UInt64? {
        self.accounts.compactMap { account in account.closed.map { saturating(account.detected.nanoseconds, $0) } }
            .min()
    }

    // MARK: What counts

    /// The account whose durations are the incident's: of the observer that ended the outage (the last one, where several
    /// groups went to several nodes), else of the one that led the system group, else of the first to suspect.
    package var authority: Account {
        let leaders = self.accounts.filter { !$0.changes.isEmpty }
        if let last = leaders.max(by: { ($0.repair ?? .max) < ($1.repair ?? .max) }) { return last }
        return self.accounts.first { $0.ledSystem }
            ?? self.accounts.min { ($0.detected.nanoseconds, $0.observer) < ($1.detected.nanoseconds, $1.observer) }!
    }

    package var changes: [GroupChange] { self.accounts.flatMap(\.changes) }

    /// Nil while a group that lost its leader has none that has committed.
    package var repair: Nanoseconds? {
        let changed = Set(self.changes.map(\.group))
        guard self.accounts.allSatisfy({ $0.affected.allSatisfy(changed.contains) }) else {
            // Who ended the outage may be gone with its account: it was over when all nodes were in full service.
            return self.accounts.compactMap(\.closed).min()
        }
        // One account may never be ended: its observer's disk is gone, and its word with it. Of a lost disk's accounts one
        // ends it: each is of the leader of its time.
        return self.authority.repair ?? self.accounts.compactMap(\.closed).min()
    }

    package var closed: Nanoseconds? {
        guard self.repair != nil else { return nil }
        return self.authority.closed ?? self.accounts.compactMap(\.closed).max()
    }

    package var samples: [Sample?] {
        let authority = self.authority.samples
        return authority.indices.map { at in authority[at] ?? self.accounts.lazy.compactMap { $0.samples[at] }.first }
    }
}

/// The sum, or the greatest number there is: what was committed may say anything, and must not trap.
private func saturating(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let (sum, isTooLarge) = a.addingReportingOverflow(b)
    return isTooLarge ? .max : sum
}
