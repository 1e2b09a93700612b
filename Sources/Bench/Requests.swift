/// A small generator of random numbers (splitmix64): the same seed, the same keys.
struct KeyRandom: BitwiseCopyable {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    @inline(__always)
    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number below `bound`.
    @inline(__always)
    mutating func below(_ bound: UInt64) -> UInt64 { self.next().multipliedFullWidth(by: bound).high }
}

/// One kind of request, encoded once; only the key's digits differ from request to request.
struct RequestTemplate: ~Copyable {
    let bytes: UnsafeMutableBufferPointer<UInt8>
    /// Where the key's twelve digits stand; -1 without a key.
    let digits: Int

    /// - Parameter keyArgument: which argument is the key; it must be 16 bytes that end in twelve zeros.
    init(_ arguments: [[UInt8]], keyArgument: Int?) {
        let text = Self.encoded(arguments)
        var digits = -1
        if let keyArgument {
            digits = Self.encoded(Array(arguments[...keyArgument])).count - 2 - 12
            // The count of arguments has one digit, here and there.
            precondition(arguments.count < 10 && arguments[keyArgument].count == 16)
        }
        self.bytes = .allocate(capacity: text.count)
        _ = self.bytes.initialize(from: text)
        self.digits = digits
    }

    deinit { self.bytes.deallocate() }

    /// A request as RESP has it.
    static func encoded(_ arguments: [[UInt8]]) -> [UInt8] {
        arguments.reduce(into: Array("*\(arguments.count)\r\n".utf8)) { text, argument in
            text += Array("$\(argument.count)\r\n".utf8) + argument + [13, 10]
        }
    }

    /// Puts the request for key number `key` (below 10^12) at `target`; returns its length.
    @inline(__always)
    func write(key: UInt64, at target: UnsafeMutablePointer<UInt8>) -> Int {
        guard let source = self.bytes.baseAddress else { return 0 }
        target.update(from: source, count: self.bytes.count)
        if self.digits >= 0 {
            let (high, low) = key.quotientAndRemainder(dividingBy: 1_000_000)
            Self.sixDigits(UInt32(truncatingIfNeeded: low), target + self.digits + 6)
            if high > 0 { Self.sixDigits(UInt32(truncatingIfNeeded: high), target + self.digits) }
        }
        return self.bytes.count
    }

    @inline(__always)
    private static func sixDigits(_ number: UInt32, _ target: UnsafeMutablePointer<UInt8>) {
        var rest = number
        for place in stride(from: 5, through: 0, by: -1) {
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            target[place] = UInt8(truncatingIfNeeded: digit) | 0x30
            rest = quotient
        }
    }
}

/// What an expected reply stands for.
enum Expectation: UInt8, BitwiseCopyable {
    /// The end of an operation.
    case operation
    /// The reply of a write whose WAIT follows.
    case beforeWait
    /// The reply of a WAIT: the end of a write.
    case wait
}

/// Draws operations and encodes them.
struct RequestSource: ~Copyable {
    private let set: RequestTemplate
    private let get: RequestTemplate
    private let increment: RequestTemplate
    private let wait: RequestTemplate
    private let operation: BenchOptions.Operation
    private let waits: Bool
    private let keys: UInt64
    /// A draw below this is a read.
    private let readBelow: UInt64
    private var random: KeyRandom
    /// The next key where keys come in order, each once.
    private var nextKey: UInt64?

    /// Bytes of the longest operation, with its WAIT.
    let longest: Int
    /// WAIT's time limit: a write without its replicas after this long counts as an error.
    static let waitMilliseconds = 5000

    init(_ job: borrowing LoadJob) {
        var random = KeyRandom(seed: job.seed)
        let value = (0..<job.valueSize).map { _ in UInt8(ascii: "a") + UInt8(random.below(26)) }
        let key = Array("key:000000000000".utf8)
        self.set = RequestTemplate([Array("SET".utf8), key, value], keyArgument: 1)
        self.get = RequestTemplate([Array("GET".utf8), key], keyArgument: 1)
        self.increment = RequestTemplate([Array("INCR".utf8), Array("ctr:000000000000".utf8)], keyArgument: 1)
        self.wait = RequestTemplate(
            [Array("WAIT".utf8), Array("\(job.wait)".utf8), Array("\(Self.waitMilliseconds)".utf8)], keyArgument: nil)
        self.operation = job.operation
        self.waits = job.wait > 0
        self.keys = UInt64(job.keys)
        let share = max(0, min(1, job.readShare))
        self.readBelow = share >= 1 ? .max : UInt64(share * 0x1p64)
        self.random = random
        self.nextKey = job.firstKey
        self.longest = self.set.bytes.count + self.increment.bytes.count + self.wait.bytes.count
    }

    /// Puts one operation at `target`; returns its length and notes what replies it will have.
    @inline(__always)
    mutating func write(
        at target: UnsafeMutablePointer<UInt8>, expect: UnsafeMutablePointer<Expectation>, owed: inout Int
    ) -> Int {
        var key: UInt64
        if let next = self.nextKey {
            key = next
            self.nextKey = next + 1
        } else {
            key = self.random.below(self.keys)
        }
        let length: Int
        switch self.operation {
        case .set: length = self.set.write(key: key, at: target)
        case .incr: length = self.increment.write(key: key, at: target)
        case .get:
            expect[owed] = .operation
            owed += 1
            return self.get.write(key: key, at: target)
        case .mixed:
            if self.random.next() < self.readBelow {
                expect[owed] = .operation
                owed += 1
                return self.get.write(key: key, at: target)
            }
            length = self.set.write(key: key, at: target)
        }
        guard self.waits else {
            expect[owed] = .operation
            owed += 1
            return length
        }
        expect[owed] = .beforeWait
        expect[owed + 1] = .wait
        owed += 2
        return length + self.wait.write(key: 0, at: target + length)
    }
}
