"""Branches of captured code leave what eager mode leaves: errors of the branch that runs, histories, versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.ir.errors import TraceError


def write_to_a_leaf(x: Any, z: Any) -> Any:
    if x.sum() > 0:
        z.masked_fill_(z > 1, 0.25)
        x = x * 2
    else:
        x = x - 3
    return x * z[:2]


def assign_too_much(x: Any, z: Any) -> Any:
    v = x * 1
    if x.sum() > 0:
        v[0] = z
    else:
        v = v - 3
    return v


def subtract_from_bools(x: Any, _: Any) -> Any:
    b = x.bool()
    if x.sum() > 0:
        b -= 1
    return x * b


def misfit_in_an_expression(x: Any, z: Any) -> Any:
    return x @ z if x.sum() > 0 else x * 2


def one_of_several_returns(x: Any, _: Any) -> Any:
    kept = {}
    if x.sum() > 0:
        kept["double"] = x * 2
        return x.transpose(0, 5)
    if x.sum() < -100:
        raise ValueError("too small")
    return x * 3


def in_a_loop(x: Any, _: Any) -> Any:
    for _turn in range(3):
        if x.sum() > 0:
            x = x.view(7)
        x = x * 0.5 - 1
    return x


def called_function(x: Any, _: Any) -> Any:
    def refuse(value: Any) -> Any:
        raise KeyError("refused")

    return refuse(x) if x.sum() > 0 else x + 1


BRANCHES = (
    write_to_a_leaf, assign_too_much, subtract_from_bools, misfit_in_an_expression, one_of_several_returns, in_a_loop,
    called_function,
)  # fmt: skip


@pytest.mark.parametrize("function", BRANCHES)
def test_errors_of_a_branch_are_those_of_calls_that_run_it(function: Callable[..., Any]) -> None:
    compiled = torch.compile(function)
    for sign in (-1.0, 1.0, -1.0, 1.0):
        x, z = sign * torch.ones(2), torch.ones(3, requires_grad=True)
        if sign < 0:
            assert compiled(x, z).tolist() == function(x, z).tolist()
            continue
        with pytest.raises(Exception) as eager:
            function(x, z)
        with pytest.raises(eager.type) as found:
            compiled(x, z)
        assert str(found.value).split("\n")[0] == str(eager.value).split("\n")[0]
        assert z._version == 0 and x._version == 0


class Uncopied(Exception):
    def __init__(self, low: float, high: float) -> None:
        super().__init__(f"between {low} and {high}")
        self.low = low


class Prefixed(Exception):
    def __init__(self, text: str, *, code: int) -> None:
        super().__init__("bad " + text)
        self.code = code


@pytest.mark.parametrize("make", [
    lambda x: Uncopied(1, 2), lambda x: Prefixed("thing", code=3), lambda x: FileNotFoundError(2, "No such file", "a"),
    lambda x: UnicodeDecodeError("utf8", b"a", 0, 1, "why"),
    lambda x: StopIteration(4),
])  # fmt: skip
def test_errors_of_a_branch_are_as_they_were_made(make: Callable[[Any], Exception]) -> None:
    def refuse(x: Any) -> Any:
        raise make(x)

    def call(x: Any) -> Any:
        return refuse(x) if x.sum() > 0 else x * 2

    def statement(x: Any) -> Any:
        if x.sum() > 0:
            raise make(x)
        return x * 2

    for function in (call, statement):
        compiled = torch.compile(function)
        for _ in range(2):
            assert compiled(-torch.ones(2)).tolist() == [-2.0, -2.0]
            with pytest.raises(Exception) as eager:
                function(torch.ones(2))
            with pytest.raises(eager.type) as found:
                compiled(torch.ones(2))
            assert str(found.value) == str(eager.value)
            assert vars(found.value) == vars(eager.value)


def test_an_error_in_both_branches_is_raised() -> None:
    @torch.compile
    def f(x: Any) -> Any:
        return x.view(7) if x.sum() > 0 else x.view(5)

    with pytest.raises(RuntimeError, match="shape '\\[7\\]' is invalid for input of size 2"):
        f(torch.ones(2))


def write_beside_a_leaf(x: Any, y: Any) -> Any:
    x = x * 1
    if y.sum() > 1:
        x = x * 2 + 1
        y.zero_()
    else:
        x = x - 3
    return y.std(), x.amin(0), y


def count_in_a_loop(x: Any, y: Any) -> Any:
    x = x * 1
    while x.sum() < 50:
        x = x * 2 + 1
        y += 1
    return y * 1, x, y


def add_up_in_a_loop(x: Any, y: Any) -> Any:
    x = x * 1
    while x.sum() < 50:
        x = x * 2 + 1
        y += x
    return y * 1, x, y


def results(function: Callable[..., Any], sign: float) -> list[Any]:
    x, y = torch.ones(2, 3, requires_grad=True), sign * torch.ones(2, 3)
    found = function(x, y)
    sum(each.sum() for each in found if each.requires_grad).backward()
    return [*((each.tolist(), each.requires_grad, each.is_leaf) for each in (*found, y)), y._version, x.grad.tolist()]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("function", [write_beside_a_leaf, count_in_a_loop, add_up_in_a_loop])
def test_what_is_written_requires_grad_as_in_eager_mode(function: Callable[..., Any], sign: float) -> None:
    compiled = torch.compile(function)
    for _ in range(3):
        assert results(compiled, sign)[:-2] == results(function, sign)[:-2]
        assert results(compiled, sign)[-1] == results(function, sign)[-1]


def test_a_write_that_is_not_made_spoils_no_gradient() -> None:
    def f(y: Any, z: Any) -> Any:
        v = y * z
        if y.sum() > 0:
            v = v * -1 + 1
            y /= 2
        else:
            v = v - 3
        return v

    compiled = torch.compile(f)
    for _ in range(3):
        for function in (f, compiled):
            y, z = -torch.ones(4), torch.ones(4, requires_grad=True)
            function(y, z).sum().backward()
            assert z.grad.tolist() == [-1.0] * 4
            assert y._version == 0

    @torch.compile
    def always(y: Any, z: Any) -> Any:
        v = y * z
        y /= 2
        return v

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        always(torch.ones(4), torch.ones(4, requires_grad=True)).sum().backward()


def assign_after(x: Any, y: Any) -> Any:
    y.unsqueeze_(0)
    y[0] = x
    return y


def multiply_before(x: Any, y: Any) -> Any:
    y.mul_(x)
    y.t_()
    return y, y * 2


def between_two_writes(x: Any, y: Any) -> Any:
    y.mul_(x)
    y.t_()
    y.add_(1)
    return y


@pytest.mark.parametrize("function", [assign_after, multiply_before, between_two_writes])
def test_arguments_of_another_shape_keep_their_history(function: Callable[..., Any]) -> None:
    found = []
    compiled = torch.compile(function)
    for run in (function, compiled, compiled):
        x, y = torch.arange(6.0).reshape(2, 3).requires_grad_(), torch.ones(2, 3)
        result = run(x, y)
        result = result if isinstance(result, tuple) else (result,)
        assert result[0] is y
        sum(place * each.sum() for place, each in enumerate(result, 1)).backward()
        found.append(([each.tolist() for each in result], y.is_leaf, x.grad.tolist()))
    assert found[0] == found[1] == found[2]


def test_tensors_from_outside_keep_their_shape_in_a_branch() -> None:
    @torch.compile
    def f(x: Any) -> Any:
        x = x * 1
        if x.sum() > 0:
            x.unsqueeze_(0)
        return x * 2

    with pytest.raises(TraceError, match="a tensor from outside cannot be given another shape in place"):
        f(torch.ones(3))


SIGNS = [-4.0, 4.0, 0.0, -0.0, 3.0, -3.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_zeros_of_remainders_have_the_sign_of_what_is_divided(dtype: Any) -> None:
    x, y = torch.tensor(SIGNS, dtype=dtype), torch.tensor([4.0, -4.0, -2.0, 2.0, -3.0, 1.5], dtype=dtype)
    for function in (torch.remainder, torch.compile(lambda x, y: x % y)):
        assert torch.signbit(function(x, y)).tolist() == torch.signbit(x).tolist()
        assert (function(x, y) == 0).all()


def test_zeros_of_remainders_of_numbers_are_pythons() -> None:
    def f(x: Any, n: float) -> Any:
        return torch.copysign(x, n % 4.0), torch.copysign(x, -8.0 % n), torch.copysign(x, 8.0 % n)

    compiled, x = torch.compile(f), torch.ones(1)
    for n in (-4.0, 4.0, 2.0, -2.0, 8.5, -8.5, -8.0, 3.25):
        assert [each.tolist() for each in compiled(x, n)] == [each.tolist() for each in f(x, n)]


def turn_a_leaf(z: Any) -> Any:
    with torch.no_grad():
        z.t_()
    return z.t() * torch.arange(6.0).reshape(2, 3)


def turn_a_product(z: Any) -> Any:
    z = z * 2
    with torch.no_grad():
        z.unsqueeze_(0)
    return z * 3


def test_turns_in_place_keep_histories_where_nothing_is_recorded() -> None:
    z = torch.ones(2, 3, requires_grad=True)
    turn_a_leaf(z).sum().backward()
    assert z.is_leaf and z.requires_grad and z.grad.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    with pytest.raises(TraceError, match="a leaf that requires grad keeps its shape"):
        torch.compile(turn_a_leaf)(torch.ones(2, 3, requires_grad=True))
    for function in (turn_a_product, torch.compile(turn_a_product)):
        z = torch.ones(2, 3, requires_grad=True)
        function(z).sum().backward()
        assert z.grad.tolist() == [[6.0] * 3] * 2


def test_what_relu_was_given_may_be_written_and_what_it_gave_may_not() -> None:
    for function in (torch.relu, torch.nn.functional.relu, torch.nn.ReLU()):
        for _ in range(12):
            leaf = torch.tensor([-1.0, 2.0], requires_grad=True)
            x = leaf * 1
            y = function(x)
            x += 5
            y.sum().backward()
            assert leaf.grad.tolist() == [0.0, 1.0]
    y = torch.relu(leaf * 1)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def guarded(x: Any) -> Any:
    try:
        if x.sum() > 0:
            x = x * 3
    except RuntimeError:
        x = x + 100
    return x


def asked_in_a_try(x: Any) -> Any:
    try:
        is_positive = bool(x.sum() > 0)
    except Exception:
        is_positive = None
    return x * 2 if is_positive is None else x * 3


@pytest.mark.parametrize("function", [guarded, asked_in_a_try])
def test_handlers_of_users_do_not_catch_what_traces_need(function: Callable[..., Any]) -> None:
    compiled = torch.compile(function)
    for sign in (1.0, -1.0):
        assert compiled(sign * torch.ones(2)).tolist() == function(sign * torch.ones(2)).tolist()
