// Host functions as a guest sees them: values, errors, and pointers that lie.
#include "base/clock.h"
#include "base/str.h"
#include "vm/test_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Runs `body` with the imports, then writes memory [1000, 1000 + 64) as the answer.
static void abi_run_once(const char *imports, const char *body, vm_event e, seen *s)
{
    buf wat;
    buf_open(&wat, 32 << 10);
    buf_add_format(
        &wat,
        "(module (import \"taubyte/sdk\" \"eventHttpWrite\" (func $write (param i32 i32 "
        "i32 i32) (result i32))) %s (memory (export \"memory\") 1)"
        " (data (i32.const 0) \"name\") (data (i32.const 16) \"x-TWO\")"
        " (func $put (param i32 i32) (i32.store8 (i32.add (i32.const 1000) (local.get 0))"
        "   (local.get 1)))"
        " (func (export \"go\") (param $e i32) %s"
        " (drop (call $write (local.get $e) (i32.const 1000) (i32.const 64)"
        " (i32.const 2000)))))",
        imports, body);
    buf_add_byte(&wat, '\0');
    vm *v = test_vm(false);
    vm_module *m = test_module(v, wat.at, "go");
    test_run(m, &e, s);
    vm_module_drop(m);
    vm_close(v);
    buf_close(&wat);
}

#define SDK(name, type) "(import \"taubyte/sdk\" \"" name "\" (func $" name " " type "))"
#define I2              "(param i32 i32) (result i32)"
#define I3              "(param i32 i32 i32) (result i32)"
#define I4              "(param i32 i32 i32 i32) (result i32)"
#define I5              "(param i32 i32 i32 i32 i32) (result i32)"
#define PUT(at, what)   "(call $put (i32.const " #at ") " what ")"
#define LOAD8(at)       "(i32.load8_u (i32.const " #at "))"

TEST(abi_event_values_reach_the_guest)
{
    static const vm_header headers[] = {{STR("content-type"), STR("a/b")},
                                        {STR("X-Two"), STR("2")},
                                        {STR("x-two"), STR("3")},
                                        {STR("host"), STR("h")},
                                        {STR("user-agent"), STR("me")}};
    vm_event e = test_event();
    seen s;
    e.headers = headers;
    e.headers_count = COUNT(headers);
    e.query = STR("a=1&name=%41%42");
    abi_run_once(
        SDK("getEventType", "(param i32 i32)") SDK("getHttpEventMethodSize", I2)
            SDK("getHttpEventMethod", I3) SDK("getHttpEventPath", I3) SDK("getHttpEventHeaders", I5)
                SDK("getHttpEventHeadersSize", I4) SDK("getHttpEventQueryValueByName", I5)
                    SDK("getHttpEventUserAgent", I3),
        "(call $getEventType (local.get $e) (i32.const 1000))"
        "(drop (call $getHttpEventMethodSize (local.get $e) (i32.const 1001)))"
        "(drop (call $getHttpEventMethod (local.get $e) (i32.const 1002) (i32.const 3)))"
        "(drop (call $getHttpEventPath (local.get $e) (i32.const 1005) (i32.const 4)))"
        "(drop (call $getHttpEventHeadersSize (local.get $e) (i32.const 1009) (i32.const 16) "
        "(i32.const 5)))"
        "(drop (call $getHttpEventHeaders (local.get $e) (i32.const 16) (i32.const 5) (i32.const "
        "1010) (i32.const 0)))"
        "(drop (call $getHttpEventQueryValueByName (local.get $e) (i32.const 0) (i32.const 4) "
        "(i32.const 1011) (i32.const 0)))"
        "(drop (call $getHttpEventUserAgent (local.get $e) (i32.const 1013) (i32.const 0)))",
        e, &s);
    CHECK(s.kind == VM_OK && s.body.len == 64);
    CHECK(memcmp(s.body.at,
                 "\1\3GET/a b\1"
                 "2ABme",
                 15) == 0);
    seen_close(&s);
}

TEST(abi_names_are_listed_once_and_as_upstream_spells_them)
{
    static const vm_header headers[] = {{STR("content-type"), STR("a/b")},
                                        {STR("X-TWO"), STR("2")},
                                        {STR("x-two"), STR("3")},
                                        {STR("host"), STR("h")}};
    vm_event e = test_event();
    seen s;
    e.headers = headers;
    e.headers_count = COUNT(headers);
    abi_run_once(
        SDK("getHttpEventRequestHeaderKeysSize", I2) SDK("getHttpEventRequestHeaderKeys", I3)
            SDK("getHttpEventHeaderVarNameById", I2),
        "(drop (call $getHttpEventRequestHeaderKeysSize (local.get $e) (i32.const 1000)))"
        "(drop (call $getHttpEventRequestHeaderKeys (local.get $e) (i32.const 1004) (i32.const 0)))"
        "(drop (call $getHttpEventHeaderVarNameById (local.get $e) (i32.const 1030)))",
        e, &s);
    CHECK(s.body.at[0] == 19);
    CHECK(memcmp(s.body.at + 4, "Content-Type\0X-Two\0", 19) == 0);
    CHECK(memcmp(s.body.at + 30, "Content-Type\0X-Two\0", 19) == 0);
    seen_close(&s);
}

TEST(abi_body_ends_with_eof_and_its_last_bytes)
{
    vm_event e = test_event();
    seen s;
    e.body = STR("0123456789");
    abi_run_once(
        SDK("readHttpEventBody", I4) SDK("closeHttpEventBody", "(param i32) (result i32)"),
        PUT(0, "(call $readHttpEventBody (local.get $e) (i32.const 1010) (i32.const 6) (i32.const "
               "1001))") PUT(2, "(call $readHttpEventBody (local.get $e) (i32.const 1016) "
                                "(i32.const 6) (i32.const 1003))")
            PUT(4, "(call $readHttpEventBody (local.get $e) (i32.const 1040) (i32.const 6) "
                   "(i32.const 1005))") PUT(6, "(call $closeHttpEventBody (local.get $e))")
                PUT(7, "(call $readHttpEventBody (local.get $e) (i32.const 1040) (i32.const 6) "
                       "(i32.const 1050))"),
        e, &s);
    CHECK(memcmp(s.body.at, "\0\6\10\4\10\0\0\6", 8) == 0);
    CHECK(memcmp(s.body.at + 10, "0123456789", 10) == 0);
    seen_close(&s);
}

TEST(abi_errors_are_those_of_the_reference)
{
    seen s;
    abi_run_once(
        SDK("getEventType", "(param i32 i32)") SDK("getHttpEventPath", I3)
            SDK("getHttpEventPathSize", I2) SDK("eventHttpRetCode", I2)
                SDK("eventHttpHeaderAdd", I5) SDK("eventHttpRedirect", I4)
                    SDK("getHttpEventQueryValueByNameSize", I4),
        PUT(20,
            "(i32.const 77)") "(call $getEventType (i32.const 5) (i32.const 1020))" // unknown:
                                                                                    // nothing is
                                                                                    // written
        PUT(0, "(call $eventHttpRetCode (i32.const 999) (i32.const 200))") PUT(
            1, "(call $eventHttpRetCode (local.get $e) (i32.const 42))")
            PUT(2, "(call $eventHttpRetCode (local.get $e) (i32.const 1000))") PUT(
                3, "(call $getHttpEventPath (local.get $e) (i32.const 1030) (i32.const 3))")
                PUT(4, "(call $getHttpEventPath (local.get $e) (i32.const -2) (i32.const 4))")
                    PUT(5, "(call $getHttpEventPathSize (local.get $e) (i32.const 65533))") PUT(
                        6,
                        "(call $write (local.get $e) (i32.const -16) (i32.const 5) (i32.const 0))")
                        PUT(7, "(call $write (local.get $e) (i32.const 0) (i32.const -1) "
                               "(i32.const 0))") PUT(8, "(call $write (local.get $e) (i32.const 0) "
                                                        "(i32.const 1) (i32.const 65533))")
                            PUT(9, "(call $eventHttpHeaderAdd (local.get $e) (i32.const 3000) "
                                   "(i32.const 1)"
                                   " (i32.const 0) (i32.const 4))")
                                PUT(10, "(call $eventHttpRedirect (local.get $e) (i32.const 0) "
                                        "(i32.const 4) (i32.const 7))")
                                    PUT(11, "(call $getHttpEventQueryValueByNameSize (local.get "
                                            "$e) (i32.const 1040)"
                                            " (i32.const 0) (i32.const 4))"),
        test_event(), &s);
    CHECK(s.kind == VM_OK);
    CHECK(memcmp(s.body.at, "\1\5\5\2\3\14\3\3\14\5\5\0", 12) == 0);
    CHECK(s.body.at[20] == 77);
    seen_close(&s);
}

TEST(abi_redirect_sets_location_status_and_body)
{
    seen s;
    abi_run_once(SDK("eventHttpRedirect", I4),
                 "(drop (call $eventHttpRedirect (local.get $e) (i32.const 0) (i32.const 4) "
                 "(i32.const 307)))",
                 test_event(), &s);
    CHECK(s.status == 307);
    CHECK(strcmp(s.headers, "Location: name\nContent-Type: text/html; charset=utf-8\n") == 0);
    CHECK(str_starts(buf_str(&s.body), STR("<a href=\"name\">")));
    seen_close(&s);
}

TEST(abi_self_and_random_answer)
{
    seen s;
    abi_run_once(
        SDK("selfIdSize", "(param i32) (result i32)") SDK("selfId", "(param i32) (result i32)")
            SDK("selfBranch", "(param i32) (result i32)")
                SDK("selfApplicationSize", "(param i32) (result i32)") SDK("cryptoRead", I3),
        PUT(60, "(i32.const 9)") "(drop (call $selfIdSize (i32.const 1000))) (drop (call $selfId "
                                 "(i32.const 1004)))"
                                 "(drop (call $selfBranch (i32.const 1020)))"
                                 "(drop (call $selfApplicationSize (i32.const 1060)))"
                                 "(drop (call $cryptoRead (i32.const 1030) (i32.const 16) "
                                 "(i32.const 1050)))",
        test_event(), &s);
    static const char zeros[16];
    CHECK(memcmp(s.body.at, "\13\0\0\0function-id", 15) == 0);
    CHECK(memcmp(s.body.at + 20, "main", 4) == 0 && s.body.at[60] == 0);
    CHECK(s.body.at[50] == 16 && memcmp(s.body.at + 30, zeros, 16) != 0);
    seen_close(&s);
}

TEST(abi_output_becomes_lines)
{
    seen s;
    abi_run_once(
        "(import \"wasi_snapshot_preview1\" \"fd_write\" (func $fd " I4 "))"
        "(import \"env\" \"console.log\" (func $console (param i32)))"
        "(data (i32.const 100) "
        "\"\\80\\00\\00\\00\\05\\00\\00\\00\\88\\00\\00\\00\\04\\00\\00\\00\")"
        "(data (i32.const 128) \"one\\0atwo.tail\")"
        "(data (i32.const 200) \"\\06\\00\\00\\00h\\00\\e9\\00!\\00\")",
        PUT(0, "(call $fd (i32.const 1) (i32.const 100) (i32.const 2) (i32.const 1004))")
            PUT(1, "(call $fd (i32.const 3) (i32.const 100) (i32.const 2) (i32.const 1008))")
                PUT(2, "(call $fd (i32.const 2) (i32.const 100) (i32.const 1) (i32.const "
                       "1008))") "(call $console (i32.const 204))",
        test_event(), &s);
    CHECK(s.body.at[0] == 0 && s.body.at[1] == 8 && s.body.at[4] == 9);
    CHECK(strcmp(s.output, "1:one\n2:one\n1:ttailh\xc3\xa9!\n2:t\n") == 0);
    seen_close(&s);
}

TEST(abi_output_is_bounded)
{
    seen s;
    abi_run_once("(import \"env\" \"_log\" (func $log (param i32 i32)))",
                 "(local $k i32) (local.set $k (i32.const 1000))"
                 "(loop $l (call $log (i32.const 3000) (i32.const 20000))"
                 "(br_if $l (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))",
                 test_event(), &s);
    CHECK(s.kind == VM_OK);
    seen_close(&s);
    output o = {0};
    buf_open(&o.lines, 1 << 20);
    buf_open(&o.partial[0], VM_LINE_BYTES_MAX);
    buf_open(&o.partial[1], VM_LINE_BYTES_MAX);
    char line[1000];
    memset(line, 'x', sizeof line);
    for (int i = 0; i < 1000; i++)
        guest_output_write(&o, 1 + i % 2, (str){line, sizeof line});
    guest_output_flush(&o);
    CHECK(o.lines.error.code == OK && o.lines.len > VM_OUTPUT_BYTES_MAX);
    CHECK(o.lines.len < VM_OUTPUT_BYTES_MAX + 1000);
    guest_output_close(&o);
}

TEST(abi_abort_of_assemblyscript_is_a_trap_with_its_words)
{
    seen s;
    abi_run_once("(import \"env\" \"abort\" (func $abort (param i32 i32 i32 i32)))"
                 "(data (i32.const 200) \"\\04\\00\\00\\00n\\00o\\00\")"
                 "(data (i32.const 240) \"\\08\\00\\00\\00a\\00.\\00t\\00s\\00\")",
                 "(call $abort (i32.const 204) (i32.const 244) (i32.const 7) (i32.const 3))",
                 test_event(), &s);
    CHECK(s.kind == VM_TRAP && strcmp(s.message, "abort: no at a.ts:7:3") == 0);
    CHECK(strcmp(s.output, "2:abort: no at a.ts:7:3\n") == 0);
    CHECK(strstr(s.backtrace, "0: ") != NULL);
    seen_close(&s);
}

TEST(abi_poll_waits_for_the_earliest_clock)
{
    seen s; // two relative clocks, 20 ms (userdata 1) and 5 s (userdata 2)
    abi_run_once(
        "(import \"wasi_snapshot_preview1\" \"poll_oneoff\" (func $poll " I4 "))",
        "(i64.store (i32.const 3000) (i64.const 1)) (i32.store (i32.const 3016) (i32.const 1))"
        "(i64.store (i32.const 3024) (i64.const 20000000))"
        "(i64.store (i32.const 3048) (i64.const 2)) (i32.store (i32.const 3064) (i32.const 1))"
        "(i64.store (i32.const 3072) (i64.const 5000000000))" PUT(
            0, "(call $poll (i32.const 3000) (i32.const 4000) (i32.const 2) (i32.const 1004))")
            PUT(1, "(i32.load8_u (i32.const 4000))") PUT(
                2, "(call $poll (i32.const 3000) (i32.const 4000) (i32.const 0) (i32.const 1008))"),
        test_event(), &s);
    CHECK(s.kind == VM_OK && s.waits >= 1 && s.wall_us >= 20000 && s.wall_us < 1000000);
    CHECK(s.body.at[0] == 0 && s.body.at[4] == 1 && s.body.at[1] == 1 && s.body.at[2] == 28);
    seen_close(&s);
}

// --- Lying pointers: every host function with arguments from a bag of edges.

static uint64_t dice_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int64_t argument_pick(uint64_t *state)
{
    static const int64_t edges[] = {0,       0,     0,     1,          2,          3,         4,
                                    16,      65535, 65536, 65532,      65528,      65537,     -1,
                                    -2,      -4,    -16,   0x7fffffff, 0x80000000, 1000,      48,
                                    1 << 20, 200,   307,   1024,       -65536,     0xfffffff, 8};
    uint64_t dice = dice_next(state);
    return dice % 4 == 0 ? (int64_t)(dice >> 33) : edges[(dice >> 8) % COUNT(edges)];
}

static void function_hammer(const abi_function *f, uint64_t seed)
{
    buf wat;
    uint64_t state = seed;
    buf_open(&wat, 256 << 10);
    buf_add_format(&wat, "(module (import \"%s\" \"%s\" (func $f (param", f->module, f->name);
    for (const char *p = f->parameters; *p != '\0'; p++)
        buf_add_format(&wat, " %s", *p == 'i' ? "i32" : *p == 'I' ? "i64" : "f64");
    buf_add_format(&wat, ")%s)) (memory (export \"memory\") 1) (func (export \"go\") (param i32)",
                   f->result[0] == '\0'  ? ""
                   : f->result[0] == 'i' ? " (result i32)"
                                         : " (result f64)");
    for (int call = 0; call < 200; call++) {
        buf_add(&wat, f->result[0] == '\0' ? STR(" (call $f") : STR(" (drop (call $f"));
        for (const char *p = f->parameters; *p != '\0'; p++)
            buf_add_format(&wat, " (%s.const %lld)",
                           *p == 'i'   ? "i32"
                           : *p == 'I' ? "i64"
                                       : "f64",
                           *p == 'i' ? (long long)(int32_t)argument_pick(&state)
                                     : (long long)argument_pick(&state));
        buf_add(&wat, f->result[0] == '\0' ? STR(")") : STR("))"));
    }
    buf_add(&wat, STR("))"));
    buf_add_byte(&wat, '\0');
    CHECK(wat.error.code == OK);
    for (int fibers = 0; fibers < 2; fibers++) {
        static const vm_header headers[] = {{STR("a"), STR("b")}};
        vm *v = test_vm(fibers);
        vm_function limits = {
            .name = STR("x"), .call = STR("go"), .timeout_ms = 30, .response_bytes_max = 1 << 20};
        vm_module *m = test_module_with(v, wat.at, &limits);
        vm_event e = test_event();
        seen s;
        e.body = STR("some bytes");
        e.query = STR("a=b");
        e.headers = headers;
        e.headers_count = 1;
        test_run(m, &e, &s);
        seen_close(&s);
        vm_module_drop(m);
        vm_close(v);
    }
    buf_close(&wat);
}

TEST(abi_functions_survive_lying_pointers)
{
    for (size_t i = 0; i < abi_functions_count; i++)
        for (uint64_t seed = 1; seed <= 2; seed++)
            function_hammer(&abi_functions[i], seed * 0x9e3779b97f4a7c15 + i);
}
