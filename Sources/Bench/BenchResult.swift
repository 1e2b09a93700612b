import Glibc
import Histogram

/// What a run of load came to.
package struct BenchResult: Sendable {
    package var operation: BenchOptions.Operation
    package var connections: Int
    package var pipeline: Int
    package var valueSize: Int
    /// Operations answered without an error while measuring.
    package var operations: Int
    package var seconds: Double
    package var operationsPerSecond: Double
    /// From the sending of an operation's pipeline to its reply, in microseconds.
    package var p50: Double
    package var p99: Double
    package var p999: Double
    package var longest: Double
    /// Error replies, writes whose WAIT came back short, and operations whose connection ended.
    package var errors: Int
    package var firstError: String?
    /// GETs that found no value.
    package var misses: Int

    /// As `bench --json` prints it; the first error's text comes along where there is one.
    package var json: String {
        """
        {"op":"\(self.operation.rawValue)","connections":\(self.connections),"pipeline":\(self.pipeline),\
        "ops_per_s":\(rounded(self.operationsPerSecond, 1)),"p50_us":\(rounded(self.p50, 1)),\
        "p99_us":\(rounded(self.p99, 1)),"p999_us":\(rounded(self.p999, 1)),\
        "errors":\(self.errors)\(firstErrorMember(self.errors > 0 ? self.firstError : nil))}
        """
    }

    /// For people.
    package var text: String {
        var text = """
            \(self.operation.rawValue), \(counted(self.connections, "connection")), pipeline \(self.pipeline), \
            \(self.valueSize) B values, \(rounded(self.seconds, 1)) s
              \(grouped(Int(self.operationsPerSecond.rounded()))) operations/s
              latency  p50 \(duration(self.p50))   p99 \(duration(self.p99))   p99.9 \(duration(self.p999))   \
            max \(duration(self.longest))
              errors   \(grouped(self.errors))
            """
        if let error = self.firstError { text += "   first: \(error)" }
        if self.misses > 0 { text += "\n  \(grouped(self.misses)) of the GETs found no value" }
        return text
    }
}

/// What a run through fail-overs came to.
package struct FailoverResult: Sendable {
    package var acknowledgements: Int
    package var seconds: Double
    package var longestGap: AcknowledgementGap
    /// The gaps over the limit, in order of time.
    package var gaps: [AcknowledgementGap]
    /// Error replies of nodes that stayed. A connection's end is no error: its operation is open, neither acknowledged
    /// nor refused; so is one that a node refused right before it closed the connection.
    package var errors: Int
    package var firstError: String?
    /// Operations whose connection ended first.
    package var open: Int
    package var reconnects: Int
    /// The wall clock less the monotonic clock at the start, nanoseconds since 1970.
    package var wallClockOffset: UInt64

    /// As `bench --failover --json` prints it; the first error's text comes along where there is one.
    package var json: String {
        """
        {"acks":\(self.acknowledgements),"gap_ms":\(rounded(self.longestGap.milliseconds, 3)),\
        \
        "errors":\(self.errors)\(firstErrorMember(self.errors > 0 ? self.firstError : nil))}
        """
    }

    package var text: String {
        var text = """
            \(grouped(self.acknowledgements)) writes acknowledged in \(rounded(self.seconds, 1)) s, \
            \(counted(self.reconnects, "reconnection")), \(grouped(self.open)) left open
              longest gap \(duration(self.longestGap.milliseconds * 1000)) \
            at \(utc(self.longestGap.start &+ self.wallClockOffset))
              errors      \(grouped(self.errors))
            """
        if let error = self.firstError { text += "   first: \(error)" }
        return text
    }
}

/// Once a second.
package struct BenchProgress: Sendable {
    package enum Phase: String, Sendable {
        case loading
        case warmingUp = "warming up"
        case measuring
        case failover = "writing"
    }

    package var phase: Phase
    /// Since the phase began.
    package var seconds: Double
    /// In the last second or so.
    package var operationsPerSecond: Double
    package var operations: Int
    /// Operations that the phase will have, where that is known.
    package var total: Int?
    package var errors: Int
    /// Fail-over mode: the longest gap so far, in milliseconds.
    package var gapMilliseconds: Double?

    package var text: String {
        var text = "\(self.phase.rawValue) \(rounded(self.seconds, 0)) s: "
        if let total { text += "\(grouped(self.operations)) of \(grouped(total)), " }
        text += "\(grouped(Int(self.operationsPerSecond.rounded())))/s"
        if let gapMilliseconds { text += ", longest gap \(duration(gapMilliseconds * 1000))" }
        if self.errors > 0 { text += ", \(counted(self.errors, "error"))" }
        return text
    }
}

// MARK: Text

/// A further member of a JSON object.
private func firstErrorMember(_ text: String?) -> String {
    guard let text else { return "" }
    var quoted = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"", "\\": quoted += "\\\(scalar)"
        case _ where scalar.value < 0x20: quoted += " "
        default: quoted.unicodeScalars.append(scalar)
        }
    }
    return ",\"first_error\":\"\(quoted)\""
}

func rounded(_ value: Double, _ places: Int) -> String {
    let scale = pow(10.0, Double(places))
    let number = (value * scale).rounded() / scale
    return places == 0 || number == number.rounded() ? String(Int(number)) : String(number)
}

/// 1234567 as 1,234,567.
func grouped(_ value: Int) -> String {
    var text = ""
    for (index, digit) in String(abs(value)).reversed().enumerated() {
        if index > 0, index % 3 == 0 { text.append(",") }
        text.append(digit)
    }
    return (value < 0 ? "-" : "") + String(text.reversed())
}

func counted(_ value: Int, _ noun: String) -> String { "\(grouped(value)) \(noun)\(value == 1 ? "" : "s")" }

/// Microseconds, in the unit that reads best.
func duration(_ microseconds: Double) -> String {
    switch microseconds {
    case ..<1000: "\(rounded(microseconds, 0)) us"
    case ..<1_000_000: "\(rounded(microseconds / 1000, microseconds < 10_000 ? 2 : 1)) ms"
    default: "\(rounded(microseconds / 1_000_000, 2)) s"
    }
}

/// Nanoseconds since 1970 as `2026-01-31T23:59:59.123456Z`.
func utc(_ nanoseconds: UInt64) -> String {
    var seconds = time_t(nanoseconds / 1_000_000_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let day =
        "\(padded(Int(parts.tm_year) + 1900, 4))-\(padded(Int(parts.tm_mon) + 1, 2))-\(padded(Int(parts.tm_mday), 2))"
    let time = "\(padded(Int(parts.tm_hour), 2)):\(padded(Int(parts.tm_min), 2)):\(padded(Int(parts.tm_sec), 2))"
    return "\(day)T\(time).\(padded(Int(nanoseconds % 1_000_000_000) / 1000, 6))Z"
}
