import Glibc
import Histogram
import Synchronization

/// A load generator for any server that speaks RESP2.
package enum Bench {
    /// Loads keys where asked for, warms up, and measures.
    ///
    /// - Parameter progress: told about once a second.
    package static func run(
        _ options: BenchOptions, progress: (BenchProgress) -> Void = { _ in }
    ) throws(BenchError) -> BenchResult {
        let addresses = try Self.prepare(options, allMustAnswer: true)
        if options.preload > 0 { try Self.load(options, addresses, progress) }
        let limit: LoadJob.Limit =
            options.requests.map { .operations($0) } ?? .nanoseconds(Self.nanoseconds(options.seconds))
        let jobs = Self.jobs(options, addresses, limit: limit)
        let counts = LoadCounts()
        let others = Array(jobs.dropFirst()).map { LoadThread($0, counts: counts) }
        var outcomes: [LoadOutcome] = []
        var failure: BenchError?
        do throws(BenchError) {
            try Interruption.whileCaught(options.stopsAtSignals) { () throws(BenchError) in
                outcomes.append(try LoadOutcome.of(jobs[0], counts: counts, progress: progress))
            }
        } catch {
            failure = error
            counts.stop.store(true, ordering: .relaxed)
        }
        for thread in others {
            switch thread.join() {
            case .success(let outcome): outcomes.append(outcome)
            case .failure(let error): failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return Self.sum(options, outcomes)
    }

    /// Writes in a closed loop through fail-overs and follows the times without any acknowledgement. A writer whose
    /// connection ends dials the next address that answers; it takes one answering address to begin. Threads, pipeline,
    /// read share and warm-up are not looked at.
    ///
    /// - Parameters:
    ///   - onGap: told of each gap over `options.gapMilliseconds` as it ends, besides the list at `options.gapsPath`.
    ///   - progress: told about once a second.
    package static func failover(
        _ options: BenchOptions, onGap: (AcknowledgementGap) -> Void = { _ in },
        progress: (BenchProgress) -> Void = { _ in }
    ) throws(BenchError) -> FailoverResult {
        let addresses = try Self.prepare(options, allMustAnswer: false)
        if options.preload > 0 { try Self.load(options, addresses, progress) }
        var job = Self.jobs(options, addresses, limit: .nanoseconds(Self.nanoseconds(options.seconds)))[0]
        job.operation = .set
        job.connections = options.connections
        job.pipeline = 1
        job.warmUp = 0
        job.failover = true
        job.stallLimit = nil
        job.gapThreshold = UInt64(options.gapMilliseconds * 1e6)
        job.phase = .failover
        if let requests = options.requests { job.limit = .operations(requests) }
        let offset = Self.wallClockOffset()
        let list = try GapList(options.gapsPath, wallClockOffset: offset)
        var loop = try LoadLoop(job, counts: LoadCounts())
        try Interruption.whileCaught(options.stopsAtSignals) { () throws(BenchError) in
            try loop.run(progress: progress) { gap in
                list.write(gap)
                onGap(gap)
            }
        }
        return FailoverResult(
            acknowledgements: loop.gaps.acknowledgements, seconds: Double(loop.measuredNanoseconds) / 1e9,
            longestGap: loop.gaps.longest, gaps: loop.gaps.gaps, errors: loop.errors, firstError: loop.firstError,
            open: loop.open, reconnects: loop.reconnects, wallClockOffset: offset)
    }

    // MARK: Parts

    private static func load(
        _ options: BenchOptions, _ addresses: [ServerAddress], _ progress: (BenchProgress) -> Void
    ) throws(BenchError) {
        var loading = options
        loading.operation = .set
        loading.threads = 1
        loading.wait = 0
        loading.warmUp = 0
        loading.connections = min(max(options.connections, 1), 16)
        // Large enough that the cost of a round trip vanishes, small enough for anybody's buffers.
        loading.pipeline = max(1, min(256, (64 << 10) / (options.valueSize + 64)))
        var job = Self.jobs(loading, addresses, limit: .operations(options.preload))[0]
        job.firstKey = 0
        job.phase = .loading
        let outcome = try LoadOutcome.of(job, counts: LoadCounts(), progress: progress)
        guard outcome.errors == 0 else {
            let reason = outcome.firstError ?? "the connection ended"
            throw BenchError.refused("\(counted(outcome.errors, "key")) could not be loaded: \(reason).")
        }
    }

    private static func jobs(
        _ options: BenchOptions, _ addresses: [ServerAddress], limit: LoadJob.Limit
    ) -> [LoadJob] {
        let threads = options.threads
        return (0..<threads).map { thread in
            // The remainder goes to the first threads.
            func share(_ total: Int) -> Int { total / threads + (thread < total % threads ? 1 : 0) }
            func before(_ total: Int) -> Int { thread * (total / threads) + min(thread, total % threads) }
            var limit = limit
            if case .operations(let count) = limit { limit = .operations(share(count)) }
            return LoadJob(
                addresses: addresses, operation: options.operation, connections: share(options.connections),
                firstConnection: before(options.connections), pipeline: options.pipeline,
                valueSize: options.valueSize, keys: options.keys, readShare: options.readShare, wait: options.wait,
                limit: limit, warmUp: Self.nanoseconds(options.warmUp), password: options.password,
                seed: options.seed &+ UInt64(thread) &* 0x9E37_79B9, stallLimit: Self.nanoseconds(options.stallSeconds),
                failover: false, gapThreshold: 0, phase: .measuring)
        }
    }

    private static func sum(_ options: BenchOptions, _ outcomes: [LoadOutcome]) -> BenchResult {
        var histogram = outcomes[0].histogram
        for outcome in outcomes.dropFirst() { histogram.add(outcome.histogram) }
        func microseconds(_ percentile: Double) -> Double {
            histogram.totalCount == 0 ? 0 : Double(histogram.valueAtPercentile(percentile)) / 1000
        }
        return BenchResult(
            operation: options.operation, connections: options.connections, pipeline: options.pipeline,
            valueSize: options.valueSize, operations: outcomes.reduce(0) { $0 + $1.operations },
            seconds: outcomes.reduce(0) { max($0, $1.seconds) },
            operationsPerSecond: outcomes.reduce(0) { $0 + Double($1.operations) / $1.seconds },
            p50: microseconds(50), p99: microseconds(99), p999: microseconds(99.9),
            longest: histogram.totalCount == 0 ? 0 : Double(histogram.max) / 1000,
            errors: outcomes.reduce(0) { $0 + $1.errors },
            firstError: outcomes.lazy.compactMap(\.firstError).first,
            misses: outcomes.reduce(0) { $0 + $1.misses })
    }

    private static func nanoseconds(_ seconds: Double) -> UInt64 { UInt64(seconds * 1e9) }

    /// The wall clock less the monotonic clock, in nanoseconds.
    private static func wallClockOffset() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec) - LoadLoop.now()
    }

    // MARK: Before the run

    private static func prepare(
        _ options: BenchOptions, allMustAnswer: Bool
    ) throws(BenchError) -> [ServerAddress] {
        try options.validate()
        // A number of connections near the soft limit of descriptors would fail half-way.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)

        var addresses: [ServerAddress] = []
        var silent: [String] = []
        for text in options.addresses {
            let address = try ServerAddress(text)
            if !Self.answers(address) { silent.append(text) }
            addresses.append(address)
        }
        if silent.count == addresses.count || allMustAnswer && !silent.isEmpty {
            throw BenchError.unreachable("Nobody answers at \(silent.joined(separator: ", ")).")
        }
        return addresses
    }

    /// Whether a connection can be made within 2 s.
    private static func answers(_ address: ServerAddress) -> Bool {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_INET, type, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var target = address.socketAddress
        let result = withUnsafePointer(to: &target) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result == 0 { return true }
        guard errno == EINPROGRESS else { return false }
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard poll(&wait, 1, 2000) == 1 else { return false }
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length)
        return code == 0
    }
}

/// What one thread's share came to.
struct LoadOutcome: Sendable {
    var histogram: Histogram<UInt64>
    var operations: Int
    var seconds: Double
    var errors: Int
    var firstError: String?
    var misses: Int

    static func of(
        _ job: LoadJob, counts: LoadCounts, progress: (BenchProgress) -> Void
    ) throws(BenchError) -> LoadOutcome {
        var loop = try LoadLoop(job, counts: counts)
        try loop.run(progress: progress, onGap: { _ in })
        return LoadOutcome(
            histogram: loop.histogram, operations: loop.operations,
            seconds: Double(max(loop.measuredNanoseconds, 1)) / 1e9, errors: loop.errors,
            firstError: loop.firstError, misses: loop.misses)
    }
}

/// A thread of the generator besides the caller's.
final class LoadThread: Sendable {
    private final class Work: Sendable {
        let job: LoadJob
        let counts: LoadCounts
        let result = Mutex<Result<LoadOutcome, BenchError>?>(nil)

        init(_ job: LoadJob, _ counts: LoadCounts) {
            self.job = job
            self.counts = counts
        }
    }

    private let work: Work
    private let thread: pthread_t

    init(_ job: LoadJob, counts: LoadCounts) {
        let work = Work(job, counts)
        self.work = work
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                let work = Unmanaged<Work>.fromOpaque(argument!).takeRetainedValue()
                do throws(BenchError) {
                    let outcome = try LoadOutcome.of(work.job, counts: work.counts, progress: { _ in })
                    work.result.withLock { $0 = .success(outcome) }
                } catch {
                    work.result.withLock { $0 = .failure(error) }
                    work.counts.stop.store(true, ordering: .relaxed)
                }
                return nil
            }, Unmanaged.passRetained(work).toOpaque())
        if code != 0 { fatalError("pthread_create: \(String(cString: strerror(code)))") }
        self.thread = thread
    }

    func join() -> Result<LoadOutcome, BenchError> {
        pthread_join(self.thread, nil)
        return self.work.result.withLock { $0 } ?? .failure(.system("A thread ended early."))
    }
}

/// A file, or standard output, that gets a line for each gap.
struct GapList {
    private let descriptor: Int32
    private let offset: UInt64

    init(_ path: String?, wallClockOffset: UInt64) throws(BenchError) {
        self.offset = wallClockOffset
        switch path {
        case nil: self.descriptor = -1
        case "-": self.descriptor = 1
        case .some(let path):
            self.descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
            if self.descriptor < 0 { throw BenchError.system("'\(path)' cannot be written", errno) }
        }
    }

    func write(_ gap: AcknowledgementGap) {
        guard self.descriptor >= 0 else { return }
        let line = "\(utc(gap.start &+ self.offset)) \(rounded(gap.milliseconds, 3))\n"
        _ = Array(line.utf8).withUnsafeBytes { Glibc.write(self.descriptor, $0.baseAddress, $0.count) }
    }
}

/// SIGINT and SIGTERM end a run early, with its result.
enum Interruption {
    static let isRequested = Atomic<Bool>(false)

    /// Runs `body` with the two signals caught, if `isOn`, and gives them back afterwards.
    static func whileCaught(_ isOn: Bool, _ body: () throws(BenchError) -> Void) throws(BenchError) {
        guard isOn else { return try body() }
        // Also makes the lazy global, which a signal handler must not.
        Self.isRequested.store(false, ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in Interruption.isRequested.store(true, ordering: .relaxed) }
        var before = [sigaction(), sigaction()]
        sigaction(SIGINT, &action, &before[0])
        sigaction(SIGTERM, &action, &before[1])
        defer {
            sigaction(SIGINT, &before[0], nil)
            sigaction(SIGTERM, &before[1], nil)
            Self.isRequested.store(false, ordering: .relaxed)
        }
        try body()
    }
}
