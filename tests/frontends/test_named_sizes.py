"""Named sizes: one program for all their numbers, errors in the user's names, multiples known as such."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import adjit as torch
from adjit.ir.errors import ShapeError

F = Callable[..., Any]


def values(*shape: int) -> torch.Tensor:
    return torch.linspace(-1, 1, max(torch.Size(shape).numel(), 1))[: torch.Size(shape).numel()].reshape(shape)


@pytest.mark.parametrize("sizes", [(5, 2, 9, 1, 0, 3), (1, 7, 3, 4), (3, 4, 5)])
def test_one_program_for_all_sizes(sizes: tuple[int, ...]) -> None:
    def function(x: Any, w: Any) -> Any:
        return torch.softmax(x @ w, 1).sum(0)

    compiled = torch.compile(function, shapes={"x": ("n", 3)})
    w = values(3, 2)
    for size in sizes:
        x = values(size, 3)
        assert torch.allclose(compiled(x, w), function(x, w))
    assert compiled.compile_count == 1 + (1 in sizes)  # which broadcasts
    assert "x: f32[n, 3]" in str(compiled.explain())


CASES: dict[str, tuple[F, dict[str, Any], list[tuple[tuple[int, ...], ...]], int]] = {
    "expression": (lambda x, y: (x.sum(), y[: x.shape[0]] * x), {"x": ("n",), "y": ("2*n + 1",)}, [
        ((3,), (7,)), ((2,), (5,)), ((10,), (21,))], 1),
    "two names": (lambda x, y: x @ y, {"x": ("n", "k"), "y": ("k", "m")}, [((2, 3), (3, 2)), ((4, 4), (4, 4))], 1),
    "chance": (lambda x, y: x @ y, {"x": ("n", "k"), "y": ("k", "m")}, [((4, 4), (4, 4)), ((2, 3), (3, 5))], 1),
    "any": (lambda x: x * 2, {"x": (None, "n")}, [((2, 3),), ((2, 5),), ((2, 9),)], 1),
    "multiple": (lambda x: x.reshape(-1, 2).sum(1), {"x": ("n",)}, [((4,),), ((6,),), ((10,),)], 1),
    "multiple of 6": (lambda x: x.reshape(-1, 2).sum(1).reshape(3, -1), {"x": ("n",)}, [
        ((6,),), ((18,),), ((12,),)], 1),
    "halves": (lambda x: torch.stack([x[: x.shape[0] // 2], x[x.shape[0] // 2 :]]), {"x": ("n",)}, [
        ((4,),), ((6,),), ((8,),)], 1),
    "pooled": (lambda x: torch.nn.functional.max_pool1d(x, 2), {"x": (1, 1, "n")}, [((1, 1, 4),), ((1, 1, 8),)], 1),
    "compared": (lambda x: x * 2 if x.shape[0] == 3 else x + 1, {"x": ("n",)}, [((3,),), ((5,),), ((7,),), ((3,),)], 2),
    "at least": (lambda x: x[:4] if x.shape[0] > 4 else x, {"x": ("n",)}, [((5,),), ((6,),), ((3,),), ((2,),)], 2),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_programs(name: str) -> None:
    function, shapes, calls, count = CASES[name]
    compiled = torch.compile(function, shapes=shapes)
    for sizes in calls:
        args = [values(*size) for size in sizes]
        wanted, found = function(*args), compiled(*args)
        for a, b in zip(*([x] if isinstance(x, torch.Tensor) else x for x in (wanted, found)), strict=True):
            assert torch.allclose(a, b), sizes
    assert compiled.compile_count == count


def test_multiples_are_known_without_names() -> None:
    compiled = torch.compile(lambda x: x.reshape(-1, 2).sum(1))
    for size in (4, 6, 8, 10, 40):
        assert compiled(values(size)).shape == (size // 2,)
    assert compiled.compile_count == 2


def test_gradients() -> None:
    step = torch.compile(lambda x, w: ((x @ w) ** 2).mean(), shapes={"x": ("batch", 3)})
    for size in (2, 5, 8):
        w = values(3, 1).requires_grad_()
        step(values(size, 3), w).backward()
        plain = values(3, 1).requires_grad_()
        ((values(size, 3) @ plain) ** 2).mean().backward()
        assert torch.allclose(w.grad, plain.grad)
    assert step.compile_count == 1


ERRORS: list[tuple[F, dict[str, Any], list[tuple[int, ...]], str]] = [
    (lambda x, y: x + y, {"x": ("n",), "y": ("n",)}, [(4,), (5,)], "n is 4 by axis 0 of x and 5 by axis 0 of y"),
    (lambda x: x, {"x": ("n", 3)}, [(4, 5)], "axis 1 of x is 5, and shapes says 3"),
    (lambda x: x, {"x": ("n", 3)}, [(4,)], r"x has 1 axes, \(4\), and shapes says \(n, 3\)"),
    (lambda x, y: y, {"x": ("n",), "y": ("2*n",)}, [(4,), (7,)],
     r"axis 0 of y is 7, and shapes says 2\*n = 8: n is 4 by axis 0 of x"),
    (lambda x: x, {"x": ("2*n",)}, [(7,)], r"axis 0 of x is 7, and shapes says 2\*n: no number makes it that"),
    (lambda x: sum(x[i] for i in range(x.shape[0])), {"x": ("n",)}, [(4,)], "n is open, and the function needs"),
]


@pytest.mark.parametrize(("function", "shapes", "sizes", "text"), ERRORS, ids=[case[3][:30] for case in ERRORS])
def test_errors(function: F, shapes: dict[str, Any], sizes: list[tuple[int, ...]], text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        torch.compile(function, shapes=shapes)(*(values(*size) for size in sizes))


def test_mistakes_in_what_is_said() -> None:
    with pytest.raises(ValueError, match="shapes: y is no tensor argument; those are x"):
        torch.compile(lambda x: x, shapes={"y": ("n",)})(values(2))
    for wrong in ("2*", 1.5, "n n"):
        with pytest.raises(ValueError, match="shapes: a dim of x is"):
            torch.compile(lambda x: x, shapes={"x": (wrong,)})


def test_gradients_have_the_sizes_of_the_call() -> None:
    step = torch.compile(lambda x: (x * x).sum(0), shapes={"x": ("n", 3)})
    for size in (4, 5):
        x = values(size, 3).requires_grad_()
        step(x).sum().backward()
        assert x.grad is not None and x.grad.shape == (size, 3) and x.grad.shape == x.shape
