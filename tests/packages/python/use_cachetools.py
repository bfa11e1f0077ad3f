"""cachetools: caches that evict by use, frequency, size and (a clock of our own) time."""
from cachetools import FIFOCache, LFUCache, LRUCache, TLRUCache, TTLCache, cached, cachedmethod
from cachetools.keys import hashkey, typedkey


class Clock:
    now = 0

    def __call__(self):
        return self.now


for kind in (LRUCache, LFUCache, FIFOCache):
    cache = kind(maxsize=3)
    for word in "a b c a a b d e a".split():
        cache[word] = cache.get(word, 0) + 1
    print(kind.__name__, dict(sorted(cache.items())), cache.currsize)

clock = Clock()
timed = TTLCache(maxsize=10, ttl=5, timer=clock)
timed["x"] = 1
clock.now = 4
timed["y"] = 2
clock.now = 6
print("ttl", sorted(timed), "x" in timed, timed.get("y"))
varied = TLRUCache(maxsize=10, ttu=lambda key, value, now: now + value, timer=clock)
varied["short"], varied["long"] = 1, 100
clock.now = 8
print("tlru", list(varied))

calls = []


@cached(cache=LRUCache(maxsize=32), info=True)
def fib(n):
    calls.append(n)
    return n if n < 2 else fib(n - 1) + fib(n - 2)


print(fib(30), len(calls), fib.cache_info())
sized = LRUCache(maxsize=10, getsizeof=len)
sized["a"], sized["b"], sized["c"] = "xxxx", "yyyy", "zzzz"
print(sorted(sized), sized.currsize, hashkey(1, 2) == hashkey(1.0, 2.0), typedkey(1) == typedkey(1.0))
try:
    sized["d"] = "d" * 11
except ValueError as error:
    print("ValueError:", error)
