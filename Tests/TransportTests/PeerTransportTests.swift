import Formats
import Logging
import NIOCore
import NIOPosix
import Replication
import Synchronization
import Testing
import Transport

/// Takes down what a transport tells. All on the loop.
private final class Recorder: PeerTransportDelegate {
    var connected: [Hello] = []
    var disconnected: [NodeID] = []
    var refused: [NodeID] = []
    var messages: [PeerMessage] = []
    var senders: [MemberID] = []
    var retired: [MemberID] = []

    func peerConnected(_ hello: Hello) { self.connected.append(hello) }
    func peerDisconnected(_ node: NodeID) { self.disconnected.append(node) }
    func peerRefused(_ node: NodeID) { self.refused.append(node) }
    func received(_ message: PeerMessage, from member: MemberID) {
        self.messages.append(message)
        self.senders.append(member)
    }
    func receivedBatchEnd() {}
    func isRetired(_ member: MemberID) -> Bool { self.retired.contains(member) }
}

/// A transport with its recorder, on one loop.
private final class Node: @unchecked Sendable {
    // @unchecked: used on `loop` alone, by `on`.
    let loop: any EventLoop
    let transport: PeerTransport
    let recorder = Recorder()
    let log = LogLines()

    init(_ loop: any EventLoop, _ local: LocalPeer, peers: [PeerAddress]) {
        self.loop = loop
        let log = self.log
        let logger = Logger(label: "test") { _ in log }
        self.transport = PeerTransport(loop: loop, local: local, peers: peers, logger: logger)
        self.transport.setDelegate(self.recorder)
    }

    func on<R: Sendable>(_ body: @escaping @Sendable (Node) -> R) async throws -> R {
        try await self.loop.submit { body(self) }.get()
    }

    func listen() async throws -> Int { try await self.loop.flatSubmit { self.transport.listen() }.get() }
    func start() async throws { try await self.on { $0.transport.start() } }
    func stop() async throws { try await self.on { $0.transport.stop() } }

    /// Waits for something that has to come; how long it takes is nobody's business, 20 s is never.
    func eventually(
        _ what: String, location: SourceLocation = #_sourceLocation, _ condition: @escaping @Sendable (Node) -> Bool
    ) async throws {
        for _ in 0..<2000 {
            if try await self.on(condition) { return }
            try await Task.sleep(nanoseconds: 10_000_000)
        }
        Issue.record("it never came: \(what)", sourceLocation: location)
    }
}

private final class LogLines: LogHandler, @unchecked Sendable {
    // @unchecked: the fields of the protocol are not changed; lines are guarded.
    let lines = Mutex<[String]>([])
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }
    func log(event: LogEvent) {
        let line = "\(event.message) \(event.metadata ?? [:])"
        self.lines.withLock { $0.append(line) }
    }
    func contains(_ text: String) -> Bool { self.lines.withLock { $0.contains { $0.contains(text) } } }
}

@Suite(.serialized)
struct PeerTransportTests {
    private static let cluster = ClusterID(high: 1, low: 2)
    private static let key = [UInt8](repeating: 7, count: 32)

    private static func member(_ node: UInt32, incarnation: UInt64 = 1) -> MemberID {
        MemberID(node: NodeID(node), incarnation: Incarnation(high: incarnation, low: UInt64(node)))
    }

    private static func local(
        _ node: UInt32, cluster: ClusterID = Self.cluster, incarnation: UInt64 = 1, key: [UInt8] = Self.key,
        run: UInt64 = 1,
        port: Int = 0
    ) -> LocalPeer {
        LocalPeer(
            cluster: cluster, member: Self.member(node, incarnation: incarnation),
            history: RunHistory(RunMark(run: run, token: 5)), key: key,
            listenHost: "127.0.0.1", listenPort: port, redisHost: "127.0.0.1", redisPort: 7000 + Int(node))
    }

    private static func address(_ node: UInt32, port: Int) -> PeerAddress {
        PeerAddress(member: Self.member(node), host: "127.0.0.1", port: port)
    }

    /// Node 1 listens, node 2 (as `second` says) dials it.
    private static func pair<R>(
        second: LocalPeer = Self.local(2), _ body: (Node, Node) async throws -> R
    ) async throws -> R {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let one = Node(loop, Self.local(1), peers: [Self.address(2, port: 1)])
        let port = try await one.listen()
        let two = Node(loop, second, peers: [Self.address(1, port: port)])
        _ = try await two.listen()
        try await one.start()
        try await two.start()
        let result: R
        do { result = try await body(one, two) } catch {
            try await two.stop()
            try await one.stop()
            try await group.shutdownGracefully()
            throw error
        }
        try await two.stop()
        try await one.stop()
        try await group.shutdownGracefully()
        return result
    }

    @Test("two nodes of one cluster connect, tell of themselves, and messages arrive whole and in order")
    func connects() async throws {
        try await Self.pair { one, two in
            try await one.eventually("connection at 1") { $0.recorder.connected.count == 1 }
            try await two.eventually("connection at 2") { $0.recorder.connected.count == 1 }
            let hello = try await one.on { $0.recorder.connected[0] }
            #expect(hello.member == Self.member(2))
            #expect(hello.run == RunMark(run: 1, token: 5))
            #expect(hello.redisPort == 7002)
            try await two.on { node in
                for ticket in UInt64(1)...500 {
                    _ = node.transport.send(.copies(group: .default, index: ticket * 3, ticket: ticket), to: NodeID(1))
                    if ticket % 7 == 0 { node.transport.flush() }
                }
                node.transport.flush()
            }
            try await one.eventually("500 messages") { $0.recorder.messages.count == 500 }
            let (tickets, senders) = try await one.on { node in
                (
                    node.recorder.messages.map { message -> UInt64 in
                        if case .copies(_, let index, let ticket) = message, index == ticket * 3 { return ticket }
                        return 0
                    }, node.recorder.senders
                )
            }
            #expect(tickets == Array(1...500))
            #expect(senders.allSatisfy { $0 == Self.member(2) })
        }
    }

    @Test(
        "a node that does not belong is refused, with the reason in the log of both",
        arguments: [
            ("another cluster", Self.local(2, cluster: ClusterID(high: 1, low: 3)), HandshakeRefusal.otherCluster),
            ("a number nobody knows", Self.local(5), .unknownMember),
            ("another key", Self.local(2, key: [UInt8](repeating: 8, count: 32)), .wrongKey),
        ])
    func refuses(_ what: String, _ second: LocalPeer, _ refusal: HandshakeRefusal) async throws {
        try await Self.pair(second: second) { one, two in
            try await two.eventually("\(what) at 2") { $0.log.contains(refusal.description) }
            // Both ends prove the key: the dialler finds out first, and hangs up.
            if refusal != .wrongKey {
                try await one.eventually("\(what) at 1") { $0.log.contains(refusal.description) }
            }
            #expect(try await one.on { $0.recorder.connected.isEmpty })
            #expect(try await two.on { $0.recorder.connected.isEmpty })
        }
    }

    @Test("a known node with another disk is let in; one whose disk was replaced, not in the place of the new one")
    func otherDisks() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let one = Node(loop, Self.local(1), peers: [Self.address(2, port: 1)])
        let port = try await one.listen()
        let new = Node(loop, Self.local(2, incarnation: 9, run: 8), peers: [Self.address(1, port: port)])
        let old = Node(loop, Self.local(2, run: 7), peers: [Self.address(1, port: port)])
        try await one.on { $0.recorder.retired = [Self.member(2)] }
        try await old.start()
        try await one.eventually("the old one alone, to hear what it is") { $0.recorder.connected.count == 1 }
        try await new.start()
        try await one.eventually("the new one") {
            $0.recorder.connected.last?.member == Self.member(2, incarnation: 9)
        }
        try await old.eventually("the refusal") { $0.log.contains(HandshakeRefusal.wrongIncarnation.description) }
        #expect(try await one.on { $0.recorder.connected.count } == 2)
        for node in [old, new, one] { try await node.stop() }
        try await group.shutdownGracefully()
    }

    @Test("a program whose versions do not meet ours is refused")
    func versions() throws {
        var hello = Hello(
            purpose: .data, cluster: Self.cluster, member: Self.member(2),
            history: RunHistory(RunMark(run: 1, token: 1)), to: NodeID(1), nonce: .zero, redisHost: "h", redisPort: 1)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        defer { try? group.syncShutdownGracefully() }
        let transport = PeerTransport(
            loop: group.next(), local: Self.local(1), peers: [Self.address(2, port: 1)], logger: Logger(label: "t"))
        #expect(transport.judge(hello) == nil)
        hello.lowestVersion = WireCodec.highestVersion + 1
        hello.highestVersion = WireCodec.highestVersion + 5
        #expect(transport.judge(hello) == .versionOutOfRange)
        hello.lowestVersion = 0
        hello.highestVersion = WireCodec.lowestVersion - 1
        #expect(transport.judge(hello) == .versionOutOfRange)
        hello.highestVersion = WireCodec.lowestVersion
        #expect(transport.judge(hello) == nil)
        hello.to = NodeID(3)
        #expect(transport.judge(hello) == .misdirected)
    }

    @Test("when a peer is gone, its port closed, it is told as refused; one whose connection only broke is not")
    func refusedDial() async throws {
        try await Self.pair { one, two in
            try await one.eventually("connection") { $0.recorder.connected.count == 1 }
            try await two.eventually("connection") { $0.recorder.connected.count == 1 }
            try await one.stop()
            try await two.eventually("disconnection") { $0.recorder.disconnected == [NodeID(1)] }
            try await two.eventually("refusal") { $0.recorder.refused.contains(NodeID(1)) }
        }
    }

    @Test("bytes that are not a handshake, or not a frame, cost the sender its connection and nobody else anything")
    func garbage() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let node = Node(group.next(), Self.local(1), peers: [Self.address(2, port: 1)])
        let port = try await node.listen()
        var random = Random(seed: 42)
        for round in 0..<50 {
            let channel = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: port).get()
            var bytes = [UInt8]()
            if round % 2 == 0 { bytes = [UInt8(truncatingIfNeeded: random.next() % 200), 0] }
            for _ in 0..<(round * 20) { bytes.append(UInt8(truncatingIfNeeded: random.next())) }
            try? await channel.writeAndFlush(ByteBuffer(bytes: bytes))
            try? await channel.close()
        }
        let two = Node(group.next(), Self.local(2), peers: [Self.address(1, port: port)])
        _ = try await two.listen()
        try await two.start()
        try await node.eventually("a real peer still gets in") { $0.recorder.connected.count == 1 }
        try await two.stop()
        try await node.stop()
        try await group.shutdownGracefully()
    }

    @Test("hello: what is written is read, and no prefix of it, nor any mutation, traps")
    func helloBytes() throws {
        var history = RunHistory()
        for run in Run(1)...40 { history.begin(RunMark(run: run, token: run * 7)) }
        let hello = Hello(
            purpose: .data, cluster: Self.cluster, member: Self.member(2), history: history, to: NodeID(1),
            nonce: Hash128(low: 8, high: 7), redisHost: "host.example", redisPort: 7002
        )
        let bytes = hello.encoded()
        #expect(try bytes.withUnsafeBytes { try Hello($0) } == hello)
        for count in 0..<bytes.count {
            #expect(throws: (any Error).self) { try Array(bytes[..<count]).withUnsafeBytes { _ = try Hello($0) } }
        }
        var random = Random(seed: 1)
        for _ in 0..<10_000 {
            var mutated = bytes
            mutated[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            _ = try? mutated.withUnsafeBytes { try Hello($0) }
        }
    }

    /// Node 2 is to dial node 1, has found it gone, and does not try again for an hour.
    @Test func aNodeThatStartsIsDialledAtOnce() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let loop = group.next()
        let before = Node(loop, Self.local(1), peers: [])
        let port = try await before.listen()
        try await before.stop()

        let two = Node(loop, Self.local(2), peers: [Self.address(1, port: port)])
        let secondPort = try await two.listen()
        try await two.on { $0.transport.backOff = 3_600_000...3_600_000 }
        try await two.start()
        try await two.eventually("the first dial is over") { !$0.transport.isDialling(NodeID(1)) }
        #expect(try await two.on { $0.recorder.connected.isEmpty })

        let one = Node(loop, Self.local(1, port: port), peers: [Self.address(2, port: secondPort)])
        _ = try await one.listen()
        try await one.start()
        try await one.eventually("node 2 is there") { $0.recorder.connected.count == 1 }
        try await two.eventually("node 1 is there") { $0.recorder.connected.count == 1 }
        #expect(try await one.on { $0.recorder.refused.isEmpty })
        #expect(try await two.on { $0.recorder.refused.isEmpty })
        try await one.stop()
        try await two.stop()
        try await group.shutdownGracefully()
    }
}
