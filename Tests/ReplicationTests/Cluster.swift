import Replication
import Testing

/// Replicas whose messages and disk writes are moved by hand, so that a test can tell a race step by step.
///
/// Time moves only by `advance` and `timeOut`. A message that was sent lies in `wire` until it is delivered or dropped.
final class Cluster {
    var now = Instant(nanoseconds: 1_000_000_000)
    var members: [TestMember] = []
    private(set) var wire: [Message] = []
    /// Messages between these two are lost, both ways.
    var cuts: [(UInt32, UInt32)] = []
    /// `settle` completes no write of these.
    var sickDisks: [UInt32] = []
    private var seed: UInt64 = 0

    /// - Parameters:
    ///   - voters: the founders.
    ///   - others: nodes that are there and not yet members.
    init(
        voters: [UInt32] = [1, 2, 3], learners: [UInt32] = [], others: [UInt32] = [],
        configure: (inout ReplicaConfiguration) -> Void = { _ in }
    ) {
        let founders = Membership(voters: voters.map(member), learners: learners.map(member))
        for number in voters + learners + others {
            self.seed += 1
            var configuration = ReplicaConfiguration(
                group: testGroup, me: member(number), hashKey: testKey, seed: self.seed)
            configure(&configuration)
            self.members.append(
                TestMember(member(number), founders: founders, configuration: configuration, now: self.now))
        }
        for a in self.members {
            for b in self.members where a !== b { a.replica.connected(b.id, now: self.now, into: &a.effects) }
            self.end(a)
        }
    }

    subscript(number: UInt32) -> TestMember { self.members.first { $0.id.node.rawValue == number }! }

    var leaders: [UInt32] {
        self.members.filter { $0.isAlive && $0.replica.role == .leader }.map { $0.id.node.rawValue }
    }

    // MARK: Inputs

    private func end(_ member: TestMember, adding batch: TestMember.Batch = TestMember.Batch()) {
        self.wire += member.endTurn(now: self.now, adding: batch)
    }

    /// Gives an input and ends the turn.
    @discardableResult
    func input<R>(_ number: UInt32, _ body: (inout Replica, Instant, inout Effects) -> R) -> R {
        let member = self[number]
        let result = body(&member.replica, self.now, &member.effects)
        self.end(member)
        return result
    }

    @discardableResult
    func propose(_ number: UInt32, _ value: UInt8 = 1, count: Int = 1) -> ProposeResult {
        self.input(number) {
            $0.propose(
                .commands, payload: payload(value, count: count), wall: WallTime(nanoseconds: 1), now: $1, into: &$2)
        }
    }

    func read(_ number: UInt32, ticket: UInt64) {
        self.input(number) { $0.read(ticket: ticket, now: $1, into: &$2) }
    }

    func suspect(_ number: UInt32, by others: UInt32...) {
        for other in others { self.input(other) { $0.suspect(NodeID(number), now: $1, into: &$2) } }
    }

    func trust(_ number: UInt32, by others: UInt32...) {
        for other in others { self.input(other) { $0.trust(NodeID(number), now: $1, into: &$2) } }
    }

    @discardableResult
    func transfer(_ number: UInt32, to: UInt32?) -> Bool {
        self.input(number) { $0.transfer(to: to.map { NodeID($0) }, now: $1, into: &$2) }
    }

    @discardableResult
    func change(_ number: UInt32, voters: [UInt32], learners: [UInt32] = []) -> ProposeResult {
        self.input(number) {
            $0.changeMembership(
                voters: voters.map(member), learners: learners.map(member), wall: WallTime(nanoseconds: 1), now: $1,
                into: &$2)
        }
    }

    // MARK: Time

    /// Time passes, and all whose deadline has come are woken.
    func advance(_ length: Nanoseconds) {
        self.now = self.now + length
        for member in self.members where member.isAlive {
            guard let deadline = member.replica.deadline, deadline <= self.now else { continue }
            member.replica.wake(now: self.now, into: &member.effects)
            self.end(member)
        }
    }

    /// Time passes in small steps, all messages and writes on their way.
    func run(_ length: Nanoseconds) {
        let end = self.now + length
        while self.now < end {
            self.advance(.milliseconds(10))
            self.settle()
        }
    }

    /// Time passes until the next deadline of this member, and it alone is woken.
    func timeOut(_ number: UInt32) {
        let member = self[number]
        self.now = max(self.now, member.replica.deadline!)
        member.replica.wake(now: self.now, into: &member.effects)
        self.end(member)
    }

    // MARK: Messages

    private func isCut(_ message: Message) -> Bool {
        let from = message.from.node.rawValue
        let to = message.to.node.rawValue
        return self.cuts.contains { ($0.0 == from && $0.1 == to) || ($0.1 == from && $0.0 == to) }
    }

    func receive(_ message: Message) {
        guard let to = self.members.first(where: { $0.id == message.to }), to.isAlive else { return }
        to.replica.receive(message, now: self.now, into: &to.effects)
        self.end(to)
    }

    /// Takes the messages in the wire that match, oldest first, without delivering them.
    func take(_ isWanted: (Message) -> Bool = { _ in true }) -> [Message] {
        let taken = self.wire.filter { isWanted($0) }
        self.wire.removeAll { isWanted($0) }
        return taken
    }

    /// Delivers what lies in the wire now; what that brings about stays there.
    @discardableResult
    func deliver(from: UInt32? = nil, to: UInt32? = nil) -> Int {
        let taken = self.take {
            (from == nil || $0.from.node.rawValue == from) && (to == nil || $0.to.node.rawValue == to)
        }
        for message in taken where !self.isCut(message) { self.receive(message) }
        return taken.count
    }

    func drop(from: UInt32? = nil, to: UInt32? = nil) {
        _ = self.take { (from == nil || $0.from.node.rawValue == from) && (to == nil || $0.to.node.rawValue == to) }
    }

    // MARK: Disks

    /// The oldest write of a member is durable.
    func persistOne(_ number: UInt32) {
        let member = self[number]
        let batch = member.persistOne(now: self.now)
        self.wire += batch.messages
        if let mark = batch.checkpoint { member.replica.compact(through: mark.index, mark: mark) }
        if let installed = batch.installed {
            let leader = self.members.first { $0.id == installed.from }!
            leader.replica.snapshotDelivered(
                to: member.id, index: installed.index, now: self.now, into: &leader.effects)
            self.end(leader)
        }
        self.end(member)
    }

    func persist(_ number: UInt32) {
        while !self[number].batches.isEmpty { self.persistOne(number) }
    }

    /// Everything on its way arrives, in order, until nothing is.
    func settle(sourceLocation: SourceLocation = #_sourceLocation) {
        for _ in 0..<10_000 {
            for member in self.members where member.isAlive && !self.sickDisks.contains(member.id.node.rawValue) {
                self.persist(member.id.node.rawValue)
            }
            if self.wire.isEmpty { return }
            self.deliver()
        }
        Issue.record("the cluster does not come to rest", sourceLocation: sourceLocation)
    }

    /// Repeats a step until something is so.
    func `repeat`(
        until isDone: () -> Bool, sourceLocation: SourceLocation = #_sourceLocation, _ step: () -> Void
    ) {
        for _ in 0..<200 {
            if isDone() { return }
            step()
        }
        Issue.record("it does not come about", sourceLocation: sourceLocation)
    }

    func persistAll() { for member in self.members where member.isAlive { self.persist(member.id.node.rawValue) } }

    // MARK: Life and death

    func crash(_ number: UInt32) {
        self[number].crash()
        self.wire.removeAll { $0.from.node.rawValue == number || $0.to.node.rawValue == number }
        for other in self.members where other.isAlive {
            other.replica.disconnected(NodeID(number), now: self.now, into: &other.effects)
            self.end(other)
        }
    }

    func restart(_ number: UInt32) {
        self.seed += 1
        self[number].restart(seed: self.seed, now: self.now)
        for other in self.members where other.isAlive && other !== self[number] {
            other.replica.restarted(member(number))
            self.reconnect(number, other.id.node.rawValue)
        }
    }

    /// A new connection between two that live.
    func reconnect(_ a: UInt32, _ b: UInt32) {
        self.input(a) { $0.connected(member(b), now: $1, into: &$2) }
        self.input(b) { $0.connected(member(a), now: $1, into: &$2) }
    }

    /// This member times out first and is elected by all.
    func elect(_ number: UInt32, sourceLocation: SourceLocation = #_sourceLocation) {
        self.settle()
        self.timeOut(number)
        self.settle()
        #expect(self.leaders == [number], sourceLocation: sourceLocation)
    }

    // MARK: Snapshots

    /// A member's own snapshot at its commit index becomes durable, and its log is compacted.
    func checkpoint(_ number: UInt32) {
        let member = self[number]
        let mark = member.mark(at: member.replica.commitIndex)
        self.end(member, adding: TestMember.Batch(writes: [.snapshot(mark)], checkpoint: mark))
        self.persist(number)
    }

    /// The member has loaded a snapshot from the leader; its record goes to the disk.
    func install(_ mark: SnapshotMark, at number: UInt32, from leader: UInt32) {
        let member = self[number]
        guard
            member.replica.acceptSnapshot(
                from: self[leader].id, term: self[leader].replica.term, now: self.now, into: &member.effects)
        else { return }
        member.replica.install(mark, now: self.now, into: &member.effects)
        self.end(
            member,
            adding: TestMember.Batch(writes: [.snapshot(mark)], installed: (self[leader].id, mark.index)))
    }
}

extension Cluster {
    /// Entries of a dead member rot.
    func rot(_ number: UInt32, _ indexes: LogIndex..., isHeaderKnown: Bool = true) {
        for index in indexes { self[number].disk.rot(index, isHeaderKnown: isHeaderKnown) }
    }

    /// The member is killed, its entries rot, and it is back.
    func restart(_ number: UInt32, withHolesAt indexes: LogIndex..., isHeaderKnown: Bool = true) {
        self.crash(number)
        for index in indexes { self[number].disk.rot(index, isHeaderKnown: isHeaderKnown) }
        self.restart(number)
    }
}

extension Message {
    var answers: [EntryAnswer] { if case .entries(let answers) = self.body { answers } else { [] } }
    var wanted: [WantedEntry] { if case .entriesWanted(let wanted) = self.body { wanted } else { [] } }
    var received: LogIndex? {
        if case .appendReply(let reply) = self.body, case .received(let index) = reply.outcome { index } else { nil }
    }
    var isVoteRequest: Bool { if case .vote = self.body { true } else { false } }
    var isPreVoteRequest: Bool { if case .preVote = self.body { true } else { false } }
    var isGrantedVote: Bool { self.body == .voteReply(granted: true) }
    var isGrantedPreVote: Bool { self.body == .preVoteReply(granted: true) }
    var append: Append? { if case .append(let append) = self.body { append } else { nil } }
    var matched: LogIndex? {
        if case .appendReply(let reply) = self.body, case .matched(let index) = reply.outcome { index } else { nil }
    }
    var isRejection: Bool {
        if case .appendReply(let reply) = self.body, case .rejected = reply.outcome { true } else { false }
    }
}
