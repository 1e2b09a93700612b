public import Replication

/// Peer messages as bytes. A frame is u32 length of what follows, u32 CRC32C of what follows the checksum, u8 kind, body;
/// little-endian. docs/wire-format.md lists the bodies.
public enum WireCodec {
    /// Lowest and highest version of the wire format that this program speaks.
    public static let lowestVersion: UInt16 = 1
    public static let highestVersion: UInt16 = 1
    /// A frame's length beyond which it is refused: the largest entry, with room.
    public static let maxFrameBytes = 24 << 20
    public static let headerBytes = 8

    private enum Kind: UInt8 {
        case preVote = 1
        case preVoteReply = 2
        case vote = 3
        case voteReply = 4
        case append = 5
        case appendReply = 6
        case timeoutNow = 7
        case readIndex = 8
        case readIndexReply = 9
        case forward = 16
        case snapshot = 17
        case snapshotReply = 18
        case advanceTime = 19
        case copies = 20
        case copiesReply = 21
        case transfer = 22
        case runs = 32
        case snapshotBlocksWanted = 40
        case snapshotBlocks = 41
        case snapshotWanted = 42
        case checkpointWanted = 43
        case entriesWanted = 44
        case entries = 45
        case stateDigest = 46
        case writesRefused = 47
    }

    // MARK: Encoding

    /// Appends one frame. O(bytes).
    public static func encode(_ message: PeerMessage, into out: inout [UInt8]) {
        let start = out.count
        out.append(littleEndian: UInt32(0))
        out.append(littleEndian: UInt32(0))
        switch message {
        case .replica(let message): Self.encode(message, into: &out)
        case .forward(let forward):
            out.append(Kind.forward.rawValue)
            out.append(littleEndian: forward.group.rawValue)
            out.append(littleEndian: forward.block.origin.rawValue)
            out.append(littleEndian: forward.block.run)
            out.append(littleEndian: forward.block.firstSequence)
            out.append(littleEndian: forward.block.lowestUnanswered)
            out.append(littleEndian: forward.block.count)
            out.append(contentsOf: forward.block.commands)
        case .snapshot(let piece):
            out.append(Kind.snapshot.rawValue)
            out.append(littleEndian: piece.group.rawValue)
            out.append(littleEndian: piece.term)
            out.append(piece.mark)
            out.append(piece.standing.rawValue)
            out.append(littleEndian: piece.size)
            out.append(littleEndian: piece.offset)
            out.append(contentsOf: piece.bytes)
        case .snapshotReply(let reply):
            out.append(Kind.snapshotReply.rawValue)
            out.append(littleEndian: reply.group.rawValue)
            out.append(littleEndian: reply.index)
            out.append(littleEndian: reply.nextOffset)
            out.append(reply.verdict.rawValue)
        case .advanceTime(let group):
            out.append(Kind.advanceTime.rawValue)
            out.append(littleEndian: group.rawValue)
        case .copies(let group, let index, let ticket):
            out.append(Kind.copies.rawValue)
            out.append(littleEndian: group.rawValue)
            out.append(littleEndian: index)
            out.append(littleEndian: ticket)
        case .copiesReply(let ticket, let count):
            out.append(Kind.copiesReply.rawValue)
            out.append(littleEndian: ticket)
            out.append(littleEndian: count)
        case .transfer(let group, let node):
            out.append(Kind.transfer.rawValue)
            out.append(littleEndian: group.rawValue)
            out.append(littleEndian: node.rawValue)
        case .runs(let runs):
            out.append(Kind.runs.rawValue)
            runs.encode(into: &out)
        case .snapshotBlocksWanted(let group, let index, let offset):
            out.append(Kind.snapshotBlocksWanted.rawValue)
            out.append(littleEndian: group.rawValue)
            out.append(littleEndian: index)
            out.append(littleEndian: offset)
        case .snapshotBlocks(let group, let index, let offset, let bytes):
            out.append(Kind.snapshotBlocks.rawValue)
            out.append(littleEndian: group.rawValue)
            out.append(littleEndian: index)
            out.append(littleEndian: offset)
            out.append(contentsOf: bytes)
        case .snapshotWanted(let group, let atLeast):
            out.append(Kind.snapshotWanted.rawValue)
            out.append(littleEndian: group.rawValue)
            out.append(littleEndian: atLeast)
        case .checkpointWanted(let group):
            out.append(Kind.checkpointWanted.rawValue)
            out.append(littleEndian: group.rawValue)
        case .writesRefused(let group, let term):
            out.append(Kind.writesRefused.rawValue)
            out.append(littleEndian: group.rawValue)
            out.append(littleEndian: term)
        case .stateDigest(let state):
            out.append(Kind.stateDigest.rawValue)
            out.append(littleEndian: state.group.rawValue)
            out.append(littleEndian: state.index)
            out.append(state.entryHash)
            out.append(state.form)
            out.append(state.standing.rawValue)
            out.append(state.digest)
        }
        out.replace(at: start + 4, littleEndian: CRC32C.of(out[(start + 8)...]))
        out.replace(at: start, littleEndian: UInt32(out.count - start - 4))
    }

    private static func encode(_ message: Message, into out: inout [UInt8]) {
        func head(_ kind: Kind) {
            out.append(kind.rawValue)
            out.append(littleEndian: message.group.rawValue)
            out.append(message.from)
            out.append(message.to)
            out.append(littleEndian: message.term)
        }
        func candidacy(_ candidacy: Message.Candidacy) {
            out.append(littleEndian: candidacy.lastIndex)
            out.append(littleEndian: candidacy.lastTerm)
            out.append(candidacy.transfer ? 1 : 0)
        }
        switch message.body {
        case .preVote(let value):
            head(.preVote)
            candidacy(value)
        case .vote(let value):
            head(.vote)
            candidacy(value)
        case .preVoteReply(let granted):
            head(.preVoteReply)
            out.append(granted ? 1 : 0)
        case .voteReply(let granted):
            head(.voteReply)
            out.append(granted ? 1 : 0)
        case .append(let append):
            head(.append)
            out.append(littleEndian: append.previousIndex)
            out.append(littleEndian: append.previousTerm)
            out.append(littleEndian: append.commit)
            out.append(littleEndian: append.round)
            out.append(littleEndian: UInt32(append.entries.count))
            for entry in append.entries { Self.encode(entry, into: &out) }
        case .appendReply(let reply):
            head(.appendReply)
            out.append(littleEndian: reply.round)
            switch reply.outcome {
            case .matched(let index):
                out.append(1)
                out.append(littleEndian: index)
            case .rejected(let previousIndex, let hint, let hintTerm):
                out.append(2)
                out.append(littleEndian: previousIndex)
                out.append(littleEndian: hint)
                out.append(littleEndian: hintTerm)
            case .following:
                out.append(3)
            case .received(let index):
                out.append(16)
                out.append(littleEndian: index)
            case .readiness(let readiness):
                out.append(17)
                out.append(readiness.rawValue)
            }
        case .timeoutNow:
            head(.timeoutNow)
        case .readIndex(let ticket):
            head(.readIndex)
            out.append(littleEndian: ticket)
        case .readIndexReply(let ticket, let index):
            head(.readIndexReply)
            out.append(littleEndian: ticket)
            out.append(index == nil ? 0 : 1)
            out.append(littleEndian: index ?? 0)
        case .entriesWanted(let wanted):
            head(.entriesWanted)
            out.append(littleEndian: UInt32(wanted.count))
            for entry in wanted {
                out.append(littleEndian: entry.index)
                out.append((entry.term == nil ? 0 : 1) | (entry.hash == nil ? 0 : 2))
                if let term = entry.term { out.append(littleEndian: term) }
                if let hash = entry.hash { out.append(hash) }
            }
        case .entries(let answers):
            head(.entries)
            out.append(littleEndian: UInt32(answers.count))
            for answer in answers {
                switch answer {
                case .entry(let entry):
                    out.append(1)
                    Self.encode(entry, into: &out)
                case .absent(let index):
                    out.append(2)
                    out.append(littleEndian: index)
                case .damaged(let index):
                    out.append(3)
                    out.append(littleEndian: index)
                case .compacted(let index):
                    out.append(4)
                    out.append(littleEndian: index)
                }
            }
        }
    }

    private static func encode(_ entry: Entry, into out: inout [UInt8]) {
        out.append(littleEndian: entry.index)
        out.append(littleEndian: entry.term)
        out.append(littleEndian: entry.time.nanoseconds)
        out.append(entry.kind.rawValue)
        out.append(entry.payloadHash)
        out.append(entry.previousHash)
        out.append(littleEndian: UInt32(entry.payload.count))
        out.append(contentsOf: entry.payload)
    }

    // MARK: Decoding

    /// Reads what follows a frame's length: the checksum, the kind and the body.
    /// - Parameter key: of the cluster's hashes, for the entries.
    public static func decode(_ frame: UnsafeRawBufferPointer, key: HashKey) throws(MalformedBytes) -> PeerMessage {
        var reader = ByteReader(frame)
        let checksum = try reader.read(UInt32.self)
        guard CRC32C.of(UnsafeRawBufferPointer(rebasing: frame[4...])) == checksum else {
            throw MalformedBytes("a frame's checksum is wrong")
        }
        guard let kind = Kind(rawValue: try reader.read(UInt8.self)) else {
            throw MalformedBytes("a frame of an unknown kind")
        }
        let message = try Self.decode(kind, &reader, key: key)
        guard reader.remaining == 0 else { throw MalformedBytes("a frame is longer than its message") }
        return message
    }

    private static func decode(
        _ kind: Kind, _ reader: inout ByteReader, key: HashKey
    ) throws(MalformedBytes) -> PeerMessage {
        let isOfNoGroup = kind == .copiesReply || kind == .runs
        let group = isOfNoGroup ? .system : GroupID(rawValue: try reader.read(UInt64.self))
        switch kind {
        case .runs:
            return .runs(try PeerRuns(&reader))
        case .forward:
            let origin = NodeID(try reader.read(UInt32.self))
            let run = try reader.read(UInt64.self)
            let first = try reader.read(UInt64.self)
            let lowest = try reader.read(UInt64.self)
            let count = try reader.read(UInt32.self)
            let commands = try reader.take(reader.remaining)
            guard Self.isWellFormed(commands, count: count) else {
                throw MalformedBytes("a block of commands does not parse")
            }
            return .forward(
                Forward(
                    group: group,
                    block: OriginBlock(
                        origin: origin, run: run, firstSequence: first, lowestUnanswered: lowest, count: count,
                        commands: Array(commands))))
        case .snapshot:
            let term = try reader.read(UInt64.self)
            let mark = try reader.mark()
            guard let standing = SnapshotStanding(rawValue: try reader.read(UInt8.self)) else {
                throw MalformedBytes("an unknown standing of a snapshot")
            }
            let size = try reader.read(UInt64.self)
            let offset = try reader.read(UInt64.self)
            let bytes = try reader.take(reader.remaining)
            guard size <= 1 << 50, offset <= size, UInt64(bytes.count) <= size - offset else {
                throw MalformedBytes("a piece of a snapshot lies outside it")
            }
            return .snapshot(
                SnapshotPiece(
                    group: group, term: term, mark: mark, standing: standing, size: size, offset: offset,
                    bytes: Array(bytes)))
        case .snapshotReply:
            let index = try reader.read(UInt64.self)
            let next = try reader.read(UInt64.self)
            guard let verdict = SnapshotReply.Verdict(rawValue: try reader.read(UInt8.self)) else {
                throw MalformedBytes("an unknown verdict on a snapshot")
            }
            return .snapshotReply(SnapshotReply(group: group, index: index, nextOffset: next, verdict: verdict))
        case .advanceTime:
            return .advanceTime(group: group)
        case .copies:
            let index = try reader.read(UInt64.self)
            return .copies(group: group, index: index, ticket: try reader.read(UInt64.self))
        case .copiesReply:
            let ticket = try reader.read(UInt64.self)
            return .copiesReply(ticket: ticket, count: try reader.read(UInt32.self))
        case .transfer:
            return .transfer(group: group, to: NodeID(try reader.read(UInt32.self)))
        case .snapshotBlocksWanted:
            let index = try reader.read(UInt64.self)
            return .snapshotBlocksWanted(group: group, index: index, offset: try reader.read(UInt64.self))
        case .snapshotBlocks:
            let index = try reader.read(UInt64.self)
            let offset = try reader.read(UInt64.self)
            let bytes = Array(try reader.take(reader.remaining))
            return .snapshotBlocks(group: group, index: index, offset: offset, bytes: bytes)
        case .snapshotWanted:
            return .snapshotWanted(group: group, atLeast: try reader.read(UInt64.self))
        case .checkpointWanted:
            return .checkpointWanted(group: group)
        case .writesRefused:
            return .writesRefused(group: group, term: try reader.read(UInt64.self))
        case .stateDigest:
            let index = try reader.read(UInt64.self)
            let entryHash = try reader.hash()
            let form = try reader.read(UInt8.self)
            guard let standing = StateDigest.Standing(rawValue: try reader.read(UInt8.self)) else {
                throw MalformedBytes("a digest of unknown standing")
            }
            return .stateDigest(
                StateDigest(
                    group: group, index: index, entryHash: entryHash, form: form, standing: standing,
                    digest: try reader.hash()))
        case .preVote, .preVoteReply, .vote, .voteReply, .append, .appendReply, .timeoutNow, .readIndex,
            .readIndexReply, .entriesWanted, .entries:
            let from = try reader.member()
            let to = try reader.member()
            let term = try reader.read(UInt64.self)
            let body = try Self.body(kind, &reader, group: group, key: key)
            return .replica(Message(group: group, from: from, to: to, term: term, body: body))
        }
    }

    private static func body(
        _ kind: Kind, _ reader: inout ByteReader, group: GroupID, key: HashKey
    ) throws(MalformedBytes) -> Message.Body {
        switch kind {
        case .preVote, .vote:
            let index = try reader.read(UInt64.self)
            let term = try reader.read(UInt64.self)
            let candidacy = Message.Candidacy(
                lastIndex: index, lastTerm: term, transfer: try reader.read(UInt8.self) == 1)
            return kind == .vote ? .vote(candidacy) : .preVote(candidacy)
        case .preVoteReply:
            return .preVoteReply(granted: try reader.read(UInt8.self) == 1)
        case .voteReply:
            return .voteReply(granted: try reader.read(UInt8.self) == 1)
        case .append:
            let previousIndex = try reader.read(UInt64.self)
            let previousTerm = try reader.read(UInt64.self)
            let commit = try reader.read(UInt64.self)
            let round = try reader.read(UInt64.self)
            let count = Int(try reader.read(UInt32.self))
            guard count <= reader.remaining / 61, previousIndex < 1 << 62 else {
                throw MalformedBytes("more entries than bytes")
            }
            var entries: [Entry] = []
            entries.reserveCapacity(count)
            for position in 0..<count {
                let entry = try Self.entry(&reader, group: group, key: key)
                guard entry.index == previousIndex + 1 + UInt64(position) else {
                    throw MalformedBytes("entries that do not follow each other")
                }
                entries.append(entry)
            }
            return .append(
                Message.Append(
                    previousIndex: previousIndex, previousTerm: previousTerm, entries: entries, commit: commit,
                    round: round))
        case .appendReply:
            let round = try reader.read(UInt64.self)
            switch try reader.read(UInt8.self) {
            case 1:
                return .appendReply(
                    Message.AppendReply(outcome: .matched(try reader.read(UInt64.self)), round: round))
            case 2:
                let previous = try reader.read(UInt64.self)
                let hint = try reader.read(UInt64.self)
                let term = try reader.read(UInt64.self)
                return .appendReply(
                    Message.AppendReply(
                        outcome: .rejected(previousIndex: previous, hint: hint, hintTerm: term), round: round))
            case 3:
                return .appendReply(Message.AppendReply(outcome: .following, round: round))
            case 16:
                return .appendReply(
                    Message.AppendReply(outcome: .received(try reader.read(UInt64.self)), round: round))
            case 17:
                guard let readiness = Readiness(rawValue: try reader.read(UInt8.self)) else {
                    throw MalformedBytes("an unknown readiness")
                }
                return .appendReply(Message.AppendReply(outcome: .readiness(readiness), round: round))
            default:
                throw MalformedBytes("an unknown outcome of an append")
            }
        case .timeoutNow:
            return .timeoutNow
        case .readIndex:
            return .readIndex(ticket: try reader.read(UInt64.self))
        case .readIndexReply:
            let ticket = try reader.read(UInt64.self)
            let isKnown = try reader.read(UInt8.self) == 1
            let index = try reader.read(UInt64.self)
            return .readIndexReply(ticket: ticket, index: isKnown ? index : nil)
        case .entriesWanted:
            let count = Int(try reader.read(UInt32.self))
            guard count <= Message.maxWantedEntries else { throw MalformedBytes("too many entries wanted") }
            var wanted: [Message.WantedEntry] = []
            for _ in 0..<count {
                let index = try reader.read(UInt64.self)
                let flags = try reader.read(UInt8.self)
                guard flags <= 3 else { throw MalformedBytes("unknown flags of an entry that is wanted") }
                let term = flags & 1 == 0 ? nil : try reader.read(UInt64.self)
                let hash = flags & 2 == 0 ? nil : try reader.hash()
                wanted.append(Message.WantedEntry(index: index, term: term, hash: hash))
            }
            return .entriesWanted(wanted)
        case .entries:
            let count = Int(try reader.read(UInt32.self))
            guard count <= Message.maxWantedEntries else { throw MalformedBytes("too many answers") }
            var answers: [Message.EntryAnswer] = []
            for _ in 0..<count {
                switch try reader.read(UInt8.self) {
                case 1: answers.append(.entry(try Self.entry(&reader, group: group, key: key)))
                case 2: answers.append(.absent(try reader.read(UInt64.self)))
                case 3: answers.append(.damaged(try reader.read(UInt64.self)))
                case 4: answers.append(.compacted(try reader.read(UInt64.self)))
                default: throw MalformedBytes("an unknown answer about an entry")
                }
            }
            return .entries(answers)
        case .forward, .snapshot, .snapshotReply, .advanceTime, .copies, .copiesReply, .transfer, .runs,
            .snapshotBlocksWanted, .snapshotBlocks, .snapshotWanted, .checkpointWanted, .stateDigest, .writesRefused:
            throw MalformedBytes("not a replica's message")
        }
    }

    private static func entry(
        _ reader: inout ByteReader, group: GroupID, key: HashKey
    ) throws(MalformedBytes) -> Entry {
        let index = try reader.read(UInt64.self)
        let term = try reader.read(UInt64.self)
        let time = WallTime(nanoseconds: try reader.read(UInt64.self))
        guard let kind = EntryKind(rawValue: try reader.read(UInt8.self)) else {
            throw MalformedBytes("an unknown kind of entry")
        }
        let payloadHash = try reader.hash()
        let previousHash = try reader.hash()
        let payload = try reader.take(Int(try reader.read(UInt32.self)))
        return Entry(
            group: group, index: index, term: term, time: time, kind: kind, payload: Array(payload),
            payloadHash: payloadHash, previousHash: previousHash, key: key)
    }

    /// Whether the bytes are exactly `count` times a length and so many bytes: what enters a log must be what a state
    /// machine can walk.
    private static func isWellFormed(_ commands: UnsafeRawBufferPointer, count: UInt32) -> Bool {
        var reader = ByteReader(commands)
        do {
            for _ in 0..<count { _ = try reader.take(Int(try reader.read(UInt32.self))) }
        } catch {
            return false
        }
        return reader.remaining == 0
    }
}
