"""`contract`: a packed matrix product whose operands are regions.

An operand that is a plain array goes to the strided packers; any other is evaluated, element by element or as vectors
along its own index or along k, whichever reads memory better.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Literal

from adjit.compiler.cost import pairs_of
from adjit.compiler.llvm.emit_choice import Dependence, lanes_for, time_along
from adjit.compiler.llvm.emit_domain import Pairs, split_flat
from adjit.compiler.llvm.emit_epilogue import emit_epilogue
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_placed import Direct, Placed, emit_places, grid_of, placed
from adjit.compiler.llvm.emit_state import Options, Writer
from adjit.compiler.llvm.gemm import (
    GemmOperands,
    LeftOperand,
    StridedOperand,
    emit_gemm,
    emit_left,
    emit_pack_strided,
    emit_task_count,
    plan_gemm,
    task_count,
    workspace_bytes,
)
from adjit.compiler.llvm.gemm_grid import NO_GRID, Grid
from adjit.compiler.llvm.gemm_plan import GemmPlan, Right, halved, plan_placed, reading_of, round_up
from adjit.compiler.llvm.sequences import offset
from adjit.compiler.llvm.target import Target
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.loops.ir import LOAD, address
from adjit.ir.errors import CompileError
from adjit.ir.frozen import changed, frozen
from adjit.ir.graph import Node, Region, Value
from adjit.ir.shape import Dim, Size, product, substitute
from adjit.ir.types import BF16, DType

if TYPE_CHECKING:
    from adjit.compiler.llvm.emit_pack import Layout

Attach = Callable[[Function], Writer]
Side = Literal["a", "b"]
# Fewer terms, for at least so many rows: packing is soon repaid, and whole tiles of sums are not.
_FEW_TERMS, _FEW_ROWS = 64, 16
# Windows that stand further apart become rows, as do those of some distance that serve few rows: more is loaded to pack
# them.
_WIDEST, _SERVED = 4, 64
# The most elements of a product whose partial sums may stand in the second cache.
MOST_NARROW = 2048
# The part of vectors across the features that must be filled if windows are rows.
_FILLED = 0.75
# The multiply-adds of vectors that an element of packed windows costs as much as.
_PACKING = 6


@frozen
class Axes:
    """The operands, and the variables of the four kinds of axes, with extents; rows and columns of C have strides."""

    a: Region
    b: Region
    batch: Pairs
    m: Pairs
    n: Pairs
    k: Pairs
    destination: Size  # flat position in C
    samples: Pairs = ()  # those of the batch that were variables of n

    @property
    def joined(self) -> Axes:
        """The same product with the innermost of its samples as outermost columns."""
        batch = tuple(pair for pair in self.batch if pair != self.samples[-1])
        return changed(self, batch=batch, n=(self.samples[-1], *self.n), samples=self.samples[:-1])

    @property
    def planes(self) -> Axes:
        """The same product with the columns of a plane, those before the last two variables of n in the batch."""
        return changed(self, batch=(*self.batch, *self.n[:-2]), n=self.n[-2:], samples=(*self.samples, *self.n[:-2]))

    @property
    def exchanged(self) -> Axes:
        """The same product as B^T A^T."""
        return changed(self, a=self.b, b=self.a, m=self.n, n=self.m)

    def extents(self) -> list[Size]:
        """Rows, columns, terms and batches of the product."""
        return [product(size for _, size in pairs) for pairs in (self.m, self.n, self.k, self.batch)]


def has_square(node: Node, kind: str) -> bool:
    """Whether the last axes of a kind of a `contract` are 3 x 3: taps of a convolution that has a quicker method."""
    return [extent for _, extent in pairs_of(node, kind)[1:]] == [3, 3]


def has_masked_windows(node: Node) -> bool:
    """Whether windows of images with zeros around them, which are not stored, are what a `contract` multiplies."""
    return len(pairs_of(node, "k")) == 3 and any(map(_is_masked, node.regions[:2]))


def _is_masked(region: Region) -> bool:
    load = region.outputs[0].node
    return load is not None and load.op is LOAD and bool(load.attributes["masked"])


def arrange_windows(node: Node) -> Axes:
    """The axes with windows, whose places are the last two variables of n, as the right operand.

    They are the left one of a product that stores the channels last.
    """
    axes = arrange(node)
    if len(axes.m) > 1 and len(axes.n) == 1:
        axes = axes.exchanged
    return axes.planes if len(axes.n) > 2 else axes


def is_narrow(node: Node) -> bool:
    """Whether a `contract` has few rows and columns, and terms of several axes: perhaps it had better not be packed."""
    m, n, k, batch = (pairs_of(node, kind) for kind in ("m", "n", "k", "batch"))
    size = product(extent for _, extent in (*m, *n))
    return not batch and min(len(k), len(n)) > 1 and isinstance(size, int) and size <= MOST_NARROW


def emit_contract(
    module: Module, name: str, node: Node, options: Options, tasks: int, workspace_slot: int, attach: Attach
) -> tuple[int, int | None]:
    """`@name(buffers, sizes, begin, end)`; returns the bytes of workspace, and the number of tasks.

    The latter is None where only run time tells it, by `@name.tasks(buffers, sizes)`.  `attach` makes the writer of a
    function, with the kernel's buffers and sizes loaded.  A third region of the node is its epilogue.
    """
    dtype = node.regions[0].outputs[0].type.dtype
    epilogue = node.regions[2] if len(node.regions) > 2 else None
    axes, direct = _in_place(arrange(node), options.target.vector_bytes // dtype.itemsize)
    extents = axes.extents()
    if direct is not None and direct.b is not None:
        extents[1] = direct.grid.columns
    m, n, k, count = (extent if isinstance(extent, int) else None for extent in extents)
    places, packed = None, LeftOperand()
    paired = direct is None and isinstance(k, int) and k % 2 == 0 and _has_pairs(axes, options.target)
    if paired:
        assert isinstance(k, int)
        extents[2] = k = k // 2
    if direct is not None:
        assert m is not None and k is not None
        plan = plan_placed(dtype, options.target, m, n, k, tasks, windows=direct.b is not None)
        places = emit_places(module, name, direct, plan.mr, attach)
    else:
        plan = plan_gemm(
            dtype, options.target, m, n, k, tasks, count, epilogue=epilogue is not None, paired=paired,
            right="packed" if paired else _reading(axes, options.target, dtype),
        )  # fmt: skip
        if not paired and _is_symmetric(axes):
            plan = halved(plan, n)
        packed = _emit_packing(module, f"{name}.pack_a", plan, "a", axes.a, axes.m, axes, attach)
    pack_b, right = "", None
    if plan.right != "packed":
        found = _strides_of_operand(axes.b, axes.n, axes)
        assert found is not None
        right = _array_of(found, dtype, attach)
    elif direct is None or direct.b is None:
        pack_b = f"{name}.pack_b"
        _emit_packing(module, pack_b, plan, "b", axes.b, axes.n, axes, attach)
    after, fence = "", False
    if epilogue is not None:
        after = f"{name}.epilogue"
        along_rows = _stride(axes.destination, axes.m) == 1 != _stride(axes.destination, axes.n)
        fence = emit_epilogue(module, after, plan, epilogue, (axes.batch, axes.m, axes.n), along_rows, attach)
    a_shared = Dependence(axes.a).of(axes.a.outputs[0]).isdisjoint(name for name, _ in axes.batch)

    def prologue(f: Function) -> GemmOperands:
        w = attach(f)
        rows: dict[str, Size] = {name: 0 for name, _ in (*axes.m, *axes.n)}
        origin = substitute(axes.destination, rows)

        def batch_offset(batch: str) -> str:
            with w.bound(split_flat(w, axes.batch, batch)):
                return uniform(w, origin)

        m, n, k, total = (uniform(w, extent) for extent in extents)
        row, column = (uniform(w, _stride(axes.destination, pairs)) for pairs in (axes.m, axes.n))
        slot = f.let(f"getelementptr ptr, ptr %buffers, i64 {workspace_slot}")
        workspace = f.let(f"load ptr, ptr {slot}, align 8")
        c = w.buffers[node.inputs[0]] if node.inputs else "null"
        column = column if axes.n else "1"
        if node.inputs and not axes.batch:
            c = offset(f, LLType(dtype).llvm, c, uniform(w, origin))
        place = batch_offset if node.inputs and axes.batch else None
        return GemmOperands(m, n, k, total, c, "0", row, column, workspace, place, a_shared)

    emit_gemm(module, name, plan, packed, pack_b, prologue, after, fence, places=places, right=right)
    if count is not None and m is not None and n is not None and k is not None:
        return workspace_bytes(plan), task_count(plan, count, m, n, k)
    emit_task_count(module, f"{name}.tasks", plan, prologue)
    return workspace_bytes(plan), None


def _in_place(axes: Axes, lanes: int) -> tuple[Axes, Direct | None]:
    """The axes, perhaps arranged anew, and which operands are read in place.

    This pays for windows; where columns and terms have one stride each, packing is cheaper than tables.  Windows that
    stand in rows of memory are read there, if the columns between the rows cost less time than packing, else they are
    packed, for all samples together.  Others become rows of A, and what was A is packed, if it fills vectors.
    Columns that stand apart in C, as those of phases do, are stored by the copying of sums alone.
    """
    windows = placed(axes.b, axes.batch, axes.n, axes.k)
    if windows is None:
        return axes, None
    m, n, k, _ = axes.extents()
    if not (isinstance(m, int) and isinstance(n, int) and isinstance(k, int)):
        return axes, None
    apart = bool(axes.n) and slope_in(axes.destination, axes.n[-1][0]) != 1
    if not apart and _strides_of_operand(axes.b, axes.n, changed(axes, batch=())) is not None:
        return axes, None
    if not apart and k < _FEW_TERMS and m >= _FEW_ROWS:
        return axes, None
    in_rows, rows = _apart(axes) if apart else _in_rows(axes.planes)
    joined = _joined(axes, windows) if m >= 2 * lanes and _pays_packing(m, n, axes, windows) else None
    summed = 0.0 if rows is None else round_up(rows.grid.columns, 2 * lanes) / rows.grid.stored
    if joined is not None and (rows is None or 1 + _PACKING / m < summed):
        return joined
    if apart or rows is not None:
        return in_rows, rows
    fills = m >= _FILLED * round_up(m, lanes)
    return (axes.exchanged, Direct(windows, None, NO_GRID)) if fills else (axes, None)


def _pays_packing(m: int, n: int, axes: Axes, windows: Placed) -> bool:
    """Whether to pack n windows a sample pays: they are neighbours, serve many rows, or A would be packed in vain."""
    step = windows.slope(axes.n[-1][0]) if axes.n else 1
    return step == 1 or m >= n or m >= _SERVED * step


def _joined(axes: Axes, windows: Placed) -> tuple[Axes, Direct] | None:
    """The product with the columns of all samples together, whose windows are packed; None where that is slow."""
    if not axes.n or not axes.samples or not 1 <= windows.slope(axes.n[-1][0]) <= _WIDEST:
        return None
    names = axes.n[-1][0], *(name for name, _ in axes.samples[:-3:-1])
    slopes = [slope_in(axes.destination, name) for name in names]
    known = [slope for slope in slopes if isinstance(slope, int)]
    row, group = prod(extent for _, extent in axes.n if isinstance(extent, int)), axes.samples[-1][1]
    for _ in names[1:]:
        axes = axes.joined
    left = placed(axes.a, axes.batch, axes.m, axes.k)
    if left is None or len(known) != len(slopes) or not isinstance(group, int):
        return None
    step, *strides = known
    groups = (group, strides[1]) if strides[1:] else ()
    return axes, Direct(left, None, Grid(0, row, row, strides[0], step, *groups))


def _apart(axes: Axes) -> tuple[Axes, Direct | None]:
    """The axes and what is read in place where columns stand apart in C: windows in rows of memory."""
    for arranged in (axes.joined, axes) if len(axes.n) == 1 and axes.samples else (axes.planes,):
        found = _in_rows(arranged)
        if found[1] is not None:
            return found
    return axes, None


def _in_rows(axes: Axes) -> tuple[Axes, Direct | None]:
    """The axes, and A and B in place if the columns of B stand in rows of memory."""
    left, windows = placed(axes.a, axes.batch, axes.m, axes.k), placed(axes.b, axes.batch, axes.n, axes.k)
    if left is None or windows is None:
        return axes, None
    grid = grid_of(windows, lambda name: slope_in(axes.destination, name))
    return axes, None if grid is None else Direct(left, windows, grid)


def _pairs(attribute: object) -> Pairs:
    return tuple((str(variable), size) for variable, size in attribute)  # type: ignore[attr-defined]


def arrange(node: Node) -> Axes:
    """The axes of a `contract`; outer variables of m and n that leave no single stride in C are moved to the batch."""
    at: tuple[Size] = node.attributes["at"]  # type: ignore[assignment]
    (destination,) = at
    batch, m, n, k = (_pairs(node.attributes[kind]) for kind in ("batch", "m", "n", "k"))
    moved: list[Pairs] = []
    kept: list[Pairs] = []
    for pairs in (m, n):
        cut = 0
        while not _is_affine(destination, pairs[cut:]):
            cut += 1
        moved, kept = [*moved, pairs[:cut]], [*kept, pairs[cut:]]
    a, b = node.regions[:2]
    return Axes(a, b, (*batch, *moved[0], *moved[1]), kept[0], kept[1], k, destination, moved[1])


def _is_affine(destination: Size, pairs: Pairs) -> bool:
    """Whether the flattened variables have one stride in C."""
    stride: Size | None = None
    for name, extent in reversed(pairs):
        own = slope_in(destination, name)
        if stride is not None and own != stride:
            return False
        stride = own * extent
    return True


def slope_in(expression: Size, name: str) -> Size:
    """The slope in a variable of what says where elements of C stand."""
    found: Size | None = expression.coefficient(name) if isinstance(expression, Dim) else 0
    if found is None:
        raise CompileError(f"a contraction is stored at {expression}, which is not linear in {name}")
    return found


def _stride(destination: Size, pairs: Pairs) -> Size:
    """The stride in C of the flattened variables."""
    return slope_in(destination, pairs[-1][0]) if pairs else 0


def _emit_packing(
    module: Module, name: str, plan: GemmPlan, side: Side, region: Region, own: Pairs, axes: Axes, attach: Attach
) -> LeftOperand:
    """The packing function of an operand, `@name` unless A stands in place; where tiles find A if `side` is A."""
    if plan.paired:
        return _emit_pairs(module, name, plan, side, region, own, axes, attach)
    strided = _strides_of_operand(region, own, axes)
    if strided is not None:
        operand = _array_of(strided, plan.dtype, attach)
        if side == "a":
            return emit_left(module, name, plan, operand, axes.extents()[2])
        emit_pack_strided(module, name, plan, operand)
        return LeftOperand()
    from adjit.compiler.llvm.emit_pack import emit_pack_region
    from adjit.compiler.llvm.emit_window import emit_pack_window, window_of

    width = plan.mr if side == "a" else plan.nr
    window = window_of(region, (axes.batch, own, axes.k), plan, width)
    if window is not None:
        emit_pack_window(module, name, plan, width, window, attach)
        return LeftOperand(f"@{name}")
    along_k = _is_better_along_k(region, own, axes.k, plan, Dependence(region))
    if side == "a":
        order: Literal["rows", "columns"] = "rows" if along_k else "columns"
        width = width if along_k else plan.lanes
        emit_pack_region(module, name, plan, width, order, region, (axes.batch, own, axes.k), attach)
        return LeftOperand(f"@{name}", order)
    layout: Layout = "across" if along_k else "index"
    emit_pack_region(module, name, plan, width, layout, region, (axes.batch, own, axes.k), attach)
    return LeftOperand()


def _reading(axes: Axes, target: Target, dtype: DType) -> Right:
    """How tiles read B: where it stands if it is an array of contiguous rows."""
    m, n, k, _ = (extent if isinstance(extent, int) else None for extent in axes.extents())
    strided = _strides_of_operand(axes.b, axes.n, axes)
    return "packed" if n is None or strided is None or strided[2][1] != 1 else reading_of(dtype, target, m, n, k)


def _is_symmetric(axes: Axes) -> bool:
    """Whether B is A transposed, an array as it stands, and rows of C are contiguous."""
    left, right = (_strides_of_operand(*side, axes) for side in ((axes.a, axes.m), (axes.b, axes.n)))
    if left is None or right is None or _stride(axes.destination, axes.n) != 1:
        return False
    m, n, _, _ = axes.extents()
    return left[0].inputs[0] is right[0].inputs[0] and left[1:] == right[1:] and m == n


def _array_of(
    strided: tuple[Node, Size, list[Size]], dtype: DType, attach: Attach
) -> Callable[[Function], StridedOperand]:
    """The maker of an operand that is an array, of what `_strides_of_operand` tells of it."""
    load, base, sizes = strided

    def operand(f: Function) -> StridedOperand:
        w = attach(f)
        pointer = offset(f, LLType(dtype).llvm, w.buffers[load.inputs[0]], uniform(w, base))
        return StridedOperand(pointer, *(uniform(w, size) for size in sizes))

    return operand


def _has_pairs(axes: Axes, target: Target) -> bool:
    """Whether a product of arrays of bfloat16, converted to f32, can be made of pairs of their elements."""
    return target.multiplies_pairs and all(
        _pairs_of_operand(*side, axes) is not None for side in ((axes.a, axes.m), (axes.b, axes.n))
    )


def _pairs_of_operand(region: Region, own: Pairs, axes: Axes) -> tuple[Node, int, list[int]] | None:
    """`_strides_of_operand` of the array that a region converts, if neighbours in k or rows of it are pairs."""
    node = region.outputs[0].node
    if node is None or node.op.name != "cast" or node.inputs[0].dtype is not BF16:
        return None
    found = _strides_of_operand(region, own, axes, node.inputs[0])
    if found is None or not all(isinstance(size, int) for size in (found[1], *found[2])):
        return None
    load, base, (batch, index, k) = found
    assert isinstance(base, int) and isinstance(batch, int) and isinstance(index, int) and isinstance(k, int)
    beside = k == 1 and base % 2 == index % 2 == 0
    return (load, base, [batch, index, k]) if batch % 2 == 0 and (beside or index == 1 != k) else None


def _emit_pairs(
    module: Module, name: str, plan: GemmPlan, side: Side, region: Region, own: Pairs, axes: Axes, attach: Attach
) -> LeftOperand:
    """The packing function of an operand whose elements are pairs of bfloat16, which are the bits of an f32 here."""
    found = _pairs_of_operand(region, own, axes)
    assert found is not None
    load, base, (batch, index, k) = found

    def operand(f: Function) -> StridedOperand:
        array = attach(f).buffers[load.inputs[0]]
        pointer = offset(f, LLType(BF16).llvm, array, base)
        if k == 1:
            return StridedOperand(pointer, str(batch // 2), str(index // 2), "1")
        return StridedOperand(pointer, str(batch // 2), "1", str(k))

    if side == "a":
        return emit_left(module, name, plan, operand, axes.extents()[2])
    emit_pack_strided(module, name, plan, operand)
    return LeftOperand()


def _strides_of_operand(
    region: Region, own: Pairs, axes: Axes, value: Value | None = None
) -> tuple[Node, Size, list[Size]] | None:
    """The load, first position and strides along batch, index and k of an operand that is an array as it stands.

    Or those of a `value` of the region.
    """
    value = value or region.outputs[0]
    node = value.node
    if node is None or node.op is not LOAD or len(node.inputs) != 1 or node.outputs[0] is not value:
        return None
    flat = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
    sizes: list[Size] = []
    for pairs in (axes.batch, own, axes.k):
        step: Size = 1
        strides: list[Size] = []
        for name, extent in reversed(pairs):
            coefficient: Size | None = flat.coefficient(name) if isinstance(flat, Dim) else 0
            if coefficient is None or (strides and coefficient != strides[0] * step):
                return None
            strides.append(coefficient)
            step = step * extent
        sizes.append(strides[0] if strides else 0)
    names: dict[str, Size] = {name: 0 for pairs in (axes.batch, own, axes.k) for name, _ in pairs}
    return node, substitute(flat, names), sizes


def _is_better_along_k(region: Region, own: Pairs, k: Pairs, plan: GemmPlan, dependence: Dependence) -> bool:
    times = []
    for pairs in (own, k):
        if not pairs:
            times.append(float("inf"))
            continue
        name, extent = pairs[-1]
        times.append(time_along(region, name, extent, lanes_for(extent, plan.lanes), dependence))
    return times[1] < 0.7 * times[0]  # the transposes that this way needs take time too
