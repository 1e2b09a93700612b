package import Replication

/// Which faults a run may contain, and how many.
package struct FaultModel: Sendable, Equatable {
    /// By kind, in the order of its cases; 0 leaves the kind out.
    private var weights: [UInt64]
    /// Mean time between two injected faults.
    package var meanInterval: Nanoseconds = .milliseconds(250)
    /// Each run leaves out some of the kinds and draws the pace of the rest, so that runs differ in kind (Groce et al.,
    /// *Swarm testing*, ISSTA 2012).
    package var isSwarm = true

    /// All kinds but the optional ones, with the weights of the table.
    package init() {
        self.weights = FaultKind.allCases.map { $0.definition.isOptional ? 0 : $0.definition.weight }
    }

    package subscript(kind: FaultKind) -> UInt64 {
        get { self.weights[kind.place] }
        set { self.weights[kind.place] = newValue }
    }

    /// Nothing goes wrong.
    package static var none: FaultModel {
        var model = FaultModel()
        for kind in FaultKind.allCases { model[kind] = 0 }
        model.isSwarm = false
        return model
    }

    /// Elections without end, in each of which some voter dies and comes back: for promises that are kept for a moment.
    package static var elections: FaultModel {
        var model = FaultModel.none
        model.meanInterval = .milliseconds(60)
        model[.pause] = 2
        model[.connectionDrop] = 1
        model[.slowLink] = 6
        model[.transfer] = 6
        model[.deathAtElection] = 1000
        return model
    }

    /// Disks are lost one after the other, and nodes go down meanwhile: for what an empty disk must not do.
    package static var disks: FaultModel {
        var model = FaultModel()
        model.meanInterval = .milliseconds(150)
        model[.wipe] = 12
        model[.oldCopy] = 12
        model[.processCrash] = 8
        model[.powerCut] = 8
        return model
    }

    /// States go wrong, and replicas fall behind meanwhile: for what a wrong one must not spread.
    package static var states: FaultModel {
        var model = FaultModel()
        model.meanInterval = .milliseconds(150)
        model[.stateFlip] = 20
        model[.partition] = 8
        return model
    }

    /// What is at rest rots, on one node after the other and on all at once, and nodes go down meanwhile and read it.
    package static var rot: FaultModel {
        var model = FaultModel()
        model.meanInterval = .milliseconds(90)
        model[.journalRot] = 30
        model[.stateFlip] = 0
        model[.snapshotRot] = 6
        model[.fileRot] = 8
        model[.readErrors] = 6
        model[.processCrash] = 10
        model[.powerCut] = 10
        return model
    }

    /// Any file rots, on one node after the other and on all at once, in the midst of all other faults but wrong states,
    /// which are no file's.
    package static var anyFile: FaultModel {
        var model = FaultModel()
        model.meanInterval = .milliseconds(120)
        model[.journalRot] = 12
        model[.snapshotRot] = 8
        model[.fileRot] = 12
        model[.readErrors] = 6
        model[.stateFlip] = 0
        model[.processCrash] = 10
        model[.powerCut] = 10
        return model
    }

    /// Snapshots cannot be written, on one node or on all, in a log that has little room (`World.maxLogBytes`).
    package static var fullLogs: FaultModel {
        var model = FaultModel()
        model.meanInterval = .milliseconds(150)
        model[.snapshotErrors] = 60
        model[.stateFlip] = 0
        return model
    }

    /// `disks` without old copies.
    static var wipes: FaultModel {
        var model = FaultModel.disks
        model[.oldCopy] = 0
        return model
    }

    /// The model of one run.
    func drawn(_ random: inout Random) -> FaultModel {
        guard self.isSwarm else { return self }
        var model = self
        for kind in FaultKind.allCases where !self.isNeverDrawn(kind) && random.chance(1, in: 4) { model[kind] = 0 }
        model.meanInterval = model.meanInterval / 3 + random.below(model.meanInterval * 3 / 2)
        return model
    }

    /// Not in this model anyway, and newer than most of the seeds that are on record: they draw what they always drew.
    private func isNeverDrawn(_ kind: FaultKind) -> Bool { kind == .snapshotErrors && self[kind] == 0 }
}

// MARK: Words

/// As words, separated by commas: first a preset (`default`, `elections`, `disks`, `states`, `rot`,
/// `full-logs`, `any-file`, `none`; without one, `none`), then changes:
/// `KIND` with its usual weight, `KIND=WEIGHT`, `no-KIND`, `every=MS` for the mean interval, `swarm` or `steady`.
extension FaultModel: CustomStringConvertible {
    private static var presets: [(name: String, model: FaultModel)] {
        [
            ("default", FaultModel()), ("none", .none), ("elections", .elections), ("disks", .disks),
            ("states", .states), ("rot", .rot), ("full-logs", .fullLogs), ("any-file", .anyFile),
        ]
    }

    package init(parsing text: String) throws(UnreadableOption) {
        var words = text.split(separator: ",").map(String.init)[...]
        if let preset = Self.presets.first(where: { $0.name == words.first }) {
            self = preset.model
            words.removeFirst()
        } else {
            // Words that only leave out leave out of all there is.
            self = words.allSatisfy { $0.hasPrefix("no-") } ? FaultModel() : .none
        }
        for word in words { try self.apply(word) }
    }

    private mutating func apply(_ word: String) throws(UnreadableOption) {
        let pair = word.split(separator: "=", maxSplits: 1).map(String.init)
        let value = pair.count == 2 ? UInt64(pair[1]) : nil
        if pair.count == 2, value == nil || value! > 1_000_000 {
            throw UnreadableOption("faults: '\(word)' needs a number up to 1,000,000 after the =.")
        }
        switch pair.first ?? "" {
        case "swarm": self.isSwarm = true
        case "steady": self.isSwarm = false
        case "every": self.meanInterval = .milliseconds(max(1, value ?? 250))
        case let name:
            if let kind = FaultKind(rawValue: name) {
                self[kind] = value ?? kind.definition.weight
            } else if name.hasPrefix("no-"), let kind = FaultKind(rawValue: String(name.dropFirst(3))) {
                self[kind] = 0
            } else {
                throw UnreadableOption(
                    "There is no fault '\(name)': \(FaultKind.allCases.map(\.rawValue).joined(separator: ", ")).")
            }
        }
    }

    package var description: String {
        let candidates = Self.presets.map { [$0.name] + self.changes(from: $0.model) }
        return candidates.min { $0.count < $1.count }!.joined(separator: ",")
    }

    private func changes(from other: FaultModel) -> [String] {
        var words: [String] = []
        for kind in FaultKind.allCases where self[kind] != other[kind] {
            let usual = kind.definition.weight
            words.append(
                self[kind] == 0
                    ? "no-\(kind.rawValue)" : kind.rawValue + (self[kind] == usual ? "" : "=\(self[kind])"))
        }
        if self.meanInterval != other.meanInterval { words.append("every=\(self.meanInterval / 1_000_000)") }
        if self.isSwarm != other.isSwarm { words.append(self.isSwarm ? "swarm" : "steady") }
        return words
    }
}
