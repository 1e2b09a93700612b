import Cache
import Glibc
import Logging
import NIOCore
import NIOPosix
import Replication

@testable import RedisServer

/// A node in little: one cache, every command applied as it comes. What a cluster adds, time between asking and
/// answering, comes back with `isDeferred`: a reply is then delivered when the loop turns next.
final class DirectBackend: RedisBackend {
    let machine: CacheMachine
    let isDeferred: Bool
    let maxMemory: Int
    private unowned let server: RedisServer
    private let loop: any EventLoop
    private var index: LogIndex = 0
    private var reply = ReplyBuffer()
    private var queued: [() -> Void] = []
    private(set) var closedConnections = 0

    init(server: RedisServer, loop: any EventLoop, isDeferred: Bool, maxMemory: Int) {
        self.machine = CacheMachine(shardCount: 1 << 12, hashKey: HashKey(low: 1, high: 2))
        self.server = server
        self.loop = loop
        self.isDeferred = isDeferred
        self.maxMemory = maxMemory
    }

    private func now() -> WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let now = WallTime(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
        return max(now, self.machine.time)
    }

    func submit(_ kind: OperationKind, command: UnsafeRawBufferPointer, from connection: ConnectionID) -> Submission {
        if kind == .write, self.machine.usedMemory > self.maxMemory, CommandTable.mayGrow(command) {
            return .outOfMemory
        }
        guard self.isDeferred else {
            self.run(kind, command, from: connection)
            return .accepted
        }
        let copy = Array(command)
        self.later { copy.withUnsafeBytes { self.run(kind, $0, from: connection) } }
        return .accepted
    }

    private func later(_ work: @escaping () -> Void) {
        self.queued.append(work)
        guard self.queued.count == 1 else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.execute { bound.value.drain() }
    }

    private func drain() {
        let work = self.queued
        self.queued.removeAll()
        for work in work { work() }
        self.server.flush()
    }

    private func run(_ kind: OperationKind, _ command: UnsafeRawBufferPointer, from connection: ConnectionID) {
        self.reply.removeAll()
        switch kind {
        case .write:
            self.index += 1
            self.machine.time = self.now()
            self.machine.apply(command, index: self.index, reply: &self.reply)
            self.machine.expire()
        case .read:
            let clock = self.now()
            if case .needsTime = self.machine.read(command, random: self.index, clock: clock, reply: &self.reply) {
                self.machine.time = clock
                _ = self.machine.read(command, random: self.index, clock: clock, reply: &self.reply)
            }
        }
        // Delivering may let the connection submit again.
        let bytes = self.reply.bytes
        bytes.withUnsafeBytes { self.server.deliver($0, to: connection) }
    }

    func closed(_ connection: ConnectionID) { self.closedConnections += 1 }

    func wait(replicas: Int, timeoutMilliseconds: UInt64, from connection: ConnectionID) {
        let answer: () -> Void = {
            var reply = ReplyBuffer()
            reply.integer(0)
            reply.bytes.withUnsafeBytes { self.server.deliver($0, to: connection) }
        }
        if self.isDeferred { self.later(answer) } else { answer() }
    }

    func administer(_ arguments: [[UInt8]], from connection: ConnectionID) {
        var reply = ReplyBuffer()
        reply.ok()
        reply.bytes.withUnsafeBytes { self.server.deliver($0, to: connection) }
    }

    func turn() { self.server.flush() }

    func describe() -> RedisNodeDescription {
        RedisNodeDescription(
            node: 1, isLeader: true, leaderHost: "127.0.0.1", leaderPort: self.server.port, term: 1,
            commitIndex: self.index, appliedIndex: self.index, run: 1, cluster: String(repeating: "0", count: 32),
            incarnation: String(repeating: "1", count: 32), keyCount: self.machine.count,
            keysWithExpiry: self.machine.countWithExpiry, usedMemory: self.machine.usedMemory,
            maxMemory: self.maxMemory,
            peers: [])
    }
}

/// A Redis listener on a port of its own, within this process.
final class TestServer: Sendable {
    private struct Parts {
        let server: RedisServer
        let backend: DirectBackend
    }

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let parts: NIOLoopBoundBox<Parts?>
    let port: Int

    init(
        password: String? = nil, maxClients: Int = 20000, maxMemory: Int = 1 << 40, outputLimit: Int = 256 << 20,
        clientsLimit: Int = 1 << 30, isDeferred: Bool = false
    ) throws {
        let loop = self.group.next()
        let parts = try loop.submit {
            let options = RedisServerOptions(
                host: "127.0.0.1", port: 0, password: password, maxClients: maxClients, maxMemory: maxMemory,
                outputLimit: outputLimit, clientsLimit: clientsLimit)
            let server = RedisServer(
                loop: loop, options: options, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
            let backend = DirectBackend(server: server, loop: loop, isDeferred: isDeferred, maxMemory: maxMemory)
            server.setBackend(backend)
            return NIOLoopBoundBox(Optional(Parts(server: server, backend: backend)), eventLoop: loop)
        }.wait()
        self.parts = parts
        self.port = try loop.flatSubmit { parts.value!.server.listen() }.wait()
    }

    /// Looks at the server, on its loop.
    func inspect<Result: Sendable>(_ body: @escaping @Sendable (RedisServer, DirectBackend) -> Result) throws -> Result
    {
        let parts = self.parts
        return try self.group.next().submit { body(parts.value!.server, parts.value!.backend) }.wait()
    }

    func connect() throws -> ClientSocket { try ClientSocket(port: self.port) }

    func stop() throws {
        let parts = self.parts
        try self.group.next().submit {
            parts.value?.server.stop()
        }.wait()
        // What closing started ends with the loop's next turn.
        try self.group.next().submit { parts.value = nil }.wait()
        try self.group.syncShutdownGracefully()
    }
}
