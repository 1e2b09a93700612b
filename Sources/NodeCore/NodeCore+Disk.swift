package import Formats
package import Replication

/// A sick disk of this node's own. The node stays up: it hands over what it leads, which needs no write, does not stand
/// again until it is well, follows in memory, serves reads and forwards its clients' writes. What it cannot make durable
/// it does not acknowledge; what it takes in meanwhile is bounded, and its leader waits then.
///
/// The journal keeps what waits and tries again by itself. So when it is well again nothing is to be repaired here: what
/// was written in memory becomes durable in the same order, and what rested on it leaves then.
extension NodeCore {
    /// The journal could not write, and goes on trying. Everything that is not completed is not durable, except, where
    /// `canPromise`, hard states that `journalPromised` names.
    package func journalFailed(_ fault: JournalFault, canPromise: Bool) {
        self.changeDisk { $0.failed(fault, canPromise: canPromise) }
    }

    /// The journal writes again. What waited becomes durable, as completions will tell.
    package func journalRecovered() { self.changeDisk { $0.recovered() } }

    /// Of everything up to `ticket` the hard states are durable, and nothing else is known to be: votes leave.
    package func journalPromised(_ ticket: UInt64) {
        for at in self.awaitingJournal.indices where self.awaitingJournal[at].ticket <= ticket {
            self.awaitingJournal[at].messages.removeAll { to, message in
                guard case .replica(let vote) = message, case .voteReply = vote.body else { return false }
                self.effects.messages.append((to, message))
                return true
            }
            for (id, write) in self.awaitingJournal[at].tickets {
                let group = self.group(id)!
                group.replica.promised(write, now: self.now, into: &group.effects)
            }
        }
    }

    /// How long this node's oldest write has been with the disk; 0 where there is none. A leader that cannot write hands
    /// over: its followers could go on committing without it, but nothing it promises would outlive it.
    package func judgeOwnDisk(syncAge: Nanoseconds) {
        self.changeDisk { $0.judge(syncAge: syncAge, sickAfter: self.detector.sickAfter) }
    }

    private func changeDisk(_ change: (inout DiskHealth) -> Void) {
        let before = self.disk
        change(&self.disk)
        guard self.disk != before else { return }
        for group in self.groups { group.replica.fit(self.disk.fitness, now: self.now, into: &group.effects) }
        if let fault = self.disk.fault, before.fault != fault {
            self.effects.events.append(.diskFailed(fault))
            self.noteOwnDisk(fault)
        } else if self.disk.isWell {
            self.effects.events.append(.diskRecovered)
        }
        self.superviseDisk()
    }

    /// As long as the disk is sick this node tries to hand over what it leads.
    func superviseDisk() {
        guard !self.disk.isWell, self.configuration.founders.count > 1 else { return }
        for group in self.groups where group.isLeader && !group.replica.isTransferring {
            _ = group.replica.transfer(to: nil, now: self.now, into: &group.effects)
        }
    }

    /// Acknowledgements of appends, and denials of entries, are not kept for a disk that is sick, or they would pile up for as long as it is: the
    /// leader asks again.
    func isWorthKeeping(_ message: Message) -> Bool {
        switch message.body {
        case .appendReply, .entries: self.disk.isWell
        default: true
        }
    }

    // MARK: The account

    private func noteOwnDisk(_ fault: DiskHealth.Fault) {
        // A stuck disk shows in the heartbeats: the peers see it as silence, and account for it.
        guard fault != .stuck || self.configuration.founders.count == 1 else { return }
        let led = self.groups.filter(\.isLeader).map { ($0.id, $0.replica.term) }
        self.diskAccount.failed(
            fault, lastGood: self.lastJournalled, led: self.configuration.founders.count > 1 ? led : [], now: self.now,
            wall: self.wall)
    }

    func tickDiskAccount(serving: Int) {
        let isBack =
            self.disk.isWell && self.awaitingJournal.isEmpty
            && self.groups.allSatisfy { $0.servedBy != nil && $0.incoming == nil && $0.isSound }
        self.diskAccount.tick(
            isWell: self.disk.isWell, isBack: isBack, serving: serving - (isBack ? 0 : 1), all: self.peers.count + 1,
            now: self.now)
    }
}
