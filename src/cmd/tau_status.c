// tau status and pull: how this checkout, the forge and what is live differ.
#include "base/clock.h"
#include "base/str.h"
#include "cmd/tau_inner.h"

enum { STATUS_JSON_BYTES = 256 * 1024 };

typedef struct side {
    const char *name;
    checkout k;
    str branch, head;
    size_t files;           // changed and not committed
    uint64_t ahead, behind; // of what was fetched last
    bool known;             // the forge's branch was seen
} side;

static const char *side_upstream(tau *t, const side *s)
{
    return str_format(t->memory, "refs/remotes/origin/%.*s", STR_ARG(s->branch)).at;
}

static err side_look(tau *t, side *s)
{
    str status, counts = {0};
    TRY(checkout_do(&s->k, &s->branch, "symbolic-ref", "--short", "HEAD", NULL));
    TRY(checkout_do(&s->k, &status, "status", "--porcelain", "--untracked-files=all", NULL));
    for (str rest = status; rest.len > 0;)
        s->files += str_cut(&rest, '\n').len > 0;
    s->head = checkout_commit(&s->k, "HEAD");
    const char *upstream = side_upstream(t, s);
    s->known = checkout_commit(&s->k, upstream).len > 0;
    if (!s->known || s->head.len == 0)
        return ok();
    const char *range = str_format(t->memory, "HEAD...%s", upstream).at;
    TRY(checkout_do(&s->k, &counts, "rev-list", "--left-right", "--count", range, NULL));
    str behind = counts;
    str ahead = str_cut(&behind, '\t');
    if (str_number(ahead, &s->ahead).code != OK ||
        str_number(str_trim(behind), &s->behind).code != OK)
        return fail(ERR_SYNTAX, 0, "git rev-list counted strangely");
    return ok();
}

static str side_said(tau *t, const side *s)
{
    if (s->head.len == 0 && s->files == 0)
        return STR("empty");
    str text = str_format(t->memory, "%.*s", STR_ARG(s->branch));
    if (s->files > 0)
        text = str_format(t->memory, "%.*s, %zu file%s changed", STR_ARG(text), s->files,
                          s->files == 1 ? "" : "s");
    if (!s->known)
        return str_format(t->memory, "%.*s, never pushed", STR_ARG(text));
    if (s->ahead > 0)
        text = str_format(t->memory, "%.*s, %llu to push", STR_ARG(text),
                          (unsigned long long)s->ahead);
    if (s->behind > 0)
        text = str_format(t->memory, "%.*s, %llu to pull", STR_ARG(text),
                          (unsigned long long)s->behind);
    return s->files == 0 && s->ahead == 0 && s->behind == 0
               ? str_format(t->memory, "%.*s, as pushed", STR_ARG(text))
               : text;
}

// The revision that is live; number 0 when none is, or (`why`) nobody could be asked.
static revision_record live_revision(tau *t, err *why)
{
    tns_list_request ask = {.project = t->id, .limit = 1000};
    tns_list_reply reply;
    revision_record live = {0};
    *why = t->client == NULL ? fail(ERR_ABSENT, 0, "not logged in, or no universe is running")
                             : tau_ask(t, MSG_tns_list, &ask, &reply);
    if (why->code != OK)
        return live;
    for (size_t i = 0; i < reply.revisions.count; i++)
        if (reply.revisions.at[i].live)
            live = reply.revisions.at[i];
    return live;
}

static str live_said(tau *t, const revision_record *live, err why)
{
    if (t->client == NULL)
        return str_format(t->memory, "not asked: %s", why.what);
    if (why.code != OK)
        return str_format(t->memory, "not known: %s",
                          why.what == NULL ? err_name(why.code) : why.what);
    if (live->number == 0)
        return STR("nothing yet");
    str text = str_format(t->memory, "revision %llu, %.*s", (unsigned long long)live->number,
                          STR_ARG(cli_age(t->memory, live->published_real_ms, clock_real_ms())));
    substrate_status_request ask = {.project = t->id};
    substrate_status_reply reply;
    if (tau_ask(t, MSG_substrate_status, &ask, &reply).code == OK)
        text = str_format(t->memory, "%.*s, %llu calls, %llu failed", STR_ARG(text),
                          (unsigned long long)reply.calls, (unsigned long long)reply.failures);
    return text;
}

int tau_status(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CHECKOUT | TAU_CLOUD_MAYBE);
    if (code != EXIT_OK)
        return code;
    side sides[2] = {{.name = "config", .k = tau_checkout(&t, t.config)},
                     {.name = "code", .k = tau_checkout(&t, t.code)}};
    for (size_t i = 0; i < COUNT(sides); i++) {
        err e = side_look(&t, &sides[i]);
        if (e.code != OK)
            return tau_failed(&t, e);
    }
    err unknown;
    revision_record live = live_revision(&t, &unknown);
    OWNED(buf_close) buf out;
    buf_open(&out, STATUS_JSON_BYTES);
    json_writer w = {.out = &out};
    json_open_object(&w, NULL);
    json_put_text(&w, "project", t.name);
    json_put_text(&w, "id", t.id);
    json_put_text(&w, "folder", str_of(t.root));
    json_put_text(&w, "from", str_of(t.source));
    json_put_text(&w, "universe", t.universe);
    json_put_text(&w, "account", t.account);
    json_put_whole(&w, "live_revision", live.number);
    json_open_list(&w, "repositories");
    for (size_t i = 0; i < COUNT(sides); i++) {
        json_open_object(&w, NULL);
        json_put_text(&w, "name", str_of(sides[i].name));
        json_put_text(&w, "branch", sides[i].branch);
        json_put_text(&w, "commit", sides[i].head);
        json_put_whole(&w, "files_changed", sides[i].files);
        json_put_whole(&w, "ahead", sides[i].ahead);
        json_put_whole(&w, "behind", sides[i].behind);
        json_close_object(&w);
    }
    json_close_list(&w);
    json_close_object(&w);
    if (tau_said_json(&t, &out))
        return EXIT_OK;
    cli_print(c, "project  %.*s   %s (from %s)   cloud  %.*s\n", STR_ARG(t.name), t.root, t.source,
              STR_ARG(t.universe));
    cli_print(c, "live     %.*s\n", STR_ARG(live_said(&t, &live, unknown)));
    for (size_t i = 0; i < COUNT(sides); i++)
        cli_print(c, "%-7s  %.*s\n", sides[i].name, STR_ARG(side_said(&t, &sides[i])));
    return EXIT_OK;
}

// Takes over what the forge has; local commits and changes go on top of it.
static int side_pull(tau *t, side *s, uint64_t *taken)
{
    err e = side_look(t, s);
    if (e.code == OK)
        e = checkout_do(&s->k, NULL, "fetch", "--quiet", "origin", NULL);
    if (e.code != OK)
        return tau_failed(t, e);
    const char *upstream = side_upstream(t, s);
    if (checkout_commit(&s->k, upstream).len == 0)
        return EXIT_OK; // nothing there yet
    s->files = 0;
    e = side_look(t, s);
    *taken = s->behind;
    if (e.code == OK && s->head.len > 0 && s->behind == 0)
        return EXIT_OK;
    if (e.code == OK && (s->head.len == 0 || (s->ahead == 0 && s->files == 0)))
        e = checkout_do(&s->k, NULL, "merge", "--quiet", "--ff-only", upstream, NULL);
    else if (e.code == OK)
        e = checkout_do(&s->k, NULL, "rebase", "--quiet", "--autostash", upstream, NULL);
    if (e.code == OK)
        return EXIT_OK;
    checkout_end end; // a merge that failed has nothing to abort: whatever git says is fine
    if (checkout_run(&s->k, &end, "rebase", "--abort", NULL).code != OK)
        return tau_failed(t, e);
    return tau_fail(
        t, EXIT_CONFLICT,
        str_format(t->memory, "cd %s && git pull --rebase   shows the conflict", s->k.folder),
        "your changes to %s and those on the forge do not fit together", s->name);
}

int tau_pull(cli *c)
{
    OWNED(tau_close) tau t;
    int code = tau_open(c, &t, TAU_CHECKOUT | TAU_CLOUD);
    side sides[2] = {{.name = "config", .k = tau_checkout(&t, t.config)},
                     {.name = "code", .k = tau_checkout(&t, t.code)}};
    uint64_t taken[2] = {0};
    for (size_t i = 0; i < COUNT(sides) && code == EXIT_OK; i++)
        code = side_pull(&t, &sides[i], &taken[i]);
    if (code != EXIT_OK)
        return code;
    if (cli_json(c))
        cli_json_out(c, str_format(t.memory, "{\"config\":%llu,\"code\":%llu}",
                                   (unsigned long long)taken[0], (unsigned long long)taken[1]));
    else if (taken[0] + taken[1] == 0)
        cli_print(c, "Nothing new.\n");
    else
        cli_print(c, "config  %llu new commits\ncode    %llu new commits\n",
                  (unsigned long long)taken[0], (unsigned long long)taken[1]);
    return EXIT_OK;
}
