import Formats
import NodeCore
import Replication
import Testing

/// What a core does about what its scrubber finds.
@Suite struct ScrubTests {
    private func cluster() throws -> (CoreCluster, follower: UInt32) {
        let cluster = CoreCluster(3)
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(5)) { cluster.isReady(1, 2, 3) })
        for key in 0..<20 {
            cluster.submit(1, set: "key \(key)", "value", client: 1)
            cluster.run(.milliseconds(20))
        }
        let leader = try #require(cluster.leaders().first)
        return (cluster, leader % 3 + 1)
    }

    private func segment(_ block: Int, _ ranges: [JournalRot.Range]?, last: LogIndex) -> Rot {
        .journal(
            RottenSegment(
                file: 1, generation: 1, extent: [JournalRot.Range(group: .default, first: 1, last: last)],
                places: [JournalRot(block: block, sequence: 9, ranges: ranges, text: "bad")]))
    }

    @Test func whatABadBatchHeldIsWrittenAgainInANewSegment() throws {
        let (cluster, node) = try self.cluster()
        let before = try #require(cluster.disks[node]!.groups[.default]).entries
        let last = try #require(before.last?.index)
        // The journal of this cluster completes at once; the checkpoint that is asked for comes later.
        cluster.find(self.segment(4, [JournalRot.Range(group: .default, first: 3, last: 8)], last: last), on: node)
        #expect(cluster.segmentsBegun == 1)
        #expect(cluster.repairs.map(\.entry.index) == Array(3...8) && cluster.repairs.allSatisfy { $0.node == node })
        #expect(cluster.cores[node]!.rotCounts == (1, 1, 0))
        #expect(cluster.disks[node]!.groups[.default]?.entries == before)

        // The next pass finds the same, as the file is not used again yet; and something else in it.
        cluster.find(self.segment(4, [JournalRot.Range(group: .default, first: 3, last: 8)], last: last), on: node)
        #expect(cluster.cores[node]!.rotCounts.found == 1)
        #expect(cluster.repairs.count == 6)
    }

    /// Nothing that is written again would stand for a truncation: see `RotRepair`.
    @Test func whatABadBatchMayHaveHeldWaitsForASnapshot() throws {
        let (cluster, node) = try self.cluster()
        let last = try #require(cluster.disks[node]!.groups[.default]?.entries.last?.index)
        cluster.find(self.segment(9, nil, last: last), on: node)
        #expect(cluster.segmentsBegun == 1, "whose table repeats term, vote and snapshot")
        #expect(cluster.repairs.isEmpty && cluster.cores[node]!.rotCounts == (1, 0, 1))
        #expect(cluster.run(.seconds(30)) { cluster.cores[node]!.rotCounts.open == 0 })
        #expect(cluster.disks[node]!.groups[.default]?.snapshot?.index ?? 0 >= last)
        #expect(cluster.repairs.isEmpty && cluster.cores[node]!.rotCounts == (1, 1, 0))
    }

    /// One batch of a segment says what it held, and another does not.
    @Test func whatIsKnownIsWrittenAgainBesideWhatIsNot() throws {
        let (cluster, node) = try self.cluster()
        let last = try #require(cluster.disks[node]!.groups[.default]?.entries.last?.index)
        let extent = [JournalRot.Range(group: .default, first: 1, last: last)]
        let places = [
            JournalRot(
                block: 4, sequence: 9, ranges: [JournalRot.Range(group: .default, first: 3, last: 5)], text: "bad"),
            JournalRot(block: 9, sequence: 11, ranges: nil, text: "bad"),
        ]
        cluster.find(
            .journal(RottenSegment(file: 1, generation: 1, extent: extent, places: places)), on: node)
        #expect(cluster.repairs.map(\.entry.index) == [3, 4, 5])
        #expect(cluster.cores[node]!.rotCounts.open == 1)
        #expect(cluster.run(.seconds(30)) { cluster.cores[node]!.rotCounts.open == 0 })
    }

    @Test func aSmallFileIsWrittenAnewUntilTheDiskTakesIt() throws {
        let (cluster, node) = try self.cluster()
        cluster.find(.file(.identityA, reason: "bad"), on: node)
        cluster.find(.file(.identityA, reason: "bad"), on: node)
        #expect(cluster.rewrites.count == 1 && cluster.cores[node]!.rotCounts == (1, 0, 1))
        cluster.rewritten(.identityA, bytes: nil, on: node)
        cluster.run(.seconds(6))
        #expect(cluster.rewrites.count == 2, "once more")
        cluster.rewritten(.identityA, bytes: 100, on: node)
        #expect(cluster.cores[node]!.rotCounts == (1, 1, 0))
        // Both copies are replaced by what is known; a copy that is bad twice counts once.
        cluster.find(.file(.peerRunsB, reason: "bad"), on: node)
        cluster.run(.milliseconds(100))
        #expect(cluster.rewrites.count == 2 && cluster.cores[node]!.rotCounts == (2, 2, 0))
    }

    /// Whichever of the copies it is, the good one is not written over before it is good again.
    @Test(arguments: [NodeFile.incidentsA, .incidentsB]) func openIncidentsAreWrittenAnew(file: NodeFile) throws {
        let (cluster, node) = try self.cluster()
        let before = cluster.incidentWrites.count
        cluster.find(.file(file, reason: "bad"), on: node)
        cluster.run(.seconds(1))
        let writes = cluster.incidentWrites[before...].filter { $0.node == node }.map(\.number)
        #expect(writes.first.map(NodeFile.incidents) == file)
        #expect(cluster.cores[node]!.rotCounts == (1, 1, 0) && cluster.rewrites.isEmpty)
    }
}
