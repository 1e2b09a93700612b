import Formats
import Replication
import Testing

/// What a start makes of the files that say whose a data directory is.
@Suite struct DirectoryContentsTests {
    private static func identity(_ incarnation: UInt64 = 1, run: Run) -> NodeIdentity {
        NodeIdentity(
            cluster: ClusterID(high: 1, low: 2), node: NodeID(3), incarnation: Incarnation(high: 0, low: incarnation),
            run: run)
    }

    private static func bytes(_ incarnation: UInt64 = 1, run: Run) -> [UInt8] {
        IdentityFile.encode(identity(incarnation, run: run))
    }

    private static func rotten(_ bytes: [UInt8]) -> [UInt8] { bytes.dropLast() + [bytes.last! ^ 1] }

    private func finding(
        _ a: [UInt8]?, _ b: [UInt8]?, next: [UInt8]? = nil, segments: Bool = true, snapshots: Bool = true
    ) throws -> DirectoryContents.Finding {
        try DirectoryContents(
            identityA: a, identityB: b, next: next, hasSegments: segments, hasSnapshots: snapshots
        ).judge()
    }

    @Test func oneGoodCopyIsEnough() throws {
        let good = Self.bytes(run: 7)
        for bad in [nil, [], Self.rotten(good), Self.bytes(run: 6)] as [[UInt8]?] {
            #expect(try self.finding(good, bad) == .whole(Self.identity(run: 7)))
            #expect(try self.finding(bad, good) == .whole(Self.identity(run: 7)), "the later of two that are good")
        }
    }

    @Test func noGoodCopyIsALostDisk() throws {
        let bad = Self.rotten(Self.bytes(run: 7))
        for (a, b) in [(bad, bad), (bad, nil), (nil, bad), ([], [])] as [([UInt8]?, [UInt8]?)] {
            #expect(try self.finding(a, b) == .lost(nil, .identityUnreadable))
        }
        #expect(try self.finding(nil, nil) == .none, "there never was one")
    }

    @Test func snapshotsWithoutAJournalAreALostDisk() throws {
        let good = Self.bytes(run: 7)
        #expect(try self.finding(good, good, segments: false) == .lost(Self.identity(run: 7), .journalGone))
        #expect(
            try self.finding(good, good, segments: false, snapshots: false) == .whole(Self.identity(run: 7)),
            "a first start that died early")
    }

    /// Whatever else is there, and however far it has come.
    @Test func aPlanIsGoneOnWithOrMadeAnew() throws {
        let (old, new) = (Self.bytes(run: 7), Self.bytes(2, run: 9))
        for (a, b) in [(old, old), (nil, old), (nil, nil), (new, nil), (new, old), (new, new)] as [([UInt8]?, [UInt8]?)]
        {
            for segments in [true, false] {
                #expect(
                    try self.finding(a, b, next: new, segments: segments, snapshots: segments)
                        == .beingPutAside(Self.identity(2, run: 9)))
                for next in [[], Self.rotten(new)] {
                    guard
                        case .lost(_, .planUnreadable) = try self.finding(
                            a, b, next: next, segments: segments, snapshots: segments)
                    else {
                        Issue.record("the old incarnation would begin a run, or the new one without all of its steps")
                        continue
                    }
                }
            }
        }
        #expect(try DirectoryContents.isOf(Self.identity(2, run: 9), new))
        #expect(try !DirectoryContents.isOf(Self.identity(2, run: 9), old))
    }

    @Test func copiesOfTwoDisks() throws {
        #expect(try self.finding(Self.bytes(1, run: 7), Self.bytes(2, run: 7)) == .ofTwo)
    }

    @Test func aLaterVersionIsRefusedWhereverItStands() throws {
        let good = Self.bytes(run: 7)
        var later = good
        later.replace(at: 8, littleEndian: 2)
        later.replace(at: 0, littleEndian: CRC32C.of(later[4...]))
        #expect(throws: UnknownVersion(2, known: 1)) { try self.finding(later, good) }
        #expect(throws: UnknownVersion(2, known: 1)) { try self.finding(good, later) }
        #expect(throws: UnknownVersion(2, known: 1)) { try self.finding(good, good, next: later) }
    }
}
