// Blobs come whole and right from whoever has them, or not at all.
#include "mesh/blob_test.h"

#include "base/fault.h"

struct fetched {
    bool done;
    unsigned times;
    err error;
    uint64_t bytes;
};

static void on_fetched(void *data, err e, uint64_t bytes)
{
    struct fetched *f = data;
    f->done = true;
    f->times++;
    f->error = e;
    f->bytes = bytes;
}

static void fetch(struct house_node *n, sha256 hash, const char *from, struct fetched *f)
{
    mesh_blob_request request = {.into = n->blobs,
                                 .hash = hash,
                                 .node = str_of(from),
                                 .bytes_max = MESH_BLOB_BYTES_MAX,
                                 .done = on_fetched,
                                 .data = f,
                                 .owner = f};
    *f = (struct fetched){0};
    CHECK(mesh_blob_fetch(n->mesh, &request).code == OK);
    CHECK(!f->done);
}

static struct fetched fetch_now(struct house_node *n, sha256 hash, const char *from)
{
    struct fetched f;
    fetch(n, hash, from, &f);
    house_wait(n->house, &f.done);
    CHECK(f.times == 1);
    return f;
}

// What hoarders would say.
struct guide {
    holder_record at[4];
    size_t count;
    unsigned asked;
};

static void
guide_on_locate(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    struct guide *g = data;
    (void)header;
    (void)fields;
    g->asked++;
    hoarder_locate_reply reply = {.present = g->count > 0, .holders = {g->at, g->count}};
    mesh_answer(in, &reply);
}

static void guide_add(struct guide *g, const struct house_node *n)
{
    g->at[g->count++] = (holder_record){str_of(n->name), STR("127.0.0.1"), n->port};
}

TEST(blob_is_fetched_from_the_node_that_is_named_and_only_once)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    sha256 hash = house_put(from, STR("a module"), hex);
    house_beat(from);
    house_rest(&h, 20);
    struct fetched f = fetch_now(to, hash, "monkey@test");
    CHECK(f.error.code == OK && f.bytes == 8 && from->served == 1);
    str bytes;
    CHECK(blobs_get(to->blobs, &hash, 100, h.memory, &bytes).code == OK &&
          str_is(bytes, STR("a module")));
    CHECK(fetch_now(to, hash, "monkey").error.code == OK && from->served == 1);
    sha256 empty = house_put(from, STR(""), hex);
    CHECK(fetch_now(to, empty, "monkey").error.code == OK && blobs_has(to->blobs, &empty, NULL));
    CHECK(house_temporaries(to) == 0);
    house_close(&h);
}

TEST(blob_of_many_megabytes_is_streamed)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    size_t size = (24 << 20) + 7;
    char *big = malloc(size);
    assert_non_null(big);
    for (size_t i = 0; i < size; i++)
        big[i] = (char)(i * 31 + i / 4096);
    sha256 hash = house_put(from, (str){big, size}, hex);
    free(big);
    house_beat(from);
    house_rest(&h, 20);
    struct fetched f = fetch_now(to, hash, "monkey");
    CHECK(f.error.code == OK && f.bytes == size && blobs_has(to->blobs, &hash, NULL));
    house_close(&h);
}

TEST(blob_fetches_of_one_hash_share_one_transfer)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    sha256 hash = house_put(from, STR("shared"), hex);
    house_beat(from);
    house_rest(&h, 20);
    struct fetched f[3];
    for (size_t i = 0; i < COUNT(f); i++)
        fetch(to, hash, "monkey", &f[i]);
    for (size_t i = 0; i < COUNT(f); i++)
        house_wait(&h, &f[i].done);
    for (size_t i = 0; i < COUNT(f); i++)
        CHECK(f[i].error.code == OK && f[i].times == 1);
    CHECK(from->served == 1);
    house_close(&h);
}

TEST(blob_of_wrong_bytes_or_a_broken_peer_comes_from_the_next_holder)
{
    static const door_mode modes[] = {DOOR_WRONG, DOOR_DIES, DOOR_EMPTY};
    for (size_t i = 0; i < COUNT(modes); i++) {
        struct house h;
        char hex[SHA256_HEX + 1];
        house_open(&h);
        struct house_node *bad = house_node_open(&h, "hoarder", "hoarder"),
                          *good = house_node_open(&h, "hoarder-2", "hoarder"),
                          *to = house_node_open(&h, "substrate", "substrate");
        struct guide g = {.count = 0};
        CHECK(mesh_serve(bad->mesh, MSG_hoarder_locate, guide_on_locate, &g).code == OK);
        guide_add(&g, to); // never asks itself
        guide_add(&g, bad);
        guide_add(&g, good);
        bad->mode = modes[i];
        sha256 hash = house_put(good, STR("right"), hex);
        struct fetched f = fetch_now(to, hash, "");
        CHECK(f.error.code == OK && bad->served == 1 && good->served == 1 && to->served == 0);
        CHECK(house_temporaries(to) == 0);
        // Nobody else has it: told plainly, after a second round where that may help.
        good->mode = modes[i];
        sha256 other = sha256_of(STR("nowhere"));
        f = fetch_now(to, other, "");
        static const err_code codes[] = {ERR_SYNTAX, ERR_CLOSED, ERR_ABSENT};
        CHECK(f.error.code == codes[i] && !blobs_has(to->blobs, &other, NULL));
        CHECK(good->served == (modes[i] == DOOR_EMPTY ? 2 : 3));
        CHECK(house_temporaries(to) == 0);
        house_close(&h);
    }
}

TEST(blob_is_not_taken_from_a_peer_of_another_name)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *wanted = house_node_open(&h, "monkey", "monkey"),
                      *other = house_node_open(&h, "other", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    sha256 hash = house_put(other, STR("somebody else's"), hex);
    house_beat_as(wanted, other->port, false);
    house_rest(&h, 20);
    struct fetched f = fetch_now(to, hash, "monkey");
    CHECK(f.error.code != OK && f.error.code != ERR_ABSENT && other->served == 0);
    CHECK(!blobs_has(to->blobs, &hash, NULL));
    house_close(&h);
}

static void
seer_on_nodes(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    const struct house_node *n = data;
    (void)header;
    (void)fields;
    door_record door = {STR("p2p"), n->port};
    node_state_record one = {.name = STR("monkey@test"),
                             .protocol = STR("monkey"),
                             .address = STR("127.0.0.1"),
                             .doors = {&door, 1},
                             .healthy = true};
    mesh_answer(in, &(seer_nodes_reply){.nodes = {&one, 1}});
}

TEST(blob_of_a_node_that_was_not_heard_is_found_by_seer)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    CHECK(mesh_serve(from->mesh, MSG_seer_nodes, seer_on_nodes, from).code == OK);
    sha256 hash = house_put(from, STR("quiet"), hex);
    CHECK(fetch_now(to, hash, "monkey").error.code == OK);
    house_close(&h);
}

TEST(blob_that_nobody_has_or_that_is_too_large_is_an_error)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    struct guide g = {.count = 0};
    CHECK(mesh_serve(from->mesh, MSG_hoarder_locate, guide_on_locate, &g).code == OK);
    house_beat(from);
    house_rest(&h, 20);
    CHECK(fetch_now(to, sha256_of(STR("x")), "monkey").error.code == ERR_ABSENT);
    CHECK(g.asked == 1);
    sha256 hash = house_put(from, STR("twenty bytes or more"), hex);
    struct fetched f = {0};
    mesh_blob_request request = {.into = to->blobs,
                                 .hash = hash,
                                 .node = STR("monkey"),
                                 .bytes_max = 8,
                                 .done = on_fetched,
                                 .data = &f};
    CHECK(mesh_blob_fetch(to->mesh, &request).code == OK);
    house_wait(&h, &f.done);
    CHECK(f.error.code == ERR_LIMIT && !blobs_has(to->blobs, &hash, NULL));
    CHECK(house_temporaries(to) == 0);
    house_close(&h);
}

TEST(blob_on_a_full_disk_is_refused_and_leaves_nothing)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    sha256 hash = house_put(from, STR("no room for this"), hex);
    house_beat(from);
    house_rest(&h, 20);
    // Connections write as well, not always as often: what breaks there is tried again.
    unsigned full = 0;
    for (uint64_t after = 0, seen = 1; seen > after || full == 0; after++) {
        after = seen > after ? after : 0;
        fault_now = (fault_plan){.what = FAULT_WRITE, .after = after, .times = 1};
        struct fetched f = fetch_now(to, hash, "monkey");
        seen = fault_now.seen;
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(f.error.code == OK || f.error.code == ERR_FULL);
        CHECK(blobs_has(to->blobs, &hash, NULL) == (f.error.code == OK));
        full += f.error.code == ERR_FULL;
        if (f.error.code == OK)
            CHECK(blobs_remove(to->blobs, &hash).code == OK);
        CHECK(house_temporaries(to) == 0);
    }
    CHECK(full > 0);
    CHECK(fetch_now(to, hash, "monkey").error.code == OK);
    house_close(&h);
}

TEST(blob_fetches_end_with_the_node_that_leaves_or_cancels)
{
    struct house h;
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    from->mode = DOOR_STALLS;
    house_beat(from);
    house_rest(&h, 20);
    struct fetched f[3];
    fetch(to, sha256_of(STR("a")), "monkey", &f[0]);
    fetch(to, sha256_of(STR("a")), "monkey", &f[1]);
    fetch(to, sha256_of(STR("b")), "monkey", &f[2]);
    house_rest(&h, 100);
    CHECK(from->served == 2 && !f[0].done && !f[2].done);
    mesh_blob_cancel(to->mesh, &f[0]);
    CHECK(f[0].done && f[0].error.code == ERR_CLOSED && !f[1].done);
    house_node_close(to);
    CHECK(f[1].error.code == ERR_CLOSED && f[2].error.code == ERR_CLOSED);
    CHECK(f[0].times == 1 && f[1].times == 1 && f[2].times == 1);
    house_close(&h);
}

TEST(blob_fetch_survives_each_failed_allocation)
{
    struct house h;
    char hex[SHA256_HEX + 1];
    house_open(&h);
    struct house_node *from = house_node_open(&h, "monkey", "monkey"),
                      *to = house_node_open(&h, "hoarder", "hoarder");
    sha256 hash = house_put(from, STR("scarce"), hex);
    house_beat(from);
    house_rest(&h, 20);
    for (uint64_t after = 0, seen = 1; seen > after && after < 60; after++) {
        struct fetched f = {0};
        mesh_blob_request request = {.into = to->blobs,
                                     .hash = hash,
                                     .node = STR("monkey"),
                                     .bytes_max = 100,
                                     .done = on_fetched,
                                     .data = &f};
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = after, .times = 1};
        err e = mesh_blob_fetch(to->mesh, &request);
        if (e.code == OK)
            house_wait(&h, &f.done);
        seen = fault_now.seen;
        fault_now = (fault_plan){.what = FAULT_NONE};
        CHECK(e.code == OK || (e.code == ERR_MEMORY && !f.done));
        CHECK(f.error.code == OK || !blobs_has(to->blobs, &hash, NULL));
        if (blobs_has(to->blobs, &hash, NULL))
            CHECK(blobs_remove(to->blobs, &hash).code == OK);
    }
    CHECK(house_temporaries(to) == 0);
    house_close(&h);
}
