import Glibc
import LocalCluster

/// What this program was built from.
enum BuildIdentity {
    /// The commit, as `make` notes it beside the program after each build; `unknown` where the program is newer than the
    /// note, or there is none.
    static var commit: String {
        var path = [UInt8](repeating: 0, count: 4096)
        let count = path.withUnsafeMutableBytes { readlink("/proc/self/exe", $0.baseAddress!, $0.count) }
        guard count > 0 else { return "unknown" }
        let program = String(decoding: path[..<count], as: UTF8.self)
        guard let built = Self.modified(program), let noted = Self.modified(program + ".commit"), noted >= built,
            let text = LocalCluster.read(program + ".commit")
        else { return "unknown" }
        return text.split(whereSeparator: \.isWhitespace).first.map(String.init) ?? "unknown"
    }

    private static func modified(_ path: String) -> Int? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mtim.tv_sec : nil
    }
}
