import ArgumentParser
import Glibc
import LocalCluster

struct Target: ParsableArguments {
    @Option(help: ArgumentHelp("Directory of a local cluster.", valueName: "dir")) var dir: String?
    @Option(help: ArgumentHelp("Redis address of any node.", valueName: "host:port")) var connect: String?
    @Option(help: ArgumentHelp("A file that holds the clients' password.", valueName: "file")) var passwordFile: String?
    @Flag(help: "Print one JSON object.") var json = false

    func view() throws -> ClusterView {
        var view = try ClusterView(dir: self.dir, connect: self.connect)
        if let passwordFile {
            guard let text = LocalCluster.read(passwordFile) else {
                throw CommandFailure.configuration("The password file \(passwordFile) cannot be read.")
            }
            view.password = text.split(whereSeparator: \.isNewline).first.map(String.init)
        }
        return view
    }
}

let nobodyAnswers = CommandFailure(
    code: 69, message: "No node answers. Check the address, or start the cluster: kintsugi cluster start --dir DIR")

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show every node and who leads.",
        discussion: """
            kintsugi status --dir /tmp/k
              kintsugi status --connect 10.0.0.1:7001 --watch
            """)

    @Flag(help: "Show it anew every second, until interrupted.") var watch = false
    @OptionGroup var target: Target

    private struct Output: Encodable {
        struct Node: Encodable {
            var id: Int
            var state: String
            var groups: [NodeStatus.Group]
        }
        var nodes: [Node]
    }

    func run() throws {
        var view = try self.target.view()
        repeat {
            let statuses = view.statuses()
            guard self.watch || statuses.contains(where: { $0.state != "down" }) else { throw nobodyAnswers }
            if self.target.json {
                print(encoded(Output(nodes: statuses.map { .init(id: $0.id, state: $0.state, groups: $0.groups) })))
            } else {
                if self.watch, isatty(1) != 0 { print("\u{1b}[H\u{1b}[2J", terminator: "") }
                print(Self.table(statuses))
            }
            if self.watch { sleep(1) }
        } while self.watch
    }

    static func table(_ statuses: [NodeStatus]) -> String {
        var lines = ["node  state       group     role       term        commit       applied"]
        for status in statuses {
            let head = "\(status.id)".padded(to: 6) + status.state.padded(to: 12)
            if status.groups.isEmpty { lines.append(head + "-") }
            for (at, group) in status.groups.enumerated() {
                lines.append(
                    (at == 0 ? head : String(repeating: " ", count: 18)) + group.group.padded(to: 10)
                        + group.role.padded(to: 9) + "\(group.term)".leftPadded(to: 6)
                        + "\(group.commit)".leftPadded(to: 14)
                        + "\(group.applied)".leftPadded(to: 14))
            }
        }
        return lines.joined(separator: "\n")
    }
}

extension String {
    func leftPadded(to width: Int) -> String { String(repeating: " ", count: max(0, width - self.count)) + self }
}

struct TransferCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transfer",
        abstract: "Hand a group's leadership to another node.",
        discussion: "  kintsugi transfer --group default --to 2 --dir /tmp/k")

    @Option(help: "The group: default or system.") var group = "default"
    @Option(help: "The node that is to lead; else the one that is furthest.") var to: Int?
    @OptionGroup var target: Target

    func run() throws {
        var view = try self.target.view()
        let statuses = view.statuses()
        guard let up = statuses.first(where: { $0.state == "up" }) else { throw nobodyAnswers }
        guard let before = ClusterView.leader(of: self.group, in: statuses) else {
            throw CommandFailure(
                code: 1, message: "Nobody leads the group '\(self.group)' now, or there is no such group.")
        }
        let address = view.addresses.first { $0.id == before || $0.id == up.id }!.address
        let words = ["KINTSUGI", "TRANSFER", self.group] + (self.to.map { ["\($0)"] } ?? [])
        switch ClusterView.ask(address, words, password: view.password) {
        case .error(let text): throw CommandFailure(code: 1, message: "The node refuses: \(text)")
        case nil: throw nobodyAnswers
        default: break
        }
        if let to, to == before { return self.show(from: before, to: to) }
        for _ in 0..<100 {
            if let now = ClusterView.leader(of: self.group, in: view.statuses()), now != before, self.to ?? now == now {
                return self.show(from: before, to: now)
            }
            usleep(20_000)
        }
        throw CommandFailure(
            code: 75,
            message:
                "The group '\(self.group)' was not handed over in time: node \(before) led it, see `kintsugi status`.")
    }

    private struct Output: Encodable {
        var group: String
        var from: Int
        var to: Int
    }

    private func show(from: Int, to: Int) {
        let output = Output(group: self.group, from: from, to: to)
        print(self.target.json ? encoded(output) : "\(self.group): node \(from) hands over, node \(to) leads")
    }
}
