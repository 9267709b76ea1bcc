// What the mesh costs: mesh embedded FOLDER, or mesh processes UNIVERSE-FOLDER UNIVERSE PORT
// ELDERS: two processes that join a running universe; prints one line of JSON, times in us.
#include "mesh/mesh.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "mesh/identity.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ASKS = 4000, COMMITS = 600, WARM = 200, WAIT_MS = 20000, ELDERS_MAX = 3 };

typedef struct sample {
    uint64_t put, done, seen; // us, of one clock for all processes
} sample;
// What both processes see.
typedef struct shared {
    volatile bool serving, commit, end;
    volatile size_t committed;
    sample commits[COMMITS];
} shared;
typedef struct side {
    loop *loop;
    mesh_engine *engine;
    mesh *mesh;
    shared *shared;
    bool ready;
    size_t count; // answers, or commits that are done
    size_t seen;
    uint64_t asked_us;
    uint64_t times[ASKS];
} side;

static void bench_fail(const char *what, str why)
{
    fprintf(stderr, "mesh: %s: %.*s\n", what, STR_ARG(why));
    exit(1);
}

static void bench_must(const char *what, err e)
{
    if (e.code != OK)
        bench_fail(what, str_of(e.what));
}

static int bench_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void bench_print(const char *name, uint64_t *times, size_t count, const char *after)
{
    qsort(times, count, sizeof *times, bench_compare);
    printf("\"%s\": [%llu, %llu]%s", name, (unsigned long long)times[count / 2],
           (unsigned long long)times[count * 99 / 100], after);
}

// ---- asks

static void
bench_on_ping(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)data, (void)header;
    const node_ping_request *request = fields;
    node_ping_reply reply = {.node = request->node};
    mesh_answer(in, &reply);
}

static void bench_ask(side *s);

static void bench_on_pong(void *data, err e, const void *fields)
{
    (void)fields;
    side *s = data;
    bench_must("ask", e);
    if (s->count >= WARM)
        s->times[s->count - WARM] = clock_now_us() - s->asked_us;
    if (++s->count < ASKS + WARM)
        bench_ask(s);
}

static void bench_ask(side *s)
{
    node_ping_request request = {.node = STR("bench")};
    s->asked_us = clock_now_us();
    mesh_ask(s->mesh, STR("bench-1"), MSG_node_ping, NULL, &request, WAIT_MS, bench_on_pong, s);
}

static void bench_until(side *s, const volatile size_t *counter, size_t wanted)
{
    for (uint64_t end = clock_now_ms() + 3 * WAIT_MS; *counter < wanted;) {
        loop_turn(s->loop, 10);
        if (clock_now_ms() > end)
            bench_fail("wait", STR("it takes too long"));
    }
}

static void bench_asks(side *s)
{
    bench_ask(s);
    bench_until(s, &s->count, ASKS + WARM);
    bench_print("ask", s->times, ASKS, ", ");
}

// ---- commits, and who watches them

static void bench_commit(side *s);

static void bench_on_done(void *data, err e, uint64_t revision)
{
    (void)revision;
    side *s = data;
    bench_must("commit", e);
    s->shared->commits[s->shared->committed].done = clock_now_us();
    if (++s->shared->committed < COMMITS)
        bench_commit(s);
}

static void bench_commit(side *s)
{
    char key[24], value[200] = {0};
    (void)snprintf(key, sizeof key, "%zu", s->shared->committed);
    store_change change = {.verb = STORE_PUT,
                           .bucket = STR("tns.bench"),
                           .key = str_of(key),
                           .value = {value, sizeof value},
                           .expected = STORE_ANY};
    s->shared->commits[s->shared->committed].put = clock_now_us();
    mesh_commit(s->mesh, &change, 1, bench_on_done, s);
}

static void bench_on_entry(void *data, const store_entry *entry)
{
    side *s = data;
    char text[24];
    if (entry == NULL) {
        s->ready = true;
        return;
    }
    if (!s->ready) // of a former run
        return;
    (void)snprintf(text, sizeof text, "%.*s", STR_ARG(entry->key));
    size_t number = strtoull(text, NULL, 10);
    if (number < COMMITS) {
        s->shared->commits[number].seen = clock_now_us();
        s->seen++;
    }
}

static void bench_print_commits(const shared *h)
{
    static uint64_t puts[COMMITS], whole[COMMITS], after[COMMITS];
    for (size_t i = 0; i < COMMITS; i++) {
        const sample *c = &h->commits[i];
        puts[i] = c->done - c->put;
        whole[i] = c->seen > c->put ? c->seen - c->put : 0;
        after[i] = c->seen > c->done ? c->seen - c->done : 0;
    }
    bench_print("commit", puts, COMMITS, ", ");
    bench_print("watch", whole, COMMITS, ", ");
    bench_print("watch_after_commit", after, COMMITS, "}\n");
}

// ---- embedded: both nodes in this process

static void bench_embedded(shared *h, const char *folder)
{
    static side a, b;
    mesh_watch *watch;
    a.shared = b.shared = h;
    bench_must("loop", loop_open(&a.loop));
    b.loop = a.loop;
    bench_must("mesh", mesh_embedded_open(&a.engine, a.loop, folder));
    bench_must("join", mesh_join(&a.mesh, a.engine, STR("bench-1@b"), STR("tns")));
    bench_must("join", mesh_join(&b.mesh, a.engine, STR("bench-2@b"), STR("seer")));
    bench_must("serve", mesh_serve(a.mesh, MSG_node_ping, bench_on_ping, &a));
    printf("{");
    bench_asks(&b);
    bench_must("watch",
               mesh_watch_open(&watch, b.mesh, STR("tns.bench"), STR(""), bench_on_entry, &b));
    while (!b.ready)
        loop_turn(b.loop, 10);
    bench_commit(&a);
    bench_until(&a, &b.seen, COMMITS);
    bench_print_commits(h);
    mesh_watch_close(watch);
    mesh_leave(b.mesh);
    mesh_leave(a.mesh);
    mesh_engine_close(a.engine);
    loop_close(a.loop);
}

// ---- processes

static void bench_on_ready(void *data)
{
    ((side *)data)->ready = true;
}

static void bench_on_lost(void *data, err e)
{
    (void)data;
    bench_fail("lost", str_of(e.what));
}

static void bench_join(side *s, char **words, const char *node, const char *protocol)
{
    arena *a;
    authority *ca;
    char text[512], folder[512];
    mesh_server servers[ELDERS_MAX];
    (void)snprintf(folder, sizeof folder, "%s/nodes/%s", words[2], node);
    bench_must(folder, file_make_folders(folder, 0700));
    bench_must("memory", arena_open(&a, 1 << 20));
    (void)snprintf(text, sizeof text, "%s/ca", words[2]);
    bench_must(text, authority_open(&ca, text, str_of(words[3])));
    mesh_nats_settings n = {.universe = str_of(words[3]),
                            .node = str_of(node),
                            .protocols = str_of(protocol),
                            .folder = folder,
                            .ca_pem = authority_certificate(ca),
                            .servers = servers,
                            .servers_count = strtoul(words[5], NULL, 10),
                            .ready = bench_on_ready,
                            .lost = bench_on_lost,
                            .data = s};
    for (size_t i = 0; i < n.servers_count && i < ELDERS_MAX; i++)
        servers[i] = (mesh_server){STR("127.0.0.1"), (uint16_t)(strtoul(words[4], NULL, 10) + i)};
    bench_must("issue",
               authority_issue(ca, a, n.node, n.protocols, 1, &n.certificate_pem, &n.key_pem));
    bench_must("loop", loop_open(&s->loop));
    n.loop = s->loop;
    bench_must("mesh", mesh_nats_open(&s->engine, &n));
    (void)snprintf(text, sizeof text, "%s@%s", node, words[3]);
    bench_must("join", mesh_join(&s->mesh, s->engine, str_copy(a, str_of(text)), n.protocols));
    while (!s->ready)
        loop_turn(s->loop, 10);
}

static void bench_serve(shared *h, char **words)
{
    static side s;
    s.shared = h;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_join(&s, words, "bench-1", "tns");
    bench_must("serve", mesh_serve(s.mesh, MSG_node_ping, bench_on_ping, &s));
    for (int i = 0; i < 20; i++) // its subscription has arrived
        loop_turn(s.loop, 10);
    for (h->serving = true; !h->commit;)
        loop_turn(s.loop, 10);
    bench_commit(&s);
    while (!h->end)
        loop_turn(s.loop, 10);
    _exit(0);
}

static void bench_processes(shared *h, char **words)
{
    static side s;
    mesh_watch *watch;
    pid_t child = fork();
    if (child == 0)
        bench_serve(h, words);
    s.shared = h;
    bench_join(&s, words, "bench-2", "seer");
    while (!h->serving)
        loop_turn(s.loop, 10);
    printf("{");
    bench_asks(&s);
    s.ready = false;
    bench_must("watch",
               mesh_watch_open(&watch, s.mesh, STR("tns.bench"), STR(""), bench_on_entry, &s));
    while (!s.ready)
        loop_turn(s.loop, 10);
    h->commit = true;
    bench_until(&s, &h->committed, COMMITS);
    for (int i = 0; i < 20; i++) // the last one is seen
        loop_turn(s.loop, 10);
    bench_print_commits(h);
    h->end = true;
    (void)waitpid(child, NULL, 0);
}

int main(int count, char **words)
{
    shared *h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (h == MAP_FAILED)
        bench_fail("memory", STR("shared"));
    if (count == 3 && strcmp(words[1], "embedded") == 0)
        bench_embedded(h, words[2]);
    else if (count == 6 && strcmp(words[1], "processes") == 0)
        bench_processes(h, words);
    else
        bench_fail("usage",
                   STR("mesh embedded FOLDER | processes UNIVERSE-FOLDER UNIVERSE PORT ELDERS"));
    return 0;
}
