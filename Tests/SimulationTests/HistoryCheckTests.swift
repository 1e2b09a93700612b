import Simulation
import Testing

/// The judge of histories, on histories small enough to judge by eye.
@Suite struct HistoryCheckTests {
    private static let list = 0
    private static let counter = 2
    private static let register = 3
    private static let expiring = 5

    /// Operations with their moments; numbered from 0 in the order given, each on a connection of its own unless said.
    private struct Story {
        var operations: [Operation] = []

        mutating func add(
            _ kind: Operation.Kind, _ key: Int, _ from: UInt64, _ to: UInt64, _ outcome: Operation.Outcome,
            connection: UInt64? = nil
        ) {
            let connection = connection ?? UInt64(self.operations.count) + 100
            let ordinal = self.operations.count { $0.connection == connection }
            var operation = Operation(
                kind: kind, key: key, connection: connection, ordinal: ordinal, invoked: from, time: 0)
            operation.returned = to
            operation.outcome = outcome
            self.operations.append(operation)
        }

        func verdict(
            list: String? = nil, counter: String? = nil, register: String? = nil,
            maxSteps: Int = HistoryCheck.maxSteps
        ) -> SimulationInvariant? {
            var finals: [[UInt8]?] = Clients.keys.map { _ in nil }
            finals[HistoryCheckTests.list] = list.map { Array($0.utf8) }
            finals[HistoryCheckTests.counter] = counter.map { Array($0.utf8) }
            finals[HistoryCheckTests.register] = register.map { Array($0.utf8) }
            do {
                try HistoryCheck(self.operations).check(finals: finals, maxSteps: maxSteps)
                return nil
            } catch {
                return (error as? Violation)?.invariant
            }
        }
    }

    private static func value(_ text: String) -> Operation.Outcome { .value(Array(text.utf8)) }

    // MARK: Lists

    @Test func aListOfOneWriteAndItsReads() {
        var story = Story()
        story.add(.append, Self.list, 1, 4, .number(2))
        story.add(.get, Self.list, 2, 3, .value(nil))
        story.add(.get, Self.list, 5, 6, Self.value("0;"))
        #expect(story.verdict(list: "0;") == nil)
        #expect(story.verdict(list: "") == .noAcknowledgedWriteLost)
        #expect(story.verdict(list: "0;0;") == .exactlyOnce)
        #expect(story.verdict(list: "0;7;") == .linearizability)
    }

    @Test func aStaleReadOfAList() {
        var story = Story()
        story.add(.append, Self.list, 1, 2, .number(2))
        story.add(.get, Self.list, 3, 4, .value(nil))
        #expect(story.verdict(list: "0;") == .linearizability)
    }

    @Test func twoReadsInTheWrongOrder() {
        var story = Story()
        story.add(.append, Self.list, 1, 9, .number(2))
        story.add(.get, Self.list, 2, 3, Self.value("0;"))
        story.add(.get, Self.list, 4, 5, .value(nil))
        #expect(story.verdict(list: "0;") == .linearizability)
    }

    @Test func aRefusedWriteIsNotThere() {
        var story = Story()
        story.add(.append, Self.list, 1, 2, .refused)
        #expect(story.verdict() == nil)
        #expect(story.verdict(list: "0;") == .refusedNeverApplied)
    }

    @Test func anOpenWriteMayTakeEffectAtAnyLaterTime() {
        var story = Story()
        story.add(.append, Self.list, 1, 2, .unknown)
        story.add(.append, Self.list, 3, 4, .number(2))
        story.add(.append, Self.list, 5, .max, .lost)
        #expect(story.verdict(list: "1;0;") == nil)
        #expect(story.verdict(list: "1;") == nil)
        #expect(story.verdict(list: "1;2;0;") == nil)
        // Before its own request it may not.
        #expect(story.verdict(list: "2;1;") == .linearizability)
    }

    @Test func aWriteBeforeAnEarlierOne() {
        var story = Story()
        story.add(.append, Self.list, 1, 2, .number(4))
        story.add(.append, Self.list, 3, 4, .number(2))
        #expect(story.verdict(list: "1;0;") == .linearizability)
    }

    @Test func aConnectionSeesItsOwnWrites() {
        var story = Story()
        story.add(.append, Self.list, 1, 5, .number(2), connection: 1)
        story.add(.get, Self.list, 2, 6, .value(nil), connection: 1)
        #expect(story.verdict(list: "0;") == .sessionOrder)
        story.operations[1].outcome = Self.value("0;")
        #expect(story.verdict(list: "0;") == nil)
        // And not those it sent after.
        var other = Story()
        other.add(.get, Self.list, 1, 5, Self.value("1;"), connection: 1)
        other.add(.append, Self.list, 2, 6, .number(2), connection: 1)
        #expect(other.verdict(list: "1;") == .sessionOrder)
    }

    @Test func aReplyThatCountsWrong() {
        var story = Story()
        story.add(.append, Self.list, 1, 2, .number(2))
        story.add(.append, Self.list, 3, 4, .number(5))
        #expect(story.verdict(list: "0;1;") == .linearizability)
        story.operations[1].outcome = .number(4)
        #expect(story.verdict(list: "0;1;") == nil)
    }

    // MARK: Counters

    @Test func countersCountOnce() {
        var story = Story()
        story.add(.increment, Self.counter, 1, 2, .number(1))
        story.add(.increment, Self.counter, 3, 4, .number(2))
        story.add(.increment, Self.counter, 5, 6, .unknown)
        #expect(story.verdict(counter: "2") == nil)
        #expect(story.verdict(counter: "3") == nil)
        #expect(story.verdict(counter: "4") == .exactlyOnce)
        #expect(story.verdict(counter: "1") == .noAcknowledgedWriteLost)
        story.operations[1].outcome = .number(1)
        #expect(story.verdict(counter: "2") == .linearizability)
    }

    @Test func aCounterThatGoesBack() {
        var story = Story()
        story.add(.increment, Self.counter, 1, 2, .number(2))
        story.add(.increment, Self.counter, 3, 4, .number(1))
        #expect(story.verdict(counter: "2") == .linearizability)
    }

    // MARK: Registers

    @Test func aRegisterReadAfterItWasOverwritten() {
        var story = Story()
        story.add(.set, Self.register, 1, 2, .done)
        story.add(.set, Self.register, 3, 4, .done)
        story.add(.get, Self.register, 5, 6, Self.value("1"))
        #expect(story.verdict(register: "1") == nil)
        story.operations[2].outcome = Self.value("0")
        #expect(story.verdict(register: "1") == .linearizability)
        #expect(story.verdict(register: "0") == .linearizability)
    }

    @Test func concurrentWritesOfARegisterInEitherOrder() {
        var story = Story()
        story.add(.set, Self.register, 1, 4, .done)
        story.add(.set, Self.register, 2, 3, .done)
        #expect(story.verdict(register: "0") == nil)
        #expect(story.verdict(register: "1") == nil)
        #expect(story.verdict(register: nil) == .linearizability)
        // Two readers who disagree on the order, one after the other.
        story.add(.get, Self.register, 5, 6, Self.value("0"))
        story.add(.get, Self.register, 7, 8, Self.value("1"))
        #expect(story.verdict(register: "1") == .linearizability)
    }

    @Test func aConnectionWritesARegisterInItsOrder() {
        var story = Story()
        story.add(.set, Self.register, 1, 5, .done, connection: 1)
        story.add(.set, Self.register, 2, 6, .done, connection: 1)
        #expect(story.verdict(register: "1") == nil)
        #expect(story.verdict(register: "0") == .sessionOrder)
    }

    @Test func aRegisterReadBeforeItsWrite() {
        var story = Story()
        story.add(.get, Self.register, 1, 2, Self.value("1"))
        story.add(.set, Self.register, 3, 4, .done)
        #expect(story.verdict(register: "1") == .linearizability)
    }

    @Test func aRefusedValueIsNeverRead() {
        var story = Story()
        story.add(.set, Self.register, 1, 2, .refused)
        #expect(story.verdict(register: nil) == nil)
        #expect(story.verdict(register: "0") == .refusedNeverApplied)
    }

    /// Out of steps there is no verdict, and that is said.
    @Test func aHistoryThatIsNotJudgedIsSaidToBeOne() {
        var story = Story()
        for _ in 0..<5 { story.add(.set, Self.register, 1, 2, .done) }
        #expect(story.verdict(register: "1") == nil)
        #expect(story.verdict(register: "1", maxSteps: 3) == .historyUndecided)
    }

    // MARK: Expiries

    @Test func aValueThatIsGoneStaysGone() {
        var story = Story()
        story.add(.setExpiring, Self.expiring, 1, 2, .done)
        story.add(.get, Self.expiring, 3, 4, Self.value("0"))
        story.add(.get, Self.expiring, 5, 6, .value(nil))
        #expect(story.verdict() == nil)
        story.add(.get, Self.expiring, 7, 8, Self.value("0"))
        #expect(story.verdict() == .linearizability)
        story.operations[3].outcome = .value(nil)
        #expect(story.verdict() == nil)
    }

    @Test func anExpiringValueThatWasReplaced() {
        var story = Story()
        story.add(.setExpiring, Self.expiring, 1, 2, .done)
        story.add(.setExpiring, Self.expiring, 3, 4, .done)
        story.add(.get, Self.expiring, 5, 6, Self.value("1"))
        #expect(story.verdict() == nil)
        story.operations[2].outcome = Self.value("0")
        #expect(story.verdict() == .linearizability)
    }
}
