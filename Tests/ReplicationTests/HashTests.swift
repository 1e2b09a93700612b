import Replication
import Testing

/// Vectors of SipHash-1-3 with 128 bits, key 00 01 … 0f, computed by an implementation of its own that gives the
/// authors' published vectors for SipHash-2-4-128.
@Suite struct HashTests {
    private func bytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8($0) } }

    @Test(
        arguments: [
            (0, 0xbea5_8827_b2bc_7ee7, 0x0130_30dd_6adb_62fd), (1, 0xb4da_e3d5_e1fe_12aa, 0x99c7_f935_ab16_4f72),
            (2, 0xeb8e_5115_57d9_a8d0, 0x9317_9e3d_f8b0_13b5), (3, 0xca92_fdbc_37f8_4b9e, 0x4ad0_841a_06d2_09ce),
            (7, 0x1ae4_0ba4_192e_ec94, 0x8493_c430_6b0d_94f3), (8, 0x36a5_4a4b_f2de_5312, 0xc266_6aba_59a7_c84e),
        ] as [(Int, UInt64, UInt64)])
    func ofWords(count: Int, low: UInt64, high: UInt64) {
        var hasher = SipHasher128(key: testKey)
        for word in 0..<count {
            hasher.combine((0..<8).reduce(UInt64(0)) { $0 | UInt64(word * 8 + $1) << UInt64(8 * $1) })
        }
        #expect(hasher.finalize() == Hash128(low: low, high: high))
    }

    /// A range is its bytes, zeros up to a whole word, and its length.
    @Test(
        arguments: [
            (0, 0xe2b3_f81d_9780_e3df, 0x25fb_f3e3_3e8f_f111), (1, 0xe73d_2f57_ba57_4a5d, 0x9ad5_cc34_86aa_25cd),
            (7, 0x72de_31ec_e4c1_0f55, 0x8030_8a3d_dfc1_a562), (8, 0xff38_b82f_0083_47cd, 0xc878_1af4_81da_d8d8),
            (9, 0x3704_88d6_e49f_5c7b, 0x3afc_eb65_edfa_d0e9), (15, 0x39af_45ca_f18c_2529, 0x8306_87ad_106a_d81d),
        ] as [(Int, UInt64, UInt64)])
    func ofBytes(count: Int, low: UInt64, high: UInt64) {
        var hasher = SipHasher128(key: testKey)
        self.bytes(count).withUnsafeBytes { hasher.combine($0) }
        #expect(hasher.finalize() == Hash128(low: low, high: high))
    }

    @Test func whereARangeEndsMatters() {
        func hash(_ parts: [[UInt8]]) -> Hash128 {
            var hasher = SipHasher128(key: testKey)
            for part in parts { part.withUnsafeBytes { hasher.combine($0) } }
            return hasher.finalize()
        }
        let all = [
            hash([[1, 2], [3]]), hash([[1], [2, 3]]), hash([[1, 2, 3]]), hash([[1, 2, 3, 0]]), hash([[], [1, 2, 3]]),
        ]
        #expect(Set(all).count == all.count)
    }

    @Test func anEntrysHashCoversEachField() {
        func entry(
            index: LogIndex = 5, term: Term = 2, time: UInt64 = 9, kind: EntryKind = .commands,
            payload: [UInt8] = [1, 2],
            previous: UInt64 = 3, key: HashKey = testKey, group: GroupID = testGroup
        ) -> Hash128 {
            Entry(
                group: group, index: index, term: term, time: WallTime(nanoseconds: time), kind: kind, payload: payload,
                previousHash: Hash128(low: previous, high: 0), key: key
            ).hash
        }
        let all = [
            entry(), entry(index: 6), entry(term: 3), entry(time: 10), entry(kind: .time), entry(payload: [1, 3]),
            entry(payload: [1, 2, 0]), entry(previous: 4), entry(key: HashKey(low: 1, high: 1)), entry(group: .system),
        ]
        #expect(Set(all).count == all.count)
        #expect(entry() == entry())
    }

    @Test func anEntryWithAKnownPayloadHashIsTheSame() {
        let made = Entry(
            group: testGroup, index: 1, term: 1, time: WallTime(nanoseconds: 1), kind: .commands, payload: [1, 2, 3],
            previousHash: .zero, key: testKey)
        let read = Entry(
            group: testGroup, index: 1, term: 1, time: WallTime(nanoseconds: 1), kind: .commands, payload: [1, 2, 3],
            payloadHash: made.payloadHash, previousHash: .zero, key: testKey)
        #expect(made == read)
    }

    @Test func aHashIsWrittenAs32HexadecimalDigits() {
        #expect(Hash128(low: 0xab, high: 1).description == "000000000000000100000000000000ab")
    }
}

@Suite struct RandomTests {
    /// The first outputs for seed 1234567, as published with the algorithm's test vectors.
    @Test func givesTheNumbersOfSplitMix64() {
        var random = Random(seed: 1_234_567)
        let numbers = (0..<5).map { _ in random.next() }
        #expect(
            numbers == [
                6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
                4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
            ])
    }

    @Test func staysBelowTheBoundAndReachesAllOfIt() {
        var random = Random(seed: 7)
        var seen = [Int](repeating: 0, count: 10)
        for _ in 0..<10_000 { seen[Int(random.below(10))] += 1 }
        #expect(seen.allSatisfy { $0 > 800 && $0 < 1200 }, "\(seen)")
        #expect(random.below(1) == 0)
    }

    @Test func chancesAreWhatTheySay() {
        var random = Random(seed: 7)
        #expect((0..<1000).allSatisfy { _ in random.chance(1, in: 1) })
        #expect((0..<1000).allSatisfy { _ in !random.chance(0, in: 9) })
        let hits = (0..<10_000).count { _ in random.chance(1, in: 4) }
        #expect(hits > 2300 && hits < 2700)
    }
}
