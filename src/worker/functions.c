// The functions that one worker knows: made at their first call, loaded when called, unloaded when
// idle.
//
// The happy path is: 1. a call names a function of the snapshot; 2. its module is wanted from the
// control process while its calls wait; 3. the module is mapped and they start; 4. after
// module_idle_ms without a call the module goes, and then the function. What can fail: no such
// module, not our engine's, no export: its calls get 500.
#include "base/clock.h"
#include "base/str.h"
#include "worker/worker_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static str text_take(char **at, snapshot *s, snapshot_text t)
{
    str from = snapshot_str(s, t), to = {*at, from.len};
    memcpy(*at, from.at, from.len);
    *at += from.len;
    return to;
}

static function *function_make(worker *w, const snapshot_function *from)
{
    snapshot *s = w->snapshot;
    size_t texts = (size_t)from->id.len + from->name.len + from->application.len +
                   from->project.len + from->branch.len + from->commit.len + from->call.len +
                   from->module.len;
    function *f = calloc(1, sizeof(*f) + texts + 1);
    if (f == NULL)
        return NULL;
    char *at = (char *)(f + 1);
    f->worker = w;
    memcpy(f->key, from->key, sizeof(f->key));
    f->number = ++w->numbers;
    f->waiting_last = &f->waiting;
    f->id = text_take(&at, s, from->id);
    f->name = text_take(&at, s, from->name);
    f->application = text_take(&at, s, from->application);
    f->project = text_take(&at, s, from->project);
    f->branch = text_take(&at, s, from->branch);
    f->commit = text_take(&at, s, from->commit);
    f->code = text_take(&at, s, from->call);
    f->module_hash = text_take(&at, s, from->module);
    f->timeout_ms = from->timeout_ms;
    f->memory_bytes = from->memory_bytes;
    f->response_bytes = from->response_bytes;
    f->concurrency = from->concurrency != 0 ? from->concurrency : FUNCTION_CONCURRENCY;
    if (f->concurrency < FUNCTION_CONCURRENCY)
        f->place = places_find(w->places, f->id);
    if (map_put(w->functions, (str){f->key, sizeof(f->key)}, f, NULL).code != OK) {
        free(f);
        return NULL;
    }
    return f;
}

function *function_find(worker *w, uint32_t index)
{
    function *f = w->by_index[index];
    if (f != NULL)
        return f;
    const snapshot_function *from = &snapshot_functions(w->snapshot)[index];
    f = map_get(w->functions, (str){from->key, sizeof(from->key)});
    if (f == NULL)
        f = function_make(w, from);
    if (f == NULL)
        return NULL;
    f->index = index;
    f->index_of = w->snapshot;
    w->by_index[index] = f;
    return f;
}

static void function_unload(function *f)
{
    if (f->module == NULL)
        return;
    vm_module_drop(f->module);
    f->module = NULL;
    f->state = FUNCTION_COLD;
    f->worker->modules--;
}

// The least lately called one makes room.
static bool functions_make_room(worker *w)
{
    function *oldest = NULL;
    size_t at = 0;
    str key;
    void *value;
    while (map_next(w->functions, &at, &key, &value)) {
        function *f = value;
        if (f->module != NULL && f->holds == 0 && (oldest == NULL || f->used_ms < oldest->used_ms))
            oldest = f;
    }
    if (oldest == NULL)
        return false;
    function_unload(oldest);
    return true;
}

static call *waiting_take(function *f)
{
    function **at = &f->worker->loading;
    while (*at != NULL && *at != f)
        at = &(*at)->loading_next;
    if (*at != NULL)
        *at = f->loading_next;
    call *all = f->waiting;
    f->waiting = NULL;
    f->waiting_last = &f->waiting;
    return all;
}

static void waiting_fail(function *f, err e)
{
    f->state = FUNCTION_COLD;
    for (call *c = waiting_take(f), *next; c != NULL; c = next) {
        next = c->next;
        c->waiting = false;
        call_module_failed(c, e);
    }
}

void function_want(function *f, call *c)
{
    worker *w = f->worker;
    if (c != NULL) {
        c->waiting = true;
        c->next = NULL;
        *f->waiting_last = c;
        f->waiting_last = &c->next;
    }
    if (f->state == FUNCTION_LOADING)
        return;
    f->state = FUNCTION_LOADING;
    f->loading_next = w->loading;
    w->loading = f;
    f->wanted_ms = loop_now_ms(w->loop);
    err e = ok();
    if (w->modules >= MODULES_MAX && !functions_make_room(w))
        e = fail(ERR_BUSY, 0, "too many functions at once");
    worker_module_want want = {.ticket = f->number, .hash = f->module_hash};
    if (e.code == OK)
        e = link_send(w->link, MSG_worker_module_want, &want, NULL, 0);
    if (e.code != OK)
        waiting_fail(f, e);
}

void function_unqueue(function *f, call *c)
{
    call **at = &f->waiting;
    while (*at != NULL && *at != c)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = c->next;
    if (f->waiting_last == &c->next)
        f->waiting_last = at;
    c->waiting = false;
}

// What was called lately and has changed is wanted before its next call comes.
void functions_prefetch(worker *w, snapshot *fresh)
{
    uint64_t now = loop_now_ms(w->loop);
    map *lately = NULL;
    size_t at = 0, wanted = 0;
    str key;
    void *value;
    if (w->modules == 0 || map_open(&lately, MODULES_MAX).code != OK)
        return;
    while (map_next(w->functions, &at, &key, &value)) {
        function *f = value;
        if (f->module != NULL && now - f->used_ms < PREFETCH_RECENT_MS &&
            map_put(lately, f->id, f, NULL).code != OK)
            break;
    }
    const snapshot_function *all = snapshot_functions(fresh);
    for (uint32_t i = 0; map_count(lately) > 0 && i < fresh->functions.count; i++) {
        const function *f = map_get(lately, snapshot_str(fresh, all[i].id));
        if (f == NULL || memcmp(f->key, all[i].key, sizeof(f->key)) == 0)
            continue;
        function *next = function_find(w, i);
        if (next == NULL || next->state != FUNCTION_COLD || wanted++ == PREFETCH_MAX)
            break;
        next->used_ms = now;
        function_want(next, NULL);
    }
    map_close(lately);
}

static err function_load(function *f, int fd)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    vm_function settings = {
        .name = f->name,
        .id = f->id,
        .project = f->project,
        .application = f->application,
        .branch = f->branch,
        .commit = f->commit,
        .call = f->code,
        .timeout_ms = f->timeout_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)f->timeout_ms,
        .memory_bytes_max = f->memory_bytes,
        .response_bytes_max = f->response_bytes,
    };
    TRY(vm_module_open(f->worker->vm, path, &settings, &f->module));
    f->worker->modules++;
    f->state = FUNCTION_LOADED;
    return ok();
}

void functions_on_module(worker *w, const worker_module *m, int fd)
{
    function *f = w->loading;
    while (f != NULL && f->number != m->ticket)
        f = f->loading_next;
    if (f == NULL)
        return; // its time is over
    err e =
        fd < 0 ? fail(ERR_ABSENT, 0, "the compiled module is not to be had") : function_load(f, fd);
    if (e.code != OK) {
        tell_output(w, f, STR(""), STR("error"), m->error.len > 0 ? m->error : str_of(e.what));
        waiting_fail(f, e);
        return;
    }
    f->used_ms = loop_now_ms(w->loop);
    for (call *c = waiting_take(f), *next; c != NULL; c = next) {
        next = c->next;
        c->waiting = false;
        call_module_ready(c);
    }
}

static void function_forget(function *f)
{
    worker *w = f->worker;
    function_unload(f);
    if (w->by_index != NULL && f->index_of == w->snapshot)
        w->by_index[f->index] = NULL;
    (void)map_remove(w->functions, (str){f->key, sizeof(f->key)});
    free(f);
}

void functions_sweep(worker *w)
{
    uint64_t now = loop_now_ms(w->loop);
    size_t at = 0, forgotten = 0;
    str key;
    void *value;
    while (map_next(w->functions, &at, &key, &value)) {
        function *f = value;
        if (f->state == FUNCTION_LOADING && now - f->wanted_ms > MODULE_WAIT_MS)
            waiting_fail(f, fail(ERR_TIMEOUT, 0, "the compiled module did not come in time"));
        if (f->holds > 0 || f->state == FUNCTION_LOADING || f->calls > 0 ||
            now - f->used_ms < w->module_idle_ms)
            continue;
        function_forget(f);
        forgotten++;
    }
    if (forgotten > 0)
        memory_give_back(); // what was loaded once should cost nothing now
}

void functions_close(worker *w)
{
    size_t at = 0;
    str key;
    void *value;
    while (map_next(w->functions, &at, &key, &value)) {
        function_unload(value);
        free(value);
    }
    map_close(w->functions);
}
