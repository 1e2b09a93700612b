import CKintsugi
import Crypto
import Formats
import Glibc
import Journal
package import Replication
import Synchronization

/// What the heartbeat thread knows of one peer. Shared with the core loop by atomics alone.
package struct Beat: Sendable {
    /// When the last one arrived (CLOCK_BOOTTIME).
    package var at: Instant
    package var run: RunMark
    /// Age of the peer's last core turn, and of its oldest unfinished sync, when it was sent.
    package var coreAge: Nanoseconds
    package var syncAge: Nanoseconds
}

/// Says that this process lives, and records who else does, on a thread and a socket of its own: neither a sync nor a
/// busy core delays a beat.
///
/// Beats are datagrams on the peer port, each with an HMAC: one that is lost costs an interval, where a stream would
/// hold back all that follow until its retransmission timer fires. (docs/decisions/0005)
package final class Heartbeats: Sendable {
    private final class Slot: Sendable {
        let node: NodeID
        let host: String
        let port: Int
        let at = Atomic<UInt64>(0)
        let run = Atomic<UInt64>(0)
        let token = Atomic<UInt64>(0)
        let coreAge = Atomic<UInt64>(0)
        let syncAge = Atomic<UInt64>(0)
        /// Number of the last beat taken, so that none counts twice or late.
        let number = Atomic<UInt64>(0)

        init(_ address: PeerAddress) {
            self.node = address.member.node
            self.host = address.host
            self.port = address.port
        }
    }

    private let local: LocalPeer
    private let interval: Nanoseconds
    private let slots: [Slot]
    private let socket: Int32
    private let thread = JoinableThread()
    private let isStopping = Atomic<Bool>(false)
    private let lastTurn = Atomic<UInt64>(0)
    private let oldestSync: @Sendable () -> UInt64

    package struct PortTaken: Error { package var reason: String }

    /// - Parameters:
    ///   - interval: between two beats to each peer.
    ///   - oldestSync: when the journal's oldest unfinished sync began (CLOCK_BOOTTIME nanoseconds), 0 if none.
    package init(
        local: LocalPeer, peers: [PeerAddress], interval: Nanoseconds, oldestSync: @escaping @Sendable () -> UInt64
    ) throws(PortTaken) {
        self.local = local
        self.interval = interval
        self.slots = peers.map { Slot($0) }
        self.oldestSync = oldestSync
        let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { throw PortTaken(reason: String(cString: strerror(errno))) }
        self.socket = socket
        guard var address = Self.resolve(local.listenHost, local.listenPort),
            withUnsafePointer(
                to: &address,
                { pointer in
                    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                    }
                })
        else {
            let reason = String(cString: strerror(errno))
            close(socket)
            throw PortTaken(reason: reason)
        }
    }

    package func start() {
        self.lastTurn.store(Self.now, ordering: .relaxed)
        self.thread.start(name: "heartbeat") { [self] in self.run() }
    }

    package func stop() {
        self.isStopping.store(true, ordering: .relaxed)
        self.thread.join()
        close(self.socket)
    }

    /// The core has just finished a turn.
    package func coreTurned(at instant: Instant) { self.lastTurn.store(instant.nanoseconds, ordering: .relaxed) }

    /// The newest beat of a peer; nil before the first.
    package func latest(of node: NodeID) -> Beat? {
        guard let slot = self.slots.first(where: { $0.node == node }) else { return nil }
        let at = slot.at.load(ordering: .acquiring)
        guard at > 0 else { return nil }
        return Beat(
            at: Instant(nanoseconds: at),
            run: RunMark(run: slot.run.load(ordering: .relaxed), token: slot.token.load(ordering: .relaxed)),
            coreAge: slot.coreAge.load(ordering: .relaxed), syncAge: slot.syncAge.load(ordering: .relaxed))
    }

    // MARK: On the thread

    private static let magic: UInt32 = 0x3142_484b  // "KHB1"
    private static let bodyBytes = 4 + 16 + 20 + 8 + 8 + 8 + 8 + 8 + 4
    private static let proofBytes = 16

    private func run() {
        // Granted or not: a beat matters more than a client's request.
        _ = kintsugi_raise_priority(-10)
        let key = SymmetricKey(data: self.local.key)
        var addresses: [sockaddr_in?] = self.slots.map { _ in nil }
        var nextSend = Self.now
        var nextResolve: UInt64 = 0
        var number = UInt64(0)
        var buffer = [UInt8](repeating: 0, count: 256)
        while !self.isStopping.load(ordering: .relaxed) {
            let now = Self.now
            if now >= nextResolve {
                for at in self.slots.indices { addresses[at] = Self.resolve(self.slots[at].host, self.slots[at].port) }
                nextResolve = now + 5_000_000_000
            }
            if now >= nextSend {
                number += 1
                for at in self.slots.indices {
                    if let address = addresses[at] { self.beat(number, to: self.slots[at].node, address, key, now) }
                }
                nextSend = max(nextSend + self.interval, now)
            }
            var descriptor = pollfd(fd: self.socket, events: Int16(POLLIN), revents: 0)
            let wait = nextSend > now ? (nextSend - now) / 1_000_000 + 1 : 0
            if poll(&descriptor, 1, Int32(wait)) > 0 {
                while true {
                    let count = recv(self.socket, &buffer, buffer.count, Int32(MSG_DONTWAIT))
                    guard count > 0 else { break }
                    self.receive(buffer[..<count], key)
                }
            }
        }
    }

    private func beat(_ number: UInt64, to node: NodeID, _ address: sockaddr_in, _ key: SymmetricKey, _ now: UInt64) {
        var out: [UInt8] = []
        out.reserveCapacity(Self.bodyBytes + Self.proofBytes)
        out.append(littleEndian: Self.magic)
        out.append(littleEndian: self.local.cluster.high)
        out.append(littleEndian: self.local.cluster.low)
        out.append(self.local.member)
        out.append(littleEndian: self.local.history.last.run)
        out.append(littleEndian: self.local.history.last.token)
        out.append(littleEndian: number)
        let turn = self.lastTurn.load(ordering: .relaxed)
        out.append(littleEndian: now > turn ? now - turn : 0)
        let sync = self.oldestSync()
        out.append(littleEndian: sync > 0 && now > sync ? now - sync : 0)
        out.append(littleEndian: node.rawValue)
        out.append(contentsOf: HMAC<SHA256>.authenticationCode(for: out, using: key).prefix(Self.proofBytes))
        var address = address
        _ = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(self.socket, out, out.count, Int32(MSG_DONTWAIT), $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private func receive(_ bytes: ArraySlice<UInt8>, _ key: SymmetricKey) {
        guard bytes.count == Self.bodyBytes + Self.proofBytes else { return }
        let body = bytes.prefix(Self.bodyBytes)
        let expected = HMAC<SHA256>.authenticationCode(for: Array(body), using: key).prefix(Self.proofBytes)
        guard expected.elementsEqual(bytes.dropFirst(Self.bodyBytes)) else { return }
        body.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            guard (try? reader.read(UInt32.self)) == Self.magic, let high = try? reader.read(UInt64.self),
                let low = try? reader.read(UInt64.self), ClusterID(high: high, low: low) == self.local.cluster,
                let member = try? reader.member(), let run = try? reader.read(UInt64.self),
                let token = try? reader.read(UInt64.self), let number = try? reader.read(UInt64.self),
                let coreAge = try? reader.read(UInt64.self), let syncAge = try? reader.read(UInt64.self),
                let to = try? reader.read(UInt32.self), to == self.local.member.node.rawValue,
                let slot = self.slots.first(where: { $0.node == member.node })
            else { return }
            let lastRun = slot.run.load(ordering: .relaxed)
            let isSame = run == lastRun && token == slot.token.load(ordering: .relaxed)
            let now = Self.now
            // Of another run that is not later: one that came late; or, after a while of silence, of a disk that has
            // forgotten its runs.
            let isSilent = now > slot.at.load(ordering: .relaxed) + 1_000_000_000
            guard isSame ? number > slot.number.load(ordering: .relaxed) : run > lastRun || isSilent else { return }
            slot.token.store(token, ordering: .relaxed)
            slot.run.store(run, ordering: .relaxed)
            slot.number.store(number, ordering: .relaxed)
            slot.coreAge.store(coreAge, ordering: .relaxed)
            slot.syncAge.store(syncAge, ordering: .relaxed)
            slot.at.store(now, ordering: .releasing)
        }
    }

    private static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private static func resolve(_ host: String, _ port: Int) -> sockaddr_in? {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        if inet_pton(AF_INET, host, &address.sin_addr) == 1 { return address }
        var hints = addrinfo()
        hints.ai_family = AF_INET
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &found) == 0, let first = found else { return nil }
        defer { freeaddrinfo(found) }
        guard let raw = first.pointee.ai_addr else { return nil }
        address.sin_addr = raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { $0.pointee.sin_addr }
        return address
    }
}
