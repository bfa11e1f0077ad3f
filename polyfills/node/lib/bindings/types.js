'use strict';
// internalBinding('types'): src/node_types.cc.
Object.assign(exports, native.types);
