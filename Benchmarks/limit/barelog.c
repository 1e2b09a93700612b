// barelog: the least work that a majority-durable SET can be, to know the machine's limit for it.
//
// One leader and its followers, one thread a process. The leader frames the commands that its clients have sent,
// appends them to a preallocated file, sends them on, calls fdatasync in line, and replies once its own sync and one
// follower's acknowledgement are there; a follower appends, syncs and acknowledges. Whatever arrives during a sync is
// the next batch. That is what any system must do before it may say OK to a write that survives the loss of a node, and
// nothing else: no store, no command but one whose reply is +OK, no elections, no checksums, no safety. What it
// reaches, the machine (its disk, its loopback, its two wake-ups a write) can do; what a real system stays below it is
// what that system itself costs.
//
//   barelog follower PORT FILE
//   barelog leader PORT FILE FOLLOWERPORT...      (after its followers listen; each writes 256 MiB of FILE first)
//
// Build: cc -O2 barelog.c -o barelog.  Load: kintsugi bench --connect 127.0.0.1:PORT --op set. A follower accepts one
// connection in its life, so its port must not be probed. At end of file a follower ends.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEG (256u << 20)
static void die(const char *m) { perror(m); exit(1); }
static int openlog_(const char *f) {
  int fd = open(f, O_RDWR | O_CREAT, 0644);
  if (fd < 0) die(f);
  static char z[1 << 20];
  for (unsigned i = 0; i < SEG; i += sizeof z) if (pwrite(fd, z, sizeof z, i) < 0) die("prealloc");
  fsync(fd);
  return fd;
}
static void nodelay(int s) { int o = 1; setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &o, sizeof o); }
static int listen_(int port) {
  int s = socket(AF_INET, SOCK_STREAM, 0), o = 1;
  setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &o, sizeof o);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(s, (void *)&a, sizeof a) || listen(s, 1024)) die("bind");
  return s;
}
static int readn(int s, void *p, size_t n) {
  char *c = p;
  while (n) { ssize_t r = read(s, c, n); if (r <= 0) return -1; c += r; n -= r; }
  return 0;
}
static void writen(int s, const void *p, size_t n) {
  const char *c = p;
  while (n) { ssize_t r = write(s, c, n); if (r < 0) { if (errno == EAGAIN) continue; die("write"); } c += r; n -= r; }
}
static uint64_t off;
static void append(int fd, const void *p, size_t n) {
  if (off + n > SEG) off = 0;
  if (pwrite(fd, p, n, off) != (ssize_t)n) die("pwrite");
  off += n;
  if (fdatasync(fd)) die("fdatasync");
}

typedef struct { int fd; char *buf; int have; int owe; } Client;
typedef struct { Client *c; int n; } Due;
typedef struct { Due *due; int n; int acks; int durable; } Batch;
static Batch ring[4096];
static uint64_t head, tail;  // batches [head, tail) wait

// length of the first whole command in p, 0 if not whole
static int command(const char *p, int n) {
  if (n < 4 || p[0] != '*') return 0;
  int i = 1, args = 0, l;
  while (i < n && p[i] != '\r') args = args * 10 + p[i++] - '0';
  i += 2;
  while (args--) {
    if (i >= n || p[i] != '$') return 0;
    for (l = 0, i++; i < n && p[i] != '\r'; i++) l = l * 10 + p[i] - '0';
    i += 2 + l + 2;
    if (i > n) return 0;
  }
  return i;
}

static void settle(void) {
  static char ok[1 << 16];
  if (!ok[0]) for (unsigned i = 0; i + 5 <= sizeof ok; i += 5) memcpy(ok + i, "+OK\r\n", 5);
  while (head < tail && ring[head % 4096].durable && ring[head % 4096].acks >= 1) {
    Batch *b = &ring[head++ % 4096];
    for (int i = 0; i < b->n; i++) if (b->due[i].c->fd >= 0) writen(b->due[i].c->fd, ok, 5 * b->due[i].n);
    free(b->due);
  }
}

int main(int argc, char **argv) {
  if (argc < 4) return 2;
  int port = atoi(argv[2]), log = openlog_(argv[3]), ls = listen_(port);
  if (!strcmp(argv[1], "follower")) {
    int s = accept(ls, 0, 0);
    nodelay(s);
    char *buf = malloc(SEG);
    uint32_t n;
    while (!readn(s, &n, 4) && !readn(s, buf, n)) { append(log, buf, n); uint64_t a = 1; writen(s, &a, 8); }
    return 0;
  }
  int ep = epoll_create1(0), nf = argc - 4, fs[8];
  uint64_t acked[8] = {0};
  struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0}, evs[1024];
  epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
  for (int i = 0; i < nf; i++) {
    fs[i] = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[4 + i])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fs[i], (void *)&a, sizeof a)) die("connect");
    nodelay(fs[i]);
    ev.data.u64 = 1 + i;
    epoll_ctl(ep, EPOLL_CTL_ADD, fs[i], &ev);
  }
  char *out = malloc(SEG);
  for (;;) {
    int k = epoll_wait(ep, evs, 1024, -1);
    size_t n = 4;
    Due *due = malloc(1024 * sizeof *due);
    int nd = 0;
    for (int i = 0; i < k; i++) {
      uint64_t u = evs[i].data.u64;
      if (u == 0) {
        Client *c = calloc(1, sizeof *c);
        c->fd = accept4(ls, 0, 0, SOCK_NONBLOCK);
        c->buf = malloc(1 << 17);
        nodelay(c->fd);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
      } else if (u <= 8) {
        uint64_t a[512];
        ssize_t r = read(fs[u - 1], a, sizeof a);
        if (r <= 0) die("follower gone");
        for (int j = 0; j < r / 8; j++) ring[acked[u - 1]++ % 4096].acks++;
        settle();
      } else {
        Client *c = evs[i].data.ptr;
        ssize_t r = read(c->fd, c->buf + c->have, (1 << 17) - c->have);
        if (r <= 0) { close(c->fd); c->fd = -1; continue; }
        c->have += r;
        int used = 0, l, cmds = 0;
        while ((l = command(c->buf + used, c->have - used))) used += l, cmds++;
        memcpy(out + n, c->buf, used);
        n += used;
        memmove(c->buf, c->buf + used, c->have -= used);
        if (cmds) due[nd++] = (Due){c, cmds};
      }
    }
    if (!nd) { free(due); continue; }
    uint32_t len = n - 4;
    memcpy(out, &len, 4);
    Batch *b = &ring[tail++ % 4096];
    *b = (Batch){due, nd, 0, 0};
    for (int i = 0; i < nf; i++) writen(fs[i], out, n);
    append(log, out + 4, len);
    b->durable = 1;
    settle();
  }
}
