// Hoarders keep every blob on several disks, and make good for a disk that is lost.
#include "base/clock.h"
#include "mesh/blob_test.h"
#include "protocol/hoarder/hoarder_inner.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { VAULT_HOARDERS = 3, QUICK_GONE_MS = 600, QUICK_HEALTHY_MS = 400, BEAT_MS = 50 };

struct vault {
    struct house house;
    struct house_node *hoarders[VAULT_HOARDERS], *monkey;
    struct hoarder *states[VAULT_HOARDERS];
    bool silent[VAULT_HOARDERS], draining[VAULT_HOARDERS];
    char full_names[VAULT_HOARDERS][32];
    protocol_doors doors[VAULT_HOARDERS];
    size_t count;
    uint64_t beat_ms;
};

static void vault_beat_draining(struct house_node *n)
{
    char full[64];
    (void)snprintf(full, sizeof full, "%s@test", n->name);
    door_record doors[] = {{STR("p2p"), n->port}};
    seer_heartbeat beat = {.name = str_of(full),
                           .protocol = str_of(n->protocol),
                           .address = STR("127.0.0.1"),
                           .doors = {doors, 1},
                           .started_real_ms = n->started_real_ms,
                           .leaving = true,
                           .draining = true};
    mesh_tell(n->mesh, MSG_seer_heartbeat, &beat);
}

// Turns the loop; hoarders that are not silent, and the monkey, say that they are there.
static void vault_turn(struct vault *v)
{
    uint64_t now = loop_now_ms(v->house.loop);
    if (now >= v->beat_ms) {
        v->beat_ms = now + BEAT_MS;
        house_beat(v->monkey);
        for (size_t i = 0; i < v->count; i++)
            if (v->draining[i])
                vault_beat_draining(v->hoarders[i]);
            else if (!v->silent[i])
                house_beat(v->hoarders[i]);
    }
    loop_turn(v->house.loop, 5);
}

static void vault_rest(struct vault *v, uint64_t ms)
{
    for (uint64_t until = loop_now_ms(v->house.loop) + ms; loop_now_ms(v->house.loop) < until;)
        vault_turn(v);
}

static void vault_hoarder_open(struct vault *v, size_t i)
{
    static const char *const names[] = {"hoarder", "hoarder-2", "hoarder-3"};
    struct house_node *n = house_node_open(&v->house, names[i], "hoarder");
    v->hoarders[i] = n;
    (void)snprintf(v->full_names[i], sizeof v->full_names[i], "%s@test", names[i]);
    v->doors[i] = (protocol_doors){.address = "127.0.0.1", .p2p = n->port};
    protocol_context context = {.loop = v->house.loop,
                                .mesh = n->mesh,
                                .blobs = n->blobs,
                                .folder = n->folder,
                                .universe = STR("test"),
                                .node = str_of(v->full_names[i]),
                                .doors = &v->doors[i]};
    void *state = NULL;
    CHECK(protocol_hoarder.open(&state, &context).code == OK);
    v->states[i] = state;
    v->states[i]->healthy_ms = QUICK_HEALTHY_MS;
    v->states[i]->gone_ms = QUICK_GONE_MS;
}

static void vault_open(struct vault *v, size_t hoarders)
{
    *v = (struct vault){.count = 0};
    house_open(&v->house);
    v->monkey = house_node_open(&v->house, "monkey", "monkey");
    v->count = hoarders;
    for (size_t i = 0; i < hoarders; i++)
        vault_hoarder_open(v, i);
    vault_rest(v, 200);
}

static void on_closed(void *data)
{
    *(bool *)data = true;
}

static void vault_stop(struct vault *v, size_t i)
{
    bool closed = false;
    if (v->states[i] == NULL)
        return;
    protocol_hoarder.close(v->states[i], on_closed, &closed);
    CHECK(closed);
    v->states[i] = NULL;
    v->silent[i] = true;
    house_node_close(v->hoarders[i]);
}

static void vault_close(struct vault *v)
{
    for (size_t i = 0; i < v->count; i++)
        vault_stop(v, i);
    house_close(&v->house);
}

static size_t vault_copies(struct vault *v, const sha256 *hash)
{
    size_t copies = 0;
    for (size_t i = 0; i < v->count; i++)
        copies += v->states[i] != NULL && blobs_has(v->hoarders[i]->blobs, hash, NULL);
    return copies;
}

struct asked {
    bool done;
    err error;
    hoarder_stash_reply stash;
    hoarder_collect_reply collect;
    hoarder_read_reply read;
    char bytes[64];
    message_kind kind;
};

static void on_reply(void *data, err e, const void *fields)
{
    struct asked *a = data;
    a->done = true;
    a->error = e;
    if (e.code != OK)
        return;
    if (a->kind == MSG_hoarder_stash)
        a->stash = *(const hoarder_stash_reply *)fields;
    if (a->kind == MSG_hoarder_collect)
        a->collect = *(const hoarder_collect_reply *)fields;
    if (a->kind == MSG_hoarder_read) {
        a->read = *(const hoarder_read_reply *)fields;
        memcpy(a->bytes, a->read.bytes.at, a->read.bytes.len);
    }
}

static void
vault_ask(struct vault *v, const char *whom, message_kind kind, const void *fields, struct asked *a)
{
    *a = (struct asked){.kind = kind};
    mesh_ask(v->monkey->mesh, str_of(whom), kind, NULL, fields, 20000, on_reply, a);
}

static void vault_wait(struct vault *v, const struct asked *a)
{
    for (int i = 0; i < HOUSE_TURNS_MAX && !a->done; i++)
        vault_turn(v);
    CHECK(a->done);
}

static struct asked vault_stash(struct vault *v, const char *whom, const char *hex)
{
    struct asked a;
    hoarder_stash_request request = {.hash = str_of(hex), .owner = STR("p1")};
    vault_ask(v, whom, MSG_hoarder_stash, &request, &a);
    vault_wait(v, &a);
    return a;
}

static placement vault_record(struct vault *v, size_t i, const char *hex)
{
    placement p;
    CHECK(placement_get(v->states[i], v->house.memory, str_of(hex), &p).code == OK);
    return p;
}

TEST(hoarder_alone_keeps_one_copy)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    vault_open(&v, 1);
    sha256 hash = house_put(v.monkey, STR("alone"), hex);
    struct asked a = vault_stash(&v, "", hex);
    CHECK(a.error.code == OK && a.stash.copies == 1 && vault_copies(&v, &hash) == 1);
    placement p = vault_record(&v, 0, hex);
    CHECK(p.size == 5 && p.count == 1 && str_is(p.nodes[0], STR("hoarder")) &&
          str_is(p.owner, STR("p1")));
    CHECK(vault_stash(&v, "", "00").error.code == ERR_SYNTAX);
    (void)house_put(v.hoarders[0], STR("another"), hex);
    hex[0] = hex[0] == 'a' ? 'b' : 'a';
    CHECK(vault_stash(&v, "", hex).error.code == ERR_ABSENT);
    vault_close(&v);
}

TEST(hoarders_keep_two_or_three_copies_before_they_acknowledge)
{
    for (size_t count = 2; count <= 3; count++) {
        struct vault v;
        char hex[SHA256_HEX + 1];
        vault_open(&v, count);
        sha256 hash = house_put(v.monkey, STR("kept well"), hex);
        struct asked a = vault_stash(&v, "hoarder-2", hex);
        CHECK(a.error.code == OK && a.stash.copies == count && vault_copies(&v, &hash) == count);
        CHECK(v.monkey->served == 1); // the others got it from hoarder-2
        CHECK(vault_record(&v, 0, hex).count == count);
        CHECK(vault_stash(&v, "hoarder", hex).stash.copies == count && v.monkey->served == 1);
        vault_close(&v);
    }
}

TEST(hoarders_take_two_stashes_of_one_blob_at_once)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    vault_open(&v, 3);
    sha256 hash = house_put(v.monkey, STR("at once"), hex);
    hoarder_stash_request request = {.hash = str_of(hex), .owner = STR("p1")};
    struct asked a[4];
    static const char *const whom[] = {"hoarder", "hoarder-2", "hoarder", "hoarder-3"};
    for (size_t i = 0; i < COUNT(a); i++)
        vault_ask(&v, whom[i], MSG_hoarder_stash, &request, &a[i]);
    for (size_t i = 0; i < COUNT(a); i++) {
        vault_wait(&v, &a[i]);
        CHECK(a[i].error.code == OK && a[i].stash.copies == 3);
    }
    CHECK(vault_copies(&v, &hash) == 3 && vault_record(&v, 1, hex).count == 3);
    vault_close(&v);
}

TEST(hoarders_acknowledge_nothing_that_lies_on_one_disk_only)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    vault_open(&v, 2);
    v.silent[1] = true;
    v.hoarders[1]->mode = DOOR_EMPTY;
    vault_rest(&v, QUICK_HEALTHY_MS + 50);
    sha256 hash = house_put(v.monkey, STR("waits"), hex);
    struct asked a = vault_stash(&v, "hoarder", hex);
    CHECK(a.error.code == ERR_BUSY && vault_record(&v, 0, hex).revision == 0);
    vault_rest(&v, QUICK_GONE_MS); // gone for good: the universe has one hoarder
    a = vault_stash(&v, "hoarder", hex);
    CHECK(a.error.code == OK && a.stash.copies == 1 && vault_copies(&v, &hash) == 1);
    // It comes back, and gets its copy.
    v.silent[1] = false;
    v.hoarders[1]->mode = DOOR_GOOD;
    vault_rest(&v, 2500);
    CHECK(vault_copies(&v, &hash) == 2 && vault_record(&v, 0, hex).count == 2);
    vault_close(&v);
}

static void vault_drain(struct vault *v, size_t i, bool *idle)
{
    *idle = false;
    v->draining[i] = true;
    protocol_hoarder.drain(v->states[i], on_closed, idle);
}

TEST(hoarder_that_is_drained_hands_its_blobs_to_another)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    bool idle;
    vault_open(&v, 3);
    v.silent[2] = true;
    vault_rest(&v, QUICK_HEALTHY_MS + 50);
    sha256 hash = house_put(v.monkey, STR("handed over"), hex);
    struct asked a = vault_stash(&v, "hoarder", hex);
    CHECK(a.error.code == OK && a.stash.copies == 2);
    vault_drain(&v, 1, &idle);
    CHECK(!idle); // its copy is counted on
    v.silent[2] = false;
    vault_rest(&v, 4000);
    placement p = vault_record(&v, 0, hex);
    CHECK(idle && p.count == 2 && !placement_has(&p, STR("hoarder-2")));
    CHECK(blobs_has(v.hoarders[0]->blobs, &hash, NULL));
    CHECK(blobs_has(v.hoarders[2]->blobs, &hash, NULL));
    vault_close(&v);
}

TEST(hoarder_that_is_drained_keeps_what_nobody_else_has)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    bool idle;
    vault_open(&v, 1);
    sha256 hash = house_put(v.monkey, STR("the last one"), hex);
    struct asked a = vault_stash(&v, "hoarder", hex);
    CHECK(a.error.code == OK && a.stash.copies == 1);
    vault_drain(&v, 0, &idle);
    vault_rest(&v, 2500);
    CHECK(idle && vault_record(&v, 0, hex).count == 1 && vault_copies(&v, &hash) == 1);
    vault_close(&v);
}

TEST(hoarder_lost_for_good_is_made_good_for_by_the_others)
{
    struct vault v;
    char hex[8][SHA256_HEX + 1], text[32];
    sha256 hashes[8];
    vault_open(&v, 3);
    v.silent[2] = true; // three are known, two answer: two copies, of three that are wanted
    vault_rest(&v, QUICK_HEALTHY_MS + 50);
    for (size_t i = 0; i < COUNT(hex); i++) {
        (void)snprintf(text, sizeof text, "blob number %zu", i);
        hashes[i] = house_put(v.monkey, str_of(text), hex[i]);
        struct asked a = vault_stash(&v, i % 2 == 0 ? "hoarder" : "hoarder-2", hex[i]);
        CHECK(a.error.code == OK && a.stash.copies == 2);
    }
    v.silent[2] = false;
    vault_stop(&v, 0); // its disk goes with it
    vault_rest(&v, QUICK_GONE_MS + 3000);
    for (size_t i = 0; i < COUNT(hex); i++) {
        placement p = vault_record(&v, 1, hex[i]);
        CHECK(vault_copies(&v, &hashes[i]) == 2);
        CHECK(p.count == 2 && placement_has(&p, STR("hoarder-2")) &&
              placement_has(&p, STR("hoarder-3")));
    }
    store_entry note;
    CHECK(
        mesh_get(v.monkey->mesh, STR("hoarder.node"), STR("hoarder"), v.house.memory, &note).code ==
        ERR_ABSENT);
    vault_close(&v);
}

TEST(hoarder_passes_over_another_that_can_not_keep)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    vault_open(&v, 3);
    v.hoarders[0]->mode = DOOR_WRONG; // the others never get right bytes from it
    v.monkey->mode = DOOR_GOOD;
    sha256 hash = house_put(v.monkey, STR("right bytes"), hex);
    struct asked a = vault_stash(&v, "hoarder", hex);
    CHECK(a.error.code == ERR_BUSY && vault_copies(&v, &hash) == 1);
    v.hoarders[0]->mode = DOOR_GOOD;
    a = vault_stash(&v, "hoarder", hex);
    CHECK(a.error.code == OK && a.stash.copies == 3 && vault_copies(&v, &hash) == 3);
    vault_close(&v);
}

TEST(hoarder_gets_back_what_its_disk_has_lost_and_reads_what_others_have)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    vault_open(&v, 2);
    sha256 hash = house_put(v.monkey, STR("lost once"), hex);
    CHECK(vault_stash(&v, "hoarder", hex).stash.copies == 2);
    CHECK(blobs_remove(v.hoarders[0]->blobs, &hash).code == OK);
    hoarder_read_request request = {.hash = str_of(hex)};
    struct asked a;
    vault_ask(&v, "hoarder", MSG_hoarder_read, &request, &a);
    vault_wait(&v, &a);
    CHECK(a.error.code == OK && a.read.size == 9 && memcmp(a.bytes, "lost once", 9) == 0);
    CHECK(blobs_remove(v.hoarders[0]->blobs, &hash).code == OK);
    v.states[0]->walk_next_ms = 0; // as after five minutes
    vault_rest(&v, 2500);
    CHECK(vault_copies(&v, &hash) == 2);
    vault_close(&v);
}

static void
tns_on_projects(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)data;
    (void)header;
    (void)fields;
    mesh_answer(in, &(tns_projects_reply){.revisions = {NULL, 0}});
}

TEST(hoarder_sweeps_its_own_folder_and_leaves_the_record_to_who_still_keeps)
{
    struct vault v;
    char hex[SHA256_HEX + 1], path[256];
    vault_open(&v, 2);
    CHECK(mesh_serve(v.monkey->mesh, MSG_tns_projects, tns_on_projects, NULL).code == OK);
    sha256 hash = house_put(v.monkey, STR("named by nobody"), hex);
    CHECK(vault_stash(&v, "hoarder", hex).stash.copies == 2);
    hoarder_collect_request request = {.dry = false};
    struct asked a;
    for (size_t i = 0; i < 2; i++) {
        vault_ask(&v, v.hoarders[i]->name, MSG_hoarder_collect, &request, &a);
        vault_wait(&v, &a);
        CHECK(a.error.code == OK && a.collect.blobs == 0); // younger than an hour
        struct timespec old[2] = {{.tv_sec = (time_t)(clock_real_ms() / 1000) - 7200}};
        old[1] = old[0];
        (void)snprintf(path, sizeof path, "%s/%.2s/%s", v.hoarders[i]->folder, hex, hex);
        CHECK(utimensat(AT_FDCWD, path, old, 0) == 0);
        vault_ask(&v, v.hoarders[i]->name, MSG_hoarder_collect, &request, &a);
        vault_wait(&v, &a);
        CHECK(a.error.code == OK && a.collect.blobs == 1);
        CHECK(vault_copies(&v, &hash) == 1 - i);
        placement p = vault_record(&v, 0, hex);
        CHECK(p.count == 1 - i && (i == 1) == (p.revision == 0));
    }
    vault_close(&v);
}

TEST(hoarder_closes_in_the_middle_of_everything)
{
    struct vault v;
    char hex[SHA256_HEX + 1];
    vault_open(&v, 2);
    v.monkey->mode = DOOR_STALLS;
    (void)house_put(v.monkey, STR("never comes"), hex);
    struct asked a, b;
    hoarder_stash_request stash = {.hash = str_of(hex)};
    vault_ask(&v, "hoarder", MSG_hoarder_stash, &stash, &a);
    (void)house_put(v.hoarders[1], STR("from here to there"), hex);
    v.hoarders[1]->mode = DOOR_STALLS;
    vault_ask(&v, "hoarder-2", MSG_hoarder_stash, &stash, &b);
    vault_rest(&v, 100);
    CHECK(!a.done && !b.done);
    vault_stop(&v, 0);
    vault_stop(&v, 1);
    vault_wait(&v, &a);
    vault_wait(&v, &b);
    CHECK(a.error.code == ERR_CLOSED && b.error.code == ERR_CLOSED);
    vault_close(&v);
}
