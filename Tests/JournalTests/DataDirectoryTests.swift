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

    /// The history of the disk's starts goes with the number.
    @Test func historyOfStarts() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        var marks = try DataDirectory(path: path, node: NodeID(1), seed: nil).identity.history.marks
        #expect(marks.map(\.run) == [1, 2])
        for _ in 0..<40 {
            let identity = try DataDirectory(path: path, node: NodeID(1), seed: nil).identity
            #expect(Array(identity.history.marks.dropLast()) == Array(marks.suffix(RunHistory.limit - 1)))
            #expect(identity.history.last.run == identity.run)
            marks = identity.history.marks
        }
    }

    /// Rot in either copy neither stops the node nor takes it back to an earlier run.
    @Test(arguments: ["a", "b"]) func oneCopyOfTheIdentityRotten(name: String) throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        for byte in 0..<73 {
            let run = try DataDirectory(path: path, node: NodeID(1), seed: nil).identity.run
            try scratch.change("1/node.identity." + name) { $0[byte] ^= 4 }
            #expect(try DataDirectory(path: path, node: NodeID(1), seed: nil).identity.run == run + 1, "byte \(byte)")
        }
    }

    @Test func bothCopiesRotten() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        for name in ["a", "b"] { try scratch.change("1/node.identity." + name) { $0[30] ^= 1 } }
        let before = try self.files(path)
        let directory = try DataDirectory(path: path, node: NodeID(1), seed: nil)
        // Another member, on a clean disk; nothing of the old one is gone.
        #expect(directory.identity.node == NodeID(1) && directory.identity.cluster == testSeed().cluster)
        #expect(directory.identity.incarnation != testSeed().peers[0].member.incarnation)
        let aside = try #require(directory.setAside)
        #expect(aside.hasPrefix("lost-unknown-"))
        #expect(try self.files(path + "/" + aside) == before)
        #expect(directory.seed == testSeed())
    }

    /// With nobody else to have what was on it, a disk that cannot be read is for a person to restore.
    @Test func bothCopiesRottenOfALoneNode() throws {
        let scratch = Scratch()
        let path = scratch.path + "/1"
        let seed = ClusterSeed(nodes: [(NodeID(1), "127.0.0.1", 7101)], random: { 7 })
        _ = try DataDirectory(path: path, node: NodeID(1), seed: seed)
        for name in ["a", "b"] { try scratch.change("1/node.identity." + name) { $0[30] ^= 1 } }
        #expect(self.refusal(path).contains("no other node has"))
        #expect(self.refusal(path, seed: seed).contains("no other node has"), "nor is it formatted anew")
    }

    /// What a start would find: every file but the lock, the seed and what was put aside.
    private func files(_ path: String) throws -> [String] {
        try Files.names(in: path).filter {
            !["LOCK", "cluster.seed.a", "cluster.seed.b"].contains($0) && !$0.hasPrefix("lost-")
        }
    }

    // MARK: A new incarnation

    private func old(_ scratch: Scratch) throws -> (path: String, identity: NodeIdentity) {
        let path = try self.formatted(scratch)
        for name in ["journal", "snapshots"] { try Files.makeDirectory(path + "/" + name) }
        try scratch.write("1/journal/00000001.segment", [1, 2, 3])
        try scratch.write("1/peer.runs", [4])
        return (path, try DataDirectory(path: path, node: NodeID(1), seed: nil).identity)
    }

    @Test func aLostDiskBeginsAnewUnderItsLock() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        try Files.makeDirectory(path + "/journal")
        try scratch.write("1/journal/00000001.segment", [1, 2, 3])
        let directory = try DataDirectory(path: path, node: NodeID(1), seed: nil)
        let anew = try directory.begunAnew(after: 57)
        #expect(anew.identity.run == 58 && anew.identity.history.marks.map(\.run) == [58])
        #expect(anew.identity.member != directory.identity.member && anew.identity.node == NodeID(1))
        let aside = try #require(anew.setAside)
        #expect(aside.hasPrefix("lost-\(directory.identity.incarnation)-"))
        #expect(try scratch.read("1/\(aside)/journal/00000001.segment") == [1, 2, 3])
        #expect(try self.files(path) == ["node.identity.a", "node.identity.b"])
        #expect(self.refusal(path).contains("in use"), "the lock was never let go of")
        // A number that is too low is raised, and the disk stays the same.
        let continued = try anew.continued(after: 70)
        #expect(continued.identity.run == 71 && continued.identity.member == anew.identity.member)
        #expect(continued.identity.history.marks.map(\.run) == [58, 71] && continued.setAside == nil)
    }

    /// What a process leaves that begins a new incarnation and dies after this step.
    private func cutShort(
        _ scratch: Scratch, step: Int
    ) throws -> (path: String, before: NodeIdentity, new: NodeIdentity) {
        let (path, before) = try self.old(scratch)
        let new = NodeIdentity(
            cluster: before.cluster, node: before.node, incarnation: Incarnation(high: 1, low: 2), run: 9)
        let aside = path + "/lost-\(before.incarnation)-before"
        try scratch.write("1/node.identity.next", IdentityFile.encode(new))
        if step >= 1 { try Files.makeDirectory(aside) }
        if step >= 2 { try Files.rename(path + "/journal", aside + "/journal", directory: path) }
        if step >= 3 {
            for name in ["peer.runs", "snapshots", "node.identity.a"] {
                try Files.rename(path + "/" + name, aside + "/" + name, directory: path)
            }
        }
        if step >= 4 {
            try Files.rename(path + "/node.identity.b", aside + "/node.identity.b", directory: path)
            try scratch.write("1/node.identity.a", IdentityFile.encode(new))
        }
        if step >= 5 { try scratch.write("1/node.identity.b", IdentityFile.encode(new)) }
        return (path, before, new)
    }

    private func filesSetAside(_ path: String) throws -> [String] {
        try Files.names(in: path).filter { $0.hasPrefix("lost-") }.flatMap { try Files.names(in: path + "/" + $0) }
            .sorted()
    }

    /// The process dies after each of the steps; the next start goes on, and comes to the same.
    @Test(arguments: 0..<6) func aNewIncarnationCutShort(step: Int) throws {
        let scratch = Scratch()
        let (path, _, new) = try self.cutShort(scratch, step: step)
        let identity = try DataDirectory(path: path, node: NodeID(1), seed: nil).identity
        #expect(identity.incarnation == new.incarnation && identity.run == 10)
        #expect(identity.history.marks.map(\.run) == [10])
        #expect(try self.files(path) == ["node.identity.a", "node.identity.b"])
        #expect(
            try self.filesSetAside(path) == ["journal", "node.identity.a", "node.identity.b", "peer.runs", "snapshots"])
        // And again, as any other start.
        #expect(try DataDirectory(path: path, node: NodeID(1), seed: nil).identity.run == 11)
    }

    /// 1. The disk counts as lost. Its journal has gone aside, its identity not yet; the power goes.
    /// 2. `node.identity.next` rots. What is here is the old identity, and no journal.
    /// 3. Under its old name the node would vote again in terms in which it has voted.
    @Test(arguments: 0..<6, [0, 20, 60]) func aPlanThatCannotBeReadIsMadeAnew(step: Int, damage: Int) throws {
        let scratch = Scratch()
        let (path, before, new) = try self.cutShort(scratch, step: step)
        try scratch.change("1/node.identity.next") { bytes in
            if damage < bytes.count { bytes[damage] ^= 16 } else { bytes.removeAll() }
        }
        let directory = try DataDirectory(path: path, node: NodeID(1), seed: nil)
        #expect(directory.identity.node == NodeID(1) && directory.identity.cluster == before.cluster)
        #expect(directory.identity.incarnation != before.incarnation)
        #expect(directory.identity.incarnation != new.incarnation, "nobody knows any more which one was begun")
        #expect(directory.identity.history.marks.count == 1)
        #expect(try self.files(path) == ["node.identity.a", "node.identity.b"])
        let kept = try self.filesSetAside(path)
        for name in ["journal", "node.identity.a", "node.identity.b", "peer.runs", "snapshots"] {
            #expect(kept.contains(name), "nothing is deleted: \(name)")
        }
    }

    @Test func aPlanThatCannotBeReadOfALoneNode() throws {
        let scratch = Scratch()
        let path = scratch.path + "/1"
        let seed = ClusterSeed(nodes: [(NodeID(1), "127.0.0.1", 7101)], random: { 7 })
        _ = try DataDirectory(path: path, node: NodeID(1), seed: seed)
        try scratch.write("1/node.identity.next", [1, 2, 3])
        #expect(self.refusal(path).contains("node.identity.next that cannot be read"))
        #expect(try self.files(path) == ["node.identity.a", "node.identity.b", "node.identity.next"])
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

    /// The version that the identity has is the directory's: what a later program wrote is refused before anything is
    /// read or written, whichever file says so.
    @Test(arguments: ["node.identity.a", "node.identity.b", "node.identity.next"]) func laterVersion(
        file: String
    ) throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        try scratch.write("1/" + file, scratch.read("1/node.identity.a"))
        try scratch.change("1/" + file) { bytes in
            bytes[8] = 2
            bytes.replace(at: 0, littleEndian: CRC32C.of(bytes[4...]))
        }
        let names = try Files.names(in: path)
        let before = try names.map { try scratch.read("1/" + $0) }
        let refusal = self.refusal(path)
        #expect(refusal.contains("format version 2, and this program knows version 1: use the program that wrote it"))
        #expect(try Files.names(in: path) == names)
        #expect(try names.map { try scratch.read("1/" + $0) } == before)
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
            ["LOCK"], ["LOCK", "cluster.seed.a.new"], ["LOCK", "cluster.seed.a", "cluster.seed.b.new"],
            ["LOCK", "cluster.seed.a", "cluster.seed.b", "node.identity.a.new"],
        ] {
            let path = scratch.path + "/\(names.count)\(names.last!)"
            try Files.makeDirectory(path)
            for name in names { try Files.replace(path + "/" + name, with: [1], directory: path) }
            #expect(try DataDirectory(path: path, node: NodeID(1), seed: testSeed()).identity.run == 1, "\(names)")
        }
    }

    @Test(arguments: ["a", "b"]) func oneCopyOfTheSeedRotten(name: String) throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        let good = try scratch.read("1/cluster.seed." + name)
        for byte in stride(from: 0, to: good.count, by: 7) {
            try scratch.change("1/cluster.seed." + name) { $0[byte] ^= 1 }
            #expect(try DataDirectory(path: path, node: NodeID(1), seed: nil).seed == testSeed(), "byte \(byte)")
            #expect(try scratch.read("1/cluster.seed." + name) == good, "written anew")
        }
        try scratch.write("1/cluster.seed." + name, [])
        #expect(try DataDirectory(path: path, node: NodeID(1), seed: nil).seed == testSeed())
    }

    @Test func bothCopiesOfTheSeedRotten() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        for name in ["a", "b"] { try scratch.change("1/cluster.seed." + name) { $0[40] ^= 1 } }
        #expect(self.refusal(path).contains("--seed"))
        #expect(try DataDirectory(path: path, node: NodeID(1), seed: testSeed()).seed == testSeed())
        #expect(try DataDirectory(path: path, node: NodeID(1), seed: nil).seed == testSeed(), "written anew")
    }

    @Test func snapshotsWithoutAJournal() throws {
        let scratch = Scratch()
        let path = try self.formatted(scratch)
        try Files.makeDirectory(path + "/snapshots")
        try scratch.write("1/snapshots/0-5.snapshot", [1])
        let directory = try DataDirectory(path: path, node: NodeID(1), seed: nil)
        #expect(directory.identity.incarnation != testSeed().peers[0].member.incarnation && directory.identity.run == 2)
        #expect(try Files.names(in: path + "/" + #require(directory.setAside)).contains("snapshots"))
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
        #expect(try bytes.count == 57 || IdentityFile.decode(bytes) == nil)
    }
}
