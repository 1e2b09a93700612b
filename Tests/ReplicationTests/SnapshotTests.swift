import Replication
import Testing

@Suite struct SnapshotTests {
    /// A cluster led by 1 whose log begins after 3's ends.
    private func lagging() -> Cluster {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.crash(3)
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        cluster.settle()
        cluster.checkpoint(1)
        cluster.propose(1, 6)
        cluster.settle()
        cluster.restart(3)
        cluster.settle()
        return cluster
    }

    @Test func aPeerBehindTheLogNeedsASnapshotOnce() {
        let cluster = self.lagging()
        #expect(cluster[1].snapshotsNeeded == [member(3)])
        #expect(cluster[3].replica.lastIndex == 1)
        cluster.propose(1)
        cluster.run(.seconds(3))
        #expect(cluster[1].snapshotsNeeded == [member(3)], "asked for again while it is on its way")
    }

    @Test func anInstalledSnapshotCountsAndTheLogGoesOnAfterIt() {
        let cluster = self.lagging()
        let mark = cluster[1].disk.snapshot!
        #expect(mark.index == 6)
        cluster.install(mark, at: 3, from: 1)
        #expect(cluster[3].replica.commitIndex == 6)
        #expect(cluster[1].replica.matchIndex(of: member(3)) == 0)
        cluster.settle()
        #expect(cluster[3].replica.lastIndex == 7)
        #expect(cluster[3].replica.log.lastHash == cluster[1].replica.log.lastHash)
        #expect(cluster[1].replica.matchIndex(of: member(3)) == 7)
        cluster.crash(3)
        cluster.restart(3)
        #expect(cluster[3].replica.log.firstIndex == 7)
        #expect(cluster[3].replica.commitIndex == 6)
        #expect(cluster[3].replica.membership == Membership(voters: members(1, 2, 3)))
    }

    /// Until the record of a snapshot is durable, nothing that it covers is acknowledged (`Replica.install`).
    @Test func anInstalledSnapshotIsNotAcknowledgedBeforeItIsDurable() {
        let cluster = self.lagging()
        cluster.install(cluster[1].disk.snapshot!, at: 3, from: 1)
        cluster.read(1, ticket: 1)
        cluster.deliver(to: 3)
        #expect(cluster.take { $0.from == member(3) && ($0.matched ?? 0) > 0 }.isEmpty)
        cluster.crash(3)
        cluster.restart(3)
        cluster.settle()
        cluster.install(cluster[1].disk.snapshot!, at: 3, from: 1)
        cluster.settle()
        #expect(cluster[3].replica.log.lastHash == cluster[1].replica.log.lastHash)
    }

    @Test func aFailedSnapshotIsAskedForAnew() {
        let cluster = self.lagging()
        cluster.input(1) { $0.snapshotFailed(to: member(3), now: $1, into: &$2) }
        cluster.settle()
        #expect(cluster[1].snapshotsNeeded == [member(3), member(3)])
        // Of a peer that needs none, nothing follows.
        cluster.input(1) { $0.snapshotFailed(to: member(2), now: $1, into: &$2) }
        #expect(cluster.take().isEmpty)
    }

    @Test func aSnapshotOfALeaderOfTheLogsOwnEntryKeepsTheTail() {
        let cluster = Cluster()
        cluster.elect(1)
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        cluster.deliver(to: 2)
        cluster.persist(2)
        cluster.persist(1)
        cluster.deliver(to: 1)
        #expect(cluster[1].replica.commitIndex == 6)
        #expect(cluster[2].replica.commitIndex == 1)
        let mark = cluster[1].mark(at: 4)
        cluster.install(mark, at: 2, from: 1)
        #expect(cluster[2].replica.commitIndex == 4)
        #expect(cluster[2].replica.log.firstIndex == 5)
        #expect(cluster[2].replica.lastIndex == 6)
        cluster.settle()
        #expect(cluster[2].replica.commitIndex == 6)
    }

    @Test func aSnapshotOfTheCommittedPastOrOfAnEarlierTermIsNotTaken() {
        let cluster = self.lagging()
        let mark = cluster[1].disk.snapshot!
        cluster.install(mark, at: 2, from: 1)
        #expect(cluster[2].replica.commitIndex == 7)
        #expect(cluster[2].replica.lastIndex == 7)
        let ofAnEarlierTerm = cluster.input(3) { $0.acceptSnapshot(from: member(1), term: 0, now: $1, into: &$2) }
        #expect(!ofAnEarlierTerm)
        cluster[3].replica.abstain(true)
        let whileItAbstains = cluster.input(3) { $0.acceptSnapshot(from: member(1), term: 1, now: $1, into: &$2) }
        #expect(!whileItAbstains)
    }

    /// A later membership may yet be replaced: a snapshot names the one in force at its own index.
    @Test func aMarkNamesTheMembersAtItsIndex() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.propose(1)
        cluster.settle()
        cluster.change(1, voters: [1, 2, 3, 4])
        #expect(cluster[1].replica.membership.voters == members(1, 2, 3, 4))
        #expect(cluster[1].replica.membership(at: 2).voters == members(1, 2, 3))
        #expect(cluster[1].replica.membership(at: 3).voters == members(1, 2, 3, 4))
        #expect(cluster[1].replica.membership(at: 3).outgoing == members(1, 2, 3))
        cluster.settle()
        cluster.checkpoint(1)
        #expect(cluster[1].disk.snapshot?.membership == Membership(voters: members(1, 2, 3, 4)))
    }

    @Test func compactionKeepsWhatTheMarkDoesNotCoverAndTheMembers() {
        let cluster = Cluster(others: [4])
        cluster.elect(1)
        cluster.change(1, voters: [1, 2, 3], learners: [4])
        cluster.settle()
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        cluster.settle()
        let mark = cluster[1].mark(at: 6)
        cluster[1].replica.compact(through: 4, mark: mark)
        #expect(cluster[1].replica.log.firstIndex == 5)
        #expect(cluster[1].replica.membership == Membership(voters: members(1, 2, 3), learners: members(4)))
        cluster[1].replica.compact(through: 3, mark: mark)
        #expect(cluster[1].replica.log.firstIndex == 5)
        cluster.propose(1)
        cluster.settle()
        #expect(cluster[4].replica.commitIndex == 8)
    }
}
