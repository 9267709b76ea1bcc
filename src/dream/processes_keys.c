// Identities of a universe's processes: each has a key of its own, which never leaves its folder.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "dream/processes_inner.h"

#include <stdlib.h>

enum {
    KEYS_MEMORY_BYTES = 256 * 1024,
    KEYS_EARLIER_MS = 24 * 60 * 60 * 1000, // than half of a certificate's life
};

// A certificate for the node's key when it has none or not for long any more. Blocks.
static err keys_renew(universe *u, str name, str protocols, keyring **out)
{
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, KEYS_MEMORY_BYTES));
    uint64_t now = clock_real_ms();
    keyring_settings settings = {
        .folder = str_format(a, "%s/keys/%.*s", u->folder, STR_ARG(name)).at,
        .universe = u->settings.name,
        .node = name,
        .protocols = protocols,
        .universe_id = authority_universe_id(u->authority),
    };
    if (settings.folder == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    keyring *k = NULL;
    TRY(keyring_open(&k, &settings));
    err e = ok();
    uint64_t due = keyring_renew_at_real_ms(k);
    if (due < now + KEYS_EARLIER_MS) {
        authority_grant grant = {name, protocols, NODE_CERTIFICATE_SECONDS};
        str request, certificate;
        e = keyring_request(k, a, &request);
        if (e.code == OK)
            e = authority_sign(u->authority, a, request, &grant, &certificate);
        if (e.code == OK)
            e = keyring_accept(k, certificate, authority_certificate(u->authority), now);
    }
    if (e.code == OK && out != NULL)
        *out = k;
    else
        keyring_close(k);
    return e;
}

static str keys_protocols(const place *k)
{
    return place_is_elder(k)           ? STR("elder")
           : k->plan->protocol != NULL ? str_of(k->plan->protocol->name)
                                       : STR("-");
}

err processes_keys(universe *u)
{
    processes *m = u->state;
    deny *list;
    TRY(universe_deny(u, &list)); // made, and as it should be
    deny_close(list);
    for (size_t i = 0; i < m->count; i++) {
        place *k = &m->places[i];
        str joined = str_format(u->memory, "%s/joined/%.*s.json", u->folder, STR_ARG(k->name));
        if (joined.at != NULL && file_exists(joined.at)) {
            str text = str_format(u->memory,
                                  "%.*s is a node that joined from another machine: start with "
                                  "fewer --copies",
                                  STR_ARG(k->name));
            return fail(ERR_CONFLICT, -1, text.at != NULL ? text.at : "--copies");
        }
        err e = keys_renew(u, k->name, keys_protocols(k), NULL);
        if (e.code != OK) {
            str text = str_format(u->memory, "%.*s: %s (keys/%.*s)", STR_ARG(k->name), e.what,
                                  STR_ARG(k->name));
            return fail(e.code, e.sys, text.at != NULL ? text.at : e.what);
        }
    }
    return keys_renew(u, STR("dream"), STR("-"), &m->keyring);
}

// ---- later

struct renewing {
    universe *universe;
    keyring *own;
    err error;
};

// The authority is asked here alone once the universe has started.
static void renewing_work(void *data)
{
    struct renewing *r = data;
    processes *m = r->universe->state;
    for (size_t i = 0; i < m->count; i++) {
        err e = keys_renew(r->universe, m->places[i].name, keys_protocols(&m->places[i]), NULL);
        if (e.code != OK)
            r->error = e;
    }
    err e = keys_renew(r->universe, STR("dream"), STR("-"), &r->own);
    if (e.code != OK)
        r->error = e;
}

static void renewing_done(void *data)
{
    struct renewing *r = data;
    universe *u = r->universe;
    processes *m = u->state;
    m->renewing = NULL;
    if (r->error.code != OK)
        log_fail(u->log, "certificates not renewed", r->error, NULL);
    if (r->own != NULL && !m->closing &&
        !str_is(keyring_serial(r->own), keyring_serial(m->keyring))) {
        keyring *former = m->keyring;
        m->keyring = r->own;
        r->own = former;
        if (m->engine != NULL)
            (void)!mesh_nats_identity(m->engine, keyring_certificate(m->keyring),
                                      keyring_key(m->keyring))
                .code;
        err e = ok();
        if (m->door != NULL)
            e = join_door_renew(m->door, keyring_certificate(m->keyring), keyring_key(m->keyring));
        if (e.code != OK)
            log_fail(u->log, "nobody can join until the next start", e, NULL);
    }
    keyring_close(r->own);
    free(r);
    if (m->closing)
        processes_on_part_closed(u);
}

void processes_renew(universe *u)
{
    processes *m = u->state;
    struct renewing *r = m->renewing == NULL ? calloc(1, sizeof(*r)) : NULL;
    if (r == NULL)
        return;
    r->universe = u;
    m->renewing = r;
    if (loop_work(u->settings.loop, renewing_work, renewing_done, r).code != OK) {
        m->renewing = NULL;
        free(r);
    }
}
