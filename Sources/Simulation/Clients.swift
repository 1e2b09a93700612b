import NodeCore

/// One request of a client and what became of it.
package struct Operation {
    package enum Kind: UInt8 {
        case get, set, increment, append
        /// SET with an expiry.
        case setExpiring
        /// WAIT for one other node.
        case wait
    }

    package enum Outcome: Equatable {
        case pending
        /// SET: done.
        case done
        /// INCR, APPEND and WAIT: the number that came back.
        case number(UInt64)
        /// GET.
        case value([UInt8]?)
        /// The client was told that it may or may not take effect.
        case unknown
        /// The client was told that nothing was done.
        case refused
        /// The connection ended before a reply.
        case lost
    }

    package var kind: Kind
    package var key: Int
    package var connection: UInt64
    /// Place among the connection's requests.
    package var ordinal: Int
    /// Moments are counted: each request and each reply has one of its own.
    package var invoked: UInt64
    package var returned: UInt64 = .max
    /// Simulated time of the request.
    package var time: UInt64
    package var outcome = Outcome.pending

    package init(kind: Kind, key: Int, connection: UInt64, ordinal: Int, invoked: UInt64, time: UInt64) {
        self.kind = kind
        self.key = key
        self.connection = connection
        self.ordinal = ordinal
        self.invoked = invoked
        self.time = time
    }

    /// Whether the request may have taken effect, or may yet.
    var mayTakeEffect: Bool {
        switch self.outcome {
        case .refused: false
        case .pending, .unknown, .lost, .done, .number, .value: true
        }
    }
}

/// What a key holds and how it is checked. A key belongs to one kind for ever.
package enum KeyKind {
    /// Written by APPEND with tokens that are used once: the value tells the order of all writes.
    case list
    /// Written by INCR.
    case counter
    /// Written by SET with values that are used once.
    case register
    /// The same, with an expiry: once a value has been seen to be gone, nobody sees it again.
    case expiring
}

extension Operation {
    /// What is asked of which key, for a trace.
    static func code(_ kind: Kind, key: Int) -> UInt64 { UInt64(kind.rawValue) << 8 | UInt64(key) }

    static func text(_ code: UInt64) -> String {
        let key = Int(code & 0xff)
        guard let kind = Kind(rawValue: UInt8(truncatingIfNeeded: code >> 8)), key < Clients.keys.count else {
            return "?"
        }
        return "\(kind) \(String(decoding: Clients.keys[key].name, as: UTF8.self))"
    }
}

/// The clients of all nodes: what they asked, and what they were told.
package struct Clients {
    package static let keys: [(name: [UInt8], kind: KeyKind)] = [
        (Array("list:0".utf8), .list), (Array("list:1".utf8), .list), (Array("counter:0".utf8), .counter),
        (Array("register:0".utf8), .register), (Array("register:1".utf8), .register),
        (Array("expiring:0".utf8), .expiring),
    ]

    /// One client: holds a connection to a node, and makes another when that ends.
    struct Slot {
        var node: Int
        /// 0: none.
        var connection: UInt64 = 0
        /// Operations without a reply, oldest first.
        var owed: [Int] = []
        var ordinal = 0
        /// Once progress is demanded: the operation that has to succeed, and how many had to.
        var demand: Int?
        var satisfied = 0
    }

    private(set) var operations: [Operation] = []
    var slots: [Slot] = []
    private var lastConnection: UInt64 = 0
    private(set) var moment: UInt64 = 0

    mutating func addSlot(node: Int) { self.slots.append(Slot(node: node)) }

    mutating func connect(_ slot: Int) {
        self.lastConnection += 1
        self.slots[slot].connection = self.lastConnection
        self.slots[slot].ordinal = 0
    }

    func slot(of connection: UInt64) -> Int? { self.slots.firstIndex { $0.connection == connection } }

    /// Notes a request; gives its number, which is its token too.
    mutating func invoke(_ kind: Operation.Kind, key: Int, slot: Int, time: UInt64) -> Int {
        self.moment += 1
        self.operations.append(
            Operation(
                kind: kind, key: key, connection: self.slots[slot].connection, ordinal: self.slots[slot].ordinal,
                invoked: self.moment, time: time))
        self.slots[slot].ordinal += 1
        self.slots[slot].owed.append(self.operations.count - 1)
        return self.operations.count - 1
    }

    mutating func answer(_ operation: Int, _ outcome: Operation.Outcome) {
        self.moment += 1
        self.operations[operation].outcome = outcome
        self.operations[operation].returned = self.moment
    }

    /// Nobody knows what became of it.
    mutating func lose(_ operation: Int) { self.operations[operation].outcome = .lost }

    /// The request was not taken.
    mutating func withdraw(_ operation: Int, of slot: Int) {
        self.slots[slot].owed.removeAll { $0 == operation }
        self.answer(operation, .refused)
    }

    mutating func disconnect(_ slot: Int) {
        for operation in self.slots[slot].owed { self.operations[operation].outcome = .lost }
        self.slots[slot].owed.removeAll()
        self.slots[slot].connection = 0
    }

    mutating func nodeEnded(_ node: Int) {
        for slot in self.slots.indices where self.slots[slot].node == node && self.slots[slot].connection != 0 {
            self.disconnect(slot)
        }
    }

    /// A reply in the form of the protocol, read for what the operation expects; nil where it is of another form.
    static func outcome(_ kind: Operation.Kind, _ reply: ArraySlice<UInt8>) -> Operation.Outcome? {
        guard let mark = reply.first, reply.count >= 3, reply.suffix(2).elementsEqual([0x0d, 0x0a]) else { return nil }
        let body = reply.dropFirst().dropLast(2)
        switch (mark, kind) {
        case (UInt8(ascii: "-"), _):
            if body.starts(with: "UNKNOWN ".utf8) { return kind == .get ? nil : .unknown }
            if body.starts(with: "NOQUORUM ".utf8) { return .refused }
            return nil
        case (UInt8(ascii: "+"), .set), (UInt8(ascii: "+"), .setExpiring):
            return body.elementsEqual("OK".utf8) ? .done : nil
        case (UInt8(ascii: ":"), .increment), (UInt8(ascii: ":"), .append), (UInt8(ascii: ":"), .wait):
            return Self.number(body).map { .number($0) }
        case (UInt8(ascii: "_"), .get):
            return body.isEmpty ? .value(nil) : nil
        case (UInt8(ascii: "$"), .get):
            guard let end = body.firstIndex(of: 0x0d), let count = Self.number(body[..<end]), body.count >= Int(count),
                body.endIndex - end - 2 == Int(count)
            else { return nil }
            return .value(Array(body[(end + 2)...]))
        default:
            return nil
        }
    }

    static func number(_ digits: ArraySlice<UInt8>) -> UInt64? {
        guard !digits.isEmpty, digits.count < 20 else { return nil }
        var value: UInt64 = 0
        for digit in digits {
            guard digit >= 0x30, digit <= 0x39 else { return nil }
            value = value * 10 + UInt64(digit - 0x30)
        }
        return value
    }
}
