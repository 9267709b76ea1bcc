// Accounts and their tokens: a token is shown once and kept as its hash.
#include "base/clock.h"
#include "base/str.h"
#include "protocol/auth/auth_inner.h"

enum { TOKEN_RANDOM_BYTES = 32 };
static const str token_prefix = {"ctau_", 5};

static str auth_token_key(arena *memory, str token)
{
    sha256 digest = sha256_of(token);
    char hex[SHA256_HEX + 1];
    sha256_hex(digest, hex);
    return str_copy(memory, str_of(hex));
}

static void
auth_on_login(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_login_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    if (!auth_owner_is_valid(request->account)) {
        mesh_answer_err(in,
                        fail(ERR_SYNTAX, 0, "an account is 1 to 39 letters, digits, '-' or '_'"));
        return;
    }
    unsigned char random[TOKEN_RANDOM_BYTES];
    random_bytes(random, sizeof(random));
    str secret = base58_of(memory, (str){(char *)random, sizeof(random)});
    str token = str_join(memory, (str[]){token_prefix, secret}, 2, STR(""));
    auth_login_reply *reply = arena_take(memory, sizeof(*reply));
    if (reply == NULL || token.at == NULL) {
        mesh_answer_err(in, fail(ERR_MEMORY, 0, "log in"));
        return;
    }
    *reply = (auth_login_reply){.account = request->account, .token = token};
    auth_token_check_reply record = {
        .account = request->account, .device = request->device, .created_real_ms = clock_real_ms()};
    const message_shape *shape = message_infos[MSG_auth_token_check].reply;
    store_change change = record_put(STR("auth.token"), auth_token_key(memory, token),
                                     record_write(memory, shape, &record), 0);
    record_commit(a->context.mesh, in, &change, 1, reply);
}

err auth_token_owner(struct auth *a, arena *memory, str token, auth_token_check_reply *out)
{
    if (!str_starts(token, token_prefix))
        return fail(ERR_DENIED, 0, "this is not a token of this universe");
    err e = record_get(a->context.mesh, memory, STR("auth.token"), auth_token_key(memory, token),
                       message_infos[MSG_auth_token_check].reply, out, NULL);
    if (e.code == ERR_ABSENT)
        return fail(ERR_DENIED, 0, "the token is unknown or was revoked");
    return e;
}

static void
auth_on_token_check(void *data, mesh_incoming *in, const message_header *header, const void *fields)
{
    (void)header;
    const auth_token_check_request *request = fields;
    auth_token_check_reply reply;
    err e = auth_token_owner(data, mesh_incoming_arena(in), request->token, &reply);
    if (e.code != OK)
        mesh_answer_err(in, e);
    else
        mesh_answer(in, &reply);
}

static void auth_on_token_revoke(void *data,
                                 mesh_incoming *in,
                                 const message_header *header,
                                 const void *fields)
{
    (void)header;
    struct auth *a = data;
    const auth_token_revoke_request *request = fields;
    arena *memory = mesh_incoming_arena(in);
    str key = auth_token_key(memory, request->token);
    auth_token_revoke_reply *reply = arena_take(memory, sizeof(*reply));
    if (reply == NULL) {
        mesh_answer_err(in, fail(ERR_MEMORY, 0, "revoke"));
        return;
    }
    store_entry entry;
    reply->existed = mesh_get(a->context.mesh, STR("auth.token"), key, memory, &entry).code == OK;
    store_change change = record_delete(STR("auth.token"), key);
    record_commit(a->context.mesh, in, &change, reply->existed ? 1 : 0, reply);
}

err auth_account_serve(struct auth *a)
{
    mesh *m = a->context.mesh;
    TRY(mesh_serve(m, MSG_auth_login, auth_on_login, a));
    TRY(mesh_serve(m, MSG_auth_token_check, auth_on_token_check, a));
    return mesh_serve(m, MSG_auth_token_revoke, auth_on_token_revoke, a);
}
