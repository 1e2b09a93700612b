import Catalog
import Replication
import Testing

@Suite struct CatalogTests {
    private static let key = HashKey(ClusterID(high: 1, low: 2))

    private func account(
        _ observer: UInt32, episode: UInt64 = 1, at milliseconds: UInt64 = 1000,
        _ change: (inout Incident.Account) -> Void = { _ in }
    ) -> Incident.Account {
        var account = Incident.Account(
            observer: NodeID(observer), episode: episode,
            detected: WallTime(nanoseconds: .milliseconds(milliseconds)), window: .milliseconds(20))
        change(&account)
        return account
    }

    private func report(
        _ account: Incident.Account, node: UInt32 = 3, run: Run = 7, cause: Incident.Cause = .killed,
        isPlanned: Bool = false
    ) -> Incident {
        Incident(kind: .node, cause: cause, node: NodeID(node), run: run, isPlanned: isPlanned, accounts: [account])
    }

    @discardableResult
    private func apply(_ incident: Incident, to catalog: CatalogMachine) -> Bool {
        CatalogCommand.report(incident).encoded().withUnsafeBytes { catalog.apply($0, index: 1) }
    }

    private func json(_ catalog: CatalogMachine) -> String {
        var out: [UInt8] = []
        catalog.incidentsJSON(into: &out)
        return String(decoding: out, as: UTF8.self)
    }

    private func random(_ random: inout Random) -> Incident {
        func maybe() -> UInt64? {
            random.chance(1, in: 2) ? [0, 5, random.next() >> 30, random.next(), .max - 1][Int(random.below(5))] : nil
        }
        let node = UInt32(1 + random.below(3))
        let account = self.account(
            UInt32(1 + random.below(3)), episode: random.below(3), at: 1000 * random.below(20)
        ) { account in
            if random.chance(1, in: 8) { account.detected = WallTime(nanoseconds: .max - random.below(3)) }
            if random.chance(1, in: 8) { account.window = random.next() }
            account.ledSystem = random.chance(1, in: 2)
            for group in 0..<random.below(3) {
                account.affected.append(GroupID(rawValue: group))
                if random.chance(1, in: 2) {
                    account.changes.append(
                        .init(group: GroupID(rawValue: group), from: NodeID(node), to: NodeID(2), term: random.next()))
                }
            }
            account.repair = maybe()
            account.closed = maybe()
            account.delay = maybe()
            for at in 0..<4 where random.chance(1, in: 2) {
                account.samples[at] = .init(serving: UInt32(random.below(4)), all: UInt32(random.below(4)))
            }
        }
        let causes: [Incident.Cause] = [.killed, .silent, .restarted, .stopped]
        return self.report(
            account, node: node, run: random.below(3), cause: causes[Int(random.below(4))],
            isPlanned: random.chance(1, in: 4))
    }

    // MARK: Encoding

    @Test(arguments: 0..<100) func incidentRoundTrip(seed: UInt64) {
        var random = Random(seed: seed)
        let incident = self.random(&random)
        let bytes = [9] + incident.encoded()
        bytes.withUnsafeBytes { raw in
            var offset = 1
            #expect(Incident(raw, at: &offset) == incident, "seed \(seed)")
            #expect(offset == raw.count)
            for count in 1..<raw.count {
                var offset = 1
                #expect(Incident(UnsafeRawBufferPointer(rebasing: raw[..<count]), at: &offset) == nil, "\(count) bytes")
            }
        }
    }

    /// Whatever was committed, there is an outcome, the same everywhere, and what can be printed is JSON.
    @Test(arguments: 0..<80) func applyIsTotal(seed: UInt64) {
        var random = Random(seed: seed)
        let (one, other) = (CatalogMachine(hashKey: Self.key), CatalogMachine(hashKey: Self.key))
        for _ in 0..<60 {
            var command = CatalogCommand.report(self.random(&random)).encoded()
            switch random.below(4) {
            case 0:
                for _ in 0..<1 + random.below(3) {
                    command[Int(random.below(UInt64(command.count)))] ^= 1 << UInt8(random.below(8))
                }
            case 1: command.removeLast(Int(random.below(UInt64(command.count))))
            case 2 where random.chance(1, in: 4):
                command = (0..<random.below(200)).map { _ in UInt8(random.below(256)) }
            default: break
            }
            let outcomes = command.withUnsafeBytes { (one.apply($0, index: 1), other.apply($0, index: 1)) }
            #expect(outcomes.0 == outcomes.1)
        }
        #expect(one.digest == other.digest && one.incidents == other.incidents)
        #expect(JSONCheck.isValid(self.json(one)), "seed \(seed): \(self.json(one))")
    }

    // MARK: Merging

    @Test func observersOfOneFault() {
        let catalog = CatalogMachine(hashKey: Self.key)
        #expect(self.apply(self.report(self.account(1)), to: catalog))
        #expect(self.apply(self.report(self.account(2, at: 990)), to: catalog))
        #expect(catalog.incidents.count == 1 && catalog.incidents[0].accounts.count == 2)
        #expect(catalog.incidents[0].authority.observer == NodeID(2), "the first to suspect")
        // The one that ended the outage counts, whenever it comes.
        let change = Incident.GroupChange(group: .default, from: NodeID(3), to: NodeID(1), term: 4)
        self.apply(
            self.report(
                self.account(1) {
                    $0.affected = [.default]
                    $0.changes = [change]
                    $0.repair = .milliseconds(40)
                }), to: catalog)
        #expect(catalog.incidents.count == 1 && catalog.incidents[0].accounts.count == 2)
        #expect(catalog.incidents[0].authority.observer == NodeID(1))
        #expect(catalog.incidents[0].repair == .milliseconds(40) && catalog.incidents[0].changes == [change])
    }

    @Test func otherFaults() {
        let catalog = CatalogMachine(hashKey: Self.key)
        self.apply(self.report(self.account(1)), to: catalog)
        self.apply(self.report(self.account(1, episode: 2), node: 2), to: catalog)
        self.apply(self.report(self.account(1, episode: 3), run: 8), to: catalog)
        #expect(catalog.incidents.count == 3)
    }

    @Test func plannedStaysPlanned() {
        let catalog = CatalogMachine(hashKey: Self.key)
        self.apply(self.report(self.account(3), cause: .stopped, isPlanned: true), to: catalog)
        self.apply(self.report(self.account(1)), to: catalog)
        #expect(catalog.incidents.count == 1)
        #expect(catalog.incidents[0].isPlanned && catalog.incidents[0].cause == .stopped)
    }

    /// 1. C is paused. A sees its end at 2 s, B is late and sees it at 4 s.
    /// 2. At 3 s C stops, in the same run, and says so.
    @Test func whatComesAfterTheEndIsAnotherFault() {
        let catalog = CatalogMachine(hashKey: Self.key)
        self.apply(self.report(self.account(1) { $0.closed = .seconds(1) }, cause: .silent), to: catalog)
        self.apply(self.report(self.account(2) { $0.closed = .seconds(3) }, cause: .silent), to: catalog)
        #expect(catalog.incidents.count == 1)
        self.apply(self.report(self.account(3, at: 3000), cause: .stopped, isPlanned: true), to: catalog)
        #expect(catalog.incidents.count == 2)
        #expect(catalog.incidents[0].cause == .silent && !catalog.incidents[0].isPlanned)
    }

    /// 1. A and B suspect C, and A sees the end of it. B, which does not yet, suspects C again: another fault, of the same run.
    /// 2. What A says of the first belongs to the first.
    @Test func aWordGoesWhereItBegan() {
        let catalog = CatalogMachine(hashKey: Self.key)
        self.apply(self.report(self.account(1)), to: catalog)
        self.apply(self.report(self.account(2)), to: catalog)
        self.apply(self.report(self.account(2, episode: 2, at: 2000)), to: catalog)
        #expect(catalog.incidents.count == 2)
        self.apply(self.report(self.account(1) { $0.closed = .seconds(1) }), to: catalog)
        #expect(catalog.incidents.map(\.accounts.count) == [2, 1])
        #expect(catalog.incidents[0].accounts[0].closed == .seconds(1))
    }

    /// A led the system group and saw C go; then its disk was lost, with all that it knew.
    @Test func whoNeverEndsItsAccountHoldsNothingOpen() {
        let catalog = CatalogMachine(hashKey: Self.key)
        self.apply(self.report(self.account(1) { $0.ledSystem = true }), to: catalog)
        self.apply(self.report(self.account(2)), to: catalog)
        #expect(catalog.incidents[0].closed == nil)
        self.apply(
            self.report(
                self.account(2) {
                    $0.repair = .seconds(1)
                    $0.closed = .seconds(1)
                }), to: catalog)
        #expect(catalog.incidents[0].repair == .seconds(1) && catalog.incidents[0].closed == .seconds(1))
    }

    /// An observer that died begins again from what it had written down, which may be less than it had told.
    @Test func aWordThatComesLateTakesNothingBack() {
        let catalog = CatalogMachine(hashKey: Self.key)
        let early = self.account(1) { $0.affected = [.default] }
        let late = self.account(1) {
            $0.affected = [.default]
            $0.ledSystem = true
            $0.changes = [.init(group: .default, from: NodeID(3), to: NodeID(1), term: 4)]
            $0.repair = .milliseconds(40)
            $0.delay = .milliseconds(45)
            $0.samples[0] = .init(serving: 2, all: 3)
            $0.note(action: "something")
        }
        #expect(!catalog.has(self.report(early)))
        self.apply(self.report(late), to: catalog)
        #expect(catalog.has(self.report(early)) && catalog.has(self.report(late)))
        self.apply(self.report(early), to: catalog)
        #expect(catalog.incidents.map(\.accounts) == [[late]])
        let end = self.account(1) {
            $0.affected = [.default]
            $0.closed = .seconds(2)
        }
        #expect(!catalog.has(self.report(end)), "that is news")
        self.apply(self.report(end), to: catalog)
        #expect(catalog.incidents.count == 1 && catalog.incidents[0].closed == .seconds(2))
        #expect(catalog.incidents[0].repair == .milliseconds(40))
    }

    @Test func theNewestAreKept() {
        let catalog = CatalogMachine(hashKey: Self.key)
        let count = 10_000 + 5
        for run in 1...count {
            self.apply(self.report(self.account(1, episode: UInt64(run)), run: Run(run)), to: catalog)
        }
        #expect(catalog.incidents.count == 10_000)
        #expect(catalog.incidents.first?.run == 6 && catalog.incidents.last?.run == Run(count))
        #expect(self.json(catalog).hasPrefix("{\"incidents\":[{\"id\":6,"))
    }

    // MARK: Snapshots

    private func restored(_ bytes: [UInt8]) throws -> CatalogMachine {
        let catalog = CatalogMachine(hashKey: Self.key)
        var failure: CatalogMachine.Malformed?
        bytes.withUnsafeBytes { raw in
            do throws(CatalogMachine.Malformed) { try catalog.restore(raw) } catch { failure = error }
        }
        if let failure { throw failure }
        return catalog
    }

    @Test(arguments: 0..<20) func snapshotRoundTrip(seed: UInt64) throws {
        var random = Random(seed: seed)
        let catalog = CatalogMachine(hashKey: Self.key)
        for _ in 0..<30 { self.apply(self.random(&random), to: catalog) }
        let bytes = catalog.snapshot()
        #expect(CatalogMachine(hashKey: Self.key).digest != catalog.digest)
        let other = try self.restored(bytes)
        #expect(other.incidents == catalog.incidents && other.digest == catalog.digest && other.snapshot() == bytes)
        #expect(self.json(other) == self.json(catalog))
        // Goes on alike.
        let next = self.random(&random)
        self.apply(next, to: catalog)
        self.apply(next, to: other)
        #expect(other.digest == catalog.digest)
        for count in [0, 3, 15, bytes.count - 1] {
            #expect(throws: CatalogMachine.Malformed.self) {
                try self.restored(Array(bytes[..<count]))
            }
        }
        for _ in 0..<100 {
            var changed = bytes
            changed[Int(random.below(UInt64(bytes.count)))] = UInt8(random.below(256))
            _ = try? self.restored(changed)
        }
    }

    @Test func timestamps() {
        #expect(timestamp(WallTime(nanoseconds: 0)) == "1970-01-01T00:00:00.000Z")
        #expect(timestamp(WallTime(nanoseconds: 951_782_400_123_000_000)) == "2000-02-29T00:00:00.123Z")
        #expect(timestamp(WallTime(nanoseconds: 1_709_251_199_999_999_999)) == "2024-02-29T23:59:59.999Z")
        #expect(timestamp(WallTime(nanoseconds: 4_107_542_400_000_000_000)) == "2100-03-01T00:00:00.000Z")
        #expect(timestamp(WallTime(nanoseconds: .max)).hasPrefix("2554-07-21"))
    }
}

/// Whether a text is one JSON value: a small recogniser (RFC 8259), so that the test needs no other parser.
struct JSONCheck {
    private let bytes: [UInt8]
    private var at = 0

    static func isValid(_ text: String) -> Bool {
        var check = JSONCheck(bytes: Array(text.utf8))
        return check.value() && check.at == check.bytes.count
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var next: UInt8? { self.at < self.bytes.count ? self.bytes[self.at] : nil }

    private mutating func take(_ character: Character) -> Bool {
        guard self.next == character.asciiValue else { return false }
        self.at += 1
        return true
    }

    private mutating func value() -> Bool {
        switch self.next ?? 0 {
        case UInt8(ascii: "{"): self.items("{", "}") { $0.string() && $0.take(":") && $0.value() }
        case UInt8(ascii: "["): self.items("[", "]") { $0.value() }
        case UInt8(ascii: "\""): self.string()
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): self.number()
        default: ["true", "false", "null"].contains { word in self.word(word) }
        }
    }

    private mutating func word(_ word: String) -> Bool {
        guard self.bytes[self.at...].starts(with: word.utf8) else { return false }
        self.at += word.utf8.count
        return true
    }

    private mutating func items(_ open: Character, _ close: Character, _ item: (inout JSONCheck) -> Bool) -> Bool {
        guard self.take(open) else { return false }
        if self.take(close) { return true }
        repeat { guard item(&self) else { return false } } while self.take(",")
        return self.take(close)
    }

    private mutating func string() -> Bool {
        guard self.take("\"") else { return false }
        while let byte = self.next, byte >= 0x20 {
            self.at += 1
            if byte == UInt8(ascii: "\"") { return true }
            if byte == UInt8(ascii: "\\") { self.at += 1 }
        }
        return false
    }

    private mutating func digits() -> Bool {
        let start = self.at
        while let byte = self.next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { self.at += 1 }
        return self.at > start
    }

    private mutating func number() -> Bool {
        _ = self.take("-")
        guard self.take("0") || self.digits() else { return false }
        return !self.take(".") || self.digits()
    }
}
