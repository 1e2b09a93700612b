#pragma once
#include <stdint.h>

/// One ready descriptor: the index it was added under, and what it is ready for.
typedef struct {
  uint32_t index;
  uint32_t events;
} kintsugi_ready;

enum { KINTSUGI_READABLE = 1, KINTSUGI_WRITABLE = 2 };

/// A new epoll instance, closed on exec; -1 and errno where the system gives none.
int kintsugi_poll_create(void);
/// Watches a descriptor, level-triggered: always for readability, for writability where `writable` is not 0. `added`
/// says whether it is watched already. 0, or errno. A closed descriptor leaves by itself.
int kintsugi_poll_watch(int poller, int fd, uint32_t index, int writable, int added);
/// Waits for at most `milliseconds` (-1: for ever). Returns how many entries of `out` (at most 256) were filled; 0 at
/// the end of the time and at a signal; -1 and errno. An error or hang-up counts as both readable and writable: the
/// next call tells which.
int kintsugi_poll_wait(int poller, kintsugi_ready *out, int capacity, int milliseconds);
