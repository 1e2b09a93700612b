import Foundation
import Testing

/// Real processes, real clients.
@Suite(.serialized)
struct ClusterTests {
    @Test("a key written through any node is read through every other, also after all were killed at once")
    func survivesAll() throws {
        let cluster = try TestCluster()
        for node in 1...3 {
            #expect(try Program.redisCLI(cluster.port(node), "set", "key:\(node)", "value \(node)") == "OK")
        }
        for node in 1...3 {
            let found = try Program.redisCLI(cluster.port(node), "mget", "key:1", "key:2", "key:3")
            #expect(found == "value 1\nvalue 2\nvalue 3", "through node \(node)")
        }
        for node in 1...3 { try cluster.kill(node) }
        try cluster.start()
        for node in 1...3 {
            let found = try Program.redisCLI(cluster.port(node), "mget", "key:1", "key:2", "key:3")
            #expect(found == "value 1\nvalue 2\nvalue 3", "through node \(node), after the restart")
        }
        for node in 1...3 { #expect(try Program.redisCLI(cluster.port(node), "set", "key:\(node)", "again") == "OK") }
    }

    @Test(
        "a command is as large as a segment takes or refused in words; many at once stay apart; no node falls over it")
    func largeCommands() throws {
        let cluster = try TestCluster()
        let script = """
            import socket, sys
            ports = [int(port) for port in sys.argv[1:]]
            def connect(port):
                made = socket.create_connection(("127.0.0.1", port), 10)
                made.settimeout(60)
                return made
            def send(made, key, size):
                made.sendall(b"*3\\r\\n$3\\r\\nSET\\r\\n$%d\\r\\n%s\\r\\n$%d\\r\\n" % (len(key), key, size) + b"x" * size + b"\\r\\n")
            for port in ports:
                for size in (1 << 20, 13 << 20, (14 << 20) + 1, (16 << 20) - 4096):
                    one = connect(port)
                    send(one, b"large", size)
                    print(one.recv(4))
            made = [connect(port) for port in ports for _ in range(16)]
            for at, one in enumerate(made):
                for _ in range(2): send(one, b"many:%d" % at, 700_000)
            print(all(one.recv(1) == b"+" for one in made))
            """
        let found = try Program.run(Program.python, ["-c", script] + (1...3).map { "\(cluster.port($0))" })
        let expected = String(repeating: "b'+OK\\r'\nb'+OK\\r'\nb'-ERR'\nb'-ERR'\n", count: 3) + "True\n"
        #expect(found.output == expected, "\(found.errors)")
        for node in try cluster.status() { #expect(node["state"] as? String == "up") }
    }

    @Test("status, transfer, kill and incidents have the form that scripts rely on")
    func forms() throws {
        let cluster = try TestCluster()
        let before = try cluster.leader()
        for node in try cluster.status() {
            #expect(node["state"] as? String == "up")
            let groups = try #require(node["groups"] as? [[String: Any]])
            #expect(groups.compactMap { $0["group"] as? String } == ["system", "default"])
            for group in groups {
                #expect(["leader", "follower"].contains(group["role"] as? String))
                #expect(group["term"] is Int && group["commit"] is Int && group["applied"] is Int)
            }
        }
        let to = before % 3 + 1
        let transfer = try Program.kintsugi(
            "transfer", "--group", "default", "--to", "\(to)", "--dir", cluster.path, "--json")
        #expect(transfer.code == 0, "\(transfer.errors)")
        #expect(try cluster.leader() == to)

        let killed = try Program.kintsugi("cluster", "kill", "--node", "\(to)", "--dir", cluster.path).json()
        #expect(killed["node"] as? Int == to && killed["signal"] as? String == "KILL" && killed["pid"] is Int)
        #expect((killed["at"] as? String)?.hasSuffix("Z") == true)
        let survivor = to % 3 + 1
        #expect(try Program.redisCLI(cluster.port(survivor), "set", "a", "b") == "OK")
        let down = try #require(try cluster.status().first { $0["id"] as? Int == to })
        #expect(down["state"] as? String == "down")
        #expect((down["groups"] as? [Any])?.isEmpty == true)
        // So long that P_r has been taken at 1 s, while the node was away.
        usleep(1_300_000)
        try cluster.restart(to)
        let incident = try Self.closedIncident(of: to, in: cluster)
        for key in [
            "id", "kind", "cause", "node", "run", "planned", "count", "state", "occurred", "detected", "repaired",
            "closed", "detection_ms", "repair_ms", "recovery_ms", "delay_ms", "recovery_rate", "groups",
            "bytes_repaired",
            "actions",
        ] {
            #expect(incident[key] != nil, "no \(key)")
        }
        #expect(incident["cause"] as? String == "killed")
        #expect(incident["planned"] as? Bool == false)
        let groups = try #require(incident["groups"] as? [[String: Any]])
        #expect(
            groups.contains {
                $0["group"] as? String == "default" && $0["from"] as? Int == to && $0["to"] as? Int != to
            })
        let recovery = try #require(incident["recovery_ms"] as? [Double])
        let repair = try #require(incident["repair_ms"] as? Double)
        let detection = try #require(incident["detection_ms"] as? [Double])
        #expect(abs(recovery[1] - repair - detection[1]) < 0.01)
        let rate = try #require(incident["recovery_rate"] as? [String: Any])
        #expect(abs((rate["1s"] as? Double ?? 0) - 0.667) < 0.01)
        #expect(rate["close"] as? Double == 1)
        let delay = try #require(incident["delay_ms"] as? [String: Double])
        #expect(delay["\(survivor)"] != nil)
    }

    static func closedIncident(of node: Int, in cluster: TestCluster) throws -> [String: Any] {
        for _ in 0..<200 {
            if let incident = try cluster.incidents().last(where: { $0["node"] as? Int == node }),
                incident["state"] as? String == "closed"
            {
                return incident
            }
            usleep(50_000)
        }
        throw Failure("the incident of node \(node) is not closed: \(try cluster.incidents())")
    }

    @Test("a graceful stop hands over, ends with 0 within 10 s, and is booked as planned")
    func gracefulStop() throws {
        let cluster = try TestCluster()
        let leader = try cluster.leader()
        let began = Date()
        try cluster.restart(leader)
        #expect(Date().timeIntervalSince(began) < 30)
        let incident = try Self.closedIncident(of: leader, in: cluster)
        #expect(incident["planned"] as? Bool == true)
        #expect(incident["cause"] as? String == "stopped")
    }

    @Test("without a majority a write is refused in words, nothing is lost, and service comes back by itself")
    func noQuorum() throws {
        let cluster = try TestCluster(environment: ["KINTSUGI_REQUEST_TIMEOUT": "600ms"])
        #expect(try Program.redisCLI(cluster.port(1), "set", "a", "1") == "OK")
        try cluster.kill(2)
        try cluster.kill(3)
        let refused = try Program.redisCLI(cluster.port(1), "set", "a", "2")
        #expect(refused.hasPrefix("NOQUORUM nothing was written") || refused.hasPrefix("UNKNOWN"), "\(refused)")
        let read = try Program.redisCLI(cluster.port(1), "get", "a")
        #expect(read.hasPrefix("NOQUORUM"), "\(read)")
        try cluster.restart(2)
        #expect(["1", "2"].contains(try Program.redisCLI(cluster.port(1), "get", "a")))
        #expect(try Program.redisCLI(cluster.port(1), "set", "a", "3") == "OK")
        try cluster.restart(3)
        #expect(try Program.redisCLI(cluster.port(3), "get", "a") == "3")
    }

    @Test("a node that slept past compaction catches up by snapshot, under load")
    func catchesUpBySnapshot() throws {
        let cluster = try TestCluster(environment: [
            "KINTSUGI_CHECKPOINT_BYTES": "1mb", "KINTSUGI_JOURNAL_SEGMENT_BYTES": "1mb",
        ])
        let leader = try cluster.leader()
        let away = leader % 3 + 1
        try cluster.kill(away)
        let load = try Program.run(
            Program.python, ["-c", Self.loadScript, "\(cluster.port(leader))", "20000"], seconds: 120)
        #expect(load.code == 0, "\(load.errors)")
        try cluster.restart(away)
        let check = try Program.run(
            Program.python, ["-c", Self.checkScript, "\(cluster.port(away))", "20000"], seconds: 120)
        #expect(check.code == 0, "\(check.errors)")
        let log = try String(contentsOfFile: "\(cluster.path)/\(away).log", encoding: .utf8)
        #expect(log.contains("snapshot installed group=default"), "caught up without a snapshot:\n\(log)")
    }

    private static let loadScript = """
        import redis, sys
        c = redis.Redis(port=int(sys.argv[1])); n = int(sys.argv[2])
        for at in range(0, n, 500):
            p = c.pipeline(transaction=False)
            for i in range(at, at + 500): p.set(f"key:{i}", f"value {i} " + "x" * 400)
            p.execute()
        """
    private static let checkScript = """
        import redis, sys
        c = redis.Redis(port=int(sys.argv[1])); n = int(sys.argv[2])
        assert c.dbsize() == n, c.dbsize()
        for at in range(0, n, 500):
            values = c.mget([f"key:{i}" for i in range(at, at + 500)])
            for i, value in zip(range(at, at + 500), values): assert value == (f"value {i} " + "x" * 400).encode(), i
        """

    @Test("redis-py: pipelines, transactions and optimistic locking, in RESP2 and RESP3")
    func redisPy() throws {
        let cluster = try TestCluster()
        let outcome = try Program.run(
            Program.python, ["-c", Self.clientScript] + (1...3).map { "\(cluster.port($0))" }, seconds: 120)
        #expect(outcome.code == 0, "\(outcome.errors)")
    }

    private static let clientScript = """
        import redis, sys
        ports = [int(p) for p in sys.argv[1:]]
        for protocol in (2, 3):
            try: clients = [redis.Redis(port=p, protocol=protocol, decode_responses=True) for p in ports]
            except TypeError: clients = [redis.Redis(port=p, decode_responses=True) for p in ports]
            a, b, c = clients
            a.flushall()
            p = a.pipeline(transaction=True)
            for i in range(100): p.incr("n")
            assert p.execute() == list(range(1, 101))
            assert b.get("n") == "100" and c.get("n") == "100"
            # Of two that watch the same key, one wins.
            x, y = b.pipeline(), c.pipeline()
            for p in (x, y):
                p.watch("n"); v = int(p.get("n")); p.multi(); p.set("n", v + 1)
            assert x.execute() == [True]
            try: y.execute(); assert False, "a watched key changed, and EXEC went through"
            except redis.exceptions.WatchError: pass
            assert a.get("n") == "101"
            a.set("t", "v", px=60000); assert 0 < b.pttl("t") <= 60000
            assert a.wait(2, 5000) == 2
            assert sorted(k for k in c.scan_iter(match="*", count=10)) == ["n", "t"]
            assert [r.execute_command("ROLE")[0] for r in clients].count("master") == 1
        """

    @Test("the demo keeps its promises", .timeLimit(.minutes(3)))
    func demo() throws {
        let outcome = try Program.kintsugi("demo", "--kills", "2", "--json", seconds: 150)
        #expect(outcome.code == 0, "\(outcome.output) \(outcome.errors)")
        let summary = try outcome.json()
        #expect(summary["kept"] as? Bool == true)
        #expect(summary["errors"] as? Int == 0 && summary["missing"] as? Int == 0 && summary["duplicates"] as? Int == 0)
        #expect((summary["acknowledged"] as? Int ?? 0) > 100)
    }
}
