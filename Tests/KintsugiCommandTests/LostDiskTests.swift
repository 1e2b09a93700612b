import Foundation
import Testing

/// Real disks that are lost: the node is started again with the same arguments, and nothing else is typed.
@Suite(.serialized)
struct LostDiskTests {
    /// Writes numbered keys through the ports given, one after the other, until the file that stops it appears; then tells
    /// how many were acknowledged, and reads them all back. A write without an answer is sent again, as the same.
    private static let load = """
        import os, redis, sys, time
        stop, ports = sys.argv[1], [int(p) for p in sys.argv[2:]]
        clients = [redis.Redis(port=p, socket_timeout=10) for p in ports]
        acked = errors = 0
        began = time.time()
        while not os.path.exists(stop) and time.time() - began < 100:
            try:
                if clients[acked % len(clients)].set(f"key:{acked}", f"value {acked}"): acked += 1
            except redis.exceptions.RedisError as error:
                errors += 1
                print(error, file=sys.stderr)
                time.sleep(0.05)
        missing = 0
        for at in range(0, acked, 500):
            keys = [f"key:{i}" for i in range(at, min(at + 500, acked))]
            for i, value in zip(range(at, acked), clients[0].mget(keys)): missing += value != f"value {i}".encode()
        print(f"{acked} {errors} {missing}")
        """

    @Test(
        "a node whose directory was emptied is a voter again, under load, with nothing lost",
        arguments: ["follower", "leader"])
    func wiped(role: String) throws {
        let cluster = try TestCluster(environment: ["KINTSUGI_CHECKPOINT_BYTES": "1mb"])
        let leader = try cluster.leader()
        let node = role == "leader" ? leader : leader % 3 + 1
        let others = [1, 2, 3].filter { $0 != node }
        let directory = "\(cluster.path)/\(node)"
        let before = try Self.incarnation(directory)

        let stop = cluster.path + "/stop"
        let load = DispatchQueue(label: "load")
        let outcome = Box<Outcome>()
        let done = DispatchSemaphore(value: 0)
        let ports = others.map { "\(cluster.port($0))" }
        load.async {
            outcome.value = try? Program.run(Program.python, ["-c", Self.load, stop] + ports, seconds: 120)
            done.signal()
        }
        try Self.awaitKeys(2000, cluster.port(others[0]))
        try cluster.kill(node)
        for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
            try FileManager.default.removeItem(atPath: directory + "/" + name)
        }
        try cluster.restart(node)
        let status = try Self.voterAgain(node, in: cluster)
        let incident = try Self.closedIncident(of: node, in: cluster)
        FileManager.default.createFile(atPath: stop, contents: nil)
        done.wait()

        let words = try #require(outcome.value?.output).split(separator: " ").compactMap {
            Int($0.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        try #require(words.count == 3, "\(String(describing: outcome.value))")
        #expect(words[0] > 2000 && words[1] == 0, "clients of the others see no error: \(outcome.value!.errors)")
        #expect(words[2] == 0, "acknowledged writes are missing")
        #expect(status["state"] as? String == "up")
        #expect(try Self.incarnation(directory) != before)
        let rate = try #require(incident["recovery_rate"] as? [String: Any])
        #expect(rate["close"] as? Double == 1)
        // Through the node itself.
        let found = try Program.redisCLI(cluster.port(node), "get", "key:\(words[0] - 1)")
        #expect(found == "value \(words[0] - 1)")
        // It counts: with one of the others gone it makes the majority.
        try cluster.kill(others[0])
        #expect(try Program.redisCLI(cluster.port(node), "set", "after", "all") == "OK")
        try cluster.restart(others[0])
        #expect(try Program.redisCLI(cluster.port(others[0]), "get", "after") == "all")
        let log = try String(contentsOfFile: "\(cluster.path)/\(node).log", encoding: .utf8)
        #expect(log.contains("this disk is empty, or an older copy"))
    }

    @Test("an older copy of a directory is put aside, and the node joins anew; the same again is no trouble")
    func oldCopy() throws {
        let cluster = try TestCluster()
        #expect(try Program.redisCLI(cluster.port(1), "set", "a", "1") == "OK")
        let node = try cluster.leader() % 3 + 1
        let directory = "\(cluster.path)/\(node)"
        try cluster.kill(node)
        let copy = cluster.path + "/copy"
        try FileManager.default.copyItem(atPath: directory, toPath: copy)
        try cluster.restart(node)
        for round in 1...2 {
            #expect(try Program.redisCLI(cluster.port(node), "set", "a", "\(round)") == "OK")
            try cluster.kill(node)
            try FileManager.default.removeItem(atPath: directory)
            try FileManager.default.copyItem(atPath: copy, toPath: directory)
            try cluster.restart(node)
            _ = try Self.voterAgain(node, in: cluster)
            #expect(try Program.redisCLI(cluster.port(node), "get", "a") == "\(round)")
            let lost = try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasPrefix("lost-") }
            #expect(lost.count == 1)
            #expect(FileManager.default.fileExists(atPath: "\(directory)/\(lost[0])/journal"))
        }
        _ = try Self.closedIncident(of: node, in: cluster)
    }

    @Test("a directory whose identity cannot be read counts as lost, and the node joins anew")
    func identityRotten() throws {
        let cluster = try TestCluster()
        #expect(try Program.redisCLI(cluster.port(1), "set", "a", "1") == "OK")
        let node = try cluster.leader() % 3 + 1
        try cluster.kill(node)
        for copy in ["a", "b"] {
            try Data([1, 2, 3]).write(to: URL(fileURLWithPath: "\(cluster.path)/\(node)/node.identity.\(copy)"))
        }
        try cluster.restart(node)
        _ = try Self.voterAgain(node, in: cluster)
        #expect(try Program.redisCLI(cluster.port(node), "get", "a") == "1")
    }

    private final class Box<Value>: @unchecked Sendable {
        // @unchecked: written before a semaphore is raised that its reader waits for.
        var value: Value?
    }

    private static func incarnation(_ directory: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: directory + "/node.identity.a")).subdata(in: 32..<48)
    }

    private static func awaitKeys(_ count: Int, _ port: Int) throws {
        for _ in 0..<600 {
            if Int(try Program.redisCLI(port, "dbsize")) ?? 0 >= count { return }
            usleep(50_000)
        }
        throw Failure("the load does not get to \(count) keys")
    }

    private static func voterAgain(_ node: Int, in cluster: TestCluster) throws -> [String: Any] {
        for _ in 0..<400 {
            let status = try #require(try cluster.status().first { $0["id"] as? Int == node })
            let roles = (status["groups"] as? [[String: Any]] ?? []).compactMap { $0["role"] as? String }
            let isVoter = roles.count == 2 && roles.allSatisfy { $0 == "follower" || $0 == "leader" }
            if isVoter, status["state"] as? String == "up" { return status }
            usleep(50_000)
        }
        throw Failure("node \(node) is not a voter again: \(try cluster.status())")
    }

    private static func closedIncident(of node: Int, in cluster: TestCluster) throws -> [String: Any] {
        for _ in 0..<400 {
            let all = try cluster.incidents().filter {
                $0["node"] as? Int == node && $0["cause"] as? String == "disk lost"
            }
            if let last = all.last, all.allSatisfy({ $0["state"] as? String == "closed" }) { return last }
            usleep(50_000)
        }
        throw Failure("the loss of node \(node)'s disk is not booked, or not closed: \(try cluster.incidents())")
    }
}
