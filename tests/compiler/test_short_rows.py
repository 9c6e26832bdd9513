"""Sums over rows shorter than a vector: the order that is written, for operands that repeat along rows or across."""

from __future__ import annotations

import numpy as np
import pytest

from adjit.compiler.llvm import emit_short_rows
from adjit.compiler.loops.ir import BLOCK
from adjit.ir.types import F32, F64, DType
from tests.compiler.guarded import guarded
from tests.compiler.test_emit import compiled, in_lanes, program

# What is summed over rows and columns, of x of rows, y of a number for each row, and q of a row.
TERMS = {
    "a number for each row": (" %3 = sub %1, %x : T[n, E]", lambda x, y, q: y - x),
    "a number for each column": (" %3 = mul %2, %x : T[n, E]", lambda x, y, q: q * x),
    "both, and neither": (" %3 = mul %1, %2 : T[n, E]", lambda x, y, q: y * q + 0 * x),
    "backwards": (
        " %4 = slice %x {start=[0, E-1], size=[n, E], step=[1, -1]} : T[n, E]\n %3 = sub %1, %4 : T[n, E]",
        lambda x, y, q: y - x[:, ::-1],
    ),
}


@pytest.mark.parametrize("length", [2, 3, 5, 7, 12, 15, 31])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", TERMS)
def test_sums_have_the_order_that_is_written(
    name: str, dtype: DType, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[object] = []
    walk = emit_short_rows.walk_short_rows
    monkeypatch.setattr(emit_short_rows, "walk_short_rows", lambda *args: walks.append(args) or walk(*args))
    text, wanted = TERMS[name]
    full = f"{dtype}[n, {length}]"
    body = (
        f" %0 = reshape %y {{shape=[n, 1]}} : {dtype}[n, 1]\n %1 = expand %0 {{shape=[n, {length}]}} : {full}\n"
        f" %2 = expand %q {{shape=[n, {length}]}} : {full}\n"
        + text.replace("E-1", str(length - 1)).replace("E", str(length)).replace("T[", f"{dtype}[")
        + f"\n %5 = reduce_sum %3 {{axes=[0, 1]}} : {dtype}[]\n return %5"
    )
    run = compiled(program(f"%x: {full}, %y: {dtype}[n], %q: {dtype}[{length}]) -> ({dtype}[])", body)).run
    assert walks or length >= 64 // dtype.itemsize
    random = np.random.default_rng(length)
    for rows in (0, 1, 4, 33, 64, BLOCK // length, BLOCK // length + 1, 2 * BLOCK // length + 50):
        shapes = ((rows, length), rows, length)
        x, y, q = ((8 * random.standard_normal(shape)).astype(dtype.storage) for shape in shapes)
        terms = wanted(x, y[:, None], q).astype(dtype.storage)
        expected = in_lanes(np.ascontiguousarray(terms).reshape(-1), dtype)
        for at_end in (False, True):
            with guarded([x, y, q], at_end) as inside:
                np.testing.assert_array_equal(run(inside)[0], expected)
