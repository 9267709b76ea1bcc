// The table of logs and buckets, and the questions put to it.
#include "mesh/shards.h"

#include "base/str.h"

static const shard all[] = {
    {"auth", "auth"},
    {"domain", "auth+seer+gateway"},
    {"registry", "tns+seer+gateway+substrate"},
    {"jobs", "patrick+monkey"},
    {"blobs", "hoarder"},
};
static const shard_bucket buckets[] = {
    {"auth.domain", "domain", "auth"},    {"auth.", "auth", "auth"},
    {"tns.", "registry", "tns"},          {"patrick.", "jobs", "patrick"},
    {"queue/", "jobs", "patrick+monkey"}, {"hoarder.", "blobs", "hoarder"},
};
const shards shards_of_universe = {all, COUNT(all), buckets, COUNT(buckets)};
_Static_assert(COUNT(all) <= SHARDS_MAX, "at most so many streams");

const shard_bucket *shards_bucket(const shards *s, str bucket)
{
    for (size_t i = 0; i < s->buckets_count; i++)
        if (str_starts(bucket, str_of(s->buckets[i].prefix)))
            return &s->buckets[i];
    return NULL;
}

size_t shards_find(const shards *s, str name)
{
    size_t i = 0;
    while (i < s->count && !str_is(str_of(s->all[i].name), name))
        i++;
    return i;
}

// The first word of `protocols` that is in `allowed` too.
static str role_of(str allowed, str protocols)
{
    if (protocols.len == 0 || str_is(protocols, STR("-")))
        protocols = STR("client");
    for (str rest = protocols; rest.len > 0;) {
        str one = str_cut(&rest, '+');
        for (str list = allowed; list.len > 0;)
            if (str_is(str_cut(&list, '+'), one))
                return one;
    }
    return (str){"", 0};
}

bool shards_reads(const shard *s, str protocols)
{
    return role_of(str_of(s->readers), protocols).len > 0;
}

str shards_writer(const shard_bucket *b, str protocols)
{
    return role_of(str_of(b->writers), protocols);
}

str shards_role(const shards *s, size_t number, str protocols)
{
    for (size_t i = 0; i < s->buckets_count; i++) {
        str role = role_of(str_of(s->buckets[i].writers), protocols);
        if (role.len > 0 && str_is(str_of(s->buckets[i].shard), str_of(s->all[number].name)))
            return role;
    }
    return (str){"", 0};
}
