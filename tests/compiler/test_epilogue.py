"""Arithmetic on a product's sums, done by the product's kernel: the same bits as product and arithmetic apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adjit.compiler import fuse
from adjit.compiler.build import build
from adjit.compiler.llvm.target import Target
from adjit.compiler.loops.ir import FUSE, KERNEL
from adjit.compiler.pipeline import lowered, stages
from adjit.ir.parser import parse
from adjit.ir.types import F32
from tests.compiler.test_gemm import fill, guarded, targets

Array = np.ndarray[Any, Any]

# Texts for sizes m, n, k, of strict programs; and what their results are of the operands and the product.
BIAS = """
func @bias(%x: f32[{m}, {k}], %w: f32[{k}, {n}], %b: f32[{n}]) -> (f32[{m}, {n}]) {{
  %0 = dot %x, %w {{contract=[[1], [0]], batch=[[], []]}} : f32[{m}, {n}]
  %1 = reshape %b {{shape=[1, {n}]}} : f32[1, {n}]
  %2 = expand %1 {{shape=[{m}, {n}]}} : f32[{m}, {n}]
  %3 = add %0, %2 : f32[{m}, {n}]
  %4 = maximum %3, 0.0 : f32[{m}, {n}]
  return %4
}}
"""
RESIDUAL = """
func @residual(%x: f32[{m}, {k}], %w: f32[{k}, {n}], %y: f32[{m}, {n}])
    -> (f32[{m}, {n}], f32[{m}, {n}], f64[{m}, {n}]) {{
  %0 = dot %x, %w {{contract=[[1], [0]], batch=[[], []]}} : f32[{m}, {n}]
  %1 = add %0, %y : f32[{m}, {n}]
  %2 = cast %1 {{dtype=f64}} : f64[{m}, {n}]
  return %0, %1, %2
}}
"""
TRANSPOSED = """
func @transposed(%x: f32[{m}, {k}], %w: f32[{k}, {n}], %y: f32[{n}, {m}]) -> (f32[{n}, {m}]) {{
  %0 = dot %x, %w {{contract=[[1], [0]], batch=[[], []]}} : f32[{m}, {n}]
  %1 = permute %0 {{perm=[1, 0]}} : f32[{n}, {m}]
  %2 = sub %y, %1 : f32[{n}, {m}]
  return %2
}}
"""
DESCENT = """
func @descent(%x: f32[{m}, {k}], %w: f32[{k}, {n}], %y: f32[{m}, {n}]) -> (f32[{m}, {n}])
  writes(%y <- 0) {{
  %0 = dot %x, %w {{contract=[[1], [0]], batch=[[], []]}} : f32[{m}, {n}]
  %1 = mul %0, 0.25 : f32[{m}, {n}]
  %2 = sub %y, %1 : f32[{m}, {n}]
  return %2
}}
"""
CASES: dict[str, tuple[str, Callable[..., tuple[Array, ...]]]] = {
    "bias": (BIAS, lambda p, b: (np.maximum(p + b, 0),)),
    "residual": (RESIDUAL, lambda p, y: (p, p + y, (p + y).astype(np.float64))),
    "transposed": (TRANSPOSED, lambda p, y: (y - p.T,)),
    "descent": (DESCENT, lambda p, y: (y - p * np.float32(0.25),)),
}
PRODUCT = """
func @product(%x: f32[{m}, {k}], %w: f32[{k}, {n}]) -> (f32[{m}, {n}]) {{
  %0 = dot %x, %w {{contract=[[1], [0]], batch=[[], []]}} : f32[{m}, {n}]
  return %0
}}
"""
# One run of k and several, whole tiles and parts, more rows than wait together.
SIZES = ((61, 77, 40), (61, 77, 700), (32, 64, 64), (1100, 40, 600))


def run(text: str, arrays: list[Array], threads: int = 1, target: Target | None = None) -> list[Array]:
    program = build(lowered(parse(text), strict=True), threads=threads, target=target)
    return program.run(arrays)


@pytest.mark.parametrize("m,n,k", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_bits_are_those_of_the_product_and_arithmetic_apart(name: str, m: int, n: int, k: int) -> None:
    text, arithmetic = CASES[name]
    graph = parse(text.format(m=m, n=n, k=k))
    (*_, (_, fused), (_, loops)) = stages(graph, strict=True)
    assert [node.op for node in fused.nodes] == [FUSE]
    assert [node.op for node in loops.nodes] == [KERNEL]
    arrays = [fill(guarded(tuple(value.dims), F32, at_end=True), seed) for seed, value in enumerate(graph.inputs)]  # type: ignore[arg-type]
    (product,) = run(PRODUCT.format(m=m, n=n, k=k), arrays[:2])
    expected = arithmetic(product, arrays[2].copy())
    for threads in (1, 2):
        copies = [*arrays[:2], guarded(arrays[2].shape, F32, at_end=threads == 1)]
        copies[2][...] = arrays[2]
        for ours, theirs in zip(run(text.format(m=m, n=n, k=k), copies, threads), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("name", ("bias", "transposed"))
def test_all_targets_have_epilogues(name: str, target: Target) -> None:
    text, arithmetic = CASES[name]
    random = np.random.default_rng(0)
    shapes = [value.dims for value in parse(text.format(m=35, n=50, k=300)).inputs]
    arrays = [random.standard_normal(shape).astype("float32") for shape in shapes]  # type: ignore[arg-type]
    (found,) = run(text.format(m=35, n=50, k=300), arrays, target=target)
    wide = [array.astype(np.float64) for array in arrays]
    np.testing.assert_allclose(found, arithmetic(wide[0] @ wide[1], wide[2])[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lanes", (8, 32, 64))
def test_vectors_of_any_width_stay_inside_the_arrays(lanes: int) -> None:
    """Rows of 16 hold whole vectors of the product, and none of 32."""
    text, arithmetic = CASES["bias"]
    graph = parse(text.format(m=40, n=16, k=64))
    arrays = [fill(guarded(tuple(value.dims), F32, at_end=True), seed) for seed, value in enumerate(graph.inputs)]  # type: ignore[arg-type]
    (product,) = run(PRODUCT.format(m=40, n=16, k=64), arrays[:2])
    (found,) = build(lowered(graph, strict=True), threads=1, lanes=lanes).run(arrays)
    np.testing.assert_array_equal(found, arithmetic(product, arrays[2])[0])


CONVOLUTION = """
func @convolution(%x: f32[{n}, {c}, {h}, {h}], %w: f32[{f}, {c}, 3, 3], %b: f32[{f}], %y: f32[{n}, {f}, {p}, {p}])
    -> (f32[{n}, {f}, {p}, {p}]) {{
  %0 = conv %x, %w {{stride=[{s}, {s}], padding=[[1, 1], [1, 1]], input_dilation=[1, 1], kernel_dilation=[1, 1],
                     groups=1}} : f32[{n}, {f}, {p}, {p}]
  %1 = reshape %b {{shape=[{f}, 1, 1]}} : f32[{f}, 1, 1]
  %2 = expand %1 {{shape=[{n}, {f}, {p}, {p}]}} : f32[{n}, {f}, {p}, {p}]
  %3 = add %0, %2 : f32[{n}, {f}, {p}, {p}]
  %4 = add %3, %y : f32[{n}, {f}, {p}, {p}]
  %5 = maximum %4, 0.0 : f32[{n}, {f}, {p}, {p}]
  return %5
}}
"""


@pytest.mark.parametrize(
    "n,c,h,f,s", ((2, 16, 28, 32, 1), (3, 8, 9, 24, 1), (2, 40, 10, 16, 2), (4, 3, 12, 6, 1), (5, 64, 4, 70, 1))
)
def test_convolutions_have_epilogues(
    n: int, c: int, h: int, f: int, s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse, "LEAST_WINDOWED", 0)
    sizes = {"n": n, "c": c, "h": h, "f": f, "s": s, "p": -(-h // s)}
    text = CONVOLUTION.format(**sizes)
    graph = parse(text)
    assert [node.op.name for node in lowered(graph, strict=True).nodes[-1].regions[0].nodes] == ["contract"]
    arrays = [fill(guarded(tuple(value.dims), F32, at_end=True), seed) for seed, value in enumerate(graph.inputs)]  # type: ignore[arg-type]
    plain = text.replace("return %5", "return %0")
    (sums,) = run(plain, arrays)
    expected = np.maximum(sums + arrays[2][:, None, None] + arrays[3], 0)
    for threads in (1, 2):
        np.testing.assert_array_equal(run(text, arrays, threads)[0], expected)


STEP = """
func @step(%x: f32[{n}, {c}, {h}, {h}], %g: f32[{f}, {n}, {p}, {p}], %w: f32[{f}, {c}, 3, 3], %r: f32[{r}])
    -> (f32[{f}, {c}, 3, 3]) {{
  %0 = window %x {{axes=[2, 3], size=[{p}, {p}], stride=[1, 1], dilation=[1, 1]}} : f32[{n}, {c}, 3, 3, {p}, {p}]
  %1 = dot %g, %0 {{contract=[[1, 2, 3], [0, 4, 5]], batch=[[], []]}} : f32[{f}, {c}, 3, 3]
  %2 = reshape %r {{shape=[1, {r}, 1, 1]}} : f32[1, {r}, 1, 1]
  %3 = expand %2 {{shape=[{f}, {c}, 3, 3]}} : f32[{f}, {c}, 3, 3]
  %4 = mul %1, %3 : f32[{f}, {c}, 3, 3]
  %5 = sub %w, %4 : f32[{f}, {c}, 3, 3]
  return %5
}}
"""


@pytest.mark.parametrize("each", (False, True), ids=("one rate", "a rate a channel"))
@pytest.mark.parametrize("f,n,p", ((33, 2, 4), (40, 3, 10), (17, 1, 3)))
def test_steps_along_gradients_of_kernels(
    f: int, n: int, p: int, each: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels and taps are gone through as one index where all that is touched lies so."""
    monkeypatch.setattr(fuse, "LEAST_WINDOWED", 0)
    text = STEP.format(f=f, n=n, c=7, h=p + 2, p=p, r=7 if each else 1)
    graph = parse(text)
    assert [node.op.name for node in lowered(graph, strict=True).nodes[-1].regions[0].nodes] == ["contract"]
    arrays = [fill(guarded(tuple(value.dims), F32, at_end=True), seed) for seed, value in enumerate(graph.inputs)]  # type: ignore[arg-type]
    (sums,) = run(text.replace("return %5", "return %1"), arrays)
    expected = arrays[2] - sums * arrays[3][:, None, None]
    for threads in (1, 2):
        np.testing.assert_array_equal(run(text, arrays, threads)[0], expected)
