import NodeCore
import Replication

/// Disks that take all but snapshots, for a while: nothing can go from the log then, which has a limit.
extension World {
    func injectSnapshotErrors(_ draw: inout Random) {
        // On all at once now and then: no leader would do better.
        let nodes = draw.chance(1, in: 3) ? self.nodes : [self.anyNode(&draw)]
        let length = Self.length(&draw) * 3
        for node in nodes {
            node.disk.refusesSnapshots = true
            self.note(.snapshotErrors, node, length)
        }
        self.after(length) { for node in nodes { $0.takeSnapshots(node) } }
    }

    private func takeSnapshots(_ node: SimulatedNode) {
        guard node.disk.refusesSnapshots else { return }
        node.disk.refusesSnapshots = false
        self.note(.snapshotsTaken, node)
    }

    func healSnapshotErrors() { for node in self.nodes { self.takeSnapshots(node) } }

    /// Small where snapshots are to fail, so that logs come to it; else as large, by the checkpoints, as on a real node.
    var maxLogBytes: Int {
        self.options.faults[.snapshotErrors] > 0 ? self.checkpointBytes / 4 : self.checkpointBytes * 16
    }
}
