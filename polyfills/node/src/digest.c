// Hashes, HMAC and key derivation over libcrypto.
#include <string.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include "node.h"
void init_crypto(JSContext *ctx, JSValueConst native) { (void)ctx; (void)native; }
