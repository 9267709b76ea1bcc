// Repositories for tests, written byte by byte: even what git would refuse to make.
#pragma once
#include "base/test.h"
#include "repo/repo.h"

enum { SHOP_PATH = 200 };
typedef struct shop {
    char folder[SHOP_PATH];     // of its own, removed by shop_close
    char repository[SHOP_PATH]; // folder/alice/tb.git
    char out[SHOP_PATH];        // folder/out, empty
} shop;
void shop_open(shop *s);
void shop_close(shop *s);
// All of these give ids of 40 hex digits, NUL behind.
void shop_blob(shop *s, str bytes, char id[41]);
typedef struct shop_entry {
    const char *mode; // "100644"
    const char *name;
    const char *id;
} shop_entry;
void shop_tree(shop *s, const shop_entry *entries, size_t count, char id[41]);
void shop_commit(shop *s, const char *tree, const char *message, char id[41]);
void shop_ref(shop *s, const char *name, const char *id);
