import Formats
import NodeCore
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

    /// Both the leader's disk and that of the follower that would be the first choice are sick: the other one leads at once,
    /// and nobody waits for the one that cannot.
    @Test func aSickLeaderHandsToTheWellOneOfTwo() {
        let cluster = CoreCluster(3)
        cluster.start(1, 2, 3)
        #expect(
            cluster.run(.seconds(20)) {
                cluster.isReady(1, 2, 3) && cluster.leaders().count == 1 && cluster.leaders(.system).count == 1
            })
        // Among equals the last one is the first choice.
        _ = cluster.cores[cluster.leaders()[0]]!.transfer(.default, to: NodeID(1))
        cluster.run(.seconds(1))
        #expect(cluster.leaders() == [1])
        cluster.cores[3]!.journalFailed(.full, canPromise: true)
        cluster.run(.milliseconds(100))
        cluster.cores[1]!.journalFailed(.inputOutput, canPromise: false)
        #expect(cluster.run(.milliseconds(200)) { cluster.leaders() == [2] })
        cluster.submit(1, set: "key", "value", client: 7)
        cluster.cores[3]!.journalRecovered()
        #expect(cluster.run(.seconds(1)) { cluster.replies[7] == ["+OK\r\n"] })
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
