import Replication
import Testing

/// Where stories of logs with holes begin.
extension Cluster {
    /// 1 leads three; entries 1 to 6 are everywhere and committed.
    static func settled(_ voters: [UInt32] = [1, 2, 3]) -> Cluster {
        let cluster = Cluster(voters: voters)
        cluster.elect(1)
        for value: UInt8 in 1...5 { cluster.propose(1, value) }
        cluster.settle()
        return cluster
    }

    /// A leader that nobody hears any more appends one entry, which its disk has. Then all are killed.
    static func withAnUnsentEntry(_ voters: [UInt32] = [1, 2, 3]) -> Cluster {
        let cluster = Self.settled(voters)
        cluster.propose(1, 99)
        cluster.drop()
        cluster.persist(1)
        for number in voters { cluster.crash(number) }
        return cluster
    }

    /// Stands at once, though it would let others stand first.
    func insist(_ number: UInt32) {
        self.settle()
        self.stand(number)
        self.settle()
    }

    func stand(_ number: UInt32) {
        self.`repeat`(until: { self[number].replica.role != .follower }) { self.timeOut(number) }
    }
}
