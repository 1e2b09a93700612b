import CKintsugi
import Glibc
import Replication

/// A part of the keyspace: an open-addressing table of records (linear probing, backward shift on removal). Slots hold
/// the record's address in the low 48 bits and 16 bits of its hash above.
struct Shard {
    private(set) var slots: UnsafeMutablePointer<UInt64>?
    private(set) var capacity = 0
    private(set) var count = 0
    /// Records with an expiry.
    var expiring = 0
    /// Index of the last entry that removed a key here: what WATCH of an absent key is checked against.
    var lastRemoval: LogIndex = 0
    var checkpointPhase = CheckpointPhase.done

    /// How far the checkpoint under way is with this shard.
    enum CheckpointPhase: UInt8 {
        /// Its records are as they were when the checkpoint began.
        case untouched
        /// The list of its records is kept apart: those of them that leave the keyspace stay in memory.
        case viewed
        /// It is written, or there is no checkpoint.
        case done
    }

    private static let addressMask: UInt64 = (1 << 48) - 1

    func record(at slot: Int) -> Record? {
        let word = self.slots![slot]
        return word == 0 ? nil : Record(base: UnsafeMutableRawPointer(bitPattern: UInt(word & Self.addressMask))!)
    }

    /// The slot of a key; nil where it is absent. `hash` is the key's; its low half picked the shard.
    func find(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Int? {
        guard self.capacity > 0 else { return nil }
        let tag = hash & ~Self.addressMask
        let mask = self.capacity - 1
        var slot = Self.home(hash, mask)
        while true {
            let word = self.slots![slot]
            if word == 0 { return nil }
            if word & ~Self.addressMask == tag {
                let record = Record(base: UnsafeMutableRawPointer(bitPattern: UInt(word & Self.addressMask))!)
                if record.keyLength == key.count,
                    key.count == 0 || memcmp(record.key.baseAddress!, key.baseAddress!, key.count) == 0
                {
                    return slot
                }
            }
            slot = (slot + 1) & mask
        }
    }

    func prefetchSlot(_ hash: UInt64) {
        if self.capacity > 0 { kintsugi_prefetch_line(self.slots! + Self.home(hash, self.capacity - 1)) }
    }

    func prefetchRecord(_ hash: UInt64) {
        guard self.capacity > 0 else { return }
        let word = self.slots![Self.home(hash, self.capacity - 1)]
        if word != 0 { kintsugi_prefetch(Self.record(word).base) }
    }

    private static func home(_ hash: UInt64, _ mask: Int) -> Int { Int(truncatingIfNeeded: hash >> 20) & mask }

    /// - Precondition: the key is absent.
    mutating func insert(_ record: Record, hash: UInt64, rehash: (UnsafeRawBufferPointer) -> UInt64) {
        if (self.count + 1) * 4 > self.capacity * 3 { self.resize(to: max(8, self.capacity * 2), rehash) }
        self.place(record, hash)
        self.count += 1
    }

    private mutating func place(_ record: Record, _ hash: UInt64) {
        let mask = self.capacity - 1
        var slot = Self.home(hash, mask)
        while self.slots![slot] != 0 { slot = (slot + 1) & mask }
        self.slots![slot] = UInt64(UInt(bitPattern: record.base)) | (hash & ~Self.addressMask)
    }

    mutating func replace(at slot: Int, _ record: Record) {
        self.slots![slot] = UInt64(UInt(bitPattern: record.base)) | (self.slots![slot] & ~Self.addressMask)
    }

    mutating func remove(at hole: Int, rehash: (UnsafeRawBufferPointer) -> UInt64) {
        let mask = self.capacity - 1
        var hole = hole
        var slot = (hole + 1) & mask
        while self.slots![slot] != 0 {
            let home = Self.home(rehash(self.record(at: slot)!.key), mask)
            // Whether the record may move back: its home is not between the hole and it.
            if (slot &- home) & mask >= (slot &- hole) & mask {
                self.slots![hole] = self.slots![slot]
                hole = slot
            }
            slot = (slot + 1) & mask
        }
        self.slots![hole] = 0
        self.count -= 1
    }

    private mutating func resize(to capacity: Int, _ rehash: (UnsafeRawBufferPointer) -> UInt64) {
        let old = self.slots
        let oldCapacity = self.capacity
        self.capacity = capacity
        self.slots = .allocate(capacity: capacity)
        self.slots!.initialize(repeating: 0, count: self.capacity)
        for slot in 0..<oldCapacity {
            let word = old![slot]
            guard word != 0 else { continue }
            let record = Record(base: UnsafeMutableRawPointer(bitPattern: UInt(word & Self.addressMask))!)
            self.place(record, rehash(record.key))
        }
        old?.deallocate()
    }

    /// Halves the table where it is mostly empty: a walk over the shard costs its capacity.
    mutating func shrink(_ rehash: (UnsafeRawBufferPointer) -> UInt64) {
        guard self.capacity > 8, self.count * 8 < self.capacity else { return }
        var capacity = self.capacity
        while capacity > 8, self.count * 4 < capacity { capacity /= 2 }
        self.resize(to: capacity, rehash)
    }

    /// Copies the list of the records to `target`, which has room for `count`, in no order. O(capacity).
    func copyWords(to target: UnsafeMutableBufferPointer<UInt64>) {
        var at = 0
        for slot in 0..<self.capacity {
            let word = self.slots![slot]
            if word != 0 {
                target[at] = word
                at += 1
            }
        }
    }

    /// Canonical order: by the hash's upper 16 bits, then by key. So nearly all comparisons are of words that lie side by
    /// side, and the keys, scattered over memory, are not touched.
    static func precedes(_ a: UInt64, _ b: UInt64) -> Bool {
        let (x, y) = (a & ~Self.addressMask, b & ~Self.addressMask)
        return x != y ? x < y : Self.record(a).key.lexicographicallyPrecedes(Self.record(b).key)
    }

    /// Puts words into canonical order. By the 16 bits in two passes, a byte in each, from one list to another and back
    /// (Knuth, The Art of Computer Programming, vol. 3, section 5.2.5); then by key what has all bits the same. O(n) expected.
    static func sort(_ words: UnsafeMutableBufferPointer<UInt64>) {
        guard words.count > 32 else {
            var few = words
            return few.sort(by: Self.precedes)
        }
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: words.count) { other in
            Self.distribute(UnsafeBufferPointer(words), into: other, shift: 48)
            Self.distribute(UnsafeBufferPointer(other), into: words, shift: 56)
        }
        var start = 0
        while start < words.count {
            var end = start + 1
            while end < words.count, (words[end] ^ words[start]) & ~Self.addressMask == 0 { end += 1 }
            if end - start > 1 {
                var run = UnsafeMutableBufferPointer(rebasing: words[start..<end])
                run.sort(by: Self.precedes)
            }
            start = end
        }
    }

    /// Stable, by the byte at `shift`.
    private static func distribute(
        _ source: UnsafeBufferPointer<UInt64>, into target: UnsafeMutableBufferPointer<UInt64>, shift: UInt64
    ) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 256) { place in
            place.initialize(repeating: 0)
            for word in source { place[Int(truncatingIfNeeded: word >> shift) & 0xff] += 1 }
            var sum = 0
            for byte in place.indices { (place[byte], sum) = (sum, sum + place[byte]) }
            for word in source {
                let byte = Int(truncatingIfNeeded: word >> shift) & 0xff
                target.initializeElement(at: place[byte], to: word)
                place[byte] += 1
            }
        }
    }

    /// In canonical order. O(n) expected.
    func sortedRecords() -> [Record] {
        let words = [UInt64](unsafeUninitializedCapacity: self.count) { buffer, count in
            self.copyWords(to: buffer)
            Self.sort(buffer)
            count = self.count
        }
        return words.map(Self.record)
    }

    static func record(_ word: UInt64) -> Record {
        Record(base: UnsafeMutableRawPointer(bitPattern: UInt(word & Self.addressMask))!)
    }

    /// Frees the table, not the records.
    mutating func removeAll() {
        self.slots?.deallocate()
        self.slots = nil
        self.capacity = 0
        self.count = 0
        self.expiring = 0
    }
}
