#define _GNU_SOURCE
#include "kintsugi_death.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// Shares memory with the process that it belongs to, and so errno and all else of the thread that made it: system calls only,
// and nothing written to memory.
static int keep(void *parent) {
  prctl(PR_SET_NAME, "kintsugi-memory");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // To free the memory takes time, and those who take over need the processor.
  setpriority(PRIO_PROCESS, 0, 19);
  // 1. The parent dies. 2. The request to be told comes too late. 3. Nobody would end the keeper.
  if (getppid() != (pid_t)(intptr_t)parent) return 0;
  syscall(SYS_close_range, 0u, ~0u, 0u);
  for (;;) pause();
}

int kintsugi_close_sockets_first(void) {
  if (unshare(CLONE_FILES) != 0) return errno;
  const size_t size = 16384;
  char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return errno;
  // The keeper inherits the mask, so that a terminal's Ctrl-C does not end it.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int pid = clone(keep, stack + size, CLONE_VM, (void *)(intptr_t)getpid());
  int error = pid < 0 ? errno : 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) munmap(stack, size);
  return error;
}
