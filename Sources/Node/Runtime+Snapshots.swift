import Formats
import Journal
import Logging
import NIOCore
import NodeCore
import Replication

extension Runtime {
    func perform(_ action: SnapshotAction) {
        switch action {
        case .begin(let group, let mark): self.snapshots.begin(group, mark)
        case .block(let group, let bytes): self.snapshots.block(group, bytes)
        case .finish(let group): self.snapshots.finish(group)
        case .abandon(let group): self.snapshots.abandon(group)
        case .read(let group, let index, let offset, let member):
            self.snapshots.read(group, index: index, offset: offset, for: member)
        case .stage(let piece, _): self.snapshots.stage(piece)
        case .load(let group, let mark, let number): self.snapshots.load(group, mark, number: number)
        case .repair(let group, let mark, let usesOld): self.snapshots.repair(group, mark, usesOld: usesOld)
        case .lent(let group, let index, let offset, let bytes):
            self.snapshots.lent(group, index: index, offset: offset, bytes)
        case .abandonRepair(let group): self.snapshots.abandonRepair(group)
        case .setAside(let group, let index): self.snapshots.setAside(group, index: index)
        case .drop(let group, let index): self.snapshots.drop(group, index: index)
        case .lend(let group, let index, let offset, let member):
            self.snapshots.lend(group, index: index, offset: offset, for: member)
        }
    }

    /// On the core loop: what the snapshot thread has done.
    func snapshotDone(_ done: SnapshotStore.Done) {
        self.begin()
        switch done {
        case .blockWritten(let group):
            self.core.snapshotBlockWritten(group)
        case .durable(let group, let index, let digest):
            self.core.snapshotDurable(group, index: index, digest: digest)
        case .failed(let group, let index, let text):
            self.logger.error("a snapshot could not be written", metadata: ["group": "\(group)", "reason": "\(text)"])
            self.core.snapshotFailed(group, index: index)
        case .read(let group, let index, let offset, let size, let bytes, let member):
            self.core.snapshotRead(group, index: index, offset: offset, size: size, bytes: bytes, for: member)
        case .staged(let group, let index, let next, let isWhole, let isDamaged):
            self.core.snapshotStaged(group, index: index, nextOffset: next, isWhole: isWhole, isDamaged: isDamaged)
        case .notStaged(let group, let index, let text):
            self.logger.error("a snapshot could not be taken in", metadata: ["group": "\(group)", "reason": "\(text)"])
            self.core.snapshotNotStaged(group, index: index)
        case .loaded(let group, _, let number, let block, let isLast, let digest, let failure):
            if !isLast { self.snapshots.loadMore(group, number: number) }
            if let failure {
                self.core.snapshotUnreadable(group, number: number, reason: failure)
                break
            }
            do {
                try block.withUnsafeBytes {
                    try self.core.snapshotLoaded(group, number: number, block: $0, isLast: isLast, digest: digest)
                }
            } catch {
                self.core.snapshotUnreadable(group, number: number, reason: "\(error)")
            }
        case .repairNeeds(let group, let index, let frame, let offset):
            self.core.snapshotRepairNeeds(group, index: index, frame: frame, offset: offset)
        case .repaired(let group, let index, let bytes):
            self.core.snapshotRepaired(group, index: index, bytes: bytes)
        case .repairFailed(let group, let index, let text):
            self.logger.error("a snapshot could not be rebuilt", metadata: ["group": "\(group)", "reason": "\(text)"])
            self.core.snapshotRepairFailed(group, index: index)
        case .lent(let group, let index, let offset, let bytes, let member):
            self.core.snapshotLent(group, index: index, offset: offset, bytes: bytes, for: member)
        }
        self.scheduleTurn()
    }

    /// A snapshot comes to count by what the peers say, too.
    func expectSnapshots() {
        let version = self.core.namedSnapshotsVersion
        guard version != self.expectedVersion else { return }
        self.expectedVersion = version
        self.scrubber.expect(self.core.namedSnapshots)
    }
}
