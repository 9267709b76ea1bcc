// The order of every message's fields is pinned: a change that old peers would misread fails here.
#include "api/api.h"
#include "base/str.h"
#include "base/test.h"

#include <string.h>

// Records by name, messages by subject: kinds of the fields in order (Text, Bytes, Number, Flag,
// List), of the request and the reply. Fields are appended at the end of a line, lines are added,
// nothing else.
static const struct {
    const char *name, *request, *reply;
} golden[] = {
    {"repository", "TTTTTTTTN", NULL},
    {"project", "TTTTTTN", NULL},
    {"domain_claim", "TTTT", NULL},
    {"revision", "TNNTTTNF", NULL},
    {"door", "TN", NULL},
    {"node_state", "TTTTNLFNNTTNF", NULL},
    {"asset", "TTTTTNF", NULL},
    {"job", "TNTTTTTTTTTFTNTTNNNNLTT", NULL},
    {"function_state", "TTTTNNNF", NULL},
    {"log_line", "NNTTTT", NULL},
    {"backend_state", "TTNFNN", NULL},
    {"call_count", "TNNN", NULL},
    {"node.ping", "T", "TTTTN"},
    {"node.drain", "T", "TF"},
    {"node.renew", "T", "TT"},
    {"node.denied", "T", "TT"},
    {"node.denied.changed", "T", NULL},
    {"auth.login", "TT", "TT"},
    {"auth.token.check", "T", "TTN"},
    {"auth.token.revoke", "T", "F"},
    {"auth.repository.create", "TTT", "L"},
    {"auth.repository.get", "TTT", "L"},
    {"auth.repository.list", "T", "L"},
    {"auth.repository.delete", "T", "F"},
    {"auth.repository.hook", "T", "TT"},
    {"auth.hook.secret", "T", "TT"},
    {"auth.deploy.key", "T", "T"},
    {"auth.source", "TTT", "TNTT"},
    {"auth.project.create", "TTTTT", "L"},
    {"auth.project.get", "TTT", "L"},
    {"auth.project.list", "T", "L"},
    {"auth.project.delete", "T", "F"},
    {"auth.domain.claim", "TT", "L"},
    {"auth.domain.list", "T", "L"},
    {"tns.publish", "TNTTTB", "NF"},
    {"tns.get", "TN", "LB"},
    {"tns.list", "TN", "L"},
    {"tns.projects", "TN", "L"},
    {"tns.live.set", "TNN", "N"},
    {"tns.lookup", "T", "TN"},
    {"tns.remove", "T", "F"},
    {"seer.heartbeat", "TTTNLNNFTNF", NULL},
    {"seer.nodes", "T", "L"},
    {"seer.resolve", "T", "TL"},
    {"patrick.push", "TTTTTNFTT", "L"},
    {"patrick.jobs", "TTNN", "L"},
    {"patrick.job", "T", "L"},
    {"patrick.cancel", "T", "L"},
    {"patrick.retry", "T", "L"},
    {"patrick.replay", "TT", "L"},
    {"patrick.branch.set", "T", "T"},
    {"patrick.progress", "TNTTTNL", "T"},
    {"patrick.log.add", "TNB", "N"},
    {"patrick.log", "TNN", "NBF"},
    {"monkey.status", "T", "NNNN"},
    {"monkey.cancel", "T", NULL},
    {"hoarder.stash", "TNT", "N"},
    {"holder", "TTN", NULL},
    {"hoarder.locate", "T", "FNL"},
    {"hoarder.read", "TNN", "BN"},
    {"hoarder.status", "T", "NNN"},
    {"hoarder.collect", "F", "NN"},
    {"hoarder.keep", "TNT", "N"},
    {"substrate.status", "T", "NNNNLN"},
    {"substrate.logs", "TTNN", "LN"},
    {"substrate.serves", "TN", "N"},
    {"gateway.status", "T", "NNL"},
    {"worker.start", "NTTBBBBBNFBN", NULL},
    {"worker.snapshot", "NN", NULL},
    {"worker.ready", "NN", NULL},
    {"worker.module.want", "NT", NULL},
    {"worker.module", "NTT", NULL},
    {"worker.output", "TTTTTN", NULL},
    {"worker.counts", "NLNNN", NULL},
    {"worker.relay", "NTTB", NULL},
    {"worker.relayed", "NNTB", NULL},
    {"worker.stop", "T", NULL},
    {"worker.listen", "NN", NULL},
    {"worker.unlisten", "N", NULL},
    {"worker.identity", "FBB", NULL},
    {"worker.denied", "B", NULL},
    {"worker.backends", "NL", NULL},
};

static void kinds_check(const char *name, const message_shape *shape, const char *kinds)
{
    bool same = strlen(kinds) <= shape->count;
    for (size_t i = 0; same && kinds[i] != '\0'; i++)
        same = "TBNFL"[shape->fields[i].kind] == kinds[i];
    if (!same)
        print_error("%s no longer begins with the fields %s\n", name, kinds);
    CHECK(same);
}

// Every shape that a message holds, however deep.
static size_t shape_visit(const message_shape *shape, const char *name, const char *kinds)
{
    size_t found = 0;
    for (size_t i = 0; i < shape->count; i++) {
        const message_shape *record = shape->fields[i].record;
        if (record == NULL)
            continue;
        if (strcmp(record->name, name) == 0) {
            kinds_check(name, record, kinds);
            found++;
        }
        found += shape_visit(record, name, kinds);
    }
    return found;
}

static void golden_check(const char *name, const char *request, const char *reply)
{
    const message_info *info = message_find(str_of(name));
    if (info != NULL) {
        kinds_check(name, info->request, request);
        CHECK((info->reply != NULL) == (reply != NULL));
        if (reply != NULL)
            kinds_check(name, info->reply, reply);
        return;
    }
    size_t found = 0;
    for (size_t kind = 0; kind < MESSAGE_KINDS; kind++) {
        found += shape_visit(message_infos[kind].request, name, request);
        if (message_infos[kind].reply != NULL)
            found += shape_visit(message_infos[kind].reply, name, request);
    }
    if (found == 0)
        print_error("%s is gone\n", name);
    CHECK(found > 0);
}

TEST(api_fields_are_only_ever_appended)
{
    for (size_t i = 0; i < COUNT(golden); i++)
        golden_check(golden[i].name, golden[i].request, golden[i].reply);
}
