package import Replication

/// One fault of a run's schedule.
package struct ScheduledFault: Sendable, Equatable {
    /// Its place in the schedule that the seed gives, from 0: names it where others are left out.
    package var number: Int
    /// Simulated time since the run began.
    package var time: Nanoseconds
    package var kind: FaultKind
    /// Seeds all that the fault draws: which node, how long.
    var seed: UInt64
}

/// What is to go wrong in a run, drawn before it begins. Nothing of it depends on what happens in the run, so a fault
/// left out leaves the others as they are, and a shorter run has the first part of a longer one's.
struct FaultSchedule {
    /// The weights of this run.
    var model: FaultModel
    var faults: [ScheduledFault] = []

    init(_ options: SimulationOptions) {
        var random = Random(seed: options.seed ^ 0x6661_756c_7473)
        self.model = options.faults.drawn(&random)
        let kinds = FaultKind.allCases.filter { self.model[$0] > 0 && !$0.isStanding }
        let total = kinds.reduce(0) { $0 + self.model[$1] }
        let interval = self.model.meanInterval
        var time: Nanoseconds = .milliseconds(300)
        while total > 0, time < options.faultTime {
            var draw = random.below(total)
            let kind = kinds.first { kind in
                guard draw >= self.model[kind] else { return true }
                draw -= self.model[kind]
                return false
            }
            self.faults.append(
                ScheduledFault(number: self.faults.count, time: time, kind: kind!, seed: random.next()))
            time += interval / 5 + random.below(interval * 8 / 5) + 1
        }
        if let kept = options.keptFaults {
            self.faults.removeAll { !kept.contains($0.number) }
        }
    }
}
