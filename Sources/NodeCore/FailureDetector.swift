package import Replication

/// Judges silence, per link, from the arrivals that were measured on it.
///
/// The timeout follows the mean interval and its mean deviation (the estimator of TCP's retransmission timer, RFC 6298,
/// section 2, with a wider margin), between a floor and a ceiling. A beat that reports a core or a disk that has been stuck
/// for too long counts as missing.
package struct FailureDetector: Sendable {
    package struct Options: Sendable {
        package var floor: Nanoseconds = .milliseconds(150)
        package var ceiling: Nanoseconds = .seconds(3)
        /// What a link's timeout is before anything was measured.
        package var initial: Nanoseconds = .milliseconds(500)
        /// Age of a peer's core turn or sync beyond which its beats do not count.
        package var sickAfter: Nanoseconds = .seconds(4)

        package init() {}
    }

    private struct Link {
        var node: NodeID
        var lastBeat: Instant
        /// Judged from here on: the last beat, or the end of a time in which we ourselves did not run.
        var silentSince: Instant
        var mean: Nanoseconds = 0
        var deviation: Nanoseconds = 0
        var isSuspected = false
    }

    private let options: Options
    private var links: [Link] = []
    private var lastCheck: Instant?

    package init(_ options: Options) { self.options = options }

    var sickAfter: Nanoseconds { self.options.sickAfter }

    /// A beat of the node arrived at `instant`.
    package mutating func heard(_ node: NodeID, at instant: Instant, coreAge: Nanoseconds, syncAge: Nanoseconds) {
        guard coreAge < self.options.sickAfter, syncAge < self.options.sickAfter else { return }
        guard let at = self.links.firstIndex(where: { $0.node == node }) else {
            self.links.append(Link(node: node, lastBeat: instant, silentSince: instant))
            return
        }
        guard instant > self.links[at].lastBeat else { return }
        // An outage of the peer, or of ourselves, is one long interval that says little of the link: none counts for more
        // than what would have been suspected. A link that has become slow is still learnt, in a few steps.
        let interval = min(instant - self.links[at].lastBeat, self.timeout(of: node))
        self.links[at].lastBeat = instant
        self.links[at].silentSince = max(self.links[at].silentSince, instant)
        if self.links[at].mean == 0 {
            self.links[at].mean = interval
            self.links[at].deviation = interval / 2
        } else {
            let mean = self.links[at].mean
            let distance = interval > mean ? interval - mean : mean - interval
            // Deviations are taken up quickly and forgotten slowly: a machine that stalls once stalls again.
            let weight: UInt64 = distance > self.links[at].deviation ? 4 : 32
            self.links[at].deviation = (self.links[at].deviation * (weight - 1) + distance) / weight
            self.links[at].mean = (mean * 15 + interval) / 16
        }
    }

    /// How long the node may be silent now.
    package func timeout(of node: NodeID) -> Nanoseconds {
        guard let link = self.links.first(where: { $0.node == node }), link.mean > 0 else {
            return self.options.initial
        }
        return min(max(link.mean * 2 + link.deviation * 6, self.options.floor), self.options.ceiling)
    }

    /// The nodes whose standing changed. To be called regularly, after all beats that have arrived were handed over.
    ///
    /// Silence is not judged over a time in which this process itself did not run:
    /// 1. We are stopped, or starved of the processor, for 400 ms.
    /// 2. We run again, and this check comes before the beats that wait in the sockets are read by their thread.
    /// 3. Every peer seems to have been silent for 400 ms. So the time that we were late is taken off.
    package mutating func check(now: Instant) -> [(NodeID, isSuspected: Bool)] {
        let expected = Nanoseconds.milliseconds(30)
        if let lastCheck, now - lastCheck > expected {
            let late = now - lastCheck - expected
            for at in self.links.indices { self.links[at].silentSince = min(self.links[at].silentSince + late, now) }
        }
        self.lastCheck = now
        var changed: [(NodeID, isSuspected: Bool)] = []
        for at in self.links.indices {
            let isSilent = now - self.links[at].silentSince > self.timeout(of: self.links[at].node)
            if isSilent != self.links[at].isSuspected {
                self.links[at].isSuspected = isSilent
                changed.append((self.links[at].node, isSilent))
            }
        }
        return changed
    }
}
