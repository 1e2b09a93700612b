package import Replication

/// One fault and its repair, as one observer knows it and as the ledger keeps it.
package struct Incident: Sendable, Equatable {
    package enum Kind: UInt8, Sendable {
        case node = 1
        case network = 2
        case data = 3
    }

    package enum Cause: UInt8, Sendable {
        /// Its connections ended and the re-dial was refused.
        case killed = 1
        /// Its heartbeats stayed away.
        case silent = 2
        /// A later run of it answered.
        case restarted = 3
        /// It said that it stops.
        case stopped = 4
    }

    package struct GroupChange: Sendable, Equatable {
        package var group: GroupID
        package var from: NodeID
        package var to: NodeID
        package var term: Term

        package init(group: GroupID, from: NodeID, to: NodeID, term: Term) {
            self.group = group
            self.from = from
            self.to = to
            self.term = term
        }
    }

    /// Nodes in full service, at an age of the incident.
    package struct Sample: Sendable, Equatable {
        package var serving: UInt32
        package var all: UInt32

        package init(serving: UInt32, all: UInt32) {
            self.serving = serving
            self.all = all
        }
    }

    package var kind: Kind
    package var cause: Cause
    package var node: NodeID
    /// The run of the node that the fault hit. With kind and node, what all observers derive alike.
    package var run: Run
    package var isPlanned: Bool
    package var count: UInt32 = 1
    package var observer: NodeID
    /// The observer became the leader that ended the outage, or leads the system group: its durations count.
    package var isAuthoritative: Bool
    /// The one wall-clock anchor: when the observer came to suspect it. All else are durations of the observer's clock.
    package var detected: WallTime
    /// From the last good sign of life to the suspicion: the fault lies somewhere in between.
    package var window: Nanoseconds
    /// From the suspicion to the first commit of the next term in every affected group, or to full service.
    package var repair: Nanoseconds?
    /// From the suspicion until all nodes were in full service.
    package var closed: Nanoseconds?
    package var groups: [GroupChange] = []
    /// By node: from the last good sign of life to its first acknowledged write after the suspicion.
    package var delays: [(node: NodeID, delay: Nanoseconds)] = []
    /// At 1, 5 and 30 s and at the close.
    package var samples: [Sample?] = [nil, nil, nil, nil]

    package init(
        kind: Kind, cause: Cause, node: NodeID, run: Run, isPlanned: Bool, observer: NodeID, isAuthoritative: Bool,
        detected: WallTime, window: Nanoseconds
    ) {
        self.kind = kind
        self.cause = cause
        self.node = node
        self.run = run
        self.isPlanned = isPlanned
        self.observer = observer
        self.isAuthoritative = isAuthoritative
        self.detected = detected
        self.window = window
    }

    package static func == (a: Incident, b: Incident) -> Bool { a.encoded() == b.encoded() }

    package func isSame(as other: Incident) -> Bool {
        self.kind == other.kind && self.node == other.node && self.run == other.run
    }

    /// Takes in what another report says of the same fault. Reports may come in any order and more than once.
    mutating func merge(_ other: Incident) {
        let delays = self.delays
        let isPlanned = self.isPlanned || other.isPlanned
        if other.isAuthoritative || (!self.isAuthoritative && other.observer == self.observer) {
            let (repair, closed, samples, groups) = (self.repair, self.closed, self.samples, self.groups)
            let wasSame = self.observer == other.observer
            self = other
            // An earlier report of the same observer must not take back what a later one said.
            if wasSame {
                self.repair = other.repair ?? repair
                self.closed = other.closed ?? closed
                for at in samples.indices { self.samples[at] = other.samples[at] ?? samples[at] }
                for change in groups where !self.groups.contains(change) { self.groups.append(change) }
            }
            for delay in delays where !self.delays.contains(where: { $0.node == delay.node }) { self.delays.append(delay) }
        } else {
            for delay in other.delays where !self.delays.contains(where: { $0.node == delay.node }) {
                self.delays.append(delay)
            }
        }
        self.isPlanned = isPlanned
        if isPlanned { self.cause = .stopped }
        self.delays.sort { $0.node < $1.node }
    }

    // MARK: Encoding

    /// Version 1, little-endian, in the order below. For ever: it is in logs.
    package func encoded() -> [UInt8] {
        var out: [UInt8] = []
        func put<T: FixedWidthInteger>(_ value: T) { withUnsafeBytes(of: value.littleEndian) { out.append(contentsOf: $0) } }
        put(UInt8(1))
        put(self.kind.rawValue)
        put(self.cause.rawValue)
        put(UInt8((self.isPlanned ? 1 : 0) | (self.isAuthoritative ? 2 : 0)))
        put(self.node.rawValue)
        put(self.run)
        put(self.count)
        put(self.observer.rawValue)
        put(self.detected.nanoseconds)
        put(self.window)
        put(self.repair ?? .max)
        put(self.closed ?? .max)
        put(UInt32(self.groups.count))
        for change in self.groups {
            put(change.group.rawValue)
            put(change.from.rawValue)
            put(change.to.rawValue)
            put(change.term)
        }
        put(UInt32(self.delays.count))
        for delay in self.delays {
            put(delay.node.rawValue)
            put(delay.delay)
        }
        for sample in self.samples {
            put(sample?.serving ?? .max)
            put(sample?.all ?? .max)
        }
        return out
    }

    /// Nil where the bytes are not one; `offset` moves past it.
    package init?(_ bytes: UnsafeRawBufferPointer, at offset: inout Int) {
        var isShort = false
        func take<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type) -> T {
            guard bytes.count - offset >= MemoryLayout<T>.size else {
                isShort = true
                return 0
            }
            defer { offset += MemoryLayout<T>.size }
            return T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
        }
        guard take(UInt8.self) == 1, let kind = Kind(rawValue: take(UInt8.self)), let cause = Cause(rawValue: take(UInt8.self))
        else { return nil }
        let flags = take(UInt8.self)
        let node = NodeID(take(UInt32.self))
        let run = take(UInt64.self)
        let count = take(UInt32.self)
        let observer = NodeID(take(UInt32.self))
        let detected = WallTime(nanoseconds: take(UInt64.self))
        self.init(
            kind: kind, cause: cause, node: node, run: run, isPlanned: flags & 1 != 0, observer: observer,
            isAuthoritative: flags & 2 != 0, detected: detected, window: take(UInt64.self))
        self.count = count
        let repair = take(UInt64.self)
        self.repair = repair == .max ? nil : repair
        let closed = take(UInt64.self)
        self.closed = closed == .max ? nil : closed
        for _ in 0..<min(take(UInt32.self), 4096) where !isShort {
            let group = GroupID(rawValue: take(UInt64.self))
            let from = NodeID(take(UInt32.self))
            let to = NodeID(take(UInt32.self))
            self.groups.append(GroupChange(group: group, from: from, to: to, term: take(UInt64.self)))
        }
        for _ in 0..<min(take(UInt32.self), 4096) where !isShort {
            let node = NodeID(take(UInt32.self))
            self.delays.append((node, take(UInt64.self)))
        }
        for at in 0..<4 {
            let serving = take(UInt32.self)
            let all = take(UInt32.self)
            self.samples[at] = all == .max ? nil : Sample(serving: serving, all: all)
        }
        if isShort { return nil }
    }
}
