package import Replication

extension Incident {
    func json(id: UInt64) -> String {
        let authority = self.authority
        let (repair, closed, changes, samples) = (self.repair, self.closed, self.changes, self.samples)
        let detected = authority.detected.nanoseconds
        let occurredAfter = WallTime(nanoseconds: detected - min(authority.window, detected))
        func at(_ duration: Nanoseconds?) -> String {
            duration.map { "\"\(timestamp(WallTime(nanoseconds: detected &+ $0)))\"" } ?? "null"
        }
        let state = closed != nil ? "closed" : repair != nil ? "repaired" : "open"
        let delays = self.accounts.sorted { $0.observer < $1.observer }.compactMap { account in
            account.delay.map { "\"\(account.observer)\":\(milliseconds($0))" }
        }
        let rates = zip(["1s", "5s", "30s", "close"], samples).map { name, sample in
            "\"\(name)\":" + (sample.map { ratio($0.serving, $0.all) } ?? "null")
        }
        let groups = changes.map {
            "{\"group\":\"\($0.group)\",\"from\":\($0.from),\"to\":\($0.to),\"term\":\($0.term),\"writes_lost\":0}"
        }
        let recovery = repair.map { "[\(milliseconds($0)),\(milliseconds($0 &+ authority.window))]" } ?? "null"
        let actions =
            authority.actions.map(quoted)
            + changes.map { "\"node \($0.to) leads \($0.group) in term \($0.term)\"" }
            + (closed != nil ? ["\"node \(self.node) is in full service\""] : [])
        return """
            {"id":\(id),"kind":"\(self.kind)","cause":"\(self.cause.text)","node":\(self.node),"run":\(self.run),\
            "planned":\(self.isPlanned),"count":\(self.count),"state":"\(state)",\
            "occurred":{"after":"\(timestamp(occurredAfter))","before":"\(timestamp(authority.detected))"},\
            "detected":"\(timestamp(authority.detected))","repaired":\(at(repair)),"closed":\(at(closed)),\
            "detection_ms":[0,\(milliseconds(authority.window))],\
            "repair_ms":\(repair.map { milliseconds($0) } ?? "null"),"recovery_ms":\(recovery),\
            "delay_ms":{\(delays.joined(separator: ","))},"recovery_rate":{\(rates.joined(separator: ","))},\
            "groups":[\(groups.joined(separator: ","))],"bytes_repaired":\(authority.bytesRepaired),\
            "actions":[\(actions.joined(separator: ","))],"observer":\(authority.observer)}
            """
    }
}

extension Incident.Cause {
    package var text: String {
        switch self {
        case .diskLost: "disk lost"
        case .diskFull: "disk full"
        case .diskReadOnly: "read-only"
        case .diskError: "i/o error"
        case .diskStuck: "stuck disk"
        default: "\(self)"
        }
    }
}

/// As a JSON string. What was committed may hold anything.
private func quoted(_ text: String) -> String {
    var out = "\""
    for character in text.unicodeScalars {
        switch character {
        case "\"", "\\": out += "\\\(character)"
        case _ where character.value < 0x20: out += " "
        default: out.unicodeScalars.append(character)
        }
    }
    return out + "\""
}

/// With three decimals.
private func milliseconds(_ duration: Nanoseconds) -> String {
    let micro = duration / 1000
    return "\(micro / 1000).\(padded(micro % 1000, 3))"
}

private func ratio(_ a: UInt32, _ b: UInt32) -> String {
    guard b > 0 else { return "null" }
    if a >= b { return "1" }
    return "0.\(padded(UInt64(a) * 1000 / UInt64(b), 3))"
}

private func padded(_ value: UInt64, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}

/// ISO 8601, UTC, with milliseconds. The date by Howard Hinnant's civil-from-days algorithm.
package func timestamp(_ time: WallTime) -> String {
    let seconds = time.nanoseconds / 1_000_000_000
    let z = Int64(seconds / 86400) + 719_468
    let era = z / 146_097
    let dayOfEra = z - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shifted + 2) / 5 + 1
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    let ofDay = seconds % 86400
    return "\(padded(UInt64(year), 4))-\(padded(UInt64(month), 2))-\(padded(UInt64(day), 2))T"
        + "\(padded(ofDay / 3600, 2)):\(padded(ofDay / 60 % 60, 2)):\(padded(ofDay % 60, 2))"
        + ".\(padded(time.nanoseconds / 1_000_000 % 1000, 3))Z"
}
