// Key pairs that let a build read one repository, in the forms that git hosts and ssh want.
#include "mesh/deploy_key.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/str.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

enum { POINT_BYTES = 65, BLOB_BYTES_MAX = 256 };

static void key_drop(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}
static void bio_drop(BIO **bio)
{
    BIO_free(*bio);
}

static void blob_add(buf *out, str part)
{
    buf_add_byte(out, (char)(part.len >> 24));
    buf_add_byte(out, (char)(part.len >> 16));
    buf_add_byte(out, (char)(part.len >> 8));
    buf_add_byte(out, (char)part.len);
    buf_add(out, part);
}

err deploy_key_new(arena *a, str *private_pem, str *public_line)
{
    OWNED(key_drop) EVP_PKEY *key = EVP_EC_gen("P-256");
    OWNED(bio_drop) BIO *memory = BIO_new(BIO_s_mem());
    unsigned char point[POINT_BYTES];
    size_t size = 0;
    if (key == NULL || memory == NULL ||
        PEM_write_bio_PKCS8PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                        &size) != 1)
        return fail(ERR_SYSTEM, 0, "make deploy key");
    char *at = NULL;
    long len = BIO_get_mem_data(memory, &at);

    OWNED(buf_close) buf blob;
    buf_open(&blob, BLOB_BYTES_MAX);
    blob_add(&blob, STR("ecdsa-sha2-nistp256"));
    blob_add(&blob, STR("nistp256"));
    blob_add(&blob, (str){(const char *)point, size});
    str text = base64_of(a, buf_str(&blob));
    *private_pem = str_copy(a, (str){at, (size_t)len});
    *public_line = str_format(a, "ecdsa-sha2-nistp256 %.*s", STR_ARG(text));
    if (blob.error.code != OK || private_pem->at == NULL || public_line->at == NULL)
        return fail(ERR_MEMORY, 0, "make deploy key");
    return ok();
}
