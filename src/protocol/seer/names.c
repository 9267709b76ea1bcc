// The names that are served: hosts of live routes, counted by route, and claims on domains.
//
// A watch may start again with a full copy: what the new copy does not hold is gone. Each entry
// carries the round in which it was last seen, and a complete copy ends a round.
#include "base/json.h"
#include "base/str.h"
#include "protocol/seer/seer_inner.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES_MAX = 253, CLAIM_MEMORY_BYTES = 64 * 1024 };

// The routes of one host form a ring; `hosts` holds one of them.
struct seer_route {
    struct seer_route *next, *prev;
    str key, host, project; // in `text`
    uint64_t round;
    char text[];
};

err seer_names_open(struct seer_names *n)
{
    *n = (struct seer_names){.version = 0};
    TRY(map_open(&n->routes, SEER_ROUTES_MAX));
    TRY(map_open(&n->hosts, SEER_ROUTES_MAX));
    return map_open(&n->claims, SEER_ROUTES_MAX);
}

static void seer_map_free(map *m)
{
    size_t at = 0;
    str key;
    void *value;
    while (m != NULL && map_next(m, &at, &key, &value))
        free(value);
    map_close(m);
}

void seer_names_close(struct seer_names *n)
{
    map_close(n->hosts);
    seer_map_free(n->routes);
    seer_map_free(n->claims);
    *n = (struct seer_names){.version = 0};
}

static void seer_lower(char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] >= 'A' && at[i] <= 'Z')
            at[i] = (char)(at[i] + 'a' - 'A');
}

// ---- routes

static void seer_route_remove(struct seer_names *n, struct seer_route *r)
{
    if (r->next == r) {
        (void)map_remove(n->hosts, r->host);
        n->version++;
    } else {
        r->next->prev = r->prev;
        r->prev->next = r->next;
        // Replacing needs no memory.
        if (map_get(n->hosts, r->host) == r && map_put(n->hosts, r->host, r->next, NULL).code != OK)
            abort();
    }
    (void)map_remove(n->routes, r->key);
    free(r);
}

static err seer_route_add(struct seer_names *n, str key, str project)
{
    size_t host_bytes = str_find_byte(key, ' ');
    if (host_bytes == 0 || host_bytes > NAME_BYTES_MAX)
        return ok(); // no name that anybody could ask for
    struct seer_route *r = calloc(1, sizeof(*r) + key.len + host_bytes + project.len);
    if (r == NULL)
        return fail(ERR_MEMORY, 0, "keep route");
    memcpy(r->text, key.at, key.len);
    memcpy(r->text + key.len, key.at, host_bytes);
    if (project.len > 0)
        memcpy(r->text + key.len + host_bytes, project.at, project.len);
    seer_lower(r->text + key.len, host_bytes);
    r->key = (str){r->text, key.len};
    r->host = (str){r->text + key.len, host_bytes};
    r->project = (str){r->text + key.len + host_bytes, project.len};
    r->next = r->prev = r;
    r->round = n->routes_round;
    struct seer_route *other = map_get(n->hosts, r->host);
    err e = map_put(n->routes, key, r, NULL);
    if (e.code == OK && other == NULL) {
        e = map_put(n->hosts, r->host, r, NULL);
        if (e.code != OK)
            (void)map_remove(n->routes, key);
    }
    if (e.code != OK) {
        free(r);
        return e;
    }
    if (other != NULL) {
        r->next = other;
        r->prev = other->prev;
        other->prev->next = r;
        other->prev = r;
    } else {
        n->version++;
    }
    return ok();
}

err seer_names_on_route(struct seer_names *n, const store_entry *entry)
{
    if (entry == NULL) {
        size_t at = 0;
        str key;
        void *value;
        while (map_next(n->routes, &at, &key, &value))
            if (((struct seer_route *)value)->round < n->routes_round)
                seer_route_remove(n, value);
        n->routes_round++;
        return ok();
    }
    struct seer_route *r = map_get(n->routes, entry->key);
    if (r != NULL && entry->value.at != NULL && str_is(r->project, entry->value)) {
        r->round = n->routes_round;
        return ok();
    }
    if (r != NULL)
        seer_route_remove(n, r);
    return entry->value.at == NULL ? ok() : seer_route_add(n, entry->key, entry->value);
}

// Of several projects below one host the one with the first route, as tns.lookup has it.
str seer_names_project(const struct seer_names *n, str fqdn)
{
    const struct seer_route *first = map_get(n->hosts, fqdn);
    if (first == NULL)
        return (str){NULL, 0};
    for (const struct seer_route *r = first->next, *end = first; r != end; r = r->next)
        if (str_order(r->key, first->key) < 0)
            first = r;
    return first->project;
}

// ---- claims

static err seer_claim_put(struct seer_names *n, str fqdn, str entry, str token)
{
    if (fqdn.len == 0 || fqdn.len > NAME_BYTES_MAX)
        return ok();
    struct seer_claim *c = calloc(1, sizeof(*c) + entry.len + token.len + fqdn.len);
    if (c == NULL)
        return fail(ERR_MEMORY, 0, "keep claim");
    if (entry.len > 0)
        memcpy(c->text, entry.at, entry.len);
    if (token.len > 0)
        memcpy(c->text + entry.len, token.at, token.len);
    memcpy(c->text + entry.len + token.len, fqdn.at, fqdn.len);
    seer_lower(c->text, entry.len);
    seer_lower(c->text + entry.len + token.len, fqdn.len);
    c->entry = (str){c->text, entry.len};
    c->token = (str){c->text + entry.len, token.len};
    c->round = n->claims_round;
    void *old = NULL;
    err e = map_put(n->claims, (str){c->text + entry.len + token.len, fqdn.len}, c, &old);
    if (e.code != OK)
        free(c);
    else
        free(old);
    n->version += e.code == OK;
    return e;
}

static err seer_claim_read(struct seer_names *n, const store_entry *entry)
{
    arena *a;
    const json *claim;
    TRY(arena_open(&a, CLAIM_MEMORY_BYTES));
    err e = json_read(a, entry->value, &claim, NULL);
    if (e.code == OK)
        e = seer_claim_put(n, entry->key, json_text(claim, "entry"), json_text(claim, "token"));
    arena_close(a);
    return e;
}

err seer_names_on_claim(struct seer_names *n, const store_entry *entry)
{
    if (entry == NULL) {
        size_t at = 0;
        str key;
        void *value;
        while (map_next(n->claims, &at, &key, &value))
            if (((struct seer_claim *)value)->round < n->claims_round) {
                free(map_remove(n->claims, key));
                n->version++;
            }
        n->claims_round++;
        return ok();
    }
    if (entry->value.at != NULL)
        return seer_claim_read(n, entry);
    void *gone = map_remove(n->claims, entry->key);
    n->version += gone != NULL;
    free(gone);
    return ok();
}

const struct seer_claim *seer_names_claim(const struct seer_names *n, str fqdn)
{
    return map_get(n->claims, fqdn);
}
