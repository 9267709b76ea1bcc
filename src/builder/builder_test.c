// Builds end to end in the real sandbox; this program itself stands in for `PROGRAM compile`.
#include "base/assets.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "builder/test_inner.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Runs before main: the builder calls us as `PROGRAM compile IN OUT CALL MEMORY`.
__attribute__((constructor)) static void compile_stand_in(int argc, char **argv)
{
    if (argc != 6 || strcmp(argv[1], "compile") != 0)
        return;
    static char bytes[8 << 20];
    int in = open(argv[2], O_RDONLY);
    ssize_t size = in >= 0 ? read(in, bytes, sizeof(bytes)) : -1;
    if (size < 4 || memcmp(bytes, "\0asm", 4) != 0 ||
        memmem(bytes, (size_t)size, argv[4], strlen(argv[4])) == NULL) {
        (void)fprintf(stderr, "the module does not export \"%s\"\n", argv[4]);
        _exit(1);
    }
    int out = open(argv[3], O_WRONLY | O_TRUNC);
    if (out < 0 || write(out, "compiled", 8) != 8 || write(out, bytes, (size_t)size) != size)
        _exit(2);
    _exit(0);
}

void bench_open(bench *b)
{
    *b = (bench){0};
    (void)snprintf(b->folder, sizeof(b->folder), "/tmp/builder-test-XXXXXX");
    CHECK(mkdtemp(b->folder) != NULL); // 0700, as a home of root's is
    char kept[128];
    char folder[128];
    static char self[4096];
    (void)snprintf(kept, sizeof(kept), "%s/blobs", b->folder);
    (void)snprintf(folder, sizeof(folder), "%s/builder", b->folder);
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    CHECK(n > 0);
    self[n] = '\0';
    CHECK(loop_open(&b->loop).code == OK);
    CHECK(blobs_open(&b->blobs, kept).code == OK);
    builder_settings s = {
        .loop = b->loop, .blobs = b->blobs, .folder = folder, .program = self, .engine = "test 1"};
    CHECK(builder_open(&b->builder, &s).code == OK);
}

void bench_close(bench *b)
{
    builder_close(b->builder);
    for (int i = 0; i < 200; i++) // the children end, the folders go
        loop_turn(b->loop, 5);
    loop_close(b->loop);
    blobs_close(b->blobs);
    CHECK(file_remove_tree(b->folder).code == OK);
}

void bench_write(const char *folder, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *f = fopen(path, "we");
    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static char *bench_source(bench *b)
{
    char *folder = NULL;
    CHECK(asprintf(&folder, "%s/source-%u", b->folder, b->sources++) > 0 &&
          mkdir(folder, 0700) == 0);
    return folder;
}

char *bench_template(bench *b, const char *from)
{
    char *folder = bench_source(b);
    size_t at = 0;
    size_t count = 0;
    str path, bytes;
    while (assets_next(&at, &path, &bytes)) {
        if (!str_starts(path, str_of(from)))
            continue;
        char name[256];
        (void)snprintf(name, sizeof(name), "%.*s", STR_ARG(str_from(path, strlen(from))));
        bench_write(folder, name, bytes.at);
        count++;
    }
    CHECK(count > 0);
    return folder;
}

char *bench_script(bench *b, const char *script)
{
    char *folder = bench_source(b);
    bench_write(folder, ".taubyte/config.yaml",
                "version: 1.0\nenvironment: {image: ctau/c, variables: {COLOUR: red}}\nworkflow: "
                "[build]\n");
    bench_write(folder, ".taubyte/build.sh", script);
    return folder;
}

void bench_on_output(void *data, build *b, str text)
{
    outcome *o = data;
    CHECK(b == o->build && !o->ended && text.len > 0 && text.at[text.len - 1] == '\n');
    buf_add(&o->output, text);
}

void bench_on_end(void *data, build *b, const build_result *result)
{
    outcome *o = data;
    CHECK(b == o->build);
    o->ended = true;
    o->ends++;
    o->result = *result;
    (void)snprintf(o->error, sizeof(o->error), "%.*s", STR_ARG(result->error));
    (void)snprintf(o->language, sizeof(o->language), "%.*s", STR_ARG(result->language));
}

void bench_start(bench *b, outcome *o, const build_request *request)
{
    *o = (outcome){0};
    buf_open(&o->output, 8 << 20);
    build_events events = {bench_on_output, bench_on_end, o};
    CHECK(build_start(&o->build, b->builder, request, &events).code == OK);
    CHECK(!o->ended);
}

void bench_wait(bench *b, const outcome *o)
{
    uint64_t until = clock_now_ms() + TEST_WAIT_MS;
    while (!o->ended && clock_now_ms() < until)
        loop_turn(b->loop, 100);
    CHECK(o->ended && o->ends == 1);
}

void bench_build(bench *b, outcome *o, const char *source, const char *id, const char *call)
{
    build_request request = {.source = source,
                             .source_id = str_of(id),
                             .name = STR("f"),
                             .path = STR("functions/f"),
                             .call = str_of(call),
                             .memory_bytes = 64 << 20,
                             .wall_ms_max = 20000};
    bench_start(b, o, &request);
    bench_wait(b, o);
    if (!o->result.ok && o->error[0] == '\0')
        print_message("failed without an error: %.*s\n", STR_ARG(buf_str(&o->output)));
}

void outcome_clear(outcome *o)
{
    buf_close(&o->output);
}

bool outcome_said(const outcome *o, const char *text)
{
    str said = buf_str(&o->output);
    return str_find(said, str_of(text)) < said.len;
}

static void check_error(const outcome *o, const char *error)
{
    if (strcmp(o->error, error) != 0)
        print_message("\"%s\" instead of \"%s\"\n%.*s\n", o->error, error,
                      STR_ARG(buf_str(&o->output)));
    CHECK(!o->result.ok && strcmp(o->error, error) == 0);
}

static void check_good(bench *b, const outcome *o, const char *language)
{
    if (!o->result.ok)
        print_message("%s\n%.*s\n", o->error, STR_ARG(buf_str(&o->output)));
    CHECK(o->result.ok && strcmp(o->language, language) == 0);
    sha256 wasm, module;
    uint64_t size = 0;
    CHECK(sha256_from_hex(str_of(o->result.wasm), &wasm).code == OK);
    CHECK(sha256_from_hex(str_of(o->result.module), &module).code == OK);
    CHECK(blobs_has(b->blobs, &wasm, &size) && size == o->result.wasm_bytes);
    CHECK(blobs_has(b->blobs, &module, &size) && size == o->result.wasm_bytes + 8);
}

TEST(build_of_the_c_templates_gives_two_blobs_and_is_cached)
{
    bench b;
    bench_open(&b);
    outcome o;
    char *source = bench_template(&b, "templates/c/ping_pong/");
    bench_build(&b, &o, source, "tree-1", "ping");
    check_good(&b, &o, "c");
    CHECK(!o.result.cached && o.result.wasm_bytes < 1000);
    build_result first = o.result;
    outcome_clear(&o);
    free(source);

    source = bench_template(&b, "templates/c/ping_pong/");
    uint64_t at = clock_now_us();
    bench_build(&b, &o, source, "tree-1", "ping");
    CHECK(o.result.ok && o.result.cached && clock_now_us() - at < 1000000);
    CHECK(strcmp(o.result.wasm, first.wasm) == 0 && strcmp(o.result.module, first.module) == 0);
    CHECK(o.result.wasm_bytes == first.wasm_bytes && strcmp(o.language, "c") == 0);
    outcome_clear(&o);

    // Neither another export nor a blob that was collected is answered from the cache.
    bench_build(&b, &o, source, "tree-1", "pong");
    CHECK(!o.result.ok && strcmp(o.error, "functions/f: the module does not export \"pong\"") == 0);
    outcome_clear(&o);
    sha256 module;
    CHECK(sha256_from_hex(str_of(first.module), &module).code == OK);
    CHECK(blobs_remove(b.blobs, &module).code == OK);
    bench_build(&b, &o, source, "tree-1", "ping");
    check_good(&b, &o, "c");
    CHECK(!o.result.cached);
    outcome_clear(&o);
    free(source);
    source = bench_template(&b, "templates/c/empty/");
    bench_build(&b, &o, source, NULL, "empty");
    check_good(&b, &o, "c");
    outcome_clear(&o);
    free(source);
    bench_close(&b);
}

TEST(build_of_c_with_libc_is_a_reactor)
{
    bench b;
    bench_open(&b);
    outcome o;
    char *source = bench_template(&b, "templates/c/empty/");
    bench_write(
        source, "more.c",
        "#include <stdio.h>\n#include <taubyte.h>\n"
        "TB_EXPORT(hi) uint32_t hi(tb_event e) { char t[32]; snprintf(t, sizeof t, \"%u\", e);\n"
        "return tb_http_print(e, t); }\n");
    bench_build(&b, &o, source, NULL, "_initialize");
    check_good(&b, &o, "c");
    CHECK(o.result.wasm_bytes > 2000);
    outcome_clear(&o);
    free(source);
    bench_close(&b);
}

TEST(build_of_the_go_templates_works_without_network)
{
    bench b;
    bench_open(&b);
    outcome o;
    char *source = bench_template(&b, "templates/go/ping_pong/");
    bench_build(&b, &o, source, "go-1", "ping");
    if (!o.result.ok && strstr(o.error, "can not be built here") != NULL)
        skip();
    check_good(&b, &o, "go");
    CHECK(!outcome_said(&o, "fetching"));
    outcome_clear(&o);
    bench_build(&b, &o, source, NULL, "_reseed"); // for instances that differ
    check_good(&b, &o, "go");
    outcome_clear(&o);
    free(source);
    source = bench_template(&b, "templates/go/empty/");
    bench_build(&b, &o, source, "go-2", "empty");
    check_good(&b, &o, "go");
    outcome_clear(&o);

    bench_write(source, "empty.go",
                "package lib\n\n//export empty\nfunc empty(e uint32) uint32 {\n\treturn foo\n}\n");
    bench_build(&b, &o, source, NULL, "empty");
    check_error(&o, "functions/f/empty.go:5:9: undefined: foo");
    outcome_clear(&o);
    bench_write(source, "empty.go",
                "package lib\n\nimport \"example.invalid/nowhere/x\"\n\n//export empty\n"
                "func empty(e uint32) uint32 {\n\treturn x.Y\n}\n");
    bench_build(&b, &o, source, NULL, "empty");
    CHECK(!o.result.ok && strstr(o.error, "functions/f/") == o.error &&
          strstr(o.error, "example.invalid/nowhere/x") != NULL);
    outcome_clear(&o);
    free(source);
    bench_close(&b);
}

TEST(build_errors_name_file_line_and_column)
{
    bench b;
    bench_open(&b);
    outcome o;
    char *source = bench_template(&b, "templates/c/ping_pong/");
    bench_write(
        source, "ping_pong.c",
        "#include <taubyte.h>\nstatic int unused;\nint ping(void) {\n    return fourteen;\n}\n");
    bench_build(&b, &o, source, NULL, "ping");
    check_error(&o, "functions/f/ping_pong.c:4:12: use of undeclared identifier 'fourteen'");
    CHECK(outcome_said(&o, "functions/f/ping_pong.c:4:12: error: use of"));
    outcome_clear(&o);
    bench_write(source, "ping_pong.c",
                "int gone(void);\n__attribute__((export_name(\"ping\"))) int ping(void) { return "
                "gone(); }\n");
    bench_build(&b, &o, source, NULL, "ping");
    CHECK(!o.result.ok && strstr(o.error, "undefined symbol: gone") != NULL);
    outcome_clear(&o);
    free(source);
    bench_close(&b);
}

static void check_config(bench *b, const char *config, const char *error)
{
    outcome o;
    char *source = bench_script(b, "exit 1\n");
    bench_write(source, ".taubyte/config.yaml", config);
    bench_build(b, &o, source, NULL, "ping");
    check_error(&o, error);
    outcome_clear(&o);
    free(source);
}

TEST(build_of_a_bad_contract_says_where)
{
    bench b;
    bench_open(&b);
    check_config(
        &b, "version: 1\nenviroment: {image: ctau/c}\nworkflow: [build, pack]\n",
        "functions/f/.taubyte/config.yaml:3:19: step \"pack\": there is no .taubyte/pack.sh");
    check_config(&b, "environment: {image: taubyte/go-wazi}\nworkflow: [build]\n",
                 "functions/f/.taubyte/config.yaml:1:22: no recipe for the image "
                 "\"taubyte/go-wazi\"; did you mean taubyte/go-wasi");
    check_config(
        &b, "environment: {image: ctau/c}\nworkflows: [build]\n",
        "functions/f/.taubyte/config.yaml:2:1: unknown key \"workflows\"; did you mean workflow");
    check_config(
        &b, "environment: {image: ctau/c}\nworkflow: [../../x]\n",
        "functions/f/.taubyte/config.yaml:2:12: a step is the name of a script in this folder");
    outcome o;
    char *source = bench_template(&b, "templates/c/");
    bench_build(&b, &o, source, NULL, "ping");
    CHECK(!o.result.ok &&
          strcmp(o.error,
                 "functions/f/.taubyte/config.yaml: there is none; it says how to build") == 0);
    outcome_clear(&o);
    free(source);
    source = bench_script(&b, "exit 0\n");
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/.taubyte/config.yaml", source);
    CHECK(unlink(path) == 0 && symlink("/etc/passwd", path) == 0);
    bench_build(&b, &o, source, NULL, "ping");
    CHECK(!o.result.ok && strstr(o.error, "not a regular file") != NULL);
    outcome_clear(&o);
    free(source);
    bench_close(&b);
}

static void check_script(bench *b, const char *script, const char *error)
{
    outcome o;
    char *source = bench_script(b, script);
    bench_build(b, &o, source, NULL, "ping");
    check_error(&o, error);
    outcome_clear(&o);
    free(source);
}

TEST(build_without_a_sound_artefact_fails)
{
    bench b;
    bench_open(&b);
    check_script(&b, "exit 0\n", "functions/f/.taubyte/build.sh: made no $OUT/main.wasm");
    check_script(&b, ": >$OUT/main.wasm\n",
                 "functions/f/.taubyte/build.sh: made an empty $OUT/main.wasm");
    check_script(
        &b, "ln -s /etc/passwd $OUT/main.wasm\n",
        "functions/f/.taubyte/build.sh: made something else than a file as $OUT/main.wasm");
    check_script(
        &b, "mkfifo $OUT/main.wasm\n",
        "functions/f/.taubyte/build.sh: made something else than a file as $OUT/main.wasm");
    check_script(&b, "echo text >$OUT/main.wasm\n",
                 "functions/f: the module does not export \"ping\"");
    check_script(&b, "exit 7\n", "functions/f/.taubyte: ended with status 7 and said nothing");
    check_script(&b, "echo -n 3 >$OUT/ret-code\n",
                 "functions/f/.taubyte: ended with status 3 and said nothing");
    check_script(&b, "echo COLOUR is $COLOUR; exit 1\n", "functions/f/.taubyte: COLOUR is red");
    outcome o;
    char *source = bench_script(&b, "printf '\\000asm ping' >$OUT/artifact.wasm\n");
    bench_build(&b, &o, source, NULL, "ping");
    check_good(&b, &o, "c");
    outcome_clear(&o);
    free(source);
    bench_close(&b);
}
