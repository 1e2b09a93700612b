import FoundationEssentials
import Glibc

/// A command came to nothing: an exit code and a sentence that says what to do.
struct CommandFailure: Error {
    /// 1 failed; 64 usage; 69 no node answers, or a port is taken; 73 data directory refused; 75 not ready in time; 78 bad
    /// configuration.
    var code: Int32
    var message: String

    static func configuration(_ message: String) -> CommandFailure { CommandFailure(code: 78, message: message) }

    static func usage(_ message: String) -> CommandFailure { CommandFailure(code: 64, message: message) }

    private struct Body: Encodable {
        struct Fields: Encodable {
            var code: Int32
            var message: String
        }
        var error: Fields
    }

    /// Says it where the caller looks, and ends the process.
    func report(asJSON: Bool) -> Never {
        if asJSON {
            print(encoded(Body(error: .init(code: self.code, message: self.message))))
        } else {
            note("kintsugi: \(self.message)")
        }
        fflush(nil)
        exit(self.code)
    }
}

/// One line of JSON.
func encoded(_ value: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(value) else { return "{}" }
    return String(decoding: data, as: UTF8.self)
}

/// A line to standard error.
func note(_ text: String) {
    var bytes = Array((text + "\n").utf8)
    _ = write(2, &bytes, bytes.count)
}
