package import Formats
import Glibc
package import Logging
package import NIOCore
import NIOPosix
package import Replication

/// Who this node is to its peers.
package struct LocalPeer: Sendable {
    package var cluster: ClusterID
    package var member: MemberID
    package var history: RunHistory
    /// The cluster's secret, 32 bytes.
    package var key: [UInt8]
    package var listenHost: String
    package var listenPort: Int
    package var redisHost: String
    package var redisPort: Int

    package init(
        cluster: ClusterID, member: MemberID, history: RunHistory, key: [UInt8], listenHost: String, listenPort: Int,
        redisHost: String, redisPort: Int
    ) {
        self.cluster = cluster
        self.member = member
        self.history = history
        self.key = key
        self.listenHost = listenHost
        self.listenPort = listenPort
        self.redisHost = redisHost
        self.redisPort = redisPort
    }
}

/// Where a node is reached. Of `member` only the node counts: which disk it has by now, it says itself.
package struct PeerAddress: Sendable {
    package var member: MemberID
    package var host: String
    package var port: Int

    package init(member: MemberID, host: String, port: Int) {
        self.member = member
        self.host = host
        self.port = port
    }
}

/// All calls are made on the core loop.
package protocol PeerTransportDelegate: AnyObject {
    /// The data connection is up. `hello` is what the peer told of itself.
    func peerConnected(_ hello: Hello)
    func peerDisconnected(_ node: NodeID)
    /// The connection ended, and the re-dial was refused, or accepted and ended before the handshake.
    func peerRefused(_ node: NodeID)
    func received(_ message: PeerMessage, from member: MemberID)
    /// After all messages of one read.
    func receivedBatchEnd()
    /// Whether another disk has taken this one's place.
    func isRetired(_ member: MemberID) -> Bool
}

/// The connections to all peers. Of two nodes the one with the higher number dials; after a loss the other one dials too,
/// once, to learn whether anyone is there. Everything happens on the core loop.
package final class PeerTransport {
    let loop: any EventLoop
    let local: LocalPeer
    let logger: Logger
    weak var delegate: (any PeerTransportDelegate)?
    private var peers: [Peer] = []
    private var listener: (any Channel)?
    private var halfOpen = 0
    private var isStopped = false
    private var generator = SystemRandomNumberGenerator()
    /// Milliseconds from one dial to the next, twice as many each time, and each with up to as much again of jitter.
    package var backOff: ClosedRange<Int64> = 5...250

    /// Half-open connections, beyond which newcomers are closed.
    static let maxHalfOpen = 64
    /// Bytes that wait for a peer, beyond which messages to it are dropped; replicas send again.
    static let maxOutboxBytes = 64 << 20

    private struct Peer {
        let address: PeerAddress
        var link: PeerLink?
        /// At the other end of `link`, and since when.
        var member: MemberID?
        var run = RunMark.none
        var linkedAt = NIODeadline.uptimeNanoseconds(0)
        var outbox: [UInt8] = []
        var delay: Int64 = 0
        var isDialling = false
        /// The outcome of the next dial tells whether the peer is gone.
        var isTesting = false
        var lastRefusal: HandshakeRefusal?
    }

    package init(loop: any EventLoop, local: LocalPeer, peers: [PeerAddress], logger: Logger) {
        self.loop = loop
        self.local = local
        self.logger = logger
        self.peers = peers.map { Peer(address: $0) }
    }

    package func setDelegate(_ delegate: any PeerTransportDelegate) { self.delegate = delegate }

    /// Opens the listener. Fails with the socket's `IOError` where the port is taken.
    package func listen() -> EventLoopFuture<Int> {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        return ServerBootstrap(group: self.loop)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 4096, initial: 65536, maximum: 1 << 20)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try bound.value.accept(channel) }
            }
            .bind(host: self.local.listenHost, port: self.local.listenPort)
            .map { channel in
                bound.value.listener = channel
                return channel.localAddress?.port ?? bound.value.local.listenPort
            }
    }

    /// Dials the peers that are this node's to dial, and shows the others that it is there:
    ///
    /// 1. A leads. B is restarted after a while, and dials A, with the lower number. C, which is to dial B, has found it gone
    ///    often enough that it waits for up to half a second.
    /// 2. A sees B following, and all nodes in full service. A is killed.
    /// 3. B and C both see that at once; but neither can ask the other for its vote before C dials again.
    package func start() {
        for at in self.peers.indices { self.dial(at, self.dials(at) ? .data : .probe) }
    }

    package func stop() {
        self.isStopped = true
        self.listener?.close(promise: nil)
        for peer in self.peers { peer.link?.close() }
    }

    /// Queues a message for the next `flush`; false where it can not be sent.
    package func send(_ message: PeerMessage, to node: NodeID) -> Bool {
        guard let at = self.peers.firstIndex(where: { $0.address.member.node == node }), let link = self.peers[at].link,
            link.bytesInFlight + self.peers[at].outbox.count < Self.maxOutboxBytes
        else { return false }
        WireCodec.encode(message, into: &self.peers[at].outbox)
        return true
    }

    /// One write for each peer with messages waiting.
    package func flush() {
        for at in self.peers.indices where !self.peers[at].outbox.isEmpty {
            self.peers[at].link?.write(self.peers[at].outbox)
            self.peers[at].outbox.removeAll(keepingCapacity: self.peers[at].outbox.capacity <= 4 << 20)
        }
    }

    /// A beat of a later run than the one at the other end of the connection: that one is gone, and nothing says so to
    /// who has nothing to send.
    ///
    /// 1. The power of B's machine goes and comes back. No segment of B's closes the connection at A.
    /// 2. A has nothing to send to B, so it gets no reset either; B's new run waits for A to dial.
    /// So says a beat of another run that is not later, where the connection is not new: of a disk that has forgotten its
    /// runs, and begins with lower numbers, or by chance with the same one.
    package func drop(_ node: NodeID, unlike run: RunMark) {
        guard let at = self.index(of: node), let link = self.peers[at].link, self.peers[at].run != run else { return }
        if run.run > self.peers[at].run.run || NIODeadline.now() - self.peers[at].linkedAt > .seconds(1) {
            link.close()
        }
    }

    // MARK: Dialling

    /// A dial is under way, with no outcome yet.
    package func isDialling(_ node: NodeID) -> Bool { self.index(of: node).map { self.peers[$0].isDialling } ?? false }

    private func dials(_ at: Int) -> Bool { self.local.member.node > self.peers[at].address.member.node }

    private func index(of node: NodeID) -> Int? { self.peers.firstIndex { $0.address.member.node == node } }

    private func dial(_ at: Int, _ purpose: Hello.Purpose) {
        guard !self.isStopped, !self.peers[at].isDialling, self.peers[at].link == nil else { return }
        self.peers[at].isDialling = true
        let address = self.peers[at].address
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        ClientBootstrap(group: self.loop)
            .connectTimeout(.seconds(1))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 4096, initial: 65536, maximum: 1 << 20)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let link = PeerLink(transport: bound.value, dialling: address.member.node, purpose: purpose)
                    try channel.pipeline.syncOperations.addHandler(link)
                }
            }
            .connect(host: address.host, port: address.port)
            .whenFailure { error in bound.value.dialFailed(address.member.node, error) }
    }

    private func dialFailed(_ node: NodeID, _ error: any Error) {
        guard let at = self.index(of: node) else { return }
        self.peers[at].isDialling = false
        self.dialEnded(at, isRefused: Self.isRefused(error))
    }

    /// A time-out is silence, which the heartbeats judge; a reset is what a process says whose listener closes just then.
    private static func isRefused(_ error: any Error) -> Bool {
        if let error = error as? IOError { return error.errnoCode == ECONNREFUSED || error.errnoCode == ECONNRESET }
        guard let error = error as? NIOConnectionError else { return false }
        return error.connectionErrors.contains { Self.isRefused($0.error) }
            && !error.connectionErrors.contains { ($0.error as? ChannelError) != nil }
    }

    private func dialEnded(_ at: Int, isRefused: Bool) {
        if isRefused, self.peers[at].isTesting {
            self.peers[at].isTesting = false
            self.delegate?.peerRefused(self.peers[at].address.member.node)
        }
        self.dialAgain(at)
    }

    /// Who is dialled does so too while it tests: an outcome that says neither that the peer is there nor that it is gone is
    /// none, and without another the peer's death would show by its silence alone.
    private func dialAgain(_ at: Int) {
        guard self.dials(at) || self.peers[at].isTesting, !self.isStopped else { return }
        let delay = max(self.backOff.lowerBound, min(self.backOff.upperBound, self.peers[at].delay * 2))
        self.peers[at].delay = delay
        let jitter = Int64.random(in: 0...delay, using: &self.generator)
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let node = self.peers[at].address.member.node
        self.loop.scheduleTask(in: .milliseconds(delay + jitter)) {
            guard let at = bound.value.index(of: node), bound.value.dials(at) || bound.value.peers[at].isTesting else {
                return
            }
            bound.value.dial(at, bound.value.dials(at) ? .data : .probe)
        }
    }

    // MARK: Links

    private func accept(_ channel: any Channel) throws {
        guard self.halfOpen < Self.maxHalfOpen else { throw ChannelError.connectPending }
        try channel.pipeline.syncOperations.addHandler(PeerLink(transport: self, dialling: nil, purpose: .data))
    }

    func linkOpened() { self.halfOpen += 1 }
    func linkSettled() { self.halfOpen -= 1 }

    func hello(to node: NodeID, _ purpose: Hello.Purpose) -> Hello {
        Hello(
            purpose: purpose, cluster: self.local.cluster, member: self.local.member, history: self.local.history,
            to: node,
            nonce: Hash128(low: self.generator.next(), high: self.generator.next()), redisHost: self.local.redisHost,
            redisPort: UInt16(self.local.redisPort))
    }

    /// Whether a hello is of a peer that belongs here: a known node, with whatever disk. What counts of what it says, the
    /// groups' logs decide; and one whose disk was lost, or is an old copy, has to hear so.
    package func judge(_ hello: Hello) -> HandshakeRefusal? {
        guard hello.cluster == self.local.cluster else { return .otherCluster }
        guard hello.to == self.local.member.node else { return .misdirected }
        guard let at = self.index(of: hello.member.node) else { return .unknownMember }
        if self.peers[at].link != nil, self.peers[at].member != hello.member,
            self.delegate?.isRetired(hello.member) == true
        {
            return .wrongIncarnation
        }
        guard hello.lowestVersion <= WireCodec.highestVersion, hello.highestVersion >= WireCodec.lowestVersion else {
            return .versionOutOfRange
        }
        return nil
    }

    /// The handshake is done on both sides.
    func established(_ link: PeerLink, _ hello: Hello) {
        guard let at = self.index(of: hello.member.node), !self.isStopped else { return link.close() }
        self.peers[at].isDialling = false
        self.peers[at].isTesting = false
        self.peers[at].delay = 0
        self.peers[at].lastRefusal = nil
        if let old = self.peers[at].link {
            // The peer began anew before we saw the end of what was.
            self.peers[at].link = nil
            old.close()
            self.delegate?.peerDisconnected(hello.member.node)
        }
        self.peers[at].outbox.removeAll(keepingCapacity: true)
        self.peers[at].link = link
        self.peers[at].member = hello.member
        self.peers[at].run = hello.run
        self.peers[at].linkedAt = .now()
        self.delegate?.peerConnected(hello)
    }

    /// A peer that is ours to dial looks whether we are there: so it is, and this is no time to wait. It has proved nothing
    /// yet; all it brings about is one dial of the address that we know.
    func wasProbed(by node: NodeID) {
        guard let at = self.index(of: node), self.dials(at), self.peers[at].link == nil else { return }
        self.peers[at].delay = 0
        self.dial(at, .data)
    }

    /// A probe was answered: the peer lives.
    func probed(_ node: NodeID) {
        guard let at = self.index(of: node) else { return }
        self.peers[at].isDialling = false
        self.peers[at].isTesting = false
    }

    func refused(_ node: NodeID?, _ reason: HandshakeRefusal, byPeer: Bool) {
        let at = node.flatMap { self.index(of: $0) }
        // One line for each new reason, not one for each attempt.
        if let at {
            guard self.peers[at].lastRefusal != reason else { return }
            self.peers[at].lastRefusal = reason
        }
        self.logger.warning(
            byPeer ? "a peer refuses this node" : "a peer is refused",
            metadata: ["peer": "\(node.map { "\($0)" } ?? "unknown")", "reason": "\(reason)"])
    }

    /// The link's connection ended.
    func closed(_ link: PeerLink, node: NodeID?, wasEstablished: Bool, wasRefused: Bool) {
        guard let node, let at = self.index(of: node) else { return }
        if wasEstablished {
            guard self.peers[at].link === link else { return }
            self.peers[at].link = nil
            self.peers[at].outbox.removeAll(keepingCapacity: true)
            self.delegate?.peerDisconnected(node)
            guard !self.isStopped else { return }
            // Both sides look at once whether anyone is still there.
            self.peers[at].isTesting = true
            self.dial(at, self.dials(at) ? .data : .probe)
        } else if link.isDialler {
            self.peers[at].isDialling = false
            // Accepted, and ended before the handshake: the kernel of a dying process does that.
            self.dialEnded(at, isRefused: !wasRefused)
        }
    }
}

@available(*, unavailable)
extension PeerTransport: Sendable {}
