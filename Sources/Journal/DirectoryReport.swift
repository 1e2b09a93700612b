import CKintsugi
package import Formats
import Glibc
import Replication

/// What stands in a stopped node's data directory, what is wrong with it, and what the next start makes of it, in plain
/// words: the library behind `kintsugi doctor DIR`. Reads with the code that a start uses, and changes nothing.
package struct DirectoryReport: Sendable {
    package enum Verdict: String, Sendable {
        case healthy
        /// Something is wrong, and the next start mends it with nobody's help.
        case heals
        /// A person has to do something before or after the next start.
        case damaged
        /// The next start refuses it.
        case refused
    }

    package struct Finding: Sendable {
        package var verdict: Verdict
        /// File or directory, within the data directory; "." is that itself.
        package var file: String
        package var text: String
        /// What happens at the next start, or what to do.
        package var then: String
    }

    package var directory: String
    package var findings: [Finding] = []
    /// What is there, where there is a node's disk.
    package var journal: JournalReport?
    package var verdict: Verdict {
        let all = self.findings.map(\.verdict)
        for worst in [Verdict.refused, .damaged, .heals] where all.contains(worst) { return worst }
        return .healthy
    }

    package var exitCode: Int32 {
        switch self.verdict {
        case .healthy, .heals: 0
        case .damaged: 1
        case .refused: 73
        }
    }

    /// O(bytes).
    package init(directory path: String) {
        self.directory = path
        self.examine(path)
    }

    private mutating func examine(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else {
            return self.add(
                .refused, ".", "there is no such directory (\(String(cString: strerror(errno))))",
                "check the path; a new directory is formatted by `kintsugi serve --dir DIR --node N --seed FILE`")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            return self.add(.refused, ".", "it is a file", "give the node's data directory")
        }
        guard let names = try? Files.names(in: path) else {
            return self.add(.refused, ".", "it cannot be read by this user", "run this as the node's user")
        }
        let kept = names.filter { $0 != "LOCK" && !DataDirectory.isSetAside($0) }
        guard !kept.isEmpty else {
            let aside = names.contains(where: DataDirectory.isSetAside) ? ", but for what was set aside" : ""
            return self.add(
                .heals, ".", "it is empty\(aside)",
                "started with --seed FILE it is formatted; where its cluster is running already, the node joins anew, as a learner first"
            )
        }
        let parts =
            ["journal", "snapshots", DataDirectory.next] + NodeFile.allCases.map(\.rawValue)
        let identities = kept.filter { $0 == "node.identity.a" || $0 == "node.identity.b" || $0 == DataDirectory.next }
        let isEarly = kept.allSatisfy(DataDirectory.isOfFormat)
        guard !identities.isEmpty || isEarly else {
            return self.add(
                .refused, ".", "it is not a node's data directory: it has no node.identity.*",
                kept.contains { parts.contains($0) }
                    ? "the rest of one is there: restore node.identity.a or .b from where it went, or move everything away and let the node join anew"
                    : "choose an empty directory")
        }
        if isEarly {
            return self.add(
                .heals, ".", "a format was cut short", "started with --seed FILE it is formatted")
        }
        self.inspect(path, kept.filter { !parts.contains($0) && !$0.hasSuffix(".new") })
    }

    private mutating func add(_ verdict: Verdict, _ file: String, _ text: String, _ then: String) {
        self.findings.append(Finding(verdict: verdict, file: file, text: text, then: then))
    }

    // MARK: A node's directory

    private mutating func inspect(_ path: String, _ strangers: [String]) {
        let found: (identity: NodeIdentity?, badCopies: [String], lock: Int32)
        do {
            found = try DataDirectory.look(at: path)
        } catch {
            let text = "\(error)"
            if text.contains("in use") {
                return self.add(
                    .refused, "LOCK", "a running node has this directory",
                    "look at it with `kintsugi scrub --now --connect HOST:PORT`, or stop it first")
            }
            return self.add(.refused, ".", text, "nothing is changed")
        }
        if found.lock >= 0 { close(found.lock) }
        for name in strangers {
            self.add(.healthy, name, "it is no file of a node's", "it is left alone")
        }
        self.judgeIdentity(path, found.identity, found.badCopies)
        let seed = self.judgeSeed(path, found.identity)
        self.judgeRuns(path)
        self.judgeSpace(path)
        for name in Files.list(path) where DataDirectory.isSetAside(name) {
            self.add(
                .healthy, name, "what was here when the disk came to count as lost",
                "it is not read; it may be deleted when the node is in full service")
        }
        if found.identity != nil { self.judgeContents(path, peers: seed?.peers.count ?? 0) }
    }

    private mutating func judgeIdentity(_ path: String, _ identity: NodeIdentity?, _ bad: [String]) {
        if let next = DataDirectory.contents(path: path).next {
            let isReadable = (try? IdentityFile.decode(next)) != nil
            self.add(
                .heals, DataDirectory.next,
                "the disk came to count as lost, and a new incarnation was being begun"
                    + (isReadable ? "" : "; which one cannot be read"),
                isReadable ? "the start goes on with that" : "the start begins with another one")
        }
        guard identity != nil else {
            return self.add(
                .heals, "node.identity.*", "neither copy can be read: the disk counts as lost",
                "what is here goes aside to lost-..., and the node joins anew, as a learner first")
        }
        for name in bad {
            self.add(.heals, name, "it cannot be read", "the other copy counts, and both are written anew")
        }
    }

    private mutating func judgeSeed(_ path: String, _ identity: NodeIdentity?) -> ClusterSeed? {
        guard let (seed, bad) = DataDirectory.seed(path: path, cluster: identity?.cluster) else {
            let isOfAnother = DataDirectory.seed(path: path) != nil
            self.add(
                .damaged, "cluster.seed.*",
                isOfAnother
                    ? "it is another cluster's, and the identity is of \(identity!.cluster)"
                    : "neither copy can be read",
                "start the node once with --seed FILE: that writes both anew")
            return nil
        }
        for name in bad {
            self.add(.heals, name, "it cannot be read", "the other copy counts, and this one is written anew")
        }
        return seed
    }

    private mutating func judgeRuns(_ path: String) {
        let names = ["peer.runs.a", "peer.runs.b"]
        let there = names.filter { access(path + "/" + $0, F_OK) == 0 }
        let bad = there.filter { name in
            (try? Files.read(path + "/" + name)).flatMap { try? PeerRuns(file: $0) } == nil
        }
        guard !bad.isEmpty || there.count == 1 else { return }
        let isAll = bad.count == there.count
        for name in bad + names.filter({ !there.contains($0) }) {
            self.add(
                .heals, name, there.contains(name) ? "it cannot be read" : "it is not there",
                isAll
                    ? "the node asks the others anew before it votes, then writes both copies"
                    : "the other copy counts, and both are written anew")
        }
    }

    private mutating func judgeSpace(_ path: String) {
        if access(path, W_OK) != 0 {
            self.add(
                .refused, ".", "it is not writable (\(String(cString: strerror(errno))))",
                "give the node's user the right to write there")
        }
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { return }
        let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        let needed: UInt64 = 2 * 16 << 20
        if free < needed {
            self.add(
                .refused, ".", "only \(free >> 10) KiB are free on its disk",
                "a start may need \(needed >> 20) MiB: make room first")
        }
    }

    // MARK: Journal and snapshots

    private mutating func judgeContents(_ path: String, peers: Int) {
        let report: JournalReport
        do {
            report = try JournalReport.inspect(directory: path)
        } catch {
            return self.add(.refused, "journal", error.description, "nothing is changed")
        }
        self.journal = report
        let hasPeers = peers > 1
        if report.segments.isEmpty {
            let hasSnapshots = !report.snapshots.isEmpty
            self.add(
                hasSnapshots && !hasPeers ? .refused : .heals, "journal", "there is no journal",
                !hasSnapshots
                    ? "an empty one is begun"
                    : hasPeers
                        ? "the disk counts as lost: what is here goes aside to lost-..., and the node joins anew"
                        : "restore journal/ from where it went: no other node has what it held")
            return
        }
        for segment in report.segments {
            let torn = segment.batches.filter { $0.row == .torn }
            for batch in torn {
                self.add(
                    .heals, "journal/" + SegmentFiles.name(of: segment.file),
                    "its last batch, \(batch.sequence), was not finished: nothing in it was acknowledged", "it is cut")
            }
        }
        self.judgeGroups(report, hasPeers: hasPeers)
        self.judgeSnapshots(report, hasPeers: hasPeers)
    }

    private mutating func judgeGroups(_ report: JournalReport, hasPeers: Bool) {
        let inJournal = report.damage.filter { $0.file.hasPrefix("journal/") }
        let holes = report.groups.filter { !$0.holes.isEmpty }
        for damage in inJournal where !damage.isHole {
            self.add(
                .heals, damage.file, damage.text + Self.place(damage),
                "nothing is lost by it: what stood there is there in another copy, or in a snapshot")
        }
        if let reason = report.lost {
            for damage in inJournal where damage.isHole {
                self.add(hasPeers ? .heals : .damaged, damage.file, damage.text + Self.place(damage), "see below")
            }
            return self.add(
                hasPeers ? .heals : .refused, "journal",
                "what this node promised is not known any more: \(reason)",
                hasPeers
                    ? "the disk counts as lost: what is here goes aside to lost-..., and the node joins anew, as a learner first"
                    : "restore the directory from a copy: no other node has what it held")
        }
        for group in holes {
            self.add(
                hasPeers ? .heals : .refused, "journal",
                "holes at \(Self.ranges(group.holes.map(\.index))) of group \(group.group)",
                hasPeers
                    ? "the entries are fetched from the other nodes; until then this one does not lead the group"
                    : "restore the directory from a copy: no other node has these entries")
        }
    }

    private mutating func judgeSnapshots(_ report: JournalReport, hasPeers: Bool) {
        for snapshot in report.snapshots {
            guard let failure = snapshot.failure else { continue }
            guard snapshot.isNeeded else {
                self.add(.heals, "snapshots/" + snapshot.name, failure, "it is an older one, and not needed")
                continue
            }
            self.add(
                hasPeers ? .heals : .damaged, "snapshots/" + snapshot.name, failure,
                hasPeers
                    ? "it is rebuilt from the other nodes; until then this one serves nothing of its group"
                    : "the node starts without that state, and no other node has it: restore the file from a copy")
        }
    }

    private static func place(_ damage: JournalReport.Damage) -> String {
        damage.offset.map { " (at byte \($0))" } ?? ""
    }

    /// 7, 9 to 12
    private static func ranges(_ indexes: [LogIndex]) -> String {
        var spans: [(first: LogIndex, last: LogIndex)] = []
        for index in indexes.sorted() {
            if let last = spans.last, last.last &+ 1 == index {
                spans[spans.count - 1].last = index
            } else {
                spans.append((index, index))
            }
        }
        return spans.map { $0.first == $0.last ? "\($0.first)" : "\($0.first) to \($0.last)" }.joined(separator: ", ")
    }

    // MARK: Forms

    package var text: String {
        var lines: [String] = []
        if let identity = self.journal?.identity {
            lines.append("node \(identity.node) of cluster \(identity.cluster), run \(identity.run)")
        }
        if let journal = self.journal {
            for group in journal.groups {
                let snapshot = group.mark.map { "snapshot at \($0.index), " } ?? ""
                let last = group.entries.last?.last ?? group.mark?.index ?? 0
                lines.append("  \(group.group): term \(group.hardState.term), \(snapshot)log to \(last)")
            }
        }
        for finding in self.findings {
            lines.append("\(finding.file): \(finding.text)")
            lines.append("    -> \(finding.then)")
        }
        switch self.verdict {
        case .healthy: lines.append("healthy: the node starts, and nothing that was acknowledged is missing here")
        case .heals: lines.append("heals by itself: start the node, nothing else is to be done")
        case .damaged: lines.append("damaged: see above for what to do")
        case .refused: lines.append("refused: a start takes nothing and changes nothing here; see above for what to do")
        }
        return lines.joined(separator: "\n")
    }

    package var json: String {
        let identity =
            self.journal?.identity.map {
                "{\"cluster\":\"\($0.cluster)\",\"node\":\($0.node),\"incarnation\":\"\($0.incarnation)\",\"run\":\($0.run)}"
            } ?? "null"
        let findings = self.findings.map { finding in
            "{\"verdict\":\"\(finding.verdict.rawValue)\",\"file\":\(quoted(finding.file)),\"text\":\(quoted(finding.text)),\"at_start\":\(quoted(finding.then))}"
        }
        return
            "{\"directory\":\(quoted(self.directory)),\"verdict\":\"\(self.verdict.rawValue)\",\"exit_code\":\(self.exitCode),\"identity\":\(identity),\"findings\":[\(findings.joined(separator: ","))]}"
    }
}
