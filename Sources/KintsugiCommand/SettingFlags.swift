import ArgumentParser
import FoundationEssentials

extension Setting {
    /// `redis.listen` is given as `--redis-listen`; `--redis.listen` is taken too.
    var flag: NameSpecification {
        let dashed = String(self.rawValue.map { $0 == "." ? "-" : $0 })
        return dashed == self.rawValue
            ? .customLong(self.rawValue) : [.customLong(dashed), .customLong(self.rawValue)]
    }

    var help: ArgumentHelp {
        let fallback = self.fallback.map { " Default: \($0)." } ?? ""
        return ArgumentHelp("\(self.explanation)\(fallback)", valueName: self.valueName)
    }

    private var valueName: String {
        switch self.form {
        case .text: self == .dir ? "dir" : "file"
        case .number: "n"
        case .bytes: "bytes"
        case .duration: "time"
        case .address: "host:port"
        case .choice: "word"
        }
    }
}

/// One flag for each `Setting`.
struct SettingFlags: ParsableArguments {
    @Option(name: Setting.node.flag, help: Setting.node.help) var node: String?
    @Option(name: Setting.dir.flag, help: Setting.dir.help) var dir: String?
    @Option(name: Setting.seed.flag, help: Setting.seed.help) var seed: String?
    @Option(name: Setting.config.flag, help: Setting.config.help) var config: String?
    @Option(name: Setting.passwordFile.flag, help: Setting.passwordFile.help) var passwordFile: String?
    @Option(name: Setting.redisListen.flag, help: Setting.redisListen.help) var redisListen: String?
    @Option(name: Setting.peerListen.flag, help: Setting.peerListen.help) var peerListen: String?
    @Option(name: Setting.peerAdvertise.flag, help: Setting.peerAdvertise.help) var peerAdvertise: String?
    @Option(name: Setting.maxMemory.flag, help: Setting.maxMemory.help) var maxMemory: String?
    @Option(name: Setting.maxClients.flag, help: Setting.maxClients.help) var maxClients: String?
    @Option(name: Setting.requestTimeout.flag, help: Setting.requestTimeout.help) var requestTimeout: String?
    @Option(name: Setting.segmentBytes.flag, help: Setting.segmentBytes.help) var segmentBytes: String?
    @Option(name: Setting.checkpointBytes.flag, help: Setting.checkpointBytes.help) var checkpointBytes: String?
    @Option(name: Setting.checkpointSeconds.flag, help: Setting.checkpointSeconds.help) var checkpointSeconds: String?
    @Option(name: Setting.heartbeat.flag, help: Setting.heartbeat.help) var heartbeat: String?
    @Option(name: Setting.sickAfter.flag, help: Setting.sickAfter.help) var sickAfter: String?
    @Option(name: Setting.scrubInterval.flag, help: Setting.scrubInterval.help) var scrubInterval: String?
    @Option(name: Setting.logLevel.flag, help: Setting.logLevel.help) var logLevel: String?
    @Option(name: Setting.logFormat.flag, help: Setting.logFormat.help) var logFormat: String?

    var given: [Setting: String] {
        let all: [Setting: String?] = [
            .node: self.node, .dir: self.dir, .seed: self.seed, .config: self.config, .passwordFile: self.passwordFile,
            .redisListen: self.redisListen, .peerListen: self.peerListen, .peerAdvertise: self.peerAdvertise,
            .maxMemory: self.maxMemory, .maxClients: self.maxClients, .requestTimeout: self.requestTimeout,
            .segmentBytes: self.segmentBytes, .checkpointBytes: self.checkpointBytes,
            .checkpointSeconds: self.checkpointSeconds, .heartbeat: self.heartbeat, .sickAfter: self.sickAfter,
            .scrubInterval: self.scrubInterval, .logLevel: self.logLevel, .logFormat: self.logFormat,
        ]
        return all.compactMapValues { $0 }
    }

    func settings() throws(CommandFailure) -> Settings {
        try Settings(flags: self.given, environment: ProcessInfo.processInfo.environment)
    }
}
