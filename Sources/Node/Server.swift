import CKintsugi
import Cache
import Formats
import Journal
import Logging
import NIOCore
import NIOPosix
import NodeCore
import RedisServer
import Replication
import Synchronization
import Transport

/// One node of a cluster: from its data directory to its ports, and down again.
package final class Server: Sendable {
    private let configuration: ServerConfiguration
    private let stopping = Mutex<StopState>(StopState())

    private struct StopState {
        var isRequested = false
        var action: (@Sendable () -> Void)?
    }

    package init(_ configuration: ServerConfiguration) { self.configuration = configuration }

    /// Begins the graceful stop: leadership is handed over first. May be called from anywhere, more than once.
    package func stop() {
        let action = self.stopping.withLock { state in
            state.isRequested = true
            return state.action
        }
        action?()
    }

    /// Runs the node until it is stopped or cannot go on. One in a process.
    ///
    /// - Parameter ready: called once, when it serves.
    /// - Throws: `ServerError`.
    package func run(ready: @escaping @Sendable (ReadyAddresses) -> Void) async throws {
        let configuration = self.configuration
        let level = Logger.Level(rawValue: configuration.logLevel) ?? .info
        let isJSON = configuration.logFormat == "json"
        var logger = Logger(label: "kintsugi") { _ in LineLogHandler(logLevel: level, isJSON: isJSON) }
        logger[metadataKey: "node"] = "\(configuration.node)"
        if configuration.password == nil, !Self.isLoopback(configuration.redisHost) {
            throw ServerError(
                code: 78,
                message:
                    "redis.listen is \(configuration.redisHost), which others reach, and no password is set: set one with --password-file, or listen on 127.0.0.1."
            )
        }

        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        // Before anything else is opened, so that the loop has no copy of it.
        _ = try? await loop.submit { kintsugi_close_sockets_first() }.get()
        let outcome: Result<Void, ServerError>
        do {
            try await self.serveOn(loop: loop, logger: logger, ready: ready)
            outcome = .success(())
        } catch let error as ServerError {
            outcome = .failure(error)
        } catch let error as DirectoryRefused {
            outcome = .failure(ServerError(code: 73, message: error.description))
        } catch {
            outcome = .failure(ServerError(code: 1, message: "The node cannot go on: \(error)."))
        }
        try? await group.shutdownGracefully()
        try outcome.get()
    }

    /// Serves from the directory, and again where its disk turns out to be lost: then as another incarnation.
    private func serveOn(
        loop: any EventLoop, logger: Logger, ready: @escaping @Sendable (ReadyAddresses) -> Void
    ) async throws {
        var directory = try Self.open(self.configuration)
        while true {
            if let aside = directory.setAside {
                logger.error(
                    "what was on this disk counts as lost and was put aside; nothing was deleted",
                    metadata: [
                        "aside": "\(directory.path)/\(aside)", "incarnation": "\(directory.identity.incarnation)",
                    ])
            }
            switch try await self.serve(directory, loop: loop, logger: logger, ready: ready) {
            case .stopped: return withExtendedLifetime(directory) {}
            case .failed(let error): throw error
            case .anew(let run): directory = try directory.begunAnew(after: run)
            case .continued(let run): directory = try directory.continued(after: run)
            }
        }
    }

    private static func open(_ configuration: ServerConfiguration) throws(ServerError) -> DataDirectory {
        do {
            return try DataDirectory(
                path: configuration.directory, node: NodeID(configuration.node), seed: configuration.seed)
        } catch {
            throw ServerError(code: 73, message: error.description)
        }
    }

    private static func isLoopback(_ host: String) -> Bool {
        host.hasPrefix("127.") || host == "localhost" || host == "::1"
    }

    private func serve(
        _ directory: DataDirectory, loop: any EventLoop, logger: Logger,
        ready: @escaping @Sendable (ReadyAddresses) -> Void
    ) async throws -> ServerEnd {
        let configuration = self.configuration
        let identity = directory.identity
        let local = LocalPeer(
            cluster: identity.cluster, member: identity.member,
            history: identity.history, key: directory.seed.key,
            listenHost: configuration.peerHost, listenPort: configuration.peerPort, redisHost: configuration.redisHost,
            redisPort: configuration.redisPort)
        let peers = directory.seed.peers.filter { $0.node != identity.node }.map {
            PeerAddress(member: $0.member, host: $0.host, port: $0.port)
        }

        // The answers of the journal and of the snapshots come on threads of their own.
        let inbox = Inbox(loop: loop)
        defer { inbox.detach() }
        let journal: Journal
        var recovered: RecoveredJournal
        do {
            (journal, recovered) = try Journal.open(
                directory: directory.journalPath, identity: identity.journal, segmentBytes: configuration.segmentBytes
            ) { inbox.journal($0) }
        } catch let lost as JournalLost {
            Self.tell(lost.damage, logger)
            return try Self.lost(directory, lost.reason, logger)
        } catch {
            throw ServerError(code: 73, message: "The journal in \(directory.journalPath) cannot be opened: \(error).")
        }
        defer { journal.close() }
        Self.tell(recovered.damage, logger)
        let holes = recovered.groups.reduce(0) { $0 + $1.holes.count }
        if holes > 0 {
            guard directory.seed.peers.count > 1 else {
                throw Self.refusal(directory, "\(holes) of its entries are missing")
            }
            logger.error(
                "entries of the journal are missing here: they are fetched from the other nodes",
                metadata: ["entries": "\(holes)"])
        }
        let snapshots = try SnapshotStore(
            directory: directory.snapshotsPath, hashKey: HashKey(identity.cluster)
        ) { inbox.snapshot($0) }
        defer { snapshots.close() }
        let peerRuns = PeerRunsFile.read(directory: directory.path, logger: logger)
        let runs = PeerRunsFile(directory: directory.path) { inbox.peerRuns($0, $1) }
        defer { runs.close() }
        let scrubber = Scrubber(
            directory: directory, interval: .milliseconds(UInt64(configuration.scrubIntervalMilliseconds)),
            extents: { journal.extents }, found: { inbox.rot($0) })
        defer { scrubber.close() }
        let openIncidents = OpenIncidentsFile.read(directory: directory.path)
        let incidents = OpenIncidentsFile(directory: directory.path) { inbox.openIncidents($0, $1) }
        defer { incidents.close() }
        let heartbeats: Heartbeats
        do {
            heartbeats = try Heartbeats(
                local: local, peers: peers, interval: .milliseconds(UInt64(configuration.heartbeatMilliseconds)),
                oldestSync: { journal.oldestUnfinishedSync.load(ordering: .relaxed) })
        } catch {
            throw ServerError(
                code: 69,
                message:
                    "The peer port \(configuration.peerHost):\(configuration.peerPort) (UDP) cannot be used: \(error.reason). Choose another with --peer-listen, or end what uses it."
            )
        }
        heartbeats.start()
        defer { heartbeats.stop() }

        let groups = Dictionary(uniqueKeysWithValues: recovered.groups.map { ($0.group, $0) })
        // Without the segment that is only begun.
        let journalBytes = max(0, recovered.segments.count - 1) * configuration.segmentBytes
        recovered.groups = []
        let start = StartParts(
            configuration: configuration, identity: identity, seed: directory.seed, local: local, peers: peers,
            journal: journal, snapshots: snapshots, heartbeats: heartbeats, groups: groups, logger: logger,
            runs: runs, peerRuns: peerRuns, scrubber: scrubber, directory: directory, inbox: inbox,
            journalBytes: journalBytes, incidents: incidents, openIncidents: openIncidents,
            isJournalDamaged: !recovered.damage.isEmpty)
        let end = loop.makePromise(of: ServerEnd.self)
        let runtime: NIOLoopBound<Runtime>
        do {
            runtime = try await loop.submit { () -> EventLoopFuture<NIOLoopBound<Runtime>> in
                let runtime = Runtime(start, loop: loop)
                runtime.onEnd = { end.succeed($0) }
                inbox.attach(runtime)
                return runtime.listen().map { NIOLoopBound(runtime, eventLoop: loop) }
            }.flatMap { $0 }.flatMapError { error in loop.makeFailedFuture(Self.explain(error, configuration)) }.get()
        } catch {
            // It never began: nobody else ends it.
            end.fail(error)
            throw error
        }
        loop.execute {
            runtime.value.onReady = { ready(runtime.value.addresses) }
            runtime.value.start()
        }
        let stop: @Sendable () -> Void = { loop.execute { runtime.value.stop() } }
        let isRequested = self.stopping.withLock { state in
            state.action = stop
            return state.isRequested
        }
        if isRequested { stop() }
        let outcome = try await end.futureResult.get()
        try? await loop.submit { runtime.value.close() }.get()
        return outcome
    }

    private static func tell(_ damage: [JournalDamage], _ logger: Logger) {
        for damage in damage { logger.error("damage in the journal", metadata: ["where": "\(damage)"]) }
    }

    /// The journal is damaged so that what was promised on this disk is not known: the node begins anew where others have
    /// what it had.
    private static func lost(
        _ directory: DataDirectory, _ reason: String, _ logger: Logger
    ) throws -> ServerEnd {
        guard directory.seed.peers.count > 1 else { throw Self.refusal(directory, reason) }
        logger.error("the disk counts as lost", metadata: ["reason": "\(reason)"])
        return .anew(after: directory.identity.run)
    }

    private static func refusal(_ directory: DataDirectory, _ reason: String) -> ServerError {
        ServerError(
            code: 73,
            message:
                "The journal in \(directory.journalPath) is damaged where no snapshot covers it (\(reason); see the lines above, or `kintsugi journal verify \(directory.path)`), and no other node has what was here: nothing was cut. Restore this directory from a copy."
        )
    }

    private static func explain(_ error: any Error, _ configuration: ServerConfiguration) -> any Error {
        guard let error = error as? ListenFailed else { return error }
        return ServerError(
            code: 69,
            message:
                "The \(error.what) port \(error.host):\(error.port) cannot be used: \(error.reason). Choose another with --\(error.what)-listen, or end what uses it."
        )
    }
}

/// How one start of a node ends.
enum ServerEnd: Sendable {
    case stopped
    case failed(ServerError)
    /// The disk counts as lost, whoever found out: the directory begins anew, and the node serves again as another
    /// incarnation, its runs numbered on from the latest that is known of it.
    case anew(after: Run)
    /// The same disk begins another run, numbered after one that its predecessor had.
    case continued(after: Run)
}

/// What a runtime is made of.
struct StartParts: Sendable {
    var configuration: ServerConfiguration
    var identity: NodeIdentity
    var seed: ClusterSeed
    var local: LocalPeer
    var peers: [PeerAddress]
    var journal: Journal
    var snapshots: SnapshotStore
    var heartbeats: Heartbeats
    var groups: [GroupID: RecoveredGroup]
    var logger: Logger
    var runs: PeerRunsFile
    var peerRuns: PeerRuns
    var scrubber: Scrubber
    var directory: DataDirectory
    var inbox: Inbox
    /// What the journal holds.
    var journalBytes: Int
    var incidents: OpenIncidentsFile
    var openIncidents: OpenIncidents
    var isJournalDamaged: Bool
}

struct ListenFailed: Error {
    var what: String
    var host: String
    var port: Int
    var reason: String
}

/// Brings the answers of the disk's threads to the core loop.
final class Inbox: Sendable {
    private let loop: any EventLoop
    private let runtime = Mutex<NIOLoopBound<Runtime>?>(nil)

    init(loop: any EventLoop) { self.loop = loop }

    func attach(_ runtime: Runtime) {
        let bound = NIOLoopBound(runtime, eventLoop: self.loop)
        self.runtime.withLock { $0 = bound }
    }

    /// What comes from here on is nobody's.
    func detach() { self.runtime.withLock { $0 = nil } }

    func journal(_ completion: JournalCompletion) {
        guard let runtime = self.runtime.withLock({ $0 }) else { return }
        self.loop.execute { runtime.value.journalCompleted(completion) }
    }

    func peerRuns(_ version: UInt64, _ error: FileError?) {
        guard let runtime = self.runtime.withLock({ $0 }) else { return }
        self.loop.execute { runtime.value.peerRunsWritten(version, error) }
    }

    func rot(_ rot: Rot) {
        guard let runtime = self.runtime.withLock({ $0 }) else { return }
        self.loop.execute { runtime.value.found(rot) }
    }

    func rewritten(_ file: NodeFile, bytes: Int?) {
        guard let runtime = self.runtime.withLock({ $0 }) else { return }
        self.loop.execute { runtime.value.rewritten(file, bytes: bytes) }
    }

    func openIncidents(_ number: UInt64, _ error: FileError?) {
        guard let runtime = self.runtime.withLock({ $0 }) else { return }
        self.loop.execute { runtime.value.openIncidentsWritten(number, error) }
    }

    func snapshot(_ done: SnapshotStore.Done) {
        guard let runtime = self.runtime.withLock({ $0 }) else { return }
        self.loop.execute { runtime.value.snapshotDone(done) }
    }
}
