import Cache
import Catalog
package import Formats
package import Replication

/// What a replica shows to checks of the whole cluster: the simulator's, after every turn.
package struct ReplicaInspection: Sendable {
    package var role: Role
    package var term: Term
    package var commit: LogIndex
    package var applied: LogIndex
    /// Last index that is gone from memory.
    package var base: LogIndex
    package var last: LogIndex
    /// Bytes of log in memory, about, and its limit.
    package var logBytes: Int
    package var maxLogBytes: Int
    /// Of the committed membership; none while a change is under way.
    package var voters: [MemberID]
    /// Of a leader: its commit index is the group's.
    package var hasCommittedInTerm: Bool
    /// Another one where the state was made anew, or another one took its place.
    package var stateVersion: UInt64
}

extension NodeCore {
    package func inspect(_ id: GroupID) -> ReplicaInspection? {
        guard let group = self.group(id) else { return nil }
        return ReplicaInspection(
            role: group.replica.role, term: group.replica.term, commit: group.replica.commitIndex,
            applied: group.appliedIndex, base: group.replica.log.baseIndex, last: group.replica.lastIndex,
            logBytes: group.replica.log.memoryBytes, maxLogBytes: group.replica.configuration.maxLogBytes,
            voters: group.replica.isMembershipChanging ? [] : group.replica.membership.voters,
            hasCommittedInTerm: group.replica.hasCommittedInTerm, stateVersion: group.stateVersion)
    }

    /// The hash of the entry at an index, and so of all before it; nil where it is not in memory. O(1).
    package func entryHash(_ id: GroupID, at index: LogIndex) -> Hash128? {
        self.group(id)?.replica.log.hash(at: index)
    }

    /// The log had an entry there, and its bytes are gone.
    package func isHole(_ id: GroupID, at index: LogIndex) -> Bool {
        self.group(id)?.replica.log.holes.contains { $0.index == index } ?? false
    }

    /// Of the applied state, sessions included: equal on all replicas at equal applied indexes. Nil while a state is
    /// read back. O(sessions), and for the catalog O(state).
    package func stateDigest(_ id: GroupID) -> Hash128? {
        guard let group = self.group(id), group.hasState, !group.isMidEntry else { return nil }
        var hasher = SipHasher128(key: HashKey(self.configuration.cluster))
        var bytes: [UInt8] = []
        group.sessions.encode(into: &bytes)
        let state =
            switch group.machine {
            case .cache(let cache): cache.digest
            case .catalog(let catalog): catalog.digest
            }
        bytes.append(state)
        bytes.append(littleEndian: group.appliedTime.nanoseconds)
        bytes.withUnsafeBytes { hasher.combine($0) }
        return hasher.finalize()
    }

    /// Answers a read from what is applied here, however old that is. Never for a client.
    package func localRead(_ command: UnsafeRawBufferPointer) -> [UInt8] {
        guard case .cache(let cache)? = self.group(.default)?.machine, !cache.isPaused else { return [] }
        self.reply.removeAll()
        _ = cache.read(command, random: 0, clock: self.group(.default)!.appliedTime, reply: &self.reply)
        return self.reply.bytes
    }
}

/// Faults of memory, for simulations: nothing that a node hears or reads leads here.
extension NodeCore {
    /// The state machine takes a command that is in no log. False where there is no state.
    package func misapply(_ id: GroupID, _ command: UnsafeRawBufferPointer) -> Bool {
        guard let group = self.group(id), group.hasState, !group.isMidEntry else { return false }
        self.reply.removeAll()
        switch group.machine {
        case .cache(let cache): cache.apply(command, index: group.appliedIndex, reply: &self.reply)
        case .catalog(let catalog): catalog.apply(command, index: group.appliedIndex)
        }
        return true
    }

    /// One bit of a value in memory is another. False where the key has none.
    package func rotInMemory(key: UnsafeRawBufferPointer, bit: UInt64) -> Bool {
        guard let group = self.group(.default), group.hasState, case .cache(let cache) = group.machine else {
            return false
        }
        return cache.rot(key, bit: bit)
    }

    /// Bytes of replies that the sessions of a group keep, the most of one of them.
    package func keptReplyBytes(_ id: GroupID) -> Int {
        self.group(id)?.sessions.sessions.map(\.keptBytes).max() ?? 0
    }

    /// What this node said of its state at a checkpoint.
    package func ownDigest(_ id: GroupID, at index: LogIndex) -> StateDigest? {
        self.group(id)?.digests[self.configuration.me, index]
    }
}

extension NodeCore {
    /// Lost disks in this node's copy of the ledger whose nodes are not yet in full service.
    package var lostDisksOpen: Int {
        guard case .catalog(let catalog) = self.group(.system)!.machine else { return 0 }
        return catalog.incidents.reduce(0) { $0 + ($1.cause == .diskLost && $1.closed == nil ? 1 : 0) }
    }

    /// Incidents that this node follows, or that the ledger may not have.
    package var followedIncidents: Int { self.incidents.count }

    /// What this node's copy of the ledger lacks of a word that this node once wrote down; nil: nothing.
    package func lackOfLedger(_ word: OpenIncidents.Word) -> String? {
        guard case .catalog(let catalog) = self.group(.system)!.machine else { return nil }
        let me = self.configuration.me.node
        let matching = catalog.incidents.filter {
            $0.kind == word.kind && $0.node == word.node && $0.run == word.run
        }
        let told = matching.first { $0.accounts.contains { $0.observer == me && $0.episode == word.episode } }
        guard let known = told else {
            // One fault again and again is told by the last, whose own word it is that has to end; a lost disk, by whoever
            // sees its end.
            return matching.contains { $0.count > 1 || $0.cause == .diskLost } ? nil : "\(word) is missing"
        }
        guard known.closed == nil else { return nil }
        let accounts = known.accounts.map { account in
            "\(account.observer)/\(account.episode) closed \(account.closed ?? 0) affected \(account.affected.count)"
        }
        return "\(word) is open, \(known.cause), count \(known.count): \(accounts.joined(separator: ", "))"
    }

    /// Incidents in this node's copy of the ledger.
    package var incidentCount: Int {
        guard case .catalog(let catalog) = self.group(.system)!.machine else { return 0 }
        return catalog.incidents.count
    }
}
