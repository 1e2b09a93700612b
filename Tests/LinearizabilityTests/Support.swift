import Linearizability
import Replication

typealias KeyOperation = CacheHistory.KeyOperation

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Operations on one key, as they are written down by hand. A connection of its own each, unless said.
struct Story {
    var operations: [KeyOperation] = []

    mutating func add(
        _ command: CacheCommand, _ from: UInt64, _ to: UInt64, _ reply: CacheReply, connection: UInt64? = nil
    ) {
        let connection = connection ?? 1000 + UInt64(self.operations.count)
        self.operations.append(
            KeyOperation(command: command, connection: connection, invoked: from, completion: (to, reply)))
    }

    /// No reply came.
    mutating func add(_ command: CacheCommand, _ from: UInt64, connection: UInt64? = nil) {
        let connection = connection ?? 1000 + UInt64(self.operations.count)
        self.operations.append(KeyOperation(command: command, connection: connection, invoked: from, completion: nil))
    }

    func judgement(keepsConnectionOrder: Bool = false, limits: SearchLimits = SearchLimits()) -> Verdict {
        Verdict(
            LinearizabilityChecker(CacheSpecification(), keepsConnectionOrder: keepsConnectionOrder, limits: limits)
                .check(self.operations))
    }

    func bruteForce(keepsConnectionOrder: Bool = false) -> Verdict {
        BruteForce(
            specification: CacheSpecification(), history: self.operations, keepsConnectionOrder: keepsConnectionOrder
        )
        .isLinearizable ? .yes : .no
    }
}

enum Verdict: Equatable {
    case yes, no, unknown

    init<Specification>(_ judgement: LinearizabilityChecker<Specification>.Judgement) {
        switch judgement {
        case .linearizable: self = .yes
        case .notLinearizable: self = .no
        case .undecided: self = .unknown
        }
    }
}

extension CacheReply {
    static func text(_ text: String) -> CacheReply { .value(bytes(text)) }
    static var none: CacheReply { .value(nil) }
}

extension CacheCommand {
    static func set(_ text: String) -> CacheCommand { .set(bytes(text)) }
    static func append(_ text: String) -> CacheCommand { .append(bytes(text)) }
    static var increment: CacheCommand { .increment(1) }
}
