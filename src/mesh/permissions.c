// Makes the subjects that each role may publish and subscribe from the tables of senders and
// shards.
#include "mesh/permissions.h"

#include "base/str.h"
#include "mesh/identity_inner.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    SUBJECT_BYTES_MAX = 160,
    // Patrick adds items and takes them back; he works on none. Clients appear in no table of a
    // universe; tests have tables of their own.
    CLAIMERS = ROLE_MONKEY | ROLE_CLIENT,
};

static bool is_queue(const shard_bucket *b)
{
    return str_starts(str_of(b->prefix), STR("queue/"));
}

bool permissions_may_write(const shards *s, str role, str bucket)
{
    const shard_bucket *b = shards_bucket(s, bucket);
    if (b == NULL || role.len == 0)
        return false;
    for (str rest = str_of(b->writers); rest.len > 0;)
        if (str_is(str_cut(&rest, '+'), role))
            return true;
    return false;
}

bool permissions_may_snapshot(const shards *s, size_t number, str protocols)
{
    bool any = false;
    for (size_t i = 0; i < s->buckets_count; i++) {
        const shard_bucket *b = &s->buckets[i];
        if (!str_is(str_of(b->shard), str_of(s->all[number].name)))
            continue;
        if (shards_writer(b, protocols).len == 0)
            return false;
        any = true;
    }
    return any;
}

bool permissions_may_claim(const shards *s, str protocols)
{
    for (size_t i = 0; i < s->buckets_count; i++) {
        const shard_bucket *b = &s->buckets[i];
        if (is_queue(b) && (identity_role_of(shards_writer(b, protocols)) & CLAIMERS) != 0)
            return true;
    }
    return false;
}

// Who follows a shard with queues hears of their claims.
static bool hears_beats(const shards *s, str role)
{
    for (size_t i = 0; i < s->buckets_count; i++) {
        size_t number = shards_find(s, str_of(s->buckets[i].shard));
        if (is_queue(&s->buckets[i]) && number < s->count && shards_reads(&s->all[number], role))
            return true;
    }
    return false;
}

static void put(json_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(json_writer *w, const char *format, ...)
{
    char subject[SUBJECT_BYTES_MAX];
    va_list list;
    va_start(list, format);
    int len = vsnprintf(subject, sizeof subject, format, list);
    va_end(list);
    // Names of kinds, shards and roles are constants of ours, all far shorter.
    if (len > 0 && len < (int)sizeof subject)
        json_put_text(w, NULL, (str){subject, (size_t)len});
    else
        w->out->error = fail(ERR_LIMIT, 0, "subject of a permission");
}

static void put_messages_sent(json_writer *w, unsigned role)
{
    for (size_t kind = 0; kind < MESSAGE_KINDS; kind++) {
        if ((identity_senders[kind] & role) == 0)
            continue;
        if (message_infos[kind].reply != NULL)
            put(w, "ask.%s.*.{node}", message_infos[kind].name);
        else
            put(w, "tell.%s.{node}", message_infos[kind].name);
    }
}

static void put_logs(json_writer *w, const shards *s, str role)
{
    for (size_t i = 0; i < s->count; i++) {
        const char *name = s->all[i].name;
        str writer = shards_role(s, i, role);
        if (writer.len == 0 && !shards_reads(&s->all[i], role))
            continue;
        if (writer.len > 0)
            put(w, "log.%s.%s.{node}", name, role.at);
        if (permissions_may_snapshot(s, i, role)) {
            put(w, "snap.%s.>", name);
            put(w, "$JS.API.STREAM.PURGE.%s", name);
        }
        put(w, "follow.%s.{node}", name);
        put(w, "$JS.FC.%s.>", name);
    }
}

static void put_messages_served(json_writer *w, unsigned role)
{
    put(w, "ask.*.{node}.*");
    for (size_t kind = 0; kind < MESSAGE_KINDS; kind++) {
        const message_info *info = &message_infos[kind];
        str rest = str_of(info->subject);
        str protocol = str_cut(&rest, '.');
        if (info->reply == NULL || (identity_senders[kind] & ROLE_NOBODY) == 0)
            continue; // told, or never over the mesh
        if (str_is(protocol, STR("node")) || identity_role_of(protocol) == role)
            put(w, "ask.%s.any.*", info->name);
    }
    put(w, "tell.*.*");
    put(w, "tip.*"); // how long the logs are
}

void permissions_write_streams(json_writer *w, const shards *s)
{
    json_open_list(w, "streams");
    for (size_t i = 0; i < s->count; i++) {
        json_open_object(w, NULL);
        json_put_text(w, "name", str_of(s->all[i].name));
        json_open_list(w, "subjects");
        put(w, "log.%s.>", s->all[i].name);
        put(w, "snap.%s.>", s->all[i].name);
        json_close_list(w);
        json_close_object(w);
    }
    json_close_list(w);
}

void permissions_write_roles(json_writer *w, const shards *s)
{
    json_open_object(w, "roles");
    for (const identity_role *r = identity_roles; r->name != NULL; r++) {
        str role = str_of(r->name);
        json_open_object(w, r->name);
        json_open_list(w, "publish");
        put(w, "re.*.>"); // each request's reply subject has a secret in it
        put_messages_sent(w, r->role);
        if (permissions_may_claim(s, role))
            put(w, "beat.*.{node}");
        put_logs(w, s, role);
        json_close_list(w);
        json_open_list(w, "subscribe");
        put(w, "re.{node}.>");
        put(w, "to.{node}.>");
        put_messages_served(w, r->role);
        if (hears_beats(s, role))
            put(w, "beat.*.*");
        json_close_list(w);
        json_close_object(w);
    }
    json_close_object(w);
}
