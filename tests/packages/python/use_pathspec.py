"""pathspec: .gitignore patterns over a list and over a directory tree."""
import os
import tempfile

from pathspec import GitIgnoreSpec, PathSpec

LINES = ["# comment", "*.log", "!keep.log", "/build/", "docs/**/*.tmp", "*.py[co]", "a/**/z", "\\#literal", "foo*/", "trailing\\ ", "!/build/not-this", "d?t.[ch]", "[!x]yz"]
PATHS = ["x.log", "keep.log", "deep/keep.log", "deep/y.log", "build/out", "src/build/out", "docs/a/b/c.tmp", "docs/c.tmp", "m.pyc", "m.py", "a/z", "a/b/c/z",
         "#literal", "foobar/file", "foobar", "trailing ", "build/not-this", "dot.c", "dat.h", "doot.c", "xyz", "ayz"]
spec = GitIgnoreSpec.from_lines(LINES)
for path in PATHS:
    print(path, spec.match_file(path))
print(sorted(spec.match_files(PATHS)) == sorted(p for p in PATHS if spec.match_file(p)), len(spec), len(spec.patterns))
with tempfile.TemporaryDirectory() as root:
    for path in ("a.txt", "b/c.log", "b/d.txt", "build/e", "b/build/f"):
        os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
        open(os.path.join(root, path), "w").close()
    print(sorted(spec.match_tree_files(root)), sorted(spec.match_tree_files(root, negate=True)))
joined = PathSpec.from_lines("gitignore", ["*.a"]) + PathSpec.from_lines("gitignore", ["!b.a"])
print([p for p in ("a.a", "b.a") if joined.match_file(p)], spec == GitIgnoreSpec.from_lines(LINES))
for bad in ("!", "[", "///"):
    try:
        print(repr(bad), GitIgnoreSpec.from_lines([bad]).match_file("x"))
    except ValueError as error:
        print(type(error).__name__, error)
