// One build from its sources to two blobs.
//
// The happy path is: 1. a helper thread reads .taubyte, asks the cache, makes folders; 2. the
// steps run in the closed room; 3. a helper thread reads what they made; 4. our own program
// compiles it in a second room, and the wasm is stored meanwhile; 5. the module and the cache's
// entry are stored; 6. all who wait are told, and the folder goes. Between 2 and 3 a Go build may
// ask for modules: they are fetched by the Go tool alone and 2 runs again. What can fail: the
// user's files in 1, 2 and 4 (told as the build's result), our disk and sandbox anywhere (told so
// as well).
#include "base/file.h"
#include "base/str.h"
#include "builder/builder_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JOB_MEMORY_BYTES = 16 << 20, UID_FIRST = 65000, UID_COUNT = 500 };

static void job_run(job *j, room_kind kind);

static void job_free(void *data)
{
    job *j = data;
    builder *b = j->builder;
    timer_close(j->watch);
    fd_drop(&j->wasm);
    fd_drop(&j->module);
    output_close(&j->output);
    for (job **at = &b->jobs; *at != NULL; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            break;
        }
    arena_close(j->memory);
    free(j);
    builder_job_gone(b);
}

static void job_clean(void *data)
{
    job *j = data;
    process_group_close(j->group);
    if (j->folder != NULL)
        (void)file_remove_tree(j->folder).code; // what stays goes at the next start
}

// Nobody waits any more: frees the job as soon as neither a child nor a helper thread has it.
static void job_check_gone(job *j)
{
    if (!j->ended || j->running != NULL || j->works > 0)
        return;
    j->works++;
    timer_close(j->watch);
    j->watch = NULL;
    if (loop_work(j->builder->settings.loop, job_clean, job_free, j).code == OK)
        return;
    job_clean(j);
    job_free(j);
}

static void job_end(job *j, const build_result *result)
{
    j->ended = true;
    job_kill(j);
    while (j->builds != NULL) {
        build *who = j->builds;
        j->builds = who->next;
        who->events.on_end(who->events.data, who, result);
        free(who);
    }
    job_check_gone(j);
}

// `text` is for the user and names a place where it can.
static void job_fail(job *j, str text)
{
    build_result result = {.language = j->contract.language, .error = text};
    if (text.at == NULL)
        result.error = STR("the build ran out of memory");
    job_end(j, &result);
}

static void job_fail_ours(job *j, err e)
{
    log_fail(j->builder->settings.log, "build failed", e, "function", j->name, NULL);
    build_result result = {.ours = true, .language = j->contract.language};
    result.error =
        str_format(j->memory, "%.*s: our own trouble while building: %s%s%s", STR_ARG(j->path),
                   e.what, e.sys > 0 ? ": " : "", e.sys > 0 ? strerrordesc_np(e.sys) : "");
    if (result.error.at == NULL)
        result.error = STR("the build ran out of memory");
    job_end(j, &result);
}

static void job_succeed(job *j)
{
    build_result result = {.ok = true,
                           .cached = j->cached,
                           .wasm_bytes = j->entry.wasm_bytes,
                           .language = j->contract.language};
    sha256_hex(j->entry.wasm, result.wasm);
    sha256_hex(j->entry.module, result.module);
    job_end(j, &result);
}

static void job_tell(void *data, str text)
{
    job *j = data;
    for (build *who = j->builds, *next; who != NULL; who = next) {
        next = who->next;
        if (who->events.on_output != NULL)
            who->events.on_output(who->events.data, who, text);
    }
}

// Work on a helper thread, then `done` on the loop, which looks at j->failed and j->problem first.
static void job_work(job *j, void (*work)(void *data), void (*done)(void *data))
{
    j->works++;
    j->failed = ok();
    err e = loop_work(j->builder->settings.loop, work, done, j);
    if (e.code == OK)
        return;
    j->works--;
    job_fail_ours(j, e);
}

// True: go on. Otherwise the job has ended, one way or the other.
static bool job_may_go_on(job *j)
{
    j->works--;
    if (j->ended)
        job_check_gone(j);
    else if (j->failed.code != OK)
        job_fail_ours(j, j->failed);
    else if (j->problem.len > 0)
        job_fail(j, j->problem);
    else
        return true;
    return false;
}

// --- 5. the module ----------------------------------------------------------------------------

static void job_store_module(void *data)
{
    job *j = data;
    builder *b = j->builder;
    struct stat info;
    if (fstat(j->module, &info) != 0 || info.st_size == 0 || info.st_size > MODULE_BYTES_MAX) {
        j->failed = fail(ERR_SYSTEM, 0, "the compiler left no module");
        return;
    }
    size_t size = (size_t)info.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, j->module, 0);
    if (bytes == MAP_FAILED) {
        j->failed = fail_errno(errno, "read the compiled module");
        return;
    }
    j->failed = blobs_put(b->settings.blobs, (str){bytes, size}, &j->entry.module);
    (void)munmap(bytes, size);
    if (j->failed.code == OK && j->source_id.len > 0)
        j->failed = cache_put(b->index, &j->key, &j->entry);
}

static void job_on_module(void *data)
{
    job *j = data;
    if (job_may_go_on(j))
        job_succeed(j);
}

// --- 4. compile and store the wasm ------------------------------------------------------------

static void job_store_wasm(void *data)
{
    job *j = data;
    size_t size = (size_t)j->entry.wasm_bytes;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, j->wasm, 0);
    if (bytes == MAP_FAILED) {
        j->failed = fail_errno(errno, "read the artefact");
        return;
    }
    j->failed = blobs_put(j->builder->settings.blobs, (str){bytes, size}, &j->entry.wasm);
    (void)munmap(bytes, size);
}

static void job_on_wasm(void *data)
{
    job *j = data;
    if (!job_may_go_on(j))
        return;
    j->stored = true;
    if (j->running == NULL)
        job_work(j, job_store_module, job_on_module);
}

static void job_on_artefact(void *data)
{
    job *j = data;
    if (!job_may_go_on(j))
        return;
    job_work(j, job_store_wasm, job_on_wasm);
    if (!j->ended)
        job_run(j, ROOM_COMPILE);
}

// --- 3. what the steps made -------------------------------------------------------------------

static void job_read_artefact(void *data)
{
    static const char *const names[] = {"main.wasm", "artifact.wasm"};
    job *j = data;
    arena *a;
    j->failed = arena_open(&a, ARTEFACT_BYTES_MAX + (1 << 20));
    if (j->failed.code != OK)
        return;
    str bytes = {0};
    err e = ok();
    size_t i = 0;
    for (; i < COUNT(names); i++) {
        e = source_read(a, j->out, names[i], ARTEFACT_BYTES_MAX, &bytes);
        if (e.code != ERR_ABSENT)
            break;
    }
    str script = j->contract.steps[j->contract.steps_count - 1];
    const char *what = e.code == ERR_ABSENT   ? "made no $OUT/main.wasm"
                       : e.code == ERR_LIMIT  ? "made a module larger than 128 MiB"
                       : e.code == ERR_DENIED ? "made something else than a file as $OUT/main.wasm"
                       : e.code == OK && bytes.len == 0 ? "made an empty $OUT/main.wasm"
                                                        : NULL;
    if (what != NULL)
        j->problem = str_format(j->memory, "%.*s/%.*s/%.*s.sh: %s", STR_ARG(j->path),
                                STR_ARG(j->contract.folder), STR_ARG(script), what);
    else if (e.code != OK)
        j->failed = e;
    else
        j->failed = memory_file("artefact", bytes, &j->wasm);
    j->entry.wasm_bytes = bytes.len;
    arena_close(a);
}

// --- 2. rooms ---------------------------------------------------------------------------------

static uint64_t job_wall_ms(const job *j, room_kind kind)
{
    return kind == ROOM_SCRIPT  ? j->wall_ms_max
           : kind == ROOM_FETCH ? FETCH_WALL_MS
                                : COMPILE_WALL_MS;
}

// The room binds our program by its path, where somebody may have put another one.
static bool job_program_is_another(const job *j)
{
    struct stat there, here;
    return stat(j->builder->settings.program, &there) != 0 ||
           (stat("/proc/self/exe", &here) == 0 &&
            (there.st_ino != here.st_ino || there.st_dev != here.st_dev));
}

// Why a room failed, as one line for the user.
static str job_reason(job *j, const proc_end *end)
{
    bool placed;
    str said = output_error(&j->output, &placed);
    if (j->stage == ROOM_COMPILE) // our own program says it in one line; what follows is detail
        said = output_first(&j->output);
    str who = j->stage == ROOM_COMPILE ? j->path
              : j->stage == ROOM_FETCH ? str_format(j->memory, "%.*s/go.mod", STR_ARG(j->path))
                                       : str_format(j->memory, "%.*s/%.*s", STR_ARG(j->path),
                                                    STR_ARG(j->contract.folder));
    if (j->disk_full)
        return str_format(j->memory, "%.*s: wrote more than 1 GiB and was stopped", STR_ARG(who));
    if (end->output_limit)
        return str_format(j->memory, "%.*s: printed more than 4 MiB and was stopped", STR_ARG(who));
    if (end->timed_out)
        return str_format(j->memory, "%.*s: took longer than %llu s and was stopped", STR_ARG(who),
                          (unsigned long long)(job_wall_ms(j, j->stage) + 999) / 1000);
    if (j->stage == ROOM_COMPILE && job_program_is_another(j))
        return STR("dream was replaced while it runs: dream kill all, then dream new multiverse");
    if (str_starts(said, STR("bwrap: ")))
        return str_format(j->memory, "%.*s: the build sandbox does not work on this machine: %.*s",
                          STR_ARG(j->path), STR_ARG(said));
    if (placed)
        return str_copy(j->memory, said);
    if (said.len > 0)
        return str_format(j->memory, "%.*s: %.*s", STR_ARG(who), STR_ARG(said));
    if (end->status < 0)
        return str_format(j->memory, "%.*s: ended by signal %d", STR_ARG(who), end->signal);
    return str_format(j->memory, "%.*s: ended with status %d and said nothing", STR_ARG(who),
                      end->status);
}

static bool job_asks_for_modules(job *j)
{
    str text;
    return j->stage == ROOM_SCRIPT && !j->fetched && str_is(j->contract.language, STR("go")) &&
           source_read(j->memory, j->out, ".fetch", 64 << 10, &text).code == OK;
}

static void job_on_room_output(void *data, proc *p, int stream, str bytes)
{
    (void)p;
    (void)stream;
    job *j = data;
    if (!j->ended)
        output_add(&j->output, bytes, job_tell, j);
}

static void job_on_room_end(void *data, proc *p, const proc_end *end)
{
    (void)p;
    job *j = data;
    j->running = NULL;
    timer_stop(j->watch);
    if (!j->ended)
        output_end(&j->output, job_tell, j);
    if (j->ended)
        return job_check_gone(j);
    if (end->status > 0 && job_asks_for_modules(j)) {
        j->fetched = true;
        job_tell(j, STR("fetching modules that are not here yet\n"));
        return job_run(j, ROOM_FETCH);
    }
    if (end->status != 0 || j->disk_full)
        return job_fail(j, job_reason(j, end));
    switch (j->stage) {
    case ROOM_FETCH:
        return job_run(j, ROOM_SCRIPT);
    case ROOM_SCRIPT:
        return job_work(j, job_read_artefact, job_on_artefact);
    case ROOM_COMPILE:
        if (j->stored)
            job_work(j, job_store_module, job_on_module);
    }
}

static void job_measure(void *data)
{
    job *j = data;
    j->disk_bytes = tree_bytes(j->out) + tree_bytes(j->source);
}

static void job_on_measured(void *data)
{
    job *j = data;
    j->works--;
    if (j->disk_bytes > BUILD_DISK_BYTES_MAX && j->running != NULL && j->stage == ROOM_SCRIPT) {
        j->disk_full = true;
        job_kill(j);
    }
    job_check_gone(j);
}

static void job_on_watch(void *data)
{
    job *j = data;
    if (j->works > 0 || j->running == NULL || j->stage != ROOM_SCRIPT)
        return;
    j->works++;
    if (loop_work(j->builder->settings.loop, job_measure, job_on_measured, j).code != OK)
        j->works--;
}

// Moving a process takes the kernel some milliseconds, so a helper thread does it.
static void job_add_to_group(void *data)
{
    job *j = data;
    // When it fails the limits of each process still hold.
    (void)process_group_add(j->group, j->pid).code;
}

static void job_on_group(void *data)
{
    job *j = data;
    j->works--;
    if (j->running != NULL && proc_write(j->running, STR("go\n")).code != OK)
        job_kill(j);
    job_check_gone(j);
}

static void job_join_group(job *j)
{
    j->pid = proc_id(j->running);
    j->works++;
    if (loop_work(j->builder->settings.loop, job_add_to_group, job_on_group, j).code == OK)
        return;
    job_add_to_group(j);
    job_on_group(j);
}

static void job_run(job *j, room_kind kind)
{
    builder *b = j->builder;
    j->stage = kind;
    output_begin(&j->output);
    if (kind == ROOM_COMPILE && (j->module = memfd_create("module", MFD_CLOEXEC)) < 0)
        return job_fail_ours(j, fail_errno(errno, "make the module's file"));
    room r = {.kind = kind,
              .tools = &b->tools,
              .utils = b->utils,
              .source = j->source,
              .out = kind == ROOM_FETCH ? j->fetched_folder : j->out,
              .fetched = kind == ROOM_SCRIPT && j->fetched ? j->fetched_folder : NULL,
              .program = b->settings.program,
              .contract = &j->contract,
              .call = j->call,
              .memory_bytes = j->memory_bytes,
              .uid = j->uid,
              .waits = kind == ROOM_SCRIPT && j->group != NULL,
              .filter = b->filter,
              .wasm = j->wasm,
              .module = j->module};
    r.wall_ms_max = job_wall_ms(j, kind);
    const proc_settings events = {
        .on_output = job_on_room_output, .on_end = job_on_room_end, .data = j};
    err e = room_start(&j->running, b->settings.loop, j->memory, &r, &events);
    if (e.code != OK)
        return job_fail_ours(j, e);
    if (kind != ROOM_SCRIPT)
        return;
    if (r.waits)
        job_join_group(j);
    timer_start(j->watch, BUILD_DISK_WATCH_MS, BUILD_DISK_WATCH_MS);
}

// --- 1. prepare (the helper thread's part stands in prepare.c) ---------------------------------

// Joins another job that makes the same of the same; its past output is told first.
static bool job_join(job *j)
{
    for (job *other = j->builder->jobs; other != NULL; other = other->next) {
        if (other == j || other->ended || !other->prepared || j->source_id.len == 0 ||
            memcmp(&other->key, &j->key, sizeof(j->key)) != 0 || !str_is(other->path, j->path) ||
            other->memory_bytes != j->memory_bytes)
            continue;
        if (other->output.said.len > 0)
            job_tell(j, buf_str(&other->output.said));
        while (j->builds != NULL) {
            build *who = j->builds;
            j->builds = who->next;
            who->job = other;
            who->next = other->builds;
            other->builds = who;
        }
        j->ended = true;
        job_check_gone(j);
        return true;
    }
    return false;
}

static void job_on_prepared(void *data)
{
    job *j = data;
    if (!job_may_go_on(j))
        return;
    if (j->cached)
        return job_succeed(j);
    if (job_join(j))
        return;
    j->prepared = true;
    job_run(j, ROOM_SCRIPT);
}

static unsigned job_free_slot(const builder *b)
{
    unsigned slot = 0;
    for (const job *other = b->jobs; other != NULL;) {
        bool taken = other->slot == slot;
        other = taken ? b->jobs : other->next;
        slot += taken;
    }
    return slot;
}

static void job_copy_request(job *j, const build_request *r)
{
    j->source = str_c(j->memory, str_of(r->source));
    j->source_id = str_copy(j->memory, r->source_id);
    j->name = str_copy(j->memory, r->name);
    j->path = str_copy(j->memory, r->path);
    j->call = str_copy(j->memory, r->call);
    j->memory_bytes = r->memory_bytes;
    j->wall_ms_max = r->wall_ms_max > 0 ? r->wall_ms_max : BUILD_WALL_MS;
    j->folder =
        str_format(j->memory, "%s/%llu", j->builder->work, (unsigned long long)j->builder->next++)
            .at;
    j->out = str_format(j->memory, "%s/out", j->folder).at;
    j->fetched_folder = str_format(j->memory, "%s/fetched", j->folder).at;
}

err job_start(builder *b, const build_request *request, build *first)
{
    job *j = calloc(1, sizeof(*j));
    if (j == NULL)
        return fail(ERR_MEMORY, 0, "start build");
    *j = (job){.builder = b, .wasm = -1, .module = -1};
    err e = arena_open(&j->memory, JOB_MEMORY_BYTES);
    if (e.code != OK) {
        free(j);
        return e;
    }
    job_copy_request(j, request);
    output_open(&j->output, j->path);
    j->slot = job_free_slot(b);
    j->uid = UID_FIRST + (unsigned)((b->place + j->slot) % UID_COUNT);
    e = j->source == NULL || j->folder == NULL || j->path.at == NULL || j->call.at == NULL
            ? fail(ERR_MEMORY, 0, "start build")
            : timer_open(&j->watch, b->settings.loop, job_on_watch, j);
    if (e.code == OK)
        e = loop_work(b->settings.loop, job_prepare, job_on_prepared, j);
    if (e.code != OK) {
        timer_close(j->watch);
        output_close(&j->output);
        arena_close(j->memory);
        free(j);
        return e;
    }
    j->works = 1;
    j->builds = first;
    first->job = j;
    j->next = b->jobs;
    b->jobs = j;
    return ok();
}

void job_kill(job *j)
{
    if (j->running != NULL)
        proc_kill(j->running, SIGKILL);
}

void job_leave(job *j, build *who)
{
    for (build **at = &j->builds; *at != NULL; at = &(*at)->next)
        if (*at == who) {
            *at = who->next;
            break;
        }
    free(who);
    if (j->builds != NULL)
        return;
    j->ended = true;
    job_kill(j);
    job_check_gone(j);
}
