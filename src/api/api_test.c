// Every message survives its wire and its JSON form; the bytes of a few are pinned.
#include "api/api.h"
#include "base/hash.h"
#include "base/str.h"
#include "base/test.h"

#include <string.h>

typedef struct list {
    void *at;
    size_t count;
} list;

// Fills any struct by its shape with values made from a counter: texts, numbers large and small,
// nested lists.
static void
sample_fill(arena *a, const message_shape *shape, char *at, unsigned *counter, bool text)
{
    for (size_t i = 0; i < shape->count; at += field_bytes(shape->fields[i++].kind)) {
        unsigned n = ++*counter;
        str s = str_format(a, "%s-%u\xc3\xa9\n\"", shape->fields[i].name, n);
        uint64_t number = n % 5 == 0 ? UINT64_MAX : n % 5 == 1 ? 0 : n % 5 == 2 ? 1ull << 53 : n;
        list l = {NULL, n % 4};
        switch (shape->fields[i].kind) {
        case FIELD_BYTES:
            if (!text)
                s = (str){"\xff\0\x80z", 4};
            memcpy(at, &s, sizeof s);
            break;
        case FIELD_TEXT:
            if (n % 7 == 0)
                s.len = 0;
            memcpy(at, &s, sizeof s);
            break;
        case FIELD_NUMBER:
            memcpy(at, &number, sizeof number);
            break;
        case FIELD_FLAG:
            *(bool *)at = n % 2;
            break;
        case FIELD_LIST:
            l.at = arena_take(a, l.count * shape->fields[i].record->bytes + 1);
            for (size_t e = 0; e < l.count; e++)
                sample_fill(a, shape->fields[i].record,
                            (char *)l.at + e * shape->fields[i].record->bytes, counter, text);
            memcpy(at, &l, sizeof l);
            break;
        }
    }
}

static void sample_check(const message_shape *shape, const char *one, const char *two)
{
    for (size_t i = 0; i < shape->count; i++) {
        str s, t;
        list l, m;
        switch (shape->fields[i].kind) {
        case FIELD_TEXT:
        case FIELD_BYTES:
            memcpy(&s, one, sizeof s);
            memcpy(&t, two, sizeof t);
            CHECK(str_is(s, t));
            break;
        case FIELD_NUMBER:
            CHECK(memcmp(one, two, 8) == 0);
            break;
        case FIELD_FLAG:
            CHECK(*(const bool *)one == *(const bool *)two);
            break;
        case FIELD_LIST:
            memcpy(&l, one, sizeof l);
            memcpy(&m, two, sizeof m);
            CHECK(l.count == m.count);
            for (size_t e = 0; e < l.count; e++)
                sample_check(shape->fields[i].record,
                             (const char *)l.at + e * shape->fields[i].record->bytes,
                             (const char *)m.at + e * shape->fields[i].record->bytes);
            break;
        }
        one += field_bytes(shape->fields[i].kind);
        two += field_bytes(shape->fields[i].kind);
    }
}

// Runs `check` over the request and the reply of every message, five fillings each.
static void
samples_each(void (*check)(arena *a, uint64_t kind, const message_shape *shape, const void *fields))
{
    unsigned counter = 0;
    for (uint64_t kind = 0; kind < MESSAGE_KINDS; kind++) {
        const message_shape *shapes[] = {message_infos[kind].request, message_infos[kind].reply};
        for (size_t i = 0; i < 10; i++) {
            if (shapes[i % 2] == NULL)
                continue;
            OWNED(arena_drop) arena *a = NULL;
            CHECK(arena_open(&a, 4 << 20).code == OK);
            void *fields = arena_take(a, shapes[i % 2]->bytes);
            sample_fill(a, shapes[i % 2], fields, &counter, i > 4);
            check(a, kind, shapes[i % 2], fields);
        }
    }
}

static message_header header_of(uint64_t kind)
{
    return (message_header){kind, STR("r1"), STR("p"), STR("alice"), 5000};
}

static void wire_check(arena *a, uint64_t kind, const message_shape *shape, const void *fields)
{
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    message_header h = header_of(kind), back;
    message_write(&out, &h, shape, fields);
    CHECK(out.error.code == OK);
    err e;
    CHECK(message_read_error(a, buf_str(&out), &e).code == OK && e.code == OK);
    void *read = arena_take(a, shape->bytes);
    CHECK(message_read(a, buf_str(&out), &back, shape, read).code == OK);
    CHECK(back.kind == kind && str_is(back.account, STR("alice")) && back.deadline_ms == 5000);
    CHECK(str_is(back.request_id, STR("r1")) && str_is(back.project, STR("p")));
    sample_check(shape, fields, read);
    // Cut anywhere, it is refused or reads as an older peer's message: never past the end (ASan
    // watches).
    for (size_t len = 0; len < out.len; len += 1 + out.len / 64) {
        char *cut = arena_take(a, len + 1);
        memcpy(cut, out.at, len);
        err got = message_read(a, (str){cut, len}, &back, shape, read);
        CHECK(got.code == OK || got.code == ERR_SYNTAX || got.code == ERR_UNSUPPORTED ||
              got.code == ERR_MEMORY);
    }
    buf_add(&out, STR("a field of the future"));
    CHECK(message_read(a, buf_str(&out), &back, shape, read).code == OK);
    sample_check(shape, fields, read);
}

TEST(api_every_message_survives_the_wire)
{
    samples_each(wire_check);
}

static void json_check(arena *a, uint64_t kind, const message_shape *shape, const void *fields)
{
    (void)kind;
    OWNED(buf_close) buf out;
    buf_open(&out, 4 << 20);
    json_writer w = {.out = &out};
    message_json_write(&w, NULL, shape, fields);
    CHECK(out.error.code == OK);
    const json *value;
    void *read = arena_take(a, shape->bytes);
    CHECK(json_read(a, buf_str(&out), &value, NULL).code == OK);
    CHECK(message_json_read(a, value, shape, read).code == OK);
    sample_check(shape, fields, read);
}

TEST(api_every_message_survives_json)
{
    samples_each(json_check);
}

static void
hex_check(uint64_t kind, const message_shape *shape, const void *fields, const char *hex)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    message_header h = header_of(kind);
    message_write(&out, &h, shape, fields);
    assert_string_equal(hex_of(a, buf_str(&out)).at, hex);
}

#define GOLDEN_HEAD      \
    "020000007231"       \
    "0100000070"         \
    "05000000616c696365" \
    "8813000000000000"

TEST(api_bytes_of_messages_are_pinned)
{
    auth_login_request login = {STR("al"), STR("d")};
    hex_check(MSG_auth_login, message_infos[MSG_auth_login].request, &login,
              "0101"
              "0a000000617574682e6c6f67696e" GOLDEN_HEAD "02000000616c"
              "0100000064");
    door_record doors[] = {{STR("p2p"), 14282}};
    seer_heartbeat beat = {.name = STR("n"), .copies = 2, .doors = {doors, 1}, .leaving = true};
    hex_check(MSG_seer_heartbeat, message_infos[MSG_seer_heartbeat].request, &beat,
              "0101"
              "0e000000736565722e686561727462656174" GOLDEN_HEAD "010000006e"
              "00000000"
              "00000000"
              "0200000000000000"
              "01000000"
              "0f000000"
              "03000000703270"
              "ca37000000000000"
              "0000000000000000"
              "0000000000000000"
              "01"
              "00000000"
              "0000000000000000"
              "00");
    hoarder_collect_request collect = {true};
    hex_check(MSG_hoarder_collect, message_infos[MSG_hoarder_collect].request, &collect,
              "0101"
              "0f000000686f61726465722e636f6c6c656374" GOLDEN_HEAD "01");
}

TEST(api_subjects_are_unique_and_begin_with_a_protocol)
{
    for (size_t i = 0; i < MESSAGE_KINDS; i++) {
        CHECK(message_find(str_of(message_infos[i].subject)) == &message_infos[i]);
        str rest = str_of(message_infos[i].subject);
        CHECK(str_cut(&rest, '.').len > 0 && rest.len > 0);
    }
    CHECK(message_find(STR("auth")) == NULL);
}

TEST(api_errors_travel_with_code_and_text)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    message_write_error(&out, fail(ERR_FULL, 28, "no space left"));
    err e;
    CHECK(message_read_error(a, buf_str(&out), &e).code == OK);
    CHECK(e.code == ERR_FULL && e.sys == 28);
    assert_string_equal(e.what, "no space left");
    node_ping_request ping;
    message_header h;
    CHECK(message_read(a, buf_str(&out), &h, message_infos[MSG_node_ping].request, &ping).code ==
          ERR_SYNTAX);
    out.at[2] = 77; // a code of the future
    CHECK(message_read_error(a, buf_str(&out), &e).code == OK && e.code == ERR_SYSTEM);
}

TEST(api_limits_refuse_before_memory_is_taken)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 8 << 20).code == OK);
    OWNED(buf_close) buf out;
    buf_open(&out, 4 << 20);
    const message_shape *shape = message_infos[MSG_tns_publish].request;
    static const char bytes[MESSAGE_BYTES_MAX];
    tns_publish_request publish = {.document = {bytes, sizeof bytes - 50}};
    message_header h = header_of(MSG_tns_publish);
    message_write(&out, &h, shape, &publish);
    CHECK(out.error.code == ERR_LIMIT);
    buf_clear(&out);
    publish.document.len -= 150;
    message_write(&out, &h, shape, &publish);
    CHECK(out.error.code == OK && out.len > MESSAGE_BYTES_MAX - 200);
    CHECK(message_read(a, buf_str(&out), &h, shape, &publish).code == OK);
    CHECK(publish.document.len == sizeof bytes - 200);
    // A list that claims four thousand million entries in a short message.
    buf_clear(&out);
    worker_counts counts = {.slot = 1};
    h = header_of(MSG_worker_counts);
    message_write(&out, &h, message_infos[MSG_worker_counts].request, &counts);
    size_t at = out.len - 28; // three numbers stand behind the list
    memset(out.at + at, 0xff, 4);
    CHECK(message_read(a, buf_str(&out), &h, message_infos[MSG_worker_counts].request, &counts)
              .code == ERR_LIMIT);
    out.at[at + 2] = out.at[at + 3] = 0;
    CHECK(message_read(a, buf_str(&out), &h, message_infos[MSG_worker_counts].request, &counts)
              .code == ERR_SYNTAX);
    static const char large[MESSAGE_BYTES_MAX + 1] = {1, 1};
    CHECK(message_read_header((str){large, sizeof large}, &h).code == ERR_LIMIT);
}

TEST(api_older_record_reads_as_zero_behind)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    // A door record that ends after its name, and one with eight bytes more than we know.
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    message_header h = header_of(MSG_seer_resolve);
    seer_resolve_reply none = {.project = STR("x")};
    message_write(&out, &h, message_infos[MSG_seer_resolve].reply, &none);
    out.len -= 4;
    buf_add_u32(&out, 2);
    buf_add_u32(&out, 6);
    buf_add(&out, STR("\2\0\0\0ab"));
    buf_add_u32(&out, 22);
    buf_add(&out, STR("\2\0\0\0cd\7\0\0\0\0\0\0\0newfield"));
    seer_resolve_reply r;
    CHECK(message_read(a, buf_str(&out), &h, message_infos[MSG_seer_resolve].reply, &r).code == OK);
    CHECK(r.targets.count == 2 && str_is(r.targets.at[0].name, STR("ab")) &&
          r.targets.at[0].port == 0);
    CHECK(str_is(r.targets.at[1].name, STR("cd")) && r.targets.at[1].port == 7);
}

static err json_login_read(arena *a, const char *text, err *e)
{
    const json *value;
    tns_live_set_request r;
    TRY(json_read(a, str_of(text), &value, NULL));
    *e = message_json_read(a, value, message_infos[MSG_tns_live_set].request, &r);
    if (e->code == OK && r.revision != 3)
        return fail(ERR_CONFLICT, 0, "revision");
    return ok();
}

TEST(api_json_of_the_wrong_type_names_the_field)
{
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    err e;
    CHECK(json_login_read(a, "{\"revision\":3,\"project\":null,\"other\":[1]}", &e).code == OK &&
          e.code == OK);
    CHECK(json_login_read(a, "{\"revision\":\"3\"}", &e).code == OK && e.code == OK);
    const char *const bad[] = {"{\"revision\":-3}", "{\"revision\":3.5}", "{\"revision\":\"x\"}",
                               "{\"revision\":{}}"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        CHECK(json_login_read(a, bad[i], &e).code == OK);
        CHECK(e.code == ERR_SYNTAX);
        assert_string_equal(e.what, "field 'revision' must be a whole number");
    }
    CHECK(json_login_read(a, "{\"revision\":3,\"project\":7}", &e).code == OK &&
          e.code == ERR_SYNTAX);
    CHECK(json_login_read(a, "[3]", &e).code == OK && e.code == ERR_SYNTAX);
}
