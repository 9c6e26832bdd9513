"""Numbers beside tensors that are others at every call: natively served when recorded, too, with the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.autograd.tape import Recorded
from adjit.bodies import run_pullback
from adjit.compiler.nodewise import ANY_NUMBER, literal_of, pullback_of, with_any_number
from adjit.execute import run_op
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, F32, F64, TensorType
from adjit.native import install
from adjit.runtime import layout
from adjit.tensor import Tensor
from tests.frontends.test_native_operations import operation, without_python

install.install()
native = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")

NUMBERS = [
    0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 1.5, 0.1, 1 / 3, 7.7, 1e-3, 1e10, 1e-30, math.inf, -math.inf, math.nan, -0.37,
]  # fmt: skip
# An operation and its operands: tensors x, a mask, and numbers.
PATTERNS = [
    ("mul", "xn"), ("mul", "nx"), ("add", "xn"), ("sub", "xn"), ("sub", "nx"), ("div", "xn"), ("div", "nx"),
    ("where", "mxn"), ("where", "mnx"), ("clamp", "xnn"), ("clamp_min", "xn"), ("clamp_max", "xn"), ("maximum", "xn"),
    ("minimum", "xn"), ("lerp", "xxn"),
]  # fmt: skip


def cotangents(name: str, pattern: str, dtype: Any, number: float, *, for_any: bool) -> dict[int, np.ndarray]:
    """The cotangents of an operation's operands, by a pullback for one number or for any."""
    x = np.concatenate([np.random.default_rng(0).normal(size=20), [0.0, -0.0, 1, np.inf, -np.inf, np.nan, 1e-40]])
    types, literals, arrays = [], [], []
    for place, kind in enumerate(pattern):
        if kind == "n":
            types.append(TensorType(dtype, ()))
            literals.append(ANY_NUMBER if for_any else literal_of(number + place))
            arrays.append(np.asarray(number + place, dtype.storage))
        else:
            array = np.roll(x, 3 * place)
            arrays.append(array > 0 if kind == "m" else array.astype(dtype.storage))
            types.append(TensorType(BOOL if kind == "m" else dtype, x.shape))
            literals.append(None)
    op = primitive_named(name)
    with np.errstate(all="ignore"):
        results = [array for array, _ in run_op(op, arrays, types, {})]
        found = pullback_of(op, types, {}, literals, [kind == "x" for kind in pattern], op.infer(types, {}))
        saved = [(arrays if side == "in" else results)[index] for side, index in found.saved]
        given, _ = run_pullback(found.graph, [np.roll(x, 11).astype(dtype.storage), *saved])
    return dict(zip(found.reached, given, strict=True))


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize(("name", "pattern"), PATTERNS)
def test_pullbacks_for_any_number_have_the_bits_of_those_for_one(name: str, pattern: str, dtype: Any) -> None:
    for number in NUMBERS:
        own, common = (cotangents(name, pattern, dtype, number, for_any=each) for each in (False, True))
        assert own.keys() == common.keys()
        for index, array in own.items():
            np.testing.assert_array_equal(array, common[index])
            known = ~np.isnan(array)
            np.testing.assert_array_equal(np.signbit(array)[known], np.signbit(common[index])[known])


def test_all_operations_for_any_number_are_compared() -> None:
    from adjit.compiler.nodewise import _FOR_ANY

    assert {name for name, _ in PATTERNS} == {*_FOR_ANY}


def test_few_numbers_keep_pullbacks_of_their_own() -> None:
    op, types = primitive_named("mul"), [TensorType(F64, (2, 3, 4, 5, 6)), TensorType(F64, ())]
    found = [with_any_number(op, types, [None, literal_of(float(n % 7))]) for n in range(50)]
    assert not any(ANY_NUMBER in literals for literals in found)
    for number in (7.0, -0.0):
        found.append(with_any_number(op, types, [None, literal_of(number)]))
    assert ANY_NUMBER in found[-1]


RECORDED: dict[str, tuple[str, Callable[[Any, float], Any]]] = {
    "product": ("__mul__", lambda x, n: x * n),
    "reflected product": ("__rmul__", lambda x, n: n * x),
    "sum": ("__add__", lambda x, n: x + n),
    "difference": ("__sub__", lambda x, n: x - n),
    "reflected difference": ("__rsub__", lambda x, n: n - x),
    "quotient": ("__truediv__", lambda x, n: x / n),
    "from below": ("clamp_min", lambda x, n: x.clamp_min(n)),
    "from both sides": ("clamp", lambda x, n: x.clamp(n, n + 1)),
    "masked": ("masked_fill", lambda x, n: x.masked_fill(x.detach() > 1, n)),
    "between": ("lerp", lambda x, n: x.lerp(x.detach() * 2, n)),
    "in place": ("__imul__", lambda x, n: x.clone().__imul__(n)),
    "comparison": ("__gt__", lambda x, n: (x > n) * x),
}


@native
@pytest.mark.parametrize(("case", "kind"), [
    (case, kind) for case in RECORDED for kind in (float, int) if (case, kind) != ("masked", int)  # made a float first
])  # fmt: skip
def test_recorded_operations_take_any_number_natively(case: str, kind: Any) -> None:
    name, function = RECORDED[case]
    x = torch.linspace(-2, 2, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    numbers = [kind(n) if kind is int else n * 0.37 + 0.1 for n in range(1, 80)]
    for number in numbers[:60]:
        function(x, number).sum().backward()
    for number in numbers[60:]:
        with without_python(name):
            result = function(x, number)
        x.grad = None
        result.square().sum().backward()
        y = torch.tensor(x.tolist(), dtype=torch.float64, requires_grad=True)
        n = torch.tensor(float(number), dtype=torch.float64)
        wanted = function(y, n) if case != "comparison" else (y > n) * y
        wanted.square().sum().backward()
        assert result.tolist() == wanted.tolist()
        assert x.grad.tolist() == y.grad.tolist()


UNRECORDED: dict[str, tuple[str, Callable[[Any, Any, Any, float], Any]]] = {
    "weighted sum": ("add", lambda f, x, y, n: f(x, y, alpha=n)),
    "weighted difference": ("sub", lambda f, x, y, n: f(x, y, alpha=n)),
    "weighted sum in place": ("add_", lambda f, x, y, n: f(x.clone(), y, alpha=n)),
    "weighted product in place": ("addcmul_", lambda f, x, y, n: f(x.clone(), x, y, value=n)),
    "weighted quotient": ("addcdiv", lambda f, x, y, n: f(x, x, y, value=n)),
    "quotient of a number": ("__rtruediv__", lambda f, x, y, n: f(y, n)),
}


@native
@pytest.mark.parametrize("first", [1.0, 0.0, 0.3, math.nan])
@pytest.mark.parametrize("case", UNRECORDED)
def test_weights_are_operands(case: str, first: float) -> None:
    name, function = UNRECORDED[case]
    x, y = torch.linspace(-2, 2, 5), torch.linspace(1, 3, 5)
    for n in range(60):
        function(getattr(Tensor, name), x, y, first if n < 30 else n * 0.21)
    for number in (1.0, 0.5, -0.0, 2.25, math.inf, first):
        with without_python(name):
            found = function(getattr(Tensor, name), x, y, number)
        np.testing.assert_array_equal(found.numpy(), function(operation(name).function, x, y, number).numpy())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8, torch.float16, torch.bfloat16, torch.float32])
def test_whole_numbers_beside_every_dtype(dtype: Any) -> None:
    x = torch.tensor([0, 3, 5]).to(dtype)
    y = torch.ones(3, requires_grad=True)
    for n in (*range(7), *[2] * 20, *range(7)):
        assert (y * n).tolist() == [n] * 3
        assert (x == n).tolist() == [n == 0, n == 3, n == 5]
        assert (x + n).tolist() == [n, 3 + n, 5 + n]
        assert torch.where(x > n, x, n).tolist() == [max(0, n), max(3, n), max(5, n)]
        assert x.clamp(min=n).tolist() == [max(0, n), max(3, n), max(5, n)]
    for number in [0.5] * 20 + [1.5, 2.5]:
        assert (x > number).tolist() == [False, True, True]
        assert (x * number).tolist() == [0.0, 3 * number, 5 * number]


def test_recorded_weights() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for n in range(60):
        x.grad = None
        y = torch.add(x * 2, x, alpha=n + 0.5).addcmul(x, x, value=n * 0.5)
        y.sum().backward()
        assert x.grad.tolist() == [2 + n + 0.5 + n, 2 + n + 0.5 + 2 * n]


def test_whole_weights_and_wrong_ones() -> None:
    x, whole = torch.ones(3), torch.ones(3, dtype=torch.int64)
    for n in range(60):
        assert x.add(x, alpha=n % 5).tolist() == [1.0 + n % 5] * 3
        assert whole.add(whole, alpha=n).tolist() == [1 + n] * 3
        with pytest.raises(RuntimeError, match="alpha must not be a floating point number"):
            whole.add(whole, alpha=0.5)


@native
def test_a_number_that_is_converted_first_is_told_apart() -> None:
    x = torch.zeros(3)
    for n in range(60):
        assert x.masked_fill(torch.tensor([True, False, True]), n % 7).tolist() == [n % 7, 0.0, n % 7]


@native
def test_nodes_know_their_number() -> None:
    x = torch.ones(3, 2, requires_grad=True)
    for n in range(60):
        y = x * (n + 0.5)
    assert isinstance(y._value.node, Recorded)
    assert [value.constant for value in y._value.node.inputs] == [None, 59.5]
    assert "mul %x, 59.5" in str(y.graph)
    assert y.grad_fn.name() == "MulBackward0"
    (once,) = torch.autograd.grad((y * x).sum(), x, create_graph=True)
    (twice,) = torch.autograd.grad(once.sum(), x)
    assert twice.tolist() == [[119.0, 119.0]] * 3


@native
def test_a_second_pass_is_an_error_and_retained_graphs_are_gone_through_again() -> None:
    x = torch.ones(4, requires_grad=True)
    for n in range(60):
        y = (x * (n + 0.25)).sum()
        y.backward(retain_graph=n % 2 == 0)
        if n % 2 == 0:
            y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()


@native
def test_numbers_too_large_for_the_dtype_and_changing_sizes() -> None:
    for n in range(60):
        x = torch.ones(n % 13 + 1, 2, requires_grad=True)
        y = x * (1e300 if n % 5 == 4 else n + 0.5)
        y.sum().backward()
        assert x.grad.tolist() == [[math.inf if n % 5 == 4 else n + 0.5] * 2] * (n % 13 + 1)


@pytest.mark.parametrize("first", [1.0, 1, 0.5])
def test_weights_of_tensors_whose_sizes_change_are_not_the_first_ones(first: float) -> None:
    for n in range(60):
        x = torch.ones(n % 23 + 2)
        x.add(x, alpha=first)
        x.sub(x, alpha=first)
    for n in range(40, 50):
        x = torch.ones(n)
        assert x.add(x, alpha=n).tolist() == [1.0 + n] * n
        assert x.add(x, alpha=n * 0.5).tolist() == [1.0 + n * 0.5] * n
        assert x.sub(x, alpha=n * 0.5).tolist() == [1.0 - n * 0.5] * n
        assert x.add(x, alpha=1.0).tolist() == [2.0] * n


@native
def test_a_weight_that_stays_is_native_whatever_the_sizes() -> None:
    for n in range(60):
        torch.ones(n % 23 + 2).add(torch.ones(n % 23 + 2), alpha=1.0)
    x = torch.ones(77)
    with without_python("add"):
        assert x.add(x, alpha=1.0).tolist() == [2.0] * 77


def test_equal_whole_numbers_may_be_different_ones_later() -> None:
    x = torch.ones(3)
    for _ in range(60):
        x.add(1, alpha=1), x.clamp(1, 1), x.clone().clamp_(1, 1)
    assert x.add(1, alpha=3).tolist() == [4.0] * 3
    assert x.add(2, alpha=2).tolist() == [5.0] * 3
    assert (x * 3).clamp(1, 5).tolist() == (x * 3).clamp_(1, 5).tolist() == [3.0] * 3


def test_zeros_of_both_signs_and_nan_are_different_weights_of_composites() -> None:
    x, y = torch.tensor([-0.0, 0.0], requires_grad=True), torch.tensor([-1.0, 2.0])
    for value, sign in ((0.0, 1.0), (-0.0, -1.0), (math.nan, 0.0), (0.0, 1.0), (-0.0, -1.0)):
        row = torch.nn.functional.pad(x, (1, 0), value=value)
        assert math.isnan(row[0].item()) if sign == 0 else math.copysign(1, row[0].item()) == sign
        first = torch.addcmul(x, y.abs(), y.abs(), value=value)[0].item()
        assert math.isnan(first) if sign == 0 else math.copysign(1, first) == sign
