import Replication
import Simulation
import Testing

@Suite struct SimulatedDiskTests {
    private static let sector = SimulatedDisk.sectorBytes

    private static func sectors(_ value: UInt8, _ count: Int) -> [UInt8] {
        [UInt8](repeating: value, count: count * sector)
    }

    /// A file of four sectors of ones, durable, under a durable name.
    private static func disk() throws -> SimulatedDisk {
        let disk = SimulatedDisk()
        let file = disk.create("a")
        disk.write(file, Self.sectors(1, 4), at: 0)
        try disk.sync(file)
        disk.syncDirectory()
        return disk
    }

    @Test func whatIsSyncedSurvivesEveryPowerCut() throws {
        for seed in UInt64(0)..<50 {
            var random = Random(seed: seed)
            let disk = try Self.disk()
            disk.losePower(&random)
            #expect(disk.file("a")?.bytes == Self.sectors(1, 4), "seed \(seed)")
        }
    }

    @Test func whatIsNotSyncedSurvivesBySectorsInEveryCombination() throws {
        var seen = Set<[UInt8]>()
        for seed in UInt64(0)..<400 {
            var random = Random(seed: seed)
            let disk = try Self.disk()
            let file = try #require(disk.file("a"))
            disk.write(file, Self.sectors(2, 3), at: 0)
            disk.losePower(&random)
            let after = try #require(disk.file("a")).bytes
            for at in 0..<4 {
                let sector = after[at * Self.sector..<(at + 1) * Self.sector]
                #expect(Set(sector).count == 1, "seed \(seed): a sector is written whole or not at all")
            }
            seen.insert((0..<4).map { after[$0 * Self.sector] })
        }
        #expect(seen.count == 8, "each of three sectors for itself: \(seen.count)")
        #expect(seen.allSatisfy { $0[3] == 1 })
    }

    @Test func aFailedSyncLosesItsPagesWithThePower() throws {
        for seed in UInt64(0)..<50 {
            var random = Random(seed: seed)
            let disk = try Self.disk()
            let file = try #require(disk.file("a"))
            disk.write(file, Self.sectors(2, 2), at: 0)
            disk.failingSyncs = 1
            #expect(throws: SimulatedDisk.SyncFailed.self) { try disk.sync(file) }
            #expect(file.bytes.first == 2, "the page cache has it")
            // The pages count as clean: another sync does nothing for them, only another write does.
            disk.write(file, Self.sectors(3, 1), at: 0)
            try disk.sync(file)
            disk.losePower(&random)
            let after = try #require(disk.file("a")).bytes
            #expect(after[0] == 3, "seed \(seed)")
            #expect(after[Self.sector] == 1, "seed \(seed)")
        }
    }

    @Test func namesSurviveInTheOrderOfTheirChanges() throws {
        var seen = Set<[String]>()
        for seed in UInt64(0)..<100 {
            var random = Random(seed: seed)
            let disk = try Self.disk()
            _ = disk.create("b")
            disk.rename("a", "c")
            disk.remove("b")
            disk.losePower(&random)
            seen.insert(disk.list(""))
        }
        #expect(seen == [["a"], ["a", "b"], ["b", "c"], ["c"]])
    }
}
