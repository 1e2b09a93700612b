import Foundation
import Testing

/// What a user gets wrong: one clear sentence, the right exit code, nothing disturbed.
@Suite(.serialized)
struct RefusalTests {
    private static func seed(_ directory: TemporaryDirectory, name: String = "seed", peers: String = "1=127.0.0.1:1")
        throws -> String
    {
        let outcome = try Program.kintsugi("init", "--peers", peers)
        try #require(outcome.code == 0, "\(outcome.errors)")
        let path = directory.path + "/" + name
        try outcome.output.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private static func refused(
        _ outcome: Outcome, _ code: Int32, _ words: String..., location: SourceLocation = #_sourceLocation
    ) {
        #expect(outcome.code == code, "\(outcome.errors)", sourceLocation: location)
        for word in words {
            #expect(outcome.errors.contains(word), "'\(word)' is not in: \(outcome.errors)", sourceLocation: location)
        }
    }

    @Test("usage: unknown options, missing values")
    func usage() throws {
        Self.refused(try Program.kintsugi("serve", "--frobnicate"), 64, "--frobnicate")
        Self.refused(try Program.kintsugi("status"), 64, "--dir")
        Self.refused(try Program.kintsugi("init", "--peers", "one=two"), 64, "one=two")
        Self.refused(try Program.kintsugi("serve", "--node", "1"), 64, "--dir")
        let json = try Program.kintsugi("status", "--json")
        #expect(json.code == 64)
        let error = try #require(try json.json()["error"] as? [String: Any])
        #expect(error["code"] as? Int == 64 && error["message"] is String)
    }

    @Test("every command has help with an example")
    func help() throws {
        for command in [
            "init", "serve", "cluster", "demo", "status", "incidents", "transfer", "journal", "bench", "config",
        ] {
            let outcome = try Program.kintsugi(command, "--help")
            #expect(outcome.code == 0)
            #expect(outcome.output.contains("kintsugi \(command)"), "\(outcome.output)")
        }
    }

    @Test("configuration: unknown keys and unreadable values are refused by name and source")
    func configuration() throws {
        let directory = try TemporaryDirectory()
        let file = directory.path + "/kintsugi.yaml"
        func write(_ text: String) throws { try text.write(toFile: file, atomically: true, encoding: .utf8) }
        try write("redis:\n  lisen: 127.0.0.1:7001\n")
        Self.refused(try Program.kintsugi("config", "show", "--config", file), 78, "redis.lisen", file, "redis.listen")
        try write("max-clients: many\n")
        Self.refused(try Program.kintsugi("config", "show", "--config", file), 78, "max-clients", file, "many")
        try write("max-clients: [1, 2]\n")
        Self.refused(try Program.kintsugi("config", "show", "--config", file), 78, "max-clients", file)
        Self.refused(
            try Program.kintsugi("config", "show", environment: ["KINTSUGI_MAX_CLIENT": "1"]), 78, "KINTSUGI_MAX_CLIENT"
        )
        Self.refused(
            try Program.kintsugi("config", "show", environment: ["KINTSUGI_HEARTBEAT": "soon"]), 78, "heartbeat",
            "environment")
        Self.refused(try Program.kintsugi("config", "show", "--heartbeat", "9000s"), 78, "heartbeat", "flag")

        try write("max-clients: 5\ncheckpoint:\n  seconds: 7\nlog:\n  level: debug\n")
        let shown = try Program.kintsugi(
            "config", "show", "--config", file, "--log-level", "error", "--json",
            environment: ["KINTSUGI_MAX_CLIENTS": "6"]
        ).json()
        func found(_ key: String) -> [String] {
            let entry = shown[key] as? [String: Any]
            return [entry?["value"] as? String ?? "-", entry?["source"] as? String ?? "-"]
        }
        #expect(found("max-clients") == ["6", "environment"])
        #expect(found("log.level") == ["error", "flag"])
        #expect(found("checkpoint.seconds") == ["7", file])
        #expect(found("request-timeout") == ["5s", "default"])
    }

    @Test("data directories that are not this node's are refused with 73, and not touched")
    func directories() throws {
        let directory = try TemporaryDirectory()
        let seed = try Self.seed(directory)
        let other = try Self.seed(directory, name: "other")
        let data = directory.path + "/data"
        func serve(_ arguments: String...) throws -> Outcome {
            try Program.run(
                Program.kintsugi,
                ["serve", "--node", "1", "--redis-listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"] + arguments,
                seconds: 20)
        }
        Self.refused(try serve("--dir", data), 73, "--seed")
        let cluster = try TestCluster(nodes: 1)
        let own = cluster.path + "/1"
        // Taken by a running process; waited for a while, then refused.
        Self.refused(try serve("--dir", own), 73, "in use by another process")
        #expect(try Program.redisCLI(cluster.port(1), "set", "a", "b") == "OK")
        try cluster.kill(1, signal: "TERM")
        Self.refused(try serve("--dir", own, "--seed", other), 73, "cluster")
        Self.refused(
            try Program.kintsugi("serve", "--node", "2", "--dir", own), 73, "belongs to node 1")
        try "x".write(toFile: directory.path + "/file", atomically: true, encoding: .utf8)
        Self.refused(try serve("--dir", directory.path + "/file", "--seed", seed), 73, "file")
        try FileManager.default.createDirectory(atPath: directory.path + "/foreign", withIntermediateDirectories: true)
        try "x".write(toFile: directory.path + "/foreign/thesis.txt", atomically: true, encoding: .utf8)
        Self.refused(try serve("--dir", directory.path + "/foreign", "--seed", seed), 73, "not a node's")
        // A format of the future: both copies of the identity say version 2.
        for copy in ["a", "b"] {
            let path = "\(own)/node.identity.\(copy)"
            var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            bytes[8] = 2
            let sum = Self.crc32c(bytes[4...])
            for at in 0..<4 { bytes[at] = UInt8(truncatingIfNeeded: sum >> (8 * UInt32(at))) }
            try Data(bytes).write(to: URL(fileURLWithPath: path))
        }
        Self.refused(try serve("--dir", own), 73, "version 2")
    }

    private static func crc32c(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        var crc = ~UInt32(0)
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 != 0 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
        }
        return ~crc
    }

    @Test("a port in use: 69, and the one who has it is not disturbed")
    func ports() throws {
        let cluster = try TestCluster(nodes: 1)
        let directory = try TemporaryDirectory()
        let seed = try Self.seed(directory)
        let taken = "127.0.0.1:\(cluster.port(1))"
        Self.refused(
            try Program.kintsugi(
                "serve", "--node", "1", "--dir", directory.path + "/d", "--seed", seed, "--redis-listen", taken,
                "--peer-listen", "127.0.0.1:0", seconds: 20), 69, taken, "--redis-listen")
        let second = try Program.kintsugi(
            "cluster", "start", "--nodes", "1", "--dir", directory.path + "/c", "--base-port", "\(cluster.port(1) - 1)")
        Self.refused(second, 69, "\(cluster.port(1))", "--base-port")
        #expect(try Program.redisCLI(cluster.port(1), "ping") == "PONG")
    }

    @Test("clients from elsewhere need a password")
    func password() throws {
        let directory = try TemporaryDirectory()
        let seed = try Self.seed(directory)
        Self.refused(
            try Program.kintsugi(
                "serve", "--node", "1", "--dir", directory.path + "/d", "--seed", seed, "--redis-listen", "0.0.0.0:0",
                "--peer-listen", "127.0.0.1:0", seconds: 20), 78, "--password-file")
    }

    @Test("nobody answers: 69")
    func nobody() throws {
        Self.refused(try Program.kintsugi("status", "--connect", "127.0.0.1:1"), 69, "No node answers")
        let json = try Program.kintsugi("incidents", "--connect", "127.0.0.1:1", "--json")
        #expect(json.code == 69)
        #expect((try json.json()["error"] as? [String: Any])?["code"] as? Int == 69)
        let directory = try TemporaryDirectory()
        #expect(try Program.kintsugi("cluster", "stop", "--dir", directory.path).code == 0)
    }
}
