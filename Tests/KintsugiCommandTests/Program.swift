import Foundation
import Glibc
import Testing

/// What a run of a program came to.
struct Outcome {
    var code: Int32
    var output: String
    var errors: String

    /// Standard output as one JSON object.
    func json(_ location: SourceLocation = #_sourceLocation) throws -> [String: Any] {
        let object = try? JSONSerialization.jsonObject(with: Data(self.output.utf8))
        return try #require(
            object as? [String: Any], "not a JSON object: '\(self.output)' (\(self.errors))", sourceLocation: location)
    }
}

/// Programs run by tests, each with a time limit; ended by pid.
enum Program {
    /// The program under test: it stands beside the tests' own.
    static let kintsugi: String = {
        let own = try! FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("kintsugi").path
    }()

    static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], seconds: Double = 60
    ) throws -> Outcome {
        let process = Process()
        let found = program.contains("/") ? program : "/usr/bin/env"
        process.executableURL = URL(fileURLWithPath: found)
        process.arguments = program.contains("/") ? arguments : [program] + arguments
        process.environment = ProcessInfo.processInfo.environment
            .filter { !$0.key.hasPrefix("KINTSUGI_") }.merging(environment) { $1 }
        // Files rather than pipes: a background process that inherits a pipe would keep a reader waiting.
        let directory = try TemporaryDirectory()
        let (out, err) = (directory.path + "/out", directory.path + "/err")
        FileManager.default.createFile(atPath: out, contents: nil)
        FileManager.default.createFile(atPath: err, contents: nil)
        // Closed by name: with some 1,300 descriptors open, Foundation reads past the listing of them and the tests crash.
        let handles = [FileHandle(forWritingAtPath: out), FileHandle(forWritingAtPath: err)]
        defer { for handle in handles { try? handle?.close() } }
        process.standardOutput = handles[0]
        process.standardError = handles[1]
        process.standardInput = FileHandle.nullDevice
        let ended = DispatchSemaphore(value: 0)
        process.terminationHandler = { _ in ended.signal() }
        try process.run()
        if ended.wait(timeout: .now() + seconds) == .timedOut {
            kill(process.processIdentifier, SIGKILL)
            ended.wait()
            Issue.record("\(program) \(arguments.joined(separator: " ")) did not end within \(seconds) s")
        }
        return Outcome(
            code: process.terminationStatus, output: try String(contentsOfFile: out, encoding: .utf8),
            errors: try String(contentsOfFile: err, encoding: .utf8))
    }

    static func kintsugi(_ arguments: String..., environment: [String: String] = [:], seconds: Double = 60) throws
        -> Outcome
    {
        try Self.run(Self.kintsugi, arguments, environment: environment, seconds: seconds)
    }

    /// The system's own, which has the client library from the system's packages (`make setup`).
    static let python = "/usr/bin/python3"

    static func redisCLI(_ port: Int, _ arguments: String...) throws -> String {
        try Self.run("redis-cli", ["-h", "127.0.0.1", "-p", "\(port)"] + arguments).output
            .trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

/// Gone with its owner.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array((NSTemporaryDirectory() + "kintsugi-test-XXXXXX").utf8CString)
        try #require(mkdtemp(&template) != nil)
        self.path = String(cString: template)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }
}

/// A local cluster of real processes, ended when its owner lets go.
final class TestCluster {
    let directory: TemporaryDirectory
    let environment: [String: String]
    private(set) var ports: [Int: Int] = [:]
    private(set) var pids: [Int: Int32] = [:]

    var path: String { self.directory.path }

    /// - Parameter prepare: is given the cluster's directory before anything is in it.
    init(nodes: Int = 3, environment: [String: String] = [:], prepare: (String) throws -> Void = { _ in }) throws {
        self.directory = try TemporaryDirectory()
        self.environment = environment
        try prepare(self.directory.path)
        try self.start(nodes: nodes)
    }

    deinit {
        _ = try? Program.kintsugi("cluster", "stop", "--dir", self.path)
        // What did not end by itself.
        for (_, pid) in self.pids where Self.runs(pid, in: self.path) { Glibc.kill(pid, SIGKILL) }
    }

    private static func runs(_ pid: Int32, in directory: String) -> Bool {
        let command = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data()
        return String(decoding: command, as: UTF8.self).contains(directory)
    }

    func start(nodes: Int = 3) throws {
        let outcome = try Program.kintsugi(
            "cluster", "start", "--nodes", "\(nodes)", "--dir", self.path, "--json", environment: self.environment)
        try #require(outcome.code == 0, "\(outcome.output) \(outcome.errors)")
        try self.take(outcome)
    }

    private func take(_ outcome: Outcome) throws {
        for node in try #require(try outcome.json()["nodes"] as? [[String: Any]]) {
            let id = try #require(node["id"] as? Int)
            let redis = try #require(node["redis"] as? String)
            self.ports[id] = Int(redis.split(separator: ":")[1])
            self.pids[id] = (node["pid"] as? Int).map(Int32.init)
        }
    }

    func port(_ node: Int) -> Int { self.ports[node]! }

    func kill(_ node: Int, signal: String = "KILL") throws {
        let outcome = try Program.kintsugi(
            "cluster", "kill", "--node", "\(node)", "--signal", signal, "--dir", self.path)
        try #require(outcome.code == 0, "\(outcome.errors)")
    }

    func restart(_ node: Int) throws {
        let outcome = try Program.kintsugi(
            "cluster", "restart", "--node", "\(node)", "--dir", self.path, "--json", environment: self.environment)
        try #require(outcome.code == 0, "\(outcome.output) \(outcome.errors)")
        try self.take(outcome)
    }

    func status() throws -> [[String: Any]] {
        try #require(try Program.kintsugi("status", "--dir", self.path, "--json").json()["nodes"] as? [[String: Any]])
    }

    /// Who leads the group, as soon as somebody does and every node in `up` says it is up.
    func leader(of group: String = "default", up: [Int] = [1, 2, 3]) throws -> Int {
        for _ in 0..<200 {
            let nodes = try self.status()
            let isUp = nodes.allSatisfy { !up.contains($0["id"] as? Int ?? 0) || $0["state"] as? String == "up" }
            for node in nodes where isUp {
                for entry in node["groups"] as? [[String: Any]] ?? []
                where entry["group"] as? String == group && entry["role"] as? String == "leader" {
                    return try #require(node["id"] as? Int)
                }
            }
            usleep(20_000)
        }
        throw Failure("nobody leads \(group)")
    }

    func incidents() throws -> [[String: Any]] {
        try #require(
            try Program.kintsugi("incidents", "--dir", self.path, "--json").json()["incidents"] as? [[String: Any]])
    }
}

struct Failure: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
