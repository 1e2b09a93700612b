import Formats
import NodeCore
import Replication

/// A whole cluster in one thread: real cores on simulated clocks, links and disks, with clients, faults and checks. All
/// that happens follows from the seed.
///
/// A run has two phases. In the first, faults come as `FaultSchedule` has them. Then everything is healed, and within a
/// bound every group must have a leader, every node serve, every request have its answer, and all states be equal.
/// Invariants of the cluster are checked after every turn of a core, the clients' history at the end.
package final class World {
    enum Purpose {
        case data, probe
    }

    /// What is to happen. Those with a `life` concern one process, and are void after it.
    enum Event {
        case tick(Int, life: Int)
        case turn(Int, life: Int)
        case wake(Int, life: Int)
        case beat(Int, life: Int)
        case journal(Int, life: Int)
        case journalTold(Int, life: Int, JournalPipeline.Event)
        case snapshots(Int, life: Int)
        case dial(Int, life: Int, to: Int, Purpose)
        case arrivedDial(Int, life: Int, to: Int, Purpose, since: Nanoseconds)
        case dialFailed(Int, life: Int, to: Int, isRefused: Bool)
        case probed(Int, life: Int, to: Int)
        case submit(Int, life: Int, operation: Int, slot: Int)
        case arrival(SimulatedConnection, end: Int)
        case reset(SimulatedConnection, end: Int)
        case handshakeTimeout(SimulatedConnection, end: Int)
        case start(Int, life: Int)
        case kill(Int, life: Int)
        case resume(Int, life: Int)
        case mend(Int, Int, era: Int)
        case client(Int)
        case fault(ScheduledFault)
        /// Whatever else is to be done, for faults and their ends.
        case call((World) throws -> Void)
        case heal
        case poll
    }

    enum Phase: Equatable {
        case faults, recovering, demanding, settling, done
    }

    let options: SimulationOptions
    let schedule: FaultSchedule
    /// Drawn once a run, alike on all nodes.
    let requestTimeout: Nanoseconds
    let maxEvents: Int
    let checkpointBytes: Int
    let sickAfter: Nanoseconds
    let cluster: ClusterID
    /// Every start is given it.
    let seed: ClusterSeed
    var random: Random
    var queue = EventQueue<Event>()
    /// Simulated time since the run began.
    var now: Nanoseconds = 0
    var step = 0
    var trace: Trace
    var nodes: [SimulatedNode] = []
    var network: SimulatedNetwork
    var invariants = ClusterInvariants()
    var clients: Clients
    var phase = Phase.faults
    /// Raised by the healing: what was to be mended before is mended.
    var era = 0
    var healedAt: Nanoseconds = 0
    var recoveredAt: Nanoseconds = 0
    var counts = Counts()
    var snapshotRot: [SnapshotRot] = []
    /// Members that were to lose their vote in a group and are to have it again.
    var demoted: [(group: GroupID, node: Int)] = []

    struct Counts {
        var faults = 0
        var restarts = 0
        var installed = 0
        var checkpoints = 0
        var incidents = 0
        var sickDisks = 0
        var promises = 0
        var disksLost = 0
        var promotions = 0
        var votingChanges = 0
        var rots = 0
        var journalRots = 0
        var fileRots = 0
        var readErrors = 0
        var holesFound = 0
        var rebuilt = 0
        var healed = 0
        var flips = 0
        var diverged = 0
        var unconfirmed = 0
        var logsClosed = 0
    }

    // The shell's numbers.
    static let tickInterval: Nanoseconds = .milliseconds(20)
    static let heartbeatInterval: Nanoseconds = .milliseconds(40)
    static let groups = [GroupID.system, GroupID.default]

    /// Runs one simulation to its end.
    package static func run(_ options: SimulationOptions) throws(SimulationFailure) -> SimulationReport {
        try World(options).run()
    }

    /// Runs it to its end, once.
    package func run() throws(SimulationFailure) -> SimulationReport {
        do {
            try self.runToEnd()
        } catch let violation as Violation {
            throw self.failure(violation)
        } catch {
            fatalError("the simulator threw \(error)")
        }
        return self.report
    }

    package init(_ options: SimulationOptions) {
        self.options = options
        var random = Random(seed: options.seed ^ options.noise &* 0x9e37_79b9_7f4a_7c15)
        self.schedule = FaultSchedule(options)
        self.requestTimeout = .milliseconds(300) + random.below(.milliseconds(1800))
        self.checkpointBytes = (16 << 10) + Int(random.below(112 << 10))
        self.sickAfter = .milliseconds(300) + random.below(.milliseconds(3700))
        self.cluster = ClusterID(high: random.next(), low: random.next())
        let seconds = Int((options.faultTime + options.recoveryBound) / 1_000_000_000) + 1
        self.maxEvents = options.maxEventsPerSecond * seconds
        self.trace = Trace(limit: options.traceTail)
        self.network = SimulatedNetwork(nodes: options.nodes, random: &random)
        self.clients = Clients()
        var seed = ClusterSeed(nodes: [], random: { 0 })
        seed.cluster = self.cluster
        for index in 0..<options.nodes {
            let member = MemberID(
                node: NodeID(UInt32(index) + 1), incarnation: Incarnation(high: random.next(), low: random.next()))
            seed.peers.append(ClusterSeed.Node(member: member, host: "10.0.0.\(index + 1)", port: 7101))
            let node = SimulatedNode(index: index, cluster: self.cluster, member: member, disk: SimulatedDisk())
            node.bootOffset = 1_000_000_000 + random.below(1 << 42)
            node.wallOffset = 1_700_000_000_000_000_000 + random.below(4_000_000_000)
            self.nodes.append(node)
        }
        self.seed = seed
        self.random = random
        for node in 0..<options.nodes {
            for _ in 0..<options.connectionsPerNode { self.clients.addSlot(node: node) }
        }
    }

    private func runToEnd() throws {
        self.drawClockDrifts()
        for node in self.nodes { self.queue.add(.start(node.index, life: 0), at: self.random.below(30_000_000)) }
        for slot in self.clients.slots.indices {
            self.queue.add(.client(slot), at: 20_000_000 + self.random.below(60_000_000))
        }
        for fault in self.schedule.faults { self.queue.add(.fault(fault), at: fault.time) }
        self.queue.add(.heal, at: self.options.faultTime)
        while self.phase != .done, let (time, event) = self.queue.removeFirst() {
            self.now = max(self.now, time)
            self.step += 1
            guard self.step < self.maxEvents else {
                throw Violation(.terminates, "\(self.step) events, and no end")
            }
            try self.handle(event)
        }
        guard self.phase == .done else {
            throw Violation(.terminates, "nothing is left to happen in phase \(self.phase)")
        }
        try self.checkEnd()
    }

    private func failure(_ violation: Violation) -> SimulationFailure {
        SimulationFailure(
            token: self.options.token, seed: self.options.seed, time: self.now, step: self.step,
            invariant: violation.invariant, detail: violation.detail, story: self.trace.story, trace: self.trace.tail)
    }

    /// What happened so far, oldest first: for a process that dies of it.
    package var account: String { TraceEvent.account(story: self.trace.story, tail: self.trace.tail) }

    private var report: SimulationReport {
        var report = SimulationReport(
            seed: self.options.seed, traceHash: self.trace.hash, events: self.step, duration: self.now, operations: 0,
            acknowledged: 0, open: 0, refused: 0, faults: self.counts.faults, leaders: self.invariants.leaderCount,
            restarts: self.counts.restarts, snapshotsInstalled: self.counts.installed,
            checkpoints: self.counts.checkpoints, incidents: self.counts.incidents,
            sickDisks: self.counts.sickDisks, promises: self.counts.promises,
            disksLost: self.counts.disksLost, promotions: self.counts.promotions,
            votingChanges: self.counts.votingChanges,
            journalsRotten: self.counts.journalRots, filesRotten: self.counts.fileRots,
            readErrors: self.counts.readErrors,
            holesFound: self.counts.holesFound,
            snapshotsRotten: self.counts.rots, snapshotsRebuilt: self.counts.rebuilt, statesHealed: self.counts.healed,
            statesFlipped: self.counts.flips, statesDiverged: self.counts.diverged,
            snapshotsUnconfirmed: self.counts.unconfirmed, logsClosed: self.counts.logsClosed,
            recovery: self.recoveredAt - self.healedAt)
        for operation in self.clients.operations {
            report.operations += 1
            switch operation.outcome {
            case .done, .number, .value: report.acknowledged += 1
            case .pending, .unknown, .lost: report.open += 1
            case .refused: report.refused += 1
            }
        }
        return report
    }

    func note(_ kind: TraceEvent.Kind, _ node: SimulatedNode?, _ a: UInt64 = 0, _ b: UInt64 = 0) {
        self.trace.note(TraceEvent(time: self.now, kind: kind, node: node?.number ?? 0, a: a, b: b))
    }

    func after(_ delay: Nanoseconds, _ event: Event) { self.queue.add(event, at: self.now + delay) }

    func after(_ delay: Nanoseconds, call body: @escaping (World) throws -> Void) { self.after(delay, .call(body)) }

    // MARK: Dispatch

    private func handle(_ event: Event) throws {
        switch event {
        case .tick(let at, let life), .turn(let at, let life), .wake(let at, let life), .beat(let at, let life),
            .journal(let at, let life), .journalTold(let at, let life, _), .snapshots(let at, let life),
            .dial(let at, let life, _, _), .dialFailed(let at, let life, _, _), .probed(let at, let life, _),
            .submit(let at, let life, _, _):
            let node = self.nodes[at]
            guard node.life == life, node.isRunning else { return }
            if node.isPaused { return node.deferred.append(event) }
            try self.handle(event, of: node)
        case .arrivedDial(let at, let life, let to, let purpose, let since):
            guard self.nodes[at].life == life else { return }
            self.dialArrived(self.nodes[at], self.nodes[to], purpose, since: since)
        case .arrival(let connection, let end):
            try self.arrived(connection, end, event)
        case .reset(let connection, let end), .handshakeTimeout(let connection, let end):
            let node = self.nodes[connection.nodes[end]]
            guard node.life == connection.lives[end], node.isRunning else { return }
            if node.isPaused { return node.deferred.append(event) }
            if case .handshakeTimeout = event, connection.states[end] != .handshaking { return }
            if case .handshakeTimeout = event { self.send(.end, connection, from: end) }
            self.connectionEnded(node, connection, end)
        case .start(let at, let life):
            guard self.nodes[at].life == life, !self.nodes[at].isRunning else { return }
            try self.start(self.nodes[at])
        case .kill(let at, let life):
            if self.nodes[at].life == life, self.nodes[at].isRunning { self.killAtElection(self.nodes[at]) }
        case .resume(let at, let life):
            if self.nodes[at].life == life { self.resume(self.nodes[at]) }
        case .mend(let from, let to, let era):
            if era == self.era { self.mend(from, to) }
        case .client(let slot):
            try self.clientActs(slot)
        case .fault(let fault):
            try self.inject(fault)
        case .call(let body):
            try body(self)
        case .heal:
            self.heal()
        case .poll:
            try self.poll()
        }
    }

    private func handle(_ event: Event, of node: SimulatedNode) throws {
        switch event {
        case .tick: self.tick(node)
        case .turn: try self.turn(node)
        case .wake: self.wake(node)
        case .beat: self.beat(node)
        case .journal: self.journalWritten(node)
        case .journalTold(_, _, let event): self.journalTold(node, event)
        case .snapshots: try self.snapshotWorked(node)
        case .dial(_, _, let to, let purpose): self.dial(node, self.nodes[to], purpose)
        case .dialFailed(_, _, let to, let isRefused): self.dialFailed(node, self.nodes[to], isRefused: isRefused)
        case .probed(_, _, let to):
            node.peers[to].isDialling = false
            node.peers[to].isTesting = false
        case .submit(_, _, let operation, let slot): try self.submit(operation, slot, node)
        default: break
        }
    }
}
