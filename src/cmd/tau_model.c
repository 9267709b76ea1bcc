// The project's configuration as commands see it: read, found by name, its functions' URLs.
#include "base/file.h"
#include "base/str.h"
#include "cmd/tau_inner.h"

#include <string.h>

err tau_model(tau *t, model **out, diagnoses *found)
{
    diagnoses_init(found, t->memory, MODEL_DIAGNOSES_MAX);
    err e = model_load(t->memory, t->config, found, out);
    if (e.code == ERR_ABSENT)
        return fail(ERR_ABSENT, 0, "the project has no folder config");
    TRY(e);
    for (diagnosis *d = found->first; d != NULL; d = d->next)
        d->file = str_format(t->memory, "config/%.*s", STR_ARG(d->file));
    return ok();
}

int tau_model_valid(tau *t, model **out)
{
    diagnoses found;
    err e = tau_model(t, out, &found);
    if (e.code != OK)
        return tau_failed(t, e);
    if (found.count == 0)
        return EXIT_OK;
    if (cli_json(t->c))
        return tau_fail(t, EXIT_FAILED, STR("tau validate --json"),
                        "the configuration has %zu errors", found.count);
    cli_diagnoses(t->c, t->root, &found);
    return EXIT_FAILED;
}

const resource *tau_resource(tau *t, const model *m, resource_kind kind, str name)
{
    str application = cli_value(t->c, "application");
    str shown = name;
    size_t slash = str_find_byte(name, '/');
    if (slash < name.len) {
        application = str_first(name, slash);
        name = str_from(name, slash + 1);
    }
    const resources *all = &m->of[kind];
    const char **names = arena_take(t->memory, (all->count + 1) * sizeof(*names));
    size_t names_count = 0;
    for (size_t i = 0; i < all->count && names != NULL; i++) {
        const resource *r = all->at[i];
        if (str_is(r->name, name) && str_is(r->application, application))
            return r;
        if (str_is(r->application, application))
            names[names_count++] = str_c(t->memory, r->name);
    }
    const char *near = str_closest(name, names, names_count);
    const char *noun = schema_of(kind)->name;
    str help = near != NULL ? str_format(t->memory, "did you mean %s?        all: tau list", near)
                            : str_format(t->memory, "tau list   shows what there is");
    (void)tau_fail(t, EXIT_ABSENT, help, "there is no %s %.*s", noun,
                   STR_ARG(str_printable(t->memory, shown)));
    return NULL;
}

str tau_friendly_host(arena *a, str fqdn)
{
    str tail = STR(".localtau");
    if (!str_ends(fqdn, tail))
        return fqdn;
    return str_format(a, "%.*s.localhost", STR_ARG(str_first(fqdn, fqdn.len - tail.len)));
}

size_t tau_urls(tau *t, const model_function *f, tau_url **out)
{
    size_t count = 0;
    uint64_t port = tau_ports(t) ? t->gateway_port : 8080;
    tau_url *urls = arena_take(t->memory, (f->domains_count * f->paths_count + 1) * sizeof(*urls));
    bool get = f->methods_count == 0;
    for (size_t i = 0; i < f->methods_count; i++)
        get = get || str_is(f->methods[i], STR("GET"));
    for (size_t d = 0; d < f->domains_count && urls != NULL; d++) {
        str fqdn = resource_value(f->domains[d], "fqdn")->text;
        str host = tau_friendly_host(t->memory, fqdn);
        for (size_t i = 0; i < f->paths_count; i++)
            urls[count++] = (tau_url){
                .method = get ? STR("GET") : f->methods[0],
                .url = str_format(t->memory, "http://%.*s:%llu%.*s", STR_ARG(host),
                                  (unsigned long long)port, STR_ARG(f->paths[i])),
                .host = fqdn,
                .path = f->paths[i],
            };
    }
    *out = urls;
    return count;
}

const char *tau_path(tau *t, str path)
{
    return str_format(t->memory, "%s/%.*s", t->root, STR_ARG(path)).at;
}

err tau_write(tau *t, str path, str bytes)
{
    const char *whole = tau_path(t, path);
    char *folder = whole == NULL ? NULL : (char *)str_c(t->memory, str_of(whole));
    char *slash = folder == NULL ? NULL : strrchr(folder, '/');
    if (slash == NULL)
        return fail(ERR_MEMORY, 0, "write a file");
    *slash = 0;
    TRY(file_make_folders(folder, 0755));
    return file_write_durable(whole, bytes, 0644);
}
