import Cache
import Formats
import NodeCore
import Replication
import Testing

/// Commands that are long, or whose replies are, in a whole cluster.
@Suite struct LongCommandClusterTests {
    private func started(maxTurnWork: Int = 8 << 20) -> CoreCluster {
        let cluster = CoreCluster(3)
        cluster.maxTurnWork = maxTurnWork
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) && cluster.leaders().count == 1 })
        return cluster
    }

    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func kept(_ cluster: CoreCluster) -> Int {
        cluster.cores.values.map { $0.keptReplyBytes(.default) }.max()!
    }

    /// Every replica keeps the replies until their origin has said that it has had them: it asks for no more than fit.
    @Test func largeRepliesWaitForTheirTurn() {
        let cluster = self.started()
        let node = cluster.leaders()[0] % 3 + 1
        let value = [UInt8](repeating: 0x78, count: 1 << 20)
        cluster.submit(.write, node, CommandCoding.encode(2, [self.bytes("large"), value]), 1)
        cluster.run(.seconds(1))
        for _ in 0..<120 { cluster.submit(.write, node, CommandCoding.encode(8, [self.bytes("large")]), 2) }
        var worst = 0
        #expect(
            cluster.run(.seconds(20)) {
                worst = max(worst, self.kept(cluster))
                return cluster.replies[2]?.count == 120
            })
        #expect(cluster.replies[2]!.allSatisfy { $0.utf8.count > 1 << 20 })
        #expect(worst > 2 << 20 && worst <= 17 << 20, "\(worst)")
    }

    /// What nobody could know before finds no room, alike on all replicas, and says so.
    @Test func repliesThatFindNoRoomAreRefused() {
        let cluster = self.started()
        let node = cluster.leaders()[0] % 3 + 1
        let value = [UInt8](repeating: 0x78, count: 1 << 20)
        // The value is not there yet when the others are sent.
        cluster.submit(.write, node, CommandCoding.encode(2, [self.bytes("large"), value]), 1)
        for _ in 0..<80 { cluster.submit(.write, node, CommandCoding.encode(8, [self.bytes("large")]), 2) }
        for _ in 0..<10 { cluster.submit(.write, node, CommandCoding.encode(12, [self.bytes("count")]), 3) }
        #expect(cluster.run(.seconds(20)) { cluster.replies[2]?.count == 80 && cluster.replies[3]?.count == 10 })
        let given = cluster.replies[2]!.count { $0.utf8.count > 1 << 20 }
        #expect(given == 32, "\(given)")
        #expect(cluster.replies[2]!.count { $0.hasPrefix("-BUSY nothing was written") } == 80 - given)
        #expect(cluster.replies[3]!.last == ":10\r\n", "what has a small reply goes on")
        #expect(self.kept(cluster) < 34 << 20)
        let digests = Set(cluster.cores.values.map { "\($0.stateDigest(.default)!)" })
        #expect(digests.count == 1)
        // Sessions with much in them are in snapshots, and come back.
        cluster.checkpointInterval = .seconds(1)
        cluster.stop(1, 2, 3)
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(30)) { cluster.isReady(1, 2, 3) })
        #expect(cluster.value(node, "count") == "$2\r\n10\r\n")
    }

    /// A snapshot taken while a session keeps many replies has them, and a node that starts from it too.
    @Test func longSessionsAreInSnapshots() {
        let cluster = self.started()
        cluster.checkpointInterval = .seconds(2)
        let leader = cluster.leaders()[0]
        let other = leader % 3 + 1
        cluster.stop(1, 2, 3)
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) })
        let value = [UInt8](repeating: 0x78, count: 1 << 20)
        cluster.submit(.write, other, CommandCoding.encode(2, [self.bytes("large"), value]), 1)
        cluster.run(.milliseconds(100))
        for _ in 0..<12 { cluster.submit(.write, other, CommandCoding.encode(8, [self.bytes("large")]), 2) }
        #expect(cluster.run(.seconds(20)) { cluster.replies[2]?.count == 12 })
        #expect(self.kept(cluster) > 2 << 20)
        let before = cluster.cores[other]!.namedSnapshotsVersion
        #expect(cluster.run(.seconds(10)) { cluster.cores[other]!.namedSnapshotsVersion > before })
        let kept = cluster.cores[other]!.keptReplyBytes(.default)
        #expect(kept > 2 << 20)
        cluster.stop(other)
        cluster.start(other)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(other) })
        #expect(cluster.value(other, "large").utf8.count > 1 << 20)
    }

    /// A transaction in many turns: nobody sees half of it, and all else goes on.
    @Test func aLongTransactionIsWhole() {
        let cluster = self.started(maxTurnWork: 2000)
        let node = cluster.leaders()[0]
        var arguments: [[UInt8]] = [[0, 0, 0, 0]]
        for number in 0..<300 {
            arguments.append(CommandCoding.encode(2, [self.bytes("k\(number)"), self.bytes("\(number)")]))
        }
        arguments.append(CommandCoding.encode(36, [self.bytes("k*")]))
        arguments.append(CommandCoding.encode(23, (0..<300).map { self.bytes("k\($0)") }))
        cluster.submit(.write, node, CommandCoding.encode(CommandTable.exec, arguments), 1)
        for _ in 0..<20 {
            cluster.submit(.read, node, CommandCoding.encode(25, [self.bytes("k0"), self.bytes("k299")]), 2)
            cluster.run(.milliseconds(10))
        }
        #expect(cluster.run(.seconds(20)) { cluster.replies[1]?.count == 1 && cluster.replies[2]?.count == 20 })
        #expect(cluster.replies[1]![0].hasPrefix("*302\r\n+OK\r\n") && cluster.replies[1]![0].hasSuffix(":300\r\n"))
        #expect(cluster.replies[2]!.allSatisfy { $0 == ":0\r\n" }, "half of it")
        cluster.run(.seconds(1))
        #expect(Set(cluster.cores.values.map { "\($0.stateDigest(.default)!)" }).count == 1)
        // A long read, and writes behind it.
        for number in 0..<200 { cluster.submit(node, set: "n\(number)", "x", client: 3) }
        cluster.run(.seconds(2))
        cluster.submit(.read, node, CommandCoding.encode(36, [self.bytes("*")]), 4)
        cluster.submit(node, set: "after", "y", client: 5)
        #expect(cluster.run(.seconds(10)) { cluster.replies[4]?.count == 1 && cluster.replies[5]?.count == 1 })
        #expect(cluster.replies[4]![0].hasPrefix("*20"))
    }

    /// Requests that wait for earlier ones of their client count towards the node's window.
    @Test func whatWaitsIsBounded() {
        let cluster = self.started()
        cluster.reach = [[1], [2], [3]]
        let value = [UInt8](repeating: 0x78, count: 4 << 20)
        cluster.submit(.read, 1, CommandCoding.encode(1, [self.bytes("k")]), 1)
        for _ in 0..<30 { cluster.submit(.write, 1, CommandCoding.encode(2, [self.bytes("k"), value]), 1) }
        #expect(cluster.replies[1]!.count { $0 == "refused: busy" } == 30 - 16)
        let keys = (0..<1000).map { [UInt8](repeating: UInt8($0 & 0xff), count: 1000) }
        cluster.reach = [[1, 2, 3]]
        #expect(cluster.run(.seconds(30)) { cluster.replies[1]!.count == 31 })
        for _ in 0..<100 { cluster.submit(.read, 1, CommandCoding.encode(9, keys), 2) }
        #expect((cluster.replies[2] ?? []).count { $0 == "refused: busy" } > 20)
    }
}
