package import Formats

/// Everything `kintsugi serve` was told. The command line checks and fills it; nothing here has a default of its own.
package struct ServerConfiguration: Sendable {
    package var node: UInt32
    /// Data directory.
    package var directory: String
    /// What an empty directory is formatted from; nil where none was given.
    package var seed: ClusterSeed?
    package var redisHost: String
    package var redisPort: Int
    package var peerHost: String
    package var peerPort: Int
    /// Of the default user; nil: clients on loopback only.
    package var password: String?
    /// Bytes of state past which growing writes are refused.
    package var maxMemory: Int
    package var maxClients: Int
    /// Bytes of log in memory: a quarter of the state's, within bounds.
    package var maxLogBytes: Int { min(max(self.maxMemory / 4, 64 << 20), 1 << 30) }
    /// Bytes that all clients' requests and replies may take: an eighth of the state's, within bounds.
    package var maxClientBytes: Int { min(max(self.maxMemory / 8, 256 << 20), 1 << 30) }
    package var requestTimeoutMilliseconds: Int
    package var segmentBytes: Int
    package var checkpointBytes: Int
    package var checkpointSeconds: Int
    package var heartbeatMilliseconds: Int
    package var sickAfterMilliseconds: Int
    /// Within which everything at rest is read once; 0: only on demand.
    package var scrubIntervalMilliseconds: Int
    /// trace, debug, info, notice, warning, error, critical.
    package var logLevel: String
    /// text or json.
    package var logFormat: String

    package init(
        node: UInt32, directory: String, seed: ClusterSeed?, redisHost: String, redisPort: Int, peerHost: String,
        peerPort: Int, password: String?, maxMemory: Int, maxClients: Int,
        requestTimeoutMilliseconds: Int, segmentBytes: Int, checkpointBytes: Int, checkpointSeconds: Int,
        heartbeatMilliseconds: Int, sickAfterMilliseconds: Int, scrubIntervalMilliseconds: Int, logLevel: String,
        logFormat: String
    ) {
        self.node = node
        self.directory = directory
        self.seed = seed
        self.redisHost = redisHost
        self.redisPort = redisPort
        self.peerHost = peerHost
        self.peerPort = peerPort
        self.password = password
        self.maxMemory = maxMemory
        self.maxClients = maxClients
        self.requestTimeoutMilliseconds = requestTimeoutMilliseconds
        self.segmentBytes = segmentBytes
        self.checkpointBytes = checkpointBytes
        self.checkpointSeconds = checkpointSeconds
        self.heartbeatMilliseconds = heartbeatMilliseconds
        self.sickAfterMilliseconds = sickAfterMilliseconds
        self.scrubIntervalMilliseconds = scrubIntervalMilliseconds
        self.logLevel = logLevel
        self.logFormat = logFormat
    }
}

/// Why a server did not start or had to end.
package struct ServerError: Error, Sendable {
    /// Exit code: 1 failed; 69 a port is taken; 73 data directory refused; 78 bad configuration.
    package var code: Int32
    /// One sentence that says what to do.
    package var message: String

    package init(code: Int32, message: String) {
        self.code = code
        self.message = message
    }
}

/// Where a server listens, once it serves.
package struct ReadyAddresses: Sendable {
    package var node: UInt32
    package var redisHost: String
    package var redisPort: Int
    package var peerHost: String
    package var peerPort: Int

    package init(node: UInt32, redisHost: String, redisPort: Int, peerHost: String, peerPort: Int) {
        self.node = node
        self.redisHost = redisHost
        self.redisPort = redisPort
        self.peerHost = peerHost
        self.peerPort = peerPort
    }
}
