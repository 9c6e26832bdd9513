"""Whether an array holds a NaN (or an infinity): one pass over what a kernel stored, 64 bytes at a time."""

from __future__ import annotations

from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.vecmath_lanes import any_lane
from adjit.ir.frozen import frozen
from adjit.ir.graph import Node
from adjit.ir.types import DType

_BYTES, _UNROLL = 64, 4
# Halves are tested as bits: above the infinity's without the sign is NaN.
_HALVES = ("f16", "bf16")


@frozen
class Checks:
    """What kernels' results are looked through for: NaN, with `inf` infinities too; with `backward`, only in what
    differentiation made."""

    inf: bool = False
    backward: bool = False

    def concern(self, node: Node) -> bool:
        """Whether a node's results are looked at."""
        return not self.backward or "∂" in node.location.origin


def is_checked(dtype: DType) -> bool:
    """Whether values of a dtype can be NaN."""
    return dtype.name in ("f16", "bf16", "f32", "f64")


def emit_finite_check(module: Module, dtype: DType, *, inf: bool) -> str:
    """The name of `i1 (ptr data, i64 count)`: whether one of `count` elements is NaN or, with `inf`, infinite."""
    name = f"holds_{'nonfinite' if inf else 'nan'}.{dtype.name}"
    if module.has(name):
        return name
    f = Function(module, name, "ptr %data, i64 %count", result="i1")
    wide = LLType(dtype, _BYTES // dtype.itemsize)
    step = wide.lanes * _UNROLL
    whole = f.let(f"and i64 %count, {-step}")
    head, body, rest, tail, turn, done = (f.label(hint) for hint in ("head", "body", "rest", "tail", "turn", "done"))
    f.jump(head)
    f.start(head)
    at, following, seen, found = (f.reserve() for _ in range(4))
    mask = f"<{wide.lanes} x i1>"
    f.set(at, f"phi i64 [0, %entry], [{following}, %{body}]")
    f.set(seen, f"phi {mask} [zeroinitializer, %entry], [{found}, %{body}]")
    f.branch(f.let(f"icmp ult i64 {at}, {whole}"), body, rest)
    f.start(body)
    bad = seen
    for number in range(_UNROLL):
        place = f.let(f"add i64 {at}, {number * wide.lanes}")
        wrong = _is_wrong(f, wide, _load(f, wide, place), inf)
        text = f"or {mask} {bad}, {wrong}"
        if number == _UNROLL - 1:
            f.set(found, text)
        else:
            bad = f.let(text)
    f.set(following, f"add i64 {at}, {step}")
    f.jump(head)
    f.start(rest)
    before = any_lane(f, wide.lanes, seen)
    f.jump(tail)
    f.start(tail)
    one, next_one, so_far, now = (f.reserve() for _ in range(4))
    f.set(one, f"phi i64 [{at}, %{rest}], [{next_one}, %{turn}]")
    f.set(so_far, f"phi i1 [{before}, %{rest}], [{now}, %{turn}]")
    f.branch(f.let(f"icmp ult i64 {one}, %count"), turn, done)
    f.start(turn)
    single = LLType(dtype)
    f.set(now, f"or i1 {so_far}, {_is_wrong(f, single, _load(f, single, one), inf)}")
    f.set(next_one, f"add i64 {one}, 1")
    f.jump(tail)
    f.start(done)
    f.line(f"ret i1 {so_far}")
    f.finish()
    return name


def _load(f: Function, type: LLType, place: str) -> str:
    at = f.let(f"getelementptr {type.element}, ptr %data, i64 {place}")
    return f.let(f"load {type.llvm}, ptr {at}, align {type.dtype.itemsize}")


def _is_wrong(f: Function, type: LLType, value: str, inf: bool) -> str:
    if type.dtype.name in _HALVES:
        infinity = type.constant(float("inf"))
        magnitude = f.let(f"and {type.llvm} {value}, {_splat(type, 0x7FFF)}")
        return f.let(f"icmp {'uge' if inf else 'ugt'} {type.llvm} {magnitude}, {infinity}")
    if inf:
        return f.let(f"fcmp ueq {type.llvm} {f.intrinsic('fabs', type, value)}, {type.constant(float('inf'))}")
    return f.let(f"fcmp uno {type.llvm} {value}, {value}")


def _splat(type: LLType, bits: int) -> str:
    return str(bits) if type.lanes == 1 else f"splat ({type.element} {bits})"
