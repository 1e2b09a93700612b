package import Replication

/// Looks for a shorter run with the same failure: fewer faults, less time, fewer standing faults. Faults are taken out by
/// delta debugging (Zeller and Hildebrandt, *Simplifying and isolating failure-inducing input*, IEEE TSE 28(2), 2002):
/// halves first, then ever smaller parts, until no single one can go.
///
/// What is left out shifts everything after it a little, and a failure that hangs on a race may hide. So each candidate
/// is tried with some other draws of the noise before it counts as one that does not fail.
package struct Shrinking {
    /// What a candidate came to: when it failed, where it failed as the first run did.
    package typealias Attempt = (SimulationOptions) throws -> Nanoseconds?

    /// The shortest so far. Fails, always.
    package private(set) var options: SimulationOptions
    private var failedAt: Nanoseconds
    package private(set) var attempts = 0
    private let maxAttempts: Int
    private let noises: UInt64

    /// - Parameters:
    ///   - options: a run that fails.
    ///   - failedAt: when, in simulated time.
    ///   - maxAttempts: runs that the search may take.
    ///   - noises: draws of the noise that a candidate is tried with.
    package init(_ options: SimulationOptions, failedAt: Nanoseconds, maxAttempts: Int = 400, noises: UInt64 = 3) {
        self.options = options
        self.failedAt = failedAt
        self.maxAttempts = maxAttempts
        self.noises = noises
    }

    package mutating func run(_ attempt: Attempt) throws {
        try self.dropWhatCameLater(attempt)
        try self.shorten(attempt)
        try self.dropFaults(attempt)
        try self.dropStandingFaults(attempt)
        try self.shorten(attempt)
        try self.dropFaults(attempt)
    }

    /// Whether the candidate fails too; then it is the shortest.
    private mutating func fails(_ candidate: SimulationOptions, _ attempt: Attempt) throws -> Bool {
        for noise in 0..<self.noises {
            guard self.attempts < self.maxAttempts else { return false }
            self.attempts += 1
            var candidate = candidate
            candidate.noise = self.options.noise &+ noise
            if let time = try attempt(candidate) {
                self.options = candidate
                self.failedAt = time
                return true
            }
        }
        return false
    }

    private mutating func dropWhatCameLater(_ attempt: Attempt) throws {
        let faults = self.options.scheduledFaults
        let before = faults.filter { $0.time <= self.failedAt }
        guard before.count < faults.count else { return }
        var candidate = self.options
        candidate.keptFaults = Set(before.map(\.number))
        _ = try self.fails(candidate, attempt)
    }

    /// Heals earlier: first at the failure, then by halves.
    private mutating func shorten(_ attempt: Attempt) throws {
        var least: UInt64 = 1
        while least < self.options.ticks {
            let atFailure = self.failedAt / World.tickInterval + 1
            let middle = least + (self.options.ticks - least) / 2
            var candidate = self.options
            candidate.ticks = atFailure > least && atFailure < self.options.ticks ? atFailure : middle
            if try self.fails(candidate, attempt) { continue }
            guard candidate.ticks < self.options.ticks else { break }
            least = candidate.ticks + 1
            // A few ticks more or less make nothing clearer.
            if self.options.ticks - min(least, self.options.ticks) < 8 { break }
        }
    }

    private mutating func dropFaults(_ attempt: Attempt) throws {
        var kept = self.options.scheduledFaults.map(\.number)
        var parts = 2
        while !kept.isEmpty, self.attempts < self.maxAttempts {
            parts = min(parts, kept.count)
            var isShorter = false
            for part in 0..<parts {
                let gone = kept.count * part / parts..<kept.count * (part + 1) / parts
                var candidate = self.options
                candidate.keptFaults = Set(kept[..<gone.lowerBound] + kept[gone.upperBound...])
                guard try self.fails(candidate, attempt) else { continue }
                kept = self.options.scheduledFaults.map(\.number)
                isShorter = true
                break
            }
            if isShorter {
                parts = max(2, parts - 1)
            } else if parts == kept.count {
                return
            } else {
                parts *= 2
            }
        }
    }

    /// Kinds without a place in the schedule, each as a whole.
    private mutating func dropStandingFaults(_ attempt: Attempt) throws {
        for kind in FaultKind.allCases where kind.isStanding && self.options.faults[kind] > 0 {
            guard FaultSchedule(self.options).model[kind] > 0 else { continue }
            var candidate = self.options
            candidate.faults[kind] = 0
            _ = try self.fails(candidate, attempt)
        }
    }
}
