import Formats
import Replication
import Testing

@Suite struct PeerRunsTests {
    private func member(_ node: UInt32, _ incarnation: UInt64 = 1) -> MemberID {
        MemberID(node: NodeID(node), incarnation: Incarnation(high: 0, low: incarnation))
    }

    private func mark(_ run: Run, _ token: UInt64 = 0) -> RunMark { RunMark(run: run, token: token) }

    private func history(_ marks: RunMark...) -> RunHistory {
        var history = RunHistory()
        for mark in marks { history.begin(mark) }
        return history
    }

    /// The schedule in the comment on `RunHistory`.
    @Test func aCopyThatIsStartedOftenerIsStillAnOldCopy() {
        var runs = PeerRuns()
        runs.note(self.member(2), self.mark(5, 50))
        #expect(runs.knows(self.member(2), as: self.history(self.mark(3, 30), self.mark(5, 50), self.mark(6, 60))))
        #expect(!runs.knows(self.member(2), as: self.history(self.mark(3, 30), self.mark(4, 41), self.mark(5, 51))))
        #expect(
            !runs.knows(
                self.member(2),
                as: self.history(self.mark(3, 30), self.mark(4, 41), self.mark(5, 51), self.mark(6, 61))))
        #expect(!runs.knows(self.member(2), as: self.history(self.mark(1, 1))), "an empty disk under the old name")
        #expect(runs.knows(self.member(2, 9), as: self.history(self.mark(1, 1))), "another disk")
    }

    @Test func whatIsTooLongAgoIsNotHeldAgainstADisk() {
        var history = RunHistory()
        for run in Run(10)..<42 { history.begin(self.mark(run)) }
        #expect(history.covers(self.mark(10)))
        #expect(!history.covers(self.mark(10, 7)))
        #expect(history.covers(self.mark(9, 7)))
        history.begin(self.mark(42))
        #expect(history.marks.count == RunHistory.limit)
        #expect(history.covers(self.mark(10, 7)))
        #expect(!self.history(self.mark(9, 1), self.mark(9, 2)).covers(self.mark(9, 1)), "a number used twice")
        #expect(!self.history(self.mark(10)).covers(self.mark(9)), "a young disk has all its starts")
    }

    /// What several know is all kept until the disk shows that it had all of it.
    @Test func whatOthersKnowIsAdded() {
        var runs = PeerRuns()
        runs.add(self.member(2), self.mark(5, 50))
        runs.add(self.member(2), self.mark(6, 61))
        #expect(!runs.knows(self.member(2), as: self.history(self.mark(5, 51), self.mark(6, 61), self.mark(7, 71))))
        #expect(runs.knows(self.member(2), as: self.history(self.mark(5, 50), self.mark(6, 61), self.mark(7, 70))))
        #expect(runs.latestRun(of: NodeID(2)) == 6)
        runs.note(self.member(2), self.mark(7, 70))
        #expect(runs[self.member(2)]?.marks == [self.mark(7, 70)])
        for run in Run(100)..<120 { runs.add(self.member(3), self.mark(run)) }
        #expect(runs[self.member(3)]?.marks.count == 8)
        #expect(runs.latestRun(of: NodeID(3)) == 119)
    }

    @Test func whatIsRetiredStaysSo() {
        var runs = PeerRuns()
        runs.retire(self.member(2))
        runs.note(self.member(2), self.mark(9))
        #expect(runs.isRetired(self.member(2)) && !runs.isRetired(self.member(2, 2)))
        #expect(!runs.knows(self.member(2), as: self.history(self.mark(9))))
    }

    @Test func boundedByForgettingTheOldestThatAreRetired() {
        var runs = PeerRuns()
        for at in UInt64(1)...2000 {
            runs.add(self.member(1, at), self.mark(at))
            if at < 1990 { runs.retire(self.member(1, at)) }
        }
        #expect(runs.members.count == 1024)
        #expect(runs.latestRun(of: NodeID(1)) == 2000)
        #expect(runs[self.member(1, 1990)] != nil && runs[self.member(1, 500)] == nil)
    }

    @Test func theFileIsReadOrRefused() throws {
        var runs = PeerRuns()
        runs.isComplete = true
        for at in UInt64(1)...3 { runs.add(self.member(UInt32(at), at), self.mark(at * 10, at)) }
        runs.retire(self.member(2, 2))
        runs.add(self.member(3, 3), self.mark(99))
        let bytes = runs.file
        #expect(try PeerRuns(file: bytes) == runs)
        for count in 0..<bytes.count {
            #expect(throws: MalformedBytes.self) { _ = try PeerRuns(file: Array(bytes[..<count])) }
        }
        for at in bytes.indices {
            var changed = bytes
            changed[at] ^= 0x10
            #expect(throws: MalformedBytes.self, "byte \(at)") { _ = try PeerRuns(file: changed) }
        }
        // Checks, and claims a run that cannot be.
        var forged = bytes
        forged.replace(at: 39, littleEndian: UInt32.max)
        forged.replace(at: 43, littleEndian: UInt32.max)
        forged.replace(at: 0, littleEndian: CRC32C.of(forged[4...]))
        #expect(throws: MalformedBytes.self) { _ = try PeerRuns(file: forged) }
    }
}
