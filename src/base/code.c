// Bytes as text and back: hexadecimal, base58, base64.
#include "base/hash.h"
#include "base/str.h"

#include <string.h>

void hex_write(char *out, str bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char byte = (unsigned char)bytes.at[i];
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
    }
    *out = '\0';
}

str hex_of(arena *a, str bytes)
{
    char *text = bytes.len > SIZE_MAX / 4 ? NULL : arena_take(a, bytes.len * 2 + 1);
    if (text == NULL)
        return (str){NULL, 0};
    hex_write(text, bytes);
    return (str){text, bytes.len * 2};
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

err hex_read(arena *a, str hex, str *out)
{
    if (hex.len % 2 != 0)
        return fail(ERR_SYNTAX, 0, "odd count of hexadecimal digits");
    char *bytes = arena_take(a, hex.len / 2 + 1);
    if (bytes == NULL)
        return fail(ERR_MEMORY, 0, "read hexadecimal");
    for (size_t i = 0; i < hex.len / 2; i++) {
        int high = hex_digit(hex.at[2 * i]);
        int low = hex_digit(hex.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return fail(ERR_SYNTAX, 0, "not a hexadecimal digit");
        bytes[i] = (char)(high << 4 | low);
    }
    *out = (str){bytes, hex.len / 2};
    return ok();
}

// Long division by 58 from the left; leading zero bytes are leading ones. Takes n^2: short texts.
str base58_of(arena *a, str bytes)
{
    static const char letters[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    size_t zeros = 0;
    while (zeros < bytes.len && bytes.at[zeros] == 0)
        zeros++;
    // log(256) / log(58) is less than 1.38.
    size_t room = bytes.len > SIZE_MAX / 256 ? SIZE_MAX : bytes.len * 138 / 100 + 1;
    unsigned char *digits = room == SIZE_MAX ? NULL : arena_take(a, zeros + room + 1);
    if (digits == NULL)
        return (str){NULL, 0};
    size_t len = 0; // digits so far, least first
    for (size_t i = zeros; i < bytes.len; i++) {
        unsigned carry = (unsigned char)bytes.at[i];
        for (size_t j = 0; j < len || carry > 0; j++) {
            carry += j < len ? digits[j] * 256u : 0;
            digits[j] = (unsigned char)(carry % 58);
            carry /= 58;
            len = j >= len ? j + 1 : len;
        }
    }
    len += zeros;
    for (size_t i = 0, j = len; i < j--; i++) {
        unsigned char low = digits[i];
        digits[i] = (unsigned char)letters[digits[j]];
        digits[j] = (unsigned char)letters[low];
    }
    return (str){(const char *)digits, len};
}

static str base64_write(arena *a, str bytes, const char letters[65], bool padded)
{
    char *text = bytes.len > SIZE_MAX / 2 ? NULL : arena_take(a, (bytes.len + 2) / 3 * 4 + 1);
    if (text == NULL)
        return (str){NULL, 0};
    char *end = text;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t count = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t group = 0;
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (j < count ? (unsigned char)bytes.at[i + j] : 0);
        for (size_t j = 0; j < 4; j++)
            if (j <= count)
                *end++ = letters[group >> (18 - 6 * j) & 63];
            else if (padded)
                *end++ = '=';
    }
    return (str){text, (size_t)(end - text)};
}

str base64_of(arena *a, str bytes)
{
    return base64_write(a, bytes,
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true);
}

str base64url_of(arena *a, str bytes)
{
    return base64_write(a, bytes,
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

err base64_read(arena *a, str text, str *out)
{
    if (text.len % 4 != 0)
        return fail(ERR_SYNTAX, 0, "base64 not padded");
    size_t padding = 0;
    while (padding < 2 && padding < text.len && text.at[text.len - 1 - padding] == '=')
        padding++;
    size_t digits = text.len - padding;
    size_t len = text.len / 4 * 3 - padding;
    char *bytes = arena_take(a, len + 1);
    if (bytes == NULL)
        return fail(ERR_MEMORY, 0, "read base64");
    uint32_t group = 0;
    size_t have = 0;
    for (size_t i = 0; i < digits; i++) {
        int digit = base64_digit(text.at[i]);
        if (digit < 0)
            return fail(ERR_SYNTAX, 0, "not a base64 digit");
        group = group << 6 | (uint32_t)digit;
        if (i % 4 > 0)
            bytes[have++] = (char)(group >> (6 - i % 4 * 2));
    }
    // One value has one text: bits that pad the last digit are zero (RFC 4648, section 3.5).
    if (padding > 0 && (group & ((1u << (2 * padding)) - 1)) != 0)
        return fail(ERR_SYNTAX, 0, "base64 with stray bits");
    *out = (str){bytes, len};
    return ok();
}
