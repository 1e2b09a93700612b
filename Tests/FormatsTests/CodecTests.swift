import Formats
import Replication
import Testing

@Suite struct CodecTests {
    private static let key = HashKey(ClusterID(high: 1, low: 2))

    // MARK: CRC32C

    /// RFC 3720, appendix B.4, and the check value of the catalogue of CRC algorithms.
    @Test func crcVectors() {
        #expect(CRC32C.of(Array("123456789".utf8)[...]) == 0xe306_9283)
        #expect(CRC32C.of([UInt8](repeating: 0, count: 32)[...]) == 0x8a91_36aa)
        #expect(CRC32C.of([UInt8](repeating: 0xff, count: 32)[...]) == 0x62a8_ab43)
        #expect(CRC32C.of(Array(UInt8(0)..<32)[...]) == 0x46dd_794e)
        #expect(CRC32C.of(Array((UInt8(0)..<32).reversed())[...]) == 0x113f_db5c)
        #expect(CRC32C.of([][...]) == 0)
    }

    /// Against a bitwise one, at all lengths around the word size, whole and in two parts.
    @Test func crcAgainstBits() {
        var random = Random(seed: 3)
        for count in 0..<40 {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            var crc = ~UInt32(0)
            for byte in bytes {
                crc ^= UInt32(byte)
                for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
            }
            #expect(CRC32C.of(bytes[...]) == ~crc, "\(count)")
            let cut = count / 3
            #expect(CRC32C.of(bytes[cut...], seed: CRC32C.of(bytes[..<cut])) == ~crc, "\(count)")
        }
    }

    // MARK: Peer messages

    private func member(_ random: inout Random) -> MemberID {
        MemberID(
            node: NodeID(UInt32(truncatingIfNeeded: random.next())),
            incarnation: Incarnation(high: random.next(), low: random.next()))
    }

    private func mark(_ random: inout Random) -> SnapshotMark {
        SnapshotMark(
            index: random.next(), term: random.next(), hash: Hash128(low: random.next(), high: random.next()),
            time: WallTime(nanoseconds: random.next()),
            membership: Membership(
                voters: (0..<random.below(4)).map { _ in self.member(&random) },
                outgoing: (0..<random.below(3)).map { _ in self.member(&random) },
                learners: (0..<random.below(3)).map { _ in self.member(&random) }))
    }

    private func runs(_ random: inout Random) -> PeerRuns {
        var runs = PeerRuns()
        for _ in 0..<random.below(6) {
            let member = self.member(&random)
            for _ in 0...random.below(3) { runs.add(member, RunMark(run: random.next() >> 24, token: random.next())) }
            if random.chance(1, in: 3) { runs.retire(member) }
        }
        runs.isComplete = random.chance(1, in: 2)
        return runs
    }

    private func bytes(_ random: inout Random, _ count: UInt64) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private func message(_ kind: Int, _ random: inout Random) -> PeerMessage {
        let group = GroupID(rawValue: random.next())
        func replica(_ body: Message.Body) -> PeerMessage {
            .replica(
                Message(
                    group: group, from: self.member(&random), to: self.member(&random), term: random.next(), body: body)
            )
        }
        func candidacy() -> Message.Candidacy {
            .init(lastIndex: random.next(), lastTerm: random.next(), transfer: random.chance(1, in: 2))
        }
        switch kind {
        case 0: return replica(.preVote(candidacy()))
        case 1: return replica(.preVoteReply(granted: random.chance(1, in: 2)))
        case 2: return replica(.vote(candidacy()))
        case 3: return replica(.voteReply(granted: random.chance(1, in: 2)))
        case 4:
            let previous = random.next() >> 3
            var entries: [Entry] = []
            for position in 0..<random.below(4) {
                let count = random.below(200)
                entries.append(
                    Entry(
                        group: group, index: previous + 1 + position, term: random.next(),
                        time: WallTime(nanoseconds: random.next()),
                        kind: EntryKind.allCases[Int(random.below(UInt64(EntryKind.allCases.count)))],
                        payload: self.bytes(&random, count),
                        previousHash: Hash128(low: random.next(), high: random.next()), key: Self.key))
            }
            return replica(
                .append(
                    .init(
                        previousIndex: previous, previousTerm: random.next(), entries: entries, commit: random.next(),
                        round: random.next())))
        case 5: return replica(.appendReply(.init(outcome: .matched(random.next()), round: random.next())))
        case 6:
            return replica(
                .appendReply(
                    .init(
                        outcome: .rejected(previousIndex: random.next(), hint: random.next(), hintTerm: random.next()),
                        round: random.next())))
        case 7:
            let outcomes: [Message.AppendReply.Outcome] = [
                .following, .received(random.next()), .readiness(.ready), .readiness(.reluctant), .readiness(.unable),
            ]
            let outcome = outcomes[Int(random.below(UInt64(outcomes.count)))]
            return replica(.appendReply(.init(outcome: outcome, round: random.next())))
        case 8: return replica(.timeoutNow)
        case 9: return replica(.readIndex(ticket: random.next()))
        case 10: return replica(.readIndexReply(ticket: random.next(), index: random.next()))
        case 11: return replica(.readIndexReply(ticket: random.next(), index: nil))
        case 12:
            let count = random.below(5)
            var commands: [UInt8] = []
            for _ in 0..<count {
                let command = self.bytes(&random, random.below(50))
                commands.append(littleEndian: UInt32(command.count))
                commands += command
            }
            return .forward(
                Forward(
                    group: group,
                    block: OriginBlock(
                        origin: NodeID(7), run: random.next(), firstSequence: random.next(),
                        lowestUnanswered: random.next(), count: UInt32(count), commands: commands)))
        case 13:
            let offset = random.below(1000)
            let piece = self.bytes(&random, random.below(300))
            return .snapshot(
                SnapshotPiece(
                    group: group, term: random.next(), mark: self.mark(&random),
                    standing: SnapshotStanding(rawValue: UInt8(random.below(3)))!,
                    size: offset + UInt64(piece.count) + random.below(10), offset: offset, bytes: piece))
        case 14:
            return .snapshotReply(
                SnapshotReply(
                    group: group, index: random.next(), nextOffset: random.next(),
                    verdict: SnapshotReply.Verdict(rawValue: UInt8(1 + random.below(3)))!))
        case 15: return .advanceTime(group: group)
        case 16: return .copies(group: group, index: random.next(), ticket: random.next())
        case 17: return .copiesReply(ticket: random.next(), count: UInt32(truncatingIfNeeded: random.next()))
        case 18: return .transfer(group: group, to: NodeID(UInt32(truncatingIfNeeded: random.next())))
        case 19: return .snapshotBlocksWanted(group: group, index: random.next(), offset: random.next())
        case 20:
            return .snapshotBlocks(
                group: group, index: random.next(), offset: random.next(),
                bytes: self.bytes(&random, random.below(300)))
        case 21: return .snapshotWanted(group: group, atLeast: random.next())
        case 22: return .checkpointWanted(group: group)
        case 23:
            return replica(
                .entriesWanted(
                    (0..<random.below(5)).map { _ in
                        Message.WantedEntry(
                            index: random.next(), term: random.chance(1, in: 2) ? random.next() : nil,
                            hash: random.chance(1, in: 2)
                                ? Hash128(low: random.next(), high: random.next()) : nil)
                    }))
        case 24:
            return replica(
                .entries(
                    (0..<random.below(5)).map { _ in
                        switch random.below(4) {
                        case 0: return .absent(random.next())
                        case 1: return .damaged(random.next())
                        case 2: return .compacted(random.next())
                        default:
                            return .entry(
                                Entry(
                                    group: group, index: random.next(), term: random.next(),
                                    time: WallTime(nanoseconds: random.next()), kind: .commands,
                                    payload: self.bytes(&random, random.below(100)),
                                    previousHash: Hash128(low: random.next(), high: random.next()), key: Self.key))
                        }
                    }))
        case 25:
            return .stateDigest(
                StateDigest(
                    group: group, index: random.next(), entryHash: Hash128(low: random.next(), high: random.next()),
                    form: UInt8(truncatingIfNeeded: random.next()),
                    standing: StateDigest.Standing(rawValue: UInt8(1 + random.below(4)))!,
                    digest: Hash128(low: random.next(), high: random.next())))
        case 26: return .writesRefused(group: group, term: random.next())
        default: return .runs(self.runs(&random))
        }
    }

    private func decode(_ frame: [UInt8]) throws(MalformedBytes) -> PeerMessage {
        var result: Result<PeerMessage, MalformedBytes> = .failure(MalformedBytes(""))
        frame.withUnsafeBytes { bytes in
            do throws(MalformedBytes) { result = .success(try WireCodec.decode(bytes, key: Self.key)) } catch {
                result = .failure(error)
            }
        }
        return try result.get()
    }

    @Test(arguments: 0..<27) func messagesRoundTrip(kind: Int) throws {
        for seed in 0..<20 as Range<UInt64> {
            var random = Random(seed: seed)
            let message = self.message(kind, &random)
            var out: [UInt8] = [0xaa]
            WireCodec.encode(message, into: &out)
            #expect(out[0] == 0xaa)
            let length = out[1..<5].enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
            #expect(length == out.count - 5, "seed \(seed)")
            #expect(try self.decode(Array(out[5...])) == message, "seed \(seed)")
        }
    }

    /// With their checksum made right again, so that what lies behind it is reached.
    @Test(arguments: 0..<27) func mutatedMessagesAreRefusedOrRead(kind: Int) {
        var refused = 0
        var read = 0
        for seed in 0..<150 as Range<UInt64> {
            var random = Random(seed: seed << 8 | UInt64(kind))
            var out: [UInt8] = []
            WireCodec.encode(self.message(kind, &random), into: &out)
            var frame = Array(out[4...])
            for _ in 0..<1 + random.below(4) {
                switch random.below(4) {
                case 0: frame.removeLast(Int(random.below(UInt64(frame.count - 4))))
                case 1: frame += self.bytes(&random, random.below(30))
                case 2: if frame.count > 4 { frame[4 + Int(random.below(UInt64(frame.count - 4)))] = 0xff }
                default:
                    if frame.count > 4 {
                        frame[4 + Int(random.below(UInt64(frame.count - 4)))] ^= 1 << UInt8(random.below(8))
                    }
                }
            }
            let bad = frame
            frame.replace(at: 0, littleEndian: CRC32C.of(frame[4...]))
            if bad != frame { #expect(throws: MalformedBytes.self, "seed \(seed)") { try self.decode(bad) } }
            do {
                let message = try self.decode(frame)
                read += 1
                // What is read can be said again.
                var again: [UInt8] = []
                WireCodec.encode(message, into: &again)
                #expect(try self.decode(Array(again[4...])) == message, "seed \(seed)")
            } catch { refused += 1 }
        }
        #expect(refused > 0 && read + refused == 150)
    }

    @Test(arguments: 0..<200) func noiseIsRefused(seed: UInt64) {
        var random = Random(seed: seed)
        var frame = self.bytes(&random, random.below(300))
        #expect(throws: MalformedBytes.self) { try self.decode(frame) }
        guard frame.count > 5 else { return }
        frame[4] = UInt8(random.below(48))
        frame.replace(at: 0, littleEndian: CRC32C.of(frame[4...]))
        _ = try? self.decode(frame)
    }

    /// A count beyond the limit is refused before anything is made of it.
    @Test(arguments: [UInt32(Message.maxWantedEntries) + 1, .max], [44, 45] as [UInt8])
    func moreEntriesThanOneMessageMayNameAreRefused(count: UInt32, kind: UInt8) {
        var random = Random(seed: 1)
        var frame: [UInt8] = [0, 0, 0, 0, kind]
        frame.append(littleEndian: UInt64(1))
        frame.append(self.member(&random))
        frame.append(self.member(&random))
        frame.append(littleEndian: UInt64(1))
        frame.append(littleEndian: count)
        frame += [UInt8](repeating: 0, count: 9 * 65)
        frame.replace(at: 0, littleEndian: CRC32C.of(frame[4...]))
        #expect(throws: MalformedBytes.self) { try self.decode(frame) }
    }

    @Test func entriesHaveToFollowEachOther() {
        var random = Random(seed: 1)
        let one = Entry(
            group: .system, index: 5, term: 1, time: WallTime(nanoseconds: 0), kind: .empty, payload: [],
            previousHash: .zero, key: Self.key)
        let body = Message.Append(previousIndex: 3, previousTerm: 1, entries: [one], commit: 0, round: 0)
        var out: [UInt8] = []
        WireCodec.encode(
            .replica(
                Message(
                    group: .system, from: self.member(&random), to: self.member(&random), term: 1, body: .append(body))),
            into: &out)
        #expect(throws: MalformedBytes.self) { try self.decode(Array(out[4...])) }
    }

    // MARK: Cluster seed

    private func seed() -> ClusterSeed {
        var random = Random(seed: 9)
        return ClusterSeed(
            nodes: [(NodeID(2), "b.example", 7102), (NodeID(1), "10.0.0.1", 7101), (NodeID(3), "::1", 7103)],
            random: { random.next() })
    }

    @Test func seedRoundTrip() throws {
        let seed = self.seed()
        #expect(seed.key.count == 32 && seed.peers.map(\.node.rawValue) == [1, 2, 3])
        #expect(try ClusterSeed(text: seed.text) == seed)
    }

    @Test func seedChangedAnywhereIsRefused() {
        let text = Array(self.seed().text.utf8)
        for at in text.indices {
            var changed = text
            changed[at] = changed[at] == UInt8(ascii: "7") ? UInt8(ascii: "8") : UInt8(ascii: "7")
            let string = String(decoding: changed, as: UTF8.self)
            // The newline at the end is not part of what is said.
            if at == text.count - 1 { continue }
            #expect(throws: MalformedBytes.self, "byte \(at)") { try ClusterSeed(text: string) }
        }
        for count in 0..<text.count - 1 {
            let string = String(decoding: text[..<count], as: UTF8.self)
            #expect(throws: MalformedBytes.self, "\(count) bytes") { try ClusterSeed(text: string) }
        }
    }

    @Test func seedLinesThatSayNothing() {
        let body = self.seed().text.split(separator: "\n").dropLast().map(String.init)
        func text(_ lines: [String]) -> String {
            let body = lines.joined(separator: "\n") + "\n"
            return body + "checksum " + String(CRC32C.of(Array(body.utf8)[...]), radix: 16) + "\n"
        }
        #expect((try? ClusterSeed(text: text(body))) == self.seed())
        let incarnation = String(repeating: "0", count: 32)
        for line in [
            "node", "node 4 x y:1", "node 4 \(incarnation) host", "node 4 \(incarnation) host:0",
            "node 4 \(incarnation) host:65536", "node 0 \(incarnation) host:1", "node 1 \(incarnation) host:1",
            "cluster zz", "key 00", "what is this", "kintsugi-cluster-seed 2",
        ] {
            #expect(throws: MalformedBytes.self, "\(line)") { try ClusterSeed(text: text(body + [line])) }
        }
        for missing in 1..<3 {
            var lines = body
            lines.remove(at: missing)
            #expect(throws: MalformedBytes.self, "\(missing)") { try ClusterSeed(text: text(lines)) }
        }
    }

    @Test(arguments: 0..<100) func seedNoise(value: UInt64) {
        var random = Random(seed: value)
        var text = Array(self.seed().text.utf8)
        for _ in 0..<random.below(20) { text[Int(random.below(UInt64(text.count)))] = UInt8(random.below(256)) }
        let body = String(decoding: text.prefix(Int(random.below(UInt64(text.count)))), as: UTF8.self)
        _ = try? ClusterSeed(text: body + "checksum " + String(CRC32C.of(Array(body.utf8)[...]), radix: 16))
    }
}
