import Cache
import Catalog
import Formats
package import Replication

/// A group as this node sees it.
package struct GroupStatus: Sendable {
    package var id: GroupID
    package var role: Role
    package var term: Term
    package var leader: NodeID?
    package var commit: LogIndex
    package var applied: LogIndex
    package var last: LogIndex
    package var isRecovering: Bool
}

package struct PeerStatus: Sendable {
    package var node: NodeID
    package var isUp: Bool
    /// Of the default group, where this node leads it; else 0.
    package var matchIndex: LogIndex
}

extension NodeCore {
    package var groupStatus: [GroupStatus] {
        self.groups.map { group in
            GroupStatus(
                id: group.id, role: group.replica.role, term: group.replica.term, leader: group.replica.leader?.node,
                commit: group.replica.commitIndex, applied: group.appliedIndex, last: group.replica.lastIndex,
                isRecovering: !group.hasState || !group.replica.isWhole
                    || !group.replica.committedMembership.voters.contains(self.configuration.me))
        }
    }

    package var peerStatus: [PeerStatus] {
        let group = self.group(.default)!
        return self.peers.map { peer in
            PeerStatus(
                node: peer.member.node, isUp: peer.isConnected && !peer.isSuspected,
                matchIndex: group.isLeader ? group.replica.matchIndex(of: peer.member) : 0)
        }
    }

    /// Whether this node serves: it knows who leads each group, its run's sessions are open, its state is read back and
    /// its log is whole.
    package var isReady: Bool {
        self.groups.allSatisfy { $0.origin.state == .open && $0.servedBy != nil && $0.isSound }
    }

    /// Asks for a hand-over of the group's leadership, here or at the leader; nil where nobody is known to lead.
    package func transfer(_ id: GroupID, to node: NodeID?) -> NodeID? {
        guard let group = self.group(id), let served = group.servedBy else { return nil }
        if group.isLeader {
            _ = group.replica.transfer(to: node, now: self.now, into: &group.effects)
        } else {
            self.effects.messages.append((served.leader, .transfer(group: id, to: node ?? NodeID(0))))
        }
        self.effects.wantsTurn = true
        return served.leader
    }
}

extension NodeCore {
    /// Keys, keys with an expiry, and bytes of the cache's state.
    package var cacheStatistics: (keys: Int, keysWithExpiry: Int, usedMemory: Int) {
        guard case .cache(let cache) = self.group(.default)!.machine else { return (0, 0, 0) }
        return (cache.count, cache.countWithExpiry, cache.usedMemory)
    }

    package func incidentsJSON() -> [UInt8] {
        guard case .catalog(let catalog) = self.group(.system)!.machine else { return [] }
        var out: [UInt8] = []
        catalog.incidentsJSON(into: &out)
        return out
    }
}
