import Linearizability
import Testing

/// A queue, to see that nothing in the search is about caches.
private struct QueueSpecification: SequentialSpecification {
    enum Command: Hashable, Sendable {
        case enqueue(String)
        case dequeue
    }

    var initialState: [String] { [] }

    func apply(_ command: Command, reply: String?, to state: [String]) -> [String]? {
        switch command {
        case .enqueue(let item): return state + [item]
        case .dequeue:
            guard let first = state.first, reply == nil || reply == first else { return nil }
            return Array(state.dropFirst())
        }
    }

    func expectedReply(to command: Command, in state: [String]) -> String { state.first ?? "nothing" }
}

/// Histories from the literature, and others small enough to judge by eye.
@Suite struct KnownHistoryTests {
    // MARK: A queue

    /// Of processes 1 and 2, with instants in the order of the lines.
    private func queue(_ operations: (UInt64, QueueSpecification.Command, UInt64, UInt64?, String)...) -> Verdict {
        let history = operations.map {
            TimedOperation(
                command: $0.1, connection: $0.0, invoked: $0.2,
                completion: $0.3.map { [reply = $0.4] in ($0, reply) })
        }
        let specification = QueueSpecification()
        let verdict = Verdict(LinearizabilityChecker(specification).check(history))
        let expected = BruteForce(specification: specification, history: history, keepsConnectionOrder: false)
            .isLinearizable
        #expect(verdict == (expected ? .yes : .no))
        return verdict
    }

    /// Herlihy and Wing 1990, figure 1.
    @Test func theQueuesOfHerlihyAndWing() {
        // H1: E(x) A, E(y) B overlap, and so do the dequeues.
        let h1 = self.queue(
            (1, .enqueue("x"), 1, 3, ""), (2, .enqueue("y"), 2, 4, ""), (2, .dequeue, 5, 7, "x"),
            (1, .dequeue, 6, 8, "y"), (1, .enqueue("z"), 9, nil, ""))
        #expect(h1 == .yes)
        // H2: x was in before y was asked for, and y comes out.
        #expect(self.queue((1, .enqueue("x"), 1, 2, ""), (2, .enqueue("y"), 3, 4, ""), (1, .dequeue, 5, 6, "y")) == .no)
        // H3: y comes out while the enqueuing of x is still under way.
        #expect(
            self.queue((1, .enqueue("x"), 1, nil, ""), (2, .enqueue("y"), 2, 3, ""), (2, .dequeue, 4, 5, "y")) == .yes)
        // An enqueuing that did not return had its effect.
        #expect(self.queue((1, .enqueue("x"), 1, nil, ""), (2, .dequeue, 2, 3, "x")) == .yes)
        // H4: y comes out twice.
        let h4 = self.queue(
            (1, .enqueue("x"), 1, 4, ""), (2, .enqueue("y"), 2, 3, ""), (1, .dequeue, 5, 7, "y"),
            (2, .dequeue, 6, 8, "y"))
        #expect(h4 == .no)
    }

    // MARK: Registers

    @Test func aReadSeesAWriteThatIsUnderWayAndNoneBeforeIt() {
        var story = Story()
        story.add(.set("1"), 0, 10, .done)
        story.add(.get, 1, 2, .none)
        story.add(.get, 3, 4, .text("1"))
        #expect(story.judgement() == .yes)
        story.add(.get, 5, 6, .none)
        #expect(story.judgement() == .no)
    }

    /// The new-old inversion that tells a regular register from an atomic one (Lamport, *On interprocess
    /// communication*, Distributed Computing 1, 1986).
    @Test func aRegularRegisterIsNotAtomic() {
        var story = Story()
        story.add(.set("old"), 1, 2, .done)
        story.add(.set("new"), 3, 10, .done)
        story.add(.get, 4, 5, .text("new"))
        story.add(.get, 6, 7, .text("old"))
        #expect(story.judgement() == .no)
    }

    /// The store buffer of Dekker's algorithm has a right order for each variable: it is sequential consistency over
    /// both that it breaks, in real time too.
    @Test func eachKeyIsJudgedByItself() {
        var history = CacheHistory()
        func add(_ key: String, _ command: CacheCommand, _ from: UInt64, _ to: UInt64, _ reply: CacheReply) {
            history.entries.append(
                CacheHistory.Entry(
                    number: history.entries.count, key: bytes(key),
                    operation: KeyOperation(command: command, connection: from, invoked: from, completion: (to, reply)))
            )
        }
        add("x", .set("1"), 1, 2, .done)
        add("y", .set("1"), 1, 2, .done)
        add("x", .get, 3, 4, .text("1"))
        add("y", .get, 3, 4, .none)
        guard case .notLinearizable(let findings) = history.check() else {
            Issue.record("y was read as nil after it was set")
            return
        }
        #expect(findings.map(\.key) == [bytes("y")])
        #expect(findings[0].misfit == 3)
        #expect(findings[0].entries == [1, 3])
        #expect(!findings[0].breaksConnectionOrderOnly)
    }

    @Test func atOneInstantOperationsAreConcurrent() {
        var story = Story()
        story.add(.set("1"), 1, 5, .done)
        story.add(.get, 5, 6, .none)
        #expect(story.judgement() == .yes)
        story.operations[1].invoked = 6
        #expect(story.judgement() == .no)
    }

    // MARK: Operations of unknown outcome

    @Test func anOpenWriteTakesEffectLaterOrNever() {
        var story = Story()
        story.add(.set("1"), 1)
        story.add(.set("2"), 2, 3, .done)
        story.add(.get, 4, 5, .text("2"))
        story.add(.get, 6, 7, .text("1"))
        #expect(story.judgement() == .yes)
        // But once.
        story.add(.set("3"), 8, 9, .done)
        story.add(.get, 10, 11, .text("1"))
        #expect(story.judgement() == .no)
    }

    @Test func anOpenWriteDoesNotComeBeforeItsRequest() {
        var story = Story()
        story.add(.get, 1, 2, .text("1"))
        story.add(.set("1"), 3)
        #expect(story.judgement() == .no)
    }

    @Test func anEmptyHistoryAndOneWithoutReplies() {
        var story = Story()
        #expect(story.judgement() == .yes)
        story.add(.get, 1)
        story.add(.increment, 2)
        #expect(story.judgement() == .yes)
    }

    // MARK: Connections

    @Test func aConnectionSeesItsOwnWrites() {
        var story = Story()
        story.add(.set("1"), 1, 5, .done, connection: 1)
        story.add(.get, 2, 6, .none, connection: 1)
        #expect(story.judgement() == .yes)
        #expect(story.judgement(keepsConnectionOrder: true) == .no)
        // One whose outcome is unknown it need not see.
        story.operations[0].completion = nil
        #expect(story.judgement(keepsConnectionOrder: true) == .yes)
    }

    @Test func anOpenWriteDoesNotComeAfterALaterOneOfItsConnection() {
        var story = Story()
        story.add(.set("1"), 1, connection: 1)
        story.add(.set("2"), 2, connection: 1)
        story.add(.set("3"), 3, 4, .done, connection: 1)
        story.add(.get, 5, 6, .text("3"))
        story.add(.get, 7, 8, .text("1"))
        #expect(story.judgement() == .yes)
        #expect(story.judgement(keepsConnectionOrder: true) == .no)
        // Past an open one neither.
        story.operations[2].completion = nil
        story.operations[3].completion!.reply = .text("2")
        #expect(story.judgement() == .yes)
        #expect(story.judgement(keepsConnectionOrder: true) == .no)
    }

    // MARK: Limits

    @Test func outOfStepsNothingIsSaid() {
        var story = Story()
        // With SET beside it a key is more than a register.
        story.add(.set("0"), 0, 0, .done)
        for at in 0..<50 { story.add(.setExpiring(bytes("\(at)")), 1, 100, .done) }
        story.add(.get, 101, 102, .text("none of these"))
        var limits = SearchLimits()
        limits.steps = 1000
        #expect(story.judgement(limits: limits) == .unknown)
        // What remembers nothing finds the same.
        var small = Story()
        small.add(.set("0"), 0, 0, .done)
        for at in 0..<5 { small.add(.setExpiring(bytes("\(at)")), 1, 100, .done) }
        small.add(.get, 101, 102, .text("none of these"))
        limits.rememberedBytes = 0
        limits.steps = 1_000_000
        #expect(small.judgement(limits: limits) == .no)
        limits.steps = 100
        #expect(small.judgement(limits: limits) == .unknown)
    }

    @Test func undecidedKeysAreNamed() {
        var history = CacheHistory()
        func add(_ key: String, _ command: CacheCommand, _ from: UInt64, _ to: UInt64, _ reply: CacheReply) {
            let number = history.entries.count
            history.entries.append(
                CacheHistory.Entry(
                    number: number, key: bytes(key),
                    operation: KeyOperation(
                        command: command, connection: UInt64(number), invoked: from, completion: (to, reply))))
        }
        add("easy", .get, 1, 2, .none)
        add("hard", .set("0"), 0, 0, .done)
        for at in 0..<50 { add("hard", .setExpiring(bytes("\(at)")), 1, 100, .done) }
        add("hard", .get, 101, 102, .text("?"))
        var limits = SearchLimits()
        limits.steps = 1000
        guard case .undecided(let keys) = history.check(limits: limits) else {
            Issue.record("decided")
            return
        }
        #expect(keys == [bytes("hard")])
        // What is known to be wrong is said all the same.
        add("wrong", .get, 1, 2, .text("1"))
        guard case .notLinearizable(let findings) = history.check(limits: limits) else {
            Issue.record("not found")
            return
        }
        #expect(findings.map(\.key) == [bytes("wrong")])
    }

    /// A register of which many writes are under way at once: 2^60 sets of them may come first.
    @Test func manyWritesOfARegisterAtOnce() {
        var limits = SearchLimits()
        limits.steps = 100_000
        var story = Story()
        for at in 0..<60 {
            story.add(.set("\(at)"), 1, 1000, .done)
            if at % 3 == 0 { story.add(.get, 10 + UInt64(at), 20 + UInt64(at), .text("\(at)")) }
        }
        #expect(story.judgement(limits: limits) == .yes)
        story.add(.get, 1001, 1002, .text("3"))
        #expect(story.judgement(limits: limits) == .no)
        story.operations[story.operations.count - 1].completion!.reply = .text("4")
        #expect(story.judgement(limits: limits) == .yes)
    }

    /// The same of values that expire.
    @Test func manyExpiringWritesAtOnce() {
        var limits = SearchLimits()
        limits.steps = 100_000
        var story = Story()
        for at in 0..<60 {
            story.add(.setExpiring(bytes("\(at)")), 1, 1000, .done)
            let seen: CacheReply = at % 3 == 0 ? .text("\(at)") : .none
            if at % 3 != 2 { story.add(.get, 10 + 2 * UInt64(at), 11 + 2 * UInt64(at), seen) }
        }
        story.add(.get, 1001, 1002, .none)
        #expect(story.judgement(limits: limits) == .yes)
        story.add(.get, 1003, 1004, .text("4"))
        #expect(story.judgement(limits: limits) == .no)
    }

    @Test(arguments: [true, false]) func openWritesAreCheap(isRight: Bool) {
        var limits = SearchLimits()
        limits.steps = 1_000_000
        for command in 0..<3 {
            var story = Story()
            var list = ""
            for at in 0..<100 {
                let time = UInt64(at) * 10
                let written: CacheCommand =
                    [.set("open \(at)"), .increment, .append("open \(at);")][command]
                story.add(written, time + 1)
                switch command {
                case 0: story.add(.set("\(at)"), time + 2, time + 3, .done)
                case 1: story.add(.increment, time + 2, time + 3, .number(Int64(at + 1)))
                default:
                    list += "\(at);"
                    story.add(.append("\(at);"), time + 2, time + 3, .number(Int64(list.utf8.count)))
                }
                let seen = command == 0 ? "\(at)" : command == 1 ? "\(at + 1)" : list
                story.add(.get, time + 4, time + 5, .text(seen))
            }
            if !isRight { story.operations[story.operations.count - 1].completion!.reply = .text("what nobody wrote") }
            // A list's reads are known beforehand: one that fits no other makes the search go all ways.
            if !isRight && command == 2 { story.operations.removeLast(3) }
            let expected: Verdict = isRight || command == 2 ? .yes : .no
            #expect(story.judgement(keepsConnectionOrder: true, limits: limits) == expected, "command \(command)")
        }
    }

    // MARK: Counterexamples

    @Test func aCounterexampleIsReadable() throws {
        var story = Story()
        story.add(.set("1"), 1, 2, .done, connection: 1)
        story.add(.get, 3, 4, .text("1"), connection: 2)
        story.add(.set("2"), 5, 9, .done, connection: 1)
        story.add(.get, 6, 7, .text("2"), connection: 2)
        story.add(.set("3"), 6, connection: 4)
        story.add(.get, 8, 10, .text("1"), connection: 3)
        story.add(.get, 11, 12, .text("2"), connection: 3)
        let checker = LinearizabilityChecker(CacheSpecification(), keepsConnectionOrder: true)
        guard case .notLinearizable(let found) = checker.check(story.operations) else {
            Issue.record("not found")
            return
        }
        #expect(found.misfit == 5)
        #expect(found.operations == [0, 2, 3, 4, 5], "what was read before, and what came after, does not matter")
        #expect(found.order == [0, 2, 3])
        #expect(
            found.text == """
                an order of 3 operations explains their replies:
                  operation 0, connection 1, 1..2: SET "1" = OK
                  operation 2, connection 1, 5..9: SET "2" = OK
                  operation 3, connection 2, 6..7: GET = "2"
                  and the state is "2"
                no order has a place for
                  operation 5, connection 3, 8..10: GET = "1", where here it would be "2"
                without a reply by then, and not needed in that order:
                  operation 4, connection 4, 6..open: SET "3" = unknown
                """)
    }

    @Test func aCounterexampleOfALongHistoryIsShort() throws {
        var story = Story()
        for at in 0..<300 {
            let time = UInt64(at) * 10
            story.add(.set("\(at)"), time, time + 3, .done)
            story.add(.get, time + 4, time + 5, .text("\(at)"))
        }
        story.operations[301].completion!.reply = .text("7")
        guard
            case .notLinearizable(let found) = LinearizabilityChecker(CacheSpecification()).check(story.operations)
        else {
            Issue.record("not found")
            return
        }
        #expect(found.misfit == 301)
        #expect(found.operations.count == 152, "the writes up to there and that read")
        #expect(found.text.split(separator: "\n").count < 20)
    }
}
