// Edits of YAML text: finds the span to change, splices, reads the result again and compares.
//
// Each edit changes the tree in memory as it changes the text; an edit that reads back as another
// tree than that is given up (ERR_UNSUPPORTED), so odd layouts can be refused but not broken.
#include "base/str.h"
#include "model/yaml_inner.h"

enum { RESULT_BYTES_MAX = 2 * TREE_BYTES_MAX, LIST_STEPS_MAX = 1000 };

typedef struct edit {
    arena *memory;
    str text;
    str newline; // of this file
    buf out;
    tree *root;
    tree *node;   // the last one found on the path
    tree *parent; // of node, NULL at the root
    str rest;     // what of the path is missing below node; at == NULL: nothing
    bool flow;    // node stands inside brackets
} edit;

static void edit_drop(edit *e)
{
    buf_close(&e->out);
}

static tree *child_of(const tree *t, str step)
{
    uint64_t at = 0;
    if (t->kind != TREE_LIST)
        return tree_field(t, step);
    if (str_number(step, &at).code != OK)
        return NULL;
    tree *entry = t->first;
    while (entry != NULL && at-- > 0)
        entry = entry->next;
    return entry;
}

// Reads the text and walks the path as far as it exists.
static err edit_open(edit *e, arena *a, str text, str path)
{
    *e = (edit){.memory = a, .text = text, .newline = STR("\n")};
    buf_open(&e->out, RESULT_BYTES_MAX);
    if (str_find(text, STR("\r\n")) < text.len)
        e->newline = STR("\r\n");
    diagnoses ignored;
    diagnoses_init(&ignored, a, 1);
    TRY(tree_read(a, (str){0}, text, &ignored, &e->root));
    e->node = e->root;
    e->rest = path.len > 0 ? path : (str){0};
    while (e->rest.at != NULL) {
        str further = e->rest;
        tree *next = child_of(e->node, str_cut(&further, '/'));
        if (next == NULL)
            break;
        e->flow = e->flow || e->node->flow;
        e->parent = e->node;
        e->node = next;
        e->rest = further;
    }
    return ok();
}

static size_t line_start(str text, size_t at)
{
    while (at > 0 && text.at[at - 1] != '\n')
        at--;
    return at;
}

static size_t line_end(str text, size_t at)
{
    while (at < text.len && text.at[at] != '\n')
        at++;
    return at > 0 && at < text.len && text.at[at - 1] == '\r' ? at - 1 : at;
}

static size_t line_after(str text, size_t at)
{
    while (at < text.len && text.at[at] != '\n')
        at++;
    return at < text.len ? at + 1 : at;
}

static void copy_span(edit *e, size_t from, size_t to)
{
    if (to > from)
        buf_add(&e->out, (str){e->text.at + from, to - from});
}

static void new_line(edit *e, size_t indent)
{
    buf_add(&e->out, e->newline);
    for (size_t i = 0; i < indent; i++)
        buf_add_byte(&e->out, ' ');
}

// The result must read as the tree that was meant.
static err edit_close(edit *e, str *out)
{
    TRY(e->out.error);
    diagnoses ignored;
    diagnoses_init(&ignored, e->memory, 1);
    tree *seen = NULL;
    err e_read = tree_read(e->memory, (str){0}, buf_str(&e->out), &ignored, &seen);
    if (e_read.code == ERR_MEMORY || e_read.code == ERR_LIMIT)
        return e_read;
    if (e_read.code != OK || !tree_is_same(e->root, seen))
        return fail(ERR_UNSUPPORTED, 0, "this layout can not be edited in place");
    str text = str_copy(e->memory, buf_str(&e->out));
    if (text.at == NULL)
        return fail(ERR_MEMORY, 0, "edit yaml");
    *out = text;
    return ok();
}

static tree *node_new(edit *e, tree_kind kind, str text)
{
    tree *t = arena_take(e->memory, sizeof(*t));
    if (t != NULL)
        *t = (tree){.kind = kind, .text = text};
    return t;
}

// The tree that a value becomes.
static err value_tree(edit *e, tree_value v, tree **out)
{
    tree *made = node_new(e, v.kind == TREE_TEXTS ? TREE_LIST : TREE_SCALAR, v.text);
    if (made == NULL)
        return fail(ERR_MEMORY, 0, "edit yaml");
    tree **link = &made->first;
    for (; v.kind == TREE_TEXTS && made->count < v.count; made->count++) {
        *link = node_new(e, TREE_SCALAR, v.items[made->count]);
        if (*link == NULL)
            return fail(ERR_MEMORY, 0, "edit yaml");
        link = &(*link)->next;
    }
    *out = made;
    return ok();
}

static void link_last(tree *parent, tree *entry)
{
    tree **link = &parent->first;
    while (*link != NULL)
        link = &(*link)->next;
    *link = entry;
    parent->count++;
}

static void write_flow(edit *e, tree_value v, char style, bool flow)
{
    if (v.kind != TREE_TEXTS) {
        scalar_write(&e->out, v.text, style, flow, v.kind == TREE_BARE);
        return;
    }
    buf_add_byte(&e->out, '[');
    for (size_t i = 0; i < v.count; i++) {
        if (i > 0)
            buf_add(&e->out, STR(", "));
        scalar_write(&e->out, v.items[i], 0, true, false);
    }
    buf_add_byte(&e->out, ']');
}

// What follows `key:` whose own indent is given: ` value`, or a list's lines.
static void write_block(edit *e, tree_value v, size_t indent)
{
    if (v.kind != TREE_TEXTS || v.count == 0) {
        buf_add_byte(&e->out, ' ');
        write_flow(e, v, 0, false);
        return;
    }
    for (size_t i = 0; i < v.count; i++) {
        new_line(e, indent + 2);
        buf_add(&e->out, STR("- "));
        scalar_write(&e->out, v.items[i], 0, false, false);
    }
}

// Writes the missing keys of the path with the value: `a: {b: value}`, or one line for each.
static void write_missing(edit *e, tree_value v, size_t indent, bool flow)
{
    str rest = e->rest;
    size_t depth = 0;
    while (rest.at != NULL) {
        if (depth > 0 && !flow)
            new_line(e, indent + 2 * depth);
        else if (depth > 0)
            buf_add(&e->out, STR(" {"));
        scalar_write(&e->out, str_cut(&rest, '/'), 0, flow, true);
        buf_add_byte(&e->out, ':');
        depth++;
    }
    if (flow) {
        buf_add_byte(&e->out, ' ');
        write_flow(e, v, 0, true);
        while (--depth > 0)
            buf_add_byte(&e->out, '}');
    } else {
        write_block(e, v, indent + 2 * (depth - 1));
    }
}

// Adds the chain of missing keys to the tree as well.
static err link_missing(edit *e, tree *value)
{
    tree *at = e->node;
    at->kind = TREE_MAP; // what was left out may become one
    for (str rest = e->rest; rest.at != NULL;) {
        str name = str_cut(&rest, '/');
        tree *next = rest.at == NULL ? value : node_new(e, TREE_MAP, (str){0});
        tree *key = node_new(e, TREE_SCALAR, name);
        if (next == NULL || key == NULL)
            return fail(ERR_MEMORY, 0, "edit yaml");
        next->key = key;
        link_last(at, next);
        at = next;
    }
    return ok();
}

static bool is_left_out(const tree *t)
{
    return tree_is_null(t) && t->from == t->to;
}

static void insert_into_map(edit *e, tree_value v)
{
    const tree *map = e->node;
    const tree *last = map->first;
    while (last != NULL && last->next != NULL)
        last = last->next;
    if (map->flow) {
        size_t at = last != NULL ? last->to : map->from + 1;
        copy_span(e, 0, at);
        if (last != NULL)
            buf_add(&e->out, STR(", "));
        write_missing(e, v, 0, true);
        copy_span(e, at, e->text.len);
        return;
    }
    if (last == NULL) { // a document without any entry: behind its comments
        copy_span(e, 0, e->text.len);
        if (e->text.len > 0 && e->text.at[e->text.len - 1] != '\n')
            buf_add(&e->out, e->newline);
        write_missing(e, v, 0, false);
        buf_add(&e->out, e->newline);
        return;
    }
    size_t at = line_end(e->text, last->to);
    size_t indent = map->first->key->column - 1;
    copy_span(e, 0, at);
    new_line(e, indent);
    write_missing(e, v, indent, false);
    copy_span(e, at, e->text.len);
}

static err insert_missing(edit *e, tree_value v)
{
    tree *value = NULL;
    TRY(value_tree(e, v, &value));
    const tree *node = e->node;
    if (node->kind == TREE_MAP) {
        insert_into_map(e, v);
    } else if (node->kind == TREE_LIST) {
        return fail(ERR_ABSENT, 0, "the list has no such entry");
    } else if (!tree_is_null(node)) {
        return fail(ERR_CONFLICT, 0, "the path leads through a text");
    } else if (is_left_out(node) && node->key != NULL && !e->flow) {
        size_t at = line_end(e->text, node->to);
        size_t indent = node->key->column + 1;
        copy_span(e, 0, at);
        new_line(e, indent);
        write_missing(e, v, indent, false);
        copy_span(e, at, e->text.len);
    } else {
        copy_span(e, 0, node->from);
        buf_add(&e->out, is_left_out(node) ? STR(" {") : STR("{"));
        write_missing(e, v, 0, true);
        buf_add_byte(&e->out, '}');
        copy_span(e, node->to, e->text.len);
    }
    return link_missing(e, value);
}

static err replace_scalar(edit *e, tree_value v)
{
    tree *node = e->node;
    tree *value = NULL;
    TRY(value_tree(e, v, &value));
    if (is_left_out(node) && !e->flow && node->key != NULL && v.count > 0) {
        size_t at = line_end(e->text, node->to);
        copy_span(e, 0, at);
        write_block(e, v, node->key->column - 1);
        copy_span(e, at, e->text.len);
    } else {
        copy_span(e, 0, node->from);
        if (is_left_out(node) && node->from > 0 && e->text.at[node->from - 1] != ' ')
            buf_add_byte(&e->out, ' ');
        write_flow(e, v, node->style, e->flow);
        copy_span(e, node->to, e->text.len);
    }
    node->kind = value->kind;
    node->text = value->text;
    node->first = value->first;
    node->count = value->count;
    return ok();
}

static err list_path(arena *a, str path, size_t at, str *out)
{
    *out = str_format(a, "%.*s/%zu", STR_ARG(path), at);
    return out->at != NULL ? ok() : fail(ERR_MEMORY, 0, "edit yaml");
}

// Whether the items are what is left of the list after taking some out.
static bool is_subset(const tree *list, const str *items, size_t count)
{
    size_t met = 0;
    for (const tree *t = list->first; t != NULL && met < count; t = t->next)
        met += t->kind == TREE_SCALAR && str_is(t->text, items[met]);
    return met == count;
}

// From the last entry to the first, so that the numbers of the others stay.
static err shrink_list(edit *e, str path, tree_value v, str *text)
{
    size_t left = v.count;
    for (size_t i = e->node->count; i-- > 0;) {
        const tree *t = e->node->first;
        for (size_t n = 0; n < i; n++)
            t = t->next;
        if (left > 0 && t->kind == TREE_SCALAR && str_is(t->text, v.items[left - 1])) {
            left--;
            continue;
        }
        str entry;
        TRY(list_path(e->memory, path, i, &entry));
        TRY(tree_remove(e->memory, *text, entry, text));
    }
    return ok();
}

// Entry by entry, so that the comments beside the others stay.
static err replace_list(edit *e, str path, tree_value v, str *out)
{
    str text = e->text;
    if (e->node->count > LIST_STEPS_MAX || v.count > LIST_STEPS_MAX)
        return fail(ERR_LIMIT, 0, "list too long to edit");
    if (v.count < e->node->count && is_subset(e->node, v.items, v.count)) {
        TRY(shrink_list(e, path, v, &text));
        *out = text;
        return ok();
    }
    str entry;
    const tree *t = e->node->first;
    for (size_t i = 0; i < v.count && t != NULL; i++, t = t->next) {
        if (t->kind != TREE_SCALAR)
            return fail(ERR_CONFLICT, 0, "the list holds more than texts");
        TRY(list_path(e->memory, path, i, &entry));
        if (!str_is(t->text, v.items[i]))
            TRY(tree_set(e->memory, text, entry, (tree_value){.text = v.items[i]}, &text));
    }
    for (size_t i = e->node->count; i < v.count; i++)
        TRY(tree_append(e->memory, text, path, v.items[i], &text));
    for (size_t i = e->node->count; i-- > v.count;) {
        TRY(list_path(e->memory, path, i, &entry));
        TRY(tree_remove(e->memory, text, entry, &text));
    }
    *out = text;
    return ok();
}

static err value_check(tree_value v)
{
    if (!str_is_utf8(v.text) || str_find_byte(v.text, '\0') < v.text.len)
        return fail(ERR_SYNTAX, 0, "the value is not a text");
    for (size_t i = 0; i < v.count; i++)
        if (!str_is_utf8(v.items[i]) || str_find_byte(v.items[i], '\0') < v.items[i].len)
            return fail(ERR_SYNTAX, 0, "the value is not a text");
    return ok();
}

err tree_set(arena *a, str text, str path, tree_value value, str *out)
{
    OWNED(edit_drop) edit e = {0};
    TRY(value_check(value));
    TRY(edit_open(&e, a, text, path));
    if (e.rest.at != NULL) {
        TRY(insert_missing(&e, value));
        return edit_close(&e, out);
    }
    bool list = value.kind == TREE_TEXTS;
    if (e.node->kind == TREE_LIST && list)
        return replace_list(&e, path, value, out);
    if (e.node->kind != TREE_SCALAR || e.parent == NULL)
        return fail(ERR_CONFLICT, 0, "another shape stands there");
    bool same = !list && str_is(e.node->text, value.text) && !is_left_out(e.node) &&
                (value.kind == TREE_TEXT || e.node->style == 0);
    if (same) {
        *out = text;
        return ok();
    }
    TRY(replace_scalar(&e, value));
    return edit_close(&e, out);
}

err tree_append(arena *a, str text, str path, str item, str *out)
{
    OWNED(edit_drop) edit e = {0};
    TRY(value_check((tree_value){.text = item}));
    TRY(edit_open(&e, a, text, path));
    tree_value one = {.kind = TREE_TEXTS, .items = &item, .count = 1};
    if (e.rest.at != NULL || tree_is_null(e.node))
        return tree_set(a, text, path, one, out);
    if (e.node->kind != TREE_LIST)
        return fail(ERR_CONFLICT, 0, "no list stands there");
    const tree *last = e.node->first;
    while (last != NULL && last->next != NULL)
        last = last->next;
    size_t at = last != NULL ? last->to : e.node->from + 1;
    if (!e.node->flow)
        at = line_end(text, at);
    copy_span(&e, 0, at);
    if (!e.node->flow) {
        new_line(&e, e.node->column - 1);
        buf_add(&e.out, STR("- "));
    } else if (last != NULL) {
        buf_add(&e.out, STR(", "));
    }
    scalar_write(&e.out, item, (last != NULL ? last : e.node)->style, e.node->flow, false);
    copy_span(&e, at, text.len);
    tree *entry = node_new(&e, TREE_SCALAR, item);
    if (entry == NULL)
        return fail(ERR_MEMORY, 0, "edit yaml");
    link_last(e.node, entry);
    return edit_close(&e, out);
}

// Where an entry starts: its key, or for a list's its dash.
static size_t entry_start(const edit *e, const tree *entry)
{
    if (entry->key != NULL)
        return entry->key->from;
    size_t at = entry->from;
    if (!e->parent->flow && at > 0)
        do // past the entry's own first byte, which may be the dash of an inner list
            at--;
        while (at > 0 && e->text.at[at] != '-');
    return at;
}

// The only entry: its parent becomes `{}` or `[]` behind its own key, or in the entry's place.
static void cut_only(edit *e, size_t from, size_t to)
{
    str empty = e->parent->kind == TREE_MAP ? STR("{}") : STR("[]");
    const tree *key = e->parent->key;
    if (e->parent->flow) {
        copy_span(e, 0, e->parent->from);
        buf_add(&e->out, empty);
        copy_span(e, e->parent->to, e->text.len);
    } else if (key != NULL && line_start(e->text, from) > key->to) {
        size_t colon = key->to + str_find_byte(str_from(e->text, key->to), ':') + 1;
        copy_span(e, 0, colon);
        buf_add_byte(&e->out, ' ');
        buf_add(&e->out, empty);
        copy_span(e, colon, line_start(e->text, from));
        copy_span(e, line_after(e->text, to), e->text.len);
    } else {
        copy_span(e, 0, from);
        buf_add(&e->out, empty);
        copy_span(e, to, e->text.len);
    }
}

static void cut_entry(edit *e, const tree *before, const tree *entry)
{
    size_t from = entry_start(e, entry);
    size_t to = entry->to;
    size_t start = line_start(e->text, from);
    bool alone = str_trim((str){e->text.at + start, from - start}).len == 0;
    if (e->parent->count == 1) {
        cut_only(e, from, to);
        return;
    }
    if (!e->parent->flow && alone) {
        from = start;
        to = line_after(e->text, to);
    } else if (entry->next != NULL) {
        to = entry_start(e, entry->next);
    } else if (before != NULL) { // which it is: the only entry was cut above
        from = before->to;
    }
    copy_span(e, 0, from);
    copy_span(e, to, e->text.len);
}

err tree_remove(arena *a, str text, str path, str *out)
{
    OWNED(edit_drop) edit e = {0};
    TRY(edit_open(&e, a, text, path));
    if (e.rest.at != NULL)
        return fail(ERR_ABSENT, 0, "there is no such key");
    if (e.parent == NULL)
        return fail(ERR_CONFLICT, 0, "the document itself stays");
    tree *before = NULL;
    for (tree *t = e.parent->first; t != e.node; t = t->next)
        before = t;
    cut_entry(&e, before, e.node);
    if (before != NULL)
        before->next = e.node->next;
    else
        e.parent->first = e.node->next;
    e.parent->count--;
    return edit_close(&e, out);
}
