/// How a group commits and recovers. The strategies differ in four policies, and nowhere else:
///
/// | policy | consensus |
/// |---|---|
/// | when is an entry committed? | durable on a majority of the voters, in the leader's own term (`Quorum.committed`) |
/// | who issues terms? | the group, by vote (`Replica+Election`) |
/// | whose copies count, and where is that recorded? | the voters, in the group's own log (`Membership`) |
/// | what becomes of a tail that was not agreed? | the next leader's log replaces it (`Replica+Append`) |
public enum Strategy: UInt8, Sendable, CaseIterable {
    case consensus = 3
}

/// Majorities, also while a change of members is under way.
package enum Quorum {
    /// Whether those for whom `has` is true decide: a majority of the voters, and of the outgoing ones where there are
    /// any (dissertation, section 4.3).
    package static func decides(_ membership: Membership, _ has: (MemberID) -> Bool) -> Bool {
        Self.isMajority(membership.voters, has)
            && (membership.outgoing.isEmpty || Self.isMajority(membership.outgoing, has))
    }

    private static func isMajority(_ members: [MemberID], _ has: (MemberID) -> Bool) -> Bool {
        var count = 0
        for member in members where has(member) { count += 1 }
        return count * 2 > members.count
    }

    /// Whether those for whom `lacks` is true are so many that the others are no majority, of the voters and of the
    /// outgoing ones where there are any.
    package static func isBlocked(_ membership: Membership, _ lacks: (MemberID) -> Bool) -> Bool {
        !Self.isMajority(membership.voters) { !lacks($0) }
            && (membership.outgoing.isEmpty || !Self.isMajority(membership.outgoing) { !lacks($0) })
    }

    /// The highest index that a majority has, by what `match` says of each. O(members²), members being few; no
    /// allocation.
    package static func committed(_ membership: Membership, _ match: (MemberID) -> LogIndex) -> LogIndex {
        let incoming = Self.majorityIndex(membership.voters, match)
        return membership.outgoing.isEmpty ? incoming : min(incoming, Self.majorityIndex(membership.outgoing, match))
    }

    private static func majorityIndex(_ members: [MemberID], _ match: (MemberID) -> LogIndex) -> LogIndex {
        var best: LogIndex = 0
        for candidate in members {
            let index = match(candidate)
            guard index > best else { continue }
            var count = 0
            for member in members where match(member) >= index { count += 1 }
            if count * 2 > members.count { best = index }
        }
        return best
    }
}
