import DequeModule
package import Replication

/// Reads on their way: gathered for a turn, waiting for an index under one ticket, then for the state to reach it.
/// Answered strictly in the order asked.
struct ReadQueue {
    struct Item: BitwiseCopyable {
        var client: ClientID
        var offset: Int
        var count: Int
    }

    struct Batch {
        /// 0 while none was asked for.
        var ticket: UInt64 = 0
        var index: LogIndex?
        var created = Instant(nanoseconds: 0)
        var bytes: [UInt8] = []
        var items: [Item] = []
        /// First item not yet answered.
        var next = 0
        /// A time entry was asked for, for the item at `next`, when the state had applied this much.
        var timeAskedAt: LogIndex?
        var asked = Instant(nanoseconds: 0)

        mutating func removeAll() {
            self.ticket = 0
            self.index = nil
            self.bytes.removeAll(keepingCapacity: true)
            self.items.removeAll(keepingCapacity: true)
            self.next = 0
            self.timeAskedAt = nil
        }
    }

    /// Asked for or to be asked for, oldest first. The last may still be gathering (`ticket` 0).
    var batches: Deque<Batch> = []
    private var spare: [Batch] = []
    private(set) var count = 0
    /// Of all batches.
    private(set) var byteCount = 0

    mutating func append(_ command: UnsafeRawBufferPointer, for client: ClientID, now: Instant) {
        if self.batches.last.map({ $0.ticket != 0 || $0.index != nil }) ?? true {
            var batch = self.spare.popLast() ?? Batch()
            batch.created = now
            self.batches.append(batch)
        }
        let last = self.batches.count - 1
        let offset = self.batches[last].bytes.count
        self.batches[last].bytes.append(contentsOf: command)
        self.batches[last].items.append(Item(client: client, offset: offset, count: command.count))
        self.count += 1
        self.byteCount += command.count
    }

    /// Tickets that wait for an index.
    var asked: Int {
        var asked = 0
        for batch in self.batches where batch.ticket != 0 && batch.index == nil { asked += 1 }
        return asked
    }

    /// Position of the first batch that has asked for no index.
    var unasked: Int? { self.batches.firstIndex { $0.ticket == 0 && $0.index == nil } }

    mutating func answer(_ ticket: UInt64, _ index: LogIndex) {
        for at in self.batches.indices where self.batches[at].ticket == ticket { self.batches[at].index = index }
    }

    /// No index for this ticket: ask again.
    mutating func fail(_ ticket: UInt64) {
        for at in self.batches.indices where self.batches[at].ticket == ticket && self.batches[at].index == nil {
            self.batches[at].ticket = 0
        }
    }

    mutating func failAll() {
        for at in self.batches.indices where self.batches[at].index == nil { self.batches[at].ticket = 0 }
    }

    mutating func answered(_ count: Int) { self.count -= count }

    mutating func removeFirst() {
        var batch = self.batches.removeFirst()
        self.byteCount -= batch.bytes.count
        if self.spare.count < 4, batch.bytes.capacity <= 1 << 20 {
            batch.removeAll()
            self.spare.append(batch)
        }
    }
}
