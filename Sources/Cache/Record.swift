import Replication

/// One key and its value in a slab: a header of 24 bytes, the expiry where there is one (8 bytes), the key, the value. What a
/// checkpoint keeps of it never changes: a new value is a new record.
struct Record {
    let base: UnsafeMutableRawPointer

    static let headerBytes = 24

    /// How a string reports its encoding: by its content, or as what made it left it.
    enum Form: UInt8 {
        case automatic = 0
        /// APPEND and SETRANGE leave a raw string, whatever it spells.
        case raw = 1
        /// INCRBYFLOAT leaves a string, even where it spells an integer.
        case text = 2
    }

    static func size(key: Int, value: Int, hasExpiry: Bool) -> Int {
        Self.headerBytes + (hasExpiry ? 8 : 0) + key + value
    }

    var keyLength: Int { Int(self.base.load(as: UInt32.self)) }
    var valueLength: Int { Int(self.base.load(fromByteOffset: 4, as: UInt32.self)) }
    /// Index of the entry that last changed it.
    var modified: LogIndex { self.base.load(fromByteOffset: 8, as: UInt64.self) }
    /// Seconds of this node's clock at the last use. This node's alone: no part of the replicated state.
    var accessed: UInt32 {
        get { self.base.load(fromByteOffset: 16, as: UInt32.self) }
        nonmutating set { self.base.storeBytes(of: newValue, toByteOffset: 16, as: UInt32.self) }
    }
    var hasExpiry: Bool { self.base.load(fromByteOffset: 20, as: UInt8.self) == 1 }
    var form: Form { Form(rawValue: self.base.load(fromByteOffset: 21, as: UInt8.self)) ?? .automatic }
    /// No longer in the keyspace, and kept for the checkpoint under way.
    var isRetired: Bool {
        get { self.base.load(fromByteOffset: 22, as: UInt8.self) == 1 }
        nonmutating set { self.base.storeBytes(of: newValue ? 1 : 0, toByteOffset: 22, as: UInt8.self) }
    }
    /// Milliseconds since 1970; nil: for ever.
    var expiry: UInt64? { self.hasExpiry ? self.base.load(fromByteOffset: 24, as: UInt64.self) : nil }

    var size: Int { Self.size(key: self.keyLength, value: self.valueLength, hasExpiry: self.hasExpiry) }
    private var keyOffset: Int { Self.headerBytes + (self.hasExpiry ? 8 : 0) }
    var key: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: self.base + self.keyOffset, count: self.keyLength) }
    /// They lie side by side.
    var keyAndValue: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self.base + self.keyOffset, count: self.keyLength + self.valueLength)
    }
    var value: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: self.base + self.keyOffset + self.keyLength, count: self.valueLength)
    }
    var mutableValue: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: self.base + self.keyOffset + self.keyLength, count: self.valueLength)
    }

    /// Writes header and key; the value's bytes are the caller's to fill.
    static func initialize(
        _ base: UnsafeMutableRawPointer, key: UnsafeRawBufferPointer, valueLength: Int, expiry: UInt64?,
        modified: LogIndex, accessed: UInt32, form: Form
    ) -> Record {
        base.storeBytes(of: UInt32(key.count), as: UInt32.self)
        base.storeBytes(of: UInt32(valueLength), toByteOffset: 4, as: UInt32.self)
        base.storeBytes(of: modified, toByteOffset: 8, as: UInt64.self)
        base.storeBytes(of: accessed, toByteOffset: 16, as: UInt32.self)
        base.storeBytes(of: expiry == nil ? 0 : 1, toByteOffset: 20, as: UInt8.self)
        base.storeBytes(of: form.rawValue, toByteOffset: 21, as: UInt8.self)
        base.storeBytes(of: 0, toByteOffset: 22, as: UInt16.self)
        var offset = Self.headerBytes
        if let expiry {
            base.storeBytes(of: expiry, toByteOffset: 24, as: UInt64.self)
            offset += 8
        }
        if let source = key.baseAddress { (base + offset).copyMemory(from: source, byteCount: key.count) }
        return Record(base: base)
    }
}
