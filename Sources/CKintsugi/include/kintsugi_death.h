#pragma once

/// Makes the sockets that the calling thread opens from now on close at once when the process is killed. By them its peers
/// notice the death.
///
/// Two things hold a dead process's sockets back, and both are done away with:
/// - The kernel frees the memory before it closes the sockets, 75 to 100 ms a GiB in small pages. But not memory that
///   another process shares. So a second process, the keeper, shares all of it (`CLONE_VM`), has no descriptors and does
///   nothing; the kernel kills it when the calling thread is gone, sockets and all.
/// - Descriptors are closed when the last thread that has them is gone, and a thread that waits for a disk is not gone before
///   the disk answers. So the calling thread gets a table of descriptors of its own, a copy of what is open now. What it
///   opens from now on means nothing to other threads, and the other way round.
///
/// To be called by the thread that owns the sockets and lives as long as the process does. Returns 0, or errno: then all
/// works, and death takes a little longer.
int kintsugi_close_sockets_first(void);
