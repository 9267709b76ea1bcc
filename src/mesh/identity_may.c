// The table of who may send what, and the names in it.
#include "base/str.h"
#include "mesh/identity.h"
#include "mesh/identity_inner.h"

enum {
    NOBODY = ROLE_NOBODY,
    PROTOCOLS = ROLE_AUTH | ROLE_TNS | ROLE_SEER | ROLE_PATRICK | ROLE_MONKEY | ROLE_HOARDER |
                ROLE_SUBSTRATE | ROLE_GATEWAY | NOBODY,
    EVERYBODY = PROTOCOLS | ROLE_CLIENT | ROLE_ELDER,
    READERS = PROTOCOLS | ROLE_CLIENT,
    CLIENT = ROLE_CLIENT | NOBODY,
};

const unsigned identity_senders[MESSAGE_KINDS] = {
    [MSG_node_ping] = EVERYBODY,
    [MSG_node_drain] = CLIENT,
    [MSG_node_renew] = EVERYBODY,
    [MSG_node_denied] = EVERYBODY,
    [MSG_node_denied_changed] = CLIENT, // what it says is only a reason to ask

    [MSG_auth_login] = CLIENT,
    [MSG_auth_token_check] = CLIENT | ROLE_AUTH,
    [MSG_auth_token_revoke] = CLIENT,
    [MSG_auth_repository_create] = CLIENT,
    [MSG_auth_repository_get] = READERS,
    [MSG_auth_repository_list] = READERS,
    [MSG_auth_repository_delete] = CLIENT,
    [MSG_auth_repository_hook] = CLIENT,
    [MSG_auth_hook_secret] = ROLE_PATRICK | NOBODY,
    [MSG_auth_deploy_key] = ROLE_MONKEY | NOBODY,
    [MSG_auth_source] = ROLE_MONKEY | NOBODY,
    [MSG_auth_project_create] = CLIENT,
    [MSG_auth_project_get] = READERS,
    [MSG_auth_project_list] = READERS,
    [MSG_auth_project_delete] = CLIENT,
    [MSG_auth_domain_claim] = CLIENT,
    [MSG_auth_domain_list] = READERS,

    [MSG_tns_publish] = ROLE_MONKEY | NOBODY,
    [MSG_tns_get] = READERS,
    [MSG_tns_list] = READERS,
    [MSG_tns_projects] = READERS,
    [MSG_tns_live_set] = CLIENT,
    [MSG_tns_lookup] = READERS,
    [MSG_tns_remove] = CLIENT | ROLE_AUTH, // with the project

    [MSG_seer_heartbeat] = EVERYBODY,
    [MSG_seer_nodes] = READERS,
    [MSG_seer_resolve] = READERS,

    [MSG_patrick_push] = CLIENT | ROLE_AUTH | ROLE_PATRICK, // the forge's two doors, the webhook's
    [MSG_patrick_jobs] = READERS,
    [MSG_patrick_job] = READERS,
    [MSG_patrick_cancel] = CLIENT,
    [MSG_patrick_retry] = CLIENT,
    [MSG_patrick_replay] = CLIENT,
    [MSG_patrick_branch_set] = CLIENT,
    [MSG_patrick_progress] = ROLE_MONKEY | NOBODY,
    [MSG_patrick_log_add] = ROLE_MONKEY | NOBODY,
    [MSG_patrick_log] = READERS,

    [MSG_monkey_status] = READERS,
    [MSG_monkey_cancel] = ROLE_PATRICK | NOBODY,

    [MSG_hoarder_stash] = ROLE_MONKEY | NOBODY,
    [MSG_hoarder_locate] = READERS,
    [MSG_hoarder_read] = READERS,
    [MSG_hoarder_status] = READERS,
    [MSG_hoarder_collect] = CLIENT,
    [MSG_hoarder_keep] = ROLE_HOARDER | NOBODY,

    [MSG_substrate_status] = READERS,
    [MSG_substrate_logs] = READERS,
    [MSG_substrate_serves] = READERS,
    [MSG_gateway_status] = READERS,

    // None for worker.*: those go between a control process and its own workers, never over the
    // mesh.
};

const identity_role identity_roles[] = {
    {"auth", ROLE_AUTH},
    {"tns", ROLE_TNS},
    {"seer", ROLE_SEER},
    {"patrick", ROLE_PATRICK},
    {"monkey", ROLE_MONKEY},
    {"hoarder", ROLE_HOARDER},
    {"substrate", ROLE_SUBSTRATE},
    {"gateway", ROLE_GATEWAY},
    {"client", ROLE_CLIENT},
    {"elder", ROLE_ELDER},
    {NULL, 0},
};

unsigned identity_role_of(str protocol)
{
    if (str_is(protocol, STR("-")))
        return ROLE_CLIENT;
    for (const identity_role *r = identity_roles; r->name != NULL; r++)
        if (str_is(str_of(r->name), protocol))
            return r->role;
    return 0;
}

bool identity_has(const identity *i, str protocol)
{
    str rest = i->protocols;
    while (rest.len > 0)
        if (str_is(str_cut(&rest, '+'), protocol))
            return !str_is(protocol, STR("-"));
    return false;
}

bool identity_is_elder(const identity *i)
{
    return str_is(i->protocols, STR("elder"));
}

bool identity_may(const identity *i, str subject)
{
    const message_info *info = message_find(subject);
    if (info == NULL)
        return false;
    unsigned roles = 0;
    for (str rest = i->protocols; rest.len > 0;)
        roles |= identity_role_of(str_cut(&rest, '+'));
    // An elder only belongs to the mesh; among other protocols the word counts for nothing.
    if (!identity_is_elder(i))
        roles &= ~(unsigned)ROLE_ELDER;
    return (identity_senders[info - message_infos] & roles) != 0;
}

// ---- ctau://UNIVERSE/NODE/PROTOCOLS
enum { URI_BYTES_MAX = 512 };

static bool name_is(str s, bool node)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool inner = i > 0 && (c == '-' || c == '_' || c == (node ? '@' : '.'));
        if (!word && !inner)
            return false;
    }
    return s.len > 0;
}

static bool protocols_are(str s)
{
    if (str_is(s, STR("-")))
        return true;
    do {
        if (!name_is(str_cut(&s, '+'), false))
            return false;
    } while (s.at != NULL);
    return true;
}

err identity_read(str uri, identity *out)
{
    if (uri.len > URI_BYTES_MAX || !str_starts(uri, STR("ctau://")))
        return fail(ERR_SYNTAX, 0, "not the identity of a node");
    str rest = str_from(uri, sizeof "ctau://" - 1);
    identity i;
    i.universe = str_cut(&rest, '/');
    i.node = str_cut(&rest, '/');
    i.protocols = rest;
    // The mesh's subjects say `any` for whoever serves a message.
    if (!name_is(i.universe, false) || !name_is(i.node, true) || str_is(i.node, STR("any")) ||
        !protocols_are(i.protocols))
        return fail(ERR_SYNTAX, 0, "malformed identity of a node");
    *out = i;
    return ok();
}
