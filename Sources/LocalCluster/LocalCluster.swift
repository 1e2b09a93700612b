import CKintsugi
import FoundationEssentials
import Glibc

/// One node of a local cluster, as `cluster.json` has it.
package struct LocalNode: Codable, Sendable, Equatable {
    package var id: Int
    package var pid: Int32
    package var dir: String
    package var redis: String
    package var peer: String

    package var redisPort: Int { Int(self.redis.split(separator: ":").last ?? "") ?? 0 }
    package var peerPort: Int { Int(self.peer.split(separator: ":").last ?? "") ?? 0 }
}

/// Exit code and one sentence.
package struct LocalClusterError: Error, Sendable {
    package var code: Int32
    package var message: String

    package init(code: Int32, message: String) {
        self.code = code
        self.message = message
    }
}

/// A cluster of real processes on this machine, in the background, in one directory: for trying out, tests and drills.
package struct LocalCluster: Codable, Sendable {
    package var nodes: [LocalNode]

    package init(nodes: [LocalNode]) { self.nodes = nodes }

    /// Ports of a node in its block: base + id, and so on.
    package static let peerOffset = 100
    /// Ports from here on may be given to outgoing connections.
    static let ephemeralStart = 32768

    package static func load(_ directory: String) throws(LocalClusterError) -> LocalCluster {
        let path = directory + "/cluster.json"
        guard let text = Self.read(path) else {
            throw LocalClusterError(
                code: 69,
                message:
                    "There is no local cluster in \(directory): start one with `kintsugi cluster start --dir \(directory)`."
            )
        }
        do { return try JSONDecoder().decode(LocalCluster.self, from: Data(text.utf8)) } catch {
            throw LocalClusterError(code: 73, message: "\(path) does not parse: \(error).")
        }
    }

    private func save(_ directory: String) throws(LocalClusterError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(self), Self.write(directory + "/cluster.json", Array(data)) else {
            throw LocalClusterError(
                code: 73, message: "\(directory)/cluster.json cannot be written: \(String(cString: strerror(errno))).")
        }
    }

    // MARK: Starting

    /// Starts `count` nodes in `directory`, or those that are already there; returns when a linearizable read through each
    /// has succeeded.
    ///
    /// - Parameters:
    ///   - program: this program's path.
    ///   - makeSeed: gives the text of a cluster seed for nodes 1... with these peer addresses.
    ///   - progress: told of each step.
    package static func start(
        directory: String, count: Int, basePort: Int?, program: String, options: [String],
        makeSeed: ([String]) -> String, progress: (String) -> Void
    ) throws(LocalClusterError) -> LocalCluster {
        guard Self.makeDirectories(directory) else {
            throw LocalClusterError(
                code: 73, message: "\(directory) cannot be made: \(String(cString: strerror(errno))).")
        }
        var cluster: LocalCluster
        if access(directory + "/cluster.json", F_OK) == 0 {
            cluster = try Self.load(directory)
        } else {
            let base = try Self.choosePorts(count: count, from: basePort)
            let root = Self.absolute(directory)
            cluster = LocalCluster(
                nodes: (1...count).map { id in
                    LocalNode(
                        id: id, pid: 0, dir: "\(root)/\(id)", redis: "127.0.0.1:\(base + id)",
                        peer: "127.0.0.1:\(base + Self.peerOffset + id)")
                })
            let seed = makeSeed(cluster.nodes.map { "\($0.id)=\($0.peer)" })
            guard Self.write(directory + "/cluster.seed", Array(seed.utf8)) else {
                throw LocalClusterError(
                    code: 73, message: "\(directory) is not writable: \(String(cString: strerror(errno))).")
            }
            try cluster.save(directory)
        }
        for at in cluster.nodes.indices where !Self.isAlive(cluster.nodes[at]) {
            cluster.nodes[at].pid = try cluster.spawn(
                cluster.nodes[at], directory: directory, program: program, options: options)
            progress("node \(cluster.nodes[at].id) started, process \(cluster.nodes[at].pid)")
        }
        try cluster.save(directory)
        for at in cluster.nodes.indices {
            if try Self.awaitService(of: cluster.nodes[at], progress: progress) { continue }
            // It was on its way out when it was looked at: a killed process holds its lock until its memory is freed.
            cluster.nodes[at].pid = try cluster.spawn(
                cluster.nodes[at], directory: directory, program: program, options: options)
            progress("node \(cluster.nodes[at].id) started, process \(cluster.nodes[at].pid)")
            try cluster.save(directory)
            try cluster.awaitStart(at, progress: progress)
        }
        return cluster
    }

    /// Starts a node again, ending it first where it still runs.
    package mutating func restart(
        _ id: Int, directory: String, program: String, options: [String], progress: (String) -> Void
    ) throws(LocalClusterError) {
        let at = try self.index(of: id)
        if Self.isAlive(self.nodes[at]) {
            Glibc.kill(self.nodes[at].pid, SIGCONT)
            Glibc.kill(self.nodes[at].pid, SIGTERM)
            try self.awaitEnd(of: self.nodes[at])
        }
        self.nodes[at].pid = try self.spawn(self.nodes[at], directory: directory, program: program, options: options)
        try self.save(directory)
        try self.awaitStart(at, progress: progress)
    }

    private func awaitStart(_ at: Int, progress: (String) -> Void) throws(LocalClusterError) {
        let node = self.nodes[at]
        if try Self.awaitService(of: node, progress: progress) { return }
        throw LocalClusterError(code: 1, message: "Node \(node.id) ended. Its last log lines:\n\(Self.tail(node))")
    }

    private func spawn(
        _ node: LocalNode, directory: String, program: String, options: [String]
    ) throws(LocalClusterError) -> Int32 {
        let log = "\(Self.absolute(directory))/\(node.id).log"
        let arguments =
            [
                program, "serve", "--dir", node.dir, "--node", "\(node.id)", "--seed",
                "\(Self.absolute(directory))/cluster.seed",
                "--redis-listen", node.redis, "--peer-listen", node.peer,
            ] + options
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in argv { free(pointer) } }
        var pid: pid_t = 0
        let code = kintsugi_spawn_detached(program, &argv, environ, log, &pid)
        guard code == 0 else {
            throw LocalClusterError(
                code: 1, message: "\(program) cannot be started: \(String(cString: strerror(code))).")
        }
        return pid
    }

    /// Until a linearizable read through the node succeeds: 30 s. False where its process has ended.
    private static func awaitService(
        of node: LocalNode, progress: (String) -> Void
    ) throws(LocalClusterError) -> Bool {
        let deadline = Self.now + 30
        while Self.now < deadline {
            if let client = try? RedisClient(host: "127.0.0.1", port: node.redisPort, timeoutMilliseconds: 1000),
                let reply = try? client.command("GET", "kintsugi:ready")
            {
                switch reply {
                case .null, .bulk:
                    progress("node \(node.id) serves on \(node.redis)")
                    return true
                case .simple, .error, .integer, .array: break
                }
            }
            if !Self.isAlive(node), kill(node.pid, 0) != 0 || Self.hasExited(node.pid) { return false }
            usleep(20_000)
        }
        throw LocalClusterError(
            code: 75, message: "Node \(node.id) does not serve after 30 s. Its last log lines:\n\(Self.tail(node))")
    }

    private static func hasExited(_ pid: Int32) -> Bool {
        var status: Int32 = 0
        return waitpid(pid, &status, WNOHANG) == pid
    }

    private static func tail(_ node: LocalNode) -> String {
        let path = String(node.dir.dropLast("/\(node.id)".count)) + "/\(node.id).log"
        return (Self.read(path) ?? "").split(separator: "\n").suffix(20).joined(separator: "\n")
    }

    // MARK: Ending and signals

    package mutating func signal(_ id: Int, _ signal: Int32) throws(LocalClusterError) -> LocalNode {
        let node = self.nodes[try self.index(of: id)]
        guard Self.isAlive(node), Glibc.kill(node.pid, signal) == 0 else {
            throw LocalClusterError(code: 69, message: "Node \(id) does not run.")
        }
        return node
    }

    /// Ends all nodes, gracefully; data stay.
    package func stop() throws(LocalClusterError) {
        let running = self.nodes.filter { Self.isAlive($0) }
        for node in running {
            Glibc.kill(node.pid, SIGCONT)
            Glibc.kill(node.pid, SIGTERM)
        }
        for node in running { try self.awaitEnd(of: node) }
    }

    private func awaitEnd(of node: LocalNode) throws(LocalClusterError) {
        let deadline = Self.now + 12
        while Self.isAlive(node) {
            if Self.now > deadline {
                Glibc.kill(node.pid, SIGKILL)
                break
            }
            usleep(5_000)
        }
        var status: Int32 = 0
        waitpid(node.pid, &status, WNOHANG)
    }

    /// Whether the node's process runs: it holds the lock of its directory. A pid would not tell: a killed orphan stays a
    /// zombie for a while.
    package static func isAlive(_ node: LocalNode) -> Bool {
        let fd = open(node.dir + "/LOCK", O_RDWR | O_CLOEXEC)
        guard fd >= 0 else { return false }
        defer { close(fd) }
        return kintsugi_try_lock(fd) != 0
    }

    package func index(of id: Int) throws(LocalClusterError) -> Int {
        guard let at = self.nodes.firstIndex(where: { $0.id == id }) else {
            throw LocalClusterError(
                code: 64,
                message:
                    "There is no node \(id): the nodes are \(self.nodes.map { "\($0.id)" }.joined(separator: ", ")).")
        }
        return at
    }

    // MARK: Ports

    /// A base such that base + id and base + 100 + id are free for all nodes. Without a wish the block moves by 10 from 7000.
    package static func choosePorts(count: Int, from wish: Int?) throws(LocalClusterError) -> Int {
        var base = wish ?? 7000
        while base + 4 * Self.peerOffset + count < Self.ephemeralStart {
            let taken = (1...count).flatMap { [base + $0, base + Self.peerOffset + $0] }.first { !Self.isFree($0) }
            guard let taken else { return base }
            if wish != nil {
                throw LocalClusterError(
                    code: 69, message: "Port \(taken) is taken: choose another --base-port, or leave it out.")
            }
            base += 10
        }
        throw LocalClusterError(code: 69, message: "No free block of ports was found below \(Self.ephemeralStart).")
    }

    private static func isFree(_ port: Int) -> Bool {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(socket) }
        var one: Int32 = 1
        setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    // MARK: Files

    private static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    package static func absolute(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    static func makeDirectories(_ path: String) -> Bool {
        var partial = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            partial += (partial.isEmpty || partial.hasSuffix("/") ? "" : "/") + part
            if mkdir(partial, 0o700) != 0, errno != EEXIST { return false }
        }
        return true
    }

    package static func read(_ path: String) -> String? {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return nil }
        defer { close(fd) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(fd, &chunk, chunk.count)
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    package static func write(_ path: String, _ bytes: [UInt8]) -> Bool {
        let temporary = path + ".new"
        let fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard fd >= 0 else { return false }
        let count = Glibc.write(fd, bytes, bytes.count)
        close(fd)
        return count == bytes.count && rename(temporary, path) == 0
    }
}
