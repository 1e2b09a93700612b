import Glibc
import Replication

/// The machine's clocks, as the core gets them with each turn.
enum Clock {
    /// CLOCK_BOOTTIME: goes on while the machine is suspended, and never back.
    static var now: Instant { Instant(nanoseconds: Self.read(CLOCK_BOOTTIME)) }
    /// CLOCK_REALTIME.
    static var wall: WallTime { WallTime(nanoseconds: Self.read(CLOCK_REALTIME)) }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
