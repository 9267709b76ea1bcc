// What the builder's tests share: a builder in a folder of its own, sources, builds that are waited
// for.
#pragma once
#include "base/buf.h"
#include "builder/builder.h"

enum { TEST_WAIT_MS = 60000 };

typedef struct bench {
    char folder[64];
    loop *loop;
    blobs *blobs;
    builder *builder;
    unsigned sources;
} bench;
typedef struct outcome {
    build *build;
    bool ended;
    int ends;
    build_result result;
    char error[1024], language[32];
    buf output;
} outcome;

void bench_open(bench *b);
void bench_close(bench *b);
// A folder with the files of an embedded one, as "templates/c/ping_pong/". Freed by the caller.
char *bench_template(bench *b, const char *from);
// A C source whose .taubyte/build.sh is `script`.
char *bench_script(bench *b, const char *script);
void bench_write(const char *folder, const char *name, const char *text);
void bench_start(bench *b, outcome *o, const build_request *request);
void bench_on_output(void *data, build *b, str text); // data: an outcome
void bench_on_end(void *data, build *b, const build_result *result);
void bench_wait(bench *b, const outcome *o);
// Starts and waits; `id` may be NULL: nothing is cached.
void bench_build(bench *b, outcome *o, const char *source, const char *id, const char *call);
void outcome_clear(outcome *o);
bool outcome_said(const outcome *o, const char *text);
