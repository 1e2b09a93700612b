#define _GNU_SOURCE
#include "kintsugi_poll.h"
#include <errno.h>
#include <sys/epoll.h>

int kintsugi_poll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int kintsugi_poll_watch(int poller, int fd, uint32_t index, int writable, int added) {
  struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.u32 = index};
  return epoll_ctl(poller, added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

int kintsugi_poll_wait(int poller, kintsugi_ready *out, int capacity, int milliseconds) {
  struct epoll_event events[256];
  int count = epoll_wait(poller, events, capacity < 256 ? capacity : 256, milliseconds);
  if (count < 0) return errno == EINTR ? 0 : -1;
  for (int i = 0; i < count; i++) {
    uint32_t e = events[i].events;
    int broken = (e & (EPOLLERR | EPOLLHUP)) != 0;
    out[i].index = events[i].data.u32;
    out[i].events = 0;
    if (broken || (e & EPOLLIN)) out[i].events |= KINTSUGI_READABLE;
    if (broken || (e & EPOLLOUT)) out[i].events |= KINTSUGI_WRITABLE;
  }
  return count;
}
