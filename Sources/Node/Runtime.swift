import Formats
import Glibc
import Journal
import Logging
import NIOCore
import NodeCore
import RedisServer
import Replication
import Transport

/// A running node on its core loop: feeds `NodeCore` with what the sockets, the journal and the heartbeat thread bring,
/// and carries out what it wants done. Everything here happens on that loop.
///
/// A turn: all that one pass of the loop read goes in, then `endTurn` moves the core on once, then effects go out: first
/// to the journal, whose disk is the slowest, then to the peers, then to the clients.
final class Runtime {
    let loop: any EventLoop
    let core: NodeCore
    let configuration: ServerConfiguration
    let identity: NodeIdentity
    let seed: ClusterSeed
    let journal: Journal
    let snapshots: SnapshotStore
    let heartbeats: Heartbeats
    let logger: Logger
    let transport: PeerTransport
    let redis: RedisServer
    let runs: PeerRunsFile
    let scrubber: Scrubber
    let directory: DataDirectory
    let inbox: Inbox
    let incidents: OpenIncidentsFile
    private let isJournalDamaged: Bool
    /// Redis addresses that the peers told of themselves.
    var redisAddresses: [NodeID: (host: String, port: Int)] = [:]

    private var isTurnScheduled = false
    private var isAnotherTurnScheduled = false
    private var hasBegun = false
    /// Memory that the system is to have back (`considerTrimming`).
    var trim = (isDue: false, secondBegan: Clock.now, journalBytes: 0)
    /// `NodeCore.namedSnapshotsVersion` that the scrubber was told of.
    var expectedVersion: UInt64?
    /// What the journal's disk last said, for the log.
    var diskText = ""
    private var tick: RepeatedTask?
    private var wake: Scheduled<Void>?
    private var wakeAt: Instant?
    private var peerPort: Int
    var onReady: (() -> Void)?
    var onEnd: ((ServerEnd) -> Void)?
    private var isEnded = false

    init(_ parts: StartParts, loop: any EventLoop) {
        self.loop = loop
        self.configuration = parts.configuration
        self.identity = parts.identity
        self.seed = parts.seed
        self.journal = parts.journal
        self.snapshots = parts.snapshots
        self.heartbeats = parts.heartbeats
        self.logger = parts.logger
        self.peerPort = parts.local.listenPort
        self.runs = parts.runs
        self.scrubber = parts.scrubber
        self.directory = parts.directory
        self.inbox = parts.inbox
        self.incidents = parts.incidents
        self.isJournalDamaged = parts.isJournalDamaged
        var core = NodeConfiguration(
            cluster: parts.identity.cluster, me: parts.identity.member, history: parts.identity.history,
            founders: parts.seed.peers.map(\.member), seed: UInt64.random(in: 0...UInt64.max))
        core.peerRuns = parts.peerRuns
        core.openIncidents = parts.openIncidents
        core.boot = Clock.boot
        core.wall = Clock.wall
        core.requestTimeout = .milliseconds(UInt64(parts.configuration.requestTimeoutMilliseconds))
        core.checkpointBytes = parts.configuration.checkpointBytes
        core.maxLogBytes = parts.configuration.maxLogBytes
        core.journalBytes = parts.journalBytes
        core.checkpointInterval = .seconds(UInt64(parts.configuration.checkpointSeconds))
        core.maxMemory = parts.configuration.maxMemory
        var detector = FailureDetector.Options()
        detector.sickAfter = .milliseconds(UInt64(parts.configuration.sickAfterMilliseconds))
        self.core = NodeCore(core, recovered: parts.groups, detector: FailureDetector(detector), now: Clock.now)
        self.transport = PeerTransport(loop: loop, local: parts.local, peers: parts.peers, logger: parts.logger)
        self.redis = RedisServer(
            loop: loop,
            options: RedisServerOptions(
                host: parts.configuration.redisHost, port: parts.configuration.redisPort,
                password: parts.configuration.password, maxClients: parts.configuration.maxClients,
                maxMemory: parts.configuration.maxMemory, clientsLimit: parts.configuration.maxClientBytes),
            logger: parts.logger)
        self.transport.setDelegate(self)
        self.redis.setBackend(self)
    }

    // MARK: Lifecycle

    /// Opens both ports: the peers' first, so that a dying process closes it among the first.
    func listen() -> EventLoopFuture<Void> {
        let configuration = self.configuration
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        @Sendable func explained(_ what: String, _ host: String, _ port: Int, _ error: any Error) -> any Error {
            ListenFailed(
                what: what, host: host, port: port,
                reason: (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)")
        }
        return self.transport.listen()
            .flatMapErrorThrowing { throw explained("peer", configuration.peerHost, configuration.peerPort, $0) }
            .flatMap { port in
                bound.value.peerPort = port
                return bound.value.redis.listen()
                    .flatMapErrorThrowing {
                        throw explained("redis", configuration.redisHost, configuration.redisPort, $0)
                    }
            }
            .map { _ in }
    }

    func start() {
        self.begin()
        self.expectSnapshots()
        // What the start found and could do without is booked, and written elsewhere, by a first pass at once.
        if self.isJournalDamaged { _ = self.scrubber.begin() }
        for (group, mark, number) in self.core.snapshotsToLoad { self.snapshots.load(group, mark, number: number) }
        self.transport.start()
        self.startTicking()
        self.scheduleTurn()
    }

    func close() {
        self.redis.stop()
        self.transport.stop()
    }

    var addresses: ReadyAddresses {
        ReadyAddresses(
            node: self.configuration.node, redisHost: self.configuration.redisHost, redisPort: self.redis.port,
            peerHost: self.configuration.peerHost, peerPort: self.peerPort)
    }

    // MARK: Turns

    /// To be called before any input of the core.
    @inline(__always)
    func begin() {
        if !self.hasBegun {
            self.hasBegun = true
            self.core.begin(now: Clock.now, wall: Clock.wall)
        }
    }

    /// Some input is in: a turn runs when this pass of the loop has read all there is.
    func scheduleTurn() {
        guard !self.isTurnScheduled else { return }
        self.isTurnScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.execute { bound.value.runTurn() }
    }

    /// The core has more to do: another turn runs when the loop has looked at its sockets in between, which it does only
    /// where no task is ready. So the pause is to outlast what is left of this pass of the loop, of which `turn`, the time
    /// that this turn took, gives an idea.
    private func scheduleAnotherTurn(after turn: Nanoseconds) {
        guard !self.isAnotherTurnScheduled else { return }
        self.isAnotherTurnScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.scheduleTask(in: .nanoseconds(max(20_000, Int64(turn) / 16))) {
            bound.value.isAnotherTurnScheduled = false
            bound.value.scheduleTurn()
        }
    }

    private func runTurn() {
        self.isTurnScheduled = false
        guard !self.isEnded else { return }
        self.begin()
        let began = Clock.now
        self.core.isOutputCongested = self.redis.isCongested
        self.core.endTurn()
        self.hasBegun = false
        let wantsTurn = self.carryOut()
        let ended = Clock.now
        self.heartbeats.coreTurned(at: ended)
        self.armDeadline()
        if let onReady, self.core.isReady {
            self.onReady = nil
            onReady()
        }
        if self.core.isStopped { return self.end(.stopped) }
        if wantsTurn { self.scheduleAnotherTurn(after: ended - began) }
    }

    // MARK: Time

    func startTicking() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.tick = self.loop.scheduleRepeatedTask(initialDelay: .milliseconds(1), delay: .milliseconds(10)) { _ in
            bound.value.onTick()
        }
    }

    private func onTick() {
        self.begin()
        self.readHeartbeats()
        self.core.tick()
        self.considerTrimming()
        self.redis.supervise()
        self.scheduleTurn()
    }

    /// The core may have a deadline before the next tick.
    private func armDeadline() {
        guard let deadline = self.core.deadline else { return }
        let now = Clock.now
        guard deadline < now + .milliseconds(8) else { return }
        if let wakeAt, wakeAt <= deadline, wakeAt > now { return }
        self.wake?.cancel()
        self.wakeAt = deadline
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.wake = self.loop.scheduleTask(in: .nanoseconds(Int64(max(deadline - now, 100_000)))) {
            bound.value.wakeAt = nil
            bound.value.begin()
            bound.value.core.tick()
            bound.value.scheduleTurn()
        }
    }

    // MARK: The journal's answers

    func journalCompleted(_ completion: JournalCompletion) {
        self.begin()
        switch completion {
        case .durable(let ticket, let bytes):
            self.core.journalCompleted(ticket, bytes: bytes)
        case .promised(let ticket):
            self.core.journalPromised(ticket)
        case .failed(let fault, let canPromise, let text):
            self.diskText = text
            self.core.journalFailed(fault, canPromise: canPromise)
        case .recovered:
            self.core.journalRecovered()
        }
        self.scheduleTurn()
    }

    // MARK: The end

    func stop() {
        self.begin()
        self.core.stop()
        self.scheduleTurn()
    }

    func end(_ error: ServerError) { self.end(.failed(error)) }

    func end(_ end: ServerEnd) {
        guard !self.isEnded else { return }
        self.isEnded = true
        self.tick?.cancel()
        self.wake?.cancel()
        self.onEnd?(end)
    }
}

@available(*, unavailable)
extension Runtime: Sendable {}
