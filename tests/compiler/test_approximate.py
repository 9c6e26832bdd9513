"""Approximate programs: the errors of their math functions, what stays exact, and where the mode shows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.differentiate import differentiate
from adjit.compiler.llvm.vecmath_approximate import APPROXIMATE
from adjit.ir.hashing import structural_hash
from adjit.ir.parser import parse
from adjit.ir.types import F32
from tests.compiler.elementwise import Array, Kernel
from tests.compiler.test_vecmath import NEAR, SPECIAL, float32_operands, in_double

# Relative errors, as powers of two: those that the docstrings state.
BOUNDS = {
    "cos": -18.7, "erf": -19.9, "exp": -17.1, "exp2": -18.3, "log": -17.2, "pow": -16, "sin": -18.7, "tanh": -19,
}  # fmt: skip
LARGEST = float(np.finfo(np.float32).max)
LEAST = float(np.finfo(np.float32).tiny)


@functools.cache
def kernel(name: str, lanes: int, avx512: bool | None = None) -> Kernel:
    return Kernel(
        lambda f, types, names, result, fault: APPROXIMATE[name](f, types[0], *names),
        (F32,) * (2 if name == "pow" else 1),
        F32,
        lanes,
        avx512=avx512,
    )


def exact(name: str, operands: tuple[Array, ...]) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(in_double(name)(*(x.astype(np.float64) for x in operands)), np.float64)


@pytest.mark.parametrize("avx512", [None, False])
@pytest.mark.parametrize("name", sorted(APPROXIMATE))
def test_relative_errors(name: str, avx512: bool | None) -> None:
    operands = float32_operands(name)
    wanted, found = exact(name, operands), kernel(name, 16, avx512)(*operands).astype(np.float64)
    normal = (np.abs(wanted) >= LEAST) & (np.abs(wanted) <= LARGEST * (1 - 2.0**-16))
    error = np.abs(found[normal] - wanted[normal]) / np.abs(wanted[normal])
    worst = int(np.argmax(error))
    assert error[worst] <= 2.0 ** BOUNDS[name], [x[normal][worst] for x in operands]
    with np.errstate(over="ignore"):
        rest, rounded = found[~normal], wanted[~normal].astype(np.float32).astype(np.float64)
    # Denormal results are within the same bound of the least normal number, and what overflows is near the end.
    small = np.abs(rounded) < LEAST
    np.testing.assert_allclose(rest[small], rounded[small], rtol=0, atol=LEAST * 2.0 ** BOUNDS[name])
    np.testing.assert_array_equal(np.isnan(rest), np.isnan(rounded))
    assert (np.abs(rest[~small & ~np.isnan(rest)]) >= LARGEST * (1 - 2.0**-15)).all()


@pytest.mark.parametrize("avx512", [None, False])
@pytest.mark.parametrize("name", sorted(APPROXIMATE))
def test_special_values(name: str, avx512: bool | None) -> None:
    points = np.array([*SPECIAL, *NEAR, *(-x for x in NEAR), 1e-45, -1e-45, LEAST, -LEAST], np.float32)
    operands = tuple(x.ravel() for x in np.meshgrid(points, points)) if name == "pow" else (points,)
    with np.errstate(over="ignore"):
        wanted = exact(name, operands).astype(np.float32)
    for lanes in (1, 16):
        found = kernel(name, lanes, avx512)(*operands)
        np.testing.assert_allclose(found, wanted, rtol=2.0 ** BOUNDS[name], atol=1e-44)
        zero = wanted == 0
        np.testing.assert_array_equal(found == 0, zero)
        np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(wanted[zero]))
        np.testing.assert_array_equal(np.isinf(found), np.isinf(wanted))
    if name in ("exp", "exp2", "cos"):
        assert kernel(name, 16, avx512)(np.zeros(1, np.float32))[0] == 1


@pytest.mark.parametrize("name", sorted(APPROXIMATE))
def test_bits_are_the_same_at_every_width(name: str) -> None:
    random = np.random.default_rng(5)
    mixed = np.where(
        random.random(2003) < 0.4, np.frombuffer(random.bytes(8012), np.float32), random.uniform(-20, 20, 2003)
    ).astype(np.float32)
    operands = (mixed, random.permutation(mixed)) if name == "pow" else (mixed,)
    first, *others = [kernel(name, lanes)(*operands) for lanes in (1, 4, 16, 64)]
    for other in others:
        np.testing.assert_array_equal(other, first)


# -- programs ---------------------------------------------------------------------------------------------------------
def pooled(x: Any) -> Any:
    return torch.softmax(torch.tanh(x) * torch.sigmoid(x), 1).log().sum()


def with_gradient(x: Any) -> Any:
    loss = pooled(x)
    return loss.detach(), torch.autograd.grad(loss, x)[0]


def test_a_program_and_its_gradient_are_near_the_exact_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 33, requires_grad=True)
    approximate = torch.compile(with_gradient, approximate=True)
    wanted = with_gradient(x.detach().double().requires_grad_())
    results, plain = approximate(x), torch.compile(with_gradient)(x)
    assert not all(map(torch.equal, results, plain))
    for found, exact in zip(results, wanted, strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=2.0**-14, atol=2.0**-16)
    recorded = torch.compile(pooled, approximate=True)(x)
    recorded.backward()
    torch.testing.assert_close(x.grad.double(), wanted[1], rtol=2.0**-14, atol=2.0**-16)


def test_double_precision_stays_as_it_is() -> None:
    x = torch.randn(5, 9, dtype=torch.float64)
    assert torch.equal(torch.compile(pooled, approximate=True)(x), torch.compile(pooled)(x))


def test_the_mode_stands_in_the_program_and_in_what_is_derived_from_it() -> None:
    x = torch.ones(3, 4)
    compiled, plain = torch.compile(pooled, approximate=True), torch.compile(pooled)
    graph = compiled.graph(x)
    assert str(graph).split("\n")[0].endswith(" approximate {")
    assert structural_hash(graph) != structural_hash(plain.graph(x))
    assert parse(str(graph)).approximate
    assert str(parse(str(graph))) == str(graph)
    derivative = differentiate(graph)
    assert derivative.forward.approximate
    assert derivative.backward.approximate
    assert all(" approximate {" in text for text in list(compiled.stages(x).values())[:5])
    compiled(x), plain(x)
    assert "approximate: math functions" in str(compiled.explain())
    assert "approximate: math" not in str(plain.explain())


def test_strict_programs_are_not_approximate() -> None:
    with pytest.raises(ValueError, match="strict and approximate"):
        torch.compile(pooled, strict=True, approximate=True)
