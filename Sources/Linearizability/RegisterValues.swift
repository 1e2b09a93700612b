/// A history of overwrites and reads only, each read of one state: a register. What is still to be read of each value, and
/// who may still write it, tells where not to look.
struct RegisterValues {
    /// Number of the value that each operation of the history writes or saw.
    private let values: [Int]
    private let isRead: [Bool]
    /// Operations not placed. Of a value that nobody writes a reader finds no place.
    private var readers: [Int]
    private var writers: [Int]
    private var current = 0

    /// Nil for a history of other operations.
    init?<Specification: SequentialSpecification>(
        _ history: [TimedOperation<Specification.Command, Specification.Reply>], of specification: Specification
    ) {
        var numbers = [specification.initialState: 0]
        var values: [Int] = []
        var isRead: [Bool] = []
        for operation in history {
            let isOpenRead = operation.completion == nil && specification.isReadOnly(operation.command)
            var number = 0
            if !isOpenRead {
                guard let state = specification.registerState(operation.command, reply: operation.completion?.reply)
                else { return nil }
                number = numbers[state] ?? numbers.count
                numbers[state] = number
            }
            values.append(number)
            isRead.append(specification.isReadOnly(operation.command))
        }
        self.values = values
        self.isRead = isRead
        self.readers = Array(repeating: 0, count: numbers.count)
        self.writers = self.readers
        for (at, value) in values.enumerated() {
            if !isRead[at] {
                self.writers[value] += 1
            } else if history[at].completion != nil {
                self.readers[value] += 1
            }
        }
    }

    /// Whether the operation is an overwrite with a value that nobody will read any more.
    func isUnread(_ at: Int) -> Bool { !self.isRead[at] && self.readers[self.values[at]] == 0 }

    /// False for an overwrite by which some reader finds no place any more.
    func mayPlace(_ at: Int) -> Bool {
        self.isRead[at] || self.readers[self.current] == 0 || self.writers[self.current] > 0
    }

    /// - Returns: what to take it back with.
    mutating func place(_ at: Int) -> Int {
        let before = self.current
        if self.isRead[at] {
            self.readers[self.values[at]] -= 1
        } else {
            self.writers[self.values[at]] -= 1
            self.current = self.values[at]
        }
        return before
    }

    mutating func takeBack(_ at: Int, _ before: Int) {
        if self.isRead[at] { self.readers[self.values[at]] += 1 } else { self.writers[self.values[at]] += 1 }
        self.current = before
    }
}
