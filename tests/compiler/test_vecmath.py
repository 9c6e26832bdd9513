"""Math functions in native code: errors in units in the last place, special values, and the same bits at any width."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from adjit.compiler.llvm.target import host_target
from adjit.compiler.llvm.text import Function
from adjit.compiler.llvm.vecmath import MATH, math_function
from adjit.compiler.llvm.vecmath_lanes import FORMATS, Lanes, fma
from adjit.compiler.llvm.vecmath_reduction import LARGE, TABLE_BITS, TWO_OVER_PI
from adjit.ir.errors import CompileError
from adjit.ir.types import BF16, F32, F64, DType
from tests.compiler.elementwise import Array, Kernel
from tests.ir.oracles import BINARY, UNARY

FUNCTIONS = sorted(set(MATH) - {"mod"})
BINARIES = ("atan2", "pow")
# Those with instructions of their own where the target has them: powers of two, parts of floats, tables in registers.
SCALED = ("tanh", "erf")
# Those of which targets with a table in registers have other bits than those without.
TABLED = ("exp", "exp2", "log", "log1p", "pow", "tanh")
# Those whose tables stand in registers or in memory, with the same bits.
LOOKED_UP = (("tanh", F32), ("erf", F32), ("erf", F64))
# In units in the last place: the errors that the docstrings state, rounded up.
BOUNDS = {
    "exp": 1.1, "exp2": 1.15, "expm1": 1.05, "tanh": 1.45, "log": 1.95, "log1p": 1.95, "sin": 0.85, "cos": 0.85,
    "asin": 1.2, "acos": 1.15, "atan": 1.5, "tan": 1.95, "sinh": 1.2, "cosh": 1.2, "erf": 0.85, "pow": 1.15,
    "atan2": 1.6,
}  # fmt: skip
# Arguments of float64 beyond these have no finite value of normal size.
LARGEST = {"exp": 700, "exp2": 1000, "expm1": 700, "sinh": 700, "cosh": 700, "asin": 1, "acos": 1}
# Every so many of all float32; with 1 the measurement is exhaustive.
STRIDE = 8009
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0]
NEAR = [0.5, 2.0, 3.0, 1.5, 1e-30, 1e30, 2.0**24 - 1, 2.0**24]


@functools.cache
def kernel(
    name: str, dtype: DType, lanes: int, avx512: bool | None = None, avx2: bool | None = None, fma: bool | None = None
) -> Kernel:
    arity = 2 if name in (*BINARIES, "mod") else 1
    return Kernel(
        lambda f, types, names, result, fault: math_function(name)(f, types[0], *names),
        (dtype,) * arity,
        dtype,
        lanes,
        avx512=avx512,
        avx2=avx2,
        fma=fma,
    )


def native_lanes(dtype: DType) -> int:
    return 512 // dtype.bits


def errors(found: Array, exact: Array) -> Array:
    """|found - exact| in units in the last place of the exact result; infinite where only one of them is finite."""
    layout = FORMATS[F32 if found.dtype == np.float32 else F64]
    with np.errstate(all="ignore"):
        rounded = exact.astype(found.dtype)
        exponent = np.frexp(exact)[1]
        least = 2 - layout.bias - layout.precision
        unit = np.ldexp(np.ones_like(exact), np.maximum(exponent - layout.precision, least))
        error = np.abs(found.astype(exact.dtype) - exact) / unit
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    return np.where(np.isfinite(found) & np.isfinite(rounded), error, np.where(same, 0, np.inf))


def assert_close(name: str, operands: tuple[Array, ...], found: Array, error: Array) -> None:
    worst = int(np.argmax(error))
    at = [x[worst] for x in operands]
    assert error[worst] <= BOUNDS[name], f"{name}{at} = {found[worst]}: {error[worst]:.3f} ULP"


# -- float32, over all its bit patterns -------------------------------------------------------------------------------
def in_double(name: str) -> Callable[..., Array]:
    """The function on float64 arrays."""
    if name == "erf":
        return lambda x: np.array([math.erf(value) for value in x.tolist()])
    return {"pow": np.power, "atan2": np.arctan2}.get(name) or getattr(np, name)


def float32_operands(name: str) -> tuple[Array, ...]:
    bits = np.arange(0, 2**32, STRIDE, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32)
    if name not in BINARIES:
        return (x,)
    random = np.random.default_rng(3)
    if name == "atan2":
        # Also pairs of one size, where the quotient matters.
        with np.errstate(all="ignore"):
            nearby = x * random.uniform(0.3, 3.0, x.size).astype(np.float32)
        return np.concatenate([x, x]), np.concatenate([nearby, random.permutation(x)])
    # Exponents for results all over float32's range, near 1 too.
    base = np.concatenate([np.abs(x), random.uniform(0.5, 2.0, x.size).astype(np.float32)])
    with np.errstate(all="ignore"):
        exponent = (random.uniform(-106, 91, base.size) / np.log(base.astype(np.float64))).astype(np.float32)
    return base, exponent


FORMS = [(name, None) for name in FUNCTIONS] + [(name, False) for name in TABLED]


@pytest.mark.parametrize(("name", "avx512"), FORMS)
def test_float32_is_within_its_bound(name: str, avx512: bool | None) -> None:
    operands = float32_operands(name)
    with np.errstate(all="ignore"):
        exact = in_double(name)(*(x.astype(np.float64) for x in operands))
        found = kernel(name, F32, 16, avx512)(*operands)
    assert_close(name, operands, found, errors(found, exact))


# -- float64, against mpmath ------------------------------------------------------------------------------------------
def float64_operands(name: str) -> tuple[Array, ...]:
    random = np.random.default_rng(4)
    count = 250
    anywhere = np.ldexp(random.uniform(-1, 1, count), random.integers(-1070, 1024, count))
    moderate = random.uniform(-1, 1, count) * np.exp2(random.uniform(-30, 10, count))
    close = 1 + random.uniform(-1, 1, count) * np.exp2(random.uniform(-40, 0, count))
    quadrants = np.round(random.uniform(-1e6, 1e6, count)) * (math.pi / 2)
    if name not in BINARIES:
        x = np.concatenate([anywhere, moderate, close, quadrants, random.uniform(-3, 3, count)])
        defined = {"log": x > 0, "log1p": x > -1}.get(name, np.abs(x) < LARGEST.get(name, np.inf))
        return (x[defined],)
    if name == "atan2":
        return np.concatenate([moderate, close, anywhere]), np.concatenate([close, moderate, anywhere[::-1]])
    base = np.abs(np.concatenate([anywhere, moderate, close]))
    return base, random.uniform(-744, 709, base.size) / np.log(base)


@pytest.mark.parametrize(("name", "avx512"), FORMS)
def test_float64_is_within_its_bound(name: str, avx512: bool | None) -> None:
    operands = float64_operands(name)
    found = kernel(name, F64, 8, avx512)(*operands)
    oracle = BINARY[name] if name in BINARIES else UNARY[name]
    layout = FORMATS[F64]
    error = np.empty(found.size)
    for i, point in enumerate(zip(*(x.tolist() for x in operands), strict=True)):
        # A large argument of sin has 1024 bits before the point.
        with mp.workprec(1400 if name in ("sin", "cos", "tan") and abs(point[0]) > 1e9 else 200):
            exact = oracle(*map(mp.mpf, point))
            exponent = max(mp.frexp(exact)[1], 2 - layout.bias)
            error[i] = abs(mp.mpf(float(found[i])) - exact) * mp.mpf(2) ** (layout.precision - exponent)
    assert_close(name, operands, found, error)


# -- special values ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name: str, dtype: DType) -> None:
    """Those of NumPy, which are the C standard's, zeros with their signs."""
    least = np.nextafter(dtype.storage.type(0), dtype.storage.type(1))
    normal = np.finfo(dtype.storage).tiny
    points = np.array([*SPECIAL, *NEAR, *(-x for x in NEAR), least, -least, normal, -normal], dtype.storage)
    operands: tuple[Array, ...] = (points,)
    if name in BINARIES:
        operands = tuple(column.ravel() for column in np.meshgrid(points, points))
    with np.errstate(all="ignore"):
        expected = in_double(name)(*operands).astype(dtype.storage)
    for lanes in (1, native_lanes(dtype)):
        found = kernel(name, dtype, lanes)(*operands)
        np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype.storage).eps, atol=float(least))
        zero = found == 0
        np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))
        np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_denormals_are_kept(dtype: DType) -> None:
    """exp falls to 0 through the denormals, each within one unit; odd functions keep a denormal as it is."""
    layout = FORMATS[dtype]
    lowest = (2 - layout.bias - layout.precision) * math.log(2)
    x = np.linspace(lowest, -math.log(2) * (layout.bias - 1), 500).astype(dtype.storage)
    y = kernel("exp", dtype, native_lanes(dtype))(x)
    unit = float(np.nextafter(dtype.storage.type(0), dtype.storage.type(1)))
    with mp.workprec(200):
        off = [abs(float(mp.exp(mp.mpf(float(a))) / mp.mpf(unit)) - float(b) / unit) for a, b in zip(x, y, strict=True)]
    assert max(off) <= BOUNDS["exp"]
    tiny = np.array([unit, -unit, 5 * unit, layout.least_normal / 2], dtype.storage)
    for name in ("asin", "atan", "expm1", "log1p", "sin", "sinh", "tan", "tanh"):
        np.testing.assert_array_equal(kernel(name, dtype, native_lanes(dtype))(tiny), tiny)


# -- one text, any width ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", sorted(MATH))
def test_bits_are_the_same_at_every_width(name: str, dtype: DType) -> None:
    random = np.random.default_rng(5)
    count = 2003  # lanes of every kind meet in one vector, and the last vector is not full
    bits = np.frombuffer(random.bytes(count * dtype.itemsize), dtype.storage)
    mixed = np.where(random.random(count) < 0.4, bits, random.uniform(-20, 20, count)).astype(dtype.storage)
    operands = (mixed, random.permutation(mixed)) if name in (*BINARIES, "mod") else (mixed,)
    native = native_lanes(dtype)
    results = [kernel(name, dtype, lanes)(*operands) for lanes in (1, 4, native)]
    if name in SCALED + TABLED:
        results.append(kernel(name, dtype, 4 * native)(*operands))
    if name in SCALED and (name not in TABLED or dtype is F32):
        results.append(kernel(name, dtype, 2, avx512=False)(*operands))
    if (name, dtype) in LOOKED_UP:
        forms = ((1, False), (2, False), (4, False), (12, False), (1, True), (4, True), (8, True), (12, True))
        here = [form for form in forms if host_target().has_avx2 or not form[1]]
        results += [kernel(name, dtype, lanes, False, avx2)(*operands) for lanes, avx2 in here]
    assert any(np.isfinite(results[0]))
    for other in results[1:]:
        different = (other.view(f"u{dtype.itemsize}") != results[0].view(f"u{dtype.itemsize}")) & ~(
            np.isnan(other) & np.isnan(results[0])
        )
        assert not different.any()


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_products_and_sums_without_the_instruction_are_rounded_once(dtype: DType) -> None:
    def emit(f: Function, types: Any, names: Any, result: Any, fault: Any) -> str:
        a, b, c = (Lanes(f, types[0], name) for name in names)
        return fma(a, b, c).text

    random, count, moderate = np.random.default_rng(6), 20000, 30 if dtype is F32 else 200
    a, b, c = (np.ldexp(random.uniform(-1, 1, count), random.integers(-moderate, moderate, count)) for _ in range(3))
    c[::2] = -(a * b)[::2] * (1 + np.ldexp(random.integers(-4, 5, count), -dtype.bits))[::2]
    a[:49], b[:49] = np.repeat(SPECIAL, 7), SPECIAL * 7
    c[:49] = np.roll(np.repeat(SPECIAL, 7), 9)
    operands = [x.astype(dtype.storage) for x in (a, b, c)]
    found, exact = (Kernel(emit, (dtype,) * 3, dtype, 4, fma=here)(*operands) for here in (False, None))
    np.testing.assert_array_equal(found, exact)
    zeros = exact == 0
    assert zeros.any()
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(exact[zeros]))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", ["exp", "log", "sin", "pow", "mod"])
def test_functions_have_the_same_bits_without_the_instruction(name: str, dtype: DType) -> None:
    random, count = np.random.default_rng(7), 2000
    x = np.ldexp(random.uniform(-1, 1, count), random.integers(-20, 20, count)).astype(dtype.storage)
    operands = (x, random.permutation(x)) if name in (*BINARIES, "mod") else (x,)
    found, exact = (kernel(name, dtype, 4, avx512=False, fma=here)(*operands) for here in (False, None))
    np.testing.assert_array_equal(found, exact)


def test_a_function_stands_once_in_a_module() -> None:
    def body(f: Function, types: Any, names: Any, result: Any, fault: Any) -> str:
        return math_function("exp")(f, types[0], math_function("exp")(f, types[0], names[0]))

    text = Kernel(body, (F32,), F32, 16).text
    assert text.count("define internal <16 x float> @adjit.exp.v16f32(") == 1
    assert text.count("call <16 x float> @adjit.exp.v16f32(") == 2


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(CompileError, match="bf16"):
        kernel("exp", BF16, 1)


# -- remainder --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_remainder_is_exact(dtype: DType) -> None:
    """The rounded sum of C's exact fmod and the divisor, for any ratio of the operands."""
    random = np.random.default_rng(6)
    bits = np.frombuffer(random.bytes(4000 * dtype.itemsize), dtype.storage)
    whole = np.round(random.uniform(-9, 9, 4000)).astype(dtype.storage)
    for a, b in itertools.permutations([bits, bits[::-1], whole], 2):
        with np.errstate(all="ignore"):
            expected = np.mod(a, b)
        expected[expected == 0] = np.copysign(0, a[expected == 0])
        found = kernel("mod", dtype, native_lanes(dtype))(a, b)
        np.testing.assert_array_equal(found, expected)
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


# -- reduction --------------------------------------------------------------------------------------------------------
def test_the_table_holds_two_over_pi() -> None:
    with mp.workprec(TABLE_BITS + 64):
        assert int(mp.floor(2 / mp.pi * mp.mpf(2) ** TABLE_BITS)) == TWO_OVER_PI


def test_the_hardest_argument() -> None:
    """The double next to a multiple of pi/2, and how near it is: Muller et al., 2nd ed., section 11.1."""
    x = 6381956970095103.0 * 2.0**797
    with mp.workprec(1400):
        sine, cosine = float(mp.sin(mp.mpf(x))), float(mp.cos(mp.mpf(x)))
    assert min(abs(sine), abs(cosine)) < 2.0**-60
    for lanes in (1, 8):
        assert kernel("sin", F64, lanes)(np.array([x]))[0] == pytest.approx(sine, rel=2.0**-52, abs=0)
        assert kernel("cos", F64, lanes)(np.array([x]))[0] == pytest.approx(cosine, rel=2.0**-52, abs=0)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_each_large_lane_is_reduced_beside_any_other(name: str, dtype: DType) -> None:
    """As a number by itself, at every place among small ones, zeros, infinities and NaN."""
    lanes, bound = native_lanes(dtype), LARGE[dtype]
    large = [bound, -bound * 3, float(np.finfo(dtype.storage).max)]
    beside = [0.5, -0.0, math.inf, -math.inf, math.nan, bound * 0.999, bound * 5]
    rows = [np.full(lanes, other, dtype.storage) for other in beside for _ in large for _ in range(lanes)]
    for number, row in enumerate(rows):
        row[number % lanes] = large[number // lanes % len(large)]
    x = np.concatenate(rows)
    found, exact = (kernel(name, dtype, each)(x).view(f"i{dtype.itemsize}") for each in (lanes, 1))
    np.testing.assert_array_equal(found, exact)
