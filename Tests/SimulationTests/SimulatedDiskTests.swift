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

    // MARK: Rot

    /// A file of four sectors: of ones what no write hit, of threes what another is being written over, and of fives one whose
    /// sync failed.
    private static func busyDisk() throws -> (SimulatedDisk, SimulatedDisk.File) {
        let disk = try Self.disk()
        let file = try #require(disk.file("a"))
        disk.write(file, Self.sectors(5, 2), at: 2 * Self.sector)
        disk.failingSyncs = 1
        #expect(throws: SimulatedDisk.SyncFailed.self) { try disk.sync(file) }
        disk.write(file, Self.sectors(3, 1), at: Self.sector)
        return (disk, file)
    }

    private static func flip(_ bytes: inout [UInt8], _ sector: Int) { bytes[sector * Self.sector + 7] ^= 0x80 }

    @Test func aReaderAroundTheCacheSeesWhatAFailedSyncLeft() throws {
        let (disk, file) = try Self.busyDisk()
        #expect(file.bytes == Self.sectors(1, 1) + Self.sectors(3, 1) + Self.sectors(5, 2))
        #expect(disk.readAround(file) == Self.sectors(1, 1) + Self.sectors(3, 1) + Self.sectors(1, 2))
    }

    @Test func whatRotsIsWhatTheMediumHasAndNoPowerCutMendsIt() throws {
        for seed in UInt64(0)..<50 {
            var random = Random(seed: seed)
            let (disk, file) = try Self.busyDisk()
            disk.rot(file) { bytes in for sector in 0..<3 { Self.flip(&bytes, sector) } }
            // The third sector's sync failed: what is left to rot is what it held before.
            var rotten = Self.sectors(1, 1) + Self.sectors(3, 1) + Self.sectors(1, 1) + Self.sectors(5, 1)
            for sector in 0..<3 { Self.flip(&rotten, sector) }
            #expect(file.bytes == rotten, "seed \(seed): where nothing rotted the cache has what it had")
            disk.losePower(&random)
            rotten.replaceSubrange((3 * Self.sector)..., with: Self.sectors(1, 1))
            #expect(disk.file("a")?.bytes == rotten, "seed \(seed)")
        }
    }

    @Test func whatIsUnderWayElsewhereStaysSo() throws {
        let (disk, file) = try Self.busyDisk()
        disk.rot(file) { Self.flip(&$0, 0) }
        var seen: Set<[UInt8]> = []
        for seed in UInt64(0)..<50 {
            var random = Random(seed: seed)
            let (disk, file) = try Self.busyDisk()
            disk.rot(file) { Self.flip(&$0, 0) }
            disk.losePower(&random)
            let after = try #require(disk.file("a")).bytes
            seen.insert((0..<4).map { after[$0 * Self.sector] })
        }
        #expect(seen == [[1, 1, 1, 1], [1, 3, 1, 1]])
        try disk.sync(file)
        #expect(disk.readAround(file).last == 1, "a sync does not write what another failed to")
    }

    @Test func ofAFileThatIsCutShortNothingIsUnderWayBehindItsEnd() throws {
        for seed in UInt64(0)..<20 {
            var random = Random(seed: seed)
            let (disk, file) = try Self.busyDisk()
            let end = 2 * Self.sector + 100
            disk.rot(file) { $0.removeSubrange(end...) }
            let left = Self.sectors(1, 1) + Self.sectors(3, 1) + [UInt8](repeating: 1, count: 100)
            #expect(file.bytes == left)
            disk.losePower(&random)
            let after = try #require(disk.file("a")).bytes
            #expect(after.count == end)
            #expect(after.suffix(100) == left.suffix(100), "seed \(seed)")
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
