"""`autograd.Function` under transformations: the user's derivative is used in each of them, eager and compiled."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

Function, func = torch.autograd.Function, torch.func
MODES = pytest.mark.parametrize("mode", [lambda f: f, torch.compile], ids=["eager", "compiled"])


class Rounded(Function):
    """round, with the gradient of x**2 in reverse mode: as old programs write it."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2 * ctx.saved_tensors[0]


class RoundedApart(Function):
    """The same with `setup_context`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any) -> Any:
        return torch.round(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2 * ctx.saved_tensors[0]


class RoundedBoth(RoundedApart):
    """And with tangents of its own, those of x**3; what they read is saved apart."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(inputs[0] * inputs[0])

    @staticmethod
    def jvp(ctx: Any, tangent: Any) -> Any:
        return tangent * 3 * ctx.saved_tensors[0]


class Unmapped(RoundedApart):
    """A function that says nothing of `vmap`."""

    generate_vmap_rule = False


class Sine(Function):
    """sin, with a derivative twice as large that is a function with a derivative of its own."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return torch.sin(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return 2 * grad * Cosine.apply(ctx.saved_tensors[0])


class Cosine(Function):
    """cos, with a derivative three times as large."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return torch.cos(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return -3 * grad * Sine.apply(ctx.saved_tensors[0])


class Mixed(Function):
    """x * y * k with other factors in its derivative and a default for k, a flag, and a result without gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any, y: Any, k: float = 2.0) -> Any:
        return x * y * k, x > y, torch.floor(x * 3), x + y

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, y, ctx.k = inputs
        ctx.save_for_backward(x, y, output[0])
        ctx.save_for_forward(x, y)
        ctx.mark_non_differentiable(output[1], output[2])

    @staticmethod
    def backward(ctx: Any, product: Any, flag: Any, floor: Any, total: Any) -> Any:
        x, y, out = ctx.saved_tensors
        return product * y * ctx.k * 2 + total, product * x * ctx.k * 5 + total * 7 + 0 * out, None

    @staticmethod
    def jvp(ctx: Any, x_t: Any, y_t: Any, k_t: Any) -> Any:
        assert k_t is None
        x, y = ctx.saved_tensors
        return x_t * y * ctx.k * 2 + y_t * x * ctx.k * 5, None, None, x_t + 7 * y_t


X = torch.tensor([1.25, 2.75])
ROUNDED = [Rounded, RoundedApart, RoundedBoth]


def diagonal(values: Any) -> list[Any]:
    return [[values[0], 0.0], [0.0, values[1]]]


@MODES
@pytest.mark.parametrize("cls", ROUNDED)
def test_jacobians_and_pullbacks(cls: Any, mode: Callable[..., Any]) -> None:
    def f(x: Any) -> Any:
        return cls.apply(x) * x

    slope = [2 * x * x + round(x) for x in (1.25, 2.75)]
    second = [6 * x for x in (1.25, 2.75)]  # of 2x * x + round(x), where the second term counts as x**2
    assert mode(lambda x: func.jacrev(f)(x))(X).tolist() == diagonal(slope)
    assert mode(lambda x: torch.vmap(func.grad(f))(x))(X).tolist() == slope
    assert mode(lambda x: torch.vmap(func.jacrev(f))(x))(X).tolist() == slope
    assert mode(lambda x: func.jacrev(func.jacrev(lambda z: f(z).sum()))(x))(X).tolist() == diagonal(second)


@MODES
@pytest.mark.parametrize("cls", ROUNDED)
def test_tangents(cls: Any, mode: Callable[..., Any]) -> None:
    slopes = [3 * x * x if cls is RoundedBoth else 2 * x for x in (1.25, 2.75)]
    assert mode(lambda x: func.jacfwd(cls.apply)(x))(X).tolist() == diagonal(slopes)
    assert mode(lambda x: func.jvp(cls.apply, (x,), (torch.ones(2),))[1])(X).tolist() == slopes
    with torch.no_grad():
        assert mode(lambda x: func.jacfwd(cls.apply)(x))(X).tolist() == diagonal(slopes)

    def f(x: Any) -> Any:
        return (cls.apply(x) * x).sum()

    # The gradient is 2x * x + round(x), whose tangent takes the rule of forward mode for round.
    expected = [4 * x + slope for x, slope in zip((1.25, 2.75), slopes, strict=True)]
    assert mode(lambda x: func.hessian(f)(x))(X).tolist() == diagonal(expected)


@MODES
@pytest.mark.parametrize("cls", ROUNDED)
def test_backward_through_mapped_functions(cls: Any, mode: Callable[..., Any]) -> None:
    x, scale = X.clone().requires_grad_(), torch.tensor(2.0, requires_grad=True)
    mode(lambda x: torch.vmap(cls.apply)(x))(x).sum().backward()
    assert x.grad.tolist() == [2.5, 5.5]
    mode(lambda x: torch.vmap(lambda z: cls.apply(z * scale))(x))(x).sum().backward()
    assert x.grad.tolist() == [2.5 + 4 * 2.5, 5.5 + 4 * 5.5] and scale.grad.item() == 2 * 2 * (1.25**2 + 2.75**2)
    x.grad = None
    mode(lambda x: func.jacrev(cls.apply)(x))(x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradients_of_each_example() -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor([[0.5, 1.0], [2.0, -1.0]]))

        def forward(self, x: Any) -> Any:
            return RoundedApart.apply(x @ self.w)

    layer = Layer()
    weights = {"w": layer.w.detach()}
    inputs = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.25]])

    def loss(weights: Any, x: Any) -> Any:
        return func.functional_call(layer, weights, (x,)).sum()

    each = torch.vmap(func.grad(loss), (None, 0))(weights, inputs)["w"]
    assert each.tolist() == [func.grad(loss)(weights, x)["w"].tolist() for x in inputs]
    assert each[0].tolist() == [[2 * 4.5, 2 * -1.0], [4 * 4.5, 4 * -1.0]]


@MODES
def test_derivatives_of_higher_order_take_the_rules_of_the_functions_in_a_backward(mode: Callable[..., Any]) -> None:
    x = torch.tensor(0.5)
    sine, cosine = x.sin().item(), x.cos().item()
    expected = [2 * cosine, -6 * sine, -12 * cosine]
    for orders in (
        [func.grad(Sine.apply), func.grad(func.grad(Sine.apply)), func.grad(func.grad(func.grad(Sine.apply)))],
        [func.jacfwd(Sine.apply), func.jacfwd(func.jacfwd(Sine.apply)), func.jacfwd(func.hessian(Sine.apply))],
        [func.jacrev(Sine.apply), func.hessian(Sine.apply), func.jacfwd(func.jacfwd(func.grad(Sine.apply)))],
    ):
        assert [mode(f)(x).item() for f in orders] == pytest.approx(expected, rel=1e-6)


def mixed(x: Any, y: Any) -> Any:
    product, flag, floor, total = Mixed.apply(x, y)
    return product * floor + total * flag


@MODES
def test_several_arguments_and_results(mode: Callable[..., Any]) -> None:
    x, y = torch.tensor([0.25, 1.5]), torch.tensor([0.5, 1.0])  # floor(3x) = 0, 4; x > y for the second
    along_x, along_y = [0.0, 2 * 2 * 1.0 * 4 + 1], [0.0, 5 * 2 * 1.5 * 4 + 7]
    for jacobian in (func.jacrev, func.jacfwd):
        found = mode(lambda x, y, jacobian=jacobian: jacobian(mixed, (0, 1))(x, y))(x, y)
        assert [part.tolist() for part in found] == [diagonal(along_x), diagonal(along_y)]
    found = mode(lambda x, y: torch.vmap(func.grad(mixed, (0, 1)))(x, y))(x, y)
    assert [part.tolist() for part in found] == [along_x, along_y]
    x.requires_grad_()
    y.requires_grad_()
    mode(lambda x, y: torch.vmap(mixed)(x, y))(x, y).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == (along_x, along_y)


@MODES
def test_functions_that_cannot_be_mapped_say_so(mode: Callable[..., Any]) -> None:
    message = "You tried to vmap over Unmapped, but it does not have vmap support"
    for f in (Unmapped.apply, func.grad(Unmapped.apply), lambda x: Unmapped.apply(x * 2) + 1):
        with pytest.raises(RuntimeError, match=message):
            mode(lambda x, f=f: torch.vmap(f)(x))(X)
    assert mode(lambda x: torch.vmap(lambda z: z + Unmapped.apply(x))(x))(X).tolist() == [[2.25, 4.25], [3.75, 5.75]]
    assert mode(lambda x: func.jacrev(Unmapped.apply)(x))(X).tolist() == diagonal([2.5, 5.5])


@MODES
def test_what_is_computed_without_recording_has_tangents_but_no_gradient(mode: Callable[..., Any]) -> None:
    def f(x: Any) -> Any:
        with torch.no_grad():
            square = x * x
        return square * x

    squares, slopes = [1.25**2, 2.75**2], [3 * 1.25**2, 3 * 2.75**2]
    assert mode(lambda x: func.jacrev(f)(x))(X).tolist() == diagonal(squares)
    assert mode(lambda x: func.jacfwd(f)(x))(X).tolist() == diagonal(slopes)
    with torch.no_grad():
        assert mode(lambda x: func.jacrev(f)(x))(X).tolist() == diagonal(squares)
        assert mode(lambda x: func.jacrev(lambda z: z * z)(x))(X).tolist() == diagonal([2.5, 5.5])
    x = X.clone().requires_grad_()
    mode(lambda x: torch.vmap(f)(x))(x).sum().backward()
    assert x.grad.tolist() == squares


@MODES
def test_tangents_of_gradients_pass_what_is_computed_without_recording(mode: Callable[..., Any]) -> None:
    """The gradient of c*x for a constant c = x*x is c, whose tangent is 2*x*t; a detached c has none."""

    def f(x: Any) -> Any:
        with torch.no_grad():
            square = x * x
        return (square * x).sum()

    ones, doubled = torch.ones_like(X), [2.5, 5.5]
    assert mode(lambda x: func.jvp(func.grad(f), (x,), (ones,))[1])(X).tolist() == doubled
    assert mode(lambda x: func.jvp(lambda z: func.vjp(f, z)[1](torch.tensor(1.0))[0], (x,), (ones,))[1])(
        X).tolist() == doubled
    assert mode(lambda x: func.hessian(f)(x))(X).tolist() == diagonal(doubled)
    assert mode(lambda x: func.jacfwd(func.jacfwd(func.grad(f)))(x))(X).tolist() == [
        diagonal([2.0, 0.0]), diagonal([0.0, 2.0])]
    assert mode(lambda x: torch.vmap(lambda r: func.jvp(func.grad(f), (r,), (ones,))[1])(x.expand(3, 2)))(
        X).tolist() == [doubled] * 3
    assert mode(lambda x: func.grad(lambda z: func.jvp(func.grad(f), (z,), (ones,))[1].sum())(x))(X).tolist() == [0, 0]
    for g in (lambda x: (x.detach() * x * x).sum(), lambda x: ((x * x).detach() * x * x / x.detach()).sum()):
        assert mode(lambda x, g=g: func.jvp(func.grad(g), (x,), (ones,))[1])(X).tolist() == doubled
    outside = X.detach()
    held = mode(lambda x: func.jvp(func.grad(lambda z: (outside * z).sum()), (x,), (ones,))[1])(X)
    assert held.tolist() == [0, 0]


@MODES
def test_mapped_results_require_grad_where_they_do_for_one_example(mode: Callable[..., Any]) -> None:
    x = X.clone().requires_grad_()
    closed, open_ = mode(lambda x: torch.vmap(lambda z: (z.detach() * 2, z * 2))(x))(x)
    assert (closed.requires_grad, open_.requires_grad) == (False, True)
    with torch.no_grad():
        assert not mode(lambda x: torch.vmap(lambda z: z * 2)(x))(x).requires_grad


TANGENTS: dict[str, tuple[Any, str]] = {
    "two": (lambda ctx, t: (t, t), "Function's jvp returned an invalid number of forward gradients (expected 1 but "
            "got 2)"),
    "a number": (lambda ctx, t: 3, "expected Variable or None (got int) for grad output 0."),
    "a shape": (lambda ctx, t: t[:1], "Trying to set a forward gradient that has a different size than that of the "
                "original Tensor, this is not supported. Tensor is of size [2] while the given forward gradient is of "
                "size [1]."),
}  # fmt: skip


@pytest.mark.parametrize("case", TANGENTS)
def test_errors_of_tangents_read_as_in_pytorch(case: str) -> None:
    rule, text = TANGENTS[case]
    cls = type("Wrong", (RoundedApart,), {"jvp": staticmethod(rule)})
    with pytest.raises(RuntimeError) as caught:
        func.jvp(cls.apply, (X,), (X,))
    assert str(caught.value).splitlines()[0] == text


def test_only_tensors_are_saved_for_tangents() -> None:
    cls = type("Saves", (RoundedApart,), {"setup_context": staticmethod(lambda ctx, i, o: ctx.save_for_forward(3))})
    with pytest.raises(AssertionError, match="save_for_forward expects all arguments to be tensors"):
        cls.apply(X)


class Doubled(Function):
    """Twice the argument, written over it, with a derivative of 6 in forward mode and 9 in reverse."""

    @staticmethod
    def forward(x: Any) -> Any:
        return x.mul_(2)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_dirty(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 9

    @staticmethod
    def jvp(ctx: Any, tangent: Any) -> Any:
        return tangent.mul_(6)


class Sides(Function):
    """Twice the argument, and three times it without a derivative."""

    @staticmethod
    def forward(x: Any) -> Any:
        return x * 2, x * 3

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Any, _: Any) -> Any:
        return grad * 4

    @staticmethod
    def jvp(ctx: Any, tangent: Any) -> Any:
        return tangent * 11, None


class Reversed(Sides):
    """The same without a rule for forward mode."""

    jvp = Function.jvp


@MODES
def test_tangents_pass_what_forward_wrote_over_by_its_rule_alone(mode: Callable[..., Any]) -> None:
    def f(x: Any) -> Any:
        copy = x * 1
        return Doubled.apply(copy) * copy * x

    def of_part(x: Any) -> Any:
        copy = x * 1
        Doubled.apply(copy[:1])
        return copy

    value, tangent = mode(lambda x: func.jvp(f, (x,), (torch.ones(2),)))(X)
    assert value.tolist() == [4 * 1.25**3, 4 * 2.75**3]
    assert tangent.tolist() == [28 * 1.25**2, 28 * 2.75**2]  # 2 * 6 * 2 + 4 of x**2
    assert mode(lambda x: func.jacfwd(of_part)(x))(X).tolist() == diagonal([6.0, 1.0])


@MODES
def test_results_that_are_not_differentiable_have_no_tangents(mode: Callable[..., Any]) -> None:
    for cls, slope in ((Sides, 11), (Reversed, 4)):
        def f(x: Any, cls: Any = cls) -> Any:
            y, z = cls.apply(x)
            return y * z

        assert mode(lambda x, f=f: func.jacfwd(f)(x))(X).tolist() == diagonal([3 * slope * 1.25, 3 * slope * 2.75])
        assert not mode(lambda x, cls=cls: func.jacfwd(lambda z: cls.apply(z)[1])(x))(X).any()


@MODES
def test_rules_that_are_differentiable_once_have_no_second_derivative(mode: Callable[..., Any]) -> None:
    rule = staticmethod(torch.autograd.function.once_differentiable(lambda ctx, g: g * 2 * ctx.saved_tensors[0]))
    cls = type("Once", (RoundedApart,), {"backward": rule})

    def first(x: Any) -> Any:
        return func.grad(lambda z: cls.apply(z).sum())(x)

    assert mode(first)(X).tolist() == [2.5, 5.5]
    assert mode(lambda x: func.grad(lambda z: first(z).sum())(x))(X).tolist() == [0.0, 0.0]


def test_functions_go_with_the_scope_that_made_them() -> None:
    def made() -> Any:
        held = torch.ones(2)

        class Local(RoundedApart):
            @staticmethod
            def forward(x: Any, scale: Any = 2.0) -> Any:
                return x * scale * held

            @staticmethod
            def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                ctx.scale = inputs[1]

        assert [Local.apply(X).tolist(), Local.apply(X, 3.0).tolist()] == [[2.5, 5.5], [3.75, 8.25]]
        with pytest.raises(TypeError, match="missing a required argument: 'x'"):
            Local.apply()
        return weakref.ref(held)

    reference = made()
    gc.collect()
    assert reference() is None


def test_gradients_within_no_grad_are_constants_of_what_is_around() -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    weight = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with torch.no_grad():
        gradient = torch.func.grad(lambda v: (v * v * weight).sum())(x)
        output, pullback = torch.func.vjp(lambda v: v * v * weight, x)
        (pulled,) = pullback(torch.ones(3))
    for found in (gradient, output, pulled):
        assert not found.requires_grad

    def outer(v: Any) -> Any:
        with torch.no_grad():
            inner = torch.func.grad(lambda y: (y * y * v).sum())(v)
        return (v * inner).sum()

    for function in (outer, torch.compile(outer)):
        assert torch.func.grad(function)(x).tolist() == [2.0, 8.0, 18.0]


def test_tangents_pass_gradients_within_no_grad() -> None:
    x = torch.tensor([1.0, 2.0])

    def inner(v: Any) -> Any:
        with torch.no_grad():
            return torch.func.grad(lambda y: (y**3).sum())(v)

    assert torch.func.jvp(inner, (x,), (torch.ones(2),))[1].tolist() == [6.0, 12.0]
