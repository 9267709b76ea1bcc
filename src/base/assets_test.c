// What tools/pack writes is found again; the archive here stands for the one that the build makes.
#include "base/assets.h"
#include "base/str.h"
#include "base/test.h"

// tools/pack's format for sdk/a (3 bytes, a NUL among them), sdk/empty, templates/c/x.c.
__asm__(".section .rodata.assets, \"a\"\n"
        ".globl assets_begin, assets_end\n"
        "assets_begin:\n"
        ".long 5, 3\n.ascii \"sdk/a\\0\"\n.byte 'x', 0, 'z', 0\n"
        ".long 9, 0\n.ascii \"sdk/empty\\0\\0\"\n"
        ".long 15, 6\n.ascii \"templates/c/x.c\\0int a;\\0\"\n"
        "assets_end:\n.byte 0\n.previous\n");

TEST(assets_are_found_by_their_whole_path)
{
    CHECK(str_is(assets_find("templates/c/x.c"), STR("int a;")));
    CHECK(str_is(assets_find("sdk/a"), (str){"x\0z", 3}));
    CHECK(assets_find("sdk/").at == NULL);
    CHECK(assets_find("x.c").at == NULL);
    CHECK(assets_find("").at == NULL);
}

TEST(assets_that_are_empty_differ_from_absent_ones)
{
    CHECK(assets_find("sdk/empty").at != NULL);
    CHECK(assets_find("sdk/empty").len == 0);
    CHECK(assets_find("sdk/emptyX").at == NULL);
}

TEST(assets_come_one_after_the_other_and_end)
{
    size_t at = 0;
    str path;
    str bytes;
    CHECK(assets_next(&at, &path, &bytes) && str_is(path, STR("sdk/a")));
    CHECK(assets_next(&at, &path, &bytes) && str_is(path, STR("sdk/empty")));
    CHECK(assets_next(&at, &path, &bytes) && str_is(path, STR("templates/c/x.c")));
    CHECK(bytes.at[bytes.len] == 0);
    CHECK(!assets_next(&at, &path, &bytes));
    CHECK(!assets_next(&at, &path, &bytes));
}
