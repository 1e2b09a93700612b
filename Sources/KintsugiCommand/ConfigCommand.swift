import ArgumentParser

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Look at the settings.", subcommands: [Show.self])

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print each setting and where it came from.",
            discussion: """
                Takes the same flags as `kintsugi serve`:
                  kintsugi config show --config /etc/kintsugi.yaml
                  KINTSUGI_MAX_MEMORY=4gb kintsugi config show
                """)

        @OptionGroup var flags: SettingFlags
        @Flag(help: "Print one JSON object.") var json = false

        private struct Line: Encodable {
            var value: String?
            var source: String
        }

        func run() throws {
            let settings = try self.flags.settings()
            let lines = Setting.allCases.map { setting -> (Setting, Line) in
                if let found = settings[setting] { return (setting, Line(value: found.value, source: found.source)) }
                return (
                    setting,
                    Line(value: setting == .maxMemory ? "\(ServeCommand.halfOfMemory())" : nil, source: "default")
                )
            }
            if self.json {
                print(encoded(Dictionary(uniqueKeysWithValues: lines.map { ($0.rawValue, $1) })))
                return
            }
            for (setting, line) in lines {
                let name = setting.rawValue.padded(to: 24)
                print("\(name)\((line.value ?? "-").padded(to: 28)) \(line.source)")
            }
        }
    }
}

extension String {
    /// With blanks at the end; longer ones stay as they are.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - self.count)) }
}
