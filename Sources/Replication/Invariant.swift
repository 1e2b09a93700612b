/// Stops the process, with state, where our own logic has failed. Never for input from outside: bytes of a client, a
/// peer or a disk give errors.
@inline(__always)
package func invariant(
    _ condition: Bool, _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line
) {
    if !condition { broken(message, file, line) }
}

// Out of line, so that building the text stays out of the hot path (`precondition` prints nothing when optimised).
@inline(never)
private func broken(_ message: () -> String, _ file: StaticString, _ line: UInt) -> Never {
    fatalError("invariant broken: \(message()) at \(file):\(line)")
}
