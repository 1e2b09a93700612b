import Cache
import NodeCore

/// Judges what clients saw against what the keys hold in the end, key by key.
///
/// First what can be told by looking at values, since each is used once: what was lost, took effect twice, was refused and
/// took effect all the same, or was never written. Then whether there is an order of all operations that explains every
/// reply, in which those of one connection are in the order sent (`ClientHistory`).
package struct HistoryCheck {
    /// Attempts a key, beyond which there is no verdict on its order. A run's history takes some thousands.
    package static let maxSteps = 1_000_000

    private let operations: [Operation]

    package init(_ operations: [Operation]) { self.operations = operations }

    /// - Parameter finals: what each key of `Clients.keys` holds when all is quiet.
    package func check(finals: [[UInt8]?], maxSteps: Int = Self.maxSteps) throws {
        for (key, final) in finals.enumerated() {
            switch Clients.keys[key].kind {
            case .list: try self.checkList(key, final ?? [])
            case .counter: try self.checkCounter(key, final)
            case .register: try self.checkValues(key, final, writtenBy: .set)
            case .expiring: try self.checkValues(key, final, writtenBy: .setExpiring)
            }
        }
        try ClientHistory(self.operations, finals: finals).check(maxSteps: maxSteps)
    }

    private func describe(_ number: Int) -> String {
        let operation = self.operations[number]
        let name = String(decoding: Clients.keys[operation.key].name, as: UTF8.self)
        let returned = operation.returned == .max ? "open" : "\(operation.returned)"
        var outcome = "\(operation.outcome)"
        switch operation.outcome {
        case .value(let bytes): outcome = bytes.map { "a value of \($0.count) bytes" } ?? "no value"
        case .number(let value): outcome = "\(value)"
        default: break
        }
        return
            "operation \(number) (\(operation.kind) \(name), connection \(operation.connection).\(operation.ordinal), "
            + "moments \(operation.invoked)..\(returned), \(outcome))"
    }

    // MARK: Lists

    private func checkList(_ key: Int, _ final: [UInt8]) throws {
        let tokens = try self.tokens(final, key, "the final value")
        var seen: Set<Int> = []
        for token in tokens where !seen.insert(token).inserted {
            throw Violation(.exactlyOnce, "\(self.describe(token)) took effect twice")
        }
        for (number, operation) in self.operations.enumerated() where operation.key == key {
            switch (operation.kind, operation.outcome) {
            case (.append, .number):
                guard seen.contains(number) else {
                    throw Violation(.noAcknowledgedWriteLost, "\(self.describe(number)) is not in the final value")
                }
            case (.append, .refused):
                guard !seen.contains(number) else {
                    throw Violation(.refusedNeverApplied, "\(self.describe(number)) took effect")
                }
            case (.get, .value(let value?)):
                guard value.count <= final.count, final[..<value.count] == value[...] else {
                    throw Violation(
                        .noAcknowledgedWriteLost, "\(self.describe(number)) saw what is no beginning of the final value"
                    )
                }
            default:
                break
            }
        }
    }

    private func tokens(_ value: [UInt8], _ key: Int, _ what: @autoclosure () -> String) throws -> [Int] {
        try value.split(separator: UInt8(ascii: ";")).map { try self.writer(of: $0, key, .append, what()) }
    }

    /// The operation that wrote a value or token, which is its number.
    private func writer(
        of digits: ArraySlice<UInt8>, _ key: Int, _ kind: Operation.Kind, _ what: @autoclosure () -> String
    ) throws -> Int {
        guard let number = Clients.number(digits), number < UInt64(self.operations.count),
            self.operations[Int(number)].key == key, self.operations[Int(number)].kind == kind
        else {
            throw Violation(
                .linearizability, "\(what()) holds what nobody wrote: '\(String(decoding: digits, as: UTF8.self))'")
        }
        return Int(number)
    }

    // MARK: Counters

    private func checkCounter(_ key: Int, _ final: [UInt8]?) throws {
        let total = final.flatMap { Clients.number($0[...]) } ?? 0
        var acknowledged = 0
        var open = 0
        for (number, operation) in self.operations.enumerated()
        where operation.key == key && operation.kind == .increment {
            if case .number(let value) = operation.outcome {
                guard value <= total else {
                    throw Violation(
                        .noAcknowledgedWriteLost, "\(self.describe(number)), and the final value is \(total)")
                }
                acknowledged += 1
            } else if operation.mayTakeEffect {
                open += 1
            }
        }
        guard total <= UInt64(acknowledged + open) else {
            throw Violation(
                .exactlyOnce,
                "the counter stands at \(total) after \(acknowledged) increments acknowledged and \(open) open")
        }
    }

    // MARK: Registers

    /// What was seen was written, and its writer was not told that nothing was done.
    private func checkValues(_ key: Int, _ final: [UInt8]?, writtenBy kind: Operation.Kind) throws {
        func check(_ value: [UInt8], _ what: @autoclosure () -> String) throws {
            let write = try self.writer(of: value[...], key, kind, what())
            guard self.operations[write].outcome != .refused else {
                throw Violation(.refusedNeverApplied, "\(what()) holds that of \(self.describe(write))")
            }
        }
        for (number, operation) in self.operations.enumerated() where operation.key == key {
            guard case .value(let value?) = operation.outcome else { continue }
            try check(value, self.describe(number))
        }
        if let final { try check(final, "the final value") }
    }
}

extension World {
    /// When all is quiet: states, ledgers and the clients' history.
    func checkEnd() throws {
        for group in Self.groups {
            let digests = self.nodes.map { $0.core?.stateDigest(group) }
            guard digests.allSatisfy({ $0 == digests[0] }) else {
                throw Violation(.equalStates, "group \(group) differs at the end")
            }
        }
        let ledgers = self.nodes.map { $0.core?.incidentsJSON() ?? [] }
        guard ledgers.allSatisfy({ $0 == ledgers[0] }) else {
            throw Violation(.equalLedgers, "the ledgers of incidents differ")
        }
        self.counts.incidents = self.nodes[0].core?.incidentCount ?? 0
        var finals: [[UInt8]?] = []
        for key in Clients.keys {
            let command = CommandCoding.encode(1, [key.name])
            let reply = command.withUnsafeBytes { self.nodes[0].core!.localRead($0) }
            guard case .value(let value)? = Clients.outcome(.get, reply[...]) else {
                throw Violation(
                    .repliesInOrder, "a read at the end is answered with \(reply.count) bytes of no known form")
            }
            finals.append(value)
        }
        try HistoryCheck(self.clients.operations).check(finals: finals)
    }
}
