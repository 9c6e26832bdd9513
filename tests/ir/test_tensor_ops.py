"""Laws over every primitive and all its samples: what an op says about itself agrees with what it computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import adjit.ir.ops
from adjit.compiler.differentiate import differentiate
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DimError, DTypeError, ShapeError
from adjit.ir.graph import Graph
from adjit.ir.ops.source import Words, random_word
from adjit.ir.primitive import PRIMITIVES, Primitive, primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BOOL, F32, F64, I32, I64, DType, TensorType, dtype_named
from adjit.ir.verify import verify
from adjit.runtime.host import register_host_function
from adjit.runtime.interpreter import run
from tests.samples import SAMPLES, Array, Sample, samples

assert adjit.ir.ops is not None  # importing it fills the registry
FAMILIES = ("scalar", "structure", "contraction", "reduction", "indexing", "source", "control", "boundary")
OPS = [op for op in PRIMITIVES.values() if op.family in FAMILIES]
TENSOR_OPS = [op for op in OPS if op.family != "scalar"]
DIFFERENTIABLE = [op for op in TENSOR_OPS if op.transpose_rule is not None or op.vjp_rule is not None]
TOLERANCE = {"f16": 2e-2, "bf16": 2e-2, "f32": 2e-5, "f64": 1e-9}

register_host_function("tests.cumulative_sum", lambda x: (np.cumsum(x),))


def named(op: Primitive) -> str:
    return op.name


def numeric(op: Primitive) -> list[Sample]:
    """The samples on which derivative laws are checked: floats of float64, away from kinks."""
    return [
        sample for sample in samples(op)
        if sample.smooth and all(type.dtype is F64 for type in sample.types if type.dtype.is_float)
        and any(type.dtype.is_float for type in sample.types)
    ]  # fmt: skip


def listed(results: Any) -> tuple[Any, ...]:
    return tuple(results) if isinstance(results, tuple | list) else (results,)


def compute(op: Primitive, sample: Sample, operands: Sequence[Array] | None = None) -> tuple[Array, ...]:
    """The op's results by its reference."""
    with np.errstate(all="ignore"):
        given = sample.operands if operands is None else operands
        return tuple(map(np.asarray, listed(op.reference(*given, **sample.attributes))))


def assert_same(found: Any, wanted: Any, exact: bool, where: str) -> None:
    """Equal dtypes and shapes, and bits or values within the dtype's tolerance; NaN equals NaN."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), where
    if exact or wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted, err_msg=where)
    else:
        bound = TOLERANCE[f"f{8 * wanted.dtype.itemsize}"]
        np.testing.assert_allclose(found, wanted, rtol=bound, atol=bound, err_msg=where)


# -- the registry ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("op", OPS, ids=named)
def test_every_op_has_samples(op: Primitive) -> None:
    found = samples(op)
    assert len(found) >= 1 and len({sample.name for sample in found}) == len(found)


def test_every_sample_has_an_op() -> None:
    assert set(SAMPLES) == {op.name for op in TENSOR_OPS}


@pytest.mark.parametrize("op", OPS, ids=named)
def test_every_op_has_its_facts(op: Primitive) -> None:
    facts = [op.transpose_rule is not None, op.vjp_rule is not None, op.partials_rule is not None, op.constant_result]
    assert op.infer_rule is not None and op.summary
    if op.family == "control":
        assert facts == [False] * 4 and op.batch_rule is None and op.index_rule is None
    elif op.family != "scalar":  # a named scalar op may state a partial and be constant besides
        assert sum(facts) == 1
        assert op.batch_rule is not None or not samples(op)[0].operands


# -- types -------------------------------------------------------------------------------------------------------------
def graph_of(op: Primitive, sample: Sample) -> Graph:
    """The op alone as a program."""
    graph = Graph("f")
    builder = Builder(graph)
    inputs = [builder.input(type) for type in sample.types]
    graph.outputs = builder.emit(op, inputs, sample.attributes, sample.regions).outputs
    return graph


@pytest.mark.parametrize("op", OPS, ids=named)
def test_the_inferred_type_is_the_executed_type(op: Primitive) -> None:
    for sample in samples(op):
        graph = graph_of(op, sample)
        verify(graph)
        results = run(graph, *sample.operands)
        inferred = [(value.dtype.storage, value.dims) for value in graph.outputs]
        assert [(result.dtype, result.shape) for result in results] == inferred, sample.name
        if op.family not in ("control", "scalar"):
            direct = compute(op, sample)
            assert [(result.dtype, result.shape) for result in direct] == inferred, sample.name


@pytest.mark.parametrize("op", OPS, ids=named)
def test_operands_are_not_changed(op: Primitive) -> None:
    for sample in samples(op):
        before = [x.copy() for x in sample.operands]
        run(graph_of(op, sample), *sample.operands)
        for x, copy in zip(sample.operands, before, strict=True):
            assert_same(x, copy, True, sample.name)


# -- index forms -------------------------------------------------------------------------------------------------------
class ConcreteOperand:
    """An array as an operand of an index form: any index outside it is an error."""

    def __init__(self, array: Array, type: TensorType) -> None:
        self.array, self.type = array, type

    def __call__(self, *index: Size) -> Any:
        assert len(index) == self.array.ndim
        assert all(isinstance(i, int) and 0 <= i < n for i, n in zip(index, self.array.shape, strict=True)), index
        return self.array[index]  # type: ignore[index]


class Concrete:
    """Index forms on numbers: evaluates one element."""

    def constant(self, value: float, dtype: DType) -> Any:
        return np.asarray(value, dtype.storage)[()]

    def index(self, value: Size, dtype: DType) -> Any:
        return self.constant(value, dtype)  # type: ignore[arg-type]

    def inside(self, conditions: Sequence[tuple[int, int]]) -> bool:
        return all(0 <= expression < extent for expression, extent in conditions)

    def select(self, condition: bool, then: Callable[[], Any], other: Callable[[], Any]) -> Any:
        return then() if condition else other()

    def reduce(self, kind: str, extents: Sequence[int], body: Callable[..., Any]) -> Any:
        terms = [body(*place) for place in np.ndindex(*extents)]
        match kind:
            case "argmax" | "argmin":
                values = np.array([value for value, _ in terms])
                return terms[int(getattr(np, kind)(values))]
            case "max" | "min":
                return getattr(np, kind)(np.array(terms))
            case "any" | "all":
                return np.bool_({"any": any, "all": all}[kind](terms))
            case "sum" | "prod":
                values = np.array(terms)
                wide = np.float64 if values.dtype.kind == "f" else values.dtype
                return getattr(np, kind)(values, dtype=wide)
        raise AssertionError(kind)

    def position(self, element: Any, extent: int) -> int:
        assert 0 <= element < extent
        return int(element)


@pytest.mark.parametrize("op", [op for op in OPS if op.index_rule is not None], ids=named)
def test_the_index_form_is_the_reference(op: Primitive) -> None:
    assert op.index_rule is not None
    for sample in samples(op):
        (wanted,) = compute(op, sample)
        found = np.zeros_like(wanted)
        operands = [ConcreteOperand(x, type) for x, type in zip(sample.operands, sample.types, strict=True)]
        with np.errstate(all="ignore"):
            for index in np.ndindex(*wanted.shape):
                found[index] = op.index_rule(Concrete(), index, *operands, **sample.attributes)
        assert_same(found, wanted, op.exact or wanted.dtype == np.uint16, sample.name)


class Symbolic(Concrete):
    """Records the indices at which an operand is read, as polynomials in the result's index."""

    def select(self, condition: Any, then: Callable[[], Any], other: Callable[[], Any]) -> Any:
        return then()

    def inside(self, conditions: Any) -> bool:
        return True


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((6,), (2, 3), "3*i + j"),
        (("n", 3), ("n", 3), "i, j"),
        (("3*n",), ("n", 3), "3*i + j"),
        (("n", 4), ("n", 2, 2), "i, 2*j + k"),
        (("n", 1, 4), ("n", 4), "i, 0, j"),
        (("n", 2, 3), ("n", 6), "i, (j) // 3, (j) % 3"),
        (("m*n", 3), ("m", "n", 3), "i*n + j, k"),
        ((2, 2, 5), (4, 5), "(i) // 2, (i) % 2, j"),
    ],
)
def test_reshape_divides_only_where_it_must(old: Any, new: Any, expected: str) -> None:
    sizes = {"n": Dim.named("n"), "m*n": Dim.named("m") * Dim.named("n"), "3*n": 3 * Dim.named("n"), "m": Dim.named("m")}
    old, new = (tuple(sizes.get(dim, dim) for dim in dims) for dims in (old, new))
    read: list[str] = []

    class Recorder:
        type = TensorType(F32, old)

        def __call__(self, *index: Size) -> None:
            read.append(", ".join(map(str, index)).replace("((", "(").replace("))", ")"))

    index = tuple(Dim.named(name) for name in "ijk"[: len(new)])
    reshape = primitive_named("reshape")
    assert reshape.infer((Recorder.type,), {"shape": new}) == (TensorType(F32, new),)
    assert reshape.index_rule is not None
    reshape.index_rule(Symbolic(), index, Recorder(), shape=new)
    assert [text.strip("()") if text.count("(") != text.count(")") else text for text in read] == [expected]


# -- batching ----------------------------------------------------------------------------------------------------------
def batches(sample: Sample) -> Iterator[tuple[bool, ...]]:
    """Which operands have the extra axis: every nonempty choice of the first few operands."""
    count = len(sample.operands)
    if count <= 3:
        yield from (flags for flags in itertools.product((False, True), repeat=count) if any(flags))
    else:
        yield from (tuple(place == chosen for place in range(count)) for chosen in range(count))
        yield (True,) * count


def stacked(x: Array) -> Array:
    """`x`, and its elements in reverse: valid wherever x is, as an index too."""
    return np.stack([x, np.flip(x.reshape(-1)).reshape(x.shape)])


@pytest.mark.parametrize("op", [op for op in OPS if op.batch_rule is not None], ids=named)
def test_the_batch_rule_is_a_loop_over_slices(op: Primitive) -> None:
    for sample in samples(op):
        for flags in batches(sample):
            operands = [stacked(x) if flag else x for x, flag in zip(sample.operands, flags, strict=True)]
            rows = [
                compute(op, sample, [x[row] if flag else x for x, flag in zip(operands, flags, strict=True)])
                for row in range(2)
            ]
            assert op.batch_rule is not None
            found = both_ways(lambda *xs, f=flags: op.batch_rule(f, *xs, **sample.attributes), operands, sample.name)
            for result, wanted in zip(found, zip(*rows, strict=True), strict=True):
                assert_same(result, np.stack(wanted), op.exact, f"{sample.name} {flags}")


# -- rules are polymorphic ---------------------------------------------------------------------------------------------
def emitted(rule: Callable[..., Any], types: Sequence[TensorType]) -> tuple[Graph, list[bool]]:
    """The program that a rule writes on operands of `types`, and which of its results there are."""
    graph = Graph("rule")
    builder = Builder(graph)
    results = listed(rule(*builder.exprs([builder.input(type) for type in types])))
    for result in results:
        assert result is None or isinstance(result, Expr)
    graph.outputs = tuple(result.value for result in results if result is not None)
    verify(graph)
    return graph, [result is not None for result in results]


def both_ways(rule: Callable[..., Any], operands: Sequence[Array], where: str) -> list[Any]:
    """What `rule` computes on arrays, having checked that the program it writes computes the same."""
    with np.errstate(all="ignore"):
        direct = listed(rule(*operands))
    graph, present = emitted(rule, Sample("", tuple(operands)).types)
    assert [result is not None for result in direct] == present, where
    results = iter(run(graph, *operands))
    for result in direct:
        if result is not None:
            assert_same(next(results), result, False, f"{where}: written and computed differ")
    return list(direct)


# -- derivatives -------------------------------------------------------------------------------------------------------
def cotangents_like(op: Primitive, sample: Sample, random: np.random.Generator) -> list[Array]:
    """A random cotangent of each floating result."""
    return [random.standard_normal(r.shape) for r in compute(op, sample) if r.dtype.kind == "f"]


def cotangent_rule(op: Primitive, sample: Sample) -> Callable[..., Any]:
    """The op's vjp as a function of the cotangents of its floating results, then its operands."""
    count = sum(r.dtype.kind == "f" for r in compute(op, sample))

    def rule(*arguments: Any) -> Any:
        g, operands = arguments[:count], arguments[count:]
        if op.transpose_rule is not None:
            return op.transpose_rule(g[0], *operands, **sample.attributes)
        out = op(*operands, **sample.attributes)
        assert op.vjp_rule is not None
        given = (*g, *(None for _ in out[count:])) if isinstance(out, tuple) else g[0]
        return op.vjp_rule(given, out, *operands, **sample.attributes)

    return rule


def floating(x: Array) -> bool:
    return x.dtype.kind == "f"


def directional(function: Callable[..., Sequence[Array]], at: Sequence[Array], towards: Sequence[Array]) -> list[Array]:
    """The derivative of the floating results in a direction, by central differences of two steps, extrapolated."""

    def slope(step: float) -> list[Array]:
        sides = []
        for sign in (1, -1):
            moved = [x + sign * step * t if floating(x) else x for x, t in zip(at, towards, strict=True)]
            sides.append([r for r in function(*moved) if floating(np.asarray(r))])
        return [(high - low) / (2 * step) for high, low in zip(*sides, strict=True)]

    coarse, fine = slope(2e-4), slope(1e-4)
    return [(4 * f - c) / 3 for f, c in zip(fine, coarse, strict=True)]


def inner(left: Sequence[Any], right: Sequence[Any]) -> float:
    return float(sum(np.sum(np.asarray(a) * b) for a, b in zip(left, right, strict=True)))


def random_like(operands: Sequence[Array], random: np.random.Generator) -> list[Array]:
    return [random.standard_normal(x.shape) if floating(x) else x for x in operands]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=named)
def test_the_vjp_is_the_transpose_of_the_derivative(op: Primitive) -> None:
    """<g, J t> = <J' g, t>, with J t by central differences."""
    random = np.random.default_rng(7)
    assert numeric(op)
    for sample in numeric(op):
        g = cotangents_like(op, sample, random)
        found = both_ways(cotangent_rule(op, sample), [*g, *sample.operands], sample.name)
        tangents = random_like(sample.operands, random)
        moved = directional(lambda *xs, s=sample: compute(op, s, xs), sample.operands, tangents)
        pairs = [(c, t) for c, t, x in zip(found, tangents, sample.operands, strict=True) if floating(x)]
        for cotangent, tangent in pairs:
            assert cotangent.shape == tangent.shape, sample.name
        for cotangent, x in zip(found, sample.operands, strict=True):
            assert (cotangent is not None) == floating(x), sample.name
        left, right = inner(g, moved), inner(*zip(*pairs, strict=True))
        assert left == pytest.approx(right, rel=1e-7, abs=1e-7), sample.name


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.transpose_rule is not None], ids=named)
def test_the_transpose_pairs_exactly(op: Primitive) -> None:
    """<A t, g> = <t, A' g>, in all linear operands together, or in each of a multilinear op."""
    random = np.random.default_rng(8)
    for sample in numeric(op):
        attributes = {**sample.attributes, **({"value": 0} if op.name == "pad" else {})}
        (g,) = cotangents_like(op, sample, random)
        found = listed(op.transpose_rule(g, *sample.operands, **sample.attributes))  # type: ignore[misc]
        tangents = random_like(sample.operands, random)
        linear = [place for place, x in enumerate(sample.operands) if floating(x)]
        for chosen in [[place] for place in linear] if op.multilinear else [linear]:
            arguments = [tangents[p] if p in chosen else x for p, x in enumerate(sample.operands)]
            moved = np.asarray(op.reference(*arguments, **attributes))
            left = inner([g], [moved])
            right = inner([found[p] for p in chosen], [tangents[p] for p in chosen])
            assert left == pytest.approx(right, rel=1e-11, abs=1e-11), sample.name


# Where a zero factor meets a written rule that divides, second derivatives lack terms: their docstrings say so.
NO_SECOND_ORDER = {("cumulate_prod", "zeros"), ("cumulate_prod", "zeros, other way"), ("scatter_mul", "zeros")}


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=named)
def test_rules_can_be_differentiated(op: Primitive) -> None:
    """The program that a rule writes has a derivative, and it is right: second order."""
    random = np.random.default_rng(9)
    for sample in numeric(op):
        if (op.name, sample.name) in NO_SECOND_ORDER:
            continue
        operands = [*cotangents_like(op, sample, random), *sample.operands]
        graph, _ = emitted(cotangent_rule(op, sample), Sample("", tuple(operands)).types)
        derivative = differentiate(graph)
        count = len(graph.outputs)
        results = run(derivative.forward, *operands)
        seeds = [random.standard_normal(results[index].shape) for index in derivative.seeded]
        cotangents = run(derivative.backward, *seeds, *results[count:])
        tangents = random_like(operands, random)
        moved = directional(lambda *xs, p=graph: run(p, *xs), operands, tangents)
        left = inner(seeds, moved)
        right = inner(cotangents, [tangents[index] for index in derivative.reached])
        assert left == pytest.approx(right, rel=1e-6, abs=1e-6), sample.name


def vjp(name: str, g: Any, *operands: Any, **attributes: Any) -> list[list[Any]]:
    """The cotangents of the floating operands, as lists."""
    op = primitive_named(name)
    arrays = tuple(np.asarray(x) for x in operands)
    found = listed(cotangent_rule(op, Sample("", arrays, attributes))(np.asarray(g, float), *arrays))
    return [np.asarray(c).tolist() for c in found if c is not None]


NAN = float("nan")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (vjp("reduce_max", 6.0, [1.0, 3.0, 3.0], axes=(0,)), [[0, 3, 3]]),
        (vjp("reduce_min", [6.0, 1.0], [[2.0, 2.0, 2.0], [0.0, -0.0, 1.0]], axes=(1,)), [[[2, 2, 2], [0.5, 0.5, 0]]]),
        (vjp("reduce_max", 6.0, [NAN, 3.0, NAN], axes=(0,)), [[3, 0, 3]]),
        (vjp("cumulate_max", [1.0, 2, 3, 4], [1.0, 1.0, 0.0, 2.0], axis=0, reverse=False), [[1, 5, 0, 4]]),
        (vjp("cumulate_max", [1.0, 2, 3, 4], [1.0, 1.0, 0.0, -1.0], axis=0, reverse=True), [[1, 2, 3, 4]]),
        (vjp("cumulate_min", [1.0, 2, 3], [1.0, NAN, 0.0], axis=0, reverse=False), [[1, 5, 0]]),
        (vjp("scatter_max", [6.0, 1.0], [2.0, 0.0], [2.0, 1.0, 2.0], [0, 0, 0], axes=(0,)), [[2, 1], [2, 0, 2]]),
        (vjp("scatter_set", [5.0, 7.0], [1.0, 2.0], [3.0, 4.0, 5.0], [0, 0, 0], axes=(0,)), [[0, 7], [0, 0, 5]]),
        (vjp("reduce_prod", 1.0, [0.0, 2.0, 3.0], axes=(0,)), [[6, 0, 0]]),
        (vjp("reduce_prod", 1.0, [0.0, 0.0, 3.0], axes=(0,)), [[0, 0, 0]]),
    ],
)  # fmt: skip
def test_ties_nans_and_zeros(found: list[list[Any]], expected: list[list[Any]]) -> None:
    assert found == expected


# -- named sizes -------------------------------------------------------------------------------------------------------
N, M = Dim.named("n"), Dim.named("m")
CONV = {"stride": (1, 2), "padding": ((1, 1), (0, 2)), "input_dilation": (1, 1), "kernel_dilation": (1, 1), "groups": 1}


def conv(stride: int, padding: tuple[int, int], input_dilation: int, kernel_dilation: int, groups: int) -> dict[str, Any]:
    return {
        "stride": (stride,), "padding": (padding,), "input_dilation": (input_dilation,),
        "kernel_dilation": (kernel_dilation,), "groups": groups,
    }  # fmt: skip


SYMBOLIC: list[tuple[str, list[tuple[Size, ...]], dict[str, Any]]] = [
    ("reshape", [(N, 2, M)], {"shape": (2 * N, M)}),
    ("reshape", [(6 * N,)], {"shape": (N, 3, 2)}),
    ("expand", [(N, 1)], {"shape": (M, N, 3)}),
    ("expand", [()], {"shape": (N, M)}),
    ("slice", [(N, M)], {"start": (N - 1, 1), "size": (N, M - 1), "step": (-1, 1)}),
    ("pad", [(N, M)], {"low": (M, 0), "high": (0, 1), "interior": (0, 2), "value": 0}),
    ("concat", [(N, 2), (M, 2)], {"axis": 0}),
    ("window", [(N, M)], {"axes": (1,), "size": (2,), "stride": (2,), "dilation": (1,)}),
    ("dot", [(N, M), (M, 3)], {"contract": ((1,), (0,)), "batch": ((), ())}),
    ("dot", [(N, 2, M), (M, N, 3)], {"contract": ((2,), (0,)), "batch": ((0,), (1,))}),
    ("conv", [(N, 2, M), (3, 2, 3)], conv(1, (1, 1), 1, 1, 1)),
    ("conv", [(N, 2, M), (3, 2, 3)], conv(2, (1, 1), 1, 1, 1)),
    ("conv", [(N, 2, M), (3, 2, 1)], conv(2, (0, 0), 1, 1, 1)),
    ("conv", [(N, 2, M), (3, 2, 2)], conv(3, (0, 3), 1, 2, 1)),
    ("conv", [(N, 2, 2 * M), (4, 1, 3)], conv(2, (1, 1), 1, 1, 2)),
    ("conv", [(N, 2, M), (3, 2, 3)], conv(2, (4, 2), 2, 1, 1)),
    ("reduce_sum", [(N, M)], {"axes": (0,)}),
    ("reduce_prod", [(N, M, 2)], {"axes": (0, 2)}),
    ("reduce_max", [(N, M)], {"axes": (1,)}),
    ("cumulate_prod", [(N, M)], {"axis": 1, "reverse": True}),
    ("cumulate_min", [(N, M)], {"axis": 0, "reverse": False}),
    ("sort", [(N, M)], {"axis": 1, "descending": True}),
]


@pytest.mark.parametrize("sizes", [{"n": 2, "m": 5}, {"n": 3, "m": 4}], ids=str)
@pytest.mark.parametrize(("name", "shapes", "attributes"), SYMBOLIC)
def test_rules_hold_for_named_sizes(
    name: str, shapes: list[tuple[Size, ...]], attributes: dict[str, Any], sizes: dict[str, int]
) -> None:
    """A rule written on named sizes gives each operand a cotangent of its own type, to second order, and is right."""
    op = primitive_named(name)
    types = [TensorType(F64, shape) for shape in shapes]
    results = [type for type in op.infer(types, attributes) if type.dtype.is_float]
    random = np.random.default_rng(10)
    concrete = [random.standard_normal([int(np.asarray(d.evaluate(sizes) if isinstance(d, Dim) else d)) for d in t.dims])
                for t in (*results, *types)]  # fmt: skip
    numbers: dict[str, Any] = adjit.ir.analysis.substitute_attribute(tuple(attributes.items()), sizes)  # type: ignore
    sample = Sample("", tuple(concrete[len(results) :]), dict(numbers))
    symbolic = Sample("", sample.operands, attributes)
    rule, wanted = cotangent_rule(op, sample), listed(cotangent_rule(op, sample)(*concrete))
    assert rule is not None

    def symbolic_rule(*arguments: Any) -> Any:
        g, operands = arguments[: len(results)], arguments[len(results) :]
        if op.transpose_rule is not None:
            return op.transpose_rule(g[0], *operands, **symbolic.attributes)
        out = op(*operands, **attributes)
        assert op.vjp_rule is not None
        return op.vjp_rule((*g, None) if isinstance(out, tuple) else g[0], out, *operands, **attributes)

    graph, _ = emitted(symbolic_rule, [*results, *types])
    assert [value.type for value in graph.outputs] == types
    for found, expected in zip(run(graph, *concrete), wanted, strict=True):
        assert_same(found, expected, False, name)
    second = differentiate(graph)
    verify(second.backward)
    given = [graph.inputs[index].type for index in second.reached]
    assert [value.type for value in second.backward.outputs] == given


# -- errors ------------------------------------------------------------------------------------------------------------
def t(*dims: Size, dtype: str = "f32") -> TensorType:
    return TensorType(dtype_named(dtype), dims)


@pytest.mark.parametrize(
    ("name", "types", "attributes", "error", "message"),
    [
        ("reshape", [t(2, 3)], {"shape": (4,)}, ShapeError, "reshape: f32[2, 3] has 6 elements, [4] has 4"),
        ("reshape", [t(N, 2)], {"shape": (N,)}, ShapeError, "reshape: f32[n, 2] has 2*n elements, [n] has n"),
        ("permute", [t(2, 3)], {"perm": (0, 0)}, DimError, "permute: an axis is named twice in [0, 0]"),
        ("permute", [t(2, 3)], {"perm": (0,)}, ShapeError, "permute: perm has 1 entries for 2 axes"),
        ("expand", [t(2, 3)], {"shape": (3, 3)}, ShapeError, "expand: f32[2, 3] does not broadcast to [3, 3]"),
        ("expand", [t(N)], {"shape": (M,)}, ShapeError, "expand: f32[n] does not broadcast to [m]"),
        ("slice", [t(3)], {"start": (1,), "size": (3,), "step": (1,)}, ShapeError,
         "slice: element 3 of axis 0 is outside f32[3]"),
        ("slice", [t(N)], {"start": (1,), "size": (N,), "step": (1,)}, ShapeError,
         "slice: element n of axis 0 is outside f32[n]"),
        ("slice", [t(3)], {"start": (0,), "size": (1,), "step": (0,)}, ShapeError, "slice: a step is zero"),
        ("pad", [t(3)], {"low": (-1,), "high": (0,), "interior": (0,), "value": 0}, ShapeError,
         "pad: low -1 is less than 0"),
        ("concat", [t(2, 3), t(2, 4)], {"axis": 0}, ShapeError,
         "concat: f32[2, 3] and f32[2, 4] differ in more than axis 0"),
        ("concat", [t(2), t(2, dtype="f64")], {"axis": 0}, DTypeError, "concat: operands of f32 and f64"),
        ("window", [t(3)], {"axes": (0,), "size": (4,), "stride": (1,), "dilation": (1,)}, ShapeError,
         "window: a window over 4 elements does not fit the extent 3"),
        ("fold", [t(3, 2)], {"axes": (0,), "size": (2,), "stride": (1,), "dilation": (1,), "shape": (5,)}, ShapeError,
         "fold: axis 0 of f32[3, 2] and of the windows over [5]: 3 and 4 differ"),
        ("dot", [t(2, 3), t(4, 5)], {"contract": ((1,), (0,)), "batch": ((), ())}, ShapeError,
         "dot: axis 1 of f32[2, 3] meets axis 0 of f32[4, 5]: 3 and 4 differ"),
        ("dot", [t(2, dtype="bool"), t(2, dtype="bool")], {"contract": ((0,), (0,)), "batch": ((), ())}, DTypeError,
         "dot: an operand is bool[2]; it takes uint, int, float"),
        ("dot", [t(2), t(2)], {"contract": ((1,), (0,)), "batch": ((), ())}, DimError,
         "dot: axis 1 is outside an operand of 1 axes"),
        ("conv", [t(1, 2, 5), t(3, 3, 2)], conv(1, (0, 0), 1, 1, 1), ShapeError,
         "conv: channels of f32[1, 2, 5] and of f32[3, 3, 2] in 1 groups: 2 and 3 differ"),
        ("conv", [t(1, 2, 5), t(3, 1, 2)], conv(1, (0, 0), 1, 1, 2), ShapeError, "conv: 3 output channels in 2 groups"),
        ("conv", [t(1, 2, 3), t(3, 2, 3)], conv(1, (0, 0), 1, 2, 1), ShapeError,
         "conv: a window over 5 elements does not fit the extent 3"),
        ("reduce_sum", [t(2)], {"axes": (1,)}, DimError, "reduce_sum: axis 1 is outside an operand of 1 axes"),
        ("reduce_sum", [t(2, dtype="bool")], {"axes": (0,)}, DTypeError,
         "reduce_sum: an operand is bool[2]; it takes uint, int, float"),
        ("reduce_max", [t(2, 0)], {"axes": (1,)}, ShapeError, "reduce_max: of no elements, axis 1 of f32[2, 0]"),
        ("argmax", [t(0)], {"axis": 0}, ShapeError, "argmax: of no elements, axis 0 of f32[0]"),
        ("cumulate_sum", [t()], {"axis": 0, "reverse": False}, DimError,
         "cumulate_sum: axis 0 is outside an operand of 0 axes"),
        ("gather", [t(3), t(2)], {"axes": (0,)}, DTypeError, "gather: an operand is f32[2]; it takes uint, int"),
        ("gather", [t(3, 3), t(2, dtype="i64"), t(3, dtype="i64")], {"axes": (0, 1)}, ShapeError,
         "gather: indices of shapes i64[2] and i64[3]"),
        ("scatter_add", [t(3, 2), t(4), t(4, dtype="i64")], {"axes": (0,)}, ShapeError,
         "scatter_add: updates are f32[4], the places written are [4, 2]"),
        ("iota", [], {"shape": (2,), "axis": 1, "dtype": I64}, DimError, "iota: axis 1 is outside an operand of 1 axes"),
        ("iota", [], {"shape": (2,), "axis": 0, "dtype": BOOL}, DTypeError,
         "iota: an operand is bool[2]; it takes uint, int, float"),
        ("random_bits", [t(2, dtype="i32")], {"shape": (2,)}, ShapeError, "random_bits: the key is i32[2], not i64[2]"),
        ("cond", [t()], {"regions": ()}, ShapeError, "cond: 0 regions, not 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    name: str, types: list[TensorType], attributes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        primitive_named(name).infer(types, attributes)
    assert str(caught.value) == message


@pytest.mark.parametrize("index", [-1, 3])
@pytest.mark.parametrize("name", ["gather", "scatter_set", "scatter_add"])
def test_an_index_outside_is_a_fault(name: str, index: int) -> None:
    updates = () if name == "gather" else (np.ones(1),)
    with pytest.raises(DimError, match=rf"{name}: index {index} is outside axis 0 with 3 elements"):
        primitive_named(name)(np.ones(3), *updates, np.array([index]), axes=(0,))


# -- random bits -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seed", "offset", "block", "words"),
    [
        (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (-1, -1, -1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88 - 2**64, "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_words(seed: int, offset: int, block: int, words: str) -> None:
    """The known answers that come with the paper's own code."""
    arguments = [np.int64(x) for x in (seed, offset, block)]
    with np.errstate(over="ignore"):
        found = [random_word(*arguments, np.int64(place), np.int64) for place in range(4)]
    assert " ".join(f"{int(word) & 0xFFFFFFFF:08x}" for word in found) == words
    assert all(np.asarray(word).dtype == I32.storage for word in found) and Words.__doc__


def test_random_bits_are_the_words_in_order() -> None:
    first, second = (primitive_named("random_bits")(np.array([0, 0]), shape=(n,)) for n in (4, 10))
    assert [f"{int(word) & 0xFFFFFFFF:08x}" for word in first] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    assert second[:4].tolist() == first.tolist() and len(set(second.tolist())) == 10
