"""jsonpatch: differences between documents as RFC 6902 patches, made, applied, refused."""
import json

import jsonpatch
from jsonpointer import JsonPointer, resolve_pointer

before = {"name": "tool", "tags": ["a", "b", "c"], "deep": {"x": [1, {"y": 2}], "a/b": 0, "m~n": 1}, "gone": True}
after = {"name": "tool2", "tags": ["b", "c", "d"], "deep": {"x": [1, {"y": 3, "z": None}], "a/b": 0, "m~n": 2}, "new": []}
patch = jsonpatch.make_patch(before, after)
for operation in sorted(json.dumps(op, sort_keys=True) for op in patch):
    print(operation)
print(patch.apply(before) == after, bool(jsonpatch.make_patch(after, after)))
patch = jsonpatch.JsonPatch.from_string(
    '[{"op": "test", "path": "/tags/0", "value": "a"}, {"op": "move", "from": "/tags/0", "path": "/first"},'
    ' {"op": "copy", "from": "/deep/x/1", "path": "/copy"}, {"op": "add", "path": "/tags/-", "value": "z"}, {"op": "remove", "path": "/gone"}]')
print(json.dumps(patch.apply(before), sort_keys=True))
print(resolve_pointer(before, "/deep/a~1b"), resolve_pointer(before, "/deep/m~0n"), JsonPointer("/deep/x/1/y").resolve(before))
print(resolve_pointer(before, "/none", "default"), JsonPointer.from_parts(["a/b", "c~d", 0]).path)
for bad in ('[{"op": "test", "path": "/name", "value": 1}]', '[{"op": "remove", "path": "/no"}]', '[{"op": "jump", "path": ""}]', '[{"op": "add", "path": "/tags/9", "value": 1}]'):
    try:
        jsonpatch.apply_patch(before, bad)
    except jsonpatch.JsonPatchException as error:
        print(type(error).__name__, str(error)[:70])
