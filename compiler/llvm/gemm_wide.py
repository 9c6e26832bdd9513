"""The tile of few rows of A and a large B, read where it stands: some of its rows at a time, along all columns.

What memory sends is used as it comes, row by row, and asked for some rows ahead; a tile whose sums are in registers
jumps from row to row instead.  The sums are in the first cache, of a run of k one chain of multiply-adds like those of
any tile, with the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.gemm_tile import multiply_add, row_starts, store_part, strided
from adjit.compiler.llvm.sequences import below, counted, masked_load, offset, prefetch, splat, when
from adjit.compiler.llvm.text import Function, LLType

# The least and most rows of B that pass together: each vector of sums is read and written once for them.
_LEAST, _MOST = 4, 8


def emit_wide(f: Function, plan: GemmPlan) -> None:
    """The body of a tile's function; `%panel` is memory for its sums, `plan.sums_pitch` elements a row."""
    vector, rows = LLType(plan.dtype, plan.lanes), rows_abreast(plan)
    wide = _Wide(f, plan, vector)
    with counted(f, "0", str(plan.mr * plan.sums_pitch), plan.lanes) as place:
        wide.store(vector.constant(0), offset(f, vector.element, "%panel", place))
    together = f.let(f"sub nsw i64 %depth, {f.let(f'urem i64 %depth, {rows}')}")
    with counted(f, "0", together, rows) as k:
        wide.add(k, rows)
    with counted(f, together, "%depth", 1) as k:
        wide.add(k, 1)
    store_part(f, plan, "%panel", plan.sums_pitch)


def rows_abreast(plan: GemmPlan) -> int:
    """How many rows of B pass together: registers hold what most are multiplied by, a vector of B and the sums."""
    return max(_LEAST, min(_MOST, (plan.target.vector_registers - plan.mr - 2) // plan.mr))


class _Wide:
    def __init__(self, f: Function, plan: GemmPlan, vector: LLType) -> None:
        self.f, self.plan, self.vector = f, plan, vector
        self.starts = row_starts(f, plan)
        self.at = strided(f, plan, "%b_step")

    def add(self, k: str, rows: int) -> None:
        """Add to all sums the products with `rows` rows of B from `k` on."""
        f, lanes = self.f, self.plan.lanes
        factors, places = [], []
        for step in range(rows):
            a, b = self.at(f.let(f"add nsw i64 {k}, {step}"))
            factors.append([self._factor(a, start) for start in self.starts])
            places.append((b, offset(f, self.vector.element, b, f.let(f"mul nsw i64 %b_step, {rows}"))))
        whole = f.let(f"sub nsw i64 %columns, {f.let(f'urem i64 %columns, {lanes}')}")
        with counted(f, "0", whole, lanes) as j:
            self._vector(j, factors, places)
        rest = f.let(f"sub nsw i64 %columns, {whole}")
        with when(f, f.let(f"icmp sgt i64 {rest}, 0")):
            self._vector(whole, factors, places, below(f, lanes, rest))

    def _factor(self, a: str, start: str) -> str:
        """An element of A in all lanes."""
        place = offset(self.f, self.vector.element, a, start)
        align = self.plan.dtype.itemsize
        return splat(self.f, self.vector, self.f.let(f"load {self.vector.element}, ptr {place}, align {align}"))

    def _vector(
        self, j: str, factors: Sequence[Sequence[str]], places: Sequence[tuple[str, str]], mask: str = ""
    ) -> None:
        """The same for the columns of one vector, of which those in a `mask` exist."""
        f, plan, vector = self.f, self.plan, self.vector
        align = plan.lanes * plan.dtype.itemsize
        sums_at = [offset(f, vector.element, "%panel", i * plan.sums_pitch) for i in range(plan.mr)]
        sums_at = [offset(f, vector.element, place, j) for place in sums_at]
        sums = [f.let(f"load {vector.llvm}, ptr {place}, align {align}") for place in sums_at]
        for row, (place, following) in zip(factors, places, strict=True):
            at = offset(f, vector.element, place, j)
            prefetch(f, offset(f, vector.element, following, j), cache=2)
            if mask:
                column = masked_load(f, vector, at, mask, vector.constant(0))
            else:
                column = f.let(f"load {vector.llvm}, ptr {at}, align {plan.dtype.itemsize}")
            for i, factor in enumerate(row):
                sums[i] = f.let(multiply_add(f, plan, vector, factor, column, sums[i]))
        for value, to in zip(sums, sums_at, strict=True):
            self.store(value, to)

    def store(self, value: str, to: str) -> None:
        align = self.plan.lanes * self.plan.dtype.itemsize
        self.f.line(f"store {self.vector.llvm} {value}, ptr {to}, align {align}")
