// A queue between processes: one that dies holding an item, and one that comes back.
#include "base/clock.h"
#include "mesh/nats_world_test.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LEASE_MS = 800, BEAT_MS = 100, LONG_MS = 60000, WAIT_MS = 8000 };

typedef struct worker {
    mesh_claims *claims;
    size_t got;
    int tell; // a byte for each item; -1: nobody
    uint64_t attempt;
    char id[32], claim[64];
} worker;

static void on_item(void *data, const mesh_item *item)
{
    worker *w = data;
    w->got++;
    w->attempt = item->attempt;
    (void)snprintf(w->id, sizeof w->id, "%.*s", STR_ARG(item->id));
    (void)snprintf(w->claim, sizeof w->claim, "%.*s", STR_ARG(item->claim));
    if (w->tell >= 0)
        CHECK(write(w->tell, w->claim, 32) == 32);
}

static void item_add(cluster *c, const char *id)
{
    told t = {0};
    store_change change;
    mesh_queue_change(c->memory, &change, STR("jobs"), str_of(id), STR("work"));
    mesh_commit(c->nodes[0].mesh, &change, 1, on_told, &t);
    cluster_wait(c, &t.count, 1, WAIT_MS);
    CHECK(t.ok == 1);
}

static size_t items_left(cluster *c)
{
    store_entry *list;
    size_t count = 99;
    CHECK(mesh_list(c->nodes[0].mesh, STR("queue/jobs"), STR(""), STR(""), 100, false, c->memory,
                    &list, &count)
              .code == OK);
    return count;
}

// Another process that, once it is told to, claims one item as this node and beats until it is
// killed. It is forked before any node is open here: a child of several threads inherits their
// locks.
typedef struct process {
    pid_t child;
    int go, claims;
} process;

static process process_fork(cluster *c, size_t node, uint64_t lease_ms)
{
    int go[2], claims[2];
    CHECK(pipe(go) == 0 && pipe(claims) == 0);
    process p = {.child = fork(), .go = go[1], .claims = claims[0]};
    CHECK(p.child >= 0);
    if (p.child == 0) {
        char byte;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        worker w = {.tell = claims[1]};
        if (read(go[0], &byte, 1) != 1)
            _exit(1);
        CHECK(loop_open(&c->loop).code == OK);
        mesh *m = node_open(c, node);
        CHECK(mesh_claims_open(&w.claims, m, STR("jobs"), 1, lease_ms, on_item, &w).code == OK);
        for (;;) {
            cluster_rest(c, BEAT_MS);
            mesh_claim_beat(w.claims, str_of(w.id), str_of(w.claim));
        }
    }
    (void)close(go[0]);
    (void)close(claims[1]);
    return p;
}

static void process_go(process *p, char claim[33])
{
    claim[32] = '\0';
    CHECK(write(p->go, "g", 1) == 1 && read(p->claims, claim, 32) == 32);
    (void)close(p->go);
    (void)close(p->claims);
}

static void process_kill(const process *p)
{
    (void)kill(p->child, SIGKILL);
    (void)waitpid(p->child, NULL, 0);
}

TEST(nats_items_of_a_process_that_dies_are_done_by_another)
{
    cluster c;
    cluster_open(&c, 1);
    process one = process_fork(&c, 1, LEASE_MS), two = process_fork(&c, 1, LONG_MS);
    mesh *a = node_open(&c, 0);
    char claim[33];
    worker w = {.tell = -1};
    item_add(&c, "j1");
    process_go(&one, claim);
    CHECK(mesh_claims_open(&w.claims, a, STR("jobs"), 1, LEASE_MS, on_item, &w).code == OK);
    cluster_rest(&c, 2 * LEASE_MS); // beats of the other process keep it
    CHECK(w.got == 0);
    process_kill(&one);
    uint64_t start = clock_now_ms();
    cluster_wait(&c, &w.got, 1, WAIT_MS);
    CHECK(w.attempt == 2 && strcmp(w.id, "j1") == 0 && clock_now_ms() - start < 3 * LEASE_MS);
    mesh_claim_done(w.claims, STR("j1"), str_of(claim)); // the former one's is worth nothing
    cluster_rest(&c, 50);
    CHECK(items_left(&c) == 1);
    mesh_claim_done(w.claims, STR("j1"), str_of(w.claim));
    for (size_t i = 0; i < 100 && items_left(&c) > 0; i++)
        cluster_rest(&c, 20);
    CHECK(items_left(&c) == 0);
    mesh_claims_close(w.claims);

    // The same node again, long before its lease ends: what it held is its own at once.
    item_add(&c, "j2");
    process_go(&two, claim);
    process_kill(&two);
    worker again = {.tell = -1};
    mesh *b = node_open(&c, 1);
    start = clock_now_ms();
    CHECK(mesh_claims_open(&again.claims, b, STR("jobs"), 1, LONG_MS, on_item, &again).code == OK);
    cluster_wait(&c, &again.got, 1, WAIT_MS);
    CHECK(again.attempt == 2 && strcmp(again.claim, claim) != 0 && clock_now_ms() - start < 1000);
    // And what it gives back is anybody's at once.
    worker other = {.tell = -1};
    CHECK(mesh_claims_open(&other.claims, a, STR("jobs"), 1, LONG_MS, on_item, &other).code == OK);
    cluster_rest(&c, 200);
    CHECK(other.got == 0);
    mesh_claims_close(again.claims);
    cluster_wait(&c, &other.got, 1, WAIT_MS);
    CHECK(other.attempt == 3);
    cluster_close(&c);
}

TEST(nats_items_are_claimed_once_between_two_engines)
{
    enum { ITEMS = 60 };
    cluster c;
    cluster_open(&c, 1);
    mesh *a = node_open(&c, 0), *b = node_open(&c, 1);
    worker one = {.tell = -1}, two = {.tell = -1};
    CHECK(mesh_claims_open(&one.claims, a, STR("jobs"), ITEMS, LONG_MS, on_item, &one).code == OK);
    CHECK(mesh_claims_open(&two.claims, b, STR("jobs"), ITEMS, LONG_MS, on_item, &two).code == OK);
    for (size_t i = 0; i < ITEMS; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "i%zu", i);
        item_add(&c, id);
    }
    for (uint64_t end = clock_now_ms() + WAIT_MS;
         one.got + two.got < ITEMS && clock_now_ms() < end;)
        cluster_rest(&c, 20);
    cluster_rest(&c, 200);
    if (one.got + two.got != ITEMS)
        print_error("%zu and %zu of %d items\n", one.got, two.got, ITEMS);
    CHECK(one.got + two.got == ITEMS);
    cluster_close(&c);
}
