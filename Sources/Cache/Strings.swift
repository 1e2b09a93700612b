import CKintsugi

/// Strings: GET, SET and their kin. Texts and corner cases as in Redis 7.0.15.
extension CacheMachine {
    /// A time to live given in `unit`s of milliseconds as an absolute time; nil where it overflows or is not positive.
    private func deadline(_ value: Int64, unit: Int64, isAbsolute: Bool) -> UInt64? {
        guard value > 0, value <= Int64.max / unit else { return nil }
        let milliseconds = value * unit
        if isAbsolute { return UInt64(milliseconds) }
        guard milliseconds <= Int64.max - Int64(self.nowMilliseconds) else { return nil }
        return self.nowMilliseconds + UInt64(milliseconds)
    }

    func get(_ reply: inout ReplyBuffer) {
        guard let record = self.lookup(self.arguments[0]) else { return reply.null() }
        reply.bulk(record.value)
    }

    private struct SetOptions {
        var onlyIfAbsent = false
        var onlyIfPresent = false
        var givesOld = false
        var keepsExpiry = false
        var persists = false
        var expiry: (value: UnsafeRawBufferPointer, unit: Int64, isAbsolute: Bool)?
    }

    /// The options of SET and GETEX from `first` on; nil after an error.
    private func options(from first: Int, isSet: Bool, _ reply: inout ReplyBuffer) -> SetOptions? {
        var options = SetOptions()
        var at = first
        while at < self.arguments.count {
            let word = self.arguments[at]
            let next = at + 1 < self.arguments.count ? self.arguments[at + 1] : nil
            /// One kind of time at most; of several of that kind the last counts.
            func isFree(_ unit: Int64, _ isAbsolute: Bool) -> Bool {
                guard !options.keepsExpiry, !options.persists else { return false }
                return options.expiry.map { $0.unit == unit && $0.isAbsolute == isAbsolute } ?? true
            }
            if isSet, spells(word, "nx"), !options.onlyIfPresent {
                options.onlyIfAbsent = true
            } else if isSet, spells(word, "xx"), !options.onlyIfAbsent {
                options.onlyIfPresent = true
            } else if isSet, spells(word, "get") {
                options.givesOld = true
            } else if isSet, spells(word, "keepttl"), options.expiry == nil {
                options.keepsExpiry = true
            } else if !isSet, spells(word, "persist"), options.expiry == nil {
                options.persists = true
            } else if spells(word, "ex"), isFree(1000, false), let next {
                options.expiry = (next, 1000, false)
                at += 1
            } else if spells(word, "px"), isFree(1, false), let next {
                options.expiry = (next, 1, false)
                at += 1
            } else if spells(word, "exat"), isFree(1000, true), let next {
                options.expiry = (next, 1000, true)
                at += 1
            } else if spells(word, "pxat"), isFree(1, true), let next {
                options.expiry = (next, 1, true)
                at += 1
            } else {
                reply.error(Text.syntax)
                return nil
            }
            at += 1
        }
        return options
    }

    /// The absolute time of the options; an error, and nil, where it is none.
    private func time(
        of given: (value: UnsafeRawBufferPointer, unit: Int64, isAbsolute: Bool), name: StaticString,
        _ reply: inout ReplyBuffer
    ) -> UInt64? {
        guard let value = integer(given.value) else {
            reply.error(Text.notInteger)
            return nil
        }
        guard let deadline = self.deadline(value, unit: given.unit, isAbsolute: given.isAbsolute) else {
            reply.error("ERR invalid expire time in '\(name)' command")
            return nil
        }
        return deadline
    }

    func set(_ reply: inout ReplyBuffer) {
        let key = self.arguments[0]
        let value = self.arguments[1]
        if self.arguments.count == 2 {
            self.set(key, value, expiry: nil)
            return reply.ok()
        }
        guard let options = self.options(from: 2, isSet: true, &reply) else { return }
        var expiry: UInt64?
        if let given = options.expiry {
            guard let deadline = self.time(of: given, name: "set", &reply) else { return }
            expiry = deadline
        }
        let old = self.lookup(key)
        if options.givesOld { if let old { reply.bulk(old.value) } else { reply.null() } }
        if (options.onlyIfAbsent && old != nil) || (options.onlyIfPresent && old == nil) {
            if !options.givesOld { reply.null() }
            return
        }
        if options.keepsExpiry { expiry = old?.expiry }
        if let expiry, expiry < self.nowMilliseconds {
            // An absolute time that has passed already.
            self.remove(key)
            self.noteRemoval(of: key)
        } else {
            self.set(key, value, expiry: expiry)
        }
        if !options.givesOld { reply.ok() }
    }

    func setnx(_ reply: inout ReplyBuffer) {
        guard self.lookup(self.arguments[0]) == nil else { return reply.integer(0) }
        self.set(self.arguments[0], self.arguments[1], expiry: nil)
        reply.integer(1)
    }

    func setex(unit: Int64, name: StaticString, _ reply: inout ReplyBuffer) {
        guard let expiry = self.time(of: (self.arguments[1], unit, false), name: name, &reply) else { return }
        self.set(self.arguments[0], self.arguments[2], expiry: expiry)
        reply.ok()
    }

    func getset(_ reply: inout ReplyBuffer) {
        self.get(&reply)
        self.set(self.arguments[0], self.arguments[1], expiry: nil)
    }

    func getdel(_ reply: inout ReplyBuffer) {
        self.get(&reply)
        self.remove(self.arguments[0])
    }

    func getex(_ reply: inout ReplyBuffer) {
        let key = self.arguments[0]
        guard let options = self.options(from: 1, isSet: false, &reply) else { return }
        guard let record = self.lookup(key) else { return reply.null() }
        if let given = options.expiry {
            guard let deadline = self.time(of: given, name: "getex", &reply) else { return }
            reply.bulk(record.value)
            if deadline <= self.nowMilliseconds {
                self.remove(key)
            } else {
                self.setExpiry(of: key, record, to: deadline)
            }
        } else {
            reply.bulk(record.value)
            if options.persists, record.hasExpiry { self.setExpiry(of: key, record, to: nil) }
        }
    }

    /// Gives a key another expiry, or none.
    func setExpiry(of key: UnsafeRawBufferPointer, _ record: Record, to expiry: UInt64?) {
        self.set(key, record.value, expiry: expiry, form: record.form)
    }

    // MARK: Numbers

    func increment(by delta: Int64, _ reply: inout ReplyBuffer) {
        let key = self.arguments[0]
        let record = self.lookup(key)
        var value: Int64 = 0
        if let record {
            guard let number = integer(record.value) else { return reply.error(Text.notInteger) }
            value = number
        }
        let (sum, overflow) = value.addingReportingOverflow(delta)
        guard !overflow else { return reply.error("ERR increment or decrement would overflow") }
        var digits = DecimalText(sum)
        digits.withBytes { self.set(key, $0, expiry: record?.expiry) }
        reply.integer(sum)
    }

    func incrementBy(isNegative: Bool, _ reply: inout ReplyBuffer) {
        guard let delta = integer(self.arguments[1]) else { return reply.error(Text.notInteger) }
        if isNegative, delta == Int64.min { return reply.error("ERR decrement would overflow") }
        self.increment(by: isNegative ? -delta : delta, &reply)
    }

    func incrementByFloat(_ reply: inout ReplyBuffer) {
        let key = self.arguments[0]
        let record = self.lookup(key)
        var zero: UInt8 = 0x30
        withUnsafeBytes(of: &zero) { zero in
            let old = record?.value ?? zero
            let delta = self.arguments[1]
            withUnsafeTemporaryAllocation(byteCount: 5120, alignment: 1) { out in
                let length = kintsugi_add_float_text(
                    old.baseAddress?.assumingMemoryBound(to: CChar.self), old.count,
                    delta.baseAddress?.assumingMemoryBound(to: CChar.self), delta.count,
                    out.baseAddress!.assumingMemoryBound(to: CChar.self), 5120)
                guard length > 0 else {
                    return length == 0
                        ? reply.error("ERR increment would produce NaN or Infinity")
                        : reply.error("ERR value is not a valid float")
                }
                let text = UnsafeRawBufferPointer(rebasing: out[..<Int(length)])
                self.set(key, text, expiry: record?.expiry, form: .text)
                reply.bulk(text)
            }
        }
    }

    // MARK: Parts

    func append(_ reply: inout ReplyBuffer) {
        let key = self.arguments[0]
        let more = self.arguments[1]
        guard let record = self.lookup(key) else {
            self.set(key, more, expiry: nil)
            return reply.integer(Int64(more.count))
        }
        let old = record.value
        guard old.count + more.count <= Text.maxStringBytes else {
            return reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
        }
        self.set(key, valueLength: old.count + more.count, expiry: record.expiry, form: .raw) { target in
            target.copyMemory(from: old)
            UnsafeMutableRawBufferPointer(rebasing: target[old.count...]).copyMemory(from: more)
        }
        reply.integer(Int64(old.count + more.count))
    }

    func strlen(_ reply: inout ReplyBuffer) {
        reply.integer(Int64(self.lookup(self.arguments[0])?.valueLength ?? 0))
    }

    func getrange(_ reply: inout ReplyBuffer) {
        guard var start = integer(self.arguments[1]), var end = integer(self.arguments[2]) else {
            return reply.error(Text.notInteger)
        }
        guard let record = self.lookup(self.arguments[0]) else { return reply.bulk("") }
        let count = Int64(record.valueLength)
        if start < 0, end < 0, start > end { return reply.bulk("") }
        if start < 0 { start = max(0, start + count) }
        if end < 0 { end = max(0, end + count) }
        end = min(end, count - 1)
        guard start <= end, count > 0 else { return reply.bulk("") }
        reply.bulk(UnsafeRawBufferPointer(rebasing: record.value[Int(start)...Int(end)]))
    }

    func setrange(_ reply: inout ReplyBuffer) {
        let key = self.arguments[0]
        let part = self.arguments[2]
        guard let offset = integer(self.arguments[1]) else { return reply.error(Text.notInteger) }
        guard offset >= 0 else { return reply.error("ERR offset is out of range") }
        let record = self.lookup(key)
        let old = record?.value ?? UnsafeRawBufferPointer(start: nil, count: 0)
        guard part.count > 0 else { return reply.integer(Int64(old.count)) }
        guard offset <= Int64(Text.maxStringBytes), Int(offset) + part.count <= Text.maxStringBytes else {
            return reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
        }
        let length = max(old.count, Int(offset) + part.count)
        self.set(key, valueLength: length, expiry: record?.expiry, form: .raw) { target in
            target.copyMemory(from: old)
            if length > old.count {
                UnsafeMutableRawBufferPointer(rebasing: target[old.count...]).initializeMemory(
                    as: UInt8.self, repeating: 0)
            }
            UnsafeMutableRawBufferPointer(rebasing: target[Int(offset)..<Int(offset) + part.count]).copyMemory(
                from: part)
        }
        reply.integer(Int64(length))
    }
}
