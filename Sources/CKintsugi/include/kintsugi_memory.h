#pragma once

/// Lets this process's sockets close at once when it is killed, however much memory it has.
///
/// The kernel frees a dead process's memory before it closes its sockets, 75 to 100 ms a GiB in small pages, and the peers
/// notice the death only then. Memory that another process shares is not freed with the first. So a second process, the
/// keeper, shares all of it (`CLONE_VM`), has no descriptors and does nothing; the kernel kills it after the first one's
/// sockets are closed.
///
/// To be called before any descriptor is opened that matters. Returns 0, or errno: all works without it, more slowly in death.
int kintsugi_keep_memory(void);
