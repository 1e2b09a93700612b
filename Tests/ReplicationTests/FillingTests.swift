import Replication
import Testing

/// Logs of which long stretches are missing.
@Suite struct FillingTests {
    /// 1 leads three; 2,600 entries are everywhere and committed. Then all are killed.
    private func stopped() -> Cluster {
        let cluster = Cluster()
        cluster.elect(1)
        while cluster[1].replica.lastIndex < 2600 { cluster.propose(1) }
        cluster.settle()
        for number: UInt32 in 1...3 { cluster.crash(number) }
        return cluster
    }

    private func rot(_ cluster: Cluster, _ number: UInt32, _ indexes: ClosedRange<LogIndex>, isHeaderKnown: Bool = true)
    {
        for index in indexes { cluster[number].disk.rot(index, isHeaderKnown: isHeaderKnown) }
    }

    @Test(arguments: [true, false]) func moreThanFitIntoOneMessageComeOneStretchAfterTheOther(_ isHeaderKnown: Bool) {
        let cluster = self.stopped()
        self.rot(cluster, 2, 2...2500, isHeaderKnown: isHeaderKnown)
        cluster.restart(2)
        cluster.restart(3)
        cluster.settle()
        #expect(cluster[2].isWhole && cluster[2].filled.count == 2499)
        #expect(cluster[2].replica.log.lastHash == cluster[3].replica.log.lastHash)
    }

    /// What nobody has does not stand in the way of what somebody has.
    @Test func whereTheLowestAreNowhereTheOthersAreFound() {
        let cluster = self.stopped()
        self.rot(cluster, 1, 2...1500)
        self.rot(cluster, 2, 2...2500)
        self.rot(cluster, 3, 2...1500)
        for number: UInt32 in 1...3 { cluster.restart(number) }
        cluster.settle()
        #expect(cluster[2].replica.log.holeSpan == HoleSpan(first: 2, last: 1500, count: 1499))
        #expect(!cluster[2].isFillingFruitless)
        cluster.run(.seconds(3))
        for number: UInt32 in 1...3 {
            #expect(cluster[number].isFillingFruitless)
            #expect(cluster[number].disk.holes.count == 1499 && cluster[number].discarded.isEmpty)
        }
    }

    /// A round goes through all stretches, then there is a pause.
    @Test func aRoundAsksForEachHoleOnce() {
        let cluster = self.stopped()
        self.rot(cluster, 2, 2...2500)
        self.rot(cluster, 3, 2...2500)
        cluster.restart(2)
        cluster.restart(3)
        var asked: [LogIndex] = []
        while let message = cluster.take({ $0.from == member(2) && !$0.wanted.isEmpty }).first {
            #expect(message.wanted.count <= Message.maxWantedEntries)
            asked += message.wanted.map(\.index)
            cluster.receive(message)
            for answer in cluster.take({ $0.from == member(3) && !$0.answers.isEmpty }) { cluster.receive(answer) }
        }
        let isEachOnce = asked == Array(2...2500)
        #expect(isEachOnce, "\(asked.count)")
    }

    @Test func aSpanIsToldInWords() {
        #expect("\(HoleSpan(first: 7, last: 7, count: 1))" == "7")
        #expect("\(HoleSpan(first: 7, last: 9, count: 3))" == "7 to 9")
        #expect("\(HoleSpan(first: 7, last: 12, count: 3))" == "3 of 7 to 12")
    }

    /// Were each found or taken in time that grows with their number it would take minutes.
    @Test func manyHolesAreFilled() {
        let count: LogIndex = 100_000
        var entries: [Entry] = []
        for index in 1...count {
            entries.append(
                Entry(
                    group: testGroup, index: index, term: 1, time: WallTime(nanoseconds: 1), kind: .commands,
                    payload: [], previousHash: entries.last?.hash ?? .zero, key: testKey))
        }
        var log = Log(base: nil, entries: [], holes: entries.map { Hole(index: $0.index, term: 1, hash: $0.hash) })
        for entry in entries { log.fill(entry) }
        #expect(log.isWhole && log.lastHash == entries.last?.hash)
    }
}
