import CKintsugi
import Replication

/// A checkpoint under way.
struct CheckpointState {
    /// The next shard to be serialised in order.
    var next = 0
    /// Shards that had to be serialised before their turn, because a write came: by number, kept until their turn.
    var early: [Int: [UInt8]] = [:]
    /// The rest of a shard that was larger than a block.
    var pending: [UInt8] = []
    var pendingOffset = 0
    var hasHeader = false
    var header: [UInt8] = []
}

struct RestoreState {
    var hasHeader = false
    var buffer: [UInt8] = []
    var shard = 0
    var remainingInShard: UInt32 = 0
    var isInShard = false
    var lastKey: [UInt8] = []
}

/// Why a checkpoint's bytes were not taken.
package struct CheckpointMalformed: Error, CustomStringConvertible {
    package var description: String
}

/// Checkpoints: the state at one index as bytes, in canonical order (shard, hash, key), so that equal states give equal
/// bytes.
///
/// The stream is u32 "KCA1", u32 shards, u64 index, u64 time, u64 swept until, u32 sweep shard; then for each shard u64
/// last removal, u32 records, and each record as u32 key length, u32 value length, u64 expiry (0: none), u64 modified,
/// u8 form, key, value. Blocks cut it anywhere.
///
/// The world does not stop: shards are serialised one after the other between other work, and one that is about to be
/// written to before its turn is serialised first and set aside.
extension CacheMachine {
    private static let magic: UInt32 = 0x3141_434b

    package func beginCheckpoint() {
        invariant(self.checkpoint == nil, "a checkpoint is under way")
        var state = CheckpointState()
        CommandCoding.put(Self.magic, into: &state.header)
        CommandCoding.put(UInt32(self.shards.count), into: &state.header)
        CommandCoding.put(self.appliedIndex, into: &state.header)
        CommandCoding.put(self.time.nanoseconds, into: &state.header)
        CommandCoding.put(self.sweptUntil.nanoseconds, into: &state.header)
        CommandCoding.put(UInt32(self.sweepShard), into: &state.header)
        for shard in self.shards.indices { self.shards[shard].isFrozenDone = false }
        self.checkpoint = state
    }

    package func cancelCheckpoint() {
        self.checkpoint = nil
        for shard in self.shards.indices { self.shards[shard].isFrozenDone = true }
    }

    /// To be called before anything in a shard changes.
    @inline(__always)
    func willChange(_ shard: Int) {
        if !self.shards[shard].isFrozenDone { self.freeze(shard) }
    }

    private func freeze(_ shard: Int) {
        var bytes: [UInt8] = []
        self.serialise(shard, into: &bytes)
        self.shards[shard].isFrozenDone = true
        self.checkpoint?.early[shard] = bytes
    }

    /// The next bytes of the checkpoint, at most `maxBytes`; false when these were the last.
    package func nextCheckpointBlock(into out: inout [UInt8], maxBytes: Int) -> Bool {
        guard self.checkpoint != nil else { return false }
        if !self.checkpoint!.hasHeader {
            self.checkpoint!.hasHeader = true
            out.append(contentsOf: self.checkpoint!.header)
        }
        while out.count < maxBytes {
            let from = self.checkpoint!.pendingOffset
            let left = self.checkpoint!.pending.count - from
            if left > 0 {
                let take = min(maxBytes - out.count, left)
                out.append(contentsOf: self.checkpoint!.pending[from..<from + take])
                self.checkpoint!.pendingOffset += take
                continue
            }
            let shard = self.checkpoint!.next
            guard shard < self.shards.count else {
                self.checkpoint = nil
                return false
            }
            self.checkpoint!.next += 1
            var bytes = self.checkpoint!.early.removeValue(forKey: shard) ?? []
            if bytes.isEmpty {
                self.serialise(shard, into: &bytes)
                self.shards[shard].isFrozenDone = true
            }
            self.checkpoint!.pending = bytes
            self.checkpoint!.pendingOffset = 0
        }
        return true
    }

    private func serialise(_ shard: Int, into out: inout [UInt8]) {
        let records = self.shards[shard].sortedRecords()
        // Records lie scattered: nearly all the time would go into waiting for them, were they not asked for ahead.
        let ahead = 8
        for record in records.prefix(ahead) { kintsugi_prefetch(record.base) }
        out.reserveCapacity(12 + records.count * 192)
        CommandCoding.put(self.shards[shard].lastRemoval, into: &out)
        CommandCoding.put(UInt32(records.count), into: &out)
        for (at, record) in records.enumerated() {
            if at + ahead < records.count { kintsugi_prefetch(records[at + ahead].base) }
            CommandCoding.put(UInt32(record.keyLength), into: &out)
            CommandCoding.put(UInt32(record.valueLength), into: &out)
            CommandCoding.put(record.expiry ?? 0, into: &out)
            CommandCoding.put(record.modified, into: &out)
            out.append(record.form.rawValue)
            out.append(contentsOf: record.key)
            out.append(contentsOf: record.value)
        }
    }

    // MARK: Restore

    /// - Precondition: the machine is new.
    package func beginRestore() {
        invariant(self.count == 0 && self.restoring == nil, "restores into a state that is in use")
        self.restoring = RestoreState()
    }

    /// Takes the next bytes of a checkpoint. A malformed stream is refused, never a trap; the machine is then of no
    /// use.
    package func restore(block: UnsafeRawBufferPointer) throws(CheckpointMalformed) {
        guard var state = self.restoring else { throw CheckpointMalformed(description: "no restore is under way") }
        self.restoring = nil
        state.buffer.append(contentsOf: block)
        let consumed = try self.consume(&state)
        state.buffer.removeSubrange(..<consumed)
        self.restoring = state
    }

    package func endRestore() throws(CheckpointMalformed) {
        guard let state = self.restoring, state.buffer.isEmpty, state.shard == self.shards.count else {
            throw CheckpointMalformed(description: "the checkpoint ends early")
        }
        self.restoring = nil
    }

    private func consume(_ state: inout RestoreState) throws(CheckpointMalformed) -> Int {
        var offset = 0
        let buffer = state.buffer
        func has(_ count: Int) -> Bool { buffer.count - offset >= count }
        func take<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T {
            defer { offset += MemoryLayout<T>.size }
            return buffer.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: T.self)) }
        }
        if !state.hasHeader {
            guard has(36) else { return 0 }
            guard take(UInt32.self) == Self.magic, take(UInt32.self) == UInt32(self.shards.count) else {
                throw CheckpointMalformed(description: "not a cache's checkpoint with \(self.shards.count) shards")
            }
            let index = take(UInt64.self)
            self.restore(appliedIndex: index, time: WallTime(nanoseconds: take(UInt64.self)))
            self.sweptUntil = WallTime(nanoseconds: take(UInt64.self))
            self.sweepShard = Int(take(UInt32.self)) & (self.shards.count - 1)
            state.hasHeader = true
        }
        while state.shard < self.shards.count {
            if !state.isInShard {
                guard has(12) else { return offset }
                self.shards[state.shard].lastRemoval = take(UInt64.self)
                state.remainingInShard = take(UInt32.self)
                state.isInShard = true
                state.lastKey = []
            }
            while state.remainingInShard > 0 {
                let start = offset
                guard has(25) else { return offset }
                let keyLength = Int(take(UInt32.self))
                let valueLength = Int(take(UInt32.self))
                let expiry = take(UInt64.self)
                let modified = take(UInt64.self)
                guard expiry <= UInt64(Int64.max) else {
                    throw CheckpointMalformed(description: "a record with an expiry that no command gives")
                }
                guard let form = Record.Form(rawValue: take(UInt8.self)) else {
                    throw CheckpointMalformed(description: "a record of an unknown form")
                }
                guard has(keyLength + valueLength) else {
                    offset = start
                    return offset
                }
                let isRestored = buffer.withUnsafeBytes { bytes in
                    let key = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + keyLength])
                    let value = UnsafeRawBufferPointer(
                        rebasing: bytes[offset + keyLength..<offset + keyLength + valueLength])
                    return self.restore(
                        key, value, expiry: expiry == 0 ? nil : expiry, modified: modified, form: form,
                        shard: state.shard)
                }
                guard isRestored else {
                    throw CheckpointMalformed(description: "a key is in a shard that is not its own, or twice")
                }
                offset += keyLength + valueLength
                state.remainingInShard -= 1
            }
            state.isInShard = false
            state.shard += 1
        }
        guard offset == buffer.count else {
            throw CheckpointMalformed(description: "the checkpoint has bytes after its end")
        }
        return offset
    }
}
