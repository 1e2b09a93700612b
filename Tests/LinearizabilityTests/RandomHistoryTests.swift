import Linearizability
import Replication
import Testing

/// The search against the definition, on random histories.
@Suite struct RandomHistoryTests {
    /// Histories that came about in order are found to be in order.
    @Test(arguments: GeneratedHistory.Commands.allCases) func whatIsLinearizablePasses(
        commands: GeneratedHistory.Commands
    ) {
        for seed in UInt64(0)..<150 {
            var random = Random(seed: seed)
            var generated = GeneratedHistory(commands: commands)
            generated.clients = 1 + Int(random.below(8))
            generated.operations = 20 + Int(random.below(150))
            generated.pipeline = 1 + random.below(3)
            generated.lossPerHundred = random.below(20)
            var limits = SearchLimits()
            limits.steps = 2_000_000
            let story = Story(operations: generated.run(&random))
            #expect(story.judgement(keepsConnectionOrder: true, limits: limits) == .yes, "seed \(seed)")
            if generated.pipeline == 1 || [.register, .expiring, .counter].contains(commands) {
                #expect(story.judgement(limits: limits) == .yes, "seed \(seed)")
            }
        }
    }

    /// With some replies exchanged, most are in no order, and the search says so where trying every order does.
    @Test(arguments: GeneratedHistory.Commands.allCases) func smallHistoriesAreJudgedAsByTryingEveryOrder(
        commands: GeneratedHistory.Commands
    ) {
        var verdicts = [0, 0]
        for seed in UInt64(0)..<1000 {
            var random = Random(seed: seed)
            var generated = GeneratedHistory(commands: commands)
            generated.clients = 1 + Int(random.below(4))
            generated.operations = 3 + Int(random.below(5))
            generated.pipeline = 1 + random.below(3)
            generated.lossPerHundred = random.below(60)
            var story = Story(operations: generated.run(&random))
            for _ in 0..<random.below(3) {
                let at = Int(random.below(UInt64(story.operations.count)))
                story.exchangeReply(at, &random)
            }
            // Behind some that change nothing, the search's sets go over the bounds of words.
            let long = story.following(reads: 54 + Int(random.below(12)))
            for keepsConnectionOrder in [false, true] {
                let expected = story.bruteForce(keepsConnectionOrder: keepsConnectionOrder)
                let found = story.judgement(keepsConnectionOrder: keepsConnectionOrder)
                #expect(
                    long.judgement(keepsConnectionOrder: keepsConnectionOrder) == expected,
                    "seed \(seed), connections \(keepsConnectionOrder), behind reads")
                #expect(found == expected, "seed \(seed), connections \(keepsConnectionOrder)")
                verdicts[expected == .yes ? 0 : 1] += 1
            }
        }
        #expect(verdicts.allSatisfy { $0 > 40 }, "\(verdicts)")
    }

    /// Many operations whose outcome nobody knows, in little time: each has few effects, or none.
    @Test(arguments: GeneratedHistory.Commands.allCases) func smallHistoriesOfUnknownOutcomes(
        commands: GeneratedHistory.Commands
    ) {
        var verdicts = [0, 0]
        for seed in UInt64(0)..<400 {
            var random = Random(seed: seed)
            var generated = GeneratedHistory(commands: commands)
            generated.clients = 3
            generated.operations = 6
            generated.pipeline = 2
            generated.lossPerHundred = 0
            var story = Story(operations: generated.run(&random))
            // Some replies get lost; of those left one is exchanged.
            for at in story.operations.indices where random.chance(1, in: 2) { story.operations[at].completion = nil }
            let left = story.operations.indices.filter { story.operations[$0].completion != nil }
            if let at = left.randomElement(using: &random), random.chance(2, in: 3) {
                story.exchangeReply(at, &random)
            }
            for keepsConnectionOrder in [false, true] {
                let expected = story.bruteForce(keepsConnectionOrder: keepsConnectionOrder)
                #expect(
                    story.judgement(keepsConnectionOrder: keepsConnectionOrder) == expected,
                    "seed \(seed), connections \(keepsConnectionOrder)"
                )
                verdicts[expected == .yes ? 0 : 1] += 1
            }
        }
        #expect(verdicts.allSatisfy { $0 > 20 }, "\(verdicts)")
    }

    /// Of what is found to be wrong, the part that is given is wrong by itself, and right without its last reply.
    @Test func counterexamplesAreWrongByThemselves() throws {
        var count = 0
        for seed in UInt64(0)..<300 {
            var random = Random(seed: seed)
            var generated = GeneratedHistory(commands: GeneratedHistory.Commands.allCases[Int(seed % 6)])
            generated.operations = 7
            generated.pipeline = 2
            var story = Story(operations: generated.run(&random))
            let at = Int(random.below(UInt64(story.operations.count)))
            story.exchangeReply(at, &random)
            let checker = LinearizabilityChecker(CacheSpecification(), keepsConnectionOrder: true)
            guard case .notLinearizable(let found) = checker.check(story.operations) else { continue }
            count += 1
            let returned = try #require(story.operations[found.misfit].completion).returned
            // As it was known when the misfit returned. Of replies at the same instant it may be the first.
            var part = Story()
            for at in found.operations {
                var operation = story.operations[at]
                if let completion = operation.completion, completion.returned > returned { operation.completion = nil }
                part.operations.append(operation)
            }
            #expect(part.bruteForce(keepsConnectionOrder: true) == .no, "seed \(seed)")
            // The order explains every reply in it but the misfit's.
            var state: CacheState? = CacheSpecification().initialState
            for at in found.order {
                let isKnown = at != found.misfit && (story.operations[at].completion?.returned ?? .max) <= returned
                let reply = isKnown ? story.operations[at].completion?.reply : nil
                state = state.flatMap {
                    CacheSpecification().apply(story.operations[at].command, reply: reply, to: $0)
                }
            }
            #expect(state != nil, "seed \(seed)")
            #expect(found.text.contains("no order has a place for"), "seed \(seed)")
        }
        #expect(count > 50)
    }
}
