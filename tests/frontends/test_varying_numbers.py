"""Numbers beside tensors that are others at every call: natively served when recorded, too, with the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit import composite
from adjit.autograd.tape import Recorded
from adjit.bodies import run_pullback
from adjit.compiler.entry import known
from adjit.compiler.nodewise import ANY_NUMBER, literal_of, pullback_of, with_any_number
from adjit.execute import run_op
from adjit.heard_numbers import Heard
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, F32, F64, TensorType
from adjit.native import install
from adjit.runtime import layout
from adjit.tensor import Tensor
from tests.frontends.natively import refuse
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
    ("minimum", "xn"), ("lerp", "xxn"), ("celu", "xn"), ("elu", "xn"), ("leaky_relu", "xn"), ("softshrink", "xn"),
    ("hardshrink", "xn"), ("threshold", "xnn"), ("hardtanh", "xnn"), ("nan_to_num", "xnnn"),
    ("fmod", "xn"), ("fmod", "nx"), ("mod", "xn"), ("mod", "nx"), ("xlogy", "xn"), ("xlogy", "nx"),
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
    is_asked = name.startswith("addc")  # whether a float32 holds the number: Python looks at others
    for number in (1.0, 0.5, -0.0, 2.25, math.inf, first):
        with nullcontext() if is_asked and not math.isfinite(number) else without_python(name):
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


# -- numbers that functions look at, and those of composites ---------------------------------------------------------
F = torch.nn.functional
LOOKED_AT: dict[str, tuple[str, Callable[[Any, Any, float], Any], float]] = {
    "layer_norm": ("nn.functional.layer_norm", lambda x, y, n: F.layer_norm(x, (3,), eps=n), 1e-5),
    "rms_norm": ("nn.functional.rms_norm", lambda x, y, n: F.rms_norm(x, (3,), None, n), 1e-5),
    "huber": ("nn.functional.huber_loss", lambda x, y, n: F.huber_loss(x, y, delta=n), 0.5),
    "smooth_l1": ("nn.functional.smooth_l1_loss", lambda x, y, n: F.smooth_l1_loss(x, y, beta=n), 0.5),
    "softplus": ("nn.functional.softplus", lambda x, y, n: F.softplus(x, n), 0.5),
    "cosine": ("nn.functional.cosine_similarity", lambda x, y, n: F.cosine_similarity(x, y, 1, n), 1e-8),
    "normalize": ("nn.functional.normalize", lambda x, y, n: F.normalize(x, 2.0, 1, n), 1e-12),
    "smoothing": ("nn.functional.cross_entropy",
                  lambda x, y, n: F.cross_entropy(x, (y > 0).long().argmax(1), label_smoothing=n), 0.01),
    "addmm": ("addmm", lambda x, y, n: torch.addmm(x, x[:, :2], y, beta=n, alpha=2 * n), 0.3),
    "addcmul": ("addcmul", lambda x, y, n: torch.addcmul(x, y, y, value=n), 0.3),
    "logit": ("logit", lambda x, y, n: torch.logit(x.sigmoid(), n), 1e-4),
}  # fmt: skip


def results(function: Callable[..., Any], number: float, dtype: Any, *, recorded: bool) -> list[np.ndarray]:
    """What a function gives, and the gradient; with a second one where it is `recorded`."""
    x = torch.linspace(-2, 2, 6, dtype=dtype).reshape(2, 3).requires_grad_(recorded)
    y = torch.linspace(2, -1, 6, dtype=dtype).reshape(2, 3)
    result = function(x, y, number)
    if not recorded:
        return [result.numpy()]
    (once,) = torch.autograd.grad(result.square().sum(), x, create_graph=True)
    if once.requires_grad:
        once.square().sum().backward()
    return [result.detach().numpy(), once.detach().numpy(), *([] if x.grad is None else [x.grad.numpy()])]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("case", LOOKED_AT)
def test_composites_for_any_number_have_the_bits_of_those_for_one(
    case: str, recorded: bool, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, function, first = LOOKED_AT[case]
    numbers = [first * (1 + 0.37 * n) for n in range(12)]
    found = [results(function, number, dtype, recorded=recorded) for number in numbers]
    monkeypatch.setattr(composite, "_FEW", 10**9)
    monkeypatch.setattr(composite, "_told", {})
    for number, own in zip(numbers, found, strict=True):
        wanted = results(function, number, dtype, recorded=recorded)
        assert [array.tobytes() for array in own] == [array.tobytes() for array in wanted]


@native
@pytest.mark.parametrize("case", LOOKED_AT)
def test_functions_that_look_at_their_numbers_are_native(case: str) -> None:
    name, function, first = LOOKED_AT[case]
    x, y = torch.linspace(-2, 2, 6).reshape(2, 3), torch.linspace(2, -1, 6).reshape(2, 3)
    if case == "addmm":
        y = y[:, :2].contiguous().T.contiguous().reshape(2, 2).repeat(1, 2)[:, :3].contiguous()
    for n in range(300):  # as many as it takes after other tests' shapes
        function(x, y, first * (1 + 0.01 * (n % 70)))
    table = install._installed[name].table
    before = table[: known.MISS + 1].copy()
    for n in range(60, 70):
        table[[known.SLOW, known.MISS]] = id(refuse)
        try:
            function(x, y, first * (1 + 0.01 * n))
        finally:
            table[: known.MISS + 1] = before


@native
@pytest.mark.parametrize("unusual", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("case", ["softplus", "leaky_relu"])
def test_unusual_numbers_leave_no_later_number_to_python(case: str, unusual: float) -> None:
    functional = torch.nn.functional
    path, function = {
        "softplus": ("nn.functional.softplus", lambda x, n: functional.softplus(x, n)),
        "leaky_relu": ("nn.functional.leaky_relu", lambda x, n: functional.leaky_relu(x, n)),
    }[case]
    operation = install._installed[path]
    x = torch.linspace(-2, 2, 3 * (7 + [math.nan, math.inf, -math.inf].index(unusual))).reshape(3, 1, -1)
    for n in range(12):  # at each moment when calls of the kind are watched
        function(x, 0.25 + n / 64), function(x, unusual)
    for n in range(60):
        function(x, 1.25 + n / 64)
    table = operation.table
    before = table[: known.MISS + 1].copy()
    for n in range(5):
        table[[known.SLOW, known.MISS]] = id(refuse)
        try:
            found = function(x, 3.0 + n / 64)
        finally:
            table[: known.MISS + 1] = before
        assert found.tolist() == function(x, 3.0 + n / 64).tolist()


@pytest.mark.parametrize("number", [-1.6260163501335045, 1e-300, 0.0])
def test_derivatives_of_quotients_are_those_by_constants(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("softplus", "smooth_l1")[: 1 if number <= 0 else 2]:
        _, function, first = LOOKED_AT[case]
        for n in range(12):
            results(function, first + n, torch.float32, recorded=True)
        found = results(function, number, torch.float32, recorded=True)
        with monkeypatch.context() as patch:
            patch.setattr(composite, "_FEW", 10**9)
            patch.setattr(composite, "_told", {})
            wanted = results(function, number, torch.float32, recorded=True)
        np.testing.assert_array_equal(found[1], wanted[1])
        np.testing.assert_array_equal(np.signbit(found[1]), np.signbit(wanted[1]))


def test_bodies_are_few_and_branches_are_followed() -> None:
    x = torch.linspace(-2, 2, 6, dtype=torch.float64)
    size = len(composite._cache)
    for n in range(60):
        p = (2.0, 1.0, 0.0, math.inf, -math.inf, 1.5 + n / 8, -0.5 - n / 8)[n % 7]
        found, array = x.norm(p).item(), np.abs(x.numpy())
        wanted = float((array != 0).sum()) if p == 0 else np.linalg.norm(array, p)
        assert found == pytest.approx(wanted, rel=1e-14)
    assert len(composite._cache) - size <= composite._FEW + 2
    for _ in range(3):
        assert x.norm(2.0).item() == pytest.approx(np.linalg.norm(x.numpy()), rel=1e-15)


def test_bad_numbers_are_errors_after_good_ones() -> None:
    x, y = torch.ones(2, 3), torch.zeros(2, 3)
    for n in range(60):
        F.huber_loss(x, y, delta=0.5 + n), F.hardtanh(x, -1.0 - n, 1.0 + n), F.softshrink(x, 0.5 + n)
        F.batch_norm(x, None, None, training=True, eps=1e-5 * (n + 1)), F.dropout(x, n / 100)
        if n % 20 == 19:
            with pytest.raises(RuntimeError, match="non-positive values for delta"):
                F.huber_loss(x, y, delta=-0.5)
            with pytest.raises(RuntimeError, match="non-positive values for delta"):
                F.huber_loss(x, y, delta=-0.0)
            with pytest.raises(ValueError, match="cannot be greater"):
                F.hardtanh(x, 2.0 + n, 1.0)
            with pytest.raises(RuntimeError, match="must be in range"):
                F.softshrink(x, -0.5 - n)
            with pytest.raises(ValueError, match="must be positive"):
                F.batch_norm(x, None, None, training=True, eps=-1e-5)
            with pytest.raises(ValueError, match="between 0 and 1"):
                F.dropout(x, 1.5 + n)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_special_numbers_of_composites(dtype: Any) -> None:
    x = torch.arange(6).reshape(2, 3).to(dtype)
    for n in range(20):
        torch.addcmul(x, x, x, value=n if dtype is torch.int64 else n * 0.37)
    for number in (0.0, -0.0, math.inf, math.nan, 1e-300, 0.1):
        value = 3 if dtype is torch.int64 else number
        found = torch.addcmul(x, x, x, value=value)
        assert found.dtype is dtype
        wanted = {"3": x + 3 * x * x}.get(str(value), x.double() + x.double() * x.double() * value).to(dtype)
        tolerance = 2e-2 if dtype.itemsize < 4 else 1e-6
        np.testing.assert_allclose(found.double().numpy(), wanted.double().numpy(), rtol=tolerance)


def test_compiled_functions_divide_by_numbers_that_change() -> None:
    @torch.compile
    def quotient(x: Any, n: float) -> Any:
        return x / n

    x = torch.linspace(1, 2, 100)
    for n in range(1, 9):
        assert quotient(x, n * 0.7).numpy().tobytes() == (x.numpy() / np.float32(n * 0.7)).tobytes()


def test_heard_numbers_know_for_which_others_a_call_is_the_same() -> None:
    number = Heard(0.5)
    assert number > 0 and number != 2 and not number >= 1 and bool(number)
    assert (number.low, number.high, number.is_read) == (math.nextafter(0, 1), math.nextafter(1, 0), False)
    other = number.another()
    assert other is not None and number.low <= other <= number.high and other != 0.5
    low, high = Heard(0.5), Heard(3.5)
    assert low < high and not high <= low
    assert (low.low, low.high, low.is_read) == (-math.inf, math.nextafter(2, 0), False)
    assert (high.low, high.high, high.is_read) == (math.nextafter(2, 3), math.inf, False)
    exact = Heard(1.0)
    assert exact == 1 and (exact.low, exact.high, exact.another()) == (1, 1, 1)
    for read in (lambda x: x + 1, lambda x: 1 - x, float, int, str, hash, round, lambda x: x < Heard(0.5), abs):
        told = Heard(0.5)
        read(told)
        assert told.is_read


def test_compiled_functions_take_numbers_that_change_as_attributes() -> None:
    @torch.compile
    def padded(x: Any, n: float) -> Any:
        return F.pad(x, (1, 1), value=n)

    for n in range(8):
        assert padded(torch.ones(2), n * 0.5).tolist() == [n * 0.5, 1.0, 1.0, n * 0.5]


@pytest.mark.parametrize("bases", [[1.0] * 30 + [2.0, 3.0] * 15, [2] * 20 + [1] * 20, [3.0] * 20 + [1.0, 0.0] * 10])
def test_powers_of_one_have_gradients_of_zero(bases: list[float]) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for base in bases:
        y = base**x
        assert y.grad_fn is not None
        assert y.grad_fn.name() == "PowBackward2"
        (found,) = torch.autograd.grad(y.sum(), x)
        wanted = [base**v * math.log(base) if base else 0.0 for v in (1.0, 2.0)]
        assert torch.allclose(found, torch.tensor(wanted))
    (found,) = torch.autograd.grad(torch.compile(lambda x: 1**x)(x).sum(), x)
    assert found.tolist() == [0.0, 0.0]


@native
@pytest.mark.parametrize("name", ["__pow__", "__mod__", "fmod"])
def test_pullbacks_for_one_number_are_native_after_others(name: str) -> None:
    x = (torch.rand(7, 3, dtype=torch.float64) + 0.5).requires_grad_()
    call = getattr(Tensor, name)
    for number in (0.3, 1.3, 2.3, 3.3, 4.3):
        for _ in range(3):
            call(x, number)
    for _ in range(60):
        call(x, 1.7)
    with without_python(name):
        found = getattr(Tensor, name)(x, 1.7)
    expected = call(x, torch.full((7, 3), 1.7, dtype=torch.float64))
    assert found.requires_grad and torch.allclose(found, expected, rtol=1e-12)
