// The inviter's side of invitations: one small file for each, found by the hash of its secret.
//
// The happy path is: made (hash, grant and end written), looked up, marked as spent on disk, and
// swept when its time is over. What can fail: two spend at once (a lock, one wins), a crash after
// the mark (it is spent: a new one is made).
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "mesh/identity.h"
#include "mesh/invite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 4096, SHAPE_MAX = 64, NAME_HEX = 32, SWEEP_BYTES = 1 << 20 };
static const char suffix[] = ".json";

typedef struct stored {
    str hash;
    invite_grant grant;
    uint64_t expires_real_ms, used_real_ms;
} stored;

static void folder_drop(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static err store_path(const char *folder, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/invites/%s", folder, name) < PATH_MAX
               ? ok()
               : fail(ERR_LIMIT, 0, "path of an invitation");
}

// Named by half of the hash: a name says nothing of the secret, nor lets it be guessed bit by bit.
static err secret_path(const char *folder, const char hash[SHA256_HEX + 1], char out[PATH_MAX])
{
    char name[NAME_HEX + sizeof suffix];
    (void)snprintf(name, sizeof name, "%.*s%s", NAME_HEX, hash, suffix);
    return store_path(folder, name, out);
}

static err store_lock(const char *folder, int *lock)
{
    char path[PATH_MAX];
    TRY(store_path(folder, "lock", path));
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*lock < 0)
        return fail_errno(errno, "lock the invitations");
    while (flock(*lock, LOCK_EX) != 0)
        if (errno != EINTR)
            return fail_errno(errno, "lock the invitations");
    return ok();
}

static err stored_write(const char *path, const stored *s)
{
    OWNED(buf_close) buf text;
    buf_open(&text, FILE_BYTES_MAX);
    json_writer w = {.out = &text};
    json_open_object(&w, NULL);
    json_put_text(&w, "hash", s->hash);
    json_put_text(&w, "node", s->grant.node);
    json_put_text(&w, "protocols", s->grant.protocols);
    json_put_text(&w, "shape", s->grant.shape);
    json_put_whole(&w, "certificate_seconds", s->grant.certificate_seconds);
    json_put_whole(&w, "expires_real_ms", s->expires_real_ms);
    json_put_whole(&w, "used_real_ms", s->used_real_ms);
    json_close_object(&w);
    TRY(text.error);
    return file_write_durable(path, buf_str(&text), 0600);
}

static err stored_read(arena *a, const char *path, stored *out)
{
    str text;
    const json *j;
    TRY(file_read(a, path, FILE_BYTES_MAX, &text));
    TRY(json_read(a, text, &j, NULL));
    *out = (stored){
        .hash = json_text(j, "hash"),
        .grant = {json_text(j, "node"), json_text(j, "protocols"), json_text(j, "shape"),
                  json_whole(j, "certificate_seconds", 0)},
        .expires_real_ms = json_whole(j, "expires_real_ms", 0),
        // What can not be read is used.
        .used_real_ms = json_whole(j, "used_real_ms", 1),
    };
    if (out->hash.len != SHA256_HEX || out->grant.protocols.at == NULL)
        return fail(ERR_SYNTAX, 0, "a damaged invitation");
    return ok();
}

// Removes what is late and counts what stays.
static err store_sweep(const char *folder, uint64_t now_real_ms, size_t *count)
{
    char path[PATH_MAX];
    OWNED(arena_drop) arena *a = NULL;
    TRY(store_path(folder, "", path));
    OWNED(folder_drop) DIR *d = opendir(path);
    if (d == NULL)
        return fail_errno(errno, "list the invitations");
    TRY(arena_open(&a, SWEEP_BYTES));
    *count = 0;
    for (struct dirent *at; (at = readdir(d)) != NULL;) {
        stored s;
        if (!str_ends(str_of(at->d_name), str_of(suffix)))
            continue;
        TRY(store_path(folder, at->d_name, path));
        arena_reset(a);
        err e = stored_read(a, path, &s);
        if (e.code == ERR_SYNTAX || (e.code == OK && s.expires_real_ms <= now_real_ms))
            (void)unlink(path);
        else
            ++*count;
    }
    return ok();
}

static err grant_check(const char *folder, const invite_grant *g, char path[PATH_MAX])
{
    char uri[256];
    identity i;
    str node = g->node.len == 0 ? STR("x") : g->node;
    str protocols = g->protocols.len == 0 ? STR("-") : g->protocols;
    if (g->shape.len > SHAPE_MAX || snprintf(uri, sizeof uri, "ctau://u/%.*s/%.*s", STR_ARG(node),
                                             STR_ARG(protocols)) >= (int)sizeof uri)
        return fail(ERR_LIMIT, 0, "an invitation's name, protocols or shape");
    TRY(identity_read(str_of(uri), &i));
    if (!str_is(i.node, node) || !str_is(i.protocols, protocols) ||
        str_find_byte(node, '@') < node.len)
        return fail(ERR_SYNTAX, 0, "an invitation's name or protocols");
    if (identity_has(&i, STR("elder")) && !identity_is_elder(&i))
        return fail(ERR_DENIED, 0, "an elder has no other protocols");
    TRY(store_path(folder, "", path));
    return file_make_folders(path, 0700);
}

// NOLINTNEXTLINE(readability-function-size): invite.h's contract
err invite_make(arena *a,
                const char *folder,
                const invite_grant *g,
                uint64_t expires_real_ms,
                invite *i,
                str *token)
{
    char path[PATH_MAX], hash[SHA256_HEX + 1];
    OWNED(fd_drop) int lock = -1;
    size_t count;
    TRY(grant_check(folder, g, path));
    TRY(store_lock(folder, &lock));
    TRY(store_sweep(folder, clock_real_ms(), &count));
    if (count >= INVITES_MAX)
        return fail(ERR_LIMIT, 0, "256 invitations are open: wait until some are late");
    char *secret = arena_take(a, INVITE_SECRET_BYTES);
    if (secret == NULL)
        return fail(ERR_MEMORY, 0, "invitation");
    random_bytes(secret, INVITE_SECRET_BYTES);
    invite made = *i;
    str text;
    made.secret = (str){secret, INVITE_SECRET_BYTES};
    TRY(invite_write(a, &made, &text));
    sha256_hex(sha256_of(made.secret), hash);
    TRY(secret_path(folder, hash, path));
    stored s = {str_of(hash), *g, expires_real_ms, 0};
    TRY(stored_write(path, &s));
    *i = made;
    *token = text;
    return ok();
}

static err stored_find(arena *a,
                       const char *folder,
                       str secret,
                       uint64_t now_real_ms,
                       char path[PATH_MAX],
                       stored *out)
{
    char hash[SHA256_HEX + 1];
    stored s;
    sha256_hex(sha256_of(secret), hash);
    TRY(secret_path(folder, hash, path));
    err e = secret.len == INVITE_SECRET_BYTES ? stored_read(a, path, &s)
                                              : fail(ERR_ABSENT, 0, "invitation");
    if (e.code == ERR_ABSENT || (e.code == OK && !secret_is(s.hash, str_of(hash))))
        return fail(ERR_DENIED, 0, "this invitation is not known: it may be late");
    TRY(e);
    if (s.expires_real_ms <= now_real_ms)
        return fail(ERR_DENIED, 0, "this invitation is late: ask for another");
    if (s.used_real_ms != 0)
        return fail(ERR_CONFLICT, 0, "this invitation was used already: ask for another");
    *out = s;
    return ok();
}

err invite_look(arena *a, const char *folder, str secret, uint64_t now_real_ms, invite_grant *out)
{
    char path[PATH_MAX];
    stored s;
    TRY(stored_find(a, folder, secret, now_real_ms, path, &s));
    *out = s.grant;
    return ok();
}

err invite_spend(arena *a, const char *folder, str secret, uint64_t now_real_ms, invite_grant *out)
{
    char path[PATH_MAX];
    OWNED(fd_drop) int lock = -1;
    stored s;
    size_t count;
    TRY(store_path(folder, "", path));
    TRY(file_make_folders(path, 0700));
    TRY(store_lock(folder, &lock));
    err e = stored_find(a, folder, secret, now_real_ms, path, &s);
    if (e.code == OK) {
        s.used_real_ms = now_real_ms > 0 ? now_real_ms : 1;
        e = stored_write(path, &s);
    }
    // What is late goes with the next one; that it did not go is no reason to refuse this one.
    (void)store_sweep(folder, now_real_ms, &count).code;
    TRY(e);
    *out = s.grant;
    return ok();
}
