import CKintsugi
import Formats
import Journal
import Logging
import NIOCore
import NodeCore
import RedisServer
import Replication
import Transport

extension Runtime {
    /// Hands on what the turn brought. Whether the core has more to do at once.
    func carryOut() -> Bool {
        self.expectSnapshots()
        if self.core.effects.journalTicket > 0 {
            var records: [JournalRecord] = []
            swap(&records, &self.core.effects.records)
            self.journal.submit(
                records, ticket: self.core.effects.journalTicket, beginsSegment: self.core.effects.beginsSegment)
        }
        if !self.core.effects.messages.isEmpty {
            for (node, message) in self.core.effects.messages { _ = self.transport.send(message, to: node) }
            self.transport.flush()
        }
        if !self.core.effects.replies.isEmpty {
            self.core.effects.replyBytes.withUnsafeBytes { bytes in
                for reply in self.core.effects.replies {
                    self.redis.deliver(
                        UnsafeRawBufferPointer(rebasing: bytes[reply.offset..<reply.offset + reply.count]),
                        to: reply.client)
                }
            }
        }
        self.redis.flush()
        for action in self.core.effects.snapshots { self.perform(action) }
        if let (bytes, version) = self.core.effects.peerRuns { self.runs.replace(with: bytes, version: version) }
        if let (bytes, number) = self.core.effects.openIncidents {
            self.incidents.replace(with: bytes, number: number)
        }
        for (group, index, kept) in self.core.effects.obsoleteSnapshots {
            self.snapshots.remove(group, below: index, keeping: kept)
        }
        for file in self.core.effects.rewrites { self.rewrite(file) }
        for event in self.core.effects.events { self.log(event) }
        let wantsTurn = self.core.effects.wantsTurn
        self.core.effects.removeAll()
        return wantsTurn
    }

    /// The log that a checkpoint lets go of was many small allocations: the system gets their pages back, in a second in
    /// which little is written. Under load, which takes them again at once, it is not worth the wait: the allocator's locks
    /// are held meanwhile, for tens of milliseconds.
    func considerTrimming() {
        let now = Clock.now
        guard now - self.trim.secondBegan >= .seconds(1) else { return }
        let written = self.core.journalBytes - self.trim.journalBytes
        self.trim.secondBegan = now
        self.trim.journalBytes = self.core.journalBytes
        guard self.trim.isDue, written < Self.quietBytes else { return }
        self.trim.isDue = false
        self.snapshots.perform { kintsugi_trim_memory() }
    }

    /// Of journal in a second.
    private static let quietBytes = 1 << 20

    private func log(_ event: NodeEvent) {
        switch event {
        case .roleChanged(let group, let role, let term, let leader):
            self.logger.notice(
                "role changed",
                metadata: [
                    "group": "\(group)", "role": "\(role)", "term": "\(term)",
                    "leader": "\(leader.map { "\($0)" } ?? "unknown")",
                ])
        case .suspected(let node, let cause):
            self.logger.notice("peer suspected", metadata: ["peer": "\(node)", "cause": "\(cause)"])
        case .trusted(let node):
            self.logger.notice("peer is back", metadata: ["peer": "\(node)"])
        case .checkpointBegun(let group, let index):
            self.logger.debug("checkpoint begun", metadata: ["group": "\(group)", "index": "\(index)"])
        case .checkpointDone(let group, let index):
            self.logger.info("checkpoint done", metadata: ["group": "\(group)", "index": "\(index)"])
            self.trim.isDue = true
        case .snapshotSent(let group, let index, let node):
            self.logger.notice(
                "snapshot sent", metadata: ["group": "\(group)", "index": "\(index)", "peer": "\(node)"])
        case .snapshotInstalled(let group, let index):
            self.logger.notice("snapshot installed", metadata: ["group": "\(group)", "index": "\(index)"])
        case .diskLost(let node, let run):
            self.logger.error(
                "this disk is empty, or an older copy: it does not go on under its name, and joins as a new one",
                metadata: [
                    "seenBy": "\(node)", "lastRun": "\(run)", "run": "\(self.identity.run)",
                    "incarnation": "\(self.identity.incarnation)",
                ])
            self.end(.anew(after: run))
        case .runBehind(let run):
            self.logger.notice(
                "starts again under a later number", metadata: ["lastRun": "\(run)", "run": "\(self.identity.run)"])
            self.end(.continued(after: run))
        case .unproven(let missing, let isNewborn):
            self.logger.notice(
                isNewborn
                    ? "waits: a cluster is born when all its first nodes have met"
                    : "waits for more nodes before it votes",
                metadata: ["for": "\(missing.map { "\($0)" }.joined(separator: ","))"])
        case .retiredPeer(let member):
            self.logger.warning(
                "a disk in whose place another has come is refused: nothing that it says counts",
                metadata: ["peer": "\(member.node)", "incarnation": "\(member.incarnation)"])
        case .learnerAdded(let group, let member):
            self.logger.notice(
                "a node with a new disk joins as a learner",
                metadata: ["group": "\(group)", "peer": "\(member.node)", "incarnation": "\(member.incarnation)"])
        case .promoted(let group, let member, let old):
            self.logger.notice(
                "a node with a new disk takes its old one's place as a voter",
                metadata: [
                    "group": "\(group)", "peer": "\(member.node)", "incarnation": "\(member.incarnation)",
                    "old": "\(old.incarnation)",
                ])
        case .votingChanged(let group, let member, let votes):
            self.logger.notice(
                votes ? "a member is to vote" : "a member is to follow without a vote",
                metadata: ["group": "\(group)", "peer": "\(member.node)"])
        case .sessionRefused(let group, let node, let run):
            self.logger.warning(
                "commands of a retired run refused",
                metadata: ["group": "\(group)", "node": "\(node)", "run": "\(run)"])
        case .sequenceGap(let group, let expected, let found):
            self.logger.info(
                "gap in a stream, sending again",
                metadata: ["group": "\(group)", "expected": "\(expected)", "found": "\(found)"])
        case .handedOver(let group):
            self.logger.notice("leadership given up", metadata: ["group": "\(group)"])
        case .diskFailed(let fault):
            self.logger.error(
                "the disk is sick: nothing is acknowledged here, leadership is handed over",
                metadata: [
                    "fault": "\(fault.text)", "reason": "\(fault == .stuck ? "a write does not end" : self.diskText)",
                ])
        case .diskRecovered:
            self.logger.notice("the disk is well again")
        case .diverged(let group, let index, let node):
            self.logger.error(
                "a peer's log contradicts ours",
                metadata: ["group": "\(group)", "index": "\(index)", "peer": "\(node)"])
        case .snapshotDamaged(let group, let index, let reason):
            self.logger.error(
                "a snapshot is bad: asking the other nodes for what it lacks",
                metadata: ["group": "\(group)", "index": "\(index)", "reason": "\(reason)"])
        case .snapshotRepaired(let group, let index, let bytes):
            self.logger.notice(
                "a snapshot's file was rebuilt",
                metadata: ["group": "\(group)", "index": "\(index)", "bytes": "\(bytes)"])
        case .snapshotLost(let group, let index):
            self.logger.critical(
                "no good copy of a snapshot can be had: the group serves nothing here until there is one",
                metadata: [
                    "group": "\(group)",
                    "file": "\(self.snapshots.path(of: group, index))",
                ])
        case .fileDamaged(let file, let reason):
            self.logger.error(
                "a file is bad: it is written anew", metadata: ["file": "\(file.rawValue)", "reason": "\(reason)"])
        case .journalDamaged(let file, let block, let text):
            self.logger.error(
                "a place of the journal is bad: what it held is written to another",
                metadata: ["segment": "\(file)", "block": "\(block)", "reason": "\(text)"])
        case .journalRepaired(let file, let bytes):
            self.logger.notice(
                "what a bad place of the journal held is durable elsewhere",
                metadata: ["segment": "\(file)", "bytes": "\(bytes)"])
        case .stateDiverged(let group, let index):
            self.logger.error(
                "the state of a group is not what the other nodes have: it is put aside and made anew",
                metadata: [
                    "group": "\(group)", "index": "\(index)",
                    "file": "\(self.snapshots.pathSetAside(of: group, index))",
                ])
        case .divergenceEnded(let group, let index):
            self.logger.notice(
                "the state of a group is as the other nodes have it",
                metadata: ["group": "\(group)", "index": "\(index)"])
        case .divergenceStuck(let group, let index):
            self.logger.critical(
                "replicas of a group differ and no majority says which is right: nothing is served until one does",
                metadata: ["group": "\(group)", "index": "\(index)"])
        case .logClosed(let group, let bytes):
            self.logger.error(
                "no snapshot can be written, or none is confirmed, and the log is near its limit: writes are refused",
                metadata: ["group": "\(group)", "bytes": "\(bytes)"])
        case .logOpened(let group, let bytes):
            self.logger.notice(
                "the log has room again", metadata: ["group": "\(group)", "bytes": "\(bytes)"])
        case .snapshotUnconfirmed(let group, let index):
            self.logger.warning(
                "a snapshot counts though no majority has said that it has the same",
                metadata: ["group": "\(group)", "index": "\(index)"])
        case .healed(let group):
            self.logger.notice("state and snapshot are good again", metadata: ["group": "\(group)"])
        case .holesFound(let group, let holes):
            self.logger.error(
                "entries of the journal are unreadable: asking the other nodes for them",
                metadata: ["group": "\(group)", "count": "\(holes.count)", "entries": "\(holes)"])
        case .holesFilled(let group, let count, let bytes):
            self.logger.notice(
                "entries came from other nodes",
                metadata: ["group": "\(group)", "entries": "\(count)", "bytes": "\(bytes)"])
        case .holesUnrecoverable(let group, let holes):
            self.logger.critical(
                "no node within reach has entries that are missing here: the group goes no further here until one has",
                metadata: ["group": "\(group)", "entries": "\(holes)"])
        case .recoveryGivenUp(let group, let holes):
            self.logger.warning(
                "no node within reach has entries that are missing here: another node is to lead if it can",
                metadata: ["group": "\(group)", "entries": "\(holes)"])
        case .entriesDiscarded(let group, let first, let last):
            self.logger.warning(
                "unreadable entries discarded: they were never acknowledged, as a majority never had them",
                metadata: ["group": "\(group)", "first": "\(first)", "last": "\(last)"])
        case .logWhole(let group):
            self.logger.notice("the log is whole again", metadata: ["group": "\(group)"])
        }
    }
}
