import Glibc

extension LoadLoop {
    /// After a refusal or a lost connection an address is left alone for this long, where there are others: a dial to a
    /// process that is being torn down is often accepted first and reset later.
    private static let avoidance: UInt64 = 250_000_000
    /// The same with nowhere else to go.
    private static let pause: UInt64 = 5_000_000

    /// Begins to connect.
    mutating func dial(_ index: Int, address: Int, now: UInt64) {
        let connection = self.connections.baseAddress! + index
        connection.pointee.address = address
        connection.pointee.retryAt = now
        connection.pointee.watchesWritable = false
        self.connectionsAt[address] += 1
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        connection.pointee.socket = socket(AF_INET, type, 0)
        connection.pointee.state = .connecting
        guard connection.pointee.socket >= 0 else { return self.lost(index, now: now) }
        var one: Int32 = 1
        setsockopt(
            connection.pointee.socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        var target = self.job.addresses[address].socketAddress
        let result = withUnsafePointer(to: &target) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(connection.pointee.socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        // Also a connection made at once is reported writable, so there is one way on.
        guard result == 0 || errno == EINPROGRESS, (try? self.watch(index, writable: true, added: false)) != nil else {
            return self.lost(index, now: now)
        }
    }

    /// The dial has come to an end, one way or the other.
    mutating func dialled(_ index: Int) throws(BenchError) {
        let socket = self.connections[index].socket
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &length)
        guard code == 0, !Self.isConnectedToItself(socket) else { return self.lost(index, now: Self.now()) }
        try self.opened(index)
    }

    /// A dial to a dead port of the ephemeral range can meet itself.
    private static func isConnectedToItself(_ socket: Int32) -> Bool {
        var own = sockaddr_in()
        var peer = sockaddr_in()
        func name(
            _ address: inout sockaddr_in, _ call: (Int32, UnsafeMutablePointer<sockaddr>, inout socklen_t) -> Int32
        ) -> Bool {
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            return withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { call(socket, $0, &length) == 0 }
            }
        }
        guard name(&own, { getsockname($0, $1, &$2) }), name(&peer, { getpeername($0, $1, &$2) }) else { return false }
        return own.sin_port == peer.sin_port && own.sin_addr.s_addr == peer.sin_addr.s_addr
    }

    /// The connection has ended, or could not be made: its operations are booked and another address is dialled.
    mutating func lost(_ index: Int, now: UInt64) {
        self.bookLost(index, now: now)
        let connection = self.connections.baseAddress! + index
        if connection.pointee.socket >= 0 { close(connection.pointee.socket) }
        connection.pointee.socket = -1
        let address = connection.pointee.address
        self.connectionsAt[address] -= 1
        self.avoidUntil[address] = now + (self.job.addresses.count > 1 ? Self.avoidance : Self.pause)
        self.reconnects += 1
        if connection.pointee.state == .finished { return }
        connection.pointee.state = .waiting
        // The next turn of the loop dials: a refusal that comes at once must not recurse.
        connection.pointee.retryAt = self.choose(now) != nil ? now : now + Self.pause
        self.nextRetry = min(self.nextRetry, connection.pointee.retryAt)
    }

    /// Dials for the connections that wait and whose time has come.
    mutating func retry(_ now: UInt64) {
        self.nextRetry = .max
        for index in 0..<self.connections.count where self.connections[index].state == .waiting {
            if self.connections[index].retryAt > now {
                self.nextRetry = min(self.nextRetry, self.connections[index].retryAt)
            } else if let address = self.choose(now) {
                self.dial(index, address: address, now: now)
            } else {
                self.connections[index].retryAt = now + Self.pause
                self.nextRetry = min(self.nextRetry, now + Self.pause)
            }
        }
    }

    /// The address with the fewest connections of those that are not avoided, so that writers spread over the nodes
    /// again.
    private func choose(_ now: UInt64) -> Int? {
        var best: Int?
        for address in self.avoidUntil.indices where self.avoidUntil[address] <= now {
            if best.map({ self.connectionsAt[address] < self.connectionsAt[$0] }) ?? true { best = address }
        }
        return best
    }
}
