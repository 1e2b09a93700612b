internal import CKintsugi
import Glibc

/// Memory for keys and values, in size classes cut from chunks of 2 MiB, aligned and advised for huge pages: the kernel
/// lets go of those twenty times faster than of small ones when a process is killed, and its peers wait for that.
///
/// Not Sendable: one owner. Freed blocks are used again for their class; chunks go back only when all is dropped.
final class Slabs {
    private static let chunkBytes = 2 << 20
    /// Larger ones have an allocation of their own.
    private static let largest = 256 << 10
    private var chunks: [UnsafeMutableRawPointer] = []
    private var cursor: UnsafeMutableRawPointer?
    private var remaining = 0
    private var freeLists: [UnsafeMutableRawPointer?]
    /// Bytes of all chunks and large blocks.
    private(set) var reserved = 0
    /// Bytes of blocks in use, by class size.
    private(set) var used = 0

    init() { self.freeLists = Array(repeating: nil, count: Self.classIndex(Self.largest) + 1) }

    deinit { for chunk in self.chunks { free(chunk) } }

    /// Classes: 16-byte steps to 1 KiB, then an eighth of each power of two.
    static func classIndex(_ size: Int) -> Int {
        if size <= 1024 { return (size + 15) / 16 }
        let power = Int.bitWidth - (size - 1).leadingZeroBitCount - 1
        let step = (size - 1 - (1 << power)) >> (power - 3)
        return 64 + (power - 10) * 8 + step + 1
    }

    static func classBytes(_ index: Int) -> Int {
        if index <= 64 { return index * 16 }
        let power = (index - 65) / 8 + 10
        let step = (index - 65) % 8
        return (1 << power) + ((step + 1) << (power - 3))
    }

    /// Bytes that a block for `size` really takes.
    static func capacity(of size: Int) -> Int {
        size > Self.largest ? (size + 4095) & ~4095 : Self.classBytes(Self.classIndex(size))
    }

    func allocate(_ size: Int) -> UnsafeMutableRawPointer {
        let capacity = Self.capacity(of: size)
        self.used += capacity
        if size > Self.largest {
            self.reserved += capacity
            return Self.aligned(4096, capacity)
        }
        let index = Self.classIndex(size)
        if let block = self.freeLists[index] {
            self.freeLists[index] = block.load(as: UnsafeMutableRawPointer?.self)
            return block
        }
        if self.remaining < capacity {
            self.shelve()
            let chunk = Self.aligned(Self.chunkBytes, Self.chunkBytes)
            kintsugi_advise_huge(chunk, Self.chunkBytes)
            self.chunks.append(chunk)
            self.reserved += Self.chunkBytes
            self.cursor = chunk
            self.remaining = Self.chunkBytes
        }
        let block = self.cursor!
        self.cursor = block + capacity
        self.remaining -= capacity
        return block
    }

    static func isLarge(_ size: Int) -> Bool { size > Self.largest }

    /// Gives back all chunks: no block in them is in use any more.
    func releaseChunks() {
        for chunk in self.chunks { free(chunk) }
        self.reserved -= self.chunks.count * Self.chunkBytes
        self.chunks.removeAll()
        self.cursor = nil
        self.remaining = 0
        for index in self.freeLists.indices { self.freeLists[index] = nil }
        // Large blocks have been released one by one.
        self.used = 0
    }

    func release(_ block: UnsafeMutableRawPointer, _ size: Int) {
        let capacity = Self.capacity(of: size)
        self.used -= capacity
        if size > Self.largest {
            self.reserved -= capacity
            free(block)
            return
        }
        let index = Self.classIndex(size)
        block.storeBytes(of: self.freeLists[index], as: UnsafeMutableRawPointer?.self)
        self.freeLists[index] = block
    }

    /// What is left of the present chunk serves the largest classes that fit.
    private func shelve() {
        while self.remaining >= 16 {
            var index = Self.classIndex(min(self.remaining, Self.largest))
            while Self.classBytes(index) > self.remaining { index -= 1 }
            let capacity = Self.classBytes(index)
            guard capacity >= 16, let block = self.cursor else { return }
            block.storeBytes(of: self.freeLists[index], as: UnsafeMutableRawPointer?.self)
            self.freeLists[index] = block
            self.cursor = block + capacity
            self.remaining -= capacity
        }
    }

    private static func aligned(_ alignment: Int, _ size: Int) -> UnsafeMutableRawPointer {
        var pointer: UnsafeMutableRawPointer?
        guard posix_memalign(&pointer, alignment, size) == 0, let pointer else {
            fatalError("no memory for \(size) bytes of keys and values")
        }
        return pointer
    }
}
