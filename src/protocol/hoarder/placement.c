// Where a blob's copies lie: one record each, changed by compare-and-set.
#include "base/json.h"
#include "base/str.h"
#include "protocol/hoarder/hoarder_inner.h"

enum { PLACEMENT_BYTES_MAX = 8 << 10 };

bool placement_has(const placement *p, str name)
{
    for (size_t i = 0; i < p->count; i++)
        if (str_is(p->nodes[i], name))
            return true;
    return false;
}

static void placement_add(placement *p, str name)
{
    if (p->count < NODES_MAX && name.at != NULL && !placement_has(p, name))
        p->nodes[p->count++] = name;
}

static void placement_drop(placement *p, str name)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++)
        if (!str_is(p->nodes[i], name))
            p->nodes[kept++] = p->nodes[i];
    p->count = kept;
}

void placement_read(arena *a, str text, placement *out)
{
    const json *value;
    *out = (placement){0};
    if (json_read(a, text, &value, NULL).code != OK || value->kind != JSON_OBJECT) {
        str rest = text; // "SIZE OWNER": of a universe without places
        if (str_number(str_cut(&rest, ' '), &out->size).code == OK)
            out->owner = rest;
        return;
    }
    out->size = json_whole(value, "size", 0);
    out->owner = json_text(value, "owner");
    const json *nodes = json_field(value, "nodes");
    for (const json *n = nodes != NULL ? nodes->first : NULL; n != NULL; n = n->next)
        if (n->kind == JSON_TEXT)
            placement_add(out, n->text);
}

err placement_get(struct hoarder *h, arena *a, str hash, placement *out)
{
    store_entry entry;
    err e = mesh_get(h->context.mesh, STR("hoarder.blob"), hash, a, &entry);
    *out = (placement){0};
    if (e.code == ERR_ABSENT)
        return ok();
    TRY(e);
    placement_read(a, entry.value, out);
    out->revision = entry.revision;
    return ok();
}

static str placement_write(arena *a, const placement *p)
{
    OWNED(buf_close) buf out;
    buf_open(&out, PLACEMENT_BYTES_MAX);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_whole(&w, "size", p->size);
    json_put_text(&w, "owner", p->owner);
    json_open_list(&w, "nodes");
    for (size_t i = 0; i < p->count; i++)
        json_put_text(&w, NULL, p->nodes[i]);
    json_close_list(&w);
    json_close_object(&w);
    return out.error.code == OK ? str_copy(a, buf_str(&out)) : (str){NULL, 0};
}

// ---- changes

struct update {
    errand errand;
    placement_change change;
    unsigned tries;
    placement_done *done;
    void *data;
};

static void update_end(struct update *u, err e)
{
    placement_done *done = u->done;
    void *data = u->data;
    errand_close(&u->errand);
    done(data, e);
}

static void update_on_commit(void *data, err e, uint64_t revision);

static err update_commit(struct update *u)
{
    struct hoarder *h = u->errand.hoarder;
    const placement_change *c = &u->change;
    placement now;
    arena *a = u->errand.memory;
    TRY(placement_get(h, a, c->hash, &now));
    if (c->size != 0)
        now.size = c->size;
    if (c->owner.len > 0)
        now.owner = c->owner;
    for (size_t i = 0; i < c->drop_count; i++)
        placement_drop(&now, c->drop[i]);
    for (size_t i = 0; i < c->add_count; i++)
        placement_add(&now, c->add[i]);
    store_change change = record_delete(STR("hoarder.blob"), c->hash);
    if (now.count > 0)
        change = record_put(STR("hoarder.blob"), c->hash, placement_write(a, &now), now.revision);
    else if (now.revision == 0)
        return fail(ERR_ABSENT, 0, "there is no record of this blob");
    change.expected = now.revision;
    if (change.verb == STORE_PUT && change.value.at == NULL)
        return fail(ERR_MEMORY, 0, "keep a blob's places");
    mesh_commit(h->context.mesh, &change, 1, update_on_commit, u);
    return ok();
}

static void update_on_commit(void *data, err e, uint64_t revision)
{
    (void)revision;
    struct update *u = data;
    // Somebody else changed it: what he wrote is read and changed again.
    if (e.code == ERR_CONFLICT && u->errand.hoarder != NULL && ++u->tries < UPDATE_TRIES_MAX) {
        e = update_commit(u);
        if (e.code == OK)
            return;
    }
    update_end(u, e);
}

err placement_update(struct hoarder *h,
                     const placement_change *change,
                     placement_done *done,
                     void *data)
{
    errand *x;
    TRY(errand_open(h, sizeof(struct update), change->hash, NULL, &x));
    struct update *u = (struct update *)x;
    u->change = *change;
    u->change.hash = x->hash;
    u->change.owner = str_copy(x->memory, change->owner);
    for (size_t i = 0; i < change->add_count; i++)
        u->change.add[i] = str_copy(x->memory, change->add[i]);
    for (size_t i = 0; i < change->drop_count; i++)
        u->change.drop[i] = str_copy(x->memory, change->drop[i]);
    u->done = done;
    u->data = data;
    err e = update_commit(u);
    if (e.code != OK)
        errand_close(x);
    return e;
}
