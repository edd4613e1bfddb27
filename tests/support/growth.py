"""How the cost of a call grows with the size of its input."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP = 4
_BETWEEN = 9  # linear costs 4 times as much, quadratic 16 times
_ENOUGH_S = 0.005  # of processor time, so that the clock's step does not matter
_TRIES = 5


def grows_linearly(call: Callable[[int], object], *, size: int, largest: int = 1 << 16) -> bool:
    """Return whether `call(4 * n)` takes less than 9 times the processor time of `call(n)`.

    n is `size`, or more until the time can be measured, up to `largest`.
    """
    while (small := _least_s(call, size)) < _ENOUGH_S and size * _STEP <= largest:
        size *= 2
    return _least_s(call, size * _STEP) < _BETWEEN * max(small, _ENOUGH_S / _STEP)


def _least_s(call: Callable[[int], object], size: int) -> float:
    took = []
    for _ in range(_TRIES):
        begun = time.process_time()
        call(size)
        took.append(time.process_time() - begun)
    return min(took)
