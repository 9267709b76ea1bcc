// What a node asks the authority's node for, every two seconds and when it hears of a change.
//
// The happy path is: 1. node.denied, and the list goes to the file that doors look at; 2. at half
// of the certificate's life, a request from the keyring, node.renew, and the answer into the
// keyring. What can fail: the authority's node is away: the list and the certificate that are here
// stay in force, and it is asked again.
#include "node/remote.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "mesh/deny.h"

#include <stdlib.h>
#include <string.h>

enum { REMOTE_ASK_MS = 5000, REMOTE_MEMORY = 2 << 20, VERSION_MAX = 64 };

struct remote {
    remote_settings settings;
    timer *tick;
    char version[VERSION_MAX]; // of the deny list here
    bool asking, asking_renewal, again;
    size_t works;              // helper threads
    uint64_t renew_at_real_ms; // 0: not known yet
    bool closing;
    void (*closed)(void *data);
    void *closed_data;
};

// One piece of work on a helper thread.
struct remote_work {
    remote *remote;
    arena *memory;
    str first, second;
    err error;
    uint64_t renew_at_real_ms;
    void (*done)(struct remote_work *w);
    void (*work)(struct remote_work *w);
};

static void work_do(void *data)
{
    struct remote_work *w = data;
    w->work(w);
}

static void remote_settle(remote *r)
{
    if (r->closing && r->works == 0 && r->closed != NULL) {
        void (*closed)(void *data) = r->closed;
        r->closed = NULL;
        closed(r->closed_data);
    }
}

static void work_done(void *data)
{
    struct remote_work *w = data;
    remote *r = w->remote;
    r->works--;
    if (!r->closing)
        w->done(w);
    arena_close(w->memory);
    free(w);
    remote_settle(r);
}

static bool work_start(remote *r,
                       str first,
                       str second,
                       void (*work)(struct remote_work *w),
                       void (*done)(struct remote_work *w))
{
    struct remote_work *w = calloc(1, sizeof(*w));
    if (w == NULL || arena_open(&w->memory, REMOTE_MEMORY).code != OK) {
        free(w);
        return false;
    }
    w->remote = r;
    w->first = str_copy(w->memory, first);
    w->second = str_copy(w->memory, second);
    w->work = work;
    w->done = done;
    r->works++;
    if (loop_work(r->settings.loop, work_do, work_done, w).code == OK)
        return true;
    r->works--;
    arena_close(w->memory);
    free(w);
    return false;
}

// ---- the deny list

static void remote_ask_denied(remote *r);

static void denied_work(struct remote_work *w)
{
    size_t count, line;
    const char *reason;
    str there;
    const char *path = w->remote->settings.deny_path;
    w->error = deny_check(w->second, &count, &line, &reason);
    // Several nodes of this machine share the file.
    if (w->error.code == OK && (file_read(w->memory, path, DENY_BYTES_MAX, &there).code != OK ||
                                !str_is(there, w->second)))
        w->error = file_write_durable(path, w->second, 0600);
}

static void denied_done(struct remote_work *w)
{
    remote *r = w->remote;
    r->asking = false;
    if (w->error.code != OK)
        log_fail(r->settings.log, "deny list not written", w->error, NULL);
    else if (w->first.len < VERSION_MAX)
        memcpy(r->version, w->first.at, w->first.len + 1);
    if (r->again)
        remote_ask_denied(r);
}

static void remote_on_denied(void *data, err e, const void *fields)
{
    remote *r = data;
    const node_denied_reply *reply = fields;
    if (r->closing)
        return;
    // The same version: nothing to do. An empty list of another version is written as such.
    if (e.code == OK && !str_is(reply->version, str_of(r->version)) &&
        work_start(r, reply->version, reply->list, denied_work, denied_done))
        return;
    r->asking = false;
    if (r->again)
        remote_ask_denied(r);
}

static void remote_ask_denied(remote *r)
{
    r->again = r->asking;
    if (r->asking || r->closing)
        return;
    r->asking = true;
    node_denied_request ask = {.known = str_of(r->version)};
    mesh_ask(r->settings.mesh, r->settings.authority, MSG_node_denied, NULL, &ask, REMOTE_ASK_MS,
             remote_on_denied, r);
}

static void remote_on_changed(void *data, const void *fields)
{
    (void)fields;
    remote_ask_denied(data);
}

// ---- the certificate

static void accept_work(struct remote_work *w)
{
    keyring *k = NULL;
    w->error = keyring_open(&k, &w->remote->settings.keyring);
    if (w->error.code == OK)
        w->error = keyring_accept(k, w->first, STR(""), clock_real_ms());
    if (w->error.code == OK)
        w->renew_at_real_ms = keyring_renew_at_real_ms(k);
    else if (w->error.what != NULL)
        w->error.what = str_c(w->memory, str_of(w->error.what));
    keyring_close(k);
}

static void accept_done(struct remote_work *w)
{
    remote *r = w->remote;
    r->asking_renewal = false;
    if (w->error.code != OK) {
        log_fail(r->settings.log, "certificate not renewed", w->error, NULL);
        return;
    }
    r->renew_at_real_ms = w->renew_at_real_ms;
    r->settings.renewed(r->settings.data);
}

static void remote_on_renewed(void *data, err e, const void *fields)
{
    remote *r = data;
    const node_renew_reply *reply = fields;
    if (r->closing)
        return;
    if (e.code == OK && work_start(r, reply->certificate, STR(""), accept_work, accept_done))
        return;
    r->asking_renewal = false;
    if (e.code != OK)
        log_fail(r->settings.log, "certificate not renewed", e, NULL);
}

static void request_work(struct remote_work *w)
{
    keyring *k = NULL;
    w->error = keyring_open(&k, &w->remote->settings.keyring);
    if (w->error.code == OK) {
        w->renew_at_real_ms = keyring_renew_at_real_ms(k);
        if (clock_real_ms() >= w->renew_at_real_ms)
            w->error = keyring_request(k, w->memory, &w->first);
    }
    keyring_close(k);
}

static void request_done(struct remote_work *w)
{
    remote *r = w->remote;
    if (w->error.code == OK)
        r->renew_at_real_ms = w->renew_at_real_ms;
    if (w->error.code != OK || w->first.len == 0) {
        r->asking_renewal = false;
        return;
    }
    node_renew_request ask = {.request = w->first};
    mesh_ask(r->settings.mesh, r->settings.authority, MSG_node_renew, NULL, &ask, REMOTE_ASK_MS,
             remote_on_renewed, r);
}

static void remote_on_tick(void *data)
{
    remote *r = data;
    remote_ask_denied(r);
    if (!r->asking_renewal && clock_real_ms() >= r->renew_at_real_ms)
        r->asking_renewal = work_start(r, STR(""), STR(""), request_work, request_done);
}

// ---- life

err remote_open(remote **out, const remote_settings *settings)
{
    remote *r = *out = calloc(1, sizeof(*r));
    if (r == NULL)
        return fail(ERR_MEMORY, 0, "remote node");
    r->settings = *settings;
    TRY(timer_open(&r->tick, settings->loop, remote_on_tick, r));
    TRY(mesh_listen(settings->mesh, MSG_node_denied_changed, remote_on_changed, r));
    timer_start(r->tick, 1, REMOTE_TICK_MS);
    return ok();
}

static void remote_on_closed(void *data)
{
    remote *r = data;
    r->works--;
    remote_settle(r);
}

void remote_close(remote *r, void (*closed)(void *data), void *data)
{
    r->closing = true;
    r->closed = closed;
    r->closed_data = data;
    timer_close(r->tick);
    r->tick = NULL;
    r->works++; // so that it is never within this call
    if (loop_defer(r->settings.loop, remote_on_closed, r).code != OK)
        abort();
}

void remote_free(remote *r)
{
    if (r == NULL)
        return;
    timer_close(r->tick);
    free(r);
}
