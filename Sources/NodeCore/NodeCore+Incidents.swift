import Catalog
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
        self.incidents.tick(
            serving: serving, all: self.peers.count + 1,
            isBack: { node in
                node == self.configuration.me.node
                    ? self.isVoterEverywhere(self.configuration.me)
                    : self.peers.contains { $0.member.node == node && self.isServing($0) }
            },
            leadsSystem: system.isLeader, now: self.now)
        guard self.incidents.hasReports || self.diskAccount.hasReport, system.origin.outstandingCommands < 256 else {
            return
        }
        for report in self.incidents.takeReports() { report.withUnsafeBytes { system.origin.append($0, for: 0) } }
        if let report = self.diskAccount.takeReport() { report.withUnsafeBytes { system.origin.append($0, for: 0) } }
        self.effects.wantsTurn = true
    }
}
