import Formats
import NodeCore
import Replication
import Testing

@testable import Simulation

/// The reserve and the file of open incidents on a simulated disk go the way of the real ones: step by step, with a death
/// after each.
@Suite struct SimulatedReserveTests {
    private static let identity = JournalIdentity(
        cluster: ClusterID(high: 1, low: 2), node: NodeID(1), incarnation: Incarnation(high: 3, low: 4))
    private static let blank = JournalFormat.blank(
        blocks: 0..<SimulatedJournal.segmentBytes / JournalFormat.blockBytes, identity: identity)
    private static let taken = "journal/00000077"

    private static func open(_ disk: SimulatedDisk, _ death: StartDeath? = nil) throws -> SimulatedJournal? {
        try SimulatedJournal.open(
            disk, identity: Self.identity, expected: [DurableState()], isDamaged: false, death: death, bug: nil
        ).0
    }

    private static func flip(_ disk: SimulatedDisk) throws {
        disk.rot(try #require(disk.file(SimulatedJournal.reserve))) { $0[5 * JournalFormat.blockBytes + 9] ^= 1 }
    }

    @Test func aReserveThatRottedIsMadeBlankBeforeItIsTaken() throws {
        for seed in UInt64(0)..<20 {
            var random = Random(seed: seed)
            let disk = SimulatedDisk()
            var journal = try #require(try Self.open(disk))
            try Self.flip(disk)
            disk.condition = .full(isCopyOnWrite: false)
            try journal.takeReserve(as: 77)
            disk.losePower(&random)
            #expect(disk.file(Self.taken)?.bytes == Self.blank, "seed \(seed)")
            #expect(disk.file(SimulatedJournal.reserve) == nil)
        }
    }

    @Test func aReserveThatWasCutShortIsNotTaken() throws {
        let disk = SimulatedDisk()
        var journal = try #require(try Self.open(disk))
        disk.rot(try #require(disk.file(SimulatedJournal.reserve))) { $0.removeLast() }
        #expect(throws: SimulatedDisk.Refused.self) { try journal.takeReserve(as: 77) }
        #expect(disk.file(Self.taken) == nil)
    }

    @Test(arguments: SimulatedJournal.TakingStep.allCases)
    func whoeverDiesOnTheWayLeavesNoSegmentWithBadBlocks(_ last: SimulatedJournal.TakingStep) throws {
        for seed in UInt64(0)..<40 {
            var random = Random(seed: seed)
            let disk = SimulatedDisk()
            var journal = try #require(try Self.open(disk))
            try Self.flip(disk)
            try journal.takeReserve(as: 77, through: last)
            if seed % 2 == 0 { disk.losePower(&random) }
            // The next start makes the reserve good, by what the disk has, and that one may be taken.
            var next = try #require(try Self.open(disk))
            #expect(disk.readAround(try #require(disk.file(SimulatedJournal.reserve))) == Self.blank)
            try next.takeReserve(as: 78)
            disk.losePower(&random)
            #expect(disk.file("journal/00000078")?.bytes == Self.blank, "seed \(seed)")
            #expect(disk.file(Self.taken).map { $0.bytes == Self.blank } ?? true, "seed \(seed)")
        }
    }

    @Test func aReserveWhoseMendingWasNotSyncedIsMadeAnew() throws {
        let disk = SimulatedDisk()
        var journal = try #require(try Self.open(disk))
        try Self.flip(disk)
        disk.failingSyncs = 1
        #expect(throws: SimulatedDisk.Refused.self) { try journal.takeReserve(as: 77) }
        let reserve = try #require(disk.file(SimulatedJournal.reserve))
        #expect(reserve.bytes == Self.blank, "the page cache hides it")
        #expect(disk.readAround(reserve) != Self.blank)
        _ = try #require(try Self.open(disk))
        #expect(disk.durableBytes(SimulatedJournal.reserve) == Self.blank)
    }

    @Test func aStartThatDiesWhileItMakesTheReserveLeavesItToTheNext() throws {
        let disk = SimulatedDisk()
        #expect(try Self.open(disk, .makingReserve) == nil)
        #expect(disk.file(SimulatedJournal.reserve) == nil)
        #expect(disk.file(SimulatedJournal.reserve + SimulatedJournal.unfinished) != nil)
        _ = try #require(try Self.open(disk))
        #expect(disk.durableBytes(SimulatedJournal.reserve) == Self.blank)
        #expect(disk.file(SimulatedJournal.reserve + SimulatedJournal.unfinished) == nil)
    }

    // MARK: Open incidents

    private static func world(_ copies: [UInt64]) -> (World, SimulatedNode, [[UInt8]]) {
        let world = World(SimulationOptions(seed: 1))
        let contents = copies.map { number in
            var incidents = OpenIncidents()
            incidents.number = number
            return incidents.file
        }
        for (name, bytes) in zip(World.incidentsFiles, contents) { world.nodes[0].disk.replace(name, with: bytes) }
        return (world, world.nodes[0], contents)
    }

    @Test(arguments: [0, 1]) func aBadCopyOfTheIncidentsIsWrittenAnewAtAStart(_ bad: Int) throws {
        let (world, node, contents) = Self.world([8, 7])
        let name = World.incidentsFiles[bad]
        node.disk.rot(try #require(node.disk.file(name))) { $0[20] ^= 1 }
        #expect(world.mendIncidents(world.openIncidents(of: node), node, isCutShort: false))
        #expect(node.disk.durableBytes(name) == contents[1 - bad])
        #expect(node.disk.durableBytes(World.incidentsFiles[1 - bad]) == contents[1 - bad])
    }

    @Test func whereBothCopiesAreBadThereIsNothingToWriteThemBy() throws {
        let (world, node, contents) = Self.world([8, 7])
        for name in World.incidentsFiles { node.disk.rot(try #require(node.disk.file(name))) { $0[20] ^= 1 } }
        #expect(world.mendIncidents(world.openIncidents(of: node), node, isCutShort: false))
        #expect(node.disk.durableBytes(World.incidentsFiles[0]) != contents[0])
    }

    @Test func aDeathOnTheWayLeavesTheGoodCopy() throws {
        for seed in UInt64(0)..<20 {
            var random = Random(seed: seed)
            let (world, node, contents) = Self.world([8, 7])
            node.disk.rot(try #require(node.disk.file(World.incidentsFiles[0]))) { $0[20] ^= 1 }
            #expect(!world.mendIncidents(world.openIncidents(of: node), node, isCutShort: true))
            node.disk.losePower(&random)
            #expect(world.openIncidents(of: node).file == contents[1], "seed \(seed)")
        }
    }
}
