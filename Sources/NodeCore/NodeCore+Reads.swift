import Cache
import DequeModule
import Formats
package import Replication

extension NodeCore {
    /// Asks for an index for the reads of this turn. Two questions may be open: while one makes its round, the reads
    /// that come in gather for the next.
    func askForReads(_ group: Group) {
        guard group.servedBy != nil, group.reads.asked < 2, let at = group.reads.unasked else { return }
        self.lastReadTicket += 1
        group.reads.batches[at].ticket = self.lastReadTicket
        group.reads.batches[at].asked = self.now
        group.replica.read(ticket: self.lastReadTicket, now: self.now, into: &group.effects)
    }

    /// Answers the reads whose index the state has reached, in the order asked.
    func serveReads(_ group: Group) {
        guard group.hasState, !group.isMidEntry, !self.isOutputCongested,
            case .cache(let cache) = group.machine
        else { return }
        cache.budget = self.configuration.maxTurnWork
        while let index = group.reads.batches.first?.index, index <= group.appliedIndex {
            // Taken out so that delivering a reply, which may let held requests in, finds the queue unlocked.
            var batch = ReadQueue.Batch()
            swap(&batch, &group.reads.batches[0])
            let isDone = self.serve(&batch, of: cache, in: group)
            swap(&batch, &group.reads.batches[0])
            guard isDone else { return }
            group.reads.removeFirst()
        }
    }

    /// False where the item at `batch.next` needs a later time than the state's, or the next turn.
    private func serve(_ batch: inout ReadQueue.Batch, of cache: CacheMachine, in group: Group) -> Bool {
        while batch.next < batch.items.count {
            guard cache.budget > 0 else {
                self.effects.wantsTurn = true
                return false
            }
            let item = batch.items[batch.next]
            // A key may be past its expiry by our clock and alive in the state's time, which alone decides. One time
            // entry is asked for; when the state has moved on, its time holds, wherever our clock stands.
            var clock = max(self.wall, group.appliedTime)
            if let asked = batch.timeAskedAt {
                guard group.appliedIndex > asked else { return false }
                clock = group.appliedTime
            }
            self.reply.removeAll()
            let outcome = batch.bytes.withUnsafeBytes { bytes in
                cache.read(
                    UnsafeRawBufferPointer(rebasing: bytes[item.offset..<item.offset + item.count]),
                    random: self.random.next(), clock: clock, reply: &self.reply)
            }
            switch outcome {
            case .answered:
                batch.timeAskedAt = nil
                batch.next += 1
                group.reads.answered(1)
                cache.budget -= self.reply.bytes.count + Self.readWork
                self.reply.bytes.withUnsafeBytes { self.deliver($0, to: item.client, of: .read, index: 0) }
            case .paused:
                self.effects.wantsTurn = true
                return false
            case .needsTime:
                batch.timeAskedAt = group.appliedIndex
                self.askForTime(group)
                return false
            }
        }
        return true
    }

    /// Of handing a reply on.
    private static let readWork = 256

    func askForTime(_ group: Group) {
        guard let served = group.servedBy else { return }
        if served.leader == self.configuration.me.node {
            group.wantsTime = true
            self.effects.wantsTurn = true
        } else {
            self.effects.messages.append((served.leader, .advanceTime(group: group.id)))
        }
    }
}

extension NodeCore {
    /// Where keys have expiries the state's time has to move on even when nobody writes, or the expired would never be
    /// freed: the leader proposes a time entry a second.
    func considerTime(of group: Group) {
        guard group.isLeader, case .cache(let cache) = group.machine, cache.countWithExpiry > 0,
            self.wall.milliseconds > group.appliedTime.milliseconds + 1000
        else { return }
        group.wantsTime = true
    }
}
