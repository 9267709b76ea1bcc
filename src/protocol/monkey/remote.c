// Sources without a shared disk: auth packs each tree into a blob, which is fetched and unpacked.
//
// The happy path is: 1. auth.source of the configuration, 2. its blob is fetched, 3. a helper
// thread unpacks it and reads the configuration, 4. auth.source and the blob of each function, one
// after the other, 5. a helper thread unpacks them all. What can fail: as fetch.c, and the way to
// the node that has the repositories (another attempt).
#include "base/file.h"
#include "base/str.h"
#include "mesh/blob.h"
#include "protocol/monkey/monkey_inner.h"
#include "repo/archive.h"

static void remote_source(struct monkey_job *j);

static void remote_end(struct monkey_job *j, err e)
{
    j->fetch_error = e;
    monkey_job_fetched(j);
}

// ---- helper threads

static err remote_unpack(struct monkey_job *j)
{
    for (size_t i = 0; i < j->builds_count; i++) {
        struct monkey_build *b = &j->builds[i];
        b->folder = fetch_folder(j, i);
        if (b->folder == NULL)
            return fail(ERR_MEMORY, 0, "fetch");
        TRY(archive_unpack(j->monkey->context.blobs, &b->archive, b->folder, SOURCE_BYTES_MAX));
    }
    return ok();
}

static void remote_unpack_work(void *data)
{
    struct monkey_job *j = data;
    j->fetch_error = remote_unpack(j);
}

static err remote_read(struct monkey_job *j)
{
    const char *folder = str_format(j->memory, "%s/config", j->folder).at;
    if (folder == NULL)
        return fail(ERR_MEMORY, 0, "fetch");
    TRY(file_make_folders(folder, 0700));
    TRY(archive_unpack(j->monkey->context.blobs, &j->configuration_archive, folder,
                       SOURCE_BYTES_MAX));
    return fetch_model(j);
}

static void remote_read_work(void *data)
{
    struct monkey_job *j = data;
    j->fetch_error = remote_read(j);
}

// False: the job ended meanwhile.
static bool remote_goes_on(struct monkey_job *j)
{
    j->fetching = false;
    if (j->monkey->closed != NULL || j->released)
        monkey_job_release(j, true);
    else if (j->cancelled)
        monkey_job_end(j, NULL, STR(""));
    else
        return true;
    return false;
}

static void remote_unpack_done(void *data)
{
    struct monkey_job *j = data;
    if (remote_goes_on(j))
        monkey_job_fetched(j);
}

static void remote_read_done(void *data)
{
    struct monkey_job *j = data;
    if (!remote_goes_on(j))
        return;
    if (j->fetch_error.code != OK || j->found.count > 0 || j->builds_count == 0)
        monkey_job_fetched(j);
    else
        remote_source(j);
}

static void remote_work(struct monkey_job *j, void (*work)(void *data), void (*done)(void *data))
{
    j->fetching = true;
    err e = loop_work(j->monkey->context.loop, work, done, j);
    if (e.code == OK)
        return;
    j->fetching = false;
    remote_end(j, e);
}

// ---- one tree

static bool remote_is_configuration(const struct monkey_job *j)
{
    return j->model == NULL;
}

static void remote_on_fetched(void *data, err e, uint64_t bytes)
{
    (void)bytes;
    struct monkey_job *j = data;
    if (!remote_goes_on(j))
        return;
    if (e.code != OK) { // absent here is not absent in the repository: another attempt may help
        remote_end(j, e.code == ERR_ABSENT ? fail(ERR_BUSY, 0, e.what) : e);
        return;
    }
    if (remote_is_configuration(j)) {
        remote_work(j, remote_read_work, remote_read_done);
        return;
    }
    j->source_at++;
    j->source_place = 0;
    remote_source(j);
}

static void remote_on_source(void *data, err e, const void *fields)
{
    struct monkey_job *j = data;
    const auth_source_reply *reply = fields;
    if (j->cancelled || j->ending)
        return;
    bool configuration = remote_is_configuration(j);
    struct monkey_build *b = configuration ? NULL : &j->builds[j->source_at];
    if (e.code == ERR_ABSENT && !configuration) {
        j->source_place++;
        remote_source(j);
        return;
    }
    sha256 *hash = configuration ? &j->configuration_archive : &b->archive;
    if (e.code == OK)
        e = sha256_from_hex(reply->hash, hash);
    if (e.code == OK && !configuration && reply->tree.len < sizeof(b->tree))
        *(char *)__builtin_mempcpy(b->tree, reply->tree.at, reply->tree.len) = '\0';
    mesh_blob_request request = {.into = j->monkey->context.blobs,
                                 .bytes_max = MESH_BLOB_BYTES_MAX,
                                 .done = remote_on_fetched,
                                 .data = j,
                                 .owner = j};
    if (e.code == OK) {
        request.hash = *hash;
        request.node = reply->node;
        j->fetching = true;
        e = mesh_blob_fetch(j->monkey->context.mesh, &request);
        j->fetching = e.code == OK;
    }
    if (e.code != OK)
        remote_end(j, e);
}

static void remote_source(struct monkey_job *j)
{
    if (j->source_at == j->builds_count) {
        remote_work(j, remote_unpack_work, remote_unpack_done);
        return;
    }
    struct monkey_build *b = &j->builds[j->source_at];
    str path = fetch_path(j, b, j->source_place);
    if (path.len == 0) {
        fetch_missing(j, b);
        remote_end(j, ok());
        return;
    }
    b->path = path;
    auth_source_request ask = {
        .repository = j->code.id, .commit = j->job.code_commit, .path = b->path};
    monkey_job_ask(j, MSG_auth_source, &ask, remote_on_source);
}

void monkey_job_fetch_remote(struct monkey_job *j)
{
    auth_source_request ask = {.repository = j->configuration.id,
                               .commit = j->job.configuration_commit};
    monkey_job_ask(j, MSG_auth_source, &ask, remote_on_source);
}
