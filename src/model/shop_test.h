// A configuration in memory for tests: files by path, served as a model_source.
#pragma once
#include "model/model.h"

enum { SHOP_FILES_MAX = 64 };
typedef struct shop {
    arena *memory;
    diagnoses found;
    struct shop_file {
        str path;
        str text;
    } files[SHOP_FILES_MAX];
    size_t count;
    model *model;
} shop;

#define SHOP_ID "QmTz6X9hTn18fpKxrnbE3BvmkZHy3r1mRyHzGFtxhd6H"

void shop_open(shop *s); // holds a config.yaml and domains/GeneratedDomain.yaml
void shop_close(shop *s);
void shop_put(shop *s, const char *path, const char *text); // adds or replaces
err shop_load(shop *s);
str shop_said(shop *s, size_t at); // "file:line:column: CODE text (help)"
