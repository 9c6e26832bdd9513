"""Scalar primitives as LLVM instructions, for every dtype and any number of lanes.

Integers wrap; no instruction is ever reached with operands for which LLVM leaves the result undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath import MATH, math_function
from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.ir.errors import CompileError
from adjit.ir.graph import Node
from adjit.ir.types import BF16, BOOL, F16, F32
from adjit.runtime.faults import Fault

# Told what is wrong, and in which lanes (an i1 for each).
Report = Callable[[int, str], None]


def emit(
    function: Function,
    node: Node,
    operand_types: Sequence[LLType],
    operands: Sequence[str],
    result: LLType,
    fault: Report,
) -> str:
    """The value of a scalar primitive on operands of the given types, which have the lanes of `result`.

    Errors: CompileError for arithmetic on f16 and bf16, and for a dtype that the primitive has no meaning on.
    """
    op = node.op.name
    ty = operand_types[0]
    if op == "cast":
        from adjit.compiler.llvm.scalar_cast import cast

        return cast(Lanes(function, ty, operands[0]), result.dtype).text
    if op == "bitcast":
        return function.let(f"bitcast {ty.llvm} {operands[0]} to {result.llvm}")
    if op == "where":
        return _select(function, operand_types[1], *operands)
    if ty.dtype in (F16, BF16):
        raise CompileError(f"{op} on {ty.dtype}: half precision is computed in float32")
    if op in _COMPARE:
        return _compare(function, op, ty, operands)
    if ty.dtype.is_float:
        return _float(function, op, ty, operands)
    if ty.dtype is BOOL:
        return _bool(function, op, ty, operands)
    return _integer(function, op, ty, operands, fault)


_COMPARE = {"lt", "le", "eq"}
_INTRINSIC = {"abs": "fabs", "floor": "floor", "round": "roundeven", "sqrt": "sqrt"}


def _compare(function: Function, op: str, ty: LLType, operands: Sequence[str]) -> str:
    if ty.dtype.is_float:
        opcode = f"fcmp o{op}"
    else:
        opcode = "icmp eq" if op == "eq" else f"icmp {'s' if ty.dtype.kind == 'int' else 'u'}{op}"
    return function.let(f"{opcode} {ty.llvm} {operands[0]}, {operands[1]}")


def _float(function: Function, op: str, ty: LLType, operands: Sequence[str]) -> str:
    if op in ("add", "sub", "mul"):
        return function.let(f"f{op} {ty.llvm} {operands[0]}, {operands[1]}")
    if op == "div":
        return function.let(f"fdiv {ty.llvm} {operands[0]}, {operands[1]}")
    if op == "neg":
        return function.let(f"fneg {ty.llvm} {operands[0]}")
    if op in _INTRINSIC:
        return function.intrinsic(_INTRINSIC[op], ty, *operands)
    if op in ("maximum", "minimum"):
        from adjit.compiler.llvm.scalar_extreme import extreme

        return extreme(function, op, ty, *operands)
    if op in MATH:
        return _math(function, op, ty)(function, ty, *operands)
    raise CompileError(f"{op} has no meaning on {ty.dtype}")


def _math(function: Function, op: str, ty: LLType) -> Callable[..., str]:
    if function.module.approximate and ty.dtype is F32:
        from adjit.compiler.llvm.vecmath_approximate import APPROXIMATE

        return APPROXIMATE.get(op) or math_function(op)
    return math_function(op)


def _bool(function: Function, op: str, ty: LLType, operands: Sequence[str]) -> str:
    if op in ("and", "or", "xor"):
        return function.let(f"{op} {ty.llvm} {operands[0]}, {operands[1]}")
    if op == "not":
        return function.let(f"xor {ty.llvm} {operands[0]}, {ty.constant(True)}")
    raise CompileError(f"{op} has no meaning on {ty.dtype}")


def _integer(function: Function, op: str, ty: LLType, operands: Sequence[str], fault: Report) -> str:
    signed = ty.dtype.kind == "int"
    if op in ("add", "sub", "mul", "and", "or", "xor"):
        return function.let(f"{op} {ty.llvm} {operands[0]}, {operands[1]}")
    values = [Lanes(function, ty, operand) for operand in operands]
    match op:
        case "neg":
            return (0 - values[0]).text
        case "not":
            return (~values[0]).text
        case "abs":
            return (values[0] < 0).choose(0 - values[0], values[0]).text if signed else operands[0]
        case "maximum" | "minimum":
            return function.intrinsic(("s" if signed else "u") + op[:3], ty, *operands)
        case "div" | "mod":
            from adjit.compiler.llvm.scalar_integer import divide

            return divide(op, values[0], values[1], lambda zero: fault(Fault.DIVISION_BY_ZERO, zero.text)).text
        case "pow":
            from adjit.compiler.llvm.scalar_integer import power

            return power(*values).text
        case "shl" | "shr":
            from adjit.compiler.llvm.scalar_integer import shift

            return shift(op, *values).text
    raise CompileError(f"{op} has no meaning on {ty.dtype}")


def _select(function: Function, ty: LLType, mask: str, then: str, other: str) -> str:
    return function.let(f"select {ty.with_dtype(BOOL).llvm} {mask}, {ty.llvm} {then}, {ty.llvm} {other}")
