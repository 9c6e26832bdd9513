"""Transformed functions that are called again follow their earlier traces, and show no difference."""

from __future__ import annotations

import gc
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest

import adjit as torch
from adjit import following, func, nn
from adjit.compiler import vectorize as vectorizing
from adjit.inner_trace import InnerTracer, trace_inner
from tests.threads import in_threads

F = Callable[..., Any]
X = torch.tensor([[0.3, 0.5, -1.2], [2.0, -0.7, 0.1]])


@pytest.fixture(autouse=True, params=["python", "native"])
def fresh(request: pytest.FixtureRequest) -> None:
    """No trace came before; operations are Python's or, once that is loaded, the native entry's."""
    if request.param == "native":
        from adjit.native.install import install

        install()
    following._logs.clear()


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of traces that were made, not followed."""
    made: list[str] = []
    before = InnerTracer.__init__

    def note(self: Any, name: str, *wholes: Any) -> None:
        made.append(name)
        before(self, name, *wholes)

    monkeypatch.setattr(InnerTracer, "__init__", note)
    yield made


def same(left: Any, right: Any) -> None:
    assert left.dtype == right.dtype and left.shape == right.shape
    assert left.tolist() == right.tolist()


def anew(transformed: F, *args: Any) -> Any:
    """The result without any earlier trace."""
    kept = dict(following._logs)
    following._logs.clear()
    try:
        return transformed(*args)
    finally:
        following._logs.clear()
        following._logs.update(kept)


def curve(x: torch.Tensor) -> torch.Tensor:
    return (torch.sin(x) * x + torch.exp(-x)).tanh()


TRANSFORMED: dict[str, F] = {
    "vmap": func.vmap(curve),
    "vmap of grad": func.vmap(func.grad(lambda x: curve(x).sum())),
    "jvp": lambda x: func.jvp(curve, (x,), (x,))[1],
    "jacrev": func.jacrev(curve),
    "jacfwd": func.jacfwd(curve),
    "hessian": func.vmap(func.hessian(lambda x: curve(x).sum())),
    "twice": func.vmap(func.vmap(lambda x: curve(x) * 2)),
    "linearize": lambda x: func.linearize(curve, x)[1](x),
    "indices": func.vmap(lambda x: x[None, 1:, None] * x[[0, 2]].unsqueeze(-1)),
    "views": func.vmap(lambda x: x.reshape(3, 1).T.expand(4, 3).movedim(0, 1).contiguous().flatten()),
    "several": func.vmap(lambda x: torch.stack([x.max() + x.sum((-1,), keepdim=True)[0], *x.unbind()[:1]])),
    "grad inside": func.vmap(lambda x: torch.autograd.grad(curve(y := x.clone().requires_grad_()).sum(), y)[0]),
    "literals": func.vmap(lambda x: x * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor(2.5) + torch.arange(3)),
}  # fmt: skip
FOLLOWED = {*TRANSFORMED} - {"grad inside"}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_later_calls_follow_the_first_one(name: str, traces: list[str]) -> None:
    transformed = TRANSFORMED[name]
    first = transformed(X)
    transformed(X)  # the first trace may have learnt which calls are no steps
    del traces[:]
    second = transformed(X * 0.5)
    assert not traces or name not in FOLLOWED
    same(transformed(X), first)
    same(second, anew(transformed, X * 0.5))


def test_the_function_runs_at_every_call() -> None:
    seen = []

    def noted(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x * 2

    mapped = func.vmap(noted)
    for _ in range(4):
        mapped(X)
    assert seen == [(3,)] * 4


@pytest.mark.parametrize("values", [(2.0, 3.0, 2.0), (0.0, -0.0, 0.0), (1, 1.0, True), range(2, 13)])
def test_other_numbers_are_other_steps(values: tuple[Any, ...]) -> None:
    for value in values:
        same(func.vmap(lambda x: 1 / (x - x + value) + (x > 5) * value)(X), 1 / (X - X + value) + (X > 5) * value)  # noqa: B023


def test_branches_that_take_turns_are_both_followed(traces: list[str]) -> None:
    flag = False

    def either(x: torch.Tensor) -> torch.Tensor:
        y = torch.sin(x)
        y = y * 2 if flag else torch.cos(y) - x
        return y.sum() if flag else y.sum() + 1

    mapped = func.vmap(either)
    expected = {True: (torch.sin(X) * 2).sum(1), False: (torch.cos(torch.sin(X)) - X).sum(1) + 1}
    for _ in range(2):
        for flag in (False, True):
            same(mapped(X), expected[flag])
    del traces[:]
    for flag in (True, False, True):
        same(mapped(X), expected[flag])
    assert not traces


def test_a_trace_that_leaves_its_course_late_has_all_its_steps() -> None:
    stop = 0

    def steps(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = [x]
        for turn in range(6):
            found.append(torch.sin(found[-1]) * (7 if turn == stop else 2) + found[0][0] + X[0])
        return tuple(found[1:])

    for stop in range(7):  # noqa: B007
        for got, wanted in zip(func.vmap(steps)(X), anew(func.vmap(steps), X), strict=True):
            same(got, wanted)


def test_captured_tensors_are_told_apart() -> None:
    one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    left, right = one, other

    def both(x: torch.Tensor) -> torch.Tensor:
        return (x * left + right) * left

    mapped = func.vmap(both)
    for left, right in ((one, other), (other, one), (one, one), (other, one.double()), (one[:1], other), (one, other)):
        same(mapped(X), (X * left + right) * left)


def test_captured_tensors_that_get_gradients(traces: list[str]) -> None:
    weight = torch.tensor([1.0, 2.0, 3.0])
    mapped = func.vmap(lambda x: (x * weight).sum())
    for needed in (False, True, False, True):
        weight.requires_grad_(needed)
        weight.grad = None
        result = mapped(X)
        assert result.requires_grad is needed
        if needed:
            result.sum().backward()
            assert weight.grad is not None
            same(weight.grad, X.sum(0))
    del traces[:]
    assert mapped(X).requires_grad and not traces


def test_an_argument_that_is_captured_too() -> None:
    captured = X[0].clone()
    product = func.jacrev(lambda x: x * captured)
    for given in (X[0], captured, X[1], captured):
        same(product(given), torch.diag(captured))


def test_what_is_returned_may_change() -> None:
    wanted: Any = None

    def choose(x: torch.Tensor) -> Any:
        y = x * 2
        return {"y": (y, "n"), "x": (x, "n"), "both": (y, x), "captured": (X[0], "n"), "named": (y, wanted)}[wanted]

    mapped = func.vmap(choose, out_dims=(0, None))
    for wanted in ("y", "x", "y", "captured", "named", "y"):
        found = mapped(X)
        assert found[1] == ("named" if wanted == "named" else "n")
        same(found[0], {"x": X, "captured": X[0].expand(2, 3)}.get(wanted, X * 2))
    wanted = "both"
    same(func.vmap(choose)(X)[1], X)


def test_hooks_and_history_within_a_trace() -> None:
    doubled = False

    def slope(x: torch.Tensor) -> torch.Tensor:
        y = x * x
        if doubled:
            y.register_hook(lambda g: g * 2)
        return y.sum()

    mapped = func.vmap(func.grad(slope))
    for doubled in (False, True, False, True, True, False):
        same(mapped(X), X * (4 if doubled else 2))


def test_recording_is_part_of_a_step() -> None:
    quiet = False

    def slope(x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(not quiet):
            y = x * x
        return (y + x).sum()

    mapped = func.vmap(func.grad(slope))
    for quiet in (False, True, False, True):
        assert torch.allclose(mapped(X), torch.ones(2, 3) if quiet else X + X + 1)


def test_the_default_dtype_is_part_of_a_step() -> None:
    whole = torch.tensor([[1, 2, 3], [4, 5, 6]])
    mapped = func.vmap(lambda x: x / 2)
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            assert mapped(whole).dtype == dtype
        finally:
            torch.set_default_dtype(torch.float32)


def test_writes_and_random_numbers() -> None:
    count = torch.zeros(())

    def counted(x: torch.Tensor) -> torch.Tensor:
        count.add_(1)
        y = x.clone()
        y[0] = 5
        return y.mul_(2)

    for turn in range(12):
        found = func.vmap(counted)(X)
        assert count.item() == turn + 1 and found[0, 0] == 10
    draw = func.vmap(lambda x: x + torch.rand(3), randomness="different")
    assert len({tuple(draw(X)[0].tolist()) for _ in range(5)}) == 5


def test_errors_that_the_function_catches() -> None:
    fails = False

    def careful(x: torch.Tensor) -> torch.Tensor:
        try:
            y = x @ (torch.ones(4) if fails else torch.ones(3))
        except RuntimeError:
            y = x.sum() * 3
        try:
            return y + float(y)
        except RuntimeError:
            return y - 1

    mapped = func.vmap(careful)
    for fails in (False, True, False, True):
        assert torch.allclose(mapped(X), X.sum(1) * (3 if fails else 1) - 1)


@pytest.mark.parametrize("operation", [torch.add, torch.matmul, torch.atan2])
def test_operands_of_what_failed_are_none_of_a_trace(operation: F) -> None:
    wrong, left, right = torch.ones(4), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])
    fails = True

    def careful(x: torch.Tensor) -> torch.Tensor:
        y = x * left
        if fails:
            with pytest.raises(RuntimeError):
                operation(x, wrong)
        return y * right + left * x

    mapped = func.vmap(careful)
    for fails in (True, False, False, True, False):  # noqa: B007
        same(mapped(X), X * left * right + left * X)


def test_tensors_kept_from_a_trace_may_be_asked_what_they_are() -> None:
    kept: list[torch.Tensor] = []
    mapped = func.vmap(lambda x: (kept.append(x * 2), x * 3)[1])
    for _ in range(3):
        mapped(X)
    assert all(tensor.requires_grad_().requires_grad for tensor in kept)


def test_an_error_of_the_function_leaves_no_trace() -> None:
    fails = True

    def broken(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        if fails:
            raise KeyError("mine")
        return y + 1

    mapped = func.vmap(broken)
    for fails in (False, True, False, True, False):
        if fails:
            with pytest.raises(KeyError, match="mine"):
                mapped(X)
        else:
            same(mapped(X), X * 2 + 1)


def test_warnings_come_at_every_call() -> None:
    def warned(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.softmax(x)

    for _ in range(3):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            func.vmap(warned)(X)
        assert [each.category for each in found] == [UserWarning]


def test_warnings_name_the_users_line_and_leave_those_of_others_alone() -> None:
    def warned(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.softmax(torch.sin(x))

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        for turn in range(3):
            func.vmap(warned)(X)
            func.vmap(lambda x: x * turn)(X)  # noqa: B023
            warnings.warn("own", stacklevel=1)
    assert [(each.category, each.filename) for each in found] == [(UserWarning, __file__)] * 2


def test_modules_with_other_parameters() -> None:
    nets = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)) for _ in range(2)]

    def loss(parameters: Any, net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return func.functional_call(net, parameters, (x,)).square().sum()

    for turn in range(4):
        net = nets[turn % 2]
        parameters = {name: p.detach() * (turn + 1) for name, p in net.named_parameters()}
        found = func.vmap(func.grad(lambda p, x: loss(p, net, x)), in_dims=(None, 0))(parameters, X)  # noqa: B023
        for name, gradient in found.items():
            rows = [func.grad(lambda p, i=i: loss(p, net, X[i]))(parameters)[name] for i in range(2)]  # noqa: B023
            assert torch.allclose(gradient, torch.stack(rows), atol=1e-6)


def test_traces_of_one_structure_share_what_is_derived_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    before = vectorizing.vectorize
    monkeypatch.setattr(vectorizing, "vectorize", lambda *given: (made.append(given), before(*given))[1])
    functions = [lambda x: (x * 3.25).exp() + 0.625, lambda y: (y * 3.25).exp() + 0.625]
    results = [func.vmap(each)(X).tolist() for each in functions]
    assert results[0] == results[1]
    assert len(made) <= 1  # an earlier test may have had this structure


def test_threads_follow_the_same_logs() -> None:
    mapped = func.vmap(func.grad(lambda x: curve(x).sum()))
    expected = mapped(X).tolist()
    assert in_threads(lambda _: [mapped(X).tolist() for _ in range(20)]) == [[expected] * 20] * 4


def test_gradients_of_captured_tensors_where_no_log_serves() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for turn in range(24):
        factor = 1 + turn % 7
        weight.grad = None
        func.vmap(lambda x: (x * weight * factor).sum())(X).sum().backward()  # noqa: B023
        assert weight.grad is not None
        same(weight.grad, (X * factor).sum(0))


def test_keys_of_results_are_those_of_the_call() -> None:
    keys: list[Any] = []
    mapped = func.vmap(lambda x: {key: x * 2 for key in keys})
    for keys in ([1], [True], [1.0], [1]):
        assert [*map(repr, mapped(X))] == [*map(repr, keys)]


def test_functions_that_never_do_the_same_are_traced_as_ever(traces: list[str]) -> None:
    for turn in range(40):
        same(func.vmap(lambda x: x * turn)(X), X * turn)  # noqa: B023
    (logs,) = following._logs.values()
    assert not logs.is_worth_it and len(logs.kept) <= 4


OPERATIONS: list[F] = [
    lambda a, b: a * b, lambda a, b: a + b, lambda a, b: torch.sin(a) - b, lambda a, b: a.sum() + b,
    lambda a, b: a[0] * b,
    lambda a, b: torch.where(a > b, a, b * 2), lambda a, b: a.reshape(3, 1)[:, 0] + b, lambda a, b: a @ b + a,
    lambda a, b: (a.detach() * 3 + b), lambda a, b: torch.cat([a[1:], b[:1]]), lambda a, b: a.tanh().expand(3) * X[1],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random_functions_that_change_their_minds(seed: int) -> None:
    chance = random.Random(seed)
    plan: list[tuple[int, int, int]] = []

    def run(x: torch.Tensor) -> torch.Tensor:
        values = [x, torch.cos(x)]
        for number, left, right in plan:
            values.append(OPERATIONS[number](values[left], values[right]))
        return values[-1].sum() + values[-2].sum()

    def drawn(position: int) -> tuple[int, int, int]:
        return chance.randrange(len(OPERATIONS)), chance.randrange(position), chance.randrange(position)

    plan = [drawn(k + 2) for k in range(6)]
    transforms = [func.vmap(run), func.vmap(func.grad(run)), func.jacrev(run), func.vmap(func.jacfwd(func.grad(run)))]
    for _ in range(4):
        for transformed in transforms:
            for _ in range(2):
                found, wanted = transformed(X if transformed is not transforms[2] else X[0]), None
                wanted = anew(transformed, X if transformed is not transforms[2] else X[0])
                assert torch.allclose(found, wanted, equal_nan=True), plan
        place = chance.randrange(6)
        plan[place] = drawn(place + 2)


def test_captured_tensors_are_freed_after_the_call() -> None:
    def held(weight: torch.Tensor) -> Any:
        func.vmap(lambda x: torch.sin(x) * weight + torch.tensor([1.0, 2.0, 3.0]))(X)
        return ref(weight)

    for _ in range(3):
        held(torch.ones(3))
    gc.collect()
    gc.disable()
    try:
        found = held(torch.ones(3))
        assert found() is None
    finally:
        gc.enable()


def test_ordinary_traces_write_nothing_down() -> None:
    traced = trace_inner("curve", curve, [X._tensor_type])
    assert not following._logs and traced.captured == []
