import Linearizability

/// Tries every order: the definition of linearizability, and nothing else. For histories of a few operations.
struct BruteForce<Specification: SequentialSpecification> {
    let specification: Specification
    let history: [TimedOperation<Specification.Command, Specification.Reply>]
    let keepsConnectionOrder: Bool

    var isLinearizable: Bool { self.canFinish([], self.specification.initialState) }

    private func canFinish(_ placed: [Int], _ state: Specification.State) -> Bool {
        if self.history.indices.allSatisfy({ self.history[$0].completion == nil || placed.contains($0) }) {
            return true
        }
        for next in self.history.indices where !placed.contains(next) && self.mayCome(next, after: placed) {
            let operation = self.history[next]
            if let state = self.specification.apply(
                operation.command, reply: operation.completion?.reply, to: state),
                self.canFinish(placed + [next], state)
            {
                return true
            }
        }
        return false
    }

    private func mayCome(_ next: Int, after placed: [Int]) -> Bool {
        for other in self.history.indices where other != next {
            let isPlaced = placed.contains(other)
            if !isPlaced, let completion = self.history[other].completion,
                completion.returned < self.history[next].invoked || self.isBound(other, before: next)
            {
                return false
            }
            if isPlaced, self.isBound(next, before: other) { return false }
        }
        return true
    }

    /// Whether the connection demands that `a` takes effect before `b` if it does.
    private func isBound(_ a: Int, before b: Int) -> Bool {
        let (first, second) = (self.history[a], self.history[b])
        guard self.keepsConnectionOrder, first.connection == second.connection, (first.invoked, a) < (second.invoked, b)
        else {
            return false
        }
        return first.completion != nil
            || !self.specification.isReadOnly(first.command) && !self.specification.isReadOnly(second.command)
    }
}
