"""Packing of an operand that is computed: rows, columns or panels as in `gemm_pack`, of a region's elements.

An element has two flattened indices: its own (row of A, column of B) and k.  Vectors run along one of them, `moving`;
what depends on it is worked out once, outside the loop over the other.  A vector that lies within one row of the last
moving variable is read as such, one that straddles rows has indices lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from adjit.compiler.llvm.emit_domain import Pairs, split_flat, walk_rows
from adjit.compiler.llvm.emit_index import greatest, least, uniform, vector
from adjit.compiler.llvm.emit_state import Lanes, Ramp, Variable, Writer
from adjit.compiler.llvm.gemm_pack import ATTRIBUTES, PARAMETERS, column_pitch
from adjit.compiler.llvm.gemm_plan import GemmPlan
from adjit.compiler.llvm.sequences import below, counted, masked_store, offset
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.transposition import emit_transpose
from adjit.ir.graph import Region
from adjit.ir.shape import Dim, product

# Panels by vectors along the operand's own index; panels by vectors along k, transposed; and of A, columns by vectors
# along its own index, or rows by vectors along k.
Layout: TypeAlias = Literal["index", "across", "columns", "rows"]


def emit_pack_region(
    module: Module,
    name: str,
    plan: GemmPlan,
    width: int,
    layout: Layout,
    region: Region,
    axes: tuple[Pairs, Pairs, Pairs],
    attach: Callable[[Function], Writer],
) -> None:
    """`void @name(buffers, sizes, batch, first, count, k0, kc, destination)`: a computed operand in a layout.

    `axes` are the variables of the batch, of the operand's own index and of k; `width` is the panel's, or how many
    rows or columns are gone through together.
    """
    f = Function(module, name, PARAMETERS, attributes=ATTRIBUTES)
    w = attach(f)
    for pairs in axes:
        for variable, extent in pairs:
            w.bounds.declare(variable, extent)
    packer = _Packer(w, plan, width, region, axes)
    with w.bound(split_flat(w, axes[0], "%batch")):
        mark = len(f.lines)
        with counted(f, "0", "%count", width) as start, w.scope(mark):
            if layout in ("index", "columns"):
                packer.along_index(start, panels=layout == "index")
            elif layout == "across":
                packer.across(start)
            else:
                packer.rows(start)
    w.finish()


class _Packer:
    def __init__(
        self, w: Writer, plan: GemmPlan, width: int, region: Region, axes: tuple[Pairs, Pairs, Pairs]
    ) -> None:
        self.w, self.f, self.width, self.region = w, w.f, width, region
        _, self.own, self.k = axes
        self.plan, dtype = plan, plan.dtype
        self.lanes = min(w.options.lanes or plan.lanes, plan.lanes, 1 << (width - 1).bit_length())
        self.type = LLType(dtype, self.lanes)
        self.run = LLType(dtype, plan.lanes)

    def _panel(self, start: str) -> tuple[str, str, str]:
        """The panel's address, the operand's index that it begins with, and how many indices it holds at most."""
        f = self.f
        panel = offset(f, self.type.element, "%destination", f.let(f"mul nsw i64 {start}, %kc"))
        return panel, f.let(f"add nsw i64 %first, {start}"), f.let(f"sub nsw i64 %count, {start}")

    def along_index(self, start: str, *, panels: bool) -> None:
        """Rows of the panel as vectors, zeros in lanes beyond the operand's edge; or so much of the columns of A."""
        w, f, type = self.w, self.f, self.type
        panel, first, left = self._panel(start)
        pitch = str(self.width)
        if not panels:
            panel, pitch = offset(f, type.element, "%destination", start), column_pitch(f, self.plan, "%count")
        with counted(f, "0", str(self.width), self.lanes) as at, w.scope():
            exist = f.let(f"sub nsw i64 {left}, {at}")
            # A vector wholly beyond the edge looks at index 0 and stores zeros.
            some = f.let(f"icmp sgt i64 {exist}, 0")
            index = f.let(f"select i1 {some}, i64 {f.let(f'add nsw i64 {first}, {at}')}, i64 0")
            mask = self._below(exist)

            def column() -> None:
                walk_rows(w, self.k, "%k0", f.let("add nsw i64 %k0, %kc"), element)

            def element(k: str) -> None:
                row = f.let(f"mul nsw i64 {f.let(f'sub nsw i64 {k}, %k0')}, {pitch}")
                place = offset(f, type.element, panel, f.let(f"add nsw i64 {row}, {at}"))
                value = self._evaluate(mask)
                if panels or mask is None:
                    f.line(f"store {type.llvm} {value}, ptr {place}, align {type.dtype.itemsize}")
                else:
                    masked_store(f, type, value, place, mask)

            self._vectors(self.own, index, exist, mask, column)

    def rows(self, start: str) -> None:
        """Runs of k, stored as they are."""
        w, f, type = self.w, self.f, self.run
        self.lanes, self.type = type.lanes, type
        _, first, left = self._panel(start)
        stop = f.let(f"add nsw i64 {first}, {least(w, left, str(self.width))}")
        with counted(f, "0", "%kc", type.lanes) as run, w.scope():
            exist = f.let(f"sub nsw i64 %kc, {run}")
            mask = self._below(exist)

            def row(index: str) -> None:
                number = f.let(f"sub nsw i64 {index}, %first")
                place = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {number}, %kc')}, {run}")
                to = offset(f, type.element, "%destination", place)
                value = self._evaluate(mask)
                if mask is None:
                    f.line(f"store {type.llvm} {value}, ptr {to}, align {type.dtype.itemsize}")
                else:
                    masked_store(f, type, value, to, mask)

            begin = f.let(f"add nsw i64 %k0, {run}")
            self._vectors(self.k, begin, exist, mask, lambda: walk_rows(w, self.own, first, stop, row))

    def across(self, start: str) -> None:
        """Runs of k into a square, row by row, then its columns into the panel.

        The last run ends at kc, overlapping the one before; where kc is shorter than a run, elements are moved singly.
        """
        w, f, type = self.w, self.f, self.run
        self.lanes, self.type = type.lanes, type
        square = w.slot(type, type.lanes).pointer
        transpose = emit_transpose(f.module, type)
        panel, first, left = self._panel(start)
        align = type.lanes * type.dtype.itemsize
        with counted(f, "0", str(self.width), type.lanes) as at, w.scope():
            columns = least(w, f.let(f"sub nsw i64 {self.width}, {at}"), str(type.lanes))
            rows = least(w, f.let(f"sub nsw i64 {left}, {at}"), columns)
            with counted(f, greatest(w, rows, "0"), columns, 1) as r:
                place = offset(f, type.element, square, f.let(f"mul nsw i64 {r}, {type.lanes}"))
                f.line(f"store {type.llvm} zeroinitializer, ptr {place}, align {align}")
            last = greatest(w, f.let(f"sub nsw i64 %kc, {type.lanes}"), "0")
            with counted(f, "0", "%kc", type.lanes) as run, w.scope():
                begin = least(w, run, last)
                exist = f.let(f"sub nsw i64 %kc, {begin}")
                mask = self._below(exist)

                def fill() -> None:
                    stop = f.let(f"add nsw i64 {f.let(f'add nsw i64 {first}, {at}')}, {rows}")
                    walk_rows(w, self.own, f.let(f"add nsw i64 {first}, {at}"), stop, row)

                def row(index: str) -> None:
                    number = f.let(f"sub nsw i64 {f.let(f'sub nsw i64 {index}, {first}')}, {at}")
                    place = offset(f, type.element, square, f.let(f"mul nsw i64 {number}, {type.lanes}"))
                    f.line(f"store {type.llvm} {self._evaluate(mask)}, ptr {place}, align {align}")

                self._vectors(self.k, f.let(f"add nsw i64 %k0, {begin}"), exist, mask, fill)
                corner = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {begin}, {self.width}')}, {at}")
                place = offset(f, type.element, panel, corner)
                self._columns(transpose, square, place, columns, exist)

    def _columns(self, transpose: str, square: str, place: str, columns: str, exist: str) -> None:
        f, type = self.f, self.run
        whole, part, done = f.label("whole"), f.label("part"), f.label("done")
        f.branch(f.let(f"icmp sge i64 {exist}, {type.lanes}"), whole, part)
        f.start(whole)
        f.line(f"call void @{transpose}(ptr {square}, ptr {place}, i64 {self.width}, i64 {columns})")
        f.jump(done)
        f.start(part)
        with counted(f, "0", exist, 1) as k, counted(f, "0", columns, 1) as r:
            source = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {r}, {type.lanes}')}, {k}")
            value = f.let(f"load {type.element}, ptr {offset(f, type.element, square, source)}")
            target = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {k}, {self.width}')}, {r}")
            f.line(f"store {type.element} {value}, ptr {offset(f, type.element, place, target)}")
        f.jump(done)
        f.start(done)

    def _below(self, count: str) -> str | None:
        return None if self.lanes == 1 else below(self.f, self.lanes, least(self.w, count, str(self.lanes)))

    def _vectors(self, moving: Pairs, start: str, exist: str, mask: str | None, body: Callable[[], None]) -> None:
        """`body` with the moving variables bound to the vector that begins at flattened index `start`."""
        w, f = self.w, self.f
        if self.lanes == 1:
            with w.bound(split_flat(w, moving, start)):
                body()
            return
        if len(moving) <= 1:
            with w.bound({name: Ramp(start) for name, _ in moving}), w.vector(self.lanes, mask):
                body()
            return
        *outer, (name, extent) = moving
        length = greatest(w, uniform(w, extent), "1")
        row, column = f.let(f"udiv i64 {start}, {length}"), f.let(f"urem i64 {start}, {length}")
        end = f.let(f"add nsw i64 {column}, {least(w, exist, str(self.lanes))}")
        one, other, done = f.label("row"), f.label("straddle"), f.label("done")
        f.branch(f.let(f"icmp sle i64 {end}, {length}"), one, other)
        f.start(one)
        with w.bound({**split_flat(w, outer, row), name: Ramp(column)}), w.vector(self.lanes, mask):
            body()
        f.jump(done)
        f.start(other)
        w.bounds.declare("@flat", product(size for _, size in moving))
        with w.bound({"@flat": Ramp(start)}), w.vector(self.lanes, mask), w.bound(self._places(moving)):
            body()
        f.jump(done)
        f.start(done)

    def _places(self, moving: Pairs) -> dict[str, Variable]:
        """The moving variables in each lane, from the flattened index `@flat`."""
        places: dict[str, Variable] = {}
        flat, step = Dim.named("@flat"), product(())
        for name, size in reversed(moving):
            whole = flat // step
            places[name] = Lanes(vector(self.w, whole if name == moving[0][0] else whole % size, 64))
            step = step * size
        return places

    def _evaluate(self, mask: str | None) -> str:
        """The region's element(s) here; 0 in lanes that do not exist."""
        w, type = self.w, self.type
        with w.scope():
            w.run(self.region)
            name = w.spread(w.register(self.region.outputs[0]), type.lanes)
        if mask is None:
            return name
        return w.f.let(f"select <{type.lanes} x i1> {mask}, {type.llvm} {name}, {type.llvm} {type.constant(0)}")
