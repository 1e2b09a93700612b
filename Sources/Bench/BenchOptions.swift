import Glibc

/// What to run against which servers.
package struct BenchOptions: Sendable {
    package enum Operation: String, Sendable, CaseIterable {
        case set, get, incr
        /// GET and SET, by the read share.
        case mixed
    }

    /// `HOST:PORT` each, an IPv4 address or `localhost`. Connections are spread over them in turn.
    package var addresses: [String]
    package var operation = Operation.set
    package var connections = 64
    /// Requests that a connection sends together, before it waits for all their replies.
    package var pipeline = 1
    /// Bytes of a value.
    package var valueSize = 100
    /// Keys are drawn evenly from this many: `key:` and twelve digits, 16 bytes.
    package var keys = 1_000_000
    /// The part of GET in `mixed`, from 0 to 1.
    package var readShare = 0.9
    /// Seconds to measure; not looked at where `requests` is set.
    package var seconds = 10.0
    /// Operations to measure, instead of a time.
    package var requests: Int?
    /// Seconds to run before measuring.
    package var warmUp = 1.0
    package var password: String?
    /// Each write is followed by `WAIT replicas`, and done when that replies. 0: none.
    package var wait = 0
    /// Threads of the generator. One keeps up with any single server on two cores, and leaves it the other.
    package var threads = 1
    /// Keys 0 ..< preload are written before anything else, in large pipelines.
    package var preload = 0
    package var seed: UInt64 = 1
    /// Seconds without any reply after which a run is given up.
    package var stallSeconds = 30.0
    /// SIGINT and SIGTERM end the measuring and give the result so far. They are given back afterwards.
    package var stopsAtSignals = false

    /// Fail-over mode: gaps longer than this are listed.
    package var gapMilliseconds = 5.0
    /// Fail-over mode: where to list them, a line each: UTC start, length in milliseconds. `-`: standard output.
    package var gapsPath: String?

    package init(addresses: [String]) { self.addresses = addresses }

    /// What is wrong with the options, in one sentence.
    package func validate() throws(BenchError) {
        func check(_ condition: Bool, _ message: String) throws(BenchError) {
            if !condition { throw BenchError.invalid(message) }
        }
        try check(!self.addresses.isEmpty, "No address to connect to.")
        for address in self.addresses { _ = try ServerAddress(address) }
        try check((1...10_000).contains(self.connections), "Connections must be 1 to 10,000, not \(self.connections).")
        try check((1...10_000).contains(self.pipeline), "The pipeline must be 1 to 10,000, not \(self.pipeline).")
        try check(
            (0...(64 << 20)).contains(self.valueSize), "The value size must be 0 to 64 MiB, not \(self.valueSize).")
        try check((1...1_000_000_000_000).contains(self.keys), "Keys must be 1 to 10^12, not \(self.keys).")
        try check((0...1).contains(self.readShare), "The read share must be 0 to 1, not \(self.readShare).")
        try check(self.seconds > 0 && self.seconds <= 1e6, "The duration must be over 0 and at most 10^6 seconds.")
        try check(self.warmUp >= 0 && self.warmUp <= 1e6, "The warm-up must be 0 to 10^6 seconds.")
        try check(self.requests.map { $0 > 0 } ?? true, "The number of requests must be over 0.")
        try check((0...100).contains(self.wait), "WAIT takes 0 to 100 replicas, not \(self.wait).")
        try check(
            (1...64).contains(self.threads) && self.threads <= self.connections,
            "Threads must be 1 to 64 and not more than connections, not \(self.threads).")
        try check(
            (0...1_000_000_000_000).contains(self.preload), "Keys to load must be 0 to 10^12, not \(self.preload).")
        try check(self.stallSeconds > 0 && self.stallSeconds <= 1e6, "The stall limit must be over 0 seconds.")
        try check(self.gapMilliseconds >= 0 && self.gapMilliseconds <= 1e9, "The gap limit must be 0 ms or more.")
        // Every connection holds one encoded pipeline.
        try check(
            self.connections * self.pipeline * (self.valueSize + 256) <= 4 << 30,
            "Connections x pipeline x value size is over 4 GiB.")
    }
}

package enum BenchError: Error, Sendable, Equatable, CustomStringConvertible {
    /// An option is out of range.
    case invalid(String)
    /// Nobody answers at an address, or not any more.
    case unreachable(String)
    /// The server will not serve us: a wrong password, for example.
    case refused(String)
    /// The reply is not RESP2, or one that nobody asked for.
    case malformed(String)
    /// The system refused a call.
    case system(String)

    package var description: String {
        switch self {
        case .invalid(let text), .unreachable(let text), .refused(let text), .malformed(let text), .system(let text):
            text
        }
    }

    /// The process's exit code.
    package var exitCode: Int32 {
        switch self {
        case .invalid: 64
        case .unreachable: 69
        case .refused, .malformed, .system: 1
        }
    }

    static func system(_ call: String, _ code: Int32) -> BenchError {
        .system("\(call): \(String(cString: strerror(code))).")
    }
}

/// An IPv4 address and a port.
struct ServerAddress: Sendable {
    let text: String
    let socketAddress: sockaddr_in

    init(_ text: String) throws(BenchError) {
        self.text = text
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let port = UInt16(parts[1]), port > 0 else {
            throw BenchError.invalid("'\(text)' is not HOST:PORT.")
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        guard inet_pton(AF_INET, parts[0] == "localhost" ? "127.0.0.1" : String(parts[0]), &address.sin_addr) == 1
        else {
            throw BenchError.invalid("'\(parts[0])' is neither an IPv4 address nor localhost.")
        }
        self.socketAddress = address
    }
}
