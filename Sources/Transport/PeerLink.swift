import Formats
import Logging
import NIOCore
import Replication

/// One connection to a peer: its handshake, then frames both ways.
///
/// Handshake messages are u16 length, bytes. The dialler sends its hello; the acceptor answers with its own hello and its
/// proof, or with a refusal (one byte of length 1); the dialler with its proof. A probe ends at the acceptor's hello.
final class PeerLink: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case awaitingHello
        case awaitingProof
        case established
        case closed
    }

    /// Held for as long as the channel lives: a transport that was stopped may go before its last handshake has ended.
    private let transport: PeerTransport
    private let dialled: NodeID?
    private let purpose: Hello.Purpose
    private var state = State.awaitingHello
    private var context: ChannelHandlerContext?
    private var ownHello: [UInt8] = []
    private var peerHello: Hello?
    private var peerHelloBytes: [UInt8] = []
    private var input = ByteBuffer()
    private var isSettled = false
    private var wasRefused = false
    private(set) var bytesInFlight = 0
    var isDialler: Bool { self.dialled != nil }

    /// - Parameter dialling: the node that this end dialled; nil at the end that was dialled.
    init(transport: PeerTransport, dialling: NodeID?, purpose: Hello.Purpose) {
        self.transport = transport
        self.dialled = dialling
        self.purpose = purpose
    }

    func write(_ bytes: [UInt8]) {
        guard let context = self.context, self.state == .established else { return }
        let count = bytes.count
        self.bytesInFlight += count
        let promise = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        promise.futureResult.whenComplete { _ in bound.value.bytesInFlight -= count }
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: promise)
    }

    func close() { self.context?.close(promise: nil) }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.transport.linkOpened()
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: .seconds(2)) {
            if !bound.value.isSettled { bound.value.close() }
        }
        if context.channel.isActive { self.begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) { self.begin(context) }

    private func begin(_ context: ChannelHandlerContext) {
        guard let dialled = self.dialled, self.ownHello.isEmpty else { return }
        if context.channel.localAddress == context.channel.remoteAddress {
            // A dial to a dead port can meet itself.
            return context.close(promise: nil)
        }
        self.ownHello = self.transport.hello(to: dialled, self.purpose).encoded()
        self.say(self.ownHello, context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var incoming = self.unwrapInboundIn(data)
        if self.input.readableBytes == 0 { self.input = incoming } else { self.input.writeBuffer(&incoming) }
        while self.state != .closed, self.step(context) {}
        if self.input.readableBytes == 0 { self.input = ByteBuffer() } else { self.input.discardReadBytes() }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if self.state == .established { self.transport.delegate?.receivedBatchEnd() }
        context.fireChannelReadComplete()
    }

    func channelInactive(context: ChannelHandlerContext) {
        let wasEstablished = self.state == .established
        self.state = .closed
        self.settle()
        self.transport.closed(
            self, node: self.peerHello?.member.node ?? self.dialled, wasEstablished: wasEstablished,
            wasRefused: self.wasRefused)
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func settle() {
        if !self.isSettled {
            self.isSettled = true
            self.transport.linkSettled()
        }
    }

    // MARK: Steps

    /// Takes one message from the input; false where it is not whole yet.
    private func step(_ context: ChannelHandlerContext) -> Bool {
        switch self.state {
        case .closed:
            return false
        case .awaitingHello:
            guard let bytes = self.handshakeMessage(context) else { return false }
            self.receiveHello(bytes, context)
            return true
        case .awaitingProof:
            guard let bytes = self.handshakeMessage(context) else { return false }
            self.receiveProof(bytes, context)
            return true
        case .established:
            return self.frame(context)
        }
    }

    private func handshakeMessage(_ context: ChannelHandlerContext) -> [UInt8]? {
        guard let length = self.input.getInteger(at: self.input.readerIndex, endianness: .little, as: UInt16.self)
        else { return nil }
        guard length <= Hello.maxBytes else {
            self.refuse(.malformed, context)
            return nil
        }
        guard self.input.readableBytes >= 2 + Int(length) else { return nil }
        self.input.moveReaderIndex(forwardBy: 2)
        return self.input.readBytes(length: Int(length))
    }

    private func receiveHello(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        if bytes.count == 1 {
            self.wasRefused = true
            self.transport.refused(
                self.dialled, HandshakeRefusal(rawValue: bytes[0]) ?? .malformed, byPeer: true)
            return context.close(promise: nil)
        }
        let hello: Hello
        do { hello = try bytes.withUnsafeBytes { try Hello($0) } } catch { return self.refuse(.malformed, context) }
        if let refusal = self.transport.judge(hello) {
            self.transport.refused(hello.member.node, refusal, byPeer: false)
            return self.refuse(refusal, context)
        }
        if let dialled = self.dialled, hello.member.node != dialled { return self.refuse(.misdirected, context) }
        self.peerHello = hello
        self.peerHelloBytes = bytes
        self.state = .awaitingProof
        if self.isDialler {
            if self.purpose == .probe {
                self.state = .closed
                self.settle()
                self.transport.probed(hello.member.node)
                return context.close(promise: nil)
            }
            self.say(
                Proof.make(1, key: self.transport.local.key, dialer: self.ownHello, acceptor: bytes), context)
        } else {
            self.ownHello = self.transport.hello(to: hello.member.node, .data).encoded()
            self.say(self.ownHello, context)
            self.say(
                Proof.make(2, key: self.transport.local.key, dialer: bytes, acceptor: self.ownHello), context)
            if hello.purpose == .probe {
                self.peerHello = nil
                self.transport.wasProbed(by: hello.member.node)
            }
        }
    }

    private func receiveProof(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        guard let hello = self.peerHello else { return context.close(promise: nil) }
        let isValid =
            self.isDialler
            ? Proof.isValid(
                bytes, 2, key: self.transport.local.key, dialer: self.ownHello, acceptor: self.peerHelloBytes)
            : Proof.isValid(
                bytes, 1, key: self.transport.local.key, dialer: self.peerHelloBytes, acceptor: self.ownHello)
        guard isValid else {
            self.transport.refused(hello.member.node, .wrongKey, byPeer: false)
            self.peerHello = self.isDialler ? self.peerHello : nil
            return self.refuse(.wrongKey, context)
        }
        self.state = .established
        self.settle()
        self.transport.established(self, hello)
    }

    private func frame(_ context: ChannelHandlerContext) -> Bool {
        guard let length = self.input.getInteger(at: self.input.readerIndex, endianness: .little, as: UInt32.self)
        else { return false }
        guard length >= 5, length <= WireCodec.maxFrameBytes else {
            context.close(promise: nil)
            self.transport.logger.error("a frame of \(length) bytes from a peer: the connection is closed")
            return false
        }
        guard self.input.readableBytes >= 4 + Int(length) else { return false }
        let start = self.input.readerIndex + 4 - self.input.readerIndex
        do {
            let message = try self.input.withUnsafeReadableBytes { bytes in
                try WireCodec.decode(
                    UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(length)]),
                    key: HashKey(self.transport.local.cluster))
            }
            self.input.moveReaderIndex(forwardBy: 4 + Int(length))
            self.transport.delegate?.received(message, from: self.peerHello!.member)
            return true
        } catch {
            self.transport.logger.error("a damaged frame from a peer (\(error)): the connection is closed")
            context.close(promise: nil)
            return false
        }
    }

    private func say(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        var buffer = context.channel.allocator.buffer(capacity: bytes.count + 2)
        buffer.writeInteger(UInt16(bytes.count), endianness: .little)
        buffer.writeBytes(bytes)
        context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil)
    }

    private func refuse(_ reason: HandshakeRefusal, _ context: ChannelHandlerContext) {
        self.wasRefused = true
        self.say([reason.rawValue], context)
        context.close(promise: nil)
    }
}

@available(*, unavailable)
extension PeerLink: Sendable {}
