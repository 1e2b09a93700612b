import CKintsugi
import Glibc
package import Replication

/// Wakes one waiting thread. A signal raised while nobody waits is kept.
package final class Signal: @unchecked Sendable {
    // @unchecked: a semaphore is made for use by several threads, and stays where it is for this object's life.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    package init() { sem_init(self.semaphore, 0, 0) }

    deinit {
        sem_destroy(self.semaphore)
        self.semaphore.deallocate()
    }

    package func raise() { sem_post(self.semaphore) }

    package func wait() { while sem_wait(self.semaphore) != 0 {} }

    /// - Returns: false where the time passed without a signal.
    @discardableResult
    func wait(atMost length: Nanoseconds) -> Bool { kintsugi_wait_semaphore(self.semaphore, length) == 0 }
}

/// A thread that is started once and waited for once, both by its owner.
package final class JoinableThread: @unchecked Sendable {
    // @unchecked: `handle` is written by `start` and read by `join`, which one owner calls in this order.
    private var handle: pthread_t?
    private let ended = Signal()

    package init() {}

    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(_ name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    package func start(name: String, _ run: @escaping @Sendable () -> Void) {
        let ended = self.ended
        let body = Unmanaged.passRetained(
            Body(name) {
                run()
                ended.raise()
            }
        ).toOpaque()
        var handle = pthread_t()
        let result = pthread_create(
            &handle, nil,
            { argument in
                let body = Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                kintsugi_name_thread(body.name)
                body.run()
                return nil
            }, body)
        guard result == 0 else { fatalError("no thread can be started: \(String(cString: strerror(result)))") }
        self.handle = handle
    }

    /// Waits for the thread no longer than this. One that has not ended is left to itself: it hangs in a system call, and
    /// goes with the process.
    /// - Returns: whether it has ended.
    package func join(within patience: Nanoseconds) -> Bool {
        guard let handle = self.handle else { return true }
        guard self.ended.wait(atMost: patience) else {
            self.handle = nil
            pthread_detach(handle)
            return false
        }
        self.join()
        return true
    }

    package func join() {
        guard let handle = self.handle else { return }
        self.handle = nil
        pthread_join(handle, nil)
    }
}
