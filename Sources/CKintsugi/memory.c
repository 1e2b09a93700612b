#define _GNU_SOURCE
#include "kintsugi_memory.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static char stack[16384] __attribute__((aligned(64)));
static sem_t made;
static int result;

// Shares memory with the process that it watches over, and so errno and all else of the thread that made it: system calls
// only, and nothing written to memory.
static int keeper(void *parent) {
  prctl(PR_SET_NAME, "kintsugi-memory");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // 1. The parent dies. 2. The request to be told comes too late. 3. Nobody would end the keeper.
  if (getppid() != (pid_t)(intptr_t)parent) return 0;
  syscall(SYS_close_range, 0u, ~0u, 0u);
  for (;;) pause();
}

// The keeper is told of the death of the thread that made it: so that thread lives as long as the process.
static void *live(void *unused) {
  (void)unused;
  int pid = clone(keeper, stack + sizeof stack, CLONE_VM, (void *)(intptr_t)getpid());
  result = pid < 0 ? errno : 0;
  int isKept = pid >= 0;
  sem_post(&made);
  while (isKept) pause();
  return NULL;
}

int kintsugi_keep_memory(void) {
  pthread_t thread;
  pthread_attr_t attributes;
  // Signals are for the other threads; the keeper inherits the mask, so that a terminal's Ctrl-C does not end it.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  sem_init(&made, 0, 0);
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  int error = pthread_create(&thread, &attributes, live, NULL);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) return error;
  while (sem_wait(&made) == -1 && errno == EINTR) {}
  return result;
}
