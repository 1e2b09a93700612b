import Glibc

/// A redis-server of this test's own: on a free port, with an empty temporary directory, gone with the object.
final class ReferenceServer {
    let port: Int
    private let directory: String
    private let process: pid_t
    private let lifeline: Int32

    static let version = "7.0.15"

    /// Fails, with what to do, where there is no redis-server of the right version.
    init(_ options: [String] = []) throws {
        guard let program = Self.find() else {
            throw SocketError(
                description:
                    "redis-server is not installed: this test compares with it (Debian: apt-get install redis-server)")
        }
        var template = Array("/tmp/kintsugi-reference-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw SocketError(description: "no temporary directory: errno \(errno)")
        }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let port = try Self.freePort()
        // The shell ends the server when its standard input does: when this object goes, or this process however it
        // ends.
        let script =
            #"program=$1; shift; "$program" "$@" >/dev/null 2>&1 & child=$!; read line; kill $child; wait $child"#
        let words =
            ["/bin/sh", "-c", script, "sh", program, "--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory]
            + ["--save", "", "--appendonly", "no", "--databases", "1", "--logfile", "\(directory)/log"] + options
        var pipes: [Int32] = [0, 0]
        // Marked at once, or a server started beside this one would inherit the end that keeps this one alive.
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &pipes) == 0 else {
            throw SocketError(description: "no pipe: errno \(errno)")
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, pipes[0], 0)
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var process: pid_t = 0
        // The threads that run tests have signals blocked, and children inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let code = posix_spawn(&process, "/bin/sh", &actions, &attributes, &arguments, environ)
        posix_spawnattr_destroy(&attributes)
        posix_spawn_file_actions_destroy(&actions)
        for argument in arguments { free(argument) }
        Glibc.close(pipes[0])
        guard code == 0 else { throw SocketError(description: "redis-server does not start: \(code)") }
        self.port = port
        self.directory = directory
        self.process = process
        self.lifeline = pipes[1]
        try self.awaitReadiness()
    }

    deinit {
        Glibc.close(self.lifeline)
        var status: Int32 = 0
        while waitpid(self.process, &status, 0) < 0, errno == EINTR {}
        unlink("\(self.directory)/log")
        rmdir(self.directory)
    }

    func connect() throws -> ClientSocket { try ClientSocket(port: self.port) }

    private static func find() -> String? {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        let folders = path.split(separator: ":").map(String.init) + ["/usr/bin", "/usr/local/bin"]
        return folders.map { "\($0)/redis-server" }.first { access($0, X_OK) == 0 }
    }

    private static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { Glibc.close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard result else { throw SocketError(description: "no free port: errno \(errno)") }
        return Int(in_port_t(bigEndian: address.sin_port))
    }

    private func awaitReadiness() throws {
        for _ in 0..<5000 {
            if let socket = try? self.connect() {
                let reply = try socket.ask("INFO", "server")
                // With a password it is not told.
                if reply.contains("redis_version:\(Self.version)") || reply.contains("NOAUTH") { return }
                throw SocketError(
                    description: "the differential tests need redis-server \(Self.version), found: \(reply.prefix(80))")
            }
            usleep(2000)
        }
        throw SocketError(description: "redis-server does not answer on port \(self.port)")
    }
}
