internal import CKintsugi
import Glibc
package import Replication

/// The cache's state: keys and values, what decides their expiry, and what WATCH is checked against. Every replica
/// applies the same commands at the same indexes and times, and has the same state.
///
/// Not Sendable: one owner, the core loop. A command takes O(1) expected and no allocation in steady state, unless it
/// says otherwise.
package final class CacheMachine {
    let slabs = Slabs()
    var shards: [Shard]
    let keySeed: HashKey
    let digestKey: HashKey
    private let shardMask: UInt64
    /// The state's time: that of the last applied entry. It alone decides expiry.
    package var time = WallTime(nanoseconds: 0) {
        didSet { invariant(self.time >= oldValue, "time goes back from \(oldValue) to \(self.time)") }
    }
    package private(set) var appliedIndex: LogIndex = 0
    package private(set) var count = 0
    package private(set) var countWithExpiry = 0
    /// Sum over all keys of the hash of what is known of each: equal states, equal digests. O(1).
    package private(set) var digest = Hash128.zero
    /// The next shard to be searched for expired keys, and up to when that was done. Part of the state.
    var sweepShard = 0
    var sweptUntil = WallTime(nanoseconds: 0)
    /// Of the command under way: its arguments, without the name.
    var arguments: [UnsafeRawBufferPointer] = []
    /// Of the read under way: this node's clock, and whether a key was alive by the state's time and not by it.
    var readClock = WallTime(nanoseconds: 0)
    var needsTime = false
    var isReading = false
    /// Bytes of the shards' tables.
    private var tableBytes = 0
    var checkpoint: CheckpointState?
    var restoring: RestoreState?
    /// Work (`Work`) until a long command pauses; what others do counts too. The owner sets it.
    package var budget = Int.max
    /// A command has paused: the same one is to be given again, and nothing else.
    package private(set) var isPaused = false
    var long = LongCommand()

    /// - Parameters:
    ///   - shardCount: a power of two. Belongs to the space: SCAN's cursors and the order of a checkpoint depend on it.
    ///   - hashKey: of the cluster; seeds the keys' hashes and the digest.
    package init(shardCount: Int, hashKey: HashKey) {
        invariant(shardCount > 0 && shardCount & (shardCount - 1) == 0, "\(shardCount) shards")
        self.shards = Array(repeating: Shard(), count: shardCount)
        self.shardMask = UInt64(shardCount - 1)
        self.keySeed = HashKey(low: hashKey.low ^ 0x6b65_7973, high: hashKey.high)
        self.digestKey = hashKey
    }

    deinit {
        self.cancelCheckpoint()
        for at in self.shards.indices { self.dropShard(at) }
    }

    /// Bytes of keys, values and their tables, without what is kept for a checkpoint.
    package var usedMemory: Int { self.slabs.used + self.tableBytes - (self.checkpoint?.keptBytes ?? 0) }

    // MARK: Commands

    /// Applies a command in canonical form. Total: whatever the bytes, there is a reply. False where it has paused, as the
    /// budget is spent: the call is to be repeated, with an empty reply, and no other command before.
    @discardableResult
    package func apply(_ command: UnsafeRawBufferPointer, index: LogIndex, reply: inout ReplyBuffer) -> Bool {
        self.appliedIndex = index
        self.isReading = false
        // What a write answers is the same on every replica: nothing of this node's clock or chance goes into it.
        self.readClock = self.time
        self.randomBits = index &* 0x9e37_79b9_7f4a_7c15
        return self.runOn(command, reply: &reply)
    }

    /// Answers a command that changes nothing. `clock`: this node's.
    package func read(
        _ command: UnsafeRawBufferPointer, random: UInt64, clock: WallTime, reply: inout ReplyBuffer
    ) -> ReadOutcome {
        self.isReading = true
        self.readClock = clock
        self.needsTime = false
        self.randomBits = random
        let start = reply.bytes.count
        let isDone = self.runOn(command, reply: &reply)
        self.isReading = false
        if self.needsTime {
            self.abandon()
            reply.bytes.removeSubrange(start...)
            return .needsTime
        }
        return isDone ? .answered : .paused
    }

    /// Nobody wants the read that has paused.
    package func abandonRead() { if self.isPaused, self.long.isRead { self.abandon() } }

    private func abandon() {
        self.isPaused = false
        self.long = LongCommand()
    }

    package enum ReadOutcome: Sendable {
        case answered
        /// A key is alive in the state's time and past its expiry by the clock: the state's time has to move on first.
        case needsTime
        /// The budget is spent: to be asked again, before anything else.
        case paused
    }

    var randomBits: UInt64 = 0

    /// Begins a command, or goes on with the one that has paused.
    private func runOn(_ command: UnsafeRawBufferPointer, reply: inout ReplyBuffer) -> Bool {
        if self.isPaused {
            invariant(self.long.isRead == self.isReading && reply.bytes.isEmpty, "another command than what paused")
            self.isPaused = false
            swap(&reply.bytes, &self.long.reply)
            self.randomBits = self.long.randomBits
            if self.isReading { self.readClock = WallTime(nanoseconds: self.long.readClock) }
        } else {
            self.long.start = reply.bytes.count
        }
        let isDone = self.run(command, reply: &reply)
        if isDone {
            if !self.long.isFresh { self.long = LongCommand() }
        } else {
            self.isPaused = true
            self.long.isBegun = true
            self.long.isRead = self.isReading
            self.long.randomBits = self.randomBits
            self.long.readClock = self.readClock.nanoseconds
            swap(&reply.bytes, &self.long.reply)
            reply.bytes.removeAll()
        }
        return isDone
    }

    private func run(_ command: UnsafeRawBufferPointer, reply: inout ReplyBuffer) -> Bool {
        guard var reader = CommandReader(command), let spec = CommandTable.spec(reader.id) else {
            reply.error("ERR malformed command")
            return true
        }
        guard !(self.isReading && spec.kind != .read) else {
            reply.error("ERR not a read")
            return true
        }
        if spec.id == CommandTable.exec { return self.execute(reader, reply: &reply) }
        guard self.load(&reader, spec, reply: &reply) else { return true }
        return self.dispatch(spec, reply: &reply)
    }

    /// Takes the arguments apart; false, with an error as reply, where they are malformed or too few.
    func load(_ reader: inout CommandReader, _ spec: CommandSpec, reply: inout ReplyBuffer) -> Bool {
        self.arguments.removeAll(keepingCapacity: true)
        while let argument = reader.next() { self.arguments.append(argument) }
        guard reader.isComplete, spec.accepts(argumentCount: self.arguments.count) else {
            reply.error("ERR wrong number of arguments for '\(spec.name)' command")
            return false
        }
        return true
    }

    // MARK: Keyspace

    var nowMilliseconds: UInt64 { self.time.milliseconds }

    func hash(_ key: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = SipHasher128(key: self.keySeed)
        hasher.combine(key)
        return hasher.finalize().low
    }

    /// The hash of the key that a command most likely touches, its first argument, with the shard asked for.
    /// Of many commands in a row, those to come are announced a few ahead: the memory that each needs is scattered, and
    /// waiting for it is most of what a command costs. No effect on anything but time.
    package func announce(_ command: UnsafeRawBufferPointer) -> UInt64 {
        guard var reader = CommandReader(command), let key = reader.next() else { return 0 }
        let hash = self.hash(key)
        self.shards.withUnsafeBufferPointer { kintsugi_prefetch_line($0.baseAddress! + self.shardIndex(hash)) }
        return hash
    }

    /// The second step, a few commands later: the shard is there, the slot in its table is asked for.
    package func announceSlot(_ hash: UInt64) { self.shards[self.shardIndex(hash)].prefetchSlot(hash) }

    /// The third step: the slot is there, the record is asked for.
    package func announceRecord(_ hash: UInt64) { self.shards[self.shardIndex(hash)].prefetchRecord(hash) }

    func shardIndex(_ hash: UInt64) -> Int { Int(hash & self.shardMask) }

    /// The record of a key that is alive. What has expired reads as absent. `touches`: a read of it counts as a use.
    func lookup(_ key: UnsafeRawBufferPointer, touches: Bool = true) -> Record? {
        self.budget -= Work.key
        let hash = self.hash(key)
        guard let slot = self.shards[self.shardIndex(hash)].find(key, hash: hash) else { return nil }
        let record = self.shards[self.shardIndex(hash)].record(at: slot)!
        guard self.isAlive(record) else { return nil }
        if self.isReading, touches { record.accessed = Self.seconds(self.readClock) }
        return record
    }

    private static func seconds(_ time: WallTime) -> UInt32 { UInt32(truncatingIfNeeded: time.milliseconds / 1000) }

    func isAlive(_ record: Record) -> Bool {
        guard let expiry = record.expiry else { return true }
        if self.nowMilliseconds > expiry { return false }
        if self.isReading, self.readClock.milliseconds > expiry { self.needsTime = true }
        return true
    }

    /// Sets a key; `fill` writes the value's bytes.
    func set(
        _ key: UnsafeRawBufferPointer, valueLength: Int, expiry: UInt64?, form: Record.Form = .automatic,
        fill: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        self.budget -= Work.key + valueLength
        let hash = self.hash(key)
        let shard = self.shardIndex(hash)
        self.willChange(shard)
        let size = Record.size(key: key.count, value: valueLength, hasExpiry: expiry != nil)
        let block = self.slabs.allocate(size)
        let record = Record.initialize(
            block, key: key, valueLength: valueLength, expiry: expiry, modified: self.appliedIndex,
            accessed: Self.seconds(self.time), form: form)
        fill(record.mutableValue)
        if let slot = self.shards[shard].find(key, hash: hash) {
            let old = self.shards[shard].record(at: slot)!
            self.forget(old, in: shard)
            self.shards[shard].replace(at: slot, record)
            self.release(old, in: shard)
        } else {
            self.insert(record, hash: hash, in: shard)
        }
        self.remember(record, in: shard)
    }

    private func insert(_ record: Record, hash: UInt64, in shard: Int) {
        let capacity = self.shards[shard].capacity
        self.shards[shard].insert(record, hash: hash, rehash: self.hash)
        self.tableBytes += (self.shards[shard].capacity - capacity) * 8
        self.count += 1
    }

    private func shrink(_ shard: Int) {
        let capacity = self.shards[shard].capacity
        self.shards[shard].shrink(self.hash)
        self.tableBytes += (self.shards[shard].capacity - capacity) * 8
    }

    func set(
        _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, expiry: UInt64?, form: Record.Form = .automatic
    ) {
        self.set(key, valueLength: value.count, expiry: expiry, form: form) { $0.copyMemory(from: value) }
    }

    /// Removes a key, dead or alive; whether it was there and alive.
    @discardableResult
    func remove(_ key: UnsafeRawBufferPointer) -> Bool {
        self.budget -= Work.key
        let hash = self.hash(key)
        let shard = self.shardIndex(hash)
        guard let slot = self.shards[shard].find(key, hash: hash) else { return false }
        let wasAlive = self.isAlive(self.shards[shard].record(at: slot)!)
        self.willChange(shard)
        self.remove(slot, in: shard)
        self.shrink(shard)
        return wasAlive
    }

    /// Notes that a key went which may never have been there: who watches it is told.
    func noteRemoval(of key: UnsafeRawBufferPointer) {
        let shard = self.shardIndex(self.hash(key))
        self.willChange(shard)
        self.shards[shard].lastRemoval = self.appliedIndex
    }

    func remove(_ slot: Int, in shard: Int) {
        let record = self.shards[shard].record(at: slot)!
        self.forget(record, in: shard)
        self.shards[shard].remove(at: slot, rehash: self.hash)
        self.shards[shard].lastRemoval = self.appliedIndex
        self.count -= 1
        self.release(record, in: shard)
    }

    /// A shard's keys go, on the way to all going.
    func flush(shard: Int) {
        self.budget -= self.shards[shard].capacity * 8 + self.shards[shard].count * Work.visit
        if self.shards[shard].count > 0 {
            self.willChange(shard)
            self.shards[shard].lastRemoval = self.appliedIndex
        }
        self.dropShard(shard)
    }

    /// All shards' keys have gone.
    func endFlush() {
        if self.checkpoint == nil { self.slabs.releaseChunks() }
        self.tableBytes = 0
        self.count = 0
        self.countWithExpiry = 0
        self.digest = .zero
    }

    /// Frees a shard's table and its records; but those in the slabs' chunks only where the chunks do not go as a whole.
    private func dropShard(_ shard: Int) {
        for slot in 0..<self.shards[shard].capacity {
            if let record = self.shards[shard].record(at: slot), self.checkpoint != nil || Slabs.isLarge(record.size) {
                self.release(record, in: shard)
            }
        }
        self.shards[shard].removeAll()
    }

    private func remember(_ record: Record, in shard: Int) {
        if record.hasExpiry {
            self.shards[shard].expiring += 1
            self.countWithExpiry += 1
        }
        self.add(self.digest(of: record))
    }

    private func forget(_ record: Record, in shard: Int) {
        if record.hasExpiry {
            self.shards[shard].expiring -= 1
            self.countWithExpiry -= 1
        }
        self.subtract(self.digest(of: record))
    }

    private func digest(of record: Record) -> Hash128 {
        self.budget -= record.keyLength + record.valueLength
        var hasher = SipHasher128(key: self.digestKey)
        hasher.combine(record.key)
        hasher.combine(record.value)
        hasher.combine(record.expiry.map { $0 &+ 1 } ?? 0)
        hasher.combine(record.modified << 2 | UInt64(record.form.rawValue))
        return hasher.finalize()
    }

    private func add(_ hash: Hash128) {
        let (low, carry) = self.digest.low.addingReportingOverflow(hash.low)
        self.digest = Hash128(low: low, high: self.digest.high &+ hash.high &+ (carry ? 1 : 0))
    }

    private func subtract(_ hash: Hash128) {
        let (low, borrow) = self.digest.low.subtractingReportingOverflow(hash.low)
        self.digest = Hash128(low: low, high: self.digest.high &- hash.high &- (borrow ? 1 : 0))
    }

    /// Puts a record back as it was, from a checkpoint.
    func restore(
        _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, expiry: UInt64?, modified: LogIndex,
        form: Record.Form, shard: Int
    ) -> Bool {
        let hash = self.hash(key)
        guard self.shardIndex(hash) == shard, self.shards[shard].find(key, hash: hash) == nil else { return false }
        let block = self.slabs.allocate(Record.size(key: key.count, value: value.count, hasExpiry: expiry != nil))
        let record = Record.initialize(
            block, key: key, valueLength: value.count, expiry: expiry, modified: modified,
            accessed: Self.seconds(self.time), form: form)
        record.mutableValue.copyMemory(from: value)
        self.insert(record, hash: hash, in: shard)
        self.remember(record, in: shard)
        return true
    }

    func restore(appliedIndex: LogIndex, time: WallTime) {
        self.appliedIndex = appliedIndex
        self.time = time
    }

    // MARK: Expiry

    /// Frees expired keys: called after each entry. The further the state's time has moved, the more shards are
    /// searched, at most 256 at once; which ones follows from the state alone, so that every replica frees the same.
    package func expire() {
        guard self.time > self.sweptUntil else { return }
        let elapsed = self.time.milliseconds - self.sweptUntil.milliseconds
        guard elapsed > 0 else { return }
        self.sweptUntil = self.time
        guard self.countWithExpiry > 0 else { return }
        for _ in 0..<min(Int(min(elapsed, 256)), self.shards.count) {
            self.sweep(self.sweepShard)
            self.sweepShard = (self.sweepShard + 1) & (self.shards.count - 1)
        }
    }

    private func sweep(_ shard: Int) {
        guard self.shards[shard].expiring > 0 else { return }
        var slot = 0
        while slot < self.shards[shard].capacity {
            if let record = self.shards[shard].record(at: slot), let expiry = record.expiry,
                self.nowMilliseconds > expiry
            {
                self.willChange(shard)
                self.remove(slot, in: shard)
                // Another record may have moved into the slot.
                continue
            }
            slot += 1
        }
        self.shrink(shard)
    }
}
