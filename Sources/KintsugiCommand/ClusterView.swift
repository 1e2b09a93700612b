import FoundationEssentials
import Glibc
import Journal
import LocalCluster
import Synchronization

/// What a node says of itself: the reply to `KINTSUGI STATUS`.
struct NodeStatus: Codable, Sendable, Equatable {
    struct Group: Codable, Sendable, Equatable {
        var group: String
        var role: String
        var term: UInt64
        var commit: UInt64
        var applied: UInt64
    }

    struct Peer: Codable, Sendable, Equatable {
        var id: Int
        var redis: String
        var up: Bool
    }

    var id: Int
    /// up, starting, recovering, sick, down.
    var state: String
    var groups: [Group]
    var peers: [Peer]?
}

/// A cluster as seen from outside: the Redis addresses of its nodes.
struct ClusterView: Sendable {
    /// By node number; 0 where it is not known yet.
    var addresses: [(id: Int, address: HostPort)]
    var password: String?

    /// How long one node is waited for.
    static let patienceMilliseconds = 300

    init(dir: String?, connect: String?) throws {
        switch (dir, connect) {
        case (let dir?, nil):
            let cluster = try withLocalCluster { try LocalCluster.load(dir) }
            self.addresses = cluster.nodes.map { ($0.id, HostPort($0.redis)!) }
        case (nil, let connect?):
            guard let address = HostPort(connect) else { throw CommandFailure.usage("--connect takes HOST:PORT.") }
            self.addresses = [(0, address)]
        default:
            throw CommandFailure.usage(
                "Say which cluster: --dir DIR of a local one, or --connect HOST:PORT of any node.")
        }
    }

    init(_ cluster: LocalCluster) {
        self.addresses = cluster.nodes.map { ($0.id, HostPort($0.redis)!) }
    }

    static func ask(_ address: HostPort, _ words: [String], password: String?) -> RedisReply? {
        guard
            let client = try? RedisClient(
                host: address.host, port: address.port, timeoutMilliseconds: Self.patienceMilliseconds)
        else { return nil }
        if let password, (try? client.command("AUTH", password)) == nil { return nil }
        return try? client.command(words)
    }

    /// The same question to all, side by side.
    func askAll(_ words: [String]) -> [RedisReply?] {
        let replies = Mutex([RedisReply?](repeating: nil, count: self.addresses.count))
        let threads = self.addresses.indices.map { at in
            let thread = JoinableThread()
            let (address, password) = (self.addresses[at].address, self.password)
            thread.start(name: "ask") {
                let reply = Self.ask(address, words, password: password)
                replies.withLock { $0[at] = reply }
            }
            return thread
        }
        for thread in threads { thread.join() }
        return replies.withLock { $0 }
    }

    /// Each known node's status, by number. One that does not answer is `down`.
    mutating func statuses() -> [NodeStatus] {
        var found: [NodeStatus] = []
        func take(_ replies: [RedisReply?]) {
            for (known, reply) in zip(self.addresses, replies) {
                let status = reply?.text.flatMap { try? JSONDecoder().decode(NodeStatus.self, from: Data($0.utf8)) }
                if let status {
                    found.append(status)
                } else if known.id != 0 {
                    found.append(NodeStatus(id: known.id, state: "down", groups: []))
                }
            }
        }
        take(self.askAll(["KINTSUGI", "STATUS"]))
        if self.addresses.count == 1, self.addresses[0].id == 0, let first = found.first {
            // Only one address was given: it names the others.
            let own = self.addresses[0].address
            self.addresses = (first.peers ?? []).map { ($0.id, HostPort($0.redis) ?? HostPort("127.0.0.1:0")!) }
            take(self.askAll(["KINTSUGI", "STATUS"]))
            self.addresses.append((first.id, own))
            self.addresses.sort { $0.id < $1.id }
        }
        found.sort { $0.id < $1.id }
        return Self.withOneLeader(found)
    }

    /// Of two that claim to lead, the one with the lower term has only not heard yet.
    private static func withOneLeader(_ statuses: [NodeStatus]) -> [NodeStatus] {
        var statuses = statuses
        var best: [String: UInt64] = [:]
        for group in statuses.flatMap(\.groups) where group.role == "leader" {
            best[group.group] = max(best[group.group] ?? 0, group.term)
        }
        for at in statuses.indices {
            for group in statuses[at].groups.indices where statuses[at].groups[group].role == "leader" {
                if statuses[at].groups[group].term < best[statuses[at].groups[group].group]! {
                    statuses[at].groups[group].role = "follower"
                }
            }
        }
        return statuses
    }

    static func leader(of group: String, in statuses: [NodeStatus]) -> Int? {
        statuses.first { $0.groups.contains { $0.group == group && $0.role == "leader" } }?.id
    }
}
