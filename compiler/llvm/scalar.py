"""Scalar primitives as LLVM instructions, for every dtype and any number of lanes.

Integers wrap; no instruction is ever reached with operands for which LLVM leaves the result undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath import MATH, integer_power
from adjit.ir.errors import CompileError
from adjit.ir.graph import Node
from adjit.ir.types import BF16, BOOL, F16, F32, F64
from adjit.runtime.faults import Fault

# Told what is wrong, and in which lanes (an i1 for each).
Report = Callable[[Fault, str], None]


def emit(
    function: Function,
    node: Node,
    operand_types: Sequence[LLType],
    operands: Sequence[str],
    result: LLType,
    fault: Report,
) -> str:
    """The value of a scalar primitive on operands of the given types."""
    op = node.op.name
    if op == "cast":
        return _cast(function, operand_types[0], operands[0], result)
    if op == "bitcast":
        return function.let(f"bitcast {operand_types[0].llvm} {operands[0]} to {result.llvm}")
    if op == "where":
        condition, ty = operand_types[0], operand_types[1]
        return function.let(
            f"select {condition.llvm} {operands[0]}, {ty.llvm} {operands[1]}, {ty.llvm} {operands[2]}"
        )
    ty = operand_types[0]
    if ty.dtype in (F16, BF16):
        raise CompileError(f"{op} on {ty.dtype}: half precision is computed in float32")
    if ty.dtype.is_float:
        return _float(function, op, ty, operands)
    if ty.dtype is BOOL:
        return _bool(function, op, ty, operands)
    return _integer(function, op, ty, operands, fault)


_COMPARE = {"lt": ("olt", "slt", "ult"), "le": ("ole", "sle", "ule"), "eq": ("oeq", "eq", "eq")}
_INTRINSIC = {"abs": "fabs", "floor": "floor", "round": "roundeven", "sqrt": "sqrt", "maximum": "maximum",
              "minimum": "minimum"}  # fmt: skip


def _float(function: Function, op: str, ty: LLType, operands: Sequence[str]) -> str:
    if op in ("add", "sub", "mul"):
        return function.let(f"f{op}{function.flags} {ty.llvm} {operands[0]}, {operands[1]}")
    if op == "div":
        return function.let(f"fdiv {ty.llvm} {operands[0]}, {operands[1]}")
    if op == "neg":
        return function.let(f"fneg {ty.llvm} {operands[0]}")
    if op in _COMPARE:
        return function.let(f"fcmp {_COMPARE[op][0]} {ty.llvm} {operands[0]}, {operands[1]}")
    if op in _INTRINSIC:
        return function.intrinsic(_INTRINSIC[op], ty, *operands)
    if op in MATH:
        return MATH[op](function, ty, *operands)
    raise CompileError(f"{op} has no meaning on {ty.dtype}")


def _bool(function: Function, op: str, ty: LLType, operands: Sequence[str]) -> str:
    instruction = {"add": "or", "or": "or", "maximum": "or", "mul": "and", "and": "and", "minimum": "and",
                   "xor": "xor", "sub": "xor"}.get(op)  # fmt: skip
    if instruction is not None:
        return function.let(f"{instruction} {ty.llvm} {operands[0]}, {operands[1]}")
    if op == "not":
        return function.let(f"xor {ty.llvm} {operands[0]}, {ty.constant(True)}")
    if op in _COMPARE:
        return function.let(f"icmp {_COMPARE[op][2]} {ty.llvm} {operands[0]}, {operands[1]}")
    if op in ("abs", "floor", "round"):
        return operands[0]
    raise CompileError(f"{op} has no meaning on bool")


def _integer(function: Function, op: str, ty: LLType, operands: Sequence[str], fault: Report) -> str:
    signed = ty.dtype.kind == "int"
    if op in ("add", "sub", "mul", "and", "or", "xor"):
        return function.let(f"{op} {ty.llvm} {operands[0]}, {operands[1]}")
    if op in _COMPARE:
        return function.let(f"icmp {_COMPARE[op][1 if signed else 2]} {ty.llvm} {operands[0]}, {operands[1]}")
    match op:
        case "neg":
            return function.let(f"sub {ty.llvm} {ty.constant(0)}, {operands[0]}")
        case "not":
            return function.let(f"xor {ty.llvm} {operands[0]}, {ty.constant(-1)}")
        case "floor" | "round":
            return operands[0]
        case "abs":
            return _absolute(function, ty, operands[0]) if signed else operands[0]
        case "maximum" | "minimum":
            return function.intrinsic(("s" if signed else "u") + op[:3], ty, *operands)
        case "div" | "mod":
            return _divide(function, op, ty, operands, fault)
        case "pow":
            return _power(function, ty, operands, fault)
        case "shl" | "shr":
            return _shift(function, op, ty, operands)
    raise CompileError(f"{op} has no meaning on {ty.dtype}")


def _select(function: Function, ty: LLType, mask: str, then: str, other: str) -> str:
    condition = ty.with_dtype(BOOL)
    return function.let(f"select {condition.llvm} {mask}, {ty.llvm} {then}, {ty.llvm} {other}")


def _absolute(function: Function, ty: LLType, operand: str) -> str:
    negative = function.let(f"icmp slt {ty.llvm} {operand}, {ty.constant(0)}")
    return _select(function, ty, negative, function.let(f"sub {ty.llvm} {ty.constant(0)}, {operand}"), operand)


def _divide(function: Function, op: str, ty: LLType, operands: Sequence[str], fault: Report) -> str:
    """Floor division or its remainder; the divisor is replaced where the machine would trap."""
    a, b = operands
    signed = ty.dtype.kind == "int"
    zero = function.let(f"icmp eq {ty.llvm} {b}, {ty.constant(0)}")
    fault(Fault.DIVISION_BY_ZERO, zero)
    divisor = _select(function, ty, zero, ty.constant(1), b)
    if not signed:
        found = function.let(f"u{'div' if op == 'div' else 'rem'} {ty.llvm} {a}, {divisor}")
        return _select(function, ty, zero, ty.constant(0), found)
    # The least integer divided by -1 traps; -1 divides as a negation, which wraps.
    minus = function.let(f"icmp eq {ty.llvm} {divisor}, {ty.constant(-1)}")
    safe = _select(function, ty, minus, ty.constant(1), divisor)
    quotient = function.let(f"sdiv {ty.llvm} {a}, {safe}")
    rest = function.let(f"sub {ty.llvm} {a}, {function.let(f'mul {ty.llvm} {quotient}, {safe}')}")
    differ = function.let(f"icmp slt {ty.llvm} {function.let(f'xor {ty.llvm} {rest}, {safe}')}, {ty.constant(0)}")
    some = function.let(f"icmp ne {ty.llvm} {rest}, {ty.constant(0)}")
    condition = ty.with_dtype(BOOL).llvm
    down = function.let(f"and {condition} {differ}, {some}")
    if op == "div":
        lower = function.let(f"sub {ty.llvm} {quotient}, {ty.constant(1)}")
        found = _select(function, ty, down, lower, quotient)
        negated = function.let(f"sub {ty.llvm} {ty.constant(0)}, {a}")
        found = _select(function, ty, minus, negated, found)
    else:
        found = _select(function, ty, down, function.let(f"add {ty.llvm} {rest}, {safe}"), rest)
        found = _select(function, ty, minus, ty.constant(0), found)
    return _select(function, ty, zero, ty.constant(0), found)


def _power(function: Function, ty: LLType, operands: Sequence[str], fault: Report) -> str:
    if ty.dtype.kind == "int":
        negative = function.let(f"icmp slt {ty.llvm} {operands[1]}, {ty.constant(0)}")
        fault(Fault.NEGATIVE_POWER, negative)
        exponent = _select(function, ty, negative, ty.constant(0), operands[1])
        found = integer_power(function, ty, operands[0], exponent)
        return _select(function, ty, negative, ty.constant(0), found)
    return integer_power(function, ty, operands[0], operands[1])


def _shift(function: Function, op: str, ty: LLType, operands: Sequence[str]) -> str:
    """A shift by the width or more (or a negative one) leaves zeros, or signs."""
    a, b = operands
    width = ty.dtype.bits
    signed = ty.dtype.kind == "int"
    far = function.let(f"icmp uge {ty.llvm} {b}, {ty.constant(width)}")
    if op == "shr" and signed:
        amount = _select(function, ty, far, ty.constant(width - 1), b)
        return function.let(f"ashr {ty.llvm} {a}, {amount}")
    amount = _select(function, ty, far, ty.constant(0), b)
    found = function.let(f"{'shl' if op == 'shl' else 'lshr'} {ty.llvm} {a}, {amount}")
    return _select(function, ty, far, ty.constant(0), found)


# -- casts ----------------------------------------------------------------------------------------------------------
def _cast(function: Function, ty: LLType, operand: str, result: LLType) -> str:
    """Between any two dtypes: integers wrap, floats saturate to integers (NaN to 0), everything non-zero is true."""
    source, target = ty.dtype, result.dtype
    if source is target:
        return operand
    if target is BOOL:
        if source.is_float:
            return function.let(f"fcmp une {ty.llvm} {operand}, {ty.constant(0)}")
        return function.let(f"icmp ne {ty.llvm} {operand}, {ty.constant(0)}")
    if source in (F16, BF16) and target not in (F32, F64):
        single = ty.with_dtype(F32)
        return _cast(function, single, _cast(function, ty, operand, single), result)
    if target in (F16, BF16) and not source.is_float:
        wide = ty.with_dtype(F64)
        return _cast(function, wide, _cast(function, ty, operand, wide), result)
    if source.is_float and target.is_float:
        word = "fpext" if target.bits > source.bits else "fptrunc"
        return function.let(f"{word} {ty.llvm} {operand} to {result.llvm}")
    if source.is_float:
        name = f"llvm.fpto{'s' if target.kind == 'int' else 'u'}i.sat.{result.suffix}.{ty.suffix}"
        function.module.declare(f"declare {result.llvm} @{name}({ty.llvm})")
        return function.let(f"call {result.llvm} @{name}({ty.llvm} {operand})")
    if target.is_float:
        word = "sitofp" if source.kind == "int" else "uitofp"
        return function.let(f"{word} {ty.llvm} {operand} to {result.llvm}")
    bits = 1 if source is BOOL else source.bits
    if bits == target.bits:
        return operand
    word = "trunc" if bits > target.bits else "sext" if source.kind == "int" else "zext"
    return function.let(f"{word} {ty.llvm} {operand} to {result.llvm}")
