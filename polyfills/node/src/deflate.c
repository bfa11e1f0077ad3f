#include "node.h"
void init_zlib(JSContext *ctx, JSValueConst native) { (void)ctx; (void)native; }
