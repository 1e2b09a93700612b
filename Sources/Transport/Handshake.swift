import Crypto
package import Formats
package import Replication

/// What the two ends of a connection tell of themselves before anything else.
package struct Hello: Sendable, Equatable {
    package enum Purpose: UInt8, Sendable {
        case data = 1
        /// Only to see whether anyone answers.
        case probe = 2
    }

    package var purpose: Purpose
    package var lowestVersion: UInt16
    package var highestVersion: UInt16
    package var cluster: ClusterID
    package var member: MemberID
    /// The starts of its disk; the last is this one.
    package var history: RunHistory
    /// The node this is said to.
    package var to: NodeID
    /// Fresh for each connection, so that no proof fits twice.
    package var nonce: Hash128
    package var redisHost: String
    package var redisPort: UInt16

    static let magic: UInt32 = 0x314d_534b  // "KSM1"
    package var run: RunMark { self.history.last }

    static let maxBytes = 1024

    package func encoded() -> [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: Self.magic)
        out.append(self.purpose.rawValue)
        out.append(littleEndian: self.lowestVersion)
        out.append(littleEndian: self.highestVersion)
        out.append(littleEndian: self.cluster.high)
        out.append(littleEndian: self.cluster.low)
        out.append(self.member)
        self.history.encode(into: &out)
        out.append(littleEndian: self.to.rawValue)
        out.append(self.nonce)
        out.append(littleEndian: self.redisPort)
        let host = Array(self.redisHost.utf8.prefix(255))
        out.append(UInt8(host.count))
        out.append(contentsOf: host)
        return out
    }

    package init(_ bytes: UnsafeRawBufferPointer) throws(MalformedBytes) {
        var reader = ByteReader(bytes)
        guard try reader.read(UInt32.self) == Self.magic else {
            throw MalformedBytes("it does not speak this protocol")
        }
        guard let purpose = Purpose(rawValue: try reader.read(UInt8.self)) else {
            throw MalformedBytes("an unknown purpose")
        }
        self.purpose = purpose
        self.lowestVersion = try reader.read(UInt16.self)
        self.highestVersion = try reader.read(UInt16.self)
        let high = try reader.read(UInt64.self)
        self.cluster = ClusterID(high: high, low: try reader.read(UInt64.self))
        self.member = try reader.member()
        self.history = try RunHistory(&reader)
        self.to = NodeID(try reader.read(UInt32.self))
        self.nonce = try reader.hash()
        self.redisPort = try reader.read(UInt16.self)
        let length = Int(try reader.read(UInt8.self))
        self.redisHost = String(decoding: try reader.take(length), as: UTF8.self)
    }

    package init(
        purpose: Purpose, cluster: ClusterID, member: MemberID, history: RunHistory, to: NodeID, nonce: Hash128,
        redisHost: String, redisPort: UInt16
    ) {
        self.purpose = purpose
        self.lowestVersion = WireCodec.lowestVersion
        self.highestVersion = WireCodec.highestVersion
        self.cluster = cluster
        self.member = member
        self.history = history
        self.to = to
        self.nonce = nonce
        self.redisHost = redisHost
        self.redisPort = redisPort
    }
}

/// Why a peer is not taken.
package enum HandshakeRefusal: UInt8, Sendable, CustomStringConvertible {
    case otherCluster = 1
    case unknownMember = 2
    case wrongIncarnation = 3
    case versionOutOfRange = 4
    case wrongKey = 5
    case misdirected = 6
    case malformed = 7

    package var description: String {
        switch self {
        case .otherCluster: "it belongs to another cluster"
        case .unknownMember: "no such node is known in this cluster"
        case .wrongIncarnation: "another disk has taken the place of this one, and its node is here"
        case .versionOutOfRange: "the two programs' versions have no format in common"
        case .wrongKey: "it does not have this cluster's key"
        case .misdirected: "it looked for another node at this address"
        case .malformed: "what it sent does not parse"
        }
    }
}

/// Proofs of the cluster's key: HMAC-SHA256 over both hellos, a different label for each direction.
enum Proof {
    static let byteCount = 32

    static func make(_ label: UInt8, key: [UInt8], dialer: [UInt8], acceptor: [UInt8]) -> [UInt8] {
        var mac = HMAC<SHA256>(key: SymmetricKey(data: key))
        mac.update(data: [label])
        mac.update(data: dialer)
        mac.update(data: acceptor)
        return Array(mac.finalize())
    }

    static func isValid(_ proof: [UInt8], _ label: UInt8, key: [UInt8], dialer: [UInt8], acceptor: [UInt8]) -> Bool {
        let expected = Self.make(label, key: key, dialer: dialer, acceptor: acceptor)
        guard proof.count == expected.count else { return false }
        var difference: UInt8 = 0
        for at in expected.indices { difference |= expected[at] ^ proof[at] }
        return difference == 0
    }
}
