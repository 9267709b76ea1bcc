// The contract suite, first half: ask, answer, tell, leave.
#include "base/clock.h"
#include "base/file.h"
#include "mesh/contract_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 5000, TURN_MS = 10, LONG_MS = 4000, MANY = 1000 };

void world_open(world *w, const mesh_factory *factory)
{
    *w = (world){.factory = factory};
    (void)snprintf(w->folder, sizeof w->folder, "/tmp/mesh-test-XXXXXX");
    CHECK(mkdtemp(w->folder) != NULL);
    CHECK(loop_open(&w->loop).code == OK && arena_open(&w->memory, 64 << 20).code == OK);
    CHECK(factory->open(&w->engine, w->loop, w->folder).code == OK);
}

void world_close(world *w)
{
    mesh_engine_close(w->engine);
    loop_close(w->loop);
    arena_close(w->memory);
    CHECK(file_remove_tree(w->folder).code == OK);
}

mesh *world_join(world *w, const char *name, const char *protocols)
{
    mesh *m = NULL;
    CHECK(mesh_join(&m, w->engine, str_of(name), str_of(protocols)).code == OK);
    return m;
}

void world_wait(world *w, const size_t *counter, size_t value)
{
    uint64_t until = clock_now_ms() + WAIT_MS;
    while (*counter < value && clock_now_ms() < until)
        loop_turn(w->loop, TURN_MS);
    assert_int_equal(*counter, value);
}

void world_rest(world *w, uint64_t ms)
{
    uint64_t until = clock_now_ms() + ms;
    while (clock_now_ms() < until)
        loop_turn(w->loop, TURN_MS);
}

// ---- what a test saw: replies, and requests that wait
typedef struct seen {
    size_t replies, requests;
    err error;
    char what[64], account[32], token[32], from[32];
    const char *account_at;
    mesh_incoming *held[MANY];
    uint64_t numbers[MANY]; // of tns_publish: what was asked by held[i]
    bool hold;
} seen;

static void on_login_reply(void *data, err e, const void *fields)
{
    seen *s = data;
    s->replies++;
    s->error = e;
    (void)snprintf(s->what, sizeof s->what, "%s", e.what != NULL ? e.what : "");
    CHECK((e.code == OK) == (fields != NULL));
    if (fields != NULL) {
        const auth_login_reply *r = fields;
        (void)snprintf(s->account, sizeof s->account, "%.*s", STR_ARG(r->account));
        (void)snprintf(s->token, sizeof s->token, "%.*s", STR_ARG(r->token));
    }
}

static void
serve_login(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    seen *s = data;
    const auth_login_request *r = fields;
    s->account_at = r->account.at;
    (void)snprintf(s->from, sizeof s->from, "%.*s", STR_ARG(mesh_incoming_from(in)));
    if (s->hold) {
        s->held[s->requests++] = in;
        return;
    }
    s->requests++;
    str token = str_format(mesh_incoming_arena(in), "%.*s/%.*s", STR_ARG(header->account),
                           STR_ARG(header->request_id));
    auth_login_reply reply = {r->account, token};
    mesh_answer(in, &reply);
}

static const auth_login_request login = {{"alice", 5}, {"laptop", 6}};

static void ask_login(mesh *m, const char *node, seen *s)
{
    mesh_ask(m, str_of(node), MSG_auth_login, NULL, &login, LONG_MS, on_login_reply, s);
}

void contract_ask_is_answered_once(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *auth = world_join(&w, "auth@u", "auth"), *client = world_join(&w, "client@u", "");
    seen s = {.replies = 0};
    CHECK(mesh_serve(auth, MSG_auth_login, serve_login, &s).code == OK);
    CHECK(mesh_serve(auth, MSG_auth_login, serve_login, &s).code == ERR_CONFLICT);
    message_header h = {.request_id = STR("r7"), .account = STR("bob")};
    mesh_ask(client, STR(""), MSG_auth_login, &h, &login, LONG_MS, on_login_reply, &s);
    CHECK(s.replies == 0 && s.requests == 0); // nothing runs before this returns
    world_wait(&w, &s.replies, 1);
    CHECK(s.error.code == OK);
    assert_string_equal(s.account, "alice");
    assert_string_equal(s.token, "bob/r7");
    assert_string_equal(s.from, "client@u");
    CHECK(s.account_at != login.account.at); // no memory is shared
    ask_login(auth, "", &s);                 // a node may ask itself
    world_wait(&w, &s.replies, 2);
    assert_string_equal(s.from, "auth@u");
    world_rest(&w, 50);
    CHECK(s.replies == 2 && s.requests == 2);
    CHECK(mesh_join(&client, w.engine, STR("auth@u"), STR("")).code == ERR_CONFLICT);
    world_close(&w);
}

static void
serve_refusal(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const auth_login_request *r = fields;
    str text = str_format(mesh_incoming_arena(in), "no %.*s", STR_ARG(r->account));
    mesh_answer_err(in, fail(*(err_code *)data, 5, text.at));
}

void contract_ask_errors(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *auth = world_join(&w, "auth@u", "auth");
    seen s = {.replies = 0};
    err_code code = ERR_CONFLICT;
    CHECK(mesh_serve(auth, MSG_auth_login, serve_refusal, &code).code == OK);
    ask_login(auth, "", &s);
    world_wait(&w, &s.replies, 1);
    CHECK(s.error.code == ERR_CONFLICT && s.error.sys == 5);
    assert_string_equal(s.what, "no alice");
    code = ERR_UNSUPPORTED;
    ask_login(auth, "", &s);
    world_wait(&w, &s.replies, 2);
    CHECK(s.error.code == ERR_UNSUPPORTED);
    CHECK(mesh_serve(auth, MSG_seer_heartbeat, serve_refusal, &code).code == ERR_UNSUPPORTED);
    world_close(&w);
}

void contract_ask_nobody(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *auth = world_join(&w, "auth@u", "auth"), *other = world_join(&w, "tns@u", "tns");
    seen s = {.replies = 0};
    ask_login(other, "", &s);
    world_wait(&w, &s.replies, 1);
    CHECK(s.error.code == ERR_BUSY);
    CHECK(mesh_serve(auth, MSG_auth_login, serve_login, &s).code == OK);
    ask_login(other, "tns@u", &s); // there, and does not serve it
    world_wait(&w, &s.replies, 2);
    CHECK(s.error.code == ERR_BUSY);
    ask_login(other, "auth@v", &s);
    world_wait(&w, &s.replies, 3);
    CHECK(s.error.code == ERR_BUSY && s.requests == 0);
    world_close(&w);
}

void contract_ask_deadline(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *auth = world_join(&w, "auth@u", "auth");
    seen s = {.hold = true};
    CHECK(mesh_serve(auth, MSG_auth_login, serve_login, &s).code == OK);
    uint64_t start = clock_now_ms();
    mesh_ask(auth, STR(""), MSG_auth_login, NULL, &login, 60, on_login_reply, &s);
    ask_login(auth, "", &s); // a later deadline does not wait for, nor hide, the sooner one
    world_wait(&w, &s.replies, 1);
    uint64_t took = clock_now_ms() - start;
    CHECK(s.error.code == ERR_TIMEOUT && took >= 50 && took < 1000 && s.requests == 2);
    auth_login_reply reply = {STR("late"), STR("")};
    mesh_answer(s.held[0], &reply); // is dropped
    mesh_answer(s.held[1], &reply);
    world_wait(&w, &s.replies, 2);
    assert_string_equal(s.account, "late");
    world_rest(&w, 50);
    CHECK(s.replies == 2);
    world_close(&w);
}

void contract_ask_chooses(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *one = world_join(&w, "auth@u", "auth"), *two = world_join(&w, "auth-2@u", "auth");
    seen a = {.replies = 0}, b = {.replies = 0}, client = {.replies = 0};
    CHECK(mesh_serve(one, MSG_auth_login, serve_login, &a).code == OK);
    CHECK(mesh_serve(two, MSG_auth_login, serve_login, &b).code == OK);
    for (size_t i = 0; i < 20; i++)
        ask_login(two, "", &client);
    world_wait(&w, &client.replies, 20);
    CHECK(a.requests + b.requests == 20 && a.requests >= 5 && b.requests >= 5);
    size_t before = a.requests;
    for (size_t i = 0; i < 6; i++)
        ask_login(two, i % 2 ? "auth" : "auth@u", &client);
    world_wait(&w, &client.replies, 26);
    CHECK(a.requests == before + 6);
    mesh_leave(two);
    for (size_t i = 0; i < 4; i++)
        ask_login(one, "", &client);
    world_wait(&w, &client.replies, 30);
    CHECK(a.requests == before + 10 && client.error.code == OK);
    world_close(&w);
}

// ---- many at once: each reply carries its question's number
typedef struct question {
    seen *seen;
    uint64_t number;
} question;

static void
serve_publish(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    seen *s = data;
    (void)header;
    s->numbers[s->requests] = ((const tns_publish_request *)fields)->sequence;
    s->held[s->requests++] = in;
}

static void on_publish_reply(void *data, err e, const void *fields)
{
    question *q = data;
    CHECK(e.code == OK && ((const tns_publish_reply *)fields)->revision == q->number * 3);
    q->seen->replies++;
}

void contract_ask_many(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *tns = world_join(&w, "tns@u", "tns"), *client = world_join(&w, "client@u", "");
    static seen s;
    static question questions[MANY];
    s = (seen){.hold = true};
    CHECK(mesh_serve(tns, MSG_tns_publish, serve_publish, &s).code == OK);
    for (uint64_t i = 0; i < MANY; i++) {
        questions[i] = (question){&s, i};
        tns_publish_request r = {.sequence = i, .project = STR("p")};
        mesh_ask(client, STR(""), MSG_tns_publish, NULL, &r, LONG_MS, on_publish_reply,
                 &questions[i]);
        if (i % 100 == 0)
            loop_turn(w.loop, 0);
    }
    world_wait(&w, &s.requests, MANY);
    for (size_t i = 0; i < MANY; i++) {
        size_t at = (i * 7919 + 13) % MANY; // every one, in another order
        tns_publish_reply reply = {.revision = s.numbers[at] * 3};
        mesh_answer(s.held[at], &reply);
    }
    world_wait(&w, &s.replies, MANY);
    world_close(&w);
}

// What one node asks of another comes in its order, each once, among the tells of others.
void contract_ask_keeps_order(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *tns = world_join(&w, "tns@u", "tns"), *client = world_join(&w, "client@u", "");
    static seen s;
    static question questions[MANY];
    s = (seen){.hold = true};
    CHECK(mesh_serve(tns, MSG_tns_publish, serve_publish, &s).code == OK);
    for (uint64_t i = 0; i < MANY; i++) {
        questions[i] = (question){&s, i};
        tns_publish_request r = {.sequence = i, .project = STR("p")};
        monkey_cancel cancel = {STR("j")};
        mesh_ask(client, i % 2 ? STR("tns") : STR(""), MSG_tns_publish, NULL, &r, LONG_MS,
                 on_publish_reply, &questions[i]);
        mesh_tell(client, MSG_monkey_cancel, &cancel);
        if (i % 50 == 0)
            loop_turn(w.loop, 0);
    }
    world_wait(&w, &s.requests, MANY);
    for (size_t i = 0; i < MANY; i++) {
        CHECK(s.numbers[i] == i);
        tns_publish_reply reply = {.revision = i * 3};
        mesh_answer(s.held[i], &reply);
    }
    world_wait(&w, &s.replies, MANY);
    world_rest(&w, 50);
    CHECK(s.requests == MANY && s.replies == MANY);
    world_close(&w);
}

static void
serve_document(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const tns_publish_request *r = fields;
    for (size_t i = 0; i < r->document.len; i++)
        CHECK(r->document.at[i] == 'd');
    tns_publish_reply reply = {.revision = r->document.len};
    *(uint64_t *)data = r->document.len;
    mesh_answer(in, &reply);
}

static void
serve_large_read(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    (void)fields;
    hoarder_read_reply reply = {.bytes = {data, MESSAGE_BYTES_MAX}};
    mesh_answer(in, &reply);
}

static void on_any_reply(void *data, err e, const void *fields)
{
    seen *s = data;
    (void)fields;
    s->error = e;
    s->replies++;
}

void contract_ask_sizes(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *tns = world_join(&w, "tns@u", "tns");
    static char document[MESSAGE_BYTES_MAX];
    memset(document, 'd', sizeof document);
    uint64_t got = 0;
    seen s = {.replies = 0};
    CHECK(mesh_serve(tns, MSG_tns_publish, serve_document, &got).code == OK);
    CHECK(mesh_serve(tns, MSG_hoarder_read, serve_large_read, document).code == OK);
    OWNED(buf_close) buf empty;
    buf_open(&empty, MESSAGE_BYTES_MAX);
    tns_publish_request r = {.project = STR("p")};
    message_header h = {.kind = MSG_tns_publish};
    message_write(&empty, &h, message_infos[MSG_tns_publish].request, &r);
    r.document = (str){document, MESSAGE_BYTES_MAX - empty.len};
    mesh_ask(tns, STR(""), MSG_tns_publish, NULL, &r, LONG_MS, on_any_reply, &s);
    world_wait(&w, &s.replies, 1);
    CHECK(s.error.code == OK && got == r.document.len); // exactly at the limit
    r.document.len++;
    mesh_ask(tns, STR(""), MSG_tns_publish, NULL, &r, LONG_MS, on_any_reply, &s);
    world_wait(&w, &s.replies, 2);
    CHECK(s.error.code == ERR_LIMIT);
    hoarder_read_request read = {.hash = STR("x")};
    mesh_ask(tns, STR(""), MSG_hoarder_read, NULL, &read, LONG_MS, on_any_reply, &s);
    world_wait(&w, &s.replies, 3);
    CHECK(s.error.code == ERR_LIMIT); // a reply past it
    world_close(&w);
}

static void on_raw_reply(void *data, str bytes)
{
    seen *s = data;
    s->replies++;
    s->account[0] = '\0';
    OWNED(arena_drop) arena *a = NULL;
    CHECK(arena_open(&a, 1 << 20).code == OK);
    CHECK(message_read_error(a, bytes, &s->error).code == OK);
    s->error.what = NULL; // lives in the arena
    message_header h;
    auth_login_reply reply;
    if (s->error.code != OK)
        return;
    CHECK(message_read(a, bytes, &h, message_infos[MSG_auth_login].reply, &reply).code == OK);
    (void)snprintf(s->account, sizeof s->account, "%.*s", STR_ARG(reply.account));
}

void contract_ask_raw(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *auth = world_join(&w, "auth@u", "auth");
    seen s = {.replies = 0};
    OWNED(buf_close) buf out;
    buf_open(&out, MESSAGE_BYTES_MAX);
    message_header h = {.kind = MSG_auth_login};
    message_write(&out, &h, message_infos[MSG_auth_login].request, &login);
    mesh_ask_raw(auth, STR(""), buf_str(&out), LONG_MS, on_raw_reply, &s);
    world_wait(&w, &s.replies, 1);
    CHECK(s.error.code == ERR_BUSY);
    CHECK(mesh_serve(auth, MSG_auth_login, serve_login, &s).code == OK);
    mesh_ask_raw(auth, STR(""), buf_str(&out), LONG_MS, on_raw_reply, &s);
    world_wait(&w, &s.replies, 2);
    assert_string_equal(s.account, "alice");
    mesh_ask_raw(auth, STR(""), STR("what is this"), LONG_MS, on_raw_reply, &s);
    world_wait(&w, &s.replies, 3);
    CHECK(s.error.code == ERR_SYNTAX);
    // A good header, and fields that end too soon.
    mesh_ask_raw(auth, STR(""), str_first(buf_str(&out), out.len - 2), LONG_MS, on_raw_reply, &s);
    world_wait(&w, &s.replies, 4);
    CHECK(s.error.code == ERR_SYNTAX && s.requests == 1);
    buf_clear(&out);
    seer_heartbeat beat = {.name = STR("x")};
    h.kind = MSG_seer_heartbeat;
    message_write(&out, &h, message_infos[MSG_seer_heartbeat].request, &beat);
    mesh_ask_raw(auth, STR(""), buf_str(&out), LONG_MS, on_raw_reply, &s);
    world_wait(&w, &s.replies, 5);
    CHECK(s.error.code == ERR_UNSUPPORTED); // is told, not asked
    world_close(&w);
}

void contract_leave_ends_asks(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *auth = world_join(&w, "auth@u", "auth"), *client = world_join(&w, "client@u", "");
    mesh *third = world_join(&w, "third@u", "");
    seen served = {.hold = true}, s = {.replies = 0}, t = {.replies = 0};
    CHECK(mesh_serve(auth, MSG_auth_login, serve_login, &served).code == OK);
    ask_login(client, "", &s);
    ask_login(third, "", &t);
    world_wait(&w, &served.requests, 2);
    mesh_leave(third);
    CHECK(t.replies == 1 && t.error.code == ERR_CLOSED);
    auth_login_reply reply = {STR("x"), STR("")};
    mesh_answer(served.held[1], &reply); // to nobody
    mesh_leave(auth);
    CHECK(s.replies == 0); // not before a turn of the loop
    world_wait(&w, &s.replies, 1);
    CHECK(s.error.code == ERR_CLOSED);
    ask_login(client, "", &s);
    store_change c = {STORE_PUT, STR("b"), STR("k"), STR("v"), STORE_ANY};
    mesh_commit(client, &c, 1, NULL, NULL);
    mesh_leave(client);
    CHECK(s.replies == 2 && s.error.code == ERR_CLOSED);
    world_rest(&w, 50);
    CHECK(s.replies == 2 && t.replies == 1);
    world_close(&w);
}

typedef struct heard {
    size_t count;
    uint64_t load;
    size_t doors;
} heard;

static void on_beat(void *data, const void *fields)
{
    heard *h = data;
    const seer_heartbeat *b = fields;
    h->count++;
    h->load = b->load_permille;
    h->doors = b->doors.count;
    CHECK(b->doors.count == 2 && str_is(b->doors.at[1].name, STR("http")));
}

void contract_tell_reaches_listeners(const mesh_factory *factory)
{
    world w;
    world_open(&w, factory);
    mesh *seer = world_join(&w, "seer@u", "seer"), *tns = world_join(&w, "tns@u", "tns");
    heard a = {0}, b = {0}, c = {0};
    CHECK(mesh_listen(seer, MSG_seer_heartbeat, on_beat, &a).code == OK);
    CHECK(mesh_listen(tns, MSG_seer_heartbeat, on_beat, &b).code == OK);
    CHECK(mesh_listen(tns, MSG_monkey_cancel, on_beat, &c).code == OK);
    CHECK(mesh_listen(tns, MSG_auth_login, on_beat, &c).code == ERR_UNSUPPORTED);
    door_record doors[] = {{STR("p2p"), 1}, {STR("http"), 2}};
    for (uint64_t i = 1; i <= 3; i++) {
        seer_heartbeat beat = {.name = STR("tns@u"), .load_permille = i, .doors = {doors, 2}};
        mesh_tell(tns, MSG_seer_heartbeat, &beat);
    }
    CHECK(a.count == 0);
    world_wait(&w, &a.count, 3);
    world_wait(&w, &b.count, 3); // the teller itself listens as well
    CHECK(a.load == 3 && b.load == 3 && c.count == 0);
    mesh_leave(seer);
    seer_heartbeat beat = {.name = STR("tns@u"), .doors = {doors, 2}};
    mesh_tell(tns, MSG_seer_heartbeat, &beat);
    world_wait(&w, &b.count, 4);
    CHECK(a.count == 3);
    world_close(&w);
}
