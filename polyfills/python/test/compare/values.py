import sys, warnings
before = sorted(sys.modules), sorted(sys.path_importer_cache), list(sys.meta_path)
import gc, locale, os, platform, signal, site, sysconfig, time
# Differ by what they are: the compiler's date, and the order of a set.
LEFT_OUT = {"stdlib_module_names", "version", "modules", "path_importer_cache", "path_hooks", "meta_path"}
print(*before, sep="\n")
for name in sorted(set(dir(sys)) - LEFT_OUT):
    value = getattr(sys, name)
    if not callable(value) and not hasattr(value, "fileno"):
        print(name, value)
print(sorted(sys.stdlib_module_names))
for stream in sys.stdin, sys.stdout, sys.stderr:
    print(stream.encoding, stream.errors, stream.line_buffering, stream.name, stream.mode, stream.write_through)
print(site.PREFIXES, site.ENABLE_USER_SITE, site.USER_SITE, site.USER_BASE, site.getsitepackages())
print(sysconfig.get_paths(), sysconfig.get_platform(), sysconfig.get_default_scheme(), sysconfig.get_scheme_names())
print(sorted(sysconfig.get_config_vars().items(), key=str))
print(platform.machine(), platform.python_compiler(), platform.python_implementation(), platform.libc_ver(), platform.architecture())
print(time.tzname, locale.getlocale(), [(s, signal.getsignal(s)) for s in sorted(signal.valid_signals())])
print(gc.get_threshold(), gc.isenabled(), warnings.filters)
print(sorted(k for k in globals() if k.startswith("__")), __builtins__, type(__loader__), __spec__)
