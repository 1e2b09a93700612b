import Catalog
import Glibc
import Logging
import Replication

/// Writes log lines to standard error, as text or as JSON, one line each.
struct LineLogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level
    let isJSON: Bool

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = self.metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
        let time = timestamp(Clock.wall)
        var line: String
        if self.isJSON {
            line =
                "{\"time\":\"\(time)\",\"level\":\"\(event.level)\",\"message\":\"\(Self.escaped("\(event.message)"))\""
            for (key, value) in all { line += ",\"\(Self.escaped(key))\":\"\(Self.escaped("\(value)"))\"" }
            line += "}\n"
        } else {
            line = "\(time) \(event.level) \(event.message)"
            for (key, value) in all { line += " \(key)=\(value)" }
            line += "\n"
        }
        // One call a line, so that lines of several threads do not mix.
        var bytes = Array(line.utf8)
        _ = write(2, &bytes, bytes.count)
    }

    private static func escaped(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            default: if scalar.value >= 0x20 { out.unicodeScalars.append(scalar) } else { out += " " }
            }
        }
        return out
    }
}
