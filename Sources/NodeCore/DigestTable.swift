package import Formats
package import Replication

/// What is known of the states at a group's last checkpoints: this replica's own digests, and what the others said.
/// Bounded: the last `kept` of each node.
package struct DigestTable {
    package static let kept = 4

    package init() {}

    package struct Entry {
        package var member: MemberID
        package var said: StateDigest
    }

    /// How a state at a checkpoint stands to the others'.
    package enum Verdict: Equatable {
        /// Nobody differs, and no majority is known to agree.
        case open
        /// A majority came to this state.
        case confirmed
        /// A majority came to another one.
        case odd(Hash128)
        /// Someone differs, and there is no majority for either.
        case disputed
    }

    /// In the order in which they were heard of.
    package private(set) var entries: [Entry] = []

    package subscript(member: MemberID, index: LogIndex) -> StateDigest? {
        self.entries.last { $0.member == member && $0.said.index == index }?.said
    }

    /// Of the node's checkpoints the newest that are known, oldest first.
    package func all(of member: MemberID) -> [StateDigest] {
        self.entries.filter { $0.member == member }.map(\.said).sorted { $0.index < $1.index }
    }

    /// The latest word of a member on a checkpoint counts.
    package mutating func note(_ said: StateDigest, of member: MemberID) {
        self.entries.removeAll {
            $0.member.node == member.node && ($0.member != member || $0.said.index == said.index)
        }
        self.entries.append(Entry(member: member, said: said))
        let count = self.entries.reduce(0) { $0 + ($1.member == member ? 1 : 0) }
        if count > Self.kept, let oldest = self.entries.firstIndex(where: { $0.member == member }) {
            self.entries.remove(at: oldest)
        }
    }

    package mutating func forget(_ node: NodeID) { self.entries.removeAll { $0.member.node == node } }

    mutating func forget(_ member: MemberID, after index: LogIndex) {
        self.entries.removeAll { $0.member == member && $0.said.index > index }
    }

    /// Whether those who spoke of a checkpoint differ.
    func isDisputed(at index: LogIndex) -> Bool {
        let said = self.entries.filter { $0.said.index == index }
        return said.contains { other in
            said[0].said.entryHash == other.said.entryHash && said[0].said.form == other.said.form
                && said[0].said.digest != other.said.digest
        }
    }

    /// What the voters, and whoever asks, said of the checkpoint at which `own` was made.
    private func comparable(to own: StateDigest, of me: MemberID, _ membership: Membership) -> [Entry] {
        self.entries.filter {
            $0.said.index == own.index && $0.said.entryHash == own.entryHash && $0.said.form == own.form
                && ($0.member == me || membership.voters.contains($0.member)
                    || membership.outgoing.contains($0.member))
        }
    }

    /// - Parameter own: what `me` has, or would have, there.
    package func verdict(on own: StateDigest, of me: MemberID, _ membership: Membership) -> Verdict {
        var known = self.comparable(to: own, of: me, membership)
        known.removeAll { $0.member == me }
        known.append(Entry(member: me, said: own))
        // 1. What a majority came to once is right for ever, whoever still remembers.
        if let confirmed = known.first(where: { $0.said.standing == .confirmed }) {
            return confirmed.said.digest == own.digest ? .confirmed : .odd(confirmed.said.digest)
        }
        // 2. Those count that came to their state themselves: a copy says again what another said.
        let witnesses = known.filter { $0.said.standing > .copied }
        if let digest = self.majority(of: witnesses, membership) {
            return digest == own.digest ? .confirmed : .odd(digest)
        }
        guard known.contains(where: { $0.said.digest != own.digest }) else {
            // 3. Copies count where every voter has the same: nobody is left who could differ.
            let isUnanimous = (membership.voters + membership.outgoing).allSatisfy { voter in
                known.contains { $0.member == voter }
            }
            return isUnanimous ? .confirmed : .open
        }
        // 4. Where there are copies only, the odd one is bad. The others are no better than what they are copies of.
        guard witnesses.isEmpty, let digest = self.majority(of: known, membership) else { return .disputed }
        return digest == own.digest ? .open : .odd(digest)
    }

    /// What a majority of the voters said, of these.
    private func majority(of said: [Entry], _ membership: Membership) -> Hash128? {
        for candidate in said {
            let digest = candidate.said.digest
            let isMajority = Quorum.decides(membership) { voter in
                said.contains { $0.member == voter && $0.said.digest == digest }
            }
            if isMajority { return digest }
        }
        return nil
    }

    /// Whether another voter says that it has this state too.
    package func isSharedByOther(_ own: StateDigest, of me: MemberID, _ membership: Membership) -> Bool {
        self.comparable(to: own, of: me, membership).contains { $0.member != me && $0.said.digest == own.digest }
    }

    /// Whether another voter reproduced a state other than this one at its checkpoint.
    package func isContradictedByProof(_ own: StateDigest, of me: MemberID, _ membership: Membership) -> Bool {
        self.comparable(to: own, of: me, membership).contains {
            $0.member != me && $0.said.standing >= .reproduced && $0.said.digest != own.digest
        }
    }
}
