"""`autograd.Function`: forward and backward in the user's hands, eager and compiled."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.ir.parser import parse
from adjit.ir.verify import verify

Function = torch.autograd.Function
once_differentiable = torch.autograd.function.once_differentiable


class Square(Function):
    """k*a**2, with a gradient ten times too large, so that it is seen to be the user's."""

    @staticmethod
    def forward(ctx: Any, a: Any, k: float = 1.0) -> Any:
        ctx.save_for_backward(a)
        ctx.k = k
        return a * a * k

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (a,) = ctx.saved_tensors
        return 20 * a * grad * ctx.k, None


class Exponential(Function):
    """exp, from its own result and an intermediate one."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        result = a.exp()
        ctx.save_for_backward(result)
        ctx.half = result / 2
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.saved_tensors[0] + 0 * ctx.half


class Split(Function):
    """Two results and a flag; one of the results has no gradient."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b, None)
        low, high = a * b, a + b
        flag = a > b
        ctx.mark_non_differentiable(flag)
        return low, high, flag

    @staticmethod
    def backward(ctx: Any, low: Any, high: Any, flag: Any) -> Any:
        a, b, nothing = ctx.saved_tensors
        assert nothing is None and ctx.needs_input_grad == (True, True) and not flag.requires_grad
        return low * b + high, low * a + 3 * high


class Apart(Function):
    """A forward without a context, and a gradient of a shape that must be summed."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Any, b: Any) -> Any:
        return a * b

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, b, output = ctx.saved_tensors
        return (grad * b + 0 * output).unsqueeze(0).expand(2, -1), grad * a

    @staticmethod
    def vmap(info: Any, in_dims: Any, a: Any, b: Any) -> Any:
        return a * b, in_dims[0]


class Doubled(Function):
    """Doubles its argument in place; the gradient is that of a tripling."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        a.mul_(2)
        ctx.mark_dirty(a)
        return a

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 3


class Reversed(Function):
    """The identity, whose gradient changes its sign."""

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        return a

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return -grad


class Clipped(Function):
    """The identity, which clips its gradient in place in a copy and lets only one of two pass."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.set_materialize_grads(False)
        return a + b

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        clipped = grad.clone()
        clipped[clipped > 1] = 1.0
        return (clipped, None)


def squares(x: Any, y: Any) -> Any:
    return Square.apply(x, 3.0).sum() + Square.apply(y * x).sum()


def exponentials(x: Any, y: Any) -> Any:
    return (Exponential.apply(Exponential.apply(x) * 0.1) * y).sum()


def split(x: Any, y: Any) -> Any:
    low, high, flag = Split.apply(x, y)
    return (low * 2 + torch.where(flag, high, low)).sum()


def split_unused(x: Any, y: Any) -> Any:
    return Split.apply(x, y)[1].sum()


def apart(x: Any, y: Any) -> Any:
    return Apart.apply(x * 2, y).exp().sum()


def doubled(x: Any, y: Any) -> Any:
    z = x * y
    out = Doubled.apply(z)
    return (out * z).sum()


def reversed_(x: Any, y: Any) -> Any:
    return (Reversed.apply(x) * y).sum() + Reversed.apply(x * 2).sum()


def clipped(x: Any, y: Any) -> Any:
    return (Clipped.apply(x, y) ** 2).sum()


PROGRAMS: list[Callable[..., Any]] = [
    squares, exponentials, split, split_unused, apart, doubled, reversed_, clipped,
]  # fmt: skip


def outside(function: Callable[..., Any], x: Any, y: Any) -> Any:
    loss = function(x, y)
    loss.backward()
    return loss


def inside(function: Callable[..., Any]) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = function(x, y)
        loss.backward()
        return loss

    return step


def second_order(function: Callable[..., Any]) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        found = torch.autograd.grad(function(x, y), (x, y), create_graph=True, allow_unused=True)
        total = sum((g * g).sum() for g in found if g is not None and g.requires_grad)
        if isinstance(total, torch.Tensor):
            total.backward()
        return total

    return step


def results(run: Callable[..., Any]) -> list[Any]:
    x = torch.tensor([0.5, -1.25], requires_grad=True)
    y = torch.tensor([1.5, 0.75], requires_grad=True)
    found = run(x, y)
    return [t.tolist() if isinstance(t, torch.Tensor) else t for t in (found, x.grad, y.grad)]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_eager_and_compiled_take_the_users_gradients(program: Callable[..., Any]) -> None:
    expected = results(lambda x, y: outside(program, x, y))
    compiled = torch.compile(program, strict=True)
    assert results(lambda x, y: outside(compiled, x, y)) == expected
    assert results(inside(program)) == expected
    assert results(torch.compile(inside(program), strict=True)) == expected
    graph = compiled.graph(*(torch.tensor([0.5, -1.25], requires_grad=True) for _ in range(2)))
    verify(graph)
    assert str(parse(str(graph))) == str(parse(str(parse(str(graph)))))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_second_order_through_the_users_backward(program: Callable[..., Any]) -> None:
    expected = results(second_order(program))
    compiled = torch.compile(program, strict=True)
    for run in (second_order(compiled), torch.compile(second_order(program), strict=True)):
        for ours, theirs in zip(results(run), expected, strict=True):
            assert ours == (theirs if theirs is None else pytest.approx(theirs, rel=1e-6))


def test_the_numbers_are_the_users() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    out = Square.apply(x, 3.0)
    assert out.tolist() == [3.0, 12.0]
    out.sum().backward()
    assert x.grad.tolist() == [60.0, 120.0]
    (first,) = torch.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert (first.tolist(), second.tolist()) == ([20.0, 40.0], [20.0, 20.0])


def test_the_function_behind_a_result() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    out = Square.apply(x, 3.0)
    function = out.grad_fn
    assert (function.name(), type(function).__name__, function.k) == ("SquareBackward", "SquareBackward", 3.0)
    assert repr(out) == "tensor([ 3., 12.], grad_fn=<SquareBackward>)"
    assert function.saved_tensors[0].tolist() == [1.0, 2.0] and function.needs_input_grad == (True, False)
    assert function.next_functions[0][0].variable is x
    with pytest.raises(AttributeError, match="'SquareBackward' object has no attribute 'missing'"):
        _ = function.missing
    seen: list[Any] = []
    function.register_hook(lambda inputs, outputs: seen.append((inputs[0].tolist(), outputs[0].tolist())))
    out.sum().backward()
    assert seen == [([60.0, 120.0], [1.0, 1.0])]


def test_marks_and_modes() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    low, high, flag = Split.apply(x, x + 1)
    assert (low.requires_grad, high.requires_grad, flag.requires_grad) == (True, True, False)
    with torch.no_grad():
        assert not Square.apply(x).requires_grad
    assert not Square.apply(x.detach()).requires_grad
    z = x * 1
    assert Doubled.apply(z) is z and z.grad_fn.name() == "DoubledBackward"
    same = Reversed.apply(x)
    assert same is not x and same.data_ptr() == x.data_ptr()
    with pytest.raises(RuntimeError, match="Output 0 of Reversed is a view and is being modified inplace"):
        Reversed.apply(x * 1).add_(1)


def broken(backward: Callable[..., Any], forward: Any = lambda ctx, a, b: a * b) -> Any:
    return type("Broken", (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


LEAF = [1.0, 2.0]
ERRORS: dict[str, tuple[Any, type[Exception], str]] = {
    "too few": (broken(lambda ctx, g: g), RuntimeError,
                "function BrokenBackward returned an incorrect number of gradients (expected 2, got 1)"),
    "too many": (broken(lambda ctx, g: (g, g, g)), RuntimeError,
                 "function BrokenBackward returned an incorrect number of gradients (expected 2, got 3)"),
    "a list": (broken(lambda ctx, g: [g, g]), RuntimeError,
               "function BrokenBackward returned an incorrect number of gradients (expected 2, got 1)"),
    "a number": (broken(lambda ctx, g: (g, 3)), RuntimeError, "expected Variable or None (got int)"),
    "a shape": (broken(lambda ctx, g: (torch.ones(3), g)), RuntimeError,
                "Function BrokenBackward returned an invalid gradient at index 0 - got [3] but expected shape "
                "compatible with [2]"),
    "its own": (broken(lambda ctx, g: 1 // 0), ZeroDivisionError, "integer division or modulo by zero"),
    "saves a number": (broken(lambda ctx, g: g, lambda ctx, a, b: ctx.save_for_backward(3)), TypeError,
                       "save_for_backward can only save variables, but argument 0 is of type int"),
    "dirty, not returned": (broken(lambda ctx, g: g, lambda ctx, a, b: ctx.mark_dirty(a) or a * 1), RuntimeError,
                            "Some elements marked as dirty during the forward method were not returned as output. The "
                            "inputs that are modified inplace must all be outputs of the Function."),
    "a dirty leaf": (broken(lambda ctx, g: g, lambda ctx, a, b: ctx.mark_dirty(a) or a), RuntimeError,
                     "a leaf Variable that requires grad has been used in an in-place operation."),
    "no forward": (type("Empty", (Function,), {}), NotImplementedError,
                   "You must implement the forward function for custom autograd.Function."),
    "no backward": (type("Half", (Function,), {"forward": staticmethod(lambda ctx, a, b: a * b)}), NotImplementedError,
                    "You must implement either the backward or vjp method for your custom autograd.Function to use it "
                    "with backward mode AD."),
    "two backwards": (type("Twice", (Function,), {
        "forward": staticmethod(lambda ctx, a, b: a * b), "backward": staticmethod(lambda ctx, g: g),
        "vjp": staticmethod(lambda ctx, g: g)}), RuntimeError,
        "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only implement one of "
        "them."),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_errors_read_as_in_pytorch(case: str, compile: bool) -> None:
    cls, kind, text = ERRORS[case]

    def step(x: Any, y: Any) -> None:
        cls.apply(x, y).sum().backward()

    x, y = torch.tensor(LEAF, requires_grad=True), torch.tensor(LEAF, requires_grad=True)
    with pytest.raises(kind) as caught:
        (torch.compile(step) if compile else step)(x, y)
    assert str(caught.value).splitlines()[0] == text
    assert x.grad is None and y.grad is None


def test_a_gradient_for_what_is_no_tensor_is_an_error() -> None:
    cls = broken(lambda ctx, g: (g, g))
    with pytest.raises(RuntimeError, match="a gradient different than None at position 2, but the corresponding"):
        cls.apply(torch.ones(2, requires_grad=True), 3.0).sum().backward()


def test_saved_tensors_are_watched_and_freed() -> None:
    x = torch.tensor(LEAF, requires_grad=True)
    z = x * 1
    out = Square.apply(z)
    z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    out = Square.apply(x).sum()
    out.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        out.backward()


def test_a_backward_that_is_differentiable_once() -> None:
    def backward(ctx: Any, grad: Any) -> Any:
        return 2 * ctx.saved_tensors[0] * grad, None

    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a)
        return a * a

    cls = broken(once_differentiable(backward), forward)
    x = torch.tensor(LEAF, requires_grad=True)
    weight = torch.ones(2, requires_grad=True)
    (gradient,) = torch.autograd.grad(cls.apply(x, None), x, weight, create_graph=True)
    assert gradient.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="trying to differentiate twice a function that was marked with @once_diff"):
        gradient.sum().backward()


def test_keyword_arguments_and_instances() -> None:
    x = torch.tensor(LEAF, requires_grad=True)
    assert Square.apply(a=x, k=2.0).tolist() == [2.0, 8.0]
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        instance = Square()
    with pytest.raises(RuntimeError, match="Legacy autograd function with non-static forward method"):
        instance(x)


def test_gradients_that_a_backward_gives_twice_are_not_shared() -> None:
    cls = broken(lambda ctx, g: (g, g))
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    for _ in range(2):
        cls.apply(x, y).backward(torch.ones(2))
    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0, 2.0], [2.0, 2.0])


def test_a_function_and_its_context_are_collected() -> None:
    from weakref import ref

    x = torch.tensor(LEAF, requires_grad=True)
    out = Exponential.apply(x)
    context = ref(out.grad_fn.node.attached.custom.ctx)
    del out
    gc.collect()
    assert context() is None


class Scaled(Function):
    """Doubles its first argument in place, and gives the second one back doubled."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        a.mul_(2)
        ctx.mark_dirty(a)
        return a, b * 2

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads


def test_views_that_a_forward_writes_to() -> None:
    x = torch.tensor(LEAF, requires_grad=True)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad is being used in an in-place"):
        Doubled.apply(x[:])
    with pytest.raises(RuntimeError, match="your Function cannot return more than one Tensor"):
        Scaled.apply((x * 1)[:1], x)
    base = x * 1
    Doubled.apply(base[:1])
    base.sum().backward()
    assert x.grad.tolist() == [3.0, 1.0]


def test_a_view_that_a_function_made_is_stale_once_its_base_took_another_value() -> None:
    x = torch.tensor(LEAF, requires_grad=True)
    base = x * 1
    seen = Reversed.apply(base)
    with torch.no_grad():
        base.mul_(2)
    assert (seen * 2).tolist() == [4.0, 8.0]
    base.mul_(2)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Output 0 of Reversed is a view and its base or another view of its"):
            _ = seen * 2
    assert repr(seen) == "tensor([4., 8.], grad_fn=<Invalid>)"


class ShownTenfold(torch.autograd.Function):
    """A view of all but the first element, whose gradient is ten times as large."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return torch.cat([torch.zeros(1), gradient * 10])


def scaled_part(y: Any) -> Any:
    ShownTenfold.apply(y)[:1].mul_(2)
    return y


def assigned_part(y: Any) -> Any:
    ShownTenfold.apply(y)[:2][0] = 3.0
    return y


def scaled_base(y: Any) -> Any:
    shown = ShownTenfold.apply(y).view(-1)
    y.mul_(2)
    return shown


def scaled_result(y: Any) -> Any:
    ShownTenfold.apply(y).mul_(2)
    return y


def scaled_detached(y: Any) -> Any:
    ShownTenfold.apply(y).detach().mul_(2)
    return y


def returned(y: Any) -> Any:
    return ShownTenfold.apply(y)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("write", [scaled_part, assigned_part, scaled_base, scaled_result])
def test_writes_through_views_of_a_function_are_refused(write: Any, compiled: bool) -> None:
    def run(x: Any) -> Any:
        return write(x * 1).sum()

    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="This view was created inside a custom Function"):
        (torch.compile(run) if compiled else run)(x).backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_views_of_a_function_stand_on_their_base(compiled: bool) -> None:
    for function, value, gradient in (
        (scaled_detached, [1.0, 4.0, 6.0], [1.0, 1.0, 1.0]),
        (returned, [2.0, 3.0], [0.0, 10.0, 10.0]),
    ):
        x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)

        def run(x: Any, function: Any = function) -> Any:
            return function(x * 1)

        found = (torch.compile(run) if compiled else run)(x)
        found.sum().backward()
        assert found.tolist() == value
        assert x.grad is not None
        assert x.grad.tolist() == gradient
