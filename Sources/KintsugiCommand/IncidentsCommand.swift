import ArgumentParser
import FoundationEssentials
import Glibc
import LocalCluster

/// The replies to `KINTSUGI INCIDENTS`, as far as the command line reads them itself.
struct IncidentList: Decodable, Sendable {
    struct Entry: Decodable, Sendable {
        struct Times: Decodable, Sendable {
            var after: String
            var before: String
        }
        var id: UInt64
        var kind: String
        var cause: String
        var node: Int
        var run: UInt64
        var planned: Bool
        var count: Int
        var state: String
        var detected: String
        var detection_ms: [Double]
        var repair_ms: Double?
        var recovery_ms: [Double]?
        var delay_ms: [String: Double]
        var recovery_rate: [String: Double?]
        var bytes_repaired: UInt64?
        var actions: [String]?
    }
    var incidents: [Entry]
}

struct IncidentsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "incidents",
        abstract: "Show the account of faults: detection T_r, repair T_c, recovery R = T_r + T_c, delay D, rate P_r.",
        discussion: """
            kintsugi incidents --dir /tmp/k
              kintsugi incidents --connect 10.0.0.1:7001 --watch
            """)

    @Flag(help: "Show it anew every second, until interrupted.") var watch = false
    @OptionGroup var target: Target

    func run() throws {
        var view = try self.target.view()
        repeat {
            guard let text = Self.fetch(&view) else { throw nobodyAnswers }
            if self.target.json {
                print(text)
            } else {
                guard let list = try? JSONDecoder().decode(IncidentList.self, from: Data(text.utf8)) else {
                    throw CommandFailure(code: 1, message: "The node's reply does not read: \(text.prefix(200))")
                }
                if self.watch, isatty(1) != 0 { print("\u{1b}[H\u{1b}[2J", terminator: "") }
                print(list.incidents.isEmpty ? "No incidents." : Self.table(list.incidents))
            }
            if self.watch { sleep(1) }
        } while self.watch
    }

    /// From the node that leads the system group, which has the newest; else from any.
    static func fetch(_ view: inout ClusterView) -> String? {
        let leader = ClusterView.leader(of: "system", in: view.statuses())
        for (_, address) in view.addresses.sorted(by: { a, _ in a.id == leader }) {
            if let text = ClusterView.ask(address, ["KINTSUGI", "INCIDENTS"], password: view.password)?.text {
                return text
            }
        }
        return nil
    }

    static let heading =
        "id    detected                  node  cause              T_r ms    T_c ms      R ms  D ms (worst)  P_r 1s / close  state"

    static func table(_ incidents: [IncidentList.Entry]) -> String {
        ([Self.heading] + incidents.map(Self.row)).joined(separator: "\n")
    }

    static func row(_ incident: IncidentList.Entry) -> String {
        func text(_ value: Double?, _ digits: Int = 1) -> String { value.map { fixed($0, digits) } ?? "-" }
        let rates =
            "\(text(incident.recovery_rate["1s"] ?? nil, 2)) / \(text(incident.recovery_rate["close"] ?? nil, 2))"
        return "\(incident.id)".padded(to: 6) + incident.detected.padded(to: 26) + "\(incident.node)".padded(to: 6)
            + "\(incident.cause)\(incident.planned ? " (planned)" : "")".padded(to: 17)
            + text(incident.detection_ms.last).leftPadded(to: 8) + text(incident.repair_ms).leftPadded(to: 10)
            + text(incident.recovery_ms?.last).leftPadded(to: 10)
            + text(incident.delay_ms.values.max()).leftPadded(to: 14)
            + rates.leftPadded(to: 16) + "  " + incident.state
    }
}

func fixed(_ value: Double, _ digits: Int) -> String {
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((value.magnitude * Double(scale)).rounded())
    let whole = "\(value < 0 && scaled > 0 ? "-" : "")\(scaled / scale)"
    guard digits > 0 else { return whole }
    let rest = "\(scaled % scale)"
    return whole + "." + String(repeating: "0", count: digits - rest.count) + rest
}
