// The nats engine: one node a process, messages through the universe's meshd servers.
//
// The happy path of an ask is: published to whoever serves its kind (or to one node), with the
// positions of the logs that we know of; the other side waits until its copies are as far, answers,
// and its positions come back with the answer. What can fail: nobody listens yet (tried again for a
// moment), the connection (what was on its way may be lost: the ask's deadline tells).
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "mesh/mesh.h"
#include "mesh/nats_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOWN_MS = 4000 };

// ---- later

static void nats_on_timer(void *data)
{
    nats_engine *n = data;
    n->timer_due_ms = 0;
    uint64_t now = clock_now_ms(), next = UINT64_MAX;
    for (;;) {
        later *due = NULL;
        next = UINT64_MAX;
        for (chain *c = n->laters.next; c != &n->laters && due == NULL; c = c->next) {
            later *l = (later *)c;
            if (l->at_ms <= now)
                due = l;
            else if (l->at_ms < next)
                next = l->at_ms;
        }
        if (due == NULL)
            break;
        chain_remove(&due->link);
        due->at_ms = 0;
        due->run(due->data);
    }
    if (next != UINT64_MAX && (n->timer_due_ms == 0 || next < n->timer_due_ms)) {
        n->timer_due_ms = next;
        timer_start(n->timer, next > now ? next - now : 1, 0);
    }
}

void nats_later(nats_engine *n, later *l, uint64_t after_ms)
{
    uint64_t now = clock_now_ms();
    nats_later_cancel(l);
    chain_init(&l->link);
    l->at_ms = now + (after_ms > 0 ? after_ms : 1);
    chain_add(&n->laters, &l->link);
    if (n->timer_due_ms == 0 || l->at_ms < n->timer_due_ms) {
        n->timer_due_ms = l->at_ms;
        timer_start(n->timer, l->at_ms - now, 0);
    }
}

void nats_later_cancel(later *l)
{
    if (l->at_ms != 0)
        chain_remove(&l->link);
    l->at_ms = 0;
}

void nats_say(nats_engine *n, str subject, str payload)
{
    nats_outgoing out = {.subject = subject, .pieces = &payload, .pieces_count = 1};
    err e = nats_publish(n->link, &out);
    if (e.code != OK)
        log_fail(n->log, "a message was not sent", e, "subject", subject, NULL);
}

// ---- ready, lost

void nats_lose(nats_engine *n, err e)
{
    if (n->told_lost)
        return;
    n->told_lost = true;
    log_fail(n->log, "this node's records can not be kept up", e, NULL);
    if (n->lost != NULL)
        n->lost(n->data, e);
}

static void letter_ready(mesh_engine *e, letter *l)
{
    nats_engine *n = (nats_engine *)e;
    (void)l;
    if (n->ready != NULL)
        n->ready(n->data);
}

void nats_check_ready(nats_engine *n)
{
    if (n->told_ready || !nats_link_connected(n->link))
        return;
    for (size_t i = 0; i < n->shards->count; i++)
        if (n->logs[i] != NULL && !nats_log_caught_up(n->logs[i]))
            return;
    n->told_ready = true;
    (void)mesh_letter(&n->engine, letter_ready, 0);
}

// Long enough for another server to lead; then whoever asks is told, instead of waiting on.
static void nats_on_down(void *data)
{
    nats_engine *n = data;
    n->down_long = !nats_link_connected(n->link);
    if (n->down_long)
        asks_fail(&n->engine, fail(ERR_BUSY, 0, MESH_IS_DOWN));
}

static void nats_on_state(void *data, bool connected)
{
    nats_engine *n = data;
    n->down_long = false;
    if (connected)
        nats_later_cancel(&n->down);
    else
        nats_later(n, &n->down, DOWN_MS);
    log_line(n->log, LOG_INFO, connected ? "mesh connected" : "mesh disconnected", NULL);
    for (size_t i = 0; connected && i < n->shards->count; i++)
        if (n->logs[i] != NULL)
            nats_log_connected(n->logs[i]);
    nats_check_ready(n);
}

// ---- commits

static err
commit_prepare(nats_engine *n, const store_change *changes, size_t count, size_t *which, buf *bytes)
{
    *which = n->shards->count;
    TRY(commit_check(changes, count));
    for (size_t i = 0; i < count; i++) {
        const store_change *c = &changes[i];
        const shard_bucket *b = shards_bucket(n->shards, c->bucket);
        if (b == NULL || shards_writer(b, str_of(n->protocols)).len == 0)
            return fail(ERR_DENIED, 0, "this node's protocols may not write these records");
        size_t at = shards_find(n->shards, str_of(b->shard));
        if (i > 0 && at != *which)
            return fail(ERR_UNSUPPORTED, 0, "one commit writes to one log");
        *which = at;
    }
    if (count > 0 && n->logs[*which] == NULL)
        return fail(ERR_DENIED, 0, "this node keeps no copy of these records");
    if (count > 0 && n->logs[*which]->full)
        return fail(ERR_FULL, 0, "no space left on this node's disk");
    if (fault_hits(FAULT_MEMORY))
        return fail(ERR_MEMORY, 0, "commit");
    entry_commit_write(bytes, changes, count);
    return bytes->error;
}

static void
nats_commit(mesh_engine *e, const store_change *changes, size_t count, store_done *done, void *data)
{
    nats_engine *n = (nats_engine *)e;
    size_t which;
    OWNED(buf_close) buf bytes;
    buf_open(&bytes, MESH_COMMIT_BYTES_MAX);
    err error = commit_prepare(n, changes, count, &which, &bytes);
    if (error.code == OK && count > 0) {
        nats_log_commit(n->logs[which], &bytes, done, data);
        return;
    }
    commit_refuse(e, error, done, data);
}

static err nats_store(mesh_engine *e, str bucket, store **out)
{
    nats_engine *n = (nats_engine *)e;
    const shard_bucket *b =
        bucket.len <= STORE_KEY_BYTES_MAX ? shards_bucket(n->shards, bucket) : NULL;
    size_t at = b == NULL ? n->shards->count : shards_find(n->shards, str_of(b->shard));
    if (at == n->shards->count || n->logs[at] == NULL)
        return fail(ERR_DENIED, 0, "this node keeps no copy of these records");
    return nats_log_store(n->logs[at], out);
}

// ---- the end

static void nats_free(nats_engine *n)
{
    timer_close(n->timer);
    mesh_engine_end(&n->engine);
    free(n->folder);
    free(n->universe);
    free(n->node);
    free(n->protocols);
    free(n);
}

static void nats_close(mesh_engine *e)
{
    nats_engine *n = (nats_engine *)e;
    n->ready = NULL;
    n->lost = NULL;
    nats_later_cancel(&n->down);
    for (size_t i = 0; i < n->shards->count; i++) {
        nats_log_close(n->logs[i]);
        n->logs[i] = NULL;
    }
    commits_refused_tell(e);
    nats_messages_close(n);
    if (n->beats != NULL)
        nats_unsubscribe(n->beats);
    nats_link_close(n->link);
    queues_close(e);
    nats_free(n);
}

static const mesh_driver nats_driver = {
    .ask = nats_ask,
    .answer = nats_answer,
    .tell = nats_tell,
    .serve = nats_serve,
    .listen = nats_listen,
    .join = nats_join,
    .leave = nats_leave,
    .commit = nats_commit,
    .store = nats_store,
    .beat = nats_beat,
    .close = nats_close,
};

static err nats_start(nats_engine *n, const mesh_nats_settings *s)
{
    nats_link_settings link = {
        .loop = s->loop,
        .log = s->log,
        .servers = s->servers,
        .servers_count = s->servers_count,
        .node = s->node,
        .certificate_pem = s->certificate_pem,
        .key_pem = s->key_pem,
        .ca_pem = s->ca_pem,
        .universe = s->universe,
        .on_state = nats_on_state,
        .data = n,
    };
    TRY(file_make_folders(n->folder, 0700));
    TRY(nats_link_open(&n->link, &link));
    for (size_t i = 0; i < n->shards->count; i++)
        if (shards_reads(&n->shards->all[i], s->protocols))
            TRY(nats_log_open(&n->logs[i], n, i));
    return nats_messages_open(n);
}

err mesh_nats_open(mesh_engine **out, const mesh_nats_settings *s)
{
    if (s->node.len == 0 || s->node.len > NAME_BYTES_MAX || s->servers_count == 0)
        return fail(ERR_SYNTAX, 0, "a node of the mesh needs a name and a server");
    nats_engine *n = fault_hits(FAULT_MEMORY) ? NULL : calloc(1, sizeof *n);
    if (n == NULL)
        return fail(ERR_MEMORY, 0, "mesh");
    err e = mesh_engine_start(&n->engine, &nats_driver, s->loop);
    chain *all[] = {&n->subscriptions, &n->held, &n->laters};
    for (size_t i = 0; i < COUNT(all); i++)
        chain_init(all[i]);
    n->log = s->log;
    n->shards = s->shards != NULL ? s->shards : &shards_of_universe;
    n->folder = mesh_must_copy(str_of(s->folder));
    n->universe = mesh_must_copy(s->universe);
    n->node = mesh_must_copy(s->node);
    n->protocols = mesh_must_copy(s->protocols);
    n->down.run = nats_on_down;
    n->down.data = n;
    n->snapshot_entries = s->snapshot_entries != 0 ? s->snapshot_entries : MESH_SNAPSHOT_ENTRIES;
    if (e.code == OK)
        e = timer_open(&n->timer, s->loop, nats_on_timer, n);
    if (e.code == OK)
        nats_later(n, &n->down, DOWN_MS);
    n->ready = s->ready;
    n->lost = s->lost;
    n->data = s->data;
    if (e.code == OK)
        e = nats_start(n, s);
    if (e.code != OK) {
        nats_close(&n->engine);
        return e;
    }
    *out = &n->engine;
    return ok();
}

err mesh_nats_identity(mesh_engine *e, str certificate_pem, str key_pem)
{
    return nats_link_identity(((nats_engine *)e)->link, certificate_pem, key_pem);
}

bool mesh_nats_connected(const mesh_engine *e)
{
    return nats_link_connected(((const nats_engine *)e)->link);
}
