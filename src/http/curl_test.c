// curl as a peer that is not ours: keep-alive, uploads, 100-continue, HTTP/1.0, ranges of sizes.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "http/client.h"
#include "http/fixture_inner.h"
#include "io/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct curl_run {
    buf out;
    int status;
    bool ended;
} curl_run;

static void on_output(void *data, proc *p, int stream, str bytes)
{
    curl_run *c = data;
    (void)p;
    (void)stream;
    buf_add(&c->out, bytes);
}

static void on_end(void *data, proc *p, const proc_end *end)
{
    curl_run *c = data;
    (void)p;
    c->status = end->status;
    c->ended = true;
}

// Runs curl with these arguments (at most 12) and `path` of our server last.
static void curl(fixture *f, curl_run *c, const char *path, const char *const *arguments)
{
    char url[128];
    const char *argv[16] = {"curl", "-s", "-S"};
    size_t count = 3;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", f->port, path);
    for (size_t i = 0; arguments[i] != NULL && i < 12; i++)
        argv[count++] = strcmp(arguments[i], "URL") == 0 ? url : arguments[i];
    proc_settings settings = {.argv = argv,
                              .wall_ms_max = 10000,
                              .merge_output = true,
                              .on_output = on_output,
                              .on_end = on_end,
                              .data = c};
    proc *p = NULL;
    buf_open(&c->out, 64 * 1024 * 1024);
    c->ended = false;
    CHECK(proc_start(&p, f->l, &settings).code == OK);
    uint64_t until = clock_now_ms() + 12000;
    while (!c->ended && clock_now_ms() < until)
        loop_turn(f->l, 5);
    if (!c->ended || c->status != 0)
        printf("%s: curl's status %d, %zu bytes: %.*s\n", path, c->status, c->out.len,
               STR_ARG(str_first(buf_str(&c->out), 300)));
    CHECK(c->ended && c->status == 0);
}

#define CURL(f, c, path, ...) curl(f, c, path, (const char *const[]){__VA_ARGS__, NULL})

static void body_file(char path[64], size_t len)
{
    snprintf(path, 64, "/tmp/ctau-curl-test-%d", (int)getpid());
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    for (size_t i = 0; i < len / 16; i++)
        fprintf(file, "%015zu\n", i);
    fclose(file);
}

TEST(curl_keeps_one_connection_for_many_requests)
{
    fixture f;
    curl_run c;
    CHECK(http_fixture_open(&f, (http_limits){.head_bytes = 0}).code == OK);
    CURL(&f, &c, "/pong", "-v", "URL", "URL", "URL");
    CHECK(http_text_count(buf_str(&c.out), "HTTP/1.1 200 OK") == 3);
    CHECK(http_text_count(buf_str(&c.out), "Re-using existing connection") == 2);
    buf_close(&c.out);
    http_fixture_close(&f);
}

TEST(curl_uploads_with_length_chunked_and_100_continue)
{
    char path[64], data[80];
    fixture f;
    curl_run c;
    size_t len = 3 * 1000 * 1000 / 16 * 16;
    body_file(path, len);
    snprintf(data, sizeof(data), "@%s", path);
    CHECK(http_fixture_open(&f, (http_limits){.head_bytes = 0}).code == OK);
    static const char *const targets[] = {"/echo", "/stream"};
    for (size_t i = 0; i < 2; i++) {
        CURL(&f, &c, targets[i], "--data-binary", data, "URL"); // with Expect, since it is large
        CHECK(c.out.len == len && str_ends(buf_str(&c.out), STR("187499\n")));
        buf_close(&c.out);
        CURL(&f, &c, targets[i], "-T", path, "-H", "Transfer-Encoding: chunked", "URL");
        CHECK(c.out.len == len);
        buf_close(&c.out);
    }
    CURL(&f, &c, "/echo", "-v", "-H", "Expect: 100-continue", "-d", "small", "URL");
    CHECK(http_text_has(&c.out, "HTTP/1.1 100 Continue") && http_text_has(&c.out, "small"));
    buf_close(&c.out);
    // An answer before the body is read arrives whole.
    CURL(&f, &c, "/limit", "-H", "Expect:", "--data-binary", data, "-w", "%{http_code}", "URL");
    CHECK(str_ends(buf_str(&c.out), STR("413")));
    buf_close(&c.out);
    CURL(&f, &c, "/ignore", "-H", "Expect:", "--data-binary", data, "-w", "%{http_code}", "URL");
    CHECK(str_is(buf_str(&c.out), STR("no403")));
    buf_close(&c.out);
    unlink(path);
    http_fixture_close(&f);
}

TEST(curl_reads_all_kinds_of_answers)
{
    fixture f;
    curl_run c;
    CHECK(http_fixture_open(&f, (http_limits){.head_bytes = 0}).code == OK);
    CURL(&f, &c, "/flood?10000000", "URL");
    CHECK(c.out.len == 10000000);
    buf_close(&c.out);
    CURL(&f, &c, "/chunks", "-0", "URL");
    CHECK(str_is(buf_str(&c.out), STR("one two")));
    buf_close(&c.out);
    CURL(&f, &c, "/pong", "-I", "URL");
    CHECK(http_text_has(&c.out, "Content-Length: 4"));
    buf_close(&c.out);
    CURL(&f, &c, "/204", "-w", "%{http_code}", "URL");
    CHECK(str_is(buf_str(&c.out), STR("204")));
    buf_close(&c.out);
    CURL(&f, &c, "/late", "URL", "URL");
    CHECK(str_is(buf_str(&c.out), STR("/late/late")));
    buf_close(&c.out);
    http_fixture_close(&f);
}

static void run(fixture *f, const char *const *argv)
{
    curl_run c = {.status = -1};
    proc_settings settings = {.argv = argv, .on_output = on_output, .on_end = on_end, .data = &c};
    proc *p = NULL;
    buf_open(&c.out, 100000);
    CHECK(proc_start(&p, f->l, &settings).code == OK);
    while (!c.ended)
        loop_turn(f->l, 20);
    buf_close(&c.out);
    CHECK(c.status == 0);
}

typedef struct tls_outcome {
    unsigned done;
    err_code last;
} tls_outcome;

static void on_done(void *data, http_call *c, err e, const http_answer_head *head, str body)
{
    tls_outcome *o = data;
    (void)c;
    o->done++;
    o->last = e.code;
    CHECK(e.code != OK || (head->status == 200 && str_is(body, STR("PONG"))));
}

static err_code tls_ask(fixture *f, http_client *client, http_client_request *r)
{
    tls_outcome o = {0, OK};
    r->on_done = on_done;
    r->data = &o;
    CHECK(http_client_send(client, r, NULL).code == OK);
    for (size_t i = 0; i < 1000 && o.done == 0; i++)
        loop_turn(f->l, 5);
    CHECK(o.done == 1);
    return o.last;
}

TEST(http_speaks_mutual_tls_with_curl_and_with_itself)
{
    OWNED(arena_drop) arena *a = NULL;
    fixture f;
    curl_run c;
    int fd = -1;
    str cert, key;
    tls_context *server = NULL, *known = NULL, *stranger = NULL;
    http_client *client = NULL;
    CHECK(arena_open(&a, 100000).code == OK);
    CHECK(http_fixture_open(&f, (http_limits){.head_bytes = 0}).code == OK);
    char *cert_file = (char *)str_format(a, "/tmp/ctau-http-cert-%d", (int)getpid()).at;
    char *key_file = (char *)str_format(a, "/tmp/ctau-http-key-%d", (int)getpid()).at;
    run(&f,
        (const char *const[]){"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                              "ec_paramgen_curve:P-256", "-nodes", "-keyout", key_file, "-out",
                              cert_file, "-days", "2", "-subj", "/CN=localhost", "-addext",
                              "subjectAltName=DNS:localhost,IP:127.0.0.1,URI:ctau://u/n/p", NULL});
    CHECK(file_read(a, cert_file, 10000, &cert).code == OK);
    CHECK(file_read(a, key_file, 10000, &key).code == OK);
    tls_settings s = {.certificate_pem = cert, .key_pem = key, .ca_pem = cert, .server = true};
    CHECK(tls_context_open(&server, &s).code == OK);
    s.server = false;
    CHECK(tls_context_open(&known, &s).code == OK);
    s.certificate_pem = s.key_pem = (str){NULL, 0};
    CHECK(tls_context_open(&stranger, &s).code == OK);
    CHECK(socket_listen("127.0.0.1", 0, false, &fd).code == OK);
    uint16_t port = socket_port(fd);
    CHECK(http_server_listen(f.s, fd, server, NULL).code == OK);

    char *url = (char *)str_format(a, "https://127.0.0.1:%u/pong", port).at;
    CURL(&f, &c, "/pong", "--cacert", cert_file, "--cert", cert_file, "--key", key_file, url, url);
    CHECK(str_is(buf_str(&c.out), STR("PONGPONG")));
    buf_close(&c.out);

    CHECK(http_client_open(&client, f.l, 2).code == OK);
    http_client_request r = {.address = "127.0.0.1",
                             .port = port,
                             .server_name = "localhost",
                             .tls = known,
                             .method = STR("GET"),
                             .target = STR("/pong"),
                             .host = STR("localhost")};
    size_t before = http_server_connections(f.s);
    CHECK(tls_ask(&f, client, &r) == OK && tls_ask(&f, client, &r) == OK);
    CHECK(http_server_connections(f.s) <= before + 1);
    r.server_name = "elsewhere.example";
    CHECK(tls_ask(&f, client, &r) != OK);
    r.server_name = "localhost";
    r.tls = stranger;
    unsigned requests = f.requests;
    CHECK(tls_ask(&f, client, &r) != OK && f.requests == requests);
    http_client_close(client);
    http_fixture_close(&f);
    tls_context_close(server);
    tls_context_close(known);
    tls_context_close(stranger);
    unlink(cert_file);
    unlink(key_file);
}
