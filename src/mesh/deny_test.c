// What is denied stays denied, is seen while doors are open, and a mistake opens none.
#include "base/buf.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/str.h"
#include "base/test.h"
#include "mesh/deny.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct lists {
    char folder[64], path[96];
    arena *memory;
    deny *one, *two; // as in two processes
} lists;

static void lists_open(lists *l)
{
    (void)snprintf(l->folder, sizeof l->folder, "/tmp/deny-test-XXXXXX");
    CHECK(mkdtemp(l->folder) != NULL && arena_open(&l->memory, 8 << 20).code == OK);
    (void)snprintf(l->path, sizeof l->path, "%s/deny", l->folder);
    CHECK(deny_open(&l->one, l->folder, NULL, NULL).code == OK);
    CHECK(deny_open(&l->two, l->folder, NULL, NULL).code == OK);
}

static void lists_close(lists *l)
{
    deny_close(l->one);
    deny_close(l->two);
    arena_close(l->memory);
    CHECK(file_remove_tree(l->folder).code == OK);
}

static void lists_write(lists *l, const char *text)
{
    CHECK(file_write_durable(l->path, str_of(text), 0644).code == OK);
}

static str lists_text(lists *l)
{
    str text;
    CHECK(file_read(l->memory, l->path, DENY_BYTES_MAX, &text).code == OK);
    return text;
}

TEST(deny_list_is_durable_and_seen_by_other_processes_in_time)
{
    lists l;
    lists_open(&l);
    uint64_t now = 1000;
    CHECK(deny_count(l.one) == 0 && !deny_has(l.two, STR("4abc"), STR("monkey"), now));
    CHECK(deny_add(l.one, STR("4abc"), STR(""), STR("lost\nnode tns")).code == OK);
    CHECK(deny_add(l.one, STR(""), STR("monkey"), STR("")).code == OK);
    CHECK(deny_has(l.one, STR("4abc"), STR("tns"), now) &&
          deny_has(l.one, STR("1"), STR("monkey"), now));
    CHECK(!deny_has(l.one, STR("1"), STR("tns"), now) && deny_count(l.one) == 2);
    // The other looks again after its time, not before.
    CHECK(!deny_has(l.two, STR("4abc"), STR("x"), now + DENY_STAT_MS - 1));
    CHECK(deny_has(l.two, STR("4abc"), STR("x"), now + DENY_STAT_MS));
    CHECK(deny_has(l.two, STR(""), STR("monkey@blackhole"), now + DENY_STAT_MS));
    deny *later;
    CHECK(deny_open(&later, l.folder, NULL, NULL).code == OK);
    CHECK(deny_count(later) == 2 && deny_has(later, STR("4abc"), STR(""), 0));
    deny_close(later);
    CHECK(deny_remove(l.two, STR("4abc"), STR("")).code == OK);
    CHECK(deny_remove(l.two, STR("4abc"), STR("")).code == ERR_ABSENT);
    CHECK(!deny_has(l.one, STR("4abc"), STR("x"), now + 2 * DENY_STAT_MS));
    CHECK(deny_has(l.one, STR(""), STR("monkey"), now + 2 * DENY_STAT_MS));
    lists_close(&l);
}

TEST(deny_list_keeps_what_people_wrote)
{
    lists l;
    lists_open(&l);
    lists_write(&l, "# ours\n\n  0004ABC # no\n");
    str problem = {0};
    deny *d = NULL;
    CHECK(deny_open(&d, l.folder, l.memory, &problem).code == ERR_SYNTAX && d == NULL);
    CHECK(str_ends(problem, STR("/deny:3: neither a serial number in lower-case hex nor "
                                "`node NAME`")));
    lists_write(&l, "# ours\r\n\n  0004abc  # stolen\n\tnode\t\n");
    CHECK(deny_open(&d, l.folder, l.memory, &problem).code == ERR_SYNTAX);
    lists_write(&l, "# ours\r\n\n  0004abc  # stolen\nnode   seer-2@blackhole");
    CHECK(deny_open(&d, l.folder, l.memory, &problem).code == OK);
    CHECK(deny_has(d, STR("4abc"), STR(""), 0) && deny_has(d, STR("04abc"), STR(""), 0));
    CHECK(deny_has(d, STR(""), STR("seer-2"), 0) && !deny_has(d, STR("0"), STR("seer"), 0));
    CHECK(deny_add(d, STR("4abc"), STR(""), STR("again")).code == OK); // is there
    CHECK(deny_add(d, STR("ff"), STR(""), STR("why")).code == OK);
    CHECK(str_is(lists_text(&l),
                 STR("# ours\r\n\n  0004abc  # stolen\nnode   seer-2@blackhole\nff # why\n")));
    CHECK(deny_remove(d, STR(""), STR("seer-2")).code == OK);
    CHECK(deny_remove(d, STR("4abc"), STR("")).code == OK);
    CHECK(str_is(lists_text(&l), STR("# ours\r\n\nff # why\n")));
    deny_close(d);
    lists_close(&l);
}

TEST(deny_list_with_a_mistake_or_gone_leaves_the_former_in_force)
{
    lists l;
    lists_open(&l);
    uint64_t now = 0;
    lists_write(&l, "node monkey\n");
    CHECK(deny_has(l.one, STR(""), STR("monkey"), now) && deny_problem(l.one).len == 0);
    lists_write(&l, "node seer\nnode ../x\n");
    CHECK(deny_has(l.one, STR(""), STR("monkey"), now += DENY_STAT_MS));
    CHECK(!deny_has(l.one, STR(""), STR("seer"), now));
    CHECK(str_ends(deny_problem(l.one), STR("/deny:2: no short name of a node")));
    CHECK(deny_add(l.one, STR("ff"), STR(""), STR("")).code == ERR_SYNTAX);
    CHECK(deny_has(l.one, STR(""), STR("monkey"), now += DENY_STAT_MS));
    CHECK(deny_problem(l.one).len > 0);
    CHECK(unlink(l.path) == 0);
    CHECK(deny_has(l.one, STR(""), STR("monkey"), now += DENY_STAT_MS));
    CHECK(deny_problem(l.one).len > 0);
    lists_write(&l, "node seer\n");
    CHECK(!deny_has(l.one, STR(""), STR("monkey"), now += DENY_STAT_MS));
    CHECK(deny_has(l.one, STR(""), STR("seer"), now) && deny_problem(l.one).len == 0);
    lists_write(&l, "");
    CHECK(!deny_has(l.one, STR(""), STR("seer"), now += DENY_STAT_MS) && deny_count(l.one) == 0);
    lists_close(&l);
}

TEST(deny_list_refuses_what_is_no_entry)
{
    lists l;
    lists_open(&l);
    char long_word[DENY_WORD_MAX + 2];
    memset(long_word, 'a', sizeof long_word - 1);
    long_word[DENY_WORD_MAX + 1] = '\0';
    const struct {
        const char *serial, *node;
    } bad[] = {
        {"", ""},    {"ff", "tns"},   {"FF", ""},      {"fg", ""},     {"ff\n", ""}, {"f f", ""},
        {"", "Tns"}, {"", "a b"},     {"", "a@b"},     {"", "-a"},     {"", "a\nb"}, {"", "a#b"},
        {"#", ""},   {long_word, ""}, {"", long_word}, {"node x", ""}, {"", "a.b"},
    };
    str before = lists_text(&l);
    for (size_t i = 0; i < COUNT(bad); i++) {
        CHECK(deny_add(l.one, str_of(bad[i].serial), str_of(bad[i].node), STR("")).code ==
              ERR_SYNTAX);
        CHECK(deny_remove(l.one, str_of(bad[i].serial), str_of(bad[i].node)).code == ERR_SYNTAX);
    }
    CHECK(str_is(lists_text(&l), before));
    CHECK(!deny_has(l.one, STR(""), str_of(long_word), 0));
    lists_close(&l);
}

TEST(deny_list_has_limits)
{
    lists l;
    lists_open(&l);
    buf text;
    buf_open(&text, 2 * DENY_BYTES_MAX);
    for (size_t i = 0; i < DENY_ENTRIES_MAX; i++)
        buf_add_format(&text, "%zx\n", i + 1);
    CHECK(file_write_durable(l.path, buf_str(&text), 0644).code == OK);
    CHECK(deny_has(l.one, STR("4000"), STR(""), 0) && deny_count(l.one) == DENY_ENTRIES_MAX);
    CHECK(deny_add(l.one, STR("fffff"), STR(""), STR("")).code == ERR_LIMIT);
    CHECK(deny_has(l.one, STR("1"), STR(""), DENY_STAT_MS) && deny_problem(l.one).len == 0);
    while (text.len <= DENY_BYTES_MAX)
        buf_add(&text, STR("# a comment is of the file's length as well\n"));
    CHECK(file_write_durable(l.path, buf_str(&text), 0644).code == OK);
    CHECK(deny_has(l.one, STR("4000"), STR(""), 2 * DENY_STAT_MS));
    CHECK(str_ends(deny_problem(l.one), STR("longer than 1 MiB")));
    buf_close(&text);
    lists_close(&l);
}

TEST(deny_list_holds_whichever_write_or_allocation_fails)
{
    lists l;
    lists_open(&l);
    CHECK(deny_add(l.one, STR("aa"), STR(""), STR("")).code == OK);
    for (int kind = 0; kind < 2; kind++)
        for (uint64_t after = 0;; after++) {
            fault_now = (fault_plan){
                .what = kind == 0 ? FAULT_WRITE : FAULT_MEMORY, .after = after, .times = 1};
            err e = deny_add(l.one, STR("bb"), STR(""), STR("x"));
            bool hit = fault_now.seen > after;
            fault_now = (fault_plan){0};
            CHECK(deny_has(l.one, STR("aa"), STR(""), after * DENY_STAT_MS));
            CHECK(e.code != OK || deny_has(l.one, STR("bb"), STR(""), after * DENY_STAT_MS));
            if (deny_remove(l.one, STR("bb"), STR("")).code != OK)
                CHECK(e.code != OK);
            if (!hit)
                break;
        }
    lists_close(&l);
}
