"""The array API standard's namespace gives what NumPy's own, which follows the standard, gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit
from adjit import array_api
from adjit.array_api.data_types import DATA_TYPES
from adjit.tensor import Tensor

MATRIX = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 2.0]])
SMALL = np.array([[3, 1, 2], [1, 3, 3]], np.int8)
BYTES = np.array([[250, 7, 0], [7, 255, 1]], np.uint8)
EDGES = np.array([np.nan, 2.0, -0.0, 0.0, 2.0, np.nan, -np.inf])
TURNED = np.array([[1 + 2j, 1 - 1j, 3j], [1 + 2j, 0.5, -1j]])
TRUTH = np.array([[True, False, True], [False, True, True]])
ARRAYS = {"matrix": MATRIX, "small": SMALL, "bytes": BYTES, "truth": TRUTH}


def ours(value: Any) -> Any:
    """NumPy arrays, in sequences too, as tensors; NumPy's dtypes as ours."""
    if isinstance(value, np.ndarray):
        return adjit.from_numpy(value.copy())
    if isinstance(value, np.dtype):
        return DATA_TYPES[value.name]
    return type(value)(map(ours, value)) if isinstance(value, (list, tuple)) else value


def assert_same(found: Any, expected: Any) -> None:
    """Equal values, dtypes, shapes and kinds of sequence."""
    if isinstance(expected, (list, tuple)):
        assert isinstance(found, (list, tuple)) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, (np.ndarray, np.generic)):
        expected = np.asarray(expected)
        assert found.dtype == DATA_TYPES[expected.dtype.name]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12 if expected.dtype.itemsize > 4 else 1e-5)
    else:
        assert found == expected


def check(call: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
    """A function of the namespace and of a converter, run in both libraries."""
    with np.errstate(all="ignore"):
        expected = call(np, lambda value: value)
    assert_same(call(array_api, ours), expected)


REDUCTIONS = ("sum", "prod", "max", "min", "mean", "std", "var", "all", "any", "count_nonzero", "argmax", "argmin")


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("given", ARRAYS)
def test_reductions(name: str, given: str) -> None:
    floating = name in ("mean", "std", "var")
    if (floating and given != "matrix") or (given == "truth" and name in ("sum", "prod", "max", "min")):
        return  # the standard leaves these out
    if given == "truth" and name.startswith("arg"):
        return
    for axis in (None, 0, -1) if name.startswith("arg") else (None, 0, (0, 1), ()):
        for keepdims in (False, True):
            if axis == () and keepdims:
                continue
            check(lambda xp, to, a=axis, k=keepdims: getattr(xp, name)(to(ARRAYS[given]), axis=a, keepdims=k))


UNARY = ("abs", "ceil", "cos", "exp", "floor", "isnan", "log1p", "negative", "round", "sign", "signbit", "sqrt",
         "square", "tanh", "trunc", "positive", "isfinite")  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_elementwise_functions_of_one(name: str) -> None:
    check(lambda xp, to: getattr(xp, name)(to(EDGES)))


BINARY = ("add", "atan2", "copysign", "divide", "equal", "greater", "hypot", "less_equal", "logaddexp", "maximum",
          "minimum", "multiply", "nextafter", "not_equal", "pow", "remainder", "subtract", "floor_divide",
          "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "logical_and", "logical_xor")  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_elementwise_functions_of_two_promote_tensors_of_no_dims_too(name: str) -> None:
    function = getattr(array_api, name)
    if name.startswith(("bitwise", "logical")):
        vector, single, number = SMALL, np.array(1, np.int32), 2
    else:
        vector, single, number = MATRIX.astype(np.float32), np.array(2.0), 1.5
    check(lambda xp, to: getattr(xp, name)(to(vector), to(single)))
    check(lambda xp, to: getattr(xp, name)(to(vector), number))
    compiled = adjit.compile(lambda a, b: function(a, b))
    assert_same(compiled(ours(vector), ours(single)), function(ours(vector), ours(single)).numpy())


def test_floor_division_by_and_of_infinities_is_the_quotient() -> None:
    dividend, divisor = [np.inf, -np.inf, 3.0, -3.0, 7.0], [2.0, 2.0, -np.inf, 5.0, 2.0]
    found = array_api.floor_divide(adjit.tensor(dividend), adjit.tensor(divisor))
    assert found.tolist() == [np.inf, -np.inf, 0.0, -1.0, 3.0]
    assert array_api.signbit(found).tolist() == [False, True, True, True, False]


CALLS: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    "arange": lambda xp, to: [xp.arange(5),
                              xp.arange(1.0, 3.0, 0.5, dtype=to(np.dtype(float))),
                              xp.arange(3, 0, -1), xp.arange(2, 1)],
    "argsort": lambda xp, to: xp.argsort(to(SMALL), axis=1, stable=True),
    "asarray": lambda xp, to: xp.asarray(to(SMALL), dtype=to(np.dtype(np.uint16))),
    "astype": lambda xp, to: xp.astype(to(SMALL), to(np.dtype(np.uint64))),
    "broadcast_arrays": lambda xp, to: xp.broadcast_arrays(to(MATRIX), to(MATRIX[0])),
    "can_cast": lambda xp, to: [xp.can_cast(to(np.dtype(a)), to(np.dtype(b)))
                                for a in (np.int8, np.uint32) for b in (np.int64, np.uint8, np.float64)],
    "clip": lambda xp, to: [xp.clip(to(MATRIX), 0, to(MATRIX[0])), xp.clip(to(BYTES), 3, 9), xp.clip(to(EDGES), max=1)],
    "concat": lambda xp, to: [xp.concat([to(SMALL), to(BYTES)]), xp.concat([to(SMALL), to(BYTES)], axis=None)],
    "cumulative_prod": lambda xp, to: xp.cumulative_prod(to(BYTES), axis=0, include_initial=True),
    "cumulative_sum": lambda xp, to: [xp.cumulative_sum(to(SMALL), axis=-1), xp.cumulative_sum(to(MATRIX[0]))],
    "complex": lambda xp, to: [xp.conj(to(TURNED)), xp.abs(to(TURNED)), xp.sign(to(TURNED)), xp.real(to(TURNED)),
                               xp.multiply(to(TURNED), 2j), xp.add(to(MATRIX), 1j), tuple(xp.unique_all(to(TURNED))),
                               xp.linalg.vecdot(to(TURNED), to(TURNED)), xp.sum(to(TURNED), axis=0)],
    "fft": lambda xp, to: [xp.fft.fft(to(MATRIX), axis=0), xp.fft.ifftn(to(TURNED)), xp.fft.rfftn(to(MATRIX)),
                           xp.fft.irfft(to(TURNED), n=4, norm="ortho"), xp.fft.fftshift(to(MATRIX), axes=1)],
    "diff": lambda xp, to: [xp.diff(to(SMALL), n=2), xp.diff(to(MATRIX), axis=0, prepend=to(MATRIX[:1]))],
    "expand_dims": lambda xp, to: xp.expand_dims(to(MATRIX), axis=-2),
    "eye": lambda xp, to: [xp.eye(2, 4, k=k, dtype=to(np.dtype(np.int8))) for k in (-1, 0, 1, 9)],
    "flip": lambda xp, to: [xp.flip(to(SMALL)), xp.flip(to(SMALL), axis=0)],
    "full": lambda xp, to: [xp.full(3, 7), xp.full((2, 2), True)],
    "isdtype": lambda xp, to: [xp.isdtype(to(np.dtype(d)), k) for d in (np.uint16, np.int8, np.float32, np.bool_)
                               for k in ("integral", "real floating", ("bool", "numeric"), to(np.dtype(np.int8)))],
    "linspace": lambda xp, to: xp.linspace(0, 1, 4, endpoint=False, dtype=to(np.dtype(np.float64))),
    "meshgrid": lambda xp, to: [xp.meshgrid(to(MATRIX[0]), to(MATRIX[:2, 1]), indexing=i) for i in ("xy", "ij")],
    "moveaxis": lambda xp, to: xp.moveaxis(to(MATRIX[None]), 0, -1),
    "nonzero": lambda xp, to: list(xp.nonzero(to(BYTES))),
    "permute_dims": lambda xp, to: xp.permute_dims(to(SMALL), (1, 0)),
    "repeat": lambda xp, to: [xp.repeat(to(SMALL), 2), xp.repeat(to(SMALL), to(np.array([0, 2])), axis=0)],
    "reshape": lambda xp, to: xp.reshape(to(SMALL), (3, -1)),
    "result_type": lambda xp, to: [xp.isdtype(xp.result_type(to(SMALL), to(BYTES), 3), "signed integer")],
    "roll": lambda xp, to: [xp.roll(to(SMALL), 1), xp.roll(to(SMALL), (1, -1), axis=(0, 1))],
    "searchsorted": lambda xp, to: xp.searchsorted(to(MATRIX[2]), to(MATRIX), sorter=to(np.argsort(MATRIX[2]))),
    "sort": lambda xp, to: [xp.sort(to(BYTES), axis=0), xp.sort(to(MATRIX))],
    "squeeze": lambda xp, to: xp.squeeze(to(MATRIX[None]), axis=0),
    "stack": lambda xp, to: xp.stack([to(SMALL), to(BYTES)], axis=1),
    "take": lambda xp, to: xp.take(to(MATRIX), to(np.array([2, 0])), axis=1),
    "take_along_axis": lambda xp, to: xp.take_along_axis(to(MATRIX), to(np.array([[2], [0], [1]])), axis=1),
    "tensordot": lambda xp, to: [xp.tensordot(to(SMALL), to(BYTES), axes=2),
                                 xp.tensordot(to(MATRIX), to(MATRIX), axes=1)],
    "tile": lambda xp, to: xp.tile(to(SMALL), (2, 1, 2)),
    "tril": lambda xp, to: [xp.tril(to(MATRIX), k=1), xp.triu(to(SMALL), k=-1)],
    "unique": lambda xp, to: [tuple(xp.unique_all(to(SMALL))), tuple(xp.unique_counts(to(BYTES))),
                              tuple(xp.unique_inverse(to(SMALL))), xp.sort(xp.unique_values(to(BYTES)))],
    "unstack": lambda xp, to: list(xp.unstack(to(MATRIX), axis=1)),
    "vecdot": lambda xp, to: [xp.vecdot(to(MATRIX), to(MATRIX)), xp.vecdot(to(SMALL), to(SMALL))],
    "where": lambda xp, to: xp.where(to(TRUTH), to(SMALL), to(BYTES)),
    "linalg": lambda xp, to: [xp.linalg.det(to(MATRIX)), xp.linalg.inv(to(MATRIX)), xp.linalg.cholesky(to(MATRIX)),
                              xp.linalg.eigvalsh(to(MATRIX)), xp.linalg.matrix_power(to(MATRIX), -2),
                              xp.linalg.matrix_norm(to(MATRIX)), xp.linalg.pinv(to(MATRIX)),
                              xp.linalg.solve(to(MATRIX), to(MATRIX[0])), tuple(xp.linalg.slogdet(to(MATRIX))),
                              xp.linalg.trace(to(BYTES)), xp.linalg.vector_norm(to(MATRIX), axis=0, ord=1),
                              xp.linalg.cross(to(MATRIX), to(MATRIX[:1])), xp.linalg.svdvals(to(MATRIX)),
                              xp.linalg.outer(to(MATRIX[0]), to(MATRIX[1])), xp.linalg.diagonal(to(MATRIX), offset=1)],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_functions(name: str) -> None:
    check(CALLS[name])


def test_the_namespace_is_found_from_a_tensor_and_differentiates() -> None:
    x = adjit.tensor([1.0, 2.0, 4.0], requires_grad=True)
    xp = x.__array_namespace__(api_version="2023.12")
    assert xp is array_api
    xp.sum(xp.pow(x, 2) / xp.max(x)).backward()
    assert x.grad.tolist() == [0.5, 1.0, 2.0 - 21 / 16]
    with pytest.raises(ValueError, match=r"version '2030\.12' is unknown"):
        x.__array_namespace__(api_version="2030.12")


def test_every_name_is_there_and_positional_arguments_have_no_names() -> None:
    assert set(array_api.__all__) >= {"unique_all", "isdtype", "uint64", "pi", "linalg", "matmul"}
    assert all(hasattr(array_api, name) for name in array_api.__all__)
    first = next(iter(inspect.signature(array_api.sum).parameters.values()))
    assert first.kind is inspect.Parameter.POSITIONAL_ONLY


def test_nan_are_unique_each_and_zeros_are_one() -> None:
    found = array_api.unique_all(ours(EDGES))
    assert found.values.tolist()[:3] == [-np.inf, 0.0, 2.0]
    assert found.counts.tolist() == [1, 2, 2, 1, 1]
    assert found.indices.tolist() == [6, 2, 1, 0, 5]


def test_what_the_namespace_says_of_itself() -> None:
    info = array_api.__array_namespace_info__()
    unsigned = {"uint8": adjit.uint8, "uint16": adjit.uint16, "uint32": adjit.uint32, "uint64": adjit.uint64}
    assert info.dtypes(kind="unsigned integer") == unsigned
    assert info.default_dtypes()["integral"] is adjit.int64
    assert info.default_device() == adjit.device("cpu") and info.capabilities()["boolean indexing"]
    assert array_api.finfo(adjit.ones(1, dtype=adjit.float64)).dtype is adjit.float64
    assert array_api.iinfo(adjit.uint16).max == 65535


@pytest.mark.parametrize("bad", [
    lambda x: array_api.squeeze(x, axis=0), lambda x: array_api.take(x, x), lambda x: array_api.cumulative_sum(x),
    lambda x: array_api.isdtype(x.dtype, "float"), lambda x: x.to_device("cpu", stream=1),
    lambda x: array_api.reshape(x.mT, (9,), copy=False),
])  # fmt: skip
def test_errors_are_value_errors(bad: Callable[[Tensor], Any]) -> None:
    with pytest.raises(ValueError):
        bad(ours(MATRIX))
