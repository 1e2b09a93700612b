import CKintsugi
import Replication

/// A checkpoint under way.
final class CheckpointState {
    /// The state's last index when it began: records that are younger are not in it.
    let index: LogIndex
    /// Views of shards that were written to before their turn, by number.
    var views: [Int: ShardView] = [:]
    /// The next shard to be written.
    var next = 0
    /// The shard being written, and its next record.
    var current: ShardView?
    var position = 0
    /// What has been begun and did not fit into a block: a header, then a record's key and value.
    var head: [UInt8] = []
    var headOffset = 0
    var rest = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Bytes in the slabs that are only there for the checkpoint.
    var keptBytes = 0

    init(index: LogIndex) { self.index = index }
}

/// The records that a shard had when the checkpoint began. As records never change, a list of them is the shard's state, as
/// long as those that leave the keyspace are kept.
struct ShardView {
    var shard: Int
    var words: UnsafeMutableBufferPointer<UInt64>
    var lastRemoval: LogIndex
}

extension CheckpointState {
    /// What is left of a header, or of a record that did not fit into the block before.
    fileprivate func putPending(into out: inout [UInt8], maxBytes: Int) {
        let head = min(maxBytes - out.count, self.head.count - self.headOffset)
        if head > 0 {
            out.append(contentsOf: self.head[self.headOffset..<self.headOffset + head])
            self.headOffset += head
        }
        guard self.headOffset == self.head.count else { return }
        self.head.removeAll(keepingCapacity: true)
        self.headOffset = 0
        let rest = min(maxBytes - out.count, self.rest.count)
        if rest > 0 {
            out.append(contentsOf: UnsafeRawBufferPointer(rebasing: self.rest[..<rest]))
            self.rest = UnsafeRawBufferPointer(rebasing: self.rest[rest...])
        }
    }

    /// Records from `position` on, up to the end of the view or of the block.
    fileprivate func putRecords(of view: ShardView, into out: inout [UInt8], maxBytes: Int) {
        // Records lie scattered: nearly all the time would go into waiting for them, were they not asked for ahead.
        let ahead = 8
        if self.position == 0 { for word in view.words.prefix(ahead) { kintsugi_prefetch(Shard.record(word).base) } }
        while self.position < view.words.count, out.count < maxBytes {
            if self.position + ahead < view.words.count {
                kintsugi_prefetch(Shard.record(view.words[self.position + ahead]).base)
            }
            let record = Shard.record(view.words[self.position])
            self.position += 1
            if out.count + Self.headBytes + record.keyAndValue.count <= maxBytes {
                Self.putHead(record, into: &out)
                out.append(contentsOf: record.keyAndValue)
            } else {
                Self.putHead(record, into: &self.head)
                self.rest = record.keyAndValue
                return self.putPending(into: &out, maxBytes: maxBytes)
            }
        }
    }

    private static let headBytes = 25

    private static func putHead(_ record: Record, into out: inout [UInt8]) {
        withUnsafeTemporaryAllocation(byteCount: Self.headBytes, alignment: 1) { head in
            head.storeBytes(of: UInt32(record.keyLength).littleEndian, as: UInt32.self)
            head.storeBytes(of: UInt32(record.valueLength).littleEndian, toByteOffset: 4, as: UInt32.self)
            head.storeBytes(of: (record.expiry ?? 0).littleEndian, toByteOffset: 8, as: UInt64.self)
            head.storeBytes(of: record.modified.littleEndian, toByteOffset: 16, as: UInt64.self)
            head[24] = record.form.rawValue
            out.append(contentsOf: UnsafeRawBufferPointer(head))
        }
    }
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
/// The world does not stop: shards are written one after the other, a block at a time between other work. Of one that
/// is about to change before its turn the list of records is copied, 8 bytes for each; and records of the checkpoint that
/// leave the keyspace stay in memory until they are written. So a write costs hardly more while a checkpoint runs, and the
/// memory it takes is that of what was overwritten meanwhile.
extension CacheMachine {
    private static let magic: UInt32 = 0x3141_434b

    package func beginCheckpoint() {
        invariant(self.checkpoint == nil, "a checkpoint is under way")
        let state = CheckpointState(index: self.appliedIndex)
        CommandCoding.put(Self.magic, into: &state.head)
        CommandCoding.put(UInt32(self.shards.count), into: &state.head)
        CommandCoding.put(self.appliedIndex, into: &state.head)
        CommandCoding.put(self.time.nanoseconds, into: &state.head)
        CommandCoding.put(self.sweptUntil.nanoseconds, into: &state.head)
        CommandCoding.put(UInt32(self.sweepShard), into: &state.head)
        for shard in self.shards.indices { self.shards[shard].checkpointPhase = .untouched }
        self.checkpoint = state
    }

    package func cancelCheckpoint() {
        guard let state = self.checkpoint else { return }
        if let view = state.current { self.drop(view) }
        for view in state.views.values { self.drop(view) }
        for shard in self.shards.indices { self.shards[shard].checkpointPhase = .done }
        self.checkpoint = nil
    }

    /// To be called before anything in a shard changes.
    @inline(__always)
    func willChange(_ shard: Int) {
        if self.shards[shard].checkpointPhase == .untouched {
            self.checkpoint!.views[shard] = self.view(of: shard)
        }
    }

    /// Frees a record that is no longer in the keyspace; or keeps it, where the checkpoint needs it.
    @inline(__always)
    func release(_ record: Record, in shard: Int) {
        if self.shards[shard].checkpointPhase == .viewed, record.modified <= self.checkpoint!.index {
            record.isRetired = true
            self.checkpoint!.keptBytes += Slabs.capacity(of: record.size)
        } else {
            self.slabs.release(record.base, record.size)
        }
    }

    private func view(of shard: Int) -> ShardView {
        let words = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: self.shards[shard].count)
        self.shards[shard].copyWords(to: words)
        self.shards[shard].checkpointPhase = .viewed
        return ShardView(shard: shard, words: words, lastRemoval: self.shards[shard].lastRemoval)
    }

    /// The shard is written, or not wanted: what was kept for it goes.
    private func drop(_ view: ShardView) {
        for word in view.words {
            let record = Shard.record(word)
            guard record.isRetired else { continue }
            self.checkpoint!.keptBytes -= Slabs.capacity(of: record.size)
            self.slabs.release(record.base, record.size)
        }
        view.words.deallocate()
        self.shards[view.shard].checkpointPhase = .done
    }

    /// The next bytes of the checkpoint, at most `maxBytes`; false when these were the last. O(`maxBytes`), but for the
    /// sorting of each shard's list.
    package func nextCheckpointBlock(into out: inout [UInt8], maxBytes: Int) -> Bool {
        guard let state = self.checkpoint else { return false }
        out.reserveCapacity(maxBytes)
        while true {
            state.putPending(into: &out, maxBytes: maxBytes)
            guard out.count < maxBytes else { return true }
            if let view = state.current {
                if state.position < view.words.count {
                    state.putRecords(of: view, into: &out, maxBytes: maxBytes)
                    continue
                }
                state.current = nil
                self.drop(view)
            }
            guard state.next < self.shards.count else {
                self.checkpoint = nil
                return false
            }
            let view = state.views.removeValue(forKey: state.next) ?? self.view(of: state.next)
            Shard.sort(view.words)
            CommandCoding.put(view.lastRemoval, into: &state.head)
            CommandCoding.put(UInt32(view.words.count), into: &state.head)
            state.current = view
            state.position = 0
            state.next += 1
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
