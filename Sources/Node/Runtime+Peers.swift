import Formats
import Journal
import Logging
import NodeCore
import Replication
import Synchronization
import Transport

extension Runtime: PeerTransportDelegate {
    func peerConnected(_ hello: Hello) {
        self.begin()
        self.redisAddresses[hello.member.node] = (hello.redisHost, Int(hello.redisPort))
        self.core.peerConnected(hello.member, history: hello.history)
        self.scheduleTurn()
    }

    func peerDisconnected(_ node: NodeID) {
        self.begin()
        self.core.peerDisconnected(node)
        self.scheduleTurn()
    }

    func peerRefused(_ node: NodeID) {
        self.begin()
        self.core.peerRefused(node)
        self.scheduleTurn()
    }

    func received(_ message: PeerMessage, from member: MemberID) {
        self.begin()
        self.core.receive(message, from: member)
    }

    func receivedBatchEnd() { self.scheduleTurn() }

    func isRetired(_ member: MemberID) -> Bool { self.core.isRetired(member) }

    /// The file of the peers' runs was replaced, or could not be.
    func peerRunsWritten(_ version: UInt64, _ error: FileError?) {
        self.begin()
        if let error {
            self.logger.error("the peers' runs cannot be noted", metadata: ["reason": "\(error)"])
            self.core.peerRunsFailed(version)
        } else {
            self.core.peerRunsDurable(version)
        }
        self.scheduleTurn()
    }

    /// The file of open incidents was replaced, or could not be.
    func openIncidentsWritten(_ number: UInt64, _ error: FileError?) {
        self.begin()
        if let error {
            self.logger.warning("open incidents cannot be written down", metadata: ["reason": "\(error)"])
            self.core.openIncidentsFailed(number)
        } else {
            self.core.openIncidentsDurable(number)
        }
        self.scheduleTurn()
    }

    /// Hands over what the heartbeat thread recorded, then lets the core judge silence: in this order, or a beat that
    /// has arrived would count as missing.
    func readHeartbeats() {
        for peer in self.seed.peers where peer.node.rawValue != self.configuration.node {
            guard let beat = self.heartbeats.latest(of: peer.node) else { continue }
            self.transport.drop(peer.node, unlike: beat.run)
            self.core.heard(peer.node, at: beat.at, coreAge: beat.coreAge, syncAge: beat.syncAge)
        }
        self.core.judgeSilence()
        let sync = self.journal.oldestUnfinishedSync.load(ordering: .relaxed)
        self.core.judgeOwnDisk(syncAge: sync > 0 ? Clock.now - Instant(nanoseconds: sync) : 0)
    }
}
