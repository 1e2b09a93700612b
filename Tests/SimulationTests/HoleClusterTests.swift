import Catalog
import Formats
import NodeCore
import Replication
import Simulation
import Testing

/// Nodes that restart without some of their journal, as stories.
@Suite struct HoleClusterTests {
    /// All are up, and `client` has written keys k0 to k9 through node 1.
    private func written(_ count: UInt32 = 3) -> CoreCluster {
        let cluster = CoreCluster(count)
        for node in 1...count { cluster.start(node) }
        #expect(cluster.run(.seconds(10)) { cluster.isReady(1, 2, 3) && cluster.leaders().count == 1 })
        self.write(cluster, 1, 0..<10)
        #expect(
            cluster.run(.seconds(2)) { (1...count).allSatisfy { cluster.cores[$0]!.inspect(.default)!.applied > 10 } })
        return cluster
    }

    private func write(_ cluster: CoreCluster, _ node: UInt32, _ keys: Range<Int>) {
        for key in keys {
            cluster.submit(node, set: "k\(key)", "v\(key)", client: 1)
            let before = cluster.replies[1]?.count ?? 0
            #expect(cluster.run(.seconds(5)) { (cluster.replies[1]?.count ?? 0) > before }, "k\(key)")
        }
        #expect(cluster.replies[1]!.allSatisfy { $0 == "+OK\r\n" })
    }

    /// Entries that hold clients' commands, by index.
    private func commands(_ cluster: CoreCluster, _ node: UInt32) -> [LogIndex] {
        cluster.disks[node]!.groups[.default]!.entries.filter { $0.kind == .commands }.map(\.index)
    }

    private func isRead(_ cluster: CoreCluster, _ node: UInt32, _ keys: Range<Int>) -> Bool {
        let client = 100 + ClientID(cluster.now.nanoseconds)
        for key in keys { cluster.submit(node, get: "k\(key)", client: client) }
        let expected = keys.map { "$\("v\($0)".utf8.count)\r\nv\($0)\r\n" }
        return cluster.run(.seconds(5)) { cluster.replies[client] == expected }
    }

    private func isRecovering(_ cluster: CoreCluster, _ node: UInt32) -> Bool {
        cluster.cores[node]!.groupStatus.contains { $0.id == .default && $0.isRecovering }
    }

    private func has(_ cluster: CoreCluster, _ node: UInt32, _ isWanted: (NodeEvent) -> Bool) -> Bool {
        cluster.events.contains { $0.node == node && isWanted($0.event) }
    }

    @Test func aNodeFetchesWhatItsJournalLostAndBooksIt() throws {
        let cluster = self.written()
        cluster.stop(3)
        for index in self.commands(cluster, 3)[2...4] { cluster.rot(3, index) }
        cluster.start(3)
        #expect(self.isRecovering(cluster, 3))
        #expect(cluster.run(.seconds(10)) { cluster.isReady(1, 2, 3) })
        #expect(
            self.has(cluster, 3) { if case .holesFound(.default, let holes) = $0 { holes.count == 3 } else { false } })
        #expect(self.has(cluster, 3) { if case .logWhole(.default) = $0 { true } else { false } })
        #expect(cluster.disks[3]!.groups[.default]!.holes.isEmpty)
        #expect(self.isRead(cluster, 3, 0..<10))
        let json = { String(decoding: cluster.cores[1]!.incidentsJSON(), as: UTF8.self) }
        #expect(
            cluster.run(.seconds(10)) {
                json().contains("\"rot\"") && json().contains("log of default: 3 entries fetched")
            })
        #expect(
            cluster.run(.seconds(10)) { !json().contains("\"open\"") && !json().contains("\"repaired\",") }, "\(json())"
        )
    }

    @Test func noNodeHasAWholeLogAndAllOfItIsThere() {
        let cluster = self.written()
        cluster.stop(1, 2, 3)
        let indexes = self.commands(cluster, 1)
        for (at, index) in indexes.enumerated() { cluster.rot(UInt32(at % 3) + 1, index) }
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(10)) { cluster.isReady(1, 2, 3) })
        for node: UInt32 in 1...3 {
            #expect(cluster.disks[node]!.groups[.default]!.holes.isEmpty)
            #expect(self.isRead(cluster, node, 0..<10))
        }
        self.write(cluster, 2, 10..<12)
    }

    /// 1. 1 and 2 have a write; 3 does not. 1 is gone, and 2's copy has rotted.
    /// 2. 2 and 3 are a majority; 2 leads, and serves nothing: it cannot know that the write was not acknowledged.
    /// 3. 1 is back, and with it the write.
    @Test func whatOnlyAnAbsentNodeHasIsWaitedFor() throws {
        let cluster = self.written()
        let leader = cluster.leaders()[0]
        let (second, third): (UInt32, UInt32) = leader == 1 ? (2, 3) : leader == 2 ? (1, 3) : (1, 2)
        cluster.reach = [[leader, second]]
        #expect(cluster.run(.seconds(1)) { false } == false)
        self.write(cluster, leader, 10..<11)
        cluster.stop(leader, second)
        cluster.rot(second, self.commands(cluster, second).last!)
        cluster.reach = [[1, 2, 3]]
        cluster.start(second)
        #expect(cluster.run(.seconds(20)) { cluster.leaders() == [second] })
        #expect(
            cluster.run(.seconds(20)) {
                self.has(cluster, second) {
                    if case .holesUnrecoverable(.default, let holes) = $0 { holes.count == 1 } else { false }
                }
            })
        #expect(!cluster.isReady(second) && self.isRecovering(cluster, second))
        cluster.submit(second, set: "k", "v", client: 7)
        cluster.submit(third, get: "k0", client: 8)
        cluster.run(.seconds(7))
        #expect(cluster.replies[7]?.first?.hasPrefix("-NOQUORUM") ?? false, "\(cluster.replies[7] ?? [])")
        #expect(cluster.replies[8]?.first?.hasPrefix("-NOQUORUM") ?? false, "\(cluster.replies[8] ?? [])")
        // After 10, 20 and 40 s, and an election each.
        cluster.run(.seconds(65))
        #expect(2...3 ~= self.resignations(cluster, second) + self.resignations(cluster, third))
        #expect(cluster.leaders() == [second], "its log is the best that is there")
        cluster.start(leader)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) })
        for node: UInt32 in 1...3 { #expect(self.isRead(cluster, node, 0..<11)) }
    }

    /// How often a node gave up leading its group, and from when on.
    private func resignations(_ cluster: CoreCluster, _ node: UInt32) -> Int {
        cluster.events.count {
            if $0.node == node, case .recoveryGivenUp(.default, _) = $0.event { true } else { false }
        }
    }

    /// See `Replica.resign`. `first` has entry k of term t, alone, and it rots; `second` has a k of term t + 1, alone.
    @Test func whoeverCannotRecoverLetsAnotherLead() throws {
        let cluster = self.written()
        let first = cluster.leaders()[0]
        let others = (1...3).filter { $0 != first }
        let length = cluster.disks[others[0]]!.groups[.default]!.entries.last!.index
        cluster.reach = [[first], Set(others)]
        cluster.submit(first, set: "lost", "x", client: 9)
        #expect(cluster.run(.seconds(20)) { cluster.leaders().contains { others.contains($0) } })
        let second = try #require(cluster.leaders().first { others.contains($0) })
        let third = try #require(others.first { $0 != second })
        cluster.stop(1, 2, 3)
        // Of the new term nothing had come to it.
        cluster.disks[third]!.groups[.default]!.entries.removeAll { $0.index > length }
        let last = self.commands(cluster, first).last!
        #expect(last > length)
        cluster.rot(first, last)
        cluster.reach = [[1, 2, 3]]
        // It votes, and comes to say nothing of what it never had.
        cluster.onTheWay = { node, message in
            if node == third, case .replica(let said) = message, case .entries = said.body { nil } else { message }
        }
        cluster.start(first)
        cluster.start(third)
        #expect(cluster.run(.seconds(20)) { cluster.leaders() == [first] && self.isRecovering(cluster, first) })
        cluster.stop(third)
        cluster.start(second)
        #expect(cluster.run(.seconds(30)) { cluster.isReady(first, second) })
        #expect(self.resignations(cluster, first) == 1)
        #expect(cluster.leaders() == [second])
        self.write(cluster, first, 10..<12)
        cluster.start(third)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) })
        for node: UInt32 in 1...3 { #expect(self.isRead(cluster, node, 0..<12)) }
    }

    /// What an earlier run of a peer acknowledged says nothing of this one: see `Replica.restarted`.
    @Test func aPeerThatComesBackWithLessIsSentTheRest() throws {
        let cluster = self.written()
        let follower: UInt32 = cluster.leaders()[0] == 3 ? 2 : 3
        let last = try #require(cluster.disks[follower]!.groups[.default]!.entries.last?.index)
        cluster.stop(follower)
        cluster.disks[follower]!.groups[.default]!.entries.removeLast(4)
        cluster.start(follower)
        #expect(
            cluster.run(.seconds(10)) {
                cluster.isReady(1, 2, 3) && cluster.cores[follower]!.inspect(.default)!.applied >= last
            })
        #expect(self.isRead(cluster, follower, 0..<10))
    }

    /// What was never on more than one disk, and was never acknowledged, does not stop a cluster.
    @Test func whatNobodyElseEverHadIsDiscarded() throws {
        let cluster = self.written()
        let leader = cluster.leaders()[0]
        let others = (1...3).filter { $0 != leader }
        cluster.reach = [[leader], Set(others)]
        cluster.submit(leader, set: "lost", "x", client: 9)
        cluster.run(.milliseconds(50))
        cluster.stop(1, 2, 3)
        let last = self.commands(cluster, leader).last!
        #expect(last > cluster.disks[others[0]]!.groups[.default]!.entries.last!.index)
        cluster.rot(leader, last)
        cluster.reach = [[1, 2, 3]]
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) })
        #expect(cluster.disks[leader]!.groups[.default]!.holes.isEmpty)
        #expect(self.isRead(cluster, leader, 0..<10))
    }
}
