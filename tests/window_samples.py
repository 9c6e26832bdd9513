"""Samples of the ops on windows of images, and of what convolutions are written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from adjit.ir.types import C128
from tests.sampling import ALL, NUMBERS, Draw, Sample, samples_of

WINDOWS: tuple[tuple[tuple[int, ...], ...], ...] = (  # shape, axes, size, stride, dilation
    ((5,), (0,), (3,), (1,), (1,)), ((7,), (0,), (2,), (2,), (3,)), ((4, 5), (1, 0), (2, 3), (1, 1), (2, 1)),
    ((2, 6, 5), (1, 2), (3, 2), (2, 3), (1, 2)), ((3,), (0,), (3,), (5,), (1,)), ((3,), (), (), (), ()),
    ((0, 4), (1,), (2,), (1,), (1,)), ((6,), (0,), (1,), (2,), (1,)), ((6,), (0,), (1,), (1,), (1,)),
)  # fmt: skip


def conv_attributes(
    stride: int, padding: tuple[int, int], input_dilation: int, kernel_dilation: int, groups: int
) -> dict[str, Any]:
    """The attributes of a convolution over one axis."""
    return {
        "stride": (stride,), "padding": (padding,), "input_dilation": (input_dilation,),
        "kernel_dilation": (kernel_dilation,), "groups": groups,
    }  # fmt: skip


@samples_of("window")
def _(draw: Draw) -> Iterator[Sample]:
    for shape, axes, size, stride, dilation in WINDOWS:
        attributes = {"axes": axes, "size": size, "stride": stride, "dilation": dilation}
        yield Sample(f"{shape} {axes} {size} {stride} {dilation}", (draw.array(shape),), attributes)
    for dtype in ALL:
        attributes = {"axes": (0,), "size": (2,), "stride": (2,), "dilation": (2,)}
        yield Sample(f"{dtype}", (draw.array((6,), dtype),), attributes)


@samples_of("fold")
def _(draw: Draw) -> Iterator[Sample]:
    def counts(shape: tuple[int, ...], axes: Sequence[int], *rows: Sequence[int]) -> tuple[int, ...]:
        found = list(shape)
        for axis, size, stride, dilation in zip(axes, *rows, strict=True):
            found[axis] = (shape[axis] - (size - 1) * dilation - 1) // stride + 1
        return (*found, *rows[0])

    for shape, axes, size, stride, dilation in WINDOWS:
        attributes = {"axes": axes, "size": size, "stride": stride, "dilation": dilation, "shape": shape}
        x = draw.array(counts(shape, axes, size, stride, dilation))
        yield Sample(f"{shape} {axes} {size} {stride} {dilation}", (x,), attributes)
    for dtype in NUMBERS:
        attributes = {"axes": (0,), "size": (2,), "stride": (1,), "dilation": (2,), "shape": (5,)}
        yield Sample(f"{dtype}", (draw.array((3, 2), dtype),), attributes)


@samples_of("conv")
def _(draw: Draw) -> Iterator[Sample]:
    # x, w, stride, padding, input dilation, kernel dilation, groups
    cases: tuple[tuple[Any, ...], ...] = (
        ((2, 3), (4, 3), (), (), (), (), 1),
        ((2, 2, 5), (3, 2, 3), (1,), ((0, 0),), (1,), (1,), 1),
        ((1, 2, 6), (2, 2, 3), (2,), ((1, 1),), (1,), (1,), 1),
        ((1, 2, 7), (2, 2, 2), (3,), ((0, 0),), (1,), (1,), 1),
        ((1, 1, 8), (1, 1, 2), (3,), ((0, 2),), (1,), (2,), 1),
        ((1, 1, 3), (2, 1, 2), (1,), ((3, 0),), (1,), (1,), 1),
        ((1, 1, 3), (1, 1, 1), (2,), ((2, 3),), (1,), (1,), 1),
        ((1, 1, 1), (1, 1, 1), (10,), ((5, 0),), (1,), (1,), 1),
        ((1, 1, 4), (1, 1, 1), (1,), ((0, 5),), (1,), (1,), 1),
        ((1, 2, 3), (2, 2, 2), (1,), ((1, 0),), (3,), (2,), 1),
        ((2, 1, 4), (1, 1, 3), (2,), ((0, 1),), (2,), (1,), 1),
        ((1, 1, 3), (1, 1, 2), (4,), ((0, 3),), (3,), (2,), 1),
        ((2, 4, 5), (6, 2, 2), (2,), ((1, 0),), (1,), (1,), 2),
        ((1, 3, 4), (6, 1, 3), (1,), ((1, 1),), (1,), (1,), 3),
        ((2, 2, 3), (2, 1, 2), (1,), ((0, 1),), (2,), (1,), 2),
        ((2, 2, 4, 3), (3, 2, 3, 2), (1, 1), ((1, 1), (0, 0)), (1, 1), (1, 1), 1),
        ((1, 2, 5, 4), (2, 2, 2, 3), (2, 1), ((0, 1), (2, 1)), (1, 1), (2, 1), 1),
        ((1, 2, 3, 3), (2, 1, 2, 2), (1, 2), ((0, 0), (1, 0)), (2, 1), (1, 2), 2),
        ((1, 1, 2, 3, 2), (1, 1, 1, 2, 2), (1, 1, 1), ((0, 0), (1, 0), (0, 1)), (1, 1, 1), (1, 1, 1), 1),
        ((0, 2, 4), (3, 2, 2), (1,), ((0, 0),), (1,), (1,), 1),
        ((2, 3, 5), (2, 3, 4), (1,), ((2, 3),), (2,), (1,), 1),
        ((1, 1, 3), (2, 1, 1), (1,), ((0, 1),), (3,), (1,), 1),
        ((1, 2, 3), (2, 1, 2), (1,), ((9, 0),), (10,), (1,), 2),
        ((2, 2, 3, 3), (4, 1, 3, 3), (1, 1), ((1, 1), (2, 1)), (2, 2), (1, 1), 2),
    )
    for x, w, stride, padding, input_dilation, kernel_dilation, groups in cases:
        attributes = {
            "stride": stride, "padding": padding, "input_dilation": input_dilation,
            "kernel_dilation": kernel_dilation, "groups": groups,
        }  # fmt: skip
        name = f"{x} {w} {' '.join(map(str, attributes.values()))}"
        yield Sample(name, (draw.array(x), draw.array(w)), attributes)
    plain = conv_attributes(1, (1, 0), 1, 1, 1)
    for dtype in (*NUMBERS, C128):
        yield Sample(f"{dtype}", (draw.array((1, 2, 4), dtype), draw.array((2, 2, 2), dtype)), plain)


@samples_of("interleave")
def _(draw: Draw) -> Iterator[Sample]:
    cases: tuple[tuple[Any, ...], ...] = (  # shapes, starts, step, shape
        ([(3,), (2,)], ((0,), (1,)), (2,), (5,)), ([(2,)], ((2,),), (3,), (7,)), ([(1,)], ((0,),), (4,), (1,)),
        ([(2, 2), (2, 1), (2, 2)], ((0, 0), (0, 2), (0, 1)), (1, 3), (2, 6)),
        ([(2, 1, 2), (1, 1, 2)], ((0, 0, 1), (1, 0, 0)), (2, 1, 2), (3, 2, 4)),
        ([(0,), (1,)], ((1,), (0,)), (2,), (1,)),
    )  # fmt: skip
    for shapes, starts, step, shape in cases:
        attributes = {"starts": starts, "step": step, "shape": shape}
        yield Sample(f"{shapes} {starts} {step} {shape}", tuple(map(draw.array, shapes)), attributes)
    for dtype in ALL:
        attributes = {"starts": ((1,), (0,)), "step": (3,), "shape": (6,)}
        yield Sample(f"{dtype}", (draw.array((2,), dtype), draw.array((2,), dtype)), attributes)
