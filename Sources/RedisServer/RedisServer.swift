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

    package init(
        host: String, port: Int, password: String?, maxClients: Int, maxMemory: Int, outputLimit: Int = 256 << 20
    ) {
        self.host = host
        self.port = port
        self.password = password
        self.maxClients = maxClients
        self.maxMemory = maxMemory
        self.outputLimit = outputLimit
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
