// Time and dice from the system.
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static uint64_t clock_read_us(clockid_t which)
{
    struct timespec now;
    if (clock_gettime(which, &now) != 0)
        abort();
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_now_ms(void)
{
    return clock_read_us(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_now_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

uint64_t clock_real_ms(void)
{
    return clock_read_us(CLOCK_REALTIME) / 1000;
}

static char *clock_put(char *at, unsigned value, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + digits;
}

// The last second of the year 9999: both texts have four digits for a year.
static const uint64_t REAL_MS_MAX = 253402300799999;

static struct tm clock_split(uint64_t real_ms)
{
    if (real_ms > REAL_MS_MAX)
        real_ms = REAL_MS_MAX;
    time_t seconds = (time_t)(real_ms / 1000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL)
        abort();
    return parts;
}

static char *clock_put_time(char *at, const struct tm *t)
{
    at = clock_put(at, (unsigned)t->tm_hour, 2);
    *at++ = ':';
    at = clock_put(at, (unsigned)t->tm_min, 2);
    *at++ = ':';
    return clock_put(at, (unsigned)t->tm_sec, 2);
}

void clock_rfc3339(uint64_t real_ms, char out[RFC3339_TEXT])
{
    struct tm t = clock_split(real_ms);
    char *at = clock_put(out, (unsigned)t.tm_year + 1900, 4);
    *at++ = '-';
    at = clock_put(at, (unsigned)t.tm_mon + 1, 2);
    *at++ = '-';
    at = clock_put(at, (unsigned)t.tm_mday, 2);
    *at++ = 'T';
    at = clock_put_time(at, &t);
    *at++ = '.';
    at = clock_put(at, (unsigned)(real_ms > REAL_MS_MAX ? 999 : real_ms % 1000), 3);
    memcpy(at, "Z", 2);
}

void clock_http_date(uint64_t real_ms, char out[HTTP_DATE_TEXT])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm t = clock_split(real_ms);
    char *at = mempcpy(out, days + (size_t)t.tm_wday * 3, 3);
    at = mempcpy(at, ", ", 2);
    at = clock_put(at, (unsigned)t.tm_mday, 2);
    *at++ = ' ';
    at = mempcpy(at, months + (size_t)t.tm_mon * 3, 3);
    *at++ = ' ';
    at = clock_put(at, (unsigned)t.tm_year + 1900, 4);
    *at++ = ' ';
    at = clock_put_time(at, &t);
    memcpy(at, " GMT", 5);
}

void random_bytes(void *at, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t n = getrandom((char *)at + have, len - have, 0);
        if (n > 0)
            have += (size_t)n;
        else if (errno != EINTR)
            abort();
    }
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_bytes(&value, sizeof(value));
    return value;
}
