public import Replication

/// The starts of one disk, as it has them itself: number and token of each, the last ones, oldest first.
///
/// By it a disk shows that it is the one that a peer knew. A copy that was made before a start does not have that
/// start's token, and however often it is started itself, it never comes to have it:
///
/// 1. B runs as 5, which A has noted. B's disk is replaced by a copy of its run 3.
/// 2. B starts as 4 and as 5, and dies each time before it reaches anyone. It starts as 6.
/// 3. 6 is later than 5. But the copy's own run 5 had another token than the one that A knows.
public struct RunHistory: Sendable, Hashable {
    /// More starts in a row than this without reaching a peer, and that peer can not tell any more.
    public static let limit = 32

    /// Never empty once a run has begun.
    public private(set) var marks: [RunMark] = []

    public init() {}

    public init(_ mark: RunMark) { self.marks = [mark] }

    public var last: RunMark { self.marks.last ?? .none }

    public mutating func begin(_ mark: RunMark) {
        self.marks.append(mark)
        if self.marks.count > Self.limit { self.marks.removeFirst() }
    }

    /// Whether a start is one of these, or too long ago to tell; and the present one, or of a lower number.
    public func covers(_ mark: RunMark) -> Bool {
        guard mark == self.last || mark.run < self.last.run else { return false }
        return self.marks.contains(mark) || (self.marks.count == Self.limit && mark.run < self.marks[0].run)
    }

    /// u8 count, then for each u64 run, u64 token.
    package func encode(into out: inout [UInt8]) { out.append(self.marks) }

    package init(_ reader: inout ByteReader) throws(MalformedBytes) {
        self.marks = try reader.runMarks()
        guard self.marks.count <= Self.limit else { throw MalformedBytes("more runs than are told") }
    }
}

/// What a node remembers of one disk of a node.
public struct MemberRuns: Sendable, Hashable {
    public var member: MemberID
    /// The latest start that is known; more than one where several were told of and none was shown to follow another.
    public internal(set) var marks: [RunMark]
    /// Another disk has taken this one's place for ever.
    public internal(set) var isRetired = false
}

/// What a node remembers of the runs of all nodes. By it a node is told that its disk is an older copy, or an empty one
/// in the place of one that it forgot.
///
/// Kept in the file `peer.runs`, and told to each peer on each connection.
public struct PeerRuns: Sendable, Equatable {
    /// Sorted by member, each once.
    public private(set) var members: [MemberRuns] = []
    /// All is here that was ever noted under this node's number: it was there from the cluster's birth on, or enough
    /// others have told what they know.
    public var isComplete = false

    /// No node starts so often: 2^40. A run that is claimed beyond is refused, so that no peer's bytes bring our counting
    /// to its end.
    package static let runLimit: Run = 1 << 40
    /// Entries beyond which retired ones are forgotten, those of the lowest runs first.
    static let maxMembers = 1024
    /// Marks of one member; beyond, the lowest run is forgotten.
    static let maxMarks = 8

    public init() {}

    public subscript(member: MemberID) -> MemberRuns? { self.members.first { $0.member == member } }

    public func isRetired(_ member: MemberID) -> Bool { self[member]?.isRetired ?? false }

    /// Of a node, over all its incarnations: numbers of runs go on from one to the next. 0: none is known.
    public func latestRun(of node: NodeID) -> Run {
        self.members.reduce(0) { latest, known in
            known.member.node == node ? known.marks.reduce(latest) { max($0, $1.run) } : latest
        }
    }

    /// Whether a disk with this history is the one that is known, or one that nothing is known of.
    public func knows(_ member: MemberID, as history: RunHistory) -> Bool {
        guard let known = self[member] else { return true }
        return !known.isRetired && known.marks.allSatisfy { history.covers($0) }
    }

    /// Takes in that a member has begun a run. Only of a history that `knows` accepts: else what shows that its disk is
    /// an old copy would be forgotten.
    /// - Returns: whether that was news.
    @discardableResult
    public mutating func note(_ member: MemberID, _ mark: RunMark) -> Bool {
        let at = self.position(of: member)
        guard self.members[at].marks != [mark] else { return false }
        self.members[at].marks = [mark]
        self.forgetSome()
        return true
    }

    /// Takes in a start that somebody else knows of.
    /// - Returns: whether that was news.
    @discardableResult
    public mutating func add(_ member: MemberID, _ mark: RunMark) -> Bool {
        let at = self.position(of: member)
        guard !self.members[at].marks.contains(mark) else { return false }
        self.members[at].marks.append(mark)
        self.members[at].marks.sort { ($0.run, $0.token) < ($1.run, $1.token) }
        if self.members[at].marks.count > Self.maxMarks, self.members[at].marks.removeFirst() == mark { return false }
        self.forgetSome()
        return true
    }

    @discardableResult
    public mutating func retire(_ member: MemberID) -> Bool {
        let at = self.position(of: member)
        guard !self.members[at].isRetired else { return false }
        self.members[at].isRetired = true
        self.forgetSome()
        return true
    }

    /// All that either knows; complete only where both are.
    package func merged(with other: PeerRuns) -> PeerRuns {
        var merged = self
        for known in other.members {
            for mark in known.marks { merged.add(known.member, mark) }
            if known.isRetired { merged.retire(known.member) }
        }
        merged.isComplete = self.isComplete && other.isComplete
        return merged
    }

    private mutating func position(of member: MemberID) -> Int {
        let at = self.members.firstIndex { $0.member >= member } ?? self.members.count
        if at == self.members.count || self.members[at].member != member {
            self.members.insert(MemberRuns(member: member, marks: []), at: at)
        }
        return at
    }

    private mutating func forgetSome() {
        while self.members.count > Self.maxMembers {
            let retired = self.members.indices.filter { self.members[$0].isRetired }
            self.members.remove(
                at: retired.min { (self.members[$0].marks.last?.run ?? 0) < (self.members[$1].marks.last?.run ?? 0) }
                    ?? 0)
        }
    }

    // MARK: Bytes

    /// u8 complete, u32 count, then for each member, u8 retired, u8 marks, for each u64 run, u64 token.
    package func encode(into out: inout [UInt8]) {
        out.append(self.isComplete ? 1 : 0)
        out.append(littleEndian: UInt32(self.members.count))
        for known in self.members {
            out.append(known.member)
            out.append(known.isRetired ? 1 : 0)
            out.append(known.marks)
        }
    }

    package init(_ reader: inout ByteReader) throws(MalformedBytes) {
        self.isComplete = try reader.read(UInt8.self) == 1
        let count = Int(try reader.read(UInt32.self))
        guard count <= Self.maxMembers else { throw MalformedBytes("more members than there can be") }
        for _ in 0..<count {
            let member = try reader.member()
            let isRetired = try reader.read(UInt8.self) == 1
            for mark in try reader.runMarks() { self.add(member, mark) }
            if isRetired { self.retire(member) }
        }
    }

    private static let magic: UInt32 = 0x4e52_504b
    private static let version: UInt32 = 1

    /// The file: u32 checksum of what follows, "KPRN", u32 version, the memory.
    package var file: [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: UInt32(0))
        out.append(littleEndian: Self.magic)
        out.append(littleEndian: Self.version)
        self.encode(into: &out)
        out.replace(at: 0, littleEndian: CRC32C.of(out[4...]))
        return out
    }

    /// What the copies of the file hold together: of two that can be read one may be of the writing before.
    ///
    /// - Parameter copies: the bytes of those that are there.
    /// - Returns: nil where none can be read; and why one cannot, in words, with its place among them.
    package static func read(copies: [[UInt8]]) -> (runs: PeerRuns?, failures: [(copy: Int, reason: String)]) {
        var runs: PeerRuns?
        var failures: [(copy: Int, reason: String)] = []
        for (at, bytes) in copies.enumerated() {
            do throws(MalformedBytes) {
                let copy = try PeerRuns(file: bytes)
                runs = runs?.merged(with: copy) ?? copy
            } catch {
                failures.append((at, error.description))
            }
        }
        return (runs, failures)
    }

    package init(file bytes: [UInt8]) throws(MalformedBytes) {
        // A typed error does not pass through `withUnsafeBytes` in this version of the compiler.
        let result = bytes.withUnsafeBytes { raw -> Result<PeerRuns, MalformedBytes> in
            var reader = ByteReader(raw)
            do throws(MalformedBytes) {
                let checksum = try reader.read(UInt32.self)
                guard CRC32C.of(bytes[4...]) == checksum else { throw MalformedBytes("its checksum is wrong") }
                guard try reader.read(UInt32.self) == Self.magic, try reader.read(UInt32.self) == Self.version else {
                    throw MalformedBytes("it is not of this version")
                }
                let runs = try PeerRuns(&reader)
                guard reader.remaining == 0 else { throw MalformedBytes("it is too long") }
                return .success(runs)
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ marks: [RunMark]) {
        self.append(UInt8(marks.count))
        for mark in marks {
            self.append(littleEndian: mark.run)
            self.append(littleEndian: mark.token)
        }
    }
}

extension ByteReader {
    fileprivate mutating func runMarks() throws(MalformedBytes) -> [RunMark] {
        var marks: [RunMark] = []
        for _ in 0..<(try self.read(UInt8.self)) {
            let run = try self.read(UInt64.self)
            guard run < PeerRuns.runLimit else { throw MalformedBytes("a run that nobody can have come to") }
            marks.append(RunMark(run: run, token: try self.read(UInt64.self)))
        }
        return marks
    }
}
