"""humanize: numbers, sizes, durations and lists as a person says them."""
import datetime as dt
from fractions import Fraction

import humanize

for n in (0, 999, 1000, 123456789, 10**12, -5000, 10**100):
    print(humanize.intcomma(n)[:30], "|", humanize.intword(n), "|", humanize.ordinal(n % 1000))
print([humanize.apnumber(n) for n in range(11)], humanize.fractional(1.3), humanize.fractional(Fraction(7, 3)))
for size in (1, 999, 1024, 10**6, 123456789, 10**20):
    print(humanize.naturalsize(size), humanize.naturalsize(size, binary=True), humanize.naturalsize(size, gnu=True))
now = dt.datetime(2024, 2, 29, 12, 0, 0)
for seconds in (0, 1, 59, 61, 3600, 86399, 86400, 45 * 86400, 400 * 86400, 3 * 366 * 86400):
    delta = dt.timedelta(seconds=seconds)
    print(humanize.naturaldelta(delta), "|", humanize.naturaltime(now - delta, when=now), "|", humanize.precisedelta(delta))
print(humanize.precisedelta(dt.timedelta(days=2, hours=3, seconds=4.5), minimum_unit="minutes", format="%0.3f"))
print(humanize.scientific(0.00001234), humanize.clamp(12, ceil=10, ceil_token="over "), humanize.metric(1500, "V"), humanize.metric(2e-8, "W"))
print(humanize.natural_list(["one", "two", "three"]), humanize.naturaldelta(dt.timedelta(seconds=1.5), minimum_unit="milliseconds"))
