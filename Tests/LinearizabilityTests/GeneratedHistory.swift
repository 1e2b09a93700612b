import Linearizability
import Replication

/// Makes histories by running clients against one key that takes each command at an instant between request and reply:
/// linearizable by how they come about.
struct GeneratedHistory {
    enum Commands: CaseIterable {
        /// GET and SET of values of their own.
        case register
        /// GET and SET of few values.
        case fewValues
        case counter
        case list
        case expiring
        case everything
    }

    var commands: Commands
    var clients = 3
    var operations = 7
    /// Requests of a client under way at once.
    var pipeline: UInt64 = 1
    /// Operations of a hundred whose reply is lost; half of these have no effect until later, or never.
    var lossPerHundred: UInt64 = 15

    /// An operation under way.
    private struct Pending {
        var place: Int
        var client: Int
        var reply: CacheReply?
    }

    func run(_ random: inout Random) -> [KeyOperation] {
        let specification = CacheSpecification()
        var history: [KeyOperation] = []
        var value: CacheState = specification.initialState
        var pending: [Pending] = []
        // Lost commands that may still arrive.
        var stray: [CacheCommand] = []
        var time: UInt64 = 0
        func run(_ command: CacheCommand, _ random: inout Random) -> CacheReply {
            // Of what may happen, one thing: the state is made to be what the reply says.
            let replies = specification.replies(to: command, in: value)
            let reply = replies[Int(random.below(UInt64(replies.count)))]
            value = specification.apply(command, reply: reply, to: value)!
            return reply
        }
        while history.count < self.operations || !pending.isEmpty {
            time += random.below(3)
            switch random.below(3) {
            case 0 where history.count < self.operations:
                let client = Int(random.below(UInt64(self.clients)))
                guard pending.count(where: { $0.client == client }) < self.pipeline else { continue }
                pending.append(Pending(place: history.count, client: client))
                history.append(
                    KeyOperation(
                        command: self.command(history.count, &random), connection: UInt64(client), invoked: time,
                        completion: nil))
            case 1:
                // One takes effect: of each client the first that has not.
                var seen: Set<Int> = []
                let ready = pending.indices.filter {
                    pending[$0].reply == nil && seen.insert(pending[$0].client).inserted
                }
                if !ready.isEmpty {
                    let at = ready[Int(random.below(UInt64(ready.count)))]
                    pending[at].reply = run(history[pending[at].place].command, &random)
                }
                if !stray.isEmpty, random.chance(1, in: 4) {
                    _ = run(stray.remove(at: Int(random.below(UInt64(stray.count)))), &random)
                }
            case _ where !pending.isEmpty:
                let at = Int(random.below(UInt64(pending.count)))
                if random.chance(self.lossPerHundred, in: 100) {
                    let lost = pending.remove(at: at)
                    // A connection keeps its order, so what is late comes from one that sends no more: not followed
                    // here.
                    if lost.reply == nil, self.pipeline == 1 { stray.append(history[lost.place].command) }
                    if self.pipeline == 1 { history[lost.place].connection = 100 + UInt64(lost.place) }
                } else if let reply = pending[at].reply {
                    history[pending[at].place].completion = (time, reply)
                    pending.remove(at: at)
                }
            default: break
            }
        }
        return history
    }

    private func command(_ number: Int, _ random: inout Random) -> CacheCommand {
        let own = bytes("\(number)")
        let few = [UInt8(ascii: "0") + UInt8(random.below(3))]
        let isRead = random.chance(2, in: 5)
        switch self.commands {
        case .register: return isRead ? .get : .set(own)
        case .fewValues: return isRead ? .get : .set(few)
        case .counter: return isRead ? .get : .increment(1)
        case .list: return isRead ? .get : .append(own + [UInt8(ascii: ";")])
        case .expiring: return isRead ? .get : .setExpiring(own)
        case .everything:
            switch random.below(10) {
            case 0: return .get
            case 1: return .set(few)
            case 2: return .setExpiring(few)
            case 3: return .setIfAbsent(few)
            case 4: return .getSet(few)
            case 5: return .getDelete
            case 6: return .increment(1 + Int64(random.below(2)))
            case 7: return .append(few)
            case 8: return .delete
            default: return .compareAndSet(expected: few, new: own)
            }
        }
    }
}

extension Story {
    /// The same after so many reads that found nothing.
    func following(reads: Int) -> Story {
        var story = Story()
        for at in 0..<reads {
            let time = UInt64(2 * at)
            story.operations.append(
                KeyOperation(command: .get, connection: 999, invoked: time, completion: (time, .value(nil))))
        }
        for var operation in self.operations {
            operation.invoked += UInt64(2 * reads)
            operation.completion?.returned += UInt64(2 * reads)
            story.operations.append(operation)
        }
        return story
    }

    /// Gives an operation another reply of the form that its command has, where it has one.
    mutating func exchangeReply(_ at: Int, _ random: inout Random) {
        guard let reply = self.operations[at].completion?.reply else { return }
        let other = self.otherReply(reply, &random)
        self.operations[at].completion?.reply = other
    }

    private func otherReply(_ reply: CacheReply, _ random: inout Random) -> CacheReply {
        switch reply {
        case .done: return .done
        case .failed: return .number(Int64(random.below(4)))
        case .number(let number): return .number(number + Int64(random.below(5)) - 2)
        case .value:
            // What someone else saw, or wrote.
            let other = self.operations[Int(random.below(UInt64(self.operations.count)))]
            switch (other.completion?.reply, other.command) {
            case (.value(let value)?, _): return .value(value)
            case (_, .set(let value)), (_, .append(let value)), (_, .setExpiring(let value)): return .value(value)
            case (.number(let number)?, _): return .text("\(number)")
            default: return .value(nil)
            }
        }
    }
}
