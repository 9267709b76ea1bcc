// What the forge's files share: visits (a request and all it sets going), a lock per repository.
#pragma once
#include "base/buf.h"
#include "base/compress.h"
#include "base/map.h"
#include "io/proc.h"
#include "repo/forge.h"
#include "repo/pkt_line.h"
#include "repo/repo.h"

enum {
    FORGE_REPOSITORIES_MAX = 100000,
    FORGE_FETCHES_MAX = 32,  // upload-pack at work
    FORGE_PUSHES_MAX = 64,   // running or waiting for their repository
    FORGE_WAITING_MAX = 256, // for one repository
    FORGE_ASK_MS = 30 * 1000,
    FORGE_WALL_MS = 10 * 60 * 1000, // of git
    FORGE_ANNOUNCED_MAX = 1000,     // refs that one push changes
    FORGE_ENVIRONMENT = 12,
    VISIT_MEMORY_MAX = 64 << 20,
    VISIT_EARLY_MAX = 8 << 20,   // bytes of a push before receive-pack runs
    VISIT_ANSWER_MAX = 16 << 20, // an advertisement
    VISIT_REPORT_MAX = 1 << 20,  // what receive-pack says
    VISIT_ERRORS_MAX = 4096,     // what git says on stderr, for the log
    VISIT_PIECE = 64 << 10,      // unpacked at once
    VISIT_QUEUE_HIGH = 1 << 20,  // input waiting for git: reading pauses
};
// The pack's own limit is receive.maxInputSize, 1 GiB.
#define FORGE_PUSH_BYTES_MAX  ((uint64_t)1100 << 20)
#define FORGE_FETCH_BYTES_MAX ((uint64_t)32 << 20)

typedef struct forge_visit forge_visit;
typedef struct forge_repository {
    char *path;
    char *id;   // auth's, for which it is ready
    bool ready; // made and recovered since we started
    bool busy;
    forge_visit *first, *last; // who waits
    size_t waiting;
} forge_repository;

struct forge {
    forge_settings settings; // its folder is a copy
    char *environment[FORGE_ENVIRONMENT];
    map *repositories; // by path
    forge_visit *calls;
    size_t fetches, pushes;
    bool closing;
    void (*on_closed)(void *data);
    void *on_closed_data;
    bool closed; // forge_close() has returned: the last call frees
};

// What a call waits for, and so who frees it when the client is gone.
typedef enum {
    VISIT_ASKING,  // a continuation is on its way: the mesh, a helper thread
    VISIT_READING, // more of the body
    VISIT_QUEUED,  // its repository
    VISIT_RUNNING, // git
} visit_state;

struct forge_visit {
    forge_visit *next, *previous;
    forge_visit *behind; // in the repository's queue
    forge *forge;
    http_exchange *x; // NULL: answered, or the client is gone
    arena *memory;
    visit_state state;
    bool push, advertise; // which service, and whether its refs are asked for
    bool counted;         // in forge.fetches or forge.pushes
    str owner, name, token, protocol;
    str id; // auth's, of the repository
    forge_repository *repository;
    bool holding; // its lock
    void (*granted)(forge_visit *c);
    void (*prepared)(forge_visit *c);

    gunzip_stream *unpack; // NULL: the body comes as it is
    uint64_t body_bytes;   // unpacked
    bool body_over;
    proc *proc;
    bool started; // the answer
    buf early, answer, errors;

    err worked; // what a helper thread made of it
    push_head head;
    repo_ref *before;
    size_t before_count;
    repo_change *changes;
    repo_commit *commits; // of changes
    const char **refused; // why a change is put back, NULL for those that stay
    size_t changes_count, announced;
    bool any_refused, kept_broken; // could not be put back
    buf said;                      // lines for the pusher
    void (*told)(forge_visit *c);  // after the last announcement
};

// forge.c
void visit_free(forge_visit *c);
// One answer, if anybody still waits; the call goes on or is freed by the caller.
void visit_answer(forge_visit *c, unsigned status, const char *type, str body);
void visit_answer_text(forge_visit *c, unsigned status, const char *text);
// Answers with an error's text, logs it when it is ours, frees.
void visit_end(forge_visit *c, err e, const char *event);
void visit_work(forge_visit *c,
                void (*work)(void *data),
                void (*done)(void *data)); // ends the call when it can not

// repository.c: made at first use, one push at a time
forge_repository *repository_find(forge *f, str owner, str name);
// Calls granted(c) once c holds the lock, perhaps within this; ends c when too many wait.
void repository_take(forge_visit *c, void (*granted)(forge_visit *c));
void repository_give(forge_visit *c);
bool repository_is_ready(const forge_visit *c);
void repository_leave(forge_visit *c); // no longer waits
void repository_prepare(forge_visit *c,
                        void (*granted)(forge_visit *c)); // made, recovered; the lock is free again

// refs.c, fetch.c, push.c, settle.c: what is done once the repository is there
void refs_advertise(forge_visit *c);
void fetch_start(forge_visit *c);
void push_start(forge_visit *c);
void push_take(forge_visit *c, str bytes); // of the body, unpacked
void push_body_end(forge_visit *c);
void push_settle(forge_visit *c, const proc_end *end);
// Tells patrick of each change in turn, then calls told(c); changes that patrick could not record
// are in c->refused.
void push_announce(forge_visit *c, void (*told)(forge_visit *c));

// input.c: the body on its way to git
void input_open(forge_visit *c); // before the handler returns; paused
void input_go(forge_visit *c);   // more, please
void input_hold(forge_visit *c);
void input_feed(forge_visit *c, str bytes);
void input_drained(void *data, proc *p);
err input_run(forge_visit *c,
              const char *service,
              void (*on_output)(void *data, proc *p, int stream, str bytes),
              void (*on_end)(void *data, proc *p, const proc_end *end));
