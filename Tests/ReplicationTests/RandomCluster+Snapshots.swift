import Replication

extension RandomCluster {
    func beginSnapshot(from leader: TestMember, to target: MemberID) {
        guard let to = self.members.first(where: { $0.id == target }) else { return }
        guard let mark = leader.disk.snapshot, !self.snapshots.contains(where: { $0.from === leader && $0.to === to })
        else { return }
        let length = Nanoseconds.milliseconds(2) + self.random.below(self.isCalm ? 5_000_000 : 40_000_000)
        self.snapshots.append(
            SnapshotTransit(due: self.now + length, from: leader, to: to, term: leader.replica.term, mark: mark))
    }

    func moveSnapshots() {
        let due = self.snapshots.filter { $0.due <= self.now }
        self.snapshots.removeAll { $0.due <= self.now }
        for snapshot in due {
            let isLost = !self.isCalm && self.random.chance(1, in: 5)
            let member = snapshot.to
            var isTaken = false
            if snapshot.isLent {
                let hole = member.replica.log.holes.first?.index ?? .max
                guard member.isAlive, !isLost, hole <= snapshot.mark.index, member.replica.holds(snapshot.mark) else {
                    continue
                }
                self.tell("  \(member.id) borrows \(snapshot.mark.index)")
                self.checker.installs(snapshot.mark, at: member)
                self.tally.lent += 1
                member.replica.install(snapshot.mark, now: self.now, into: &member.effects)
                self.end(member, adding: TestMember.Batch(writes: [.snapshot(snapshot.mark)]))
                continue
            }
            if member.isAlive, !isLost {
                isTaken = member.replica.acceptSnapshot(
                    from: snapshot.from.id, term: snapshot.term, now: self.now, into: &member.effects)
                if isTaken {
                    var batch = TestMember.Batch(installed: (snapshot.from.id, snapshot.mark.index))
                    if snapshot.mark.index > member.replica.commitIndex {
                        self.tell("  \(member.id) installs \(snapshot.mark.index)")
                        self.checker.installs(snapshot.mark, at: member)
                        batch.writes.append(.snapshot(snapshot.mark))
                        self.tally.snapshots += 1
                    }
                    member.replica.install(snapshot.mark, now: self.now, into: &member.effects)
                    self.end(member, adding: batch)
                } else {
                    self.end(member)
                }
            }
            if !isTaken, snapshot.from.isAlive {
                snapshot.from.replica.snapshotFailed(to: member.id, now: self.now, into: &snapshot.from.effects)
                self.end(snapshot.from)
            }
        }
    }

    /// What others have in their snapshots alone, they send.
    func borrowSnapshots() {
        for to in self.members where to.isAlive {
            guard let (index, member) = to.snapshotWanted, self.random.chance(1, in: 20),
                let from = self.members.first(where: { $0.id == member }), from.isAlive,
                let mark = from.disk.snapshot, mark.index >= index
            else { continue }
            if from.replica.role == .leader {
                self.beginSnapshot(from: from, to: to.id)
            } else {
                self.snapshots.append(
                    SnapshotTransit(
                        due: self.now + self.random.below(20_000_000), from: from, to: to, term: 0, mark: mark,
                        isLent: true))
            }
        }
    }
}
