// A configuration in memory for tests, see shop_test.h.
#include "model/shop_test.h"

#include "base/str.h"
#include "base/test.h"

void shop_open(shop *s)
{
    *s = (shop){0};
    CHECK(arena_open(&s->memory, 64 << 20).code == OK);
    diagnoses_init(&s->found, s->memory, MODEL_DIAGNOSES_MAX);
    shop_put(s, "config.yaml", "id: " SHOP_ID "\nname: shop\n");
    shop_put(s, "domains/GeneratedDomain.yaml",
             "id: Qm1234567\nfqdn: gftxhd6h0.blackhole.localtau\ncertificate:\n  type: auto\n");
}

void shop_close(shop *s)
{
    arena_close(s->memory);
}

void shop_put(shop *s, const char *path, const char *text)
{
    size_t at = 0;
    while (at < s->count && !str_is(s->files[at].path, str_of(path)))
        at++;
    CHECK(at < SHOP_FILES_MAX);
    s->files[at].path = str_of(path);
    s->files[at].text = str_of(text);
    s->count += at == s->count;
}

static err shop_list(
    void *state, arena *a, str folder, size_t entries_max, model_entry **entries, size_t *count)
{
    const shop *s = state;
    model_entry *all = arena_take(a, SHOP_FILES_MAX * sizeof(*all));
    if (all == NULL)
        return fail(ERR_MEMORY, 0, "list shop");
    *count = 0;
    for (size_t i = s->count; i-- > 0;) { // against the order, since any will do
        str rest = s->files[i].path;
        if (folder.len > 0 &&
            (!str_starts(rest, folder) || rest.len <= folder.len || rest.at[folder.len] != '/'))
            continue;
        rest = str_from(rest, folder.len > 0 ? folder.len + 1 : 0);
        str name = str_cut(&rest, '/');
        bool met = false;
        for (size_t n = 0; n < *count; n++)
            met = met || str_is(all[n].name, name);
        entry_kind kind = rest.at != NULL ? ENTRY_FOLDER : ENTRY_FILE;
        if (rest.at == NULL && str_is(s->files[i].text, STR("LINK")))
            kind = ENTRY_OTHER;
        if (!met && *count < entries_max)
            all[(*count)++] = (model_entry){name, kind};
    }
    *entries = all;
    return ok();
}

static err shop_read(void *state, arena *a, str path, size_t bytes_max, str *out)
{
    const shop *s = state;
    (void)a;
    for (size_t i = 0; i < s->count; i++) {
        if (!str_is(s->files[i].path, path))
            continue;
        if (s->files[i].text.len > bytes_max)
            return fail(ERR_LIMIT, 0, "shop");
        *out = s->files[i].text;
        return ok();
    }
    return fail(ERR_ABSENT, 0, "shop");
}

err shop_load(shop *s)
{
    model_source from = {s, shop_list, shop_read};
    return model_load_from(s->memory, &from, &s->found, &s->model);
}

str shop_said(shop *s, size_t at)
{
    const diagnosis *d = s->found.first;
    while (d != NULL && at-- > 0)
        d = d->next;
    if (d == NULL)
        return (str){0};
    return str_format(s->memory, "%.*s:%zu:%zu: %s %.*s%s%.*s%s", STR_ARG(d->file), d->line,
                      d->column, d->code, STR_ARG(d->text), d->help.len > 0 ? " (" : "",
                      STR_ARG(d->help), d->help.len > 0 ? ")" : "");
}
