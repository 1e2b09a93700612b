/// A point on this machine's boot-time clock, in nanoseconds. Never sent to another node, never compared with one's.
@frozen
public struct Instant: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var nanoseconds: UInt64

    @inlinable
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    @inlinable
    public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }
    @inlinable
    public static func + (a: Instant, b: Nanoseconds) -> Instant { Instant(nanoseconds: a.nanoseconds &+ b) }
    /// Time from `b` to `a`; 0 where `b` is the later one.
    @inlinable
    public static func - (a: Instant, b: Instant) -> Nanoseconds {
        a.nanoseconds > b.nanoseconds ? a.nanoseconds - b.nanoseconds : 0
    }
    public var description: String { "\(self.nanoseconds / 1_000_000)ms" }
}

/// A length of time, in nanoseconds.
public typealias Nanoseconds = UInt64

extension Nanoseconds {
    @inlinable
    public static func milliseconds(_ count: UInt64) -> Nanoseconds { count * 1_000_000 }
    @inlinable
    public static func seconds(_ count: UInt64) -> Nanoseconds { count * 1_000_000_000 }
}

/// A point on the wall clock, in nanoseconds since 1970-01-01T00:00:00Z. What a log's entries carry and what alone
/// decides expiry.
@frozen
public struct WallTime: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public var nanoseconds: UInt64

    @inlinable
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    @inlinable
    public var milliseconds: UInt64 { self.nanoseconds / 1_000_000 }

    @inlinable
    public static func < (a: WallTime, b: WallTime) -> Bool { a.nanoseconds < b.nanoseconds }
    public var description: String { "\(self.milliseconds)" }
}
