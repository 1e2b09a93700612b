import LocalCluster
import Synchronization

/// What the demo's threads share.
final class DemoStage: Sendable {
    let ports: [Int]
    /// By place in `ports`: a fault was done to this node, or it is not back yet. Its own clients may see it; nobody else.
    private let down: Mutex<[Bool]>
    let isOver = Atomic<Bool>(false)
    let acknowledged = Atomic<Int>(0)
    /// CLOCK_MONOTONIC nanoseconds of the newest acknowledgement, and the longest time without one since it was asked for.
    private let gap = Mutex<(last: UInt64, longest: UInt64)>((0, 0))
    private let seenErrors = Mutex<[String]>([])

    init(ports: [Int]) {
        self.ports = ports
        self.down = Mutex([Bool](repeating: false, count: ports.count))
    }

    func setDown(_ at: Int, _ isDown: Bool) { self.down.withLock { $0[at] = isDown } }

    func isDown(_ at: Int) -> Bool { self.down.withLock { $0[at] } }

    func note(error: String) { self.seenErrors.withLock { $0.append(error) } }

    var errors: [String] { self.seenErrors.withLock { $0 } }

    func noteAcknowledged(at now: UInt64) {
        self.acknowledged.add(1, ordering: .relaxed)
        self.gap.withLock { gap in
            if gap.last > 0, now > gap.last { gap.longest = max(gap.longest, now - gap.last) }
            gap.last = max(gap.last, now)
        }
    }

    /// Forgets earlier gaps.
    func beginMeasuring() { self.gap.withLock { $0.longest = 0 } }

    /// The longest time without an acknowledgement since `beginMeasuring`, nanoseconds.
    func longestGap(now: UInt64) -> UInt64 {
        self.gap.withLock { max($0.longest, now > $0.last ? now - $0.last : 0) }
    }
}

/// One client of the demo: appends numbers to texts of its own, one at a time, at its home node; where that is down, at
/// another. From what it knows of each number the demo tells afterwards what was lost and what was done twice.
final class DemoWriter {
    enum Outcome { case acknowledged, open }

    let number: Int
    private let stage: DemoStage
    private let home: Int
    private var place: Int
    private var client: RedisClient?
    /// By number appended.
    private(set) var outcomes: [Outcome] = []
    private(set) var staleReads = 0

    /// Numbers in one text: a text is read whole now and then, so it stays short.
    static let numbersInText = 500

    init(number: Int, stage: DemoStage) {
        self.number = number
        self.stage = stage
        self.home = number % stage.ports.count
        self.place = self.home
    }

    static func key(_ writer: Int, _ text: Int) -> String { "demo:\(writer):\(text)" }

    func run() {
        while !self.stage.isOver.load(ordering: .relaxed) {
            if self.place != self.home, !self.stage.isDown(self.home) {
                self.place = self.home
                self.client = nil
            }
            guard let client = self.connected() else { continue }
            self.append(client)
            if self.outcomes.count % 50 == 0, let client = self.client { self.read(client) }
        }
    }

    private func connected() -> RedisClient? {
        if let client { return client }
        do {
            self.client = try RedisClient(
                host: "127.0.0.1", port: self.stage.ports[self.place], timeoutMilliseconds: 10_000)
        } catch {
            self.lost("\(error)")
        }
        return self.client
    }

    /// The connection is of no more use. Nobody's fault but that of a node that is down.
    private func lost(_ reason: String) {
        self.client = nil
        if !self.stage.isDown(self.place), !self.stage.isOver.load(ordering: .relaxed) {
            self.stage.note(error: "client \(self.number) at node \(self.place + 1): \(reason)")
        }
        self.place = (self.place + 1) % self.stage.ports.count
    }

    private func append(_ client: RedisClient) {
        let next = self.outcomes.count
        // Down at any time while the request was under way.
        let place = self.place
        let wasDown = self.stage.isDown(place)
        self.outcomes.append(.open)
        do {
            let reply = try client.command("APPEND", Self.key(self.number, next / Self.numbersInText), "\(next);")
            if case .integer = reply {
                self.outcomes[next] = .acknowledged
                self.stage.noteAcknowledged(at: monotonicNow())
            } else if !wasDown, !self.stage.isDown(place) {
                self.stage.note(error: "client \(self.number) at node \(place + 1): \(reply)")
            }
        } catch {
            self.lost("\(error)")
        }
    }

    /// A read shows everything that was acknowledged before it was asked.
    private func read(_ client: RedisClient) {
        let last = self.outcomes.count - 1
        let text = last / Self.numbersInText
        guard let reply = try? client.command("GET", Self.key(self.number, text)) else {
            return self.lost("a read failed")
        }
        if case .error(let message) = reply {
            if !self.stage.isDown(self.place) {
                self.stage.note(error: "client \(self.number) at node \(self.place + 1): \(message)")
            }
            return
        }
        let found = Set(Self.numbers(reply.text ?? ""))
        for number in text * Self.numbersInText...last
        where self.outcomes[number] == .acknowledged && !found.contains(number) {
            self.staleReads += 1
        }
    }

    static func numbers(_ text: String) -> [Int] { text.split(separator: ";").map { Int($0) ?? -1 } }

    /// What is there in the end, read through one node.
    func verify(through client: RedisClient) throws -> (missing: Int, duplicates: Int) {
        var (missing, duplicates) = (0, 0)
        for text in 0...max(0, self.outcomes.count - 1) / Self.numbersInText {
            let found = Self.numbers(try client.command("GET", Self.key(self.number, text)).text ?? "")
            var seen = Set<Int>()
            for number in found where !seen.insert(number).inserted || number / Self.numbersInText != text {
                duplicates += 1
            }
            let end = min((text + 1) * Self.numbersInText, self.outcomes.count)
            for number in text * Self.numbersInText..<end
            where self.outcomes[number] == .acknowledged && !seen.contains(number) {
                missing += 1
            }
        }
        return (missing, duplicates)
    }
}
