#pragma once

/// Asks the processor to fetch a cache line that is read soon. No effect on anything but time.
static inline void kintsugi_prefetch_line(const void *address) { __builtin_prefetch(address); }

/// The same of three lines in a row.
static inline void kintsugi_prefetch(const void *address) {
  const char *line = (const char *)address;
  __builtin_prefetch(line);
  __builtin_prefetch(line + 64);
  __builtin_prefetch(line + 128);
}
