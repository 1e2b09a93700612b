import Catalog
import Formats
import Glibc
import Journal
import Logging
import NodeCore
import Replication

/// What the scrubber finds, and what of it the shell puts right; `KINTSUGI SCRUB`.
extension Runtime {
    func found(_ rot: Rot) {
        self.begin()
        // Since the last pass that found nothing there, where there was one.
        let last = self.scrubber.progress.last.map { Clock.now - Instant(nanoseconds: $0.began) }
        self.core.rotten(rot, window: last ?? 0)
        self.scheduleTurn()
    }

    func rewrite(_ file: NodeFile) {
        let directory = self.directory
        let inbox = self.inbox
        self.snapshots.perform {
            do {
                inbox.rewritten(file, bytes: try directory.rewrite(file))
            } catch {
                inbox.rewritten(file, bytes: nil)
            }
        }
    }

    func rewritten(_ file: NodeFile, bytes: Int?) {
        self.begin()
        if bytes == nil { self.logger.error("a file cannot be written anew", metadata: ["file": "\(file.rawValue)"]) }
        self.core.fileRewritten(file, bytes: bytes)
        self.scheduleTurn()
    }

    // MARK: Administration

    /// For INFO. -1: not known, as there was no whole pass in this run.
    var scrubLines: [String] {
        let progress = self.scrubber.progress
        let counts = self.core.rotCounts
        func age(_ time: UInt64?) -> Int {
            guard let time else { return -1 }
            let now = Clock.now
            return Int((now - min(now, Instant(nanoseconds: time))) / 1_000_000_000)
        }
        return [
            "scrub_running:\(progress.running == nil ? 0 : 1)",
            "scrub_last_pass_age_seconds:\(age(progress.last?.ended))",
            "scrub_oldest_unverified_seconds:\(age(progress.oldestUnverified))", "scrub_damaged:\(counts.found)",
            "scrub_repaired:\(counts.repaired)", "scrub_open:\(counts.open)",
        ]
    }

    /// - Parameter begins: a pass is begun at once.
    func scrubJSON(begins: Bool) -> [UInt8] {
        let wanted = begins ? self.scrubber.begin() : nil
        let progress = self.scrubber.progress
        let counts = self.core.rotCounts
        let (now, wall) = (Clock.now, Clock.wall)
        func age(_ time: UInt64) -> UInt64 { now - min(now, Instant(nanoseconds: time)) }
        func date(_ time: UInt64) -> String {
            "\"\(timestamp(WallTime(nanoseconds: wall.nanoseconds - min(wall.nanoseconds, age(time)))))\""
        }
        let state = progress.running != nil ? "running" : progress.interval > 0 ? "waiting" : "off"
        let shown = progress.running ?? progress.last
        let last = progress.last.map { last in
            """
            {"number":\(last.number),"began":\(date(last.began)),"ended":\(date(last.ended ?? last.began)),\
            "bytes":\(last.totalBytes)}
            """
        }
        return Array(
            """
            {"id":\(self.configuration.node),"state":"\(state)","interval_seconds":\(progress.interval / 1_000_000_000),\
            "pass":\(progress.running.map { "\($0.number)" } ?? "null"),\
            "wanted_pass":\((wanted ?? progress.wanted)),\
            "checked_bytes":\(shown?.checkedBytes ?? 0),"total_bytes":\(shown?.totalBytes ?? 0),\
            "last_pass":\(last ?? "null"),\
            "oldest_unverified":\(progress.oldestUnverified.map(date) ?? "null"),\
            "oldest_unverified_seconds":\(progress.oldestUnverified.map { "\(age($0) / 1_000_000_000)" } ?? "null"),\
            "damaged":\(counts.found),"repaired":\(counts.repaired),"open":\(counts.open)}
            """.utf8)
    }
}
