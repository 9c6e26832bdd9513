"""Attention, however it is written, is one kernel that goes block by block, with the results of its ops one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import adjit
from adjit.compiler import fuse_blocks
from adjit.compiler.fuse_diagonal import Beyond
from adjit.compiler.loops import packed
from adjit.compiler.pipeline import compile_graph, lowered
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.primitive import primitive_named
from adjit.ir.types import I64
from adjit.nn import functional as F
from adjit.runtime import interpreter
from tests.compiler.guarded import guarded
from tests.compiler.loop_interpreter import run

Attention = Callable[..., Any]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of any size go by blocks, of few rows each."""
    monkeypatch.setattr(packed, "SMALL_EACH", 1)
    monkeypatch.setattr(fuse_blocks, "LEAST", 1)
    monkeypatch.setattr(fuse_blocks, "MOST_BLOCK", 8)
    monkeypatch.setattr(fuse_blocks, "FEWEST", 4)


def causal(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def plain(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v)


def by_hand(q: Any, k: Any, v: Any) -> Any:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    later = adjit.ones(q.shape[-2], k.shape[-2], dtype=adjit.bool).triu(k.shape[-2] - q.shape[-2] + 1)
    return adjit.softmax(scores.masked_fill(later, -math.inf), -1) @ v


def biased(q: Any, k: Any, v: Any) -> Any:
    far = adjit.arange(q.shape[-2]).unsqueeze(1) - adjit.arange(k.shape[-2])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=far * 0.1)


def in_heads(q: Any, k: Any, v: Any) -> Any:
    """Heads that lie beside each other, in and out."""
    batch, heads, length, size = q.shape
    parts = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    return causal(*parts).transpose(1, 2).reshape(batch, length, heads * size) * 2


def three(q: Any, k: Any, v: Any) -> Any:
    """Products one after another, with arithmetic between."""
    return adjit.tanh(q @ k.transpose(-2, -1)) @ v @ v.transpose(-2, -1)


def with_weights(q: Any, k: Any, v: Any) -> Any:
    """The weights as well, which are stored whole."""
    scores = (q @ k.transpose(-2, -1)).masked_fill(adjit.ones(16, 16, dtype=adjit.bool).triu(1), -math.inf)
    weights = adjit.softmax(scores, -1)
    return weights @ v + 0.01 * (weights * weights).sum()


def layer(q: Any, k: Any, v: Any) -> Any:
    """Attention whose gradients begin with what needs all heads."""
    batch, heads, length, size = q.shape
    mixed = causal(q, k, v).transpose(1, 2).reshape(batch, length, heads * size)
    return mixed @ adjit.ones(heads * size, 8)


def with_gradients(function: Attention) -> Attention:
    def program(q: Any, k: Any, v: Any) -> Any:
        result = function(q, k, v)
        return result.detach(), *adjit.autograd.grad((result * result).sum(), [q, k, v])

    return program


PROGRAMS: dict[str, tuple[Attention, tuple[int, ...], int]] = {
    "causal": (causal, (2, 2, 16, 16, 8), 1),
    "plain": (plain, (2, 2, 24, 12, 8), 1),
    "offset": (by_hand, (3, 2, 12, 28, 8), 1),
    "odd": (causal, (2, 2, 13, 13, 8), 1),
    "biased": (biased, (2, 2, 16, 24, 8), 1),
    "heads": (in_heads, (2, 4, 16, 16, 8), 1),
    "weights": (with_weights, (2, 2, 16, 16, 8), 1),
    "layer": (layer, (2, 2, 16, 16, 8), 1),
    "three": (three, (2, 2, 16, 24, 8), 1),
    "flat": (causal, (1, 4, 32, 32, 8), 1),
}


def given(sizes: tuple[int, ...], dtype: str = "float32") -> list[Any]:
    batch, heads, rows, columns, width = sizes
    random = np.random.default_rng(7)
    shapes = [(batch, heads, length, width) for length in (rows, columns, columns)]
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def traced(function: Attention, arrays: list[Any]) -> Graph:
    tensors = [adjit.from_numpy(array).requires_grad_() for array in arrays]
    graph = adjit.compile(function).graph(*tensors)
    assert isinstance(graph, Graph)
    return graph


def block_kernels(graph: Graph) -> int:
    return sum(node.op.name == "blocks" for node in lowered(graph).walk())


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * max(1.0, float(abs(expected).max())))


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("gradients", [False, True])
def test_results_are_those_of_the_ops_one_by_one(name: str, gradients: bool) -> None:
    function, sizes, count = PROGRAMS[name]
    arrays = given(sizes)
    graph = traced(with_gradients(function) if gradients else function, arrays)
    assert block_kernels(graph) >= count
    expected = interpreter.run(graph, *arrays)
    found = [compile_graph(graph, threads=threads).run(arrays) for threads in (1, 3)]
    for one, three_, theirs in zip(*found, expected, strict=True):
        np.testing.assert_array_equal(one, three_)
        assert_close(one, theirs)


@pytest.mark.parametrize("name", ["causal", "offset", "three"])
def test_loops_stay_in_bounds_and_store_all(name: str) -> None:
    function, (_, _, rows, columns, _), _ = PROGRAMS[name]
    arrays = given((1, 2, rows, columns, 8 if columns > 16 else 16))
    graph = traced(with_gradients(function), arrays)
    for ours, theirs in zip(run(lowered(graph), arrays), interpreter.run(graph, *arrays), strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("at_end", [False, True])
def test_native_code_stays_in_bounds(at_end: bool) -> None:
    arrays = given((2, 2, 12, 28, 8), "float64")
    executable = compile_graph(traced(with_gradients(by_hand), arrays), threads=1)
    with guarded(arrays, at_end) as copies:
        for ours, theirs in zip(executable.run(copies), executable.run(arrays), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def terms(graph: Graph) -> set[str]:
    """The numbers of terms of the products in the only kernel by blocks; `b` is the number of the block."""
    (kernel,) = (node for node in lowered(graph).walk() if node.op.name == "blocks")
    name = str(kernel.attributes["var"][-1])  # type: ignore[index]
    products = [node for node in kernel.regions[0].nodes if node.op.name == "contract"]
    return {str(extent).replace(name, "b") for node in products for _, extent in node.attributes["k"]}  # type: ignore[union-attr, misc]


def test_a_causal_mask_ends_loops_at_the_diagonal() -> None:
    arrays = given((2, 2, 16, 24, 8))
    assert terms(traced(by_hand, arrays)) == {"8", "4*b + 12"}
    assert terms(traced(biased, arrays)) == {"8", "24"}


def test_scores_are_computed_again_for_gradients_that_come_later() -> None:
    graph = lowered(traced(with_gradients(layer), given((2, 4, 16, 16, 4))))
    kernels = [node for node in graph.nodes if any(inner.op.name == "blocks" for inner in node.regions[0].nodes)]
    products = [sum(inner.op.name == "contract" for inner in kernel.regions[0].walk()) for kernel in kernels]
    assert products == [2, 5]
    assert not any(value.dims == (2, 4, 16, 16) for node in graph.nodes for value in node.outputs)


def test_explain_tells_of_the_blocks() -> None:
    text = str(adjit.compile(causal).explain(*map(adjit.from_numpy, given((2, 2, 16, 16, 8)))))
    assert "blocks over [2, 2, 4], product 4 by 4*" in text


def test_what_the_mask_hides_is_not_looked_at() -> None:
    arrays = given((2, 2, 16, 16, 8))
    graph = traced(causal, arrays)
    expected = compile_graph(graph).run(arrays)[0]
    arrays[2][:, :, 8:] = np.nan
    found = compile_graph(graph).run(arrays)[0]
    np.testing.assert_array_equal(found[:, :, :8], expected[:, :, :8])
    assert np.isnan(found[:, :, 8:]).all()


@pytest.mark.parametrize("compare", ["le", "lt"])
@pytest.mark.parametrize("shift", [-1, 0, 1])
@pytest.mark.parametrize("flipped", [False, True])
def test_comparisons_of_positions_are_known_beyond_a_diagonal(compare: str, shift: int, flipped: bool) -> None:
    graph = Graph("program")
    builder = Builder(graph)

    def position(axis: int) -> Any:
        return builder.apply(primitive_named("iota"), (), {"shape": (6, 9), "axis": axis, "dtype": I64})

    row, column = position(0) + shift, position(1)
    mask = primitive_named(compare)(*((column, row) if flipped else (row, column)))
    graph.outputs = (mask.value,)
    (truth,) = interpreter.run(graph)
    places = np.subtract.outer(np.arange(6), np.arange(9))
    for diagonal in range(6):
        hidden = set(truth[-places > diagonal].tolist())
        found = Beyond(diagonal).constant(mask.value, 0, 1)
        assert hidden == {found} if found is not None else len(hidden) == 2
