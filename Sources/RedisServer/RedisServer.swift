import Cache
package import Logging
package import NIOCore
import NIOPosix

/// What a Redis listener was told.
package struct RedisServerOptions: Sendable {
    package var host: String
    package var port: Int
    package var password: String?
    package var maxClients: Int
    package var maxMemory: Int
    /// Bytes of replies that wait for a client to read them, beyond which it is cut off.
    package var outputLimit: Int
    /// Bytes of requests and replies of all clients together, beyond which the largest is cut off.
    package var clientsLimit: Int

    package init(
        host: String, port: Int, password: String?, maxClients: Int, maxMemory: Int, outputLimit: Int = 256 << 20,
        clientsLimit: Int = 1 << 30
    ) {
        self.host = host
        self.port = port
        self.password = password
        self.maxClients = maxClients
        self.maxMemory = maxMemory
        self.outputLimit = outputLimit
        self.clientsLimit = clientsLimit
    }
}

/// The Redis protocol: a listener and its connections, all on the core loop.
package final class RedisServer {
    let loop: any EventLoop
    let options: RedisServerOptions
    let logger: Logger
    weak var backend: (any RedisBackend)?
    private var listener: (any Channel)?
    private(set) var connections: [ConnectionID: RedisConnection] = [:]
    private var dirty: [RedisConnection] = []
    /// What the connections hold: see `RedisConnection.heldBytes`.
    private(set) var clientBytes = 0
    /// Clients hold so much that no more is read from the state for them, until half of that is gone.
    package private(set) var isCongested = false
    private var congestedSince = NIODeadline.now()
    private var lastID: ConnectionID = 0
    package private(set) var port: Int
    var totalConnections: UInt64 = 0
    var totalCommands: UInt64 = 0
    let startedAt: NIODeadline

    package init(loop: any EventLoop, options: RedisServerOptions, logger: Logger) {
        self.loop = loop
        self.options = options
        self.logger = logger
        self.port = options.port
        self.startedAt = .now()
    }

    package func setBackend(_ backend: any RedisBackend) { self.backend = backend }

    /// Opens the listener. Fails with the socket's `IOError` where the port is taken.
    package func listen() -> EventLoopFuture<Int> {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        return ServerBootstrap(group: self.loop)
            .serverChannelOption(.backlog, value: 4096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 16 << 10, high: Self.uncountedBytes))
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 4096, maximum: 1 << 18)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try bound.value.accept(channel) }
            }
            .bind(host: self.options.host, port: self.options.port)
            .map { channel in
                bound.value.listener = channel
                bound.value.port = channel.localAddress?.port ?? bound.value.options.port
                return bound.value.port
            }
    }

    package func stop() {
        self.listener?.close(promise: nil)
        for connection in self.connections.values { connection.close() }
    }

    /// An operation's reply. Bytes are copied.
    package func deliver(_ reply: UnsafeRawBufferPointer, to id: ConnectionID) {
        self.connections[id]?.deliver(reply)
    }

    /// Writes what has gathered, once for each connection.
    package func flush() {
        guard !self.dirty.isEmpty else { return }
        for connection in self.dirty { connection.flush() }
        self.dirty.removeAll(keepingCapacity: true)
    }

    // MARK: Memory

    /// So much of a client's replies may wait for the kernel without being counted.
    private static let uncountedBytes = 32 << 10

    /// A connection holds more, or less, than it did.
    func heldBytesChanged(by change: Int) {
        self.clientBytes += change
        if self.isCongested {
            guard self.clientBytes < self.options.clientsLimit / 4 else { return }
            self.isCongested = false
            self.backend?.turn()
        } else if self.clientBytes > self.options.clientsLimit / 2 {
            self.isCongested = true
            self.congestedSince = .now()
        }
    }

    /// Now and then, and never from within a connection: as Redis does beyond its `maxmemory-clients` the largest go, where
    /// all of them hold too much; and one a second where they hold much, and it does not become less: all others wait for
    /// that.
    package func supervise() {
        guard self.isCongested else { return }
        while self.clientBytes > self.options.clientsLimit, self.cutOffLargest() {}
        guard self.isCongested, NIODeadline.now() - self.congestedSince > .seconds(1) else { return }
        self.congestedSince = .now()
        _ = self.cutOffLargest()
    }

    private func cutOffLargest() -> Bool {
        guard let largest = self.connections.values.max(by: { $0.heldBytes < $1.heldBytes }), largest.heldBytes > 0
        else { return false }
        self.logger.warning(
            "clients hold too much: the connection of the one that holds the most is closed",
            metadata: [
                "client": "\(largest.remoteAddress)", "bytes": "\(largest.heldBytes)", "all": "\(self.clientBytes)",
            ])
        largest.cutOff()
        return true
    }

    func markDirty(_ connection: RedisConnection) { self.dirty.append(connection) }

    private func accept(_ channel: any Channel) throws {
        self.lastID += 1
        let connection = RedisConnection(id: self.lastID, server: self)
        try channel.pipeline.syncOperations.addHandler(connection)
    }

    /// Whether there is room for one more.
    func opened(_ connection: RedisConnection) -> Bool {
        self.totalConnections += 1
        guard self.connections.count < self.options.maxClients else { return false }
        self.connections[connection.id] = connection
        return true
    }

    func closed(_ connection: RedisConnection) {
        guard self.connections.removeValue(forKey: connection.id) != nil else { return }
        self.backend?.closed(connection.id)
    }
}

@available(*, unavailable)
extension RedisServer: Sendable {}
