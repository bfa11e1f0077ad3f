'use strict';
Object.assign(exports, {
  setSerializeCallback() {}, setDeserializeCallback() {}, setDeserializeMainFunction() {}, runEmbedderPreload() {},
  compileSerializeMain() {}, isBuildingSnapshotBuffer: new Uint8Array(1), anonymousMainPath: '__node_anonymous_main',
});
