import Testing

@testable import Bench

@Suite struct ReportTests {
    @Test func printsTheAgreedJSON() {
        let result = BenchResult(
            operation: .set, connections: 64, pipeline: 16, valueSize: 100, operations: 1_234_567, seconds: 10,
            operationsPerSecond: 123_456.78, p50: 457.25, p99: 1230, p999: 3033.51, longest: 8000, errors: 2,
            firstError: "ERR \"x\" \\ \t", misses: 0)
        #expect(
            result.json
                == #"{"op":"set","connections":64,"pipeline":16,"ops_per_s":123456.8,"p50_us":457.3,"p99_us":1230,"p999_us":3033.5,"errors":2,"first_error":"ERR \"x\" \\  "}"#
        )
        #expect(result.text.contains("123,457 operations/s"))
        #expect(result.text.contains("p50 457 us   p99 1.23 ms   p99.9 3.03 ms   max 8 ms"))
        #expect(result.text.contains("errors   2   first: ERR \"x\""))

        let failover = FailoverResult(
            acknowledgements: 81_920, seconds: 30,
            longestGap: AcknowledgementGap(start: 1_000_000_000, end: 1_012_345_678),
            gaps: [], errors: 0, firstError: nil, open: 3, reconnects: 1, wallClockOffset: 1_700_000_000_000_000_000)
        #expect(failover.json == #"{"acks":81920,"gap_ms":12.346,"errors":0}"#)
        #expect(failover.text.contains("longest gap 12.3 ms at 2023-11-14T22:13:21.000000Z"))
        #expect(failover.text.contains("1 reconnection, 3 left open"))
    }

    @Test func writesTimesInUTC() {
        #expect(utc(0) == "1970-01-01T00:00:00.000000Z")
        #expect(utc(1_709_210_096_000_007_999) == "2024-02-29T12:34:56.000007Z")
    }

    @Test func groupsDigits() {
        #expect(
            [0, 7, 999, 1000, 1_234_567, -12_345].map(grouped) == ["0", "7", "999", "1,000", "1,234,567", "-12,345"])
    }

    @Test func writesDurationsInTheUnitThatReadsBest() {
        #expect([0, 457.4, 1230, 99_960, 2_500_000].map(duration) == ["0 us", "457 us", "1.23 ms", "100 ms", "2.5 s"])
    }

    @Test func refusesOptionsOutOfRange() {
        let good = BenchOptions(addresses: ["127.0.0.1:6379"])
        #expect(throws: Never.self) { try good.validate() }
        func refuses(_ change: (inout BenchOptions) -> Void, _ location: SourceLocation = #_sourceLocation) {
            var options = good
            change(&options)
            #expect(sourceLocation: location) { try options.validate() } throws: { ($0 as? BenchError)?.exitCode == 64 }
        }
        refuses { $0.addresses = [] }
        refuses { $0.addresses = ["127.0.0.1"] }
        refuses { $0.addresses = ["127.0.0.1:0"] }
        refuses { $0.addresses = ["127.0.0.1:70000"] }
        refuses { $0.addresses = ["somewhere:6379"] }
        refuses { $0.connections = 0 }
        refuses { $0.pipeline = 0 }
        refuses { $0.valueSize = -1 }
        refuses { $0.keys = 0 }
        refuses { $0.readShare = 1.5 }
        refuses { $0.readShare = .nan }
        refuses { $0.seconds = 0 }
        refuses { $0.seconds = .infinity }
        refuses { $0.requests = 0 }
        refuses { $0.warmUp = -1 }
        refuses { $0.wait = -1 }
        refuses { $0.threads = 65 }
        refuses {
            $0.connections = 1; $0.threads = 2
        }
        refuses { $0.preload = -1 }
        refuses {
            $0.valueSize = 64 << 20; $0.pipeline = 1000
        }
    }

    @Test func writesKeysOfTwelveDigits() {
        let template = RequestTemplate([Array("GET".utf8), Array("key:000000000000".utf8)], keyArgument: 1)
        let target = UnsafeMutablePointer<UInt8>.allocate(capacity: 100)
        defer { target.deallocate() }
        for (key, digits) in [
            (0, "000000000000"), (7, "000000000007"), (999_999, "000000999999"),
            (1_000_000, "000001000000"), (999_999_999_999, "999999999999"),
        ] as [(UInt64, String)] {
            let length = template.write(key: key, at: target)
            let text = String(decoding: UnsafeBufferPointer(start: target, count: length), as: UTF8.self)
            #expect(text == "*2\r\n$3\r\nGET\r\n$16\r\nkey:\(digits)\r\n")
        }
    }
}
