"""Products of several operands in Einstein's notation: in the order of the least work, with NumPy's results."""

from __future__ import annotations

import random
from functools import partial
from math import prod
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.contraction_notation import pairs_in_order


def multiply_adds(inputs: list[str], output: str, sizes: dict[str, int], pairs: list[tuple[int, int]]) -> int:
    """What an order of pairs costs."""
    terms, total = [set(own) for own in inputs], 0
    for left, right in pairs:
        both = terms[left] | terms.pop(right)
        total += prod(sizes[c] for c in both)
        terms[left] = both & set(output).union(*(own for place, own in enumerate(terms) if place != left))
    assert len(terms) == 1
    return total


@pytest.mark.parametrize(
    ("equation", "sizes", "least"),
    [("ij,jk,kl->il", (500, 20, 1000, 100), 20 * 1000 * 100 + 500 * 20 * 100),
     ("ij,jk,kl->il", (100, 1000, 20, 500), 100 * 1000 * 20 + 100 * 20 * 500),
     ("ij,kl,jk->il", (4, 6, 5, 3), 6 * 5 * 3 + 4 * 6 * 3)],
)  # fmt: skip
def test_the_order_is_that_of_the_least_work(equation: str, sizes: tuple[int, ...], least: int) -> None:
    left, output = equation.split("->")
    inputs = left.split(",")
    known = dict(zip("ijkl", sizes, strict=True))
    pairs = pairs_in_order(inputs, output, known)
    assert multiply_adds(inputs, output, known, pairs) == least


def test_of_equal_orders_the_first_is_from_the_left() -> None:
    assert pairs_in_order(["ij", "jk", "kl", "lm"], "im", dict.fromkeys("ijklm", 8)) == [(0, 1)] * 3
    assert len(pairs_in_order(["ij"] * 7, "ij", {"i": 3, "j": 4})) == 6


@pytest.mark.parametrize("seed", range(30))
def test_any_equation_agrees_with_numpy(seed: int) -> None:
    draw = random.Random(seed)
    letters = "abcde"[: draw.randint(1, 5)]
    sizes = {c: draw.choice([1, 2, 3, 0] if seed % 10 == 0 else [1, 2, 3, 5]) for c in letters}
    inputs = ["".join(draw.sample(letters, draw.randint(1, min(3, len(letters))))) for _ in range(draw.randint(1, 6))]
    used = sorted({*"".join(inputs)})
    equation = ",".join(inputs) + "->" + "".join(draw.sample(used, draw.randint(0, min(3, len(used)))))
    numbers = np.random.default_rng(seed)
    shapes = [[sizes[c] for c in own] for own in inputs]
    arrays: list[Any] = [numbers.standard_normal(shape) for shape in shapes]
    if seed % 2:
        arrays = [np.asarray(array + 1j * numbers.standard_normal(array.shape)) for array in arrays]
    tensors = [torch.from_numpy(array) for array in arrays]
    wanted = np.einsum(equation, *arrays)
    for way in (lambda f: f, torch.compile, partial(torch.compile, strict=True)):
        found = way(lambda *x: torch.einsum(equation, *x))(*tensors)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ab,a", [(1, 3), (2,)]), ("ab,ab->b", [(1, 3), (2, 1)]), ("...ij,...jk->...ik", [(5, 2, 3), (1, 3, 4)]),
     ("ij,j->", [(1, 1), (3,)]), ("ab,bc,ca->", [(1, 3), (3, 4), (4, 5)])],
)  # fmt: skip
def test_axes_of_one_element_are_spread_along_others(equation: str, shapes: list[tuple[int, ...]]) -> None:
    operands = [np.random.default_rng(place).random(shape) for place, shape in enumerate(shapes)]
    expected = np.einsum(equation if "->" in equation else f"{equation}->b", *operands)
    leaves = [torch.tensor(operand, requires_grad=True) for operand in operands]
    for contract in (torch.einsum, torch.compile(torch.einsum)):
        np.testing.assert_allclose(contract(equation, *leaves).detach().numpy(), expected, rtol=1e-12)
    torch.einsum(equation, *leaves).sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.shape == leaf.shape
    with pytest.raises(RuntimeError, match="subscript i is repeated for operand 0 but the sizes don't match"):
        torch.einsum("ii,j", torch.ones(1, 3), torch.ones(2))


@pytest.mark.parametrize("width", [3, 16, 17])
def test_permuted_operands_with_several_summed_axes(width: int) -> None:
    """They are packed as windows whose steps are known at run time alone."""
    generator = np.random.default_rng(width)
    left, right = (generator.standard_normal(shape, np.float32) for shape in ((20, 17, 30, width), (20, 30, 17, 33)))
    found = torch.einsum("abcd,abce->de", torch.tensor(left).permute(0, 2, 1, 3), torch.tensor(right))
    expected = np.einsum("abcd,abce->de", left.transpose(0, 2, 1, 3).astype(np.float64), right)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_axes_may_be_numbers() -> None:
    a, b = torch.arange(6.0).view(2, 3), torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(torch.einsum(a, [0, 1], b, [0, 1, 2], [2, 0]), torch.einsum("ij,ijk->ki", a, b))
    assert torch.equal(torch.einsum(a, [30, 2]), a.t())
    assert torch.equal(torch.einsum(b, [..., 51], [51, ...]), b.permute(2, 0, 1))
    for wrong in ((a, [0, 52]), (a, [0, -1])):
        with pytest.raises(ValueError, match=r"subscript in subscript list is not within the valid range \[0, 52\)"):
            torch.einsum(*wrong)
    with pytest.raises(ValueError, match="at least one operand and its subscripts list"):
        torch.einsum(a)
