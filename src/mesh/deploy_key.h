// Key pairs that let a build read one repository, in the forms that git hosts and ssh want.
#pragma once
#include "base/base.h"

// P-256: the private half as PKCS#8 PEM, the public half as an ssh line (RFC 5656 3.1). ERR_SYSTEM.
err deploy_key_new(arena *a, str *private_pem, str *public_line) MUST_USE;
