#define _GNU_SOURCE
#include "kintsugi_number.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int kintsugi_parse_long_double(const char *text, size_t count, long double *out) {
  // Redis's limit; a sum written out in full has up to 4933 digits.
  char buffer[5120];
  if (count == 0 || count >= sizeof buffer || isspace((unsigned char)text[0])) return 0;
  memcpy(buffer, text, count);
  buffer[count] = 0;
  char *end;
  errno = 0;
  long double value = strtold(buffer, &end);
  if ((size_t)(end - buffer) != count || isnan(value)) return 0;
  if (errno == ERANGE && (value == HUGE_VALL || value == -HUGE_VALL || fpclassify(value) == FP_ZERO)) return 0;
  *out = value;
  return 1;
}

int kintsugi_add_float_text(const char *a, size_t na, const char *b, size_t nb, char *out, size_t capacity) {
  long double x, y;
  if (!kintsugi_parse_long_double(a, na, &x)) return -1;
  if (!kintsugi_parse_long_double(b, nb, &y)) return -2;
  long double sum = x + y;
  if (isnan(sum) || isinf(sum)) return 0;
  int length = snprintf(out, capacity, "%.17Lf", sum);
  if (length <= 0 || (size_t)length >= capacity) return 0;
  if (memchr(out, '.', length)) {
    while (out[length - 1] == '0') length--;
    if (out[length - 1] == '.') length--;
  }
  if (length == 2 && out[0] == '-' && out[1] == '0') {
    out[0] = '0';
    length = 1;
  }
  return length;
}
