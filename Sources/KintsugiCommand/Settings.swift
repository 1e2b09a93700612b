import Configuration
import FoundationEssentials
import LocalCluster
import Yams

/// Settings as they were found: by flag, else in the environment, else in the file, else the default.
struct Settings {
    struct Found: Equatable {
        var value: String
        /// `flag`, `environment`, the file's path, or `default`.
        var source: String
    }

    private var found: [Setting: Found] = [:]

    /// - Throws: `CommandFailure` 78, which names key and source, for keys nobody knows and values that do not read.
    init(flags: [Setting: String], environment: [String: String]) throws(CommandFailure) {
        let known = Set(Setting.allCases.map(\.environmentName))
        for name in environment.keys.sorted() where name.hasPrefix("KINTSUGI_") && !known.contains(name) {
            throw .configuration(
                "\(name) in the environment is not a setting.\(Self.suggestion(for: name, among: known))")
        }
        var providers: [(source: String, provider: any ConfigSnapshot)] = [
            (
                "flag",
                InMemoryProvider(
                    values: Dictionary(
                        uniqueKeysWithValues: flags.map {
                            (Self.key(of: $0), ConfigValue(.string($1), isSecret: false))
                        })
                ).snapshot()
            ),
            (
                "environment",
                EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: "kintsugi").snapshot()
            ),
        ]
        if let path = flags[.config] ?? environment[Setting.config.environmentName] {
            providers.append((path, try Self.file(path)))
        }
        for setting in Setting.allCases {
            for (source, provider) in providers {
                let value: String?
                do {
                    value = try provider.value(forKey: Self.key(of: setting), type: .string).value?.content.text
                } catch {
                    throw .configuration("\(setting.rawValue) in \(source) is not a single value.")
                }
                guard let value else { continue }
                if let complaint = setting.complaint(about: value) {
                    throw .configuration("\(setting.rawValue) from \(source) \(complaint): '\(value)'.")
                }
                self.found[setting] = Found(value: value, source: source)
                break
            }
            if self.found[setting] == nil, let value = setting.fallback {
                self.found[setting] = Found(value: value, source: "default")
            }
        }
    }

    subscript(_ setting: Setting) -> Found? { self.found[setting] }

    func text(_ setting: Setting) -> String? { self.found[setting]?.value }

    /// Of a setting that has a default; its value has been checked.
    func number(_ setting: Setting) -> Int { Int(self.found[setting]!.value)! }

    func bytes(_ setting: Setting) -> Int? { self.found[setting].map { Setting.bytes($0.value)! } }

    func milliseconds(_ setting: Setting) -> Int { Setting.milliseconds(self.found[setting]!.value)! }

    private static func key(of setting: Setting) -> AbsoluteConfigKey {
        AbsoluteConfigKey(setting.rawValue.split(separator: ".").map(String.init))
    }

    // MARK: The file

    private static func file(_ path: String) throws(CommandFailure) -> any ConfigSnapshot {
        guard let text = LocalCluster.read(path) else {
            throw .configuration("The configuration file \(path) cannot be read.")
        }
        let known = Set(Setting.allCases.map(\.rawValue))
        do {
            // The snapshot answers for keys it is asked about and keeps quiet about others: those are found here.
            for key in Self.keys(of: try Yams.compose(yaml: text), after: "") where !known.contains(key) {
                throw CommandFailure.configuration(
                    "\(key) in \(path) is not a setting.\(Self.suggestion(for: key, among: known))")
            }
            return try YAMLSnapshot(data: Array(text.utf8).span.bytes, providerName: path, parsingOptions: .default)
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw .configuration("The configuration file \(path) does not parse: \(error).")
        }
    }

    private static func keys(of node: Node?, after prefix: String) -> [String] {
        guard let mapping = node?.mapping else { return prefix.isEmpty ? [] : [prefix] }
        return mapping.flatMap { key, value in
            Self.keys(of: value, after: (prefix.isEmpty ? "" : prefix + ".") + (key.string ?? "?"))
        }
    }

    private static func suggestion(for name: String, among known: Set<String>) -> String {
        let nearest = known.map { (Self.distance(name, $0), $0) }.min { $0 < $1 }
        guard let nearest, nearest.0 <= 3 else { return " `kintsugi config show` lists all." }
        return " Did you mean \(nearest.1)?"
    }

    /// Levenshtein's.
    private static func distance(_ a: String, _ b: String) -> Int {
        let b = Array(b)
        var row = Array(0...b.count)
        for (i, x) in a.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (x == b[j] ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
}

extension ConfigContent {
    fileprivate var text: String? {
        if case .string(let text) = self { text } else { nil }
    }
}
