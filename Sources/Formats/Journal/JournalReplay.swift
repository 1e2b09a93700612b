import Replication

/// The groups as records are read in order.
struct JournalReplay {
    struct State {
        var group: GroupID
        var log = RecoveredLog()
        var hardState = HardState.initial
        /// A batch that is missing may have moved its end, and none since names it.
        var isEndUncertain = false
        /// A batch names a newer hard state than what was read; or one is missing and none since names any.
        var isVoteUncertain = false
    }

    struct Place {
        var file: UInt32
        var batch: UInt64
        var block: Int
    }

    /// Bounds what forged indexes can ask for, and what a replica is to ask its peers for.
    private static let maxHoles = 100_000

    private(set) var states: [State] = []
    /// Something is lost that may have held a group of which nothing else is left.
    private var isAnyUncertain = false
    /// What is lost may be newer than all that is read: why.
    private var lost: String?

    private mutating func at(_ id: GroupID) -> Int {
        if let at = self.states.firstIndex(where: { $0.group == id }) { return at }
        self.states.append(State(group: id))
        return self.states.count - 1
    }

    /// - Parameter isAfterUnknown: a record before it, of the same batch, may be missing.
    /// - Returns: false for a repair that does not fit.
    mutating func apply(_ record: JournalRecord, isAfterUnknown: Bool) -> Bool {
        let at = self.at(record.group)
        switch record {
        case .entry(let entry): self.states[at].log.append(.entry(entry), isAfterUnknown: isAfterUnknown)
        case .truncate(_, let after): self.states[at].log.truncate(after: after)
        case .hardState(_, let state):
            if state.term >= self.states[at].hardState.term { self.states[at].hardState = state }
            self.states[at].isVoteUncertain = false
        case .snapshot(_, let mark, let standing): self.states[at].log.note(mark, standing)
        case .repair(let entry): return self.states[at].log.repair(entry)
        case .hole(_, let hole): self.states[at].log.keep(hole, isAfterUnknown: isAfterUnknown)
        case .end: break
        }
        return true
    }

    /// An entry whose bytes are bad.
    /// - Returns: whether it is there all the same.
    mutating func damagedEntry(_ group: GroupID, _ hole: Hole, isRepair: Bool, isAfterUnknown: Bool) -> Bool {
        let at = self.at(group)
        if isRepair { return self.states[at].log.lostRepair(hole) }
        return !self.states[at].log.append(.hole(hole), isAfterUnknown: isAfterUnknown)
    }

    // MARK: What is missing, and what settles it

    mutating func batchIsMissing() {
        self.isAnyUncertain = true
        for at in self.states.indices {
            self.states[at].isEndUncertain = true
            self.states[at].isVoteUncertain = true
        }
    }

    mutating func newestMayBeMissing(_ why: String) { self.lost = self.lost ?? why }

    /// Marks come first: what a snapshot covers need not be there.
    mutating func begin(_ records: [ScannedRecord], _ ends: [BatchEncoder.GroupEnds], namesAllGroups: Bool) {
        if namesAllGroups { self.isAnyUncertain = false }
        for case .good(.snapshot(let group, let mark, let standing)) in records {
            self.states[self.at(group)].log.note(mark, standing)
        }
        for end in ends {
            let at = self.at(end.group)
            self.states[at].log.settle(end.before)
            self.states[at].isEndUncertain = false
        }
    }

    mutating func finish(_ ends: [BatchEncoder.GroupEnds]) {
        for end in ends {
            let at = self.at(end.group)
            self.states[at].log.settle(end.after)
            self.states[at].isVoteUncertain = HardStateStamp(self.states[at].hardState) != end.stamp
        }
    }

    /// - Returns: where the log of each group that a batch names ends, other than it says.
    func disagreements(_ ends: [BatchEncoder.GroupEnds], _ end: (BatchEncoder.GroupEnds) -> LogEnd) -> [(
        group: GroupID, named: LogEnd, found: LogEnd
    )] {
        ends.compactMap { named in
            let found = self.states.first { $0.group == named.group }?.log.end ?? LogEnd(0, 0)
            let expected = end(named)
            let isSame =
                found.index == expected.index
                && (expected.term == 0 || found.term == 0 || found.term == expected.term)
            return isSame ? nil : (named.group, expected, found)
        }
    }

    // MARK: What it comes to

    /// - Parameter report: of damage that shows only now.
    /// - Returns: the groups by id, and why the disk counts as lost, where it does.
    func finished(_ report: (GroupID, LogIndex, String) -> Void) -> (groups: [RecoveredGroup], lost: String?) {
        var lost = self.lost
        func lose(_ why: String) { lost = lost ?? why }
        var groups: [RecoveredGroup] = []
        for state in self.states {
            var group = RecoveredGroup(group: state.group)
            group.hardState = state.hardState
            group.snapshot = state.log.snapshot
            group.standing = state.log.standing
            let (entries, holes, problem) = state.log.finished(maxHoles: Self.maxHoles)
            group.entries = entries
            group.holes = holes
            // A cut in a gap names no term, and a replica stands by its last one.
            let hasTerm = group.end.index == 0 || group.end.term != 0
            group.isEndUncertain = state.isEndUncertain || problem != nil || !hasTerm
            group.isVoteUncertain = state.isVoteUncertain
            switch problem {
            case .tooManyHoles:
                lose("of group \(state.group) more than \(Self.maxHoles) entries are missing")
            case .mayBeReplaced(let index):
                report(
                    state.group, index,
                    "what stood right before entry \(index) is missing, and may have replaced entries before it")
                lose("which entries of group \(state.group) stood before \(index) is not known")
            case .doesNotContinue(let index):
                report(state.group, index, "entry \(index) does not continue the entry before it")
                lose("entry \(index) of group \(state.group) does not continue the entry before it")
            case nil:
                break
            }
            if state.isEndUncertain || !hasTerm { lose("where the log of group \(state.group) ends is not known") }
            if state.isVoteUncertain { lose("the newest term and vote in group \(state.group) are not known") }
            groups.append(group)
        }
        if self.isAnyUncertain { lose("whether there were other groups is not known") }
        return (groups.sorted { $0.group < $1.group }, lost)
    }
}
