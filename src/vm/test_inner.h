// What the tests of vm/ share: modules from WAT text, and an owner that notes all it hears.
#pragma once
#include "base/test.h"
#include "vm/vm_inner.h"

// One call as its owner saw it.
typedef struct seen {
    vm_call *call;
    unsigned done;  // times
    unsigned heads; // times
    unsigned agains;
    unsigned waits;
    uint64_t wake_ms;
    bool pending; // wants vm_call_resume() at wake_ms
    bool whole;
    bool committed;
    vm_outcome_kind kind;
    uint16_t status;
    uint64_t run_us;
    uint64_t wall_us;
    uint64_t memory_bytes;
    char message[512];
    char backtrace[2048];
    char headers[2048]; // "name: value\n"
    char output[4096];  // "1:line\n"
    buf body;
} seen;

vm *test_vm(bool fibers_only);
vm_module *test_module(vm *v, const char *wat, const char *call); // compiles; default limits
vm_module *test_module_with(vm *v, const char *wat, const vm_function *f);
void seen_open(seen *s);
void seen_close(seen *s);
extern const vm_call_owner seen_owner;
vm_event test_event(void);                                 // GET / without a body
void test_start(vm_module *m, const vm_event *e, seen *s); // asserts success
void test_drive(seen *all, size_t count);                  // resumes until all are done
void test_run(vm_module *m, const vm_event *e, seen *s);   // both
str test_wasm(arena *a, const char *wat);
