#pragma once
#include <stddef.h>

/// Parses all of `text` as a long double; 0 where it is not one, is not finite, or has blanks around it.
int kintsugi_parse_long_double(const char *text, size_t count, long double *out);
/// a + b as text in `out` (at most 5,120 bytes, not terminated), the way INCRBYFLOAT of Redis 7 prints it: %.17Lf without
/// trailing zeros. Returns the length; 0 where the sum is not finite; -1 and -2 where a or b is not a number.
int kintsugi_add_float_text(const char *a, size_t na, const char *b, size_t nb, char *out, size_t capacity);
