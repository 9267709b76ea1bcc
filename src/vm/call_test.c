// Calls from start to end: fresh memory, slices, waiting, limits, hostile guests.
#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"
#include "vm/test_inner.h"

#include <stdio.h>
#include <string.h>

#define HEAD                                                                                    \
    "(module"                                                                                   \
    " (import \"taubyte/sdk\" \"eventHttpWrite\" (func $write (param i32 i32 i32 i32) (result " \
    "i32)))"                                                                                    \
    " (import \"taubyte/sdk\" \"eventHttpRetCode\" (func $code (param i32 i32) (result i32)))"  \
    " (import \"taubyte/sdk\" \"eventHttpFlush\" (func $flush (param i32) (result i32)))"       \
    " (import \"taubyte/sdk\" \"eventHttpHeaderAdd\""                                           \
    "   (func $header (param i32 i32 i32 i32 i32) (result i32)))"                               \
    " (import \"env\" \"_sleep\" (func $sleep (param i64)))"                                    \
    " (import \"env\" \"_log\" (func $log (param i32 i32)))"                                    \
    " (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))"               \
    " (memory (export \"memory\") 1) (global $g (mut i32) (i32.const 0))"                       \
    " (data (i32.const 64) \"PONG\") (data (i32.const 80) \"X-A\") (data (i32.const 96) \"one\")"
#define GO(body) HEAD " (func (export \"go\") (param $e i32) (result i32) " body "))"
#define PONG     "(drop (call $write (local.get $e) (i32.const 64) (i32.const 4) (i32.const 0)))"

// Opens a vm and a module for the text, runs it once, checks nothing.
static void once_with(const char *wat, vm_function f, bool fibers, seen *s)
{
    vm *v = test_vm(fibers);
    f.name = STR("test");
    f.call = STR("go");
    vm_module *m = test_module_with(v, wat, &f);
    vm_event e = test_event();
    test_run(m, &e, s);
    CHECK(vm_calls_alive(v) == 0);
    vm_module_drop(m);
    vm_close(v);
}

static void once(const char *wat, bool fibers, seen *s)
{
    once_with(wat, (vm_function){0}, fibers, s);
}

static bool body_is(const seen *s, str text)
{
    return str_is(buf_str(&s->body), text);
}

TEST(call_answers_pong_in_one_callback)
{
    for (int fibers = 0; fibers < 2; fibers++) {
        seen s;
        once(GO(PONG "(i32.const 0)"), fibers, &s);
        CHECK(s.kind == VM_OK && s.status == 200 && s.whole && s.heads == 0);
        CHECK(body_is(&s, STR("PONG")));
        CHECK(s.memory_bytes == 65536);
        seen_close(&s);
    }
}

TEST(call_has_fresh_memory_and_globals)
{
    static const char wat[] =
        GO("(i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))"
           "(i32.store (i32.const 60000) (i32.add (i32.load (i32.const 60000)) (i32.const 1)))"
           "(global.set $g (i32.add (global.get $g) (i32.const 1)))"
           "(i32.store8 (i32.const 64) (i32.add (i32.const 0x30) (i32.load (i32.const 8))))"
           "(i32.store8 (i32.const 65) (i32.add (i32.const 0x30) (i32.load (i32.const 60000))))"
           "(i32.store8 (i32.const 66) (i32.add (i32.const 0x30) (global.get $g)))" PONG
           "(i32.const 0)");
    for (int fibers = 0; fibers < 2; fibers++) {
        vm *v = test_vm(fibers);
        vm_module *m = test_module(v, wat, "go");
        vm_event e = test_event();
        for (int i = 0; i < 100; i++) {
            seen s;
            test_run(m, &e, &s);
            CHECK(body_is(&s, STR("111G")));
            seen_close(&s);
        }
        vm_module_drop(m);
        vm_close(v);
    }
}

TEST(call_ends_an_endless_loop_at_its_deadline)
{
    seen s;
    once_with(GO("(loop $l (br $l)) (i32.const 0)"), (vm_function){.timeout_ms = 100}, false, &s);
    CHECK(s.kind == VM_TIMEOUT && !s.whole && !s.committed);
    CHECK(s.wall_us >= 100000 && s.wall_us < 400000);
    CHECK(s.agains > 10); // it gave way again and again
    CHECK(strlen(s.message) > 0);
    seen_close(&s);
}

TEST(call_finishes_while_another_loops)
{
    vm *v = test_vm(false);
    vm_function f = {.name = STR("loop"), .call = STR("go"), .timeout_ms = 200};
    vm_module *loop = test_module_with(v, GO("(loop $l (br $l)) (i32.const 0)"), &f);
    vm_module *pong = test_module(v, GO(PONG "(i32.const 0)"), "go");
    vm_event e = test_event();
    seen s[2];
    seen_open(&s[0]);
    test_start(loop, &e, &s[0]);
    CHECK(s[0].done == 0);
    for (int i = 0; i < 50; i++) {
        seen_open(&s[1]);
        test_start(pong, &e, &s[1]);
        CHECK(s[1].done == 1 && s[1].kind == VM_OK);
        seen_close(&s[1]);
        if (s[0].pending) {
            s[0].pending = false;
            vm_call_resume(s[0].call);
        }
    }
    test_drive(s, 1);
    CHECK(s[0].kind == VM_TIMEOUT);
    seen_close(&s[0]);
    vm_module_drop(loop);
    vm_module_drop(pong);
    vm_close(v);
}

TEST(call_interleaves_fibers_without_mixing_them)
{
    // Each call stores its path's first byte, sleeps, and answers with what it finds then.
    static const char wat[] =
        "(module"
        " (import \"taubyte/sdk\" \"eventHttpWrite\" (func $write (param i32 i32 i32 i32) (result "
        "i32)))"
        " (import \"taubyte/sdk\" \"getHttpEventPath\" (func $path (param i32 i32 i32) (result "
        "i32)))"
        " (import \"env\" \"_sleep\" (func $sleep (param i64)))"
        " (memory (export \"memory\") 1)"
        " (func (export \"go\") (param $e i32) (local $k i32)"
        "  (drop (call $path (local.get $e) (i32.const 64) (i32.const 4)))"
        "  (local.set $k (i32.const 3))"
        "  (loop $l (call $sleep (i64.const 3000000))"
        "   (drop (call $write (local.get $e) (i32.const 64) (i32.const 4) (i32.const 0)))"
        "   (br_if $l (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))))";
    vm *v = test_vm(false);
    vm_module *m = test_module(v, wat, "go");
    seen s[20];
    char paths[20][5];
    for (int i = 0; i < 20; i++) {
        vm_event e = test_event();
        memcpy(paths[i], (char[]){'/', 'n', (char)('a' + i), '.', '\0'}, 5);
        e.path = str_of(paths[i]);
        seen_open(&s[i]);
        test_start(m, &e, &s[i]);
    }
    CHECK(vm_calls_alive(v) == 20);
    test_drive(s, 20);
    for (int i = 0; i < 20; i++) {
        char want[301];
        snprintf(want, sizeof want, "%s%s%s", paths[i], paths[i], paths[i]);
        CHECK(s[i].kind == VM_OK && s[i].waits >= 3 && body_is(&s[i], str_of(want)));
        seen_close(&s[i]);
    }
    vm_module_drop(m);
    vm_close(v);
}

TEST(call_past_the_pool_is_busy)
{
    vm *v = NULL;
    CHECK(vm_open(&v, &(vm_settings){.calls_max = 2}).code == OK);
    vm_module *m = test_module(v, GO("(call $sleep (i64.const 10000000)) (i32.const 0)"), "go");
    vm_event e = test_event();
    seen s[2];
    for (int i = 0; i < 2; i++) {
        seen_open(&s[i]);
        test_start(m, &e, &s[i]);
    }
    CHECK(vm_call_start(m, &e, &seen_owner, NULL).code == ERR_BUSY);
    test_drive(s, 2);
    CHECK(s[0].kind == VM_OK && s[1].kind == VM_OK);
    vm_module_drop(m);
    vm_close(v);
}

TEST(call_sleep_takes_its_time_and_no_more)
{
    seen s;
    once(GO("(call $sleep (i64.const 50000000)) (drop (call $code (local.get $e) (i32.const 204)))"
            "(i32.const 0)"),
         false, &s);
    CHECK(s.kind == VM_OK && s.status == 204 && s.whole && s.waits >= 1);
    CHECK(s.wall_us >= 50000 && s.wall_us < 150000 && s.run_us < 30000);
    seen_close(&s);
}

TEST(call_sleep_ends_at_the_deadline)
{
    seen s;
    once_with(GO("(call $sleep (i64.const 0x7fffffffffffffff)) (i32.const 0)"),
              (vm_function){.timeout_ms = 60}, false, &s);
    CHECK(s.kind == VM_TIMEOUT && s.wall_us < 300000);
    seen_close(&s);
}

TEST(call_trap_has_message_and_backtrace)
{
    for (int fibers = 0; fibers < 2; fibers++) {
        seen s;
        once(HEAD "(func $deep (unreachable)) (func $middle (call $deep))"
                  "(func (export \"go\") (param i32) (result i32) (call $middle) (i32.const 0)))",
             fibers, &s);
        CHECK(s.kind == VM_TRAP && !s.whole);
        CHECK(strstr(s.message, "unreachable") != NULL);
        CHECK(strstr(s.backtrace, "0: deep at 0x") != NULL);
        CHECK(strstr(s.backtrace, "1: middle at 0x") != NULL);
        seen_close(&s);
    }
}

TEST(call_trap_after_writing_sends_nothing)
{
    seen s;
    once(GO(PONG "(unreachable)"), false, &s);
    CHECK(s.kind == VM_TRAP && s.body.len == 0 && s.heads == 0 && !s.committed);
    seen_close(&s);
}

TEST(call_trap_after_commit_says_so)
{
    seen s;
    once(GO(PONG "(drop (call $flush (local.get $e))) (call $sleep (i64.const 1000000))" PONG
                 "(unreachable)"),
         false, &s);
    CHECK(s.kind == VM_TRAP && s.committed && s.heads == 1);
    CHECK(body_is(&s, STR("PONG"))); // what was flushed, and not the rest
    seen_close(&s);
}

TEST(call_grows_up_to_its_memory_and_ends_past_it)
{
    static const char wat[] = GO("(drop (memory.grow (i32.const 20)))"
                                 "(i32.store (i32.const 1300000) (i32.const 7))" PONG
                                 "(drop (memory.grow (i32.const 20))) (i32.const 0)");
    seen s;
    once_with(wat, (vm_function){.memory_bytes_max = 64 << 16}, false, &s);
    CHECK(s.kind == VM_OK && s.memory_bytes == 41 * 65536);
    seen_close(&s);
    once_with(wat, (vm_function){.memory_bytes_max = 30 << 16}, false, &s);
    CHECK(s.kind == VM_MEMORY && strstr(s.message, "1966080") != NULL);
    seen_close(&s);
    once_with(wat, (vm_function){.memory_bytes_max = 30 << 16}, true, &s);
    CHECK(s.kind == VM_MEMORY);
    seen_close(&s);
}

TEST(call_finds_grown_memory_clean_again)
{
    // What one call leaves in memory that it grew, the next must not see.
    static const char wat[] =
        GO("(drop (memory.grow (i32.const 8)))"
           "(i32.store8 (i32.const 64) (i32.add (i32.const 0x30) (i32.load (i32.const 400000))))"
           "(i32.store (i32.const 400000) (i32.const 9)) (i32.store (i32.const 580000) (i32.const "
           "9))" PONG "(i32.const 0)");
    vm *v = test_vm(false);
    vm_module *m = test_module(v, wat, "go");
    vm_event e = test_event();
    for (int i = 0; i < 50; i++) {
        seen s;
        test_run(m, &e, &s);
        CHECK(body_is(&s, STR("0ONG")));
        seen_close(&s);
    }
    vm_module_drop(m);
    vm_close(v);
}

TEST(call_deep_recursion_traps)
{
    for (int fibers = 0; fibers < 2; fibers++) {
        seen s;
        once(HEAD "(func $r (param i32) (result i32)"
                  " (i32.add (call $r (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))"
                  "(func (export \"go\") (param i32) (result i32) (call $r (local.get 0))))",
             fibers, &s);
        CHECK(s.kind == VM_TRAP && strstr(s.message, "recursion") != NULL);
        seen_close(&s);
    }
}

TEST(call_response_of_a_gigabyte_ends_at_its_limit)
{
    static const char wat[] =
        GO("(loop $l (drop (call $write (local.get $e) (i32.const 0) (i32.const 65000)"
           " (i32.const 0))) (br $l)) (i32.const 0)");
    seen s;
    once_with(wat, (vm_function){.response_bytes_max = 1000000}, false, &s);
    CHECK(s.kind == VM_RESPONSE && s.body.len <= 1000000);
    CHECK(strstr(s.message, "1000000") != NULL);
    seen_close(&s);
    once(wat, true, &s); // the default limit, on a fiber: committed at 64 KiB, then broken off
    CHECK(s.kind == VM_RESPONSE && s.body.len <= VM_RESPONSE_BYTES_MAX);
    seen_close(&s);
}

TEST(call_large_response_arrives_whole)
{
    static const char wat[] =
        GO("(local $k i32) (local.set $k (i32.const 100))"
           "(loop $l (drop (call $write (local.get $e) (i32.const 0) (i32.const 50000)"
           " (i32.const 60000))) (call $sleep (i64.const 100000))"
           "(br_if $l (local.tee $k (i32.sub (local.get $k) (i32.const 1))))) (i32.const 0)");
    seen s;
    once(wat, false, &s);
    CHECK(s.kind == VM_OK && s.committed && s.heads == 1 && !s.whole);
    CHECK(s.body.len == 5000000);
    seen_close(&s);
}

TEST(call_status_may_follow_the_body)
{
    seen s;
    once(GO(PONG "(drop (call $code (local.get $e) (i32.const 404)))"
                 "(drop (call $header (local.get $e) (i32.const 80) (i32.const 3)"
                 "  (i32.const 96) (i32.const 3)))"
                 "(drop (call $header (local.get $e) (i32.const 80) (i32.const 3)"
                 "  (i32.const 96) (i32.const 3))) (i32.const 7)"),
         false, &s);
    CHECK(s.kind == VM_OK && s.status == 404 && body_is(&s, STR("PONG")));
    CHECK(strcmp(s.headers, "X-A: one\nX-A: one\n") == 0);
    seen_close(&s);
}

TEST(call_flush_streams)
{
    seen s;
    once(GO(PONG "(drop (call $flush (local.get $e))) (call $sleep (i64.const 2000000))" PONG
                 "(drop (call $code (local.get $e) (i32.const 404))) (i32.const 0)"),
         false, &s);
    CHECK(s.kind == VM_OK && s.committed && s.heads == 1 && s.status == 200);
    CHECK(body_is(&s, STR("PONGPONG")));
    seen_close(&s);
    once(GO(PONG "(drop (call $flush (local.get $e))) (i32.const 0)"), false, &s);
    CHECK(s.kind == VM_OK && s.whole); // it ended at once: no need to stream
    seen_close(&s);
}

TEST(call_start_runs_first_and_may_exit)
{
    seen s;
    once(HEAD "(func (export \"_start\") (i32.store8 (i32.const 64) (i32.const 0x53))"
              " (call $exit (i32.const 0)) (unreachable))"
              "(func (export \"go\") (param $e i32)" PONG "))",
         false, &s);
    CHECK(s.kind == VM_OK && body_is(&s, STR("SONG")));
    seen_close(&s);
    once(HEAD "(func (export \"_initialize\") (call $sleep (i64.const 1000000))"
              " (i32.store8 (i32.const 64) (i32.const 0x49)))"
              "(func (export \"_start\") (unreachable))"
              "(func (export \"go\") (param $e i32)" PONG "))",
         false, &s);
    CHECK(s.kind == VM_OK && body_is(&s, STR("IONG")));
    seen_close(&s);
}

TEST(call_reseeds_each_instance_before_the_call)
{
    for (int fibers = 0; fibers < 2; fibers++) {
        seen s;
        once(HEAD "(func (export \"_reseed\") (i32.store8 (i32.const 64) (i32.const 0x52)))"
                  "(func (export \"go\") (param $e i32)" PONG "))",
             fibers, &s);
        CHECK(s.kind == VM_OK && body_is(&s, STR("RONG")));
        seen_close(&s);
    }
}

TEST(call_exit_status_decides)
{
    seen s;
    once(GO(PONG "(call $exit (i32.const 0)) (unreachable)"), false, &s);
    CHECK(s.kind == VM_OK && body_is(&s, STR("PONG")));
    seen_close(&s);
    once(GO(PONG "(call $exit (i32.const 2)) (unreachable)"), false, &s);
    CHECK(s.kind == VM_TRAP && strstr(s.message, "proc_exit(2)") != NULL);
    seen_close(&s);
    once(GO("(call $sleep (i64.const 1000)) (call $exit (i32.const 0)) (unreachable)"), false, &s);
    CHECK(s.kind == VM_OK);
    seen_close(&s);
}

TEST(call_long_work_moves_to_a_fiber_and_gives_the_same)
{
    // 20 million steps: more than the first slice, effects only at the end.
    static const char wat[] = GO(
        "(local $k i32) " PONG "(call $log (i32.const 64) (i32.const 4))"
        "(local.set $k (i32.const 20000000))"
        "(loop $l (i32.store (i32.const 8) (local.get $k))"
        "(br_if $l (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))" PONG "(i32.const 0)");
    seen s;
    once(wat, false, &s);
    CHECK(s.kind == VM_OK && s.agains >= 1 && body_is(&s, STR("PONGPONG")));
    CHECK(strcmp(s.output, "1:PONG\n") == 0);
    seen_close(&s);
}

TEST(call_cancelled_frees_everything)
{
    vm *v = test_vm(false);
    vm_module *m = test_module(v, GO("(call $sleep (i64.const 10000000000)) (i32.const 0)"), "go");
    vm_module *l = test_module(v, GO("(loop $l (br $l)) (i32.const 0)"), "go");
    vm_event e = test_event();
    for (int i = 0; i < 60; i++) {
        seen s;
        seen_open(&s);
        test_start(i % 2 == 0 ? m : l, &e, &s);
        CHECK(s.pending && vm_calls_alive(v) == 1);
        vm_call_cancel(s.call);
        CHECK(s.done == 0 && vm_calls_alive(v) == 0);
        seen_close(&s);
    }
    vm_module_drop(m);
    vm_module_drop(l);
    vm_close(v);
}

TEST(call_start_section_that_traps_is_a_trap)
{
    seen s;
    once(HEAD "(func $s (unreachable)) (start $s)"
              "(func (export \"go\") (param i32)))",
         false, &s);
    CHECK(s.kind == VM_TRAP && strstr(s.backtrace, "0: s") != NULL);
    seen_close(&s);
    once_with(HEAD "(func $s (loop $l (br $l))) (start $s)"
                   "(func (export \"go\") (param i32)))",
              (vm_function){.timeout_ms = 50}, false, &s);
    CHECK(s.kind == VM_TIMEOUT);
    seen_close(&s);
}

TEST(call_of_another_event_kind_is_unsupported)
{
    vm *v = test_vm(false);
    vm_module *m = test_module(v, GO("(i32.const 0)"), "go");
    vm_event e = test_event();
    e.kind = VM_EVENT_PUBSUB;
    CHECK(vm_call_start(m, &e, &seen_owner, NULL).code == ERR_UNSUPPORTED);
    vm_module_drop(m);
    vm_close(v);
}

#ifndef __SANITIZE_THREAD__ // there a thread ticks all the time
TEST(call_timer_stops_when_no_guest_runs)
{
    vm *v = test_vm(false);
    vm_module *m = test_module(v, GO("(i32.const 0)"), "go");
    vm_event e = test_event();
    seen s;
    test_run(m, &e, &s);
    CHECK(atomic_load(&v->armed));
    uint64_t until = clock_now_ms() + 1000;
    while (atomic_load(&v->armed) && clock_now_ms() < until)
        ;
    CHECK(!atomic_load(&v->armed));
    test_run(m, &e, &s);
    CHECK(atomic_load(&v->armed));
    vm_module_drop(m);
    vm_close(v);
}
#endif

TEST(call_ends_once_whichever_allocation_fails)
{
    static const char wat[] =
        GO(PONG "(drop (call $header (local.get $e) (i32.const 80) (i32.const 3) (i32.const 96)"
                " (i32.const 3))) (call $log (i32.const 64) (i32.const 4))"
                "(call $log (i32.const 0) (i32.const 9000)) (call $sleep (i64.const 100000))"
                "(drop (call $flush (local.get $e))) (call $sleep (i64.const 100000))" PONG
                "(i32.const 0)");
    for (uint64_t after = 0;; after++) {
        vm *v = test_vm(false);
        vm_module *m = test_module(v, wat, "go");
        vm_event e = test_event();
        seen s;
        seen_open(&s);
        CHECK(buf_reserve(&s.body, 1000) != NULL); // the test's own are not to fail
        fault_now = (fault_plan){.what = FAULT_MEMORY, .after = after, .times = 1};
        test_start(m, &e, &s);
        test_drive(&s, 1);
        bool last = fault_now.seen <= after;
        fault_now = (fault_plan){0};
        CHECK(s.done == 1 && (s.kind == VM_OK || s.kind == VM_REFUSED));
        CHECK(!last || s.kind == VM_OK);
        seen_close(&s);
        vm_module_drop(m);
        vm_close(v);
        if (last)
            break;
    }
}
