import Formats
import Glibc
import Journal
import Replication
import Testing

@Suite struct SnapshotStoreTests {
    let member = MemberID(node: NodeID(2), incarnation: Incarnation(high: 1, low: 2))

    func mark(_ index: LogIndex) -> SnapshotMark {
        SnapshotMark(
            index: index, term: 2, hash: Hash128(low: index, high: 1), time: WallTime(nanoseconds: 9),
            membership: Membership(voters: [self.member]))
    }

    private func blocks(_ index: LogIndex) -> [[UInt8]] {
        (0..<4).map { [UInt8](repeating: UInt8($0) &+ UInt8(truncatingIfNeeded: index), count: 1000 * $0 + 1) }
    }

    func store(_ scratch: Scratch, _ done: Collected<SnapshotStore.Done>) throws -> SnapshotStore {
        try SnapshotStore(directory: scratch.path + "/snapshots", hashKey: HashKey(low: 1, high: 2)) { done.add($0) }
    }

    /// Writes one and waits for it; gives the number of reports so far.
    func write(
        _ index: LogIndex, _ store: SnapshotStore, _ done: Collected<SnapshotStore.Done>, from count: Int
    ) -> Int {
        store.begin(.default, self.mark(index))
        for block in self.blocks(index) { store.block(.default, block) }
        store.finish(.default)
        let items = done.wait(for: count + 5)
        guard case .durable(.default, index, _) = items[count + 4] else {
            Issue.record("not durable: \(items[count + 4])")
            return items.count
        }
        return items.count
    }

    /// A file's digest is the same when it is written and when it is read back; one that is taken out of use is kept, the
    /// last of its group.
    @Test func digestsAndFilesSetAside() throws {
        let (scratch, done) = (Scratch(), Collected<SnapshotStore.Done>())
        let store = try self.store(scratch, done)
        defer { store.close() }
        var count = self.write(7, store, done, from: 0)
        guard case .durable(_, _, let written) = done.wait(for: count)[count - 1] else { return }
        store.load(.default, self.mark(7), number: 5)
        guard
            case .loaded(.default, 7, number: 5, _, isLast: true, let read, nil) = done.wait(for: count + 5)[count + 4]
        else {
            Issue.record("not loaded")
            return
        }
        #expect(read == written)
        count = self.write(8, store, done, from: count + 5)
        guard case .durable(_, _, let second) = done.wait(for: count)[count - 1] else { return }
        #expect(second != written)
        store.setAside(.default, index: 7)
        store.setAside(.default, index: 8)
        store.load(.default, self.mark(8), number: 5)
        guard case .loaded(_, _, _, _, _, _, .some) = done.wait(for: count + 1)[count] else {
            Issue.record("it is still in use")
            return
        }
        let kept = scratch.path + "/snapshots/\(GroupID.default.rawValue)-8.diverged"
        #expect(store.pathSetAside(of: .default, 8) == kept)
        #expect(try SnapshotFile.verify(kept) == self.mark(8))
        #expect(throws: (any Error).self) { try SnapshotFile.verify(store.pathSetAside(of: .default, 7)) }
    }

    /// Blocks are read back as they are taken in, a few ahead.
    @Test func readingBackWaitsForWhoTakesIt() throws {
        let (scratch, done) = (Scratch(), Collected<SnapshotStore.Done>())
        let store = try self.store(scratch, done)
        defer { store.close() }
        store.begin(.default, self.mark(7))
        for number in 0..<30 { store.block(.default, [UInt8](repeating: UInt8(number), count: 100)) }
        store.finish(.default)
        _ = done.wait(for: 31)
        store.load(.default, self.mark(7), number: 5)
        _ = done.wait(for: 31 + 8)
        // Answered after all that the load brings by itself.
        store.read(.default, index: 7, offset: 1 << 40, for: self.member)
        guard case .read = done.wait(for: 31 + 9)[31 + 8] else {
            Issue.record("it reads on")
            return
        }
        for number in 1...23 {
            store.loadMore(.default, number: 4)
            store.loadMore(.default, number: 5)
            let item = done.wait(for: 40 + number)[39 + number]
            guard case .loaded(_, _, number: 5, let block, let isLast, _, nil) = item else {
                Issue.record("not loaded")
                return
            }
            #expect(isLast == (number == 23) && (isLast || block.first == UInt8(number + 7)))
        }
    }

    @Test func writtenReadStagedAndLoaded() throws {
        let (scratch, other) = (Scratch(), Scratch())
        let (done, received) = (Collected<SnapshotStore.Done>(), Collected<SnapshotStore.Done>())
        let store = try self.store(scratch, done)
        let second = try self.store(other, received)
        defer {
            store.close()
            second.close()
        }
        var count = self.write(7, store, done, from: 0)
        let name = "/snapshots/\(GroupID.default.rawValue)-7.snapshot"
        #expect(try SnapshotFile.verify(scratch.path + name) == self.mark(7))
        store.read(.default, index: 7, offset: 0, for: self.member)
        guard
            case .read(.default, 7, offset: 0, let size, let bytes?, for: self.member) = done.wait(for: count + 1)[
                count]
        else {
            Issue.record("not read")
            return
        }
        count += 1
        #expect(size == UInt64(bytes.count))

        // In pieces to another node, which has then the same file.
        var offset = 0
        var pieces = 0
        while offset < bytes.count {
            let piece = Array(bytes[offset..<min(offset + 1500, bytes.count)])
            second.stage(
                SnapshotPiece(
                    group: .default, term: 1, mark: self.mark(7), standing: .own, size: size, offset: UInt64(offset),
                    bytes: piece))
            offset += piece.count
            pieces += 1
            guard
                case .staged(.default, 7, let next, let isWhole, isDamaged: false) = received.wait(for: pieces)[
                    pieces - 1]
            else {
                Issue.record("piece \(pieces) refused")
                return
            }
            #expect(next == UInt64(offset) && isWhole == (offset == bytes.count))
        }
        #expect(try other.read(name) == scratch.read(name))
        second.load(.default, self.mark(7), number: 5)
        let loaded = received.wait(for: pieces + 5)[pieces...]
        var found: [[UInt8]] = []
        for case .loaded(.default, 7, _, let block, let isLast, _, let failure) in loaded {
            #expect(failure == nil)
            if !isLast { found.append(block) }
        }
        #expect(found == self.blocks(7))

        store.read(.default, index: 8, offset: 0, for: self.member)
        guard case .read(_, 8, _, _, bytes: nil, _) = done.wait(for: count + 1)[count] else {
            Issue.record("a file that is not there was read")
            return
        }
    }

    @Test func everyChangedByteIsFound() throws {
        let scratch = Scratch()
        let done = Collected<SnapshotStore.Done>()
        let store = try self.store(scratch, done)
        _ = self.write(7, store, done, from: 0)
        store.close()
        let name = "snapshots/\(GroupID.default.rawValue)-7.snapshot"
        let whole = try scratch.read(name)
        let path = scratch.path + "/" + name
        let fd = try Files.open(path, O_RDWR)
        defer { close(fd) }
        for at in 0..<whole.count where at < 200 || at > whole.count - 40 || at % 7 == 0 {
            try Files.write(fd, [whole[at] ^ 0x41], at: at, path: path)
            #expect(throws: (any Error).self, "byte \(at)") { try SnapshotFile.verify(path) }
            try Files.write(fd, [whole[at]], at: at, path: path)
        }
        #expect(throws: Never.self) { try SnapshotFile.verify(path) }
        for count in [0, 5, 30, whole.count / 2, whole.count - 1] {
            try scratch.write(name, Array(whole[..<count]))
            #expect(throws: (any Error).self, "\(count) bytes") { try SnapshotFile.verify(path) }
        }
        try scratch.write(name, whole + [0])
        #expect(throws: (any Error).self, "a byte too many") { try SnapshotFile.verify(path) }
    }

    @Test func aDamagedBlockIsToldWhenLoadedAndWhenStaged() throws {
        let scratch = Scratch()
        let done = Collected<SnapshotStore.Done>()
        let store = try self.store(scratch, done)
        defer { store.close() }
        var count = self.write(7, store, done, from: 0)
        let name = "snapshots/\(GroupID.default.rawValue)-7.snapshot"
        var bytes = try scratch.read(name)
        bytes[bytes.count - 40] ^= 1
        store.stage(
            SnapshotPiece(
                group: .system, term: 1, mark: self.mark(9), standing: .own, size: UInt64(bytes.count), offset: 0,
                bytes: bytes))
        guard case .staged(.system, 9, 0, isWhole: false, isDamaged: true) = done.wait(for: count + 1)[count] else {
            Issue.record("a damaged file was taken")
            return
        }
        count += 1
        #expect(!Files.list(scratch.path + "/snapshots").contains { $0.hasPrefix("0-") })
        try scratch.write(name, bytes)
        store.load(.default, self.mark(7), number: 5)
        let loaded = done.wait(for: count + 4)[count...]
        var failure: String?
        for case .loaded(_, _, _, _, _, _, let text?) in loaded { failure = text }
        #expect(failure?.contains("block 3 is bad") == true)
    }

    /// Older files stay until the journal names their successor.
    @Test func olderOnesGoWhenAsked() throws {
        let scratch = Scratch()
        let done = Collected<SnapshotStore.Done>()
        let store = try self.store(scratch, done)
        var count = 0
        for index in [3, 7, 20, 100] as [LogIndex] { count = self.write(index, store, done, from: count) }
        #expect(Files.list(scratch.path + "/snapshots").count == 4)
        store.remove(.default, below: 20, keeping: [3])
        store.perform { done.add(.blockWritten(.default)) }
        _ = done.wait(for: count + 1)
        let prefix = "\(GroupID.default.rawValue)-"
        #expect(
            Files.list(scratch.path + "/snapshots") == ["100", "20", "3"].map { prefix + $0 + ".snapshot" },
            "3 is on its way to a peer")
        store.remove(.default, below: 20)
        store.close()
        #expect(Files.list(scratch.path + "/snapshots") == [prefix + "100.snapshot", prefix + "20.snapshot"])
        try scratch.write("snapshots/5-5.snapshot.part", [1])
        try self.store(scratch, done).close()
        #expect(Files.list(scratch.path + "/snapshots").count == 2, "what was not finished goes at a start")
    }

    @Test(arguments: 0..<100) func noiseIsRefused(seed: UInt64) throws {
        let scratch = Scratch()
        var random = Random(seed: seed)
        var bytes = SnapshotFormat.header(self.mark(4))
        if random.chance(1, in: 2) { bytes = [] }
        for _ in 0..<random.below(400) { bytes.append(UInt8(truncatingIfNeeded: random.next())) }
        try scratch.write("x", bytes)
        #expect(throws: (any Error).self) { try SnapshotFile.verify(scratch.path + "/x") }
    }
}

extension SnapshotStoreTests {
    private func name(_ index: LogIndex) -> String { "/snapshots/\(GroupID.default.rawValue)-\(index).snapshot" }

    /// Rebuilds the file of a snapshot in one store with the bytes of another; gives the bytes that were fetched.
    private func rebuild(
        _ index: LogIndex, in store: SnapshotStore, _ done: Collected<SnapshotStore.Done>, from count: Int,
        with peer: SnapshotStore, _ lent: Collected<SnapshotStore.Done>, from lentCount: Int
    ) throws -> Int {
        var (count, lentCount) = (count, lentCount)
        store.repair(.default, self.mark(index), usesOld: true)
        while true {
            count += 1
            switch done.wait(for: count)[count - 1] {
            case .repaired(.default, index, let bytes):
                return bytes
            case .repairNeeds(.default, index, _, let offset):
                peer.lend(.default, index: index, offset: offset, for: self.member)
                lentCount += 1
                guard
                    case .lent(.default, index, offset, let bytes?, self.member) = lent.wait(for: lentCount)[
                        lentCount - 1]
                else { throw MalformedBytes("nothing lent") }
                store.lent(.default, index: index, offset: offset, bytes)
            case let other:
                throw MalformedBytes("\(other)")
            }
        }
    }

    @Test(arguments: [0, 20, 200, 900, 3000]) func aBadFileIsRebuiltFromAPeers(place: Int) throws {
        let (scratch, other) = (Scratch(), Scratch())
        let (done, lent) = (Collected<SnapshotStore.Done>(), Collected<SnapshotStore.Done>())
        let store = try self.store(scratch, done)
        let peer = try self.store(other, lent)
        defer {
            store.close()
            peer.close()
        }
        let count = self.write(7, store, done, from: 0)
        let lentCount = self.write(7, peer, lent, from: 0)
        let good = try Files.read(scratch.path + self.name(7))
        var bad = good
        bad[place] ^= 0x40
        try Files.replace(scratch.path + self.name(7), with: bad, directory: scratch.path + "/snapshots")
        let fetched = try self.rebuild(7, in: store, done, from: count, with: peer, lent, from: lentCount)
        #expect(fetched > 0 && fetched < good.count)
        #expect(try Files.read(scratch.path + self.name(7)) == good)
        #expect(
            Files.list(scratch.path + "/snapshots").allSatisfy { $0.hasSuffix(".snapshot") }, "nothing is left over")
    }

    @Test func aMissingFileIsMadeAnew() throws {
        let (scratch, other) = (Scratch(), Scratch())
        let (done, lent) = (Collected<SnapshotStore.Done>(), Collected<SnapshotStore.Done>())
        let store = try self.store(scratch, done)
        let peer = try self.store(other, lent)
        defer {
            store.close()
            peer.close()
        }
        let lentCount = self.write(7, peer, lent, from: 0)
        let good = try Files.read(other.path + self.name(7))
        #expect(try self.rebuild(7, in: store, done, from: 0, with: peer, lent, from: lentCount) == good.count)
        #expect(try Files.read(scratch.path + self.name(7)) == good)
        // Counted before it is asked: all that came until then has been waited for.
        let before = lent.wait(for: lentCount).count
        peer.lend(.default, index: 8, offset: 0, for: self.member)
        let last = lent.wait(for: before + 1)[before]
        guard case .lent(.default, 8, offset: 0, bytes: nil, _) = last else {
            Issue.record("a file lent that is not there: \(last)")
            return
        }
    }

    @Test func aFileOfAnotherSnapshotIsNotReadBack() throws {
        let (scratch, done) = (Scratch(), Collected<SnapshotStore.Done>())
        let store = try self.store(scratch, done)
        defer { store.close() }
        var count = self.write(7, store, done, from: 0)
        count = self.write(8, store, done, from: count)
        try Files.replace(
            scratch.path + self.name(8), with: try Files.read(scratch.path + self.name(7)),
            directory: scratch.path + "/snapshots")
        store.load(.default, self.mark(8), number: 5)
        let items = done.wait(for: count + 1)
        guard case .loaded(.default, 8, number: 5, _, isLast: true, _, .some) = items[count] else {
            Issue.record("read back: \(items[count])")
            return
        }
    }
}
