// Writes the compiled document.
#include "model/document.h"

#include "base/json.h"
#include "base/str.h"

static void put_texts(json_writer *w, const char *name, const str *items, size_t count)
{
    json_open_list(w, name);
    for (size_t i = 0; i < count; i++)
        json_put_text(w, NULL, items[i]);
    json_close_list(w);
}

static void put_common(json_writer *w, const resource *r)
{
    json_put_text(w, "id", r->id);
    json_put_text(w, "name", r->name);
    json_put_text(w, "application", r->application);
    json_put_text(w, "description", r->description);
    put_texts(w, "tags", r->tags, r->tags_count);
}

static void put_project(json_writer *w, const model *m)
{
    json_open_object(w, "project");
    if (m->project != NULL) {
        json_put_text(w, "id", m->project->id);
        json_put_text(w, "name", m->project->name);
        json_put_text(w, "description", m->project->description);
        put_texts(w, "tags", m->project->tags, m->project->tags_count);
        json_put_text(w, "email", m->email);
    }
    json_close_object(w);
}

static void put_hosts(json_writer *w, const resource *const *domains, size_t count)
{
    json_open_list(w, "domains");
    for (size_t i = 0; i < count; i++)
        json_put_text(w, NULL, resource_value(domains[i], "fqdn")->text);
    json_close_list(w);
}

// "." or "libraries/ID": ids outlive renaming.
static err put_source(json_writer *w, const resource *library)
{
    buf source;
    buf_open(&source, 256);
    if (library == NULL)
        buf_add_byte(&source, '.');
    else
        buf_add_format(&source, "libraries/%.*s", STR_ARG(library->id));
    json_put_text(w, "source", buf_str(&source));
    err e = source.error;
    buf_close(&source);
    return e;
}

static err put_function(json_writer *w, const model_function *f)
{
    json_open_object(w, NULL);
    put_common(w, f->of);
    json_put_text(w, "type", f->type);
    json_put_flag(w, "secure", f->secure);
    put_texts(w, "methods", f->methods, f->methods_count);
    put_texts(w, "paths", f->paths, f->paths_count);
    put_hosts(w, f->domains, f->domains_count);
    if (!str_is(f->type, STR("http"))) {
        json_put_text(w, "channel", resource_value(f->of, "channel")->text);
        json_put_text(w, "service", resource_value(f->of, "service")->text);
        json_put_text(w, "command", resource_value(f->of, "command")->text);
        json_put_flag(w, "local", resource_value(f->of, "local")->number != 0);
    }
    TRY(put_source(w, f->library));
    json_put_text(w, "call", f->call);
    json_put_whole(w, "timeout_ms", f->timeout_ms);
    json_put_whole(w, "memory", f->memory_bytes);
    json_put_whole(w, "concurrency", f->concurrency);
    json_put_whole(w, "response", f->response_bytes);
    json_close_object(w);
    return ok();
}

// A field that was neither written nor has a default is left out.
static void put_field(json_writer *w, const schema_rule *f, const field_value *v)
{
    if (f->list) {
        put_texts(w, f->name, v->items, v->count);
        return;
    }
    if (v->at == NULL && f->otherwise == NULL)
        return;
    switch (f->type) {
    case VALUE_BYTES:
    case VALUE_DURATION:
    case VALUE_WHOLE:
        json_put_whole(w, f->name, v->number);
        break;
    case VALUE_FLAG:
        json_put_flag(w, f->name, v->number != 0);
        break;
    default:
        json_put_text(w, f->name, v->text);
    }
}

static err put_resource(json_writer *w, const model *m, const resource *r)
{
    const schema *s = schema_of(r->kind);
    size_t own = schema_field(r->kind, "tags") + 1; // the common ones stand first
    json_open_object(w, NULL);
    put_common(w, r);
    for (size_t i = own; i < s->count; i++) {
        const schema_rule *f = &s->fields[i];
        const field_value *v = &r->values[i];
        if (f->type == VALUE_SOURCE) {
            size_t cut = str_find_byte(v->text, '/') + 1;
            const resource *library =
                model_find(m, KIND_LIBRARY, r->application, str_from(v->text, cut));
            TRY(put_source(w, library));
        } else if (f->type == VALUE_DOMAIN) {
            json_open_list(w, f->name);
            for (size_t d = 0; d < v->count; d++) {
                const resource *domain = model_find(m, KIND_DOMAIN, r->application, v->items[d]);
                if (domain != NULL)
                    json_put_text(w, NULL, resource_value(domain, "fqdn")->text);
            }
            json_close_list(w);
        } else if (f->name != NULL) {
            put_field(w, f, v);
        }
    }
    json_close_object(w);
    return ok();
}

err model_document(const model *m, buf *out)
{
    static const struct {
        resource_kind kind;
        const char *name;
    } groups[] = {
        {KIND_DOMAIN, "domains"},      {KIND_APPLICATION, "applications"},
        {KIND_DATABASE, "databases"},  {KIND_STORAGE, "storages"},
        {KIND_MESSAGING, "messaging"}, {KIND_SERVICE, "services"},
        {KIND_LIBRARY, "libraries"},   {KIND_WEBSITE, "websites"},
        {KIND_SMARTOP, "smartops"},
    };
    json_writer w = {.out = out};
    json_open_object(&w, NULL);
    put_project(&w, m);
    json_open_list(&w, "functions");
    for (size_t i = 0; i < m->functions_count; i++)
        TRY(put_function(&w, &m->functions[i]));
    json_close_list(&w);
    for (size_t g = 0; g < COUNT(groups); g++) {
        const resources *of = &m->of[groups[g].kind];
        json_open_list(&w, groups[g].name);
        for (size_t i = 0; i < of->count; i++)
            TRY(put_resource(&w, m, of->at[i]));
        json_close_list(&w);
    }
    json_close_object(&w);
    return out->error;
}
