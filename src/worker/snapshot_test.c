// Snapshots as they are written, read, and refused when damaged.
#include "base/clock.h"
#include "base/str.h"
#include "base/test.h"
#include "worker/snapshot_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void table_write(buf *out, size_t hosts, size_t paths)
{
    char(*names)[48] = calloc(hosts + paths, 48);
    route *routes = calloc(hosts * paths * 2, sizeof(*routes));
    str *known = calloc(hosts, sizeof(*known));
    CHECK(names != NULL && routes != NULL && known != NULL);
    route_function functions[] = {{.id = STR("a"), .module = STR("m")},
                                  {.id = STR("b"), .module = STR("m")}};
    for (size_t h = 0; h < hosts; h++) {
        (void)snprintf(names[h], 48, "h%zu.black.localtau", h);
        known[h] = str_of(names[h]);
    }
    for (size_t p = 0; p < paths; p++)
        (void)snprintf(names[hosts + p], 48, "/path/%zu", p);
    size_t count = 0;
    for (size_t h = 0; h < hosts; h++)
        for (size_t p = 0; p < paths; p++) {
            routes[count++] =
                (route){str_of(names[h]), STR("GET"), str_of(names[hosts + p]), (h + p) % 2};
            routes[count++] = (route){str_of(names[h]), STR("POST"), str_of(names[hosts + p]), 0};
        }
    route_table table = {functions, 2, routes, count};
    backend one = {STR("substrate@black"), STR("127.0.0.1"), 14282};
    backend_table backends = {&one, 1, known, hosts / 2};
    CHECK(snapshot_write(out, 7, &table, &backends).code == OK);
    free(names);
    free(routes);
    free(known);
}

TEST(snapshot_finds_what_was_written_and_nothing_else)
{
    buf out;
    buf_open(&out, 64 << 20);
    table_write(&out, 200, 20);
    snapshot *s = (const void *)out.at;
    CHECK(snapshot_check(s, out.len).code == OK);
    CHECK(s->hosts.count == 200 && s->paths.count == 4000 && s->methods.count == 8000 &&
          s->functions.count == 2);
    for (size_t h = 0; h < 200; h++)
        for (size_t p = 0; p < 20; p++) {
            char host[48], path[48];
            (void)snprintf(host, sizeof(host), "h%zu.black.localtau", h);
            (void)snprintf(path, sizeof(path), "/path/%zu", p);
            const snapshot_host *found = snapshot_find_host(s, str_of(host));
            CHECK(found != NULL && found->paths_count == 20);
            const snapshot_path *at = snapshot_find_path(s, found, str_of(path));
            CHECK(at != NULL && at->methods_count == 2);
            CHECK(snapshot_find_method(s, at, STR("GET"))->function == (h + p) % 2);
            CHECK(snapshot_find_method(s, at, STR("POST"))->function == 0);
            CHECK(snapshot_find_method(s, at, STR("PUT")) == NULL);
            CHECK(snapshot_find_path(s, found, STR("/path")) == NULL);
        }
    CHECK(snapshot_find_host(s, STR("h200.black.localtau")) == NULL &&
          snapshot_find_host(s, STR("")) == NULL);
    CHECK(snapshot_find_host(s, STR("h0.black.localtau"))->forwarded && s->backends.count == 1);
    buf_close(&out);
}

TEST(snapshot_of_nothing_is_one)
{
    buf out;
    buf_open(&out, 1 << 20);
    route_table none = {.functions_count = 0};
    backend_table nobody = {.count = 0};
    CHECK(snapshot_write(&out, 1, &none, &nobody).code == OK);
    CHECK(snapshot_check((const void *)out.at, out.len).code == OK);
    CHECK(snapshot_find_host((const void *)out.at, STR("x")) == NULL);
    buf_close(&out);
}

// Whatever is flipped: it is refused, or every look-up stays inside.
TEST(snapshot_damaged_anywhere_is_refused_or_harmless)
{
    buf out;
    buf_open(&out, 1 << 20);
    table_write(&out, 3, 3);
    char *copy = malloc(out.len);
    CHECK(copy != NULL);
    for (size_t i = 0; i < 4000; i++) {
        memcpy(copy, out.at, out.len);
        for (int k = 0; k < 3; k++)
            copy[random_u64() % out.len] ^= (char)(1U << (random_u64() % 8));
        snapshot *s = (const void *)copy;
        if (snapshot_check(s, out.len).code != OK)
            continue;
        const snapshot_host *h = snapshot_find_host(s, STR("h1.black.localtau"));
        const snapshot_path *p = h != NULL ? snapshot_find_path(s, h, STR("/path/1")) : NULL;
        const snapshot_method *m = p != NULL ? snapshot_find_method(s, p, STR("GET")) : NULL;
        CHECK(m == NULL || m->function < s->functions.count);
    }
    CHECK(snapshot_check((const void *)out.at, out.len - 1).code == ERR_SYNTAX);
    free(copy);
    buf_close(&out);
}
