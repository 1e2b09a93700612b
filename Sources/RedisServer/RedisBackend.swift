/// What the Redis protocol needs of the node behind it. All calls, and all deliveries back, are made on the core loop.
package protocol RedisBackend: AnyObject {
    /// Hands one command in canonical form on. Its reply comes by `RedisServer.deliver(_:to:)`, for each connection in
    /// the order of submission, possibly before this call returns.
    func submit(_ kind: OperationKind, command: UnsafeRawBufferPointer, from connection: ConnectionID) -> Submission

    /// The connection is gone: its outstanding replies are not wanted. Submitted writes still take effect.
    func closed(_ connection: ConnectionID)

    /// `WAIT`: delivered as an integer reply when `replicas` other nodes hold this connection's writes, or in time.
    func wait(replicas: Int, timeoutMilliseconds: UInt64, from connection: ConnectionID)

    /// `KINTSUGI …`: arguments without the name; delivered as one reply.
    func administer(_ arguments: [[UInt8]], from connection: ConnectionID)

    /// A batch of input is in: the node may take its turn.
    func turn()

    /// What INFO, ROLE and HELLO say of the node. Not on a hot path.
    func describe() -> RedisNodeDescription
}

/// Names a client's connection for as long as the process lives.
package typealias ConnectionID = UInt64

package enum OperationKind: Sendable {
    /// Changes nothing; answered from an applied state no older than the request.
    case read
    /// Enters the log.
    case write
}

package enum Submission: Sendable {
    case accepted
    /// The window is full: nothing was taken.
    case busy
    /// The log has no room until a snapshot is written: nothing was taken.
    case logFull
    /// Past `max-memory`, and the command may grow the state: nothing was taken.
    case outOfMemory
    /// It is larger than what the node's log takes: nothing was taken.
    case tooLarge
    /// The replicas differ, and nobody can tell which is right: nothing was taken.
    case diverged
}

/// The node as INFO and ROLE show it.
package struct RedisNodeDescription: Sendable {
    package var node: UInt32
    package var isLeader: Bool
    /// Redis address of the leader, where known.
    package var leaderHost: String
    package var leaderPort: Int
    package var term: UInt64
    package var commitIndex: UInt64
    package var appliedIndex: UInt64
    package var run: UInt64
    /// 32 hexadecimal digits.
    package var cluster: String
    package var incarnation: String
    package var keyCount: Int
    package var keysWithExpiry: Int
    package var usedMemory: Int
    package var maxMemory: Int
    /// Lines of INFO's section on scrubbing.
    package var scrub: [String]
    /// Other nodes: id, Redis host and port, whether they answer, their acknowledged index (0 where unknown).
    package var peers: [(node: UInt32, host: String, port: Int, isUp: Bool, matchIndex: UInt64)]

    package init(
        node: UInt32, isLeader: Bool, leaderHost: String, leaderPort: Int, term: UInt64, commitIndex: UInt64,
        appliedIndex: UInt64, run: UInt64, cluster: String, incarnation: String, keyCount: Int, keysWithExpiry: Int,
        usedMemory: Int, maxMemory: Int, scrub: [String] = [],
        peers: [(node: UInt32, host: String, port: Int, isUp: Bool, matchIndex: UInt64)]
    ) {
        self.node = node
        self.isLeader = isLeader
        self.leaderHost = leaderHost
        self.leaderPort = leaderPort
        self.term = term
        self.commitIndex = commitIndex
        self.appliedIndex = appliedIndex
        self.run = run
        self.cluster = cluster
        self.incarnation = incarnation
        self.keyCount = keyCount
        self.keysWithExpiry = keysWithExpiry
        self.usedMemory = usedMemory
        self.maxMemory = maxMemory
        self.scrub = scrub
        self.peers = peers
    }
}
