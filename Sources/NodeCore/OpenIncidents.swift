import Catalog
import Formats
import Replication

/// Incidents that a node follows and that the ledger may not have yet, as they are kept beside its journal: what one that
/// dies knew, its next run goes on with.
///
/// In an envelope (`IncidentsEnvelope`): u64 boot, u32 count, incidents.
///
/// An incident is u64 detected (the machine's clock since its boot), u64 age before that, u32 groups without a leader, each
/// u64 group, u64 term, then as the ledger has it.
package struct OpenIncidents: Sendable, Equatable {
    struct Item: Sendable, Equatable {
        var report: Incident
        var detectedAt: Instant
        var ageBefore: Nanoseconds
        var leaderless: [Leaderless]
    }

    struct Leaderless: Sendable, Equatable {
        var group: GroupID
        var term: Term
    }

    /// Counts writings over all runs: of two copies the later one counts.
    package var number: UInt64 = 0
    /// Names the time since the machine started: only within it can its clock be compared; 0: not known.
    var boot: UInt64 = 0
    var items: [Item] = []

    package init() {}

    /// An incident by what its observer calls it.
    package struct Word: Sendable, CustomStringConvertible {
        let kind: Incident.Kind
        let node: NodeID
        let run: Run
        package let episode: UInt64

        package var description: String { "\(self.kind) \(self.node) run \(self.run), episode \(self.episode)" }
    }

    package var words: [Word] {
        self.items.map {
            Word(kind: $0.report.kind, node: $0.report.node, run: $0.report.run, episode: $0.report.accounts[0].episode)
        }
    }

    /// More than are ever followed.
    static let limit = 128

    package var file: [UInt8] {
        var out: [UInt8] = []
        out.append(littleEndian: self.boot)
        out.append(littleEndian: UInt32(self.items.count))
        for item in self.items {
            out.append(littleEndian: item.detectedAt.nanoseconds)
            out.append(littleEndian: item.ageBefore)
            out.append(littleEndian: UInt32(item.leaderless.count))
            for group in item.leaderless {
                out.append(littleEndian: group.group.rawValue)
                out.append(littleEndian: group.term)
            }
            out.append(contentsOf: item.report.encoded())
        }
        return IncidentsEnvelope.close(out, number: self.number)
    }

    /// The later of the copies that can be read; empty where none can: then what earlier runs had not told is lost.
    ///
    /// - Parameter copies: the bytes of those that are there.
    package static func latest(of copies: [[UInt8]]) -> OpenIncidents {
        copies.compactMap { OpenIncidents(file: $0) }.max { $0.number < $1.number } ?? OpenIncidents()
    }

    /// Nil where the bytes are not such a file, whole.
    package init?(file bytes: [UInt8]) {
        guard let (number, body) = IncidentsEnvelope.open(bytes) else { return nil }
        let parsed = body.withUnsafeBytes { raw -> OpenIncidents? in
            var cursor = ByteCursor(raw)
            guard let boot = cursor.u64(), let count = cursor.u32(), count <= UInt32(Self.limit) else { return nil }
            var found = OpenIncidents()
            found.number = number
            found.boot = boot
            for _ in 0..<count {
                guard let detected = cursor.u64(), let age = cursor.u64(), let groups = cursor.u32(), groups <= 1024
                else { return nil }
                var leaderless: [Leaderless] = []
                for _ in 0..<groups {
                    guard let group = cursor.u64(), let term = cursor.u64() else { return nil }
                    leaderless.append(Leaderless(group: GroupID(rawValue: group), term: term))
                }
                var offset = cursor.offset
                guard let report = Incident(raw, at: &offset), report.accounts.count == 1 else { return nil }
                _ = cursor.bytes(offset - cursor.offset)
                found.items.append(
                    Item(
                        report: report, detectedAt: Instant(nanoseconds: detected), ageBefore: age,
                        leaderless: leaderless))
            }
            return cursor.isAtEnd ? found : nil
        }
        guard let parsed else { return nil }
        self = parsed
    }
}
