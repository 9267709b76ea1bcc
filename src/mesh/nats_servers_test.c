// Servers that die, restart and stand still while nodes write; snapshots; a node that was away.
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "mesh/nats_inner.h"
#include "mesh/nats_world_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MANY = 2000, WAIT_MS = 15000, KEYS = 40 };

// What a copy holds of bucket "b": how many rows, and all their keys, values, revisions as a sum.
typedef struct copy {
    size_t rows;
    uint64_t digest;
} copy;

static bool copy_on_entry(void *data, const store_entry *entry)
{
    copy *c = data;
    const str texts[] = {entry->key, entry->value};
    uint64_t digest = entry->revision * 1099511628211u;
    for (size_t i = 0; i < COUNT(texts); i++)
        for (size_t k = 0; k < texts[i].len; k++)
            digest = (digest ^ (unsigned char)texts[i].at[k]) * 1099511628211u;
    c->digest = c->digest * 31 + digest;
    c->rows++;
    return true;
}

static copy copy_of(cluster *c, size_t node)
{
    copy out = {0};
    store *s;
    uint64_t revision;
    mesh_engine *e = c->nodes[node].engine;
    CHECK(e->driver->store(e, STR("b"), &s).code == OK);
    CHECK(store_each(s, STR("b"), STR(""), copy_on_entry, &out, &revision).code == OK);
    return out;
}

static void until_same(cluster *c, size_t one, size_t two)
{
    for (uint64_t end = clock_now_ms() + WAIT_MS; clock_now_ms() < end;) {
        copy a = copy_of(c, one), b = copy_of(c, two);
        if (a.rows == b.rows && a.digest == b.digest)
            return;
        cluster_rest(c, 20);
    }
    CHECK(!"the copies are the same");
}

// Each commit writes a row of its own and the next number of one counter, from what stood there.
typedef struct counter {
    cluster *cluster;
    size_t sent, told, ok, full;
    uint64_t last_ms, longest_ms;
} counter;

static void counter_send(counter *x);

static void counter_on_done(void *data, err e, uint64_t revision)
{
    counter *x = data;
    CHECK(e.code == ERR_FULL || (e.code == OK && revision > 0));
    x->told++;
    if (e.code == ERR_FULL) {
        x->full++;
        return;
    }
    x->ok++;
    uint64_t now = clock_now_ms();
    if (x->last_ms != 0 && now - x->last_ms > x->longest_ms)
        x->longest_ms = now - x->last_ms;
    x->last_ms = now;
}

static void counter_send(counter *x)
{
    char key[32];
    (void)snprintf(key, sizeof key, "n%05zu", x->sent++);
    store_change one = {STORE_PUT, STR("b"), str_of(key), str_of(key), 0}; // never twice
    mesh_commit(x->cluster->nodes[0].mesh, &one, 1, counter_on_done, x);
}

TEST(nats_server_killed_under_commits_loses_and_repeats_nothing)
{
    cluster c;
    cluster_open(&c, 1);
    (void)node_open(&c, 0);
    (void)node_open(&c, 1);
    counter x = {.cluster = &c};
    bool killed = false;
    uint64_t back = 0;
    while (x.sent < MANY) {
        counter_send(&x);
        if (x.sent % 10 == 0)
            loop_turn(c.loop, 1);
        if (x.ok > MANY / 4 && !killed) {
            killed = true;
            CHECK(meshd_restart(c.servers, 0).code == OK);
            back = clock_now_ms();
        }
    }
    if (!killed) {
        cluster_wait(&c, &x.ok, MANY / 4, WAIT_MS);
        CHECK(meshd_restart(c.servers, 0).code == OK);
        back = clock_now_ms();
    }
    cluster_wait(&c, &x.ok, MANY, WAIT_MS);
    printf("all told %llu ms after it is back\n", (unsigned long long)(clock_now_ms() - back));
    CHECK(clock_now_ms() - back < 3000);
    CHECK(copy_of(&c, 0).rows == MANY);
    until_same(&c, 0, 1);
    cluster_close(&c);
}

static size_t leader_of(cluster *c)
{
    char path[128], name[32];
    for (size_t i = 0; i < c->servers->count; i++) {
        str text;
        (void)snprintf(path, sizeof path, i == 0 ? "%s/elder.out" : "%s/elder-%zu.out", c->folder,
                       i + 1);
        CHECK(file_read(c->memory, path, 1 << 20, &text).code == OK);
        for (size_t k = 0; k < c->servers->count; k++) {
            (void)snprintf(name, sizeof name, k == 0 ? "elder" : "elder-%zu", k + 1);
            char line[128];
            (void)snprintf(line, sizeof line,
                           "{\"event\":\"leader\",\"stream\":\"contract\",\"leader\":\"%s\"}",
                           name);
            if (str_find(text, str_of(line)) < text.len)
                return k;
        }
    }
    return 0;
}

// A commit every few milliseconds for so long; the longest that none was told.
static void counter_run(counter *x, uint64_t ms)
{
    for (uint64_t end = clock_now_ms() + ms; clock_now_ms() < end;) {
        counter_send(x);
        cluster_rest(x->cluster, 5);
    }
}

TEST(nats_three_elders_go_on_without_their_leader)
{
    cluster c;
    cluster_open(&c, 3);
    (void)node_open(&c, 0);
    (void)node_open(&c, 1);
    counter x = {.cluster = &c};
    counter_run(&x, 2500); // a follower that is still catching up would cost two seconds more
    size_t leader = leader_of(&c);
    x.longest_ms = 0;
    meshd_signal(c.servers, leader, SIGKILL);
    counter_run(&x, 2500);
    cluster_wait(&c, &x.ok, x.sent, WAIT_MS);
    printf("leader killed: nothing was told for %llu ms\n", (unsigned long long)x.longest_ms);
    CHECK(x.longest_ms < 6000);
    CHECK(meshd_restart(c.servers, leader).code == OK);
    counter_run(&x, 1500);
    leader = leader_of(&c);
    x.longest_ms = 0;
    meshd_signal(c.servers, leader, SIGSTOP);
    counter_run(&x, 2000);
    cluster_wait(&c, &x.ok, x.sent, WAIT_MS);
    printf("an elder stopped: nothing was told for %llu ms\n", (unsigned long long)x.longest_ms);
    meshd_signal(c.servers, leader, SIGCONT);
    CHECK(copy_of(&c, 0).rows == x.sent);
    until_same(&c, 0, 1);
    cluster_close(&c);
}

// No write succeeds for a while, neither to a copy nor to a server: nobody is told what is not
// here.
TEST(nats_copies_on_a_full_disk_go_on_when_there_is_room)
{
    cluster c;
    cluster_open(&c, 1);
    (void)node_open(&c, 0);
    (void)node_open(&c, 1);
    counter x = {.cluster = &c};
    counter_run(&x, 100);
    cluster_wait(&c, &x.ok, x.sent, WAIT_MS);
    fault_now = (fault_plan){.what = FAULT_WRITE, .after = 0, .times = UINT64_MAX};
    size_t before = x.ok;
    counter_run(&x, 800);
    CHECK(x.ok == before && x.sent > before);
    fault_now = (fault_plan){0};
    cluster_wait(&c, &x.told, x.sent, WAIT_MS);
    CHECK(c.nodes[0].lost == 0 && c.nodes[1].lost == 0);
    size_t ok = x.ok;
    for (int i = 0; i < 100 && x.ok == ok; i++) {
        cluster_rest(&c, 50); // the copy is taken up again by itself
        counter_send(&x);
    }
    cluster_wait(&c, &x.told, x.sent, WAIT_MS);
    size_t rows = copy_of(&c, 0).rows;
    CHECK(x.ok > ok && rows >= x.ok && rows <= x.sent);
    until_same(&c, 0, 1);
    cluster_close(&c);
}

// ---- snapshots

static void write_rounds(cluster *c, size_t node, size_t count)
{
    told t = {0};
    for (size_t i = 0; i < count; i++) {
        char key[32], value[32];
        (void)snprintf(key, sizeof key, "k%zu", i % KEYS);
        (void)snprintf(value, sizeof value, "%zu", i);
        node_put(c, node, key, value, &t);
        cluster_wait(c, &t.count, i + 1, WAIT_MS); // an entry each
    }
    CHECK(t.ok == count);
}

TEST(nats_snapshots_shorten_the_log_and_nodes_start_from_them)
{
    cluster c;
    cluster_open(&c, 1);
    c.nodes[0].snapshot_entries = 50;
    nats_link *link = cluster_link(&c, "liar");
    (void)node_open(&c, 0);
    (void)node_open(&c, 1);
    write_rounds(&c, 0, 30);
    until_same(&c, 0, 1);
    node_close(&c, 1); // away, with what it has seen so far
    write_rounds(&c, 0, 500);
    cluster_rest(&c, 300);
    stream_state stream = cluster_state(&c, link);
    CHECK(stream.last >= 530 && stream.first > 30 && stream.messages < 250);
    // A new one, and one that was away: both from the snapshot and what came after it.
    (void)node_open(&c, 2);
    until_same(&c, 0, 2);
    CHECK(copy_of(&c, 2).rows == KEYS);
    (void)node_open(&c, 1);
    CHECK(c.nodes[1].lost == 0);
    until_same(&c, 0, 1);
    // One that runs, and was cut off: it is told, and a new engine goes on.
    char path[256];
    (void)snprintf(path, sizeof path, "%s/elder.deny", c.folder);
    CHECK(file_write_durable(path, STR("node c\n"), 0600).code == OK);
    cluster_rest(&c, 600);
    CHECK(!mesh_nats_connected(c.nodes[2].engine));
    write_rounds(&c, 0, 200);
    CHECK(file_write_durable(path, STR(""), 0600).code == OK);
    cluster_wait(&c, &c.nodes[2].lost, 1, WAIT_MS);
    node_close(&c, 2);
    (void)node_open(&c, 2);
    until_same(&c, 0, 2);
    node_close(&c, 2);
    // One whose copy is damaged.
    (void)snprintf(path, sizeof path, "%s/contract.db", c.nodes[2].folder);
    OWNED(fd_drop) int damaged = open(path, O_WRONLY);
    CHECK(damaged >= 0 && pwrite(damaged, "damaged!", 8, 0) == 8);
    (void)node_open(&c, 2);
    until_same(&c, 0, 2);
    nats_link_close(link);
    cluster_close(&c);
}
