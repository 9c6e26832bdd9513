"""Operations of a tensor and numbers, such as `leaky_relu`: one program for all numbers, with the same bits."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler import single
from adjit.compiler.entry import known
from adjit.compiler.nodewise import _derived
from adjit.dispatch import apply
from adjit.ir.primitive import primitive_named
from adjit.native import install
from adjit.runtime import layout
from tests.frontends.natively import refuse
from tests.threads import in_child

install.install()
native = pytest.mark.skipif(not layout.is_known(), reason="objects of this interpreter are not known")
F = torch.nn.functional

# Functions of a tensor and numbers, and the numbers that they give their operation.
ATTRIBUTES: dict[str, tuple[Callable[[Any, float], Any], Callable[[float], tuple[float, ...]]]] = {
    "elu": (lambda x, n: F.elu(x, n), lambda n: (n,)),
    "celu": (lambda x, n: F.celu(x, n), lambda n: (n,)),
    "leaky_relu": (lambda x, n: F.leaky_relu(x, n), lambda n: (n,)),
    "threshold": (lambda x, n: F.threshold(x, n, 2 * n), lambda n: (n, 2 * n)),
    "softshrink": (lambda x, n: F.softshrink(x, n), lambda n: (n,)),
    "hardshrink": (lambda x, n: F.hardshrink(x, n), lambda n: (n,)),
    "hardtanh": (lambda x, n: F.hardtanh(x, -n, n), lambda n: (-n, n)),
    "nan_to_num": (lambda x, n: torch.nan_to_num(x, n, 2 * n, -n), lambda n: (n, 2 * n, -n)),
}


@native
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_numbers_of_scalar_operations_are_operands_with_the_same_bits(name: str, dtype: Any, recorded: bool) -> None:
    x = torch.tensor([-3.0, -0.5, -0.0, 0.0, 0.3, 2.0, math.inf, -math.inf, math.nan, 1e-40], dtype=dtype)
    x.requires_grad_(recorded)
    function, numbers = ATTRIBUTES[name]
    for n in range(300):  # as many as it takes after other tests' shapes
        function(x, 0.3 + n * 0.0371)
    path = name if name == "nan_to_num" else f"nn.functional.{name}"
    table = install._installed[path].table
    before = table[: known.MISS + 1].copy()
    g = torch.tensor([1.0, 2.0, 3.0, 0.0, -0.0, -4.0, 5.0, 6.0, 7.0, 8.0], dtype=dtype)
    for number in (0.1, 1 / 3, 1.7, 2.0, 1e-30, 1e10):
        if dtype.itemsize > 2:
            table[[known.SLOW, known.MISS]] = id(refuse)
        try:
            found = [function(x, number)]
        finally:
            table[: known.MISS + 1] = before
        wanted = [apply(primitive_named(name), (x, *numbers(number)))]
        assert [each.requires_grad for each in (*found, *wanted)] == [recorded] * 2
        for results in (found, wanted) if recorded else ():
            results += torch.autograd.grad(results[0], x, g)
        for one, other in zip(found, wanted, strict=True):
            arrays = [each.detach().double().numpy() for each in (one, other)]
            np.testing.assert_array_equal(*arrays)
            is_number = ~np.isnan(arrays[0])
            np.testing.assert_array_equal(*(np.signbit(each)[is_number] for each in arrays))


def test_programs_of_numbers_do_not_pile_up() -> None:
    x = torch.linspace(-2, 2, 7, dtype=torch.float64, requires_grad=True)

    def run(numbers: Any) -> None:
        for n in numbers:
            for function, _ in ATTRIBUTES.values():
                function(x, n).sum().backward()
            (torch.fmod(x, n) + torch.remainder(x, n) + torch.xlogy(x, n) + torch.xlogy(n, x * x)).sum().backward()

    run(0.5 + n / 64 for n in range(20))
    counts = len(single._programs), _derived.cache_info().currsize
    run(1.5 + n / 64 for n in range(20))
    assert (len(single._programs), _derived.cache_info().currsize) == counts


def test_programs_of_single_operations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "_programs", {})
    monkeypatch.setattr(single, "_MOST_PROGRAMS", 5)
    x = torch.arange(24.0)
    for rows in range(1, 25):
        shown = torch.nn.functional.pad(x, (rows, rows), value=rows * 0.5)
        assert shown[[0, rows, -1]].tolist() == [rows * 0.5, 0.0, rows * 0.5]
        assert torch.special.polygamma(rows % 7, x + 1).isfinite().all()
        assert len(single._programs) <= 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_a_program_is_made_makes_its_own() -> None:
    image, window = np.ones((1, 1, 7, 9)), np.ones((1, 1, 2, 3))
    with single._lock:  # a thread that is not in the child has it
        assert in_child(lambda: F.conv2d(torch.tensor(image), torch.tensor(window), stride=(3, 4))) == 0
