"""Sums of long vectors that a loop finds on its way: values, bits, ends of arrays, and what shares one kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.compiler.build import build
from adjit.compiler.loops.ir import BLOCK, KERNEL, PARTIAL
from adjit.compiler.pipeline import lowered
from adjit.ir.graph import Graph, Node
from tests.compiler.guarded import guarded
from tests.compiler.loop_interpreter import run

SIZES = [2 * BLOCK, BLOCK + 1, 3 * BLOCK - 17, 3 * BLOCK + 5]


def with_gradients(x: Any, y: Any, s: Any) -> Any:
    value = (torch.sin(x) * s + y * y).sum()
    return value.detach(), *torch.autograd.grad(value, [x, y, s])


def operands(size: int, dtype: str) -> list[Any]:
    random = np.random.default_rng(size)
    made = [torch.from_numpy(random.standard_normal(size).astype(dtype)) for _ in range(2)]
    return [x.requires_grad_() for x in (*made, torch.tensor(1.5, dtype=getattr(torch, dtype)))]


def kernels(graph: Graph) -> list[Node]:
    return [node for node in lowered(graph).nodes if node.op is KERNEL]


def has_sum(kernel: Node) -> bool:
    return any(node.op is PARTIAL for node in kernel.regions[0].walk())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_bits(size: int, dtype: str) -> None:
    given = operands(size, dtype)
    one, two = (torch.compile(with_gradients, threads=threads)(*given) for threads in (1, 2))
    exact = with_gradients(*(x.detach().double().requires_grad_() for x in given))
    for found, again, wanted in zip(one, two, exact, strict=True):
        assert torch.equal(found, again)
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5 if dtype == "float32" else 1e-12)
    eager = torch.sin(given[0].detach()).sum()
    assert torch.equal(torch.compile(lambda x: torch.sin(x).sum(), strict=True)(given[0].detach()), eager)


def test_one_kernel_finds_results_and_sums() -> None:
    graph = torch.compile(with_gradients).graph(*operands(SIZES[-1], "float32"))
    first, *others = kernels(graph)
    assert sum(node.op is PARTIAL for node in first.regions[0].walk()) == 2
    assert not any(map(has_sum, others))
    for size in (BLOCK, 100):
        assert not any(map(has_sum, kernels(torch.compile(with_gradients).graph(*operands(size, "float32")))))


def test_terms_that_read_other_elements() -> None:
    torch.manual_seed(0)
    x, places = torch.randn(2 * BLOCK + 3), torch.arange(2 * BLOCK + 2, -1, -1)
    for function in (lambda x: x.flip(0).exp().sum() + x.sum(), lambda x: (x[places] * x).sum()):
        np.testing.assert_allclose(torch.compile(function)(x), function(x.double()), rtol=1e-5, atol=1e-4)


def test_what_is_not_a_number_is_found() -> None:
    for size in SIZES:
        x = torch.zeros(size)
        assert torch.compile(lambda x: (x + 0).sum())(x) == 0
        x[size - 1] = float("nan")
        assert torch.compile(lambda x: (x + 0).sum())(x).isnan()


def test_the_loop_level_means_it() -> None:
    size = BLOCK + 3
    graph = torch.compile(lambda x: (x * x).sum()).graph(torch.ones(size))
    x = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    (meant,), (found,) = run(lowered(graph), [x]), build(lowered(graph)).run([x])
    np.testing.assert_allclose(found, meant, rtol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_loops_stay_inside_their_arrays(size: int) -> None:
    arrays = [x.detach().numpy() for x in operands(size, "float32")]
    program = build(lowered(torch.compile(with_gradients).graph(*operands(size, "float32"))))
    expected = program.run(arrays)
    for at_end in (True, False):
        with guarded(arrays, at_end) as inputs:
            for ours, theirs in zip(program.run(inputs), expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
