import Catalog
import Formats
import Replication

extension NodeCore {
    func noteSuspicion(of node: NodeID, run: Run, _ cause: SuspicionCause) {
        let led = self.groups.filter { $0.replica.leader?.node == node }.map { ($0.id, $0.replica.term) }
        let lastGood = self.peers.first { $0.member.node == node }?.lastGood ?? self.now
        let kind: Incident.Cause =
            switch cause {
            case .refused: .killed
            case .silent: .silent
            case .restarted: .restarted
            }
        self.incidents.suspected(
            node, run: run, cause: kind, lastGood: lastGood, led: led, now: self.now, wall: self.wall)
    }

    func noteLeadership(of group: Group) {
        if group.isLeader {
            if group.replica.hasCommittedInTerm {
                self.incidents.committed(in: group.id, term: group.replica.term, now: self.now)
            }
        } else if let leader = group.replica.leader {
            self.incidents.ledElsewhere(group.id, by: leader.node, term: group.replica.term, now: self.now)
            self.diskAccount.ledElsewhere(group.id, by: leader.node, term: group.replica.term, now: self.now)
        }
    }

    /// Nodes in full service as far as this one can tell: they answer, and where this one leads, they are at most 1,000
    /// entries behind.
    private func isServing(_ peer: Peer) -> Bool {
        guard peer.isConnected, !peer.isSuspected, !peer.isStale, self.isVoterEverywhere(peer.member) else {
            return false
        }
        return self.groups.allSatisfy { group in
            !group.isLeader
                || (group.replica.matchIndex(of: peer.member) + 1000 >= group.replica.lastIndex
                    && !group.replica.isIncomplete(peer.member))
        }
    }

    /// The account follows the repair and never holds it up: reports go into the system group's stream like any command.
    func tickIncidents() {
        let peers = self.peers.reduce(0) { $0 + (self.isServing($1) ? 1 : 0) }
        self.tickDiskAccount(serving: peers + 1)
        let serving = peers + (self.groups.allSatisfy(\.isSound) ? 1 : 0)
        let system = self.group(.system)!
        self.bookLostDisks()
        let leading = self.groups.map { (group: $0.id, term: $0.replica.term, node: $0.replica.leader?.node) }
        self.incidents.tick(
            serving: serving, all: self.peers.count + 1,
            isBack: { node in
                node == self.configuration.me.node
                    ? self.isVoterEverywhere(self.configuration.me) && self.groups.allSatisfy { $0.healing == nil }
                    : self.peers.contains { $0.member.node == node && self.isServing($0) }
            },
            isLeading: { node, id, term in leading.contains { $0.group == id && $0.term == term && $0.node == node } },
            leadsSystem: system.isLeader, now: self.now)
        self.saveIncidents()
        self.confirmIncidents(system)
        let evenIfNotNoted = self.incidentFile.hasFailed || !self.disk.isWell
        guard self.incidents.hasReports(evenIfNotNoted: evenIfNotNoted) || self.diskAccount.hasReport,
            system.origin.outstandingCommands < 256
        else { return }
        let taken = system.origin.firstUnapplied
        for report in self.incidents.takeReports(now: self.now, taken: taken, evenIfNotNoted: evenIfNotNoted) {
            report.withUnsafeBytes { system.origin.append($0, for: 0, now: self.now) }
        }
        if let (incident, detectedAt) = self.diskAccount.takeReport() {
            CatalogCommand.report(incident).encoded().withUnsafeBytes {
                system.origin.append($0, for: 0, now: self.now)
            }
            if incident.accounts[0].closed != nil {
                self.incidents.keep(incident, detectedAt: detectedAt, now: self.now, taken: taken)
            }
        }
        self.effects.wantsTurn = true
    }

    /// This node's copy of the ledger is as new as its own reports where its session is open and nothing is under way:
    /// then it has everything that this run and those before have told.
    private func confirmIncidents(_ system: Group) {
        guard self.incidents.awaitsLedger, system.hasState, system.origin.state == .open, system.origin.isEmpty,
            case .catalog(let catalog) = system.machine
        else { return }
        self.incidents.confirm(now: self.now, taken: system.origin.firstUnapplied) { catalog.has($0) }
    }

    // MARK: The file

    /// Writes share the disk with the votes of an election: they come after it, or half a second later.
    private static let patienceForElection = Nanoseconds.milliseconds(500)

    private func saveIncidents() {
        func isRotten(_ file: NodeFile) -> Bool { self.rot.files.contains(file) }
        guard
            self.incidents.hasUnsaved || self.diskAccount.hasUnsaved || isRotten(.incidentsA) || isRotten(.incidentsB)
        else { return }
        let isElecting = self.incidents.awaitsLeader || self.groups.contains { $0.servedBy == nil }
        let patience = self.isStopping || !isElecting ? 0 : Self.patienceForElection
        guard let number = self.incidentFile.begin(now: self.now, patience: patience, isBad: isRotten) else { return }
        var file = OpenIncidents()
        file.number = number
        file.boot = self.configuration.boot
        file.items = self.incidents.save()
        if let item = self.diskAccount.save() { file.items.append(item) }
        let bytes = file.file
        self.incidentFile.bytes = bytes.count
        self.effects.openIncidents = (bytes, number)
    }

    /// The file holds what `effects.openIncidents` asked for under this number.
    package func openIncidentsDurable(_ number: UInt64) {
        guard self.incidentFile.ended(number, failedAt: nil) else { return }
        self.incidents.saved()
        self.fileRewritten(.incidents(number), bytes: self.incidentFile.bytes)
        self.effects.wantsTurn = true
    }

    /// It could not be written. It is tried again; meanwhile incidents are told to the ledger all the same.
    package func openIncidentsFailed(_ number: UInt64) {
        guard self.incidentFile.ended(number, failedAt: self.now) else { return }
        self.incidents.notSaved()
    }
}

/// When the file of open incidents is written: one writing at a time, after one that failed a second's pause.
struct IncidentFile {
    private var number: UInt64
    private var isWriting = false
    private var wantedSince: Instant?
    private var failedAt: Instant?
    /// Of the writing under way.
    var bytes = 0

    /// - Parameter number: of the last writing.
    init(after number: UInt64) { self.number = number }

    var hasFailed: Bool { self.failedAt != nil }

    /// - Parameter isBad: a copy that rotted.
    /// - Returns: the number of the writing that may begin now.
    mutating func begin(now: Instant, patience: Nanoseconds, isBad: (NodeFile) -> Bool) -> UInt64? {
        if self.wantedSince == nil { self.wantedSince = now }
        guard !self.isWriting, now - self.wantedSince! >= patience else { return nil }
        if let failedAt, now - failedAt < .seconds(1) { return nil }
        self.isWriting = true
        self.wantedSince = nil
        // Two copies are written in turn, by the number's parity. One that failed may have spoiled its copy: the other is
        // good, and left alone until this one is too. So with one that rotted.
        self.number += self.hasFailed || isBad(.incidents(self.number)) ? 2 : 1
        return self.number
    }

    /// - Returns: whether it was the writing under way.
    mutating func ended(_ number: UInt64, failedAt: Instant?) -> Bool {
        guard self.isWriting, number == self.number else { return false }
        self.isWriting = false
        self.failedAt = failedAt
        return true
    }
}
