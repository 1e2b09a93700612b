import Formats
import NodeCore
import Replication
import Testing

/// Snapshots on their way to a peer while newer ones are taken.
@Suite struct SnapshotTransferTests {
    /// A cluster in which one node lies behind the leader's log, is back, and gets nothing of the snapshot that it is sent as
    /// long as `isHeld` is true.
    private final class Story {
        let cluster = CoreCluster(3)
        let leader: UInt32
        let other: UInt32
        let late: UInt32
        var isHeld = true
        var pieces = 0

        init() {
            self.cluster.start(1, 2, 3)
            let cluster = self.cluster
            #expect(cluster.run(.seconds(20)) { cluster.isReady(1, 2, 3) && cluster.leaders().count == 1 })
            self.leader = cluster.leaders()[0]
            self.late = self.leader % 3 + 1
            self.other = self.late % 3 + 1
            cluster.stop(self.late)
            // What is near the checkpoint is sent from the log.
            cluster.submit(self.leader, set: "large", String(repeating: "x", count: 5 << 20), client: 7)
            cluster.run(.seconds(1))
            // The state is small again: it is written at once.
            cluster.submit(self.leader, set: "large", "", client: 7)
            self.checkpoint()
            cluster.onTheWay = { [unowned self] from, message in
                guard from == self.leader, case .snapshot(let piece) = message, piece.group == .default else {
                    return message
                }
                self.pieces += 1
                return self.isHeld ? nil : message
            }
            cluster.start(self.late)
            #expect(cluster.run(.seconds(3)) { self.pieces > 0 })
        }

        /// Something is written, and a checkpoint is taken and named.
        func checkpoint() {
            self.cluster.submit(self.leader, set: "key", "\(self.newest)", client: 7)
            self.cluster.run(.milliseconds(100))
            self.cluster.cores[self.leader]!.receive(
                .checkpointWanted(group: .default), from: self.cluster.member(self.other))
            self.cluster.run(.milliseconds(300))
        }

        var newest: LogIndex { self.cluster.disks[self.leader]!.groups[.default]?.snapshot?.index ?? 0 }
        var files: [LogIndex] { self.cluster.disks[self.leader]!.files[.default]!.map(\.mark.index) }
        func isSent(_ index: LogIndex) -> Bool {
            self.cluster.events.contains {
                if case .snapshotSent(.default, index, _) = $0.event { true } else { false }
            }
        }
    }

    /// It is not begun anew with the next one; it goes when it is there.
    @Test func aFileThatIsBeingSentStaysUntilItIsThere() {
        let story = Story()
        let first = story.newest
        #expect(story.files == [first])
        story.checkpoint()
        story.checkpoint()
        #expect(story.newest > first)
        #expect(story.files == [first, story.newest], "none of those between")
        story.isHeld = false
        #expect(story.cluster.run(.seconds(3)) { story.isSent(first) })
        story.cluster.run(.milliseconds(50))
        #expect(story.files == [story.newest])
        #expect(story.cluster.run(.seconds(10)) { story.cluster.isReady(story.late) })
        #expect(!story.isSent(story.newest), "what followed came from the log")
    }

    /// A transfer without progress is given up, and the file with it.
    @Test func aFileWhoseTransferIsGivenUpGoes() {
        let story = Story()
        let first = story.newest
        story.checkpoint()
        #expect(story.files == [first, story.newest])
        story.cluster.run(.seconds(6))
        #expect(story.files == [story.newest])
        story.isHeld = false
        #expect(story.cluster.run(.seconds(10)) { story.cluster.isReady(story.late) })
    }
}
