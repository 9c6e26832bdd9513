"""Each identity of `simplify` fires where it holds, stays away where it does not, and changes no bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adjit.compiler.legalize import legalize
from adjit.compiler.simplify import simplify
from adjit.compiler.simplify_rules import RULES
from adjit.ir.analysis import count_ops
from adjit.ir.ops import contraction, reduction, structure, windows
from adjit.ir.ops.arrays import cast, counted, equal, expand, full, permute, reshape, where
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, F16, F32, F64, I32, I64, TensorType
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.compiler.programs import PROGRAMS, _region, graph_of, scalar
from tests.compiler.random_graphs import random_arrays, random_graph

Function = Callable[..., Any]
TINY, HUGE = 1e-45, 3e38
EDGES = np.array([0.0, -0.0, 1.0, -1.0, 1.5, -2.0, TINY, -TINY, HUGE, -HUGE, np.inf, -np.inf, np.nan], np.float32)
X, Y = (TensorType(F32, (13,)) for _ in range(2))
ROW, SQUARE = TensorType(F32, (4,)), TensorType(F32, (2, 3))
LONG, FLAG = TensorType(I64, (13,)), TensorType(BOOL, (13,))
CUBE = TensorType(F32, (2, 3, 4))
LONG_ROW, PAIR = TensorType(F32, (8,)), TensorType(F32, (2,))


def operands(types: list[TensorType]) -> list[Any]:
    """Edge values; the second operand pairs each with another one."""
    found = []
    for number, type in enumerate(types):
        values = np.roll(EDGES, 5 * number)
        if type.dtype.kind == "bool":
            values = values > 0
        elif type.dtype.is_integer:
            values = np.arange(13) - 6 + number
        shape = [int(d) for d in type.dims]  # type: ignore[arg-type]
        found.append(np.resize(values, shape).astype(type.dtype.storage))
    return found


def spread(x: Any, value: float | bool) -> Any:
    return full(x, value, x.shape, x.dtype)


def select(start: Any, size: Any, step: Any) -> Function:
    return lambda x: structure.slice_(x, start=start, size=size, step=step)


def padded(x: Any, low: int, high: int, value: float, gap: int = 0) -> Any:
    return structure.pad(x, low=(low,), high=(high,), interior=(gap,), value=value)


def bordered(x: Any, sizes: tuple[int, ...]) -> Any:
    return structure.pad(x, low=sizes, high=(1, 0, 3) if sizes[0] == 0 else (0, 3, 1), interior=(0,) * 3, value=0)


def framed(x: Any, sizes: tuple[int, ...]) -> Any:
    return structure.pad(x, low=sizes, high=sizes, interior=(0,) * 3, value=0)


def written(x: Any, y: Any, start: int) -> Any:
    """`x` with the pair `y` at the places `start` and `start + 1`, as an assignment is traced."""
    low, high = (start,), (6 - start,)
    mask = structure.pad(full(y, True, y.shape, BOOL), low=low, high=high, interior=(0,), value=False)
    return where(mask, structure.pad(y, low=low, high=high, interior=(0,), value=0), x)


def dotted(x: Any, y: Any) -> Any:
    return contraction.dot(x, y, contract=((1,), (0,)), batch=((), ()))


# Program, operand types, and the ops that are left.
FIRES: dict[str, tuple[Function, list[TensorType], dict[str, int]]] = {
    "whether any of any": (
        lambda x: reduction.reduce_any(reduction.reduce_any(x > 0.0, axes=(1,)), axes=(0,)),
        [TensorType(F32, (4, 5))], {"reduce_any": 1, "lt": 1, "const": 1}),
    "chosen where any is": (
        lambda x, y: where(
            expand(reshape(reduction.reduce_any(x > 0.0, axes=(1,)), (4, 1)), (4, 5)), where(x > 0.0, x * y, x), x),
        [TensorType(F32, (4, 5))] * 2, {"where": 1, "mul": 1, "lt": 1, "const": 1}),
    "sum of the greatest": (
        lambda x: reduction.reduce_sum(
            where(
                equal(counted(x, x.shape, 1), expand(reshape(reduction.argmax(x, axis=1), (x.shape[0], 1)), x.shape)),
                x, 0.0,
            ), axes=(1,)),
        [TensorType(F32, (4, 5))], {"reduce_max": 1, "add": 1, "const": 1}),
    "element at the extreme": (
        lambda x: primitive_named("gather")(
            x, counted(x, (x.shape[0], 1), 0), reshape(reduction.argmax(x, axis=1), (x.shape[0], 1)), axes=(0, 1)),
        [TensorType(F32, (4, 5))], {"reduce_max": 1, "reshape": 1}),
    "read at no places": (
        lambda x, i: primitive_named("gather")(x, i, axes=(0,)),
        [TensorType(F32, (0,)), TensorType(I64, (0,))], {"const": 1, "expand": 1}),
    "what was written last": (
        lambda x, y: select((2,), (2,), (1,))(written(written(x, y, 2), y * 2.0, 4)), [LONG_ROW, PAIR], {}),
    "beside what was written": (
        lambda x, y: select((0,), (2,), (1,))(written(x, y, 2)), [LONG_ROW, PAIR], {"slice": 1}),
    "of a sum of pieces": (
        lambda x, y: select((2,), (2,), (1,))((x + padded(y, 2, 4, 0.0)) + padded(y, 4, 2, 0.0)), [LONG_ROW, PAIR],
        {"slice": 1, "add": 2, "const": 1}),
    "of a pad": (lambda y: select((3,), (1,), (1,))(padded(y, 2, 4, 0.0)), [PAIR], {"slice": 1}),
    "of a border": (lambda y: select((0,), (2,), (1,))(padded(y, 2, 4, 3.0)), [PAIR], {"const": 1, "expand": 1}),
    "slices in a row": (
        lambda x: structure.concat(select((0, 1), (4, 2), (1, 1))(x), select((0, 3), (4, 2), (1, 1))(x), axis=1),
        [TensorType(F32, (4, 5))], {"slice": 1}),
    "rows in a column": (
        lambda x: structure.concat(
            *(reshape(select((row, 0), (1, 5), (1, 1))(x), (5, 1)) for row in range(4)), axis=1),
        [TensorType(F32, (4, 5))], {"permute": 1}),
    "expand is implicit": (lambda x: x * spread(x, 3.0), [X], {"mul": 1, "const": 1}),
    "x + -0": (lambda x: x + spread(x, -0.0), [X], {}),
    "|x| + 0": (lambda x: scalar("abs")(x) + 0.0, [X], {"abs": 1}),
    "x + 0 + 0": (lambda x: (x + 0.0) + 0.0, [X], {"add": 1, "const": 1}),
    "i + 0": (lambda x: x + 0, [LONG], {}),
    "x + -y": (lambda x, y: x + -y, [X, Y], {"sub": 1}),
    "x - 0": (lambda x: x - 0.0, [X], {}),
    "x - -y": (lambda x, y: x - (-y), [X, Y], {"add": 1}),
    "x * 1": (lambda x: x * 1.0, [X], {}),
    "x * -1": (lambda x: x * -1.0, [X], {"neg": 1}),
    "i * 0": (lambda x: x * 0, [LONG], {"const": 1, "expand": 1}),
    "-x * -y": (lambda x, y: -x * -y, [X, Y], {"mul": 1}),
    "x / 1": (lambda x: x / 1.0, [X], {}),
    "x / -1": (lambda x: x / -1.0, [X], {"neg": 1}),
    "x / 4": (lambda x: x / 4.0, [X], {"mul": 1, "const": 1}),
    "-(-x)": (lambda x: scalar("neg")(-x), [X], {}),
    "~~c": (lambda c: ~(~c), [FLAG], {}),
    "||x||": (lambda x: scalar("abs")(scalar("abs")(x)), [X], {"abs": 1}),
    "|-x|": (lambda x: scalar("abs")(-x), [X], {"abs": 1}),
    "x ** 2": (lambda x: x**2.0, [X], {"mul": 1}),
    "x ** 1": (lambda x: x**1.0, [X], {}),
    "x ** 0": (lambda x: x**0.0, [X], {"const": 1, "expand": 1}),
    "2 ** x": (lambda x: scalar("pow")(2.0, x), [X], {"exp2": 1}),
    "x ** -1": (lambda x: x**-1.0, [X], {"div": 1, "const": 1}),
    "max(x, x)": (lambda x: scalar("maximum")(x, x), [X], {}),
    "c & true": (lambda c: c & True, [FLAG], {}),
    "c | true": (lambda c: c | True, [FLAG], {"const": 1, "expand": 1}),
    "c ^ true": (lambda c: scalar("xor")(c, True), [FLAG], {"not": 1}),
    "where(true, x, y)": (lambda x, y: where(full(x, True, (), BOOL), x, y), [X, Y], {}),
    "where(c, x, x)": (lambda c, x: where(c, x, x), [FLAG, X], {}),
    "where(~c, x, y)": (lambda c, x, y: where(~c, x, y), [FLAG, X, Y], {"where": 1}),
    "cast to itself": (lambda x: cast(x, F32), [X], {}),
    "cast there and back": (lambda x: cast(cast(x, F64), F32), [X], {}),
    "cast of i32 by f64": (lambda x: cast(cast(x, F64), I32), [TensorType(I32, (13,))], {}),
    "bits there and back": (lambda x: scalar("bitcast")(scalar("bitcast")(x, dtype=I32), dtype=F32), [X], {}),
    "reshape to the same": (lambda x: structure.reshape(x, shape=(2, 3)), [SQUARE], {}),
    "reshape twice": (lambda x: reshape(reshape(x, (6,)), (3, 2)), [SQUARE], {"reshape": 1}),
    "reshape of a constant": (lambda x: reshape(spread(x, 2.0), (6,)), [SQUARE], {"const": 1, "expand": 1}),
    "permute to the same": (lambda x: structure.permute(x, perm=(0, 1)), [SQUARE], {}),
    "permute there and back": (lambda x: permute(permute(x, (1, 0)), (1, 0)), [SQUARE], {}),
    "permute twice": (lambda x: permute(permute(x, (2, 0, 1)), (2, 1, 0)), [CUBE], {"permute": 1}),
    "permute of merged axes": (
        lambda x: permute(reshape(permute(x, (1, 0, 2)), (x.shape[1] * x.shape[0], x.shape[2])), (1, 0)),
        [CUBE], {"permute": 1, "reshape": 1}),
    "permute of spread factors": (
        lambda x, y: permute(expand(reshape(x, (2, 3, 1)), (2, 3, 8)) * expand(y, (2, 3, 8)), (2, 1, 0)),
        [SQUARE, LONG_ROW], {"permute": 1, "reshape": 2, "expand": 2, "mul": 1}),
    "permute of ones": (lambda x: permute(reshape(x, (2, 1, 3)), (1, 0, 2)), [SQUARE], {"reshape": 1}),
    "expand to the same": (lambda x: structure.expand(x, shape=(2, 3)), [SQUARE], {}),
    "expand twice": (
        lambda x: structure.expand(structure.expand(x, shape=(3, 4)), shape=(2, 3, 4)), [ROW], {"expand": 1}),
    "expand of ones in front": (lambda x: structure.expand(reshape(x, (1, 4)), shape=(3, 4)), [ROW], {"expand": 1}),
    "one update each row": (
        lambda x, flag: scalar("scatter_add")(
            full(x, 0.0, (13, 2), F32), x, counted(x, (13,), 0), cast(flag, I64), axes=(0, 1)), [X, FLAG],
        {"iota": 2, "reshape": 2, "expand": 2, "const": 1, "cast": 1, "gather": 1, "eq": 1, "add": 1, "where": 1}),
    "slice of all": (select((0, 0), (2, 3), (1, 1)), [SQUARE], {}),
    "slice twice": (lambda x: select((1,), (1,), (1,))(select((3,), (2,), (-2,))(x)), [ROW], {"slice": 1}),
    "pad of nothing": (lambda x: padded(x, 0, 0, 1.0), [ROW], {}),
    "pad twice": (lambda x: padded(padded(x, 1, 2, 0.5), 3, 0, 0.5), [ROW], {"pad": 1}),
    "pad of permuted": (
        lambda x: bordered(permute(x, (2, 0, 1)), (0, 1, 2)) + permute(bordered(x, (1, 2, 0)), (2, 0, 1)), [CUBE],
        {"pad": 1, "permute": 1, "add": 1}),
    "pad of permuted to the last": (
        lambda x: framed(permute(x, (2, 0, 1)), (0, 1, 1))
        + permute(framed(permute(x, (0, 2, 1)), (1, 0, 1)), (1, 0, 2)),
        [CUBE], {"pad": 1, "permute": 1, "add": 1}),
    "concat of one": (lambda x: structure.concat(x, axis=0), [ROW], {}),
    "window over no axis": (lambda x: windows.window(x, axes=(), size=(), stride=(), dilation=()), [ROW], {}),
    "sum over no axis": (lambda x: reduction.reduce_sum(x, axes=()), [ROW], {"add": 1, "const": 1}),
    "max over no axis": (lambda x: reduction.reduce_max(x, axes=()), [ROW], {}),
    "sum of all of a permuted": (
        lambda x: reduction.reduce_sum(reshape(permute(x, (2, 0, 1)), (8, 3)) * reshape(permute(x, (2, 0, 1)), (8, 3)),
                                       axes=(0, 1)), [CUBE], {"mul": 1, "reduce_sum": 1}),
    "dot of permuted": (
        lambda x, y: dotted(permute(x, (1, 0)), y), [TensorType(F32, (3, 2)), TensorType(F32, (3, 4))], {"dot": 1}),
    "dot of permuted and converted": (
        lambda x, y: dotted(cast(permute(x, (1, 0)), F64), cast(y, F64)),
        [TensorType(F32, (3, 2)), TensorType(F32, (3, 4))], {"dot": 1, "cast": 2}),
    "reshape of dot": (
        lambda x, y: reshape(dotted(x, y), (2, 2, 2)), [SQUARE, TensorType(F32, (3, 4))], {"dot": 1, "reshape": 1}),
    "constants": (lambda x: x + (full(x, 3.0, (), F32) * 0.1 - 7.0), [X], {"add": 1, "const": 1}),
    "equal ops": (lambda x, y: (x * y) - (y * x), [X, Y], {"mul": 1, "sub": 1}),
}  # fmt: skip

# Powers with a plainer form, and the ops that are left of each.
POWERS: dict[float, dict[str, int]] = {
    3.0: {"mul": 2},
    4.0: {"mul": 2},
    -2.0: {"div": 1, "mul": 1, "const": 1},
    1.5: {"sqrt": 1, "mul": 1, "eq": 1, "where": 1, "const": 2},
    -1.5: {"sqrt": 1, "div": 2, "eq": 1, "where": 1, "const": 3},
}

# Nothing here may change.
STAYS: dict[str, tuple[Function, list[TensorType]]] = {
    "partly written": (lambda x, y: select((1,), (2,), (1,))(written(x, y, 2)), [LONG_ROW, PAIR]),
    "slices out of order": (
        lambda x: structure.concat(select((0, 3), (4, 2), (1, 1))(x), select((0, 1), (4, 2), (1, 1))(x), axis=1),
        [TensorType(F32, (4, 5))]),
    "x + 0": (lambda x: x + 0.0, [X]),
    "x - -0": (lambda x: x - -0.0, [X]),
    "x * 0": (lambda x: x * 0.0, [X]),
    "x - x": (lambda x: x - x, [X]),
    "x / x": (lambda x: x / x, [X]),
    "x / 3": (lambda x: x / 3.0, [X]),
    "x / 2**120": (lambda x: x / 2.0**120, [X]),
    "-(x - y)": (lambda x, y: -(x - y), [X, Y]),
    "-x * y": (lambda x, y: -x * y, [X, Y]),
    "x ** 5": (lambda x: x**5.0, [X]),
    "x ** 0.5": (lambda x: x**0.5, [X]),
    "max(x, y)": (lambda x, y: scalar("maximum")(x, y), [X, Y]),
    "x - y - x": (lambda x, y: x - y - x, [X, Y]),
    "exp of a constant": (lambda x: x + scalar("exp")(full(x, 1.0, (), F32)), [X]),
    "cast through a narrower dtype": (lambda x: cast(cast(x, F16), F32), [X]),
    "cast of i64 by f64": (lambda x: cast(cast(x, F64), I64), [LONG]),
    "bits of another dtype": (lambda x: cast(scalar("bitcast")(x, dtype=I32), F32), [X]),
    "expand of ones behind": (lambda x: structure.expand(reshape(x, (4, 1)), shape=(4, 3)), [ROW]),
    "permute of rows": (lambda x: permute(x, (1, 0)), [SQUARE]),
    "pad with two values": (lambda x: padded(padded(x, 1, 2, 0.5), 3, 0, -0.5), [ROW]),
    "pad with signs of zero": (lambda x: padded(padded(x, 1, 2, 0.0), 3, 0, -0.0), [ROW]),
    "pad between": (lambda x: padded(padded(x, 1, 0, 0.0, 1), 1, 1, 0.0), [ROW]),
    "slice of a part": (select((0, 0), (2, 2), (1, 1)), [SQUARE]),
    "slice reversed": (select((1, 0), (2, 3), (-1, 1)), [SQUARE]),
    "division by zero": (lambda x: x + scalar("div")(full(x, 1, (), I64), 0), [LONG]),
    "reshape across the axes of a dot": (
        lambda x, y: reshape(dotted(x, y), (4, 2)), [SQUARE, TensorType(F32, (3, 4))]),
    "reshape of a dot with ones": (
        lambda x, y: reshape(dotted(x, y), (2, 4, 1)), [SQUARE, TensorType(F32, (3, 4))]),
    "sum of a part of a permuted": (
        lambda x: reduction.reduce_sum(permute(x, (2, 0, 1)) * 2.0, axes=(0, 1)), [CUBE]),
    "sum of one": (lambda x: reduction.reduce_sum(x, axes=(1,)), [TensorType(F32, (13, 1))]),
}


def fired(function: Function, types: list[TensorType], left: dict[str, int]) -> list[tuple[Any, Any]]:
    """The results of a program and of the one before it was simplified, which are equal, NaN to NaN."""
    graph = graph_of(function, types)
    result = simplify(graph)
    verify(result)
    assert count_ops(result) == Counter(left), str(result)
    arrays = operands(types)
    pairs = list(zip(run(result, *arrays), run(graph, *arrays), strict=True))
    for ours, theirs in pairs:
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
    return pairs


@pytest.mark.parametrize("name", FIRES)
def test_identities_fire_and_change_no_bit(name: str) -> None:
    for ours, theirs in fired(*FIRES[name]):
        # Zeros are told apart by their sign.
        np.testing.assert_array_equal(np.signbit(ours) & (ours == 0), np.signbit(theirs) & (theirs == 0))


SINGLE: dict[str, tuple[Function, list[TensorType], dict[str, int]]] = {
    "nothing": (
        lambda x, y: contraction.dot(x, y, contract=((), ()), batch=((0,), (0,))), [SQUARE, TensorType(F32, (2, 4))],
        {"reshape": 2, "expand": 2, "mul": 1}),
    "one product": (
        lambda x, y: contraction.dot(x, y, contract=((0,), (1,)), batch=((), ())),
        [TensorType(F32, (1, 13)), TensorType(F32, (13, 1))], {"reshape": 2, "expand": 2, "mul": 1}),
    "batches that stand last": (
        lambda x, y: contraction.dot(x, y, contract=((), ()), batch=((1,), (0,))), [SQUARE, TensorType(F32, (3, 4))],
        {"permute": 1, "reshape": 2, "expand": 2, "mul": 1}),
    "integers": (
        lambda x, y: contraction.dot(x, y, contract=((), ()), batch=((), ())), [LONG, LONG],
        {"reshape": 1, "expand": 2, "mul": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_dots_that_sum_nothing_become_products(name: str) -> None:
    """Only the sign of a zero may be another: a sum begins at 0."""
    fired(*SINGLE[name])
    function, types, _ = SINGLE[name]
    assert count_ops(simplify(graph_of(function, types), strict=True)) == Counter({"dot": 1})


@pytest.mark.parametrize("exponent", POWERS)
def test_powers_become_products(exponent: float) -> None:
    """Special values come out as they would, the others within 1.5 units in the last place."""
    special = [0.0, -0.0, np.inf, -np.inf, np.nan]
    x = np.array([*special, 1e-39, 1e30, -1e30, 3e-26, 1e-20, 1e20, 3.3, -2.7, 0.3, 1e12], np.float32)
    graph = graph_of(lambda x: x**exponent, [TensorType(F32, (x.size,))])
    result = simplify(graph)
    assert count_ops(result) == Counter(POWERS[exponent])
    assert count_ops(simplify(graph, strict=True)) == count_ops(graph)
    with np.errstate(all="ignore"):
        (found,) = run(result, x)
        exact = np.power(x.astype(np.float64), exponent)
        expected = exact.astype(np.float32)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    np.testing.assert_array_equal(np.signbit(found) & (found == found), np.signbit(expected) & (expected == expected))
    assert np.all(np.abs(found[finite] - exact[finite]) <= 1.5 * np.spacing(np.abs(expected[finite])))


@pytest.mark.parametrize("name", STAYS)
def test_near_misses_stay(name: str) -> None:
    function, types = STAYS[name]
    graph = graph_of(function, types)
    assert count_ops(simplify(graph)) == count_ops(graph)


def test_every_rule_fires_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {rule for listed in RULES.values() for rule in listed}
    fired = set()
    for op, listed in RULES.items():
        monkeypatch.setitem(RULES, op, [_watched(rule, fired) for rule in listed])
    for function, types, _ in (*FIRES.values(), *SINGLE.values()):
        simplify(graph_of(function, types))
    for exponent in POWERS:
        simplify(graph_of(lambda x, exponent=exponent: x**exponent, [X]))
    assert {rule.__name__ for rule in rules - fired} == set()


def _watched(rule: Any, fired: set[Any]) -> Any:
    def watched(site: Any) -> Any:
        found = rule(site)
        if found is not None:
            fired.add(rule)
        return found

    return watched


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_keep_their_bits(seed: int) -> None:
    graph = random_graph(seed, 20)
    result = simplify(graph)
    verify(result)
    arrays = random_arrays(graph, seed, 2, 3)
    for ours, theirs in zip(run(result, *arrays), run(graph, *arrays), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_known_branch_is_taken() -> None:
    def function(x: Any) -> Any:
        builder = x.emitter
        flag = builder.constant(False, BOOL)
        regions = [_region([x.type], lambda y: y + 1.0), _region([x.type], lambda y: y * 1.0 - 2.0)]
        return builder.expr(builder.emit(primitive_named("cond"), [flag, x.value], {}, regions).output)

    assert count_ops(simplify(graph_of(function, [X]))) == Counter({"sub": 1, "const": 1})


def test_regions_are_simplified() -> None:
    result = simplify(PROGRAMS["controlled"].graph())
    verify(result)
    assert {"cond", "while", "scan"} <= count_ops(result).keys()


# -- legalization -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PROGRAMS)
def test_legal_programs_hold_only_ops_with_kernels(name: str) -> None:
    program = PROGRAMS[name]
    result = legalize(program.graph())
    verify(result)
    for node in result.walk():
        assert node.op.body is None
        assert node.op.name not in ("conv", "call", "detach")
        computes = node.op.family in ("scalar", "contraction", "reduction") and node.op.name not in ("where", "cast")
        if computes:
            assert all(value.dtype.bits != 16 for value in node.inputs), str(node)
    sizes = {"n": 3, "m": 4}
    arrays = program.arrays(sizes)
    for ours, theirs in zip(run(result, *arrays), run(program.graph(), *arrays), strict=True):
        assert ours.dtype == theirs.dtype
        if theirs.dtype.itemsize != 2:
            np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6)


def test_wide_concats_become_trees() -> None:
    graph = graph_of(lambda x: structure.concat(*[x] * 100, axis=0), [ROW])
    result = legalize(graph)
    assert max(len(node.inputs) for node in result.nodes) <= 32
    (array,) = operands([ROW])
    np.testing.assert_array_equal(run(result, array)[0], run(graph, array)[0])


def test_locations_are_kept() -> None:
    from adjit.ir.graph import Location

    graph = graph_of(lambda x: scalar("gelu")(x), [X])
    graph.nodes[0].location = Location("train.py", 12)
    assert {node.location.line for node in legalize(graph).nodes} == {12}
