/// What an object does when its operations come one after another. Linearizability is judged against it: a concurrent
/// history is right if some order of its operations, one after another, is (Herlihy and Wing, *Linearizability: a
/// correctness condition for concurrent objects*, TOPLAS 12(3), 1990).
///
/// Only the first three requirements decide. The others save steps, and each has an answer that is always right; a
/// wrong one makes verdicts wrong.
package protocol SequentialSpecification: Sendable {
    /// What the object holds. Where a command may do one of several things, all states that it may have left at once.
    associatedtype State: Hashable
    associatedtype Command: Hashable & Sendable
    associatedtype Reply: Sendable
    associatedtype Foreknowledge = Void

    var initialState: State { get }

    /// The state after a command; nil where it would have had another reply.
    /// - Parameter reply: nil where nobody knows it: any will do.
    func apply(_ command: Command, reply: Reply?, to state: State) -> State?

    /// Whether the command leaves any state as it is. `false` is always right.
    func isReadOnly(_ command: Command) -> Bool

    /// Whether the state after the command, and its reply where that is known, are the same whatever was before.
    /// `false` is always right.
    func isOverwrite(_ command: Command, isReplyKnown: Bool) -> Bool

    /// What the operations of a history are to a register, where that is all they are. `nil` is always right.
    func registerAccesses(_ operations: [TimedOperation<Command, Reply>]) -> [RegisterAccess]?

    /// Bytes that a state takes, roughly: for the bound on what a search remembers.
    func size(of state: State) -> Int

    /// What a history tells as a whole, worked out once.
    func foreknowledge(of operations: [TimedOperation<Command, Reply>]) -> Foreknowledge

    /// False only where no right order passes through this state. `true` is always right.
    func mayPass(through state: State, _ foreknowledge: Foreknowledge) -> Bool

    func describe(_ command: Command) -> String
    func describe(_ reply: Reply) -> String
    func describe(_ state: State) -> String
    /// The reply that a command would have in this state, in words.
    func expectedReply(to command: Command, in state: State) -> String
}

extension SequentialSpecification {
    package func isReadOnly(_ command: Command) -> Bool { false }
    package func isOverwrite(_ command: Command, isReplyKnown: Bool) -> Bool { false }
    package func registerAccesses(_ operations: [TimedOperation<Command, Reply>]) -> [RegisterAccess]? { nil }
    package func size(of state: State) -> Int { MemoryLayout<State>.stride }
    package func mayPass(through state: State, _ foreknowledge: Foreknowledge) -> Bool { true }
    package func describe(_ command: Command) -> String { "\(command)" }
    package func describe(_ reply: Reply) -> String { "\(reply)" }
    package func describe(_ state: State) -> String { "\(state)" }
}

extension SequentialSpecification where Foreknowledge == Void {
    package func foreknowledge(of operations: [TimedOperation<Command, Reply>]) {}
}

/// What an operation is to a register: an object with a value that operations overwrite as a whole, or see. Values are
/// numbered; the first one, before all operations, is 0.
package enum RegisterAccess: Sendable {
    case write(Int)
    /// It sees the value, which stays.
    case read(Int)
    /// It finds that the value has gone by itself. In a history with such reads any value may, at any time, the first
    /// one too: then it is not read any more until it is written again.
    case readGone
    /// A read without a reply.
    case nothing
}

/// One operation of a history: what was asked of one object, when, and what came back. One that surely did not take
/// effect is no operation.
package struct TimedOperation<Command: Sendable, Reply: Sendable>: Sendable {
    package var command: Command
    /// The connection it was sent on. Operations of one connection are in the order of their requests; of equal
    /// instants, in the order of the history.
    package var connection: UInt64
    /// Instant of the request, on a clock that all clients of the history share; the unit does not matter.
    package var invoked: UInt64
    /// Instant of the reply, not before the request. One operation precedes another if its reply came before the
    /// other's request; at the same instant they are concurrent. Nil where no reply came that tells the outcome: it
    /// takes effect at any time after the request, or never.
    package var completion: (returned: UInt64, reply: Reply)?

    package init(command: Command, connection: UInt64, invoked: UInt64, completion: (returned: UInt64, reply: Reply)?) {
        self.command = command
        self.connection = connection
        self.invoked = invoked
        self.completion = completion
    }
}
