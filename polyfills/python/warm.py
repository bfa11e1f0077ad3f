"""Imports modules ahead of time and hides them until a program imports them.

Runs at build time, before a snapshot is made, in a namespace that no program sees. main.c provides

    names          modules to import, in this order
    scripts        programs whose imports are to be warmed, too
    bootstrap      importlib._bootstrap
    take_atexit()  takes away the callbacks registered with atexit so far: [(function, arguments, keywords), ...]
    register()     atexit.register
    counts()       how often random numbers, clocks and the process's id were asked for: (random, clock, pid)
    version(x)     a number that changes with every change of a module's (or a class's) dictionary
    watch(path)    marks a directory that a plain start depends on
    fresh()        whether these directories are as they were
    unchanged(path, mtime_ns, size, inode)   whether a file is still the one that has been imported
    reseed_ssl()   makes OpenSSL's random generators start anew

and takes from here `trial`, `prepare`, `complete` and `reveal`.

What a module's import did is written down while it happens: which modules it imported, and what it did to the parts of the
interpreter that all modules share. A module that did what cannot be taken back, or what must happen anew in every process,
is refused, and so is what depends on it. `reveal` puts a module and what it imported where an import would have put them.
"""

import sys

modules = sys.modules
external = sys.modules["_frozen_importlib_external"]
posix = sys.modules["posix"]
builtins = sys.modules["builtins"]
_imp = sys.modules["_imp"]
_io = sys.modules["_io"]
_warnings = sys.modules["_warnings"]
signal = sys.modules["_signal"]
thread = sys.modules["_thread"]
Module = type(sys)
FileFinder = external.FileFinder
PathFinder = external.PathFinder


# --- Modules whose import must be completed in each process --------------------------------------------------------------

def _random(module):
    module._inst.seed()


def _logging(module):
    module._startTime = module.time.time()


def _threading(module):
    main = module._main_thread
    main._set_ident()
    main._set_native_id()


def _ssl(module):
    reseed_ssl()


def _multiprocessing(module):
    key = module.AuthenticationString(module.os.urandom(32))
    module._current_process._config["authkey"] = key


# name: (what its import may ask for, what is done when it is revealed)
COMPLETED = {
    "random": ("random", _random),
    "logging": ("clock", _logging),
    "threading": ("", _threading),
    "_ssl": ("", _ssl),
    "multiprocessing.process": ("random pid", _multiprocessing),
}

# (module, name): caches of what may be another in each process. They are as they were when nobody had asked.
CACHES = {("platform", "_uname_cache")}


# --- Writing down -------------------------------------------------------------------------------------------------------

class Warmed:
    """A module that was imported ahead of time."""

    __slots__ = (
        "name", "module", "deps", "absent", "closure", "top", "files", "environ", "parent", "parent_path", "binds",
        "atexit", "filters", "meta_path", "copyreg", "loggers", "importers", "sets", "complete", "shown", "refused",
    )

    def __init__(self, name):
        self.name = name
        self.module = None
        # Names of modules that its import imported, and top-level names that it did not find.
        self.deps = {}
        self.absent = set()
        # It and all that it needs, in the order of loading.
        self.closure = ()
        # Top-level name by which a file elsewhere on sys.path would hide it; None: nothing can.
        self.top = None
        # Files and directories that must be as they were: (path, modification time in ns, size, inode).
        self.files = []
        # What it asked of the environment: {name: value, or None}.
        self.environ = {}
        self.parent = None
        self.parent_path = None
        self.binds = []
        # Effects on what all modules share.
        self.atexit = []
        self.filters = ([], [])
        self.meta_path = []
        self.copyreg = {}
        self.loggers = {}
        self.importers = {}
        # What it put into other modules: [module or class, name, value before, value after].
        self.sets = []
        self.complete = None
        self.shown = False
        self.refused = None


class Environment(dict):
    """The environment while modules are imported; writes down what is asked for."""

    def __init__(self, recorder):
        super().__init__(posix.environ)
        self.recorder = recorder

    def __getitem__(self, key):
        self.recorder.asks(key)
        return posix.environ[key]

    def __iter__(self):
        self.recorder.asks(None)
        return iter(posix.environ)

    def __setitem__(self, key, value):
        posix.environ[key] = value

    def __delitem__(self, key):
        del posix.environ[key]

    def __len__(self):
        self.recorder.asks(None)
        return len(posix.environ)


# Stands for a name that a namespace does not have.
ABSENT = object()


def namespace(owner):
    return Module.__dict__["__dict__"].__get__(owner) if isinstance(owner, Module) else type.__dict__["__dict__"].__get__(owner)


def assign(owner, name, value):
    """Sets a module's or a class's attribute past whatever watches over it."""
    if isinstance(owner, Module):
        if value is ABSENT:
            del namespace(owner)[name]
        else:
            namespace(owner)[name] = value
    elif value is ABSENT:
        type.__delattr__(owner, name)
    else:
        type.__setattr__(owner, name, value)


def loggers():
    """The loggers that there are: {name: logger}."""
    logging = modules.get("logging")
    return logging.root.manager.loggerDict if hasattr(logging, "root") else {}


class Recorder:
    """Watches imports."""

    def __init__(self):
        self.base = dict(modules)
        self.records = {}
        self.stack = []
        self.errors = {}
        self.import_ = builtins.__import__
        self.find_and_load = bootstrap._find_and_load
        self.load_unlocked = bootstrap._load_unlocked
        self.last = self.original = self.shared()
        # {id of a module or class: [it, version of its dictionary, copy of that]}
        self.spaces = {}
        self.look()
        take_atexit()

    def shared(self):
        """What all modules share, as it is now."""
        copyreg = modules.get("copyreg")
        return {
            "filters": list(_warnings.filters),
            "meta_path": list(sys.meta_path),
            "copyreg": dict(copyreg.dispatch_table) if copyreg is not None else None,
            "importers": dict(sys.path_importer_cache),
            "modules": dict(modules),
            "loggers": dict(loggers()),
            "counts": counts(),
            # From here on: what a module must not touch.
            "sys.path": list(sys.path),
            "sys.path_hooks": list(sys.path_hooks),
            "os.environ": dict(posix.environ),
            "the builtins": set(builtins.__dict__),
            "signal handlers": [signal.getsignal(n) for n in range(1, 65) if n not in (32, 33)],
            "threads": thread._count(),
            "hooks of sys": (sys.excepthook, sys.displayhook, sys.unraisablehook, sys.gettrace(), sys.getprofile()),
            "limits": (sys.getrecursionlimit(), sys.getswitchinterval(), sys.flags),
            "the working directory": posix.getcwd(),
            "open files": descriptors(),
        }

    def collect(self):
        """Attributes what has changed since the last call to the module that is being imported."""
        last, now = self.last, self.shared()
        self.last = now
        callbacks = take_atexit()
        changes = []
        for change in self.look():
            owner, name, before, after = change
            # A submodule is bound by whoever imports it first. It may take the place of something else.
            full = f"{getattr(owner, '__name__', '')}.{name}"
            if not isinstance(after, Module) or modules.get(full) is not after:
                changes.append(change)
            elif before is not ABSENT and full in self.records:
                self.records[full].sets.append(list(change))
        if not self.stack:
            return
        record = self.records[self.stack[-1]]
        record.atexit += callbacks
        # Inserted in front or appended; what simplefilter() moves only changes its place.
        known = {id(f) for f in last["filters"]}
        new = now["filters"]
        first = next((i for i, f in enumerate(new) if id(f) in known), len(new))
        record.filters[0][:0] = new[:first]
        record.filters[1].extend(f for f in new[first:] if id(f) not in known)
        record.meta_path += [f for f in now["meta_path"] if not any(f is g for g in last["meta_path"])]
        if [id(f) for f in now["meta_path"][:len(last["meta_path"])]] != [id(f) for f in last["meta_path"]]:
            record.refused = "takes importers off sys.meta_path, or puts one in front of others"
        if last["copyreg"] is not None:
            record.copyreg.update((k, v) for k, v in now["copyreg"].items() if last["copyreg"].get(k) is not v)
        elif now["copyreg"] is not None:
            self.original["copyreg"] = now["copyreg"]
        for path, finder in now["importers"].items():
            if path not in last["importers"]:
                record.importers[path] = finder
        # Modules that code put into sys.modules itself.
        for name in now["modules"]:
            if name not in last["modules"] and name not in self.records:
                self.records[name] = Warmed(name)
                record.deps[name] = None
        allowed = COMPLETED.get(record.name, ("", None))[0]
        for what, before, after in zip(("random", "clock", "pid"), last["counts"], now["counts"]):
            if before != after and what not in allowed:
                record.refused = {
                    "random": "draws random numbers", "clock": "reads a clock", "pid": "asks for the id of the process",
                }[what] + " while it is imported"
        record.loggers.update((k, v) for k, v in now["loggers"].items() if last["loggers"].get(k) is not v)
        for what in list(now)[7:]:
            if now[what] != last[what]:
                record.refused = f"changes {what}"
        # What it does to its own names is its own affair.
        own = modules.get(record.name), type(modules.get(record.name))
        record.sets += (list(change) for change in changes if change[0] is not own[0] and change[0] is not own[1])

    def look(self):
        """What has changed in the namespaces of all modules since the last call: [(module or class, name, before, after)]."""
        found = []
        owners = [m for m in modules.values() if isinstance(m, Module)]
        # A lazy module has attributes in a class of its own.
        owners += [type(m) for m in owners if type(m) is not Module]
        for owner in owners:
            known, now = self.spaces.get(id(owner)), version(owner)
            if known is None:
                self.spaces[id(owner)] = [owner, now, dict(namespace(owner))]
            elif known[1] != now:
                old, new = known[2], dict(namespace(owner))
                known[1:] = now, new
                for name in old.keys() | new.keys():
                    before, after = old.get(name, ABSENT), new.get(name, ABSENT)
                    if before is not after and name not in ("__builtins__", "__warningregistry__", "__doc__"):
                        found.append((owner, name, before, after))
        return found

    def needs(self, name):
        """The module that is being imported has asked for another."""
        if self.stack and name not in self.base:
            deps = self.records[self.stack[-1]].deps
            while name:
                deps[name] = None
                name = name.rpartition(".")[0]

    def asks(self, key):
        """The module that is being imported asks for a variable; None: for all of the environment."""
        if self.stack:
            record = self.records[self.stack[-1]]
            if key is None:
                record.refused = "reads all of the environment"
            else:
                record.environ.setdefault(key, posix.environ.get(key))

    def lacks(self, name):
        if self.stack:
            self.records[self.stack[-1]].absent.add(name.partition(".")[0])

    def on_import(self, name, globals=None, locals=None, fromlist=(), level=0):
        result = self.import_(name, globals, locals, fromlist, level)
        if level:
            name = bootstrap._resolve_name(name, bootstrap._calc___package__(globals), level)
        self.needs(name)
        for attribute in fromlist or ():
            module = modules.get(name)
            every = getattr(module, "__all__", ()) if attribute == "*" else (attribute,)
            for attribute in every:
                if isinstance(attribute, str):
                    full = f"{name}.{attribute}"
                    if full in modules and getattr(module, "__dict__", {}).get(attribute) is modules[full]:
                        self.needs(full)
        return result

    def on_find_and_load(self, name, import_):
        try:
            result = self.find_and_load(name, import_)
        except ModuleNotFoundError as error:
            if error.name:
                self.lacks(error.name)
            raise
        self.needs(name)
        return result

    def on_load(self, spec):
        name = spec.name
        record = Warmed(name)
        # Looking for it has made finders.
        known = self.last["importers"]
        record.importers.update(i for i in sys.path_importer_cache.items() if i[0] not in known)
        self.collect()
        # Loaded anew after a failure: what it does this time counts.
        self.records.pop(name, None)
        self.records[name] = record
        self.last["modules"].setdefault(name, None)
        self.stack.append(name)
        try:
            return self.load_unlocked(spec)
        except BaseException:
            # What it did stays done, and is now its importer's.
            self.collect()
            self.stack.pop()
            if self.stack:
                self.inherit(self.records[self.stack[-1]], record)
            record = None
            raise
        finally:
            if record is not None:
                self.collect()
                self.stack.pop()

    def inherit(self, record, failed):
        record.deps.update(failed.deps)
        record.absent |= failed.absent
        record.atexit += failed.atexit
        record.filters[0][:0] = failed.filters[0]
        record.filters[1].extend(failed.filters[1])
        record.meta_path += failed.meta_path
        record.copyreg.update(failed.copyreg)
        record.loggers.update(failed.loggers)
        record.importers.update(failed.importers)
        record.sets += failed.sets
        for key, value in failed.environ.items():
            record.environ.setdefault(key, value)
        record.refused = record.refused or failed.refused

    def run(self, found=()):
        """Imports all `names`; and of `found`, [(package or "", name)], what there is, which becomes one of `names`."""
        builtins.__import__ = self.on_import
        bootstrap._find_and_load = self.on_find_and_load
        bootstrap._load_unlocked = self.on_load
        mappings = [modules["os"].environ, modules["os"].environb]
        for mapping in mappings:
            mapping._data = Environment(self)
        try:
            for name in list(names):
                try:
                    bootstrap._gcd_import(name)
                except BaseException as error:
                    self.errors[name] = f"{type(error).__name__}: {error}"
            for package, name in found:
                if package and hasattr(modules.get(package), name[len(package) + 1:]):
                    continue
                try:
                    bootstrap._gcd_import(name)
                except ModuleNotFoundError:
                    # Nobody said that it is there, or that it is a module.
                    continue
                except BaseException as error:
                    self.errors[name] = f"{type(error).__name__}: {error}"
                if name not in names:
                    names.append(name)
        finally:
            builtins.__import__ = self.import_
            bootstrap._find_and_load = self.find_and_load
            bootstrap._load_unlocked = self.load_unlocked
            for mapping in mappings:
                mapping._data = posix.environ
        hidden = {}
        for name, record in self.records.items():
            if name in modules and name not in self.base:
                record.module = modules[name]
                hidden[name] = record
        self.records = hidden
        self.finish()

    def finish(self):
        records = self.records
        order = {name: i for i, name in enumerate(records)}
        for name, record in records.items():
            parent, _, tail = name.rpartition(".")
            if parent:
                record.deps[parent] = None
            # Everything below and including it.
            todo, seen = [name], {name}
            while todo:
                for other in records[todo.pop()].deps:
                    if other in records and other not in seen:
                        seen.add(other)
                        todo.append(other)
            record.closure = tuple(records[n] for n in sorted(seen, key=order.__getitem__))
            spec = getattr(record.module, "__spec__", None)
            origin = getattr(spec, "origin", None)
            own = spec is not None and spec.name == name
            if own and origin in ("built-in", "frozen"):
                pass
            elif own and spec.has_location:
                self.depends(record, [origin])
            elif own and type(spec.loader) is external.NamespaceLoader:
                # Its parts, and where a file or a part would come before them. What is on sys.path is looked at anyway.
                self.depends(record, [*spec.submodule_search_locations, *getattr(modules.get(parent), "__path__", ())])
            elif own and self.made_by(record, spec.loader):
                # The importer is asked after all others, and always answers the same.
                pass
            elif own:
                record.refused = "has a loader of its own"
            if own and not parent and origin not in ("built-in", "frozen"):
                record.top = name
            if own and parent in modules:
                record.parent = modules[parent]
                record.parent_path = list(getattr(record.parent, "__path__", ()))
                taken = any(owner is record.parent and attribute == tail for owner, attribute, _, _ in record.sets)
                if not taken and getattr(record.parent, "__dict__", {}).get(tail) is record.module:
                    record.binds.append((record.parent, tail))
            if name in COMPLETED:
                record.complete = COMPLETED[name][1]

    def depends(self, record, paths):
        for path in paths:
            try:
                found = posix.stat(path)
                record.files.append((path, found.st_mtime_ns, found.st_size, found.st_ino))
            except OSError:
                record.refused = f"has no file ({path})"

    def made_by(self, record, loader):
        """Whether a module comes from an importer that one of the modules below it has put on sys.meta_path."""
        return any(loader is finder for below in record.closure for finder in below.meta_path)

    def refusals(self):
        """Requested names that cannot be warmed: {name: reason}."""
        refused = dict(self.errors)
        for name in names:
            if name not in refused and name not in self.base:
                if name not in self.records:
                    refused[name] = "takes itself out of sys.modules"
                    continue
                for record in self.records[name].closure:
                    if record.refused:
                        by = "" if record.name == name else f"imports {record.name}, which "
                        refused[name] = by + record.refused
                        break
        return refused

    def acceptable(self, refused):
        """What can be warmed: requested names, and below refused ones whatever does not depend on what was refused."""
        good = [name for name in names if name not in refused]
        for name in names:
            if name in refused and name in self.records:
                for record in self.records[name].closure:
                    spec = getattr(record.module, "__spec__", None)
                    if spec is not None and spec.name == record.name and not any(r.refused for r in record.closure):
                        good.append(record.name)
        return good

    def hide(self):
        """Takes everything back that the imports did."""
        for record in reversed(self.records.values()):
            kept = []
            for change in reversed(record.sets):
                owner, name, before, after = change
                # Unless its owner has given it another value since.
                if namespace(owner).get(name, ABSENT) is after:
                    assign(owner, name, before)
                    if (getattr(owner, "__name__", None), name) not in CACHES:
                        kept.append(change)
            record.sets = kept[::-1]
            for name in record.loggers:
                loggers().pop(name, None)
        for name, record in self.records.items():
            for parent, tail in record.binds:
                parent.__dict__.pop(tail, None)
            del modules[name]
        _warnings.filters[:] = self.original["filters"]
        _warnings._filters_mutated()
        sys.meta_path[:] = self.original["meta_path"]
        copyreg = self.records.get("copyreg")
        if copyreg is not None:
            table = copyreg.module.dispatch_table
            table.clear()
            table.update(self.original["copyreg"])
        for path in set(sys.path_importer_cache) - set(self.original["importers"]):
            del sys.path_importer_cache[path]


def descriptors():
    try:
        return sorted(posix.listdir("/proc/self/fd"))
    except OSError:
        return []


# --- What programs import -------------------------------------------------------------------------------------------------

# Of `compile`: only the syntax tree.
ONLY_AST = 0x400
MAX_FILES = 1000


def imports(path):
    """What a program and the modules beside it may import, by their text: [(package or "", name)].

    A name that `from package import name` mentions may be a module or not.
    """
    found, todo, seen = {}, [path], {path}
    directory = path.rpartition("/")[0]
    while todo:
        file = todo.pop(0)
        try:
            with _io.open_code(file) as stream:
                tree = compile(external.decode_source(stream.read()), file, "exec", ONLY_AST, True)
        except FileNotFoundError:
            continue
        except (SyntaxError, UnicodeError, ValueError) as error:
            sys.stderr.write(f"megalith: {file}: {error}\n")
            continue
        for node in nodes(tree):
            for package, name in imported(node):
                found[package, name] = None
                beside = f"{directory}/{name.replace('.', '/')}"
                for candidate in f"{beside}.py", f"{beside}/__init__.py":
                    if candidate not in seen and len(seen) < MAX_FILES:
                        seen.add(candidate)
                        todo.append(candidate)
    return list(found)


def nodes(tree):
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for field in reversed(node._fields):
            value = getattr(node, field, None)
            values = value if type(value) is list else [value]
            todo.extend(v for v in reversed(values) if hasattr(v, "_fields"))


def imported(node):
    """The modules that one node of the syntax tree imports: [(package or "", name)]."""
    kind = type(node).__name__
    if kind == "Import":
        return [("", alias.name) for alias in node.names]
    if kind == "ImportFrom" and node.level == 0:
        return [("", node.module)] + [(node.module, f"{node.module}.{a.name}") for a in node.names if a.name != "*"]
    if kind == "Call" and node.args:
        function = getattr(node.func, "attr", getattr(node.func, "id", None))
        name = getattr(node.args[0], "value", None)
        if function in ("import_module", "__import__") and type(name) is str and name.strip("."):
            return [("", name)] if name[0] != "." else []
    return []


# --- What main.c calls --------------------------------------------------------------------------------------------------

hidden = {}
# sys.path of a plain start.
base_path = []
meta_path = []
path_hooks = []
interesting = set()
memo = {}


def trial():
    """Imports the modules, and returns [names of modules that can be warmed], {names that were asked for and cannot: reason}."""
    found = [name for script in scripts for name in imports(script)]
    recorder = Recorder()
    recorder.run(found)
    refused = recorder.refusals()
    return recorder.acceptable(refused), refused


def prepare():
    """Imports the modules and hides them. Returns {name: record}, and all modules that belong to the snapshot."""
    recorder = Recorder()
    recorder.run()
    refused = recorder.refusals()
    if refused:
        raise ImportError(f"cannot be warmed: {refused}")
    recorder.hide()
    hidden.update(recorder.records)
    base_path[:] = sys.path
    for path in base_path:
        watch(path)
    for path in modules["site"].getsitepackages():
        if path not in base_path:
            watch(path)
    meta_path[:] = sys.meta_path
    path_hooks[:] = sys.path_hooks
    for record in hidden.values():
        if record.top:
            interesting.add(record.top)
        interesting.update(record.absent)
    kept = dict(recorder.base)
    kept.update((name, record.module) for name, record in hidden.items())
    del kept["__main__"]
    for name in recorder.base:
        if name in COMPLETED:
            resumed.append((COMPLETED[name][1], recorder.base[name]))
    return hidden, kept


# What is completed in each process at once, because it was there before anything was warmed.
resumed = []


def complete():
    """Completes in a resumed process what was there before anything was warmed."""
    for function, module in resumed:
        function(module)


def shadows():
    """Names that directories on sys.path may now give another meaning; None: cannot be said, or everything may have."""
    path = sys.path
    if type(path) is not list:
        return None
    rest = iter(base_path)
    expected = next(rest, None)
    names = None
    for entry in path:
        if entry == expected:
            expected = next(rest, None)
            continue
        if type(entry) is not str:
            return None
        finder = PathFinder._path_importer_cache(entry)
        if finder is None:
            continue
        if type(finder) is not FileFinder:
            return None
        try:
            mtime = posix.stat(finder.path or posix.getcwd()).st_mtime
        except OSError:
            mtime = -1
        # As FileFinder.find_spec does.
        if mtime != finder._path_mtime:
            finder._fill_cache()
            finder._path_mtime = mtime
        known = memo.get(id(finder))
        if known is None or known[0] is not finder._path_cache:
            found = {name.partition(".")[0] for name in finder._path_cache} & interesting
            memo[id(finder)] = known = (finder._path_cache, found)
        names = known[1] if not names else names | known[1]
    if expected is not None:
        return None
    return (names or ()) if fresh() else None


def reveal(name):
    """Makes a hidden module visible as an import would, and returns it; None: it must really be imported."""
    wanted = hidden[name]
    if sys.meta_path != meta_path or sys.path_hooks != path_hooks:
        return None
    names = shadows()
    if names is None:
        return None
    todo = []
    for record in wanted.closure:
        if record.shown:
            if modules.get(record.name) is not record.module:
                return None
            continue
        if record.name in modules or record.top in names:
            return None
        if names and not record.absent.isdisjoint(names):
            return None
        for file in record.files:
            if not unchanged(*file):
                return None
        for key, value in record.environ.items():
            if posix.environ.get(key) != value:
                return None
        if record.parent is not None and list(getattr(record.parent, "__path__", ())) != record.parent_path:
            return None
        for owner, attribute, before, after in record.sets:
            if namespace(owner).get(attribute, ABSENT) is not before:
                return None
        if record.loggers and not record.loggers.keys().isdisjoint(loggers()):
            return None
        todo.append(record)
    for record in todo:
        record.shown = True
        del hidden[record.name]
        modules[record.name] = record.module
        for parent, tail in record.binds:
            setattr(parent, tail, record.module)
        for owner, attribute, before, after in record.sets:
            assign(owner, attribute, after)
    for record in todo:
        importers = record.importers
        if importers:
            for path, finder in importers.items():
                sys.path_importer_cache.setdefault(path, finder)
        if record.copyreg:
            modules["copyreg"].dispatch_table.update(record.copyreg)
        if record.loggers:
            loggers().update(record.loggers)
        if record.meta_path:
            sys.meta_path.extend(record.meta_path)
            meta_path[:] = sys.meta_path
        front, back = record.filters
        if front or back:
            _warnings.filters[:0] = front
            _warnings.filters.extend(back)
            _warnings._filters_mutated()
        if record.atexit:
            for function, arguments, keywords in record.atexit:
                register(function, *arguments, **keywords)
        if record.complete is not None:
            record.complete(record.module)
    return modules[name]
