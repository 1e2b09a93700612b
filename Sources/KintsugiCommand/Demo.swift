import FoundationEssentials
import Glibc
import Journal
import LocalCluster
import Synchronization

/// Runs clients on a local cluster, breaks it, and accounts for what happened.
final class Demo {
    private let directory: String
    private let asJSON: Bool
    private let began = monotonicNow()
    private var cluster = LocalCluster(nodes: [])
    private var stage = DemoStage(ports: [])
    private var recoveries: [Double] = []
    private var gaps: [Double] = []

    /// Seconds within which the cluster has to come round after a fault, and a node to be back.
    private static let patience = 30.0

    init(directory: String, asJSON: Bool) {
        self.directory = directory
        self.asJSON = asJSON
    }

    /// Whether all promises were kept.
    func run(kills: Int, clients: Int) throws -> Bool {
        self.say("starting three nodes in \(self.directory)")
        self.cluster = try started(self.directory, nodes: 3, basePort: nil) { _ in }
        self.stage = DemoStage(ports: self.cluster.nodes.map(\.redisPort))
        let writers = (0..<clients).map { DemoWriter(number: $0, stage: self.stage) }
        let threads = writers.map { writer in
            let thread = JoinableThread()
            // Its thread's alone until that is joined; read afterwards.
            nonisolated(unsafe) let writer = writer
            thread.start(name: "client") { writer.run() }
            return thread
        }
        defer { self.endClients(threads) }
        self.say(
            "\(clients) clients append numbers, \(Self.list(self.cluster.nodes.map { "\(clients / 3) at node \($0.id)" })); one in fifty requests reads them back"
        )
        self.say("")
        self.say(Self.heading)
        for _ in 0..<kills { try self.breakLeader(SIGKILL) }
        if kills > 0 {
            try self.breakLeader(SIGSTOP)
            for node in self.cluster.nodes { try self.restart(node) }
            self.say("")
            self.say(Self.dataHeading)
            try self.rot()
            try self.wipe()
        }
        self.endClients(threads)
        return try self.account(for: writers)
    }

    private func endClients(_ threads: [JoinableThread]) {
        self.stage.isOver.store(true, ordering: .relaxed)
        for thread in threads { thread.join() }
    }

    // MARK: Faults

    private static let heading =
        "    time  fault                     T_r ms    T_c ms      R ms      D ms  longest gap ms  P_r 1 s  P_r end"

    /// Kills or pauses whoever leads, brings it back, and waits until the account of it is closed.
    private func breakLeader(_ signal: Int32) throws {
        guard let leader = self.awaitLeader() else {
            throw CommandFailure(code: 1, message: "Nobody leads after \(Int(Self.patience)) s.")
        }
        let at = try withLocalCluster { try self.cluster.index(of: leader) }
        self.stage.setDown(at, true)
        let fault = (wall: timeNow(), monotonic: monotonicNow())
        self.stage.beginMeasuring()
        _ = try withLocalCluster { try self.cluster.signal(leader, signal) }
        self.progress("node \(leader) led: \(signal == SIGKILL ? "killed" : "paused")")
        // Long enough that P_r is sampled at 1 s while the node is away.
        self.sleep(until: fault.monotonic + 1_100_000_000)
        let gap = self.stage.longestGap(now: monotonicNow())
        if signal == SIGSTOP {
            _ = try withLocalCluster { try self.cluster.signal(leader, SIGCONT) }
        } else {
            try self.bringBack(leader)
        }
        try self.conclude(
            "\(signal == SIGKILL ? "SIGKILL" : "SIGSTOP") node \(leader) (leader)", node: leader, at: at,
            since: fault.wall, gap: gap,
            counts: signal == SIGKILL)
    }

    private func restart(_ node: LocalNode) throws {
        let at = try withLocalCluster { try self.cluster.index(of: node.id) }
        let isLeader = self.awaitLeader() == node.id
        self.stage.setDown(at, true)
        let fault = timeNow()
        self.stage.beginMeasuring()
        self.progress("node \(node.id) is restarted")
        try self.bringBack(node.id)
        try self.conclude(
            "SIGTERM node \(node.id)\(isLeader ? " (leader)" : "")", node: node.id, at: at, since: fault,
            gap: self.stage.longestGap(now: monotonicNow()), counts: false)
    }

    // MARK: Faults of data

    private static let dataHeading =
        "    time  fault                                      incident     back ms  longest gap ms  bytes repaired"

    /// A follower is killed, a byte of its journal's newest segment flipped where something is written, and the node
    /// started again.
    private func rot() throws {
        guard let leader = self.awaitLeader(), let node = self.cluster.nodes.first(where: { $0.id != leader }) else {
            throw CommandFailure(code: 1, message: "Nobody leads after \(Int(Self.patience)) s.")
        }
        try self.ruin(node, "byte flipped in node \(node.id)'s journal", causes: ["rot"]) {
            var rotting = Rotting(seed: UInt64.random(in: 0...UInt64.max), mode: .bits)
            return try rotting.flipEntry(node.dir)
        }
    }

    /// Another node loses its disk: the directory is emptied.
    private func wipe() throws {
        guard let leader = self.awaitLeader(), let node = self.cluster.nodes.last(where: { $0.id != leader }) else {
            throw CommandFailure(code: 1, message: "Nobody leads after \(Int(Self.patience)) s.")
        }
        try self.ruin(node, "disk of node \(node.id) wiped", causes: ["disk lost"]) {
            for name in Files.list(node.dir) { try FileManager.default.removeItem(atPath: node.dir + "/" + name) }
            return true
        }
    }

    /// Kills a node, does something to its files, starts it again, and waits until it is well and the incident closed.
    private func ruin(_ node: LocalNode, _ what: String, causes: [String], _ body: () throws -> Bool) throws {
        let at = try withLocalCluster { try self.cluster.index(of: node.id) }
        let fault = timeNow()
        self.stage.setDown(at, true)
        self.stage.beginMeasuring()
        _ = try withLocalCluster { try self.cluster.signal(node.id, SIGKILL) }
        self.progress(what)
        while LocalCluster.isAlive(self.cluster.nodes[at]) { usleep(2000) }
        let isDone = try body()
        let start = monotonicNow()
        try self.bringBack(node.id)
        let deadline = monotonicNow() + UInt64(Self.patience * 1e9)
        var found: IncidentList.Entry?
        while monotonicNow() < deadline {
            let own = self.incidents().filter { $0.node == node.id && $0.detected >= fault }
            found = own.last { causes.contains($0.cause) }
            if found?.state == "closed" || !isDone, own.allSatisfy({ $0.state == "closed" }), self.isUp(node.id) {
                break
            }
            usleep(20_000)
        }
        let back = Double(monotonicNow() - start) / 1e6
        guard self.isUp(node.id), found?.state == "closed" || !isDone else {
            throw CommandFailure(
                code: 1, message: "\(what): not in full service again after \(Int(Self.patience)) s.")
        }
        self.stage.setDown(at, false)
        self.say(
            what.padded(to: 43) + (found?.cause ?? "-").padded(to: 11) + fixed(back, 0).leftPadded(to: 9)
                + fixed(Double(self.stage.longestGap(now: monotonicNow())) / 1e6, 1).leftPadded(to: 16)
                + "\(found?.bytes_repaired ?? 0)".leftPadded(to: 16))
    }

    private func isUp(_ node: Int) -> Bool {
        var view = ClusterView(self.cluster)
        return view.statuses().first { $0.id == node }?.state == "up"
    }

    private func bringBack(_ node: Int) throws {
        try withLocalCluster {
            try self.cluster.restart(node, directory: self.directory, program: program(), options: []) { _ in }
        }
    }

    /// Waits until the incident is closed, and prints its row.
    private func conclude(_ what: String, node: Int, at: Int, since: String, gap: UInt64, counts: Bool) throws {
        let deadline = monotonicNow() + UInt64(Self.patience * 1e9)
        var found: IncidentList.Entry?
        while monotonicNow() < deadline {
            found = self.incidents().last { $0.node == node && $0.detected >= since }
            if found?.state == "closed" { break }
            usleep(50_000)
        }
        guard let incident = found, incident.state == "closed" else {
            throw CommandFailure(
                code: 1, message: "\(what): not all nodes are in full service again after \(Int(Self.patience)) s.")
        }
        self.stage.setDown(at, false)
        func text(_ value: Double?, _ digits: Int = 1) -> String { value.map { fixed($0, digits) } ?? "-" }
        // The delay that a client of a surviving node saw.
        let delay = incident.delay_ms.filter { $0.key != "\(node)" }.values.max()
        let gapMilliseconds = Double(gap) / 1e6
        if counts {
            if let recovery = incident.recovery_ms?.last { self.recoveries.append(recovery) }
            self.gaps.append(gapMilliseconds)
        }
        self.say(
            what.padded(to: 24) + text(incident.detection_ms.last).leftPadded(to: 8)
                + text(incident.repair_ms).leftPadded(to: 10) + text(incident.recovery_ms?.last).leftPadded(to: 10)
                + text(delay).leftPadded(to: 10) + text(gapMilliseconds).leftPadded(to: 16)
                + text(incident.recovery_rate["1s"] ?? nil, 2).leftPadded(to: 9)
                + text(incident.recovery_rate["close"] ?? nil, 2).leftPadded(to: 9))
    }

    private func incidents() -> [IncidentList.Entry] {
        var view = ClusterView(self.cluster)
        guard let text = IncidentsCommand.fetch(&view) else { return [] }
        return (try? JSONDecoder().decode(IncidentList.self, from: Data(text.utf8)))?.incidents ?? []
    }

    private func awaitLeader() -> Int? {
        let deadline = monotonicNow() + UInt64(Self.patience * 1e9)
        while monotonicNow() < deadline {
            var view = ClusterView(self.cluster)
            let statuses = view.statuses()
            if statuses.allSatisfy({ $0.state == "up" }), let leader = ClusterView.leader(of: "default", in: statuses) {
                return leader
            }
            usleep(20_000)
        }
        return nil
    }

    // MARK: The account

    private struct Summary: Encodable {
        var acknowledged: Int
        var errors: Int
        var missing: Int
        var duplicates: Int
        var stale_reads: Int
        var recovery_ms_median: Double?
        var recovery_ms_worst: Double?
        var gap_ms_median: Double?
        var gap_ms_worst: Double?
        var seconds: Double
        var kept: Bool
    }

    /// Reads everything back through every node.
    private func account(for writers: [DemoWriter]) throws -> Bool {
        self.say("")
        self.progress("reading everything back through every node")
        var missing = 0
        var duplicates = 0
        for node in self.cluster.nodes {
            do {
                let client = try RedisClient(host: "127.0.0.1", port: node.redisPort, timeoutMilliseconds: 10_000)
                var here = (missing: 0, duplicates: 0)
                for writer in writers {
                    let found = try writer.verify(through: client)
                    here = (here.missing + found.missing, here.duplicates + found.duplicates)
                }
                missing = max(missing, here.missing)
                duplicates = max(duplicates, here.duplicates)
            } catch {
                throw CommandFailure(code: 1, message: "Node \(node.id) does not answer in the end: \(error).")
            }
        }
        let errors = self.stage.errors
        let stale = writers.reduce(0) { $0 + $1.staleReads }
        let acknowledged = self.stage.acknowledged.load(ordering: .relaxed)
        let kept = errors.isEmpty && missing == 0 && duplicates == 0 && stale == 0
        if self.asJSON {
            print(
                encoded(
                    Summary(
                        acknowledged: acknowledged, errors: errors.count, missing: missing, duplicates: duplicates,
                        stale_reads: stale, recovery_ms_median: Self.median(self.recoveries),
                        recovery_ms_worst: self.recoveries.max(), gap_ms_median: Self.median(self.gaps),
                        gap_ms_worst: self.gaps.max(), seconds: Double(monotonicNow() - self.began) / 1e9, kept: kept)))
            return kept
        }
        func row(_ name: String, _ value: String) { print("  " + name.padded(to: 46) + value.leftPadded(to: 10)) }
        row("requests acknowledged", "\(acknowledged)")
        row("errors that clients of surviving nodes saw", "\(errors.count)")
        row("acknowledged writes missing", "\(missing)")
        row("writes applied twice", "\(duplicates)")
        row("reads that missed an acknowledged write", "\(stale)")
        if let median = Self.median(self.recoveries), let gap = Self.median(self.gaps) {
            row("R after SIGKILL of the leader, median", fixed(median, 1) + " ms")
            row("R after SIGKILL of the leader, worst", fixed(self.recoveries.max()!, 1) + " ms")
            row("longest gap in acknowledgements then, median", fixed(gap, 1) + " ms")
            row("longest gap in acknowledgements then, worst", fixed(self.gaps.max()!, 1) + " ms")
        }
        for error in errors.prefix(10) { print("  error: \(error)") }
        print(kept ? "\nAll promises were kept." : "\nA PROMISE WAS BROKEN.")
        return kept
    }

    func explainHowToConnect() {
        print("\nThe cluster is still up:")
        for node in self.cluster.nodes { print("  redis-cli -p \(node.redisPort)        node \(node.id)") }
        print(
            """
              kintsugi status --dir \(self.directory)
              kintsugi incidents --dir \(self.directory)
              kintsugi cluster kill --node 1 --dir \(self.directory)
              kintsugi cluster stop --dir \(self.directory)      and then remove the directory
            """)
    }

    private static func median(_ values: [Double]) -> Double? {
        values.isEmpty ? nil : values.sorted()[values.count / 2]
    }

    private static func list(_ words: [String]) -> String { words.joined(separator: ", ") }

    // MARK: Output

    private func say(_ text: String) {
        guard !self.asJSON else { return note(text) }
        let isTerminal = isatty(1) != 0
        let time = fixed(Double(monotonicNow() - self.began) / 1e9, 1).leftPadded(to: 6) + " s  "
        print(
            (isTerminal ? "\r\u{1b}[K" : "")
                + (["", Self.heading, Self.dataHeading].contains(text) ? text : time + text))
    }

    /// A line that the next one replaces; nothing where output is no terminal.
    private func progress(_ text: String) {
        guard isatty(1) != 0, !self.asJSON else { return }
        print("\r\u{1b}[K          \(text) ...", terminator: "")
        fflush(nil)
    }

    private func sleep(until instant: UInt64) {
        while monotonicNow() < instant { usleep(10_000) }
    }
}
