import Replication
import Testing

@Suite struct QuorumTests {
    @Test func aMajorityIsMoreThanHalf() {
        for count: UInt32 in 1...7 {
            let membership = Membership(voters: (1...count).map(member))
            for have: UInt32 in 0...count {
                #expect(Quorum.decides(membership) { $0.node.rawValue <= have } == (have > count / 2))
            }
        }
    }

    @Test func nobodyDecidesForAnEmptyMembership() {
        #expect(!Quorum.decides(Membership(voters: [])) { _ in true })
        #expect(Quorum.committed(Membership(voters: [])) { _ in 9 } == 0)
    }

    @Test func aChangeNeedsBothMajorities() {
        let membership = Membership(voters: members(1, 2, 3), outgoing: members(3, 4, 5))
        func decides(_ numbers: UInt32...) -> Bool {
            Quorum.decides(membership) { numbers.contains($0.node.rawValue) }
        }
        #expect(!decides(1, 2, 3))
        #expect(!decides(3, 4, 5))
        #expect(!decides(1, 2, 5))
        #expect(decides(1, 3, 5))
        #expect(decides(1, 2, 4, 5))
    }

    @Test func learnersDoNotCount() {
        let membership = Membership(voters: members(1, 2), learners: members(3, 4, 5))
        #expect(!Quorum.decides(membership) { $0 != member(2) })
        #expect(Quorum.committed(membership) { $0 == member(2) ? 3 : 9 } == 3)
    }

    @Test func anotherIncarnationOfANodeIsAnotherMember() {
        let membership = Membership(voters: members(1, 2, 3))
        let reborn = MemberID(node: NodeID(2), incarnation: Incarnation(high: 1, low: 2))
        #expect(!Quorum.decides(membership) { $0 == member(1) || $0 == reborn })
    }

    /// Against the definition: sort what the members have, and take the middle.
    @Test(arguments: 1...200 as ClosedRange<UInt64>) func agreesWithTheDefinition(seed: UInt64) {
        var random = Random(seed: seed)
        func set() -> [MemberID] { (1...7).filter { _ in random.chance(1, in: 2) }.map { member($0) } }
        let membership = Membership(voters: set(), outgoing: random.chance(1, in: 2) ? set() : [])
        var match: [MemberID: LogIndex] = [:]
        for number: UInt32 in 1...7 { match[member(number)] = random.below(5) }
        func middle(_ voters: [MemberID]) -> LogIndex {
            voters.isEmpty ? 0 : voters.map { match[$0]! }.sorted(by: >)[voters.count / 2]
        }
        let expected =
            membership.outgoing.isEmpty
            ? middle(membership.voters) : min(middle(membership.voters), middle(membership.outgoing))
        let committed = Quorum.committed(membership) { match[$0]! }
        #expect(committed == expected, "seed \(seed)")
        if committed > 0 { #expect(Quorum.decides(membership) { match[$0]! >= committed }, "seed \(seed)") }
        #expect(!Quorum.decides(membership) { match[$0]! >= committed + 1 }, "seed \(seed)")
    }
}

@Suite struct MembershipTests {
    @Test func survivesItsEncoding() {
        for membership in [
            Membership(voters: []), Membership(voters: members(1)),
            Membership(voters: members(3, 1, 2), outgoing: members(9, 4), learners: members(7)),
        ] {
            #expect(Membership(encoded: membership.encoded()) == membership)
        }
    }

    @Test func isSortedWithEachMemberOnce() {
        let membership = Membership(voters: members(3, 1, 3, 2, 1), outgoing: members(5, 5), learners: members(9, 8))
        #expect(membership.voters == members(1, 2, 3))
        #expect(membership.outgoing == members(5))
        #expect(membership.learners == members(8, 9))
    }

    /// A second member that claims a voter's place twice would be a majority of two by itself.
    @Test func bytesThatNameAMemberTwiceCountItOnce() {
        var bytes = Membership(voters: members(1)).encoded()
        bytes += bytes[12...]
        bytes[0] = 2
        #expect(Membership(encoded: bytes)?.voters == members(1))
    }

    @Test func aPieceOrMoreThanTheWholeIsRefused() {
        let bytes = Membership(voters: members(1, 2, 3), outgoing: members(4), learners: members(5)).encoded()
        for count in 0..<bytes.count { #expect(Membership(encoded: Array(bytes[..<count])) == nil) }
        #expect(Membership(encoded: bytes + [0]) == nil)
        #expect(Membership(encoded: [UInt8](repeating: 0xff, count: 12)) == nil)
        #expect(Membership(encoded: [UInt8](repeating: 0xff, count: 4096)) == nil)
    }

    @Test func anyBytesGiveAMembershipOrNil() {
        var random = Random(seed: 11)
        var readable = 0
        for round in 0..<5000 {
            var bytes = Membership(voters: members(1, 2), learners: members(3)).encoded()
            if round % 2 == 0 { bytes = (0..<random.below(100)).map { _ in UInt8(random.below(4)) } }
            for _ in 0..<1 + random.below(3) where !bytes.isEmpty {
                bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
            }
            if let membership = Membership(encoded: bytes) {
                readable += 1
                #expect(Membership(encoded: membership.encoded()) == membership)
            }
        }
        #expect(readable > 100)
    }
}
