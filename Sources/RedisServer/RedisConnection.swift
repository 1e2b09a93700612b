import Cache
import DequeModule
import Logging
import NIOCore

/// One client's connection: bytes to commands, commands to the node or to local answers, replies back in the order of
/// the requests.
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// A reply that is owed, in order.
    private enum Owed {
        /// The node's. `version` is the protocol that the client spoke when it asked; `isSilent`: nobody wants the
        /// reply (CLIENT REPLY OFF).
        case operation(Purpose, version: Int, isSilent: Bool)
        /// Waits for what was asked before it.
        case local([UInt8])
        case close
    }

    enum Purpose {
        case command
        /// The reply is the index from which the keys of WATCH count as unchanged.
        case watch
        /// EXEC of a transaction that holds local commands: they run, and answer, between the node's replies.
        case mixedTransaction
    }

    let id: ConnectionID
    /// Held for as long as the channel lives: a server that was stopped may go before its last connection has.
    let server: RedisServer
    var context: ChannelHandlerContext?
    private var parser = RESPParser()
    private var input = ByteBuffer()
    private var output = ByteBuffer()
    private var isDirty = false
    private var isInputEnded = false
    private var isPaused = false
    private var isClosing = false
    private var isProcessing = false
    /// What comes next depends on the reply to a WATCH, or to an EXEC with local commands, that is still on its way.
    private var isBlocked = false
    /// Replies that may be owed at once, and the bytes that one has on average of late: see `window`.
    private var reach = 32
    private var meanReply = 0
    /// Of the replies that are not all sent.
    private var largestReply = 0
    private var owed: Deque<Owed> = []
    /// Of local answers that wait behind others.
    private var owedBytes = 0
    /// Of replies, written and not yet taken by the kernel, as far as that was looked at.
    private var unsent = 0
    /// Bytes that the connection holds, as the server has them counted.
    private(set) var heldBytes = 0
    private var scratch: [UInt8] = []
    private var local = ReplyBuffer()

    // The session.
    var version = 2
    var name: [UInt8] = []
    var library: (name: [UInt8], version: [UInt8]) = ([], [])
    var isAuthenticated: Bool
    var replyMode = ReplyMode.on
    var noEvict = false
    var transaction: Transaction?
    /// Watched keys, each with the index from which it counts as unchanged.
    var watched: [[UInt8]: UInt64] = [:]
    private var watchedBytes = 0
    private var watching: [[UInt8]] = []
    private var mixed: [Queued] = []
    let openedAt = NIODeadline.now()
    var lastCommandAt = NIODeadline.now()
    /// Full name of the command asked for last.
    var lastCommand: StaticString = "NULL"
    /// While a transaction's local commands are run: how many commands it has.
    var executing: Int?
    var remoteAddress = ""
    var localAddress = ""

    enum ReplyMode {
        case on, off, skipNext, skip
    }

    struct Transaction {
        var commands: [Queued] = []
        var bytes = 0
        var isBroken = false
    }

    enum Queued {
        /// For the node, in canonical form.
        case operation([UInt8])
        /// Of the connection, with its words.
        case local(CommandSpec, [[UInt8]])
    }

    /// Replies owed, beyond which the client's next requests wait in its socket.
    private static let maxOwed = 8192
    /// Bytes of a transaction's watched keys, and of its commands: together one command's.
    private static let maxWatchedBytes = 1 << 20
    static let maxTransactionBytes = RESPParser.maxCommandBytes - (2 << 20)
    /// Bytes of replies that a client may have outstanding, as far as the past tells.
    private static let maxOwedBytes = 32 << 20
    /// Bytes that are gathered before they are handed to the channel.
    private static let flushBytes = 256 << 10

    init(id: ConnectionID, server: RedisServer) {
        self.id = id
        self.server = server
        self.isAuthenticated = server.options.password == nil
    }

    // MARK: Channel

    func channelActive(context: ChannelHandlerContext) { self.open(context) }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { self.open(context) }
    }

    private func open(_ context: ChannelHandlerContext) {
        guard self.context == nil else { return }
        self.context = context
        self.remoteAddress = Self.text(context.remoteAddress)
        self.localAddress = Self.text(context.localAddress)
        if !self.server.opened(self) {
            self.write(Array("-ERR max number of clients reached\r\n".utf8))
            self.closeAfterReplies()
        }
    }

    private static func text(_ address: SocketAddress?) -> String {
        guard let address, let host = address.ipAddress, let port = address.port else { return "" }
        return "\(host):\(port)"
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var incoming = self.unwrapInboundIn(data)
        if self.input.readableBytes == 0 { self.input = incoming } else { self.input.writeBuffer(&incoming) }
        self.process()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.server.backend?.turn()
    }

    /// The client sends no more, but may still read: it gets what it asked for.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { self.endInput() }
        context.fireUserInboundEventTriggered(event)
    }

    private func endInput() {
        self.isInputEnded = true
        if !self.isClosing, !self.shouldPause { self.closeAfterReplies() }
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.isClosing = true
        self.context = nil
        self.forget()
        self.server.closed(self)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            self.unsent = 0
            self.noteHeldBytes()
            self.resume()
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func close() {
        self.isClosing = true
        self.context?.close(promise: nil)
    }

    // MARK: Memory

    /// Closes at once, with what was to be read.
    func cutOff() {
        self.close()
        self.forget()
    }

    private func forget() {
        self.input = ByteBuffer()
        self.output = ByteBuffer()
        self.transaction = nil
        self.mixed = []
        self.watched.removeAll()
        self.watchedBytes = 0
        for at in self.owed.indices { if case .local = self.owed[at] { self.owed[at] = .local([]) } }
        self.owedBytes = 0
        self.unsent = 0
        self.noteHeldBytes()
    }

    /// What it holds of requests that are not whole or not run yet, and of replies that are not sent.
    private func noteHeldBytes() {
        let bytes =
            self.input.readableBytes + self.output.readableBytes + self.owedBytes + self.unsent + self.watchedBytes
            + (self.transaction?.bytes ?? 0)
        guard bytes != self.heldBytes else { return }
        self.server.heldBytesChanged(by: bytes - self.heldBytes)
        self.heldBytes = bytes
    }

    // MARK: Input

    private func process() {
        guard !self.isProcessing else { return }
        self.isProcessing = true
        defer {
            self.isProcessing = false
            self.noteHeldBytes()
        }
        // Taken out, so that the bytes are not copied when a command's handling looks at this object.
        var input = ByteBuffer()
        swap(&input, &self.input)
        var consumed = 0
        input.withUnsafeReadableBytes { bytes in
            while !self.isClosing, !self.shouldPause {
                switch self.parser.parse(bytes, from: consumed, isTrusted: self.isAuthenticated) {
                case .command(let end):
                    consumed = end
                    self.command(bytes)
                    if self.output.readableBytes > Self.flushBytes { self.flush() }
                case .nothing(let end):
                    consumed = end
                case .incomplete:
                    return
                case .failed(let text):
                    self.answer { $0.error(Array("ERR ".utf8) + text) }
                    self.closeAfterReplies()
                    return
                }
            }
        }
        input.moveReaderIndex(forwardBy: consumed)
        if input.readableBytes > 0 {
            self.parser.moved(by: consumed)
            swap(&input, &self.input)
            if consumed > 1 << 16 { self.input.discardReadBytes() }
        }
        if self.shouldPause {
            self.pause()
        } else {
            if self.isPaused, let context = self.context {
                self.isPaused = false
                _ = context.channel.setOption(.autoRead, value: true)
            }
            if self.isInputEnded, !self.isClosing { self.closeAfterReplies() }
        }
    }

    /// How many replies the client may have outstanding: it grows with every reply, and is small where replies are
    /// large.
    private var window: Int { min(self.reach, max(16, Self.maxOwedBytes / max(1, self.meanReply))) }

    private var shouldPause: Bool {
        self.isBlocked || self.owed.count >= self.window || self.owedBytes > Self.maxOwedBytes
            || !(self.context?.channel.isWritable ?? true)
    }

    private func pause() {
        guard !self.isPaused, let context = self.context else { return }
        self.isPaused = true
        _ = context.channel.setOption(.autoRead, value: false)
    }

    private func resume() {
        // A pause ends when half of what was owed is answered, not with every reply.
        guard self.isPaused, !self.isProcessing, let context = self.context, !self.shouldPause,
            self.owed.count <= self.window / 2
        else { return }
        self.isPaused = false
        _ = context.channel.setOption(.autoRead, value: true)
        self.process()
        self.server.backend?.turn()
    }

    private func command(_ input: UnsafeRawBufferPointer) {
        self.server.totalCommands += 1
        if self.parser.isUnquoted {
            let bytes = self.parser.unquoted
            bytes.withUnsafeBytes { self.run(RedisArguments(bytes: $0, ranges: self.parser.arguments)) }
        } else {
            self.run(RedisArguments(bytes: input, ranges: self.parser.arguments))
        }
        if self.replyMode == .skip { self.replyMode = .on }
        if self.replyMode == .skipNext { self.replyMode = .skip }
    }

    // MARK: Operations

    /// Sends a command to the node, in canonical form.
    func submit(_ spec: CommandSpec, _ arguments: RedisArguments, purpose: Purpose = .command) {
        self.scratch.removeAll(keepingCapacity: true)
        arguments.encode(spec.id, into: &self.scratch)
        self.submit(spec.kind == .read ? .read : .write, self.scratch, purpose)
    }

    func submit(_ kind: OperationKind, _ command: [UInt8], _ purpose: Purpose) {
        guard let backend = self.server.backend else { return self.answer { $0.error("ERR the node is stopping") } }
        self.isBlocked = purpose != .command
        self.owe(purpose)
        let submission = command.withUnsafeBytes { backend.submit(kind, command: $0, from: self.id) }
        switch submission {
        case .accepted:
            return
        case .busy:
            self.refuse("BUSY too many requests are under way: try again", command)
        case .logFull:
            self.refuse("BUSY nothing was written: the log is full until a snapshot can be written; try again", command)
        case .outOfMemory:
            self.refuse("OOM command not allowed when used memory > 'maxmemory'.", command)
        case .tooLarge:
            self.refuse("ERR nothing was written: a command that writes has at most 14 MiB; send it in parts", command)
        case .diverged:
            self.refuse(
                """
                NOQUORUM nothing was written: the replicas differ, and no majority says which is right \
                (kintsugi incidents has more)
                """, command)
        }
    }

    private func owe(_ purpose: Purpose) {
        self.owed.append(
            .operation(purpose, version: self.version, isSilent: self.replyMode == .off || self.replyMode == .skip))
    }

    private func refuse(_ text: StaticString, _ command: [UInt8]) {
        self.owed.removeLast()
        self.isBlocked = false
        let isExec = command.withUnsafeBytes { CommandReader($0)?.id } == CommandTable.exec
        if isExec { self.abort("\(text)") } else { self.answer { $0.error(text) } }
    }

    func watch(_ keys: [[UInt8]], _ spec: CommandSpec, _ arguments: RedisArguments) {
        if self.watched.isEmpty { self.watchedBytes = 0 }
        guard keys.reduce(self.watchedBytes, { $0 + $1.count + 16 }) <= Self.maxWatchedBytes else {
            return self.answer { $0.error("ERR too many keys are watched") }
        }
        self.watching = keys
        self.submit(spec, arguments, purpose: .watch)
    }

    /// EXEC as one write; see `Transactions.swift` of the cache.
    func execute(_ transaction: Transaction) {
        var operations: [[UInt8]] = []
        for case .operation(let operation) in transaction.commands { operations.append(operation) }
        if operations.isEmpty, self.watched.isEmpty {
            self.answer { $0.array(transaction.commands.count) }
            for case .local(let spec, let words) in transaction.commands {
                self.runQueued(spec, words, of: transaction.commands.count)
            }
            return
        }
        var command: [UInt8] = []
        command.reserveCapacity(transaction.bytes + 64)
        CommandCoding.begin(CommandTable.exec, argumentCount: 1 + self.watched.count + operations.count, into: &command)
        withUnsafeBytes(of: UInt32(self.watched.count).littleEndian) { CommandCoding.append($0, into: &command) }
        for watch in self.watched {
            var bytes: [UInt8] = []
            withUnsafeBytes(of: watch.value.littleEndian) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: watch.key)
            bytes.withUnsafeBytes { CommandCoding.append($0, into: &command) }
        }
        for operation in operations { operation.withUnsafeBytes { CommandCoding.append($0, into: &command) } }
        self.watched.removeAll()
        if operations.count < transaction.commands.count {
            self.mixed = transaction.commands
            self.submit(.write, command, .mixedTransaction)
        } else {
            self.submit(.write, command, .command)
        }
    }

    func wait(replicas: Int, timeoutMilliseconds: UInt64) {
        guard let backend = self.server.backend else { return self.answer { $0.error("ERR the node is stopping") } }
        self.owe(.command)
        backend.wait(replicas: replicas, timeoutMilliseconds: timeoutMilliseconds, from: self.id)
    }

    func administer(_ arguments: [[UInt8]]) {
        guard let backend = self.server.backend else { return self.answer { $0.error("ERR the node is stopping") } }
        self.owe(.command)
        backend.administer(arguments, from: self.id)
    }

    // MARK: Replies

    /// The reply of the oldest operation under way.
    func deliver(_ reply: UnsafeRawBufferPointer) {
        guard case .operation(let purpose, let version, let isSilent)? = self.owed.popFirst() else { return }
        if purpose != .command { self.isBlocked = false }
        self.largestReply = max(self.largestReply, reply.count)
        self.meanReply = (self.meanReply * 7 + reply.count) / 8
        if self.reach < Self.maxOwed { self.reach += 1 }
        switch purpose {
        case .command:
            if !isSilent { ReplyConversion.append(reply, version: version, to: &self.output) }
        case .watch:
            self.watched(reply, version: version, isSilent: isSilent)
        case .mixedTransaction:
            self.executed(reply, version: version, isSilent: isSilent)
        }
        self.markDirty()
        while let next = self.owed.first {
            if case .operation = next { break }
            self.owed.removeFirst()
            switch next {
            case .operation: break
            case .local(let bytes):
                self.owedBytes -= bytes.count
                self.output.writeBytes(bytes)
            case .close: return self.finish()
            }
        }
        if self.isPaused { self.resume() }
    }

    private func watched(_ reply: UnsafeRawBufferPointer, version: Int, isSilent: Bool) {
        let keys = self.watching
        self.watching = []
        var index: UInt64 = 0
        guard reply.first == 0x3a else {
            if !isSilent { ReplyConversion.append(reply, version: version, to: &self.output) }
            return
        }
        for byte in reply.dropFirst() where byte >= 0x30 && byte <= 0x39 { index = index * 10 + UInt64(byte - 0x30) }
        for key in keys where self.watched[key] == nil {
            self.watched[key] = index
            self.watchedBytes += key.count + 16
        }
        if !isSilent { self.output.writeStaticString("+OK\r\n") }
    }

    /// A transaction with local commands took effect, or not: nothing else is owed, since input was blocked.
    private func executed(_ reply: UnsafeRawBufferPointer, version: Int, isSilent: Bool) {
        let queued = self.mixed
        self.mixed = []
        let operations = queued.count { if case .operation = $0 { true } else { false } }
        // Null where a watched key had changed; or an error.
        var head = ReplyBuffer()
        head.array(operations)
        guard reply.count >= head.bytes.count, reply.prefix(head.bytes.count).elementsEqual(head.bytes) else {
            if !isSilent { ReplyConversion.append(reply, version: version, to: &self.output) }
            return
        }
        if !isSilent { self.output.writeString("*\(queued.count)\r\n") }
        var offset = head.bytes.count
        for command in queued {
            switch command {
            case .operation:
                let end = ReplyConversion.end(of: reply, from: offset)
                if !isSilent {
                    ReplyConversion.append(
                        UnsafeRawBufferPointer(rebasing: reply[offset..<end]), version: self.version, to: &self.output)
                }
                offset = end
            case .local(let spec, let words):
                self.runQueued(spec, words, of: queued.count)
            }
        }
    }

    private func runQueued(_ spec: CommandSpec, _ words: [[UInt8]], of count: Int) {
        var ranges: [Range<Int>] = []
        var bytes: [UInt8] = []
        for word in words {
            ranges.append(bytes.count..<bytes.count + word.count)
            bytes += word
        }
        self.executing = count
        bytes.withUnsafeBytes { self.local(spec, RedisArguments(bytes: $0, ranges: ranges)) }
        self.executing = nil
    }

    /// A local answer in RESP3, made by `body`.
    func answer(_ body: (inout ReplyBuffer) -> Void) {
        self.local.removeAll()
        body(&self.local)
        if self.replyMode == .off || self.replyMode == .skip { return }
        if self.owed.isEmpty {
            self.local.bytes.withUnsafeBytes { ReplyConversion.append($0, version: self.version, to: &self.output) }
            self.markDirty()
        } else {
            var buffer = ByteBuffer()
            self.local.bytes.withUnsafeBytes { ReplyConversion.append($0, version: self.version, to: &buffer) }
            self.oweLocal(Array(buffer.readableBytesView))
        }
    }

    private func write(_ bytes: [UInt8]) {
        if self.owed.isEmpty {
            self.output.writeBytes(bytes)
            self.markDirty()
        } else {
            self.oweLocal(bytes)
        }
    }

    private func oweLocal(_ bytes: [UInt8]) {
        self.owed.append(.local(bytes))
        self.owedBytes += bytes.count
    }

    /// After all that is owed.
    func closeAfterReplies() {
        self.isClosing = true
        if self.owed.isEmpty { self.finish() } else { self.owed.append(.close) }
    }

    private func finish() {
        self.flush()
        guard let context = self.context else { return }
        // Behind all that is still to be sent, which a plain `close` would throw away.
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer())).whenComplete { _ in bound.value.close(promise: nil) }
    }

    private func markDirty() {
        guard !self.isDirty else { return }
        self.isDirty = true
        self.server.markDirty(self)
    }

    func flush() {
        self.isDirty = false
        guard let context = self.context, self.output.readableBytes > 0 else { return }
        context.writeAndFlush(self.wrapOutboundOut(self.output), promise: nil)
        // A new buffer where the old one is still being sent; the same where the kernel has taken it.
        if self.output.capacity > 1 << 16 { self.output = ByteBuffer() } else { self.output.clear() }
        let unsent = self.unsentBytes
        self.unsent = unsent
        self.noteHeldBytes()
        if unsent == 0 { self.largestReply = 0 }
        // One reply may be as large as it is.
        guard unsent > self.server.options.outputLimit, unsent > 2 * self.largestReply, !self.isClosing else { return }
        self.server.logger.warning(
            "a client does not read its replies: its connection is closed",
            metadata: ["client": "\(self.remoteAddress)", "unsent": "\(unsent)"])
        self.close()
    }

    /// Bytes of replies that the kernel has not taken yet.
    var unsentBytes: Int {
        guard let context = self.context, !context.channel.isWritable else { return 0 }
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    /// Everything of the session goes (RESET).
    func reset() {
        self.transaction = nil
        self.watched.removeAll()
        self.version = 2
        self.name = []
        self.replyMode = .on
        self.isAuthenticated = self.server.options.password == nil
    }
}

@available(*, unavailable)
extension RedisConnection: Sendable {}

/// The words of one request: ranges of the input.
struct RedisArguments {
    let bytes: UnsafeRawBufferPointer
    let ranges: [Range<Int>]

    var count: Int { self.ranges.count }

    subscript(index: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self.bytes[self.ranges[index]]) }

    func text(_ index: Int) -> String { String(decoding: self[index], as: UTF8.self) }

    /// Canonical form, without the name.
    func encode(_ id: UInt16, into out: inout [UInt8]) {
        CommandCoding.begin(id, argumentCount: self.count - 1, into: &out)
        for at in 1..<max(1, self.count) { CommandCoding.append(self[at], into: &out) }
    }

    func isWord(_ index: Int, _ word: StaticString) -> Bool { spells(self[index], word) }

    /// The bytes up to the first zero byte, where Redis takes a word to end.
    func word(_ index: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[index].prefix { $0 != 0 })
    }
}
