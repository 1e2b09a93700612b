import CKintsugi
import Glibc
import Histogram
import Synchronization

/// One thread's share of a run.
struct LoadJob: Sendable {
    enum Limit: Sendable {
        case nanoseconds(UInt64)
        case operations(Int)
    }

    var addresses: [ServerAddress]
    var operation: BenchOptions.Operation
    var connections: Int
    /// The first connection's place among all threads' connections, which are spread over the addresses in turn.
    var firstConnection: Int
    var pipeline: Int
    var valueSize: Int
    var keys: Int
    /// Keys come in order from here on, each once, instead of by chance.
    var firstKey: UInt64?
    var readShare: Double
    var wait: Int
    var limit: Limit
    /// Nanoseconds.
    var warmUp: UInt64
    var password: String?
    var seed: UInt64
    /// Nanoseconds without a reply after which the run fails; nil: never.
    var stallLimit: UInt64?
    /// Gaps in acknowledgements are followed, and a connection's end is no error.
    var failover: Bool
    /// Nanoseconds.
    var gapThreshold: UInt64
    var phase: BenchProgress.Phase
}

/// Counts that threads share, and the wish to stop.
final class LoadCounts: Sendable {
    let operations = Atomic<Int>(0)
    let errors = Atomic<Int>(0)
    let stop = Atomic<Bool>(false)
}

/// A closed loop of requests over non-blocking connections, on the calling thread.
///
/// It shares the machine with the servers it measures, so on the way of a request there is no allocation, reference
/// count, task or lock: requests are copied from templates into a buffer of the connection's own, and replies are
/// scanned where the socket put them.
struct LoadLoop: ~Copyable {
    enum State: UInt8 {
        /// Without a socket until `retryAt`.
        case waiting
        case connecting
        /// AUTH is sent, its reply awaited.
        case authenticating
        case ready
        /// The run needs no more of it.
        case finished
    }

    struct Connection: BitwiseCopyable {
        var socket: Int32 = -1
        var state = State.waiting
        var watchesWritable = false
        /// A write of this pipeline was refused; its WAIT does not count.
        var writeRefused = false
        /// The pipeline was sent after the warm-up.
        var measured = false
        var address = 0
        var out: UnsafeMutablePointer<UInt8>
        var outLength = 0
        var outSent = 0
        /// What the replies of the current pipeline stand for, in order.
        var expect: UnsafeMutablePointer<Expectation>
        var expected = 0
        var replied = 0
        /// Operations of the current pipeline without their reply.
        var operationsOwed = 0
        /// Error replies not yet followed by any other reply: they are those of a node on its way out, or of one that
        /// stays.
        var unconfirmedErrors = 0
        var sentAt: UInt64 = 0
        /// When to dial again, or when dialling began.
        var retryAt: UInt64 = 0
        var scanner = ReplyScanner()
    }

    let job: LoadJob
    let counts: LoadCounts
    let poller: Int32
    var connections: UnsafeMutableBufferPointer<Connection>
    private let outCapacity: Int
    private var source: RequestSource
    private let received: UnsafeMutableBufferPointer<UInt8>
    private let ready: UnsafeMutableBufferPointer<kintsugi_ready>
    /// AUTH, encoded; empty without a password.
    private let authentication: [UInt8]

    var avoidUntil: [UInt64]
    var connectionsAt: [Int]
    /// The earliest `retryAt` of a waiting connection.
    var nextRetry = UInt64.max
    private(set) var readyCount = 0

    private(set) var histogram = Histogram<UInt64>(
        lowestDiscernibleValue: 256, highestTrackableValue: 3_600_000_000_000, numberOfSignificantValueDigits: .three)
    private(set) var operations = 0
    private(set) var misses = 0
    var errors = 0
    var open = 0
    var reconnects = 0
    private(set) var gaps: GapTracker
    private(set) var firstError: String?
    private var errorLine: [UInt8] = []
    private var errorLineOf = -1

    private var measureFrom = UInt64.max
    private var endAt = UInt64.max
    private(set) var measuredNanoseconds: UInt64 = 0
    private var toIssue = Int.max
    private var outstandingMeasured = 0
    private var lastReplyAt: UInt64 = 0
    private var isOver = false

    init(_ job: LoadJob, counts: LoadCounts) throws(BenchError) {
        self.job = job
        self.counts = counts
        self.poller = kintsugi_poll_create()
        self.source = RequestSource(job)
        var authentication = [UInt8]()
        if let password = job.password {
            authentication = RequestTemplate.encoded([Array("AUTH".utf8), Array(password.utf8)])
        }
        self.authentication = authentication
        self.outCapacity = max(job.pipeline * self.source.longest, authentication.count)
        self.connections = .allocate(capacity: job.connections)
        for index in 0..<job.connections {
            (self.connections.baseAddress! + index).initialize(
                to: Connection(
                    out: .allocate(capacity: self.outCapacity), expect: .allocate(capacity: job.pipeline * 2)))
        }
        self.received = .allocate(capacity: 256 << 10)
        self.ready = .allocate(capacity: 256)
        self.avoidUntil = Array(repeating: 0, count: job.addresses.count)
        self.connectionsAt = Array(repeating: 0, count: job.addresses.count)
        self.gaps = GapTracker(start: 0, thresholdNanoseconds: job.gapThreshold)
        self.histogram.autoResize = true
        guard self.poller >= 0 else { throw BenchError.system("epoll_create1", errno) }
    }

    deinit {
        for connection in self.connections {
            if connection.socket >= 0 { close(connection.socket) }
            connection.out.deallocate()
            connection.expect.deallocate()
        }
        self.connections.deallocate()
        self.received.deallocate()
        self.ready.deallocate()
        if self.poller >= 0 { close(self.poller) }
    }

    @inline(__always)
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
    }

    // MARK: The loop

    /// Runs to the limit.
    ///
    /// - Parameters:
    ///   - progress: told about once a second.
    ///   - onGap: told of each gap over the threshold as it ends.
    mutating func run(progress: (BenchProgress) -> Void, onGap: (AcknowledgementGap) -> Void) throws(BenchError) {
        let start = Self.now()
        self.lastReplyAt = start
        for index in 0..<self.connections.count {
            self.dial(index, address: (self.job.firstConnection + index) % self.job.addresses.count, now: start)
        }
        var report = Report(start: start)
        while !self.isOver {
            let now = Self.now()
            if self.measureFrom == .max, self.readyCount == self.connections.count || now - start > Self.connectLimit {
                try self.begin(now)
                report = Report(start: self.job.warmUp > 0 ? now : self.measureFrom)
            }
            if now >= report.next {
                try self.check(now)
                self.report(&report, now: now, progress: progress)
            }
            if now >= self.endAt || self.isStopped { break }
            if now >= self.nextRetry { self.retry(now) }
            let wakeAt = min(report.next, min(self.endAt, self.nextRetry))
            let milliseconds = wakeAt <= now ? 0 : min((wakeAt - now + 999_999) / 1_000_000, 100)
            let count = kintsugi_poll_wait(
                self.poller, self.ready.baseAddress, Int32(self.ready.count), Int32(truncatingIfNeeded: milliseconds))
            guard count >= 0 else { throw BenchError.system("epoll_wait", errno) }
            for place in 0..<Int(count) {
                let event = self.ready[place]
                let index = Int(event.index)
                if event.events & UInt32(KINTSUGI_WRITABLE) != 0 { try self.writable(index) }
                if event.events & UInt32(KINTSUGI_READABLE) != 0 { try self.readable(index, onGap: onGap) }
            }
        }
        let end = Self.now()
        for connection in self.connections { self.errors += connection.unconfirmedErrors }
        if self.measureFrom < end {
            // A count ends with its last reply; a time with itself, also where nothing was going on any more.
            let last = self.isOver ? self.lastReplyAt : min(end, self.endAt)
            self.measuredNanoseconds = max(1, last - min(last, self.measureFrom))
            if self.job.failover, let gap = self.gaps.finish(at: last) { onGap(gap) }
        }
    }

    private var isStopped: Bool {
        self.counts.stop.load(ordering: .relaxed) || Interruption.isRequested.load(ordering: .relaxed)
    }

    /// Connections must be there after this long.
    private static let connectLimit: UInt64 = 5_000_000_000

    private mutating func begin(_ now: UInt64) throws(BenchError) {
        guard self.readyCount > 0, self.job.failover || self.readyCount == self.connections.count else {
            throw BenchError.unreachable(
                "Only \(self.readyCount) of \(self.connections.count) connections are served after 5 s"
                    + (self.firstError.map { ": \($0)" } ?? "."))
        }
        self.measureFrom = now + self.job.warmUp
        self.gaps = GapTracker(start: self.measureFrom, thresholdNanoseconds: self.job.gapThreshold)
        switch self.job.limit {
        case .nanoseconds(let length): self.endAt = self.measureFrom + length
        case .operations(let count): self.toIssue = count
        }
        // What connecting came to is not the run's.
        self.errors = 0
        for index in 0..<self.connections.count where self.connections[index].state == .ready {
            try self.sendPipeline(index, now: now)
        }
    }

    private mutating func check(_ now: UInt64) throws(BenchError) {
        if let limit = self.job.stallLimit, self.lastReplyAt < now, now - self.lastReplyAt > limit {
            throw BenchError.unreachable("No reply for \(limit / 1_000_000_000) s.")
        }
        // A packet to another machine may vanish: a dial has a limit of its own.
        for index in 0..<self.connections.count {
            let connection = self.connections[index]
            if connection.state == .connecting, now > connection.retryAt, now - connection.retryAt > 1_000_000_000 {
                self.lost(index, now: now)
            }
        }
    }

    // MARK: Progress

    private struct Report {
        var start: UInt64
        var last: UInt64
        var next: UInt64
        var total = 0
        var ownOperations = 0
        var ownErrors = 0

        init(start: UInt64) {
            self.start = start
            self.last = start
            self.next = start + 1_000_000_000
        }
    }

    private mutating func report(_ report: inout Report, now: UInt64, progress: (BenchProgress) -> Void) {
        self.counts.operations.add(self.operations - report.ownOperations, ordering: .relaxed)
        self.counts.errors.add(self.errors - report.ownErrors, ordering: .relaxed)
        report.ownOperations = self.operations
        report.ownErrors = self.errors
        let total = self.counts.operations.load(ordering: .relaxed)
        let isWarm = now >= self.measureFrom
        if isWarm, report.start < self.measureFrom {
            let next = report.next
            report.start = self.measureFrom
            report.last = self.measureFrom
            report.next = next
        }
        var progressed = BenchProgress(
            phase: isWarm ? self.job.phase : .warmingUp, seconds: Double(now - min(now, report.start)) / 1e9,
            operationsPerSecond: Double(total - report.total) * 1e9 / Double(max(1, now - min(now, report.last))),
            operations: total, errors: self.counts.errors.load(ordering: .relaxed))
        if case .operations(let count) = self.job.limit, isWarm { progressed.total = count }
        if self.job.failover, isWarm { progressed.gapMilliseconds = self.gaps.longest.milliseconds }
        progress(progressed)
        report.total = total
        report.last = now
        report.next = now + 1_000_000_000
    }

    // MARK: Requests

    private mutating func sendPipeline(_ index: Int, now: UInt64) throws(BenchError) {
        let measured = now >= self.measureFrom
        var count = self.job.pipeline
        if measured, self.toIssue != .max {
            count = min(count, self.toIssue)
            self.toIssue -= count
            self.outstandingMeasured += count
            if count == 0 {
                self.connections[index].state = .finished
                self.isOver = self.outstandingMeasured == 0
                return
            }
        }
        let connection = self.connections.baseAddress! + index
        var length = 0
        var owed = 0
        for _ in 0..<count {
            length += self.source.write(
                at: connection.pointee.out + length, expect: connection.pointee.expect, owed: &owed)
        }
        connection.pointee.outLength = length
        connection.pointee.outSent = 0
        connection.pointee.expected = owed
        connection.pointee.replied = 0
        connection.pointee.operationsOwed = count
        connection.pointee.measured = measured
        connection.pointee.sentAt = Self.now()
        try self.flush(index)
    }

    private mutating func flush(_ index: Int) throws(BenchError) {
        let connection = self.connections.baseAddress! + index
        while connection.pointee.outSent < connection.pointee.outLength {
            let sent = send(
                connection.pointee.socket, connection.pointee.out + connection.pointee.outSent,
                connection.pointee.outLength - connection.pointee.outSent, Int32(MSG_NOSIGNAL))
            if sent >= 0 {
                connection.pointee.outSent += sent
            } else if errno == EAGAIN {
                break
            } else if errno != EINTR {
                return self.lost(index, now: Self.now())
            }
        }
        let isBlocked = connection.pointee.outSent < connection.pointee.outLength
        if isBlocked != connection.pointee.watchesWritable { try self.watch(index, writable: isBlocked) }
    }

    mutating func watch(_ index: Int, writable: Bool, added: Bool = true) throws(BenchError) {
        let code = kintsugi_poll_watch(
            self.poller, self.connections[index].socket, UInt32(index), writable ? 1 : 0, added ? 1 : 0)
        guard code == 0 else { throw BenchError.system("epoll_ctl", code) }
        self.connections[index].watchesWritable = writable
    }

    /// The connection has been made.
    mutating func opened(_ index: Int) throws(BenchError) {
        let connection = self.connections.baseAddress! + index
        connection.pointee.scanner = ReplyScanner()
        connection.pointee.outSent = 0
        connection.pointee.outLength = 0
        if !self.authentication.isEmpty {
            connection.pointee.state = .authenticating
            connection.pointee.out.update(from: self.authentication, count: self.authentication.count)
            connection.pointee.outLength = self.authentication.count
            connection.pointee.expected = 1
            connection.pointee.replied = 0
            connection.pointee.operationsOwed = 0
            try self.flush(index)
        } else {
            try self.serve(index)
        }
    }

    private mutating func serve(_ index: Int) throws(BenchError) {
        self.connections[index].state = .ready
        self.connections[index].expected = 0
        self.connections[index].replied = 0
        self.readyCount += 1
        let now = Self.now()
        if self.connections[index].watchesWritable { try self.watch(index, writable: false) }
        if self.measureFrom != .max { try self.sendPipeline(index, now: now) }
    }

    // MARK: Replies

    private mutating func writable(_ index: Int) throws(BenchError) {
        switch self.connections[index].state {
        case .connecting: try self.dialled(index)
        case .authenticating, .ready: try self.flush(index)
        case .waiting, .finished: break
        }
    }

    private mutating func readable(_ index: Int, onGap: (AcknowledgementGap) -> Void) throws(BenchError) {
        let connection = self.connections.baseAddress! + index
        switch connection.pointee.state {
        case .authenticating, .ready, .finished: break
        // Readable for want of a connection: `writable` has dealt with that.
        case .connecting, .waiting: return
        }
        let count = recv(connection.pointee.socket, self.received.baseAddress, self.received.count, 0)
        let now = Self.now()
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return }
            return self.lost(index, now: now)
        }
        self.lastReplyAt = now
        var cursor = UnsafePointer(self.received.baseAddress!)
        let end = cursor + count
        var done = 0
        var failed = 0
        while cursor < end {
            guard connection.pointee.replied < connection.pointee.expected else {
                // Redis says so to a client too many, unasked, and closes.
                if cursor.pointee == UInt8(ascii: "-") {
                    self.noteError(index, cursor, end, isWhole: true)
                    return self.lost(index, now: now)
                }
                throw BenchError.malformed("A reply that nobody asked for came from \(self.name(index)).")
            }
            let began = cursor
            guard let reply = connection.pointee.scanner.next(&cursor, end) else {
                if connection.pointee.scanner.isInsideError { self.noteError(index, began, cursor, isWhole: false) }
                break
            }
            if reply.kind == 0 { throw BenchError.malformed("What \(self.name(index)) replies is not RESP2.") }
            let isError = reply.kind == UInt8(ascii: "-")
            if isError {
                self.noteError(index, began, cursor, isWhole: true)
                if connection.pointee.state == .authenticating {
                    throw BenchError.refused("\(self.name(index)) refuses: \(self.firstError ?? "no reason")")
                }
            } else if connection.pointee.unconfirmedErrors > 0 {
                self.errors += connection.pointee.unconfirmedErrors
                connection.pointee.unconfirmedErrors = 0
            }
            let expectation = connection.pointee.expect[connection.pointee.replied]
            connection.pointee.replied += 1
            if connection.pointee.state == .authenticating { break }
            switch expectation {
            case .operation:
                if isError { failed += 1 } else { done += 1 }
                if reply.kind == UInt8(ascii: "$"), reply.number < 0, now >= self.measureFrom { self.misses += 1 }
            case .beforeWait:
                connection.pointee.writeRefused = isError
                continue
            case .wait:
                if isError || connection.pointee.writeRefused || reply.number < self.job.wait {
                    failed += 1
                } else {
                    done += 1
                }
                connection.pointee.writeRefused = false
            }
            connection.pointee.operationsOwed -= 1
        }
        if connection.pointee.state == .authenticating {
            if connection.pointee.replied == connection.pointee.expected { try self.serve(index) }
            return
        }
        self.book(index, done: done, failed: failed, now: now, onGap: onGap)
        if connection.pointee.replied == connection.pointee.expected, connection.pointee.state == .ready {
            try self.sendPipeline(index, now: now)
        }
    }

    @inline(__always)
    private mutating func book(
        _ index: Int, done: Int, failed: Int, now: UInt64, onGap: (AcknowledgementGap) -> Void
    ) {
        let connection = self.connections.baseAddress! + index
        let isMeasured =
            self.toIssue == .max ? now >= self.measureFrom && now <= self.endAt : connection.pointee.measured
        guard isMeasured else { return }
        if done > 0 {
            self.operations += done
            self.histogram.record(now &- connection.pointee.sentAt, count: UInt64(done))
            if self.job.failover, let gap = self.gaps.acknowledge(done, at: now) { onGap(gap) }
        }
        if failed > 0 {
            if self.job.failover { connection.pointee.unconfirmedErrors += failed } else { self.errors += failed }
        }
        if self.toIssue != .max { self.outstandingMeasured -= done + failed }
    }

    /// Books the operations of a connection that has ended.
    mutating func bookLost(_ index: Int, now: UInt64) {
        let connection = self.connections.baseAddress! + index
        if connection.pointee.state == .ready || connection.pointee.state == .finished { self.readyCount -= 1 }
        let owed = connection.pointee.operationsOwed
        let isMeasured = self.toIssue == .max ? now >= self.measureFrom : connection.pointee.measured
        if isMeasured {
            if self.job.failover {
                self.open += owed + connection.pointee.unconfirmedErrors
            } else {
                self.errors += owed
            }
            if self.toIssue != .max {
                self.outstandingMeasured -= owed
                self.isOver = self.toIssue == 0 && self.outstandingMeasured == 0
            }
        }
        connection.pointee.unconfirmedErrors = 0
        connection.pointee.operationsOwed = 0
        connection.pointee.expected = 0
        connection.pointee.replied = 0
    }

    func name(_ index: Int) -> String { self.job.addresses[self.connections[index].address].text }

    /// Keeps the first error's text. Errors may come in pieces, of several connections at once: one of them is
    /// followed.
    private mutating func noteError(
        _ index: Int, _ from: UnsafePointer<UInt8>, _ to: UnsafePointer<UInt8>, isWhole: Bool
    ) {
        guard self.firstError == nil, self.errorLineOf < 0 || self.errorLineOf == index else { return }
        self.errorLineOf = index
        self.errorLine += UnsafeBufferPointer(start: from, count: to - from)
        guard isWhole else { return }
        let line = self.errorLine.drop { $0 == UInt8(ascii: "-") }.prefix { $0 != UInt8(ascii: "\r") }
        self.firstError = String(decoding: line.prefix(200), as: UTF8.self)
    }
}
