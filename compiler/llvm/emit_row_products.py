"""Products of few rows and columns whose terms are neighbours in both operands, as gradients of small kernels are.

A vector holds neighbouring terms of a row of the last variable of k, so that nothing is packed: windows are read where
they stand.  Each element of C has a vector of partial sums in each of a fixed number of parts of the terms, which one
task sums; then these are added in order, and their lanes as a tree.  Neither depends on the machine or its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import product as indices

from adjit.compiler.llvm.emit_contract import MOST_NARROW, Axes, arrange, slope_in
from adjit.compiler.llvm.emit_domain import Pairs, split_flat
from adjit.compiler.llvm.emit_fold import fold_lanes
from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_placed import Placed, placed
from adjit.compiler.llvm.emit_state import Options, Writer
from adjit.compiler.llvm.gemm_pack import ATTRIBUTES
from adjit.compiler.llvm.gemm_plan import round_up
from adjit.compiler.llvm.sequences import PARAMETERS, counted, masked_load, maximum, minimum, offset, workspace_of
from adjit.compiler.llvm.target import Target
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.memory import LINE
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.shape import Size, product, substitute
from adjit.ir.types import F32, F64, DType

Attach = Callable[[Function], Writer]
# The bytes of a vector of partial sums on every machine, and the most parts.
_BYTES, _MOST_PARTS = 64, 8
# The multiply-adds of vectors that an element of packed windows costs, and how much more the product that packs must.
_PACKING, _LEAST_SAVING = 0.8, 1.3
# Vectors of terms between two visits of the partial sums in memory, below which these visits are what takes time.
_LEAST_RUN = 12


@frozen
class RowProduct:
    """Such a product: its axes and operands, the tile of C that registers hold, and its tasks."""

    axes: Axes
    left: Placed
    right: Placed
    dtype: DType
    tile: tuple[int, int]
    tasks: int

    @property
    def lanes(self) -> int:
        return _BYTES // self.dtype.itemsize

    @property
    def places(self) -> tuple[list[int], list[int]]:
        """Where rows of A and columns of B begin, with copies of the last that make whole tiles."""
        found = _places(self.left, self.axes.m), _places(self.right, self.axes.n)
        rows, columns = (
            [*own, *own[-1:] * (round_up(len(own), width) - len(own))]
            for own, width in zip(found, self.tile, strict=True)
        )
        return rows, columns

    @property
    def part_bytes(self) -> int:
        """The partial sums of a part: tile by tile, a vector for each element."""
        rows, columns = self.places
        return len(rows) * len(columns) * _BYTES

    @property
    def workspace_bytes(self) -> int:
        return _MOST_PARTS * self.part_bytes + LINE


def row_product_of(node: Node, options: Options, tasks: int) -> RowProduct | None:
    """The product that a `contract` of windows is, where it takes less time than one that packs them; else None.

    Strict programs have the bits of eager mode, which sums terms in their order.
    """
    dtype = node.regions[0].outputs[0].type.dtype
    if options.strict or len(node.regions) > 2 or not node.inputs or dtype not in (F32, F64):
        return None
    axes = arrange(node)
    m, n = (_count(pairs) for pairs in (axes.m, axes.n))
    if axes.batch or len(axes.k) < 2 or not 0 < m * n <= MOST_NARROW:
        return None
    (_, height), (x, width) = axes.k[-2:]
    left, right = (placed(region, (), own, axes.k) for region, own in ((axes.a, axes.m), (axes.b, axes.n)))
    if left is None or right is None or (left.slope(x), right.slope(x)) != (1, 1):
        return None
    if not isinstance(height, int) or not isinstance(width, int) or not _pays(dtype, m, n, height, width):
        return None
    if not all(isinstance(slope_in(axes.destination, name), int) for name, _ in (*axes.m, *axes.n)):
        return None
    tile = _tile(options.target, m, n)
    return RowProduct(axes, left, right, dtype, tile, min(tasks, _MOST_PARTS))


def _count(pairs: Pairs) -> int:
    """The elements of some axes; 0 where only run time knows."""
    size = product(extent for _, extent in pairs)
    return size if isinstance(size, int) else 0


def _pays(dtype: DType, m: int, n: int, height: int, width: int) -> bool:
    """Whether vectors along the terms are filled so well that they take less time than packing and whole tiles."""
    lanes = _BYTES // dtype.itemsize
    vectors = -(-width // lanes)
    if height * vectors < _LEAST_RUN:
        return False
    packed = m * -(-n // lanes) + _PACKING * n
    return packed * width >= _LEAST_SAVING * m * n * vectors


def _tile(target: Target, m: int, n: int) -> tuple[int, int]:
    """The rows and columns of the tile with the fewest loads and multiply-adds for all of C."""
    registers = target.vector_registers * target.vector_bytes // _BYTES
    limit = max(3, registers - 2)  # a vector of B, and one of A or a mask

    def time(tile: tuple[int, int]) -> tuple[float, int]:
        rows, columns = tile
        step = max(rows * columns, 1.25 * (rows + columns)) + 1
        return -(-m // rows) * -(-n // columns) * step, -rows * columns

    tiles = [(rows, columns) for rows in range(1, 9) for columns in range(1, 9) if rows * columns + rows <= limit]
    return min(tiles, key=time)


def _places(operand: Placed, pairs: Pairs) -> list[int]:
    """What is added to an operand's place at each index of its own axes."""
    slopes = [operand.slope(name) for name, _ in pairs]
    return [sum(i * s for i, s in zip(index, slopes, strict=True)) for index in _indices(pairs)]


def _indices(pairs: Pairs) -> list[tuple[int, ...]]:
    return list(indices(*(range(extent) for _, extent in pairs if isinstance(extent, int))))


def emit_row_product(
    module: Module, name: str, node: Node, found: RowProduct, workspace_slot: int, attach: Attach
) -> None:
    """`@name(PARAMETERS)` over the tasks, and then `@name.last(PARAMETERS)`, one task."""
    f = Function(module, name, PARAMETERS)
    w = attach(f)
    _emit_parts(w, found, workspace_of(f, workspace_slot))
    w.finish()
    f = Function(module, f"{name}.last", PARAMETERS)
    w = attach(f)
    _emit_last(w, found, node, workspace_of(f, workspace_slot))
    w.finish()


def _table(module: Module, numbers: Sequence[int]) -> str:
    """A constant array of i64."""
    text = f"[{len(numbers)} x i64] [{', '.join(f'i64 {number}' for number in numbers)}]"
    name = f"@adjit.places.{sha256(text.encode()).hexdigest()[:32]}"
    module.declare(f"{name} = internal constant {text}, align 64")
    return name


def _parts(w: Writer, found: RowProduct) -> tuple[str, str]:
    """The planes of terms of the last two variables, and the number of parts, which depends on that alone."""
    planes = uniform(w, product(extent for _, extent in found.axes.k[:-2]))
    return planes, maximum(w.f, minimum(w.f, planes, _MOST_PARTS), 1)


def _emit_parts(w: Writer, found: RowProduct, workspace: str) -> None:
    f, axes, (rows, columns) = w.f, found.axes, found.places
    element, (height, width) = LLType(found.dtype).llvm, found.tile
    planes, count = _parts(w, found)
    starts = _table(f.module, rows), _table(f.module, columns)
    first, stop = (
        f.let(f"udiv i64 {f.let(f'mul nsw i64 {end}, {count}')}, {found.tasks}") for end in ("%begin", "%end")
    )
    tile = _emit_tile(f.module, found)
    with counted(f, first, stop, 1) as part, w.scope():
        ends = part, f.let(f"add nsw i64 {part}, 1")
        begin, end = (f.let(f"udiv i64 {f.let(f'mul nsw i64 {number}, {planes}')}, {count}") for number in ends)
        sums = offset(f, "i8", workspace, f.let(f"mul nsw i64 {part}, {found.part_bytes}"))
        f.clear(sums, found.part_bytes)
        with counted(f, begin, end, 1) as plane, w.scope():
            operands = []
            with w.bound(split_flat(w, axes.k[:-2], plane)):
                for operand, own in ((found.left, axes.m), (found.right, axes.n)):
                    at = uniform(w, operand.without(own, axes.k[-2:]))
                    operands.append(offset(f, element, w.buffers[operand.load.inputs[0]], at))
            with counted(f, "0", str(len(rows)), height) as row, counted(f, "0", str(len(columns)), width) as column:
                before = f.let(f"mul nsw i64 {row}, {len(columns)}")
                at = f.let(f"add nsw i64 {before}, {f.let(f'mul nsw i64 {column}, {height}')}")
                f.line(
                    f"call void @{tile}(ptr {operands[0]}, ptr {offset(f, 'i64', starts[0], row)}, ptr {operands[1]}, "
                    f"ptr {offset(f, 'i64', starts[1], column)}, "
                    f"ptr {offset(f, 'i8', sums, f.let(f'mul nsw i64 {at}, {_BYTES}'))})"
                )


def _emit_tile(module: Module, found: RowProduct) -> str:
    """`void @...(a, rows, b, columns, sums)`: the terms of a plane, added to a tile's partial sums.

    `rows` and `columns` tell where those of the tile begin in A and B.
    """
    (y, height), (_, width) = found.axes.k[-2:]
    assert isinstance(height, int) and isinstance(width, int)
    pitches = found.left.slope(y), found.right.slope(y)
    vector = LLType(found.dtype, found.lanes)
    m, n = found.tile
    shape = f"{height}x{width}.{pitches[0]}.{pitches[1]}".replace("-", "back")
    name = module.shared(f"gemm.rows.{m}x{n}.{vector.suffix}.{shape}")
    if module.has(name):
        return name
    parameters = "ptr readonly %a, ptr readonly %rows, ptr readonly %b, ptr readonly %columns, ptr noalias %sums"
    f = Function(module, name, parameters, attributes=ATTRIBUTES)
    kept = [f.let(f"alloca {vector.llvm}, align {_BYTES}") for _ in range(m * n)]
    memory = [offset(f, vector.element, "%sums", number * found.lanes) for number in range(m * n)]
    for slot, place in zip(kept, memory, strict=True):
        _move(f, vector, place, slot)
    lines = [
        [offset(f, vector.element, side, _entry(f, table, str(i))) for i in range(size)]
        for side, table, size in (("%a", "%rows", m), ("%b", "%columns", n))
    ]
    whole = width - width % found.lanes
    with counted(f, "0", str(height), 1) as line:
        at = [f.let(f"mul nsw i64 {line}, {pitch}") for pitch in pitches]
        starts = [[offset(f, vector.element, p, step) for p in side] for side, step in zip(lines, at, strict=True)]
        if whole:
            with counted(f, "0", str(whole), found.lanes) as x:
                _add_terms(f, vector, starts, x, "", kept)
        if whole < width:
            mask = ", ".join(f"i1 {'true' if lane < width - whole else 'false'}" for lane in range(found.lanes))
            _add_terms(f, vector, starts, str(whole), f"<{mask}>", kept)
    for slot, place in zip(kept, memory, strict=True):
        _move(f, vector, slot, place)
    f.line("ret void")
    f.finish()
    return name


def _entry(f: Function, table: str, index: str) -> str:
    return f.let(f"load i64, ptr {offset(f, 'i64', table, index)}, align 8")


def _move(f: Function, vector: LLType, source: str, to: str) -> None:
    value = f.let(f"load {vector.llvm}, ptr {source}, align {_BYTES}")
    f.line(f"store {vector.llvm} {value}, ptr {to}, align {_BYTES}")


def _add_terms(
    f: Function, vector: LLType, starts: Sequence[Sequence[str]], x: str, mask: str, kept: Sequence[str]
) -> None:
    """Add the products of vectors of terms from place `x` on, those in `mask` if there is one, to the tile's sums."""

    def taken(start: str) -> str:
        place = offset(f, vector.element, start, x)
        if mask:
            return masked_load(f, vector, place, mask, vector.constant(0))
        return f.let(f"load {vector.llvm}, ptr {place}, align {vector.dtype.itemsize}")

    rows = [taken(start) for start in starts[0]]
    for j, start in enumerate(starts[1]):
        column = taken(start)
        for i, row in enumerate(rows):
            slot = kept[i * len(starts[1]) + j]
            old = f.let(f"load {vector.llvm}, ptr {slot}, align {_BYTES}")
            if f.module.fma:
                total = f.intrinsic("fma", vector, row, column, old)
            else:
                total = f.let(f"fadd {vector.llvm} {old}, {f.let(f'fmul {vector.llvm} {row}, {column}')}")
            f.line(f"store {vector.llvm} {total}, ptr {slot}, align {_BYTES}")


def _emit_last(w: Writer, found: RowProduct, node: Node, workspace: str) -> None:
    """The sums of all parts, folded and put into C."""
    f, axes = w.f, found.axes
    vector, (height, width) = LLType(found.dtype, found.lanes), found.tile
    columns = len(found.places[1])
    count = _parts(w, found)[1]
    origin: Size = substitute(axes.destination, {name: 0 for name, _ in (*axes.m, *axes.n)})
    c = offset(f, vector.element, w.buffers[node.inputs[0]], uniform(w, origin))
    to = [_table(f.module, _steps(axes.destination, pairs)) for pairs in (axes.m, axes.n)]
    total = w.slot(vector)
    with counted(f, "0", str(_count(axes.m)), 1) as i, counted(f, "0", str(_count(axes.n)), 1) as j, w.scope():
        (above, row), (left, column) = (
            (f.let(f"udiv i64 {index}, {size}"), f.let(f"urem i64 {index}, {size}"))
            for index, size in ((i, height), (j, width))
        )
        before = f.let(f"mul nsw i64 {above}, {height * columns}")
        before = f.let(f"add nsw i64 {before}, {f.let(f'mul nsw i64 {left}, {height * width}')}")
        inside = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {row}, {width}')}, {column}")
        at = f.let(f"mul nsw i64 {f.let(f'add nsw i64 {before}, {inside}')}, {_BYTES}")
        w.write(total, vector.constant(0))
        with counted(f, "0", count, 1) as part:
            place = offset(f, "i8", offset(f, "i8", workspace, at), f.let(f"mul nsw i64 {part}, {found.part_bytes}"))
            own = f.let(f"load {vector.llvm}, ptr {place}, align {_BYTES}")
            w.write(total, f.let(f"fadd {vector.llvm} {w.read(total)}, {own}"))
        value = fold_lanes(w, "sum", found.dtype, w.read(total), found.lanes)
        steps = [_entry(f, table, index) for table, index in zip(to, (i, j), strict=True)]
        place = offset(f, vector.element, c, f.let(f"add nsw i64 {steps[0]}, {steps[1]}"))
        f.line(f"store {vector.element} {value}, ptr {place}, align {found.dtype.itemsize}")


def _steps(destination: Size, pairs: Pairs) -> list[int]:
    """What is added to the place in C at each index of some axes."""
    slopes = [slope_in(destination, name) for name, _ in pairs]
    known = [slope for slope in slopes if isinstance(slope, int)]
    return [sum(i * s for i, s in zip(index, known, strict=True)) for index in _indices(pairs)]
