// What each role may say and hear on the mesh's servers: settings of meshd, made from one table.
#pragma once
#include "base/json.h"
#include "mesh/shards.h"

// The list "streams": one log for each shard, {"name":"auth","subjects":["log.auth.>", …]}.
void permissions_write_streams(json_writer *w, const shards *s);
// The object "roles": {"auth":{"publish":[…],"subscribe":[…]}, …}, {node} standing for the short
// name in the node's certificate. From identity_senders (who may send which message) and `s`.
// Answers are not in it: a node may publish to the reply subject of what it received, once, which
// the server grants by itself ("allow responses"); nobody may publish to re.> otherwise.
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
