// A node's identity on disk: its key, which never leaves its folder, its certificate, its
// authority.
#pragma once
#include "base/base.h"

// node.key (0600, P-256, made here once), node.pem, ca.pem. The key stays when a certificate is
// renewed, and the authority stays what it was: whatever moment a crash chooses, the three belong
// together. All of these read or write the disk: not on a loop thread.
typedef struct keyring keyring;
typedef struct keyring_settings {
    const char *folder; // made (0700) when absent
    str universe, node; // short name
    str protocols;      // what its certificate must say, "-" for none; at == NULL: whatever it says
    str universe_id;    // hex, as authority_universe_id(); empty: whichever ca.pem is there first
} keyring_settings;

// The key, made when there is none, and the certificate if there is one, expired or not.
// ERR_SYNTAX: damaged, or the key is missing beside a certificate; ERR_DENIED: the key may be read
// by others, or the certificate is not of this authority; ERR_CONFLICT: another universe's, node's
// or key's. Each says what to do.
err keyring_open(keyring **out, const keyring_settings *settings) MUST_USE;
// What a node starts with: the same, and its certificate holds now. ERR_ABSENT: it has none yet;
// ERR_DENIED: it expired, or the clock is wrong.
err keyring_load(keyring **out, const keyring_settings *settings, uint64_t now_real_ms) MUST_USE;
void keyring_close(keyring *k); // wipes the key. NULL is fine

// A PKCS#10 request for its key, PEM, for authority_sign().
err keyring_request(const keyring *k, arena *a, str *request_pem) MUST_USE;
// Takes the answer to it, durably. `authority_pem` empty: the one that is there. Nothing has
// changed after a failure. ERR_SYNTAX: malformed; ERR_DENIED: not of this authority, not valid now,
// or the authority is none; ERR_CONFLICT: another universe's, node's, protocols' or key's, or
// another authority than the one there.
err keyring_accept(keyring *k,
                   str certificate_pem,
                   str authority_pem,
                   uint64_t now_real_ms) MUST_USE;

// These live until the next keyring_accept() or keyring_close(); empty while there is no
// certificate.
str keyring_certificate(const keyring *k); // PEM
str keyring_authority(const keyring *k);   // PEM
str keyring_key(const keyring *k);         // PEM; secret; there always
str keyring_universe_id(const keyring *k); // hex sha256 of the authority's public key
str keyring_protocols(const keyring *k);   // as in the certificate: joined by '+', "-" for none
str keyring_serial(const keyring *k);      // lower-case hex, as in deny lists
uint64_t keyring_renew_at_real_ms(const keyring *k); // half of its life is over; 0: none
uint64_t keyring_not_after_real_ms(const keyring *k);
