/// One key of a cache: the commands that clients use to find out whether a cache keeps its promises.
package enum CacheCommand: Hashable, Sendable {
    case get
    case set([UInt8])
    /// SET with an expiry. When a value goes depends on clocks that nobody compares: at any time after it was set. But
    /// once gone it is gone.
    case setExpiring([UInt8])
    /// SETNX.
    case setIfAbsent([UInt8])
    case getSet([UInt8])
    case getDelete
    /// INCRBY; INCR with 1, DECR with -1.
    case increment(Int64)
    case append([UInt8])
    case delete
    /// Sets `new` where the value is `expected`.
    case compareAndSet(expected: [UInt8], new: [UInt8])
}

package enum CacheReply: Hashable, Sendable {
    /// OK.
    case done
    /// Nil: there was none.
    case value([UInt8]?)
    /// A sum, a length, or how many keys were changed.
    case number(Int64)
    /// The value was not one that the command works on; nothing changed.
    case failed
}

/// The value of a key; it may go by itself.
struct CacheValue: Hashable, Sendable {
    var bytes: [UInt8]
    var expires = false

    func hash(into hasher: inout Hasher) {
        self.bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
        hasher.combine(self.expires)
    }
}

/// What a key may hold.
///
/// A value that may have expired and a command whose reply nobody knows leave more than one possibility, so this is a
/// set of them: the deterministic specification that accepts what the other one may do (the subset construction).
package struct CacheState: Hashable, Sendable {
    /// In order, each once. Nil, for no value, is left out beside a value that expires, which stands for both.
    private(set) var possible: [CacheValue?]

    static let absent = CacheState(possible: [nil])

    fileprivate init(possible: [CacheValue?]) { self.possible = possible }

    /// - Parameter values: at least one.
    fileprivate init(_ values: [CacheValue?]) {
        guard values.count > 1 else {
            self.possible = values
            return
        }
        var rest = Array(Set(values))
        if rest.contains(where: { $0?.expires == true }) { rest.removeAll { $0 == nil } }
        rest.sort { Self.rank($0).lexicographicallyPrecedes(Self.rank($1)) }
        self.possible = rest
    }

    private static func rank(_ value: CacheValue?) -> [UInt8] {
        value.map { [1, $0.expires ? 1 : 0] + $0.bytes } ?? [0]
    }
}

/// A key of a cache that behaves as Redis's strings do.
package struct CacheSpecification: SequentialSpecification {
    /// Of a key that is only appended to and read: the longest value that was read.
    package struct Foreknowledge {
        fileprivate var longestRead: [UInt8]?
    }

    package init() {}

    package var initialState: CacheState { .absent }

    package func apply(_ command: CacheCommand, reply: CacheReply?, to state: CacheState) -> CacheState? {
        var after: [CacheValue?] = []
        for value in state.possible {
            let (next, actual) = Self.run(command, on: value)
            if reply == nil || reply == actual { after.append(next) }
            guard value?.expires == true else { continue }
            let (nextIfGone, actualIfGone) = Self.run(command, on: nil)
            if reply == nil || reply == actualIfGone { after.append(nextIfGone) }
        }
        return after.isEmpty ? nil : CacheState(after)
    }

    private static func run(_ command: CacheCommand, on value: CacheValue?) -> (CacheValue?, CacheReply) {
        switch command {
        case .get:
            return (value, .value(value?.bytes))
        case .set(let bytes):
            return (CacheValue(bytes: bytes), .done)
        case .setExpiring(let bytes):
            return (CacheValue(bytes: bytes, expires: true), .done)
        case .setIfAbsent(let bytes):
            return value == nil ? (CacheValue(bytes: bytes), .number(1)) : (value, .number(0))
        case .getSet(let bytes):
            return (CacheValue(bytes: bytes), .value(value?.bytes))
        case .getDelete:
            return (nil, .value(value?.bytes))
        case .increment(let step):
            guard let old = value.map({ Self.integer($0.bytes) }) ?? 0 else { return (value, .failed) }
            let (new, overflow) = old.addingReportingOverflow(step)
            if overflow { return (value, .failed) }
            // The expiry stays.
            return (CacheValue(bytes: Array("\(new)".utf8), expires: value?.expires ?? false), .number(new))
        case .append(let bytes):
            var new = value ?? CacheValue(bytes: [])
            new.bytes += bytes
            return (new, .number(Int64(new.bytes.count)))
        case .delete:
            return (nil, .number(value == nil ? 0 : 1))
        case .compareAndSet(let expected, let new):
            return value?.bytes == expected ? (CacheValue(bytes: new), .number(1)) : (value, .number(0))
        }
    }

    /// A number as the protocol writes it: no other sign than one minus, no needless zero, 64 bits.
    static func integer(_ bytes: [UInt8]) -> Int64? {
        guard let value = Int64(String(decoding: bytes, as: UTF8.self)), "\(value)".utf8.elementsEqual(bytes) else {
            return nil
        }
        return value
    }

    // MARK: What saves steps

    package func isReadOnly(_ command: CacheCommand) -> Bool {
        switch command {
        case .get: true
        case .set, .setExpiring, .setIfAbsent, .getSet, .getDelete, .increment, .append, .delete, .compareAndSet: false
        }
    }

    package func isOverwrite(_ command: CacheCommand, isReplyKnown: Bool) -> Bool {
        switch command {
        case .set, .setExpiring: true
        // Their replies tell what was before.
        case .getSet, .getDelete, .delete: !isReplyKnown
        case .get, .setIfAbsent, .increment, .append, .compareAndSet: false
        }
    }

    /// With values of SET, or of SET with an expiry, but not of both.
    package func registerAccesses(_ operations: [TimedOperation<CacheCommand, CacheReply>]) -> [RegisterAccess]? {
        let expires = operations.contains { if case .setExpiring = $0.command { true } else { false } }
        // 0 is no value.
        var numbers: [[UInt8]: Int] = [:]
        func number(_ bytes: [UInt8]) -> Int {
            if let number = numbers[bytes] { return number }
            numbers[bytes] = numbers.count + 1
            return numbers.count
        }
        var accesses: [RegisterAccess] = []
        for operation in operations {
            switch (operation.command, operation.completion?.reply) {
            case (.set(let bytes), nil) where !expires, (.set(let bytes), .done) where !expires,
                (.setExpiring(let bytes), nil), (.setExpiring(let bytes), .done):
                accesses.append(.write(number(bytes)))
            case (.get, .value(let bytes?)): accesses.append(.read(number(bytes)))
            case (.get, .value(nil)): accesses.append(expires ? .readGone : .read(0))
            case (.get, nil): accesses.append(.nothing)
            default: return nil
            }
        }
        return accesses
    }

    package func size(of state: CacheState) -> Int {
        state.possible.reduce(32) { $0 + 48 + ($1?.bytes.count ?? 0) }
    }

    package func foreknowledge(of operations: [TimedOperation<CacheCommand, CacheReply>]) -> Foreknowledge {
        var longest: [UInt8] = []
        for operation in operations {
            switch operation.command {
            case .append: break
            case .get:
                if case .value(let bytes?)? = operation.completion?.reply, bytes.count > longest.count {
                    longest = bytes
                }
            case .set, .setExpiring, .setIfAbsent, .getSet, .getDelete, .increment, .delete, .compareAndSet:
                return Foreknowledge(longestRead: nil)
            }
        }
        return Foreknowledge(longestRead: longest)
    }

    /// A value that is only appended to is a beginning of all later ones.
    package func mayPass(through state: CacheState, _ foreknowledge: Foreknowledge) -> Bool {
        guard let longest = foreknowledge.longestRead else { return true }
        return state.possible.allSatisfy { Self.haveEqualBeginnings($0?.bytes ?? [], longest) }
    }

    /// Whether they are equal as far as the shorter one goes.
    private static func haveEqualBeginnings(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        a.withUnsafeBytes { a in
            b.withUnsafeBytes { b in
                let count = min(a.count, b.count)
                // Eight at a time: values may be long, and there is one comparison a step.
                var at = 0
                while at + 8 <= count {
                    if a.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                        != b.loadUnaligned(fromByteOffset: at, as: UInt64.self)
                    {
                        return false
                    }
                    at += 8
                }
                while at < count {
                    if a[at] != b[at] { return false }
                    at += 1
                }
                return true
            }
        }
    }

    // MARK: In words

    package func describe(_ command: CacheCommand) -> String {
        HistoryText.text(command, limit: Self.bytesShown)
    }

    package func describe(_ reply: CacheReply) -> String { HistoryText.text(reply, limit: Self.bytesShown) }

    package func describe(_ state: CacheState) -> String {
        state.possible.map { value in
            guard let value else { return "no value" }
            return HistoryText.quoted(value.bytes, limit: Self.bytesShown) + (value.expires ? ", unless expired" : "")
        }.joined(separator: " or ")
    }

    package func expectedReply(to command: CacheCommand, in state: CacheState) -> String {
        self.replies(to: command, in: state).map { self.describe($0) }.joined(separator: " or ")
    }

    /// All that a command may be answered with, each once; at least one.
    package func replies(to command: CacheCommand, in state: CacheState) -> [CacheReply] {
        var replies: [CacheReply] = []
        for value in state.possible {
            for value in value?.expires == true ? [value, nil] : [value] {
                let reply = Self.run(command, on: value).1
                if !replies.contains(reply) { replies.append(reply) }
            }
        }
        return replies
    }

    /// Bytes of a value beyond which only their number is given.
    private static let bytesShown = 80
}
