import Replication

/// What clients ask, and how often.
package enum Workload: String, Sendable, CaseIterable {
    case mixed, reads, writes, hot, pipelined, quiet

    package var explanation: String {
        switch self {
        case .mixed: "GET, SET, INCR, APPEND, SET with an expiry and WAIT on six keys; three of five are writes"
        case .reads: "nine of ten are reads"
        case .writes: "nine of ten are writes"
        case .hot: "all on one counter and one register"
        case .pipelined: "long pipelines: up to 32 requests of a connection under way"
        case .quiet: "a tenth of the requests: most of the time nothing is asked"
        }
    }

    /// Writes among a hundred requests.
    var writes: UInt64 {
        switch self {
        case .reads: 10
        case .writes: 90
        case .mixed, .hot, .pipelined, .quiet: 60
        }
    }

    /// Places in `Clients.keys`.
    var keys: ClosedRange<Int> { self == .hot ? 2...3 : 0...Clients.keys.count - 1 }

    /// Requests of one connection under way at once; no more are asked from there on.
    var maxPipeline: Int { self == .pipelined ? 32 : 4 }

    /// Requests asked together, at most.
    var batch: UInt64 { self == .pipelined ? 16 : 3 }

    /// A connection's mean pause between two batches of requests. The larger the cluster, the more connections it has;
    /// what they ask together stays the same.
    func meanPause(nodes: Int) -> Nanoseconds {
        let pause: Nanoseconds = self == .quiet ? .milliseconds(600) : .milliseconds(60)
        return nodes > 3 ? pause * 2 : pause
    }
}
