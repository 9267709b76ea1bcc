// Names of nodes that join: given once, never to two.
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "dream/join_inner.h"
#include "mesh/deny.h"

#include <stdlib.h>
#include <string.h>

struct naming {
    arena *memory;
    char folder[64];
    join_door door;
};

static bool is_substrate_2(void *data, str name)
{
    (void)data;
    return str_is(name, STR("substrate-2"));
}

static void naming_open(struct naming *n)
{
    *n = (struct naming){.folder = "/tmp/ctau-join-XXXXXX"};
    CHECK(arena_open(&n->memory, 1 << 20).code == OK && mkdtemp(n->folder) != NULL);
    n->door.settings.folder = n->folder;
    n->door.settings.is_ours = is_substrate_2;
}

static void naming_close(struct naming *n)
{
    CHECK(file_remove_tree(n->folder).code == OK);
    arena_close(n->memory);
}

static const char *naming_next(struct naming *n, const char *shape)
{
    join_record r = {.protocols = str_of(shape), .address = STR("10.0.0.2")};
    unsigned number = 0;
    CHECK(join_record_make(&n->door, n->memory, str_of(shape), &r, &number).code == OK);
    CHECK(number >= 2 && r.joined_real_ms > 0);
    return str_c(n->memory, r.node);
}

TEST(join_names_are_of_nobody_here_and_of_nobody_who_has_joined)
{
    struct naming n;
    join_record r;
    naming_open(&n);
    CHECK(strcmp(naming_next(&n, "substrate"), "substrate-3") == 0);
    CHECK(strcmp(naming_next(&n, "substrate"), "substrate-4") == 0);
    CHECK(strcmp(naming_next(&n, "hoarder"), "hoarder-2") == 0);
    CHECK(join_record_read(n.memory, n.folder, STR("substrate-4"), &r).code == OK);
    CHECK(str_is(r.protocols, STR("substrate")) && str_is(r.address, STR("10.0.0.2")));
    join_record_forget(n.folder, STR("substrate-4"));
    CHECK(join_record_read(n.memory, n.folder, STR("substrate-4"), &r).code == ERR_ABSENT);
    CHECK(strcmp(naming_next(&n, "substrate"), "substrate-4") == 0);
    naming_close(&n);
}

TEST(join_names_on_the_deny_list_are_not_given_again)
{
    struct naming n;
    deny *list;
    bool denied = false;
    naming_open(&n);
    CHECK(deny_open(&list, n.folder, n.memory, NULL).code == OK);
    CHECK(deny_add(list, STR(""), STR("substrate-3"), STR("stolen")).code == OK);
    deny_close(list);
    CHECK(join_is_denied(n.folder, n.memory, STR("substrate-3"), &denied).code == OK && denied);
    CHECK(strcmp(naming_next(&n, "substrate"), "substrate-4") == 0);
    naming_close(&n);
}

TEST(join_records_are_read_by_plain_names_only)
{
    struct naming n;
    join_record r;
    naming_open(&n);
    CHECK(join_record_read(n.memory, n.folder, STR("../joined/x"), &r).code == ERR_ABSENT);
    CHECK(join_record_read(n.memory, n.folder, STR(""), &r).code == ERR_ABSENT);
    naming_close(&n);
}
