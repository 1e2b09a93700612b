import Formats
import Glibc
import Journal
import Replication
import Synchronization

/// A directory of a test's own, gone when the test is.
final class Scratch: Sendable {
    let path: String

    init() {
        var template = Array("/tmp/kintsugi-test-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { fatalError("no temporary directory: \(errno)") }
        self.path = String(cString: made)
    }

    deinit { Self.remove(self.path) }

    private static func remove(_ path: String) {
        for name in Files.list(path) { Self.remove(path + "/" + name) }
        if rmdir(path) != 0 { unlink(path) }
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        let fd = try Files.open(self.path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC)
        defer { close(fd) }
        try Files.write(fd, bytes, at: 0, path: name)
    }

    func read(_ name: String) throws -> [UInt8] { try Files.read(self.path + "/" + name) }

    func change(_ name: String, _ body: (inout [UInt8]) -> Void) throws {
        var bytes = try self.read(name)
        body(&bytes)
        try self.write(name, bytes)
    }
}

/// Collects what a thread reports, and waits for it.
final class Collected<Item: Sendable>: Sendable {
    private let state = Mutex<[Item]>([])
    private let signal = Semaphore()

    func add(_ item: Item) {
        self.state.withLock { $0.append(item) }
        self.signal.raise()
    }

    /// All items, once there are `count`.
    func wait(for count: Int) -> [Item] {
        while true {
            let items = self.state.withLock { $0 }
            if items.count >= count { return items }
            self.signal.wait()
        }
    }

    private final class Semaphore: @unchecked Sendable {
        // @unchecked: a semaphore is made for use by several threads.
        private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
        init() { sem_init(self.semaphore, 0, 0) }
        deinit { self.semaphore.deallocate() }
        func raise() { sem_post(self.semaphore) }
        func wait() { while sem_wait(self.semaphore) != 0 {} }
    }
}

let testIdentity = JournalIdentity(
    cluster: ClusterID(high: 5, low: 6), node: NodeID(1), incarnation: Incarnation(high: 7, low: 8))

func entries(_ range: ClosedRange<UInt64>, after previous: Hash128 = .zero, bytes: Int = 100) -> [Entry] {
    var hash = previous
    return range.map { index in
        let entry = Entry(
            group: .default, index: index, term: 1, time: WallTime(nanoseconds: index), kind: .commands,
            payload: [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: bytes), previousHash: hash,
            key: testIdentity.hashKey)
        hash = entry.hash
        return entry
    }
}

func testSeed() -> ClusterSeed {
    var random = Random(seed: 4)
    return ClusterSeed(
        nodes: [(NodeID(1), "127.0.0.1", 7101), (NodeID(2), "127.0.0.1", 7102)], random: { random.next() })
}
