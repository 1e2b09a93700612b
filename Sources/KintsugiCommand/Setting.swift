/// Every setting of `kintsugi serve`. This table drives the flags, the names in the environment, the keys of the
/// configuration file and the help.
enum Setting: String, CaseIterable, Sendable {
    case node
    case dir
    case seed
    case config
    case passwordFile = "password-file"
    case redisListen = "redis.listen"
    case peerListen = "peer.listen"
    case peerAdvertise = "peer.advertise"
    case maxMemory = "max-memory"
    case maxClients = "max-clients"
    case requestTimeout = "request-timeout"
    case segmentBytes = "journal.segment-bytes"
    case checkpointBytes = "checkpoint.bytes"
    case checkpointSeconds = "checkpoint.seconds"
    case heartbeat
    case sickAfter = "sick-after"
    case scrubInterval = "scrub.interval"
    case logLevel = "log.level"
    case logFormat = "log.format"

    enum Form: Sendable {
        case text
        /// A whole number within a range.
        case number(ClosedRange<Int>)
        /// A count of bytes: a number, or one with `kb`, `mb`, `gb` (powers of 1024).
        case bytes(ClosedRange<Int>)
        /// A length of time within a range of milliseconds: `250ms`, `4s`, `1m`, `12h`, `7d`; a bare number is milliseconds.
        case duration(ClosedRange<Int>)
        /// `HOST:PORT`.
        case address
        case choice([String])
    }

    var form: Form {
        switch self {
        case .node: .number(1...65535)
        case .dir, .seed, .config, .passwordFile: .text
        case .redisListen, .peerListen, .peerAdvertise: .address
        case .maxMemory: .bytes((16 << 20)...(1 << 46))
        case .maxClients: .number(1...1_000_000)
        case .requestTimeout: .duration(100...600_000)
        case .segmentBytes: .bytes((1 << 20)...(1 << 30))
        case .checkpointBytes: .bytes((1 << 20)...(1 << 40))
        case .checkpointSeconds: .number(1...86400)
        case .heartbeat: .duration(5...1000)
        case .sickAfter: .duration(500...600_000)
        case .scrubInterval: .duration(0...31_536_000_000)
        case .logLevel: .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"])
        case .logFormat: .choice(["text", "json"])
        }
    }

    /// What counts where nothing is said; nil: there is none, or it depends on others (see `explanation`).
    var fallback: String? {
        switch self {
        case .node, .dir, .seed, .config, .passwordFile, .redisListen, .peerListen, .peerAdvertise, .maxMemory: nil
        case .maxClients: "10000"
        case .requestTimeout: "5s"
        case .segmentBytes: "16mb"
        case .checkpointBytes: "64mb"
        case .checkpointSeconds: "60"
        case .heartbeat: "25ms"
        case .sickAfter: "4s"
        case .scrubInterval: "7d"
        case .logLevel: "info"
        case .logFormat: "text"
        }
    }

    var explanation: String {
        switch self {
        case .node: "This node's number, as the seed has it."
        case .dir: "The data directory."
        case .seed: "The cluster's seed: an empty directory is formatted from it."
        case .config: "A YAML file with any of these settings."
        case .passwordFile:
            "A file that holds the password of Redis clients; without one they may come from this machine only."
        case .redisListen: "Where Redis clients are served. Default: 127.0.0.1, port 7000 + node."
        case .peerListen: "Where other nodes are served (TCP and UDP). Default: the seed's address."
        case .peerAdvertise: "Under which address the other nodes reach this one: checked against the seed."
        case .maxMemory:
            "Bytes of state past which growing writes are refused (512mb, 4gb). Default: half of the memory, or of the control group's limit."
        case .maxClients: "How many clients may be connected at once."
        case .requestTimeout: "How long a request is held at most."
        case .segmentBytes: "Size of a journal file."
        case .checkpointBytes: "A checkpoint is taken after so much log ..."
        case .checkpointSeconds: "... or after so many seconds with writes."
        case .heartbeat: "How often nodes tell each other that they live."
        case .scrubInterval:
            "Within which everything at rest is read once and checked (7d, 12h); 0: only on `kintsugi scrub --now`."
        case .sickAfter: "After how long without progress a node that still answers counts as sick."
        case .logLevel: "trace, debug, info, notice, warning, error or critical."
        case .logFormat: "text or json."
        }
    }

    var environmentName: String {
        "KINTSUGI_" + String(self.rawValue.uppercased().map { $0 == "." || $0 == "-" ? "_" : $0 })
    }

    /// Why a value is not taken; nil where it is.
    func complaint(about value: String) -> String? {
        switch self.form {
        case .text: value.isEmpty ? "is empty" : nil
        case .number(let range): Self.complaint(Int(value), range, "a whole number")
        case .bytes(let range): Self.complaint(Self.bytes(value), range, "a number of bytes such as 1048576 or 64mb")
        case .duration(let range): Self.complaint(Self.milliseconds(value), range, "a time such as 250ms or 4s")
        case .address: HostPort(value) == nil ? "is not HOST:PORT" : nil
        case .choice(let choices): choices.contains(value) ? nil : "is none of \(choices.joined(separator: ", "))"
        }
    }

    private static func complaint(_ value: Int?, _ range: ClosedRange<Int>, _ what: String) -> String? {
        guard let value else { return "is not \(what)" }
        return range.contains(value) ? nil : "is outside \(range.lowerBound) to \(range.upperBound)"
    }

    static func bytes(_ text: String) -> Int? {
        let lower = text.lowercased()
        for (suffix, shift) in [("kb", 10), ("mb", 20), ("gb", 30)] where lower.hasSuffix(suffix) {
            guard let number = Int(lower.dropLast(2)), number >= 0, number < 1 << 24 else { return nil }
            return number << shift
        }
        return Int(lower)
    }

    static func milliseconds(_ text: String) -> Int? {
        for (suffix, factor) in [
            ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
        ] where text.hasSuffix(suffix) {
            guard let number = Int(text.dropLast(suffix.count)), number >= 0, number < 1 << 24 else { return nil }
            return number * factor
        }
        return Int(text)
    }
}

/// `HOST:PORT`; the host may be an IPv6 address in brackets.
struct HostPort: Equatable, Sendable {
    var host: String
    var port: Int

    init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65535).contains(port)
        else { return nil }
        let host = text[..<colon]
        guard !host.isEmpty, !host.contains(where: \.isWhitespace) else { return nil }
        self.host = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : String(host)
        self.port = port
    }
}
