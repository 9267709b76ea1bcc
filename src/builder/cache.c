// The index of what was built before: one small file per key that names both blobs.
#include "base/file.h"
#include "base/str.h"
#include "builder/builder_inner.h"

#include <stdio.h>

enum { ENTRY_BYTES_MAX = 256 };

static str cache_path(arena *a, const char *folder, const sha256 *key)
{
    char hex[SHA256_HEX + 1];
    sha256_hex(*key, hex);
    return str_format(a, "%s/%.2s/%s", folder, hex, hex);
}

err cache_get(arena *a, blobs *kept, const char *folder, const sha256 *key, cache_entry *out)
{
    str path = cache_path(a, folder, key);
    str text;
    if (path.at == NULL)
        return fail(ERR_MEMORY, 0, "read the build cache");
    TRY(file_read(a, path.at, ENTRY_BYTES_MAX, &text));
    cache_entry found;
    text = str_trim(text);
    if (sha256_from_hex(str_cut(&text, ' '), &found.wasm).code != OK ||
        sha256_from_hex(str_cut(&text, ' '), &found.module).code != OK ||
        str_number(text, &found.wasm_bytes).code != OK)
        return fail(ERR_ABSENT, 0, "the cache's entry is damaged");
    uint64_t size;
    if (!blobs_has(kept, &found.wasm, &size) || !blobs_has(kept, &found.module, &size))
        return fail(ERR_ABSENT, 0, "a blob of the cache's entry was collected");
    *out = found;
    return ok();
}

err cache_put(const char *folder, const sha256 *key, const cache_entry *entry)
{
    char key_hex[SHA256_HEX + 1];
    char wasm[SHA256_HEX + 1];
    char module[SHA256_HEX + 1];
    char path[PATH_MAX];
    char text[ENTRY_BYTES_MAX];
    sha256_hex(*key, key_hex);
    sha256_hex(entry->wasm, wasm);
    sha256_hex(entry->module, module);
    int n = snprintf(path, sizeof(path), "%s/%.2s", folder, key_hex);
    if (n < 0 || (size_t)n >= sizeof(path))
        return fail(ERR_LIMIT, 0, "the cache's path is too long");
    TRY(file_make_folders(path, 0700));
    n = snprintf(path, sizeof(path), "%s/%.2s/%s", folder, key_hex, key_hex);
    if (n < 0 || (size_t)n >= sizeof(path))
        return fail(ERR_LIMIT, 0, "the cache's path is too long");
    n = snprintf(text, sizeof(text), "%s %s %llu\n", wasm, module,
                 (unsigned long long)entry->wasm_bytes);
    return file_write_durable(path, (str){text, (size_t)n}, 0600);
}
