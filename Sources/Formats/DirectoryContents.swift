/// What a start finds in a data directory of that which says whose it is, and what it makes of it. The node's shell and the
/// simulator's read files and act; what is to be done is decided here alone.
package struct DirectoryContents {
    /// The bytes of the two copies of `node.identity` and of `node.identity.next`; nil: there is no such file. Empty: there
    /// is, and it cannot be read.
    package var identityA: [UInt8]?
    package var identityB: [UInt8]?
    package var next: [UInt8]?
    package var hasSegments: Bool
    package var hasSnapshots: Bool

    package init(
        identityA: [UInt8]?, identityB: [UInt8]?, next: [UInt8]?, hasSegments: Bool, hasSnapshots: Bool
    ) {
        self.identityA = identityA
        self.identityB = identityB
        self.next = next
        self.hasSegments = hasSegments
        self.hasSnapshots = hasSnapshots
    }

    package enum Finding: Equatable {
        /// No identity is here: an empty directory, or one whose format was cut short.
        case none
        /// The next run of this disk may begin.
        case whole(NodeIdentity)
        /// The disk counts as lost: what is here is to be put aside. Whose it was, where that is known.
        case lost(NodeIdentity?, Reason)
        /// What was here was being put aside for this new incarnation: that is to be gone on with.
        case beingPutAside(NodeIdentity)
        /// The two copies are of two disks: somebody copied files here.
        case ofTwo
    }

    package enum Reason: Equatable {
        case identityUnreadable
        /// A snapshot is made of entries that the journal had.
        case journalGone
        /// `node.identity.next` is there and cannot be read. Only a disk that was lost has one, and by now it may be without
        /// its journal, with the old identity still there: under that it must not vote. Which incarnation was begun is not
        /// known any more; another one is.
        case planUnreadable
    }

    private func copies() throws(UnknownVersion) -> [NodeIdentity] {
        var copies: [NodeIdentity] = []
        for bytes in [self.identityA, self.identityB] {
            if let bytes, let copy = try IdentityFile.decode(bytes) { copies.append(copy) }
        }
        return copies
    }

    /// The newer of the two copies; nil where neither can be read.
    package func identity() throws(UnknownVersion) -> NodeIdentity? { try self.copies().max { $0.run < $1.run } }

    /// Throws where a file is of a version that this program does not know: it is then not touched.
    package func judge() throws(UnknownVersion) -> Finding {
        let copies = try self.copies()
        let identity = try self.identity()
        if let next = self.next {
            guard let plan = try IdentityFile.decode(next) else { return .lost(identity, .planUnreadable) }
            return .beingPutAside(plan)
        }
        guard copies.allSatisfy({ $0.cluster == copies[0].cluster && $0.member == copies[0].member }) else {
            return .ofTwo
        }
        guard let identity else {
            return self.identityA == nil && self.identityB == nil ? .none : .lost(nil, .identityUnreadable)
        }
        if self.hasSnapshots, !self.hasSegments { return .lost(identity, .journalGone) }
        return .whole(identity)
    }

    /// Whether a copy of `node.identity` is already the new incarnation's, and stays where it is.
    package static func isOf(_ plan: NodeIdentity, _ copy: [UInt8]) throws(UnknownVersion) -> Bool {
        try IdentityFile.decode(copy)?.incarnation == plan.incarnation
    }
}
