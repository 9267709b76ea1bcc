// Any text as an invitation, and any bytes behind a right sum: what is read is written the same.
#include "mesh/invite.h"

#include "base/hash.h"
#include "base/str.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void token_try(arena *a, str text)
{
    str again;
    invite i;
    if (invite_read(a, text, &i).code != OK)
        return;
    if (i.secret.len != INVITE_SECRET_BYTES || i.universe_id.len != 64 || i.addresses_count == 0)
        abort();
    if (invite_write(a, &i, &again).code != OK || !str_is(again, str_trim(text)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(arena_drop) arena *a = NULL;
    if (size > INVITE_TOKEN_MAX || arena_open(&a, 1 << 20).code != OK)
        return 0;
    token_try(a, (str){(const char *)data, size});
    char *bytes = arena_take(a, size + 4);
    if (bytes == NULL)
        return 0;
    if (size > 0)
        memcpy(bytes, data, size);
    sha256 digest = sha256_of((str){bytes, size});
    memcpy(bytes + size, digest.bytes, 4);
    token_try(a, base64url_of(a, (str){bytes, size + 4}));
    return 0;
}
