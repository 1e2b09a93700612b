/// What clients asked of a cache and what they saw.
package struct CacheHistory: Sendable {
    package typealias KeyOperation = TimedOperation<CacheCommand, CacheReply>

    package struct Entry: Sendable {
        /// What a counterexample calls it: of a text its line.
        package var number: Int
        package var key: [UInt8]
        package var operation: KeyOperation

        package init(number: Int, key: [UInt8], operation: KeyOperation) {
            self.number = number
            self.key = key
            self.operation = operation
        }
    }

    /// In any order. What surely did not take effect is not here.
    package var entries: [Entry]

    package init(_ entries: [Entry] = []) { self.entries = entries }

    package enum Judgement: Sendable {
        case linearizable
        /// Keys whose history is not, with the reason.
        case notLinearizable([Finding])
        /// No key's history is known to be wrong; these are not known to be right.
        case undecided(keys: [[UInt8]])
    }

    /// A key whose history has no right order.
    package struct Finding: Sendable {
        package var key: [UInt8]
        /// Places in `entries` of the operations that have no right order by themselves.
        package var entries: [Int]
        /// Place in `entries` of the one whose reply fits nowhere.
        package var misfit: Int
        /// Whether there is an order where those of a connection may change places: it is the connection's order that
        /// is broken.
        package var breaksConnectionOrderOnly: Bool
        /// In words, on some lines.
        package var text: String
    }

    /// Checks each key by itself: a history is linearizable if that of every object is (Herlihy and Wing, theorem 1).
    /// The order of a connection is checked within each key too, which is less than the order over all its keys.
    /// - Parameter keepsConnectionOrder: see `LinearizabilityChecker`.
    package func check(keepsConnectionOrder: Bool = true, limits: SearchLimits = SearchLimits()) -> Judgement {
        var findings: [Finding] = []
        var undecided: [[UInt8]] = []
        for (key, places) in self.keys() {
            let operations = places.map { self.entries[$0].operation }
            let checker = LinearizabilityChecker(
                CacheSpecification(), keepsConnectionOrder: keepsConnectionOrder, limits: limits)
            switch checker.check(operations, names: places.map { self.entries[$0].number }) {
            case .linearizable: continue
            case .undecided: undecided.append(key)
            case .notLinearizable(let counterexample):
                findings.append(self.finding(key, places, operations, counterexample, keepsConnectionOrder, limits))
            }
        }
        if !findings.isEmpty { return .notLinearizable(findings) }
        return undecided.isEmpty ? .linearizable : .undecided(keys: undecided)
    }

    private func finding(
        _ key: [UInt8], _ places: [Int], _ operations: [KeyOperation],
        _ counterexample: LinearizabilityChecker<CacheSpecification>.Counterexample, _ keepsConnectionOrder: Bool,
        _ limits: SearchLimits
    ) -> Finding {
        var finding = Finding(
            key: key, entries: counterexample.operations.map { places[$0] }, misfit: places[counterexample.misfit],
            breaksConnectionOrderOnly: false, text: counterexample.text)
        guard keepsConnectionOrder else { return finding }
        // The whole key's history, not the part: what is wrong with it is told by its worst.
        let checker = LinearizabilityChecker(CacheSpecification(), keepsConnectionOrder: false, limits: limits)
        switch checker.check(operations, names: places.map { self.entries[$0].number }) {
        case .linearizable: finding.breaksConnectionOrderOnly = true
        case .undecided: break
        case .notLinearizable(let other):
            finding.entries = other.operations.map { places[$0] }
            finding.misfit = places[other.misfit]
            finding.text = other.text
        }
        return finding
    }

    /// Places of the entries of each key; keys by first appearance.
    private func keys() -> [(key: [UInt8], places: [Int])] {
        var keys: [(key: [UInt8], places: [Int])] = []
        var numbers: [[UInt8]: Int] = [:]
        for (place, entry) in self.entries.enumerated() {
            if let number = numbers[entry.key] {
                keys[number].places.append(place)
            } else {
                numbers[entry.key] = keys.count
                keys.append((entry.key, [place]))
            }
        }
        return keys
    }
}
