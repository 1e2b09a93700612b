/// A time without a single acknowledgement, over all writers. Times are nanoseconds of the monotonic clock.
package struct AcknowledgementGap: Sendable, Equatable, BitwiseCopyable {
    /// The acknowledgement before it, or the start of the run.
    package var start: UInt64
    /// The acknowledgement after it, or the end of the run.
    package var end: UInt64

    package var milliseconds: Double { Double(self.end &- self.start) / 1e6 }

    package init(start: UInt64, end: UInt64) {
        self.start = start
        self.end = end
    }
}

/// Finds the longest gaps between successive acknowledgements. Pure: times come in.
///
/// The time from the start to the first acknowledgement and from the last one to the end of the run count too: a
/// cluster that never came back must not look like one that was never away.
package struct GapTracker: Sendable {
    /// Gaps longer than this are kept one by one.
    package let threshold: UInt64
    package private(set) var acknowledgements = 0
    package private(set) var longest: AcknowledgementGap
    /// The gaps over the threshold, in order of time.
    package private(set) var gaps: [AcknowledgementGap] = []
    private var last: UInt64

    package init(start: UInt64, thresholdNanoseconds: UInt64) {
        self.threshold = thresholdNanoseconds
        self.last = start
        self.longest = AcknowledgementGap(start: start, end: start)
    }

    /// Books acknowledgements that arrived together. Returns the gap that they ended, if it is over the threshold.
    @discardableResult
    package mutating func acknowledge(_ count: Int = 1, at time: UInt64) -> AcknowledgementGap? {
        self.acknowledgements += count
        return self.close(at: time)
    }

    /// Ends the run. Returns the gap that was open, if it is over the threshold.
    @discardableResult
    package mutating func finish(at time: UInt64) -> AcknowledgementGap? { self.close(at: time) }

    private mutating func close(at time: UInt64) -> AcknowledgementGap? {
        // Times of one thread's clock do not go back; equal ones are no gap.
        guard time > self.last else { return nil }
        let gap = AcknowledgementGap(start: self.last, end: time)
        self.last = time
        if gap.end - gap.start > self.longest.end - self.longest.start { self.longest = gap }
        guard gap.end - gap.start > self.threshold else { return nil }
        self.gaps.append(gap)
        return gap
    }

    /// The longest of the kept gaps that overlaps `window`; nil if none is over the threshold.
    package func longest(within window: Range<UInt64>) -> AcknowledgementGap? {
        var found: AcknowledgementGap?
        for gap in self.gaps where gap.start < window.upperBound && gap.end > window.lowerBound {
            if found.map({ $0.end - $0.start < gap.end - gap.start }) ?? true { found = gap }
        }
        return found
    }
}
