"""Builds a Python package from its sdist, but for the compiler: runs in a container without network, under the Python polyfill.

/megalith/sdist          the archive
/megalith/tools/*        what builds need (tools-*.txt), a set in each directory: the first is taken that the package can be built with

Leaves, below /megalith:

source/     the unpacked sdist, with the sources that its build wrote
site/       what the package installs; extension modules are files that say so
plan.json   {"extensions": [{"file": below site, "units": [...], "libraries": [...], "options": [...]}]}, or {"error": text}

A unit is one call of the compiler: {"source": path, "include": [path], "options": [...]}, with paths below source/. Nothing in a plan is to be
trusted: the code of the package runs in this process.

Some builds look at what the compiler says of small programs before they go on. Such a question is a line on standard output, {"files": {path: text},
"units": [a unit with paths among the files], "libraries": [name] or null when nothing is to be linked}, and the answer a line on standard input,
{"object": what the one unit became, in hexadecimal digits} or {"error": text}.
"""

import importlib
import json
import os
import re
import shutil
import sys
import tarfile
import tomllib
import traceback
import types
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE, SITE = os.path.join(HERE, "source"), os.path.join(HERE, "site")
PLAN = os.path.join(HERE, "plan.json")
# What a package gets in the place of a shared object.
PLACEHOLDER = "An extension module of Python, number %s of its package, for the polyfill that this image was built for.\n"
# Packages that have to be told to leave out code for several processors, by name: environment, and arguments of setup.py.
ONE_PROCESSOR = {
    "numpy": ({"NPY_DISABLE_SVML": "1"}, ["build", "--disable-optimization"]),
}


class Refused(Exception):
    """What the user is told."""


class Unfit(Refused):
    """That the package is not built with these tools."""


def unpack():
    """The directory with the sources."""
    archive = os.path.join(HERE, "sdist")
    os.mkdir(SOURCE)
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            tar.extractall(SOURCE)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as archive:
            archive.extractall(SOURCE)
    else:
        raise Refused("the sdist is neither a tar nor a zip archive")
    entries = [os.path.join(SOURCE, name) for name in os.listdir(SOURCE)]
    if len(entries) != 1 or not os.path.isdir(entries[0]):
        raise Refused("the sdist is not one directory")
    return entries[0]


def versions(tools):
    """Name and version of what is in a directory of tools."""
    found = {}
    for name in os.listdir(tools):
        match = re.fullmatch(r"(.+)-([^-]+)\.dist-info", name)
        if match:
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


def check_tools(tools, requires):
    """Whether a set of tools has what the build of a package needs; puts it onto sys.path."""
    there = versions(tools)
    sys.path.insert(0, tools)
    os.environ["SETUPTOOLS_USE_DISTUTILS"] = "local"
    # Debian's changes to where things are installed, which bring in the other distutils.
    sys.modules["_distutils_system_mod"] = None
    # Parts of the tools for other systems, which import ctypes, as modules that have the names that are asked for.
    for part, name in ("setuptools.windows_support", "hide_file"), ("wheel.macosx_libfile", "calculate_macosx_platform_tag"):
        sys.modules[part] = types.ModuleType(part)
        setattr(sys.modules[part], name, None)
    from setuptools._vendor.packaging.requirements import Requirement

    for wanted in map(Requirement, requires):
        name = wanted.name.lower().replace("_", "-")
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        # wheel only packs what is unpacked here again.
        if name not in there or name != "wheel" and not wanted.specifier.contains(there[name]):
            there = ", ".join(f"{name} {version}" for name, version in sorted(there.items()))
            raise Unfit(f"its build needs {wanted.name}{wanted.specifier}; packages are built with {there}")


class Compiler:
    """The compiler outside, which answers questions. It is asked on the standard streams, which nothing else uses from here on."""

    INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)

    def __init__(self):
        self.asked = 0
        self.questions = os.fdopen(os.dup(1), "w")
        self.answers = os.fdopen(os.dup(0))
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)

    def ask(self, units, libraries=None):
        """What a unit becomes, or whether several can be linked; raises Unanswered."""
        files, asked = {}, []
        for n, unit in enumerate(units):
            include = [os.path.join(SOURCE, d) for d in unit["include"]]
            source = self.gather(os.path.normpath(os.path.join(SOURCE, unit["source"])), include, n, files)
            asked.append({"source": source, "include": [f"{n}/{d}" for d in unit["include"]], "options": unit["options"]})
        self.asked += 1
        name = f"{os.getpid()}.{self.asked}"
        json.dump({"name": name, "files": files, "units": asked, "libraries": libraries}, self.questions)
        self.questions.write("\n")
        self.questions.flush()
        answer = self.reply(name)
        if "error" in answer:
            raise Unanswered(answer["error"])
        return bytes.fromhex(answer["object"])

    def reply(self, name):
        """What is said to a question. Replies to others are those that an earlier set of tools did not live to read."""
        for line in self.answers:
            try:
                answer = json.loads(line)
            except ValueError:
                continue  # The rest of one that it read in part.
            if answer["name"] in (name, ""):
                return answer
        return {"error": "there is no compiler"}

    def gather(self, path, include, n, files):
        """Puts a file, and what it includes of the package, into `files`; returns its name there."""
        below = path.startswith(SOURCE + os.sep)
        name = f"{n}/{os.path.relpath(path, SOURCE)}" if below else f"{n}/outside/{os.path.basename(path)}"
        if name not in files:
            with open(path, encoding="latin-1", newline="") as file:
                files[name] = file.read()
            for wanted in self.INCLUDE.findall(files[name]):
                for directory in (os.path.dirname(path), *include):
                    header = os.path.normpath(os.path.join(directory, wanted))
                    if header.startswith(SOURCE + os.sep) and os.path.isfile(header):
                        self.gather(header, include, n, files)
                        break
        return name


class Unanswered(Exception):
    """What the compiler says of what it does not take."""


class Lasting(type):
    """A class whose own methods stay what they are: numpy.distutils puts others in their places."""

    def __setattr__(cls, name, value):
        if name not in cls.__dict__:
            super().__setattr__(name, value)


def record():
    """Puts a recorder in the place of the compiler; returns what is recorded."""
    import setuptools  # noqa: F401: it puts its distutils in place
    import distutils.unixccompiler
    from distutils.command.config import config
    from distutils.errors import CompileError, LinkError

    compiler = Compiler()
    units, archives, linked = {}, {}, []
    # Whether what is compiled is a question.
    asking = False

    def made(path, content=b""):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    class Recorder(distutils.unixccompiler.UnixCCompiler, metaclass=Lasting):
        def compile(self, sources, output_dir=None, macros=None, include_dirs=None, debug=False, extra_preargs=None,
                    extra_postargs=None, depends=None):
            output_dir, macros, include_dirs = self._fix_compile_args(output_dir, macros, include_dirs)
            objects = self.object_filenames(sources, output_dir=output_dir)
            for source, path in zip(sources, objects):
                defined = [f"-U{m[0]}" if len(m) == 1 else f"-D{m[0]}" if m[1] is None else f"-D{m[0]}={m[1]}" for m in macros]
                inside = [os.path.relpath(d, SOURCE) for d in map(os.path.abspath, include_dirs) if d.startswith(SOURCE)]
                units[os.path.abspath(path)] = unit = {
                    "source": os.path.relpath(os.path.abspath(source), SOURCE),
                    "include": inside,
                    "options": [*(extra_preargs or []), *defined, *(extra_postargs or [])],
                }
                try:
                    made(path, compiler.ask([unit]) if asking else b"")
                except Unanswered as error:
                    raise CompileError(str(error)) from None
            return objects

        def create_static_lib(self, objects, output_libname, output_dir=None, debug=False, target_lang=None):
            archives[output_libname] = [os.path.abspath(o) for o in objects]
            made(self.library_filename(output_libname, output_dir=output_dir))

        def link(self, target_desc, objects, output_filename, output_dir=None, libraries=None, library_dirs=None,
                 runtime_library_dirs=None, export_symbols=None, debug=False, extra_preargs=None, extra_postargs=None,
                 build_temp=None, target_lang=None):
            objects = [os.path.abspath(o) for o in [*objects, *self.objects]]
            libraries = [*(libraries or []), *self.libraries]
            if output_dir is not None:
                output_filename = os.path.join(output_dir, output_filename)
            if target_desc == self.EXECUTABLE:
                # Nobody installs a program that an extension's build links: it is a question.
                try:
                    made(output_filename, compiler.ask([units[o] for o in objects if o in units], libraries))
                except Unanswered as error:
                    raise LinkError(str(error)) from None
                return
            linked.append({
                "objects": objects,
                "libraries": libraries,
                "options": [*(extra_preargs or []), *(extra_postargs or [])],
            })
            made(output_filename, (PLACEHOLDER % (len(linked) - 1)).encode())

        def preprocess(self, *_, **__):
            raise CompileError("packages are built without a preprocessor and without programs")

        spawn = preprocess

    distutils.unixccompiler.UnixCCompiler = Recorder
    plain = config._compile

    def compile_question(self, *arguments):
        nonlocal asking
        asking = True
        try:
            return plain(self, *arguments)
        finally:
            asking = False

    config._compile = compile_question
    return units, archives, linked


def build(tools):
    """Has the package's back end make a wheel, unpacks it, and returns the extensions in it."""
    source = unpack()
    try:
        with open(os.path.join(source, "pyproject.toml"), "rb") as file:
            system = tomllib.load(file).get("build-system", {})
    except FileNotFoundError:
        system = {}
    check_tools(tools, system.get("requires", ["setuptools"]))
    environment, arguments = ONE_PROCESSOR.get(os.path.basename(source).rpartition("-")[0].lower(), ({}, []))
    # Builds that start Python again find the same tools. Of a compiler named gcc some ask the version.
    os.environ.update(environment, PYTHONPATH=tools, CC="cc", CXX="c++")
    units, archives, linked = record()
    os.chdir(source)
    sys.argv = ["setup.py"]
    sys.path[:0] = [os.path.join(source, d) for d in system.get("backend-path", [])]
    module, _, path = system.get("build-backend", "setuptools.build_meta:__legacy__").partition(":")
    backend = importlib.import_module(module)
    for name in filter(None, path.split(".")):
        backend = getattr(backend, name)
    wheels = os.path.join(HERE, "wheel")
    os.mkdir(wheels)
    wheel = os.path.join(wheels, backend.build_wheel(wheels, {"--global-option": arguments}, None))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(SITE)
    # Where wheels keep what belongs neither here nor there.
    for name in os.listdir(SITE):
        if name.endswith(".data"):
            raise Refused(f"it installs files outside of its package ({name})")
    extensions = []
    for directory, _, names in sorted(os.walk(SITE)):
        for path in (os.path.join(directory, n) for n in sorted(names) if n.endswith(".so")):
            with open(path, "rb") as file:
                match = re.fullmatch(PLACEHOLDER % r"(\d+)", file.read(200).decode("latin-1"))
            if not match:
                raise Refused(f"it brings {os.path.relpath(path, SITE)}, which setuptools did not make")
            extension = linked[int(match[1])]
            objects, libraries = list(extension["objects"]), []
            for name in extension["libraries"]:
                if name in archives:
                    objects += archives[name]
                else:
                    libraries.append(name)
            lost = [o for o in objects if o not in units]
            if lost:
                raise Refused(f"it links {os.path.basename(lost[0])}, which setuptools did not compile")
            extensions.append({
                "file": os.path.relpath(path, SITE),
                "units": [units[o] for o in dict.fromkeys(objects)],
                "libraries": libraries,
                "options": extension["options"],
            })
    return extensions


def attempt(tools):
    """The plan that comes of one set of tools."""
    try:
        return {"extensions": build(tools)}
    except Refused as error:
        return {"error": str(error), "unfit": isinstance(error, Unfit)}
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        return {"error": f"its build failed: {type(error).__name__}: {text}"[:300]}


def main():
    sys.path = [p for p in sys.path if p and os.path.abspath(p) != HERE]
    plans = []
    for tools in sorted(os.listdir(os.path.join(HERE, "tools"))):
        for name in ("source", "site", "wheel"):
            path = os.path.join(HERE, name)
            shutil.rmtree(path, ignore_errors=True)
        if os.path.exists(PLAN):
            os.remove(PLAN)
        # Each in a process of its own: modules of one set are not to be seen with another.
        child = os.fork()
        if child == 0:
            plan = attempt(os.path.join(HERE, "tools", tools))
            with open(PLAN, "w") as file:
                json.dump(plan, file)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        os.waitpid(child, 0)
        try:
            with open(PLAN) as file:
                plans.append(json.load(file))
        except FileNotFoundError:
            plans.append({"error": "its build ended without a word"})
        if "extensions" in plans[-1]:
            return
    with open(PLAN, "w") as file:
        json.dump(min(plans, key=lambda plan: plan.get("unfit", False)), file)


main()
