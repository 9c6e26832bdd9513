"""Scalar ops: their values against mpmath, their types, and the exact corners of integers, casts and rounding."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from mpmath import mp

import adjit.ir.ops.named
import adjit.ir.ops.reduction
import adjit.ir.ops.source
import adjit.ir.ops.structure  # noqa: F401
from adjit.ir.builder import Builder
from adjit.ir.errors import DTypeError, ShapeError
from adjit.ir.graph import Graph
from adjit.ir.halfs import cast_array, round_bf16, widen_bf16
from adjit.ir.ops.named import scalar
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named
from adjit.ir.shape import Dim
from adjit.ir.types import BF16, BOOL, F16, F32, F64, I8, I32, I64, U8, DType, TensorType, dtype_named
from tests.ir.oracles import DIGITS, ORACLES
from tests.special import SPECIAL

SCALARS = [op for op in PRIMITIVES.values() if op.family == "scalar" and op.name not in SPECIAL]
FLOATING = [op for op in SCALARS if op.name in ORACLES]
POINTS = [s * m for m in (1e10, 1000.0, 90.0, 30.0, 5.5, 1.0, 0.75, 0.3, 1e-3, 1e-8) for s in (-1.0, 1.0)] + [0.0]
# Units in the last place that a reference may be wrong by in float64; 2.0 is the worst seen.
ULPS = 3
# Cancellation, as in PyTorch: the error is of the size of an ulp of the greatest term instead of the result.
TERMS: dict[str, Any] = {
    "gelu": lambda x: abs(x) / 2,
    "gelu_tanh": lambda x: abs(x) / 2,
    "sinc": lambda x: 1.0 if abs(x) > 0.5 else 0.0,
    "lerp": lambda a, b, w: max(abs(a), abs(b)) * max(1.0, abs(w)),
    "logaddexp": lambda x, y: max(abs(x), abs(y)),
    "tanhshrink": abs,
}


def f64(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(value, np.float64) for value in values)


def grid(op: Primitive) -> list[tuple[float, ...]]:
    points = POINTS if len(op.operands) == 1 else [*POINTS[::3], 0.5, 2.0]
    near = np.random.default_rng(len(op.name)).normal(0.5, 2.0, (40, len(op.operands)))
    return [*itertools.product(points, repeat=len(op.operands)), *map(tuple, near.tolist())]


@pytest.mark.parametrize("op", FLOATING, ids=lambda op: op.name)
def test_values_are_those_of_mpmath(op: Primitive) -> None:
    for point in grid(op):
        with mp.workdps(DIGITS if max(map(abs, point)) < 1e5 else 40):
            exact = ORACLES[op.name](*map(mp.mpf, point))
        found = float(op(*f64(*point)))
        if mp.isnan(exact):
            continue  # outside the domain, or a pole: see the table of special values
        expected = float(exact)
        terms = TERMS[op.name](*point) if op.name in TERMS else 0.0
        if not np.isfinite(expected) or max(abs(expected), terms) < 1e-300:
            assert found == expected or abs(found - expected) < 1e-290, (point, found, expected)
            continue
        error = abs(found - expected) / np.spacing(max(abs(expected), terms))
        assert error <= ULPS, (point, found, expected)


INF, NAN = float("inf"), float("nan")
SPECIAL = [
    # Where PyTorch has a value, it is PyTorch's.
    ("exp", (-INF,), 0.0), ("exp", (1000.0,), INF), ("log", (0.0,), -INF),
    ("log", (-1.0,), NAN), ("sqrt", (-1.0,), NAN),
    ("sqrt", (-0.0,), -0.0), ("log1p", (-1.0,), -INF), ("rsqrt", (0.0,), INF), ("reciprocal", (-0.0,), -INF),
    ("sign", (NAN,), 0.0), ("sign", (-0.0,), 0.0), ("relu", (NAN,), NAN),
    ("relu6", (NAN,), NAN), ("ceil", (-0.5,), -0.0),
    ("trunc", (-0.5,), -0.0), ("trunc", (NAN,), NAN), ("frac", (INF,), NAN),
    ("sinh", (-0.0,), -0.0), ("sinh", (INF,), INF),
    ("sinh", (-710.0,), -1.1169973830808557e308), ("cosh", (-INF,), INF), ("cosh", (710.0,), 1.1169973830808557e308),
    ("asinh", (-0.0,), -0.0), ("asinh", (-INF,), -INF), ("acosh", (1.0,), 0.0), ("acosh", (0.5,), NAN),
    ("acosh", (-2.0,), NAN), ("acosh", (-1e30,), NAN), ("acosh", (INF,), INF), ("atanh", (1.0,), INF),
    ("atanh", (-1.0,), -INF), ("atanh", (2.0,), NAN),
    ("asin", (1.5,), NAN), ("acos", (-1.0,), np.pi), ("atan", (INF,), np.pi / 2), ("logit", (0.0,), -INF),
    ("logit", (1.0,), INF), ("sigmoid", (-1000.0,), 0.0), ("sigmoid", (INF,), 1.0), ("logsigmoid", (-INF,), -INF),
    ("logsigmoid", (NAN,), NAN), ("softplus", (INF,), INF), ("softplus", (-INF,), 0.0), ("elu", (-INF, 0.75), -0.75),
    ("softshrink", (NAN, 0.5), NAN), ("hardshrink", (NAN, 0.5), NAN), ("threshold", (NAN, 0.25, -2.0), NAN),
    ("nan_to_num", (NAN, 1.0, 2.0, 3.0), 1.0), ("nan_to_num", (-INF, 1.0, 2.0, 3.0), 3.0),
    ("tanh", (INF,), 1.0), ("erf", (-INF,), -1.0),
    ("erf", (NAN,), NAN), ("round", (2.5,), 2.0),
    ("round", (-0.4,), -0.0), ("sinc", (0.0,), 1.0), ("exp2", (10.0,), 1024.0),
    ("maximum", (NAN, 1.0), NAN), ("maximum", (1.0, NAN), NAN),
    ("maximum", (-0.0, 0.0), 0.0), ("maximum", (0.0, -0.0), 0.0),
    ("maximum", (-0.0, -0.0), -0.0), ("minimum", (0.0, -0.0), -0.0), ("minimum", (-0.0, 0.0), -0.0),
    ("minimum", (0.0, 0.0), 0.0), ("minimum", (NAN, 1.0), NAN),
    ("clamp", (NAN, 0.0, 1.0), NAN), ("clamp", (3.0, 2.0, 1.0), 1.0),
    ("mod", (-1.0, INF), INF), ("mod", (5.0, -INF), -INF), ("mod", (-4.0, 2.0), -0.0), ("mod", (4.0, -2.0), 0.0),
    ("mod", (1.0, 0.0), NAN), ("fmod", (-4.0, 2.0), -0.0), ("fmod", (-0.0, 2.0), -0.0), ("fmod", (5.0, INF), 5.0),
    ("fmod", (INF, 1.0), NAN), ("fmod", (-5.0, 3.0), -2.0), ("div", (0.0, 0.0), NAN), ("div", (-1.0, 0.0), -INF),
    ("pow", (0.0, 0.0), 1.0), ("pow", (NAN, 0.0), 1.0), ("pow", (0.0, -1.0), INF), ("pow", (-8.0, 1 / 3), NAN),
    ("pow", (-INF, 0.5), INF), ("pow", (-0.0, 0.5), 0.0),
    ("atan2", (0.0, -0.0), np.pi), ("atan2", (-0.0, 0.0), -0.0), ("hypot", (INF, NAN), INF), ("hypot", (NAN, 1.0), NAN),
    ("hypot", (0.0, 0.0), 0.0), ("hypot", (3e200, 4e200), 5e200),
    ("copysign", (1.0, -0.0), -1.0), ("copysign", (-2.0, INF), 2.0),
    ("xlogy", (0.0, 0.0), 0.0), ("xlogy", (0.0, INF), 0.0), ("xlogy", (0.0, NAN), NAN), ("xlogy", (1.0, 0.0), -INF),
    ("logaddexp", (INF, INF), INF), ("logaddexp", (-INF, -INF), -INF), ("logaddexp", (-INF, 2.0), 2.0),
    ("heaviside", (0.0, 0.5), 0.5), ("heaviside", (NAN, 0.5), 0.0),
    ("safe_mul", (0.0, INF), 0.0), ("safe_mul", (0.0, NAN), 0.0),
    ("safe_mul", (NAN, 0.0), NAN), ("safe_div", (0.0, 0.0), 0.0),
    ("safe_div", (1.0, 0.0), INF), ("lerp", (1e30, 1.0, 1.0), 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "point", "expected"), SPECIAL)
def test_special_values(name: str, point: tuple[float, ...], expected: float) -> None:
    found = primitive_named(name)(*f64(*point))
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert np.isnan(expected) or np.signbit(found) == np.signbit(expected)


@pytest.mark.parametrize("op", FLOATING, ids=lambda op: op.name)
@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_narrow_floats_are_rounded_once(op: Primitive, dtype: str) -> None:
    """A half gives what float32 gives, rounded; float32 keeps its dtype, through literals too."""
    target = dtype_named(dtype)
    points = np.array([-3.0, -0.75, -0.0, 0.25, 0.5, 1.0, 2.5, 60.0], np.float32)
    operands = [np.roll(points, i) for i in range(len(op.operands))]
    expected = cast_array(op(*operands), F32, target)
    found = op(*(cast_array(x, F32, target) for x in operands))
    assert found.dtype == target.storage
    np.testing.assert_array_equal(found, expected)


# -- integers ----------------------------------------------------------------------------------------------------------
LEAST = np.iinfo(np.int32).min
INTEGERS = [
    ("div", np.int32, (7, -2), -4), ("div", np.int32, (LEAST, -1), LEAST), ("mod", np.int32, (-7, 3), 2),
    ("mod", np.int32, (7, -3), -2), ("mod", np.int32, (LEAST, -1), 0), ("div", np.uint8, (200, 3), 66),
    ("add", np.int8, (127, 1), -128), ("mul", np.int32, (1 << 20, 1 << 20), 0), ("neg", np.int32, (LEAST,), LEAST),
    ("abs", np.int32, (LEAST,), LEAST), ("neg", np.uint8, (1,), 255), ("sub", np.uint8, (0, 1), 255),
    ("shl", np.int32, (1, 31), LEAST), ("shl", np.int32, (1, 32), 0), ("shl", np.int32, (1, -1), 0),
    ("shr", np.int32, (-8, 1), -4), ("shr", np.int32, (-8, 99), -1),
    ("shr", np.int32, (8, -1), 0), ("shr", np.uint8, (200, 8), 0),
    ("shr", np.uint8, (200, 3), 25), ("shl", np.int64, (1, 40), 1 << 40), ("pow", np.int32, (3, 4), 81),
    ("pow", np.int32, (2, 33), 0), ("pow", np.int32, (2, -1), 0),
    ("pow", np.int32, (-1, -3), -1), ("pow", np.int32, (1, -9), 1),
    ("pow", np.int32, (0, 0), 1), ("and", np.int32, (12, 10), 8),
    ("or", np.int32, (12, 10), 14), ("xor", np.int32, (12, 10), 6),
    ("not", np.int32, (0,), -1), ("not", np.uint8, (0,), 255),
    ("maximum", np.int32, (3, -4), 3), ("sign", np.int32, (-7,), -1),
    ("sign", np.uint8, (7,), 1), ("relu", np.int32, (-7,), 0),
    ("square", np.int8, (16,), 0), ("clamp", np.int32, (9, 0, 5), 5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "dtype", "operands", "expected"), INTEGERS)
def test_integers_are_exact(name: str, dtype: type, operands: tuple[int, ...], expected: int) -> None:
    """For an array, and for a literal beside an array."""
    op = primitive_named(name)
    found = op(*(np.array([value], dtype) for value in operands))
    assert found.dtype == dtype and found.tolist() == [expected]
    if len(operands) == 2:
        found = op(np.array([operands[0]], dtype), operands[1])
        assert found.dtype == dtype and found.tolist() == [expected]


@pytest.mark.parametrize("name", ["div", "mod"])
def test_an_integer_divisor_of_zero_is_a_fault(name: str) -> None:
    op = primitive_named(name)
    with pytest.raises(ZeroDivisionError, match="integer division or modulo by zero"):
        op(np.array([1, 2]), np.array([1, 0]))
    assert op(np.zeros(0, np.int64), np.array(0)).shape == (0,)  # nothing is divided


CASTS = [
    (F32, I32, NAN, 0), (F32, I32, 1e20, 2**31 - 1), (F32, I32, -INF, -(2**31)), (F64, I64, 2.0**63, 2**63 - 1),
    (F64, I64, -(2.0**63), -(2**63)), (F64, I32, 2147483647.5, 2147483647), (F64, I32, -2147483648.5, -(2**31)),
    (F32, U8, 300.0, 255), (F32, U8, -1.0, 0), (F32, U8, -0.9, 0),
    (F32, U8, 255.9, 255), (F32, I8, -1.9, -1), (F16, I64, INF, 2**63 - 1),
    (I32, U8, 300, 44), (I32, I8, 200, -56), (I32, BOOL, 2, True), (F32, BOOL, NAN, True), (F32, BOOL, -0.0, False),
    (BOOL, F32, True, 1.0), (I32, F16, 70000, INF), (I64, F32, 2**24 + 1, 2.0**24),
    (F64, F32, 1e300, INF), (F64, F16, 65519.0, 65504.0),
]  # fmt: skip


@pytest.mark.parametrize(("source", "target", "value", "expected"), CASTS)
def test_casts(source: DType, target: DType, value: Any, expected: Any) -> None:
    found = primitive_named("cast")(np.asarray(value, source.storage), dtype=target)
    assert found.dtype == target.storage
    assert found.item() == expected


def test_bfloat16_rounds_to_nearest_even() -> None:
    """Every bfloat16 is itself; a float32 goes to a neighbour that is not farther than the other, ties to even."""
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    wide = widen_bf16(every)
    finite = np.isfinite(wide)
    np.testing.assert_array_equal(round_bf16(wide)[~np.isnan(wide)], every[~np.isnan(wide)])
    assert np.isnan(widen_bf16(round_bf16(wide[np.isnan(wide)]))).all()
    below = every[finite & (every < 0x7F00)]
    middle = (widen_bf16(below).astype(np.float64) + widen_bf16(below + np.uint16(1)).astype(np.float64)) / 2
    exact = middle.astype(np.float32).astype(np.float64) == middle
    even = below + (below & 1)
    np.testing.assert_array_equal(round_bf16(middle.astype(np.float32))[exact], even[exact])
    np.testing.assert_array_equal(
        round_bf16(np.nextafter(middle.astype(np.float32), np.float32(0)))[exact], below[exact]
    )
    assert round_bf16(np.float32(3.4e38)) == 0x7F80  # infinity


def test_bitcast() -> None:
    bitcast = primitive_named("bitcast")
    assert bitcast(np.float32(1.0), dtype=I32) == 0x3F800000
    assert bitcast(np.array([0x3F80], np.uint16), dtype=dtype_named("i16")).tolist() == [0x3F80]
    with pytest.raises(DTypeError, match="bitcast: f32 cannot be read as f64"):
        bitcast.infer([TensorType(F32, ())], {"dtype": F64})


# -- types -------------------------------------------------------------------------------------------------------------
N = Dim.named("n")


@pytest.mark.parametrize(
    "op", [op for op in SCALARS if op.name not in ("cast", "bitcast", "where")], ids=lambda op: op.name
)
@pytest.mark.parametrize("dtype", [BOOL, U8, I32, BF16, F64], ids=str)
def test_what_is_inferred_is_what_is_computed(op: Primitive, dtype: DType) -> None:
    """For each dtype: the inferred type is that of the result, or the op refuses the dtype by name."""
    types = [TensorType(dtype, (2, 3)), *(TensorType(dtype, ()) for _ in op.operands[1:])]
    try:
        (inferred,) = op.infer(types, {})
    except DTypeError as error:
        assert str(error).startswith(f"{op.name}: an operand is {types[0]}; it takes ")
        return
    ones = [cast_array(np.ones(type.dims), F64, dtype) for type in types]
    result = op(*ones)
    assert result.dtype == inferred.dtype.storage
    assert result.shape == inferred.dims == (2, 3)


def test_shapes_and_dtypes_that_do_not_fit() -> None:
    add, where = primitive_named("add"), primitive_named("where")
    row, column = TensorType(F32, (2, N)), TensorType(F32, (2, N + 1))
    assert add.infer([row, TensorType(F32, ())], {}) == (row,)
    assert add.infer([TensorType(F32, ()), row], {}) == (row,)
    with pytest.raises(
        ShapeError, match=r"size of tensor a \(n\) must match the size of tensor b \(n \+ 1\) at .* 1\n"
    ):
        add.infer([row, column], {})
    with pytest.raises(ShapeError, match=r"add: operands f32\[2, n\], f32\[2\] have neither equal shapes nor rank 0"):
        add.infer([row, TensorType(F32, (2,))], {})
    with pytest.raises(DTypeError, match="add: operands of f32 and f64"):
        add.infer([row, row.with_dtype(F64)], {})
    with pytest.raises(DTypeError, match=r"where: the condition is f32\[2, n\]; it must be bool"):
        where.infer([row, row, row], {})
    with pytest.raises(DTypeError, match="where: branches of f32 and f64"):
        where.infer([row.with_dtype(BOOL), row, row.with_dtype(F64)], {})
    with pytest.raises(TypeError, match=r"leaky_relu takes \(x, slope\), and got 1 operands and \[\]"):
        primitive_named("leaky_relu").infer([row], {})
    assert primitive_named("cast").infer([row], {"dtype": I64}) == (row.with_dtype(I64),)


@pytest.mark.parametrize("name", ["neg", "add", "sigmoid", "where", "clamp", "leaky_relu"])
def test_batching_is_a_loop(name: str) -> None:
    """For every choice of batched operands, and of operands of rank 0."""
    op = primitive_named(name)
    count, batch = len(op.operands), 3
    random = np.random.default_rng(7)
    for ranks in itertools.product((0, 2), repeat=count):
        for batched in itertools.product((False, True), repeat=count):
            if not any(batched):
                continue
            operands = [
                random.normal(size=(batch,) * flag + (2, 4)[:rank]) for rank, flag in zip(ranks, batched, strict=True)
            ]
            if name == "where":
                operands[0] = operands[0] > 0
            rows = [[x[i] if flag else x for x, flag in zip(operands, batched, strict=True)] for i in range(batch)]
            assert op.batch_rule is not None
            found = op.batch_rule(batched, *operands)
            np.testing.assert_array_equal(found, np.stack([op(*row) for row in rows]))


class Element:
    """An operand of an index form: an array and its type."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.type = array, TensorType(F64, array.shape)

    def __call__(self, *index: int) -> np.ndarray:
        return self.array[index]


def test_index_form_reads_the_element_and_rank_zero_as_it_is() -> None:
    x, y = np.arange(6.0).reshape(2, 3), np.asarray(10.0)
    rule = primitive_named("hypot").index_rule
    assert rule is not None
    assert rule(None, (1, 2), Element(x), Element(y)) == primitive_named("hypot")(np.float64(5.0), np.float64(10.0))


# -- definitions -------------------------------------------------------------------------------------------------------
NAMED = [op for op in SCALARS if op.body is not None]


def run(graph: Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """Execute the scalar ops of a graph by their references."""
    known = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        known[node.output] = node.op.reference(*(known[x] for x in node.inputs), **node.attributes)
    return [known[value] for value in graph.outputs]


@pytest.mark.parametrize("op", NAMED, ids=lambda op: op.name)
def test_the_body_expands_in_the_ir_to_the_reference(op: Primitive) -> None:
    graph = Graph("f")
    builder = Builder(graph)
    operands = [builder.expr(builder.input(TensorType(F32, (8,)))) for _ in op.operands]
    assert op.body is not None
    result = op.body(*operands)
    graph.outputs = (result.value,)
    points = np.array([-90.0, -3.0, -0.75, -0.0, 0.25, 0.5, 1.0, 2.5], np.float32)
    arrays = [np.roll(points, 3 * i) for i in range(len(op.operands))]
    (found,) = run(graph, *arrays)
    (inferred,) = op.infer([x.type for x in operands], {})
    assert result.type == inferred
    assert found.dtype == inferred.dtype.storage
    np.testing.assert_array_equal(found, op(*arrays))
    assert op.exact == all(node.op.exact for node in graph.nodes)


def test_exactness() -> None:
    assert {"add", "div", "sqrt", "floor", "relu", "hypot", "clamp"} <= {op.name for op in SCALARS if op.exact}
    assert {"exp", "pow", "sin", "sigmoid", "exp2", "atan"} <= {op.name for op in SCALARS if not op.exact}


def test_a_body_cannot_branch_in_python() -> None:
    def absolute(x: Any) -> Any:
        return x if x > 0 else -x

    with pytest.raises(TypeError, match="use where"):
        scalar(absolute)
    assert "absolute" not in PRIMITIVES


def test_every_op_is_documented_and_tested() -> None:
    assert [op.name for op in SCALARS if not op.summary] == []
    predicates = {"lt", "le", "eq", "ne", "gt", "ge", "isnan", "isinf", "isfinite"}
    elsewhere = {"and", "or", "xor", "not", "shl", "shr", "where", "cast", "bitcast"} | predicates
    elsewhere |= {"complex", "conj", "imag", "real"}  # see test_complex.py
    assert {op.name for op in SCALARS} == set(ORACLES) | elsewhere


def test_comparisons_with_nan() -> None:
    x, y = np.array([1.0, 2.0, 2.0, NAN, 1.0]), np.array([2.0, 1.0, 2.0, 1.0, NAN])
    table = {"lt": "10000", "le": "10100", "gt": "01000", "ge": "01100", "eq": "00100", "ne": "11011"}
    for name, expected in table.items():
        assert "".join(str(int(v)) for v in primitive_named(name)(x, y)) == expected, name
    z = np.array([NAN, INF, -INF, 1.0])
    tests = {"isnan": "1000", "isinf": "0110", "isfinite": "0001"}
    for name, expected in tests.items():
        assert "".join(str(int(v)) for v in primitive_named(name)(z)) == expected, name
