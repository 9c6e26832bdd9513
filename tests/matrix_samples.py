"""Samples of the ops on matrices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from adjit.ir.primitive import primitive_named
from adjit.ir.types import C64, C128, F32, F64, DType
from tests.sampling import Draw, Sample, samples_of

COMPLEX = (C64, C128)


def _mixed(draw: Draw, shape: tuple[int, ...], dtype: DType = F64) -> Any:
    """Matrices far from singular, with distinct singular values."""
    values = draw.random.uniform(-1, 1, shape).astype(np.result_type(dtype.storage, np.float64))
    if dtype.is_complex:
        values.imag = draw.random.uniform(-1, 1, shape)
    weight = np.arange(1, 1 + min(shape[-2:], default=0)) * 1.5
    for i, each in enumerate(weight):
        values[..., i, i] += each
    return values.astype(dtype.storage)


def _positive(draw: Draw, shape: tuple[int, ...], dtype: DType = F64) -> Any:
    """Hermitian positive-definite matrices."""
    values = _mixed(draw, shape, dtype)
    return (values @ np.swapaxes(values, -1, -2).conj() + np.eye(shape[-1])).astype(dtype.storage)


@samples_of("cholesky")
def _(draw: Draw) -> Iterator[Sample]:
    yield from _symmetric(draw)


@samples_of("eigh")
def _(draw: Draw) -> Iterator[Sample]:
    yield from _symmetric(draw)


def _symmetric(draw: Draw) -> Iterator[Sample]:
    attributes = {"upper": False}
    # Only a triangle is read, and the derivative is that of symmetric matrices: differences see another one.
    for shape in ((1, 1), (2, 1, 1), (3, 3), (2, 3, 3), (0, 0), (0, 2, 2)):
        yield Sample(f"{shape}", (_positive(draw, shape),), attributes, smooth=shape[-1] == 1)
    yield Sample("f32", (_positive(draw, (3, 3), F32),), attributes)
    for dtype in COMPLEX:
        yield Sample(f"{dtype}", (_positive(draw, (2, 3, 3), dtype),), attributes, smooth=False)
    for dtype in (F64, C128):
        yield Sample(f"upper {dtype}", (_positive(draw, (2, 3, 3), dtype),), {"upper": True}, smooth=False)


@samples_of("lu")
def _(draw: Draw) -> Iterator[Sample]:
    for shape in ((1, 1), (3, 3), (2, 3, 4), (2, 4, 3), (0, 0), (2, 0, 3)):
        yield Sample(f"{shape}", (_mixed(draw, shape),))
    yield Sample("f32", (_mixed(draw, (3, 3), F32),))
    for dtype in COMPLEX:
        for shape in ((3, 3), (2, 3, 4), (4, 3)):
            yield Sample(f"{dtype} {shape}", (_mixed(draw, shape, dtype),))


@samples_of("qr")
def _(draw: Draw) -> Iterator[Sample]:
    for shape in ((1, 1), (3, 3), (2, 3, 4), (2, 4, 3), (0, 2, 2)):
        yield Sample(f"{shape}", (_mixed(draw, shape),), {"complete": False})
    yield Sample("complete", (_mixed(draw, (2, 3)),), {"complete": True})
    yield Sample("complete f32", (_mixed(draw, (4, 3), F32),), {"complete": True})
    for dtype in COMPLEX:
        for shape in ((3, 3), (2, 3, 4), (4, 3)):
            yield Sample(f"{dtype} {shape}", (_mixed(draw, shape, dtype),), {"complete": False})


@samples_of("svd")
def _(draw: Draw) -> Iterator[Sample]:
    for shape in ((1, 1), (3, 3), (2, 3, 4), (2, 4, 3), (0, 2, 2)):
        yield Sample(f"{shape}", (_mixed(draw, shape),), {"full": False})
    yield Sample("full f32", (_mixed(draw, (4, 3), F32),), {"full": True})
    for dtype in COMPLEX:  # factors of size 1 are free, so differences of vectors say nothing
        for shape in ((3, 3), (2, 3, 4), (4, 3)):
            yield Sample(f"{dtype} {shape}", (_mixed(draw, shape, dtype),), {"full": False}, smooth=False)


@samples_of("triangular_solve")
def _(draw: Draw) -> Iterator[Sample]:
    for flags in range(8):
        attributes = {"lower": flags & 1 > 0, "transpose": flags & 2 > 0, "unit": flags & 4 > 0}
        yield Sample(f"{flags}", (_mixed(draw, (2, 3, 3)), draw.array((2, 3, 2))), attributes)
        yield Sample(f"c128 {flags}", (_mixed(draw, (2, 3, 3), C128), draw.array((2, 3, 2), C128)), attributes)
    operands = (_mixed(draw, (3, 3), F32), draw.array((3, 1), F32))
    yield Sample("f32", operands, {"lower": True, "transpose": False, "unit": False})


@samples_of("lu_solve")
def _(draw: Draw) -> Iterator[Sample]:
    for transpose in (False, True):
        for shape, dtype in (((3, 3), F64), ((2, 3, 3), F64), ((2, 3, 3), C128), ((3, 3), C64)):
            a = _mixed(draw, shape, dtype)
            factors, _, order, _ = primitive_named("lu").reference(a)
            operands = (a, factors, order, draw.array((*shape[:-1], 2), dtype))
            yield Sample(f"{shape} {dtype} {transpose}", operands, {"transpose": transpose})


@samples_of("matrix_exp")
def _(draw: Draw) -> Iterator[Sample]:
    for shape in ((1, 1), (3, 3), (2, 3, 3), (0, 0)):
        yield Sample(f"{shape}", (_mixed(draw, shape),))
    yield Sample("f32", (_mixed(draw, (3, 3), F32),))
    for dtype in COMPLEX:
        yield Sample(f"{dtype}", (_mixed(draw, (2, 3, 3), dtype),))
