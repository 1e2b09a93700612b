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
        // 2. Those count that came to their state themselves: a copy says again what another said. Where nobody did, copies
        //    are all there is.
        let witnesses = known.filter { $0.said.standing > .copied }
        let counted = witnesses.isEmpty ? known : witnesses
        for candidate in counted {
            let digest = candidate.said.digest
            let isMajority = Quorum.decides(membership) { voter in
                counted.contains { $0.member == voter && $0.said.digest == digest }
            }
            if isMajority { return digest == own.digest ? .confirmed : .odd(digest) }
        }
        return known.contains { $0.said.digest != own.digest } ? .disputed : .open
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
