// What each role may say and hear on the mesh's servers: settings of meshd, made from one table.
#pragma once
#include "base/json.h"
#include "mesh/shards.h"

// The list "streams": one log for each shard, {"name":"auth","subjects":["log.auth.>", …]}.
void permissions_write_streams(json_writer *w, const shards *s);
// The object "roles": {"auth":{"publish":[…],"subscribe":[…]}, …}, {node} standing for the short
// name in the node's certificate. From identity_senders (who may send which message) and `s`.
// Anybody may publish to re.*.>: a reply subject ends with a secret that only who was asked has
// seen. The server's own "allow responses" would let a node that asks itself, with a reply subject
// in another's log, answer into it. Consumers are made by meshd (follow.SHARD.NODE): nobody's
// permissions bind where one delivers.
void permissions_write_roles(json_writer *w, const shards *s);

// For those who apply an entry that was logged as `role` (exactly one protocol, "client" for
// none): may it change this bucket? A monkey may change queue/ buckets only. The entry's log must
// be the bucket's as well: see shards_bucket().
bool permissions_may_write(const shards *s, str role, str bucket);
// May a node with these protocols ("+" between, empty or "-": a client) write snapshots of this
// shard and shorten its log? Only who may write each bucket of it: a snapshot replaces them all.
bool permissions_may_snapshot(const shards *s, size_t number, str protocols);
// May it claim items of queues (and so beat for them)?
bool permissions_may_claim(const shards *s, str protocols);
