// Reads YAML through libyaml's events into a tree with byte spans.
//
// libyaml's mark.index counts characters, so a table of the byte where every 64th character
// starts turns marks into bytes. Its end mark of a block collection lies at the next token; ours
// ends with the last entry.
#include "model/yaml.h"

#include "base/str.h"

#include <yaml.h>

#include <string.h>

enum { STRIDE = 64, QUOTE_BYTES_MAX = 80 };

typedef struct reader {
    arena *memory;
    str file;
    str text;
    diagnoses *found;
    yaml_parser_t parser;
    size_t *starts; // the byte of every STRIDE-th character; NULL when all are one byte
    size_t nodes;
} reader;

static bool is_tail(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static err reader_index(reader *r)
{
    size_t chars = 0;
    for (size_t i = 0; i < r->text.len; i++)
        chars += !is_tail(r->text.at[i]);
    if (chars == r->text.len)
        return ok();
    r->starts = arena_take(r->memory, (chars / STRIDE + 1) * sizeof(*r->starts));
    if (r->starts == NULL)
        return fail(ERR_MEMORY, 0, "index text");
    chars = 0;
    for (size_t i = 0; i < r->text.len; i++)
        if (!is_tail(r->text.at[i]) && chars++ % STRIDE == 0)
            r->starts[(chars - 1) / STRIDE] = i;
    if (chars % STRIDE == 0)
        r->starts[chars / STRIDE] = r->text.len;
    return ok();
}

static size_t reader_byte(const reader *r, size_t index)
{
    if (r->starts == NULL)
        return index < r->text.len ? index : r->text.len;
    size_t at = r->starts[index / STRIDE];
    for (size_t left = index % STRIDE; left > 0 && at < r->text.len; left--)
        do
            at++;
        while (at < r->text.len && is_tail(r->text.at[at]));
    return at;
}

static size_t width_of(str text, size_t from, size_t to)
{
    size_t width = 0;
    for (size_t i = from; i < to && text.at[i] != '\n' && text.at[i] != '\r'; i++)
        width += !is_tail(text.at[i]);
    return width > 0 ? width : 1;
}

diagnosis *tree_note(diagnoses *found, str file, const tree *at, const char *code, str text)
{
    diagnosis *d = diagnoses_add(found, file, at ? at->line : 0, at ? at->column : 0, code);
    d->width = at ? at->width : 1;
    d->text = text;
    return d;
}

// One diagnosis at a place that has no node; the code says which family of mistakes.
static err reader_refuse(reader *r, yaml_mark_t at, const char *code, str text, str help)
{
    diagnosis *d = diagnoses_add(r->found, r->file, at.line + 1, at.column + 1, code);
    d->width = 1;
    d->text = text;
    d->help = help;
    return fail(code[5] == '2' ? ERR_LIMIT : ERR_SYNTAX, 0, "read yaml");
}

static yaml_mark_t mark_at_byte(str text, size_t byte)
{
    yaml_mark_t m = {0};
    for (size_t i = 0; i < byte && i < text.len; i++) {
        if (text.at[i] == '\n')
            m = (yaml_mark_t){.line = m.line + 1};
        else
            m.column += !is_tail(text.at[i]);
    }
    return m;
}

static err reader_problem(reader *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return fail(ERR_MEMORY, 0, "read yaml");
    if (p->error == YAML_READER_ERROR)
        return reader_refuse(r, mark_at_byte(r->text, p->problem_offset), "CFG001",
                             STR("a control character stands here"), STR("remove it"));
    size_t at = reader_byte(r, p->problem_mark.index);
    str help = {0};
    if (at < r->text.len && r->text.at[at] == '\t')
        help = STR("indent with spaces, not with tabs");
    else if (p->context != NULL)
        help = str_format(r->memory, "%s that starts in line %zu", p->context,
                          (size_t)p->context_mark.line + 1);
    str text = str_format(r->memory, "not valid YAML: %s", p->problem ? p->problem : "unknown");
    return reader_refuse(r, p->problem_mark, "CFG001", text, help);
}

static err reader_take(reader *r, yaml_event_t *event)
{
    return yaml_parser_parse(&r->parser, event) ? ok() : reader_problem(r);
}

// Makes the node of an event, refusing what is beyond the plain part of YAML.
static err node_open(reader *r, const yaml_event_t *e, tree **out)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    tree made = {0};
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
        made.kind = TREE_LIST;
        made.flow = e->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
        made.kind = TREE_MAP;
        made.flow = e->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
        break;
    default:
        return reader_refuse(r, e->start_mark, "CFG003", STR("aliases (`*name`) are not read"),
                             STR("write the value out"));
    }
    if (anchor != NULL)
        return reader_refuse(r, e->start_mark, "CFG003", STR("anchors (`&name`) are not read"),
                             STR("write the value out where it is used"));
    if (tag != NULL)
        return reader_refuse(r, e->start_mark, "CFG003", STR("tags (`!name`) are not read"),
                             STR("write the value without it"));
    if (++r->nodes > TREE_NODES_MAX)
        return reader_refuse(
            r, e->start_mark, "CFG002",
            str_format(r->memory, "more than %d values in one file", TREE_NODES_MAX), (str){0});
    made.from = reader_byte(r, e->start_mark.index);
    made.to = reader_byte(r, e->end_mark.index);
    made.line = e->start_mark.line + 1;
    made.column = e->start_mark.column + 1;
    made.width = width_of(r->text, made.from, made.to);
    *out = arena_take(r->memory, sizeof(**out));
    if (*out == NULL)
        return fail(ERR_MEMORY, 0, "read yaml");
    **out = made;
    return ok();
}

static err scalar_close(reader *r, const yaml_event_t *e, tree *t)
{
    str value = {(const char *)e->data.scalar.value, e->data.scalar.length};
    if (str_find_byte(value, '\0') < value.len)
        return reader_refuse(r, e->start_mark, "CFG003", STR("a text may not hold a zero byte"),
                             (str){0});
    switch (e->data.scalar.style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
        t->style = '\'';
        break;
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
        t->style = '"';
        break;
    case YAML_LITERAL_SCALAR_STYLE:
    case YAML_FOLDED_SCALAR_STYLE:
        t->style = '|';
        // Its end mark lies behind the blank lines that follow.
        while (t->to > t->from && strchr(" \t\r\n", r->text.at[t->to - 1]) != NULL)
            t->to--;
        break;
    default:
        break;
    }
    t->text = str_copy(r->memory, value);
    return t->text.at != NULL ? ok() : fail(ERR_MEMORY, 0, "read yaml");
}

static void collection_close(reader *r, const yaml_event_t *e, tree *t, const tree *last)
{
    size_t end = t->flow ? reader_byte(r, e->end_mark.index) : t->from;
    if (last != NULL && last->to > end)
        end = last->to;
    t->to = end;
    t->width = width_of(r->text, t->from, t->to);
}

static err read_node(reader *r, const yaml_event_t *e, size_t depth, tree **out);

static err read_list(reader *r, tree *list, size_t depth)
{
    tree **link = &list->first;
    const tree *last = NULL;
    for (;;) {
        OWNED(yaml_event_delete) yaml_event_t e = {0};
        TRY(reader_take(r, &e));
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            collection_close(r, &e, list, last);
            return ok();
        }
        TRY(read_node(r, &e, depth, link));
        last = *link;
        link = &(*link)->next;
        list->count++;
    }
}

static err read_key(reader *r, const yaml_event_t *e, const tree *map, tree **out)
{
    if (e->type == YAML_SEQUENCE_START_EVENT || e->type == YAML_MAPPING_START_EVENT)
        return reader_refuse(r, e->start_mark, "CFG003", STR("a key must be a plain text"),
                             (str){0});
    TRY(read_node(r, e, 0, out));
    const tree *before = tree_field(map, (*out)->text);
    if (before != NULL) {
        str shown = str_printable(r->memory, str_first((*out)->text, QUOTE_BYTES_MAX));
        str text = str_format(r->memory, "the key `%.*s` stands here twice", STR_ARG(shown));
        diagnosis *d = tree_note(r->found, r->file, *out, "CFG004", text);
        d->help = str_format(r->memory, "the first one is in line %zu", before->key->line);
        return fail(ERR_SYNTAX, 0, "duplicate key");
    }
    if (map->count == TREE_KEYS_MAX)
        return reader_refuse(r, e->start_mark, "CFG002",
                             str_format(r->memory, "more than %d keys in one map", TREE_KEYS_MAX),
                             (str){0});
    return ok();
}

static err read_map(reader *r, tree *map, size_t depth)
{
    tree **link = &map->first;
    const tree *last = NULL;
    for (;;) {
        OWNED(yaml_event_delete) yaml_event_t named = {0};
        TRY(reader_take(r, &named));
        if (named.type == YAML_MAPPING_END_EVENT) {
            collection_close(r, &named, map, last);
            return ok();
        }
        tree *key = NULL;
        TRY(read_key(r, &named, map, &key));
        OWNED(yaml_event_delete) yaml_event_t e = {0};
        TRY(reader_take(r, &e));
        tree *value = NULL;
        TRY(read_node(r, &e, depth, &value));
        value->key = key;
        *link = value;
        last = value;
        link = &value->next;
        map->count++;
    }
}

static err read_node(reader *r, const yaml_event_t *e, size_t depth, tree **out)
{
    TRY(node_open(r, e, out));
    if ((*out)->kind == TREE_SCALAR)
        return scalar_close(r, e, *out);
    if (depth >= TREE_DEPTH_MAX)
        return reader_refuse(
            r, e->start_mark, "CFG002",
            str_format(r->memory, "nested more than %d levels deep", TREE_DEPTH_MAX), (str){0});
    return (*out)->kind == TREE_LIST ? read_list(r, *out, depth + 1) : read_map(r, *out, depth + 1);
}

static err read_document(reader *r, tree **out)
{
    tree *root = NULL;
    for (;;) {
        OWNED(yaml_event_delete) yaml_event_t e = {0};
        TRY(reader_take(r, &e));
        switch (e.type) {
        case YAML_STREAM_END_EVENT:
            *out = root;
            return ok();
        case YAML_DOCUMENT_START_EVENT:
            if (root != NULL)
                return reader_refuse(r, e.start_mark, "CFG003",
                                     STR("a second document starts here"), STR("a file holds one"));
            break;
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        default:
            TRY(read_node(r, &e, 0, &root));
        }
    }
}

static err reader_check_text(reader *r)
{
    if (r->text.len > TREE_BYTES_MAX)
        return reader_refuse(r, (yaml_mark_t){0}, "CFG002", STR("the file has more than 1 MiB"),
                             (str){0});
    if (str_is_utf8(r->text))
        return ok();
    yaml_mark_t at = {0};
    for (str rest = r->text; rest.len > 0; at.line++)
        if (!str_is_utf8(str_cut(&rest, '\n')))
            break;
    return reader_refuse(r, at, "CFG001", STR("this line is not UTF-8"),
                         STR("save the file as UTF-8"));
}

static void parser_drop(reader *r)
{
    yaml_parser_delete(&r->parser);
}

err tree_read(arena *a, str file, str text, diagnoses *found, tree **out)
{
    OWNED(parser_drop) reader r = {.memory = a, .file = file, .text = text, .found = found};
    TRY(reader_check_text(&r));
    TRY(reader_index(&r));
    if (!yaml_parser_initialize(&r.parser))
        return fail(ERR_MEMORY, 0, "read yaml");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    const char *bytes = text.at != NULL ? text.at : ""; // libyaml asserts
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, text.len);
    tree *root = NULL;
    TRY(read_document(&r, &root));
    if (root == NULL || (root->kind == TREE_SCALAR && tree_is_null(root))) {
        root = arena_take(a, sizeof(*root));
        if (root == NULL)
            return fail(ERR_MEMORY, 0, "read yaml");
        *root = (tree){
            .kind = TREE_MAP, .from = text.len, .to = text.len, .line = 1, .column = 1, .width = 1};
    }
    *out = root;
    return ok();
}

tree *tree_field(const tree *map, str name)
{
    if (map == NULL || map->kind != TREE_MAP)
        return NULL;
    for (tree *t = map->first; t != NULL; t = t->next)
        if (str_is(t->key->text, name))
            return t;
    return NULL;
}

bool tree_is_null(const tree *t)
{
    return t->kind == TREE_SCALAR && t->style == 0 &&
           (t->text.len == 0 || str_is(t->text, STR("~")) || str_is(t->text, STR("null")) ||
            str_is(t->text, STR("Null")) || str_is(t->text, STR("NULL")));
}

bool tree_is_same(const tree *a, const tree *b)
{
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == TREE_SCALAR)
        return str_is(a->text, b->text);
    const tree *y = b->first;
    for (const tree *x = a->first; x != NULL; x = x->next, y = y->next) {
        if (a->kind == TREE_MAP && !str_is(x->key->text, y->key->text))
            return false;
        if (!tree_is_same(x, y))
            return false;
    }
    return true;
}
