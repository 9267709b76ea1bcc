// Who has joined from other machines: one small file each, which also takes the name.
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "dream/join_inner.h"
#include "mesh/deny.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum { RECORD_BYTES_MAX = 4096, NUMBER_MAX = 1000 };

static err record_path(const char *folder, str name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/joined/%.*s.json", folder, STR_ARG(name)) < PATH_MAX
               ? ok()
               : fail(ERR_LIMIT, 0, "path too long");
}

err join_record_read(arena *a, const char *folder, str name, join_record *out)
{
    char path[PATH_MAX];
    str text;
    const json *value;
    if (str_find_byte(name, '/') < name.len || str_find_byte(name, '.') < name.len)
        return fail(ERR_ABSENT, 0, "no such node has joined");
    TRY(record_path(folder, name, path));
    TRY(file_read(a, path, RECORD_BYTES_MAX, &text));
    TRY(json_read(a, text, &value, NULL));
    *out = (join_record){
        .node = name,
        .protocols = json_text(value, "protocols"),
        .address = json_text(value, "address"),
        .certificate_seconds = json_whole(value, "certificate_seconds", 0),
        .joined_real_ms = json_whole(value, "joined_real_ms", 0),
    };
    return out->protocols.len > 0 ? ok() : fail(ERR_SYNTAX, 0, "damaged record of a node");
}

static err record_write(const char *path, const join_record *r)
{
    OWNED(buf_close) buf text;
    buf_open(&text, RECORD_BYTES_MAX);
    json_writer w = {.out = &text};
    json_open_object(&w, NULL);
    json_put_text(&w, "node", r->node);
    json_put_text(&w, "protocols", r->protocols);
    json_put_text(&w, "address", r->address);
    json_put_whole(&w, "certificate_seconds", r->certificate_seconds);
    json_put_whole(&w, "joined_real_ms", r->joined_real_ms);
    json_close_object(&w);
    TRY(text.error);
    return file_write_durable(path, buf_str(&text), 0600);
}

err join_is_denied(const char *folder, arena *a, str name, bool *out)
{
    deny *list;
    str problem = {0};
    err e = deny_open(&list, folder, a, &problem);
    if (e.code != OK)
        return problem.at != NULL ? fail(e.code, e.sys, str_c(a, problem)) : e;
    *out = deny_has(list, STR(""), name, clock_now_ms());
    deny_close(list);
    return ok();
}

err join_record_make(join_door *d, arena *a, str shape, join_record *record, unsigned *number)
{
    char path[PATH_MAX], lock_path[PATH_MAX];
    OWNED(fd_drop) int lock = -1;
    const char *folder = d->settings.folder;
    if (snprintf(lock_path, sizeof(lock_path), "%s/joined", folder) >= PATH_MAX - 8)
        return fail(ERR_LIMIT, 0, "path too long");
    TRY(file_make_folders(lock_path, 0700));
    (void)snprintf(lock_path, sizeof(lock_path), "%s/joined/lock", folder);
    lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return fail_errno(errno, "lock the names of nodes");
    while (flock(lock, LOCK_EX) != 0)
        if (errno != EINTR)
            return fail_errno(errno, "lock the names of nodes");
    for (unsigned n = 2; n < NUMBER_MAX; n++) {
        bool denied;
        record->node = str_format(a, "%.*s-%u", STR_ARG(shape), n);
        if (record->node.at == NULL)
            return fail(ERR_MEMORY, 0, "join");
        TRY(record_path(folder, record->node, path));
        if (d->settings.is_ours(d->settings.data, record->node) || file_exists(path))
            continue;
        TRY(join_is_denied(folder, a, record->node, &denied));
        if (denied)
            continue;
        *number = n;
        record->joined_real_ms = clock_real_ms();
        return record_write(path, record);
    }
    return fail(ERR_LIMIT, 0, "a thousand nodes of this kind have joined: that is all");
}

void join_record_forget(const char *folder, str name)
{
    char path[PATH_MAX];
    if (record_path(folder, name, path).code == OK)
        (void)unlink(path);
}
