"""Laws over every primitive and all its samples: what an op says about itself agrees with what it computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any

import numpy as np
import pytest

from adjit.ir.errors import DimError, DTypeError, ShapeError
from adjit.ir.ops.source import random_word
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import BOOL, I32, I64, TensorType, dtype_named
from adjit.ir.verify import verify
from adjit.runtime.interpreter import run
from tests.ir.laws import OPS, TENSOR_OPS, assert_same, both_ways, compute, graph_of, named
from tests.samples import samples
from tests.sampling import SAMPLES, Array, Sample
from tests.window_samples import conv_attributes


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


# -- meanings without an index form ------------------------------------------------------------------------------------
COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "sum": np.add, "add": np.add, "prod": np.multiply, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
    "set": lambda old, new: new,
}  # fmt: skip


def by_definition(op: Primitive, sample: Sample) -> tuple[Any, ...]:
    """The op's results, computed as its docstring says, one element after the other."""
    family, _, kind = op.name.partition("_")
    if op.family == "fourier":
        return (transformed(op.name, *sample.operands, **sample.attributes),)
    definitions = {"cumulate": cumulated, "sort": ordered, "scatter": written, "view": seen_as, "recur": recurrent}
    return definitions[family](kind, *sample.operands, **sample.attributes)


def seen_as(kind: str, x: Array) -> tuple[Any, ...]:
    return (np.stack([x.real, x.imag], -1),) if kind == "as_real" else (x[..., 0] + 1j * x[..., 1],)


def transformed(
    name: str, x: Array, axes: tuple[int, ...] = (), axis: int = 0, inverse: bool = False, size: int = 0
) -> Any:
    """Products with the matrix of roots of unity; of `irfft` with the spectrum continued by its conjugates."""
    dtype = np.result_type(x, np.complex64)
    found = x
    if name == "irfft":
        row = np.moveaxis(x, axis, 0)
        rest = np.conj(row[1 : (size + 1) // 2][::-1])
        row = np.concatenate([row, rest])
        for place in {0, size // 2} if size % 2 == 0 else {0}:
            row[place] = row[place].real
        found, inverse = np.moveaxis(row, 0, axis), True
    for each in axes if name == "fft" else (axis,):
        count = found.shape[each]
        places = np.arange(count)
        roots = np.exp((2j if inverse else -2j) * np.pi * np.outer(places, places) / count)
        found = np.moveaxis(np.tensordot(roots, found, (1, each)), 0, each)
    if name == "irfft":
        return found.real.astype(x.real.dtype)
    found = np.take(found, range(x.shape[axis] // 2 + 1), axis) if name == "rfft" else found
    return found.astype(dtype)


def cumulated(kind: str, x: Array, axis: int, reverse: bool) -> tuple[Any, ...]:
    out = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        row, i = x[(*place[:axis], slice(None), *place[axis + 1 :])], place[axis]
        out[place] = reduce(COMBINE[kind], row[i:][::-1] if reverse else row[: i + 1])
    return (out,)


def recurrent(_: str, x: Array, factor: Array, axis: int, reverse: bool) -> tuple[Any, ...]:
    out = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        line = (*place[:axis], slice(None), *place[axis + 1 :])
        i = place[axis]
        if reverse:
            terms = [x[line][j] * np.prod(factor[line][i:j]) for j in range(i, x.shape[axis])]
        else:
            terms = [x[line][j] * np.prod(factor[line][j + 1 : i + 1]) for j in range(i + 1)]
        out[place] = sum(terms)
    return (out,)


def ordered(
    _: str, x: Array, axis: int, descending: bool, first: int = 0, count: int | None = None
) -> tuple[Any, ...]:
    sign = -1 if descending else 1
    count = x.shape[axis] if count is None else count
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    values, indices = np.zeros(shape, x.dtype), np.zeros(shape, np.int64)
    for place in np.ndindex(*x.shape[:axis], *x.shape[axis + 1 :]):
        line = (*place[:axis], slice(None), *place[axis:])
        row = x[line].tolist()
        # A NaN is the greatest, all NaNs are alike, and Python's sort keeps the order of what is alike.
        order = sorted(range(len(row)), key=lambda i: (sign, 0) if row[i] != row[i] else (0, sign * row[i]))
        order = order[first : first + count]
        values[line], indices[line] = x[line][order], order
    return values, indices


def written(kind: str, x: Array, updates: Array, *indices: Array, axes: tuple[int, ...]) -> tuple[Any, ...]:
    out = x.copy()
    view = np.moveaxis(out, axes, range(len(axes)))
    for place in np.ndindex(*indices[0].shape):
        target = tuple(int(index[place]) for index in indices)
        view[target] = COMBINE[kind](view[target], updates[place])
    return (out,)


@pytest.mark.parametrize(
    "op", [op for op in TENSOR_OPS if op.index_rule is None and op.family not in ("control", "linalg")], ids=named
)
def test_the_reference_is_the_definition(op: Primitive) -> None:
    for sample in samples(op):
        with np.errstate(all="ignore"):
            wanted = by_definition(op, sample)
        for result, expected in zip(compute(op, sample), wanted, strict=True):
            assert_same(result, expected, op.exact and op.family != "fourier", sample.name)


def controlled(op: Primitive, sample: Sample) -> list[Any]:
    """The results of a control op's sample, with the programs of tests/samples.py written out in NumPy."""
    x, attributes = sample.operands, sample.attributes
    match op.name, sample.name:
        case "call", "two results":
            return [x[0] + x[0], x[0] * 3]
        case "call", "named sizes":
            return [x[0] * x[1]]
        case "cond", chosen:
            return [x[1] * 2 if chosen == "True" else x[1] * x[1]]
        case "while", start:
            return [np.array(3), x[2] * x[0] ** (3 if start == "from 0" else 0)]
        case "linear_solve", _:
            return [(x[1] / x[0]).T]
        case "host_call", _:
            return [np.cumsum(x[0])]
    weight, carry, rows = x
    ys = np.zeros_like(rows)
    order = range(attributes["length"])
    for i in reversed(order) if attributes["reverse"] else order:
        ys[i] = carry * rows[i]
        carry = carry * weight + rows[i]
    return [carry, ys]


@pytest.mark.parametrize("op", [op for op in TENSOR_OPS if op.family == "control"], ids=named)
def test_control_ops_run_their_programs(op: Primitive) -> None:
    for sample in samples(op):
        for result, expected in zip(run(graph_of(op, sample), *sample.operands), controlled(op, sample), strict=True):
            assert_same(result, expected, False, sample.name)


def test_a_scan_of_length_0_is_the_interpreters() -> None:
    attributes = {"invariants": 0, "carries": 0, "length": 0, "reverse": False}
    with pytest.raises(ShapeError, match="scan: of length 0"):
        primitive_named("scan")(np.zeros((0, 2)), regions=(lambda x: (x,),), **attributes)


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
            found = both_ways(partial(op.batch_rule, flags, **sample.attributes), operands, sample.name)
            for result, wanted in zip(found, zip(*rows, strict=True), strict=True):
                assert_same(result, np.stack(wanted), op.exact, f"{sample.name} {flags}")


# -- errors ------------------------------------------------------------------------------------------------------------
N, M = Dim.named("n"), Dim.named("m")


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
        ("interleave", [t(2), t(2)], {"starts": ((0,), (0,)), "step": (2,), "shape": (4,)}, ShapeError,
         "interleave: two operands have one start"),
        ("interleave", [t(2)], {"starts": ((1,),), "step": (2,), "shape": (3,)}, ShapeError,
         "interleave: f32[2] does not fit axis 0 of [3]"),
        ("window", [t(3)], {"axes": (0,), "size": (4,), "stride": (1,), "dilation": (1,)}, ShapeError,
         "window: a window over 4 elements does not fit the extent 3"),
        ("fold", [t(3, 2)], {"axes": (0,), "size": (2,), "stride": (1,), "dilation": (1,), "shape": (5,)}, ShapeError,
         "fold: axis 0 of f32[3, 2] and of the windows over [5]: 3 and 4 differ"),
        ("dot", [t(2, 3), t(4, 5)], {"contract": ((1,), (0,)), "batch": ((), ())}, ShapeError,
         "dot: axis 1 of f32[2, 3] meets axis 0 of f32[4, 5]: 3 and 4 differ"),
        ("dot", [t(2, dtype="bool"), t(2, dtype="bool")], {"contract": ((0,), (0,)), "batch": ((), ())}, DTypeError,
         "dot: an operand is bool[2]; it takes uint, int, float, complex"),
        ("dot", [t(2), t(2)], {"contract": ((1,), (0,)), "batch": ((), ())}, DimError,
         "dot: axis 1 is outside an operand of 1 axes"),
        ("conv", [t(1, 2, 5), t(3, 3, 2)], conv_attributes(1, (0, 0), 1, 1, 1), ShapeError,
         "conv: channels of f32[1, 2, 5] and of f32[3, 3, 2] in 1 groups: 2 and 3 differ"),
        ("conv", [t(1, 2, 5), t(3, 1, 2)], conv_attributes(1, (0, 0), 1, 1, 2), ShapeError,
         "conv: 3 output channels in 2 groups"),
        ("conv", [t(1, 2, 3), t(3, 2, 3)], conv_attributes(1, (0, 0), 1, 2, 1), ShapeError,
         "conv: a window over 5 elements does not fit the extent 3"),
        ("reduce_sum", [t(2)], {"axes": (1,)}, DimError, "reduce_sum: axis 1 is outside an operand of 1 axes"),
        ("reduce_sum", [t(2, dtype="bool")], {"axes": (0,)}, DTypeError,
         "reduce_sum: an operand is bool[2]; it takes uint, int, float, complex"),
        ("reduce_max", [t(2, 0)], {"axes": (1,)}, ShapeError, "reduce_max: of no elements, axis 1 of f32[2, 0]"),
        ("argmax", [t(0)], {"axis": 0}, ShapeError, "argmax: of no elements, axis 0 of f32[0]"),
        ("cumulate_sum", [t()], {"axis": 0, "reverse": False}, DimError,
         "cumulate_sum: axis 0 is outside an operand of 0 axes"),
        ("recur", [t(2), t(3)], {"axis": 0, "reverse": False}, ShapeError, "recur: operands are f32[2] and f32[3]"),
        ("gather", [t(3), t(2)], {"axes": (0,)}, DTypeError, "gather: an operand is f32[2]; it takes uint, int"),
        ("gather", [t(3, 3), t(2, dtype="i64"), t(3, dtype="i64")], {"axes": (0, 1)}, ShapeError,
         "gather: indices of shapes i64[2] and i64[3]"),
        ("scatter_add", [t(3, 2), t(4), t(4, dtype="i64")], {"axes": (0,)}, ShapeError,
         "scatter_add: updates are f32[4], the places written are [4, 2]"),
        ("iota", [], {"shape": (2,), "axis": 1, "dtype": I64}, DimError,
         "iota: axis 1 is outside an operand of 1 axes"),
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
    assert all(np.asarray(word).dtype == I32.storage for word in found)


def test_random_bits_are_the_words_in_order() -> None:
    first, second = (primitive_named("random_bits")(np.array([0, 0]), shape=(n,)) for n in (4, 10))
    assert [f"{int(word) & 0xFFFFFFFF:08x}" for word in first] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    assert second[:4].tolist() == first.tolist() and len(set(second.tolist())) == 10
