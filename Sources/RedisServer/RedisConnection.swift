import Cache
import DequeModule
import NIOCore

/// One client's connection: bytes to commands, commands to the node or to local answers, replies back in the order of the
/// requests.
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// A reply that is owed, in order.
    private enum Owed {
        /// The node's.
        case operation(Purpose)
        /// Waits for what was asked before it.
        case local([UInt8])
        case close
    }

    enum Purpose {
        case command
        /// The reply is the index from which the keys of WATCH count as unchanged.
        case watch
        /// Nobody wants the reply (CLIENT REPLY OFF).
        case silent
    }

    let id: ConnectionID
    unowned let server: RedisServer
    var context: ChannelHandlerContext?
    private var parser = RESPParser()
    private var input = ByteBuffer()
    private var output = ByteBuffer()
    private var isDirty = false
    private var isPaused = false
    private var isClosing = false
    private var owed: Deque<Owed> = []
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
    var watched: [(key: [UInt8], index: UInt64)] = []
    private var watching: Deque<[[UInt8]]> = []
    let openedAt = NIODeadline.now()
    var lastCommandAt = NIODeadline.now()
    var lastCommand: StaticString = "NULL"
    var remoteAddress = ""
    var localAddress = ""

    enum ReplyMode {
        case on, off, skipNext, skip
    }

    struct Transaction {
        /// In canonical form, each with its length before it.
        var commands: [[UInt8]] = []
        var bytes = 0
        var isBroken = false
    }

    /// Replies owed, beyond which the client's next requests wait in its socket.
    private static let maxOwed = 8192

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
            self.flush()
            self.close()
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

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        self.server.closed(self)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.resume() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    func close() {
        self.isClosing = true
        self.context?.close(promise: nil)
    }

    // MARK: Input

    private func process() {
        // Taken out, so that the bytes are not copied when a command's handling looks at this object.
        var input = ByteBuffer()
        swap(&input, &self.input)
        var consumed = 0
        input.withUnsafeReadableBytes { bytes in
            while !self.isClosing, !self.shouldPause {
                switch self.parser.parse(bytes, from: consumed) {
                case .command(let end):
                    consumed = end
                    self.command(bytes)
                case .nothing(let end):
                    consumed = end
                case .incomplete:
                    return
                case .failed(let text):
                    self.answer("-ERR \(text)\r\n")
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
        if self.shouldPause { self.pause() }
    }

    private var shouldPause: Bool {
        self.owed.count >= Self.maxOwed || !(self.context?.channel.isWritable ?? true)
    }

    private func pause() {
        guard !self.isPaused, let context = self.context else { return }
        self.isPaused = true
        _ = context.channel.setOption(.autoRead, value: false)
    }

    private func resume() {
        guard self.isPaused, let context = self.context, !self.shouldPause else { return }
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
        guard let backend = self.server.backend else { return self.answer("-ERR the node is stopping\r\n") }
        let isSilent = self.replyMode == .off || self.replyMode == .skip
        self.owed.append(.operation(isSilent ? .silent : purpose))
        let submission = command.withUnsafeBytes { backend.submit(kind, command: $0, from: self.id) }
        switch submission {
        case .accepted:
            return
        case .busy:
            self.refuse("-BUSY too many requests are under way: try again\r\n", purpose)
        case .outOfMemory:
            self.refuse("-OOM command not allowed when used memory > 'maxmemory'.\r\n", purpose)
        }
    }

    private func refuse(_ text: StaticString, _ purpose: Purpose) {
        self.owed.removeLast()
        if purpose == .watch { _ = self.watching.popLast() }
        self.answer("\(text)")
    }

    func watch(_ keys: [[UInt8]], _ spec: CommandSpec, _ arguments: RedisArguments) {
        self.watching.append(keys)
        self.submit(spec, arguments, purpose: .watch)
    }

    /// EXEC as one write; see `Transactions.swift` of the cache.
    func execute(_ transaction: Transaction) {
        var command: [UInt8] = []
        command.reserveCapacity(transaction.bytes + 64)
        CommandCoding.begin(CommandTable.exec, argumentCount: 1 + self.watched.count + transaction.commands.count, into: &command)
        withUnsafeBytes(of: UInt32(self.watched.count).littleEndian) { CommandCoding.append($0, into: &command) }
        for watch in self.watched {
            var bytes: [UInt8] = []
            withUnsafeBytes(of: watch.index.littleEndian) { bytes.append(contentsOf: $0) }
            bytes.append(contentsOf: watch.key)
            bytes.withUnsafeBytes { CommandCoding.append($0, into: &command) }
        }
        for queued in transaction.commands { queued.withUnsafeBytes { CommandCoding.append($0, into: &command) } }
        self.watched.removeAll()
        self.submit(.write, command, .command)
    }

    func wait(replicas: Int, timeoutMilliseconds: UInt64) {
        self.owed.append(.operation(.command))
        self.server.backend?.wait(replicas: replicas, timeoutMilliseconds: timeoutMilliseconds, from: self.id)
    }

    func administer(_ arguments: [[UInt8]]) {
        self.owed.append(.operation(.command))
        self.server.backend?.administer(arguments, from: self.id)
    }

    // MARK: Replies

    /// The reply of the oldest operation under way.
    func deliver(_ reply: UnsafeRawBufferPointer) {
        guard case .operation(let purpose)? = self.owed.popFirst() else { return }
        switch purpose {
        case .command:
            ReplyConversion.append(reply, version: self.version, to: &self.output)
        case .silent:
            break
        case .watch:
            self.watched(reply)
        }
        self.markDirty()
        while let next = self.owed.first {
            if case .operation = next { break }
            self.owed.removeFirst()
            switch next {
            case .operation: break
            case .local(let bytes): self.output.writeBytes(bytes)
            case .close: return self.finish()
            }
        }
        if self.isPaused { self.resume() }
    }

    private func watched(_ reply: UnsafeRawBufferPointer) {
        let keys = self.watching.popFirst() ?? []
        var index: UInt64 = 0
        guard reply.first == 0x3a else {
            self.output.writeBytes(reply)
            return
        }
        for byte in reply.dropFirst() where byte >= 0x30 && byte <= 0x39 { index = index * 10 + UInt64(byte - 0x30) }
        for key in keys where !self.watched.contains(where: { $0.key == key }) { self.watched.append((key, index)) }
        self.output.writeStaticString("+OK\r\n")
    }

    /// Whether a transaction's WATCH is still on its way.
    var isWatching: Bool { !self.watching.isEmpty }

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
            self.owed.append(.local(Array(buffer.readableBytesView)))
        }
    }

    func answer(_ line: String) {
        if self.replyMode == .off || self.replyMode == .skip { return }
        self.write(Array(line.utf8))
    }

    private func write(_ bytes: [UInt8]) {
        if self.owed.isEmpty {
            self.output.writeBytes(bytes)
            self.markDirty()
        } else {
            self.owed.append(.local(bytes))
        }
    }

    /// After all that is owed.
    func closeAfterReplies() {
        self.isClosing = true
        if self.owed.isEmpty { self.finish() } else { self.owed.append(.close) }
    }

    private func finish() {
        self.flush()
        self.close()
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
    }

    /// Everything of the session goes (RESET).
    func reset() {
        self.transaction = nil
        self.watched.removeAll()
        self.version = 2
        self.name = []
        self.replyMode = .on
        self.noEvict = false
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

    func isWord(_ index: Int, _ word: StaticString) -> Bool {
        let bytes = self[index]
        guard bytes.count == word.utf8CodeUnitCount else { return false }
        return word.withUTF8Buffer { letters in
            for at in 0..<bytes.count {
                let byte = bytes[at]
                if (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) != letters[at] { return false }
            }
            return true
        }
    }
}
