// What guests wrote and why calls failed: a ring on disk per project, read back by number.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "protocol/substrate/substrate_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES_MAX = 64 * 1024, LINE_ARENA_BYTES = 256 * 1024 };

// Each open ring holds descriptors: the one that nobody used for longest makes room.
static void logs_make_room(substrate *s)
{
    project *oldest = NULL;
    size_t at = 0;
    str key;
    void *value;
    if (s->logs_open < LOGS_OPEN_MAX)
        return;
    while (map_next(s->projects, &at, &key, &value)) {
        project *p = value;
        if (p->log != NULL && (oldest == NULL || p->log_used_ms < oldest->log_used_ms))
            oldest = p;
    }
    if (oldest == NULL)
        return;
    ring_close(oldest->log);
    oldest->log = NULL;
    s->logs_open--;
}

static err log_open_of(project *p)
{
    substrate *s = p->substrate;
    p->log_used_ms = loop_now_ms(s->context.loop);
    if (p->log != NULL)
        return ok();
    logs_make_room(s);
    OWNED(arena_drop) arena *a = NULL;
    TRY(arena_open(&a, 16 * 1024));
    str folder = str_format(a, "%s/logs/%s", s->context.folder, p->id);
    if (folder.at == NULL)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(folder.at, 0700));
    TRY(ring_open(&p->log, folder.at, LOG_BYTES_MAX));
    s->logs_open++;
    return ok();
}

static err line_keep(project *p, const log_line_record *line)
{
    TRY(log_open_of(p));
    OWNED(buf_close) buf out;
    buf_open(&out, LINE_BYTES_MAX);
    json_writer w = {.out = &out};
    message_json_write(&w, NULL, &shape_log_line, line);
    TRY(out.error);
    uint64_t number;
    return ring_add(p->log, buf_str(&out), &number);
}

void lines_on_output(void *data, const worker_output *line)
{
    substrate *s = data;
    const function_count *f = map_get(s->counts, line->function);
    project *p = substrate_project(s, line->project);
    if (p == NULL) {
        log_line(s->context.log, LOG_WARN, "worker says", "stream", line->stream, "text",
                 line->text, NULL);
        return;
    }
    log_line_record record = {
        .real_ms = line->real_ms,
        .request = line->request,
        .function = f != NULL && f->name != NULL ? str_of(f->name) : line->function,
        .stream = line->stream,
        .text = line->text,
    };
    err e = line_keep(p, &record);
    if (e.code != OK)
        log_fail(s->context.log, "guest's line not kept", e, "project", line->project, NULL);
}

void lines_on_lost(void *data, size_t slot, str function, str request, str why)
{
    (void)slot;
    substrate *s = data;
    function_count *f = map_get(s->counts, function);
    if (f == NULL || f->project == NULL)
        return;
    f->lost++;
    f->calls++;
    f->failures++;
    char text[256];
    str path = str_first(request, 100);
    int len = snprintf(text, sizeof(text),
                       "the process that ran this function was lost (%.*s) while it answered %.*s",
                       STR_ARG(str_first(why, 80)), STR_ARG(path));
    worker_output line = {
        .project = str_of(f->project),
        .function = function,
        .stream = STR("error"),
        .text = {text, (size_t)len},
        .real_ms = clock_real_ms(),
    };
    lines_on_output(s, &line);
}

// One pass over the ring: keeps the last (or first) `limit` that fit.
struct line_search {
    arena *memory;
    str function;
    uint64_t limit;
    bool newest; // keep the last instead of stopping at the limit
    log_line_record *at;
    uint64_t found; // all that matched; the place of the next is found % limit
    size_t bytes;
    arena *scratch;
};

static bool line_each(void *data, uint64_t number, str record)
{
    struct line_search *s = data;
    log_line_record line;
    arena_reset(s->scratch);
    if (record_read(s->scratch, record, &shape_log_line, &line).code != OK)
        return true; // a line that a crash has cut
    if (s->function.len > 0 && !str_is(line.function, s->function))
        return true;
    str raw = str_copy(s->memory, record);
    if (raw.at == NULL || record_read(s->memory, raw, &shape_log_line, &line).code != OK)
        return false;
    line.number = number;
    s->at[s->found++ % s->limit] = line;
    s->bytes += record.len;
    return s->newest || (s->found < s->limit && s->bytes < LOG_ANSWER_BYTES_MAX);
}

static err
lines_find(project *p, struct line_search *search, uint64_t after, substrate_logs_reply *reply)
{
    TRY(log_open_of(p));
    reply->last = ring_last(p->log);
    search->at = arena_take(search->memory, search->limit * sizeof(*search->at));
    if (search->at == NULL)
        return fail(ERR_MEMORY, 0, "read log");
    // "The last lines" are looked for among so many, and no further.
    uint64_t window = search->function.len > 0 ? LOG_SEARCH_LINES : search->limit;
    if (search->newest && reply->last > window)
        after = reply->last - window;
    TRY(arena_open(&search->scratch, LINE_ARENA_BYTES));
    err e = ring_read(p->log, after, line_each, search);
    arena_close(search->scratch);
    TRY(e);
    size_t count = search->found < search->limit ? search->found : search->limit;
    log_line_record *ordered = arena_take(search->memory, (count + 1) * sizeof(*ordered));
    if (ordered == NULL)
        return fail(ERR_MEMORY, 0, "read log");
    for (size_t i = 0; i < count; i++)
        ordered[i] = search->at[(search->found - count + i) % search->limit];
    reply->lines.at = ordered;
    reply->lines.count = count;
    return ok();
}

// Newest lines have to fit into one answer: the oldest of them give way.
static void lines_fit(substrate_logs_reply *reply)
{
    size_t bytes = 0, keep = 0;
    while (keep < reply->lines.count && bytes < LOG_ANSWER_BYTES_MAX) {
        const log_line_record *l = &reply->lines.at[reply->lines.count - 1 - keep++];
        bytes += l->text.len + l->request.len + l->function.len + 64;
    }
    reply->lines.at += reply->lines.count - keep;
    reply->lines.count = keep;
}

static void
lines_on_logs(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    substrate *s = data;
    const substrate_logs_request *request = fields;
    substrate_logs_reply reply = {.last = 0};
    project *p = substrate_project(s, request->project);
    if (p == NULL) {
        mesh_answer_err(in, fail(ERR_ABSENT, 0, "nothing of this project is served"));
        return;
    }
    bool all = request->limit == 0 || request->limit > LOG_LINES_MAX;
    struct line_search search = {
        .memory = mesh_incoming_arena(in),
        .function = request->function,
        .limit = all ? LOG_LINES_MAX : request->limit,
        .newest = request->after == 0,
    };
    err e = lines_find(p, &search, request->after, &reply);
    if (e.code != OK) {
        mesh_answer_err(in, e);
        return;
    }
    lines_fit(&reply);
    mesh_answer(in, &reply);
}

err lines_serve(substrate *s)
{
    return mesh_serve(s->context.mesh, MSG_substrate_logs, lines_on_logs, s);
}
