"""Function transformations: derivatives by every mode agree, vmap is a loop, and all of it composes and compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit import func, nn
from adjit.nn import functional

F = Callable[..., Any]
X = torch.tensor([0.3, 0.5, -1.2, 2.0], dtype=torch.float64)
Y = torch.tensor([1.1, -0.4, 0.7, 0.2], dtype=torch.float64)
W = torch.arange(12.0, dtype=torch.float64).reshape(3, 4) / 7 - 0.8


def rows(count: int = 3) -> torch.Tensor:
    return torch.stack([torch.roll(X, shift, 0) * (1 + shift) for shift in range(count)])


def close(left: Any, right: Any) -> None:
    if isinstance(left, torch.Tensor):
        assert left.shape == right.shape and left.dtype == right.dtype
        assert torch.allclose(left, right, rtol=1e-9, atol=1e-9), (left, right)
    elif isinstance(left, dict):
        for key in left:
            close(left[key], right[key])
    else:
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            close(a, b)


VECTOR: dict[str, F] = {
    "sin": torch.sin, "square": lambda x: x * x, "linear": lambda x: W @ x, "softmax": lambda x: torch.softmax(x, 0),
    "cumulative product": lambda x: torch.cumprod(x, 0), "sorted": lambda x: torch.sort(x).values * x,
    "greatest": lambda x: x.max() * x, "norm": lambda x: x / x.norm(), "index": lambda x: x[[0, 2, 2]] * x[1],
    "where": lambda x: torch.where(x > 0, x**3, x.exp()), "outer": lambda x: torch.outer(x, x).tril(),
    "in place": lambda x: (x * 2).add_(x * x).mul_(3), "assigned": lambda x: assigned(x), "std": lambda x: x.std() * x,
    "layer norm": lambda x: functional.layer_norm(x, (4,)), "prod": lambda x: x.prod().reshape(1),
    "loop": lambda x: loop(x), "einsum": lambda x: torch.einsum("i,ji->j", x, W),
}  # fmt: skip


def assigned(x: torch.Tensor) -> torch.Tensor:
    result = torch.zeros(5, dtype=x.dtype)
    result[1:] = x * x
    result[0] = x.sum()
    return result


def loop(x: torch.Tensor) -> torch.Tensor:
    for _ in range(3):
        x = torch.tanh(W.T @ (W @ x))
    return x


def scalar(function: F) -> F:
    return lambda x: (function(x) ** 2).sum()


# -- derivatives -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", VECTOR)
def test_every_mode_gives_the_jacobian(name: str) -> None:
    function = VECTOR[name]
    backward = func.jacrev(function)(X)
    close(func.jacfwd(function)(X), backward)
    close(func.jacrev(function, chunk_size=2)(X), backward)
    output, tangent = func.jvp(function, (X,), (Y,))
    close(output, function(X))
    close(tangent, torch.tensordot(backward, Y, 1))
    output, along = func.linearize(function, X)
    close(along(Y), tangent)
    output, pullback = func.vjp(function, X)
    close(pullback(torch.ones_like(output))[0], backward.reshape(-1, 4).sum(0))
    close(torch.compile(func.jacfwd(function))(X), backward)
    close(torch.compile(func.jacrev(function))(X), backward)


@pytest.mark.parametrize("name", VECTOR)
def test_second_derivatives(name: str) -> None:
    function = scalar(VECTOR[name])
    hessian = func.hessian(function)(X)
    close(hessian, hessian.T)
    close(func.jacrev(func.grad(function))(X), hessian)
    close(func.jacfwd(func.jacfwd(function))(X), hessian)
    close(func.hvp(function, (X,), (Y,))[1], hessian @ Y)
    close(func.jacrev(func.jacfwd(function))(X), hessian)
    close(torch.compile(func.hessian(function))(X), hessian)


@pytest.mark.parametrize("name", VECTOR)
def test_the_gradient_is_autograds(name: str) -> None:
    function = scalar(VECTOR[name])
    x = X.clone().requires_grad_()
    function(x).backward()
    gradient, value = func.grad_and_value(function)(X)
    close((gradient, value), (x.grad, function(X)))
    assert not gradient.requires_grad and not value.requires_grad
    close(torch.compile(func.grad(function))(X), x.grad)
    close(func.grad(torch.compile(function))(X), x.grad)
    close(func.value_and_grad(function)(X), (value, gradient))


def test_what_is_tracked_outside_stays_so() -> None:
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    gradient = func.grad(lambda x: ((w @ x) ** 3).sum())(x)
    direct = torch.autograd.grad((gradient * Y).sum(), (x, w))
    value = ((w @ x) ** 3).sum()
    (first,) = torch.autograd.grad(value, x, create_graph=True)
    close(direct, torch.autograd.grad((first * Y).sum(), (x, w)))
    mapped = torch.vmap(lambda row: (w @ row).sum())(rows())
    close(torch.autograd.grad(mapped.sum(), w), torch.autograd.grad((rows() @ w.T).sum(), w))
    _, tangent = func.jvp(lambda x: (w @ x) ** 3, (X,), (Y,))
    _, expected = func.jvp(lambda w: ((w @ X) ** 2 * 3 * (w @ Y)).sum(), (W,), (torch.ones_like(W),))
    close(torch.autograd.grad(tangent.sum(), w)[0].sum(), expected)


def test_trees_numbers_and_aux() -> None:
    tree = {"a": X, "b": (Y,)}
    found = func.grad(lambda t: (t["a"] * t["b"][0]).sum())(tree)
    close(found, {"a": Y, "b": (X,)})
    gradient, aux = func.grad(lambda x: ((x * x).sum(), x + 1), has_aux=True)(X)
    close((gradient, aux), (2 * X, X + 1))
    close(func.grad(lambda x, y: (x * y).sum(), argnums=(1, 0))(X, Y), (X, Y))
    close(func.grad(lambda x, y: (x * y).sum(), argnums=-1)(X, Y), X)
    jacobian = func.jacrev(lambda x, y: {"p": x * y, "s": x.sum()}, argnums=(0, 1))(X, Y)
    close(jacobian["p"], (torch.diag(Y), torch.diag(X)))
    close(jacobian["s"], (torch.ones_like(X), torch.zeros_like(X)))
    jacobian, aux = func.jacfwd(lambda x: (x * x, x + 1), has_aux=True)(X)
    close((jacobian, aux), (torch.diag(2 * X), X + 1))
    _, pullback, aux = func.vjp(lambda x: (x * x, x + 1), X, has_aux=True)
    close((pullback(Y)[0], aux), (2 * X * Y, X + 1))


def test_a_course_that_depends_on_numbers() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return x * x if x.sum() > 0 else x.exp()

    close(func.grad(scalar(function))(X), 4 * X**3)
    close(func.jacrev(function)(-X), torch.diag((-X).exp()))


def test_high_orders() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x) * x**3

    derivative: F = function
    for _ in range(4):
        derivative = func.grad(derivative)
    x = torch.tensor(0.7, dtype=torch.float64)
    expected = x**3 * x.sin() - 12 * x**2 * x.cos() - 36 * x * x.sin() + 24 * x.cos()
    close(derivative(x), expected)
    close(torch.compile(derivative)(x), expected)


# -- vmap --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", VECTOR)
def test_vmap_is_a_loop(name: str) -> None:
    function = VECTOR[name]
    batch = rows()
    expected = torch.stack([function(row) for row in batch])
    close(torch.vmap(function)(batch), expected)
    close(torch.vmap(function, in_dims=1, out_dims=-1)(batch.T), expected.movedim(0, -1))
    close(torch.vmap(function, chunk_size=2)(batch), expected)
    close(torch.compile(torch.vmap(function))(batch), expected)
    close(torch.vmap(torch.compile(function))(batch), expected)
    gradients = torch.stack([func.grad(scalar(function))(row) for row in batch])
    close(torch.vmap(func.grad(scalar(function)))(batch), gradients)
    close(torch.vmap(func.jacfwd(function))(batch), torch.stack([func.jacrev(function)(row) for row in batch]))


def test_axes_of_several_arguments() -> None:
    batch = rows()
    close(torch.vmap(torch.dot)(batch, batch * 2), (batch * batch * 2).sum(1))
    close(torch.vmap(torch.mul, in_dims=(0, None))(batch, Y), batch * Y)
    close(torch.vmap(lambda t: t["x"] * t["y"], in_dims=({"x": 0, "y": None},))({"x": batch, "y": Y}), batch * Y)
    outer = torch.vmap(torch.vmap(torch.mul, in_dims=(None, 0)), in_dims=(0, None))
    close(outer(X, Y), X[:, None] * Y)
    first, second = torch.vmap(lambda x: (x.sum(), x), out_dims=(0, 1))(batch)
    close((first, second), (batch.sum(1), batch.T))
    close(torch.vmap(lambda x: Y, out_dims=0)(batch), Y.expand(3, 4))
    assert torch.vmap(lambda x: 3, out_dims=None)(batch) == 3


def test_per_sample_gradients_of_a_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(given: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(functional.linear(row, given["0.weight"], given["0.bias"]))
        return functional.linear(hidden, given["2.weight"], given["2.bias"]).sum()

    found = torch.vmap(func.grad(loss), in_dims=(None, 0))(parameters, rows())
    for name, value in model.named_parameters():
        close(found[name], torch.stack([torch.autograd.grad(model(row).sum(), value)[0] for row in rows()]))


def test_random_numbers() -> None:
    batch = torch.zeros(4, 3)
    with pytest.raises(RuntimeError, match="vmap: called random operation while in randomness error mode"):
        torch.vmap(lambda x: x + torch.rand(3))(batch)
    torch.manual_seed(3)
    same = torch.vmap(lambda x: x + torch.rand(3), randomness="same")(batch)
    torch.manual_seed(3)
    close(same, torch.rand(3).expand(4, 3))
    different = torch.vmap(lambda x: x + torch.rand(3), randomness="different")(batch)
    assert len({tuple(row) for row in different.tolist()}) == 4
    again = torch.vmap(lambda x: x + torch.rand(3), randomness="different")(batch)
    assert not torch.equal(different, again)


ERRORS: list[tuple[F, type[Exception], str]] = [
    (lambda: func.grad(lambda x: x)(X), RuntimeError,
     "grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with 1 dims. Maybe you wanted "
     "to use the vjp or jacrev APIs instead?"),
    (lambda: func.grad(lambda x: x.sum(), argnums=2)(X), RuntimeError, "Got argnum=2, but only 1 positional inputs"),
    (lambda: func.grad(lambda x: x)(3.0), ValueError,
     "Thing passed to transform API must be Tensor, got <class 'float'>"),
    (lambda: func.jvp(torch.sin, X, X), RuntimeError,
     "jvp(f, primals, tangents): Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."),
    (lambda: torch.vmap(torch.add)(X, W), ValueError,
     "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes [4, 3] for the mapped "
     "dimension"),
    (lambda: torch.vmap(torch.sin, in_dims=None)(X), ValueError,
     "vmap(sin, in_dims=None, ...)(<inputs>): expected `in_dims` to be int or a (potentially nested) tuple matching "
     "the structure of inputs, got: <class 'NoneType'>."),
    (lambda: torch.vmap(torch.sin, out_dims=None)(X), ValueError,
     "vmap(sin, ...): `sin` can not return a BatchedTensor when out_dim is None"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "kind", "text"), ERRORS, ids=[text[:40] for _, _, text in ERRORS])
def test_errors(function: F, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        function()
    assert str(caught.value).split("\n")[0] == text


def test_a_branch_on_numbers_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"hint: use adjit\.where"):
        torch.vmap(lambda x: x if x > 0 else -x)(X)


@pytest.mark.parametrize("compiled", [False, True])
def test_variables_of_inner_transformations_leave_no_history(compiled: bool) -> None:
    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.sin(x * y) * y

    x, y = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    mixed = func.grad(func.grad(f), 1)
    by_vjp = func.grad(lambda x, y: func.vjp(lambda x: f(x, y), x)[1](torch.ones_like(x))[0], 1)
    for transformed in (mixed, by_vjp, func.grad(func.jacrev(f), 1)):
        found = (torch.compile(transformed) if compiled else transformed)(x, y)
        assert not found.requires_grad
        torch.testing.assert_close(found, 2 * y * torch.cos(x * y) - x * y * y * torch.sin(x * y))
    leaf = y.clone().requires_grad_()
    mixed(x, leaf).backward()
    torch.testing.assert_close(leaf.grad, func.grad(mixed, 1)(x, y))


def test_forward_mode_through_a_course_that_depends_on_numbers() -> None:
    """In eager mode `jvp` and what is made of it take Python's own control flow, as PyTorch's do."""

    def plain(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x) * x**3

    def by_course(x: torch.Tensor) -> torch.Tensor:
        if x.sum().item() > 100:
            return x
        for _ in range(int(x.abs().amax()) + 3):
            if bool(x[0] > 1e9):
                return x
        return torch.sin(x) * x * x * x

    x = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    for transformed in (
        lambda f: func.jvp(f, (x,), (x,)),
        lambda f: func.jvp(lambda x: (f(x), x), (x,), (x,), has_aux=True),
        lambda f: func.jacfwd(f)(x),
        lambda f: func.hessian(lambda x: f(x).sum())(x),
        lambda f: func.jacfwd(func.jacfwd(lambda x: f(x).sum()))(x),
        lambda f: func.grad(lambda x: func.jvp(f, (x,), (x,))[1].sum())(x),
        lambda f: func.linearize(f, x)[1](x),
    ):
        found, expected = transformed(by_course), transformed(plain)
        torch.testing.assert_close(found, expected)
        assert not any(leaf.requires_grad for leaf in (found if isinstance(found, tuple) else (found,)))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_captured_tensor_that_the_function_detaches_leaves_no_history(compiled: bool) -> None:
    scale, p = torch.tensor([2.0, 3.0, 4.0], requires_grad=True), torch.ones(3)

    def f(p: torch.Tensor) -> torch.Tensor:
        return scale.detach() * p**2

    def quietly(p: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            factor = scale * 1
        return factor * p**2

    def transformations(f: Any) -> list[Any]:
        def total(p: torch.Tensor) -> torch.Tensor:
            return f(p).sum()

        batched = func.vmap(func.grad(total))
        pushed = [lambda p: func.jvp(f, (p,), (p,))[1], lambda p: batched(torch.stack((p, p)))]
        return [func.jacrev(f), func.jacfwd(f), func.hessian(total), func.vmap(f), *pushed]

    for transformed in (*transformations(f), *transformations(quietly)):
        found = (torch.compile(transformed) if compiled else transformed)(p)
        assert not found.requires_grad, transformed
    func.jacrev(lambda p: scale * p**2)(p).sum().backward()
    torch.testing.assert_close(scale.grad, 2 * p)


def test_results_that_a_function_does_not_record_have_no_rows() -> None:
    scale, x = torch.tensor([2.0, 3.0], requires_grad=True), torch.tensor([1.0, 2.0])

    def never(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return scale * x

    assert func.jacrev(never)(x).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert not func.vmap(never)(x.expand(2, 2)).requires_grad
    jacobian, aux = func.jacrev(lambda x: (x * x, x * 3), has_aux=True)(x)
    assert (jacobian.tolist(), aux.tolist()) == ([[2.0, 0.0], [0.0, 4.0]], [3.0, 6.0])


def test_pullbacks_have_derivatives_with_respect_to_cotangents() -> None:
    _, pull = func.vjp(torch.sin, X)
    close(func.grad(lambda v: (pull(v)[0] * v).sum())(Y), 2 * X.cos() * Y)
    close(func.jacrev(lambda v: pull(v)[0])(Y), torch.diag(X.cos()))
    close(func.vmap(func.grad(lambda v: func.vjp(torch.sin, X)[1](v * v)[0].sum()))(rows()), 2 * X.cos() * rows())
    v = Y.clone().requires_grad_()
    close(torch.autograd.grad(pull(v)[0].sum(), v)[0], X.cos())
    with torch.no_grad():
        assert not pull(v)[0].requires_grad
    assert not pull(Y)[0].requires_grad


@pytest.mark.parametrize("outside", [False, True])
def test_a_pullback_records_where_it_is_called(outside: bool) -> None:
    x, one = torch.tensor(3.0, requires_grad=True), torch.tensor(1.0)
    with torch.set_grad_enabled(outside):
        output, pull = func.vjp(lambda x: x**2, x)
    found = pull(one)[0]
    assert (output.requires_grad, found.requires_grad) == (outside, True)
    assert torch.autograd.grad(found, x)[0].item() == 2.0
    with torch.no_grad():
        assert not pull(one)[0].requires_grad


@pytest.mark.parametrize("output", [None, (), [], {}, 1, "text"])
def test_functions_without_tensors_to_differentiate_are_refused(output: Any) -> None:
    empty = not isinstance(output, (int, str))
    text = "function that has non-empty output" if empty else "to return only tensors, got unsupported type"
    for transformed in (
        lambda f: func.vjp(f, X),
        lambda f: func.jvp(f, (X,), (X,)),
        lambda f: func.jacrev(f)(X),
        lambda f: func.jacfwd(f)(X),
    ):
        with pytest.raises(RuntimeError, match=rf"^(vjp|jvp)\(f, .*primals.*\): .*{text}"):
            transformed(lambda _: output)
    with pytest.raises(RuntimeError, match="to contain at least one Tensor"):
        func.jvp(torch.sin, (), ())


def test_set_state_gives_the_generator() -> None:
    generator = torch.Generator()
    assert generator.set_state(generator.get_state()) is generator
