import Replication

/// What a search may spend. Both are counted, not timed, so that equal histories have equal verdicts on any machine.
package struct SearchLimits: Sendable {
    /// Attempts to place an operation, over the whole check of one object. Past it the verdict is *undecided*.
    package var steps = 5_000_000
    /// Bytes of remembered configurations. Past it no more are remembered: slower, not wrong.
    package var rememberedBytes = 256 << 20

    package init() {}
}

/// Looks for an order of the operations that explains all replies: Wing and Gong's search (*Testing and verifying
/// concurrent objects*, J. Parallel Distrib. Comput. 17, 1993) with Lowe's memory of configurations (*Testing for
/// linearizability*, Concurrency Computat.: Pract. Exper. 29(4), 2017).
///
/// It goes depth first. An operation can be placed next if it was called before the first return of those not placed,
/// and if its connection lets it. A configuration, which operations are placed and the state, is tried once. Calls and
/// returns of completed operations that are not placed are a doubly linked list, so that placing and taking back are
/// O(1). The history is linearizable when all completed operations are placed.
///
/// Not every choice need be tried. Take a beginning that some right order goes on from, and of those orders one with
/// the fewest open operations. Some such order goes on so that
///
/// 1. a read that can come next and leaves the state as it is does come next: wherever it stands, it may be moved here;
/// 2. no open operation comes directly before an overwrite: without it the order would be right as well, and have
///    fewer;
/// 3. of two open operations with equal commands that could both come next, the later one does not if its connection
///    has no write after it: exchanging them, or taking the earlier one in its stead, is right too.
///
/// Of a register (`RegisterAccess`), besides,
///
/// 4. a value that is still to be read does not end where nobody will write it again;
/// 5. a read that finds the value gone comes next if it can and nobody is to read that value: it may be moved here;
/// 6. an open write of a value that nobody will read never takes effect: without it the order would be right as well;
/// 7. a completed write of a value that nobody will read comes next if it can, and neither 1 nor 5 holds. What comes
///    next then ends the value, and directly before that the write is as good as anywhere. Reads that in its old place
///    found its value gone will find the one before it gone. Not so where it would shut out an open write of its
///    connection.
///
/// 1, 5 and 7 leave no choice at all. Open operations, of which there may be many that never took effect, are tried
/// last.
struct Search<Specification: SequentialSpecification> {
    typealias History = [TimedOperation<Specification.Command, Specification.Reply>]

    enum Outcome {
        /// Places in the history, in the order in which they took effect.
        case linearizable([Int])
        case notLinearizable
        case undecided
    }

    /// Which operations are placed, and the state that leaves.
    private struct Configuration: Hashable {
        /// In the first bit whether an open operation was placed last, then the number of the first word of completed
        /// operations that counts (all before are placed); the bits of the open ones; the bits of the completed ones.
        var words: [UInt64]
        var state: Specification.State
    }

    /// An operation placed, and what to go back to.
    private struct Frame {
        var number: PartialOrder.Number
        var state: Specification.State
        var wasOpen: Bool
        var end: Int
        /// The register's value.
        var register: Int?
        /// There was no other choice.
        var isForced: Bool
    }

    private let specification: Specification
    private let history: History
    private let order: PartialOrder
    private let foreknowledge: Specification.Foreknowledge
    private var rememberedBytesLeft: Int
    private var register: RegisterValues?

    private var events: LinkedEntries
    private var opens: LinkedEntries
    /// Entry of the call, and of the return, of each completed operation.
    private var calls: [Int]
    private var returns: [Int]

    private var placed: BitSet
    private var placedOpen: BitSet
    /// No completed operation below is missing.
    private var start = 0
    /// No completed operation from here on is placed.
    private var end = 0
    private var state: Specification.State
    private var isOpenLast = false
    private var frames: [Frame] = []
    private var seen: Set<Configuration> = []

    init(_ history: History, of specification: Specification, keepsConnectionOrder: Bool, limits: SearchLimits) {
        let order = PartialOrder(history, of: specification, keepsConnectionOrder: keepsConnectionOrder)
        self.specification = specification
        self.history = history
        self.order = order
        self.foreknowledge = specification.foreknowledge(of: history)
        self.rememberedBytesLeft = limits.rememberedBytes
        self.register = RegisterValues(history, of: specification)
        self.events = LinkedEntries(count: order.events.count)
        self.opens = LinkedEntries(count: order.open.count)
        self.calls = Array(repeating: 0, count: order.completed.count)
        self.returns = self.calls
        for (entry, event) in order.events.enumerated() {
            if event.isReturn { self.returns[event.operation] = entry } else { self.calls[event.operation] = entry }
        }
        self.placed = BitSet(count: order.completed.count)
        self.placedOpen = BitSet(count: order.open.count)
        self.state = specification.initialState
    }

    /// - Parameter steps: what may be spent, and what is left of it.
    mutating func run(steps: inout Int) -> Outcome {
        var missing = self.order.completed.count
        // Where to go on looking for the next operation: among the completed ones, then among the open ones.
        var entry = self.events.first
        var open: Int?
        var isNew = true
        while missing > 0 {
            guard steps > 0 else { return .undecided }
            steps -= 1
            if isNew {
                isNew = false
                entry = self.events.first
                open = nil
                if let forced = self.forced() {
                    if self.place(.completed(forced), isForced: true) {
                        missing -= 1
                        isNew = true
                        continue
                    }
                    // Nor is there another choice.
                    open = self.opens.end
                }
            }
            if let number = open {
                if number != self.opens.end, self.order.openAfter[number] <= self.firstReturn {
                    open = self.opens.after(number)
                    isNew = self.canPlace(open: number) && self.place(.open(number), isForced: false)
                    continue
                }
            } else {
                let event = self.order.events[entry]
                if event.isReturn {
                    open = self.opens.first
                } else {
                    entry = self.events.after(entry)
                    isNew =
                        self.canPlace(completed: event.operation)
                        && self.place(.completed(event.operation), isForced: false)
                    if isNew { missing -= 1 }
                }
                continue
            }
            // Nothing can come next.
            while true {
                guard let frame = self.frames.popLast() else { return .notLinearizable }
                self.takeBack(frame)
                switch frame.number {
                case .completed(let number):
                    missing += 1
                    entry = self.events.after(self.calls[number])
                    open = nil
                case .open(let number):
                    open = self.opens.after(number)
                }
                if !frame.isForced { break }
            }
        }
        return .linearizable(
            self.frames.map { frame in
                switch frame.number {
                case .completed(let number): self.order.completed[number]
                case .open(let number): self.order.open[number]
                }
            })
    }

    /// The completed operation that can only come next, if there is one: by 1 or 5, else by 7.
    private func forced() -> Int? {
        var entry = self.events.first
        var unread: Int?
        while true {
            let event = self.order.events[entry]
            if event.isReturn { return unread }
            entry = self.events.after(entry)
            guard self.canPlace(completed: event.operation) else { continue }
            let at = self.order.completed[event.operation]
            let operation = self.history[at]
            if self.specification.isReadOnly(operation.command) {
                let reply = operation.completion?.reply
                if self.register?.isUnmissed(at) == true
                    || self.specification.apply(operation.command, reply: reply, to: self.state) == self.state
                {
                    return event.operation
                }
            } else if unread == nil, let register = self.register, register.isUnread(at),
                !self.order.followsOpen[event.operation]
            {
                unread = event.operation
            }
        }
    }

    /// Entry of the first return of those not placed. Calls before it are of operations under way at that time: few.
    private var firstReturn: Int {
        var entry = self.events.first
        while !self.order.events[entry].isReturn { entry = self.events.after(entry) }
        return entry
    }

    // MARK: What can be placed

    private func canPlace(completed number: Int) -> Bool {
        let before = self.order.completedBefore[number]
        guard before < 0 || self.placed[before] else { return false }
        return !self.isNeedless(self.order.completed[number], isReplyKnown: true)
    }

    private func canPlace(open number: Int) -> Bool {
        !self.isNeedless(self.order.open[number], isReplyKnown: false)
            && self.register?.isUnread(self.order.open[number]) != true
            && self.connectionAllows(open: number) && !self.hasEarlierTwin(number)
    }

    /// Whether it would make the open operation before it needless.
    private func isNeedless(_ at: Int, isReplyKnown: Bool) -> Bool {
        self.isOpenLast && self.specification.isOverwrite(self.history[at].command, isReplyKnown: isReplyKnown)
    }

    private func connectionAllows(open number: Int) -> Bool {
        let before = self.order.completedBeforeOpen[number]
        guard before < 0 || self.placed[before] else { return false }
        for write in self.order.writesAfterOpen[number] {
            switch write {
            case .completed(let completed): if self.placed[completed] { return false }
            case .open(let open): if self.placedOpen[open] { return false }
            }
        }
        return true
    }

    private func hasEarlierTwin(_ number: Int) -> Bool {
        guard self.order.writesAfterOpen[number].isEmpty else { return false }
        var twin = self.order.twinOfOpen[number]
        while twin >= 0 {
            if !self.placedOpen[twin], self.connectionAllows(open: twin) { return true }
            twin = self.order.twinOfOpen[twin]
        }
        return false
    }

    // MARK: Placing and taking back

    /// False where its reply does not fit, or the configuration has been tried.
    private mutating func place(_ number: PartialOrder.Number, isForced: Bool) -> Bool {
        let at: Int =
            switch number {
            case .completed(let completed): self.order.completed[completed]
            case .open(let open): self.order.open[open]
            }
        let operation = self.history[at]
        guard
            let next = self.specification.apply(
                operation.command, reply: operation.completion?.reply, to: self.state),
            self.specification.mayPass(through: next, self.foreknowledge), self.register?.mayPlace(at) ?? true
        else { return false }
        let frame = Frame(
            number: number, state: self.state, wasOpen: self.isOpenLast, end: self.end,
            register: self.register?.place(at) ?? nil, isForced: isForced)
        switch number {
        case .completed(let completed):
            self.events.remove(self.calls[completed])
            self.events.remove(self.returns[completed])
            self.placed[completed] = true
            self.end = max(self.end, completed + 1)
            while self.start < self.end, self.placed[self.start] { self.start += 1 }
            self.isOpenLast = false
        case .open(let open):
            self.opens.remove(open)
            self.placedOpen[open] = true
            self.isOpenLast = true
        }
        self.state = next
        // What is forced is come to from one configuration only, which is remembered.
        guard isForced || self.remember() else {
            self.takeBack(frame)
            return false
        }
        self.frames.append(frame)
        return true
    }

    /// True where the configuration is new.
    private mutating func remember() -> Bool {
        let first = self.start / 64
        let last = (self.end + 63) / 64
        var words: [UInt64] = []
        words.reserveCapacity(1 + self.placedOpen.words.count + max(0, last - first))
        words.append(UInt64(first) << 1 | (self.isOpenLast ? 1 : 0))
        words.append(contentsOf: self.placedOpen.words)
        if first < last { words.append(contentsOf: self.placed.words[first..<last]) }
        let configuration = Configuration(words: words, state: self.state)
        guard self.rememberedBytesLeft > 0 else { return !self.seen.contains(configuration) }
        // The array's header, and the set's own room.
        self.rememberedBytesLeft -= words.count * 8 + self.specification.size(of: self.state) + 96
        return self.seen.insert(configuration).inserted
    }

    private mutating func takeBack(_ frame: Frame) {
        let at: Int
        switch frame.number {
        case .completed(let completed):
            self.events.restore(self.returns[completed])
            self.events.restore(self.calls[completed])
            self.placed[completed] = false
            self.start = min(self.start, completed)
            at = self.order.completed[completed]
        case .open(let open):
            self.opens.restore(open)
            self.placedOpen[open] = false
            at = self.order.open[open]
        }
        self.register?.takeBack(at, frame.register)
        self.state = frame.state
        self.end = frame.end
        self.isOpenLast = frame.wasOpen
    }
}
