package import Replication

/// A small file of a data directory that a node can write anew from what it has in memory.
package enum NodeFile: String, Sendable, CaseIterable {
    case identityA = "node.identity.a"
    case identityB = "node.identity.b"
    case peerRunsA = "peer.runs.a"
    case peerRunsB = "peer.runs.b"
    case seedA = "cluster.seed.a"
    case seedB = "cluster.seed.b"
    case incidentsA = "incidents.a"
    case incidentsB = "incidents.b"

    /// Which copy a writing of the open incidents goes to.
    package static func incidents(_ number: UInt64) -> NodeFile { number % 2 == 0 ? .incidentsA : .incidentsB }

    /// Whether a node may never have had it: memory of others' runs begins with their first start that is noted, open
    /// incidents with the first of them.
    package var comesLater: Bool {
        switch self {
        case .peerRunsA, .peerRunsB, .incidentsA, .incidentsB: true
        case .identityA, .identityB, .seedA, .seedB: false
        }
    }

    /// What is wrong with such a file's bytes in a running node's directory, in words; nil: nothing.
    ///
    /// - Parameters:
    ///   - identity: the running node's.
    ///   - seed: the text that it began with.
    package func complaint(about bytes: [UInt8], identity: NodeIdentity, seed: [UInt8]) -> String? {
        switch self {
        case .identityA, .identityB:
            return (try? IdentityFile.decode(bytes)) == identity ? nil : "it is not what this node wrote"
        case .peerRunsA, .peerRunsB:
            do { _ = try PeerRuns(file: bytes) } catch { return "\(error)" }
            return nil
        case .seedA, .seedB:
            return bytes == seed ? nil : "it is not the seed that this node began with"
        case .incidentsA, .incidentsB:
            return IncidentsEnvelope.open(bytes) == nil ? "its checksum is wrong" : nil
        }
    }
}

/// A segment of the journal with places that are not what was written.
package struct RottenSegment: Sendable, Equatable {
    package var file: UInt32
    package var generation: UInt64
    /// What it holds of the groups' logs at most: `first` is 1.
    package var extent: [JournalRot.Range]
    package var places: [JournalRot]

    package init(file: UInt32, generation: UInt64, extent: [JournalRot.Range], places: [JournalRot]) {
        self.file = file
        self.generation = generation
        self.extent = extent
        self.places = places
    }
}

/// Something at rest that is bad, found while the node runs.
package enum Rot: Sendable, Equatable {
    case journal(RottenSegment)
    /// A finished file, or one that should be there.
    case snapshot(GroupID, index: LogIndex, reason: String)
    case file(NodeFile, reason: String)
}
