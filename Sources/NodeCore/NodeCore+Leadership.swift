package import Replication

/// What follows from who leads: where requests go, what the shell is told, what an incident's account notes.
extension NodeCore {
    func followLeadership(of group: Group) {
        let role = group.replica.role
        let term = group.replica.term
        let leader = group.replica.leader?.node
        // One's own leadership serves from the first commit of its term: before, it may not yet know what is committed.
        // One that closes holes first serves nobody, and its own clients' writes enter no log meanwhile.
        let served: (leader: NodeID, term: Term)? = group.replica.isRecovering ? nil : leader.map { ($0, term) }
        if served?.leader != group.servedBy?.leader || served?.term != group.servedBy?.term {
            group.servedBy = served
            group.bound.refusedUntil = nil
            if served != nil {
                // To whoever leads now, from the oldest without an outcome on.
                if group.origin.state == .opening { group.origin.state = .closed }
                group.origin.resend(toNewLeader: true, now: self.now)
                group.reads.failAll()
            }
        }
        if role != .leader, !group.queue.isEmpty || !group.sessionsAsked.isEmpty {
            group.queue.removeAll(keepingCapacity: true)
            group.queuedBytes = 0
            group.sessionsAsked.removeAll(keepingCapacity: true)
        }
        if role != .leader { group.checkpoint.isProposed = false }
        if group.announced?.role != role || group.announced?.leader != leader || group.announced?.term != term {
            let before = group.announced
            group.announced = (role, term, leader)
            self.effects.events.append(.roleChanged(group.id, role, term, leader: leader))
            if before?.role == .leader, role != .leader { self.effects.events.append(.handedOver(group.id)) }
        }
        self.noteLeadership(of: group)
    }
}
