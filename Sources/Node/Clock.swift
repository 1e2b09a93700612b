import Glibc
import Journal
import Replication

/// The machine's clocks, as the core gets them with each turn.
enum Clock {
    /// CLOCK_BOOTTIME: goes on while the machine is suspended, and never back.
    static var now: Instant { Instant(nanoseconds: Self.read(CLOCK_BOOTTIME)) }
    /// CLOCK_REALTIME.
    static var wall: WallTime { WallTime(nanoseconds: Self.read(CLOCK_REALTIME)) }

    /// Names the time since the machine started, within which `now` goes on; 0 where the system does not tell.
    static var boot: UInt64 {
        guard let bytes = try? Files.read("/proc/sys/kernel/random/boot_id", limit: 36) else { return 0 }
        let digits = String(decoding: bytes, as: UTF8.self).filter { $0 != "-" }
        return UInt64(digits.prefix(16), radix: 16) ?? 0
    }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
