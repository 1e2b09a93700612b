import Formats
import NodeCore
import Replication
import Testing

/// States that are not what the others' are: found at a checkpoint, and what comes of it.
@Suite struct DivergenceTests {
    /// Three nodes with a few writes; who leads may differ from seed to seed.
    private func cluster(_ count: UInt32 = 3) -> CoreCluster {
        let cluster = CoreCluster(count)
        cluster.checkpointInterval = .seconds(1)
        for node in 1...count { cluster.start(node) }
        #expect(cluster.run(.seconds(10)) { cluster.isReady(1) && cluster.leaders().count == 1 })
        self.write(cluster, 1)
        return cluster
    }

    private func write(_ cluster: CoreCluster, _ node: UInt32, key: String = "a", bytes: Int = 0) {
        let client = ClientID(cluster.now.nanoseconds)
        cluster.submit(node, set: key, "\(client)" + String(repeating: "x", count: bytes), client: client)
        #expect(cluster.run(.seconds(10)) { cluster.replies[client] != nil })
        #expect(cluster.replies[client] == ["+OK\r\n"])
    }

    private func count(_ cluster: CoreCluster, _ node: UInt32, _ isIt: (NodeEvent) -> Bool) -> Int {
        cluster.events.reduce(0) { $0 + ($1.node == node && isIt($1.event) ? 1 : 0) }
    }

    private func found(_ cluster: CoreCluster, _ node: UInt32) -> Int {
        self.count(cluster, node) { if case .stateDiverged = $0 { true } else { false } }
    }

    private func ended(_ cluster: CoreCluster, _ node: UInt32) -> Int {
        self.count(cluster, node) { if case .divergenceEnded = $0 { true } else { false } }
    }

    private func checkpoints(_ cluster: CoreCluster, _ node: UInt32) -> Int {
        self.count(cluster, node) { if case .checkpointDone(.default, _) = $0 { true } else { false } }
    }

    /// Before and after the first snapshot: the log is applied again from its beginning, or from the snapshot on.
    @Test(arguments: [false, true]) func theOddOneMakesItsStateAnew(hasSnapshot: Bool) throws {
        let cluster = self.cluster()
        if hasSnapshot {
            #expect(cluster.run(.seconds(5)) { (1...3).allSatisfy { self.checkpoints(cluster, $0) > 0 } })
        }
        let leader = try #require(cluster.leaders().first)
        let odd: UInt32 = leader == 3 ? 2 : 3
        let before = self.checkpoints(cluster, odd)
        cluster.misapply(odd, set: "b", "nobody wrote this")
        self.write(cluster, 1)
        #expect(cluster.value(odd, "b") != cluster.value(1, "b"))
        #expect(cluster.run(.seconds(10)) { self.ended(cluster, odd) == 1 })
        #expect(cluster.value(odd, "b") == "_\r\n")
        #expect(cluster.run(.seconds(5)) { cluster.isReady(1, 2, 3) && self.checkpoints(cluster, odd) > before })
        #expect(cluster.disks[odd]!.setAside.count == 1, "the wrong one is kept")
        for node: UInt32 in 1...3 {
            #expect(self.found(cluster, node) == (node == odd ? 1 : 0))
            #expect(cluster.cores[node]!.stateDigest(.default) == cluster.cores[1]!.stateDigest(.default))
        }
        #expect(cluster.leaders() == [leader])
    }

    @Test func anOddLeaderHandsOverAndServesNothingMeanwhile() throws {
        let cluster = self.cluster()
        let leader = try #require(cluster.leaders().first)
        cluster.misapply(leader, set: "b", "nobody wrote this")
        self.write(cluster, leader)
        var servedWrong = false
        #expect(
            cluster.run(.seconds(10)) {
                if self.found(cluster, leader) > 0, self.ended(cluster, leader) == 0, cluster.isReady(leader) {
                    servedWrong = true
                }
                return self.ended(cluster, leader) == 1
            })
        #expect(!servedWrong)
        #expect(cluster.value(leader, "b") == "_\r\n")
        #expect(cluster.run(.seconds(10)) { cluster.isReady(1, 2, 3) })
        self.write(cluster, leader)
    }

    /// Two of three are there, and differ: neither knows who is wrong. Both apply the log again, and then they are equal.
    @Test func twoThatDifferApplyTheLogAgain() throws {
        let cluster = self.cluster()
        let away: UInt32 = try #require(cluster.leaders().first) == 3 ? 2 : 3
        let odd: UInt32 = away == 3 ? 2 : 3
        cluster.stop(away)
        cluster.run(.seconds(2))
        cluster.misapply(odd, set: "b", "nobody wrote this")
        self.write(cluster, 1)
        #expect(cluster.run(.seconds(20)) { self.ended(cluster, odd) == 1 && cluster.isReady(1, odd) })
        #expect(cluster.value(odd, "b") == "_\r\n" && cluster.value(1, "b") == "_\r\n")
        #expect(self.count(cluster, 1) { if case .divergenceStuck = $0 { true } else { false } } == 0)
        self.write(cluster, odd)
    }

    /// The third is there and says nothing yet: its disk is slow. Its word is worth a wait, and not for ever.
    @Test func aSilentVoterIsWaitedFor() throws {
        let cluster = self.cluster()
        let slow = try #require(cluster.leaders().first)
        let (odd, other): (UInt32, UInt32) = (slow % 3 + 1, (slow + 1) % 3 + 1)
        cluster.run(.seconds(3))
        cluster.onTheWay = { node, message in
            if node == slow, case .stateDigest = message { nil } else { message }
        }
        cluster.misapply(odd, set: "b", "nobody wrote this")
        self.write(cluster, slow)
        #expect(cluster.run(.seconds(10)) { !cluster.isReady(odd) && !cluster.isReady(other) })
        cluster.run(.seconds(6))
        #expect(self.found(cluster, odd) == 0 && self.found(cluster, other) == 0)
        #expect(cluster.run(.seconds(20)) { self.ended(cluster, odd) == 1 && cluster.isReady(odd, other) })
        #expect(cluster.value(odd, "b") == "_\r\n")
    }

    /// They differ again after that: what a state comes to on one of the machines is wrong each time. Nothing is served or
    /// taken, until the third voter comes and says who is right.
    @Test func whereNothingTellsTheThirdDecides() throws {
        let cluster = self.cluster()
        let away: UInt32 = try #require(cluster.leaders().first) == 3 ? 2 : 3
        let odd: UInt32 = away == 3 ? 2 : 3
        cluster.onTheWay = { node, message in
            guard node == odd, case .stateDigest(var said) = message else { return message }
            said.digest.low ^= 1
            said.standing = .reproduced
            return .stateDigest(said)
        }
        cluster.stop(away)
        self.write(cluster, 1)
        func isStuck(_ node: UInt32) -> Bool {
            self.count(cluster, node) { if case .divergenceStuck(.default, _) = $0 { true } else { false } } > 0
        }
        #expect(cluster.run(.seconds(20)) { isStuck(1) })
        cluster.submit(1, set: "a", "lost", client: 77)
        cluster.submit(1, get: "a", client: 78)
        #expect(cluster.replies[77] == ["refused: diverged"] && cluster.replies[78] == ["refused: diverged"])
        #expect(!cluster.isReady(1))
        cluster.start(away)
        #expect(cluster.run(.seconds(20)) { cluster.isReady(1, away) })
        self.write(cluster, 1)
    }

    /// Nobody says what it has: no snapshot counts, so none is lent and no log is gone; but not for ever.
    @Test func aSnapshotCountsWhenAMajorityHasIt() {
        let cluster = self.cluster()
        cluster.onTheWay = { if case .stateDigest = $1 { nil } else { $1 } }
        func pass(_ checkpoints: Int) {
            for _ in 0..<checkpoints {
                self.write(cluster, 1)
                cluster.run(.milliseconds(1200))
            }
        }
        let before = (1...3).map { self.checkpoints(cluster, $0) }
        let named = (1...3 as ClosedRange<UInt32>).map { cluster.disks[$0]!.groups[.default]?.snapshot }
        pass(2)
        for node: UInt32 in 1...3 {
            #expect(cluster.disks[node]!.files[.default]!.count >= 2)
            #expect(self.checkpoints(cluster, node) == before[Int(node) - 1])
            #expect(cluster.disks[node]!.groups[.default]?.snapshot == named[Int(node) - 1])
        }
        // The newest two wait, for a minute.
        pass(30)
        for node: UInt32 in 1...3 { #expect(self.unconfirmed(cluster, node) == 0) }
        pass(30)
        for node: UInt32 in 1...3 {
            #expect(self.unconfirmed(cluster, node) == 1)
            #expect(cluster.disks[node]!.groups[.default]!.standing == .own)
        }
        // What was not heard is said again.
        cluster.onTheWay = { $1 }
        pass(6)
        for node: UInt32 in 1...3 { #expect(cluster.disks[node]!.groups[.default]!.standing == .confirmed) }
    }

    private func unconfirmed(_ cluster: CoreCluster, _ node: UInt32) -> Int {
        self.count(cluster, node) { if case .snapshotUnconfirmed(.default, _) = $0 { true } else { false } }
    }

    /// 1. A state goes wrong while nobody hears of it: a snapshot of it counts after a minute.
    /// 2. The others are heard, and are the majority. The log applied again from that snapshot gives a wrong state again:
    ///    that proves nothing, and is not done.
    @Test func noStateIsMadeAnewFromASnapshotThatNobodyConfirmed() throws {
        let cluster = self.cluster()
        let odd: UInt32 = try #require(cluster.leaders().first) == 3 ? 2 : 3
        #expect(cluster.run(.seconds(5)) { (1...3).allSatisfy { self.checkpoints(cluster, $0) > 0 } })
        cluster.onTheWay = { if case .stateDigest = $1 { nil } else { $1 } }
        cluster.misapply(odd, set: "b", "nobody wrote this")
        for _ in 0..<70 where self.unconfirmed(cluster, odd) == 0 {
            self.write(cluster, 1)
            cluster.run(.milliseconds(1200))
        }
        try #require(self.unconfirmed(cluster, odd) == 1)
        var proofs = 0
        cluster.onTheWay = { node, message in
            if node == odd, case .stateDigest(let said) = message, said.standing == .reproduced { proofs += 1 }
            return message
        }
        for _ in 0..<10 where self.ended(cluster, odd) == 0 {
            self.write(cluster, 1)
            cluster.run(.milliseconds(1200))
        }
        #expect(cluster.run(.seconds(10)) { self.ended(cluster, odd) == 1 && cluster.isReady(1, 2, 3) })
        #expect(cluster.value(odd, "b") == "_\r\n")
        #expect(proofs == 0 && self.found(cluster, 1) == 0)
    }

    /// Who was lent a snapshot that nobody had confirmed says again what its lender said, however much it applies on top.
    /// So the two are not a majority; all three are, as nobody else is left who could know better.
    @Test func whoWasLentAnUnconfirmedSnapshotIsNoWitness() throws {
        let cluster = self.cluster()
        let away: UInt32 = try #require(cluster.leaders().first) == 3 ? 2 : 3
        let other: UInt32 = away == 3 ? 2 : 3
        #expect(cluster.run(.seconds(5)) { (1...3).allSatisfy { self.checkpoints(cluster, $0) > 0 } })
        cluster.onTheWay = { if case .stateDigest = $1 { nil } else { $1 } }
        for _ in 0..<80 where self.unconfirmed(cluster, 1) == 0 || self.unconfirmed(cluster, other) == 0 {
            // So much that their logs do not reach back to the beginning.
            self.write(cluster, 1, bytes: 200_000)
            cluster.run(.milliseconds(1200))
        }
        cluster.stop(away)
        cluster.wipe(away)
        cluster.start(away)
        #expect(cluster.run(.seconds(60)) { cluster.isReady(1, 2, 3) })
        #expect(cluster.disks[away]!.groups[.default]!.standing == .lent)
        var standings: [StateDigest.Standing] = []
        var isOtherSilent = true
        cluster.onTheWay = { node, message in
            guard case .stateDigest(let said) = message, said.group == .default else { return message }
            if node == away { standings.append(said.standing) }
            return node == other && isOtherSilent ? nil : message
        }
        for _ in 0..<5 {
            self.write(cluster, 1)
            cluster.run(.milliseconds(1200))
        }
        #expect(!standings.isEmpty && standings.allSatisfy { $0 == .copied })
        #expect(cluster.disks[1]!.groups[.default]!.standing == .own)
        isOtherSilent = false
        for _ in 0..<60 where cluster.disks[away]!.groups[.default]!.standing != .confirmed {
            self.write(cluster, 1)
            cluster.run(.milliseconds(1200))
        }
        for node: UInt32 in 1...3 { #expect(cluster.disks[node]!.groups[.default]!.standing == .confirmed) }
    }

    /// A snapshot that is not what a majority has is refused by who is sent it.
    @Test func aRestartedNodeHearsWhatWasSaidMeanwhile() {
        let cluster = self.cluster()
        #expect(cluster.run(.seconds(5)) { (1...3).allSatisfy { self.checkpoints(cluster, $0) > 0 } })
        cluster.stop(2)
        cluster.start(2)
        #expect(cluster.run(.seconds(10)) { cluster.isReady(1, 2, 3) })
        self.write(cluster, 2)
        let before = self.checkpoints(cluster, 2)
        #expect(cluster.run(.seconds(5)) { self.checkpoints(cluster, 2) > before })
        for node: UInt32 in 1...3 { #expect(self.found(cluster, node) == 0) }
    }
}

/// What follows from what the voters say of one checkpoint.
@Suite struct DigestTableTests {
    private let members = (1...5).map {
        MemberID(node: NodeID($0), incarnation: Incarnation(high: UInt64($0), low: 1))
    }

    private func said(_ digest: UInt64, _ standing: StateDigest.Standing, at index: LogIndex = 9) -> StateDigest {
        StateDigest(
            group: .default, index: index, entryHash: Hash128(low: index, high: 1), standing: standing,
            digest: Hash128(low: digest, high: 0))
    }

    /// Of three voters: what the first has, what the others said, and the verdict.
    @Test(
        arguments: [
            ((1, .computed), nil, nil, .open),
            ((1, .computed), (1, .computed), nil, .confirmed),
            ((1, .computed), (2, .computed), nil, .disputed),
            ((1, .computed), (2, .computed), (2, .computed), .odd(Hash128(low: 2, high: 0))),
            ((1, .computed), (2, .computed), (1, .reproduced), .confirmed),
            ((1, .computed), (2, .computed), (3, .computed), .disputed),
            // A copy is no witness beside those who came to it themselves,
            ((1, .computed), (1, .copied), nil, .open),
            ((1, .computed), (2, .copied), (2, .computed), .disputed),
            ((1, .copied), (2, .computed), (2, .computed), .odd(Hash128(low: 2, high: 0))),
            ((1, .copied), (1, .computed), (1, .computed), .confirmed),
            // unless nobody is left who could differ.
            ((1, .copied), (1, .computed), (1, .copied), .confirmed),
            ((1, .copied), (1, .copied), (1, .copied), .confirmed),
            ((1, .copied), (1, .copied), nil, .open),
            // Where all are copies the odd one is bad.
            ((1, .copied), (2, .copied), (2, .copied), .odd(Hash128(low: 2, high: 0))),
            ((1, .copied), (1, .copied), (2, .copied), .open),
            // What a majority came to once is right for ever.
            ((1, .computed), (2, .confirmed), nil, .odd(Hash128(low: 2, high: 0))),
            ((1, .computed), (1, .confirmed), (2, .computed), .confirmed),
        ]
            as [(
                (UInt64, StateDigest.Standing), (UInt64, StateDigest.Standing)?, (UInt64, StateDigest.Standing)?,
                DigestTable.Verdict
            )])
    func verdicts(
        own: (UInt64, StateDigest.Standing), second: (UInt64, StateDigest.Standing)?,
        third: (UInt64, StateDigest.Standing)?, verdict: DigestTable.Verdict
    ) {
        var table = DigestTable()
        let membership = Membership(voters: Array(self.members[..<3]))
        table.note(self.said(own.0, own.1), of: self.members[0])
        if let second { table.note(self.said(second.0, second.1), of: self.members[1]) }
        if let third { table.note(self.said(third.0, third.1), of: self.members[2]) }
        let mine = self.said(own.0, own.1)
        #expect(table.verdict(on: mine, of: self.members[0], membership) == verdict)
        // Who does not vote, another form, another log and another checkpoint say nothing.
        table.note(self.said(7, .confirmed), of: self.members[3])
        var other = self.said(7, .confirmed)
        other.form = 200
        table.note(self.said(7, .confirmed, at: 10), of: self.members[1])
        if second == nil { table.note(other, of: self.members[1]) }
        #expect(table.verdict(on: mine, of: self.members[0], membership) == verdict)
    }

    @Test func aChangeOfMembersNeedsBothMajorities() {
        var table = DigestTable()
        let membership = Membership(
            voters: Array(self.members[..<3]), outgoing: [self.members[0], self.members[3], self.members[4]])
        for at in 0..<3 { table.note(self.said(1, .computed), of: self.members[at]) }
        let mine = self.said(1, .computed)
        #expect(table.verdict(on: mine, of: self.members[0], membership) == .open)
        table.note(self.said(1, .computed), of: self.members[4])
        #expect(table.verdict(on: mine, of: self.members[0], membership) == .confirmed)
    }

    /// Whatever comes, the last few of each node are kept, of one incarnation.
    @Test func itIsBounded() {
        var table = DigestTable()
        for index in 1...50 as ClosedRange<UInt64> {
            for member in self.members { table.note(self.said(index, .computed, at: index), of: member) }
            #expect(table.entries.count <= self.members.count * DigestTable.kept)
        }
        #expect(table.all(of: self.members[0]).map(\.index) == [47, 48, 49, 50])
        let second = MemberID(node: self.members[0].node, incarnation: Incarnation(high: 9, low: 9))
        table.note(self.said(1, .computed), of: second)
        #expect(table.all(of: self.members[0]).isEmpty && table.all(of: second).count == 1)
        table.forget(second.node)
        #expect(table.all(of: second).isEmpty)
    }
}
