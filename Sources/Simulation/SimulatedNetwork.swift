import Formats
import NodeCore
import Replication

/// What two nodes tell each other when they connect.
struct Hello {
    var node: Int
    var member: MemberID
    var run: RunMark
    var history: RunHistory
}

/// One connection between two processes: end 0 dialled, end 1 accepted. Each way is in order and loses nothing; what
/// can not arrive waits, as a kernel sends it again.
final class SimulatedConnection {
    enum State {
        case handshaking, established, closed
    }

    enum Payload {
        /// The last word of the handshake.
        case hello(Hello)
        case bytes([UInt8])
        case end
    }

    /// What is on its way to one end.
    struct Lane {
        var payloads: [Payload] = []
        var first = 0
        var lastArrival: Nanoseconds = 0
        /// Arrivals that found the way cut, and wait for its healing.
        var stalled = 0

        mutating func next() -> Payload? {
            guard self.first < self.payloads.count else { return nil }
            defer { self.first += 1 }
            return self.payloads[self.first]
        }

        mutating func removeAll() {
            self.payloads.removeAll()
            self.first = 0
            self.stalled = 0
        }
    }

    let nodes: [Int]
    let lives: [Int]
    var states: [State] = [.handshaking, .handshaking]
    /// By the end that it leads to.
    var lanes: [Lane] = [Lane(), Lane()]

    init(dialler: Int, life: Int, acceptor: Int, acceptorLife: Int) {
        self.nodes = [dialler, acceptor]
        self.lives = [life, acceptorLife]
    }

    func end(of node: Int) -> Int { self.nodes[0] == node ? 0 : 1 }
}

/// Which ways are cut, and how slow they are.
struct SimulatedNetwork {
    private let count: Int
    /// From and to: so many reasons why nothing arrives.
    private var cuts: [Int]
    private var extra: [Nanoseconds]
    private var base: [Nanoseconds]
    /// All that are not closed at both ends.
    var connections: [SimulatedConnection] = []

    init(nodes: Int, random: inout Random) {
        self.count = nodes
        self.cuts = Array(repeating: 0, count: nodes * nodes)
        self.extra = Array(repeating: 0, count: nodes * nodes)
        self.base = []
        for _ in 0..<nodes * nodes { self.base.append(50_000 + random.below(400_000)) }
    }

    func isCut(_ from: Int, _ to: Int) -> Bool { self.cuts[from * self.count + to] > 0 }

    mutating func cut(_ from: Int, _ to: Int) { self.cuts[from * self.count + to] += 1 }

    /// True where the way is open now.
    mutating func mend(_ from: Int, _ to: Int) -> Bool {
        self.cuts[from * self.count + to] = max(0, self.cuts[from * self.count + to] - 1)
        return self.cuts[from * self.count + to] == 0
    }

    mutating func slow(_ from: Int, _ to: Int, by extra: Nanoseconds) { self.extra[from * self.count + to] = extra }

    mutating func healAll() {
        for at in self.cuts.indices {
            self.cuts[at] = 0
            self.extra[at] = 0
        }
    }

    func delay(_ from: Int, _ to: Int, _ random: inout Random) -> Nanoseconds {
        let at = from * self.count + to
        let slow = self.extra[at] > 0 ? random.below(self.extra[at]) : 0
        return self.base[at] + random.below(self.base[at]) + slow
    }
}
