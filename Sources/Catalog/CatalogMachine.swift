package import Replication

/// Commands of the system group. A command is u8 kind, body.
package enum CatalogCommand: Sendable {
    /// A fault as one observer knows it so far: an incident with one account.
    case report(Incident)

    package func encoded() -> [UInt8] {
        switch self {
        case .report(let incident): [1] + incident.encoded()
        }
    }
}

/// The state of the system group: the ledger of incidents.
package final class CatalogMachine {
    /// The newest that are kept.
    package static let maxIncidents = 10_000
    package var time = WallTime(nanoseconds: 0)
    /// Oldest first.
    package private(set) var incidents: [Incident] = []
    /// Number of the first in `incidents`, counted from the cluster's birth.
    private var firstNumber: UInt64 = 1
    private let hashKey: HashKey

    package init(hashKey: HashKey) { self.hashKey = hashKey }

    /// Total: whatever the bytes, there is an outcome; false where they mean nothing.
    @discardableResult
    package func apply(_ command: UnsafeRawBufferPointer, index: LogIndex) -> Bool {
        guard command.count > 1, command[0] == 1 else { return false }
        var offset = 1
        guard let report = Incident(command, at: &offset), offset == command.count, report.accounts.count == 1 else {
            return false
        }
        // Where its observer's word is already it goes on, also when a later fault of the same run has come up meanwhile.
        for at in self.incidents.indices.reversed() where self.incidents[at].continues(report) {
            return self.incidents[at].absorb(report)
        }
        for at in self.incidents.indices.reversed() where self.incidents[at].absorb(report) { return true }
        self.incidents.append(report)
        if self.incidents.count > Self.maxIncidents {
            self.incidents.removeFirst()
            self.firstNumber &+= 1
        }
        return true
    }

    /// Whether a report would say nothing new, or nothing that is kept any longer. O(incidents).
    package func has(_ report: Incident) -> Bool {
        let account = report.accounts[0]
        if self.incidents.count == Self.maxIncidents,
            self.incidents[0].authority.detected.nanoseconds > account.detected.nanoseconds
        {
            return true
        }
        let alike = self.incidents.filter { $0.kind == report.kind && $0.node == report.node && $0.run == report.run }
        for incident in alike {
            for known in incident.accounts
            where known.observer == account.observer && known.episode == account.episode {
                var after = known
                after.take(account)
                return after == known
            }
        }
        // One fault again and again is counted, and told by the last; a lost disk, by whoever sees its end.
        return alike.contains { incident in
            incident.closed != nil && (incident.count > 1 || (incident.cause == .diskLost && report.cause == .diskLost))
        }
    }

    /// Of all state. O(state).
    package var digest: Hash128 {
        var hasher = SipHasher128(key: self.hashKey)
        self.snapshot().withUnsafeBytes { hasher.combine($0) }
        return hasher.finalize()
    }

    // MARK: Snapshots

    /// u32 "KCT1", u64 first number, u32 incidents, each as in a report.
    package func snapshot() -> [UInt8] {
        var out: [UInt8] = Array("KCT1".utf8)
        withUnsafeBytes(of: self.firstNumber.littleEndian) { out.append(contentsOf: $0) }
        withUnsafeBytes(of: UInt32(self.incidents.count).littleEndian) { out.append(contentsOf: $0) }
        for incident in self.incidents { out.append(contentsOf: incident.encoded()) }
        return out
    }

    package struct Malformed: Error {}

    package func restore(_ bytes: UnsafeRawBufferPointer) throws(Malformed) {
        guard bytes.count >= 16, bytes.prefix(4).elementsEqual("KCT1".utf8) else { throw Malformed() }
        self.firstNumber = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
        let count = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
        guard count <= UInt32(Self.maxIncidents) else { throw Malformed() }
        var offset = 16
        self.incidents = []
        for _ in 0..<count {
            guard let incident = Incident(bytes, at: &offset) else { throw Malformed() }
            self.incidents.append(incident)
        }
        guard offset == bytes.count else { throw Malformed() }
    }

    // MARK: JSON

    /// The ledger as the command line prints it, oldest first.
    package func incidentsJSON(into out: inout [UInt8]) {
        var rows: [String] = []
        for (at, incident) in self.incidents.enumerated() {
            rows.append(incident.json(id: self.firstNumber &+ UInt64(at)))
        }
        out.append(contentsOf: "{\"incidents\":[\(rows.joined(separator: ","))]}".utf8)
    }
}
