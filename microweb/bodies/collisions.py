"""Values of a set that a client has chosen so that their hashes are equal.

Python hashes texts with a secret, but not numbers: the multiples of 2**61 - 1 share one hash. A set
compares each of them with all others. 8,000 in 200 KB would take 4 s, ten times as many 400 s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

_MAX_SAME_HASH = 64  # distinct values: the floats of 64 bits have up to 34


def has_collisions(values: Collection[object]) -> bool:
    """Return whether more than 64 distinct values have the same hash.

    It takes as long as a set of the values. Raises: TypeError for a value without a hash.
    """
    if len(values) <= _MAX_SAME_HASH or len(values) - len({*map(hash, values)}) < _MAX_SAME_HASH:
        return False
    hashes = Counter(map(hash, values))
    common = {each for each, count in hashes.items() if count > _MAX_SAME_HASH}
    distinct: dict[int, list[object]] = {each: [] for each in common}
    for value in values if common else ():
        same = distinct.get(hash(value))
        if same is None or value in same:
            continue
        same.append(value)
        if len(same) > _MAX_SAME_HASH:
            return True
    return False
