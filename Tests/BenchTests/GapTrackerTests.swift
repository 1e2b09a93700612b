import Testing

@testable import Bench

private let millisecond: UInt64 = 1_000_000

/// The dumb twin: the longest distance of neighbours.
private func longestDistance(_ times: [UInt64]) -> UInt64 {
    zip(times, times.dropFirst()).map { $1 - $0 }.max() ?? 0
}

@Suite struct GapTrackerTests {
    @Test func findsTheLongestGapAndThoseOverTheThreshold() {
        var tracker = GapTracker(start: 100, thresholdNanoseconds: 10)
        #expect(tracker.acknowledge(at: 105) == nil)
        #expect(tracker.acknowledge(3, at: 115) == nil)  // 10 is not over 10
        #expect(tracker.acknowledge(at: 126) == AcknowledgementGap(start: 115, end: 126))
        #expect(tracker.acknowledge(at: 126) == nil)
        #expect(tracker.acknowledge(at: 166) == AcknowledgementGap(start: 126, end: 166))
        #expect(tracker.finish(at: 170) == nil)
        #expect(tracker.acknowledgements == 7)
        #expect(tracker.longest == AcknowledgementGap(start: 126, end: 166))
        #expect(tracker.gaps.map(\.start) == [115, 126])
    }

    @Test func countsTheTimeBeforeTheFirstAndAfterTheLast() {
        var late = GapTracker(start: 0, thresholdNanoseconds: 5)
        late.acknowledge(at: 50)
        late.finish(at: 60)
        #expect(late.longest == AcknowledgementGap(start: 0, end: 50))

        var dead = GapTracker(start: 0, thresholdNanoseconds: 5)
        dead.acknowledge(at: 1)
        #expect(dead.finish(at: 30 * 1000 * millisecond) != nil)
        #expect(dead.longest.milliseconds > 29_999)

        var mute = GapTracker(start: 7, thresholdNanoseconds: 5)
        mute.finish(at: 1007)
        #expect(mute.acknowledgements == 0)
        #expect(mute.longest == AcknowledgementGap(start: 7, end: 1007))
    }

    @Test func looksIntoWindows() {
        var tracker = GapTracker(start: 0, thresholdNanoseconds: 10)
        for time: UInt64 in [20, 25, 60, 65, 80] { tracker.acknowledge(at: time) }
        #expect(tracker.longest(within: 0..<30) == AcknowledgementGap(start: 25, end: 60))
        #expect(tracker.longest(within: 0..<20) == AcknowledgementGap(start: 0, end: 20))
        #expect(tracker.longest(within: 60..<100) == AcknowledgementGap(start: 65, end: 80))
        #expect(tracker.longest(within: 61..<65) == nil)
        #expect(tracker.longest(within: 80..<100) == nil)
    }

    @Test(arguments: 1...50 as ClosedRange<UInt64>)
    func agreesWithTheDumbTwin(_ seed: UInt64) {
        var random = KeyRandom(seed: seed)
        let threshold = random.below(200)
        var time: UInt64 = random.below(1000)
        var times = [time]
        var tracker = GapTracker(start: time, thresholdNanoseconds: threshold)
        for _ in 0..<(1 + random.below(200)) {
            time += random.below(random.below(10) == 0 ? 1000 : 50)
            times.append(time)
            tracker.acknowledge(at: time)
        }
        #expect(tracker.longest.end - tracker.longest.start == longestDistance(times), "seed \(seed)")
        let over = zip(times, times.dropFirst()).filter { $1 - $0 > threshold }.map {
            AcknowledgementGap(start: $0, end: $1)
        }
        #expect(tracker.gaps == over, "seed \(seed)")
        #expect(tracker.acknowledgements == times.count - 1, "seed \(seed)")
    }
}
