import Formats
import NodeCore
import Replication

/// The peers' connections, as `PeerTransport` keeps them: of two nodes the one with the higher number dials; after a
/// loss the other one dials too, once, to learn whether anyone is there.
extension World {
    // MARK: Dialling

    private func dials(_ node: SimulatedNode, _ peer: SimulatedNode) -> Bool { node.number > peer.number }

    func dial(_ node: SimulatedNode, _ peer: SimulatedNode, _ purpose: Purpose) {
        guard !node.peers[peer.index].isDialling, node.peers[peer.index].link == nil else { return }
        node.peers[peer.index].isDialling = true
        self.after(
            self.network.delay(node.index, peer.index, &self.random),
            .arrivedDial(node.index, life: node.life, to: peer.index, purpose, since: self.now))
    }

    /// The first packet of a dial is at the peer's machine, or is not.
    func dialArrived(_ node: SimulatedNode, _ peer: SimulatedNode, _ purpose: Purpose, since: Nanoseconds) {
        func fail(after delay: Nanoseconds, isRefused: Bool) {
            self.after(delay, .dialFailed(node.index, life: node.life, to: peer.index, isRefused: isRefused))
        }
        let back = self.network.delay(peer.index, node.index, &self.random)
        if self.network.isCut(node.index, peer.index) || self.network.isCut(peer.index, node.index)
            || peer.power == .off
        {
            // A kernel repeats the first packet until the time of the dial is over.
            guard self.now - since < .seconds(1) else { return fail(after: 0, isRefused: false) }
            return self.after(
                .milliseconds(50), .arrivedDial(node.index, life: node.life, to: peer.index, purpose, since: since))
        }
        guard peer.power == .up else { return fail(after: back, isRefused: true) }
        if peer.isPaused {
            // Its kernel accepts; nobody shakes hands. After 2 s the dialler closes, which counts as refused.
            guard self.now - since < .seconds(2) else { return fail(after: 0, isRefused: true) }
            return self.after(
                .milliseconds(50), .arrivedDial(node.index, life: node.life, to: peer.index, purpose, since: since))
        }
        if purpose == .probe {
            self.wasProbed(peer, by: node)
            return self.after(back, .probed(node.index, life: node.life, to: peer.index))
        }
        let connection = SimulatedConnection(
            dialler: node.index, life: node.life, acceptor: peer.index, acceptorLife: peer.life)
        self.network.connections.append(connection)
        self.send(.hello(self.hello(of: peer, to: node)), connection, from: 1)
        for end in 0..<2 { self.after(.seconds(2), .handshakeTimeout(connection, end: end)) }
    }

    private func hello(of node: SimulatedNode, to peer: SimulatedNode) -> Hello {
        Hello(node: node.index, member: node.member, run: node.run, history: node.identity.history)
    }

    func dialFailed(_ node: SimulatedNode, _ peer: SimulatedNode, isRefused: Bool) {
        node.peers[peer.index].isDialling = false
        self.dialEnded(node, peer, isRefused: isRefused)
    }

    private func dialEnded(_ node: SimulatedNode, _ peer: SimulatedNode, isRefused: Bool) {
        if isRefused, node.peers[peer.index].isTesting {
            node.peers[peer.index].isTesting = false
            self.note(.refused, node, UInt64(peer.number))
            self.begin(node)
            node.core!.peerRefused(peer.member.node)
            self.scheduleTurn(node)
        }
        self.dialAgain(node, peer)
    }

    private func dialAgain(_ node: SimulatedNode, _ peer: SimulatedNode) {
        guard self.dials(node, peer) else { return }
        let delay = max(.milliseconds(5), min(.milliseconds(250), node.peers[peer.index].delay * 2))
        node.peers[peer.index].delay = delay
        self.after(delay + self.random.below(delay), .dial(node.index, life: node.life, to: peer.index, .data))
    }

    /// Dials the peers that are this node's to dial, and shows the others that it is there.
    func startTransport(_ node: SimulatedNode) {
        for peer in self.nodes where peer !== node { self.dial(node, peer, self.dials(node, peer) ? .data : .probe) }
    }

    private func wasProbed(_ node: SimulatedNode, by peer: SimulatedNode) {
        guard self.dials(node, peer), node.peers[peer.index].link == nil else { return }
        node.peers[peer.index].delay = 0
        self.dial(node, peer, .data)
    }

    // MARK: Connections

    func send(_ payload: SimulatedConnection.Payload, _ connection: SimulatedConnection, from end: Int) {
        let to = 1 - end
        var delay = self.network.delay(connection.nodes[end], connection.nodes[to], &self.random)
        // The kernel sends it again after its timeout, twice the time after each loss.
        if self.happens(.packetLoss) { delay += .milliseconds(200) << self.random.below(2) }
        let arrival = max(connection.lanes[to].lastArrival + 1, self.now + delay)
        connection.lanes[to].lastArrival = arrival
        connection.lanes[to].payloads.append(payload)
        self.queue.add(.arrival(connection, end: to), at: arrival)
    }

    func sendEnd(_ connection: SimulatedConnection, from end: Int) {
        connection.states[end] = .closed
        self.send(.end, connection, from: end)
    }

    func arrived(_ connection: SimulatedConnection, _ end: Int, _ event: Event) throws {
        let node = self.nodes[connection.nodes[end]]
        let sender = connection.nodes[1 - end]
        if self.network.isCut(sender, node.index) || node.power == .off || connection.lanes[end].stalled > 0 {
            connection.lanes[end].stalled += 1
            return
        }
        if node.isRunning, node.life == connection.lives[end], node.isPaused { return node.deferred.append(event) }
        guard let payload = connection.lanes[end].next() else { return }
        guard node.isRunning, node.life == connection.lives[end], connection.states[end] != .closed else {
            // Nobody knows this connection here: the kernel says so.
            if case .end = payload { return }
            if connection.states[1 - end] != .closed, !self.network.isCut(node.index, sender) {
                self.after(
                    self.network.delay(node.index, sender, &self.random), .reset(connection, end: 1 - end))
            }
            return
        }
        switch payload {
        case .hello(let hello): self.shaken(node, connection, end, hello)
        case .end: self.connectionEnded(node, connection, end)
        case .bytes(let bytes): try self.received(node, bytes, from: self.nodes[sender])
        }
    }

    /// The handshake is done on this side.
    private func shaken(_ node: SimulatedNode, _ connection: SimulatedConnection, _ end: Int, _ hello: Hello) {
        connection.states[end] = .established
        let peer = self.nodes[hello.node]
        if end == 0 { self.send(.hello(self.hello(of: node, to: peer)), connection, from: 0) }
        node.peers[peer.index].isDialling = false
        node.peers[peer.index].isTesting = false
        node.peers[peer.index].delay = 0
        if let old = node.peers[peer.index].link {
            // The peer began anew before we saw the end of what was.
            node.peers[peer.index].link = nil
            self.sendEnd(old, from: old.end(of: node.index))
            self.begin(node)
            node.core!.peerDisconnected(peer.member.node)
            self.note(.disconnected, node, UInt64(peer.number))
        }
        node.peers[peer.index].outbox.removeAll()
        node.peers[peer.index].link = connection
        node.peers[peer.index].linkedAt = self.now
        node.peers[peer.index].linkRun = hello.run
        node.peers[peer.index].linkMember = hello.member
        self.note(.connected, node, UInt64(peer.number), hello.run.run)
        self.begin(node)
        node.core!.peerConnected(hello.member, history: hello.history)
        self.scheduleTurn(node)
    }

    /// The connection ended at this side: by the peer's end, a reset, or a handshake that took too long.
    func connectionEnded(_ node: SimulatedNode, _ connection: SimulatedConnection, _ end: Int) {
        let state = connection.states[end]
        connection.states[end] = .closed
        connection.lanes[end].removeAll()
        if connection.states[1 - end] == .closed { self.network.connections.removeAll { $0 === connection } }
        let peer = self.nodes[connection.nodes[1 - end]]
        switch state {
        case .closed:
            return
        case .established:
            guard node.peers[peer.index].link === connection else { return }
            node.peers[peer.index].link = nil
            node.peers[peer.index].outbox.removeAll()
            self.note(.disconnected, node, UInt64(peer.number))
            self.begin(node)
            node.core!.peerDisconnected(peer.member.node)
            self.scheduleTurn(node)
            // Both sides look at once whether anyone is still there.
            node.peers[peer.index].isTesting = true
            self.dial(node, peer, self.dials(node, peer) ? .data : .probe)
        case .handshaking where end == 0:
            node.peers[peer.index].isDialling = false
            self.dialEnded(node, peer, isRefused: true)
        case .handshaking:
            return
        }
    }

    /// The way is open again: what waited goes out, as the sender's kernel repeats it.
    func mend(_ from: Int, _ to: Int) {
        guard self.network.mend(from, to) else { return }
        self.note(.cutEnded, self.nodes[from], UInt64(self.nodes[to].number))
        self.releaseStalled(from: from, to: to)
    }

    func releaseStalled(from: Int, to: Int) {
        guard self.nodes[to].power != .off, !self.network.isCut(from, to), self.options.bug != .neverResends else {
            return
        }
        for connection in self.network.connections
        where connection.nodes.contains(from) && connection.nodes.contains(to) {
            let end = connection.end(of: to)
            let stalled = connection.lanes[end].stalled
            guard stalled > 0 else { continue }
            connection.lanes[end].stalled = 0
            var time = max(connection.lanes[end].lastArrival, self.now + self.random.below(200_000_000))
            for _ in 0..<stalled {
                time += 1
                self.queue.add(.arrival(connection, end: end), at: time)
            }
            connection.lanes[end].lastArrival = time
        }
    }

    /// The process's connections end: its kernel tells the peers, unless it is gone too.
    func closeConnections(of node: SimulatedNode, isTold: Bool) {
        let teardown = self.random.below(60_000_000)
        for connection in self.network.connections where connection.nodes.contains(node.index) {
            let end = connection.end(of: node.index)
            guard connection.lives[end] == node.life, connection.states[end] != .closed else { continue }
            connection.states[end] = .closed
            connection.lanes[end].removeAll()
            if isTold {
                let to = 1 - end
                let arrival = max(
                    connection.lanes[to].lastArrival + 1,
                    self.now + teardown + self.network.delay(node.index, connection.nodes[to], &self.random))
                connection.lanes[to].lastArrival = arrival
                connection.lanes[to].payloads.append(.end)
                self.queue.add(.arrival(connection, end: to), at: arrival)
            } else {
                // What still waited in its kernel is lost; what was on the wire arrives.
                connection.lanes[1 - end].stalled = 0
            }
        }
        self.network.connections.removeAll { $0.states[0] == .closed && $0.states[1] == .closed }
    }

    // MARK: Messages

    /// Encodes a message for the peer; dropped where there is no connection.
    func post(_ message: PeerMessage, from node: SimulatedNode, to id: NodeID) {
        let peer = Int(id.rawValue) - 1
        guard node.peers[peer].link != nil else { return }
        WireCodec.encode(message, into: &node.peers[peer].outbox)
    }

    func flush(_ node: SimulatedNode) {
        for peer in node.peers.indices where !node.peers[peer].outbox.isEmpty {
            var bytes: [UInt8] = []
            swap(&bytes, &node.peers[peer].outbox)
            guard let link = node.peers[peer].link else { continue }
            self.send(.bytes(bytes), link, from: link.end(of: node.index))
        }
    }

    private func received(_ node: SimulatedNode, _ bytes: [UInt8], from peer: SimulatedNode) throws {
        self.note(.message, node, UInt64(peer.number), UInt64(bytes.count))
        self.begin(node)
        let key = HashKey(self.cluster)
        let member = node.peers[peer.index].linkMember ?? peer.member
        try bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            do {
                while reader.remaining > 0 {
                    let frame = try reader.take(Int(try reader.read(UInt32.self)))
                    let message = try WireCodec.decode(frame, key: key)
                    guard let heard = self.asBugged(message, from: member, for: node) else { continue }
                    node.core!.receive(heard, from: member)
                }
            } catch {
                throw Violation(.wireRoundTrip, "\(error)")
            }
        }
        self.scheduleTurn(node)
    }

    // MARK: Heartbeats

    /// The heartbeat thread says that the process lives.
    func beat(_ node: SimulatedNode) {
        let syncAge = node.journal?.oldestUnfinishedSync.map { node.instant(at: self.now) - $0 } ?? 0
        for peer in self.nodes where peer !== node {
            let isLost = self.happens(.heartbeatLoss)
            let arrival = self.now + self.network.delay(node.index, peer.index, &self.random)
            guard !isLost, peer.isRunning, !self.network.isCut(node.index, peer.index) else { continue }
            // A socket's buffer holds so many and no more.
            guard peer.peers[node.index].beats.count < 256 else { continue }
            peer.peers[node.index].beats.append(
                SimulatedNode.Beat(at: arrival, run: node.run, coreAge: self.now - node.lastTurn, syncAge: syncAge))
        }
        self.after(Self.heartbeatInterval, .beat(node.index, life: node.life))
    }

    /// Hands over what the heartbeat thread recorded, then lets the core judge silence.
    func readHeartbeats(_ node: SimulatedNode) {
        for peer in self.nodes where peer !== node {
            while let beat = node.peers[peer.index].beats.first, beat.at <= self.now {
                node.peers[peer.index].beats.removeFirst()
                // Of another run that is not later: one that came late; or, after a while of silence, of a disk that has
                // forgotten its runs.
                if let latest = node.peers[peer.index].latest, beat.run != latest.run,
                    beat.run.run <= latest.run.run, beat.at <= latest.at + 1_000_000_000
                {
                    continue
                }
                node.peers[peer.index].latest = beat
            }
            guard let beat = node.peers[peer.index].latest else { continue }
            if let link = node.peers[peer.index].link, beat.run != node.peers[peer.index].linkRun,
                beat.run.run > node.peers[peer.index].linkRun.run
                    || beat.at > node.peers[peer.index].linkedAt + 1_000_000_000
            {
                // A machine that lost its power ended no connection: ours leads to a process that is gone, and where we
                // have nothing to send nobody will ever say so. The later run's beat does.
                self.send(.end, link, from: link.end(of: node.index))
                self.connectionEnded(node, link, link.end(of: node.index))
            }
            node.core!.heard(
                peer.member.node, at: node.instant(at: beat.at), coreAge: beat.coreAge, syncAge: beat.syncAge)
        }
        node.core!.judgeSilence()
        let begun = node.journal?.oldestUnfinishedSync
        node.core!.judgeOwnDisk(syncAge: begun.map { node.instant(at: self.now) - $0 } ?? 0)
    }
}
