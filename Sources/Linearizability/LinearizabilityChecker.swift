/// Judges histories of one object: whether each operation can have taken effect at one instant between its request and
/// its reply.
package struct LinearizabilityChecker<Specification: SequentialSpecification>: Sendable {
    package typealias History = [TimedOperation<Specification.Command, Specification.Reply>]

    package enum Judgement {
        /// With an order that explains every reply: places in the history. Open operations that need not have taken
        /// effect are not in it.
        case linearizable(order: [Int])
        case notLinearizable(Counterexample)
        /// Out of steps.
        case undecided
    }

    private let specification: Specification
    private let keepsConnectionOrder: Bool
    private let limits: SearchLimits

    /// - Parameter keepsConnectionOrder: whether operations of one connection also have to take effect in the order
    ///   sent. They may be under way at once. A write of unknown outcome does not bind the reads after it; the writes
    ///   after it keep their order all the same, that is, once one of these has taken effect it no more can.
    package init(
        _ specification: Specification, keepsConnectionOrder: Bool = false, limits: SearchLimits = SearchLimits()
    ) {
        self.specification = specification
        self.keepsConnectionOrder = keepsConnectionOrder
        self.limits = limits
    }

    /// - Complexity: O(n) steps for n operations where few are under way at once, and the replies tell the state; at
    ///   worst exponential in the number of those that are. A step takes O(operations under way + size of a state).
    /// - Parameter names: what to call the operations in a counterexample's text; by default their places.
    package func check(_ history: History, names: [Int]? = nil) -> Judgement {
        switch self.search(history) {
        case .linearizable(let order): .linearizable(order: order)
        case .notLinearizable: .notLinearizable(self.counterexample(history, names ?? Array(history.indices)))
        case .undecided: .undecided
        }
    }

    private func search(_ history: History) -> Search<Specification>.Outcome {
        var steps = self.limits.steps
        return self.search(history, steps: &steps)
    }

    private func search(_ history: History, steps: inout Int) -> Search<Specification>.Outcome {
        var search = Search(
            history, of: self.specification, keepsConnectionOrder: self.keepsConnectionOrder, limits: self.limits)
        return search.run(steps: &steps)
    }

    // MARK: Counterexamples

    /// The least of a history that is not linearizable by itself.
    package struct Counterexample: Sendable {
        /// Places in the history of the operations that it takes, by request.
        package var operations: [Int]
        /// An order of them that explains every reply but one; open operations only where needed. Empty where the steps
        /// did not suffice to find one.
        package var order: [Int]
        /// The one whose reply does not fit, in this order or any other.
        package var misfit: Int
        /// All of it in words, on some lines.
        package var text: String
    }

    /// What clients had seen by some instant is linearizable if all they ever saw is. So the first return with which it
    /// is not is found by halving. Nor does leaving out a read make a history worse: reads that do not matter go.
    private func counterexample(_ history: History, _ names: [Int]) -> Counterexample {
        let returns = history.indices.filter { history[$0].completion != nil }.sorted {
            (history[$0].completion!.returned, $0) < (history[$1].completion!.returned, $1)
        }
        // Up to `good` returns are linearizable, up to `bad` are not.
        var good = 0
        var bad = returns.count
        while bad - good > 1 {
            let middle = (good + bad) / 2
            if case .notLinearizable = self.search(self.beginning(history, returns, middle).operations) {
                bad = middle
            } else {
                good = middle
            }
        }
        let misfit = returns[bad - 1]
        var kept = self.beginning(history, returns, bad)
        self.leaveOutReads(&kept, but: misfit)

        // Without the reply that does not fit all is well.
        var forgiven = kept.operations
        let place = kept.places.firstIndex(of: misfit)!
        forgiven[place].completion = nil
        var order: [Int] = []
        if case .linearizable(let found) = self.search(forgiven) { order = found.map { kept.places[$0] } }
        return Counterexample(
            operations: kept.places, order: order, misfit: misfit,
            text: self.text(history, names, kept: kept, order: order, misfit: misfit))
    }

    /// Part of a history, with the place of each operation in it.
    private struct Part {
        var operations: History = []
        var places: [Int] = []
    }

    /// What was known after the first `count` of these returns: later replies have not come, later requests not gone.
    private func beginning(_ history: History, _ returns: [Int], _ count: Int) -> Part {
        let last = history[returns[count - 1]].completion!.returned
        let known = Set(returns[..<count])
        var part = Part()
        let byRequest = history.indices.sorted { (history[$0].invoked, $0) < (history[$1].invoked, $1) }
        for at in byRequest where history[at].invoked <= last {
            var operation = history[at]
            if !known.contains(at) { operation.completion = nil }
            part.operations.append(operation)
            part.places.append(at)
        }
        return part
    }

    /// In large pieces first, as long as the steps last.
    private func leaveOutReads(_ part: inout Part, but misfit: Int) {
        var steps = self.limits.steps
        var size = part.operations.count
        while size > 0 {
            var from = 0
            while from < part.operations.count {
                let to = min(from + size, part.operations.count)
                var less = Part()
                for at in part.operations.indices {
                    let isRead = self.specification.isReadOnly(part.operations[at].command)
                    if (from..<to).contains(at), isRead, part.places[at] != misfit { continue }
                    less.operations.append(part.operations[at])
                    less.places.append(part.places[at])
                }
                if less.places.count < part.places.count,
                    case .notLinearizable = self.search(less.operations, steps: &steps)
                {
                    from = to - (part.places.count - less.places.count)
                    part = less
                } else {
                    from = to
                }
                guard steps > 0 else { return }
            }
            size /= 2
        }
    }
}

// MARK: In words

extension LinearizabilityChecker {
    /// Operations in a row beyond which only their number is given.
    private static var linesShown: Int { 12 }

    private func text(_ history: History, _ names: [Int], kept: Part, order: [Int], misfit: Int) -> String {
        let known = Set(zip(kept.places, kept.operations).filter { $1.completion != nil }.map { $0.0 })
        func line(_ at: Int) -> String {
            let operation = history[at]
            let returned = operation.completion.map { "\($0.returned)" } ?? "open"
            var reply = "unknown"
            if let completion = operation.completion {
                reply = known.contains(at) ? self.specification.describe(completion.reply) : "not yet known"
            }
            return "  operation \(names[at]), connection \(operation.connection), \(operation.invoked)..\(returned): "
                + "\(self.specification.describe(operation.command)) = \(reply)"
        }

        // The misfit is judged where the order has it, else behind all; its own reply is left out of account.
        let before = order.firstIndex(of: misfit) ?? order.count
        var state = self.specification.initialState
        for at in order[..<before] {
            guard
                let next = self.specification.apply(
                    history[at].command, reply: self.reply(history, at, known), to: state)
            else { break }
            state = next
        }

        var lines = [
            order.isEmpty ? "from the initial state" : "an order of \(order.count) operations explains their replies:"
        ]
        let shown = order[..<before].suffix(Self.linesShown)
        if before > shown.count { lines.append("  \(before - shown.count) operations, then") }
        lines += shown.map(line)
        lines.append("  and the state is \(self.specification.describe(state))")
        lines.append("no order has a place for")
        lines.append(
            line(misfit) + ", where here it would be "
                + self.specification.expectedReply(to: history[misfit].command, in: state))
        let placed = Set(order)
        let left = kept.places.filter { !placed.contains($0) && $0 != misfit }
        if !left.isEmpty {
            lines.append("without a reply by then, and not needed in that order:")
            lines += left.prefix(Self.linesShown).map(line)
            if left.count > Self.linesShown { lines.append("  and \(left.count - Self.linesShown) more") }
        }
        return lines.joined(separator: "\n")
    }

    private func reply(_ history: History, _ at: Int, _ known: Set<Int>) -> Specification.Reply? {
        known.contains(at) ? history[at].completion?.reply : nil
    }
}
