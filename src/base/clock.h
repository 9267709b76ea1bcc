// Time and dice, injected so that tests and the simulator can own them.
#pragma once
#include "base/base.h"

uint64_t clock_now_ms(void);                                      // monotonic, for waits
uint64_t clock_now_us(void);                                      // monotonic
uint64_t clock_real_ms(void);                                     // since 1970, UTC, for records
enum { RFC3339_TEXT = 25, HTTP_DATE_TEXT = 30 };                  // with NUL
void clock_rfc3339(uint64_t real_ms, char out[RFC3339_TEXT]);     // 2026-11-24T15:04:05.123Z
void clock_http_date(uint64_t real_ms, char out[HTTP_DATE_TEXT]); // RFC 9110 5.6.7 IMF-fixdate
void random_bytes(void *at, size_t len); // from the system; aborts when it has none
uint64_t random_u64(void);
