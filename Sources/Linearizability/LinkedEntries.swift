/// The numbers from 0 in a doubly linked list. What was removed last is restored first, each in O(1) (Knuth's *dancing
/// links*).
struct LinkedEntries {
    /// Of each entry, and of the head, which stands behind the last.
    private var next: [Int]
    private var previous: [Int]
    /// Stands behind the last entry.
    let end: Int

    init(count: Int) {
        self.end = count
        self.next = (0...count).map { $0 == count ? 0 : $0 + 1 }
        self.previous = (0...count).map { $0 == 0 ? count : $0 - 1 }
    }

    var first: Int { self.next[self.end] }

    func after(_ entry: Int) -> Int { self.next[entry] }

    mutating func remove(_ entry: Int) {
        self.next[self.previous[entry]] = self.next[entry]
        self.previous[self.next[entry]] = self.previous[entry]
    }

    mutating func restore(_ entry: Int) {
        self.next[self.previous[entry]] = entry
        self.previous[self.next[entry]] = entry
    }
}

/// A set of numbers below a bound.
struct BitSet {
    private(set) var words: [UInt64]

    init(count: Int) { self.words = Array(repeating: 0, count: (count + 63) / 64) }

    subscript(number: Int) -> Bool {
        get { self.words[number >> 6] >> UInt64(number & 63) & 1 == 1 }
        set {
            let bit: UInt64 = 1 << UInt64(number & 63)
            if newValue { self.words[number >> 6] |= bit } else { self.words[number >> 6] &= ~bit }
        }
    }
}
