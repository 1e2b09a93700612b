import Cache
import Formats
import NodeCore
import Replication

/// Real cores in one thread, for stories told step by step: links that are there or not, disks that complete at once. What a shell does about a lost disk, it does.
final class CoreCluster {
    struct Disk {
        var member: MemberID
        var run: Run = 0
        var history = RunHistory()
        var groups: [GroupID: RecoveredGroup] = [:]
        var peerRuns: PeerRuns?
        var openIncidents: [UInt8]?
        var files: [GroupID: [File]] = [:]
        /// Indexes of snapshots that were taken out of use.
        var setAside: [LogIndex] = []
        /// Incarnations that were put aside here.
        var lost: [MemberID] = []
    }

    let founders: [MemberID]
    private(set) var cores: [UInt32: NodeCore] = [:]
    var disks: [UInt32: Disk] = [:]
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    /// Who can talk: each pair of two in one set.
    var reach: [Set<UInt32>]
    private var links: Set<[UInt32]> = []
    private var inbox: [(from: MemberID, to: UInt32, message: PeerMessage)] = []
    /// Nodes whose file of the peers' runs is not written.
    var stalledRuns: Set<UInt32> = []
    private var heldRuns: [UInt32: (bytes: [UInt8], version: UInt64)] = [:]
    /// Nodes whose file of open incidents cannot be written.
    var failsIncidents: Set<UInt32> = []
    /// Writings of that file, by number.
    private(set) var incidentWrites: [(node: UInt32, number: UInt64)] = []
    /// What a node's journal is said to take for each batch.
    var batchBytes: [UInt32: Int] = [:]
    /// Checkpoints are this far apart, where there is anything new.
    var checkpointInterval = Nanoseconds.seconds(1_000_000)
    /// Bytes of log in memory.
    var maxLogBytes = 1 << 30
    /// Work of one turn.
    var maxTurnWork = 8 << 20
    /// Nodes whose disks take no snapshots.
    var failsSnapshots: Set<UInt32> = []
    /// What a node's message becomes on its way; nil: it is lost.
    var onTheWay: (UInt32, PeerMessage) -> PeerMessage? = { $1 }
    private(set) var replies: [ClientID: [String]] = [:]
    private(set) var events: [(node: UInt32, event: NodeEvent)] = []
    /// Entries that were written again, and small files that were to be.
    private(set) var repairs: [(node: UInt32, entry: Entry)] = []
    private(set) var rewrites: [(node: UInt32, file: NodeFile)] = []
    private(set) var segmentsBegun = 0
    private var random: Random

    init(_ count: UInt32, seed: UInt64 = 1) {
        var random = Random(seed: seed)
        self.founders = (1...count).map {
            MemberID(node: NodeID($0), incarnation: Incarnation(high: random.next(), low: random.next()))
        }
        self.random = random
        self.reach = [Set(1...count)]
        for member in self.founders { self.disks[member.node.rawValue] = Disk(member: member) }
    }

    // MARK: Processes

    func start(_ nodes: UInt32...) { for node in nodes { self.start(node) } }

    private func start(_ node: UInt32) {
        self.disks[node]!.run += 1
        self.disks[node]!.history.begin(RunMark(run: self.disks[node]!.run, token: self.random.next()))
        let disk = self.disks[node]!
        var configuration = NodeConfiguration(
            cluster: ClusterID(high: 1, low: 2), me: disk.member, history: disk.history, founders: self.founders,
            seed: self.random.next())
        configuration.peerRuns = disk.peerRuns ?? PeerRuns()
        configuration.openIncidents = disk.openIncidents.map { OpenIncidents(file: $0)! } ?? OpenIncidents()
        configuration.boot = 1
        configuration.wall = self.wall
        configuration.cacheShards = 4
        configuration.checkpointInterval = self.checkpointInterval
        configuration.maxLogBytes = self.maxLogBytes
        configuration.maxTurnWork = self.maxTurnWork
        self.cores[node] = NodeCore(
            configuration, recovered: disk.groups, detector: FailureDetector(.init()), now: self.now)
        let core = self.cores[node]!
        core.begin(now: self.now, wall: self.wall)
        for (group, mark, number) in core.snapshotsToLoad {
            self.perform(.load(group, mark, number: number), node, core)
        }
    }

    func stop(_ nodes: UInt32...) { for node in nodes { self.stop(node) } }

    private func stop(_ node: UInt32) {
        self.cores[node] = nil
        self.heldRuns[node] = nil
        self.inbox.removeAll { $0.to == node || $0.from.node.rawValue == node }
        for link in self.links where link.contains(node) { self.drop(link, isRefused: true) }
    }

    /// Its directory is emptied; it is formatted from the seed again.
    func wipe(_ node: UInt32) { self.disks[node] = Disk(member: self.founders[Int(node) - 1]) }

    /// An entry in the journal of a node that is down rots; one copy of its header does not.
    func rot(_ node: UInt32, _ index: LogIndex, of id: GroupID = .default) {
        var group = self.disks[node]!.groups[id]!
        let at = group.entries.firstIndex { $0.index == index }!
        let entry = group.entries.remove(at: at)
        group.holes.append(
            Hole(
                index: index, term: entry.term, hash: entry.hash, previousHash: entry.previousHash, time: entry.time,
                kind: entry.kind))
        group.holes.sort { $0.index < $1.index }
        self.disks[node]!.groups[id] = group
    }

    private func drop(_ link: [UInt32], isRefused: Bool) {
        self.links.remove(link)
        for (node, other) in [(link[0], link[1]), (link[1], link[0])] {
            guard let core = self.cores[node] else { continue }
            core.begin(now: self.now, wall: self.wall)
            core.peerDisconnected(NodeID(other))
            if isRefused { core.peerRefused(NodeID(other)) }
        }
    }

    private var wall: WallTime { WallTime(nanoseconds: self.now.nanoseconds) }

    // MARK: Time

    /// Steps of 10 ms until `isDone`, at most so long.
    @discardableResult
    func run(_ length: Nanoseconds, until isDone: () -> Bool = { false }) -> Bool {
        let end = self.now + length
        while self.now < end {
            if isDone() { return true }
            self.now = self.now + .milliseconds(10)
            self.connect()
            for node in self.cores.keys.sorted() {
                guard let core = self.cores[node] else { continue }
                core.begin(now: self.now, wall: self.wall)
                for link in self.links where link.contains(node) {
                    core.heard(
                        NodeID(link[0] == node ? link[1] : link[0]), at: self.now, coreAge: 0, syncAge: 0)
                }
                core.judgeSilence()
                core.tick()
                self.turn(node)
            }
            self.deliver()
        }
        return isDone()
    }

    private func connect() {
        let up = self.cores.keys.sorted()
        for a in up {
            for b in up where a < b {
                let isReached = self.reach.contains { $0.contains(a) && $0.contains(b) }
                if !isReached, self.links.contains([a, b]) { self.drop([a, b], isRefused: false) }
                guard isReached, self.links.insert([a, b]).inserted else { continue }
                for (node, other) in [(a, b), (b, a)] {
                    self.cores[node]!.begin(now: self.now, wall: self.wall)
                    self.cores[node]!.peerConnected(self.disks[other]!.member, history: self.disks[other]!.history)
                }
            }
        }
    }

    private func deliver() {
        while !self.inbox.isEmpty {
            let (from, to, message) = self.inbox.removeFirst()
            guard let core = self.cores[to] else { continue }
            core.begin(now: self.now, wall: self.wall)
            core.receive(message, from: from)
            self.turn(to)
        }
    }

    private func turn(_ node: UInt32) {
        guard let core = self.cores[node] else { return }
        var turns = 0
        repeat {
            core.effects.wantsTurn = false
            core.endTurn()
            self.carryOut(node, core)
            turns += 1
        } while core.effects.wantsTurn && turns < 50 && self.cores[node] === core
        core.effects.removeAll()
    }

    private func carryOut(_ node: UInt32, _ core: NodeCore) {
        self.write(core.effects.records, node)
        if core.effects.journalTicket > 0 {
            core.journalCompleted(core.effects.journalTicket, bytes: self.batchBytes[node] ?? 0)
        }
        self.rewrites += core.effects.rewrites.map { (node, $0) }
        if core.effects.beginsSegment { self.segmentsBegun += 1 }
        if let write = core.effects.peerRuns { self.heldRuns[node] = write }
        if !self.stalledRuns.contains(node), let (bytes, version) = self.heldRuns.removeValue(forKey: node) {
            self.disks[node]!.peerRuns = try! PeerRuns(file: bytes)
            core.peerRunsDurable(version)
        }
        if let (bytes, number) = core.effects.openIncidents {
            self.incidentWrites.append((node, number))
            if self.failsIncidents.contains(node) {
                core.openIncidentsFailed(number)
            } else {
                self.disks[node]!.openIncidents = bytes
                core.openIncidentsDurable(number)
            }
        }
        for (to, message) in core.effects.messages
        where self.links.contains([min(node, to.rawValue), max(node, to.rawValue)]) {
            guard let message = self.onTheWay(node, message) else { continue }
            self.inbox.append((self.disks[node]!.member, to.rawValue, message))
        }
        for reply in core.effects.replies {
            let bytes = core.effects.replyBytes[reply.offset..<reply.offset + reply.count]
            self.replies[reply.client, default: []].append(String(decoding: bytes, as: UTF8.self))
        }
        for (group, index, kept) in core.effects.obsoleteSnapshots {
            self.disks[node]!.files[group]?.removeAll {
                $0.isWhole && $0.mark.index < index && !kept.contains($0.mark.index)
            }
        }
        let events = core.effects.events
        let wantsTurn = core.effects.wantsTurn
        let snapshots = core.effects.snapshots
        core.effects.removeAll()
        core.effects.wantsTurn = wantsTurn || !snapshots.isEmpty
        for action in snapshots { self.perform(action, node, core) }
        for event in events { self.take(event, node) }
    }

    private func take(_ event: NodeEvent, _ node: UInt32) {
        self.events.append((node, event))
        switch event {
        case .diskLost(_, let run):
            self.stop(node)
            let old = self.disks[node]!
            var disk = Disk(
                member: MemberID(
                    node: NodeID(node), incarnation: Incarnation(high: self.random.next(), low: self.random.next())))
            disk.run = run
            disk.lost = old.lost + [old.member]
            self.disks[node] = disk
            self.start(node)
        case .runBehind(let run):
            self.stop(node)
            self.disks[node]!.run = run
            self.start(node)
        default: break
        }
    }

    private func write(_ records: [JournalRecord], _ node: UInt32) {
        for record in records {
            var group = self.disks[node]!.groups[record.group] ?? RecoveredGroup(group: record.group)
            switch record {
            case .entry(let entry):
                group.entries.removeAll { $0.index >= entry.index }
                group.entries.append(entry)
            case .truncate(_, let after):
                group.entries.removeAll { $0.index > after }
                group.holes.removeAll { $0.index > after }
            case .hardState(_, let state): group.hardState = state
            case .repair(let entry):
                group.holes.removeAll { $0.index == entry.index }
                group.entries.removeAll { $0.index == entry.index }
                self.repairs.append((node, entry))
                group.entries.append(entry)
                group.entries.sort { $0.index < $1.index }
            case .snapshot(_, let mark, let standing):
                group.snapshot = mark
                group.standing = standing
                group.entries.removeAll { $0.index <= mark.index }
                group.holes.removeAll { $0.index <= mark.index }
            case .end, .hole: fatalError("no damage here")
            }
            self.disks[node]!.groups[record.group] = group
        }
    }

    // MARK: Rot

    /// The scrubber of a node finds something.
    func find(_ rot: Rot, on node: UInt32) {
        self.cores[node]!.begin(now: self.now, wall: self.wall)
        self.cores[node]!.rotten(rot, window: 0)
        self.turn(node)
    }

    func rewritten(_ file: NodeFile, bytes: Int?, on node: UInt32) {
        self.cores[node]!.begin(now: self.now, wall: self.wall)
        self.cores[node]!.fileRewritten(file, bytes: bytes)
        self.turn(node)
    }

    // MARK: Clients

    func submit(_ node: UInt32, set key: String, _ value: String, client: ClientID) {
        self.submit(.write, node, CommandCoding.encode(2, [Array(key.utf8), Array(value.utf8)]), client)
    }

    func submit(_ node: UInt32, get key: String, client: ClientID) {
        self.submit(.read, node, CommandCoding.encode(1, [Array(key.utf8)]), client)
    }

    func submit(_ kind: RequestKind, _ node: UInt32, _ command: [UInt8], _ client: ClientID) {
        self.cores[node]!.begin(now: self.now, wall: self.wall)
        let admission = command.withUnsafeBytes { self.cores[node]!.submit(kind, command: $0, from: client) }
        switch admission {
        case .accepted: break
        case .busy, .logFull, .outOfMemory, .tooLarge, .diverged:
            self.replies[client, default: []].append("refused: \(admission)")
        }
    }

    /// The node's state takes a command that is in no log.
    func misapply(_ node: UInt32, set key: String, _ value: String) {
        self.cores[node]!.begin(now: self.now, wall: self.wall)
        let command = CommandCoding.encode(2, [Array(key.utf8), Array(value.utf8)])
        precondition(command.withUnsafeBytes { self.cores[node]!.misapply(.default, $0) })
    }

    /// What a node has applied, right or wrong.
    func value(_ node: UInt32, _ key: String) -> String {
        let command = CommandCoding.encode(1, [Array(key.utf8)])
        return String(decoding: command.withUnsafeBytes { self.cores[node]!.localRead($0) }, as: UTF8.self)
    }

    /// Who leads the group, as they see it themselves.
    func leaders(_ group: GroupID = .default) -> [UInt32] {
        self.cores.keys.sorted().filter { self.cores[$0]!.inspect(group)?.role == .leader }
    }

    func isReady(_ nodes: UInt32...) -> Bool { nodes.allSatisfy { self.cores[$0]?.isReady ?? false } }

    func voters(_ node: UInt32, _ group: GroupID = .default) -> [MemberID] {
        self.cores[node]?.inspect(group)?.voters ?? []
    }

    func members(_ nodes: UInt32...) -> [MemberID] { nodes.map(self.member) }

    func member(_ node: UInt32) -> MemberID { self.disks[node]!.member }
}
