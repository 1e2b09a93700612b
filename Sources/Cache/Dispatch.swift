extension CacheMachine {
    /// Runs the command whose arguments are loaded; false where it has paused (`LongCommand`).
    func dispatch(_ spec: CommandSpec, reply: inout ReplyBuffer) -> Bool {
        switch spec.id {
        case 9: return self.mget(&reply)
        case 10: return self.mset(onlyIfNone: false, &reply)
        case 11: return self.mset(onlyIfNone: true, &reply)
        case 22: return self.lcs(&reply)
        case 23, 24: return self.del(&reply)
        case 25: return self.exists(touches: false, &reply)
        case 36: return self.keys(&reply)
        case 41: return self.exists(touches: true, &reply)
        case 45, 46: return self.flush(&reply)
        default:
            self.runShort(spec, reply: &reply)
            return true
        }
    }

    private func runShort(_ spec: CommandSpec, reply: inout ReplyBuffer) {
        switch spec.id {
        case 1: self.get(&reply)
        case 2: self.set(&reply)
        case 3: self.setnx(&reply)
        case 4: self.setex(unit: 1000, name: "setex", &reply)
        case 5: self.setex(unit: 1, name: "psetex", &reply)
        case 6: self.getset(&reply)
        case 7: self.getdel(&reply)
        case 8: self.getex(&reply)
        case 12: self.increment(by: 1, &reply)
        case 13: self.increment(by: -1, &reply)
        case 14: self.incrementBy(isNegative: false, &reply)
        case 15: self.incrementBy(isNegative: true, &reply)
        case 16: self.incrementByFloat(&reply)
        case 17: self.append(&reply)
        case 18: self.strlen(&reply)
        case 19, 20: self.getrange(&reply)
        case 21: self.setrange(&reply)
        case 26: self.expire(unit: 1000, isAbsolute: false, name: "expire", &reply)
        case 27: self.expire(unit: 1, isAbsolute: false, name: "pexpire", &reply)
        case 28: self.expire(unit: 1000, isAbsolute: true, name: "expireat", &reply)
        case 29: self.expire(unit: 1, isAbsolute: true, name: "pexpireat", &reply)
        case 30: self.ttl(unit: 1000, isAbsolute: false, &reply)
        case 31: self.ttl(unit: 1, isAbsolute: false, &reply)
        case 32: self.ttl(unit: 1000, isAbsolute: true, &reply)
        case 33: self.ttl(unit: 1, isAbsolute: true, &reply)
        case 34: self.persist(&reply)
        case 35: self.type(&reply)
        case 37: self.scan(&reply)
        case 38: self.rename(onlyIfAbsent: false, &reply)
        case 39: self.rename(onlyIfAbsent: true, &reply)
        case 40: self.copy(&reply)
        case 42: self.randomkey(&reply)
        case 43: self.object(&reply)
        case 44: reply.integer(Int64(self.count))
        case CommandTable.watch: reply.integer(Int64(self.appliedIndex))
        default: reply.error("ERR not a command of the cache")
        }
    }
}

/// Whether the bytes spell this word in whatever case, up to their end or first zero byte, where Redis stops to look.
/// `word` is lower case.
package func spells(_ bytes: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    guard bytes.count == count || bytes.count > count && bytes[count] == 0 else { return false }
    return word.withUTF8Buffer { letters in
        for at in 0..<count {
            let byte = bytes[at]
            let lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
            if lower != letters[at] { return false }
        }
        return true
    }
}

enum Text {
    static let syntax: StaticString = "ERR syntax error"
    static let notInteger: StaticString = "ERR value is not an integer or out of range"
    static let noSuchKey: StaticString = "ERR no such key"
    /// Redis's `proto-max-bulk-len`, of which 512 MiB are usual: a value is copied and hashed in one turn of the loop.
    static let maxStringBytes = 32 << 20
}
