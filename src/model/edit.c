// New files of configuration in the article's order of keys, and generated host names.
#include "model/edit.h"

#include "base/str.h"
#include "model/value.h"
#include "model/yaml_inner.h"

enum { FILE_BYTES_MAX = 64 * 1024, TAIL_LEN = 8 };

static void put_key(buf *out, const char *key, str value)
{
    buf_add(out, str_of(key));
    buf_add_byte(out, ' ');
    scalar_write(out, value, 0, false, false);
    buf_add_byte(out, '\n');
}

static void put_list(buf *out, const char *key, const char *indent, const str *items, size_t count)
{
    buf_add_format(out, "%s%s\n", key, count == 0 ? " []" : "");
    for (size_t i = 0; i < count; i++) {
        buf_add_format(out, "%s- ", indent);
        scalar_write(out, items[i], 0, false, false);
        buf_add_byte(out, '\n');
    }
}

static err take_text(arena *a, const buf *out, str *text)
{
    TRY(out->error);
    str made = str_copy(a, buf_str(out));
    if (made.at == NULL)
        return fail(ERR_MEMORY, 0, "new file of configuration");
    *text = made;
    return ok();
}

static str or_else(str given, str otherwise)
{
    return given.len > 0 ? given : otherwise;
}

static void put_common(buf *out, str id, str description)
{
    put_key(out, "id:", id);
    put_key(out, "description:", description);
    put_list(out, "tags:", "", NULL, 0);
}

static err call_of(arena *a, const new_function *f, str *out)
{
    *out = f->call;
    if (f->call.len > 0)
        return ok();
    char *call = arena_take(a, f->name.len + 1);
    if (call == NULL)
        return fail(ERR_MEMORY, 0, "new function");
    for (size_t i = 0; i < f->name.len; i++) {
        call[i] = f->name.at[i];
        if (call[i] == '-')
            call[i] = '_';
    }
    *out = (str){call, f->name.len};
    return ok();
}

static err put_trigger(arena *a, buf *out, const new_function *f, str type)
{
    str path = str_format(a, "/%.*s", STR_ARG(f->name));
    bool given = f->paths_count > 0;
    if (path.at == NULL)
        return fail(ERR_MEMORY, 0, "new function");
    buf_add(out, STR("trigger:\n"));
    put_key(out, "  type:", type);
    if (str_is(type, STR("pubsub"))) {
        put_key(out, "  channel:", f->channel);
        buf_add(out, STR("  local: false\n"));
    } else if (str_is(type, STR("p2p"))) {
        put_key(out, "  service:", f->service);
        put_key(out, "  command:", f->command);
        buf_add(out, STR("  local: false\n"));
    } else {
        put_key(out, "  method:", or_else(f->method, STR("GET")));
        put_list(out, "  paths:", "    ", given ? f->paths : &path, given ? f->paths_count : 1);
        put_list(out, "domains:", "  ", f->domains, f->domains_count);
    }
    return ok();
}

err model_new_function(arena *a, const new_function *f, str *out)
{
    OWNED(buf_close) buf text;
    buf_open(&text, FILE_BYTES_MAX);
    if (!name_is_valid(f->name))
        return fail(ERR_SYNTAX, 0, "a name is a letter, then letters, digits, _ and -");
    str call = {0};
    TRY(call_of(a, f, &call));
    put_common(&text, f->id, f->description);
    put_key(&text, "source:", or_else(f->source, STR(".")));
    TRY(put_trigger(a, &text, f, or_else(f->type, STR("https"))));
    buf_add(&text, STR("execution:\n"));
    put_key(&text, "  timeout:", or_else(f->timeout, STR("10s")));
    put_key(&text, "  memory:", or_else(f->memory, STR("10MB")));
    put_key(&text, "  call:", call);
    return take_text(a, &text, out);
}

err model_file_of(arena *a, resource_kind kind, str application, str name, str *out)
{
    const char *folder = schema_of(kind)->folder;
    bool inside = application.len > 0;
    str above = {0};
    if ((inside && !name_is_valid(application)) || (kind != KIND_PROJECT && !name_is_valid(name)))
        return fail(ERR_SYNTAX, 0, "a name is a letter, then letters, digits, _ and -");
    if (inside)
        above = str_format(a, "applications/%.*s/", STR_ARG(application));
    str made;
    if (kind == KIND_PROJECT)
        made = str_copy(a, STR("config.yaml"));
    else if (kind == KIND_APPLICATION)
        made = str_format(a, "applications/%.*s/config.yaml", STR_ARG(name));
    else
        made = str_format(a, "%.*s%s/%.*s.yaml", STR_ARG(above), folder, STR_ARG(name));
    if (made.at == NULL || (inside && above.at == NULL))
        return fail(ERR_MEMORY, 0, "name a file");
    *out = made;
    return ok();
}

err model_new_domain(arena *a, str id, str fqdn, str *out)
{
    OWNED(buf_close) buf text;
    buf_open(&text, FILE_BYTES_MAX);
    if (!fqdn_is_valid(fqdn))
        return fail(ERR_SYNTAX, 0, "not a host name");
    put_key(&text, "id:", id);
    put_key(&text, "fqdn:", fqdn);
    buf_add(&text, STR("certificate:\n  type: auto\n"));
    return take_text(a, &text, out);
}

err model_new_project(arena *a, str id, str name, str description, str email, str *out)
{
    OWNED(buf_close) buf text;
    buf_open(&text, FILE_BYTES_MAX);
    if (!name_is_valid(name))
        return fail(ERR_SYNTAX, 0, "a name is a letter, then letters, digits, _ and -");
    if (!id_is_valid(id))
        return fail(ERR_SYNTAX, 0, "not an id");
    put_key(&text, "id:", id);
    put_key(&text, "name:", name);
    put_key(&text, "description:", description);
    put_list(&text, "tags:", "", NULL, 0);
    buf_add(&text, STR("notification:\n"));
    put_key(&text, "  email:", email);
    return take_text(a, &text, out);
}

err model_new_application(arena *a, str id, str description, str *out)
{
    OWNED(buf_close) buf text;
    buf_open(&text, FILE_BYTES_MAX);
    put_common(&text, id, description);
    return take_text(a, &text, out);
}

str model_path_of(const resource *r, const char *name)
{
    const schema_rule *rule = &schema_of(r->kind)->fields[schema_field(r->kind, name)];
    const tree *t = r->root;
    for (str rest = str_of(rule->also); rest.len > 0 && t != NULL;)
        t = tree_field(t, str_cut(&rest, '/'));
    return rule->also != NULL && t != NULL ? str_of(rule->also) : str_of(rule->path);
}

static str id_tail(str id)
{
    return id.len > TAIL_LEN ? str_from(id, id.len - TAIL_LEN) : id;
}

err model_generated_fqdn(arena *a, str project_id, uint64_t counter, str universe, str *out)
{
    if (!id_is_valid(project_id))
        return fail(ERR_SYNTAX, 0, "not an id");
    str tail = str_lower(a, id_tail(project_id));
    str lower = str_lower(a, universe);
    str made = str_format(a, "%.*s%llu.%.*s.localtau", STR_ARG(tail), (unsigned long long)counter,
                          STR_ARG(lower));
    if (tail.at == NULL || lower.at == NULL || made.at == NULL)
        return fail(ERR_MEMORY, 0, "generate a host name");
    if (!fqdn_is_valid(made))
        return fail(ERR_SYNTAX, 0, "the universe's name fits no host name");
    *out = made;
    return ok();
}

uint64_t model_next_counter(const model *m, str project_id)
{
    str tail = id_tail(project_id);
    uint64_t next = 0;
    for (size_t i = 0; i < m->of[KIND_DOMAIN].count; i++) {
        str rest = resource_value(m->of[KIND_DOMAIN].at[i], "fqdn")->text;
        str label = str_cut(&rest, '.');
        uint64_t counter = 0;
        if (!str_is_nocase(str_first(label, tail.len), tail) ||
            str_number(str_from(label, tail.len), &counter).code != OK || counter == UINT64_MAX)
            continue;
        next = counter + 1 > next ? counter + 1 : next;
    }
    return next;
}
