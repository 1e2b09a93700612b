import DequeModule

/// How far a replica has come in asking others for the entries that it misses: a stretch of them at a time, of one member
/// at a time, each that is connected once. Where nobody has anything of a stretch the next one is asked for; after the last
/// one there is a pause, and it begins again with the lowest.
struct Filling {
    var asked: (member: MemberID, at: Instant)?
    /// Where the stretch begins.
    private(set) var stretch: LogIndex = 0
    /// For this stretch.
    private var tried: [MemberID] = []
    private var pausedUntil = Instant(nanoseconds: 0)
    /// What a leader was told in its own term: entries that a member never had.
    private var denials: [(member: MemberID, indexes: Set<LogIndex>)] = []
    /// Up to where members have compacted what was wanted of them.
    private var compacted: [(member: MemberID, through: LogIndex)] = []
    /// Rounds through all stretches since something came.
    private(set) var fruitlessRounds = 0

    /// An answer that stays away for so long is not waited for.
    static let patience = Nanoseconds.seconds(1)
    static let pause = Nanoseconds.milliseconds(300)

    var deadline: Instant {
        if let asked { return asked.at + Self.patience }
        return self.pausedUntil
    }

    enum Step: Equatable {
        case wait
        case ask(MemberID)
        /// All were asked for this stretch.
        case endOfStretch
    }

    mutating func next(of members: [MemberID], now: Instant) -> Step {
        if let asked {
            guard now >= asked.at + Self.patience else { return .wait }
            self.asked = nil
        }
        guard now >= self.pausedUntil else { return .wait }
        for member in members.sorted() where !self.tried.contains(member) {
            self.tried.append(member)
            self.asked = (member, now)
            return .ask(member)
        }
        return .endOfStretch
    }

    /// - Parameter next: where the next stretch begins; nil: that was the last one.
    mutating func endStretch(next: LogIndex?, now: Instant) {
        self.tried.removeAll(keepingCapacity: true)
        self.stretch = next ?? 0
        guard next == nil else { return }
        self.pausedUntil = now + Self.pause
        self.fruitlessRounds += 1
    }

    /// Begins with the lowest again.
    mutating func restart() {
        self.tried.removeAll(keepingCapacity: true)
        self.stretch = 0
    }

    mutating func pause(now: Instant) { self.pausedUntil = max(self.pausedUntil, now + Self.pause) }

    mutating func answered(_ member: MemberID) {
        if self.asked?.member == member { self.asked = nil }
    }

    /// It gave something, and may have more.
    mutating func wasGiven(by member: MemberID) {
        self.fruitlessRounds = 0
        self.tried.removeAll { $0 == member }
    }

    mutating func isCompacted(_ index: LogIndex, at member: MemberID) {
        if let at = self.compacted.firstIndex(where: { $0.member == member }) {
            self.compacted[at].through = max(self.compacted[at].through, index)
        } else {
            self.compacted.append((member, index))
        }
    }

    /// Whose snapshot covers the entry, of those that are there. One that does not give it now goes behind the others
    /// (`snapshotAsked`).
    func snapshot(of index: LogIndex, among members: [MemberID]) -> MemberID? {
        self.compacted.first { $0.through >= index && members.contains($0.member) }?.member
    }

    mutating func snapshotAsked(of member: MemberID) {
        guard let at = self.compacted.firstIndex(where: { $0.member == member }) else { return }
        self.compacted.append(self.compacted.remove(at: at))
    }

    /// It may have what nobody had.
    mutating func connected(_ member: MemberID, now: Instant) {
        if self.asked?.member == member { self.asked = nil }
        self.tried.removeAll { $0 == member }
        self.pausedUntil = now
    }

    mutating func beginTerm(now: Instant) {
        self.denials.removeAll()
        self.asked = nil
        self.restart()
        self.pausedUntil = now
    }

    mutating func denied(_ member: MemberID, _ index: LogIndex) {
        if let at = self.denials.firstIndex(where: { $0.member == member }) {
            self.denials[at].indexes.insert(index)
        } else {
            self.denials.append((member, [index]))
        }
    }

    func denies(_ member: MemberID, _ index: LogIndex) -> Bool {
        self.denials.contains { $0.member == member && $0.indexes.contains(index) }
    }
}

extension Message {
    /// To be taken of who is no member, and in an earlier term too. Of who asks for missing entries, or gives them: what they
    /// say rests on hashes, and on terms only where a leader counts. Of who asks for a pre-vote: it is denied, and learns the
    /// term; by its own log it may be a member, and follow somebody who leads no more.
    var isForAnyone: Bool {
        switch self.body {
        case .entriesWanted, .entries, .preVote: true
        default: false
        }
    }
}

extension Replica {
    /// The lowest entry that is missing, and the peer whose snapshot covers it, where one has compacted it.
    public var snapshotWanted: (index: LogIndex, from: MemberID)? {
        guard let hole = self.log.holes.first,
            let member = self.filling.snapshot(of: hole.index, among: self.connectedMembers)
        else { return nil }
        return (hole.index, member)
    }

    /// It was asked for its snapshot: next time it is another's turn, where there is one.
    public mutating func snapshotAsked(of member: MemberID) { self.filling.snapshotAsked(of: member) }

    /// All within reach were asked, more than once, and nobody had what is missing.
    public var isFillingFruitless: Bool { !self.log.isWhole && self.filling.fruitlessRounds >= 3 }

    /// At most one message a turn. O(holes of a stretch); O(holes) where nothing is known of many.
    mutating func considerFilling(now: Instant, into effects: inout Effects) {
        guard self.hasRoomInMemory else { return self.filling.pause(now: now) }
        let members = self.connectedMembers
        if let last = self.log.holes.last, self.filling.stretch > last.index { self.filling.restart() }
        while true {
            switch self.filling.next(of: members, now: now) {
            case .wait: return
            case .ask(let member):
                let wanted = self.wantedEntries(from: self.filling.stretch).wanted
                effects.sendNow.append(self.message(to: member, .entriesWanted(wanted)))
                return
            case .endOfStretch:
                let next = members.isEmpty ? nil : self.wantedEntries(from: self.filling.stretch).next
                self.filling.endStretch(next: next, now: now)
                // So that nobody forgets who leads, where a message was lost.
                if next == nil, self.isRecovering { self.round += 1 }
            }
        }
    }

    /// The lowest holes from `start` on that a peer can know again. Those of which nothing is known come with the one above
    /// them, downwards, each known by the one before it in the message.
    ///
    /// - Returns: also where the holes begin that are left over; nil where there are none.
    private func wantedEntries(from start: LogIndex) -> (wanted: [Message.WantedEntry], next: LogIndex?) {
        let holes = self.log.holes
        var wanted: [Message.WantedEntry] = []
        func want(_ hole: Hole) {
            wanted.append(Message.WantedEntry(index: hole.index, term: hole.term, hash: hole.hash))
        }
        var lowest = self.log.firstHole(from: start)
        for at in lowest..<holes.count where holes[at].term != nil || holes[at].hash != nil {
            guard wanted.count < Message.maxWantedEntries else { return (wanted, holes[lowest].index) }
            want(holes[at])
            var below = at
            while below > lowest, holes[below - 1].index + 1 == holes[below].index,
                wanted.count < Message.maxWantedEntries
            {
                below -= 1
                want(holes[below])
            }
            lowest = at + 1
        }
        return (wanted, nil)
    }

    // MARK: Answering

    /// What this replica has is given at once. What it never had it says only when the term is durable in which it says
    /// so, as the asker may rest on that it adopted it (`considerDiscard`).
    mutating func receiveEntriesWanted(
        _ message: Message, _ wanted: [Message.WantedEntry], into effects: inout Effects
    ) {
        var answers: [Message.EntryAnswer] = []
        var absent: [Message.EntryAnswer] = []
        var bytes = 0
        var last: (index: LogIndex, previousHash: Hash128)?
        for entry in wanted.prefix(Message.maxWantedEntries) where entry.index > 0 {
            switch self.answer(entry, last) {
            case .entry(let entry):
                guard answers.isEmpty || bytes < self.configuration.maxAppendBytes else { continue }
                bytes += entry.payload.count
                last = (entry.index, entry.previousHash)
                answers.append(.entry(entry))
            case .absent(let index): absent.append(.absent(index))
            case .some(let answer): answers.append(answer)
            case nil: break
            }
        }
        effects.sendNow.append(self.message(to: message.from, .entries(answers)))
        // A disk that may be an old copy, or that takes nothing, denies nothing.
        if !absent.isEmpty, !self.abstains, self.fitness == .fit {
            effects.sendAfterPersist.append(self.message(to: message.from, .entries(absent)))
        }
    }

    private func answer(
        _ wanted: Message.WantedEntry, _ last: (index: LogIndex, previousHash: Hash128)?
    ) -> Message.EntryAnswer? {
        let index = wanted.index
        if index <= self.log.baseIndex { return .compacted(index) }
        if index > self.log.lastIndex { return .absent(index) }
        if !self.log.isWhole, let hole = self.log.hole(at: index) {
            if let hash = hole.hash, let other = wanted.hash { return hash == other ? .damaged(index) : .absent(index) }
            if let term = hole.term, let other = wanted.term { return term == other ? .damaged(index) : .absent(index) }
            return .damaged(index)
        }
        let entry = self.log.entry(at: index)
        if let hash = wanted.hash { return hash == entry.hash ? .entry(entry) : .absent(index) }
        if let term = wanted.term { return term == entry.term ? .entry(entry) : .absent(index) }
        // Known by the one after it.
        guard let last, last.index == index + 1, last.previousHash == entry.hash else { return nil }
        return .entry(entry)
    }

    // MARK: Taking

    mutating func receiveEntries(
        _ message: Message, _ answers: [Message.EntryAnswer], now: Instant, into effects: inout Effects
    ) {
        guard !self.log.isWhole else { return }
        self.filling.answered(message.from)
        var denied: [LogIndex] = []
        for answer in answers.prefix(Message.maxWantedEntries) {
            switch answer {
            case .entry(let entry):
                guard self.isMissing(entry) else { continue }
                self.filling.wasGiven(by: message.from)
                self.fill(entry, into: &effects)
            case .absent(let index):
                if self.isRecovering, message.term == self.term, self.log.hole(at: index) != nil {
                    self.filling.denied(message.from, index)
                    denied.append(index)
                }
            case .damaged:
                break
            case .compacted(let index):
                self.filling.isCompacted(index, at: message.from)
            }
        }
        self.considerDiscard(denied, into: &effects)
    }

    /// Whether this is the very entry that was here.
    private func isMissing(_ entry: Entry) -> Bool {
        guard entry.group == self.configuration.group, let hole = self.log.hole(at: entry.index), hole.matches(entry)
        else { return false }
        // Where its hash was not known, it has to continue what stands before it.
        return self.log.hash(at: entry.index - 1) ?? entry.previousHash == entry.previousHash
    }
}
