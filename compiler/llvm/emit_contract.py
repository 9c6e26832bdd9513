"""`contract`: a packed matrix product whose operands are regions.

An operand that is a plain array goes to the strided packers; any other is evaluated, element by element or as vectors
along its own index or along k, whichever reads memory better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from adjit.compiler.llvm.emit_choice import Dependence, lanes_for, time_along
from adjit.compiler.llvm.emit_index import greatest, uniform, vector
from adjit.compiler.llvm.emit_state import Lanes, Options, Ramp, Uniform, Variable, Writer
from adjit.compiler.llvm.gemm import (
    GemmOperands,
    PackSource,
    StridedOperand,
    emit_gemm,
    emit_pack,
    emit_pack_strided,
    emit_task_count,
    plan_gemm,
    workspace_bytes,
)
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.loops.ir import LOAD, address
from adjit.ir.errors import CompileError
from adjit.ir.graph import Node, Region
from adjit.ir.shape import Dim, Size, product, substitute

Pairs = tuple[tuple[str, Size], ...]
Attach = Callable[[Function], Writer]
Side = Literal["a", "b"]


@dataclass(frozen=True, slots=True)
class _Axes:
    """The variables of the four kinds of axes, with extents, so arranged that rows and columns of C have strides."""

    batch: Pairs
    m: Pairs
    n: Pairs
    k: Pairs
    destination: Size  # flat position in C


def emit_contract(
    module: Module, name: str, node: Node, options: Options, tasks: int, workspace_slot: int, attach: Attach
) -> int:
    """`@name(buffers, sizes, begin, end)`, `@name.tasks(buffers, sizes)`; returns the bytes of workspace.

    `attach` makes the writer of a function, with the kernel's buffers and sizes loaded.
    """
    axes = _arrange(node)
    dtype = node.inputs[0].type.dtype
    extents = [product(size for _, size in pairs) for pairs in (axes.m, axes.n, axes.k)]
    known = [extent if isinstance(extent, int) else None for extent in extents]
    plan = plan_gemm(dtype, options.target, known[0], known[1], known[2], tasks)
    sides: tuple[tuple[Side, Region, Pairs], ...] = (("a", node.regions[0], axes.m), ("b", node.regions[1], axes.n))
    for side, region, own in sides:
        _emit_packing(module, f"{name}.pack_{side}", plan, side, region, own, axes, attach, Dependence(region))

    def prologue(f: Function) -> GemmOperands:
        w = attach(f)
        rows: dict[str, Size] = {name: 0 for name, _ in (*axes.m, *axes.n)}
        origin = substitute(axes.destination, rows)

        def batch_offset(batch: str) -> str:
            with w.bound(split_flat(w, axes.batch, batch)):
                return uniform(w, origin)

        m, n, k = (uniform(w, extent) for extent in extents)
        batches = uniform(w, product(size for _, size in axes.batch))
        row, column = (uniform(w, _stride(axes.destination, pairs)) for pairs in (axes.m, axes.n))
        place = f.let(f"getelementptr ptr, ptr %buffers, i64 {workspace_slot}")
        workspace = f.let(f"load ptr, ptr {place}, align 8")
        c = w.buffers[node.inputs[0]]
        return GemmOperands(m, n, k, batches, c, "0", row, column if axes.n else "1", workspace, batch_offset)

    emit_gemm(module, name, plan, f"{name}.pack_a", f"{name}.pack_b", prologue)
    emit_task_count(module, f"{name}.tasks", plan, prologue)
    return workspace_bytes(plan)


def _pairs(attribute: object) -> Pairs:
    return tuple((str(variable), size) for variable, size in attribute)  # type: ignore[attr-defined]


def _arrange(node: Node) -> _Axes:
    """The axes of a `contract`; outer variables of m and n that leave no single stride in C are moved to the batch."""
    destination = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
    batch, m, n, k = (_pairs(node.attributes[kind]) for kind in ("batch", "m", "n", "k"))
    moved: Pairs = ()
    kept: list[Pairs] = []
    for pairs in (m, n):
        cut = 0
        while not _is_affine(destination, pairs[cut:]):
            cut += 1
        moved, kept = (*moved, *pairs[:cut]), [*kept, pairs[cut:]]
    return _Axes((*batch, *moved), kept[0], kept[1], k, destination)


def _is_affine(destination: Size, pairs: Pairs) -> bool:
    """Whether the flattened variables have one stride in C."""
    stride: Size | None = None
    for name, extent in reversed(pairs):
        own = _coefficient(destination, name)
        if stride is not None and own != stride:
            return False
        stride = own * extent
    return True


def _coefficient(expression: Size, name: str) -> Size:
    found: Size | None = expression.coefficient(name) if isinstance(expression, Dim) else 0
    if found is None:
        raise CompileError(f"a contraction is stored at {expression}, which is not linear in {name}")
    return found


def _stride(destination: Size, pairs: Pairs) -> Size:
    """The stride in C of the flattened variables."""
    return _coefficient(destination, pairs[-1][0]) if pairs else 0


def _emit_packing(
    module: Module, name: str, plan: GemmPlan, side: Side, region: Region, own: Pairs, axes: _Axes, attach: Attach,
    dependence: Dependence,
) -> None:  # fmt: skip
    strided = _strides_of_operand(region, own, axes)
    if strided is not None:
        load, base, sizes = strided

        def operand(f: Function) -> StridedOperand:
            w = attach(f)
            pointer = f.let(
                f"getelementptr {LLType(plan.dtype).llvm}, ptr {w.buffers[load.inputs[0]]}, i64 {uniform(w, base)}"
            )
            return StridedOperand(pointer, *(uniform(w, size) for size in sizes))

        emit_pack_strided(module, name, plan, side, operand)
        return
    unit: Literal["index", "k"] = "k" if _is_better_along_k(region, own, axes.k, plan, dependence) else "index"

    def ways(f: Function) -> list[tuple[str, PackSource]]:
        w = attach(f)
        w.dependence = dependence
        for pairs in (axes.batch, own, axes.k):
            for variable, extent in pairs:
                w.bounds.declare(variable, extent)
        return [("true", PackSource(unit, _Evaluator(w, region, own, axes, unit).evaluate))]

    emit_pack(module, name, plan, side, ways)


def _strides_of_operand(region: Region, own: Pairs, axes: _Axes) -> tuple[Node, Size, list[Size]] | None:
    """The load, first position and strides along batch, index and k of an operand that is an array as it stands."""
    node = region.outputs[0].node
    if node is None or node.op is not LOAD or len(node.inputs) != 1 or node.outputs[0] is not region.outputs[0]:
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


class _Evaluator:
    """Elements of a region at flattened (batch, index, k)."""

    def __init__(self, w: Writer, region: Region, own: Pairs, axes: _Axes, unit: Literal["index", "k"]) -> None:
        self.w, self.region, self.own, self.axes, self.unit = w, region, own, axes, unit

    def evaluate(self, f: Function, type: LLType, batch: str, index: str, k: str, mask: str | None) -> str:
        """`type.lanes` elements that follow each other along the unit."""
        w = self.w
        moving = self.own if self.unit == "index" else self.axes.k
        start = index if self.unit == "index" else k
        fixed = {**split_flat(w, self.axes.batch, batch)}
        if self.unit == "index":
            fixed |= split_flat(w, self.axes.k, k)
        else:
            fixed |= split_flat(w, self.own, index)
        with w.bound(fixed):
            if type.lanes == 1:
                with w.bound(split_flat(w, moving, start)):
                    return self._one(type, None)
            return self._vector(type, moving, start, mask)

    def _vector(self, type: LLType, moving: Pairs, start: str, mask: str | None) -> str:
        """A vector along flattened variables: within one row of the last of them, or straddling rows."""
        w, f = self.w, self.w.f
        if len(moving) <= 1:
            with w.bound({name: Ramp(start) for name, _ in moving}), w.vector(type.lanes, mask):
                return self._one(type, mask)
        *outer, (name, extent) = moving
        if isinstance(extent, int) and extent < type.lanes:
            return self._straddling(type, moving, start, mask)
        length = greatest(w, uniform(w, extent), "1")
        row, column = f.let(f"udiv i64 {start}, {length}"), f.let(f"urem i64 {start}, {length}")
        fits = f.let(f"icmp sle i64 {f.let(f'add nsw i64 {column}, {type.lanes}')}, {length}")
        result = w.slot(type)
        one, other, done = f.label("row"), f.label("straddle"), f.label("done")
        f.branch(fits, one, other)
        f.start(one)
        with w.bound({**split_flat(w, tuple(outer), row), name: Ramp(column)}), w.vector(type.lanes, mask):
            w.write(result, self._one(type, mask))
        f.jump(done)
        f.start(other)
        with w.scope():
            w.write(result, self._straddling(type, moving, start, mask))
        f.jump(done)
        f.start(done)
        return w.read(result)

    def _straddling(self, type: LLType, moving: Pairs, start: str, mask: str | None) -> str:
        w, flat = self.w, Dim.named("@flat")
        w.bounds.declare("@flat", product(size for _, size in moving))
        with w.vector(type.lanes, mask), w.bound({"@flat": Ramp(start)}):
            places: dict[str, Variable] = {}
            step: Size = 1
            for name, size in reversed(moving):
                whole = flat // step
                places[name] = Lanes(vector(w, whole if name == moving[0][0] else whole % size, 64))
                step = step * size
            with w.bound(places):
                return self._one(type, mask)

    def _one(self, type: LLType, mask: str | None) -> str:
        """The region's element(s) here; 0 in lanes that do not exist."""
        w = self.w
        w.run(self.region)
        name = w.spread(w.register(self.region.outputs[0]), type.lanes)
        w.flush_faults()
        if mask is None:
            return name
        return w.f.let(f"select <{type.lanes} x i1> {mask}, {type.llvm} {name}, {type.llvm} {type.constant(0)}")


def split_flat(w: Writer, pairs: Sequence[tuple[str, Size]], flat: str) -> dict[str, Variable]:
    """The values of variables whose flattened index is `flat`, the first being the outermost."""
    found: dict[str, Variable] = {}
    for number, (name, extent) in enumerate(reversed(pairs)):
        if number + 1 == len(pairs):
            found[name] = Uniform(flat)
            break
        size = greatest(w, uniform(w, extent), "1")
        found[name] = Uniform(w.f.let(f"urem i64 {flat}, {size}"))
        flat = w.f.let(f"udiv i64 {flat}, {size}")
    return found
