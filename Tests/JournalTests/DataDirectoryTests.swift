import CKintsugi
import Formats
import Glibc
import Journal
import Replication
import Testing

@Suite struct DataDirectoryTests {
    private func refusal(
        _ path: String, node: UInt32 = 1, seed: ClusterSeed? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) -> String {
        do {
            _ = try DataDirectory(path: path, node: NodeID(node), seed: seed, lockTries: 1)
        } catch {
            return error.description
        }
        Issue.record("it was taken", sourceLocation: sourceLocation)
        return ""
    }

    private func formatted(_ scratch: Scratch) throws -> String {
        let path = scratch.path + "/1"
        _ = try DataDirectory(path: path, node: NodeID(1), seed: testSeed())
        return path
    }

    @Test func runGrowsAtEachStart() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        for run in 2...5 as ClosedRange<Run> {
            let directory = try DataDirectory(path: path, node: NodeID(1), seed: nil)
            #expect(directory.identity.run == run)
            #expect(directory.seed == testSeed() && directory.identity.member == testSeed().peers[0].member)
        }
    }

    /// Rot in either copy neither stops the node nor takes it back to an earlier run.
    @Test(arguments: ["a", "b"]) func oneCopyOfTheIdentityRotten(name: String) throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        for byte in 0..<56 {
            let run = try DataDirectory(path: path, node: NodeID(1), seed: nil).identity.run
            try scratch.change("1/node.identity." + name) { $0[byte] ^= 4 }
            #expect(try DataDirectory(path: path, node: NodeID(1), seed: nil).identity.run == run + 1, "byte \(byte)")
        }
    }

    @Test func bothCopiesRotten() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        for name in ["a", "b"] { try scratch.change("1/node.identity." + name) { $0[30] ^= 1 } }
        #expect(self.refusal(path).contains("counts as lost"))
        #expect(self.refusal(path, seed: testSeed()).contains("counts as lost"), "nor is it formatted anew")
    }

    @Test func anotherNodesOrClusters() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        #expect(self.refusal(path, node: 2).contains("belongs to node 1"))
        var other = testSeed()
        other.cluster = ClusterID(high: 0, low: 1)
        #expect(self.refusal(path, seed: other).contains("belongs to cluster"))
        // One file of another node's directory among its own.
        let second = scratch.path + "/2"
        _ = try DataDirectory(path: second, node: NodeID(2), seed: testSeed())
        try scratch.write("1/node.identity.b", scratch.read("2/node.identity.a"))
        #expect(self.refusal(path).contains("two nodes"))
    }

    @Test func anotherVersion() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        try scratch.change("1/node.identity.a") { bytes in
            bytes[8] = 2
            bytes.replace(at: 0, littleEndian: CRC32C.of(bytes[4...]))
        }
        #expect(self.refusal(path).contains("format version 2"))
    }

    @Test func inUse() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        let directory = try DataDirectory(path: path, node: NodeID(1), seed: nil)
        #expect(self.refusal(path).contains("in use"))
        withExtendedLifetime(directory) {}
    }

    @Test func freeAgainAfterwards() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        #expect(throws: Never.self) { try DataDirectory(path: path, node: NodeID(1), seed: nil, lockTries: 1) }
        // A refused one lets go too.
        #expect(self.refusal(path, node: 2).contains("belongs"))
        #expect(throws: Never.self) { try DataDirectory(path: path, node: NodeID(1), seed: nil, lockTries: 1) }
    }

    @Test func notWritable() throws {
        let scratch = Scratch()
        try scratch.write("file", [1])
        #expect(self.refusal(scratch.path + "/file", seed: testSeed()).contains("not writable"))
        #expect(self.refusal(scratch.path + "/none/1", seed: testSeed()).contains("cannot be made"))
        #expect(self.refusal("/proc/self", seed: testSeed()).contains("not writable"))
    }

    @Test func emptyOrForeign() throws {
        let scratch = Scratch()
        #expect(self.refusal(scratch.path + "/new").contains("--seed"))
        #expect(self.refusal(scratch.path + "/new", node: 9, seed: testSeed()).contains("names no node 9"))
        try scratch.write("photo.jpg", [1])
        #expect(self.refusal(scratch.path, seed: testSeed()).contains("not a node's"))
    }

    /// A format that was cut short is begun again.
    @Test func formatCutShort() throws {
        let scratch = Scratch()
        for names in [
            ["LOCK"], ["LOCK", "cluster.seed.new"], ["LOCK", "cluster.seed"],
            ["LOCK", "cluster.seed", "node.identity.a.new"],
        ] {
            let path = scratch.path + "/\(names.count)\(names.last!)"
            try Files.makeDirectory(path)
            for name in names { try Files.replace(path + "/" + name, with: [1], directory: path) }
            #expect(try DataDirectory(path: path, node: NodeID(1), seed: testSeed()).identity.run == 1, "\(names)")
        }
    }

    @Test func theCopyOfTheSeedRotten() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        try scratch.change("1/cluster.seed") { $0[40] ^= 1 }
        #expect(self.refusal(path).contains("--seed"))
        #expect(try DataDirectory(path: path, node: NodeID(1), seed: testSeed()).seed == testSeed())
        #expect(try DataDirectory(path: path, node: NodeID(1), seed: nil).seed == testSeed(), "written anew")
    }

    @Test func snapshotsWithoutAJournal() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        try Files.makeDirectory(path + "/snapshots")
        try scratch.write("1/snapshots/0-5.snapshot", [1])
        #expect(self.refusal(path).contains("no journal"))
    }

    @Test(arguments: 0..<200) func identityNoise(seed: UInt64) throws {
        var random = Random(seed: seed)
        var bytes = (0..<random.below(80)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        #expect(try IdentityFile.decode(bytes) == nil)
        bytes = IdentityFile.encode(
            NodeIdentity(
                cluster: ClusterID(high: 1, low: 2), node: NodeID(3), incarnation: Incarnation(high: 4, low: 5), run: 6)
        )
        #expect(try IdentityFile.decode(bytes)?.run == 6)
        bytes.removeLast(Int(random.below(50)))
        if bytes.count > 12 { bytes.replace(at: 0, littleEndian: CRC32C.of(bytes[4...])) }
        #expect(try bytes.count == 56 || IdentityFile.decode(bytes) == nil)
    }
}
