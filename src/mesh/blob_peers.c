// Who is there: a node's table of its peers, from the heartbeats that every node tells.
#include "base/fault.h"
#include "base/str.h"
#include "mesh/blob_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PEM_BYTES_MAX = 256 << 10 };

static str peer_short(str name)
{
    return str_cut(&name, '@');
}

static bool peer_text(char to[PEER_TEXT_MAX], str text)
{
    if (text.len >= PEER_TEXT_MAX)
        return false;
    *(char *)mempcpy(to, text.len > 0 ? text.at : "", text.len) = '\0';
    return true;
}

static void peers_forget(blob_door *d, uint64_t now_ms)
{
    size_t at = 0;
    str key;
    void *value;
    while (map_next(d->peers, &at, &key, &value)) {
        peer *p = value;
        if (p->seen_ms + PEER_FORGET_MS < now_ms) {
            (void)map_remove(d->peers, key);
            free(p);
        }
    }
}

// NULL when there is no room for one more: heard again with its next heartbeat.
static peer *peers_make(blob_door *d, str name)
{
    peer *p = map_get(d->peers, name);
    if (p != NULL || name.len == 0 || name.len >= PEER_TEXT_MAX)
        return p;
    if (map_count(d->peers) >= PEERS_MAX)
        peers_forget(d, loop_now_ms(d->mesh->engine->loop));
    p = calloc(1, sizeof *p);
    if (p != NULL && map_put(d->peers, name, p, NULL).code != OK) {
        free(p);
        return NULL;
    }
    return p;
}

static void peer_says(peer *p, str name, str protocol, str address)
{
    if (!peer_text(p->name, name) || !peer_text(p->protocol, protocol) ||
        !peer_text(p->address, address))
        p->address[0] = '\0'; // nobody can reach it
}

static uint16_t peer_port(const door_record *doors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_is(doors[i].name, STR("p2p")) && doors[i].port <= UINT16_MAX)
            return (uint16_t)doors[i].port;
    return 0;
}

static void peers_on_beat(void *data, const void *fields)
{
    blob_door *d = data;
    const seer_heartbeat *beat = fields;
    peer *p = peers_make(d, peer_short(beat->name));
    // A late word of a former process says nothing of the one that runs.
    if (p == NULL || beat->started_real_ms < p->started_real_ms)
        return;
    peer_says(p, peer_short(beat->name), beat->protocol, beat->address);
    p->port = peer_port(beat->doors.at, beat->doors.count);
    p->started_real_ms = beat->started_real_ms;
    p->leaving = beat->leaving;
    p->draining = beat->draining;
    p->seen_ms = loop_now_ms(d->mesh->engine->loop);
}

void peers_take(blob_door *d, const seer_nodes_reply *reply)
{
    for (size_t i = 0; i < reply->nodes.count; i++) {
        const node_state_record *n = &reply->nodes.at[i];
        peer *p = peers_make(d, peer_short(n->name));
        if (p == NULL || n->started_real_ms < p->started_real_ms || p->seen_ms != 0)
            continue; // what was heard here is newer
        peer_says(p, peer_short(n->name), n->protocol, n->address);
        p->port = peer_port(n->doors.at, n->doors.count);
        p->started_real_ms = n->started_real_ms;
        p->draining = n->draining;
        if (n->healthy)
            p->seen_ms = loop_now_ms(d->mesh->engine->loop);
    }
}

peer *peers_find(blob_door *d, str name)
{
    return map_get(d->peers, peer_short(name));
}

static mesh_peer peer_tell(const peer *p)
{
    return (mesh_peer){.name = str_of(p->name),
                       .protocol = str_of(p->protocol),
                       .address = str_of(p->address),
                       .port = p->port,
                       .seen_ms = p->seen_ms,
                       .leaving = p->leaving,
                       .draining = p->draining};
}

bool mesh_peer_find(mesh *m, str name, mesh_peer *out)
{
    const peer *p = m->blob_door != NULL ? peers_find(m->blob_door, name) : NULL;
    if (p != NULL)
        *out = peer_tell(p);
    return p != NULL;
}

bool mesh_peer_next(mesh *m, size_t *at, mesh_peer *out)
{
    str key;
    void *value;
    if (m->blob_door == NULL || !map_next(m->blob_door->peers, at, &key, &value))
        return false;
    *out = peer_tell(value);
    return true;
}

// ---- the door of a node

static void blob_door_free(blob_door *d)
{
    size_t at = 0;
    str key;
    void *value;
    while (d->peers != NULL && map_next(d->peers, &at, &key, &value))
        free(value);
    map_close(d->peers);
    http_client_close(d->http);
    buf_close(&d->certificate);
    buf_close(&d->key);
    buf_close(&d->ca);
    free(d->universe);
    free(d);
}

static err blob_door_fill(blob_door *d)
{
    TRY(map_open(&d->peers, PEERS_MAX));
    TRY(http_client_open(&d->http, d->mesh->engine->loop, 0));
    return mesh_listen(d->mesh, MSG_seer_heartbeat, peers_on_beat, d);
}

err blob_door_of(mesh *m, blob_door **out)
{
    if (m->blob_door == NULL) {
        blob_door *d = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *d);
        if (d == NULL)
            return fail(ERR_MEMORY, 0, "open blob door");
        d->mesh = m;
        buf_open(&d->certificate, PEM_BYTES_MAX);
        buf_open(&d->key, PEM_BYTES_MAX);
        buf_open(&d->ca, PEM_BYTES_MAX);
        err e = blob_door_fill(d); // listening comes last: nobody knows of what failed
        if (e.code != OK) {
            blob_door_free(d);
            return e;
        }
        m->blob_door = d;
    }
    *out = m->blob_door;
    return ok();
}

err mesh_peers_listen(mesh *m)
{
    blob_door *d;
    return blob_door_of(m, &d);
}

err mesh_peer_identity(mesh *m, str universe, str certificate_pem, str key_pem, str ca_pem)
{
    blob_door *d;
    TRY(blob_door_of(m, &d));
    char *name = strndup(universe.len > 0 ? universe.at : "", universe.len);
    if (name == NULL)
        return fail(ERR_MEMORY, 0, "keep identity");
    free(d->universe);
    d->universe = name;
    buf *kept[] = {&d->certificate, &d->key, &d->ca};
    const str given[] = {certificate_pem, key_pem, ca_pem};
    for (size_t i = 0; i < COUNT(kept); i++) {
        buf_clear(kept[i]);
        buf_add(kept[i], given[i]);
        TRY(kept[i]->error);
    }
    return ok();
}

bool blobs_leave(mesh *m)
{
    return m->blob_door != NULL && transfers_leave(m->blob_door);
}

void blobs_left(mesh *m)
{
    if (m->blob_door != NULL)
        blob_door_free(m->blob_door);
    m->blob_door = NULL;
}
