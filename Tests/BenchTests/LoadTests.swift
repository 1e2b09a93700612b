import Glibc
import Synchronization
import Testing

@testable import Bench

/// A short run of a fixed number of requests, over before any clock matters.
private func options(_ servers: ScriptedServer..., requests: Int = 500) -> BenchOptions {
    var options = BenchOptions(addresses: servers.map(\.address))
    options.connections = 4
    options.keys = 100
    options.valueSize = 10
    options.requests = requests
    options.warmUp = 0
    return options
}

private func failure(_ body: () throws -> Void) -> BenchError? {
    do {
        try body()
        return nil
    } catch { return error as? BenchError }
}

@Suite struct LoadTests {
    @Test(arguments: [1, 16], [0, 1, 3])
    func countsEveryRequestOnce(pipeline: Int, pieces: Int) throws {
        let server = ScriptedServer(.init(pieces: pieces))
        defer { server.kill() }
        var options = options(server)
        options.pipeline = pipeline
        let result = try Bench.run(options)
        #expect(result.operations == 500)
        #expect(result.errors == 0 && result.firstError == nil)
        #expect(server.count(of: "SET") == 500)
        #expect(server.values.allSatisfy { $0.key.count == 16 && $0.key.hasPrefix("key:") && $0.value.count == 10 })
        #expect(server.values.count > 50 && server.values.count <= 100)
    }

    @Test func percentilesAreInOrder() throws {
        let server = ScriptedServer()
        defer { server.kill() }
        let result = try Bench.run(options(server))
        #expect(result.p50 > 0)
        #expect(result.p50 <= result.p99 && result.p99 <= result.p999 && result.p999 <= result.longest)
        #expect(result.longest <= result.seconds * 1.01e6)
        #expect(result.operationsPerSecond > 0)
    }

    @Test func readsWhatItLoaded() throws {
        let server = ScriptedServer()
        defer { server.kill() }
        var options = options(server)
        options.preload = 100
        options.operation = .get
        options.pipeline = 3
        let result = try Bench.run(options)
        #expect(server.values.count == 100)
        #expect(Set(server.values.keys) == Set((0..<100).map { "key:0000000000" + ($0 < 10 ? "0" : "") + "\($0)" }))
        #expect(server.count(of: "SET") == 100 && server.count(of: "GET") == 500)
        #expect(result.operations == 500 && result.misses == 0)
    }

    @Test func countsMisses() throws {
        let server = ScriptedServer()
        defer { server.kill() }
        var options = options(server)
        options.operation = .get
        let result = try Bench.run(options)
        #expect(result.operations == 500 && result.misses == 500 && result.errors == 0)
    }

    @Test func increments() throws {
        let server = ScriptedServer()
        defer { server.kill() }
        var options = options(server)
        options.operation = .incr
        options.pipeline = 5
        #expect(try Bench.run(options).operations == 500)
        #expect(server.values.values.compactMap { Int($0) }.reduce(0, +) == 500)
    }

    @Test(arguments: [0, 0.25, 1])
    func mixesByTheReadShare(_ share: Double) throws {
        let server = ScriptedServer()
        defer { server.kill() }
        var options = options(server, requests: 2000)
        options.operation = .mixed
        options.readShare = share
        options.pipeline = 10
        #expect(try Bench.run(options).operations == 2000)
        let gets = server.count(of: "GET")
        #expect(server.count(of: "SET") + gets == 2000)
        #expect(abs(Double(gets) - 2000 * share) <= (share == 0 || share == 1 ? 0 : 120))
    }

    @Test(arguments: [1, 4])
    func countsAWriteWhenItsWaitReplies(_ pipeline: Int) throws {
        let server = ScriptedServer(.init(replicas: 2))
        defer { server.kill() }
        var options = options(server)
        options.pipeline = pipeline
        options.wait = 2
        let result = try Bench.run(options)
        #expect(result.operations == 500 && result.errors == 0)
        #expect(server.count(of: "SET") == 500 && server.count(of: "WAIT") == 500)

        options.wait = 3
        let short = try Bench.run(options)
        #expect(short.operations == 0 && short.errors == 500)
    }

    @Test func aRefusedWriteIsNotSavedByItsWait() throws {
        let server = ScriptedServer(.init(errorEvery: 10, replicas: 1))
        defer { server.kill() }
        var options = options(server)
        options.wait = 1
        let result = try Bench.run(options)
        #expect(result.operations == 450 && result.errors == 50)
    }

    @Test(arguments: [0, 1])
    func countsErrorReplies(pieces: Int) throws {
        let server = ScriptedServer(.init(pieces: pieces, errorEvery: 10))
        defer { server.kill() }
        var options = options(server)
        options.pipeline = 3
        let result = try Bench.run(options)
        #expect(result.operations == 450 && result.errors == 50)
        #expect(result.firstError == "ERR on purpose")
    }

    @Test func aClosedConnectionCostsItsOpenOperationsAndIsMadeAnew() throws {
        let server = ScriptedServer(.init(closeAt: 100))
        defer { server.kill() }
        let result = try Bench.run(options(server))
        #expect(result.operations + result.errors == 500)
        // 99 answers a connection, then one operation lost.
        #expect((4...5).contains(result.errors))
        #expect(server.connections > 5)
    }

    @Test func spreadsConnectionsOverTheAddresses() throws {
        let servers = [ScriptedServer(), ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.kill() } }
        var options = options(servers[0], servers[1], servers[2])
        options.connections = 7
        options.threads = 3
        options.pipeline = 2
        let result = try Bench.run(options)
        #expect(result.operations == 500)
        #expect(servers.map { $0.count(of: "SET") }.reduce(0, +) == 500)
        // One more each: whether somebody answers at all.
        #expect(servers.map { $0.connections - 1 } == [3, 2, 2])
    }

    @Test func stopsAtTheTime() throws {
        let server = ScriptedServer()
        defer { server.kill() }
        var options = options(server)
        options.requests = nil
        options.seconds = 0.05
        options.warmUp = 0.02
        let result = try Bench.run(options)
        #expect(result.operations > 0 && result.operations < server.count(of: "SET"))
        #expect(result.seconds == 0.05)
    }

    @Test func knowsThePassword() throws {
        let server = ScriptedServer(.init(password: "secret"))
        defer { server.kill() }
        var options = options(server)
        options.password = "secret"
        #expect(try Bench.run(options).operations == 500)
        options.password = "wrong"
        let refused = failure { _ = try Bench.run(options) }
        #expect(refused == .refused("\(server.address) refuses: WRONGPASS invalid username-password pair"))
        options.password = nil
        let result = try Bench.run(options)
        #expect(result.errors == 500 && result.firstError == "NOAUTH Authentication required.")
    }

    @Test func saysWhereNobodyAnswers() throws {
        let server = ScriptedServer()
        let dead = ScriptedServer()
        defer { server.kill() }
        dead.kill()
        // The port refuses once the accepting thread has seen the end.
        while failure({ _ = try Bench.run(options(dead, requests: 1)) }) == nil { usleep(1000) }
        let error = failure { _ = try Bench.run(options(server, dead)) }
        #expect(error == .unreachable("Nobody answers at \(dead.address)."))
        #expect(error?.exitCode == 69)
    }

    @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n", "+OK\r\n+OK\r\n"])
    func refusesWhatIsNoRedis(_ reply: String) throws {
        let server = ScriptedServer(.init(replaceReply: reply))
        defer { server.kill() }
        let error = failure { _ = try Bench.run(options(server)) }
        guard case .malformed = error else {
            Issue.record("\(String(describing: error)) for \(reply)")
            return
        }
    }

    @Test func givesUpWhereNoReplyComes() throws {
        let server = ScriptedServer(.init(replaceReply: ""))
        defer { server.kill() }
        var options = options(server)
        options.stallSeconds = 0.001
        guard case .unreachable = failure({ _ = try Bench.run(options) }) else {
            Issue.record("it should have given up")
            return
        }
    }

    @Test func failsWhereKeysCannotBeLoaded() throws {
        let server = ScriptedServer(.init(errorEvery: 10))
        defer { server.kill() }
        var options = options(server)
        options.preload = 100
        #expect(failure { _ = try Bench.run(options) } == .refused("10 keys could not be loaded: ERR on purpose."))
    }
}

@Suite struct FailoverTests {
    private func lines(_ path: String) -> [Substring] {
        guard let file = fopen(path, "r") else { return [] }
        defer { fclose(file) }
        var text = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&text, 1, text.count, file)
        return String(decoding: text[..<count], as: UTF8.self).split(separator: "\n").map { Substring(String($0)) }
    }

    @Test func writersGoOnAtTheSurvivors() throws {
        let servers = [ScriptedServer(), ScriptedServer(), ScriptedServer()]
        defer { for server in servers { server.kill() } }
        var options = options(servers[0], servers[1], servers[2], requests: 20_000)
        options.connections = 8
        options.gapMilliseconds = 0.001
        let path = "/tmp/kintsugi-bench-gaps-\(getpid())-\(servers[0].port)"
        options.gapsPath = path
        defer { unlink(path) }
        let victim = servers[0]
        let gapsSeen = Mutex(0)
        let result = try Bench.failover(options) { _ in
            // The run's own events are its clock: the victim dies early in it.
            let seen = gapsSeen.withLock { seen in
                seen += 1
                return seen
            }
            if seen == 20 { victim.kill() }
        }
        #expect(result.acknowledgements + result.open == 20_000)
        #expect(result.errors == 0, "first: \(result.firstError ?? "none")")
        // Three writers were at the victim: they are open, and at the others now.
        #expect(result.open <= 3 && result.reconnects >= 3)
        #expect(servers[1].connections + servers[2].connections >= 2 + 5 + 3)
        #expect(victim.count(of: "SET") < 10_000)

        let lines = lines(path)
        #expect(lines.count == result.gaps.count && lines.count >= 20)
        for (line, gap) in zip(lines, result.gaps) {
            let parts = line.split(separator: " ")
            #expect(parts.count == 2 && parts[0] == utc(gap.start &+ result.wallClockOffset))
            #expect(parts.last.flatMap { Double($0) } == Double(rounded(gap.milliseconds, 3)))
        }
        #expect(result.gaps.map(\.milliseconds).max() == result.longestGap.milliseconds)
    }

    @Test func aSurvivorsErrorsCount() throws {
        let server = ScriptedServer(.init(errorEvery: 10))
        defer { server.kill() }
        let result = try Bench.failover(options(server))
        #expect(result.errors == 50 && result.acknowledgements == 450 && result.open == 0)
    }

    @Test func anErrorOnTheWayOutDoesNot() throws {
        let server = ScriptedServer(.init(closeAt: 50, errorBeforeClose: true))
        defer { server.kill() }
        let result = try Bench.failover(options(server))
        #expect(result.errors == 0 && result.firstError == "ERR going")
        #expect(result.open > 0 && result.acknowledgements + result.open == 500)
    }

    @Test func beginsWithOneThatAnswers() throws {
        let server = ScriptedServer()
        let dead = ScriptedServer()
        defer { server.kill() }
        dead.kill()
        while failure({ _ = try Bench.run(options(dead, requests: 1)) }) == nil { usleep(1000) }
        let result = try Bench.failover(options(dead, server))
        #expect(result.acknowledgements == 500 && result.errors == 0)
        #expect(failure { _ = try Bench.failover(options(dead)) }?.exitCode == 69)
    }
}
