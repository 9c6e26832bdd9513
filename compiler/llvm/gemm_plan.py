"""How a matrix product is cut: the register tile, the cache blocks, and the workspace they need.

Blocks follow Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008: panels of B stay in L1,
a block of A in L2.  Where the whole of A fits in L2 (`resident`), it is packed once and B is packed a few panels at a
time, so that neither operand is written to memory beyond L2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from adjit.compiler.memory import LINE
from adjit.ir.errors import CompileError
from adjit.ir.frozen import changed, frozen
from adjit.ir.types import F32, F64, DType

if TYPE_CHECKING:
    from adjit.compiler.llvm.target import Target

Order = Literal["blocked", "resident", "windows", "placed"]
Right = Literal["packed", "in place", "copied"]

# The longest run of k that is summed in registers.  It decides the bits of a sum, so it is one number for every shape
# and every target.  L1 does not hold a panel of B so long, but each step needs a few lines of it only, which L2 gives
# in time; what a tile costs beside its steps is paid half as often as at 256 (2048^3: 6 % less time).
DEPTH = 512
# Part of L2 given to packed A: half of 512 KiB, the least in use.  Larger blocks of a larger L2 gain under 2 %.
A_BYTES = 256 * 1024
# Packed B of the blocked order lives in L3; of the resident order, beside A in L2.
B_BYTES = 2 * 1024 * 1024
B_RESIDENT_BYTES = 128 * 1024
# Beside a packed B that L1 holds, A is packed so many rows at a time: memory gives the next ones while these are
# multiplied.
B_NARROW_BYTES, _NARROW_ROWS = 32 * 1024, 256
# Tiles beside each other from which on rows of A are read so often that the first time does not matter.
_OFTEN = 4
# Bytes of a row of A from which on memory does not foresee the next one by itself.
_JUMP = 4 * LINE
# A B that rows of A find in L1 as it stands, and how many may; and how many read a larger B so.
B_IN_PLACE_BYTES, _READERS, _FEW_READERS = 16 * 1024, 128, 12
# A B of so many bytes, and with rows not narrower, is read by so few rows of A as memory sends it, with sums in L1: if
# it is not in L2, and by more rows, whose sums take longer there, if no cache holds it.
_WIDE_BYTES, _WIDE_ROWS, _MEMORY_BYTES, _MEMORY_ROWS = 3 << 20, 4, 10 << 20, 16
_WIDE_SUMS, _NARROWEST = 32 * 1024, 256
# A larger C is not in L2: its tiles are fetched while their sums are under way.
C_BYTES = 512 * 1024
# A larger C that is written once goes past the caches: to fetch its lines first would take longer than the sums.
STREAM_BYTES = 4 * 1024 * 1024
# A block of sums that stays in L2 while runs of k are added to it; its width is some panels of B, and more, if they
# are packed, where it holds all rows.
SUMS_BYTES = 256 * 1024
_SUMS_COLUMNS = 128, 256
# The most rows of sums that wait for further runs of k, if an epilogue takes them up; B is packed again for more.
_BAND = 2048
# A longer sum has tables of one run at a time.
_MOST_STEPS = 4096
# Bytes of an entry in a table of places.
_ENTRY = 8
# The least product with its own transpose, in panels, of which half is copied.
_HALVED = 2
# A task of fewer multiply-adds (some 2 microseconds) is not worth a wake-up.
GRAIN = 1 << 18
_UNKNOWN = 1 << 14
# Stands for as many rows as there are.
ALL_ROWS = 1 << 40
# More rows than this have no registers for their addresses, where they have one stride and where they are in a table.
_MOST_ROWS, _PLACED_ROWS = 14, 8
_HELD_ROWS = 10
_ELEMENTS_AHEAD = 2
# Cycles for each row that a tile has in a C beyond L2 whose rows are longer than _SHORT bytes: wide tiles have fewer.
_PIECE, _SHORT = 8, 2048


@frozen
class GemmPlan:
    """The cut of C[m, n] = sum over k of A[m, k] B[k, n].

    The register tile is `mr` rows by `nr` columns (`nr` a multiple of `lanes`); `mc`, `nc` are the packed blocks
    (multiples of `mr`, `nr`); `kc` is the longest run of k summed before it meets C; `tasks` is the largest number of
    parallel tasks; `a_elements` and `b_elements` are the workspace of one task.  `order` is that of the loops: blocks
    of A and B are packed in turn (`blocked`), or A whole before (`resident`); or A is read where it stands by tables,
    B packed (`placed`) or read where it stands too (`windows`); see `gemm_placed`, whose tables hold all k, or `steps`
    of a run.  With `fetches`, a tile of C is asked for before its sums; with `streams`, whole tiles are stored past the
    caches; with `once`, rows of a large A are read but a few times, and asked for a tile ahead.  With an `epilogue`,
    sums that wait for further runs of k stand in the workspace, a band of `band` rows, `band_pitch` elements apart.
    Of the last panel of B, if it is not whole, tiles multiply the first `edge` columns alone.
    B is `packed` before tiles read it, or `right` tells that its rows are contiguous: then tiles read it `in place`, or
    those of the first rows of A do and leave it `copied` into panels for the others.  If `paired`, an element of A and
    B is a pair of bfloat16, beside each other in k, whose two products are added.  A `wide` tile has all rows of A, and
    its sums in memory: see `gemm_wide`.  If `symmetric`, B is A transposed: tiles above the
    diagonal are not multiplied but copied from below.
    """

    dtype: DType
    target: Target
    lanes: int
    mr: int
    nr: int
    mc: int
    nc: int
    kc: int
    order: Order
    fetches: bool
    streams: bool
    tasks: int
    a_elements: int
    b_elements: int
    steps: int = 0
    once: bool = False
    epilogue: bool = False
    band: int = 0
    band_pitch: int = 0
    edge: int = 0
    paired: bool = False
    right: Right = "packed"
    symmetric: bool = False
    wide: bool = False

    def __post_init__(self) -> None:
        if self.mc % self.mr or self.nc % self.nr or self.nr % self.lanes:
            raise ValueError(f"blocks {self.mc} x {self.nc} are not whole tiles {self.mr} x {self.nr}")

    @property
    def slot_bytes(self) -> int:
        """Workspace of one task, a multiple of a cache line."""
        parts = (self.a_elements, self.b_elements, self.epilogue * self.mr * self.nr, self.band * self.band_pitch)
        return sum(self.bytes_of(elements) for elements in parts)

    def bytes_of(self, elements: int) -> int:
        """The workspace of so many elements, a multiple of a cache line."""
        return round_up(elements * self.dtype.itemsize, LINE)

    @property
    def sums_pitch(self) -> int:
        """How far rows of sums in memory are apart: those that begin at one place in a page would evict each other."""
        return self.nr + LINE // self.dtype.itemsize

    @property
    def table_bytes(self) -> int:
        """The tables of a product in place: where rows begin, and two of the pairs of steps of a run of k."""
        return round_up(_ENTRY * (self.mc + 4 * self.steps), LINE)


def workspace_bytes(plan: GemmPlan) -> int:
    """Bytes of workspace that one product needs: a slot for each of `plan.tasks`, and room to align the first.

    A run over tasks `begin..end` uses slot `begin` only, so a serial run touches the first slot alone.
    """
    return plan.slot_bytes * plan.tasks + LINE


def plan_gemm(
    dtype: DType, target: Target, m: int | None, n: int | None, k: int | None, tasks: int = 1, batch: int | None = 1,
    placed: bool = False, epilogue: bool = False, paired: bool = False,
    right: Right = "packed",
) -> GemmPlan:  # fmt: skip
    """The plan for sizes m, n, k, batch, None where known only at run time, for up to `tasks` parallel tasks.

    With `placed`, A is read by tables.  With `epilogue`, sums stand in workspace until they are complete.
    If `paired`, k counts pairs.  `right` is the plan's.
    Errors: CompileError for dtypes that have no product of their own (bool, f16, bf16: compute in f32).
    """
    if not (dtype in (F32, F64) or dtype.is_integer):
        raise CompileError(f"no matrix product in {dtype}: convert the operands, float16 and bfloat16 to f32")
    lanes = max(2, target.vector_bytes // dtype.itemsize)
    if dtype.is_integer:  # small integers are not the field's hot path: keep their transposes and tiles small
        lanes = min(lanes, 16)
    depth = DEPTH if k is None else max(1, min(DEPTH, k))
    mr, vectors = _tile(dtype, target, m, n, depth, lanes, placed)
    nr = vectors * lanes
    rows = round_up(_UNKNOWN if m is None else max(1, m), mr)
    columns = round_up(_UNKNOWN if n is None else max(1, n), nr)
    narrow = k is not None and k <= DEPTH and columns * k * dtype.itemsize <= B_NARROW_BYTES
    resident = m is not None and k is not None and rows * k * dtype.itemsize <= A_BYTES
    spare = 2 * LINE // dtype.itemsize  # columns of A are up to so much further apart than they are long
    if resident:
        assert k is not None
        nc = min(columns, round_up(max(1, B_RESIDENT_BYTES // (DEPTH * dtype.itemsize)), nr))
        mc, a_elements = rows, (rows + spare) * k
    else:
        block = A_BYTES // ((depth if narrow else DEPTH) * dtype.itemsize)
        mc = min(rows, round_down(min(block, _NARROW_ROWS) if narrow else block, mr))
        nc = min(columns, round_down(B_BYTES // (DEPTH * dtype.itemsize), nr))
        a_elements = (mc + spare) * depth
    streams = not epilogue and _streams(dtype, target, m, n, k, batch)
    large = (m or _UNKNOWN) * (n or _UNKNOWN) * dtype.itemsize > C_BYTES
    run = depth * dtype.itemsize
    once = run >= _JUMP and columns < _OFTEN * nr and (m or _UNKNOWN) * run > A_BYTES
    plan = GemmPlan(
        dtype, target, lanes, mr, nr, mc, nc, DEPTH, "resident" if resident else "blocked", large and not streams,
        streams, tasks, a_elements, nc * depth, once=once,
        edge=0 if placed or n is None else _edge(target, n, nr, lanes), paired=paired, right=right,
    )  # fmt: skip
    if right == "in place" and m is not None and n is not None and _passes_once(dtype, target, m, n, k):
        plan = _wide(plan, m, n)
        nc = plan.nc
    if not epilogue:
        return plan
    plan = changed(plan, epilogue=True)
    if k is not None and k <= DEPTH:
        return plan
    # Rows that begin at one place in a page would evict each other from L1.
    band = mc if resident else round_up(-(-rows // -(-rows // _BAND)), mc)
    return changed(plan, band=band, band_pitch=nc + LINE // dtype.itemsize)


def _passes_once(dtype: DType, target: Target, m: int | None, n: int, k: int | None) -> bool:
    """Whether few rows of A read a large B of long rows; one of open length counts as one in the last cache."""
    if m is None or m > min(_MEMORY_ROWS, target.vector_registers // 2) or n < _NARROWEST:
        return False
    size = _WIDE_BYTES if k is None else k * n * dtype.itemsize
    return size >= (_WIDE_BYTES if m <= _WIDE_ROWS else _MEMORY_BYTES)


def _wide(plan: GemmPlan, m: int, n: int) -> GemmPlan:
    """The plan with wide tiles: all rows, and as many columns as there are if the first cache holds their sums.

    Each task has a panel at least, if these are not too narrow.
    """
    most = round_down(_WIDE_SUMS // (m * plan.dtype.itemsize), plan.lanes)
    panels = max(-(-n // most), min(plan.tasks, -(-n // _NARROWEST)))
    nr = round_up(-(-n // panels), plan.lanes)
    plan = changed(plan, wide=True, mr=m, mc=m, nr=nr, nc=nr, edge=0, fetches=False, streams=False)
    return changed(plan, b_elements=m * plan.sums_pitch)


def _edge(target: Target, n: int, nr: int, lanes: int) -> int:
    """The columns that a last panel of its own multiplies; 0 where that would be a whole one without masks."""
    edge = round_up(n % nr, lanes)
    return edge if edge < nr or target.has_masks else 0


def plan_placed(dtype: DType, target: Target, m: int, n: int | None, k: int, tasks: int, *, windows: bool) -> GemmPlan:
    """The plan for a product that reads A where it stands, and B too if its columns are `windows`."""
    plan = plan_gemm(dtype, target, m, n, k, tasks, placed=True)
    rows, columns = round_up(max(1, m), plan.mr), round_up(_UNKNOWN if n is None else max(1, n), plan.nr)
    few, many = _SUMS_COLUMNS
    width = few if windows else min(many, max(few, SUMS_BYTES // (rows * dtype.itemsize)))
    nc = min(columns, round_up(width, plan.nr))
    mc = min(rows, round_down(SUMS_BYTES // (nc * dtype.itemsize), plan.mr))
    plan = changed(plan, order="windows" if windows else "placed", fetches=False, streams=False, mc=mc, nc=nc)
    plan = changed(plan, steps=k if k <= _MOST_STEPS else DEPTH)
    # Vectors that copy sums may read beyond them.
    return changed(
        plan, a_elements=-(-plan.table_bytes // dtype.itemsize) + mc * nc + plan.lanes,
        b_elements=(plan.nr if windows else nc) * min(DEPTH, max(1, k)),
    )  # fmt: skip


def reading_of(dtype: DType, target: Target, m: int | None, n: int, k: int | None) -> Right:
    """How tiles had better read a B of contiguous rows.

    In place if few rows of A read it, or the first cache holds all of it; else it is copied on the way, while the
    multiply-adds leave time for it.  Both take masks where vectors of its last columns end beyond it.
    """
    row = n * dtype.itemsize
    if not dtype.is_float or (row % target.vector_bytes and not target.has_masks):
        return "packed"
    if _passes_once(dtype, target, m, n, k):
        return "in place"
    readers = min(_FEW_READERS, target.vector_registers // 2)  # with 16 registers, two tiles of four rows
    if k is not None and k * row <= B_IN_PLACE_BYTES:  # vectors astride two lines cost as much as packing, in the end
        readers = _READERS if row % LINE == 0 else 2 * _FEW_READERS
    return "in place" if m is not None and m <= readers else "copied"


def halved(plan: GemmPlan, n: int | None) -> GemmPlan:
    """The plan of the product of an array with its own transpose, `n` x `n`."""
    if n is None or n < _HALVED * plan.nr or plan.epilogue:
        return plan
    return changed(plan, symmetric=True, streams=False)


def _streams(dtype: DType, target: Target, m: int | None, n: int | None, k: int | None, batch: int | None) -> bool:
    """Whether C is large, has one run of k, and is stored in vectors of whole cache lines."""
    if m is None or n is None or k is None or batch is None or k > DEPTH:
        return False
    lines = target.architecture == "x86_64" and target.vector_bytes == LINE
    return lines and dtype.is_float and batch * m * n * dtype.itemsize >= STREAM_BYTES


def _tile(
    dtype: DType, target: Target, m: int | None, n: int | None, depth: int, lanes: int, placed: bool
) -> tuple[int, int]:
    """The tile (rows, vectors a row) with the least estimated time for an m x n product, padding included."""
    spread = m and n and m * n * dtype.itemsize > C_BYTES and n * dtype.itemsize > _SHORT
    piece = _PIECE if spread else 0
    m, n = m or _UNKNOWN, n or _UNKNOWN

    def time(tile: tuple[int, int]) -> tuple[float, int]:
        mr, vectors = tile
        strips, width = -(-m // mr), vectors * lanes
        edge = width if placed else round_up(n % width, lanes)
        columns = n // width * of_tile(mr, vectors) + (of_tile(mr, edge // lanes) if n % width else 0.0)
        return strips * columns, -mr * vectors

    def of_tile(mr: int, vectors: int) -> float:
        # Two multiply-adds and two loads a cycle, a latency of more than four, 20 cycles a tile.  Addresses of rows
        # cost, more where registers do not hold them.
        step = max(mr * vectors / 2, (mr + vectors) / 2, 4.5) + 0.25 + 0.03 * mr
        if placed:  # two entries of a table, and vectors that stand astride two lines
            step = max(mr * vectors / 2, (mr + 2 * vectors + 2) / 2, 4.5) + 0.5
        else:
            step += 0.1 * max(0, mr - _HELD_ROWS)
        return step * depth + 20 + mr * vectors + mr * piece

    return min(_tiles(dtype, target, _PLACED_ROWS if placed else _MOST_ROWS, -(-n // lanes)), key=time)


def _tiles(dtype: DType, target: Target, most_rows: int, most_vectors: int) -> Iterator[tuple[int, int]]:
    """The tiles whose accumulators, one row of B and one broadcast of A fit the registers.

    Where multiply-adds take no factor from memory, LLVM holds some elements of A ahead.
    """
    ahead = 0 if target.architecture == "x86_64" else _ELEMENTS_AHEAD
    budget = target.vector_registers - ahead if dtype.is_float else 12
    for vectors in range(1, max(1, min(4, most_vectors)) + 1):
        for mr in range(1, most_rows + 1):
            if mr * vectors + vectors + 1 <= budget:
                yield mr, vectors


def round_up(value: int, step: int) -> int:
    """The least multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def round_down(value: int, step: int) -> int:
    """The largest multiple of `step` that is not above `value`, and at least `step`."""
    return max(step, value // step * step)
