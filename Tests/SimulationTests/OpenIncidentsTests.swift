import NodeCore
import Replication
import Simulation
import Testing

/// What observers know of faults outlives them.
@Suite struct OpenIncidentsTests {
    private func ledger(_ cluster: CoreCluster, _ node: UInt32) -> String {
        String(decoding: cluster.cores[node]!.incidentsJSON(), as: UTF8.self)
    }

    private func started() -> CoreCluster {
        let cluster = CoreCluster(3)
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) })
        cluster.run(.seconds(1))
        return cluster
    }

    /// 1. C dies. A and B, which see it, have nobody to tell: they are cut from each other.
    /// 2. A and B die as well.
    /// 3. All three start again. In this run nobody has seen anything, and the ledger has it, from its beginning to its end.
    @Test func whatNobodyCouldBeToldIsToldByTheNextRun() {
        let cluster = self.started()
        cluster.reach = []
        cluster.run(.milliseconds(20))
        cluster.stop(3)
        cluster.reach = [[1], [2]]
        cluster.run(.seconds(3))
        cluster.stop(1, 2)
        cluster.reach = [[1, 2, 3]]
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) })
        cluster.run(.seconds(3))
        let ledger = self.ledger(cluster, 1)
        #expect(ledger.contains("\"node\":3,\"run\":1,"), "\(ledger)")
        #expect(!ledger.contains("\"state\":\"open\"") && !ledger.contains("\"closed\":null"), "\(ledger)")
        for node: UInt32 in 1...3 { #expect(cluster.cores[node]!.followedIncidents == 0) }
    }

    /// A file that is not written holds nothing up, and takes nothing from the ledger while its observer lives.
    @Test func aFileThatCannotBeWrittenDelaysNothing() {
        let cluster = self.started()
        cluster.failsIncidents = [1, 2, 3]
        let leader = cluster.leaders()[0]
        cluster.stop(leader)
        let other: UInt32 = leader == 1 ? 2 : 1
        #expect(cluster.run(.seconds(5)) { self.ledger(cluster, other).contains("\"node\":\(leader),\"run\":1,") })
    }

    /// A full disk spoils what it is given: the copy that is good is not tried while the other cannot be written.
    @Test func aFailedWriteIsTriedAgainOnTheSameCopy() throws {
        let cluster = self.started()
        cluster.stop(3)
        cluster.run(.seconds(1))
        let good = try #require(cluster.disks[1]!.openIncidents.flatMap { OpenIncidents(file: $0) }).number
        cluster.failsIncidents = [1]
        cluster.start(3)
        cluster.run(.seconds(10))
        let tried = cluster.incidentWrites.filter { $0.node == 1 && $0.number > good }.map(\.number)
        #expect(tried.count > 2)
        for number in tried { #expect(number % 2 != good % 2, "the last good one is \(good)") }
    }

    @Test func aFileIsWholeOrNone() throws {
        let cluster = self.started()
        cluster.stop(3)
        cluster.run(.seconds(1))
        let bytes = try #require(cluster.disks[1]!.openIncidents)
        let file = try #require(OpenIncidents(file: bytes))
        #expect(file.file == bytes && file.words.count == 1)
        #expect(OpenIncidents(file: bytes + [1, 2, 3]) == file, "it was longer before")
        for count in 0..<bytes.count { #expect(OpenIncidents(file: Array(bytes[..<count])) == nil) }
        for at in bytes.indices {
            var bad = bytes
            bad[at] ^= 0x10
            #expect(OpenIncidents(file: bad) == nil, "byte \(at)")
        }
    }
}
