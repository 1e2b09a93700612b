/// A run in one word that a shell passes on untouched: the seed, and what differs from the defaults, for example
/// `7+nodes=5+faults=power-cut,pause+keep=3,8`. Whoever has the word has the run.
extension SimulationOptions {
    package var token: String {
        let defaults = SimulationOptions(seed: self.seed)
        var token = "\(self.seed)"
        if self.nodes != defaults.nodes { token += "+nodes=\(self.nodes)" }
        if self.faultTime != defaults.faultTime { token += "+ticks=\(self.ticks)" }
        if self.workload != defaults.workload { token += "+workload=\(self.workload.rawValue)" }
        if let bug { token += "+planted=\(bug.rawValue)" }
        if self.faults != (self.bug?.faults ?? defaults.faults) { token += "+faults=\(self.faults)" }
        if let keptFaults { token += "+keep=\(keptFaults.sorted().map(String.init).joined(separator: ","))" }
        if self.noise != 0 { token += "+noise=\(self.noise)" }
        return token
    }

    package init(token: String) throws(UnreadableOption) {
        var parts = token.split(separator: "+", omittingEmptySubsequences: false)[...]
        guard let seed = parts.popFirst().flatMap({ UInt64($0) }) else {
            throw UnreadableOption("'\(token)' is no seed: give a number, or the word that a run printed.")
        }
        self.init(seed: seed)
        var faults: String?
        for part in parts {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2 else { throw UnreadableOption("'\(part)' in '\(token)' is no NAME=VALUE.") }
            let value = String(pair[1])
            switch pair[0] {
            case "nodes": try self.setNodes(value)
            case "ticks": try self.setTicks(value)
            case "workload": try self.setWorkload(value)
            case "planted": try self.setBug(value)
            case "faults": faults = value
            case "keep": try self.setKeptFaults(value)
            case "noise": self.noise = try Self.number(value, "noise", 0...UInt64.max)
            default: throw UnreadableOption("'\(pair[0])' in '\(token)' is not known.")
            }
        }
        if let faults { self.faults = try FaultModel(parsing: faults) }
    }

    // MARK: Words to options

    package mutating func setNodes(_ text: String) throws(UnreadableOption) {
        self.nodes = Int(try Self.number(text, "nodes", 1...7))
    }

    /// An hour of simulated time would be 180,000.
    package mutating func setTicks(_ text: String) throws(UnreadableOption) {
        self.ticks = try Self.number(text, "ticks", 1...100_000_000)
    }

    package mutating func setWorkload(_ text: String) throws(UnreadableOption) {
        guard let workload = Workload(rawValue: text) else {
            throw UnreadableOption(
                "There is no workload '\(text)': \(Workload.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        self.workload = workload
    }

    /// The bug, and the faults under which it shows.
    package mutating func setBug(_ text: String) throws(UnreadableOption) {
        guard let bug = PlantedBug(rawValue: text) else {
            throw UnreadableOption(
                "There is no planted bug '\(text)': \(PlantedBug.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        self.bug = bug
        self.faults = bug.faults
    }

    private mutating func setKeptFaults(_ text: String) throws(UnreadableOption) {
        var kept: Set<Int> = []
        for word in text.split(separator: ",") {
            guard let number = Int(word), number >= 0 else { throw UnreadableOption("keep: '\(word)' is no number.") }
            kept.insert(number)
        }
        self.keptFaults = kept
    }

    private static func number(
        _ text: String, _ name: String, _ range: ClosedRange<UInt64>
    ) throws(UnreadableOption) -> UInt64 {
        guard let number = UInt64(text), range.contains(number) else {
            throw UnreadableOption("\(name): '\(text)' is no number from \(range.lowerBound) to \(range.upperBound).")
        }
        return number
    }
}

/// A word of the command line that means nothing, and what would.
package struct UnreadableOption: Error, CustomStringConvertible {
    package var description: String

    init(_ description: String) { self.description = description }
}
