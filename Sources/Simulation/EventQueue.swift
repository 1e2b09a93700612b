import Replication

/// What is to happen, by time; of equal times what was asked for first. A binary heap: O(log n) both ways.
struct EventQueue<Event> {
    private struct Item {
        var time: Nanoseconds
        var order: UInt64
        var event: Event

        @inline(__always)
        static func isBefore(_ a: Item, _ b: Item) -> Bool { a.time != b.time ? a.time < b.time : a.order < b.order }
    }

    private var items: [Item] = []
    private var order: UInt64 = 0

    var isEmpty: Bool { self.items.isEmpty }

    mutating func add(_ event: Event, at time: Nanoseconds) {
        self.order += 1
        self.items.append(Item(time: time, order: self.order, event: event))
        var child = self.items.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Item.isBefore(self.items[child], self.items[parent]) else { return }
            self.items.swapAt(child, parent)
            child = parent
        }
    }

    mutating func removeFirst() -> (time: Nanoseconds, event: Event)? {
        guard let first = self.items.first else { return nil }
        let last = self.items.removeLast()
        guard !self.items.isEmpty else { return (first.time, first.event) }
        self.items[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in 2 * parent + 1..<2 * parent + 3 where child < self.items.count {
                if Item.isBefore(self.items[child], self.items[least]) { least = child }
            }
            guard least != parent else { break }
            self.items.swapAt(parent, least)
            parent = least
        }
        return (first.time, first.event)
    }
}
