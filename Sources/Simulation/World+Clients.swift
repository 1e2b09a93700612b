import Cache
import NodeCore
import Replication

/// Clients of each node: a few connections with pipelines of SET, GET, INCR and APPEND on few keys.
extension World {
    /// A client's turn: connects where it has no connection, and asks for more.
    func clientActs(_ slot: Int) throws {
        if self.phase == .settling || self.phase == .done { return }
        let pause =
            self.phase == .demanding ? .milliseconds(40) : self.options.workload.meanPause(nodes: self.options.nodes)
        self.after(pause / 4 + self.random.below(pause * 3 / 2), .client(slot))
        let node = self.nodes[self.clients.slots[slot].node]
        guard node.isRunning, !node.isStopping else { return }
        if self.clients.slots[slot].connection == 0 { self.clients.connect(slot) }
        if self.phase == .demanding { return try self.demand(slot, node) }
        guard self.clients.slots[slot].owed.count < self.options.workload.maxPipeline else { return }
        for _ in 0..<1 + self.random.below(self.options.workload.batch) { try self.ask(slot, node) }
    }

    private func ask(_ slot: Int, _ node: SimulatedNode) throws {
        let workload = self.options.workload
        let key = workload.keys.lowerBound + Int(self.random.below(UInt64(workload.keys.count)))
        var kind = Operation.Kind.get
        if self.random.chance(workload.writes, in: 100) {
            kind =
                switch Clients.keys[key].kind {
                case .list: .append
                case .counter: .increment
                case .register: .set
                case .expiring: .setExpiring
                }
        }
        if self.random.chance(1, in: 40) { kind = .wait }
        try self.ask(kind, key: key, slot, node)
    }

    private func ask(_ kind: Operation.Kind, key: Int, _ slot: Int, _ node: SimulatedNode) throws {
        let operation = self.clients.invoke(kind, key: key, slot: slot, time: self.now)
        let connection = self.clients.slots[slot].connection
        self.note(.invoked, node, UInt64(operation), Operation.code(kind, key: key) << 48 | connection)
        if node.isPaused {
            // Its bytes wait in the socket.
            node.deferred.append(.submit(node.index, life: node.life, operation: operation, slot: slot))
            return
        }
        try self.submit(operation, slot, node)
    }

    func submit(_ number: Int, _ slot: Int, _ node: SimulatedNode) throws {
        let operation = self.clients.operations[number]
        // The client may have gone meanwhile.
        guard self.clients.slots[slot].connection == operation.connection else { return }
        let name = Clients.keys[operation.key].name
        let command: [UInt8] =
            switch operation.kind {
            case .get: CommandCoding.encode(1, [name])
            case .set: CommandCoding.encode(2, [name, Array("\(number)".utf8)])
            case .increment: CommandCoding.encode(12, [name])
            case .append: CommandCoding.encode(17, [name, Array("\(number);".utf8)])
            case .setExpiring:
                CommandCoding.encode(
                    2, [name, Array("\(number)".utf8), Array("px".utf8), Array("\(20 + number % 7 * 40)".utf8)])
            case .wait: []
            }
        self.begin(node)
        if self.options.bug == .readsLocally, operation.kind == .get {
            let reply = command.withUnsafeBytes { node.core!.localRead($0) }
            // Only where no earlier request is under way: the order of replies is kept.
            if self.clients.slots[slot].owed == [number] {
                return try self.clientAnswered(operation.connection, reply[...])
            }
        }
        let admission =
            operation.kind == .wait
            ? node.core!.wait(replicas: 1, timeoutMilliseconds: 60, from: operation.connection)
            : command.withUnsafeBytes {
                node.core!.submit(operation.kind == .get ? .read : .write, command: $0, from: operation.connection)
            }
        if case .accepted = admission {
        } else {
            self.clients.withdraw(number, of: slot)
            if self.clients.slots[slot].demand == number { self.clients.slots[slot].demand = nil }
        }
        self.scheduleTurn(node)
    }

    func clientAnswered(_ connection: UInt64, _ reply: ArraySlice<UInt8>) throws {
        guard let slot = self.clients.slot(of: connection) else { return }
        guard !self.clients.slots[slot].owed.isEmpty else {
            throw Violation(
                .repliesInOrder, "connection \(connection) gets a reply it did not ask for: \(Self.text(reply))")
        }
        let number = self.clients.slots[slot].owed.removeFirst()
        let kind = self.clients.operations[number].kind
        guard let outcome = Clients.outcome(kind, reply) else {
            throw Violation(.repliesInOrder, "operation \(number) (\(kind)) is answered with \(Self.text(reply))")
        }
        // What a wrong state answers counts as no answer.
        let isExposed = self.nodes[self.clients.slots[slot].node].wrongStates[.default] != nil
        switch outcome {
        case .done, .number, .value:
            if isExposed { self.clients.lose(number) } else { self.clients.answer(number, outcome) }
        case .unknown, .refused, .pending, .lost:
            self.clients.answer(number, outcome)
        }
        let code: UInt64 =
            switch outcome {
            case .done: 1
            case .number(let value): 16 + value
            case .value(let bytes): 2 + UInt64(bytes?.count ?? 0) << 8
            case .unknown: 3
            case .refused: 4
            case .lost, .pending: 5
            }
        self.note(.answered, self.nodes[self.clients.slots[slot].node], UInt64(number), code)
        if let demand = self.clients.slots[slot].demand, demand == number {
            self.clients.slots[slot].demand = nil
            switch outcome {
            case .done, .number, .value: if !isExposed { self.clients.slots[slot].satisfied += 1 }
            default: break
            }
        }
    }

    private static func text(_ reply: ArraySlice<UInt8>) -> String {
        "'" + String(decoding: reply.prefix(60), as: UTF8.self) + "'"
    }

    // MARK: Progress

    static let demandedOfEach = 2

    /// After the healing: an APPEND and then a GET of each client have to succeed.
    private func demand(_ slot: Int, _ node: SimulatedNode) throws {
        guard self.clients.slots[slot].demand == nil, self.clients.slots[slot].satisfied < Self.demandedOfEach else {
            return
        }
        let kind: Operation.Kind = self.clients.slots[slot].satisfied == 0 ? .append : .get
        self.clients.slots[slot].demand = self.clients.operations.count
        try self.ask(kind, key: slot % 2, slot, node)
    }

    /// A client goes away with requests under way.
    func disconnectClient(_ slot: Int) {
        let client = self.clients.slots[slot]
        let node = self.nodes[client.node]
        guard client.connection != 0, node.isRunning, !node.isPaused else { return }
        self.note(.clientClosed, node, client.connection, UInt64(client.owed.count))
        self.clients.disconnect(slot)
        self.begin(node)
        node.core!.closed(client.connection)
        self.scheduleTurn(node)
    }
}
