"""How a Fourier transform of n points is made: its stages, their vectors, the tables they read and the memory they use.

Stage by stage a factor r of n is taken (Stockham's method, which leaves the results in order).  With `run`, the product
of the factors before, and groups = n/(run*r),

    y[q + run*(r*p + j)] = exp(-2*pi*i*p*j/(r*groups)) * sum over k of x[q + run*(p + k*groups)] * exp(-2*pi*i*j*k/r)

for q < run, p < groups.  Vectors lie along q, or along p and q together where runs are short.
"""

from __future__ import annotations

from math import prod

from adjit.ir.frozen import frozen
from adjit.ir.types import DType
from adjit.runtime.fourier import table_size

# The largest factor whose terms are all written out in its stage, whose code grows with its square; larger ones have
# loops, whose time grows with their square, and the host makes transforms of lengths with a still larger prime factor.
LARGEST_FACTOR = 19
LARGEST_PRIME = 251
# Vectors of results of a stage with loops that are summed together: what they have in common is read once.
ABREAST = 2
# Registers that a butterfly of eight points keeps busy.
_MANY_REGISTERS = 32
# Bytes of memory on the stack.
MOST_ON_STACK = 1 << 17
# Of the starts of arrays that are read and written together, so that they do not meet in the caches.
_APART = 1024


def factors_of(n: int, most: int = 8) -> tuple[int, ...] | None:
    """The factors of n in the order of the stages, large primes and powers of 2 first; None for 0 and beyond those."""
    if n < 1:
        return None
    if n == 1:
        return (1,)
    odd: list[int] = []
    large: list[int] = []
    twos = 0
    while n % 2 == 0:
        n, twos = n // 2, twos + 1
    for factor in range(3, LARGEST_PRIME + 1, 2):
        while n % factor == 0:
            n //= factor
            (odd if factor <= LARGEST_FACTOR else large).append(factor)
    if n != 1:
        return None
    eights = twos // 3 - (twos % 3 == 1) if most == 8 and twos > 2 else 0  # 4 * 4, not 8 * 2
    fours, pairs = divmod(twos - 3 * eights, 2)
    return (*large[::-1], *[8] * eights, *[4] * fours, *[2] * pairs, *odd[::-1])


@frozen
class Stage:
    """One factor: `lanes` of its vectors; `in_block`, if they go along p and q together; `by_results`, if along j.

    The factors it turns its results by begin at element `table` of the table; the last stage turns nothing.
    """

    radix: int
    run: int
    groups: int
    lanes: int
    in_block: bool
    table: int

    @property
    def by_results(self) -> bool:
        return self.radix > LARGEST_FACTOR and self.run == 1


@frozen
class TransformPlan:
    """A complex transform of `points`, of `columns` side by side (1: of one alone).

    `table` is the name of its table of numbers, and that of the real transform of twice as many points begins at
    `unpacking`; `pitch` is the number of elements from an array of scratch memory to the next, of which there are four.
    """

    dtype: DType
    points: int
    columns: int
    stages: tuple[Stage, ...]
    table: str
    unpacking: int
    pitch: int

    @property
    def scratch(self) -> int:
        """Bytes of scratch memory."""
        return 4 * self.pitch * self.dtype.itemsize

    @property
    def on_stack(self) -> bool:
        return self.scratch <= MOST_ON_STACK


def power_below(count: int, most: int) -> int:
    """The greatest power of two that is at most both."""
    return 1 << min(count, most).bit_length() - 1


def row_of_prime(radix: int, lanes: int) -> int:
    """Elements of a row of the table of a stage with loops: what results 0 to radix/2 + 1 are multiplied by, padded."""
    return -(-(radix // 2 + 2) // (ABREAST * lanes)) * ABREAST * lanes


def plan_transform(
    dtype: DType, points: int, lanes: int, registers: int, *, columns: int = 1, packed: bool = False
) -> TransformPlan:
    """The plan for a target with vectors of so many lanes, and so many registers of them."""
    found = factors_of(points, 8 if registers >= _MANY_REGISTERS else 4)
    assert found is not None
    stages, names, size, run = [], [], 0, columns
    for place, radix in enumerate(found):
        groups = points // (prod(found[:place]) * radix)
        is_last = groups == 1
        own, looped = power_below(run * groups, lanes), radix > LARGEST_FACTOR
        in_block = run < own and run & (run - 1) == 0 and not is_last and not looped
        if looped:
            own = lanes
        elif not in_block:  # the last stage writes the results, and nothing behind them
            own = power_below(run, lanes) if is_last else min(lanes, 1 << (run - 1).bit_length())
        stages.append(Stage(radix, run, groups, own, in_block, size))
        if looped:
            names.append(f"l{radix}_{groups}_{row_of_prime(radix, lanes)}")
            size += table_size(names[-1])
        elif not is_last:
            names.append(f"{'b' if in_block else 's'}{radix}_{groups}_{run if in_block else 1}")
            size += table_size(names[-1])
        run *= radix
    unpacking = size
    if packed:
        names.append(f"h{2 * points}")
    table = ".".join(("fourier", dtype.name, *names)) if names else ""
    # Vectors may begin within an array and end behind it.
    pitch = points * columns + 16 * lanes
    line = _APART // dtype.itemsize
    pitch = (-(-pitch // (4 * line)) * 4 + 1) * line
    return TransformPlan(dtype, points, columns, tuple(stages), table, unpacking, pitch)
