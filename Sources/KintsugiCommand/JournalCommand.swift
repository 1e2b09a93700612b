import ArgumentParser
struct JournalCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "journal") }
struct BenchCommand: ParsableCommand { static let configuration = CommandConfiguration(commandName: "bench") }
