"""Prints, as one line of JSON, what must be the same in every process and what must not, and then changes all of it.

Arguments: how to end, and `alone` when no other process has used the file system before.
"""
import sys

seen = {"modules at the start": sorted(sys.modules), "globals": sorted(globals()), "argv": len(sys.argv)}

import atexit, builtins, gc, json, locale, os, signal, time, warnings

seen["environment"] = sorted(os.environ.items())
seen["cwd"] = os.getcwd()
mask = os.umask(0)
os.umask(mask)
seen["umask"] = mask
seen["descriptors"] = sorted(os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if n > "2" and n.isdigit() and os.path.exists(f"/proc/self/fd/{n}"))
seen["warnings"] = [repr(f) for f in warnings.filters]
seen["atexit"] = atexit._ncallbacks()
seen["builtins"] = sorted(vars(builtins))
seen["signals"] = [str(signal.getsignal(n)) for n in (signal.SIGUSR1, signal.SIGTERM, signal.SIGPIPE)]
seen["sys"] = [sys.path, sys.flags, sys.getrecursionlimit(), len(sys.meta_path), gc.isenabled(), gc.get_threshold()]
seen["locale"] = [locale.setlocale(locale.LC_ALL), time.tzname]

import logging

seen["loggers at the start"] = sorted(logging.root.manager.loggerDict)

import decimal, random, resource, secrets, socket, ssl, subprocess, tempfile, threading, uuid

import bs4, jinja2, requests, yaml

seen["modules"] = sorted(sys.modules)
seen["warnings of packages"] = [repr(f) for f in warnings.filters]
seen["loggers"] = sorted((n, getattr(l, "level", None)) for n, l in logging.root.manager.loggerDict.items())
seen["root logger"] = [logging.root.level, len(logging.root.handlers)]
seen["attributes"] = {m.__name__: sorted(vars(m)) for m in (bs4, jinja2, requests, requests.utils, yaml, json, random, tempfile, os)}
seen["json"] = json.dumps({"a": [1, None]})
seen["yaml"] = [sorted(map(str, yaml.SafeLoader.yaml_constructors)), yaml.safe_load("a: [1, x]")]
seen["jinja2"] = [sorted(jinja2.defaults.DEFAULT_FILTERS), jinja2.Template("{{ a | upper }}").render(a="b")]
seen["bs4"] = [len(bs4.builder.builder_registry.builders), str(bs4.BeautifulSoup("<p>a<b>c</p>", "html.parser"))]
seen["requests"] = sorted(requests.Session().headers)
seen["defaults"] = [tempfile.tempdir, socket.getdefaulttimeout(), decimal.getcontext().prec, threading.active_count(), resource.getrlimit(resource.RLIMIT_NOFILE)]
random.seed(5)
seen["seeded"] = random.random()
if sys.argv[2:] == ["alone"]:
    seen["files"] = sorted(os.listdir("/tmp")) + sorted(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else sorted(os.listdir("/tmp"))

random.seed()
fresh = {
    "random": random.Random().random(),
    "urandom": os.urandom(8).hex(),
    "uuid1": str(uuid.uuid1()),
    "uuid4": str(uuid.uuid4()),
    "hash(str)": hash("a text"),
    "hash(bytes)": hash(b"some bytes"),
    "time": time.time_ns(),
    "start of logging": logging._startTime,
    "secrets": secrets.token_hex(8),
    "ssl": ssl.RAND_bytes(8).hex(),
    "tempfile": tempfile.mktemp(dir="/tmp"),
}
# What the module's own generator was seeded with at its import, in another interpreter: here it has been seeded above.
child = "import random; print(random.random(), random.getrandbits(40))"
fresh["random, unseeded"] = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
sys.stdout.write(json.dumps({"same": seen, "fresh": fresh, "pid": os.getpid()}) + "\n")
sys.stdout.flush()

kept = open(f"/tmp/leaked-{os.getpid()}", "w")
kept.write("never flushed")
os.environ["LEAKED"] = "1"
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()
os.chdir("/tmp")
os.umask(0o777)
warnings.simplefilter("error")
atexit.register(print, "an exit function of another process", file=sys.stderr)
builtins.leaked = sys.modules["leaked"] = requests.leaked = json.leaked = 1
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: None)
sys.path.insert(0, "/leaked")
sys.setrecursionlimit(5000)
sys.meta_path.clear()
gc.disable()
logging.basicConfig(level=1)
logging.getLogger("requests").setLevel(1)
logging.getLogger("leaked")
yaml.add_constructor("!leaked", print, yaml.SafeLoader)
jinja2.defaults.DEFAULT_FILTERS["leaked"] = jinja2.defaults.DEFAULT_FILTERS["upper"] = print
bs4.builder.builder_registry.builders.clear()
tempfile.tempdir = "/leaked"
socket.setdefaulttimeout(3)
decimal.getcontext().prec = 5
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
random.seed(7)
os.urandom = lambda n: bytes(n)
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
match sys.argv[1]:
    case "_exit":
        os._exit(0)
    case "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    case "exec":
        os.execv("/bin/busybox", ["true"])
