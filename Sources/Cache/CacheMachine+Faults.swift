/// For simulations of faults alone: no command leads here.
extension CacheMachine {
    /// One bit of a value changes in its place, behind the back of all that is derived from it. False where the key is
    /// absent, or its value empty.
    package func rot(_ key: UnsafeRawBufferPointer, bit: UInt64) -> Bool {
        guard let record = self.lookup(key), record.valueLength > 0 else { return false }
        let at = Int(bit / 8 % UInt64(record.valueLength))
        record.mutableValue[at] ^= 1 << UInt8(bit % 8)
        return true
    }
}
