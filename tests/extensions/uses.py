"""Uses native extensions; what it prints is the same natively."""

import os
import sys

import markupsafe
import yaml
from markupsafe import _speedups
from yaml import _yaml

for module in _speedups, _yaml:
    spec = module.__spec__
    assert module.__file__ == spec.origin and os.path.exists(module.__file__)
    print(module.__name__, os.path.basename(module.__file__), type(spec.loader).__name__, spec.has_location)
    assert module.__name__ not in sys.builtin_module_names


class Html:
    def __html__(self):
        return "<as it is>"

    def __str__(self):
        return "text"


print(markupsafe.escape is _speedups.escape, type(_speedups.escape).__name__)
for value in "plain", "<a href=\"x\">'&'</a>", "é<", "漢字&", "\U0001f9ad>", "", 42, None, Html():
    print(repr(_speedups.escape(value)), repr(_speedups.escape_silent(value)), repr(_speedups.soft_str(value)))
print(_speedups.escape("<" * 100000) == "&lt;" * 100000)
try:
    _speedups.escape()
except TypeError as error:
    print(error)
print(markupsafe.Markup("<b>%s</b> {}").format("<x>") % "&")

TEXT = """
name: &name Sëal
list: [1, 2.5, 0x1f, true, null, 2022-11-22]
same: *name
nested: {a: {b: [c, "d\\te", 'f']}}
block: |
  two
  lines
folded: >
  one
  line
"""
print(yaml.__with_libyaml__, _yaml.get_version_string(), yaml.CSafeLoader.__mro__[1].__name__)
value = yaml.load(TEXT, Loader=yaml.CSafeLoader)
print(value)
assert value == yaml.load(TEXT, Loader=yaml.SafeLoader)
out = yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True)
print(out)
assert out == yaml.dump(value, Dumper=yaml.SafeDumper, allow_unicode=True)
print([type(event).__name__ for event in yaml.parse(TEXT, Loader=yaml.CLoader)])
for text in "a: [1", "a: b: c", "\t- x", "*none", "!!python/object/apply:os.getpid []", "\0":
    try:
        print(yaml.load(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        print(type(error).__name__, str(error).replace("\n", " | "))
print(len(yaml.load("".join(f"- {{a: {n}, b: x{n}}}\n" for n in range(3000)), Loader=yaml.CSafeLoader)))

import numpy
from numpy.core import _multiarray_umath
from numpy.random import _generator

print(numpy.__version__, os.path.basename(_multiarray_umath.__file__), os.path.basename(_generator.__file__))
numpy.set_printoptions(precision=9, suppress=True)
table = numpy.arange(24, dtype="i4").reshape(2, 3, 4)
print(table.sum(axis=1), table[:, ::-1, 1::2].tolist(), table.T.strides, (table @ table.transpose(0, 2, 1)).trace(axis1=1, axis2=2))
print(numpy.einsum("ijk,ljk->il", table, table), numpy.where(table % 5 == 0)[1], numpy.unique(table // 7, return_counts=True))
for kind in "b1", "u1", "i2", "u4", "i8", "f2", "f4", "f8", "g", "c8", "c16":
    values = numpy.array([3, 1, 2, 0, 7, 5], dtype=kind)
    print(kind, values * 3 + 1, numpy.sort(values), values.argmax(), numpy.add.accumulate(values), values.astype("U8")[:2], values.nbytes)
angles = numpy.linspace(-3, 3, 7)
for function in numpy.sin, numpy.exp, numpy.arctan, numpy.cbrt, numpy.floor, numpy.sign:
    print(function.__name__, function(angles), function(angles.astype("f4")).dtype)
matrix = numpy.array([[4.0, 1, 2], [1, 3, 0], [2, 0, 5]])
print(numpy.linalg.inv(matrix), numpy.linalg.eigvalsh(matrix), numpy.linalg.det(matrix), numpy.linalg.solve(matrix, [1, 2, 3]))
print(abs(numpy.linalg.svd(matrix)[1]), numpy.linalg.lstsq(matrix, numpy.ones(3), rcond=None)[0])
print(numpy.fft.rfft([1, 2, 3, 4, 0, 0]), numpy.fft.ifft(numpy.fft.fft(angles)).real)
for bits in numpy.random.PCG64, numpy.random.MT19937, numpy.random.Philox, numpy.random.SFC64:
    generator = numpy.random.Generator(bits(7))
    print(bits.__name__, generator.integers(0, 100, 5), generator.normal(size=2), generator.permutation(5), generator.poisson(4, 3))
numpy.random.seed(3)
print(numpy.random.rand(2), numpy.random.randint(9, size=4))
records = numpy.array([("b", 2, 1.5), ("a", 9, 2.5)], dtype=[("name", "U4"), ("n", "i4"), ("x", "f8")])
print(numpy.sort(records, order="name"), records["x"].mean(), records.dtype)
print(numpy.datetime64("2022-11-22") + numpy.arange(3), numpy.float16(1.1), numpy.longdouble(1) / 3, numpy.ma.masked_less([1, 5, 2], 2))
with numpy.errstate(all="raise"):
    for wrong in (lambda: numpy.float64(1) / 0, lambda: numpy.sqrt(-angles), lambda: table // 0, lambda: numpy.log(numpy.zeros(9)), lambda: numpy.linalg.inv(numpy.zeros((2, 2)))):
        try:
            wrong()
        except (FloatingPointError, numpy.linalg.LinAlgError) as error:
            print(type(error).__name__, error)
print(numpy.loadtxt(["1,2.5", "3,4"], delimiter=",").tolist(), numpy.frombuffer(b"\1\2\3\4", dtype=">u2"), table.tobytes()[:8])
print(numpy.polyfit([0, 1, 2, 3], [1, 3, 7, 13], 2).round(6), numpy.convolve([1, 2, 3], [0, 1]), numpy.histogram(angles, bins=3)[0])
