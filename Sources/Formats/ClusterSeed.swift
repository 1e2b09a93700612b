public import Replication

/// A cluster's birth: its id, its first nodes with the incarnations of their disks, and the key by which they know each
/// other. Made once by `kintsugi init`; a node's empty directory is formatted from it, and keeps a copy.
///
/// Text, one `key value` a line, the last line a checksum of those before it.
public struct ClusterSeed: Sendable, Equatable {
    public struct Node: Sendable, Equatable {
        public var member: MemberID
        public var host: String
        public var port: Int

        public init(member: MemberID, host: String, port: Int) {
            self.member = member
            self.host = host
            self.port = port
        }

        public var node: NodeID { self.member.node }
    }

    public var cluster: ClusterID
    public var peers: [Node]
    /// 32 bytes. Never sent; proved by HMAC in the handshake.
    public var key: [UInt8]

    /// - Parameter random: gives 64 random bits at each call.
    public init(nodes: [(node: NodeID, host: String, port: Int)], random: () -> UInt64) {
        self.cluster = ClusterID(high: random(), low: random())
        self.peers = nodes.sorted { $0.node < $1.node }.map {
            Node(
                member: MemberID(node: $0.node, incarnation: Incarnation(high: random(), low: random())), host: $0.host,
                port: $0.port)
        }
        self.key = []
        for _ in 0..<4 { self.key.append(littleEndian: random()) }
    }

    public var text: String {
        var body = "kintsugi-cluster-seed 1\ncluster \(self.cluster)\nkey \(Self.hexadecimal(self.key))\n"
        for peer in self.peers {
            body += "node \(peer.node) \(peer.member.incarnation) \(peer.host):\(peer.port)\n"
        }
        return body + "checksum \(Self.checksum(body))\n"
    }

    /// Throws with a sentence that says what is wrong.
    public init(text: String) throws(MalformedBytes) {
        guard let range = text.range(ofLast: "checksum ") else {
            throw MalformedBytes("the cluster seed has no checksum line")
        }
        let body = String(text[..<range])
        let given = text[range...].dropFirst("checksum ".count).filter { !$0.isWhitespace }
        guard Self.checksum(body) == String(given) else {
            throw MalformedBytes("the cluster seed's checksum does not match: it was changed or cut short")
        }
        var cluster: ClusterID?
        var key: [UInt8] = []
        var peers: [Node] = []
        for line in body.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            switch (words.first, words.count) {
            case ("kintsugi-cluster-seed", 2):
                guard words[1] == "1" else {
                    throw MalformedBytes("the cluster seed has version \(words[1]); this program reads version 1")
                }
            case ("cluster", 2):
                guard let bits = Self.bits(words[1]) else {
                    throw MalformedBytes("the cluster seed's id does not parse")
                }
                cluster = ClusterID(high: bits.0, low: bits.1)
            case ("key", 2):
                guard let high = Self.bits(String(words[1].prefix(32))),
                    let low = Self.bits(String(words[1].dropFirst(32)))
                else { throw MalformedBytes("the cluster seed's key does not parse") }
                for word in [high.0, high.1, low.0, low.1] {
                    for shift in stride(from: 56, through: 0, by: -8) {
                        key.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
                    }
                }
            case ("node", 4):
                guard let number = UInt32(words[1]), number > 0, let bits = Self.bits(words[2]),
                    let colon = words[3].lastIndex(of: ":"), let port = Int(words[3][words[3].index(after: colon)...]),
                    (1...65535).contains(port), !peers.contains(where: { $0.node.rawValue == number })
                else { throw MalformedBytes("the cluster seed's line '\(line)' does not parse") }
                peers.append(
                    Node(
                        member: MemberID(node: NodeID(number), incarnation: Incarnation(high: bits.0, low: bits.1)),
                        host: String(words[3][..<colon]), port: port))
            default:
                throw MalformedBytes("the cluster seed's line '\(line)' is not known")
            }
        }
        guard let cluster, key.count == 32, !peers.isEmpty else {
            throw MalformedBytes("the cluster seed is not complete")
        }
        self.cluster = cluster
        self.key = key
        self.peers = peers
    }

    private static func checksum(_ body: String) -> String {
        String(CRC32C.of(Array(body.utf8)[...]), radix: 16)
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func bits(_ text: String) -> (UInt64, UInt64)? {
        guard text.utf8.count == 32, let high = UInt64(text.prefix(16), radix: 16),
            let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        return (high, low)
    }
}

extension String {
    fileprivate func range(ofLast needle: String) -> String.Index? {
        var found: String.Index?
        var at = self.startIndex
        while at < self.endIndex {
            if self[at...].hasPrefix(needle) { found = at }
            at = self.index(after: at)
        }
        return found
    }
}
