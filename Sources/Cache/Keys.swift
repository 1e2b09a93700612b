import Replication

/// Commands on keys whatever their values. Texts and corner cases as in Redis 7.0.15.
extension CacheMachine {
    func type(_ reply: inout ReplyBuffer) {
        reply.simple(self.lookup(self.arguments[0], touches: false) == nil ? "none" : "string")
    }

    // MARK: Expiry

    func expire(unit: Int64, isAbsolute: Bool, name: StaticString, _ reply: inout ReplyBuffer) {
        var (nx, xx, gt, lt) = (false, false, false, false)
        for option in self.arguments[2...] {
            if spells(option, "nx") {
                nx = true
            } else if spells(option, "xx") {
                xx = true
            } else if spells(option, "gt") {
                gt = true
            } else if spells(option, "lt") {
                lt = true
            } else {
                return reply.error("ERR Unsupported option ", option)
            }
        }
        if nx, xx || gt || lt {
            return reply.error("ERR NX and XX, GT or LT options at the same time are not compatible")
        }
        if gt, lt { return reply.error("ERR GT and LT options at the same time are not compatible") }
        guard let given = integer(self.arguments[1]) else { return reply.error(Text.notInteger) }
        let base = isAbsolute ? 0 : Int64(self.nowMilliseconds)
        let (scaled, overflow) = given.multipliedReportingOverflow(by: unit)
        let (when, carry) = scaled.addingReportingOverflow(base)
        guard !overflow, !carry else { return reply.error("ERR invalid expire time in '\(name)' command") }
        let key = self.arguments[0]
        guard let record = self.lookup(key) else { return reply.integer(0) }
        let current = record.expiry.map { Int64($0) }
        // No expiry counts as one infinitely far away.
        if (nx && current != nil) || (xx && current == nil) || (gt && (current == nil || when <= current!))
            || (lt && current != nil && when >= current!)
        {
            return reply.integer(0)
        }
        if when <= Int64(self.nowMilliseconds) {
            self.remove(key)
        } else {
            self.setExpiry(of: key, record, to: UInt64(when))
        }
        reply.integer(1)
    }

    func ttl(unit: Int64, isAbsolute: Bool, _ reply: inout ReplyBuffer) {
        guard let record = self.lookup(self.arguments[0], touches: false) else { return reply.integer(-2) }
        guard let expiry = record.expiry.map({ Int64($0) }) else { return reply.integer(-1) }
        // Unsigned, or it would overflow at the end of all time.
        if isAbsolute { return reply.integer(Int64((UInt64(expiry) + (unit == 1 ? 0 : 500)) / UInt64(unit))) }
        let left = max(0, expiry - Int64(max(self.readClock.milliseconds, self.nowMilliseconds)))
        reply.integer(unit == 1 ? left : (left + 500) / 1000)
    }

    func persist(_ reply: inout ReplyBuffer) {
        let key = self.arguments[0]
        guard let record = self.lookup(key), record.hasExpiry else { return reply.integer(0) }
        self.setExpiry(of: key, record, to: nil)
        reply.integer(1)
    }

    // MARK: Names

    func rename(onlyIfAbsent: Bool, _ reply: inout ReplyBuffer) {
        let from = self.arguments[0]
        let to = self.arguments[1]
        guard let record = self.lookup(from) else { return reply.error(Text.noSuchKey) }
        let isSame = from.elementsEqual(to)
        if isSame {
            if onlyIfAbsent { reply.integer(0) } else { reply.ok() }
            return
        }
        if onlyIfAbsent, self.lookup(to) != nil { return reply.integer(0) }
        self.set(to, record.value, expiry: record.expiry, form: record.form)
        self.remove(from)
        if onlyIfAbsent { reply.integer(1) } else { reply.ok() }
    }

    func copy(_ reply: inout ReplyBuffer) {
        var replaces = false
        var at = 2
        while at < self.arguments.count {
            if spells(self.arguments[at], "replace") {
                replaces = true
            } else if spells(self.arguments[at], "db"), at + 1 < self.arguments.count {
                guard let database = integer(self.arguments[at + 1]) else { return reply.error(Text.notInteger) }
                guard Int32(exactly: database) != nil else {
                    return reply.error("ERR value is out of range, value must between -2147483648 and 2147483647")
                }
                guard database == 0 else { return reply.error("ERR DB index is out of range") }
                at += 1
            } else {
                return reply.error(Text.syntax)
            }
            at += 1
        }
        let from = self.arguments[0]
        let to = self.arguments[1]
        if from.elementsEqual(to) { return reply.error("ERR source and destination objects are the same") }
        guard let record = self.lookup(from) else { return reply.integer(0) }
        if self.lookup(to) != nil, !replaces { return reply.integer(0) }
        self.set(to, record.value, expiry: record.expiry, form: record.form)
        reply.integer(1)
    }

    // MARK: Looking around

    /// The keys of a shard that are alive. Within a transaction in the order of the keys: its reply is part of the
    /// state, and where a record stands in its table depends on the table's past, which a replica restored from a
    /// checkpoint has not in common with the others.
    func forEachAlive(in shard: Int, _ body: (Record) -> Void) {
        self.budget -= self.shards[shard].capacity * 8 + self.shards[shard].count * Work.visit
        if self.isReading {
            for slot in 0..<self.shards[shard].capacity {
                if let record = self.shards[shard].record(at: slot), self.isAlive(record) { body(record) }
            }
        } else {
            for record in self.shards[shard].sortedRecords() where self.isAlive(record) { body(record) }
        }
    }

    /// The cursor is the number of the next shard: it means the same on every replica, and a key that is there
    /// throughout is always found, whatever grows meanwhile. A call gives whole shards, until it has COUNT keys, or as many as
    /// one turn bears: COUNT is a wish.
    func scan(_ reply: inout ReplyBuffer) {
        guard let cursor = self.cursor(self.arguments[0]) else { return reply.error("ERR invalid cursor") }
        var count: Int64 = 10
        var pattern: UnsafeRawBufferPointer?
        var isOtherType = false
        var at = 1
        while at < self.arguments.count {
            guard at + 1 < self.arguments.count else { return reply.error(Text.syntax) }
            let value = self.arguments[at + 1]
            if spells(self.arguments[at], "count") {
                guard let number = integer(value) else { return reply.error(Text.notInteger) }
                guard number >= 1 else { return reply.error(Text.syntax) }
                count = min(number, Self.maxScan)
            } else if spells(self.arguments[at], "match") {
                pattern = value
            } else if spells(self.arguments[at], "type") {
                isOtherType = !spells(value, "string")
            } else {
                return reply.error(Text.syntax)
            }
            at += 2
        }
        var found: [Record] = []
        var shard = min(cursor, self.shards.count)
        var seen: Int64 = 0
        while shard < self.shards.count, seen < count {
            self.forEachAlive(in: shard) { record in
                seen += 1
                if !isOtherType, pattern.map({ globMatches($0, record.key) }) ?? true { found.append(record) }
            }
            shard += 1
        }
        reply.array(2)
        reply.bulk(Int64(shard == self.shards.count ? 0 : shard))
        reply.array(found.count)
        for record in found { reply.bulk(record.key) }
    }

    private static let maxScan: Int64 = 10_000

    /// As `strtoul` reads it: a sign may stand before, nothing at all is 0, a zero byte ends it.
    private func cursor(_ bytes: UnsafeRawBufferPointer) -> Int? {
        let text = bytes.prefix { $0 != 0 }
        guard let first = text.first else { return 0 }
        let isNegative = first == 0x2d
        let digits = isNegative || first == 0x2b ? text.dropFirst() : text
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 0x30))
            guard !overflow, !carry else { return nil }
            value = sum
        }
        if isNegative { value = 0 &- value }
        return Int(min(value, UInt64(self.shards.count)))
    }

    func randomkey(_ reply: inout ReplyBuffer) {
        guard self.count > 0 else { return reply.null() }
        // From a random shard on, the first with a key that is alive; of those one by chance.
        let random = self.randomBits
        self.randomBits = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let start = Int(random % UInt64(self.shards.count))
        for step in 0..<self.shards.count {
            let shard = (start + step) & (self.shards.count - 1)
            guard self.shards[shard].count > 0 else { continue }
            var alive: [Record] = []
            self.forEachAlive(in: shard) { alive.append($0) }
            if !alive.isEmpty { return reply.bulk(alive[Int((random >> 32) % UInt64(alive.count))].key) }
        }
        reply.null()
    }

    func object(_ reply: inout ReplyBuffer) {
        let subcommand = self.arguments[0]
        if spells(subcommand, "help") {
            guard self.arguments.count == 1 else { return self.objectArity("help", &reply) }
            reply.array(Self.objectHelp.count)
            for line in Self.objectHelp { reply.simple(line) }
            return
        }
        let names: [StaticString] = ["encoding", "freq", "idletime", "refcount"]
        guard let name = names.first(where: { spells(subcommand, $0) }) else {
            return reply.error("ERR unknown subcommand '", subcommand, limit: 128, "'. Try OBJECT HELP.")
        }
        guard self.arguments.count == 2 else { return self.objectArity(name, &reply) }
        guard let record = self.lookup(self.arguments[1], touches: false) else { return reply.null() }
        if spells(subcommand, "encoding") {
            switch record.form {
            case .automatic where integer(record.value) != nil: reply.bulk("int")
            case .automatic, .text: reply.bulk(record.valueLength <= 44 ? "embstr" : "raw")
            case .raw: reply.bulk("raw")
            }
        } else if spells(subcommand, "freq") {
            reply.error(
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
            )
        } else if spells(subcommand, "idletime") {
            let now = UInt32(truncatingIfNeeded: self.readClock.milliseconds / 1000)
            // Each node knows its own reads alone: within a transaction, whose reply is the same on all, it is none.
            reply.integer(Int64(self.isReading && now > record.accessed ? now - record.accessed : 0))
        } else {
            // Redis shares the small integers, and says so with its greatest count.
            let isShared = record.form == .automatic && integer(record.value).map { (0..<10000).contains($0) } ?? false
            reply.integer(isShared ? Int64(Int32.max) : 1)
        }
    }

    private func objectArity(_ name: StaticString, _ reply: inout ReplyBuffer) {
        reply.error("ERR wrong number of arguments for 'object|\(name)' command")
    }

    private static let objectHelp: [StaticString] = [
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>", "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.", "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.", "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified", "    <key>.", "HELP",
        "    Prints this help.",
    ]
}

/// Redis's glob: `*`, `?`, `[a-c]`, `[^x]`, `\` before a character that stands for itself.
package func globMatches(
    _ pattern: UnsafeRawBufferPointer, _ text: UnsafeRawBufferPointer, ignoresCase: Bool = false
) -> Bool {
    if ignoresCase {
        func lower(_ byte: UInt8) -> UInt8 { byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte }
        return pattern.map(lower).withUnsafeBytes { pattern in
            text.map(lower).withUnsafeBytes { globMatches(pattern, $0) }
        }
    }
    // As in Redis: a star alone is looked for beforehand; an empty text is not matched against anything else.
    if text.isEmpty { return pattern.isEmpty || pattern.elementsEqual([0x2a]) }
    var p = 0
    var t = 0
    // Where to go on after the last star, which takes one byte more each time: no recursion, O(pattern × text).
    var star: (p: Int, t: Int)?
    while t < text.count {
        if p < pattern.count, pattern[p] == 0x2a {
            star = (p + 1, t)
            p += 1
            continue
        }
        if p < pattern.count, let next = matchOne(pattern, p, text[t]) {
            p = next
            t += 1
            continue
        }
        guard let back = star else { return false }
        star = (back.p, back.t + 1)
        p = back.p
        t = back.t + 1
    }
    while p < pattern.count, pattern[p] == 0x2a { p += 1 }
    return p == pattern.count
}

/// Where the pattern goes on after matching one byte; nil where it does not match.
private func matchOne(_ pattern: UnsafeRawBufferPointer, _ start: Int, _ byte: UInt8) -> Int? {
    switch pattern[start] {
    case 0x3f:
        return start + 1
    case 0x5b:
        var p = start + 1
        let isNegated = p < pattern.count && pattern[p] == 0x5e
        if isNegated { p += 1 }
        var isMatch = false
        while p < pattern.count, pattern[p] != 0x5d {
            if pattern[p] == 0x5c, p + 1 < pattern.count {
                p += 1
                if pattern[p] == byte { isMatch = true }
            } else if p + 2 < pattern.count, pattern[p + 1] == 0x2d {
                // Signed, as a `char` is.
                let (first, last) = (Int8(bitPattern: pattern[p]), Int8(bitPattern: pattern[p + 2]))
                if (min(first, last)...max(first, last)).contains(Int8(bitPattern: byte)) { isMatch = true }
                p += 2
            } else if pattern[p] == byte {
                isMatch = true
            }
            p += 1
        }
        return isMatch != isNegated ? min(p + 1, pattern.count) : nil
    case 0x5c where start + 1 < pattern.count:
        return pattern[start + 1] == byte ? start + 2 : nil
    default:
        return pattern[start] == byte ? start + 1 : nil
    }
}
