// What a hoarder has under way: each errand knows whether the hoarder is still there.
#include "base/str.h"
#include "protocol/hoarder/hoarder_inner.h"

enum { ERRAND_BYTES_MAX = 64 << 10 };

err errand_open(struct hoarder *h, size_t size, str hash, mesh_incoming *in, errand **out)
{
    sha256 name;
    if (sha256_from_hex(hash, &name).code != OK)
        return fail(ERR_SYNTAX, 0, "a blob is named by the 64 hex digits of its sha256");
    arena *a;
    TRY(arena_open(&a, ERRAND_BYTES_MAX + size));
    errand *x = arena_take(a, size);
    str kept = str_copy(a, hash);
    if (x == NULL || kept.at == NULL) {
        arena_close(a);
        return fail(ERR_MEMORY, 0, "keep blob");
    }
    *x = (errand){.next = h->errands, .hoarder = h, .in = in, .memory = a, .hash = kept};
    x->name = name;
    h->errands = x;
    *out = x;
    return ok();
}

void errand_close(errand *x)
{
    if (x->hoarder != NULL)
        for (errand **at = &x->hoarder->errands; *at != NULL; at = &(*at)->next)
            if (*at == x) {
                *at = x->next;
                break;
            }
    arena_close(x->memory);
}
