/// Number of a node in its cluster, chosen by the operator, 1 or greater.
@frozen
public struct NodeID: RawRepresentable, Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var rawValue: UInt32

    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    @inlinable
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable
    public static func < (a: NodeID, b: NodeID) -> Bool { a.rawValue < b.rawValue }
    public var description: String { "\(self.rawValue)" }
}

/// 128 random bits made with a node's disk. A disk that was lost and made anew is another member.
@frozen
public struct Incarnation: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var high: UInt64
    public var low: UInt64

    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    @inlinable
    public static func < (a: Incarnation, b: Incarnation) -> Bool { (a.high, a.low) < (b.high, b.low) }
    public var description: String { hexadecimal(self.high) + hexadecimal(self.low) }
}

/// 128 random bits made once, at a cluster's birth.
@frozen
public struct ClusterID: Hashable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var high: UInt64
    public var low: UInt64

    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    public var description: String { hexadecimal(self.high) + hexadecimal(self.low) }
}

/// Who takes part in a group: a node *with the disk it had*. Votes and acknowledgements of another
/// incarnation of the same node do not count.
@frozen
public struct MemberID: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var node: NodeID
    public var incarnation: Incarnation

    @inlinable
    public init(node: NodeID, incarnation: Incarnation) {
        self.node = node
        self.incarnation = incarnation
    }

    @inlinable
    public static func < (a: MemberID, b: MemberID) -> Bool { (a.node, a.incarnation) < (b.node, b.incarnation) }
    public var description: String { "\(self.node)" }
}

/// Names a replicated log: the space it serves (high half) and the shard within it (low half).
@frozen
public struct GroupID: RawRepresentable, Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var rawValue: UInt64

    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable
    public init(space: UInt32, shard: UInt32) { self.rawValue = UInt64(space) << 32 | UInt64(shard) }

    /// Keeps the catalog; always there.
    public static var system: GroupID { GroupID(rawValue: 0) }
    /// The space that exists without being asked for: a cache.
    public static var `default`: GroupID { GroupID(space: 1, shard: 0) }

    @inlinable
    public static func < (a: GroupID, b: GroupID) -> Bool { a.rawValue < b.rawValue }
    public var description: String {
        switch self {
        case .system: "system"
        case .default: "default"
        default: "\(self.rawValue >> 32).\(self.rawValue & 0xffff_ffff)"
        }
    }
}

/// Number of a leadership: at most one leader a term and group. 0 is before the first.
public typealias Term = UInt64
/// Place of an entry in its group's log. The first is 1; 0 is before the first.
public typealias LogIndex = UInt64
/// Number of a node's start, raised and made durable each time. 0 is no run.
public typealias Run = UInt64

func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}

/// One start of a node: its number, and random bits that tell two starts apart which claim the same number (a copy of
/// a disk, or a second disk made from one seed).
@frozen
public struct RunMark: Hashable, Sendable, BitwiseCopyable {
    public var run: Run
    public var token: UInt64

    @inlinable
    public init(run: Run, token: UInt64) {
        self.run = run
        self.token = token
    }

    public static var none: RunMark { RunMark(run: 0, token: 0) }
}
