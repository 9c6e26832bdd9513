"""Functions over tensors: values against NumPy, gradients against differences, compiled against eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch

GENERATOR = np.random.default_rng(3)


def draw(*shape: int) -> np.ndarray:
    """Numbers that are apart from each other and from integers, so that no kink is near."""
    count = int(np.prod(shape, dtype=int))
    spread = (np.arange(count) - count / 2 + 0.37) * (3.7 / max(count, 1))
    return GENERATOR.permutation(spread).reshape(shape)


POSITIVE = {"acosh", "log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "sqrt"}
INSIDE = {"acos", "asin", "atanh", "logit"}

# What each function of one operand is in NumPy.
UNARY: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh, "atan": np.arctan,
    "atanh": np.arctanh, "ceil": np.ceil, "cos": np.cos, "cosh": np.cosh, "deg2rad": np.deg2rad, "exp": np.exp,
    "exp2": np.exp2, "expm1": np.expm1, "floor": np.floor, "frac": lambda x: x - np.trunc(x), "log": np.log,
    "log10": np.log10, "log1p": np.log1p, "log2": np.log2, "logit": lambda x: np.log(x / (1 - x)), "neg": np.negative,
    "rad2deg": np.rad2deg, "reciprocal": np.reciprocal, "relu": lambda x: np.maximum(x, 0), "round": np.round,
    "rsqrt": lambda x: 1 / np.sqrt(x), "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "sign": np.sign, "sin": np.sin,
    "sinc": np.sinc, "sinh": np.sinh, "sqrt": np.sqrt, "square": np.square, "tan": np.tan, "tanh": np.tanh,
    "trunc": np.trunc,
}  # fmt: skip

BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add, "atan2": np.arctan2, "copysign": np.copysign, "div": np.divide, "floor_divide": np.floor_divide,
    "fmax": np.fmax, "fmin": np.fmin, "fmod": np.fmod, "hypot": np.hypot, "logaddexp": np.logaddexp,
    "maximum": np.maximum, "minimum": np.minimum, "mul": np.multiply, "remainder": np.mod, "sub": np.subtract,
}  # fmt: skip


def argument(name: str) -> np.ndarray:
    found = draw(3, 4)
    if name in POSITIVE:
        return np.abs(found) + (1.5 if name == "acosh" else 0.25)
    return 0.5 + found / 4.5 if name in INSIDE else found


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_operand(name: str) -> None:
    x = argument(name)
    np.testing.assert_allclose(getattr(torch, name)(torch.tensor(x)).numpy(), UNARY[name](x), rtol=1e-12, atol=1e-14)
    assert torch.equal(getattr(torch.tensor(x), name)(), getattr(torch, name)(torch.tensor(x)))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (4,)), ((), (2,)), ((0, 3), (3,))])
def test_functions_of_two_operands_broadcast(name: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    x, y = (draw(*shape) for shape in shapes)
    found = getattr(torch, name)(torch.tensor(x), torch.tensor(y))
    np.testing.assert_allclose(found.numpy(), BINARY[name](x, y), rtol=1e-12)


AXES: list[Any] = [None, 0, 1, -1, (0, 2), (0, 1, 2)]
REDUCTIONS: dict[str, Callable[..., Any]] = {
    "all": np.all, "amax": np.max, "amin": np.min, "any": np.any, "mean": np.mean, "sum": np.sum,
    "std": lambda x, axis, keepdims: np.std(x, axis, ddof=1, keepdims=keepdims),
    "var": lambda x, axis, keepdims: np.var(x, axis, ddof=1, keepdims=keepdims),
    "logsumexp": lambda x, axis, keepdims: np.log(np.sum(np.exp(x), axis, keepdims=keepdims)),
    "norm": lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis, keepdims=keepdims)),
}  # fmt: skip


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, axis: Any, keepdim: bool) -> None:
    x = draw(2, 3, 4)
    if name in ("all", "any"):
        x = np.floor(np.abs(x))
    dim = tuple(range(3)) if axis is None else axis
    found = getattr(torch.tensor(x), name)(dim=dim, keepdim=keepdim)
    np.testing.assert_allclose(found.numpy(), REDUCTIONS[name](x, axis, keepdims=keepdim), rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_positions_and_order(axis: int) -> None:
    x = draw(4, 5)
    t = torch.tensor(x)
    for name, values, places in [("max", np.max, np.argmax), ("min", np.min, np.argmin)]:
        found = getattr(t, name)(axis)
        np.testing.assert_array_equal(found.values.numpy(), values(x, axis))
        np.testing.assert_array_equal(found.indices.numpy(), places(x, axis))
        np.testing.assert_array_equal(getattr(t, f"arg{name}")(axis).numpy(), places(x, axis))
    np.testing.assert_array_equal(t.sort(axis)[0].numpy(), np.sort(x, axis))
    np.testing.assert_array_equal(t.argsort(axis).numpy(), np.argsort(x, axis))
    np.testing.assert_array_equal(t.sort(axis, descending=True)[0].numpy(), np.flip(np.sort(x, axis), axis))
    np.testing.assert_array_equal(t.cumsum(axis).numpy(), np.cumsum(x, axis))
    np.testing.assert_array_equal(t.cummax(axis)[0].numpy(), np.maximum.accumulate(x, axis))
    np.testing.assert_array_equal(t.topk(2, axis)[0].numpy(), np.flip(np.sort(x, axis), axis).take([0, 1], axis))
    lower = np.sort(x, axis).take((x.shape[axis] - 1) // 2, axis)
    np.testing.assert_array_equal(t.median(axis)[0].numpy(), lower)
    np.testing.assert_array_equal(t.kthvalue(2, axis)[0].numpy(), np.sort(x, axis).take(1, axis))


def test_ties_take_the_first_and_nan_wins() -> None:
    x = torch.tensor([[2.0, 5.0, 5.0], [1.0, float("nan"), 7.0]])
    assert x.max(1).indices.tolist() == [1, 1]
    assert x.argmax(1).tolist() == [1, 1]
    assert np.isnan(x.max(1).values[1].item())
    assert np.isnan(x.median(1).values[1].item())
    assert x.sort(1).indices.tolist() == [[0, 1, 2], [0, 2, 1]]


SHAPING: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], Any]]] = {
    "cat": (lambda x: torch.cat([x, x * 2], 1), lambda x: np.concatenate([x, x * 2], 1)),
    "column_stack": (lambda x: torch.column_stack([x[0], x[1]]), lambda x: np.column_stack([x[0], x[1]])),
    "diag": (torch.diag, np.diag),
    "diag of a vector": (lambda x: torch.diag(x[0], -1), lambda x: np.diag(x[0], -1)),
    "diag_embed": (torch.diag_embed, lambda x: np.stack([np.diag(row) for row in x])),
    "diagonal": (lambda x: x.diagonal(1), lambda x: x.diagonal(1)),
    "diagonal below": (lambda x: x.t().diagonal(-2), lambda x: x.T.diagonal(-2)),
    "diff": (lambda x: x.diff(n=2), lambda x: np.diff(x, n=2)),
    "dstack": (lambda x: torch.dstack([x, x]), lambda x: np.dstack([x, x])),
    "flip": (lambda x: x.flip(0, 1), lambda x: np.flip(x, (0, 1))),
    "hstack": (lambda x: torch.hstack([x, x]), lambda x: np.hstack([x, x])),
    "kron": (lambda x: torch.kron(x, x), lambda x: np.kron(x, x)),
    "moveaxis": (lambda x: torch.moveaxis(x, 0, 1), lambda x: np.moveaxis(x, 0, 1)),
    "outer": (lambda x: torch.outer(x[0], x[1]), lambda x: np.outer(x[0], x[1])),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda x: np.tile(x, (2, 1, 3))),
    "repeat_interleave": (lambda x: x.repeat_interleave(3, 1), lambda x: np.repeat(x, 3, 1)),
    "roll": (lambda x: x.roll((1, -2), (0, 1)), lambda x: np.roll(x, (1, -2), (0, 1))),
    "roll flat": (lambda x: x.roll(3), lambda x: np.roll(x, 3)),
    "rot90": (lambda x: x.rot90(3), lambda x: np.rot90(x, 3)),
    "stack": (lambda x: torch.stack([x, x], -1), lambda x: np.stack([x, x], -1)),
    "trace": (lambda x: x.trace(), np.trace),
    "transpose": (lambda x: x.transpose(0, 1), lambda x: x.T),
    "tril": (lambda x: x.tril(1), lambda x: np.tril(x, 1)),
    "triu": (lambda x: x.triu(-1), lambda x: np.triu(x, -1)),
    "unfold": (lambda x: x.unfold(1, 2, 2), lambda x: np.stack([x[:, 0:2], x[:, 2:4]], 1)),
    "vstack": (lambda x: torch.vstack([x, x]), lambda x: np.vstack([x, x])),
    "einsum": (lambda x: torch.einsum("ij,kj->ik", x, x), lambda x: np.einsum("ij,kj->ik", x, x)),
    "einsum dots": (lambda x: torch.einsum("...j->...", x), lambda x: np.einsum("...j->...", x)),
    "tensordot": (lambda x: torch.tensordot(x, x, ([1], [1])), lambda x: np.tensordot(x, x, ([1], [1]))),
    "cdist": (
        lambda x: torch.cdist(x, x[:2] + 1),
        lambda x: np.sqrt(((x[:, None] - (x[:2] + 1)[None]) ** 2).sum(-1)),
    ),
    "cross": (lambda x: torch.cross(x[:, :3], x[:, 1:], 1), lambda x: np.cross(x[:, :3], x[:, 1:])),
    "take": (lambda x: x.take(torch.tensor([[0, 5]])), lambda x: x.take([[0, 5]])),
    "masked_scatter": (
        lambda x: x.masked_scatter(x > 0, x.flip(0) * 10),
        lambda x: np.where(x > 0, (np.flip(x, 0) * 10).ravel()[np.cumsum(x > 0).reshape(x.shape) - 1], x),
    ),
}


@pytest.mark.parametrize("name", SHAPING)
def test_rearrangements_and_products(name: str) -> None:
    ours, theirs = SHAPING[name]
    x = draw(3, 4)
    np.testing.assert_allclose(ours(torch.tensor(x)).numpy(), theirs(x), rtol=1e-12, atol=1e-15)


MATMULS = [((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((3, 4), (4, 2)), ((5, 3, 4), (4,)), ((5, 3, 4), (4, 2)),
           ((5, 3, 4), (5, 4, 2)), ((3, 4), (5, 4, 2)), ((4,), (5, 4, 2)), ((2, 1, 3, 4), (5, 4, 2))]  # fmt: skip


@pytest.mark.parametrize("shapes", MATMULS, ids=str)
def test_matmul(shapes: tuple[tuple[int, ...], ...]) -> None:
    x, y = (draw(*shape) for shape in shapes)
    np.testing.assert_allclose((torch.tensor(x) @ torch.tensor(y)).numpy(), x @ y, rtol=1e-12, atol=1e-14)


# Functions of a [3, 4] matrix, whose gradients and compiled forms are checked.
DIFFERENTIABLE: dict[str, Callable[[Any], Any]] = {
    **{name: (lambda x, name=name: getattr(torch, name)(x)) for name in UNARY},
    **{name: (lambda x, name=name: getattr(torch, name)(x, x.flip(0) + 0.11)) for name in BINARY},
    **{name: pair[0] for name, pair in SHAPING.items()},
    **{name: (lambda x, name=name: getattr(x, name)(dim=1)) for name in REDUCTIONS if name not in ("all", "any")},
    "max": lambda x: x.max(1)[0], "min": lambda x: x.min(0)[0], "max of all": lambda x: x.max(),
    "median": lambda x: x.median(1)[0], "median of all": lambda x: x.median(), "topk": lambda x: x.topk(2)[0],
    "kthvalue": lambda x: x.kthvalue(2)[0], "sort": lambda x: x.sort(1)[0], "cummax": lambda x: x.cummax(1)[0],
    "cummin": lambda x: x.cummin(0)[0], "cumsum": lambda x: x.cumsum(1), "cumprod": lambda x: x.cumprod(1),
    "prod": lambda x: x.prod(1), "softmax": lambda x: x.softmax(1), "log_softmax": lambda x: x.log_softmax(0),
    "var_mean": lambda x: torch.stack(torch.var_mean(x, 1)), "std of all": lambda x: x.std(),
    "norm 3": lambda x: x.norm(3), "norm inf": lambda x: x.norm(float("inf"), 1), "nansum": lambda x: torch.nansum(x),
    "nanmean": lambda x: torch.nanmean(x, 0), "pow": lambda x: x.abs() ** x, "pow 3": lambda x: x**3,
    "power of 2": lambda x: 2**x, "pow 0": lambda x: x**0, "float_power": lambda x: torch.float_power(x, 2),
    "reflected": lambda x: 1 - 2 / (x + 5), "clamp": lambda x: x.clamp(-0.5, 0.8), "clip": lambda x: x.clip(max=0.4),
    "clamp by tensors": lambda x: torch.clamp(x, x.flip(1) - 1, x.flip(0) + 0.7),
    "lerp": lambda x: torch.lerp(x, x * 2, 0.3), "lerp by a tensor": lambda x: torch.lerp(x, x * 2, x.sigmoid()),
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.5), "addcdiv": lambda x: torch.addcdiv(x, x, x + 4, value=2),
    "where": lambda x: torch.where(x > 0, x * 2, x.exp()), "masked_fill": lambda x: x.masked_fill(x > 0, 2.0),
    "gather": lambda x: x.gather(1, torch.tensor([[0, 3], [1, 1], [2, 0]])),
    "scatter": lambda x: x.scatter(1, torch.tensor([[0], [3], [2]]), x[:, :1] * 3),
    "scatter_add": lambda x: x.scatter_add(0, torch.tensor([[0, 1, 1, 2]]), x[1:2] * 2),
    "scatter_reduce": lambda x: x.scatter_reduce(1, torch.tensor([[0], [3], [2]]), x[:, :1] * 3, "mean"),
    "scatter_reduce apart": lambda x: x.scatter_reduce(
        1, torch.tensor([[0, 0], [3, 3], [2, 2]]), x[:, :2] * 3, "sum", include_self=False
    ),
    "index_select": lambda x: x.index_select(1, torch.tensor([3, 0, 3])),
    "index_add": lambda x: x.index_add(0, torch.tensor([2, 2]), x[:2], alpha=2),
    "index_copy": lambda x: x.index_copy(1, torch.tensor([1]), x[:, 3:]),
    "index_fill": lambda x: x.index_fill(0, torch.tensor([1]), 7),
    "index_put": lambda x: x.index_put((torch.tensor([0, 2]), torch.tensor([1, 1])), x[0, :2], accumulate=True),
    "take_along_dim": lambda x: torch.take_along_dim(x, torch.tensor([[1], [0], [2]]), 1),
    "index": lambda x: x[torch.tensor([2, 0, 2])], "index of two": lambda x: x[torch.tensor([2, 0]), [1, -1]],
    "slices": lambda x: x[1:, ::2] * x[:2, 1::2], "unsqueeze": lambda x: x[:, None] - x[None],
    "addmm": lambda x: torch.addmm(x[0], x, x.t() @ x, beta=0.5, alpha=2), "mv": lambda x: x.mv(x[0]),
    "bmm": lambda x: x[None].bmm(x.t()[None]), "baddbmm": lambda x: torch.baddbmm(x[:, :3][None], x[None], x.t()[None]),
    "matrix_power": lambda x: (x.t() @ x).matrix_power(3), "trapezoid": lambda x: torch.trapezoid(x, dx=0.5),
    "chunk": lambda x: x.chunk(2, 1)[1] * x.split([1, 3], 1)[0], "unbind": lambda x: x.unbind(0)[2],
    "tensor_split": lambda x: x.tensor_split(3, 1)[0].sum(), "linalg.norm": lambda x: torch.linalg.norm(x, 1),
    "round to places": lambda x: x.round(decimals=1), "expand": lambda x: x.unsqueeze(0).expand(2, 3, 4) * 2,
    "view": lambda x: x.view(2, 6) + x.t().reshape(2, 6),
}  # fmt: skip


def weighted(function: Callable[[Any], Any], x: Any) -> Any:
    """A scalar whose gradient meets every element of the result with its own weight."""
    found = function(x)
    weights = torch.arange(1.0, found.numel() + 1, dtype=torch.float64).reshape(found.shape)
    return (found * weights.cos()).sum()


def matrix(name: str) -> np.ndarray:
    x = argument(name)
    return np.abs(x) + 0.3 if name in ("pow", "hypot", "fmod", "remainder", "floor_divide") else x


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name: str) -> None:
    function, values = DIFFERENTIABLE[name], matrix(name)
    x = torch.tensor(values, requires_grad=True)
    weighted(function, x).backward()
    expected = np.zeros_like(values)
    for place in np.ndindex(*values.shape):
        ends = []
        for step in (1e-6, -1e-6):
            moved = values.copy()
            moved[place] += step
            ends.append(float(weighted(function, torch.tensor(moved))))
        expected[place] = (ends[0] - ends[1]) / 2e-6
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_compiled_equals_eager_to_the_last_bit(name: str) -> None:
    function = DIFFERENTIABLE[name]
    x = torch.tensor(matrix(name).astype(np.float32))
    expected, found = function(x), torch.compile(function, strict=True)(x)
    assert found.dtype == expected.dtype
    assert tuple(found.shape) == tuple(expected.shape)
    assert found.numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x: x.repeat(50).tolist(), "tolist()"),
        (lambda x: x[x > 0], "nonzero()"),
        (lambda x: x.nonzero(), "nonzero()"),
        (lambda x: x.unique(), "unique()"),
        (lambda x: x.numpy(), "numpy()"),
        (lambda x: x if x.sum() > 0 else -x, "a branch"),
        (lambda x: float(x.sum()), "float()"),
    ],
)
def test_what_needs_numbers_says_so_in_a_trace(function: Callable[[Any], Any], what: str) -> None:
    from adjit.ir.errors import TraceError

    with pytest.raises(TraceError) as caught:
        torch.compile(function)(torch.ones(3))
    text = str(caught.value)
    assert text.startswith(what)
    assert "test_tensor_functions.py" in text
    assert "hint:" in text


def test_bounds_steps_and_truth_values() -> None:
    """What PyTorch does on bool and integers, written down from its documents."""
    yes, no = torch.tensor([True, False]), torch.tensor([False, False])
    assert torch.clamp_max(yes, no).tolist() == [False, False]
    assert torch.clamp_min(no, yes).tolist() == [True, False]
    assert torch.diff(torch.tensor([True, False, False])).tolist() == [True, False]
    assert torch.heaviside(torch.tensor([-2, 0, 3]), torch.tensor(7)).tolist() == [0, 7, 1]
    assert torch.prod(torch.tensor([2, 0]), dtype=torch.bool).item() is False
    assert torch.sum(torch.tensor([0, 3]), dtype=torch.bool).item() is True
    with pytest.raises(RuntimeError, match=r"rtol must be greater than or equal to zero, but got -0\.5"):
        torch.isclose(torch.ones(1), torch.ones(1), rtol=-0.5)
    with pytest.raises(RuntimeError, match=r"Optional dtype must be either a floating point .* Got: Long"):
        torch.mean(torch.ones(2), dtype=torch.int64)


def test_floor_division_floors_the_exact_quotient() -> None:
    """1/0.1 rounds to 10, but 0.1 is more than a tenth; signs of zeros and infinities are those of the quotient."""
    values = [1.0, 0.1, -1.0, 5.0, -5.0, 0.0, float("inf"), 0.3, 3.0]
    x, y = (torch.tensor(values, dtype=torch.float64).reshape(shape) for shape in ((-1, 1), (1, -1)))
    with np.errstate(all="ignore"):
        expected = np.array([[np.floor_divide(a, b) for b in values] for a in values])
    expected[:, 6][:6] = [0.0, 0.0, -1.0, 0.0, -1.0, 0.0]  # Python's: a finite number over infinity
    found = torch.floor_divide(x, y).numpy()
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[finite], expected[finite])
    np.testing.assert_array_equal(torch.compile(torch.floor_divide)(x, y).numpy(), found)
    assert (torch.tensor(1.0, dtype=torch.float64) // 0.1).item() == 9.0
    leaf = torch.tensor([5.0, 7.0], requires_grad=True)
    torch.div(leaf, 2.0, rounding_mode="floor").sum().backward()
    assert leaf.grad.tolist() == [0.0, 0.0]


def test_logit_between_bounds() -> None:
    x = torch.tensor([0.1, 0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    found = torch.logit(x, eps=0.2)
    np.testing.assert_allclose(found.detach().numpy(), [np.log(0.25), np.log(0.25), 0.0, np.log(4.0)], atol=1e-15)
    found.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 6.25, 4.0, 0.0])


def test_sum_to_size() -> None:
    x = draw(2, 3, 4)
    np.testing.assert_allclose(torch.tensor(x).sum_to_size(3, 1).numpy(), x.sum((0, 2))[:, None], rtol=1e-13)
    assert torch.tensor(x).sum_to_size((2, 3, 4)).shape == (2, 3, 4)
    with pytest.raises(RuntimeError, match=r"size \{\[2, 4\]\} is not expandable to size \{\[2, 3, 4\]\}\."):
        torch.tensor(x).sum_to_size(2, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_rounded_once(dtype: Any) -> None:
    a, b, c = (torch.tensor(draw(50), dtype=dtype) for _ in range(3))
    wide = [part.float() for part in (a, b, c)]
    assert torch.equal(torch.addcmul(a, b, c, value=3), torch.addcmul(*wide, value=3).to(dtype))
    assert torch.equal(torch.addcdiv(a, b, c, value=3), torch.addcdiv(*wide, value=3).to(dtype))
    assert torch.norm(a * 10, 6).item() == torch.norm((a * 10).float(), 6).to(dtype).item() != float("inf")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8"])
def test_fmod_of_the_least_integers(dtype: str) -> None:
    limits = np.iinfo(dtype)
    ends = [x for x in (limits.min, limits.min + 1, -40, -3, -1, 0, 1, 3, 40, limits.max) if limits.min <= x]
    pairs = [(x, y) for x in ends for y in ends if y]
    x, y = (np.array(column, dtype) for column in zip(*pairs, strict=True))
    wanted = [abs(a) % abs(b) * (-1 if a < 0 else 1) for a, b in pairs]
    for function in (torch.fmod, torch.compile(lambda a, b: torch.fmod(a, b))):
        assert function(torch.tensor(x), torch.tensor(y)).tolist() == wanted
    for number in (-3, 3, limits.max):
        if number >= limits.min:
            found = torch.fmod(torch.tensor(x), int(number)).tolist()
            assert found == [abs(int(a)) % abs(int(number)) * (-1 if a < 0 else 1) for a in x]


def test_vectors_of_nothing_are_joined_along_any_axis() -> None:
    empty = torch.tensor([])
    assert torch.cat([empty, empty], 1).shape == (0,)
    assert torch.cat([empty, torch.ones(2, 3)], 1).shape == torch.cat([torch.ones(2, 3), empty], -1).shape == (2, 3)


def test_runs_of_nothing_have_places_in_the_shape_of_the_operand() -> None:
    values, places, counts = torch.zeros(0, 3).unique_consecutive(return_inverse=True, return_counts=True)
    assert (values.shape, places.shape, counts.shape) == ((0,), (0, 3), (0,))


def test_ends_of_differences_have_the_shape_of_the_operand() -> None:
    x = torch.ones(2, 3)
    assert torch.diff(x, append=torch.zeros(2, 1)).tolist() == [[0.0, 0.0, -1.0]] * 2
    with pytest.raises(RuntimeError, match=r"^diff expects prepend or append to be the same dimension as input"):
        torch.diff(x, prepend=torch.tensor([]))
    with pytest.raises(RuntimeError, match=r"input.size\(0\) = 2, but got tensor.size\(0\) = 1"):
        torch.diff(x, prepend=torch.ones(1, 3))


def test_extremes_of_nothing_are_no_norms() -> None:
    for order in (float("inf"), -1):
        with pytest.raises(RuntimeError, match=r"^linalg.vector_norm cannot compute the .* norm on an empty tensor"):
            torch.zeros(0, 3).norm(order)
    assert torch.zeros(0, 3).norm(float("inf"), 1).shape == (0,)
    with pytest.raises(RuntimeError, match=r"^linalg.vector_norm: dtype should be complex for complex inputs"):
        torch.linalg.vector_norm(torch.ones(2, dtype=torch.cfloat), dtype=torch.float32)
    with pytest.raises(RuntimeError, match=r"^linalg.vector_norm: dtype should be real for real inputs"):
        torch.linalg.vector_norm(torch.ones(2), dtype=torch.cfloat)


def test_vector_products_want_operands_of_one_rank() -> None:
    assert torch.cross(torch.ones(2, 3), torch.eye(3)[:1], dim=1).tolist() == [[0.0, 1.0, -1.0]] * 2
    with pytest.raises(RuntimeError, match=r"^linalg.cross: inputs must have the same number of dimensions"):
        torch.cross(torch.ones(2, 3), torch.ones(3))
    with pytest.raises(RuntimeError, match=r"^linalg.cross: inputs dimension 0 must have length 3. Got 3 and 10"):
        torch.cross(torch.ones(3, 10), torch.ones(10, 3))


def test_singular_matrices_have_lu_factors() -> None:
    factors, exchanges = torch.lu(torch.ones(3, 3))
    assert factors.tolist() == [[1.0] * 3, [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]] and exchanges.tolist() == [1, 2, 3]


def test_complex_numbers_are_true_where_a_part_is_not_0() -> None:
    given = [1e-320, 0j, 1e-320j, complex(float("nan"), 0)]
    assert torch.tensor(given, dtype=torch.bool).tolist() == [True, False, True, True]
    with pytest.raises(TypeError, match=r"^'complex' object cannot be interpreted as an integer"):
        torch.tensor([1, 1j], dtype=torch.int64)


def test_lists_that_hold_themselves_are_refused() -> None:
    given: list[Any] = [0]
    given.append(given)
    with pytest.raises(TypeError, match=r"^new\(\): self-referential lists are incompatible"):
        torch.tensor(given)


def test_ranges_that_cannot_be_held_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^torch.histc: range of \[0, inf\] is not finite"):
        torch.histc(torch.ones(2), max=float("inf"))
    halves = torch.zeros(3, dtype=torch.float16)
    with pytest.raises(RuntimeError, match=r"^to - 1 is out of bounds for c10::Half"):
        halves.random_(0, 70000)
    assert halves.random_(-65504, 65505).isfinite().all()


def test_factors_and_frequencies_are_written_to_out() -> None:
    places = [torch.zeros(2, 2), torch.zeros(2), torch.zeros(2, 2)]
    found = torch.svd(torch.diag(torch.tensor([3.0, 2.0])), out=tuple(places))
    assert found[1] is places[1] and places[1].tolist() == [3.0, 2.0]
    assert torch.nuclear_norm(torch.eye(2), out=torch.zeros(())).item() == 2.0
    place = torch.zeros(4)
    assert torch.fft.fftfreq(4, out=place) is place and place.tolist() == [0.0, 0.25, -0.5, -0.25]
    assert torch.fft.rfftfreq(4, out=torch.zeros(3)).tolist() == [0.0, 0.25, 0.5]


def test_scaled_sums_of_integers_have_integers_as_factors() -> None:
    one, six = torch.tensor([1]), torch.tensor([6])
    assert torch.addcmul(one, one, six, value=0.5).tolist() == [1]
    assert torch.addcmul(one, one, six, value=2.5).tolist() == [13]
    assert torch.addcmul(one, one, six * 1.0, value=0.5).tolist() == [4.0]
    with pytest.raises(RuntimeError, match=r"^Integer division with addcdiv is no longer supported"):
        torch.addcdiv(torch.ones(1), one, six)
    with pytest.raises(NotImplementedError, match=r"^\"round_cpu\" not implemented for 'Long'"):
        six.round(decimals=-1)


def test_empty_vectors_count_for_the_dtype_of_what_is_joined() -> None:
    empty = torch.empty(0, dtype=torch.float64)
    assert torch.cat([empty, torch.ones(2, 2)], 1).dtype is torch.float64
    assert torch.cat([empty.long(), empty.float()]).dtype is torch.float32
