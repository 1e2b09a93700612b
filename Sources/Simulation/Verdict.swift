/// What a run, or many, came to.
package enum Verdict: String, Sendable, Codable, CaseIterable {
    /// Everything held.
    case held
    /// Something happened that must never happen.
    case safety
    /// Something did not happen within its time.
    case liveness
    /// The process that ran it died: an invariant of the code itself broke, or it did not return.
    case crash
    /// A checker ran out of steps before it knew.
    case unknown

    /// Something broke: a search for it has found what it looked for.
    package var isFailure: Bool { self != .held && self != .unknown }

    /// Of `kintsugi simulate`.
    package var exitCode: Int32 {
        switch self {
        case .held: 0
        case .safety: 10
        case .liveness: 11
        case .crash: 12
        case .unknown: 13
        }
    }
}

extension SimulationInvariant {
    /// What a run comes to in which this does not hold.
    package var verdict: Verdict {
        switch self {
        case .liveness, .requestsAnswered, .terminates: .liveness
        case .historyUndecided: .unknown
        default: .safety
        }
    }
}
