#define _GNU_SOURCE
#include "kintsugi_io.h"
#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void kintsugi_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int kintsugi_raise_priority(int nice) {
  struct sched_param one = {.sched_priority = 1};
  if (pthread_setschedparam(pthread_self(), SCHED_RR, &one) == 0) return 0;
  return setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice) == 0 ? 0 : errno;
}

void kintsugi_lower_priority(void) {
  pid_t thread = (pid_t)syscall(SYS_gettid);
  setpriority(PRIO_PROCESS, (id_t)thread, 19);
  // IOPRIO_WHO_PROCESS, class best-effort (2), lowest level (7): idle would never come to read a busy disk.
  syscall(SYS_ioprio_set, 1, thread, 2 << 13 | 7);
}

int kintsugi_open_direct(const char *path, int *direct) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
  *direct = fd >= 0;
  return fd >= 0 || errno != EINVAL ? fd : open(path, O_RDONLY | O_CLOEXEC);
}

void kintsugi_forget_pages(int fd, off_t offset, off_t length) {
  posix_fadvise(fd, offset, length, POSIX_FADV_DONTNEED);
}

int kintsugi_try_lock(int fd) { return flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno; }

void kintsugi_advise_huge(void *start, size_t length) { madvise(start, length, MADV_HUGEPAGE); }

void kintsugi_trim_memory(void) { malloc_trim(0); }

int kintsugi_set_user_timeout(int fd, unsigned milliseconds) {
  return setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds) == 0 ? 0 : errno;
}

void kintsugi_buffer_lines(void) { setvbuf(stdout, NULL, _IOLBF, 0); }

void kintsugi_write_back(int fd, off_t offset, off_t length, off_t paced) {
  sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
  if (offset >= paced) {
    sync_file_range(fd, offset - paced, length, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(fd, offset - paced, length, POSIX_FADV_DONTNEED);
  }
}

int kintsugi_wait_semaphore(sem_t *semaphore, uint64_t nanoseconds) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  nanoseconds += (uint64_t)until.tv_nsec;
  until.tv_sec += (time_t)(nanoseconds / 1000000000);
  until.tv_nsec = (long)(nanoseconds % 1000000000);
  while (sem_clockwait(semaphore, CLOCK_MONOTONIC, &until) != 0)
    if (errno == ETIMEDOUT) return ETIMEDOUT;
  return 0;
}
