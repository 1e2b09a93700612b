import FoundationEssentials
import Glibc
import Journal
import LocalCluster
import Synchronization

/// Lets a node's files rot while it is stopped, starts it under load, and looks whether it heals and what was lost.
final class RotDrill {
    struct Options: Sendable {
        var rounds: Int
        var seed: UInt64
        var mode: Rotting.Mode
        var clients: Int
        var asJSON: Bool
    }

    struct Round: Encodable {
        var round: Int
        var node: Int
        var role: String
        var file: String
        var kind: String
        var offset: Int
        /// What `kintsugi doctor` said before the start.
        var doctor: String
        var healed: Bool
        var heal_ms: Double?
        var bytes_repaired: UInt64
        /// Causes of the incidents that were booked for it.
        var incidents: [String]
        var failure: String?
    }

    struct Summary: Encodable {
        var seed: UInt64
        var mode: String
        var rounds: [Round]
        var healed: Int
        var acknowledged: Int
        var errors: Int
        var missing: Int
        var duplicates: Int
        var stale_reads: Int
        var heal_ms_median: Double?
        var heal_ms_worst: Double?
        var seconds: Double
        var kept: Bool
    }

    /// Seconds within which a node has to be back and well.
    private static let patience = 30.0

    private let directory: String
    private let options: Options
    private let began = monotonicNow()
    private var cluster = LocalCluster(nodes: [])
    private var stage = DemoStage(ports: [])
    private var rotting: Rotting

    init(directory: String, options: Options) {
        self.directory = directory
        self.options = options
        self.rotting = Rotting(seed: options.seed, mode: options.mode)
    }

    /// Whether every round healed and no promise was broken.
    func run() throws -> Bool {
        // Small, so that what rots is in use: segments, and snapshots that are taken often.
        setenv("KINTSUGI_JOURNAL_SEGMENT_BYTES", "1mb", 0)
        setenv("KINTSUGI_CHECKPOINT_BYTES", "2mb", 0)
        self.say("seed \(self.options.seed), mode \(self.options.mode.rawValue), three nodes in \(self.directory)")
        self.cluster = try started(self.directory, nodes: 3, basePort: nil) { _ in }
        self.stage = DemoStage(ports: self.cluster.nodes.map(\.redisPort))
        let writers = (0..<self.options.clients).map { DemoWriter(number: $0, stage: self.stage) }
        let threads = writers.map { writer in
            let thread = JoinableThread()
            // Its thread's alone until that is joined; read afterwards.
            nonisolated(unsafe) let writer = writer
            thread.start(name: "client") { writer.run() }
            return thread
        }
        var isEnded = false
        func end() {
            guard !isEnded else { return }
            isEnded = true
            self.stage.isOver.store(true, ordering: .relaxed)
            for thread in threads { thread.join() }
        }
        defer { end() }
        // Something has to be there that can rot: a snapshot among it.
        try self.awaitWrites(2000)
        self.say(Self.heading)
        var rounds: [Round] = []
        for number in 1...max(1, self.options.rounds) {
            let round = try self.round(number)
            rounds.append(round)
            self.say(Self.row(round))
            if let failure = round.failure { self.say("  \(failure)") }
        }
        end()
        return try self.account(rounds, writers)
    }

    // MARK: One round

    private func round(_ number: Int) throws -> Round {
        guard let leader = self.awaitService() else {
            throw CommandFailure(code: 1, message: "Not all nodes are up after \(Int(Self.patience)) s.")
        }
        // In turn, and every third time whoever leads.
        let others = self.cluster.nodes.map(\.id).filter { $0 != leader }
        let node = number % 3 == 0 ? leader : others[number % others.count]
        let at = try withLocalCluster { try self.cluster.index(of: node) }
        let known = Set(self.incidents(of: node).map(\.id))
        self.stage.setDown(at, true)
        _ = try withLocalCluster {
            try self.cluster.signal(node, self.rotting.below(2) == 0 ? SIGKILL : SIGTERM)
        }
        while LocalCluster.isAlive(self.cluster.nodes[at]) { usleep(2000) }
        let path = self.cluster.nodes[at].dir
        let place = try self.rotting.damage(path)
        let doctor = DirectoryReport(directory: path)
        var round = Round(
            round: number, node: node, role: node == leader ? "leader" : "follower", file: place?.file ?? "-",
            kind: place?.kind.rawValue ?? "-", offset: place?.offset ?? 0, doctor: doctor.verdict.rawValue,
            healed: false, bytes_repaired: 0, incidents: [])
        // Others write meanwhile: it has something to catch up with.
        usleep(100_000)
        let start = monotonicNow()
        do {
            try withLocalCluster {
                try self.cluster.restart(node, directory: self.directory, program: program(), options: []) { _ in }
            }
            try self.awaitHealing(of: node, since: known)
            round.heal_ms = Double(monotonicNow() - start) / 1e6
            round.healed = true
        } catch let failure as CommandFailure {
            round.failure = failure.message
            try self.giveUp(node, path)
        }
        // What the start did not have to read, the scrubber finds.
        if round.healed { round.failure = self.scrub(node) }
        if round.failure != nil { round.healed = false }
        let booked = self.incidents(of: node).filter { !known.contains($0.id) && $0.kind == "data" }
        round.bytes_repaired = booked.reduce(0) { $0 + ($1.bytes_repaired ?? 0) }
        round.incidents = booked.map(\.cause)
        self.stage.setDown(at, false)
        return round
    }

    /// In full service: a voter of every group that answers from its state, and every incident of its own is closed.
    private func awaitHealing(of node: Int, since known: Set<UInt64>) throws {
        let deadline = monotonicNow() + UInt64(Self.patience * 1e9)
        var state = "down"
        while monotonicNow() < deadline {
            var view = ClusterView(self.cluster)
            state = view.statuses().first { $0.id == node }?.state ?? "down"
            if state == "up" {
                let open = self.incidents(of: node).filter { !known.contains($0.id) && $0.state != "closed" }
                if open.isEmpty { return }
                state = "up, with an open incident (\(open[0].cause))"
            }
            usleep(10_000)
        }
        throw CommandFailure(code: 1, message: "node \(node) is \(state) after \(Int(Self.patience)) s")
    }

    /// A pass over everything that it has. What is not repaired, in words.
    private func scrub(_ node: Int) -> String? {
        guard let at = self.cluster.nodes.firstIndex(where: { $0.id == node }),
            let address = HostPort(self.cluster.nodes[at].redis)
        else { return nil }
        func ask(_ words: String...) -> ScrubStatus? {
            ClusterView.ask(address, ["KINTSUGI", "SCRUB"] + words, password: nil)?.text.flatMap {
                try? JSONDecoder().decode(ScrubStatus.self, from: Data($0.utf8))
            }
        }
        let deadline = monotonicNow() + UInt64(Self.patience * 1e9)
        let wanted = ask("NOW")?.wanted_pass ?? 0
        while monotonicNow() < deadline {
            if let status = ask(), (status.last_pass?.number ?? 0) >= wanted, status.open == 0 { return nil }
            usleep(10_000)
        }
        return "the scrubber finds what is not repaired after \(Int(Self.patience)) s"
    }

    /// The node did not come back: it joins anew, so that the next round has three.
    private func giveUp(_ node: Int, _ path: String) throws {
        let aside = path + ".\(monotonicNow())"
        if let at = self.cluster.nodes.firstIndex(where: { $0.id == node }),
            LocalCluster.isAlive(self.cluster.nodes[at])
        {
            _ = try withLocalCluster { try self.cluster.signal(node, SIGKILL) }
            while LocalCluster.isAlive(self.cluster.nodes[at]) { usleep(2000) }
        }
        rename(path, aside)
        try withLocalCluster {
            try self.cluster.restart(node, directory: self.directory, program: program(), options: []) { _ in }
        }
    }

    private func awaitWrites(_ count: Int) throws {
        let deadline = monotonicNow() + UInt64(Self.patience * 1e9)
        while self.stage.acknowledged.load(ordering: .relaxed) < count {
            guard monotonicNow() < deadline else {
                throw CommandFailure(code: 1, message: "The clients' writes are not acknowledged.")
            }
            usleep(10_000)
        }
    }

    private func awaitService() -> Int? {
        let deadline = monotonicNow() + UInt64(Self.patience * 1e9)
        while monotonicNow() < deadline {
            var view = ClusterView(self.cluster)
            let statuses = view.statuses()
            if statuses.allSatisfy({ $0.state == "up" }), let leader = ClusterView.leader(of: "default", in: statuses) {
                return leader
            }
            usleep(10_000)
        }
        return nil
    }

    private func incidents(of node: Int) -> [IncidentList.Entry] {
        var view = ClusterView(self.cluster)
        guard let text = IncidentsCommand.fetch(&view) else { return [] }
        let all = (try? JSONDecoder().decode(IncidentList.self, from: Data(text.utf8)))?.incidents ?? []
        return all.filter { $0.node == node }
    }

    // MARK: The account

    private func account(_ rounds: [Round], _ writers: [DemoWriter]) throws -> Bool {
        var (missing, duplicates) = (0, 0)
        for node in self.cluster.nodes {
            do {
                let client = try RedisClient(host: "127.0.0.1", port: node.redisPort, timeoutMilliseconds: 10_000)
                var here = (missing: 0, duplicates: 0)
                for writer in writers {
                    let found = try writer.verify(through: client)
                    here = (here.missing + found.missing, here.duplicates + found.duplicates)
                }
                (missing, duplicates) = (max(missing, here.missing), max(duplicates, here.duplicates))
            } catch {
                throw CommandFailure(code: 1, message: "Node \(node.id) does not answer in the end: \(error).")
            }
        }
        let errors = self.stage.errors
        let stale = writers.reduce(0) { $0 + $1.staleReads }
        let times = rounds.compactMap(\.heal_ms).sorted()
        let healed = rounds.count { $0.healed }
        let summary = Summary(
            seed: self.options.seed, mode: self.options.mode.rawValue, rounds: rounds, healed: healed,
            acknowledged: self.stage.acknowledged.load(ordering: .relaxed), errors: errors.count, missing: missing,
            duplicates: duplicates, stale_reads: stale, heal_ms_median: times.isEmpty ? nil : times[times.count / 2],
            heal_ms_worst: times.last, seconds: Double(monotonicNow() - self.began) / 1e9,
            kept: healed == rounds.count && missing == 0 && duplicates == 0 && stale == 0 && errors.isEmpty)
        if self.options.asJSON {
            print(encoded(summary))
            return summary.kept
        }
        func row(_ name: String, _ value: String) { print("  " + name.padded(to: 46) + value.leftPadded(to: 12)) }
        print("")
        row("rounds healed", "\(healed) of \(rounds.count)")
        row("requests acknowledged", "\(summary.acknowledged)")
        row("errors that clients of the other nodes saw", "\(errors.count)")
        row("acknowledged writes missing", "\(missing)")
        row("writes applied twice", "\(duplicates)")
        row("reads that missed an acknowledged write", "\(stale)")
        if let median = summary.heal_ms_median {
            row("from the start to full service, median", fixed(median, 0) + " ms")
            row("from the start to full service, worst", fixed(times.last!, 0) + " ms")
        }
        for error in errors.prefix(10) { print("  error: \(error)") }
        print(
            summary.kept
                ? "\nAll promises were kept." : "\nA PROMISE WAS BROKEN. The same again: --seed \(summary.seed)")
        return summary.kept
    }

    private static let heading =
        "round  node         what             file                                at byte  doctor      heal ms  bytes repaired  incidents"

    private static func row(_ round: Round) -> String {
        "\(round.round)".leftPadded(to: 5) + "  " + "\(round.node) \(round.role)".padded(to: 13)
            + round.kind.padded(to: 17) + round.file.padded(to: 32) + "\(round.offset)".leftPadded(to: 11) + "  "
            + round.doctor.padded(to: 9)
            + (round.heal_ms.map { fixed($0, 0) } ?? "NOT").leftPadded(to: 10)
            + "\(round.bytes_repaired)".leftPadded(to: 16) + "  "
            + (round.incidents.isEmpty ? "-" : round.incidents.joined(separator: ", "))
    }

    private func say(_ text: String) {
        guard !self.options.asJSON else { return note(text) }
        print(text)
    }
}
