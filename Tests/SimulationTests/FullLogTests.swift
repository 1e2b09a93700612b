import Formats
import NodeCore
import Replication
import Simulation
import Testing

/// What nodes do about logs that cannot be shortened.
@Suite struct FullLogTests {
    private static let limit = 256 << 10

    private func started(_ count: UInt32 = 3) -> CoreCluster {
        let cluster = CoreCluster(count)
        cluster.maxLogBytes = Self.limit
        cluster.checkpointInterval = .seconds(60)
        for node in 1...count { cluster.start(node) }
        #expect(
            cluster.run(.seconds(20)) {
                (1...count).allSatisfy { cluster.isReady($0) } && cluster.leaders().count == 1
            })
        return cluster
    }

    /// Writes of 4 KiB to one node, one after the other; how many were refused.
    private func write(_ count: Int, to node: UInt32, _ cluster: CoreCluster) -> Int {
        let value = String(repeating: "x", count: 4096)
        let before = cluster.replies[7]?.count ?? 0
        for _ in 0..<count {
            cluster.submit(node, set: "key", value, client: 7)
            cluster.run(.milliseconds(20))
        }
        return cluster.replies[7]!.dropFirst(before).count { $0 == "refused: logFull" }
    }

    private func isBounded(_ cluster: CoreCluster, entry: Int = 8 << 10) -> Bool {
        cluster.cores.values.allSatisfy { core in
            let view = core.inspect(.default)!
            return view.logBytes < view.maxLogBytes + entry
        }
    }

    private func hasClosed(_ cluster: CoreCluster, _ node: UInt32) -> Bool {
        cluster.events.contains { event in
            if case .logClosed(.default, _) = event.event { event.node == node } else { false }
        }
    }

    /// The leader's disk alone takes no snapshots: another leads before a single write is refused. Later the node is
    /// behind, and is caught up.
    @Test func aLeaderThatCannotShortenItsLogHandsOver() {
        let cluster = self.started()
        let first = cluster.leaders()[0]
        let other = first % 3 + 1
        cluster.failsSnapshots = [first]
        #expect(self.write(200, to: other, cluster) == 0)
        #expect(cluster.leaders().count == 1 && cluster.leaders() != [first])
        #expect(self.hasClosed(cluster, first), "as a follower it came to its limit")
        #expect(!self.hasClosed(cluster, other))
        #expect(self.isBounded(cluster))
        #expect(!(cluster.cores[first]!.inspect(.default)!.applied == cluster.cores[other]!.inspect(.default)!.applied))
        cluster.failsSnapshots = []
        #expect(
            cluster.run(.seconds(70)) {
                cluster.cores[first]!.inspect(.default)!.applied == cluster.cores[other]!.inspect(.default)!.applied
            })
        cluster.run(.milliseconds(100))
        #expect(self.write(5, to: first, cluster) == 0)
    }

    /// All logs are full when all nodes are started anew: nobody knows what is committed.
    @Test func fullLogsOutliveARestartOfAll() {
        let cluster = self.started()
        cluster.failsSnapshots = [1, 2, 3]
        let value = String(repeating: "x", count: 4096)
        for _ in 0..<3 {
            for _ in 0..<40 { cluster.submit(cluster.leaders()[0], set: "key", value, client: 7) }
            cluster.run(.milliseconds(10))
        }
        cluster.run(.seconds(1))
        #expect((1...3).allSatisfy { cluster.cores[$0]!.inspect(.default)!.logBytes >= Self.limit })
        cluster.stop(1, 2, 3)
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(20)) { cluster.leaders().count == 1 })
        cluster.run(.seconds(2))
        #expect((1...3).allSatisfy { cluster.value($0, "key").hasPrefix("$4096") }, "reads go on")
        cluster.failsSnapshots = []
        #expect(cluster.run(.seconds(130)) { (1...3).allSatisfy { cluster.isReady($0) } })
        cluster.run(.seconds(2))
        for node: UInt32 in 1...3 { #expect(self.write(5, to: node, cluster) == 0) }
    }

    /// No disk takes any: writes are refused everywhere, before they are in the log; reads go on.
    @Test func whereNoDiskTakesSnapshotsWritesAreRefusedAndReadsGoOn() {
        let cluster = self.started()
        let leader = cluster.leaders()[0]
        cluster.failsSnapshots = [1, 2, 3]
        #expect(self.write(200, to: leader % 3 + 1, cluster) > 100)
        #expect(cluster.replies[7]!.allSatisfy { $0 == "+OK\r\n" || $0 == "refused: logFull" }, "no outcome is open")
        #expect(self.isBounded(cluster))
        for node: UInt32 in 1...3 {
            #expect(self.write(1, to: node, cluster) == 1)
            cluster.submit(node, get: "key", client: 8)
            cluster.run(.milliseconds(300))
            #expect(cluster.replies[8]!.last!.hasPrefix("$4096"))
        }
        // Nothing piles up meanwhile.
        cluster.run(.seconds(600))
        #expect(self.isBounded(cluster))
        cluster.failsSnapshots = []
        #expect(
            cluster.run(.seconds(130)) {
                (1...3).allSatisfy { cluster.cores[$0]!.inspect(.default)!.logBytes < Self.limit / 2 }
            })
        cluster.run(.seconds(2))
        for node: UInt32 in 1...3 { #expect(self.write(5, to: node, cluster) == 0) }
    }

    /// Followers that are full have no room for a checkpoint, and the leader has nothing else to bring them further.
    @Test func fullFollowersHelpThemselves() {
        let cluster = self.started()
        cluster.failsSnapshots = [1, 2, 3]
        let value = String(repeating: "x", count: 4096)
        // Faster than the gateways can know.
        for _ in 0..<3 {
            for _ in 0..<40 { cluster.submit(cluster.leaders()[0], set: "key", value, client: 7) }
            cluster.run(.milliseconds(10))
        }
        cluster.run(.seconds(4))
        #expect(self.isBounded(cluster, entry: 200 << 10))
        #expect((1...3).allSatisfy { cluster.cores[$0]!.inspect(.default)!.logBytes >= Self.limit })
        let followers = (1...3).filter { !cluster.leaders().contains($0) }
        cluster.failsSnapshots = Set(cluster.leaders())
        #expect(
            cluster.run(.seconds(130)) {
                followers.allSatisfy { cluster.cores[$0]!.inspect(.default)!.logBytes < Self.limit / 2 }
            })
        #expect(cluster.run(.seconds(70)) { self.write(1, to: followers[0], cluster) == 0 })
    }

    /// What nobody confirms counts when the log needs the room.
    @Test func aLogWithoutRoomWaitsForNoWord() {
        let cluster = self.started()
        cluster.onTheWay = { if case .stateDigest = $1 { nil } else { $1 } }
        let leader = cluster.leaders()[0]
        let refused = self.write(300, to: leader, cluster)
        #expect(refused < 200 && self.isBounded(cluster))
        cluster.run(.seconds(10))
        #expect(self.write(5, to: leader, cluster) == 0)
    }

    /// Random clusters whose snapshots fail.
    @Test func randomClustersKeepWithinTheLimit() throws {
        var closed = 0
        for seed in UInt64(0)..<60 {
            var options = SimulationOptions(seed: seed)
            options.faults = .fullLogs
            options.workload = .writes
            options.nodes = seed % 6 == 0 ? 5 : 3
            closed += try World.run(options).logsClosed
        }
        #expect(closed > 60, "\(closed)")
    }
}
