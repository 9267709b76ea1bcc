// Walks one file's tree along its schema: unknown keys, shapes, values, missing keys.
#include "base/str.h"
#include "model/schema.h"
#include "model/value.h"

#include <string.h>

enum { CHOICES_MAX = 64, SHOWN_BYTES_MAX = 80, ITEMS_MAX = 1000 };

typedef struct check {
    arena *memory;
    resource_kind kind;
    const schema *schema;
    str file;
    const tree *root;
    diagnoses *found;
    field_value *values;
    bool starved; // memory ran out on the way
} check;

static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",   "DELETE",
                                      "CONNECT", "OPTIONS", "TRACE", "PATCH", NULL};

str schema_path_shown(arena *a, str path)
{
    char *shown = arena_take(a, path.len + 1);
    if (shown == NULL)
        return (str){0};
    for (size_t i = 0; i < path.len; i++) {
        shown[i] = path.at[i];
        if (shown[i] == '/')
            shown[i] = '.';
    }
    return (str){shown, path.len};
}

static str shown(check *c, str s)
{
    return str_printable(c->memory, str_first(s, SHOWN_BYTES_MAX));
}

__attribute__((format(printf, 5, 6))) static void
say(check *c, const tree *at, const char *code, str help, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    str text = str_format_list(c->memory, format, list);
    va_end(list);
    c->starved = c->starved || text.at == NULL;
    tree_note(c->found, c->file, at, code, text)->help = help;
}

static str meant(check *c, const char *word)
{
    return word != NULL ? str_format(c->memory, "did you mean `%s`?", word) : (str){0};
}

// How a key's path stands to a field's: elsewhere, above it, or the field itself.
typedef enum { APART, ABOVE, SAME } relation;
static relation path_compare(const char *pattern, str path)
{
    str left = str_of(pattern);
    if (pattern == NULL)
        return APART;
    while (path.at != NULL) {
        if (left.at == NULL)
            return APART;
        str want = str_cut(&left, '/');
        str is = str_cut(&path, '/');
        if (!str_is(want, STR("*")) && !str_is(want, is))
            return APART;
    }
    return left.at != NULL ? ABOVE : SAME;
}

// The key that follows `prefix` in a field's path, as text of its own; NULL when there is none.
static const char *key_below(check *c, const char *pattern, str prefix)
{
    if (path_compare(pattern, prefix) != ABOVE)
        return NULL;
    str rest = str_of(pattern);
    for (str p = prefix; p.at != NULL;) {
        (void)str_cut(&p, '/');
        (void)str_cut(&rest, '/');
    }
    return str_c(c->memory, str_cut(&rest, '/'));
}

static void key_unknown(check *c, const tree *at, str prefix)
{
    const char *choices[CHOICES_MAX];
    size_t count = 0;
    str key = at->key->text;
    str help = {0};
    for (size_t i = 0; i < c->schema->count && count + 1 < CHOICES_MAX; i++) {
        const schema_rule *f = &c->schema->fields[i];
        const char *one = key_below(c, f->path, prefix);
        if (one != NULL)
            choices[count++] = one;
        one = key_below(c, f->also, prefix);
        if (one != NULL)
            choices[count++] = one;
        str path = str_of(f->path);
        str end = str_format(c->memory, "/%.*s", STR_ARG(key));
        if (str_ends(path, end) && help.len == 0) {
            str above = schema_path_shown(c->memory, str_first(path, path.len - end.len));
            help = str_format(c->memory, "it belongs under `%.*s`", STR_ARG(above));
        }
    }
    const char *closest = str_closest(key, choices, count);
    if (closest != NULL)
        help = meant(c, closest);
    else if (str_is(key, STR("name")) && c->kind != KIND_PROJECT)
        help = STR("the file's name is the name");
    str path = prefix.len > 0 ? str_format(c->memory, "%.*s.", STR_ARG(prefix)) : (str){0};
    path = schema_path_shown(c->memory, path);
    key = shown(c, key);
    say(c, at->key, "CFG005", help, "unknown key `%.*s%.*s`", STR_ARG(path), STR_ARG(key));
}

static const char *choice_of(str word, const char *const *choices)
{
    for (size_t i = 0; choices[i] != NULL; i++)
        if (str_is(word, str_of(choices[i])))
            return choices[i];
    return NULL;
}

static const char *closest_of(str word, const char *const *choices)
{
    size_t count = 0;
    for (; choices[count] != NULL; count++)
        if (str_is_nocase(word, str_of(choices[count])))
            return choices[count];
    return str_closest(word, choices, count);
}

static str choices_shown(check *c, const char *const *choices)
{
    str parts[CHOICES_MAX];
    size_t count = 0;
    for (; count < CHOICES_MAX && choices[count] != NULL; count++)
        parts[count] = str_of(choices[count]);
    str all = str_join(c->memory, parts, count, STR(", "));
    return str_format(c->memory, "one of %.*s", STR_ARG(all));
}

static void choice_wrong(check *c, const tree *at, const schema_rule *f, const char *const *choices)
{
    const char *closest = closest_of(at->text, choices);
    str path = schema_path_shown(c->memory, str_of(f->path));
    str word = shown(c, at->text);
    say(c, at, "CFG009", closest ? meant(c, closest) : choices_shown(c, choices),
        "`%.*s` is no `%.*s`", STR_ARG(word), STR_ARG(path));
}

static void read_choice(check *c, const schema_rule *f, const tree *at, field_value *v)
{
    const char *chosen = choice_of(at->text, f->choices);
    if (chosen == NULL)
        choice_wrong(c, at, f, f->choices);
    else // the one choice with a second spelling
        v->text = strcmp(chosen, "pub-sub") == 0 ? STR("pubsub") : str_of(chosen);
}

static void read_method(check *c, const schema_rule *f, const tree *at, field_value *v)
{
    for (size_t i = 0; methods[i] != NULL; i++)
        if (str_is_nocase(at->text, str_of(methods[i]))) {
            v->text = str_of(methods[i]);
            return;
        }
    choice_wrong(c, at, f, methods);
}

// A size in the wrong case or with a blank is one that we can guess.
static str size_meant(check *c, str s)
{
    static const char *const units[] = {"B",   "KB",  "MB",  "GB",  "TB", "PB",
                                        "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t digits = 0;
    while (digits < s.len && s.at[digits] >= '0' && s.at[digits] <= '9')
        digits++;
    str unit = str_trim(str_from(s, digits));
    for (size_t i = 0; digits > 0 && i < COUNT(units); i++) {
        str u = str_of(units[i]);
        if (str_is_nocase(unit, u) || (unit.len == 1 && str_is_nocase(unit, str_first(u, 1))))
            return str_format(c->memory, "did you mean `%.*s%s`?", (int)digits, s.at, units[i]);
    }
    return STR("write a size such as 10MB or 32MiB");
}

static void read_bytes(check *c, const tree *at, field_value *v)
{
    str word = shown(c, at->text);
    err e = bytes_read(at->text, &v->number);
    if (e.code == ERR_LIMIT)
        say(c, at, "CFG008", (str){0}, "the size `%.*s` is too large", STR_ARG(word));
    else if (e.code != OK)
        say(c, at, "CFG008", size_meant(c, at->text), "`%.*s` is no size", STR_ARG(word));
    else if (v->number == 0)
        say(c, at, "CFG008", (str){0}, "a size of nothing");
}

static void read_duration(check *c, const tree *at, field_value *v)
{
    str word = shown(c, at->text);
    str help = STR("write a duration such as 10s, 250ms or 1m30s");
    uint64_t number;
    if (str_number(at->text, &number).code == OK && number > 0)
        help = str_format(c->memory, "did you mean `%.*ss`?", STR_ARG(word));
    err e = duration_read(at->text, &v->number);
    if (e.code == ERR_LIMIT)
        say(c, at, "CFG008", (str){0}, "the duration `%.*s` is too long", STR_ARG(word));
    else if (e.code != OK)
        say(c, at, "CFG008", help, "`%.*s` is no duration", STR_ARG(word));
    else if (v->number == 0)
        say(c, at, "CFG008", (str){0}, "a duration of nothing");
}

static void read_flag(check *c, const tree *at, field_value *v)
{
    static const char *const no[] = {"false", "no", "off", "n", "0", NULL};
    static const char *const yes[] = {"true", "yes", "on", "y", "1", NULL};
    if (str_is(at->text, STR("true")) || str_is(at->text, STR("false"))) {
        v->number = at->text.len == 4;
        return;
    }
    str help = STR("write true or false");
    for (size_t i = 0; yes[i] != NULL; i++) {
        if (str_is_nocase(at->text, str_of(yes[i])))
            help = STR("did you mean `true`?");
        if (str_is_nocase(at->text, str_of(no[i])))
            help = STR("did you mean `false`?");
    }
    str word = shown(c, at->text);
    say(c, at, "CFG008", help, "`%.*s` is neither true nor false", STR_ARG(word));
}

static void read_whole(check *c, const tree *at, field_value *v)
{
    enum { WHOLE_MAX = 1000 * 1000 * 1000 };
    str word = shown(c, at->text);
    if (str_number(at->text, &v->number).code != OK || v->number == 0 || v->number > WHOLE_MAX)
        say(c, at, "CFG008", STR("write a whole number from 1 to 1000000000"),
            "`%.*s` is no such number", STR_ARG(word));
}

static void read_path(check *c, const tree *at)
{
    str word = shown(c, at->text);
    str rooted = str_format(c->memory, "/%.*s", STR_ARG(word));
    str help = STR("a path starts with `/` and has no blank, `?` or `#`");
    if (at->text.len > 0 && at->text.at[0] != '/' && path_is_valid(rooted))
        help = str_format(c->memory, "did you mean `%.*s`?", STR_ARG(rooted));
    if (!path_is_valid(at->text))
        say(c, at, "CFG008", help, "`%.*s` is no path", STR_ARG(word));
}

static void read_source(check *c, const tree *at)
{
    str s = at->text;
    str word = shown(c, s);
    if (str_is(s, STR(".")) ||
        (str_starts(s, STR("libraries/")) && name_is_valid(str_from(s, strlen("libraries/")))))
        return;
    str help = STR("write `.` for code of its own or `libraries/NAME`");
    if (name_is_valid(s))
        help = str_format(c->memory, "did you mean `libraries/%.*s`?", STR_ARG(word));
    say(c, at, "CFG008", help, "`%.*s` is no source", STR_ARG(word));
}

static void read_call(check *c, const tree *at)
{
    str s = at->text;
    bool good = s.len > 0 && s.len <= NAME_LEN_MAX;
    for (size_t i = 0; i < s.len; i++)
        good = good && s.at[i] > ' ' && s.at[i] < 0x7f;
    str word = shown(c, s);
    if (!good)
        say(c, at, "CFG008", STR("write the name of the function that the module exports"),
            "`%.*s` is no name of an export", STR_ARG(word));
}

static void read_fqdn(check *c, const tree *at, field_value *v)
{
    str word = shown(c, at->text);
    v->text = str_lower(c->memory, at->text);
    c->starved = c->starved || v->text.at == NULL;
    if (!fqdn_is_valid(at->text))
        say(c, at, "CFG008", STR("write a host name such as www.example.com"),
            "`%.*s` is no host name", STR_ARG(word));
}

// Texts whose grammar is one yes or no.
static void read_plain(check *c, const schema_rule *f, const tree *at)
{
    str s = at->text;
    str word = shown(c, s);
    if (f->type == VALUE_NAME && !name_is_valid(s))
        say(c, at, "CFG014", STR("a letter first, then letters, digits, `_` and `-`"),
            "`%.*s` is no name", STR_ARG(word));
    if (f->type == VALUE_EMAIL && s.len > 0 && !email_is_valid(s))
        say(c, at, "CFG008", STR("write an address such as dev@example.com"),
            "`%.*s` is no e-mail address", STR_ARG(word));
    if (f->type == VALUE_ID && s.len > 0 && !id_is_valid(s))
        say(c, at, "CFG008", STR("an id is base58 of 8 to 64 characters; new ones are made by tau"),
            "`%.*s` is no id", STR_ARG(word));
}

static void read_scalar(check *c, const schema_rule *f, const tree *at, field_value *v)
{
    bool draft = (f->type == VALUE_ID && c->kind != KIND_PROJECT) || f->type == VALUE_EMAIL;
    v->text = at->text;
    if (at->text.len == 0 && !draft && (f->required || f->type != VALUE_TEXT)) {
        str path = schema_path_shown(c->memory, str_of(f->path));
        say(c, at, "CFG007", (str){0}, "`%.*s` is empty", STR_ARG(path));
        return;
    }
    switch (f->type) {
    case VALUE_BYTES:
        read_bytes(c, at, v);
        break;
    case VALUE_DURATION:
        read_duration(c, at, v);
        break;
    case VALUE_FLAG:
        read_flag(c, at, v);
        break;
    case VALUE_WHOLE:
        read_whole(c, at, v);
        break;
    case VALUE_FQDN:
        read_fqdn(c, at, v);
        break;
    case VALUE_CHOICE:
        read_choice(c, f, at, v);
        break;
    case VALUE_METHOD:
        read_method(c, f, at, v);
        break;
    case VALUE_PATH:
        read_path(c, at);
        break;
    case VALUE_SOURCE:
        read_source(c, at);
        break;
    case VALUE_CALL:
        read_call(c, at);
        break;
    default:
        read_plain(c, f, at);
    }
}

static err read_items(check *c, const schema_rule *f, const tree *at, field_value *v)
{
    if (at->count > ITEMS_MAX) {
        say(c, at, "CFG002", (str){0}, "a list of more than %d entries", ITEMS_MAX);
        return ok();
    }
    str *items = arena_take(c->memory, (at->count + 1) * sizeof(*items));
    if (items == NULL)
        return fail(ERR_MEMORY, 0, "check configuration");
    v->items = items;
    for (const tree *t = at->first; t != NULL; t = t->next, v->count++) {
        field_value one = {.text = t->text};
        if (t->kind != TREE_SCALAR || (t->text.len == 0 && t->style == 0))
            say(c, t, "CFG006", (str){0}, "a text belongs here");
        else
            read_scalar(c, f, t, &one);
        items[v->count] = one.text;
        for (size_t i = 0; i < v->count; i++)
            if (one.text.len > 0 && str_is(items[i], one.text)) {
                str word = shown(c, one.text);
                say(c, t, "CFG012", (str){0}, "`%.*s` stands here twice", STR_ARG(word));
                break;
            }
    }
    return ok();
}

static err read_field(check *c, size_t at, const tree *node)
{
    const schema_rule *f = &c->schema->fields[at];
    field_value *v = &c->values[at];
    field_value kept = {.at = node};
    str path = schema_path_shown(c->memory, str_of(f->path));
    if (v->at != NULL && f->name != NULL) {
        str help = str_format(c->memory, "both spellings are one key; line %zu has the other",
                              v->at->key->line);
        say(c, node->key, "CFG010", help, "`%.*s` is set twice", STR_ARG(path));
        return ok();
    }
    if (tree_is_null(node)) // as if it was not there
        return ok();
    if (f->list && node->kind == TREE_LIST) {
        TRY(read_items(c, f, node, &kept));
    } else if (f->list) {
        str word = shown(c, node->text);
        str help = node->kind == TREE_SCALAR
                       ? str_format(c->memory, "did you mean `[%.*s]`?", STR_ARG(word))
                       : (str){0};
        say(c, node, "CFG006", help, "`%.*s` must be a list", STR_ARG(path));
    } else if (node->kind == TREE_SCALAR) {
        read_scalar(c, f, node, &kept);
    } else {
        say(c, node, "CFG006", (str){0}, "`%.*s` must be a single value", STR_ARG(path));
    }
    *v = kept;
    return ok();
}

static err walk(check *c, const tree *map, str prefix);

static err walk_entry(check *c, const tree *t, str prefix)
{
    str key = t->key->text;
    if (str_find_byte(key, '/') < key.len) {
        key_unknown(c, t, prefix);
        return ok();
    }
    str path =
        prefix.len > 0 ? str_format(c->memory, "%.*s/%.*s", STR_ARG(prefix), STR_ARG(key)) : key;
    if (path.at == NULL)
        return fail(ERR_MEMORY, 0, "check configuration");
    bool above = false;
    for (size_t i = 0; i < c->schema->count; i++) {
        const schema_rule *f = &c->schema->fields[i];
        relation one = path_compare(f->path, path);
        relation other = path_compare(f->also, path);
        if (one == SAME || other == SAME)
            return read_field(c, i, t);
        above = above || one == ABOVE || other == ABOVE;
    }
    if (!above) {
        key_unknown(c, t, prefix);
    } else if (t->kind == TREE_MAP) {
        return walk(c, t, path);
    } else if (!tree_is_null(t)) {
        path = schema_path_shown(c->memory, path);
        say(c, t, "CFG006", (str){0}, "`%.*s` must hold keys", STR_ARG(path));
    }
    return ok();
}

static err walk(check *c, const tree *map, str prefix)
{
    for (const tree *t = map->first; t != NULL; t = t->next)
        TRY(walk_entry(c, t, prefix));
    return ok();
}

// Reads the defaults and reports what must be there and is not.
static void fill(check *c)
{
    for (size_t i = 0; i < c->schema->count; i++) {
        const schema_rule *f = &c->schema->fields[i];
        field_value *v = &c->values[i];
        if (v->at == NULL && f->otherwise != NULL) {
            tree read = {.text = str_of(f->otherwise)};
            read_scalar(c, f, &read, v);
        }
        if (!f->required || v->count > 0 ||
            (v->at != NULL && !(f->list && v->at->kind == TREE_LIST)))
            continue;
        str above = str_of(f->path);
        const tree *at = v->at;
        if (at == NULL && str_find_byte(above, '/') < above.len)
            at = tree_field(c->root, str_cut(&above, '/'));
        str path = schema_path_shown(c->memory, str_of(f->path));
        say(c, at != NULL ? at->key : NULL, "CFG007", (str){0}, "the key `%.*s` is %s",
            STR_ARG(path), v->at != NULL ? "empty" : "missing");
    }
}

err schema_check(
    arena *a, resource_kind kind, str file, const tree *root, diagnoses *found, field_value **out)
{
    check c = {a, kind, schema_of(kind), file, root, found, NULL, false};
    c.values = arena_take(a, c.schema->count * sizeof(*c.values));
    if (c.values == NULL)
        return fail(ERR_MEMORY, 0, "check configuration");
    if (root->kind != TREE_MAP)
        say(&c, root, "CFG006", (str){0}, "the file must hold keys");
    else
        TRY(walk(&c, root, (str){0}));
    if (root->kind == TREE_MAP)
        fill(&c);
    if (c.starved)
        return fail(ERR_MEMORY, 0, "check configuration");
    *out = c.values;
    return ok();
}
