"""Builds a Python package from its sdist, but for the compiler: runs in a container without network, under the Python polyfill.

/megalith/sdist          the archive
/megalith/tools/*        what builds need (tools-*.txt), a set in each directory: the first is taken that the package can be built with

Leaves, below /megalith:

source/     the unpacked sdist, with the sources that its build wrote
site/       what the package installs; extension modules are files that say so
plan.json   {"extensions": [{"file": below site, "units": [...], "libraries": [...], "options": [...]}]}, or {"error": text}

A unit is one call of the compiler: {"source": path, "include": [path], "options": [...]}, with paths below source/. Nothing in a plan is to be
trusted: the code of the package runs in this process.
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
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE, SITE = os.path.join(HERE, "source"), os.path.join(HERE, "site")
PLAN = os.path.join(HERE, "plan.json")
# What a package gets in the place of a shared object.
PLACEHOLDER = "An extension module of Python, number %s of its package, for the polyfill that this image was built for.\n"


class Refused(Exception):
    """What the user is told."""


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
    from setuptools._vendor.packaging.requirements import Requirement

    for wanted in map(Requirement, requires):
        name = wanted.name.lower().replace("_", "-")
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        if name not in there or not wanted.specifier.contains(there[name]):
            there = ", ".join(f"{name} {version}" for name, version in sorted(there.items()))
            raise Refused(f"its build needs {wanted.name}{wanted.specifier}; packages are built with {there}")


def record():
    """Puts a recorder in the place of the compiler; returns what is recorded."""
    os.environ["SETUPTOOLS_USE_DISTUTILS"] = "local"
    import setuptools  # noqa: F401: it puts its distutils in place
    from distutils.errors import CompileError
    from distutils.unixccompiler import UnixCCompiler

    units, archives, linked = {}, {}, []

    def made(path, text=""):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            file.write(text)

    def compile(self, sources, output_dir=None, macros=None, include_dirs=None, debug=False, extra_preargs=None,
                extra_postargs=None, depends=None):
        output_dir, macros, include_dirs = self._fix_compile_args(output_dir, macros, include_dirs)
        objects = self.object_filenames(sources, output_dir=output_dir)
        for source, path in zip(sources, objects):
            defined = [f"-U{m[0]}" if len(m) == 1 else f"-D{m[0]}" if m[1] is None else f"-D{m[0]}={m[1]}" for m in macros]
            inside = [os.path.relpath(d, SOURCE) for d in map(os.path.abspath, include_dirs) if d.startswith(SOURCE)]
            units[os.path.abspath(path)] = {
                "source": os.path.relpath(os.path.abspath(source), SOURCE),
                "include": inside,
                "options": [*(extra_preargs or []), *defined, *(extra_postargs or [])],
            }
            made(path)
        return objects

    def create_static_lib(self, objects, output_libname, output_dir=None, debug=False, target_lang=None):
        archives[output_libname] = [os.path.abspath(o) for o in objects]
        made(self.library_filename(output_libname, output_dir=output_dir))

    def link(self, target_desc, objects, output_filename, output_dir=None, libraries=None, library_dirs=None,
             runtime_library_dirs=None, export_symbols=None, debug=False, extra_preargs=None, extra_postargs=None,
             build_temp=None, target_lang=None):
        if output_dir is not None:
            output_filename = os.path.join(output_dir, output_filename)
        linked.append({
            "objects": [os.path.abspath(o) for o in [*objects, *self.objects]],
            "libraries": [*(libraries or []), *self.libraries],
            "options": [*(extra_preargs or []), *(extra_postargs or [])],
        })
        made(output_filename, PLACEHOLDER % (len(linked) - 1))

    def none(self, *_, **__):
        raise CompileError("packages are built without a preprocessor and without programs")

    UnixCCompiler.compile = compile
    UnixCCompiler.link = link
    UnixCCompiler.create_static_lib = create_static_lib
    UnixCCompiler.preprocess = UnixCCompiler.spawn = none
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
    wheel = os.path.join(wheels, backend.build_wheel(wheels, {}, None))
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
        return {"error": str(error)}
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
        json.dump(plans[0], file)


main()
