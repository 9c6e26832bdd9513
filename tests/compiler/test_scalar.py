"""Scalar primitives in native code: the reference's bits for every dtype, at one lane and at many."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import adjit.ir.ops.scalar  # noqa: F401
from adjit.compiler.llvm import scalar
from adjit.compiler.llvm.scalar_integer import divide
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import CompileError, DTypeError
from adjit.ir.graph import Region
from adjit.ir.halfs import cast_array, marked, round_bf16, widened
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named
from adjit.ir.types import BF16, BOOL, DTYPES, F16, F32, F64, I8, I16, I32, I64, DType, TensorType
from adjit.runtime.faults import Fault, raise_fault
from tests.compiler.elementwise import Array, Kernel, primitive_kernel

WIDTHS = (1, 16)
CONVERSIONS = ("cast", "bitcast")
ARITHMETIC = [
    op for op in PRIMITIVES.values() if op.family == "scalar" and op.body is None and op.name not in CONVERSIONS
]
REAL = [dtype for dtype in DTYPES.values() if not dtype.is_complex]  # kernels see complex numbers as their parts
INTEGERS = [dtype for dtype in DTYPES.values() if dtype.is_integer]


def values(dtype: DType) -> Array:
    """Edges of `dtype` and random bits."""
    random = np.random.default_rng(dtype.bits)
    if dtype is BOOL:
        return np.array([False, True])
    if dtype.is_integer:
        least, most = np.iinfo(dtype.storage).min, np.iinfo(dtype.storage).max
        edges = [least, least + 1, most - 1, most, 0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 100]
        signed = [-1, -2, -3, -7, -8, -100] if least else []
        return marked(np.concatenate([np.array(edges + signed, dtype.storage), _random_bits(random, dtype, 12)]), dtype)
    magnitudes = [0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 1e-6, 5e-8, 127.5, 255.0, 256.5, 65519.0, 65520.0, 2.0**31, 2.0**63]
    magnitudes += [1e30, 1e-40, math.inf, 1.0 + 2.0**-11, 1.0 + 2.0**-11 + 2.0**-40, 1.0 + 3 * 2.0**-8]
    with np.errstate(over="ignore"):
        edges32 = np.array([s * m for m in magnitudes for s in (1, -1)] + [math.nan])
        edges_own = round_bf16(edges32.astype(np.float32)) if dtype is BF16 else edges32.astype(dtype.storage)
    return np.concatenate([edges_own, _random_bits(random, dtype, 12)])


def _random_bits(random: np.random.Generator, dtype: DType, count: int) -> Array:
    return np.frombuffer(random.bytes(count * dtype.itemsize), dtype.storage)


def tuples(dtypes: tuple[DType, ...]) -> list[Array]:
    """Every combination of the operands' values."""
    columns = np.meshgrid(*map(values, dtypes), indexing="ij")
    return [column.ravel() for column in columns]


def assert_same_bits(found: Array, expected: Array, operands: list[Array]) -> None:
    """Equal bits, but for those of a NaN."""
    assert found.dtype == expected.dtype
    wide = (widened(found), widened(expected))
    same = found.view(f"u{found.itemsize}") == expected.view(f"u{found.itemsize}")
    if wide[0].dtype.kind == "f":
        same |= np.isnan(wide[0]) & np.isnan(wide[1])
    wrong = [(*(x[i] for x in operands), found[i], expected[i]) for i in np.flatnonzero(~same)[:5]]
    assert not wrong, f"operands, found, expected: {wrong}"


def operand_dtypes(op: Primitive, dtype: DType) -> tuple[DType, ...] | None:
    """The dtypes of the operands of `op` on `dtype`; None where it is not defined."""
    dtypes = (BOOL, dtype, dtype) if op.name == "where" else (dtype,) * len(op.operands)
    try:
        op.infer_rule(*(TensorType(d, ()) for d in dtypes))
    except DTypeError:
        return None
    return dtypes


def cases() -> list[tuple[Primitive, DType]]:
    found = []
    for op, dtype in itertools.product(ARITHMETIC, DTYPES.values()):
        if op.name == "complex":
            continue
        halved = dtype in (F16, BF16) and op.name != "where"
        rounded = dtype.is_float and not op.exact
        # Kernels see complex numbers as their parts.
        if not halved and not rounded and not dtype.is_complex and operand_dtypes(op, dtype):
            found.append((op, dtype))
    return found


@pytest.mark.parametrize(("op", "dtype"), cases(), ids=str)
def test_primitives_have_the_bits_of_the_reference(op: Primitive, dtype: DType) -> None:
    dtypes = operand_dtypes(op, dtype)
    assert dtypes is not None
    operands = tuples(dtypes)
    if op.name in ("div", "mod") and dtype.is_integer:
        kept = operands[1] != 0
        operands = [x[kept] for x in operands]
    expected = np.asarray(op.reference(*operands))
    for lanes in WIDTHS:
        kernel = primitive_kernel(op, dtypes, lanes)
        assert_same_bits(kernel(*operands), expected, operands)
        assert kernel.status == Fault.OK


@pytest.mark.parametrize("source", REAL, ids=str)
@pytest.mark.parametrize("target", REAL, ids=str)
def test_casts_have_the_bits_of_the_reference(source: DType, target: DType) -> None:
    operand = values(source)
    expected = cast_array(operand, source, target)
    for lanes in WIDTHS:
        found = primitive_kernel(primitive_named("cast"), (source,), lanes, dtype=target)(operand)
        assert_same_bits(found, expected, [operand])


def test_a_cast_to_half_rounds_once() -> None:
    """Next to each midpoint of two halves float32 has no number, so that a detour by way of it would round twice."""
    halves = np.arange(0x0001, 0x7BFF, 37, np.uint16).view(np.float16).astype(np.float64)
    above = np.nextafter(halves.astype(np.float16), np.float16(np.inf)).astype(np.float64)
    middle = (halves + above) / 2
    near = np.concatenate([middle * (1 + side * 2.0**-50) for side in (-1, 0, 1)])
    operand = np.concatenate([near, -near])
    expected = operand.astype(np.float16)
    assert np.any(operand.astype(np.float32).astype(np.float16) != expected)
    for lanes in WIDTHS:
        found = primitive_kernel(primitive_named("cast"), (F64,), lanes, dtype=F16)(operand)
        assert_same_bits(found, expected, [operand])


@pytest.mark.parametrize("source", [F16, BF16, F32, F64, I16, I32, I64], ids=str)
def test_bitcasts_keep_the_bits(source: DType) -> None:
    operand = values(source)
    for target in REAL:
        if target.bits == source.bits:
            for lanes in WIDTHS:
                found = primitive_kernel(primitive_named("bitcast"), (source,), lanes, dtype=target)(operand)
                np.testing.assert_array_equal(found, operand.view(target.storage))
                assert found.tobytes() == operand.tobytes()


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", ["div", "mod"])
def test_a_divisor_of_zero_is_reported(name: str, dtype: DType) -> None:
    ones = np.ones(20, dtype.storage)
    some = np.where(np.arange(20) == 13, 0, ones).astype(dtype.storage)
    for lanes in WIDTHS:
        kernel = primitive_kernel(primitive_named(name), (dtype, dtype), lanes)
        np.testing.assert_array_equal(kernel(ones, some), some if name == "div" else 0 * ones)
        assert kernel.status == Fault.DIVISION_BY_ZERO
        with pytest.raises(ZeroDivisionError):
            raise_fault(kernel.status)
        kernel(ones, ones)
        assert kernel.status == Fault.OK


@pytest.mark.parametrize("divisor", [1, -1, 2, 7, -100, 127])
@pytest.mark.parametrize("dtype", [I8, I64], ids=str)
def test_constant_divisors(dtype: DType, divisor: int) -> None:
    """A literal takes the path that LLVM turns into a multiplication, or long ones that of all divisors."""
    operand = np.arange(-128, 128).astype(np.int8) if dtype is I8 else _near_multiples(dtype, divisor)
    for op, reference in (("div", np.floor_divide), ("mod", np.mod)):
        kernel = Kernel(
            lambda f, types, names, result, fault, op=op: (
                divide(
                    op,
                    Lanes(f, types[0], names[0]),
                    Lanes(f, types[0], types[0].constant(divisor)),
                    lambda zero: fault(Fault.DIVISION_BY_ZERO, zero.text),
                ).text
            ),
            (dtype,),
            dtype,
            16,
        )
        with np.errstate(over="ignore"):
            expected = reference(operand, np.array(divisor, dtype.storage))
        np.testing.assert_array_equal(kernel(operand), expected)
        assert kernel.status == Fault.OK


def _near_multiples(dtype: DType, divisor: int) -> Array:
    """Numbers at, just below and just above multiples of a divisor, the largest among them."""
    limits = np.iinfo(dtype.storage)
    most = int(limits.max) // abs(divisor)
    times = {0, 1, 2, 3, most, most // 2, most // 3, *(1 << n for n in range(most.bit_length()))}
    signs = (1, -1) if limits.min else (1,)
    found = {sign * abs(divisor) * n + by for n in times for sign in signs for by in (-1, 0, 1)}
    found |= {int(limits.min), int(limits.max)}
    return np.array(sorted(x for x in found if limits.min <= x <= limits.max), dtype.storage)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_quotients_near_integers(dtype: DType) -> None:
    """Vectors are divided as floats, whose quotients must not be rounded to the next integer."""
    limits, random = np.iinfo(dtype.storage), np.random.default_rng(1)
    divisors = [3, 7, 100, int(limits.max), int(limits.max) - 1, int(limits.max) // 2 + 1, int(limits.max) // 3]
    divisors += [int(n) for n in random.integers(2, limits.max, 12, dtype=dtype.storage)]
    divisors += [1 << n for n in range(1, dtype.bits - 1, 5)]
    if limits.min:
        divisors += [-n for n in divisors] + [int(limits.min), int(limits.min) + 1, -1]
    pairs = [(x, by) for by in divisors for x in _near_multiples(dtype, by)]
    x, by = (np.array(column, dtype.storage) for column in zip(*pairs, strict=True))
    for name, reference in (("div", np.floor_divide), ("mod", np.mod)):
        kernel = primitive_kernel(primitive_named(name), (dtype, dtype), 16)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(kernel(x, by), reference(x, by))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_half_arithmetic_is_refused(dtype: DType) -> None:
    with pytest.raises(CompileError, match=f"add on {dtype}"):
        primitive_kernel(primitive_named("add"), (dtype, dtype), 1)


@pytest.mark.parametrize("status", [Fault.INDEX, Fault.INDEX | Fault.DIVISION_BY_ZERO])
def test_an_index_fault_is_raised_first(status: Fault) -> None:
    raise_fault(Fault.OK)
    with pytest.raises(IndexError, match="index out of range in self"):
        raise_fault(status)


def test_no_instruction_has_a_fast_math_flag() -> None:
    for name in ("add", "sub", "mul", "neg", "div", "sqrt", "exp", "pow", "mod", "maximum"):
        builder, module = Builder(Region()), Module()
        op = primitive_named(name)
        result = builder.apply(op, [builder.expr(builder.input(TensorType(F32, ()))) for _ in op.operands], {})
        assert isinstance(result, Expr)
        assert result.value.node is not None
        f = Function(module, "f", "")
        types = [LLType(F32, 8)] * len(op.operands)
        names = [f"%x{i}" for i, _ in enumerate(types)]
        scalar.emit(f, result.value.node, types, names, types[0], lambda code, where: None)
        f.finish()
        assert not any(flag in str(module) for flag in (" fast ", "contract", "nnan", "ninf", "nsz", "reassoc", "arcp"))
