"""Rows that go together keep apart what each fills, and share what was filled for all of them."""

from __future__ import annotations

import numpy as np
import pytest

from adjit.ir.types import F32, F64, DType
from tests.compiler.test_emit import compiled, program


@pytest.mark.parametrize("shape", [(64, 8, 16), (64, 5, 33), (64, 7, 128), (64, 8, 15), (70, 2, 17), (5, 8, 16)])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_rows_that_go_together_share_what_was_filled_before_them(shape: tuple[int, int, int], dtype: DType) -> None:
    n, e, f = shape
    whole = f"{dtype}[{n}, {e}, {f}]"
    body = (
        f" %0 = reshape %s {{shape=[{n}, {e}, 1]}} : {dtype}[{n}, {e}, 1]\n"
        f" %1 = expand %0 {{shape=[{n}, {e}, {f}]}} : {whole}\n"
        f" %2 = mul %y, %1 : {whole}\n %3 = reduce_sum %2 {{axes=[1]}} : {dtype}[{n}, {f}]\n"
        f" %4 = reshape %3 {{shape=[{n}, 1, {f}]}} : {dtype}[{n}, 1, {f}]\n"
        f" %5 = expand %4 {{shape=[{n}, {e}, {f}]}} : {whole}\n %6 = mul %5, %y : {whole}\n"
        f" %7 = reduce_sum %6 {{axes=[2]}} : {dtype}[{n}, {e}]\n return %7"
    )
    random = np.random.default_rng(0)
    # Whole numbers, whose sums are exact in any order.
    y, s = (random.integers(-3, 4, dims).astype(dtype.storage) for dims in (shape, shape[:2]))
    (found,) = compiled(program(f"%y: {whole}, %s: {dtype}[{n}, {e}]) -> ({dtype}[{n}, {e}])", body)).run([y, s])
    sums = (y * s[:, :, None]).sum(1, keepdims=True)
    np.testing.assert_array_equal(found, (sums * y).sum(2))
