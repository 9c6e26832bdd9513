"""Samples of the ops that make, view and transform complex arrays."""

from __future__ import annotations

from collections.abc import Iterator

from adjit.ir.types import C64, C128, F32, F64
from tests.sampling import Draw, Sample, samples_of


@samples_of("view_as_real", "view_as_complex")
def _(draw: Draw) -> Iterator[Sample]:
    for shape in ((), (3,), (2, 3), (0, 2)):
        for dtype in (C64, C128) if draw.name == "view_as_real" else (F32, F64):
            yield Sample(f"{shape} {dtype}", (draw.array(shape if dtype.is_complex else (*shape, 2), dtype),))


@samples_of("eig")
def _(draw: Draw) -> Iterator[Sample]:
    for shape in ((1, 1), (3, 3), (2, 3, 3), (0, 2, 2), (0, 0)):
        yield Sample(f"{shape}", (draw.array(shape, C128),), smooth=False)
    yield Sample("c64", (draw.array((2, 2), C64),), smooth=False)


@samples_of("fft")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axes in (((4,), (0,)), ((2, 3), (1,)), ((2, 5, 3), (0, 2)), ((0, 2), (1,)), ((1,), (0,)), ((3,), ())):
        for inverse in (False, True):
            yield Sample(f"{shape} {axes} {inverse}", (draw.array(shape, C128),), {"axes": axes, "inverse": inverse})
    yield Sample("c64", (draw.array((2, 4), C64),), {"axes": (1, 0), "inverse": False})


@samples_of("rfft", "irfft")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axis in (((4,), 0), ((5,), 0), ((2, 3), 0), ((2, 6), 1), ((3, 1, 2), 1), ((0, 3), 1)):
        half = (*shape[:axis], shape[axis] // 2 + 1, *shape[axis + 1 :])
        for real in (F64, F32):
            if draw.name == "rfft":
                yield Sample(f"{shape} {axis} {real}", (draw.array(shape, real),), {"axis": axis})
            else:
                x = draw.array(half, C128 if real is F64 else C64)
                yield Sample(f"{shape} {axis} {real}", (x,), {"axis": axis, "size": shape[axis]})
