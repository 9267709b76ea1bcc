// Tests of the journal: JSON in, logfmt and coloured lines out.
#include "base/str.h"
#include "base/test.h"
#include "dream/journal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static str journal_read(int fd, char *room, size_t size)
{
    ssize_t n = read(fd, room, size);
    return (str){room, n < 0 ? 0 : (size_t)n};
}

TEST(journal_writes_a_line_to_the_file_and_one_with_the_nodes_name_to_the_terminal)
{
    int file[2], terminal[2];
    char room[4096];
    journal *j;
    CHECK(pipe2(file, O_CLOEXEC) == 0 && pipe2(terminal, O_CLOEXEC) == 0);
    CHECK(journal_open(&j, file[1], terminal[1], false).code == OK);
    journal_add(j, STR("u"), STR("tns"), 1,
                STR("{\"time\":\"2026-11-25T01:02:03.004Z\",\"level\":\"info\",\"event\":\"job "
                    "moved\",\"universe\":\"u\",\"node\":\"tns@u\",\"job\":\"17\"}"));
    CHECK(str_is(journal_read(file[0], room, sizeof(room)),
                 STR("time=2026-11-25T01:02:03.004Z level=info event=\"job moved\" job=17 "
                     "universe=u node=tns@u\n")));
    CHECK(str_is(journal_read(terminal[0], room, sizeof(room)),
                 STR("01:02:03.004 tns         level=info event=\"job moved\" job=17\n")));
    journal_close(j);
    for (int i = 0; i < 2; i++) {
        close(file[i]);
        close(terminal[i]);
    }
}

TEST(journal_takes_what_is_no_json_and_lets_nothing_move_the_terminal)
{
    int terminal[2];
    char room[4096];
    journal *j;
    CHECK(pipe2(terminal, O_CLOEXEC) == 0);
    CHECK(journal_open(&j, -1, terminal[1], true).code == OK);
    journal_add(j, STR("u"), STR("tns"), 1, STR("Assertion `x' failed.\033[2J\r"));
    str line = journal_read(terminal[0], room, sizeof(room));
    CHECK(str_find(line, STR("\033[33mtns        \033[0m level=error event=\"Assertion")) <
          line.len);
    CHECK(str_find(line, STR("\033[2J")) == line.len && str_find_byte(line, '\r') == line.len);
    journal_add(j, STR("u"), STR("tns"), 1, STR("{\"level\":\"info\",\"event\":\"\\u001b[2J\"}"));
    line = journal_read(terminal[0], room, sizeof(room));
    CHECK(line.len > 0 && str_find(line, STR("\033[2J")) == line.len);
    journal_close(j);
    close(terminal[0]);
    close(terminal[1]);
}
