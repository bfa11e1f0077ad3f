"""python-dotenv: .env files read with quotes, references and exports; written and changed."""
import io
import os
import tempfile

from dotenv import dotenv_values, find_dotenv, get_key, load_dotenv, set_key, unset_key

TEXT = """# comment
PLAIN=value
SPACED = with space # note
export EXPORTED='single $PLAIN \\n'
DOUBLE="tab\\t ${PLAIN} ${MISSING:-fallback} ${HOME_OF_TOOL}"
MULTI="line one
line two"
EMPTY=
NOVALUE
UNICODE="grüße \\u00e9"
HASH=a#b
bad line here
LATER=${EXPORTED}
"""

os.environ["HOME_OF_TOOL"] = "/tool"
for key, value in dotenv_values(stream=io.StringIO(TEXT)).items():
    print(key, repr(value))
print(dotenv_values(stream=io.StringIO("A=${B}\nB=1"), interpolate=False))
with tempfile.TemporaryDirectory() as root:
    path = os.path.join(root, ".env")
    with open(path, "w") as file:
        file.write("A=1\n# keep me\nB=two\nPATH_OF='x'\n")
    os.makedirs(os.path.join(root, "deep", "er"))
    os.chdir(os.path.join(root, "deep", "er"))
    print(os.path.realpath(find_dotenv(usecwd=True)) == os.path.realpath(path), set_key(path, "B", "it's new"), set_key(path, "C", "3", export=True), unset_key(path, "A"))
    print(open(path).read(), get_key(path, "B"))
    os.environ["C"] = "before"
    print(load_dotenv(path), os.environ["C"], os.environ["B"], load_dotenv(path, override=True), os.environ["C"])
    os.chdir("/")
