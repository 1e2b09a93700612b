import Cache
import NodeCore

/// Judges what clients saw against what the keys hold in the end, key by key.
///
/// The writes of a list and of a counter are in a known order: their values tell it. With it linearizability is decided
/// in one pass: operations sorted by their place, a read after the write it saw, each takes effect no earlier than its
/// own request and all before it, and must do so before its reply. A register's values tell only which write a read
/// saw; that decides it too (Gibbons and Korach, *Testing shared memories*, SIAM J. Comput. 26(4), 1997, section 4).
package struct HistoryCheck {
    private let operations: [Operation]

    /// An operation with its place among the writes of its key.
    private struct Placed {
        /// Number of the write that it is or saw; 0: before all.
        var place: Int
        var isRead: Bool
        var number: Int
    }

    package init(_ operations: [Operation]) { self.operations = operations }

    /// - Parameter finals: what each key of `Clients.keys` holds when all is quiet.
    package func check(finals: [[UInt8]?]) throws {
        for (key, final) in finals.enumerated() {
            switch Clients.keys[key].kind {
            case .list: try self.checkList(key, final ?? [])
            case .counter: try self.checkCounter(key, final)
            case .register: try self.checkRegister(key, final)
            case .expiring: try self.checkExpiring(key, final)
            }
        }
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
        var place: [Int: Int] = [:]
        var end: [Int: Int] = [:]
        var bytes = 0
        for (at, token) in tokens.enumerated() {
            guard place[token] == nil else {
                throw Violation(.exactlyOnce, "\(self.describe(token)) took effect twice")
            }
            place[token] = at + 1
            bytes += "\(token);".utf8.count
            end[token] = bytes
        }
        var placed: [Placed] = []
        for (number, operation) in self.operations.enumerated() where operation.key == key {
            switch (operation.kind, operation.outcome) {
            case (.append, .number(let length)):
                guard let at = place[number] else {
                    throw Violation(.noAcknowledgedWriteLost, "\(self.describe(number)) is not in the final value")
                }
                guard end[number] == Int(length) else {
                    throw Violation(
                        .linearizability, "\(self.describe(number)): the value ended at \(end[number]!) after it")
                }
                placed.append(Placed(place: at, isRead: false, number: number))
            case (.append, .refused):
                if place[number] != nil {
                    throw Violation(.refusedNeverApplied, "\(self.describe(number)) took effect")
                }
            case (.append, _):
                if let at = place[number] { placed.append(Placed(place: at, isRead: false, number: number)) }
            case (.get, .value(let value)):
                let value = value ?? []
                guard value.count <= final.count, final[..<value.count] == value[...] else {
                    throw Violation(
                        .noAcknowledgedWriteLost, "\(self.describe(number)) saw what is no beginning of the final value"
                    )
                }
                let seen = try self.tokens(value, key, self.describe(number))
                placed.append(Placed(place: seen.count, isRead: true, number: number))
            default:
                break
            }
        }
        try self.checkOrder(placed)
    }

    private func tokens(_ value: [UInt8], _ key: Int, _ what: @autoclosure () -> String) throws -> [Int] {
        var tokens: [Int] = []
        for digits in value.split(separator: UInt8(ascii: ";")) {
            guard let number = Clients.number(digits), number < UInt64(self.operations.count),
                self.operations[Int(number)].key == key, self.operations[Int(number)].kind == .append
            else {
                throw Violation(
                    .linearizability, "\(what()) holds what nobody wrote: '\(String(decoding: digits, as: UTF8.self))'")
            }
            tokens.append(Int(number))
        }
        return tokens
    }

    // MARK: Counters

    private func checkCounter(_ key: Int, _ final: [UInt8]?) throws {
        let total = final.flatMap { Clients.number($0[...]) } ?? 0
        var placed: [Placed] = []
        var owner: [UInt64: Int] = [:]
        var open = 0
        for (number, operation) in self.operations.enumerated() where operation.key == key {
            switch (operation.kind, operation.outcome) {
            case (.increment, .number(let value)):
                if let other = owner.updateValue(number, forKey: value) {
                    throw Violation(
                        .linearizability, "\(self.describe(number)) and \(self.describe(other)) had the same result")
                }
                guard value <= total else {
                    throw Violation(
                        .noAcknowledgedWriteLost, "\(self.describe(number)), and the final value is \(total)")
                }
                placed.append(Placed(place: Int(value), isRead: false, number: number))
            case (.get, .value(let value)):
                let seen = value.flatMap { Clients.number($0[...]) } ?? 0
                placed.append(Placed(place: Int(seen), isRead: true, number: number))
            case (.increment, _):
                if operation.mayTakeEffect { open += 1 }
            default:
                break
            }
        }
        guard total <= UInt64(owner.count + open) else {
            throw Violation(
                .exactlyOnce,
                "the counter stands at \(total) after \(owner.count) increments acknowledged and \(open) open")
        }
        try self.checkOrder(placed)
    }

    // MARK: Order

    private func checkOrder(_ unsorted: [Placed]) throws {
        let operations = self.operations
        let placed = unsorted.sorted { a, b in
            if a.place != b.place { return a.place < b.place }
            if a.isRead != b.isRead { return b.isRead }
            return operations[a.number].invoked < operations[b.number].invoked
        }
        var moment: (at: UInt64, by: Int) = (0, 0)
        for item in placed {
            if operations[item.number].invoked > moment.at { moment = (operations[item.number].invoked, item.number) }
            guard moment.at <= operations[item.number].effectiveBy else {
                throw Violation(
                    .linearizability,
                    "\(self.describe(item.number)) has a place before or at that of \(self.describe(moment.by)), "
                        + "which was asked after its reply"
                )
            }
        }
        // By connection, in the order asked, places never fall. A write whose client was told that it may yet take
        // effect does not bind the reads after it; the writes after it keep their order all the same.
        let sessions = unsorted.sorted { a, b in
            (operations[a.number].connection, operations[a.number].ordinal)
                < (operations[b.number].connection, operations[b.number].ordinal)
        }
        var connection: UInt64 = 0
        var lastWrite: Placed?
        var lastKnown: Placed?
        for item in sessions {
            if operations[item.number].connection != connection {
                connection = operations[item.number].connection
                lastWrite = nil
                lastKnown = nil
            }
            for before in [lastKnown, item.isRead ? nil : lastWrite] {
                guard let before, item.isRead ? before.place > item.place : before.place >= item.place else { continue }
                throw Violation(
                    .sessionOrder,
                    "\(self.describe(item.number)) has place \(item.place), "
                        + "\(self.describe(before.number)) has \(before.place)"
                )
            }
            if !item.isRead { lastWrite = item }
            if operations[item.number].effectiveBy != .max { lastKnown = item }
        }
    }

    // MARK: Registers

    /// Of a written value: from the first reply of an operation on it to the last request of one.
    private struct Zone {
        var write: Int?
        var firstReply: UInt64
        var lastRequest: UInt64

        /// The value was current for all of this time; else it was at one instant within.
        var isForward: Bool { self.firstReply < self.lastRequest }
    }

    private func checkRegister(_ key: Int, _ final: [UInt8]?) throws {
        // The zone of "no value yet" first.
        var zones = [Zone(write: nil, firstReply: 0, lastRequest: 0)]
        var zoneOfWrite: [Int: Int] = [:]
        for (number, operation) in self.operations.enumerated() where operation.key == key && operation.kind == .set {
            zoneOfWrite[number] = zones.count
            let reply = operation.outcome == .done ? operation.returned : .max
            zones.append(Zone(write: number, firstReply: reply, lastRequest: operation.invoked))
        }
        func zone(_ value: [UInt8]?, _ what: @autoclosure () -> String) throws -> Int {
            guard let value else { return 0 }
            guard let number = Clients.number(value[...]), let zone = zoneOfWrite[Int(number)] else {
                throw Violation(
                    .linearizability, "\(what()) saw what nobody wrote: '\(String(decoding: value, as: UTF8.self))'")
            }
            guard self.operations[Int(number)].outcome != .refused else {
                throw Violation(.refusedNeverApplied, "\(what()) saw \(self.describe(Int(number)))")
            }
            return zone
        }
        for (number, operation) in self.operations.enumerated() where operation.key == key {
            guard operation.kind == .get, case .value(let value) = operation.outcome else { continue }
            let at = try zone(value, self.describe(number))
            if let write = zones[at].write, self.operations[write].invoked > operation.returned {
                throw Violation(
                    .linearizability, "\(self.describe(number)) saw \(self.describe(write)) before it was asked")
            }
            zones[at].firstReply = min(zones[at].firstReply, operation.returned)
            zones[at].lastRequest = max(zones[at].lastRequest, operation.invoked)
        }
        // The final value is read after everything.
        let last = try zone(final, "the end")
        zones[last].lastRequest = .max - 1

        let forward = zones.indices.filter { zones[$0].isForward }.sorted {
            zones[$0].firstReply < zones[$1].firstReply
        }
        for (a, b) in zip(forward, forward.dropFirst()) where zones[b].firstReply < zones[a].lastRequest {
            throw self.overlap(zones[a], zones[b])
        }
        for zone in zones where !zone.isForward && zone.write != nil {
            for at in forward where zones[at].firstReply < zone.lastRequest && zone.firstReply < zones[at].lastRequest {
                throw self.overlap(zones[at], zone)
            }
        }
    }

    // MARK: Expiries

    /// Which of two clocks is right nobody knows, so when a value goes is not judged. But once a read has found it
    /// gone, no later read finds it.
    private func checkExpiring(_ key: Int, _ final: [UInt8]?) throws {
        func write(_ value: [UInt8], _ what: @autoclosure () -> String) throws -> Int {
            guard let number = Clients.number(value[...]), number < UInt64(self.operations.count),
                self.operations[Int(number)].key == key, self.operations[Int(number)].kind == .setExpiring
            else {
                throw Violation(
                    .linearizability, "\(what()) saw what nobody wrote: '\(String(decoding: value, as: UTF8.self))'")
            }
            guard self.operations[Int(number)].outcome != .refused else {
                throw Violation(.refusedNeverApplied, "\(what()) saw \(self.describe(Int(number)))")
            }
            return Int(number)
        }
        let reads = self.operations.indices.filter {
            self.operations[$0].key == key && self.operations[$0].kind == .get
        }
        var gone: [Int] = []
        var seen: [(read: Int, write: Int)] = []
        for read in reads {
            guard case .value(let value) = self.operations[read].outcome else { continue }
            if let value { seen.append((read, try write(value, self.describe(read)))) } else { gone.append(read) }
        }
        if let final { _ = try write(final, "the end") }
        for (read, number) in seen {
            let written = self.operations[number]
            guard written.invoked < self.operations[read].returned else {
                throw Violation(
                    .linearizability, "\(self.describe(read)) saw \(self.describe(number)) before it was asked")
            }
            // Gone for a read that began after the write's reply and ended before this read began.
            for other in gone
            where self.operations[other].invoked > written.effectiveBy
                && self.operations[other].returned < self.operations[read].invoked
            {
                throw Violation(
                    .linearizability,
                    "\(self.describe(read)) saw \(self.describe(number)), which was gone for \(self.describe(other))")
            }
            // Overwritten after its reply, and the overwriting one was answered before this read began.
            for other in self.operations.indices
            where self.operations[other].key == key && self.operations[other].kind == .setExpiring
                && self.operations[other].invoked > written.effectiveBy
                && self.operations[other].effectiveBy < self.operations[read].invoked
            {
                throw Violation(
                    .linearizability,
                    "\(self.describe(read)) saw \(self.describe(number)), which \(self.describe(other)) had replaced")
            }
        }
    }

    private func overlap(_ a: Zone, _ b: Zone) -> Violation {
        func name(_ zone: Zone) -> String { zone.write.map { self.describe($0) } ?? "no value" }
        return Violation(
            .linearizability,
            "the value of \(name(a)) was current from \(a.firstReply) to \(a.lastRequest), "
                + "and so was that of \(name(b)) between"
        )
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
