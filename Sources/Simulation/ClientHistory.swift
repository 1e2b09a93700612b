import Linearizability

/// What clients asked and saw, for the checker of linearizability: each key by itself, and at the end a read of every
/// key.
///
/// WAIT concerns no key and is left out, as is what was refused. There are no commands on several keys; one would be
/// split into one operation a key with the same instants, which never accuses wrongly, and does not see whether it took
/// effect on all keys at once.
struct ClientHistory {
    let history: CacheHistory

    init(_ operations: [Operation], finals: [[UInt8]?]) {
        var entries: [CacheHistory.Entry] = []
        var end: UInt64 = 0
        for (number, operation) in operations.enumerated() {
            end = max(end, operation.invoked, operation.returned == .max ? 0 : operation.returned)
            guard let command = Self.command(number, operation), operation.mayTakeEffect else { continue }
            let reply = Self.reply(operation.outcome)
            entries.append(
                CacheHistory.Entry(
                    number: number, key: Clients.keys[operation.key].name,
                    operation: TimedOperation(
                        command: command, connection: operation.connection, invoked: operation.invoked,
                        completion: reply.map { (operation.returned, $0) })))
        }
        for (key, final) in finals.enumerated() {
            entries.append(
                CacheHistory.Entry(
                    number: operations.count + key, key: Clients.keys[key].name,
                    operation: TimedOperation(
                        command: .get, connection: .max, invoked: end + 1, completion: (end + 2, .value(final)))))
        }
        self.history = CacheHistory(entries)
    }

    func check(maxSteps: Int) throws {
        var limits = SearchLimits()
        limits.steps = maxSteps
        switch self.history.check(keepsConnectionOrder: true, limits: limits) {
        case .linearizable: break
        case .notLinearizable(let findings):
            let first = findings[0]
            let others = findings.count > 1 ? " (and \(findings.count - 1) other keys)" : ""
            throw Violation(
                first.breaksConnectionOrderOnly ? .sessionOrder : .linearizability,
                "\(String(decoding: first.key, as: UTF8.self))\(others): \(first.text)")
        case .undecided(let keys):
            let names = keys.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ", ")
            throw Violation(.historyUndecided, "no verdict within \(limits.steps) steps on \(names)")
        }
    }

    /// What a request writes is its number; see `World.submit`.
    private static func command(_ number: Int, _ operation: Operation) -> CacheCommand? {
        switch operation.kind {
        case .get: .get
        case .set: .set(Array("\(number)".utf8))
        case .increment: .increment(1)
        case .append: .append(Array("\(number);".utf8))
        case .setExpiring: .setExpiring(Array("\(number)".utf8))
        case .wait: nil
        }
    }

    /// Nil where the outcome is open.
    private static func reply(_ outcome: Operation.Outcome) -> CacheReply? {
        switch outcome {
        case .done: .done
        // A number past the range is one that no command gives.
        case .number(let number): .number(Int64(clamping: number))
        case .value(let value): .value(value)
        case .pending, .unknown, .lost, .refused: nil
        }
    }
}
