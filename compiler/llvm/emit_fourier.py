"""`transform`: Fourier transforms of the rows of an array, or of its columns a vector's width at a time.

Each goes through its stages from the array through scratch memory, which is two arrays of real and two of imaginary
parts, to the result.  Real transforms of an even number of points are complex ones of half as many, of pairs.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_index import uniform
from adjit.compiler.llvm.emit_state import Writer, size_of
from adjit.compiler.llvm.fourier_memory import COMPLEX, REAL, SPLIT, SWAPPED
from adjit.compiler.llvm.fourier_plan import TransformPlan, plan_transform, power_below
from adjit.compiler.llvm.fourier_stages import StageKind, emit_mirror, emit_pack, emit_stage, emit_taken, emit_unpack
from adjit.compiler.llvm.sequences import counted, minimum, offset
from adjit.compiler.llvm.target import Target
from adjit.compiler.llvm.text import LLType
from adjit.ir.graph import Node
from adjit.ir.shape import Size
from adjit.ir.types import U8

# Cheap vector operations that a point takes, for each factor of two in their number.
_POINT_WORK = 8


def _points(node: Node) -> int:
    found = node.attributes["points"]
    assert isinstance(found, int)
    return found


def _is_packed(node: Node) -> bool:
    """Whether pairs of real numbers are transformed."""
    return node.attributes["way"] in ("rfft", "irfft") and _points(node) % 2 == 0


def plan_of(node: Node, target: Target) -> TransformPlan:
    """How the transforms of a `transform` are made."""
    dtype, points = node.inputs[0].type.dtype.part, _points(node)
    lanes, packed = target.lanes(dtype), _is_packed(node)
    columns = 1 if node.attributes["inner"] == 1 else lanes
    return plan_transform(
        dtype, points // 2 if packed else points, lanes, target.vector_registers, columns=columns, packed=packed
    )


def tasks_of(node: Node, plan: TransformPlan) -> tuple[Size, Size]:
    """How many transforms there are, and the work of each."""
    rows, inner = size_of(node.attributes["rows"]), size_of(node.attributes["inner"])
    count = rows if plan.columns == 1 else rows * ((inner + plan.columns - 1) // plan.columns)
    return count, plan.columns * plan.points * plan.points.bit_length() * _POINT_WORK


def emit_transforms(w: Writer, node: Node, plan: TransformPlan, workspace: str) -> None:
    """The transforms %begin..%end-1; `workspace` points to memory for all, if they are too large for the stack."""
    f, element = w.f, LLType(plan.dtype).llvm
    if plan.table:
        w.module.declare_outside(plan.table, f"@{plan.table} = external global i8")
    if plan.on_stack:
        room = w.room(LLType(U8), plan.scratch)
    else:  # the transforms of a call follow each other and share the memory of its first
        room = offset(f, "i8", workspace, f.let(f"mul nsw i64 %begin, {plan.scratch}"))
    arrays = [offset(f, element, room, number * plan.pitch) for number in range(4)]
    one = _Rows(w, node, plan, arrays) if plan.columns == 1 else _Columns(w, node, plan, arrays)
    with counted(f, "%begin", "%end", 1) as index, w.scope():
        one.transform(index)


class _Transforms:
    """What is emitted for one transform, whose number is known at run time."""

    def __init__(self, w: Writer, node: Node, plan: TransformPlan, arrays: list[str]) -> None:
        self.w, self.f, self.node, self.plan = w, w.f, node, plan
        self.pairs = (arrays[0], arrays[1]), (arrays[2], arrays[3])
        self.fused = w.options.target.has_fma
        self.way = str(node.attributes["way"])
        self.inverse = bool(node.attributes["inverse"])
        self.packed = _is_packed(node)

    def call(self, name: str, source: tuple[str, str], target: tuple[str, str], table: int, *sizes: str | int) -> None:
        f, plan = self.f, self.plan
        numbers = "null"
        if plan.table:
            numbers = self.w.once(("table", table), lambda: offset(f, LLType(plan.dtype).llvm, f"@{plan.table}", table))
        lengths = [*sizes, *["0"] * (4 - len(sizes))]
        pointers = ", ".join(f"ptr {pointer}" for pointer in (*source, *target, numbers))
        f.line(f"call void @{name}({pointers}, {', '.join(f'i64 {length}' for length in lengths)})")

    def run(
        self, source: tuple[str, str], kind: str, target: tuple[str, str], into: str, *sizes: str, at: int = 0
    ) -> None:
        """All stages, from memory of one kind to that of another; scratch memory number `at` is the first written."""
        plan = self.plan
        for number, stage in enumerate(plan.stages):
            is_last = number == len(plan.stages) - 1
            end = target if is_last else self.pairs[(at + number) % 2]
            form = StageKind(
                plan.dtype, stage.lanes, stage.radix, stage.run if stage.in_block else 0, is_last,
                SPLIT if number else kind, into if is_last else SPLIT, plan.columns > 1, self.fused,
                stage.by_results,
            )  # fmt: skip
            name = emit_stage(self.w.module, form)
            self.call(name, source, end, stage.table, stage.run, stage.groups, *sizes)
            source = end

    def buffer(self, operand: int, place: str) -> tuple[str, str]:
        """Where number `place` of an operand stands, twice."""
        value = self.node.inputs[operand]
        dtype = value.type.dtype
        place = self.f.let(f"shl i64 {place}, 1") if dtype.is_complex else place
        found = offset(self.f, LLType(self.plan.dtype).llvm, self.w.buffers[value], place)
        return found, found


class _Rows(_Transforms):
    """Transforms along the last axis."""

    def transform(self, index: str) -> None:
        f, n = self.f, _points(self.node)
        lengths = {"rfft": (n, n // 2 + 1), "irfft": (n // 2 + 1, n)}.get(self.way, (n, n))
        source, target = (
            self.buffer(operand, f.let(f"mul nsw i64 {index}, {length}")) for operand, length in enumerate(lengths)
        )
        if self.way == "fft":
            kind = SWAPPED if self.inverse else COMPLEX
            self.run(source, kind, target, kind)
        elif self.way == "rfft":
            self.from_real(source, target, n)
        else:
            self.to_real(source, target, n)

    def _half_lanes(self) -> int:
        """Lanes of vectors over the frequencies between the first and the last."""
        return power_below(max(1, self.plan.points - 1), self.w.options.target.lanes(self.plan.dtype))

    def _spare(self) -> int:
        """The number of the scratch memory that the last stage but one does not write."""
        return (len(self.plan.stages) - 1) % 2

    def from_real(self, source: tuple[str, str], target: tuple[str, str], n: int) -> None:
        plan, module, spectrum = self.plan, self.w.module, self.pairs[self._spare()]
        self.run(source, COMPLEX if self.packed else REAL, spectrum, SPLIT)
        if self.packed:
            name = emit_unpack(module, plan.dtype, self._half_lanes(), self.fused)
            self.call(name, spectrum, target, plan.unpacking, plan.points)
        else:
            lanes = power_below(n // 2 + 1, self.w.options.target.lanes(plan.dtype))
            self.call(emit_taken(module, plan.dtype, lanes), spectrum, target, 0, n // 2 + 1)

    def to_real(self, source: tuple[str, str], target: tuple[str, str], n: int) -> None:
        plan, module, spectrum = self.plan, self.w.module, self.pairs[0]
        if self.packed:
            name = emit_pack(module, plan.dtype, self._half_lanes(), self.fused)
            self.call(name, source, spectrum[::-1], plan.unpacking, plan.points)
        else:
            self.call(emit_mirror(module, plan.dtype), source, spectrum, 0, n, n // 2 + 1)
        self.run(spectrum, SPLIT, target, SWAPPED if self.packed else REAL, at=1)


class _Columns(_Transforms):
    """Complex transforms along another axis, of as many columns at once as a vector has lanes."""

    def transform(self, index: str) -> None:
        f, plan = self.f, self.plan
        inner = uniform(self.w, size_of(self.node.attributes["inner"]))
        count = self.w.once("blocks", lambda: self._blocks(inner))
        row, block = f.let(f"sdiv i64 {index}, {count}"), f.let(f"srem i64 {index}, {count}")
        first = f.let(f"mul nsw i64 {block}, {plan.columns}")
        size = f.let(f"mul nsw i64 {inner}, {plan.points}")
        place = f.let(f"add nsw i64 {f.let(f'mul nsw i64 {row}, {size}')}, {first}")
        width = minimum(f, f.let(f"sub nsw i64 {inner}, {first}"), plan.columns)
        kind = SWAPPED if self.inverse else COMPLEX
        self.run(self.buffer(0, place), kind, self.buffer(1, place), kind, width, inner)

    def _blocks(self, inner: str) -> str:
        f, columns = self.f, self.plan.columns
        return f.let(f"sdiv i64 {f.let(f'add nsw i64 {inner}, {columns - 1}')}, {columns}")
