// info/refs, answered by ourselves: running git for it costs 8 ms.
//
// receive-pack and upload-pack run without advertising anything, so what stands here is what they
// understand.
#include "base/str.h"
#include "repo/forge_inner.h"

#include <stdio.h>

#ifndef VERSION
#define VERSION "0"
#endif
#define AGENT "agent=ctau/" VERSION
static const char receive_capabilities[] =
    "report-status delete-refs side-band-64k quiet atomic ofs-delta "
    "object-format=sha1 push-options " AGENT;
static const char upload_capabilities[] =
    "multi_ack thin-pack side-band side-band-64k ofs-delta shallow deepen-since deepen-not "
    "deepen-relative "
    "no-progress include-tag multi_ack_detailed allow-reachable-sha1-in-want no-done "
    "object-format=sha1 " AGENT;

static bool refs_is_version_two(str protocol)
{
    while (protocol.len > 0)
        if (str_is(str_cut(&protocol, ':'), STR("version=2")))
            return true;
    return false;
}

static void refs_write_version_two(buf *out)
{
    static const char *const lines[] = {
        "version 2\n",      (AGENT "\n"),
        "ls-refs=unborn\n", "fetch=shallow wait-for-done\n",
        "server-option\n",  "object-format=sha1\n",
    };
    for (size_t i = 0; i < COUNT(lines); i++)
        pkt_add(out, str_of(lines[i]));
    pkt_add_flush(out);
}

// The first line of an advertisement carries the capabilities.
static void refs_write(
    buf *out, bool *first, str commit, str name, const char *suffix, const char *capabilities)
{
    if (*first)
        pkt_add_format(out, "%.*s %.*s%s%c%s\n", STR_ARG(commit), STR_ARG(name), suffix, '\0',
                       capabilities);
    else
        pkt_add_format(out, "%.*s %.*s%s\n", STR_ARG(commit), STR_ARG(name), suffix);
    *first = false;
}

static void refs_write_all(forge_visit *c, const repo_ref *refs, size_t count)
{
    static const char zeros[] = "0000000000000000000000000000000000000000";
    buf *out = &c->answer;
    bool first = true;
    char capabilities[512];
    str service = c->push ? STR("git-receive-pack") : STR("git-upload-pack");
    const repo_ref *head = NULL;
    for (size_t i = 0; i < count && head == NULL; i++)
        if (str_is(refs[i].name, STR("refs/heads/main")))
            head = &refs[i];
    snprintf(capabilities, sizeof(capabilities), "%s%s",
             c->push ? receive_capabilities : upload_capabilities,
             !c->push && head != NULL ? " symref=HEAD:refs/heads/main" : "");
    pkt_add_format(out, "# service=%.*s\n", STR_ARG(service));
    pkt_add_flush(out);
    if (!c->push && head != NULL)
        refs_write(out, &first, head->commit, STR("HEAD"), "", capabilities);
    for (size_t i = 0; i < count; i++) {
        refs_write(out, &first, refs[i].commit, refs[i].name, "", capabilities);
        if (!c->push && refs[i].peeled.len > 0)
            refs_write(out, &first, refs[i].peeled, refs[i].name, "^{}", capabilities);
    }
    if (first)
        refs_write(out, &first, str_of(zeros), STR("capabilities^{}"), "", capabilities);
    pkt_add_flush(out);
}

static void refs_work(void *data)
{
    forge_visit *c = data;
    repo_ref *refs;
    size_t count;
    c->worked = repo_refs(c->memory, c->repository->path, &refs, &count);
    if (c->worked.code == OK)
        refs_write_all(c, refs, count);
    if (c->worked.code == OK)
        c->worked = c->answer.error;
}

static void refs_on_worked(void *data)
{
    forge_visit *c = data;
    if (c->worked.code == ERR_ABSENT)
        c->repository->ready = false; // somebody took it away: the next use makes it again
    if (c->worked.code != OK) {
        visit_end(c, c->worked, "list refs");
        return;
    }
    visit_answer(c, 200,
                 c->push ? "application/x-git-receive-pack-advertisement"
                         : "application/x-git-upload-pack-advertisement",
                 buf_str(&c->answer));
    visit_free(c);
}

void refs_advertise(forge_visit *c)
{
    if (c->push || !refs_is_version_two(c->protocol)) { // there is no push in version 2
        visit_work(c, refs_work, refs_on_worked);
        return;
    }
    refs_write_version_two(&c->answer);
    c->worked = c->answer.error;
    refs_on_worked(c);
}
