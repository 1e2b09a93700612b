import Replication
import Testing

/// Logs at their limit in memory.
@Suite struct LogLimitTests {
    /// Entries of 1,000 bytes each count 1,256.
    private static let limit = 20 * 1256

    private func cluster() -> Cluster {
        let cluster = Cluster { $0.maxLogBytes = Self.limit }
        cluster.elect(1)
        return cluster
    }

    private func propose(_ count: Int, to cluster: Cluster) -> [ProposeResult] {
        (0..<count).map { _ in
            let result = cluster.propose(1, 7, count: 1000)
            cluster.settle()
            return result
        }
    }

    @Test func aLeaderAtItsLimitTakesWhatBringsASnapshotAlone() {
        let cluster = self.cluster()
        let results = self.propose(60, to: cluster)
        #expect(results.count { $0 == .full } == 60 - 20, "the first entry of the term is small")
        #expect(cluster[1].replica.log.memoryBytes < Self.limit + 1256)
        #expect(cluster[1].replica.commitIndex == 21, "nothing that was taken is lost")
        let checkpoint = cluster.input(1) {
            $0.propose(.checkpoint, payload: [], wall: WallTime(nanoseconds: 1), now: $1, into: &$2)
        }
        #expect(checkpoint == .accepted(22))
        #expect(cluster.change(1, voters: [1, 2, 3]) != .full)
        let time = cluster.input(1) {
            $0.propose(.time, payload: [], wall: WallTime(nanoseconds: 1), now: $1, into: &$2)
        }
        #expect(time == .full)
        cluster.checkpoint(1)
        #expect(cluster.propose(1) == .accepted(cluster[1].replica.lastIndex))
    }

    /// 3 takes no snapshots; the others do.
    @Test func aFollowerAtItsLimitIsLeftBehindAndComesBack() {
        let cluster = self.cluster()
        for _ in 0..<6 {
            _ = self.propose(10, to: cluster)
            cluster.run(.milliseconds(1100))
            cluster.checkpoint(1)
            cluster.checkpoint(2)
        }
        #expect(cluster[1].replica.commitIndex == 61)
        let last = cluster[3].replica.lastIndex
        #expect(cluster[3].replica.log.memoryBytes < Self.limit + 1256 && last == 21)
        #expect(cluster[3].replica.commitIndex == last, "it learns that all it has is committed")
        #expect(cluster[3].replica.leader == member(1), "and goes on following")
        cluster.checkpoint(3)
        cluster.run(.seconds(2))
        #expect(cluster[3].replica.lastIndex == last, "the leader's log begins after it")
        #expect(cluster[1].snapshotsNeeded == [member(3)])
        cluster.install(cluster[1].disk.snapshot!, at: 3, from: 1)
        cluster.settle()
        #expect(cluster[3].replica.lastIndex == cluster[1].replica.lastIndex)
    }

    /// It has no room, and is asked for nothing that needs any.
    @Test func aFollowerAtItsLimitDoesNotHaveItsLeaderSendInVain() {
        let cluster = self.cluster()
        _ = self.propose(20, to: cluster)
        cluster.checkpoint(1)
        cluster.checkpoint(2)
        _ = self.propose(15, to: cluster)
        cluster.run(.seconds(2))
        var bytes = 0
        for _ in 0..<300 {
            cluster.advance(.milliseconds(10))
            for message in cluster.take() {
                if message.to == member(3), case .append(let append) = message.body {
                    bytes += append.entries.reduce(0) { $0 + $1.payload.count }
                }
                cluster.receive(message)
            }
            cluster.persistAll()
        }
        #expect(bytes == 0)
        #expect(cluster[3].replica.lastIndex == 21)
    }

    /// The steps of decision 16: all are full. Whoever takes a snapshot of what it has applied has room again.
    @Test func snapshotsOfWhatIsAppliedBringAllBack() {
        let cluster = self.cluster()
        _ = self.propose(40, to: cluster)
        #expect((1...3).allSatisfy { cluster[$0].replica.isLogFull })
        cluster.crash(1)
        cluster.suspect(1, by: 2, 3)
        cluster.run(.seconds(3))
        let leader = cluster.leaders[0]
        let before = cluster[leader].replica.commitIndex
        #expect(!cluster[leader].hasCommittedInTerm, "the other has no room for the first entry of its term")
        for number: UInt32 in [2, 3] { cluster.checkpoint(number) }
        cluster.run(.seconds(3))
        #expect(cluster[leader].hasCommittedInTerm && cluster[leader].replica.commitIndex > before)
        #expect(cluster.propose(leader) == .accepted(cluster[leader].replica.lastIndex))
    }

    /// 1. 3 has all of its leader's entries, and its acknowledgement is lost with the connection.
    /// 2. It is full. What it has it acknowledges all the same when it is sent again.
    @Test func whatIsThereIsAcknowledgedWithoutRoom() {
        let cluster = self.cluster()
        cluster.crash(2)
        _ = self.propose(15, to: cluster)
        for _ in 0..<5 { cluster.propose(1, 7, count: 1000) }
        cluster.deliver(to: 3)
        cluster.persist(3)
        cluster.drop(from: 3)
        #expect(cluster[3].replica.isLogFull && cluster[3].replica.lastIndex == 21)
        cluster.persist(1)
        #expect(cluster[1].replica.commitIndex < 21)
        cluster.run(.seconds(3))
        #expect(cluster[1].replica.commitIndex == 21)
    }

    /// An append is taken as far as there is room, and what was taken is acknowledged.
    @Test func anAppendIsTakenInPart() {
        let cluster = self.cluster()
        cluster.crash(3)
        _ = self.propose(19, to: cluster)
        cluster.checkpoint(1)
        cluster.checkpoint(2)
        _ = self.propose(15, to: cluster)
        cluster.restart(3)
        cluster.settle()
        cluster.install(cluster[1].disk.snapshot!, at: 3, from: 1)
        cluster.settle()
        #expect(cluster[3].replica.lastIndex == cluster[1].replica.lastIndex)
        cluster.checkpoint(1)
        cluster.checkpoint(2)
        cluster.cuts = [(1, 3)]
        _ = self.propose(15, to: cluster)
        cluster.cuts = []
        cluster.reconnect(1, 3)
        cluster.run(.seconds(3))
        #expect(cluster[3].replica.log.memoryBytes < Self.limit + 1256)
        #expect(cluster[1].replica.matchIndex(of: member(3)) == cluster[3].replica.lastIndex)
        #expect(cluster[3].replica.lastIndex > 35 && cluster[3].replica.lastIndex < 50)
    }
}
