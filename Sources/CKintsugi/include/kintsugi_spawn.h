#pragma once
#include <sys/types.h>

/// Starts a program in a session of its own, standard input from /dev/null, output and errors appended to `log`, no other
/// descriptor. Returns 0 and the pid, or errno.
int kintsugi_spawn_detached(const char *path, char *const argv[], char *const envp[], const char *log, pid_t *pid);
