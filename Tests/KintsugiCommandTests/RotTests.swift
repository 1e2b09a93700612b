import Foundation
import Glibc
import Testing

/// Real files that rot, of nodes that run and of nodes that are stopped.
@Suite(.serialized)
struct RotTests {
    /// Small segments and checkpoints, so that there is a snapshot, and what rots is in use.
    private static let environment = [
        "KINTSUGI_JOURNAL_SEGMENT_BYTES": "1mb", "KINTSUGI_CHECKPOINT_BYTES": "1mb", "KINTSUGI_SCRUB_INTERVAL": "0",
    ]

    private static func cluster(values: Int) throws -> TestCluster {
        let cluster = try TestCluster(environment: Self.environment)
        let value = String(repeating: "v", count: 10_000)
        for key in 0..<values {
            #expect(try Program.redisCLI(cluster.port(1 + key % 3), "set", "key:\(key)", "\(key) \(value)") == "OK")
        }
        return cluster
    }

    private static func flip(_ path: String, at offset: Int) throws {
        let fd = open(path, O_RDWR)
        try #require(fd >= 0, "\(path)")
        defer { close(fd) }
        var byte: UInt8 = 0
        try #require(pread(fd, &byte, 1, off_t(offset)) == 1)
        byte ^= 1
        try #require(pwrite(fd, &byte, 1, off_t(offset)) == 1 && fsync(fd) == 0)
    }

    /// Everything on all nodes is checked; the outcome by node.
    private static func scrub(_ cluster: TestCluster, code: Int32 = 0) throws -> [Int: [String: Any]] {
        let outcome = try Program.kintsugi("scrub", "--now", "--dir", cluster.path, "--json", seconds: 90)
        #expect(outcome.code == code, "\(outcome.output) \(outcome.errors)")
        let nodes = try #require(try outcome.json()["nodes"] as? [[String: Any]])
        return Dictionary(uniqueKeysWithValues: nodes.map { ($0["id"] as! Int, $0) })
    }

    private static func incident(of node: Int, in cluster: TestCluster) throws -> [String: Any] {
        for _ in 0..<200 {
            let found = try cluster.incidents().last {
                $0["node"] as? Int == node && $0["kind"] as? String == "data" && $0["state"] as? String == "closed"
            }
            if let found { return found }
            usleep(50_000)
        }
        throw Failure("no closed incident of node \(node): \(try cluster.incidents())")
    }

    @Test("a snapshot, a journal and small files that rot while their node runs are found, booked and repaired")
    func whileItRuns() throws {
        let cluster = try Self.cluster(values: 160)
        let clean = try Self.scrub(cluster)
        #expect(clean.count == 3 && clean.values.allSatisfy { $0["damaged"] as? Int == 0 })
        #expect(clean.values.allSatisfy { ($0["checked_bytes"] as? Int ?? 0) > 100_000 })

        let snapshots = try FileManager.default.contentsOfDirectory(atPath: "\(cluster.path)/1/snapshots")
        let snapshot = try #require(snapshots.filter { $0.hasPrefix("4294967296-") }.sorted().last)
        try Self.flip("\(cluster.path)/1/snapshots/\(snapshot)", at: 50_000)
        let journal = try Program.kintsugi("journal", "inspect", "\(cluster.path)/2")
        #expect(journal.code == 73, "a running node's journal is not looked into")
        let segment = try Self.liveSegment(cluster, node: 2)
        try Self.flip("\(cluster.path)/2/journal/\(segment)", at: 5 * 4096 + 700)
        try Self.flip("\(cluster.path)/3/node.identity.a", at: 40)
        try Self.flip("\(cluster.path)/3/peer.runs.b", at: 20)
        try Self.flip("\(cluster.path)/3/cluster.seed.a", at: 30)

        let found = try Self.scrub(cluster)
        for (node, count) in [(1, 1), (2, 1), (3, 3)] {
            #expect(
                found[node]?["damaged"] as? Int == count && found[node]?["repaired"] as? Int == count, "node \(node)")
            let incident = try Self.incident(of: node, in: cluster)
            #expect(incident["cause"] as? String == "rot")
            #expect((incident["actions"] as? [String])?.isEmpty == false)
            // A snapshot may have been replaced by a newer one meanwhile, and a segment covered by it.
            #expect(node != 3 || (incident["bytes_repaired"] as? Int ?? 0) > 0, "\(incident)")
        }
        let again = try Self.scrub(cluster)
        for (node, count) in [(1, 1), (2, 1), (3, 3)] {
            #expect(again[node]?["damaged"] as? Int == count, "nothing new")
        }

        // After that a start finds everything.
        for node in 1...3 {
            try cluster.kill(node)
            let doctor = try Program.kintsugi("doctor", "\(cluster.path)/\(node)", "--json")
            #expect(doctor.code == 0, "\(doctor.output)")
            try cluster.restart(node)
            #expect(try Program.redisCLI(cluster.port(node), "strlen", "key:159") == "10004")
        }
        let info = try Program.redisCLI(cluster.port(1), "info", "scrub")
        #expect(info.contains("scrub_damaged:0"), "of this run: \(info)")
    }

    /// The file that is written to now: the one changed last.
    private static func liveSegment(_ cluster: TestCluster, node: Int) throws -> String {
        let path = "\(cluster.path)/\(node)/journal"
        let names = try FileManager.default.contentsOfDirectory(atPath: path).filter { $0.hasSuffix(".segment") }
        return try #require(
            names.max { a, b in
                func changed(_ name: String) throws -> Date {
                    try FileManager.default.attributesOfItem(atPath: path + "/" + name)[.modificationDate] as! Date
                }
                return try! changed(a) < changed(b)
            })
    }

    @Test("doctor says what is there and what a start makes of it")
    func doctor() throws {
        let cluster = try Self.cluster(values: 160)
        let node = try cluster.leader() % 3 + 1
        let directory = "\(cluster.path)/\(node)"
        let running = try Program.kintsugi("doctor", directory)
        #expect(running.code == 73 && running.output.contains("a running node has this directory"))
        try cluster.kill(node, signal: "TERM")
        for _ in 0..<200 {
            if try Program.kintsugi("doctor", directory).code != 73 { break }
            usleep(20_000)
        }
        let well = try Program.kintsugi("doctor", directory)
        #expect(well.code == 0 && well.output.contains("the node starts"), "\(well.output)")
        try Self.flip(directory + "/node.identity.b", at: 33)
        let snapshots = try FileManager.default.contentsOfDirectory(atPath: directory + "/snapshots")
        let snapshot = try #require(snapshots.filter { $0.hasPrefix("4294967296-") }.sorted().last)
        try Self.flip("\(directory)/snapshots/\(snapshot)", at: 5000)
        let report = try Program.kintsugi("doctor", directory, "--json")
        #expect(report.code == 0)
        let findings = try #require(try report.json()["findings"] as? [[String: Any]])
        #expect(findings.contains { $0["file"] as? String == "node.identity.b" && $0["verdict"] as? String == "heals" })
        #expect(findings.contains { $0["file"] as? String == "snapshots/\(snapshot)" })
        try cluster.restart(node)
        _ = try cluster.leader()
        #expect(try Program.redisCLI(cluster.port(node), "strlen", "key:0") == "10002")

        let empty = try TemporaryDirectory()
        #expect(try Program.kintsugi("doctor", empty.path).output.contains("it is empty"))
        try "x".write(toFile: empty.path + "/notes", atomically: true, encoding: .utf8)
        #expect(try Program.kintsugi("doctor", empty.path).code == 73)
        #expect(
            try Program.kintsugi("doctor", empty.path + "/none", "--json").json()["verdict"] as? String == "refused")
    }

    @Test(
        "files of stopped nodes that rot in any place: the node heals under load, and nothing is lost",
        arguments: ["bits", "sectors"])
    func drill(mode: String) throws {
        // Drawn from a seed that the program prints.
        let outcome = try Program.kintsugi(
            "drill", "rot", "--rounds", "4", "--mode", mode, "--json", seconds: 200)
        #expect(outcome.code == 0, "\(outcome.output) \(outcome.errors)")
        let summary = try outcome.json()
        #expect(
            summary["healed"] as? Int == 4 && summary["missing"] as? Int == 0 && summary["stale_reads"] as? Int == 0)
    }
}
