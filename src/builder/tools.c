// Finds the toolchains by reading files, starting nothing, and lays out the recipes for the room.
#include "base/assets.h"
#include "base/file.h"
#include "base/str.h"
#include "builder/builder_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION_BYTES_MAX = 4096, GO_MINOR_MIN = 24 };

// The real path of a program in PATH or in one of the usual places.
static bool tool_find(const char *name, char out[PATH_MAX])
{
    const char *path = getenv("PATH");
    char all[8192];
    int n = snprintf(all, sizeof(all), "%s:/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin",
                     path != NULL ? path : "");
    if (n < 0 || (size_t)n >= sizeof(all))
        return false;
    for (str rest = str_of(all); rest.at != NULL;) {
        str folder = str_cut(&rest, ':');
        char candidate[PATH_MAX];
        if (folder.len == 0 || folder.at[0] != '/')
            continue;
        n = snprintf(candidate, sizeof(candidate), "%.*s/%s", STR_ARG(folder), name);
        struct stat info;
        if (n > 0 && (size_t)n < sizeof(candidate) && access(candidate, X_OK) == 0 &&
            stat(candidate, &info) == 0 && S_ISREG(info.st_mode) &&
            realpath(candidate, out) != NULL)
            return true;
    }
    out[0] = '\0';
    return false;
}

static void path_cut_last(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        *slash = '\0';
}

// GOROOT/VERSION begins with "go1.26.8\n".
static void tools_find_go(tools *t)
{
    t->go_problem = "Go 1.24 or newer is not installed";
    if (!tool_find("go", t->go_root))
        return;
    path_cut_last(t->go_root);
    path_cut_last(t->go_root);
    char file[PATH_MAX + 16];
    (void)snprintf(file, sizeof(file), "%s/VERSION", t->go_root);
    FILE *f = fopen(file, "re");
    if (f == NULL)
        return;
    char line[sizeof(t->go_version)];
    if (fgets(line, sizeof(line), f) != NULL && strncmp(line, "go1.", 4) == 0) {
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(t->go_version, sizeof(t->go_version), "%s", line + 2);
        if (strtol(line + 4, NULL, 10) >= GO_MINOR_MIN)
            t->go_problem = NULL;
    }
    (void)fclose(f);
}

// Debian's clang is /usr/lib/llvm-14/bin/clang behind its links: the folder says the version. The
// file's size and time tell two builds of one version apart, for the cache.
static void tools_find_clang(tools *t)
{
    char linker[PATH_MAX];
    t->clang_problem = "clang is not installed";
    if (!tool_find("clang", t->clang))
        return;
    if (!tool_find("wasm-ld", linker)) {
        t->clang_problem = "wasm-ld (package lld) is not installed";
        return;
    }
    const char *llvm = strstr(t->clang, "/llvm-");
    struct stat info = {0};
    (void)stat(t->clang, &info);
    (void)snprintf(t->clang_version, sizeof(t->clang_version), "%.*s.%lld.%lld",
                   llvm != NULL ? (int)strcspn(llvm + 6, "/") : 1, llvm != NULL ? llvm + 6 : "0",
                   (long long)info.st_size, (long long)info.st_mtime);
    t->clang_problem = NULL;
}

static void tools_find_cache(tools *t)
{
    const char *cache = getenv("CTAU_CACHE");
    const char *home = getenv("HOME");
    int n = cache != NULL && *cache == '/'
                ? snprintf(t->go_cache, sizeof(t->go_cache), "%s/go-guest", cache)
                : snprintf(t->go_cache, sizeof(t->go_cache), "%s/.cache/ctau/go-guest",
                           home != NULL && *home == '/' ? home : "/nonexistent");
    if (n < 0 || (size_t)n >= sizeof(t->go_cache))
        (void)snprintf(t->go_cache, sizeof(t->go_cache), "/nonexistent/go-guest");
}

void tools_find(tools *t)
{
    *t = (tools){0};
    char other[PATH_MAX];
    if (!tool_find("bwrap", t->bubblewrap))
        t->sandbox_problem = "bubblewrap (bwrap) is not installed";
    else if (!tool_find("prlimit", other) || !tool_find("setpriv", other))
        t->sandbox_problem = "prlimit and setpriv (package util-linux) are not installed";
    tools_find_go(t);
    tools_find_clang(t);
    tools_find_cache(t);
}

// Where an embedded file goes in /utils; false: nowhere.
static bool tools_place(str asset, char out[PATH_MAX])
{
    static const struct {
        str from;
        const char *to;
    } places[] = {{STR("recipes/"), ""}, {STR("sdk/c/"), "include/"}, {STR("sdk/go/"), "go/"}};
    for (size_t i = 0; i < COUNT(places); i++) {
        if (!str_starts(asset, places[i].from))
            continue;
        str rest = str_from(asset, places[i].from.len);
        int n = snprintf(out, PATH_MAX, "%s%.*s", places[i].to, STR_ARG(rest));
        return n > 0 && n < PATH_MAX;
    }
    return false;
}

// Not file_write_durable: they are written again at each start.
static err tools_write(const char *path, str bytes)
{
    FILE *f = fopen(path, "wxe");
    if (f == NULL)
        return fail_errno(errno, "write a recipe");
    size_t done = fwrite(bytes.at, 1, bytes.len, f);
    if (fclose(f) != 0 || done != bytes.len)
        return fail_errno(errno, "write a recipe");
    return ok();
}

err tools_write_recipes(arena *a, const char *folder, sha256 *hash)
{
    TRY(file_remove_tree(folder));
    sha256_stream *all;
    TRY(sha256_stream_open(&all));
    err e = file_make_folders(folder, 0755);
    size_t at = 0;
    size_t count = 0;
    str path;
    str bytes;
    while (e.code == OK && assets_next(&at, &path, &bytes)) {
        char place[PATH_MAX];
        if (!tools_place(path, place))
            continue;
        sha256_stream_add(all, path);
        sha256_stream_add(all, (str){bytes.at, bytes.len + 1}); // with its NUL
        const char *whole = str_format(a, "%s/%s", folder, place).at;
        const char *parent =
            whole != NULL ? str_c(a, (str){whole, (size_t)(strrchr(whole, '/') - whole)}) : NULL;
        if (parent == NULL)
            e = fail(ERR_MEMORY, 0, "write recipes");
        else
            e = file_make_folders(parent, 0755);
        if (e.code == OK)
            e = tools_write(whole, bytes);
        count++;
    }
    *hash = sha256_stream_close(all);
    if (e.code == OK && count == 0)
        return fail(ERR_UNSUPPORTED, 0, "no recipes are in this program");
    return e;
}
