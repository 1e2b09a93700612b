import ArgumentParser
import Dispatch
import Formats
import Glibc
import Journal
import LocalCluster
import Node
import Replication

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run one node.",
        discussion: """
            A directory is formatted from the cluster's seed at the first start; later starts need it no more:
              kintsugi serve --dir /var/lib/kintsugi --node 1 --seed cluster.seed
              kintsugi serve --dir /var/lib/kintsugi --node 1

            Prints `ready node=1 redis=H:P peer=H:P` when it serves. SIGTERM hands leadership over and ends it. Every \
            setting may also stand in the environment (KINTSUGI_REDIS_LISTEN) or in the file that --config names \
            (redis.listen); `kintsugi config show` prints what counts.
            """)

    @OptionGroup var flags: SettingFlags

    func run() async throws {
        Self.raiseDescriptorLimit()
        let server = Server(try Self.configuration(from: self.flags.settings()))
        let sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { server.stop() }
            source.resume()
            return source
        }
        defer { for source in sources { source.cancel() } }
        do {
            try await server.run { ready in
                print(
                    "ready node=\(ready.node) redis=\(ready.redisHost):\(ready.redisPort) peer=\(ready.peerHost):\(ready.peerPort)"
                )
                fflush(nil)
            }
        } catch let error as ServerError {
            throw CommandFailure(code: error.code, message: error.message)
        }
    }

    /// Each client is a descriptor. Where they are short nothing else can be opened either.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    static func configuration(from settings: Settings) throws(CommandFailure) -> ServerConfiguration {
        guard settings[.node] != nil else { throw .usage("Say which node this is: --node N.") }
        guard let directory = settings.text(.dir) else { throw .usage("Say where the data are: --dir DIR.") }
        let node = UInt32(settings.number(.node))
        var seed: ClusterSeed?
        if let path = settings.text(.seed) {
            guard let text = LocalCluster.read(path) else {
                throw .configuration("The cluster seed \(path) cannot be read: \(String(cString: strerror(errno))).")
            }
            do { seed = try ClusterSeed(text: text) } catch {
                throw .configuration("The cluster seed \(path) is not usable: \(error).")
            }
        }
        var password: String?
        if let path = settings.text(.passwordFile) {
            guard let text = LocalCluster.read(path) else {
                throw .configuration("The password file \(path) cannot be read: \(String(cString: strerror(errno))).")
            }
            password = text.split(whereSeparator: \.isNewline).first.map(String.init)
            guard password?.isEmpty == false else { throw .configuration("The password file \(path) is empty.") }
        }
        // A formatted directory keeps the seed: its addresses count where none is given now.
        let kept = (seed ?? DataDirectory.seed(path: directory)?.seed)?
            .peers.first { $0.node.rawValue == node }
        if let advertised = settings.text(.peerAdvertise), let kept,
            HostPort(advertised) != HostPort("\(kept.host):\(kept.port)")
        {
            throw .configuration(
                "peer.advertise is \(advertised), and the cluster's seed gives node \(node) as \(kept.host):\(kept.port), which is where the others reach it: make a seed with the right address. (Addresses cannot change later yet.)"
            )
        }
        let redis = settings.text(.redisListen).flatMap(HostPort.init) ?? HostPort("127.0.0.1:\(7000 + Int(node))")!
        let peer =
            settings.text(.peerListen).flatMap(HostPort.init) ?? kept.flatMap { HostPort("\($0.host):\($0.port)") }
            ?? HostPort("127.0.0.1:\(7100 + Int(node))")!
        return ServerConfiguration(
            node: node, directory: directory, seed: seed, redisHost: redis.host, redisPort: redis.port,
            peerHost: peer.host, peerPort: peer.port, password: password,
            maxMemory: settings.bytes(.maxMemory) ?? Self.halfOfMemory(), maxClients: settings.number(.maxClients),
            requestTimeoutMilliseconds: settings.milliseconds(.requestTimeout),
            segmentBytes: settings.bytes(.segmentBytes)!, checkpointBytes: settings.bytes(.checkpointBytes)!,
            checkpointSeconds: settings.number(.checkpointSeconds),
            heartbeatMilliseconds: settings.milliseconds(.heartbeat),
            sickAfterMilliseconds: settings.milliseconds(.sickAfter),
            scrubIntervalMilliseconds: settings.milliseconds(.scrubInterval), logLevel: settings.text(.logLevel)!,
            logFormat: settings.text(.logFormat)!)
    }

    /// Half of the machine's memory, or of the control group's limit where there is one.
    static func halfOfMemory() -> Int {
        var total = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        for path in ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] {
            if let text = LocalCluster.read(path), let limit = Int(text.filter { !$0.isWhitespace }), limit > 0 {
                total = min(total, limit)
            }
        }
        return total / 2
    }
}
