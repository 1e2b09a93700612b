import Replication
import Simulation
import Testing

/// Clusters in which disks refuse for a while.
@Suite struct SickDiskClusterTests {
    private static func options(_ seed: UInt64, _ kinds: [FaultKind], every interval: Nanoseconds) -> SimulationOptions
    {
        var options = SimulationOptions(seed: seed)
        options.faults = .none
        for kind in kinds { options.faults[kind] = 1 }
        options.faults.meanInterval = interval
        return options
    }

    /// One disk at a time is sick, as a rule: the others go on, and so do the sick node's own clients.
    @Test(arguments: [FaultKind.fullDisk, .readOnlyDisk, .writeErrors, .syncErrors, .stuckDisk])
    func theClusterServesAllTheWhile(kind: FaultKind) throws {
        var sick = 0
        var (acknowledged, refused) = (0, 0)
        for seed in UInt64(0)..<12 {
            let report = try World.run(Self.options(seed, [kind], every: .milliseconds(1200)))
            sick += report.sickDisks
            acknowledged += report.acknowledged
            refused += report.refused + report.open
        }
        #expect(sick >= 12)
        #expect(refused * 20 < acknowledged, "\(refused) refused or open, \(acknowledged) acknowledged")
    }

    @Test func everyKindAtOnceWithPowerCuts() throws {
        var promises = 0
        for seed in UInt64(0)..<40 {
            var options = Self.options(
                seed,
                [
                    .fullDisk, .fullDisk, .readOnlyDisk, .writeErrors, .syncErrors, .stuckDisk, .powerCut,
                    .processCrash,
                    .transfer, .partition,
                ],
                every: .milliseconds(120))
            options.nodes = seed % 4 == 0 ? 5 : 3
            promises += try World.run(options).promises
        }
        #expect(promises > 0, "full disks take votes from their reserve")
    }
}
