"""Where Winograd's method computes convolutions of 3 x 3 taps, and gradients of their kernels: llvm/winograd_plan.py.

The decision depends on sizes alone, so that each stage of the compiler makes the same: legalization leaves such images
unpadded, fusion does not store their padding, and code generation finds both in the index expressions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from adjit.ir.graph import Node, Value
from adjit.ir.shape import Size
from adjit.ir.types import F32

# The convolution, or the gradient of its kernel.
Kind: TypeAlias = Literal["outputs", "kernel"]
# The side of the kernel, the outputs of a tile along an axis, and the matrices that a tile is transformed into.
TAPS, OUTPUTS, PRODUCTS = 3, 2, 16
# Fewer channels or features: the transforms take longer than the products; fewer tiles in a sample: that of the kernel
# does.
_LEAST_CHANNELS, _LEAST_TILES = 16, {"outputs": 6, "kernel": 16}
# Transforms of so many pairs of a channel and a feature leave the second cache: so many tiles must share them.
_MANY_PAIRS, _SHARING_TILES = 1 << 14, 40
# Channels and features go by vectors, and what exists of them must be worth the whole: the least quotient of direct
# products and these.
_VECTOR, _LEAST_SAVING = 16, 1.3
# Ops whose results stand in their operands' memory at constant steps.
_VIEWS = frozenset({"permute", "slice"})


def pays(
    kind: Kind, channels: Size, features: Size, height: Size, width: Size, samples: Size | None = None
) -> bool:
    """Whether the method takes less time, as measured, for `height` x `width` outputs in float32.

    The number of samples is None where it must not count: eager mode leaves it open, and strict programs have its bits.
    """
    if os.environ.get("ADJIT_WINOGRAD", "1") == "0":
        return False
    if not (isinstance(channels, int) and isinstance(features, int) and isinstance(height, int)):
        return False
    if not isinstance(width, int) or min(channels, features) < _LEAST_CHANNELS:
        return False
    tiles = -(-height // OUTPUTS) * -(-width // OUTPUTS)
    if isinstance(samples, int) and channels * features >= _MANY_PAIRS and samples * tiles < _SHARING_TILES:
        return False
    columns = features if kind == "outputs" else channels
    direct = TAPS**2 * height * width * columns
    products = PRODUCTS * tiles * -(-columns // _VECTOR) * _VECTOR
    return tiles >= _LEAST_TILES[kind] and direct >= _LEAST_SAVING * products


def computes(dot: Node) -> bool:
    """Whether the method computes a node: a product of a kernel, or of cotangents, with windows."""
    window = dot.inputs[1].node if dot.op.name == "dot" else None
    if window is None or window.op.name != "window" or dot.output.dtype is not F32 or window.output.type.ndim != 6:
        return False
    steps = {window.attributes["stride"], window.attributes["dilation"]}
    if window.attributes["axes"] != (2, 3) or steps != {(1, 1)}:
        return False
    contract: tuple[tuple[int, ...], ...] = dot.attributes["contract"]  # type: ignore[assignment]
    if contract[0] not in ((0, 2, 3), (1, 2, 3)) or contract[1] != (1, 4, 5) or dot.attributes["batch"] != ((), ()):
        return False
    first, second, *sizes = window.output.dims
    features = dot.inputs[0].dims[1 - contract[0][0]]
    if sizes[2:] == [TAPS, TAPS]:
        return pays("outputs", second, features, sizes[0], sizes[1], first)
    return sizes[:2] == [TAPS, TAPS] and pays("kernel", first, features, sizes[2], sizes[3], second)


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
