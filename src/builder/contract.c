// The .taubyte folder of a source: which image, which steps, which variables; read strictly.
#include "base/str.h"
#include "builder/builder_inner.h"
#include "model/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_BYTES_MAX = 64 << 10, DEPTH_MAX = 8 };

static const struct {
    const char *image; // its name without tag
    const char *language;
} images[] = {
    {"taubyte/go-wasi", "go"},
    {"taubyte/go-wasi-lib", "go"},
    {"ctau/go", "go"},
    {"ctau/c", "c"},
    {"taubyte/rust-wasi", "rust"},
    {"taubyte/assembly-script-wasi", "assemblyscript"},
    {"taubyte/assemblyscript-wasi", "assemblyscript"},
};

err source_read(arena *a, const char *folder, const char *path, size_t limit, str *out)
{
    OWNED(fd_drop) int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return fail_errno(errno, "open source");
    str rest = str_of(path);
    for (int depth = 0; depth < DEPTH_MAX; depth++) {
        const char *name = str_c(a, str_cut(&rest, '/'));
        if (name == NULL)
            return fail(ERR_MEMORY, 0, "read source");
        bool last = rest.at == NULL;
        int how = O_NOFOLLOW | O_CLOEXEC | (last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY);
        int next = openat(at, name, how);
        if (next < 0)
            return fail_errno(errno == ELOOP || errno == ENOTDIR ? EACCES : errno, "read source");
        fd_drop(&at);
        at = next;
        if (last)
            break;
    }
    struct stat info;
    if (fstat(at, &info) != 0)
        return fail_errno(errno, "read source");
    if (!S_ISREG(info.st_mode))
        return fail(ERR_DENIED, 0, "not a regular file");
    if ((uint64_t)info.st_size > limit)
        return fail(ERR_LIMIT, 0, "file is too large");
    char *bytes = arena_take(a, (size_t)info.st_size + 1);
    if (bytes == NULL)
        return fail(ERR_MEMORY, 0, "read source");
    size_t len = 0;
    while (len < (size_t)info.st_size) {
        ssize_t n = read(at, bytes + len, (size_t)info.st_size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(errno, "read source");
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *out = (str){bytes, len};
    return ok();
}

// What contract_read knows while it reads.
typedef struct reading {
    arena *memory;
    str file;
    diagnoses found;
    contract *out;
} reading;

static void note(reading *r, const tree *at, str text, str help)
{
    tree_note(&r->found, r->file, at, "BLD001", text)->help = help;
}

static const tree *one_of_two(const tree *map, const char *name, const char *other)
{
    const tree *t = tree_field(map, str_of(name));
    return t != NULL ? t : tree_field(map, str_of(other));
}

static void read_image(reading *r, const tree *image)
{
    if (image == NULL || image->kind != TREE_SCALAR || image->text.len == 0) {
        note(r, image, STR("environment.image is missing"),
             STR("for example taubyte/go-wasi:latest or ctau/c"));
        return;
    }
    r->out->image = image->text;
    str name = str_first(image->text, str_find_byte(image->text, ':'));
    const char *known[COUNT(images)];
    for (size_t i = 0; i < COUNT(images); i++) {
        known[i] = images[i].image;
        if (str_is(name, str_of(images[i].image)))
            r->out->language = str_of(images[i].language);
    }
    if (r->out->language.len > 0)
        return;
    const char *close = str_closest(name, known, COUNT(known));
    note(r, image,
         str_format(r->memory, "no recipe for the image \"%.*s\"%s%s", STR_ARG(image->text),
                    close != NULL ? "; did you mean " : "; there are taubyte/go-wasi and ctau/c",
                    close != NULL ? close : ""),
         STR(""));
}

static bool is_name(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return s.len > 0;
}

static void read_variables(reading *r, const tree *variables)
{
    if (variables == NULL || tree_is_null(variables))
        return;
    if (variables->kind != TREE_MAP) {
        note(r, variables, STR("environment.variables is a map of names to texts"), STR(""));
        return;
    }
    contract *c = r->out;
    for (const tree *v = variables->first; v != NULL; v = v->next) {
        if (!is_name(v->key->text))
            note(r, v->key, STR("a variable's name has letters, digits and _ only"), STR(""));
        else if (v->kind != TREE_SCALAR || memchr(v->text.at, 0, v->text.len) != NULL)
            note(r, v, STR("a variable's value is one text"), STR(""));
        else if (c->variables_count == VARIABLES_MAX)
            note(r, v, STR("more than 64 variables"), STR(""));
        else {
            c->names[c->variables_count] = v->key->text;
            c->values[c->variables_count++] = v->text;
        }
        if (r->found.count > 0)
            return;
    }
}

static void read_steps(reading *r, const char *source, const tree *workflow)
{
    if (workflow == NULL || workflow->kind != TREE_LIST || workflow->count == 0) {
        note(r, workflow, STR("workflow is a list of steps, as [build]"), STR(""));
        return;
    }
    contract *c = r->out;
    for (const tree *s = workflow->first; s != NULL && r->found.count == 0; s = s->next) {
        str step = s->kind == TREE_SCALAR ? s->text : STR("");
        if (str_ends(step, STR(".sh")))
            step = str_first(step, step.len - 3);
        if (step.len == 0 || step.at[0] == '.' || memchr(step.at, '/', step.len) != NULL) {
            note(r, s, STR("a step is the name of a script in this folder"), STR(""));
            return;
        }
        if (c->steps_count == STEPS_MAX) {
            note(r, s, STR("more than 16 steps"), STR(""));
            return;
        }
        str script;
        const char *path =
            str_format(r->memory, "%.*s/%.*s.sh", STR_ARG(c->folder), STR_ARG(step)).at;
        if (path == NULL || source_read(r->memory, source, path, 1 << 20, &script).code != OK)
            note(r, s, str_format(r->memory, "step \"%.*s\": there is no %s", STR_ARG(step), path),
                 STR(""));
        c->steps[c->steps_count++] = step;
    }
}

static void read_keys(reading *r, const tree *map, const char *const *known, size_t count)
{
    for (const tree *t = map->first; t != NULL; t = t->next) {
        bool found = false;
        for (size_t i = 0; i < count; i++)
            found = found || str_is(t->key->text, str_of(known[i]));
        if (found)
            continue;
        const char *close = str_closest(t->key->text, known, count);
        note(r, t->key,
             str_format(r->memory, "unknown key \"%.*s\"%s%s", STR_ARG(t->key->text),
                        close != NULL ? "; did you mean " : "", close != NULL ? close : ""),
             STR(""));
        return;
    }
}

static void read_root(reading *r, const char *source, const tree *root)
{
    static const char *const keys[] = {"version", "environment", "enviroment", "workflow"};
    static const char *const inner[] = {"image", "variables"};
    if (root->kind != TREE_MAP) {
        note(r, root, STR("this file is a map with environment and workflow"), STR(""));
        return;
    }
    const tree *environment = one_of_two(root, "environment", "enviroment");
    read_keys(r, root, keys, COUNT(keys));
    if (r->found.count == 0 && environment != NULL && environment->kind == TREE_MAP)
        read_keys(r, environment, inner, COUNT(inner));
    if (r->found.count == 0)
        read_image(r, environment != NULL ? tree_field(environment, STR("image")) : NULL);
    if (r->found.count == 0)
        read_variables(r, tree_field(environment, STR("variables")));
    if (r->found.count == 0)
        read_steps(r, source, tree_field(root, STR("workflow")));
}

err contract_read(arena *a, const char *source, str path, contract *out, str *problem)
{
    static const char *const folders[] = {".taubyte", "taubyte"};
    *out = (contract){0};
    *problem = (str){"", 0};
    str text = {0};
    err e = ok();
    for (size_t i = 0; i < COUNT(folders); i++) {
        out->folder = str_of(folders[i]);
        const char *file = str_format(a, "%s/config.yaml", folders[i]).at;
        if (file == NULL)
            return fail(ERR_MEMORY, 0, "read .taubyte");
        e = source_read(a, source, file, CONFIG_BYTES_MAX, &text);
        if (e.code != ERR_ABSENT)
            break;
    }
    if (e.code == ERR_MEMORY || e.code == ERR_SYSTEM)
        return e;
    if (e.code != OK) {
        *problem = str_format(a, "%.*s/.taubyte/config.yaml: %s", STR_ARG(path),
                              e.code == ERR_ABSENT  ? "there is none; it says how to build"
                              : e.code == ERR_LIMIT ? "larger than 64 KiB"
                                                    : "not a regular file");
        return problem->at != NULL ? ok() : fail(ERR_MEMORY, 0, "read .taubyte");
    }
    reading r = {.memory = a, .out = out};
    r.file = str_format(a, "%.*s/%.*s/config.yaml", STR_ARG(path), STR_ARG(out->folder));
    diagnoses_init(&r.found, a, 1);
    tree *root;
    e = tree_read(a, r.file, text, &r.found, &root);
    if (e.code == ERR_MEMORY)
        return e;
    if (e.code == OK)
        read_root(&r, source, root);
    const diagnosis *d = r.found.first;
    if (d == NULL)
        return ok();
    *problem = d->line > 0 ? str_format(a, "%.*s:%zu:%zu: %.*s", STR_ARG(d->file), d->line,
                                        d->column, STR_ARG(d->text))
                           : str_format(a, "%.*s: %.*s", STR_ARG(d->file), STR_ARG(d->text));
    return problem->at != NULL ? ok() : fail(ERR_MEMORY, 0, "read .taubyte");
}
