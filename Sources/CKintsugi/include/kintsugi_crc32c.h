#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC32C (Castagnoli) of some bytes, continuing from `crc`; 0 begins. With SSE4.2 where the processor has it.
uint32_t kintsugi_crc32c(uint32_t crc, const void *bytes, size_t count);
