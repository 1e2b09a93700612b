import Formats
import Replication

/// What a journal must give back, as the records say it in the plainest way: the yardstick for recovery.
struct DurableState: Equatable {
    struct GroupState: Equatable {
        var hardState = HardState.initial
        var snapshot: LogIndex = 0
        /// By index.
        var entries: [LogIndex: Hash128] = [:]
        var last: LogIndex = 0
    }

    /// What a torn batch would have made, which a start has cut and nothing has replaced yet: only where rot hits what stands
    /// there does it look whole, and acknowledged, at a later start. Nothing was promised meanwhile that it breaks: any promise
    /// is a batch, and takes its place.
    var isCut = false
    /// By group, sorted; few.
    private(set) var groups: [(id: GroupID, state: GroupState)] = []

    static func == (a: DurableState, b: DurableState) -> Bool {
        a.groups.count == b.groups.count
            && zip(a.groups, b.groups).allSatisfy { $0.id == $1.id && $0.state == $1.state }
    }

    mutating func apply(_ records: [JournalRecord]) {
        for record in records {
            let at = self.index(of: record.group)
            switch record {
            case .entry(let entry):
                self.cut(at, after: entry.index - 1)
                self.groups[at].state.entries[entry.index] = entry.hash
                self.groups[at].state.last = entry.index
            case .truncate(_, let after):
                self.cut(at, after: after)
            case .hardState(_, let state):
                self.groups[at].state.hardState = state
            case .snapshot(_, let mark, _):
                self.groups[at].state.snapshot = max(self.groups[at].state.snapshot, mark.index)
            case .repair(let entry):
                if entry.index <= self.groups[at].state.last { self.groups[at].state.entries[entry.index] = entry.hash }
            case .hole, .end:
                break
            }
        }
    }

    private mutating func cut(_ at: Int, after index: LogIndex) {
        while self.groups[at].state.last > index {
            self.groups[at].state.entries[self.groups[at].state.last] = nil
            self.groups[at].state.last -= 1
        }
    }

    private mutating func index(of id: GroupID) -> Int {
        if let at = self.groups.firstIndex(where: { $0.id == id }) { return at }
        let at = self.groups.firstIndex { $0.id > id } ?? self.groups.count
        self.groups.insert((id, GroupState()), at: at)
        return at
    }

    /// In what a recovered journal differs from this, in words; nil where it does not. A hole is no difference.
    ///
    /// - Parameter isDamaged: a snapshot's mark may be lost, and the log from the one before it stands for it.
    func difference(from recovered: RecoveredJournal, isDamaged: Bool = false) -> String? {
        for found in recovered.groups where !self.groups.contains(where: { $0.id == found.group }) {
            guard found.hardState == .initial, found.snapshot == nil, found.entries.isEmpty, found.holes.isEmpty else {
                return "group \(found.group): nothing of it was durable"
            }
        }
        for (id, state) in self.groups {
            let found = recovered[id]
            let hardState = found?.hardState ?? .initial
            let entries = found?.entries ?? []
            if hardState != state.hardState {
                return "group \(id): term \(hardState.term), vote \(Self.vote(hardState)); "
                    + "term \(state.hardState.term), vote \(Self.vote(state.hardState)) was durable"
            }
            let snapshot = found?.snapshot?.index ?? 0
            if isDamaged ? snapshot > state.snapshot : snapshot != state.snapshot {
                return "group \(id): snapshot \(snapshot); \(state.snapshot) was durable"
            }
            let last = found?.end.index ?? 0
            if last != max(state.last, snapshot) {
                return "group \(id): log ends at \(last); \(max(state.last, snapshot)) was durable"
            }
            // Of what its snapshot covers this remembers nothing.
            let first = isDamaged ? state.snapshot : 0
            for entry in entries where entry.index > first && state.entries[entry.index] != entry.hash {
                return "group \(id): another entry at \(entry.index) than was durable"
            }
            for hole in found?.holes ?? [] where hole.index > first {
                guard let hash = hole.hash, state.entries[hole.index] != hash else { continue }
                return "group \(id): the hole at \(hole.index) is said to be another entry than was durable"
            }
        }
        return nil
    }

    private static func vote(_ state: HardState) -> String { state.votedFor.map { "\($0)" } ?? "none" }

    /// What was compacted away need not be remembered. Keeps the yardstick small.
    mutating func forgetBelowSnapshots() {
        for at in self.groups.indices {
            let base = self.groups[at].state.snapshot
            let entries = self.groups[at].state.entries
            self.groups[at].state.entries = entries.filter { $0.key > base }
        }
    }
}
