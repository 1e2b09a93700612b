package import Formats
package import Replication

/// What this node remembers of others' runs, and how much of it is in its file.
struct RunMemory {
    var runs: PeerRuns
    /// What is in the file.
    private(set) var durable: PeerRuns
    /// Counts changes of `runs`.
    private(set) var version: UInt64 = 0
    private(set) var durableVersion: UInt64 = 0
    /// The version on its way to the file, and what it holds.
    private var writing: UInt64?
    private var pending = PeerRuns()
    private var failedAt: Instant?

    init(_ runs: PeerRuns) {
        self.runs = runs
        self.durable = runs
    }

    mutating func changed() { self.version += 1 }

    /// What is to be written now, and under which number. One write at a time; after one that failed a second's pause.
    mutating func takeWrite(now: Instant) -> (bytes: [UInt8], version: UInt64)? {
        guard self.version > self.durableVersion, self.writing == nil else { return nil }
        if let failedAt, now - failedAt < .seconds(1) { return nil }
        self.writing = self.version
        self.pending = self.runs
        return (self.runs.file, self.version)
    }

    mutating func written(_ version: UInt64) {
        guard self.writing == version else { return }
        self.writing = nil
        self.failedAt = nil
        self.durableVersion = version
        self.durable = self.pending
    }

    mutating func failed(_ version: UInt64, now: Instant) {
        guard self.writing == version else { return }
        self.writing = nil
        self.failedAt = now
    }
}

/// Whether this node's disk is the one that made its promises.
///
/// A run is *noted* by a peer when the peer has it in its file. A peer notes the run only of a disk whose history has
/// all that the peer noted before. Before a node votes, acknowledges or opens a session in a run, enough others have
/// noted that run and told what they remember (`considerProof`). So, of any later start from an older copy of its disk,
/// or from an empty one, one of those that it must hear from does not note it, and tells it why:
///
/// 1. B votes in its run 5, which A has noted. B's disk is replaced by a copy of its run 3.
/// 2. B starts as run 4. A tells it of run 5: B is lost, and takes a new incarnation.
/// 3. Had A noted run 5 in memory alone, and lost its power, B would vote again in a term in which it has voted.
extension NodeCore {
    /// What is remembered of others' runs, for a hello to be judged by.
    package func isRetired(_ member: MemberID) -> Bool { self.memory.runs.isRetired(member) }

    /// Whether any group counts this node's incarnation as a voter.
    var isMember: Bool {
        let me = self.configuration.me
        return self.groups.contains {
            $0.replica.membership.voters.contains(me) || $0.replica.membership.outgoing.contains(me)
        }
    }

    // MARK: Noting

    /// A member has connected: what it shows of its disk's starts is compared with what is known, and noted.
    func meet(_ at: Int, with history: RunHistory) {
        let member = self.peers[at].member
        self.peers[at].history = history
        self.peers[at].isStale = !self.memory.runs.knows(member, as: history)
        if !self.peers[at].isStale, self.memory.runs.note(member, history.last) { self.memory.changed() }
        // It hears what we know in either case.
        self.peers[at].owesVersion = self.memory.version
        if self.memory.runs.isRetired(member) { self.effects.events.append(.retiredPeer(member)) }
    }

    /// A peer's memory has come: of this node's own disk among others.
    func receiveRuns(_ runs: PeerRuns, from at: Int) {
        guard !self.isDiskLost else { return }
        let me = self.configuration.me
        for known in runs.members where known.member != me { self.learn(known) }
        if !runs.knows(me, as: self.configuration.history) {
            return self.loseDisk(seenBy: self.peers[at].member.node, runs)
        }
        let others = runs.members.filter { $0.member.node == me.node && $0.member != me }
        // Somebody was here before, under this number.
        if self.isNewborn, !others.isEmpty { return self.loseDisk(seenBy: self.peers[at].member.node, runs) }
        if !self.isMember, others.contains(where: { ($0.marks.last?.run ?? 0) >= self.configuration.run }) {
            self.isDiskLost = true
            return self.effects.events.append(.runBehind(self.memory.runs.latestRun(of: me.node)))
        }
        self.peers[at].hasNoted = runs[me]?.marks == [self.configuration.history.last]
        self.peers[at].remembersAll = runs.isComplete
        self.peers[at].heardVersion = self.memory.version
    }

    /// Somebody else's knowledge of a member. Of one that has shown its history here, only what that does not have is
    /// news: then its disk is an old copy; or, where the start is a later one, our connection leads to a process that is
    /// gone.
    private func learn(_ known: MemberRuns) {
        let at = self.peers.firstIndex { $0.member == known.member && !$0.history.marks.isEmpty }
        for mark in known.marks {
            if let at, self.peers[at].history.covers(mark) { continue }
            guard self.memory.runs.add(known.member, mark) else { continue }
            self.memory.changed()
            guard let at else { continue }
            if mark.run <= self.peers[at].history.last.run { self.peers[at].isStale = true }
            self.peers[at].owesVersion = self.memory.version
        }
        if known.isRetired { self.retire(known.member) }
    }

    private func retire(_ member: MemberID) {
        guard self.memory.runs.retire(member) else { return }
        self.memory.changed()
        for at in self.peers.indices where self.peers[at].member == member {
            self.peers[at].isStale = true
            self.peers[at].owesVersion = self.memory.version
            if self.peers[at].isConnected { self.effects.events.append(.retiredPeer(member)) }
        }
    }

    /// What this node promised is forgotten: it must not go on under its name.
    func loseDisk(seenBy node: NodeID, _ runs: PeerRuns) {
        self.isDiskLost = true
        for group in self.groups { group.replica.abstain(true) }
        self.isProven = false
        self.effects.events.append(
            .diskLost(
                seenBy: node,
                after: max(
                    runs.latestRun(of: self.configuration.me.node),
                    self.memory.runs.latestRun(of: self.configuration.me.node), self.configuration.run)))
    }

    // MARK: The file

    /// The file holds what `effects.peerRuns` asked for under this number.
    package func peerRunsDurable(_ version: UInt64) {
        self.memory.written(version)
        self.effects.wantsTurn = true
    }

    /// It could not be written: peers whose runs are not noted are not counted, nor told anything.
    package func peerRunsFailed(_ version: UInt64) { self.memory.failed(version, now: self.now) }

    /// Once a turn: what is new goes to the file; what is there, to the peers.
    func settleRuns() {
        guard !self.isDiskLost else { return }
        self.considerProof()
        for at in self.peers.indices where self.peers[at].isConnected {
            guard let owed = self.peers[at].owesVersion, owed <= self.memory.durableVersion else { continue }
            self.peers[at].owesVersion = nil
            self.effects.messages.append((self.peers[at].member.node, .runs(self.memory.durable)))
        }
        if let write = self.memory.takeWrite(now: self.now) { self.effects.peerRuns = write }
    }

    /// Counts who has noted this run. Of n nodes:
    ///
    /// - A node that is born with its cluster, on an empty disk, waits for *all* others. Nothing tells it from one whose
    ///   disk was wiped but what others remember, and any one of them may be the only one who does: B is wiped and
    ///   meets C, which was never there before; A, which knows of B, is away.
    /// - A node whose memory of others is not complete (a new disk; a file that cannot be read) first hears from a
    ///   majority whose memory is, itself not counted: what it noted of some other's run before, one of them noted too.
    ///   Or from all others, whatever they remember: more than all of it there is not.
    /// - Else a majority, itself included, of those whose memory is complete.
    private func considerProof() {
        guard !self.isProven else { return }
        let count = self.configuration.founders.count
        let heard = self.peers.filter { $0.hasNoted && $0.heardVersion <= self.memory.durableVersion }
        let full = heard.filter(\.remembersAll).count
        if !self.memory.runs.isComplete {
            guard heard.count == count - 1 || (full * 2 > count && !self.isNewborn) else { return }
            self.memory.runs.isComplete = true
            self.memory.changed()
            // Those who count only whole memories hear it.
            for at in self.peers.indices { self.peers[at].owesVersion = self.memory.version }
        } else {
            guard (full + 1) * 2 > count else { return }
        }
        self.isProven = true
        for group in self.groups { group.replica.abstain(false) }
        self.effects.wantsTurn = true
    }

    /// Says once, after a while, for whom it waits.
    func considerPatience() {
        guard !self.isProven, !self.hasSaidUnproven, self.now - self.startedAt > .seconds(5) else { return }
        self.hasSaidUnproven = true
        let missing = self.peers.filter { !$0.hasNoted }.map(\.member.node)
        self.effects.events.append(.unproven(missing: missing, isNewborn: self.isNewborn))
    }

    // MARK: Incarnations that are gone

    /// Retires those that committed memberships named once and no group names any more.
    func considerRetirements() {
        for group in self.groups {
            let committed = group.replica.committedMembership
            guard committed != group.checkedMembership else { continue }
            group.checkedMembership = committed
            group.namedMembers.formUnion(committed.all)
            for member in group.namedMembers.sorted() where member != self.configuration.me {
                let isNamed = self.groups.contains {
                    $0.replica.committedMembership.all.contains(member) || $0.replica.membership.all.contains(member)
                }
                guard !isNamed else { continue }
                group.namedMembers.remove(member)
                self.retire(member)
            }
        }
    }
}

extension Membership {
    var all: [MemberID] { self.voters + self.outgoing + self.learners }
}
