"""Gradients of what was computed outside, for many cotangents at once: `vmap` over `autograd.grad` is a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import adjit as torch
from adjit import func

grad = torch.autograd.grad


class Square(torch.autograd.Function):
    """x * x, whose backward is the user's."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return cotangents[0] * 2 * x


def leaves() -> list[torch.Tensor]:
    x = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    return [x, torch.tensor([3.0, -4.0, 0.25], dtype=torch.float64, requires_grad=True)]


def hooked(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    y = x * w
    y.register_hook(lambda cotangent: 10 * cotangent)
    return y.sin()


def parts(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    first, _, last = (x.exp() * w).unbind(0)
    return torch.stack((first, last * first))


def written(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    y = x.sin()
    y[1:] *= w[1:]
    return y.exp()


PROGRAMS: dict[str, Callable[..., torch.Tensor]] = {
    "chain": lambda x, w: (x.sin() * w).exp(),
    "add": lambda x, w: x + w,
    "matrix": lambda x, w: torch.outer(x, w) @ x,
    "index": lambda x, w: x[torch.tensor([2, 0, 2])] * w,
    "median": lambda x, w: (x * w).median(),
    "square": lambda x, w: Square.apply(x * w),
    "compiled": torch.compile(lambda x, w: (x * w).sin() / w),
    "hooked": hooked,
    "parts": parts,
    "written": written,
}


def mapped_and_looped(outputs: Any, inputs: Sequence[torch.Tensor], cotangents: torch.Tensor, **kwargs: Any) -> Any:
    def one(v: torch.Tensor) -> Any:
        return grad(outputs, inputs, v, retain_graph=True, **kwargs)

    columns = zip(*map(one, cotangents), strict=True)
    return func.vmap(one)(cotangents), tuple(torch.stack(column) for column in columns)


def rows(output: torch.Tensor, count: int = 4) -> torch.Tensor:
    return torch.linspace(-1.0, 2.0, count * output.numel(), dtype=torch.float64).reshape(count, *output.shape)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_mapped_gradients_are_those_of_a_loop(name: str, count: int) -> None:
    inputs = leaves()
    output = PROGRAMS[name](*inputs)
    if count == 0:
        found = func.vmap(lambda v: grad(output, inputs, v))(rows(output, 0))
        assert [tuple(each.shape) for each in found] == [(0, 3), (0, 3)]
        return
    found, expected = mapped_and_looped(output, inputs, rows(output, count))
    torch.testing.assert_close(found, expected)
    assert not any(each.requires_grad for each in found)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "compiled"])
def test_mapped_second_gradients_are_those_of_a_loop(name: str) -> None:
    inputs = leaves()
    output = PROGRAMS[name](*inputs)
    first = grad(output.sum(), inputs, create_graph=True, materialize_grads=True)
    total = first[0] + first[1] ** 2
    if total.requires_grad:
        torch.testing.assert_close(*mapped_and_looped(total, inputs, rows(total), materialize_grads=True))

    def twice(v: torch.Tensor) -> Any:
        inner = grad(output.sum(), inputs, create_graph=True, materialize_grads=True)
        return grad((inner[0] * inputs[1]).sum() + output.sum(), inputs, v.sum(), True, materialize_grads=True)

    if name != "hooked":  # a hook on what is passed twice
        columns = zip(*map(twice, rows(output)), strict=True)
        torch.testing.assert_close(func.vmap(twice)(rows(output)), tuple(map(torch.stack, columns)))


def test_gradients_of_the_tape_and_of_the_trace_add_up() -> None:
    x, w = leaves()
    middle = x.sin()
    output = (middle * w).exp()
    torch.testing.assert_close(*mapped_and_looped(output, [output, middle, x, w], rows(output)))

    def inside(v: torch.Tensor) -> Any:
        return grad(output * x + middle * 2, [middle, x], v, retain_graph=True)

    columns = zip(*map(inside, rows(output)), strict=True)
    torch.testing.assert_close(func.vmap(inside)(rows(output)), tuple(map(torch.stack, columns)))

    nested = func.vmap(lambda s: func.vmap(lambda v: inside(v * s)[1])(rows(output)))(torch.arange(2.0))
    expected = torch.stack([inside(v)[1] for v in rows(output)])
    torch.testing.assert_close(nested, torch.stack((expected * 0, expected)))


def test_what_is_computed_inside_of_outer_tensors_alone_has_a_gradient() -> None:
    x, w = leaves()
    found = func.vmap(lambda v: grad([x * w], [x], grad_outputs=[v])[0])(torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(found, torch.diag(w.detach()))


def test_mapped_gradients_have_gradients() -> None:
    x, w = leaves()
    output = (x.sin() * w).exp()
    one = torch.eye(3, dtype=torch.float64)
    mapped = func.vmap(lambda v: grad(output, x, v, create_graph=True)[0])(one)
    looped = torch.stack([grad(output, x, v, create_graph=True)[0] for v in one])
    assert mapped.requires_grad
    weights = rows(x, 3)
    torch.testing.assert_close(
        grad(mapped, [x, w], weights, retain_graph=True), grad(looped, [x, w], weights, retain_graph=True)
    )


def test_other_transformations_go_on_outside() -> None:
    x, w = leaves()
    output = (x.sin() * w).exp()
    v = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)

    def pulled(v: torch.Tensor) -> torch.Tensor:
        return grad(output, x, v, retain_graph=True)[0]

    torch.testing.assert_close(func.jvp(pulled, (v,), (2 * v,)), (pulled(v), pulled(2 * v)))
    torch.testing.assert_close(func.jacfwd(pulled)(v), torch.diag(pulled(torch.ones_like(v))))


def test_the_tape_is_freed_unused_and_guarded_as_ever() -> None:
    x, w = leaves()
    output = (x.sin() * w).exp()
    one = torch.eye(3, dtype=torch.float64)
    func.vmap(lambda v: grad(output, x, v)[0])(one)
    for again in (lambda v: grad(output, x, v)[0], lambda v: grad(output * 2, w, v)[0]):
        with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
            func.vmap(again)(one)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        func.vmap(lambda v: grad(x * 2, w, v)[0])(one)
    assert func.vmap(lambda v: grad(x * 2, w, v, materialize_grads=True)[0])(one).tolist() == [[0.0] * 3] * 3
    y = x * 1
    output = y.sin()
    with torch.no_grad():
        y += 1
    with pytest.raises(RuntimeError, match="has been modified by an inplace operation"):
        func.vmap(lambda v: grad(output, x, v)[0])(one)


def test_backward_in_a_transformation_says_that_it_is_none() -> None:
    x, w = leaves()
    output = x * w
    with pytest.raises(RuntimeError, match=r"^backward\(\) called inside a functorch transform"):
        func.vmap(lambda v: (output.backward(v), v)[1])(torch.eye(3, dtype=torch.float64))
    assert x.grad is None


def test_a_compiled_function_maps_gradients_of_what_it_computed_once() -> None:
    def function(x: torch.Tensor, v: torch.Tensor) -> Any:
        middle = x.sin()
        output = (middle * 2).cos()
        return func.vmap(lambda v: grad(output, [middle, x], v, retain_graph=True))(v), func.vmap(
            lambda v: grad((middle * 3).cos(), [middle, x], v, retain_graph=True)
        )(v)

    x = leaves()[0]
    torch.testing.assert_close(torch.compile(function)(x, rows(x)), function(x, rows(x)))


def rising(*shape: int) -> torch.Tensor:
    return torch.arange(float(torch.Size(shape).numel())).reshape(*shape)


WRITERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "whole": lambda x: x.add_(1),
    "part": lambda x: (x[1:].mul_(5), x)[1].clone(),
    "item": lambda x: (x.__setitem__(0, 7.0), x.sum())[1],
    "parts": lambda x: (x.split(1)[0].fill_(3), x)[1].clone(),
    "unbatched": lambda x: x.zero_(),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", WRITERS)
def test_a_mapped_function_writes_to_its_arguments(name: str, axis: int, compiled: bool) -> None:
    mapped = func.vmap(WRITERS[name], in_dims=axis)
    x, expected = rising(3, 3), rising(3, 3)
    for _ in range(3):  # the second and third time by what the first left
        found = (torch.compile(mapped) if compiled else mapped)(x)
        loop = torch.stack([WRITERS[name](row).clone() for row in expected.unbind(axis)])
        torch.testing.assert_close((found, x), (loop, expected))


def test_writes_of_mapped_functions_obey_the_rules_of_writes() -> None:
    def both(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x.add_(y)

    with pytest.raises(RuntimeError, match=r"^vmap: inplace arithmetic"):
        func.vmap(both, in_dims=(None, 0))(rising(3), rising(2, 3))
    shared = rising(3)
    func.vmap(lambda x, y: (x.add_(1), y)[1], in_dims=(None, 0))(shared, rising(2, 3))
    assert shared.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(RuntimeError, match=r"^a view of a leaf Variable that requires grad"):
        func.vmap(lambda x: x.add_(1))(torch.ones(2, 3, requires_grad=True))
    with pytest.raises(RuntimeError, match="more than one element"):
        func.vmap(lambda x: x.add_(1))(rising(1, 3).expand(2, 3))
    x = rising(5, 2)
    func.vmap(func.vmap(lambda x: x.add_(1)), in_dims=1, chunk_size=1)(x)
    torch.testing.assert_close(x, rising(5, 2) + 1)
    w = rising(2, 3).requires_grad_()
    y = w + 0
    func.vmap(lambda y: y.mul_(3))(y)
    assert grad(y.sum(), w)[0].tolist() == [[3.0] * 3] * 2


def test_out_dims_of_one_result_may_be_a_tuple_of_one() -> None:
    assert func.vmap(lambda x: x, out_dims=(1,))(rising(2, 3)).shape == (3, 2)
    with pytest.raises(ValueError, match="out_dims is not compatible"):
        func.vmap(lambda x: [x], out_dims=(1,))(rising(2, 3))


@pytest.mark.parametrize("write", [lambda x: x.add_(1), lambda x: x[0].add_(1), lambda x: x.__setitem__(0, 1.0)])
def test_a_leaf_that_is_a_view_may_not_be_written(write: Callable[[torch.Tensor], Any]) -> None:
    x = rising(2, 3).requires_grad_()
    with pytest.raises(RuntimeError, match=r"^a view of a leaf Variable that requires grad"):
        write(x)
    assert x.is_leaf
    with torch.no_grad():
        write(x)
    assert x.is_leaf and x.requires_grad
