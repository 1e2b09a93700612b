import Cache
import Formats
import Journal
import NodeCore
import RedisServer
import Replication

extension Runtime: RedisBackend {
    func submit(_ kind: OperationKind, command: UnsafeRawBufferPointer, from connection: ConnectionID) -> Submission {
        self.begin()
        self.scheduleTurn()
        let admission =
            switch kind {
            case .read: self.core.submit(.read, command: command, from: connection)
            case .write: self.core.submit(.write, command: command, from: connection)
            }
        return Self.submission(admission)
    }

    func closed(_ connection: ConnectionID) {
        self.begin()
        self.core.closed(connection)
    }

    func wait(replicas: Int, timeoutMilliseconds: UInt64, from connection: ConnectionID) {
        self.begin()
        self.scheduleTurn()
        guard
            case .accepted = self.core.wait(
                replicas: replicas, timeoutMilliseconds: timeoutMilliseconds, from: connection)
        else {
            var reply = ReplyBuffer()
            reply.error("BUSY too many requests of this connection wait: try again")
            return reply.bytes.withUnsafeBytes { self.redis.deliver($0, to: connection) }
        }
    }

    func turn() { self.scheduleTurn() }

    func administer(_ arguments: [[UInt8]], from connection: ConnectionID) {
        self.begin()
        var reply = ReplyBuffer()
        self.administer(arguments, into: &reply)
        reply.bytes.withUnsafeBytes { self.redis.deliver($0, to: connection) }
        self.scheduleTurn()
    }

    private static func submission(_ admission: Admission) -> Submission {
        switch admission {
        case .accepted: .accepted
        case .busy: .busy
        case .logFull: .logFull
        case .outOfMemory: .outOfMemory
        case .tooLarge: .tooLarge
        case .diverged: .diverged
        }
    }

    func describe() -> RedisNodeDescription {
        let group = self.core.groupStatus.first { $0.id == .default }!
        let leader = group.leader.flatMap { self.redisAddress(of: $0) }
        let memory = self.core.cacheStatistics
        return RedisNodeDescription(
            node: self.configuration.node, isLeader: group.role == .leader, leaderHost: leader?.host ?? "",
            leaderPort: leader?.port ?? 0, term: group.term, commitIndex: group.commit, appliedIndex: group.applied,
            run: self.identity.run, cluster: "\(self.identity.cluster)", incarnation: "\(self.identity.incarnation)",
            keyCount: memory.keys, keysWithExpiry: memory.keysWithExpiry, usedMemory: memory.usedMemory,
            maxMemory: self.configuration.maxMemory, scrub: self.scrubLines,
            peers: self.core.peerStatus.map { peer in
                let address = self.redisAddress(of: peer.node)
                return (peer.node.rawValue, address?.host ?? "", address?.port ?? 0, peer.isUp, peer.matchIndex)
            })
    }

    func redisAddress(of node: NodeID) -> (host: String, port: Int)? {
        node.rawValue == self.configuration.node
            ? (self.configuration.redisHost, self.redis.port) : self.redisAddresses[node]
    }
}
