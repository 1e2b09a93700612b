import Replication

/// The operations of a history in the form that a search works on: calls and returns in order of time, and what the
/// order within a connection demands.
///
/// Completed operations are numbered from 0 by request, and open ones apart from them: an open one need not find a
/// place. Open reads are left out, for they bind nothing.
struct PartialOrder {
    /// Place in the history of each operation, by number.
    private(set) var completed: [Int] = []
    private(set) var open: [Int] = []
    /// Calls and returns of completed operations by time.
    private(set) var events: [Event] = []
    /// Of each open operation, calls and returns in `events` before its own call.
    private(set) var openAfter: [Int] = []

    /// Of each completed operation, the completed one before it in its connection, or -1. Being placed implies that all
    /// before that are.
    private(set) var completedBefore: [Int] = []
    /// Whether there is an open write before it in its connection.
    private(set) var followsOpen: [Bool] = []
    /// As `completedBefore`, of each open operation.
    private(set) var completedBeforeOpen: [Int] = []
    /// Of each open operation, the writes after it in its connection up to the first completed one: with one of these
    /// placed it can no more be.
    private(set) var writesAfterOpen: [[Number]] = []
    /// Of each open operation, the last one before it with an equal command, or -1.
    private(set) var twinOfOpen: [Int] = []

    struct Event {
        /// Number of the completed operation.
        var operation: Int
        var isReturn: Bool
    }

    enum Number {
        case completed(Int)
        case open(Int)
    }

    /// - Parameter keepsConnectionOrder: whether the operations of a connection have to take effect in the order sent.
    /// - Complexity: O(n log n).
    init<Specification: SequentialSpecification>(
        _ history: [TimedOperation<Specification.Command, Specification.Reply>], of specification: Specification,
        keepsConnectionOrder: Bool
    ) {
        let byRequest = history.indices.sorted {
            (history[$0].invoked, $0) < (history[$1].invoked, $1)
        }
        var numbers: [Number?] = Array(repeating: nil, count: history.count)
        var events: [(time: UInt64, isReturn: Bool, event: Event)] = []
        var callsOfOpen: [UInt64] = []
        for at in byRequest {
            let operation = history[at]
            if let completion = operation.completion {
                invariant(completion.returned >= operation.invoked, "operation \(at) returns before its request")
                let number = self.completed.count
                numbers[at] = .completed(number)
                self.completed.append(at)
                events.append((operation.invoked, false, Event(operation: number, isReturn: false)))
                events.append((completion.returned, true, Event(operation: number, isReturn: true)))
            } else if !specification.isReadOnly(operation.command) {
                numbers[at] = .open(self.open.count)
                self.open.append(at)
                callsOfOpen.append(operation.invoked)
            }
        }
        // Of one instant calls come first: then they are concurrent with what returns.
        events.sort {
            ($0.time, $0.isReturn ? 1 : 0, $0.event.operation) < ($1.time, $1.isReturn ? 1 : 0, $1.event.operation)
        }
        self.events = events.map(\.event)
        var passed = 0
        for call in callsOfOpen {
            while passed < events.count, events[passed].time < call { passed += 1 }
            self.openAfter.append(passed)
        }

        self.completedBefore = Array(repeating: -1, count: self.completed.count)
        self.followsOpen = Array(repeating: false, count: self.completed.count)
        self.completedBeforeOpen = Array(repeating: -1, count: self.open.count)
        self.writesAfterOpen = Array(repeating: [], count: self.open.count)
        if keepsConnectionOrder {
            self.orderConnections(byRequest, numbers) {
                history[$0].connection
            } isWrite: {
                !specification.isReadOnly(history[$0].command)
            }
        }
        var last: [Specification.Command: Int] = [:]
        for (number, at) in self.open.enumerated() {
            self.twinOfOpen.append(last.updateValue(number, forKey: history[at].command) ?? -1)
        }
    }

    private mutating func orderConnections(
        _ byRequest: [Int], _ numbers: [Number?], connection: (Int) -> UInt64, isWrite: (Int) -> Bool
    ) {
        var lastCompleted: [UInt64: Int] = [:]
        // Open writes that no completed write has come after yet; an empty list where there were some.
        var trailing: [UInt64: [Int]] = [:]
        for at in byRequest {
            guard let number = numbers[at] else { continue }
            let connection = connection(at)
            let before = lastCompleted[connection] ?? -1
            if isWrite(at) { for open in trailing[connection] ?? [] { self.writesAfterOpen[open].append(number) } }
            switch number {
            case .completed(let completed):
                self.completedBefore[completed] = before
                lastCompleted[connection] = completed
                self.followsOpen[completed] = trailing[connection] != nil
                if isWrite(at), trailing[connection] != nil { trailing[connection] = [] }
            case .open(let open):
                self.completedBeforeOpen[open] = before
                trailing[connection, default: []].append(open)
            }
        }
    }
}
