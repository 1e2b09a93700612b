import Cache
import Formats
import Replication

/// A client that waits until other nodes hold its writes (the Redis command WAIT).
struct Wait {
    var client: ClientID
    var replicas: Int
    var deadline: Instant
    var index: LogIndex
    /// Under which the leader was asked last; 0 where this node leads.
    var ticket: UInt64
    var asked: Instant
    /// The most nodes, beside one, that were known to hold the writes.
    var best = 0
}

extension NodeCore {
    /// Delivered as an integer reply once `replicas` nodes other than one hold the client's earlier writes durably, or in
    /// time with as many as do. 0 milliseconds: no limit.
    package func wait(replicas: Int, timeoutMilliseconds: UInt64, from client: ClientID) -> Admission {
        var request: [UInt8] = []
        request.append(littleEndian: UInt64(max(0, replicas)))
        request.append(littleEndian: timeoutMilliseconds)
        return request.withUnsafeBytes { self.submit(.wait, command: $0, from: client) }
    }

    func startWait(_ request: UnsafeRawBufferPointer, from client: ClientID) {
        var cursor = ByteCursor(request)
        guard let replicas = cursor.u64(), let milliseconds = cursor.u64() else {
            fatalError("a WAIT of \(request.count) bytes")
        }
        // A hundred years stand for no limit.
        let limit = milliseconds == 0 ? .seconds(3_153_600_000) : min(milliseconds, 3_153_600_000_000) * 1_000_000
        self.waits.append(
            Wait(
                client: client, replicas: Int(truncatingIfNeeded: replicas), deadline: self.now + limit,
                index: self.clients[client]?.lastWriteIndex ?? 0, ticket: 0, asked: Instant(nanoseconds: 0)))
        self.effects.wantsTurn = true
    }

    /// Members of the group that hold an entry durably, as the leader knows.
    func copies(of index: LogIndex, in group: Group) -> Int {
        var count = 0
        for member in group.replica.membership.voters where group.replica.matchIndex(of: member) >= index { count += 1 }
        return count
    }

    func answerWait(_ ticket: UInt64, copies: Int) {
        guard let at = self.waits.firstIndex(where: { $0.ticket == ticket }) else { return }
        self.waits[at].best = max(self.waits[at].best, copies - 1)
        self.finishWaits()
    }

    /// Looks again at who holds what; asks the leader at most every 2 ms.
    func considerWaits() {
        guard !self.waits.isEmpty, let group = self.group(.default) else { return }
        for at in self.waits.indices {
            if group.isLeader {
                self.waits[at].best = max(0, self.copies(of: self.waits[at].index, in: group) - 1)
            } else if let served = group.servedBy, self.now - self.waits[at].asked > .milliseconds(2) {
                self.lastCopiesTicket += 1
                self.waits[at].ticket = self.lastCopiesTicket
                self.waits[at].asked = self.now
                self.effects.messages.append(
                    (
                        served.leader,
                        .copies(group: group.id, index: self.waits[at].index, ticket: self.lastCopiesTicket)
                    ))
            }
        }
        self.finishWaits()
    }

    private func finishWaits() {
        for at in self.waits.indices.reversed() {
            let wait = self.waits[at]
            guard wait.best >= wait.replicas || self.now >= wait.deadline else { continue }
            self.waits.remove(at: at)
            self.reply.removeAll()
            self.reply.integer(Int64(wait.best))
            self.reply.bytes.withUnsafeBytes { self.deliver($0, to: wait.client, of: .wait, index: 0) }
        }
    }
}
