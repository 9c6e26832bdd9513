"""Gradients and compiled functions: what PyTorch's eager mode says of freed graphs, writes and returned losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch

Program = Callable[..., Any]


def outcome(function: Program, *make: list[float]) -> list[Any]:
    """Result, gradients and error of a function on fresh leaves, gone back from outside where that is possible."""
    leaves = [torch.tensor(values, requires_grad=True) for values in make]
    found: list[Any] = []
    try:
        result = function(*leaves)
    except RuntimeError as error:  # a compiled function that cannot be traced has done nothing
        return [str(error).splitlines()[0]]
    try:
        found.append((result.tolist(), result.requires_grad))
        if result.requires_grad:
            result.sum().backward()
    except RuntimeError as error:
        found.append(str(error).splitlines()[0])
    return [*found, *(None if leaf.grad is None else leaf.grad.tolist() for leaf in leaves)]


def writes_a_leaf(w: Any, x: Any) -> Any:
    with torch.no_grad():
        w.mul_(2)
    return (w * w * x).sum()


def writes_between_uses(w: Any, x: Any) -> Any:
    first = (w + x).sum()
    with torch.no_grad():
        w.mul_(3)
        w.sub_(1)
    return first + (w * x).sum()


def writes_a_result(w: Any, x: Any) -> Any:
    z = w * x
    with torch.no_grad():
        z.mul_(4)
    return z.sum()


def writes_through_detach(w: Any, x: Any) -> Any:
    z = w + x
    z.detach().mul_(5)
    return (z * z).sum()


def writes_through_data(w: Any, x: Any) -> Any:
    w.data[0] = 7.0
    return (w**2 * x).sum()


def writes_a_view(w: Any, x: Any) -> Any:
    view = w.view(2, 1)
    with torch.no_grad():
        view[1] = 4.0
    return (w * x).exp().sum() + (view * view).sum()


def goes_back_inside(w: Any, x: Any) -> Any:
    with torch.no_grad():
        w.mul_(2)
    (w * w * x).sum().backward()
    with torch.no_grad():
        w.sub_(w.grad * 0.5)
    return (w * x).sum()


def asks_for_grad(w: Any, x: Any) -> Any:
    z = w * x
    with torch.no_grad():
        z.add_(1)
        w.add_(1)
    (by_result,) = torch.autograd.grad((z * x).sum(), z)
    (by_leaf,) = torch.autograd.grad((w * 3).sum(), w)
    return by_result + by_leaf


def twice(w: Any, x: Any) -> Any:
    loss = (w * w * x).sum()
    loss.backward()
    loss.backward()
    return loss


def twice_kept(w: Any, x: Any) -> Any:
    loss = (w * w * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    return loss


def twice_without_saved_values(w: Any, x: Any) -> Any:
    loss = (w + x).sum()
    loss.backward()
    loss.backward()
    return loss


def shares_what_was_freed(w: Any, x: Any) -> Any:
    shared = (w * x).exp()
    shared.sum().backward()
    return shared.sum() * 2


def apart_from_what_was_freed(w: Any, x: Any) -> Any:
    (w * x).exp().sum().backward()
    return (w * x).sum() * 2


def spent(w: Any, x: Any) -> Any:
    loss = torch.softmax(w * x, 0)[0].log()
    loss.backward()
    return loss


def spent_mean(w: Any, x: Any) -> Any:
    loss = torch.nn.functional.mse_loss(w * x, x)
    loss.backward()
    return loss


def changes_a_saved_value(w: Any, x: Any) -> Any:
    z = w * 2
    loss = (z * z * x).sum()
    z.mul_(3)
    return loss


def changes_a_saved_value_and_goes_back(w: Any, x: Any) -> Any:
    z = (w * x).exp()
    loss = z.sum()
    z.add_(1)
    loss.backward()
    return loss


def changes_what_was_not_saved(w: Any, x: Any) -> Any:
    z = w * 2
    loss = (z + x).sum()
    z.mul_(x)
    return loss + z.sum()


PROGRAMS: list[Program] = [
    writes_a_leaf, writes_between_uses, writes_a_result, writes_through_detach, writes_through_data, writes_a_view,
    goes_back_inside, asks_for_grad, twice, twice_kept, twice_without_saved_values, shares_what_was_freed,
    apart_from_what_was_freed, spent, spent_mean, changes_a_saved_value, changes_a_saved_value_and_goes_back,
    changes_what_was_not_saved,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_compiled_programs_do_what_eager_ones_do(program: Program) -> None:
    compiled = torch.compile(program, strict=True)
    expected = outcome(program, [1.0, 2.0], [0.5, -1.0])
    assert outcome(compiled, [1.0, 2.0], [0.5, -1.0]) == expected
    assert outcome(compiled, [1.0, 2.0], [0.5, -1.0]) == expected


FREED = "Trying to backward through the graph a second time"
MODIFIED = "one of the variables needed for gradient computation has been modified by an inplace operation"


@pytest.mark.parametrize(
    ("program", "message"),
    [(twice, FREED), (shares_what_was_freed, FREED), (spent, FREED), (changes_a_saved_value, MODIFIED),
     (changes_a_saved_value_and_goes_back, MODIFIED)],
    ids=lambda item: getattr(item, "__name__", ""),
)  # fmt: skip
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_errors_of_going_back(program: Program, message: str, compile: bool) -> None:
    function = torch.compile(program) if compile else program
    leaves = [torch.tensor(values, requires_grad=True) for values in ([1.0, 2.0], [0.5, -1.0])]
    with pytest.raises(RuntimeError, match=message):
        function(*leaves).backward()


@pytest.mark.parametrize("compile", [False, True], ids=["eager", "compiled"])
def test_a_loss_that_was_gone_back_from_shows_where_it_comes_from(compile: bool) -> None:
    function = torch.compile(spent) if compile else spent
    loss = function(torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 1.0]))
    assert repr(loss) == "tensor(-1.3133, grad_fn=<LogBackward0>)"
    assert not loss.is_leaf


def test_an_embedding_renormalised_in_a_compiled_function() -> None:
    gradients = []
    for run in (torch.nn.functional.embedding, torch.compile(torch.nn.functional.embedding)):
        weight = torch.tensor([[3.0, 4.0], [0.1, 0.2], [6.0, 8.0]], requires_grad=True)
        out = run(torch.tensor([0, 2, 2]), weight, None, 1.0)
        (out * torch.tensor([1.0, 2.0])).sum().backward()
        gradients.append((out.tolist(), weight.tolist(), weight.grad.tolist()))
    assert gradients[0] == gradients[1]
    assert gradients[0][2] == [[1.0, 2.0], [0.0, 0.0], [2.0, 4.0]]


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": torch.ones(3)}])
def test_a_class_out_of_range_is_named(options: dict[str, Any]) -> None:
    def loss(scores: Any, target: Any) -> Any:
        return torch.nn.functional.cross_entropy(scores * 2, target, **options)

    for run in (loss, torch.compile(loss)):
        with pytest.raises(IndexError, match=r"^Target 10 is out of bounds\."):
            run(torch.zeros(2, 3), torch.tensor([1, 10]))


def test_backward_in_a_trace_takes_what_the_composite_saved() -> None:
    def step(w: Any) -> Any:
        loss = torch.softmax(w, 0)[0].log()
        loss.backward()
        return loss

    w = torch.tensor([1.0, 2.0], requires_grad=True)
    graph = torch.compile(step).graph(w)
    assert [node.op.name for node in graph.nodes].count("call") == 1
    assert not any(node.op.name in ("exp", "reduce_max", "div") for node in graph.nodes)  # they stand in the callee
    assert "%dw = " in str(graph)


@pytest.mark.parametrize("name", ["relu_", "sin_", "abs_", "square_", "log1p_", "reciprocal_", "sigmoid_"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_in_place_functions_keep_what_they_overwrite(name: str, compiled: bool) -> None:
    w = torch.tensor([0.3, 0.5, 0.9], requires_grad=True)

    def loss(w: torch.Tensor, function: str) -> torch.Tensor:
        y = w * 2
        getattr(y, function)()
        return y.sum()

    (expected,) = torch.autograd.grad(getattr(w * 2, name.rstrip("_"))().sum(), w)
    found = (torch.compile(loss) if compiled else loss)(w, name)
    assert torch.autograd.grad(found, w)[0].tolist() == pytest.approx(expected.tolist())


def test_a_detached_tensor_with_a_history_of_its_own_is_refused() -> None:
    def step(x: Any, y: Any) -> Any:
        x.detach().mul_(y)
        return x * y

    with pytest.raises(RuntimeError, match="cannot take a value that requires grad"):
        torch.compile(step)(torch.tensor([1.0], requires_grad=True), torch.tensor([2.0], requires_grad=True))


def test_an_argument_whose_requires_grad_is_set_requires_grad_after_the_call() -> None:
    def squares(x: Any) -> Any:
        return (x.requires_grad_() ** 2).sum()

    def detached(x: Any) -> Any:
        return x.requires_grad_(False) * 2

    squares, detached = torch.compile(squares), torch.compile(detached)
    for _ in range(4):
        x = torch.ones(3)
        loss = squares(x)
        assert x.requires_grad and loss.requires_grad
        loss.backward()
        assert x.grad.tolist() == [2.0] * 3
        assert not detached(x).requires_grad and not x.requires_grad


def test_a_call_that_fails_sets_no_requires_grad() -> None:
    def chosen(x: Any, index: Any) -> Any:
        return x.requires_grad_()[index].sum()

    compiled = torch.compile(chosen)
    x = torch.ones(3)
    with pytest.raises(IndexError):
        compiled(x, torch.tensor([5]))
    assert not x.requires_grad
    assert compiled(x, torch.tensor([1])).item() == 1 and x.requires_grad


def test_what_takes_values_that_require_grad_in_place_has_their_history_after_the_call() -> None:
    state = torch.zeros(3)

    def step(x: Any, w: Any) -> Any:
        x.add_(w).mul_(w)
        state.add_(w * 2)
        with torch.no_grad():
            state.mul_(3)
        return (x * 2).sum()

    def gradients(step: Any) -> list[Any]:
        nonlocal state
        state = torch.zeros(3)
        w, x = torch.full((3,), 2.0, requires_grad=True), torch.ones(3)
        y = step(x, w)
        (first,) = torch.autograd.grad(x.sum() + y + (state * w).sum(), [w], create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), [w])
        return [first.tolist(), second.tolist(), x._version, x.tolist(), state.tolist()]

    compiled = torch.compile(step)
    for _ in range(4):
        assert gradients(compiled) == gradients(step)


def only_a_condition(x: Any, y: Any) -> Any:
    total = x.sum() * 0
    while total < y.sum():
        total = total + x.sum()
    return total


def a_condition_and_a_step(x: Any, y: Any) -> Any:
    total = x.sum() * 0
    while total < y.sum():
        total = total + (x * y).sum()
    return total


def a_condition_inside(x: Any, y: Any) -> Any:
    total = x.sum()
    while total < 50:
        total = total + torch.where(y > total, x, 2 * x).sum()
    return total


@pytest.mark.parametrize("program", [only_a_condition, a_condition_and_a_step, a_condition_inside])
def test_what_only_conditions_of_loops_look_at_has_no_gradient(program: Program) -> None:
    expected = outcome(program, [1.0, 2.0], [3.0, 1.0])
    assert (expected[-1] is None) is (program is not a_condition_and_a_step)
    assert outcome(torch.compile(program, strict=True), [1.0, 2.0], [3.0, 1.0]) == expected


def test_weights_of_gradients_may_have_open_sizes() -> None:
    """Those of the weights are other symbols than the output's, whose values agree or not."""

    def step(x: torch.Tensor, w: torch.Tensor, given: torch.Tensor) -> Any:
        return torch.autograd.grad((x[1:] @ w).relu(), (x, w), given)

    compiled = torch.compile(step, dynamic=True)
    for rows, inner in ((2, 5), (4, 3), (7, 6)):
        x, w = torch.randn(rows + 1, inner, requires_grad=True), torch.randn(inner, 3, requires_grad=True)
        given = torch.randn(rows, 3)
        for found, wanted in zip(compiled(x, w, given), step(x, w, given), strict=True):
            torch.testing.assert_close(found, wanted)
        with pytest.raises(RuntimeError, match="Mismatch in shape: grad_output"):
            compiled(x, w, torch.randn(rows + 1, 3))
