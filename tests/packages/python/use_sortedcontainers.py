"""sortedcontainers: lists, dicts and sets that stay in order, over some thousand operations."""
from sortedcontainers import SortedDict, SortedKeyList, SortedList, SortedSet

state, values = 12345, []
for _ in range(20000):
    state = (state * 1103515245 + 12345) % 2**31
    values.append(state % 5000)
ordered = SortedList(values[:10000])
for value in values[10000:15000]:
    ordered.add(value)
for value in values[:5000]:
    ordered.remove(value)
reference = sorted(values[5000:15000])
print(len(ordered), list(ordered) == reference, ordered[0], ordered[-1], ordered[len(ordered) // 2], sum(ordered[100:200]))
print(ordered.bisect_left(2500), ordered.bisect_right(2500), ordered.count(reference[77]), list(ordered.irange(10, 14)), ordered.index(reference[500]) <= 500)
words = SortedKeyList(["bb", "a", "dddd", "ccc", "ee"], key=len)
print(words, list(words.irange_key(2, 3)), words.bisect_key_left(3), words.pop(0))
table = SortedDict(lambda k: -k, {v: v * v for v in values[:50]})
print(list(table)[:3], table.peekitem(0), table.peekitem(-1), table.popitem(index=1), list(table.irange(3000, 2500))[:3], len(table))
table.setdefault(99999, "top")
print(table.keys()[0], table.values()[0], table.index(99999))
one, two = SortedSet(values[:300]), SortedSet(values[200:500])
print(len(one & two), len(one | two), len(one - two), (one ^ two)[:4], one[3:6], one.rank(one[5]) if hasattr(one, "rank") else one.index(one[5]), one.isdisjoint(two))
ordered._check(), table._check(), one._check()
try:
    ordered[0] = 5
except NotImplementedError as error:
    print(str(error)[:50])
