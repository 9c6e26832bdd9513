"""Gathers whose elements mostly stand close together, as where images are resampled: two vectors and a permutation.

Where the elements stand is known at run time alone.  If those of all lanes are in the two vectors that begin with the
first lane's, one instruction takes them out of registers; else the machine gathers.
"""

from __future__ import annotations

from adjit.compiler.llvm.emit_index import Place, greatest, integer_type, least
from adjit.compiler.llvm.emit_state import Writer
from adjit.compiler.llvm.sequences import offset, splat
from adjit.compiler.llvm.text import LLType
from adjit.compiler.llvm.vecmath_lanes import any_lane
from adjit.ir.types import BOOL, F32, F64, I32, I64

_REGISTER = 64
# What takes lanes out of two registers, by the dtype of the elements, and the integers that say which.
_TAKES = {F32: ("ps", I32), I32: ("d", I32), F64: ("pd", I64), I64: ("q", I64)}


def may_be_near(w: Writer, type: LLType, where: Place, size: int) -> bool:
    """Whether a gather is of a whole register's lanes, from memory that has two registers' elements."""
    return (
        w.module.avx512 and bool(where.scattered) and type.dtype in _TAKES
        and type.lanes * type.dtype.itemsize == _REGISTER and size >= 2 * type.lanes
    )  # fmt: skip


def load_near(w: Writer, pointer: str, type: LLType, where: Place, mask: str | None, size: int, gathered: str) -> str:
    """Elements of memory of `size` elements at the places `where` in the lanes of `mask`, 0 elsewhere.

    `gathered` are the elements' addresses.
    """
    f, bits = w.f, where.bits
    places, bools = integer_type(w, bits), LLType(BOOL, type.lanes)
    first = f.let(f"extractelement {places.llvm} {where.scattered}, i32 0")
    first = f.let(f"sext i32 {first} to i64") if bits == 32 else first
    start = least(w, greatest(w, first, "0"), str(size - 2 * type.lanes))
    low = splat(f, places, f.let(f"trunc i64 {start} to i32") if bits == 32 else start)
    behind = f.let(f"sub {places.llvm} {where.scattered}, {low}")
    far = f.let(f"icmp uge {places.llvm} {behind}, {places.constant(2 * type.lanes)}")
    if mask is not None:
        far = f.let(f"and {bools.llvm} {far}, {mask}")
    near, apart, after = f.label("near"), f.label("apart"), f.label("gathered")
    f.branch(any_lane(f, type.lanes, far), apart, near)
    f.start(near)
    taken = _taken(w, pointer, type, start, behind, bits)
    if mask is not None:
        taken = f.let(f"select {bools.llvm} {mask}, {type.llvm} {taken}, {type.llvm} {type.constant(0)}")
    f.jump(after)
    f.start(apart)
    other = f.gather(type, gathered, mask, type.constant(0))
    f.jump(after)
    f.start(after)
    return f.let(f"phi {type.llvm} [ {taken}, %{near} ], [ {other}, %{apart} ]")


def _taken(w: Writer, pointer: str, type: LLType, start: str, behind: str, bits: int) -> str:
    """The elements `behind` that at `start`, of two registers that begin there."""
    f = w.f
    suffix, kind = _TAKES[type.dtype]
    numbers, places = LLType(kind, type.lanes), integer_type(w, bits)
    if kind.bits != bits:
        behind = f.let(f"{'trunc' if bits > kind.bits else 'zext'} {places.llvm} {behind} to {numbers.llvm}")
    at = offset(f, type.element, pointer, start)
    loads = [
        f.let(f"load {type.llvm}, ptr {offset(f, type.element, at, number * type.lanes)}, align {type.dtype.itemsize}")
        for number in range(2)
    ]
    name = f"@llvm.x86.avx512.vpermi2var.{suffix}.512"
    f.module.declare(f"declare {type.llvm} {name}({type.llvm}, {numbers.llvm}, {type.llvm})")
    return f.let(
        f"call {type.llvm} {name}({type.llvm} {loads[0]}, {numbers.llvm} {behind}, {type.llvm} {loads[1]})"
    )
