import NodeCore
package import Replication

/// One thing that happened in a run, as numbers: cheap to note, made readable only for a failure.
package struct TraceEvent: Sendable, BitwiseCopyable {
    package enum Kind: UInt8, Sendable, BitwiseCopyable {
        case started = 1
        case crashed, lostPower, stopping, stopped, paused, resumed, ended
        case connected, disconnected, refused, message, turn
        case journalWritten, syncFailed, snapshotDone
        case role, suspected, trusted, checkpoint, installed, sessionRefused, gap, diverged
        case invoked, answered, clientClosed
        case diskSick, diskWell, diskFailed, diskRecovered
        case cut, cutEnded, dropped, slowLink, slowDisk, transfer, healed, phase, clockJump
        case wiped, oldCopy, diskLost, learner, promoted, votingChanged
        case snapshotDamaged = 64
        case snapshotRepaired, stateHealed, snapshotRot
        case holesFound = 72
        case holesFilled, holesUnrecoverable, entriesDiscarded, logWhole, recoveryGivenUp
        case stateFlip = 80
        case stateDiverged, divergenceEnded, divergenceStuck, unconfirmed
        case journalRot = 96
        case fileRot, readError, readable
        case snapshotErrors = 104
        case snapshotsTaken, logClosed, logOpened
    }

    /// Simulated time since the run began.
    package var time: Nanoseconds
    package var kind: Kind
    /// The node's number; 0: the world.
    package var node: UInt32
    package var a: UInt64
    package var b: UInt64
}

extension TraceEvent: CustomStringConvertible {
    package var description: String {
        let micro = self.time / 1000
        let stamp = "\(micro / 1000).\(String(micro % 1000 + 1000).dropFirst()) ms"
        return "\(stamp)  \(self.node == 0 ? "world" : "node \(self.node)")  \(self.text)"
    }

    private var text: String {
        switch self.kind {
        case .started: "starts as run \(self.a)\(self.b == 1 ? ", after a crash during recovery" : "")"
        case .crashed: "is killed"
        case .lostPower: "loses power"
        case .stopping: "is asked to stop"
        case .stopped: "has stopped"
        case .paused: "is paused"
        case .resumed: "goes on"
        case .ended: "ends itself"
        case .connected: "connected to node \(self.a), run \(self.b)"
        case .disconnected: "lost its connection to node \(self.a)"
        case .refused: "is refused by node \(self.a)"
        case .message: "receives \(self.b) bytes from node \(self.a)"
        case .turn: "turn: \(self.a >> 32) records, \(self.a & 0xffff_ffff) messages, \(self.b) replies"
        case .journalWritten: "journal durable up to ticket \(self.a)"
        case .syncFailed: "the disk refuses (\(Self.fault(self.a)))"
        case .diskSick: "its disk is sick for \(self.b / 1_000_000) ms (\(Self.fault(self.a)))"
        case .diskWell: "its disk is well again"
        case .diskFailed: "holds its disk for sick (\(Self.fault(self.a)))"
        case .diskRecovered: "holds its disk for well"
        case .snapshotDone: "snapshot work done for group \(GroupID(rawValue: self.a)) at \(self.b)"
        case .role:
            "\(self.a & 0xff == 0 ? "system" : "default"): \(Self.role(self.a >> 8)) in term "
                + "\(self.b & 0xffff_ffff), \(self.b >> 32 == 0 ? "no leader known" : "leader \(self.b >> 32)")"
        case .suspected: "suspects node \(self.a) (cause \(self.b))"
        case .trusted: "trusts node \(self.a) again"
        case .checkpoint: "group \(GroupID(rawValue: self.a)): checkpoint at \(self.b)"
        case .installed: "group \(GroupID(rawValue: self.a)): snapshot installed at \(self.b)"
        case .sessionRefused: "commands of node \(self.a), run \(self.b) refused"
        case .gap: "gap in a stream: \(self.a) expected, \(self.b) found"
        case .diverged: "its log contradicts node \(self.a)'s at \(self.b)"
        case .invoked:
            "is asked for operation \(self.a), \(Operation.text(self.b >> 48)), on connection \(self.b & 0xffff_ffff)"
        case .answered: "operation \(self.a) answered (\(self.b))"
        case .clientClosed: "connection \(self.a) closed with \(self.b) operations open"
        case .cut: "cannot reach node \(self.a) for \(self.b / 1_000_000) ms"
        case .cutEnded: "can reach node \(self.a) again"
        case .dropped: "its connection to node \(self.a) is reset"
        case .slowLink: "its messages to node \(self.a) take up to \(self.b / 1_000_000) ms longer"
        case .slowDisk: "its disk takes up to \(self.a / 1_000_000) ms a sync"
        case .transfer: "is asked to hand over group \(GroupID(rawValue: self.a))"
        case .healed: "everything is healed"
        case .clockJump: "its wall clock jumps \(self.b == 1 ? "ahead" : "back") by \(self.a / 1_000_000) ms"
        case .phase: "phase \(self.a)"
        case .wiped: "finds its disk empty"
        case .oldCopy: "gets an old copy of its disk back"
        case .diskLost: "\(self.b == 1 ? "has lost its disk: begins anew" : "is behind: goes on") after run \(self.a)"
        case .learner: "makes node \(self.b) a learner of group \(GroupID(rawValue: self.a))"
        case .votingChanged:
            "has node \(self.b >> 1) \(self.b & 1 == 1 ? "vote" : "follow without a vote") in group \(GroupID(rawValue: self.a))"
        case .promoted: "makes node \(self.b) a voter of group \(GroupID(rawValue: self.a))"
        case .snapshotDamaged: "group \(GroupID(rawValue: self.a)): its snapshot at \(self.b) is bad"
        case .snapshotRepaired: "group \(GroupID(rawValue: self.a)): its snapshot at \(self.b) is rebuilt"
        case .stateHealed: "group \(GroupID(rawValue: self.a)): state and snapshot are good again"
        case .holesFound:
            "group \(GroupID(rawValue: self.a)): misses \(self.b >> 48) entries from \(self.b & 0xffff_ffff_ffff) on"
        case .holesFilled: "group \(GroupID(rawValue: self.a)): \(self.b) entries came from others"
        case .holesUnrecoverable: "group \(GroupID(rawValue: self.a)): nobody within reach has entry \(self.b)"
        case .recoveryGivenUp:
            "group \(GroupID(rawValue: self.a)): gives up leading, as nobody within reach has entry \(self.b)"
        case .entriesDiscarded: "group \(GroupID(rawValue: self.a)): discards its log from \(self.b) on"
        case .logWhole: "group \(GroupID(rawValue: self.a)): its log is whole again"
        case .stateFlip: "group \(GroupID(rawValue: self.a)): its state goes wrong (kind \(self.b))"
        case .stateDiverged: "group \(GroupID(rawValue: self.a)): its state differs at \(self.b), and is made anew"
        case .divergenceEnded: "group \(GroupID(rawValue: self.a)): its state is as the others' at \(self.b)"
        case .divergenceStuck: "group \(GroupID(rawValue: self.a)): nobody knows whose state is right at \(self.b)"
        case .unconfirmed: "group \(GroupID(rawValue: self.a)): its snapshot at \(self.b) counts unconfirmed"
        case .journalRot: "segment \(self.b) of its journal rots (\(self.a))"
        case .snapshotErrors: "its disk takes no snapshots for \(self.a / 1_000_000) ms"
        case .snapshotsTaken: "its disk takes snapshots again"
        case .logClosed: "group \(GroupID(rawValue: self.a)): its log of \(self.b) bytes is near its limit"
        case .logOpened: "group \(GroupID(rawValue: self.a)): its log of \(self.b) bytes has room again"
        case .fileRot: "\(World.rottingFile(self.a)) rots (\(self.b))"
        case .readError:
            "cannot read that \(self.a == 1 ? "until it is written again" : "for \(self.b / 1_000_000) ms")"
        case .readable: "can read its disk again"
        case .snapshotRot: "group \(GroupID(rawValue: self.a)): its snapshot at \(self.b) rots"
        }
    }

    private static func fault(_ value: UInt64) -> String {
        DiskHealth.Fault(rawValue: UInt8(value & 0xff))?.text ?? "?"
    }

    private static func role(_ value: UInt64) -> String { Role(rawValue: UInt8(value & 0xff)).map { "\($0)" } ?? "?" }
}

extension TraceEvent.Kind {
    /// So frequent that a story is told without them.
    fileprivate var isRoutine: Bool {
        switch self {
        case .message, .turn, .journalWritten, .invoked, .answered, .snapshotDone, .checkpoint: true
        default: false
        }
    }
}

extension TraceEvent {
    /// A story up to the last events, and those in full.
    static func account(story: [TraceEvent], tail: [TraceEvent]) -> String {
        let recent = tail.first?.time ?? 0
        let story = story.filter { $0.time < recent }.map { "    \($0)" }
        let between = story.isEmpty ? [] : ["    ... from here on every event:"]
        return (story + between + tail.map { "    \($0)" }).joined(separator: "\n")
    }
}

/// The events of a run: a hash over all of them, and the last ones in full.
struct Trace {
    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    private var recent: Ring
    private var remarkable: Ring

    /// The last of what was noted.
    private struct Ring {
        var events: [TraceEvent] = []
        var count = 0
        let limit: Int

        mutating func add(_ event: TraceEvent) {
            if self.events.count < self.limit {
                self.events.append(event)
            } else {
                self.events[self.count % self.limit] = event
            }
            self.count += 1
        }

        /// Oldest first.
        var inOrder: [TraceEvent] {
            if self.count <= self.limit { return self.events }
            let start = self.count % self.limit
            return Array(self.events[start...] + self.events[..<start])
        }
    }

    init(limit: Int) {
        self.recent = Ring(limit: max(1, limit))
        self.remarkable = Ring(limit: 16 * max(1, limit))
    }

    mutating func note(_ event: TraceEvent) {
        self.mix(event.time)
        self.mix(UInt64(event.kind.rawValue) << 32 | UInt64(event.node))
        self.mix(event.a)
        self.mix(event.b)
        self.recent.add(event)
        if !event.kind.isRoutine { self.remarkable.add(event) }
    }

    private mutating func mix(_ word: UInt64) {
        self.hash = (self.hash ^ word) &* 0x9e37_79b9_7f4a_7c15
        self.hash ^= self.hash >> 29
    }

    /// The last events, oldest first.
    var tail: [TraceEvent] { self.recent.inOrder }
    /// The last events that change something for good, oldest first.
    var story: [TraceEvent] { self.remarkable.inOrder }
}
