"""Complex scalar ops: their parts are the complex function, and their rules its adjoint and its derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from adjit.ir.ops import complex as complex_ops
from adjit.ir.ops.chain import scalar_jvp, scalar_vjp
from adjit.ir.ops.complex_parts import DEFINED, PARTS
from adjit.ir.primitive import Primitive, primitive_named

assert complex_ops
OPS = [primitive_named(name) for name in sorted({*PARTS, *DEFINED} - {"complex", "imag", "real"})]
SMOOTH = [op for op in OPS if not op.constant_result]
RANDOM = np.random.default_rng(3)
# Both signs of both parts, on the axes and near them, and far out.
GRID = np.array(
    [complex(a, b) for a in (-30.0, -1.2, -0.3, -1e-9, 0.0, 0.4, 1.0, 25.0) for b in (-9.0, -1.0, -1e-7, 0.0, 0.6, 7.0)]
)


def operands_of(op: Primitive, points: np.ndarray) -> list[np.ndarray]:
    """The op's operands at points, each a shuffle of them."""
    shuffled = [np.roll(points, 5 * place) for place in range(len(op.operands))]
    if op.name == "where":
        shuffled[0] = shuffled[0].real > 0
    return shuffled


@pytest.mark.parametrize("op", [op for op in OPS if op.name in PARTS], ids=lambda op: op.name)
def test_the_parts_are_those_of_the_function(op: Primitive) -> None:
    operands = operands_of(op, GRID)
    with np.errstate(all="ignore"):
        wanted = op(*operands)
        found = PARTS[op.name](*((x.real, x.imag) if np.iscomplexobj(x) else x for x in operands))
    if not isinstance(found, tuple):
        np.testing.assert_array_equal(found, wanted)
        return
    finite = np.isfinite(wanted) & np.isfinite(found[0])
    assert finite.mean() > 0.8
    size = np.maximum(np.abs(wanted), 1e-300)
    for part, expected in zip(found, (wanted.real, wanted.imag), strict=True):
        error = np.abs(part[finite] - expected[finite]) / size[finite]
        assert np.max(error, initial=0) < 1e-11, [x[finite][error.argmax()] for x in operands]


def inner(x: Any, y: Any) -> float:
    return float(np.sum(np.real(np.conj(x) * y)))


def along(op: Primitive, operands: Sequence[np.ndarray], tangents: Sequence[np.ndarray | None], step: float) -> Any:
    return op(*(x if t is None else x + step * t for x, t in zip(operands, tangents, strict=True)))


@pytest.mark.parametrize("op", SMOOTH, ids=lambda op: op.name)
def test_rules_are_the_derivative_and_its_adjoint(op: Primitive) -> None:
    """J t by differences; <J t, g> = <t, J* g>, where J* multiplies by the conjugate of the derivative."""
    points = RANDOM.normal(size=12) + 1j * RANDOM.normal(size=12)
    operands = operands_of(op, points)
    out = op(*operands)
    g = np.asarray(RANDOM.normal(size=12) + 1j * RANDOM.normal(size=12))
    tangents = [None if x.dtype == bool else RANDOM.normal(size=12) + 1j * RANDOM.normal(size=12) for x in operands]
    moved = (along(op, operands, tangents, 1e-6) - along(op, operands, tangents, -1e-6)) / 2e-6
    tangent = scalar_jvp(op, tangents, out, *operands)
    np.testing.assert_allclose(tangent, moved, rtol=1e-7, atol=1e-7)
    cotangents = scalar_vjp(op, g, out, *operands)
    reverse = sum(inner(t, c) for t, c in zip(tangents, cotangents, strict=True) if t is not None)
    assert inner(tangent, g) == pytest.approx(reverse, rel=1e-11)
