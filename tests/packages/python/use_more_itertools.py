"""more-itertools: iterators cut, grouped, merged, looked ahead in and counted."""
import more_itertools as mi

print(list(mi.chunked(range(7), 3)), list(mi.windowed("abcde", 3)), list(mi.sliced("abcdefg", 3)), [list(g) for g in mi.divide(3, range(8))])
peek = mi.peekable([1, 2, 3, 4])
print(peek.peek(), next(peek), peek[1], list(peek), peek.peek("end"))
print([list(g) for g in mi.split_when([1, 2, 4, 5, 9], lambda x, y: y - x > 1)], list(map(list, mi.consecutive_groups([1, 2, 3, 7, 8]))))
print(dict(mi.map_reduce(["a", "bb", "cc", "d"], len, str.upper, "+".join)), list(mi.unique_everseen("AbBaC", key=str.lower)))
print(list(mi.interleave_longest([1, 2, 3], "ab")), list(mi.collapse([1, [2, (3, "four", [5])]])), list(mi.flatten([[1], [2, 3]])))
bucket = mi.bucket(["a1", "b1", "a2", "c1"], key=lambda s: s[0])
print(sorted(bucket), list(bucket["a"]), mi.first_true([0, "", 5]), mi.one([4]), mi.ilen(x for x in range(50) if x % 7 == 0))
print(len(list(mi.distinct_permutations("aabb"))), list(mi.set_partitions("abc", 2)), mi.nth_combination(range(10), 3, 57), mi.random_product is not None)
print(list(mi.run_length.encode("aaabcc")), "".join(mi.run_length.decode([("x", 3), ("y", 1)])), list(mi.sieve(40)), list(mi.factor(360)))
print(list(mi.numeric_range(0, 2, 0.5)), mi.minmax([3, 1, 2]), list(mi.stagger([0, 1, 2])), mi.partition(str.isdigit, "a1b2")[1].__next__())
seekable = mi.seekable(iter("abcd"))
next(seekable), next(seekable)
seekable.seek(0)
print("".join(seekable), list(mi.zip_offset("abc", "abc", offsets=(0, 1))), mi.polynomial_from_roots([1, 2]), list(mi.locate([0, 1, 1])))
for call in (lambda: mi.one([]), lambda: mi.one([1, 2]), lambda: list(mi.windowed([1], -1)), lambda: mi.strictly_n([1], 2).__next__() and list(mi.strictly_n([1], 2))):
    try:
        call()
    except ValueError as error:
        print(type(error).__name__, error)
