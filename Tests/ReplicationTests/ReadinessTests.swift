import Replication
import Testing

/// Leadership is handed to those who can do something with it.
@Suite struct ReadinessTests {
    private func sicken(_ cluster: Cluster, _ number: UInt32) {
        cluster.sickDisks.append(number)
        cluster.input(number) { $0.fit(.follows, now: $1, into: &$2) }
    }

    private func doubt(_ cluster: Cluster, _ number: UInt32, _ isReluctant: Bool = true) {
        cluster.input(number) { replica, _, _ in replica.isReluctant = isReluctant }
    }

    /// 1 leads, 3 has its whole log, and then something happens; 2 lacks an entry, and is just connected again.
    private func lagging(_ happens: (Cluster) -> Void) -> Cluster {
        let cluster = Cluster()
        cluster.elect(1)
        for (a, b) in [(1, 2), (2, 1)] as [(UInt32, UInt32)] {
            cluster.input(a) { $0.disconnected(NodeID(b), now: $1, into: &$2) }
        }
        cluster.propose(1)
        cluster.settle()
        happens(cluster)
        cluster.settle()
        for (a, b) in [(1, 2), (2, 1)] as [(UInt32, UInt32)] {
            cluster.input(a) { $0.connected(member(b), now: $1, into: &$2) }
        }
        #expect(cluster[1].replica.matchIndex(of: member(3)) == 2)
        #expect(cluster[1].replica.matchIndex(of: member(2)) == 1)
        return cluster
    }

    @Test func theWellOneIsPreferredToTheOneWithTheLongerLogWhoseStateIsInDoubt() {
        let cluster = self.lagging { self.doubt($0, 3) }
        self.sicken(cluster, 1)
        #expect(cluster.transfer(1, to: nil))
        cluster.settle()
        #expect(cluster.leaders == [2])
        #expect(cluster[3].replica.term == 2, "at the first attempt")
    }

    @Test func theWellOneIsPreferredToTheOneWithTheLongerLogWhoseDiskIsSick() {
        let cluster = self.lagging { self.sicken($0, 3) }
        self.doubt(cluster, 1)
        #expect(cluster.transfer(1, to: nil))
        cluster.settle()
        #expect(cluster.leaders == [2])
    }

    /// What a replica said counts in the term and over the connection in which it said so: it says it again.
    @Test func aNewLeaderHearsItToo() {
        let cluster = Cluster()
        cluster.elect(1)
        self.doubt(cluster, 3)
        cluster.settle()
        #expect(cluster.transfer(1, to: 2))
        cluster.settle()
        #expect(cluster.leaders == [2])
        #expect(cluster.transfer(2, to: nil))
        cluster.settle()
        #expect(cluster.leaders == [1], "not 3, which comes first among equals")
        for (a, b) in [(1, 3), (3, 1)] as [(UInt32, UInt32)] {
            cluster.input(a) { $0.disconnected(NodeID(b), now: $1, into: &$2) }
        }
        for (a, b) in [(1, 3), (3, 1)] as [(UInt32, UInt32)] {
            cluster.input(a) { $0.connected(member(b), now: $1, into: &$2) }
        }
        cluster.settle()
        #expect(cluster.transfer(1, to: nil))
        cluster.settle()
        #expect(cluster.leaders == [2])
        self.doubt(cluster, 3, false)
        cluster.settle()
        #expect(cluster.transfer(2, to: nil))
        cluster.settle()
        #expect(cluster.leaders == [3], "it is well again")
    }

    /// All are in doubt: whoever leads goes on, and takes writes. One that stops hands over all the same.
    @Test func withoutAnybodyWhoWouldDoBetterTheLeaderLeadsOn() {
        let cluster = Cluster()
        cluster.elect(1)
        for number: UInt32 in 1...3 { self.doubt(cluster, number) }
        cluster.settle()
        #expect(!cluster.transfer(1, to: nil))
        #expect(cluster.propose(1) == .accepted(2))
        cluster.settle()
        #expect(cluster[1].replica.commitIndex == 2)
        self.sicken(cluster, 3)
        cluster.settle()
        #expect(cluster.input(1) { $0.transfer(to: nil, leavesAnyway: true, now: $1, into: &$2) })
        cluster.settle()
        #expect(cluster.leaders == [2], "3 cannot")
    }

    /// A sick leader takes no writes: one that has lost its state, and has a disk, does better; two sick ones do not.
    @Test func aSickLeaderHandsToOneInDoubtAndToNoSickOne() {
        let cluster = Cluster()
        cluster.elect(1)
        for number: UInt32 in 1...3 { cluster.input(number) { $0.fit(.votes, now: $1, into: &$2) } }
        cluster.settle()
        #expect(!cluster.transfer(1, to: nil))
        self.doubt(cluster, 2)
        cluster.input(2) { $0.fit(.fit, now: $1, into: &$2) }
        cluster.settle()
        #expect(cluster.transfer(1, to: nil))
        cluster.settle()
        #expect(cluster.leaders == [2])
    }

    /// The one that was to take over falls sick meanwhile: proposals are taken again, without waiting for the time to be up.
    @Test func aHandOverToOneThatFallsSickIsGivenUp() {
        let cluster = Cluster()
        cluster.elect(1)
        cluster.sickDisks = [3]
        cluster.propose(1)
        cluster.settle()
        #expect(cluster.transfer(1, to: 3))
        cluster.settle()
        #expect(cluster[1].isTransferring)
        self.sicken(cluster, 3)
        cluster.settle()
        #expect(!cluster[1].isTransferring)
        #expect(cluster.propose(1) == .accepted(3))
    }
}
