#pragma once
#include <semaphore.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Names the calling thread, for tools that list threads. At most 15 bytes count.
void kintsugi_name_thread(const char *name);
/// Asks for a higher priority of the calling thread: before all ordinary threads (SCHED_RR), or else by `nice`. 0 if
/// granted, else errno. Only for threads that do next to nothing.
int kintsugi_raise_priority(int nice);
/// The calling thread gives way to all others, at the processor and, where the system schedules it, at the disk.
void kintsugi_lower_priority(void);
/// Opens a file for reads that go to the disk and not to the page cache (O_DIRECT), where the file system has such reads;
/// `direct` says whether. The descriptor, or -1 and errno.
int kintsugi_open_direct(const char *path, int *direct);
/// What the page cache holds of a range is let go of, where it is clean.
void kintsugi_forget_pages(int fd, off_t offset, off_t length);
/// Takes the exclusive lock on a file, not waiting; 0, or errno (EWOULDBLOCK: another process has it).
int kintsugi_try_lock(int fd);
/// Size of a transparent huge page is asked for from here on.
void kintsugi_advise_huge(void *start, size_t length);
/// Gives freed memory back to the system.
void kintsugi_trim_memory(void);
/// A TCP socket option that Glibc's Swift overlay does not show: 0, or errno.
int kintsugi_set_user_timeout(int fd, unsigned milliseconds);
/// Standard output goes out line by line also where it is no terminal.
void kintsugi_buffer_lines(void);
/// Starts writing a range of a file to the disk, and waits for the one that lies `paced` bytes before it: so that a large
/// file does not pile up in memory until its sync, and hold up the syncs of others then. No promise of durability.
void kintsugi_write_back(int fd, off_t offset, off_t length, off_t paced);
/// Waits for a semaphore at most so long (CLOCK_MONOTONIC). 0, or ETIMEDOUT.
int kintsugi_wait_semaphore(sem_t *semaphore, uint64_t nanoseconds);
