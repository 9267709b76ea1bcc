// A commit's tree as one blob: packed where the repository is, unpacked where it is built.
#pragma once
#include "base/base.h"
#include "base/hash.h"
#include "store/blob.h"

// Both block: on helper threads.
// Equal trees give equal bytes. Errors as repo_export.
err archive_pack(
    const char *path, str commit, str below, blobs *into, sha256 *hash, uint64_t *bytes) MUST_USE;
// Into `folder`, which must exist and be empty; names, links, depth and number are checked as by
// repo_export. ERR_SYNTAX: these are not the bytes of an archive; ERR_LIMIT past bytes_max.
err archive_unpack(blobs *from,
                   const sha256 *hash,
                   const char *folder,
                   uint64_t bytes_max) MUST_USE;
