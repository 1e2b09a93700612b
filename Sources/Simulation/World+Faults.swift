import NodeCore
import Replication

/// Faults: each is drawn from its own seed, and is void where there is nothing that it could hit.
extension World {
    func inject(_ fault: ScheduledFault) throws {
        guard self.phase == .faults, let inject = fault.kind.definition.inject else { return }
        self.counts.faults += 1
        var draw = Random(seed: fault.seed)
        try inject(self)(&draw)
    }

    /// Whether a standing fault hits this occasion.
    func happens(_ kind: FaultKind) -> Bool {
        let perThousand = self.schedule.model[kind]
        return self.phase == .faults && perThousand > 0 && self.random.chance(perThousand, in: 1000)
    }

    // MARK: Choices

    func anyNode(_ draw: inout Random) -> SimulatedNode { self.nodes[Int(draw.below(UInt64(self.nodes.count)))] }

    /// Two different nodes; nil where there is but one.
    func anyPair(_ draw: inout Random) -> (SimulatedNode, SimulatedNode)? {
        let node = self.anyNode(&draw)
        guard self.nodes.count > 1 else { return nil }
        let at = Int(draw.below(UInt64(self.nodes.count - 1)))
        return (node, self.nodes[at < node.index ? at : at + 1])
    }

    /// Mostly short, now and then long against the timeouts.
    static func length(_ draw: inout Random) -> Nanoseconds {
        draw.chance(1, in: 3) ? draw.below(2_000_000_000) : 10_000_000 + draw.below(400_000_000)
    }

    /// Starts the node's process some time later.
    func restart(_ node: SimulatedNode, _ draw: inout Random) {
        // Sometimes at once: a supervisor is quick.
        let pause = draw.chance(1, in: 4) ? draw.below(15_000_000) : Self.length(&draw)
        self.after(pause, .start(node.index, life: node.life))
    }

    // MARK: Processes and machines

    func injectProcessCrash(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        self.kill(node, &draw)
        self.restart(node, &draw)
    }

    func injectPowerCut(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        self.losePower(node, &draw)
        self.restart(node, &draw)
    }

    func injectTotalPowerCut(_ draw: inout Random) {
        for node in self.nodes { self.losePower(node, &draw) }
        for node in self.nodes { self.restart(node, &draw) }
    }

    func injectGracefulStop(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        guard node.isRunning, !node.isPaused, !node.isStopping else { return }
        self.note(.stopping, node)
        node.isStopping = true
        self.begin(node)
        node.core!.stop()
        self.scheduleTurn(node)
    }

    func injectPause(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        self.pause(node, for: Self.length(&draw))
    }

    func healPauses() {
        for node in self.nodes where node.isPaused { self.resume(node) }
    }

    /// A vote is promised and its voter dies: the moments in which a promise that is not kept shows.
    func considerDeathAtElection() {
        guard self.happens(.deathAtElection) else { return }
        let node = self.nodes[Int(self.random.below(UInt64(self.nodes.count)))]
        self.after(self.random.below(4_000_000), .kill(node.index, life: node.life))
    }

    func killAtElection(_ node: SimulatedNode) {
        guard self.phase == .faults else { return }
        self.counts.faults += 1
        var draw = Random(seed: self.random.next())
        self.kill(node, &draw)
        self.after(draw.below(3_000_000), .start(node.index, life: node.life))
    }

    // MARK: Network

    private func cut(_ from: SimulatedNode, _ to: SimulatedNode, for length: Nanoseconds) {
        self.note(.cut, from, UInt64(to.number), length)
        self.network.cut(from.index, to.index)
        self.after(length, .mend(from.index, to.index, era: self.era))
    }

    func injectPartition(_ draw: inout Random) {
        let length = Self.length(&draw)
        var side: [Bool] = []
        for _ in self.nodes { side.append(draw.chance(1, in: 2)) }
        for from in self.nodes {
            for to in self.nodes where side[from.index] != side[to.index] { self.cut(from, to, for: length) }
        }
    }

    func injectPartialPartition(_ draw: inout Random) {
        let length = Self.length(&draw)
        for from in self.nodes {
            for to in self.nodes where to.index > from.index && draw.chance(1, in: 3) {
                self.cut(from, to, for: length)
                self.cut(to, from, for: length)
            }
        }
    }

    func injectFlappingLink(_ draw: inout Random) {
        guard let (node, other) = self.anyPair(&draw) else { return }
        let isOneWay = draw.chance(1, in: 2)
        var start: Nanoseconds = 0
        for _ in 0..<3 + draw.below(10) {
            let length = 1_000_000 + draw.below(120_000_000)
            self.after(start) { world in
                guard world.phase == .faults else { return }
                world.cut(node, other, for: length)
                if !isOneWay { world.cut(other, node, for: length) }
            }
            start += length + draw.below(150_000_000)
        }
    }

    func injectOneWayCut(_ draw: inout Random) {
        guard let (node, other) = self.anyPair(&draw) else { return }
        self.cut(node, other, for: Self.length(&draw))
    }

    func injectConnectionDrop(_ draw: inout Random) {
        guard let (node, other) = self.anyPair(&draw) else { return }
        guard let link = node.peers.isEmpty || !node.isRunning ? nil : node.peers[other.index].link else { return }
        self.note(.dropped, node, UInt64(other.number))
        for end in 0..<2 { self.after(draw.below(5_000_000), .reset(link, end: end)) }
    }

    func injectSlowLink(_ draw: inout Random) {
        guard let (node, other) = self.anyPair(&draw) else { return }
        let extra = 5_000_000 + draw.below(250_000_000)
        self.note(.slowLink, node, UInt64(other.number), extra)
        self.network.slow(node.index, other.index, by: extra)
        self.after(Self.length(&draw)) { $0.network.slow(node.index, other.index, by: 0) }
    }

    func healNetwork() {
        self.network.healAll()
        for from in self.nodes {
            for to in self.nodes where from !== to { self.releaseStalled(from: from.index, to: to.index) }
        }
    }

    // MARK: Disks

    func injectSlowDisk(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        node.diskExtra = 10_000_000 + draw.below(draw.chance(1, in: 4) ? 2_000_000_000 : 200_000_000)
        self.note(.slowDisk, node, node.diskExtra)
        self.after(Self.length(&draw)) { _ in node.diskExtra = 0 }
    }

    func injectFailedSync(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        guard node.isRunning else { return }
        node.disk.failingSyncs = draw.chance(1, in: 4) ? 2 : 1
    }

    func healDisks() {
        for node in self.nodes {
            node.diskExtra = 0
            node.disk.failingSyncs = 0
        }
    }

    // MARK: Clocks

    func injectClockJump(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        let distance = draw.below(draw.chance(1, in: 2) ? .seconds(1) : .seconds(3600))
        let isAhead = draw.chance(1, in: 2)
        self.note(.clockJump, node, distance, isAhead ? 1 : 0)
        if isAhead { node.wallOffset += distance } else { node.wallOffset -= distance }
    }

    /// Once for each machine, before anything happens: how far its clocks are off, in parts of a million.
    func drawClockDrifts() {
        for node in self.nodes where self.happens(.clockDrift) {
            node.drift = Int64(self.random.below(20_001)) - 10_000
        }
    }

    // MARK: Clients and operators

    func injectClientDisconnect(_ draw: inout Random) {
        self.disconnectClient(Int(draw.below(UInt64(self.clients.slots.count))))
    }

    func injectTransfer(_ draw: inout Random) {
        let node = self.anyNode(&draw)
        guard node.isRunning, !node.isPaused else { return }
        let group = Self.groups[Int(draw.below(2))]
        self.note(.transfer, node, group.rawValue)
        self.begin(node)
        _ = node.core!.transfer(group, to: nil)
        self.scheduleTurn(node)
    }
}
