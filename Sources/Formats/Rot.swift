package import Replication

/// A small file of a data directory that a node can write anew from what it has in memory.
package enum NodeFile: String, Sendable, CaseIterable {
    case identityA = "node.identity.a"
    case identityB = "node.identity.b"
    case peerRunsA = "peer.runs.a"
    case peerRunsB = "peer.runs.b"
    case seed = "cluster.seed"
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
