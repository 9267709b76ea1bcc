// Joining: the inviter is asked twice, then the node's files are written.
//
// The happy path is: 1. the authority's certificate, which the token proves; 2. a key that never
// leaves this machine, and a request for it; 3. POST /join under that authority; 4. keyring and
// shape file. What can fail: nobody answers at the token's addresses, another one does, the token
// is late or used. A crash behind 3. costs the token: another one is made.
#include "node/join.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "http/client.h"
#include "mesh/identity.h"
#include "mesh/invite.h"
#include "mesh/keyring.h"
#include "model/shape_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { JOIN_CALL_MS = 7000, JOIN_BYTES_MAX = 64 * 1024, JOIN_ID_BYTES = 128 };

struct joiner {
    arena *memory;
    const join_settings *settings;
    invite invite;
    const invite_address *at; // who answered
    const char *address;      // ours
    str authority;            // PEM
    str request;
    const char *key_folder; // until the node has a name
    loop *loop;
    // of a call
    err error;
    unsigned status;
    str body;
};

__attribute__((format(printf, 3, 4))) static err
join_fail(struct joiner *j, err e, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    str text = str_format_list(j->memory, format, list);
    va_end(list);
    e.what = text.at != NULL ? text.at : "join";
    return e;
}

// ---- calls

static void
join_on_answer(void *data, http_call *call, err e, const http_answer_head *head, str body)
{
    (void)call;
    struct joiner *j = data;
    j->error = e;
    if (e.code == OK) {
        j->status = head->status;
        j->body = str_copy(j->memory, body);
        if (j->body.at == NULL)
            j->error = fail(ERR_MEMORY, 0, "answer");
    }
    loop_stop(j->loop);
}

// A token must not be told to another node of the universe, which has a certificate as well.
static bool join_is_authority(void *data, str peer_uri, str serial_hex)
{
    (void)data;
    (void)serial_hex;
    identity who;
    return identity_read(peer_uri, &who).code == OK && str_is(who.node, STR("dream")) &&
           str_is(who.protocols, STR("-"));
}

static void join_tls_drop(tls_context **t)
{
    tls_context_close(*t);
}

// One call on a connection of its own; `ca` empty: whoever answers.
static err join_call(struct joiner *j, const invite_address *at, str ca, str target, str body)
{
    OWNED(join_tls_drop) tls_context *tls = NULL;
    tls_settings trust = {.ca_pem = ca, .any_peer = ca.len == 0};
    if (ca.len > 0)
        trust.allow = join_is_authority;
    TRY(tls_context_open(&tls, &trust));
    http_client *client;
    http_call *call;
    TRY(http_client_open(&client, j->loop, 0));
    http_header type = {STR("Content-Type"), STR("application/json")};
    http_client_request request = {
        .address = str_c(j->memory, at->host),
        .port = at->port,
        .tls = tls,
        .method = body.len > 0 ? STR("POST") : STR("GET"),
        .target = target,
        .host = at->host,
        .headers = {&type, body.len > 0},
        .body = body,
        .deadline_ms = JOIN_CALL_MS,
        .body_bytes_max = JOIN_BYTES_MAX,
        .on_done = join_on_answer,
        .data = j,
    };
    err e = request.address == NULL ? fail(ERR_MEMORY, 0, "join")
                                    : http_client_send(client, &request, &call);
    if (e.code == OK) {
        loop_run(j->loop);
        e = j->error;
    }
    http_client_close(client);
    return e;
}

// The control API's form of an error, as ours.
static err join_refused(struct joiner *j)
{
    const json *value = NULL;
    const json *error =
        json_read(j->memory, j->body, &value, NULL).code == OK ? json_field(value, "error") : NULL;
    str name = json_text(error, "code"), message = json_text(error, "message");
    err_code code = j->status == 429 ? ERR_BUSY : ERR_SYSTEM;
    for (int each = ERR_MEMORY; each <= ERR_UNSUPPORTED; each++)
        if (str_is(name, str_of(err_name((err_code)each))))
            code = (err_code)each;
    if (message.len == 0)
        message = str_trim(str_first(j->body, 200));
    return join_fail(j, fail(code, 0, ""), "%.*s", STR_ARG(str_printable(j->memory, message)));
}

static err join_find_authority(struct joiner *j)
{
    err last = fail(ERR_ABSENT, 0, "");
    for (size_t i = 0; i < j->invite.addresses_count; i++) {
        const invite_address *at = &j->invite.addresses[i];
        const json *value = NULL;
        err e = join_call(j, at, STR(""), STR("/authority"), STR(""));
        if (e.code != OK || j->status != 200) {
            last = join_fail(j, fail(ERR_ABSENT, e.sys, ""), "nobody answers at %.*s:%u%s%s",
                             STR_ARG(at->host), at->port, e.sys != 0 ? ": " : "",
                             e.sys != 0 ? strerror(abs(e.sys)) : "");
            continue;
        }
        e = json_read(j->memory, j->body, &value, NULL);
        str pem = json_text(value, "authority");
        if (e.code == OK)
            e = authority_check(pem, j->invite.universe_id);
        if (e.code == OK) {
            j->authority = pem;
            j->at = at;
            return ok();
        }
        last = join_fail(j, fail(ERR_DENIED, 0, ""),
                         "who answers at %.*s:%u is not the universe of this invitation",
                         STR_ARG(at->host), at->port);
    }
    return last;
}

// ---- this machine

static err join_check_root(struct joiner *j)
{
    const char *root = j->settings->root;
    str id;
    str ca = str_format(j->memory, "%s/ca/ca.key", root);
    str path = str_format(j->memory, "%s/universe.id", root);
    if (ca.at == NULL || path.at == NULL)
        return fail(ERR_LIMIT, 0, "--root is too long a path");
    if (file_exists(ca.at))
        return join_fail(j, fail(ERR_CONFLICT, 0, ""),
                         "%s belongs to the machine that holds the authority: name another --root",
                         root);
    err e = file_make_folders(root, 0700);
    if (e.code != OK)
        return join_fail(j, e, "%s cannot be made: %s", root, e.what);
    e = file_read(j->memory, path.at, JOIN_ID_BYTES, &id);
    if (e.code == ERR_ABSENT)
        return ok();
    if (e.code == OK && !str_is(str_trim(id), j->invite.universe_id))
        return join_fail(j, fail(ERR_CONFLICT, 0, ""),
                         "%s belongs to another universe: name another --root", root);
    return e;
}

// The address that a datagram to the inviter would come from; nothing is sent.
static err join_find_address(struct joiner *j)
{
    if (j->settings->address != NULL) {
        j->address = j->settings->address;
        return ok();
    }
    struct sockaddr_storage to = {0}, from = {0};
    socklen_t len = sizeof(from);
    struct sockaddr_in *four = (struct sockaddr_in *)&to;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&to;
    char text[INET6_ADDRSTRLEN];
    const char *host = str_c(j->memory, j->at->host);
    if (host != NULL && inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(j->at->port);
    } else if (host != NULL && inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(j->at->port);
    } else {
        return fail(ERR_SYNTAX, 0, "name this machine's own address with --address");
    }
    OWNED(fd_drop) int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
        getsockname(fd, (struct sockaddr *)&from, &len) != 0)
        return fail_errno(errno, "name this machine's own address with --address");
    const void *bytes = from.ss_family == AF_INET
                            ? (const void *)&((struct sockaddr_in *)&from)->sin_addr
                            : (const void *)&((struct sockaddr_in6 *)&from)->sin6_addr;
    if (inet_ntop(from.ss_family, bytes, text, sizeof(text)) == NULL)
        return fail_errno(errno, "own address");
    j->address = str_c(j->memory, str_of(text));
    return j->address == NULL ? fail(ERR_MEMORY, 0, "own address") : ok();
}

static err join_make_key(struct joiner *j)
{
    keyring *k = NULL;
    j->key_folder =
        str_format(j->memory, "%s/keys/joining-%d", j->settings->root, (int)getpid()).at;
    if (j->key_folder == NULL)
        return fail(ERR_LIMIT, 0, "--root is too long a path");
    keyring_settings settings = {
        .folder = j->key_folder, .universe = STR("joining"), .node = STR("joining")};
    TRY(keyring_open(&k, &settings));
    err e = keyring_request(k, j->memory, &j->request);
    keyring_close(k);
    return e;
}

// ---- what came

static err join_write_shape(struct joiner *j, const json *value, join_result *out)
{
    OWNED(buf_close) buf text;
    const json *doors = json_field(value, "doors"), *servers = json_field(value, "servers");
    shape s = {
        .universe = out->universe,
        .node = out->node,
        .network_fqdn = str_format(j->memory, "%.*s.localtau", STR_ARG(out->universe)),
        .main = json_whole(doors, "p2p", 0),
        .http = json_whole(doors, "http", 0),
        .dns = json_whole(doors, "dns", 0),
        .gateway_port = json_whole(doors, "gateway", 0),
        .elder_election_ms = 300,
        .copies = json_whole(value, "copies", 1),
        .authority = json_text(value, "authority_node"),
    };
    s.listen.at[s.listen.count++] = (shape_address){out->address, (uint16_t)s.main};
    s.services.at[s.services.count++] = json_text(value, "shape");
    for (const json *at = servers != NULL ? servers->first : NULL;
         at != NULL && s.servers.count < SHAPE_LIST_MAX; at = at->next)
        s.servers.at[s.servers.count++] =
            (shape_address){json_text(at, "address"), (uint16_t)json_whole(at, "port", 0)};
    buf_open(&text, SHAPE_FILE_BYTES_MAX);
    buf_add_format(&text,
                   "# %.*s of universe %.*s: written by tau node join, read by `tau start`.\n",
                   STR_ARG(out->node), STR_ARG(out->universe));
    shape_write(&text, &s);
    TRY(text.error);
    out->shape_path =
        str_format(j->memory, "%s/config/%.*s.yaml", j->settings->root, STR_ARG(out->node)).at;
    str folder = str_format(j->memory, "%s/config", j->settings->root);
    if (out->shape_path == NULL || folder.at == NULL)
        return fail(ERR_LIMIT, 0, "--root is too long a path");
    TRY(file_make_folders(folder.at, 0700));
    return file_write_durable(out->shape_path, buf_str(&text), 0600);
}

// Plain words of the answer become parts of paths.
static bool join_name_is_plain(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.at[i] >= 'a' && s.at[i] <= 'z') || (s.at[i] >= '0' && s.at[i] <= '9') ||
              (s.at[i] == '-' && i > 0)))
            return false;
    return s.len > 0 && s.len <= 32;
}

static err join_write(struct joiner *j, const json *value, join_result *out)
{
    keyring *k = NULL;
    const char *root = j->settings->root;
    *out = (join_result){.universe = json_text(value, "universe"),
                         .node = json_text(value, "node"),
                         .protocols = json_text(value, "protocols"),
                         .address = str_of(j->address)};
    if (!join_name_is_plain(out->universe) || !join_name_is_plain(out->node))
        return fail(ERR_SYNTAX, 0, "the inviter's answer names no node");
    str folder = str_format(j->memory, "%s/keys/%.*s", root, STR_ARG(out->node));
    str id_path = str_format(j->memory, "%s/universe.id", root);
    if (folder.at == NULL || id_path.at == NULL)
        return fail(ERR_LIMIT, 0, "--root is too long a path");
    TRY(file_write_durable(id_path.at, j->invite.universe_id, 0600));
    if (rename(j->key_folder, folder.at) != 0)
        return join_fail(j, fail_errno(errno, ""), "%s is in the way", folder.at);
    keyring_settings settings = {.folder = folder.at,
                                 .universe = out->universe,
                                 .node = out->node,
                                 .protocols = out->protocols,
                                 .universe_id = j->invite.universe_id};
    TRY(keyring_open(&k, &settings));
    err e = keyring_accept(k, json_text(value, "certificate"), j->authority, clock_real_ms());
    out->certificate_until_real_ms = keyring_not_after_real_ms(k);
    if (e.code != OK) // its words live with the keyring, maybe
        e = join_fail(j, e, "%s", e.what);
    keyring_close(k);
    return e.code == OK ? join_write_shape(j, value, out) : e;
}

static err join_redeem(struct joiner *j, join_result *out)
{
    OWNED(buf_close) buf body;
    const json *value;
    buf_open(&body, JOIN_BYTES_MAX);
    json_writer w = {.out = &body};
    json_open_object(&w, NULL);
    json_put_text(&w, "token", j->settings->token);
    json_put_text(&w, "request", j->request);
    json_put_text(&w, "address", str_of(j->address));
    if (j->settings->shift != 0)
        json_put_whole(&w, "shift", j->settings->shift);
    json_close_object(&w);
    TRY(body.error);
    err e = join_call(j, j->at, j->authority, STR("/join"), buf_str(&body));
    explicit_bzero(body.at, body.len);
    if (e.code != OK)
        return join_fail(j, e, "%.*s:%u did not answer: %s", STR_ARG(j->at->host), j->at->port,
                         e.what);
    if (j->status != 200)
        return join_refused(j);
    TRY(json_read(j->memory, j->body, &value, NULL));
    return join_write(j, value, out);
}

err join_run(arena *a, const join_settings *settings, join_result *out)
{
    struct joiner j = {.memory = a, .settings = settings};
    err e = invite_read(a, settings->token, &j.invite);
    if (e.code == ERR_SYNTAX)
        return fail(ERR_SYNTAX, 0, "this is not a whole invitation: copy it from end to end");
    TRY(e);
    TRY(join_check_root(&j));
    TRY(loop_open(&j.loop));
    e = join_find_authority(&j);
    if (e.code == OK)
        e = join_find_address(&j);
    if (e.code == OK)
        e = join_make_key(&j);
    if (e.code == OK)
        e = join_redeem(&j, out);
    if (j.key_folder != NULL && file_exists(j.key_folder))
        (void)!file_remove_tree(j.key_folder).code;
    loop_close(j.loop);
    return e;
}
