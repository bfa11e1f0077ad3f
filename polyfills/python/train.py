"""What the interpreter is trained with: the compiler arranges its code after what this program makes it do. A bit of everything that
programs do; none of it is measured anywhere."""

import ast
import argparse
import asyncio
import base64
import bisect
import bz2
import collections
import configparser
import contextlib
import copy
import csv
import dataclasses
import datetime
import decimal
import difflib
import enum
import fractions
import functools
import hashlib
import heapq
import html
import html.parser
import importlib.util
import io
import itertools
import json
import logging
import lzma
import math
import operator
import os
import pickle
import random
import re
import shlex
import sqlite3
import statistics
import string
import struct
import tempfile
import textwrap
import threading
import tokenize
import unittest
import urllib.parse
import xml.etree.ElementTree
import zlib

LIBRARY = os.path.dirname(os.path.abspath(argparse.__file__))
WORDS = re.findall(r"[A-Za-z]+", (__doc__ + textwrap.__doc__ + argparse.__doc__ + decimal.__doc__) * 8)


def read(name):
    with open(os.path.join(LIBRARY, name), encoding="utf-8") as file:
        return file.read()


# --- The language -----------------------------------------------------------------------------------------------------------


class Leaf:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def evaluate(self, scope):
        return self.value


class Name(Leaf):
    __slots__ = ()

    def evaluate(self, scope):
        return scope.get(self.value, 0)


class Pair:
    def __init__(self, op, left, right):
        self.op, self.left, self.right = op, left, right

    def evaluate(self, scope):
        left, right = self.left.evaluate(scope), self.right.evaluate(scope)
        if self.op == "+":
            return left + right
        elif self.op == "-":
            return left - right
        elif self.op == "*":
            return left * right
        return left / right if right else 0


class Expressions:
    """An interpreter of arithmetic: scanning by a regular expression, recursive descent, a tree of classes, its evaluation."""

    scanner = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|([a-z_]\w*)|([-+*/()]))")

    def __init__(self, text):
        self.tokens = [match.groups() for match in self.scanner.finditer(text)]
        self.at = 0

    def atom(self):
        number, name, op = self.tokens[self.at]
        self.at += 1
        if number is not None:
            return Leaf(float(number) if "." in number else int(number))
        if name:
            return Name(name)
        if op != "(":
            raise SyntaxError(op)
        inner = self.sum()
        self.at += 1
        return inner

    def chain(self, next, ops):
        left = next()
        while self.at < len(self.tokens) and self.tokens[self.at][2] in ops:
            op = self.tokens[self.at][2]
            self.at += 1
            left = Pair(op, left, next())
        return left

    def product(self):
        return self.chain(self.atom, ("*", "/"))

    def sum(self):
        return self.chain(self.product, ("+", "-"))


def expressions():
    total = 0.0
    for i in range(120):
        tree = Expressions(f"(a + {i} * b_{i % 3}) / (1 + {i}.5 - c) * (x - (y + 2) * 3) + {'z * ' * (i % 5)}1").sum()
        for k in range(30):
            total += tree.evaluate({"a": k, "b_0": 1, "b_1": 2, "c": 3, "x": k * k, "y": 1, "z": 2})
    try:
        Expressions("1 + ) 2").sum()
    except SyntaxError as error:
        total += len(str(error))
    return total


def numbers():
    sieve = bytearray([1]) * 30000
    for i in range(2, 174):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(range(i * i, len(sieve), i)))
    primes = [i for i, yes in enumerate(sieve) if yes and i > 1]
    size = 28
    a = [[(i * j) % 7 + 0.5 for j in range(size)] for i in range(size)]
    b = [[i - j for j in range(size)] for i in range(size)]
    c = [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]
    x, steps = 27, 0
    while steps < 20000:
        x = x // 2 if x % 2 == 0 else 3 * x + 1
        steps += 1
        if x == 1:
            x = steps + 27
    seed = 12345
    bits = 0
    for _ in range(20000):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        bits ^= (seed >> 3) | (seed << 2) & 0xFF
    series = 0.0
    for i in range(1, 20000):
        series += (-1.0 if i & 1 else 1.0) / (2 * i + 1) ** 1.5 + math.sin(i) * math.sqrt(i) - abs(series) * 1e-3
    height = width = 24
    inside = 0
    for py in range(height):
        for px in range(width):
            z = 0j
            point = complex(px * 3 / width - 2, py * 2 / height - 1)
            for _ in range(30):
                z = z * z + point
                if abs(z) > 2:
                    break
            else:
                inside += 1
    big = 1
    for i in range(1, 300):
        big = big * i + 1
    while big > 1 << 64:
        big, rest = divmod(big, 1000003)
        bits += rest
    power = pow(3, 10**40 + 7, 10**30 + 57)
    rest = math.gcd(big, power) + math.isqrt(power) + math.comb(40, 20)
    return len(primes), c[3][4], bits, series, inside, str(power), f"{series:.3f} {big:x}", rest, fractions.Fraction(series).limit_denominator(1000)


def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    count = 0
    free = ~(columns | left | right) & ((1 << n) - 1)
    while free:
        bit = free & -free
        free ^= bit
        count += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return count


def ackermann(m, n):
    if m == 0:
        return n + 1
    if n == 0:
        return ackermann(m - 1, 1)
    return ackermann(m - 1, ackermann(m, n - 1))


def permutations(items):
    if len(items) <= 1:
        yield items
        return
    for i, item in enumerate(items):
        for rest in permutations(items[:i] + items[i + 1 :]):
            yield [item] + rest


def shuffles():
    """Lists that are changed in place: swaps, slices, insertions."""
    deck = list(range(52))
    seed = 1
    flips = 0
    for _ in range(300):
        for i in range(len(deck) - 1, 0, -1):
            seed = seed * 69069 + 1 & 0xFFFFFFFF
            k = seed % (i + 1)
            deck[i], deck[k] = deck[k], deck[i]
        top = deck[0]
        while top and flips < 100000:
            deck[: top + 1] = deck[top::-1]
            flips += 1
            top = deck[0] if deck[0] != top else 0
        deck.insert(seed % 52, deck.pop())
        deck = deck[26:] + deck[:26]
    grid = [[0] * 40 for _ in range(40)]
    for x, y in ((1, 0), (2, 1), (0, 2), (1, 2), (2, 2), (20, 20), (21, 20), (22, 20)):
        grid[y][x] = 1
    for _ in range(6):
        new = [[0] * 40 for _ in range(40)]
        for y in range(40):
            above, here, below = grid[y - 1], grid[y], grid[(y + 1) % 40]
            for x in range(40):
                right = (x + 1) % 40
                n = above[x - 1] + above[x] + above[right] + here[x - 1] + here[right] + below[x - 1] + below[x] + below[right]
                if n == 3 or (n == 2 and here[x]):
                    new[y][x] = 1
        grid = new
    return flips, sum(map(sum, grid))


class Body:
    def __init__(self, x, y, vx, vy, mass):
        self.x, self.y, self.vx, self.vy, self.mass = x, y, vx, vy, mass

    def advance(self, dt):
        self.x += self.vx * dt
        self.y += self.vy * dt

    @property
    def energy(self):
        return 0.5 * self.mass * (self.vx**2 + self.vy**2)


def springs():
    """Floats in attributes and lists."""
    chain = [Body(i * 1.0, 0.0, 0.0, (i % 3) * 0.1, 1.0 + i % 2) for i in range(20)]
    for _ in range(120):
        for left, right in zip(chain, chain[1:]):
            dx, dy = right.x - left.x, right.y - left.y
            length = (dx * dx + dy * dy) ** 0.5
            force = (length - 1.0) * 5.0
            left.vx += force * dx / length / left.mass * 0.01
            left.vy += force * dy / length / left.mass * 0.01
            right.vx -= force * dx / length / right.mass * 0.01
            right.vy -= force * dy / length / right.mass * 0.01
        for body in chain:
            body.advance(0.01)
    points = [[i * 0.5, i * 0.25, float(-i)] for i in range(60)]
    for _ in range(40):
        for p in points:
            x, y, z = p
            p[0], p[1], p[2] = x * 0.8 - y * 0.6, x * 0.6 + y * 0.8, z - 0.1
    return sum(body.energy for body in chain), points[3]


class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    BLUE = 3


class Flags(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(order=True)
class Item:
    name: str
    price: float = 1.0
    tags: list = dataclasses.field(default_factory=list, compare=False)

    @classmethod
    def parse(cls, line):
        name, price, *tags = line.split(",")
        return cls(name, float(price), tags)

    @staticmethod
    def round(value):
        return round(value, 2)

    def __add__(self, other):
        return Item(self.name, self.price + other.price, self.tags + other.tags)


Point = collections.namedtuple("Point", "x y")


class Base:
    count = 0

    def __init__(self, *args, **kwargs):
        Base.count += 1
        self.args, self.kwargs = args, kwargs

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return len(name)

    def __len__(self):
        return len(self.args)

    def __iter__(self):
        return iter(self.args)

    def __contains__(self, item):
        return item in self.args

    def __eq__(self, other):
        return isinstance(other, Base) and self.args == other.args

    def __hash__(self):
        return hash(self.args)

    def __getitem__(self, key):
        return self.args[key]

    def __call__(self, x):
        return x


class Derived(Base):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.total = sum(args)

    def __repr__(self):
        return f"Derived({', '.join(map(repr, self.args))})"


def objects():
    total = 0
    for i in range(600):
        d = Derived(i, i + 1, i % 7, name=i)
        total += d.total + len(d) + d.unknown + (i in d) + d[1] + d(2) + len(repr(d)) + sum(1 for _ in d)
        total += hash(d) & 1 if d == Derived(i, i + 1, i % 7) else 0
        try:
            d._missing
        except AttributeError as error:
            total += len(error.args)
        finally:
            total += 1
        item = Item.parse(f"thing{i},{i}.25,a,b") + Item("x", tags=["c"])
        total += Item.round(item.price) + (item > Item("a")) + len(item.tags)
        p = Point(i, y=-i)
        total += p.x - p.y + Colour((i % 3) + 1).value + len((Colour.RED if i % 2 else Colour.BLUE).name) + (Flags.READ | Flags.WRITE)
        a, (b, *c), e = i, range(4), p._replace(x=1)
        total += a + b + len(c) + e[0]
        total += (lambda x, y=2, *z, k=3: x + y + k + len(z))(i, *c, k=len(c))
        match i % 5, item:
            case 0, Item(name=name):
                total += len(name)
            case (1 | 2), _:
                total += 1
            case n, _ if n > 3:
                total += n
    return total


def make_counter():
    n = 0

    def count(step=1):
        nonlocal n
        n += step
        return n

    return count


@contextlib.contextmanager
def noted(notes):
    notes.append("in")
    try:
        yield notes
    except KeyError:
        notes.append("key")
    finally:
        notes.append("out")


@functools.lru_cache(maxsize=None)
def ways(total, coins):
    if total == 0:
        return 1
    if total < 0 or not coins:
        return 0
    return ways(total - coins[0], coins) + ways(total, coins[1:])


def generators():
    count = make_counter()
    total = sum(count(step) for step in range(3000))
    def walk(tree):
        if isinstance(tree, list):
            for branch in tree:
                yield from walk(branch)
        else:
            yield tree
    tree = 1
    for i in range(9):
        tree = [tree, i, [tree, -i]]
    total += sum(walk(tree))
    notes = []
    for i in range(400):
        with noted(notes):
            if i % 3 == 0:
                {}[i]
    def echo():
        got = 0
        while True:
            got = yield got + 1
    coroutine = echo()
    next(coroutine)
    for i in range(1000):
        total += coroutine.send(i)
    coroutine.close()
    total += ways(200, (50, 25, 10, 5, 1))
    for key, group in itertools.groupby(sorted(WORDS, key=len), key=len):
        total += key * len(list(group))
    total += sum(itertools.islice(itertools.accumulate(itertools.cycle([1, 2, 3])), 2000))
    total += len(list(itertools.combinations(range(12), 4))) + sum(len(list(p)) for p in permutations([1, 2, 3, 4, 5]))
    total += functools.reduce(operator.add, map(operator.itemgetter(1), enumerate(filter(None, range(2000)))))
    total += sum(x * y for x, y in zip(range(2000), reversed(range(2000))) if x % 3)
    return total, any(x > 5000 for x in range(6000)), all(isinstance(x, int) for x in range(3000)), max(range(1000), key=lambda x: x % 77), min(WORDS)


def containers():
    counts = {}
    for word in WORDS:
        counts[word] = counts.get(word, 0) + 1
    lengths = collections.defaultdict(list)
    for word, n in counts.items():
        lengths[len(word)].append((n, word))
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    by_name = sorted(ordered, key=operator.itemgetter(0), reverse=True)
    common = collections.Counter(WORDS).most_common(10)
    queue = collections.deque(maxlen=50)
    for i in range(3000):
        queue.append(i)
        if i % 3 == 0:
            queue.popleft()
    heap = []
    seed = 7
    for _ in range(1500):
        seed = seed * 1103515245 + 12345 & 0x7FFFFFFF
        heapq.heappush(heap, (seed % 1000, seed))
    drained = [heapq.heappop(heap)[0] for _ in range(len(heap))]
    table = []
    for n in drained[::-1]:
        bisect.insort(table, n)
    left, right = set(table), {n * 3 for n in table}
    sets = len(left & right) + len(left | right) + len(left - right) + len(left ^ right) + (left <= right)
    graph = {n: [(n * k + 1) % 500 for k in (2, 3, 5)] for n in range(500)}
    seen, todo = {0}, [0]
    while todo:
        for n in graph[todo.pop()]:
            if n not in seen:
                seen.add(n)
                todo.append(n)
    distance = {0: 0}
    queue2 = [(0, 0)]
    while queue2:
        d, n = heapq.heappop(queue2)
        if d > distance[n]:
            continue
        for i, m in enumerate(graph[n]):
            new = d + i + 1
            if new < distance.get(m, 1 << 30):
                distance[m] = new
                heapq.heappush(queue2, (new, m))
    for i in range(4000):
        key = "k" + str(i % 700)
        if key in counts:
            counts[key] += i
            if i % 5 == 0:
                del counts[key]
        else:
            counts[key] = i
    merged = {**counts, **dict.fromkeys(range(50)), (1, 2): 3, frozenset(seen): 4}
    nested = copy.deepcopy({"a": [1, {"b": (2, 3)}], "c": ordered[:40]})
    matrix = list(zip(*[iter(range(900))] * 30))
    tuples = {(x, y): x * y for x in range(40) for y in range(40)}
    total = sum(tuples[y, x] for x, y in tuples)
    pairs = [[x, str(x)] for x in range(500)]
    pairs.sort(key=lambda pair: pair[1])
    pairs.reverse()
    records = [Item(word, len(word) / 3, []) for word in WORDS[:150]]
    records.sort(key=lambda item: (item.price, item.name))
    records.sort(key=operator.attrgetter("name"))
    floats = sorted(math.sin(i) for i in range(1500))
    return common, len(queue), sets, len(distance), len(merged), nested["a"][1]["b"], matrix[3][4], total, pairs[0], floats[7], len(records), by_name[0]


# --- Text -------------------------------------------------------------------------------------------------------------------


def strings():
    text = " ".join(WORDS)
    total = 0
    for i, word in enumerate(WORDS):
        low = word.lower()
        total += len(word.upper()) + text.find(low) + low.count("e") + word.startswith(("A", "T")) + word.endswith("s") + word.isalpha()
        total += len(word.replace("e", "ee").strip("s").title().center(20).rstrip()) + len("%s-%d %5.2f %r" % (word, i, i / 3, word))
        total += len(f"{word!r:>20}|{i:05d}|{i / 7:8.3f}|{i:,}|{word:^12}") + len("{0} {name} {1!s:>4}".format(i, word, name=low))
        total += word < low or word[::-1] == word[1:-1] or word == low
        total += len("".join(sorted(word)).encode()) + ord(word[0]) + len(chr(i % 2000 + 32)) + len(str(i)) + int(str(i * 7)) + int(hex(i), 16)
    joined = ", ".join(w.capitalize() for w in WORDS if len(w) > 3)
    total += len(joined.split(", ")) + len(joined.splitlines()) + len(joined.partition(",")[2]) + len(joined.translate(str.maketrans("aeiou", "12345")))
    accents = "Größe, naïve café — ‘quotes’ … 日本語 🙂 " * 60
    for form in ("utf-8", "utf-16", "latin-1", "ascii"):
        total += len(accents.encode(form, "replace").decode(form, "replace"))
    built = ""
    for i in range(3000):
        built += chr(97 + i % 26)
    parts = []
    for i in range(3000):
        parts.append(str(i) if i % 2 else repr(i * 0.1))
    total += len(built) + len("".join(parts)) + sum(float(p) for p in parts)
    raw = bytearray()
    for i in range(3000):
        raw += struct.pack("<IHb", i, i & 0xFFFF, i % 100)
    total += sum(struct.unpack_from("<IHb", raw, at)[1] for at in range(0, len(raw), 7)) + bytes(raw).find(b"\x07\x00") + len(raw.hex())
    total += len(base64.b64decode(base64.b64encode(raw))) + sum(raw) + len(memoryview(raw)[10:2000].tobytes())
    total += len(textwrap.fill(text[:4000], 72)) + len(textwrap.dedent("  a\n  b\n")) + len(string.Template("$a ${b} $$").substitute(a=1, b=text[:50]))
    total += len(html.unescape(html.escape("<a href='x'>&amp;</a>" * 40))) + len(shlex.split("a 'b c' \"d e\" f\\ g # h" * 10))
    total += len(urllib.parse.urlencode({"a b": "c&d", "e": accents})) + len(urllib.parse.urlparse("https://u:p@host:8080/a/b;c?d=e#f").netloc)
    total += len(urllib.parse.unquote(urllib.parse.quote(accents)))
    return total


def expressions_regular():
    text = read("textwrap.py")
    total = 0
    patterns = [
        r"\b(\w+)\s*=\s*(\w+)",
        r"(?m)^\s*def\s+(?P<name>\w+)\((.*?)\):",
        r"[A-Z][a-z]+(?:[A-Z][a-z]+)*",
        r"'[^']*'|\"[^\"]*\"",
        r"(?i)the\s+(?!text)\w{3,8}",
        r"\d+|0x[0-9a-f]+",
        r"#.*$",
        r"(a|e|i|o|u){2,}?n?",
        r"(?<=self\.)\w+",
        r"(\w)\1",
    ]
    for pattern in patterns:
        compiled = re.compile(pattern)
        total += sum(match.end() - match.start() for match in compiled.finditer(text)) + len(compiled.findall(text[:4000])) + len(compiled.sub("<>", text[:6000]))
    for line in text.splitlines():
        match = re.match(r"(\s*)(class|def|if|for|return)?\s*(.*)", line)
        total += len(match.group(1)) + (match.group(2) is not None) + len(match[3])
        total += re.search(r"(\w+)\.(\w+)\(", line) is not None
    dates = " ".join(f"{2000 + i % 25}-{i % 12 + 1:02}-{i % 28 + 1:02}T{i % 24:02}:{i % 60:02}:00Z [host{i}] user.{i}@example.org GET /a/{i}.html" for i in range(150))
    for match in re.finditer(r"(\d{4})-(\d\d)-(\d\d)T([\d:]+)Z \[(\w+)\] ([\w.]+@[\w.-]+) (GET|POST) (\S+)", dates):
        total += int(match[1]) + int(match.group(2)) + len(match.groups())
    total += len(re.split(r"[\s,;.]+", text)) + len(re.sub(r"\w+", lambda m: m[0].swapcase(), text[:5000]))
    total += len(re.sub(rb"\s+", b" ", text.encode())) + len(re.escape(text[:500]))
    for i in range(12):
        re.purge()
        re.compile(rf"(?:(?P<a{i}>[a-z]+|\d{{1,{i + 1}}})\s*[,;]?\s*)+(?:x|y|zz{i})*$")
    return total


def data():
    value = {
        "rows": [{"id": i, "name": f"row {i}", "ratio": i / 7, "tags": ["a", "ü", None, True], "text": 'say "x"\n\\'} for i in range(80)],
        "empty": {}, "list": [], "big": 2**70, "neg": -1.5e-7,
    }
    total = 0
    for _ in range(5):
        text = json.dumps(value)
        total += len(text) + len(json.loads(text)["rows"]) + len(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
        total += len(json.loads(json.dumps(value, ensure_ascii=False).encode()))
    for protocol in (0, 2, 4, 5):
        total += len(pickle.loads(pickle.dumps(value, protocol))["rows"])
    total += len(pickle.loads(pickle.dumps([Point(i, i * 1.5) for i in range(200)])))
    file = io.StringIO()
    writer = csv.writer(file)
    for i in range(300):
        writer.writerow([i, f'q"{i}"', i / 3, "a,b"])
    file.seek(0)
    total += sum(len(row) for row in csv.reader(file)) + sum(len(row) for row in csv.DictReader(io.StringIO(file.getvalue())))
    tree = xml.etree.ElementTree.Element("root")
    for i in range(100):
        child = xml.etree.ElementTree.SubElement(tree, "item", {"id": str(i)})
        child.text = f"text & {i}"
    total += len(xml.etree.ElementTree.fromstring(xml.etree.ElementTree.tostring(tree)).findall("item"))

    class Links(html.parser.HTMLParser):
        found = 0

        def handle_starttag(self, tag, attributes):
            self.found += len(attributes)

        def handle_data(self, text):
            self.found += len(text.split())

    links = Links()
    links.feed("<html><body>" + "".join(f'<p class="c{i}"><a href="/x?{i}&amp;b=1">Link <b>{i}</b></a> text &lt;here&gt;<br/></p>' for i in range(120)) + "</body></html>")
    ini = configparser.ConfigParser()
    ini.read_string("".join(f"[s{i}]\nkey = %(home)s/x{i}\nhome = /h\nother: a\n b\n" for i in range(20)))
    total += len(ini.get("s3", "key")) + links.found
    raw = read("textwrap.py").encode() * 3
    for module in (zlib, bz2, lzma):
        total += len(module.decompress(module.compress(raw)))
    stream = zlib.decompressobj()
    packed = zlib.compress(raw, 9)
    total += sum(len(stream.decompress(packed[i : i + 500])) for i in range(0, len(packed), 500)) + zlib.crc32(raw) + zlib.adler32(raw)
    for name in ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b"):
        digest = hashlib.new(name)
        for i in range(0, len(raw), 1000):
            digest.update(raw[i : i + 1000])
        total += len(digest.hexdigest())
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a integer primary key, b text, c real)")
    base.executemany("insert into t values (?, ?, ?)", ((i, f"name{i % 50}", i * 0.5) for i in range(1500)))
    base.execute("create index i on t (b)")
    for i in range(30):
        total += base.execute("select count(*), sum(c) from t where b = ? and a > ?", (f"name{i}", i)).fetchone()[0]
    total += sum(len(row) for row in base.execute("select b, count(*), avg(c) from t group by b order by 2 desc, b"))
    return total


def arithmetic():
    with decimal.localcontext() as context:
        context.prec = 60
        # e, the square root of two by Newton, and a table of interest.
        term = total = decimal.Decimal(1)
        for i in range(1, 60):
            term /= i
            total += term
        root = decimal.Decimal(1)
        for _ in range(30):
            root = (root + 2 / root) / 2
        amount = decimal.Decimal("1000.00")
        for i in range(600):
            amount = (amount * (1 + decimal.Decimal("3.75") / 1200)).quantize(decimal.Decimal("0.01"))
            if amount > 5000:
                amount -= 4000
        texts = [str(decimal.Decimal(i) / 7) for i in range(300)] + [str(total.ln()), str(root.exp())]
        ordered = sorted(map(decimal.Decimal, texts))
        context.prec = 900
        long = decimal.Decimal(2).sqrt() * decimal.Decimal(3).sqrt() / 7
    values = [random.Random(1).gauss(0, 1) for _ in range(300)]
    spread = statistics.mean(values), statistics.stdev(values), statistics.median(values)
    third = sum((fractions.Fraction(1, i) for i in range(1, 60)), fractions.Fraction(0))
    day = datetime.date(2020, 1, 31)
    days = 0
    for i in range(500):
        moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(days=i, hours=i % 24)
        days += (moment.date() - day).days + len(moment.isoformat()) + moment.weekday() + len(moment.strftime("%Y-%m-%d %H:%M"))
        days += datetime.datetime.fromisoformat("2021-03-04T05:06:07").second
    generator = random.Random(5)
    chosen = [generator.randint(0, 99) for _ in range(1500)] + generator.sample(range(1000), 100)
    generator.shuffle(chosen)
    return ordered[0], len(str(long)), amount, spread, third, days, sum(chosen)


# --- Programs ---------------------------------------------------------------------------------------------------------------


def sources():
    total = 0
    for name in ("textwrap.py", "shlex.py", "heapq.py", "string.py", "contextlib.py"):
        text = read(name)
        tree = ast.parse(text)
        total += sum(1 for _ in ast.walk(tree)) + len(compile(tree, name, "exec").co_code) + len(ast.unparse(tree))
        total += sum(1 for _ in tokenize.generate_tokens(io.StringIO(text).readline))
        total += len(compile(text, name, "exec").co_names)
    for i in range(100):
        total += eval(f"[x * {i} for x in range(5)][-1] + (lambda y: y + {i})(3)")
        exec(f"def f{i}(a, b={i}):\n    return a + b\nr = f{i}(2)", space := {})
        total += space["r"]
    for name in ("calendar", "fnmatch", "colorsys", "stat", "sched"):
        spec = importlib.util.find_spec(name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        total += len(vars(module))
    return total


def programs():
    parser = argparse.ArgumentParser(prog="tool", description="A tool.")
    parser.add_argument("--count", type=int, default=3, help="how often")
    parser.add_argument("--flag", action="store_true")
    parser.add_argument("files", nargs="*")
    total = len(parser.format_help())
    for i in range(25):
        total += parser.parse_args(["--count", str(i), "--flag", "a", "b"]).count
    log = io.StringIO()
    logger = logging.getLogger("training")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    for i in range(150):
        logger.info("value %d of %s", i, "many")
        logger.debug("not shown")
    total += len(log.getvalue()) > 0
    with tempfile.TemporaryDirectory() as directory:
        for i in range(40):
            path = os.path.join(directory, f"{i}.txt")
            with open(path, "w") as file:
                for k in range(60):
                    print(i, "line", k, file=file)
            with open(path) as file:
                total += sum(len(line.rstrip().split()) for line in file)
            with open(path, "rb") as file:
                total += len(file.read())
            total += os.stat(path).st_size + os.path.exists(path)
        for top, _, names in os.walk(directory):
            total += len([os.path.splitext(os.path.join(top, name))[1] for name in sorted(names)])
    a, b = read("heapq.py").splitlines()[:120], read("heapq.py").splitlines()[10:140:2]
    total += len(list(difflib.unified_diff(a, b)))

    class Case(unittest.TestCase):
        def test_one(self):
            self.assertEqual([1, 2], list(range(1, 3)))
            with self.assertRaises(ZeroDivisionError):
                1 / 0

        def test_two(self):
            self.assertIn("a", "abc")

    for _ in range(10):
        total += unittest.TextTestRunner(stream=io.StringIO()).run(unittest.defaultTestLoader.loadTestsFromTestCase(Case)).testsRun

    async def worker(queue, done):
        while (n := await queue.get()) is not None:
            await asyncio.sleep(0)
            done.append(n)

    async def main():
        queue, done = asyncio.Queue(), []
        workers = [asyncio.create_task(worker(queue, done)) for _ in range(4)]
        for i in range(150):
            await queue.put(i)
        for _ in workers:
            await queue.put(None)
        await asyncio.gather(*workers)
        return len(done)

    total += asyncio.run(main())
    lock, sums = threading.Lock(), []

    def add(n):
        with lock:
            sums.append(sum(range(n)))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total + sum(sums)


if __name__ == "__main__":
    for _ in range(20):
        for part in (expressions, numbers, shuffles, springs, objects, generators, containers, strings, expressions_regular, data, arithmetic):
            part()
        queens(7)
        ackermann(2, 40)
    for _ in range(3):
        sources()
        programs()
