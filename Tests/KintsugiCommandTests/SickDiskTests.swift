import Foundation
import Glibc
import Testing

/// Real processes on disks that refuse.
@Suite(.serialized)
struct SickDiskTests {
    private static let value = String(repeating: "x", count: 100_000)

    /// Writes 100 kB through a node.
    private func write(_ cluster: TestCluster, through node: Int, _ number: Int) throws -> String {
        try Program.redisCLI(cluster.port(node), "set", "key:\(number % 20)", Self.value + "\(number)")
    }

    private func state(_ cluster: TestCluster, of node: Int) throws -> String? {
        try cluster.status().first { $0["id"] as? Int == node }?["state"] as? String
    }

    private func wait(_ what: String, seconds: Int = 20, until isTrue: () throws -> Bool) throws {
        for _ in 0..<seconds * 20 {
            if try isTrue() { return }
            usleep(50_000)
        }
        throw Failure("not within \(seconds) s: \(what)")
    }

    /// While the node's disk is sick: another leads, and every node takes writes and answers reads, the sick one too.
    private func checkService(_ cluster: TestCluster, sick: Int) throws {
        try self.wait("another leads") { try cluster.leader(up: []) != sick }
        for node in 1...3 {
            for number in 0..<5 {
                #expect(try Program.redisCLI(cluster.port(node), "set", "while:\(node)", "\(number)") == "OK")
            }
        }
        for node in 1...3 {
            #expect(
                try Program.redisCLI(cluster.port(node), "mget", "while:1", "while:2", "while:3") == "4\n4\n4",
                "through node \(node)")
        }
        #expect(try self.state(cluster, of: sick) == "sick")
    }

    private func checkRecovery(_ cluster: TestCluster, of node: Int, cause: String) throws {
        try self.wait("node \(node) is up") { try self.state(cluster, of: node) == "up" }
        // It counts again: with one of the others gone a write still finds a majority.
        let other = try cluster.leader()
        let killed = other == node ? node % 3 + 1 : other
        try cluster.kill(killed)
        try self.wait("a write with node \(node) in the majority") {
            try Program.redisCLI(cluster.port(node), "set", "after", "1") == "OK"
        }
        try cluster.restart(killed)
        try self.wait("the incident is closed") {
            try cluster.incidents().contains {
                $0["cause"] as? String == cause && $0["node"] as? Int == node && $0["state"] as? String == "closed"
            }
        }
    }

    @Test("a full disk: leadership goes, the node serves on, and resumes when there is space")
    func full() throws {
        var mounted: [String] = []
        defer { for path in mounted { umount2(path, Int32(MNT_DETACH)) } }
        let cluster: TestCluster
        do {
            cluster = try TestCluster(environment: ["KINTSUGI_JOURNAL_SEGMENT_BYTES": "1mb"]) { directory in
                for node in 1...3 {
                    let path = "\(directory)/\(node)"
                    mkdir(path, 0o700)
                    guard mount("tmpfs", path, "tmpfs", 0, "size=48m") == 0 else {
                        throw Failure("no file system can be mounted here: \(String(cString: strerror(errno)))")
                    }
                    mounted.append(path)
                }
            }
        } catch let failure as Failure where mounted.isEmpty {
            print("skipped: \(failure)")
            return
        }
        let leader = try cluster.leader()
        let ballast = "\(cluster.path)/\(leader)/ballast"
        let fd = open(ballast, O_WRONLY | O_CREAT, 0o600)
        let block = [UInt8](repeating: 1, count: 4096)
        while Glibc.write(fd, block, block.count) == block.count {}
        close(fd)
        var number = 0
        try self.wait("node \(leader) notices") {
            number += 1
            #expect(try self.write(cluster, through: leader % 3 + 1, number) == "OK")
            return try self.state(cluster, of: leader) == "sick"
        }
        try self.checkService(cluster, sick: leader)
        for more in 0..<20 { #expect(try self.write(cluster, through: leader, number + more) == "OK") }
        unlink(ballast)
        try self.checkRecovery(cluster, of: leader, cause: "disk full")
        #expect(FileManager.default.fileExists(atPath: "\(cluster.path)/\(leader)/journal/reserve"))
    }

    @Test("writes that fail: as a full disk, and nothing is retried on the same pages")
    func failing() throws {
        guard let shim = try Shim() else { return }
        let cluster = try TestCluster(environment: shim.environment)
        let leader = try cluster.leader()
        try shim.set("eio \(cluster.path)/\(leader)/")
        _ = try Program.redisCLI(cluster.port(leader), "set", "a", "1")
        try self.wait("node \(leader) notices") { try self.state(cluster, of: leader) == "sick" }
        try self.checkService(cluster, sick: leader)
        try shim.set("")
        try self.checkRecovery(cluster, of: leader, cause: "i/o error")
    }

    @Test("a write that never returns: another leads, the node resumes when it does, and ends in time when it does not")
    func stuck() throws {
        guard let shim = try Shim() else { return }
        let cluster = try TestCluster(
            environment: shim.environment.merging(["KINTSUGI_SICK_AFTER": "500ms"]) { $1 })
        let first = try cluster.leader()
        try shim.set("hang \(cluster.path)/\(first)/")
        // One that is with the leader when its disk hangs may be answered by the others alone.
        _ = try Program.redisCLI(cluster.port(first % 3 + 1), "set", "a", "1")
        try self.wait("node \(first) notices") { try self.state(cluster, of: first) == "sick" }
        try self.checkService(cluster, sick: first)
        try shim.set("")
        try self.wait("node \(first) is up") { try self.state(cluster, of: first) == "up" }

        let second = try cluster.leader()
        try shim.set("hang \(cluster.path)/\(second)/")
        _ = try Program.redisCLI(cluster.port(second % 3 + 1), "set", "a", "2")
        try self.wait("node \(second) notices") { try self.state(cluster, of: second) == "sick" }
        let pid = try #require(cluster.pids[second])
        try cluster.kill(second, signal: "TERM")
        try self.wait("node \(second) has ended", seconds: 10) {
            // A process that nobody has waited for yet has no command line.
            FileManager.default.contents(atPath: "/proc/\(pid)/cmdline")?.isEmpty ?? true
        }
        try shim.set("")
        try cluster.restart(second)
        try self.wait("node \(second) is up") { try self.state(cluster, of: second) == "up" }
        for node in 1...3 { #expect(try Program.redisCLI(cluster.port(node), "get", "a") == "2") }
    }
}

/// Stands between the program and the system's calls for writing and syncing: those to files under a directory fail or
/// hang, as a control file says (`eio PREFIX`, `hang PREFIX`), for as long as it does.
private final class Shim {
    private let directory: TemporaryDirectory

    private static let source = #"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/types.h>
        #include <unistd.h>

        static int fault(int fd) {
          for (;;) {
            char text[600] = "", path[600] = "", link[64];
            const char *control = getenv("SICK_DISK_CONTROL");
            int file = control ? open(control, O_RDONLY | O_CLOEXEC) : -1;
            if (file < 0) return 0;
            ssize_t count = read(file, text, sizeof text - 1);
            close(file);
            char *prefix = count > 0 ? strchr(text, ' ') : NULL;
            if (!prefix) return 0;
            *prefix++ = 0;
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            if (readlink(link, path, sizeof path - 1) <= 0 || strncmp(path, prefix, strlen(prefix)) != 0) return 0;
            if (strcmp(text, "eio") == 0) return EIO;
            if (strcmp(text, "hang") != 0) return 0;
            usleep(10000);
          }
        }

        #define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
        #define REFUSE(fd) do { int code = fault(fd); if (code) { errno = code; return -1; } } while (0)

        int fdatasync(int fd) { REFUSE(fd); return NEXT(fdatasync)(fd); }
        int fsync(int fd) { REFUSE(fd); return NEXT(fsync)(fd); }
        ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { REFUSE(fd); return NEXT(pwrite)(fd, bytes, count, at); }
        ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { REFUSE(fd); return NEXT(pwrite64)(fd, bytes, count, at); }
        """#

    init?() throws {
        self.directory = try TemporaryDirectory()
        let (source, library) = (self.directory.path + "/shim.c", self.directory.path + "/shim.so")
        try Self.source.write(toFile: source, atomically: true, encoding: .utf8)
        for compiler in ["clang", "cc"] {
            let made = try? Program.run(compiler, ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"])
            guard made?.code == 0 else { continue }
            try self.set("")
            return
        }
        print("skipped: there is no C compiler")
        return nil
    }

    var environment: [String: String] {
        [
            "LD_PRELOAD": self.directory.path + "/shim.so",
            "SICK_DISK_CONTROL": self.directory.path + "/control",
        ]
    }

    /// In one step, for the readers.
    func set(_ text: String) throws {
        try text.write(toFile: self.directory.path + "/control", atomically: true, encoding: .utf8)
    }
}
