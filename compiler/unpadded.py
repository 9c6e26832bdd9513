"""Convolutions that read images without the zeros around them: by Winograd's method, or along the samples.

Fusion does not store that padding, and code generation finds it in the index expressions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size
from adjit.ir.types import F32

# Ops whose results stand in their operands' memory at constant steps.
_VIEWS = frozenset({"permute", "slice"})


def computes(dot: Node) -> bool:
    """Whether one of the methods computes a node: a product of a kernel, or of cotangents, with windows."""
    window = dot.inputs[1].node if dot.op.name == "dot" else None
    if window is None or window.op.name != "window" or window.output.type.ndim != 6:
        return False
    if window.attributes["axes"] != (2, 3) or window.attributes["stride"] != (1, 1):
        return False
    contract: tuple[tuple[int, ...], ...] = dot.attributes["contract"]  # type: ignore[assignment]
    features = [dim for axis, dim in enumerate(dot.inputs[0].dims) if axis not in contract[0]]
    if len(features) != 1 or contract[1] != (1, 4, 5) or dot.attributes["batch"] != ((), ()):
        return False
    return _by_winograd(dot, window, features[0]) or _by_samples(dot, window, features[0])


def _by_winograd(dot: Node, window: Node, features: Size) -> bool:
    if dot.output.dtype is not F32 or window.attributes["dilation"] != (1, 1):
        return False
    from adjit.compiler import winograd  # what programs without convolutions need not load

    first, second, *sizes = window.output.dims
    if sizes[2:] == [winograd.TAPS] * 2:
        return winograd.pays("outputs", second, features, sizes[0], sizes[1], first)
    return sizes[:2] == [winograd.TAPS] * 2 and winograd.pays("kernel", first, features, sizes[2], sizes[3], second)


def _by_samples(dot: Node, window: Node, features: Size) -> bool:
    padded, order = window.inputs[0].node, tuple(range(4))
    if padded is not None and padded.op.name == "permute":
        order = padded.attributes["perm"]  # type: ignore[assignment]
        padded = padded.inputs[0].node
    if padded is None or padded.op.name != "pad" or padded.attributes["value"] != 0:
        return False
    low, high, interior = (
        _in_order(padded.attributes[name], order) for name in ("low", "high", "interior")  # type: ignore[arg-type]
    )
    samples, channels, *extents = _in_order(padded.inputs[0].dims, order)
    if any((*low[:2], *high[:2], *interior)):
        return False
    from adjit.compiler import by_samples

    taps, dilation = window.output.dims[4:], window.attributes["dilation"]
    axes = by_samples.axes_of(extents, taps, low[2:], high[2:], dilation)  # type: ignore[arg-type]
    return axes is not None and by_samples.pays(dot.output.dtype, samples, channels, features, axes)


def _in_order(sizes: Sequence[Size], order: Sequence[int]) -> list[Size]:
    return [sizes[axis] for axis in order]


def reads_padding(pad: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether all that looks at the result of a `pad` are such convolutions: they need no padding in memory."""
    return all(_reads_windows(user, users) for user in users.get(pad.output, (pad,)))


def is_read_in_place(node: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether such a convolution reads a result of `node`, perhaps through views, and so needs it in memory."""
    if node.op.name in _VIEWS or (node.op.name == "pad" and reads_padding(node, users)):
        return False
    return any(_reads(user, value, users) for value in node.outputs for user in users.get(value, ()))


def _reads(user: Node, value: Value, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether `user` is such a convolution, or windows or a view of `value` for one."""
    if user.op.name == "pad":
        return reads_padding(user, users)
    if user.op.name == "dot":
        return computes(user) and user.inputs[0] is value
    if user.op.name == "window":
        return _reads_windows(user, users)
    return user.op.name in _VIEWS and any(_reads(each, user.output, users) for each in users.get(user.output, ()))


def _reads_windows(user: Node, users: Mapping[Value, Sequence[Node]]) -> bool:
    """Whether `user` takes windows for such convolutions alone, perhaps after a change of the order of axes."""
    if user.op.name not in ("window", "permute"):
        return False
    following = users.get(user.output, ())
    if user.op.name == "permute":
        return bool(following) and all(_reads_windows(each, users) for each in following)
    return bool(following) and all(computes(each) and each.inputs[1] is user.output for each in following)
