import Formats
import NodeCore
import Replication
import Testing

/// When a checkpoint is due.
@Suite struct CheckpointTests {
    private func started(interval: Nanoseconds = .seconds(1_000_000)) -> CoreCluster {
        let cluster = CoreCluster(3)
        cluster.checkpointInterval = interval
        cluster.start(1, 2, 3)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) && cluster.leaders().count == 1 })
        return cluster
    }

    private func write(_ count: Int, to cluster: CoreCluster) {
        let leader = cluster.leaders()[0]
        for number in 0..<count {
            cluster.submit(leader, set: "key", "\(number)", client: 7)
            cluster.run(.milliseconds(20))
        }
    }

    private func checkpoints(_ cluster: CoreCluster, on node: UInt32) -> Int {
        cluster.events.reduce(0) { count, event in
            if case .checkpointBegun(.default, _) = event.event, event.node == node { return count + 1 }
            return count
        }
    }

    /// A small batch takes several times its bytes in the journal.
    @Test func theJournalsBytesBringOneNotTheEntriesAlone() {
        let cluster = self.started()
        let leader = cluster.leaders()[0]
        self.write(20, to: cluster)
        #expect(self.checkpoints(cluster, on: leader) == 0, "twenty small entries")
        cluster.batchBytes[leader] = 4 << 20
        self.write(20, to: cluster)
        #expect(self.checkpoints(cluster, on: leader) == 1)
    }

    /// A group without news keeps the segments that hold its last entries.
    @Test func aQuietGroupFollowsTheBusyOne() {
        let cluster = self.started()
        let leader = cluster.leaders()[0]
        for node in cluster.leaders(.system) { cluster.batchBytes[node] = 4 << 20 }
        cluster.batchBytes[leader] = 4 << 20
        self.write(40, to: cluster)
        let isSystemDone = cluster.events.contains {
            if case .checkpointBegun(.system, _) = $0.event { true } else { false }
        }
        #expect(isSystemDone)
    }

    /// One that counts is wanted while the last waits for the others' word, which does not come.
    @Test func aWantedOneWaitsForNoWord() {
        let cluster = self.started()
        let leader = cluster.leaders()[0]
        let follower: UInt32 = leader == 1 ? 2 : 1
        self.write(5, to: cluster)
        cluster.onTheWay = { if case .stateDigest = $1 { nil } else { $1 } }
        for block in 1...2 {
            cluster.find(
                .journal(
                    RottenSegment(
                        file: 1, generation: 1, extent: [],
                        places: [JournalRot(block: block, sequence: 9, ranges: [], text: "bad")])), on: follower)
            cluster.run(.seconds(1))
            #expect(self.checkpoints(cluster, on: leader) == 1, "block \(block)")
        }
        let version = cluster.cores[leader]!.namedSnapshotsVersion
        cluster.run(.seconds(6))
        #expect(self.checkpoints(cluster, on: leader) == 2)
        #expect(cluster.cores[leader]!.namedSnapshotsVersion == version)
        cluster.onTheWay = { $1 }
        cluster.find(
            .journal(
                RottenSegment(
                    file: 1, generation: 1, extent: [],
                    places: [JournalRot(block: 3, sequence: 9, ranges: [], text: "bad")])), on: follower)
        cluster.run(.seconds(100))
        #expect(self.checkpoints(cluster, on: leader) == 3)
        #expect(cluster.cores[leader]!.namedSnapshotsVersion > version)
    }

    /// Its disk takes the log in more batches than the leader's.
    @Test func aFollowerWhoseJournalIsLongAsks() {
        let cluster = self.started()
        let leader = cluster.leaders()[0]
        let follower: UInt32 = leader == 1 ? 2 : 1
        cluster.batchBytes[follower] = 4 << 20
        self.write(24, to: cluster)
        #expect(self.checkpoints(cluster, on: leader) == 0, "not yet twice what is due")
        self.write(24, to: cluster)
        #expect(self.checkpoints(cluster, on: leader) == 1, "once")
        #expect(self.checkpoints(cluster, on: follower) == 1)
    }

    /// A follower's disk does not take a snapshot, and nothing is written any more.
    @Test func aFollowersFailedSnapshotIsTriedAgain() {
        let cluster = self.started(interval: .seconds(60))
        let leader = cluster.leaders()[0]
        self.triesAgain(cluster, leader % 3 + 1)
    }

    @Test func aLeadersFailedSnapshotIsTriedAgain() {
        let cluster = self.started(interval: .seconds(60))
        self.triesAgain(cluster, cluster.leaders()[0])
    }

    private func triesAgain(_ cluster: CoreCluster, _ sick: UInt32) {
        let leader = cluster.leaders()[0]
        cluster.failsSnapshots = [sick]
        self.write(5, to: cluster)
        #expect(cluster.run(.seconds(70)) { self.checkpoints(cluster, on: sick) == 1 })
        #expect(cluster.run(.seconds(3)) { self.checkpoints(cluster, on: sick) == 2 }, "soon the first time")
        cluster.run(.seconds(1000))
        let tried = self.checkpoints(cluster, on: leader)
        #expect((16...24).contains(tried), "more and more seldom, and once a minute at last: \(tried)")
        #expect(cluster.disks[sick]!.groups[.default]?.snapshot == nil)
        cluster.failsSnapshots = []
        #expect(cluster.run(.seconds(61)) { cluster.disks[sick]!.groups[.default]?.snapshot != nil })
        let done = self.checkpoints(cluster, on: leader)
        cluster.run(.seconds(1000))
        #expect(self.checkpoints(cluster, on: leader) == done, "nothing is new")
    }

    /// As long as the disk is known to be sick an attempt is no use, and costs the others' disks one.
    @Test func aDiskThatIsKnownToBeSickTakesNoFurtherAttempt() {
        let cluster = self.started(interval: .seconds(60))
        let leader = cluster.leaders()[0]
        let sick = leader % 3 + 1
        cluster.failsSnapshots = [sick]
        self.write(5, to: cluster)
        #expect(cluster.run(.seconds(70)) { self.checkpoints(cluster, on: sick) == 1 })
        cluster.cores[sick]!.journalFailed(.full, canPromise: true)
        cluster.run(.seconds(600))
        #expect(self.checkpoints(cluster, on: leader) == 1)
        cluster.failsSnapshots = []
        cluster.cores[sick]!.journalRecovered()
        #expect(cluster.run(.seconds(61)) { cluster.disks[sick]!.groups[.default]?.snapshot != nil })
    }

    /// Bad files alone, and a peer that has nothing: leader and peer do not ask each other in a circle.
    @Test func aSnapshotThatCannotBeSentIsTriedOnceASecond() throws {
        let cluster = self.started()
        let leader = cluster.leaders()[0]
        let wiped: UInt32 = leader == 1 ? 2 : 1
        cluster.stop(wiped)
        // What is near the checkpoint is sent from the log.
        cluster.submit(leader, set: "large", String(repeating: "x", count: 5 << 20), client: 7)
        for node: UInt32 in 1...3 { cluster.batchBytes[node] = 4 << 20 }
        self.write(20, to: cluster)
        cluster.run(.seconds(5))
        cluster.wipe(wiped)
        for node: UInt32 in 1...3 where node != wiped {
            let mark = try #require(cluster.disks[node]!.groups[.default]?.snapshot)
            cluster.failsSnapshots.insert(node)
            let core = cluster.cores[node]!
            core.begin(now: cluster.now, wall: WallTime(nanoseconds: cluster.now.nanoseconds))
            core.snapshotRotten(.default, index: mark.index, reason: "bad")
        }
        var answers = 0
        cluster.onTheWay = {
            guard $0 == wiped, case .replica(let message) = $1, case .appendReply = message.body else { return $1 }
            answers += 1
            return answers < 5000 ? $1 : nil
        }
        cluster.start(wiped)
        cluster.run(.seconds(5))
        #expect(!cluster.isReady(wiped))
        #expect(answers < 500, "in five seconds")
        cluster.failsSnapshots = []
        #expect(cluster.run(.seconds(90)) { cluster.isReady(wiped) })
    }
}
