import Replication

/// Failure detection, as the node's core does it.
extension RandomCluster {
    /// The detectors of all members. A crash shows at once or after a while, a cut link after a while; a leader that
    /// came back in a later run stays suspected until another leads, or it does again.
    func detect() {
        for (i, observer) in self.members.enumerated() where observer.isAlive {
            for (j, other) in self.members.enumerated() where i != j {
                let isDown = !other.isAlive || self.isCut[i][j]
                let node = other.id.node
                if isDown {
                    let patience = other.isAlive ? Nanoseconds.milliseconds(30) : .milliseconds(5)
                    guard self.now - self.downSince[j] > patience else { continue }
                    if self.suspicions[i][j] == nil {
                        self.suspicions[i][j] = Suspicion(run: other.run, term: observer.replica.term)
                    }
                    self.suspicions[i][j]?.isWrongUntil = nil
                    observer.replica.suspect(node, now: self.now, into: &observer.effects)
                } else if let suspicion = self.suspicions[i][j] {
                    if let until = suspicion.isWrongUntil, self.now < until { continue }
                    let isBackAsFollower =
                        suspicion.run != other.run && observer.replica.leader == other.id
                        && observer.replica.term == suspicion.term
                    if isBackAsFollower { continue }
                    self.suspicions[i][j] = nil
                    observer.replica.trust(node, now: self.now, into: &observer.effects)
                } else {
                    continue
                }
                self.end(observer)
            }
        }
    }

    func suspect(_ j: Int, by i: Int, isWrongUntil: Instant?) {
        let observer = self.members[i]
        guard observer.isAlive, self.suspicions[i][j] == nil else { return }
        self.suspicions[i][j] = Suspicion(
            run: self.members[j].run, term: observer.replica.term, isWrongUntil: isWrongUntil)
        self.tell("  \(observer.id) suspects \(self.members[j].id)")
        observer.replica.suspect(self.members[j].id.node, now: self.now, into: &observer.effects)
        self.end(observer)
    }
}
