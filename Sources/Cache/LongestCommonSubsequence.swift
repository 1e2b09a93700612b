/// LCS, as in Redis 7.0.15. O(n × m) time and memory, bounded.
extension CacheMachine {
    /// Cells of the table, beyond which the command is refused.
    private static let maxCells = 16 << 20

    private struct LCSOptions {
        var isLength = false
        var isIndexes = false
        var hasMatchLength = false
        var minimum: Int64 = 0
    }

    /// Fills the table row by row; false where it pauses.
    func lcs(_ reply: inout ReplyBuffer) -> Bool {
        guard let options = self.lcsOptions(&reply) else { return true }
        let empty = UnsafeRawBufferPointer(start: nil, count: 0)
        let a = self.lookup(self.arguments[0])?.value ?? empty
        let b = self.lookup(self.arguments[1])?.value ?? empty
        guard (a.count + 1) * (b.count + 1) <= Self.maxCells else {
            reply.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
            return true
        }
        let width = b.count + 1
        if self.long.step == 0, self.long.table.isEmpty {
            self.long.table = [UInt32](repeating: 0, count: (a.count + 1) * width)
        }
        while self.long.step < a.count {
            guard self.mayGoOn else { return false }
            let i = self.long.step
            self.long.table.withUnsafeMutableBufferPointer { table in
                for j in 0..<b.count {
                    table[(i + 1) * width + j + 1] =
                        a[i] == b[j]
                        ? table[i * width + j] + 1 : max(table[i * width + j + 1], table[(i + 1) * width + j])
                }
            }
            self.budget -= 2 * width
            self.long.step += 1
        }
        var table: [UInt32] = []
        swap(&table, &self.long.table)
        self.answerLCS(a, b, table, options, &reply)
        return true
    }

    private func lcsOptions(_ reply: inout ReplyBuffer) -> LCSOptions? {
        var (isLength, isIndexes, hasMatchLength) = (false, false, false)
        var minimum: Int64 = 0
        var at = 2
        while at < self.arguments.count {
            let word = self.arguments[at]
            if spells(word, "idx") {
                isIndexes = true
            } else if spells(word, "len") {
                isLength = true
            } else if spells(word, "withmatchlen") {
                hasMatchLength = true
            } else if spells(word, "minmatchlen"), at + 1 < self.arguments.count {
                guard let number = integer(self.arguments[at + 1]) else {
                    reply.error(Text.notInteger)
                    return nil
                }
                minimum = max(0, number)
                at += 1
            } else {
                reply.error(Text.syntax)
                return nil
            }
            at += 1
        }
        if isLength, isIndexes {
            reply.error("ERR If you want both the length and indexes, please just use IDX.")
            return nil
        }
        return LCSOptions(
            isLength: isLength, isIndexes: isIndexes, hasMatchLength: hasMatchLength, minimum: minimum)
    }

    private func answerLCS(
        _ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer, _ table: [UInt32], _ options: LCSOptions,
        _ reply: inout ReplyBuffer
    ) {
        let width = b.count + 1
        let length = Int(table[a.count * width + b.count])
        if options.isLength { return reply.integer(Int64(length)) }

        // Backwards along the table: the bytes from the end, and the ranges that run in both.
        var bytes = [UInt8](repeating: 0, count: length)
        var left = length
        var ranges: [(aStart: Int, aEnd: Int, bStart: Int, bEnd: Int)] = []
        var current: (aStart: Int, aEnd: Int, bStart: Int, bEnd: Int)?
        func close() {
            if let range = current, range.aEnd - range.aStart + 1 >= Int(options.minimum) { ranges.append(range) }
            current = nil
        }
        var (i, j) = (a.count, b.count)
        while i > 0, j > 0 {
            if a[i - 1] == b[j - 1] {
                left -= 1
                bytes[left] = a[i - 1]
                if let range = current, range.aStart == i, range.bStart == j {
                    current = (i - 1, range.aEnd, j - 1, range.bEnd)
                } else {
                    close()
                    current = (i - 1, i - 1, j - 1, j - 1)
                }
                i -= 1
                j -= 1
            } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
                i -= 1
            } else {
                j -= 1
            }
        }
        close()
        guard options.isIndexes else { return reply.bulk(bytes) }
        reply.map(2)
        reply.bulk("matches")
        reply.array(ranges.count)
        for range in ranges {
            reply.array(options.hasMatchLength ? 3 : 2)
            reply.array(2)
            reply.integer(Int64(range.aStart))
            reply.integer(Int64(range.aEnd))
            reply.array(2)
            reply.integer(Int64(range.bStart))
            reply.integer(Int64(range.bEnd))
            if options.hasMatchLength { reply.integer(Int64(range.aEnd - range.aStart + 1)) }
        }
        reply.bulk("len")
        reply.integer(Int64(length))
    }
}
