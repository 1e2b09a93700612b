import CKintsugi
package import Formats
import Glibc
package import Replication
import Synchronization

/// Reads everything that a node has at rest, over and over, so that rot is found while there are other copies: the journal's
/// live segments as far as they are durable, finished snapshots, and the small files. On a thread of its own, which gives way
/// to all others and reads from the disk rather than from the page cache.
///
/// A pass begins half an interval after the one before began, and is done within the other half. So no byte stays unchecked
/// for longer than the interval, which is 7 days by default. Where there is little to read it goes no faster for that than
/// `restingRate`. Where a pass has come to is not kept over a restart.
///
/// What it finds it says, once for each pass; what is done about it is the core's to decide (`NodeCore+Scrub`).
package final class Scrubber: Sendable {
    /// Bytes a second, where that is enough.
    package static let restingRate = 2 << 20
    /// Bytes a second of a pass that somebody waits for.
    package static let urgentRate = 100 << 20
    /// After a pass that the system did not let come to its end.
    package static let pauseAfterFailure = Nanoseconds.seconds(10)
    /// From a start to its first pass: others need the disk more then.
    private static let firstPause = Nanoseconds.seconds(10)

    package struct Pass: Sendable {
        package var number: UInt64
        /// CLOCK_BOOTTIME nanoseconds, as all times here.
        package var began: UInt64
        package var ended: UInt64?
        package var checkedBytes = 0
        package var totalBytes = 0
        package var isUrgent: Bool
    }

    package struct Progress: Sendable {
        /// 0: there are none but on demand.
        package var interval: Nanoseconds
        package var running: Pass?
        /// The last one that came to its end.
        package var last: Pass?
        /// Since when some byte at rest has not been checked: its last check, or, where it is newer than that, at the
        /// latest when it was written. Nil: there was no whole pass in this run.
        package var oldestUnverified: UInt64?
        /// The pass that was asked for last will have this number.
        package var wanted: UInt64 = 0
    }

    private enum Target: Hashable {
        case file(NodeFile)
        case snapshot(GroupID, LogIndex)
        case segment(UInt32, generation: UInt64)
    }

    private struct State {
        var isClosing = false
        var wantsPass = false
        /// When to begin again what the system did not let come to its end.
        var again: (at: UInt64, isUrgent: Bool)?
        /// Of the pass begun last.
        var number: UInt64 = 0
        var progress: Progress
        /// What the node's state rests on.
        var named: [(group: GroupID, mark: SnapshotMark)] = []
        var verified: [Target: UInt64] = [:]
    }

    /// The pass is to end before its time. So it does with a `FileError` that says nothing of the file.
    private struct Interrupted: Error {}

    private let directory: String
    private let identity: NodeIdentity
    private let seed: ClusterSeed
    private let extents: @Sendable () -> [SegmentExtent]
    private let found: @Sendable (Rot) -> Void
    private let state: Mutex<State>
    private let pauseAfterFailure: Nanoseconds
    private let signal = Signal()
    private let thread = JoinableThread()

    /// - Parameters:
    ///   - interval: within which every byte is read once; 0: on demand only.
    ///   - extents: `Journal.extents`.
    ///   - found: called on the scrubber's thread.
    package init(
        directory: DataDirectory, interval: Nanoseconds, pauseAfterFailure: Nanoseconds = Scrubber.pauseAfterFailure,
        extents: @escaping @Sendable () -> [SegmentExtent], found: @escaping @Sendable (Rot) -> Void
    ) {
        self.directory = directory.path
        self.pauseAfterFailure = pauseAfterFailure
        self.identity = directory.identity
        self.seed = directory.seed
        self.extents = extents
        self.found = found
        self.state = Mutex(State(progress: Progress(interval: interval)))
        self.thread.start(name: "scrubber") { [self] in self.run() }
    }

    package var progress: Progress { self.state.withLock { $0.progress } }

    /// The snapshots that must be there.
    package func expect(_ named: [(group: GroupID, mark: SnapshotMark)]) { self.state.withLock { $0.named = named } }

    /// Begins a pass at once, at `urgentRate`, in place of one that is under way.
    /// - Returns: its number.
    package func begin() -> UInt64 {
        let number = self.state.withLock { state in
            state.wantsPass = true
            state.progress.wanted = state.number + 1
            return state.progress.wanted
        }
        self.signal.raise()
        return number
    }

    /// Does not wait long for a disk that does not answer.
    package func close() {
        self.state.withLock { $0.isClosing = true }
        self.signal.raise()
        _ = self.thread.join(within: .seconds(1))
    }

    // MARK: Passes

    private func run() {
        kintsugi_lower_priority()
        let start = bootTime()
        while true {
            let now = bootTime()
            let (isClosing, next, pause) = self.state.withLock { state in
                let interval = state.progress.interval
                let due: UInt64? =
                    if let again = state.again {
                        again.at
                    } else if interval > 0 {
                        state.progress.last.map { $0.began + interval / 2 } ?? start + Self.firstPause
                    } else {
                        nil
                    }
                guard state.wantsPass || due.map({ now >= $0 }) ?? false else {
                    return (state.isClosing, Next?.none, due.map { $0 - now })
                }
                let isUrgent = state.wantsPass || state.again?.isUrgent ?? false
                state.wantsPass = false
                state.again = nil
                state.number += 1
                return (state.isClosing, Next(number: state.number, isUrgent: isUrgent, interval: interval), nil)
            }
            if isClosing { return }
            if let next {
                self.perform(next.number, isUrgent: next.isUrgent, interval: next.interval)
            } else if let pause {
                self.signal.wait(atMost: pause)
            } else {
                self.signal.wait()
            }
        }
    }

    private struct Next {
        var number: UInt64
        var isUrgent: Bool
        var interval: Nanoseconds
    }

    private func perform(_ number: UInt64, isUrgent: Bool, interval: Nanoseconds) {
        let began = bootTime()
        let targets = self.targets()
        let total = targets.reduce(0) { $0 + $1.bytes }
        let pass = Pass(number: number, began: began, totalBytes: total, isUrgent: isUrgent)
        self.state.withLock { state in
            state.progress.running = pass
            // Of what is gone nothing need be known.
            let live = Set(targets.map(\.target))
            state.verified = state.verified.filter { live.contains($0.key) }
        }
        let rate = isUrgent ? Self.urgentRate : Self.rate(total, interval)
        do {
            for (target, bytes) in targets {
                let before = bootTime()
                let done = self.progress.running?.checkedBytes ?? 0
                try self.check(target, rate)
                self.state.withLock { state in
                    // What was freed or grew meanwhile counts as it was listed.
                    state.progress.running?.checkedBytes = done + bytes
                    state.verified[target] = before
                    self.noteOldest(&state, targets.map(\.target))
                }
            }
        } catch {
            return self.state.withLock { state in
                state.progress.running = nil
                guard error is FileError else { return }
                state.again = (bootTime() + self.pauseAfterFailure, isUrgent)
            }
        }
        self.state.withLock { state in
            var pass = pass
            pass.checkedBytes = total
            pass.ended = bootTime()
            state.progress.running = nil
            state.progress.last = pass
            self.noteOldest(&state, targets.map(\.target))
        }
    }

    private func noteOldest(_ state: inout State, _ targets: [Target]) {
        // What this pass has not come to was checked by the one before, or is newer than its begin.
        guard let floor = state.progress.last?.began else { return }
        state.progress.oldestUnverified = targets.map { state.verified[$0] ?? floor }.min() ?? floor
    }

    /// So that a pass is done within half an interval.
    private static func rate(_ bytes: Int, _ interval: Nanoseconds) -> Int {
        let seconds = max(1, Int(interval / 2 / 1_000_000_000))
        return max(Self.restingRate, bytes / seconds + 1)
    }

    /// Everything at rest now, with its size.
    private func targets() -> [(target: Target, bytes: Int)] {
        var all: [(target: Target, bytes: Int)] = []
        func size(_ path: String) -> Int? {
            var status = stat()
            return stat(path, &status) == 0 ? Int(status.st_size) : nil
        }
        for file in NodeFile.allCases { all.append((.file(file), size(self.path(file)) ?? 0)) }
        var snapshots = self.state.withLock { $0.named.map { ($0.group, $0.mark.index) } }
        for name in Files.list(self.directory + "/snapshots") {
            guard let found = SnapshotStore.parse(name), !snapshots.contains(where: { $0 == found }) else { continue }
            snapshots.append(found)
        }
        for (group, index) in snapshots {
            all.append((.snapshot(group, index), size(self.path(group, index)) ?? 0))
        }
        for extent in self.extents() {
            all.append(
                (
                    .segment(extent.file, generation: extent.generation),
                    extent.durableBlocks * JournalFormat.blockBytes
                ))
        }
        return all
    }

    private func path(_ file: NodeFile) -> String { self.directory + "/" + file.rawValue }
    private func path(_ group: GroupID, _ index: LogIndex) -> String {
        self.directory + "/snapshots/" + SnapshotStore.name(group, index)
    }

    // MARK: Checks

    private func check(_ target: Target, _ rate: Int) throws {
        switch target {
        case .file(let file): try self.check(file, rate)
        case .snapshot(let group, let index): try self.check(group, index, rate)
        case .segment(let file, let generation): try self.check(file, generation: generation, rate)
        }
    }

    /// Only what is bad each time is: a file may be replaced, or be written over, while it is read.
    private func check(_ file: NodeFile, _ rate: Int) throws {
        var reason: String?
        for _ in 0..<3 {
            reason = try self.complaint(about: file, rate)
            guard reason != nil else { return }
            usleep(100_000)
        }
        self.found(.file(file, reason: reason!))
    }

    private func complaint(about file: NodeFile, _ rate: Int) throws -> String? {
        let bytes: [UInt8]
        do {
            let reader = try DirectReader(self.path(file)) { try self.pace($0, rate) }
            bytes = try reader.read(at: 0, count: min(reader.size, 1 << 20))
        } catch let error as FileError where error.isOfFile {
            guard error.code == ENOENT, file.comesLater else { return error.description }
            // Both copies of these are written one after the other; of the others each when its turn comes.
            let pair = [NodeFile.peerRunsA, .peerRunsB]
            let isThere = pair.contains(file) && pair.contains { access(self.path($0), F_OK) == 0 }
            return isThere ? error.description : nil
        }
        return file.complaint(about: bytes, identity: self.identity, seed: Array(self.seed.text.utf8))
    }

    private func check(_ group: GroupID, _ index: LogIndex, _ rate: Int) throws {
        // A file that took the place of the one that was read is looked at for itself.
        for _ in 0..<3 {
            let (first, inode) = try self.complaint(about: group, index, rate)
            guard first != nil else { return }
            let (second, other) = try self.complaint(about: group, index, rate)
            guard let second else { return }
            guard inode == other else { continue }
            let isNamed = self.state.withLock { $0.named.contains { $0.group == group && $0.mark.index == index } }
            // A newer one has taken its place: this one may go, and nobody reads it.
            guard isNamed else { return }
            return self.found(.snapshot(group, index: index, reason: second))
        }
    }

    private func complaint(
        about group: GroupID, _ index: LogIndex, _ rate: Int
    ) throws -> (reason: String?, inode: UInt64) {
        let path = self.path(group, index)
        var inode: UInt64 = 0
        do {
            let reader = try DirectReader(path) { try self.pace($0, rate) }
            inode = reader.inode
            let mark = try SnapshotFile.read(
                path, size: { reader.size }, bytes: { try reader.read(at: $0, count: $1) }, { _ in })
            let expected = self.state.withLock { state in
                state.named.first { $0.group == group && $0.mark.index == index }?.mark
            }
            if let expected, expected != mark { return ("it is another snapshot's file", inode) }
            return (nil, inode)
        } catch let error as FileError where !error.isOfFile {
            throw error
        } catch is Interrupted {
            throw Interrupted()
        } catch {
            return ("\(error)", inode)
        }
    }

    private func check(_ file: UInt32, generation: UInt64, _ rate: Int) throws {
        func extent() -> SegmentExtent? {
            self.extents().first { $0.file == file && $0.generation == generation }
        }
        guard let before = extent(), before.durableBlocks > 0 else { return }
        var bytes: [UInt8] = []
        var failure: FileError?
        do {
            let reader = try DirectReader(self.directory + "/journal/" + SegmentFiles.name(of: file)) {
                try self.pace($0, rate)
            }
            bytes = try reader.read(at: 0, count: before.durableBlocks * JournalFormat.blockBytes)
        } catch let error as FileError where error.isOfFile {
            failure = error
        }
        // Only now is it known that what was read is what was to be read (`Journal.extents`).
        guard let after = extent() else { return }
        var places: [JournalRot] = []
        if let failure {
            places = [JournalRot(block: 0, sequence: 0, ranges: nil, text: failure.description)]
        } else {
            places = bytes.withUnsafeBytes {
                SegmentCheck(
                    $0, identity: self.identity.journal, generation: generation, durableBlocks: before.durableBlocks
                ).rot
            }
        }
        guard !places.isEmpty else { return }
        self.found(
            .journal(RottenSegment(file: file, generation: generation, extent: after.highest, places: places)))
    }

    // MARK: Pace

    /// Rests until so many bytes may have been read.
    private func pace(_ bytes: Int, _ rate: Int) throws {
        self.state.withLock { $0.progress.running?.checkedBytes += bytes }
        let until = bootTime() + UInt64(bytes) * 1_000_000_000 / UInt64(rate)
        while true {
            let isOver = self.state.withLock { $0.isClosing || $0.wantsPass }
            if isOver { throw Interrupted() }
            let now = bootTime()
            guard now < until else { return }
            self.signal.wait(atMost: until - now)
        }
    }
}
