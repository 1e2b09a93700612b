/// What is still to be read of each value of a register, and who may still write it: that tells a search where not to
/// look.
struct RegisterValues {
    /// Of each operation of the history.
    private let accesses: [RegisterAccess]
    /// Operations not placed, by value.
    private var readers: [Int]
    private var writers: [Int]
    /// Nil when it has gone.
    private var current: Int? = 0

    /// Nil for an object that is more than a register.
    init?<Specification: SequentialSpecification>(
        _ history: [TimedOperation<Specification.Command, Specification.Reply>], of specification: Specification
    ) {
        guard let accesses = specification.registerAccesses(history) else { return nil }
        self.accesses = accesses
        // Each value but the first has an operation of its own.
        self.readers = Array(repeating: 0, count: accesses.count + 1)
        self.writers = self.readers
        for access in accesses { self.count(access, 1) }
    }

    private mutating func count(_ access: RegisterAccess, _ step: Int) {
        switch access {
        case .write(let value): self.writers[value] += step
        case .read(let value): self.readers[value] += step
        case .readGone, .nothing: break
        }
    }

    /// Whether the value now is still to be read.
    private var isCurrentAwaited: Bool { self.current.map { self.readers[$0] > 0 } ?? false }

    /// Whether the operation is an overwrite with a value that nobody will read any more.
    func isUnread(_ at: Int) -> Bool {
        if case .write(let value) = self.accesses[at] { self.readers[value] == 0 } else { false }
    }

    /// Whether the operation finds the value gone and nobody will miss it.
    func isUnmissed(_ at: Int) -> Bool {
        if case .readGone = self.accesses[at] { !self.isCurrentAwaited } else { false }
    }

    /// False for an operation that ends a value that some reader waits for, and nobody will write again.
    func mayPlace(_ at: Int) -> Bool {
        switch self.accesses[at] {
        case .write, .readGone: !self.isCurrentAwaited || self.writers[self.current!] > 0
        case .read, .nothing: true
        }
    }

    /// - Returns: what to take it back with.
    mutating func place(_ at: Int) -> Int? {
        let before = self.current
        self.count(self.accesses[at], -1)
        switch self.accesses[at] {
        case .write(let value): self.current = value
        case .readGone: self.current = nil
        case .read, .nothing: break
        }
        return before
    }

    mutating func takeBack(_ at: Int, _ before: Int?) {
        self.count(self.accesses[at], 1)
        self.current = before
    }
}
