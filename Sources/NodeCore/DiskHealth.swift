package import Formats
package import Replication

/// What a node's own disk can do, by what its journal says of it.
package struct DiskHealth: Sendable, Equatable {
    package enum Fault: UInt8, Sendable {
        case full = 1
        case readOnly = 2
        /// An input/output error, or a failed sync.
        case inputOutput = 3
        /// A write was begun long ago and has not come back.
        case stuck = 4

        package var text: String {
            switch self {
            case .full: "disk full"
            case .readOnly: "read-only"
            case .inputOutput: "i/o error"
            case .stuck: "stuck disk"
            }
        }
    }

    /// Nil: it is well.
    package private(set) var fault: Fault?
    /// Terms and votes still become durable: the disk is full, and the reserve is not used up.
    package private(set) var canPromise = false

    var isWell: Bool { self.fault == nil }

    /// What the replicas on this disk may do.
    var fitness: Fitness { self.isWell ? .fit : self.canPromise ? .votes : .follows }

    mutating func failed(_ fault: JournalFault, canPromise: Bool) {
        self.canPromise = canPromise
        self.fault =
            switch fault {
            case .full: .full
            case .readOnly: .readOnly
            case .inputOutput: .inputOutput
            }
    }

    mutating func recovered() {
        self.fault = nil
        self.canPromise = false
    }

    /// The age of the oldest write that has not come back says whether the disk is stuck. What the journal has found out
    /// stands until the journal says otherwise.
    mutating func judge(syncAge: Nanoseconds, sickAfter: Nanoseconds) {
        if syncAge >= sickAfter {
            if self.isWell { self.fault = .stuck }
        } else if self.fault == .stuck {
            self.recovered()
        }
    }
}
