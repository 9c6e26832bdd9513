"""LLVM IR as text: one module, its functions, and the element types that code is emitted at.

Text is written directly: it is several times faster than building it through llvmlite's objects, and it can be read.
Every emitting function of the backend takes a `Function` and an `LLType`, so one piece of code serves scalars and
vectors of any width.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import TYPE_CHECKING

from adjit.ir.frozen import frozen, record
from adjit.ir.graph import Location
from adjit.ir.types import DType

if TYPE_CHECKING:
    from adjit.compiler.llvm.debug_info import DebugInfo

# Half precision is held as its bits: only casts look at what they mean (scalar_cast.py).
_SCALAR = {"bool": "i1", "f16": "i16", "bf16": "i16", "f32": "float", "f64": "double"}


@frozen
class LLType:
    """A dtype at a number of lanes: `<16 x float>`, or `float` for one lane.

    `bool` is `i1` in registers and a byte in memory; integers have no sign in LLVM, the dtype keeps it.
    """

    dtype: DType
    lanes: int = 1

    @property
    def element(self) -> str:
        """The LLVM type of one lane."""
        return _SCALAR.get(self.dtype.name, f"i{self.dtype.bits}")

    @property
    def llvm(self) -> str:
        """The LLVM type of the whole."""
        return self.element if self.lanes == 1 else f"<{self.lanes} x {self.element}>"

    @property
    def suffix(self) -> str:
        """The intrinsic suffix: `f32`, `v16f32`."""
        name = self.dtype.name if self.element in ("float", "double") else self.element
        return name if self.lanes == 1 else f"v{self.lanes}{name}"

    def with_dtype(self, dtype: DType) -> LLType:
        return LLType(dtype, self.lanes)

    def constant(self, value: float | int | bool) -> str:
        """The literal of `value`, splat over the lanes."""
        text = literal(self.dtype, value)
        return text if self.lanes == 1 else f"splat ({self.element} {text})"

    def numbers(self, scale: int = 1) -> str:
        """The literal of the lanes' numbers times `scale`: 0, scale, 2*scale, ..."""
        return self.listed([lane * scale for lane in range(self.lanes)])

    def listed(self, values: Iterable[int]) -> str:
        """The literal of integers, one for each lane."""
        return f"<{', '.join(f'{self.element} {value}' for value in values)}>"


def literal(dtype: DType, value: float | int | bool) -> str:
    """The LLVM literal of one element; floats are written as their exact bits."""
    if dtype.kind == "bool":
        return "true" if value else "false"
    if dtype.is_integer:
        return str(int(value))
    if dtype.name == "f64":
        return f"0x{struct.unpack('<Q', struct.pack('<d', float(value)))[0]:016X}"
    if dtype.name == "f32":  # LLVM spells a float literal as the double of the same value
        single = _round_to_single(float(value))
        return f"0x{struct.unpack('<Q', struct.pack('<d', single))[0]:016X}"
    if dtype.name == "f16":
        return str(struct.unpack("<H", struct.pack("<e", float(value)))[0])
    bits = struct.unpack("<I", struct.pack("<f", float(value)))[0]
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 if value == value else 0x7FC0
    return str(rounded)


def _round_to_single(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:  # beyond float32's range
        return float("inf") if value > 0 else float("-inf")


# The attribute of functions whose loops LLVM turns round, with the test at a turn's end; and metadata of short ones, of
# which it writes out four turns at a time: `!llvm.loop !773`.
LOOPS = '"loops" '
COUNTED = ("!773 = distinct !{!773, !774}", '!774 = !{!"llvm.loop.unroll.count", i32 4}')
# What names of functions begin with that programs have in common.
SHARED = ("adjit.", "gemm.", "transpose.")


class Module:
    """LLVM text under construction: declarations and globals (each once), then functions.

    `halves` says that the target converts between f16 and f32 by an instruction, `avx2` and `avx512` that it has those
    of AVX2 and AVX-512, `fma` that one computes a*b+c; `approximate` that math functions may have larger errors.  With
    `debug`, instructions name the user's lines.
    """

    def __init__(
        self,
        *,
        halves: bool = False,
        avx2: bool = False,
        avx512: bool = False,
        fma: bool = True,
        approximate: bool = False,
        debug: DebugInfo | None = None,
    ) -> None:
        self.halves = halves
        self.avx2 = avx2
        self.avx512 = avx512
        self.fma = fma
        self.approximate = approximate
        self.debug = debug
        # Names that the module takes from outside, besides functions that every program may call.
        self.outside: dict[str, None] = {}
        self._heads: dict[str, None] = {}
        self._bodies: dict[str, str] = {}
        self._waiting: dict[str, Callable[[bool], None]] = {}

    def declare(self, text: str) -> None:
        """Add a top-level line (`declare ...`, `@x = ...`, `attributes ...`) unless it stands already."""
        self._heads[text] = None

    def declare_outside(self, name: str, text: str) -> None:
        """Add the line that declares a table of numbers or a function whose address the loader gives."""
        self.outside[name] = None
        self.declare(text)

    def define(self, name: str, text: str) -> None:
        """Add the text of function `name`; the same name must have the same text."""
        if self._bodies.setdefault(name, text) != text:
            raise ValueError(f"function {name} is defined twice with different bodies")

    def put_off(self, name: str, emit: Callable[[bool], None]) -> None:
        """Let function `name` be defined by `emit` when the text is asked for, and told whether it is for quick code.

        With `debug` it is defined where it is used first, as the best code has it.
        """
        if self.debug is not None:
            emit(False)
        else:
            self._waiting[name] = emit

    @property
    def waiting(self) -> int:
        """How many functions are put off."""
        return len(self._waiting)

    def has(self, name: str) -> bool:
        return name in self._bodies or name in self._waiting

    @contextmanager
    def at(self, location: Location, owner: str) -> Iterator[None]:
        """Functions opened inside begin at `location` and belong to the kernel `owner`."""
        debug = self.debug
        if debug is None:
            yield
            return
        before = debug.location, debug.owner
        debug.location, debug.owner = location, owner
        try:
            yield
        finally:
            debug.location, debug.owner = before

    def shared(self, name: str) -> str:
        """The name of a function that kernels and programs have in common, its text the same in all.

        With `debug` each kernel has its own, which stands at its lines.
        """
        assert name.startswith(SHARED), name
        return f"{name}.{self.debug.owner}" if self.debug is not None and self.debug.owner else name

    def line_count(self, name: str) -> int:
        """How many lines function `name` has."""
        return self._bodies[name].count("\n")

    def text(self, *, quick: bool = False) -> str:
        """The module's text, for quick code or the best."""
        heads, bodies = self._heads.copy(), self._bodies.copy()
        for emit in self._waiting.values():
            emit(quick)
        ends = [] if self.debug is None else [str(self.debug)]
        text = "\n".join([*self._heads, "", *self._bodies.values(), *ends])
        self._heads, self._bodies = heads, bodies
        return text

    def __str__(self) -> str:
        return self.text()


@record
class Function:
    """One LLVM function under construction: a straight list of lines with fresh names.

    No fast-math flag is ever emitted: products that are added in one rounding are `fma` from the start (`fused.py`).
    """

    module: Module
    name: str
    parameters: str
    result: str = "void"
    attributes: str = 'nounwind "prefer-vector-width"="512"'
    linkage: str = "internal"
    lines: list[str] = field(default_factory=list)
    block: str = "entry"
    inlined: int = 0  # lines of the functions that will be copied to their calls
    _names: int = 0
    _blocks: int = 0
    _scope: int | None = None  # the function's number in the debug information
    _mark: str = ""  # what every instruction ends with

    def __post_init__(self) -> None:
        self.lines.append("entry:")
        debug = self.module.debug
        if debug is not None and "alwaysinline" not in self.attributes:
            self._scope = debug.function(self.name, debug.location)
            self._mark = debug.mark(self._scope, debug.location)

    @contextmanager
    def at(self, location: Location) -> Iterator[None]:
        """What is emitted inside stands at `location`, in this function and in those that it opens."""
        debug, before = self.module.debug, self._mark
        if debug is None or not location.line:
            yield
            return
        outside, debug.location = debug.location, location
        if self._scope is not None:
            self._mark = debug.mark(self._scope, location)
        try:
            yield
        finally:
            self._mark, debug.location = before, outside

    def line(self, text: str) -> None:
        """Emit an instruction without result."""
        self.lines.append(f"  {text}{self._mark}")

    def let(self, text: str) -> str:
        """Emit `%v = text` and return `%v`."""
        name = f"%v{self._names}"
        self._names += 1
        self.lines.append(f"  {name} = {text}{self._mark}")
        return name

    def reserve(self) -> str:
        """A fresh value name, to be defined later by `set` (for phis)."""
        self._names += 1
        return f"%v{self._names - 1}"

    def set(self, name: str, text: str) -> None:
        self.lines.append(f"  {name} = {text}{self._mark}")

    def label(self, hint: str) -> str:
        """A fresh block label (without `%`)."""
        self._blocks += 1
        return f"{hint}{self._blocks}"

    def start(self, label: str) -> None:
        """Begin the block `label`; `block` is always the label of the block being written."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        self.line(f"br label %{label}")

    def branch(self, condition: str, then: str, other: str) -> None:
        self.line(f"br i1 {condition}, label %{then}, label %{other}")

    def intrinsic(self, name: str, ty: LLType, *operands: str) -> str:
        """Call `@llvm.<name>.<suffix>` whose operands and result all have type `ty`."""
        full = f"@llvm.{name}.{ty.suffix}"
        self.module.declare(f"declare {ty.llvm} {full}({', '.join([ty.llvm] * len(operands))})")
        return self.let(f"call {ty.llvm} {full}({', '.join(f'{ty.llvm} {o}' for o in operands)})")

    def copy(self, to: str, start: str, size: str) -> None:
        """Copy bytes of memory that does not overlap."""
        self.module.declare("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        self.line(f"call void @llvm.memcpy.p0.p0.i64(ptr {to}, ptr {start}, i64 {size}, i1 false)")

    def clear(self, place: str, size: str | int) -> None:
        """Set bytes of memory to zero."""
        self.module.declare("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        self.line(f"call void @llvm.memset.p0.i64(ptr {place}, i8 0, i64 {size}, i1 false)")

    def shuffle(self, type: LLType, lanes: Sequence[int | None], left: str, right: str = "poison") -> str:
        """The lanes so numbered of two vectors of `type` in a row, as a vector; None is any lane."""
        numbers = ", ".join(f"i32 {'poison' if lane is None else lane}" for lane in lanes)
        return self.let(f"shufflevector {type.llvm} {left}, {type.llvm} {right}, <{len(lanes)} x i32> <{numbers}>")

    def gather(self, type: LLType, addresses: str, mask: str | None, other: str) -> str:
        """The elements at addresses in the lanes of `mask` (None for all), `other` elsewhere, of two lanes or more."""
        pointers, masks = f"<{type.lanes} x ptr>", f"<{type.lanes} x i1>"
        name = f"@llvm.masked.gather.{type.suffix}.v{type.lanes}p0"
        self.module.declare(f"declare {type.llvm} {name}({pointers}, i32, {masks}, {type.llvm})")
        lanes = f"{masks} {mask or 'splat (i1 true)'}, {type.llvm} {other}"
        return self.let(f"call {type.llvm} {name}({pointers} {addresses}, i32 {type.dtype.itemsize}, {lanes})")

    def finish(self) -> None:
        """Close the function and put it into its module."""
        scope = "" if self._scope is None else f" !dbg !{self._scope}"
        head = f"define {self.linkage} {self.result} @{self.name}({self.parameters}) {self.attributes}{scope} {{"
        self.module.define(self.name, "\n".join([head.replace("  ", " "), *self.lines, "}", ""]))
