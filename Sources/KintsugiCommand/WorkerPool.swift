import FoundationEssentials
import Glibc
import Simulation

/// Child processes that run simulations, each one at a time; those that die are replaced.
final class WorkerPool {
    private final class Child {
        let pid: Int32
        let input: Int32
        let output: Int32
        let errors: Int32
        var line: [UInt8] = []
        /// The run under way, and when it was begun.
        var options: SimulationOptions?
        var began = 0.0

        init(pid: Int32, input: Int32, output: Int32, errors: Int32) {
            self.pid = pid
            self.input = input
            self.output = output
            self.errors = errors
        }
    }

    private let program: String
    private let jobs: Int
    private var children: [Child] = []

    init(jobs: Int) throws {
        self.jobs = jobs
        var path = [UInt8](repeating: 0, count: 4096)
        let count = path.withUnsafeMutableBytes { readlink("/proc/self/exe", $0.baseAddress!, $0.count) }
        guard count > 0 else { throw CommandFailure(code: 1, message: "The path of this program is not known.") }
        self.program = String(decoding: path[..<count], as: UTF8.self)
    }

    deinit {
        for child in self.children { self.end(child) }
    }

    /// Runs what `next` gives until it gives nothing and all are back.
    ///
    /// - Parameters:
    ///   - took: a run is back. In any order.
    ///   - idle: called several times a second.
    func run(
        next: () -> SimulationOptions?, took: (SimulationOptions, RunResult) throws -> Void, idle: () -> Void
    ) throws {
        while true {
            while self.children.count < self.jobs { self.children.append(try self.spawn()) }
            for child in self.children where child.options == nil {
                guard let options = next() else { break }
                self.ask(child, options)
            }
            let busy = self.children.filter { $0.options != nil }
            guard !busy.isEmpty else { return }
            var descriptors = busy.map { pollfd(fd: $0.output, events: Int16(POLLIN), revents: 0) }
            poll(&descriptors, nfds_t(descriptors.count), 200)
            for (child, descriptor) in zip(busy, descriptors) {
                if descriptor.revents != 0 {
                    try self.read(child, took)
                } else if secondsNow() - child.began > Self.patience(child.options!) {
                    kill(child.pid, SIGKILL)
                }
            }
            idle()
        }
    }

    /// Wall time after which a run counts as one that does not return.
    private static func patience(_ options: SimulationOptions) -> Double {
        120 + Double(options.faultTime) / 1e9
    }

    private func ask(_ child: Child, _ options: SimulationOptions) {
        let line = Array((options.token + "\n").utf8)
        child.options = options
        child.began = secondsNow()
        // Where it is dead already, the read will tell.
        _ = line.withUnsafeBytes { write(child.input, $0.baseAddress!, $0.count) }
    }

    private func read(_ child: Child, _ took: (SimulationOptions, RunResult) throws -> Void) throws {
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        let count = Glibc.read(child.output, &chunk, chunk.count)
        let options = child.options!
        guard count > 0 else {
            self.children.removeAll { $0 === child }
            return try took(options, self.died(child))
        }
        child.line += chunk[..<count]
        guard child.line.last == UInt8(ascii: "\n") else { return }
        let result = try JSONDecoder().decode(RunResult.self, from: Data(child.line))
        child.line = []
        child.options = nil
        try took(options, result)
    }

    /// What is known of a run whose process died.
    private func died(_ child: Child) -> RunResult {
        var result = RunResult()
        result.verdict = .crash
        result.simulatedNanoseconds = child.options!.faultTime
        let waited = secondsNow() - child.began
        let status = self.end(child)
        let signal = status & 0x7f
        let how = signal == 0 ? "exited with \(status >> 8)" : "ended by signal \(signal)"
        let isStuck = signal == SIGKILL && waited > Self.patience(child.options!)
        let words = Self.lastWords(child.errors)
        result.account = words
        result.detail =
            isStuck
            ? "the run did not return within \(Int(waited)) s"
            : words.split(separator: "\n").first { $0.contains("Fatal error") }.map(String.init) ?? "the process \(how)"
        close(child.errors)
        return result
    }

    private static func lastWords(_ file: Int32) -> String {
        lseek(file, 0, SEEK_SET)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = max(0, Glibc.read(file, &bytes, bytes.count))
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    // MARK: Processes

    /// Its standard input and output are pipes; what it says before it dies goes to a file without a name.
    private func spawn() throws -> Child {
        let (theirInput, input) = try Self.pipe()
        let (output, theirOutput) = try Self.pipe()
        var template = Array("/tmp/kintsugi-simulate-XXXXXX".utf8CString)
        let errors = mkstemp(&template)
        guard errors >= 0 else { throw CommandFailure(code: 1, message: "No file could be made in /tmp.") }
        unlink(template)
        _ = fcntl(errors, F_SETFD, FD_CLOEXEC)

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, theirInput, 0)
        posix_spawn_file_actions_adddup2(&actions, theirOutput, 1)
        posix_spawn_file_actions_adddup2(&actions, errors, 2)
        // In a group of their own: an interrupt is for the one who asks, and what is under way comes to its end.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        // A stack costs seconds a crash, and schedules are shortened by crashing many times. Who wants it asks for it.
        if getenv("SWIFT_BACKTRACE") == nil { setenv("SWIFT_BACKTRACE", "enable=no", 1) }
        var arguments: [UnsafeMutablePointer<CChar>?] =
            [strdup(self.program), strdup("simulate"), strdup("--worker"), nil]
        defer { for argument in arguments { free(argument) } }
        var pid: Int32 = 0
        let failure = posix_spawn(&pid, self.program, &actions, &attributes, &arguments, environ)
        close(theirInput)
        close(theirOutput)
        guard failure == 0 else {
            throw CommandFailure(
                code: 1, message: "A process could not be started: \(String(cString: strerror(failure))).")
        }
        return Child(pid: pid, input: input, output: output, errors: errors)
    }

    /// The end to read from, and the end to write to; neither is passed on.
    private static func pipe() throws -> (Int32, Int32) {
        var ends: [Int32] = [0, 0]
        guard Glibc.pipe(&ends) == 0 else { throw CommandFailure(code: 1, message: "No pipe could be made.") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    /// Ends it if it has not ended, and gives its status.
    @discardableResult private func end(_ child: Child) -> Int32 {
        close(child.input)
        close(child.output)
        if child.options == nil { close(child.errors) } else { kill(child.pid, SIGKILL) }
        var status: Int32 = 0
        waitpid(child.pid, &status, 0)
        return status
    }
}

/// On a clock that never goes back.
func secondsNow() -> Double { Double(monotonicNow()) / 1e9 }
