"""Packing of the windows of an array, as a convolution reads them: the operand's index runs over rows of memory.

The element with index (.., row, x) and k stands at `start(row) + step*x + shift(k)`.  A vector of indices covers parts
of a few rows.  Where these parts stand, and which lanes they fill, is worked out once for all k, and the shifts once
for all vectors; each vector is then as many masked loads as it has parts, `step` times so many where its elements stand
apart in memory, and these are put together in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd

from adjit.compiler.llvm.emit_domain import Pairs, split_flat, walk_rows
from adjit.compiler.llvm.emit_index import greatest, least, uniform
from adjit.compiler.llvm.emit_state import Uniform, Variable, Writer
from adjit.compiler.llvm.gemm_pack import ATTRIBUTES, PARAMETERS
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import below, counted, masked_load, masked_store, offset, prefetch, splat
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.loops.ir import LOAD, address
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node, Region
from adjit.ir.shape import Dim, Size, size_names, substitute
from adjit.ir.types import I32, I64

# With more loads a vector, to read along k and to transpose is as fast.
MOST_LOADS = 8
# Steps of the outermost variable of k (channels) that are asked for ahead: hardware does not foresee these jumps.
_AHEAD = 4


@frozen
class Window:
    """An operand that is loaded from the flat position `at`, linear in all variables, by `step` in the last own."""

    load: Node
    at: Size
    batch: Pairs
    own: Pairs
    k: Pairs
    step: int

    def parts(self, lanes: int, width: int) -> int:
        """The most rows that a vector covers; vectors begin at multiples of `lanes` if panels hold whole ones."""
        row = self.own[-1][1]
        assert isinstance(row, int)
        begin = gcd(row, lanes) if width % lanes == 0 else 1
        return (row - begin + lanes - 1) // row + 1


def window_of(region: Region, axes: tuple[Pairs, Pairs, Pairs], plan: GemmPlan, width: int) -> Window | None:
    """The operand as a `Window`, or None where it is none, or where other ways are faster."""
    node = region.outputs[0].node
    if node is None or node.op is not LOAD or len(node.inputs) != 1 or plan.target.vector_bytes < 32:
        return None
    flat = address(node.inputs[0].type, node.attributes["at"])  # type: ignore[arg-type]
    batch, own, k = axes
    names = {name for pairs in axes for name, _ in pairs}
    if not own or not isinstance(own[-1][1], int) or own[-1][1] < 1 or not isinstance(flat, Dim):
        return None
    for name in names:
        slope = flat.coefficient(name)
        if slope is None or names & size_names(slope):
            return None
    step = flat.coefficient(own[-1][0])
    if not isinstance(step, int) or step < 1:
        return None
    window = Window(node, flat, batch, own, k, step)
    return window if step * window.parts(plan.lanes, width) <= MOST_LOADS else None


def emit_pack_window(
    module: Module, name: str, plan: GemmPlan, width: int, window: Window, attach: Callable[[Function], Writer]
) -> None:
    """`void @name(buffers, sizes, batch, first, count, k0, kc, destination)`: panels of windows."""
    f = Function(module, name, PARAMETERS, attributes=ATTRIBUTES)
    w = attach(f)
    for pairs in (window.batch, window.own, window.k):
        for variable, extent in pairs:
            w.bounds.declare(variable, extent)
    # The position is a sum: what batch and own index say, and what k says.
    steady = substitute(window.at, {variable: 0 for variable, _ in window.k})
    shift = substitute(window.at, {variable: 0 for variable, _ in (*window.batch, *window.own)}) - substitute(
        steady, {variable: 0 for variable, _ in (*window.batch, *window.own)}
    )
    type = LLType(plan.dtype, plan.lanes)
    shifts = w.slot(LLType(I64), plan.kc)

    def note(k: str) -> None:
        place = offset(f, "i64", shifts.pointer, f.let(f"sub nsw i64 {k}, %k0"))
        f.line(f"store i64 {uniform(w, shift)}, ptr {place}")

    with w.scope():
        walk_rows(w, window.k, "%k0", f.let("add nsw i64 %k0, %kc"), note)
    along = (window.at.coefficient(window.k[0][0]) or 0) if window.k and isinstance(window.at, Dim) else 0
    ahead = uniform(w, _AHEAD * along)
    with w.bound(split_flat(w, window.batch, "%batch")), counted(f, "0", "%count", width) as start, w.scope():
        panel = offset(f, type.element, "%destination", f.let(f"mul nsw i64 {start}, %kc"))
        vectors = [(at, _parts(w, window, steady, type, width, start, at)) for at in range(0, width, plan.lanes)]
        with counted(f, "0", "%kc", 1) as k:
            to = offset(f, type.element, panel, f.let(f"mul nsw i64 {k}, {width}"))
            step = f.let(f"load i64, ptr {offset(f, 'i64', shifts.pointer, k)}")
            for at, parts in vectors:
                prefetch(f, offset(f, type.element, parts[0][0], f.let(f"add nsw i64 {step}, {ahead}")))
                loaded = [type.constant(0)] * window.step
                for pointer, masks in parts:
                    first = offset(f, type.element, pointer, step)
                    for number, mask in enumerate(masks):
                        stands = offset(f, type.element, first, number * type.lanes)
                        loaded[number] = masked_load(f, type, stands, mask, loaded[number])
                value = _each(w, type, loaded)
                place = offset(f, type.element, to, at)
                if at + type.lanes <= width:
                    f.line(f"store {type.llvm} {value}, ptr {place}, align {type.dtype.itemsize}")
                else:
                    masked_store(f, type, value, place, below(f, type.lanes, str(width - at)))
    w.finish()


def _each(w: Writer, type: LLType, loaded: Sequence[str]) -> str:
    """Every `len(loaded)`-th element of the vectors that follow each other."""
    step, lanes = len(loaded), type.lanes
    places = [divmod(step * lane, lanes) for lane in range(lanes)]
    value = loaded[0]
    for number, other in enumerate(loaded[1:], 1):
        # What is taken from the first vector is put in place with what the second gives.
        before = [step * lane if number == 1 else lane for lane in range(lanes)]
        order = [
            before[lane] if vector < number else lanes + place if vector == number else 0
            for lane, (vector, place) in enumerate(places)
        ]
        value = w.f.shuffle(type, order, value, other)
    return value


def _parts(
    w: Writer, window: Window, steady: Size, type: LLType, width: int, start: str, at: int
) -> list[tuple[str, list[str]]]:
    """For each row that the vector at `start + at` may cover: where its lane 0 would stand, and the masks of its loads.

    Lanes beyond the operand's edge are in no mask; what stands between two elements is memory that exists.
    """
    f = w.f
    *outer, (name, extent) = window.own
    assert isinstance(extent, int)
    base = f.let(f"add nsw i64 {start}, {at}")
    exist = f.let(f"sub nsw i64 %count, {base}")
    index = f.let(f"add nsw i64 %first, {base}")
    row, column = f.let(f"udiv i64 {index}, {extent}"), f.let(f"urem i64 {index}, {extent}")
    found = []
    for part in range(window.parts(type.lanes, width)):
        own: dict[str, Variable] = {**split_flat(w, outer, f.let(f"add nsw i64 {row}, {part}")), name: Uniform("0")}
        before = f.let(f"sub nsw i64 {column}, {part * extent}")
        with w.bound(own):
            first = f.let(f"add nsw i64 {uniform(w, steady)}, {f.let(f'mul nsw i64 {before}, {window.step}')}")
        pointer = offset(f, type.element, w.buffers[window.load.inputs[0]], first)
        stop = least(w, exist, f.let(f"sub nsw i64 {extent}, {before}"))
        stop = greatest(w, least(w, stop, str(type.lanes)), "0")
        begin = f.let(f"sub nsw i64 0, {before}") if part else None
        found.append((pointer, [_mask(w, window, type, begin, stop, number) for number in range(window.step)]))
    return found


def _mask(w: Writer, window: Window, type: LLType, begin: str | None, stop: str, number: int) -> str:
    """The lanes of the `number`-th load that hold elements begin..stop-1, and what stands between these."""
    f, step = w.f, window.step
    integers = LLType(I32, type.lanes)
    if step != 1:
        last = f.let(f"sub nsw i64 {f.let(f'mul nsw i64 {stop}, {step}')}, {step - 1 + number * type.lanes}")
        stop = greatest(w, last, "0")
    mask = below(f, type.lanes, stop)
    if begin is None:
        return mask
    first = f.let(f"sub nsw i64 {f.let(f'mul nsw i64 {begin}, {step}')}, {number * type.lanes}")
    first = splat(f, integers, f.let(f"trunc i64 {first} to i32"))
    after = f.let(f"icmp sge {integers.llvm} {integers.numbers()}, {first}")
    return f.let(f"and <{type.lanes} x i1> {mask}, {after}")
