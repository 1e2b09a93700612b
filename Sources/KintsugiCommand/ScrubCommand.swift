import ArgumentParser
import FoundationEssentials
import Glibc
import LocalCluster

/// What a node says of its scrubber: the reply to `KINTSUGI SCRUB`.
struct ScrubStatus: Codable, Sendable {
    struct Pass: Codable, Sendable {
        var number: UInt64
        var began: String
        var ended: String
        var bytes: UInt64
    }

    var id: Int
    /// running, waiting, off; down: it does not answer.
    var state: String
    var interval_seconds: UInt64?
    var pass: UInt64?
    var wanted_pass: UInt64?
    var checked_bytes: UInt64?
    var total_bytes: UInt64?
    var last_pass: Pass?
    var oldest_unverified: String?
    var oldest_unverified_seconds: UInt64?
    var damaged: Int?
    var repaired: Int?
    var open: Int?
}

struct ScrubCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scrub",
        abstract: "Show how much of what is at rest was checked, and what was found; or check everything now.",
        discussion: """
            Each node reads all it has at rest within `scrub.interval` (7 days), checks it, and repairs what is bad. With \
            --now it does so at once, at up to 100 MB/s. Exits 0 where all is good or was repaired, 1 where something is not \
            repaired, 69 where no node answers.
              kintsugi scrub --dir /tmp/k
              kintsugi scrub --connect 10.0.0.1:7001 --now
              kintsugi scrub --dir /tmp/k --now --node 2 --json
            """)

    @Flag(help: "Begin a pass at once, and wait until it is over and what it found is repaired.") var now = false
    @Option(help: "One node alone.") var node: Int?
    @OptionGroup var target: Target

    /// How long what was found may take to be repaired, once the pass is over.
    private static let patience = 60.0

    private struct Output: Encodable {
        var nodes: [ScrubStatus]
    }

    func run() throws {
        var view = try self.target.view()
        _ = view.statuses()
        let nodes = try self.chosen(view)
        var found = Self.ask(nodes, ["KINTSUGI", "SCRUB"] + (self.now ? ["NOW"] : []), view.password)
        guard found.contains(where: { $0.state != "down" }) else { throw nobodyAnswers }
        if self.now { found = self.follow(nodes, found, view.password) }
        print(self.target.json ? encoded(Output(nodes: found)) : Self.table(found))
        let isGood = found.allSatisfy { ($0.open ?? 0) == 0 && (!self.now || $0.state != "down") }
        if !isGood { throw ExitCode(1) }
    }

    private func chosen(_ view: ClusterView) throws -> [(id: Int, address: HostPort)] {
        guard let node else { return view.addresses }
        guard let found = view.addresses.first(where: { $0.id == node }) else {
            throw CommandFailure.usage(
                "There is no node \(node): the nodes are \(view.addresses.map { "\($0.id)" }.joined(separator: ", ")).")
        }
        return [found]
    }

    private static func ask(
        _ nodes: [(id: Int, address: HostPort)], _ words: [String], _ password: String?
    ) -> [ScrubStatus] {
        nodes.map { id, address in
            let text = ClusterView.ask(address, words, password: password)?.text
            return text.flatMap { try? JSONDecoder().decode(ScrubStatus.self, from: Data($0.utf8)) }
                ?? ScrubStatus(id: id, state: "down")
        }
    }

    /// Until every pass that was begun is over, and nothing that was found is left.
    private func follow(
        _ nodes: [(id: Int, address: HostPort)], _ begun: [ScrubStatus], _ password: String?
    ) -> [ScrubStatus] {
        let isLive = isatty(1) != 0 && !self.target.json
        let wanted = begun.map { $0.wanted_pass ?? 0 }
        var overAt: UInt64?
        while true {
            let found = Self.ask(nodes, ["KINTSUGI", "SCRUB"], password)
            let isOver = zip(found, wanted).allSatisfy { status, number in
                status.state == "down" || (status.last_pass?.number ?? 0) >= number
            }
            if isOver {
                if isLive { print("\r\u{1b}[K", terminator: "") }
                let end = overAt ?? monotonicNow()
                overAt = end
                let isRepaired = found.allSatisfy { ($0.open ?? 0) == 0 }
                if isRepaired || Double(monotonicNow() - end) / 1e9 > Self.patience { return found }
            } else if isLive {
                let parts = found.map { status in
                    "node \(status.id): \(Self.mebibytes(status.checked_bytes)) of \(Self.mebibytes(status.total_bytes)) MiB"
                }
                print("\r\u{1b}[K" + parts.joined(separator: "   "), terminator: "")
                fflush(nil)
            }
            usleep(100_000)
        }
    }

    private static func mebibytes(_ bytes: UInt64?) -> String { bytes.map { fixed(Double($0) / 1_048_576, 1) } ?? "-" }

    private static func table(_ nodes: [ScrubStatus]) -> String {
        var lines = [
            "node  state    checked MiB   of MiB  last full pass            oldest unverified         damaged  repaired"
        ]
        for node in nodes {
            lines.append(
                "\(node.id)".padded(to: 6) + node.state.padded(to: 9) + mebibytes(node.checked_bytes).leftPadded(to: 11)
                    + mebibytes(node.total_bytes).leftPadded(to: 9) + "  "
                    + (node.last_pass?.ended ?? "not since its start").padded(to: 26)
                    + (node.oldest_unverified ?? "not known").padded(to: 26)
                    + (node.damaged.map { "\($0)" } ?? "-").leftPadded(to: 7)
                    + (node.repaired.map { "\($0)" } ?? "-").leftPadded(to: 10))
        }
        return lines.joined(separator: "\n")
    }
}
